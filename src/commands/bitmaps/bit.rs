//! One bit.

use super::bit_offset;
use crate::command::*;
use crate::types::bits;

pub const GETBIT: Command = Command {
    name: "GETBIT",
    args: "key offset",
    arity: 3,
    since: "2.2.0",
    group: Group::Bitmap,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "A bit of a string; 0 behind its end. O(1).",
    examples: "> SETBIT k 7 1\n(integer) 0\n> GETBIT k 7\n(integer) 1\n> GETBIT k 100\n(integer) 0",
    run: getbit,
};

fn getbit(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let offset = bit_offset(ctx, ctx.args.get(2), None)?;
    let Ctx { args, db, out, .. } = ctx;
    let text = db.string(args.key(1))?;
    let bit = text.is_some_and(|text| bits::get(text.bytes(&mut itoa::Buffer::new()), offset));
    out.int(i64::from(bit))
}

pub const SETBIT: Command = Command {
    name: "SETBIT",
    args: "key offset value:integer",
    arity: 4,
    since: "2.2.0",
    group: Group::Bitmap,
    flags: WRITE | DENYOOM,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::UPDATE),
    doc: "Sets or clears a bit of a string, lengthening it with zero bytes if need be; the reply is what the bit was. O(1), but for the lengthening.",
    examples: "> SETBIT k 7 1\n(integer) 0\n> SETBIT k 7 0\n(integer) 1\n> GET k\n\"\\x00\"",
    run: setbit,
};

fn setbit(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let offset = bit_offset(ctx, ctx.args.get(2), None)?;
    let Ctx { args, db, out, .. } = ctx;
    let (key, on) = (args.key(1), args.int_in(3, 0..=1, BAD_BIT).map_err(|_| BAD_BIT)? == 1);
    let min_len = offset as usize / 8 + 1;
    let (len, was) = match db.string_for_write(key)? {
        Some(text) => (text.len(), bits::get(text.bytes(&mut itoa::Buffer::new()), offset)),
        None => (0, false),
    };
    let changes = u64::from(was != on || min_len > len);
    db.modify_string_if(key, min_len, "setbit", |bytes| {
        bits::set(bytes, offset, on);
        changes
    })?;
    out.int(i64::from(was))
}

const BAD_BIT: Error = Error::new("ERR bit is not an integer or out of range");
