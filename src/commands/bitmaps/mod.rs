//! Bitmaps: single bits of a string, counting and searching them, whole strings combined, integers of any width.
//!
//! The arithmetic is in `types::bits`; here are arguments, limits and what counts as a change. A write that changes
//! nothing is not propagated.

mod bit;
mod count;
mod field;
mod op;

use crate::command::{Command, Ctx, Error};
use crate::num;

pub const COMMANDS: &[Command] =
    &[count::BITCOUNT, field::BITFIELD, field::BITFIELD_RO, op::BITOP, count::BITPOS, bit::GETBIT, bit::SETBIT];

/// The number of a bit inside the longest string allowed. With a field's `width`, `#n` means the nth such field.
fn bit_offset(ctx: &Ctx<'_, '_>, text: &[u8], width: Option<u32>) -> Result<u64, Error> {
    let (digits, factor) = match (text, width) {
        ([b'#', digits @ ..], Some(width)) => (digits, u64::from(width)),
        _ => (text, 1),
    };
    // What the log holds was allowed once.
    let allowed = if ctx.session.is_replayed() { u64::MAX } else { ctx.config.proto_max_bulk_len };
    num::parse_i64(digits)
        .and_then(|n| u64::try_from(n).ok()?.checked_mul(factor))
        .filter(|offset| offset / 8 < allowed.min(STRING_BYTES_MAX))
        .ok_or(BAD_OFFSET)
}

const BAD_OFFSET: Error = Error::new("ERR bit offset is not an integer or out of range");
/// However high `proto-max-bulk-len` is set: a SET of the string must fit a request, and those are shorter than 4 GiB.
const STRING_BYTES_MAX: u64 = 2 << 30;
