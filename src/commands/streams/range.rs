//! Looking at entries in the order of their ids, and how many there are.

use super::ids;
use crate::command::error::SYNTAX;
use crate::command::*;
use crate::types::stream::Stream;

pub const XLEN: Command = Command {
    name: "XLEN",
    args: "key",
    arity: 2,
    since: "5.0.0",
    group: Group::Stream,
    flags: READONLY | FAST,
    keys: Keys::one(1, keys::RO),
    doc: "Number of entries of a stream. O(1).",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XLEN s\n(integer) 1\n> XLEN missing\n(integer) 0",
    run: |ctx| {
        let Ctx { args, db, out, .. } = ctx;
        let len = db.read::<Stream>(args.key(1))?.map_or(0, Stream::len);
        out.count(usize::try_from(len).unwrap_or(usize::MAX))
    },
};

pub const XRANGE: Command = Command {
    name: "XRANGE",
    args: "key start:string end:string [COUNT count]",
    arity: -4,
    since: "5.0.0",
    group: Group::Stream,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Entries between two ids, both included unless `(` stands in front; `-` and `+` are the ends of all. O(log N + M) in entries and answered ones.",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XADD s 2-1 f w\n\"2-1\"\n> XRANGE s - + COUNT 1\n1) 1) \"1-1\"\n   2) 1) \"f\"\n      2) \"v\"\n> XRANGE s (1-1 2\n1) 1) \"2-1\"\n   2) 1) \"f\"\n      2) \"w\"",
    run: |ctx| range(ctx, false),
};

pub const XREVRANGE: Command = Command {
    name: "XREVRANGE",
    args: "key end:string start:string [COUNT count]",
    doc: "As XRANGE, from the greater id down to the lesser. O(log N + M) in entries and answered ones.",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XADD s 2-1 f w\n\"2-1\"\n> XREVRANGE s + - COUNT 1\n1) 1) \"2-1\"\n   2) 1) \"f\"\n      2) \"w\"",
    run: |ctx| range(ctx, true),
    ..XRANGE
};

fn range(ctx: &mut Ctx<'_, '_>, back: bool) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let (first, last) = if back { (3, 2) } else { (2, 3) };
    let (start, end) = (ids::start(args.get(first))?, ids::end(args.get(last))?);
    let mut count = usize::MAX;
    args.skip_to(4);
    while let Some(word) = args.word() {
        match &*word {
            b"COUNT" if !args.is_done() => count = usize::try_from(args.required_int()?).unwrap_or(0),
            _ => return Err(SYNTAX),
        }
    }
    let Some(stream) = db.read::<Stream>(args.key(1))? else { return out.empty_array() };
    if count == 0 {
        return out.null_array();
    }
    match back {
        true => ids::put_entries(out, stream.range_back(start, end).take(count)),
        false => ids::put_entries(out, stream.range(start, end).take(count)),
    }
}
