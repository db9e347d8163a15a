//! DEBUG MALLCTL and MALLCTL-STR: the allocator's controls, by jemalloc's names.
//!
//! Redis hands any name and value to the allocator; here only what tells or tunes is let through
//! ([`crate::mallctl`]), since some controls take addresses or free memory in use. Errors are the C library's texts.

use crate::command::*;
use crate::log;
use crate::mallctl::{self, Errno, Held};
use std::io;

/// Reads a number, or writes one and tells the one before.
pub fn number(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let name = ctx.args.get(2);
    let held = match ctx.args.len() {
        3 => mallctl::get(name).map(Some),
        _ => mallctl::set(name, ctx.args.int(3)?),
    };
    answer(ctx, held)
}

/// Reads a string; `VOID` in the place of a value sets off a control that takes none.
pub fn text(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let name = ctx.args.get(2);
    let held = mallctl::get_text(name).map(Some);
    let sets_off = ctx.args.len() > 3 && ctx.args.get(3) == b"VOID" && held == Err(libc::EPERM);
    answer(ctx, if sets_off { mallctl::touch(name).map(|()| None) } else { held })
}

fn answer(ctx: &mut Ctx<'_, '_>, held: Result<Option<Held>, Errno>) -> Outcome {
    match held {
        Ok(Some(Held::Number(n))) => ctx.out.int(n),
        Ok(Some(Held::Text(text))) => ctx.out.bulk(&text),
        Ok(None) => ctx.out.ok(),
        Err(errno) => Err(Error::owned(format!("ERR {}", log::cause(&io::Error::from_raw_os_error(errno))))),
    }
}
