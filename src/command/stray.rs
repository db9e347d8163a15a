//! A command that touches a key which its row does not declare: a fault of ours, which costs its client an error.
//!
//! Locking, and whatever else is decided by the row's keys, did not expect the key. The keyspace shows it as absent and
//! takes nothing for it ([`crate::keyspace::Held`]); here the command fails, the log names it, and INFO counts it under
//! the error's own code (`errorstat_INTERNAL`). What the command did to keys that are its own stays done.

use super::ctx::{Ctx, Unfinished};
use super::{Error, Outcome};

/// The command's result, or the error in its place.
#[inline]
pub(super) fn judged(ctx: &mut Ctx<'_, '_>, result: Outcome) -> Outcome {
    if ctx.db.take_stray() { Err(strayed(ctx)) } else { result }
}

#[cold]
fn strayed(ctx: &mut Ctx<'_, '_>) -> Error {
    ctx.unfinished.take_if(|unfinished| matches!(**unfinished, Unfinished::Waits(_)));
    let name = ctx.row.command.full_name();
    crate::log::warning!(
        "Internal error: '{name}' touched a key that its description does not declare. Please report it."
    );
    Error::owned(format!("INTERNAL '{name}' touched a key that its description does not declare; please report it"))
}
