//! Parts of strings, and their length.

use crate::command::error::STRING_TOO_LONG;
use crate::command::*;
use crate::keyspace::{Expiry, Stored};
use std::ops::Range;

pub const APPEND: Command = Command {
    name: "APPEND",
    args: "key value",
    arity: 3,
    since: "2.0.0",
    group: Group::String,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::one(1, keys::RW | keys::INSERT),
    doc: "Puts a string behind the one stored at a key. O(1) amortised.",
    examples: "> APPEND k Hello\n(integer) 5\n> APPEND k \" World\"\n(integer) 11\n> GET k\n\"Hello World\"",
    run: append,
};

fn append(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, tail) = (ctx.args.key(1), ctx.args.get(2));
    let Some(len) = ctx.db.string_for_write(key)?.map(|text| text.len()) else {
        ctx.db.set_string_as(key, tail, Expiry::Clear, "append");
        return ctx.out.count(tail.len());
    };
    let total = checked_len(ctx, len, tail)?;
    ctx.db.modify_string(key, total, "append", |bytes| bytes[len..].copy_from_slice(tail))?;
    ctx.out.count(total)
}

pub const GETRANGE: Command = Command {
    name: "GETRANGE",
    args: "key start end",
    arity: 4,
    since: "2.4.0",
    group: Group::String,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Part of a string, both ends included; negative numbers count from its end. O(N) in what is returned.",
    examples: "> SET k \"This is a string\"\nOK\n> GETRANGE k 0 3\n\"This\"\n> GETRANGE k -3 -1\n\"ing\"",
    run: getrange,
};

fn getrange(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let (start, end) = (args.int(2)?, args.int(3)?);
    match db.stored(args.key(1))? {
        Some(Stored::Text(text)) => {
            let mut digits = itoa::Buffer::new();
            let bytes = text.bytes(&mut digits);
            out.bulk(&bytes[range_inclusive(bytes.len(), start, end)])
        }
        Some(Stored::Block(block)) => {
            out.block(block, range_inclusive(block.len(), start, end));
            Ok(())
        }
        None => out.bulk(b""),
    }
}

fn range_inclusive(len: usize, start: i64, end: i64) -> Range<usize> {
    let len = i64::try_from(len).unwrap_or(i64::MAX);
    let from_end = |i: i64| if i < 0 { i.saturating_add(len).max(0) } else { i };
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    if start > end { 0..0 } else { start as usize..end as usize + 1 }
}

pub const SETRANGE: Command = Command {
    name: "SETRANGE",
    args: "key offset value",
    arity: 4,
    since: "2.2.0",
    group: Group::String,
    flags: WRITE | DENYOOM,
    keys: Keys::write(1),
    doc: "Overwrites part of a string, lengthening it with zero bytes if need be. O(N) in what is written.",
    examples: "> SET k \"Hello World\"\nOK\n> SETRANGE k 6 Redis\n(integer) 11\n> GET k\n\"Hello Redis\"",
    run: setrange,
};

fn setrange(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (key, piece) = (ctx.args.key(1), ctx.args.get(3));
    let offset = ctx.args.int(2)?;
    let offset = usize::try_from(offset).map_err(|_| OFFSET_OUT_OF_RANGE)?;
    let len = ctx.db.string_for_write(key)?.map_or(0, |text| text.len());
    if piece.is_empty() {
        return ctx.out.count(len);
    }
    let end = checked_len(ctx, offset, piece)?;
    ctx.db.modify_string(key, end, "setrange", |bytes| bytes[offset..end].copy_from_slice(piece))?;
    ctx.out.count(len.max(end))
}

/// The length with `more` behind `len` bytes, if strings may be that long. What the log holds was allowed once.
fn checked_len(ctx: &Ctx<'_, '_>, len: usize, more: &[u8]) -> Result<usize, Error> {
    let total = len.checked_add(more.len()).ok_or(STRING_TOO_LONG)?;
    let allowed = total as u64 <= ctx.config.proto_max_bulk_len || ctx.session.is_replayed();
    let allowed = allowed && total <= STRING_BYTES_MAX;
    if allowed { Ok(total) } else { Err(STRING_TOO_LONG) }
}

pub const STRLEN: Command = Command {
    name: "STRLEN",
    args: "key",
    arity: 2,
    since: "2.2.0",
    group: Group::String,
    flags: READONLY | FAST,
    keys: Keys::one(1, keys::RO),
    doc: "The length of a string in bytes. O(1).",
    examples: "> SET k \"Hello world\"\nOK\n> STRLEN k\n(integer) 11\n> STRLEN missing\n(integer) 0",
    run: strlen,
};

fn strlen(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let len = db.string(args.key(1))?.map_or(0, |text| text.len());
    out.count(len)
}

pub const SUBSTR: Command = Command {
    name: "SUBSTR",
    args: "key start end",
    arity: 4,
    since: "1.0.0",
    group: Group::String,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "GETRANGE's old name. O(N) in what is returned.",
    examples: "> SET k abcde\nOK\n> SUBSTR k 1 -2\n\"bcd\"",
    run: getrange,
};

const OFFSET_OUT_OF_RANGE: Error = Error::new("ERR offset is out of range");
/// However high `proto-max-bulk-len` is set: a SET of the string must fit a request, and those are shorter than 4 GiB.
const STRING_BYTES_MAX: usize = 2 << 30;
