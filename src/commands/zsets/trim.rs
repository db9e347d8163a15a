//! Ranges counted and ranges removed.

use super::span::{By, Span};
use crate::command::*;
use crate::types::zset::Zset;

pub const ZCOUNT: Command = Command {
    name: "ZCOUNT",
    args: "key min max",
    arity: 4,
    since: "2.0.0",
    group: Group::SortedSet,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "How many members have a score in a range. O(log N).",
    examples: "> ZADD z 1 a 2 b 3 c\n(integer) 3\n> ZCOUNT z (1 +inf\n(integer) 2",
    run: zcount,
};

fn zcount(ctx: &mut Ctx<'_, '_>) -> Outcome {
    count(ctx, By::Score)
}

pub const ZLEXCOUNT: Command = Command {
    name: "ZLEXCOUNT",
    args: "key min:string max:string",
    arity: 4,
    since: "2.8.9",
    group: Group::SortedSet,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "How many members have a name in a range, all scores being equal. O(log N).",
    examples: "> ZADD z 0 a 0 b 0 c\n(integer) 3\n> ZLEXCOUNT z [b +\n(integer) 2",
    run: zlexcount,
};

fn zlexcount(ctx: &mut Ctx<'_, '_>) -> Outcome {
    count(ctx, By::Name)
}

fn count(ctx: &mut Ctx<'_, '_>, by: By) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let span = Span::read(by, args.get(2), args.get(3))?;
    out.count(db.read::<Zset>(args.key(1))?.map_or(0, |set| span.ranks(set, false).len()))
}

pub const ZREMRANGEBYLEX: Command = Command {
    name: "ZREMRANGEBYLEX",
    args: "key min:string max:string",
    arity: 4,
    since: "2.8.9",
    group: Group::SortedSet,
    flags: WRITE,
    keys: Keys::one(1, keys::RW | keys::DELETE),
    doc: "Removes the members in a range of names, all scores being equal; how many. O(M log N).",
    examples: "> ZADD z 0 a 0 b 0 c\n(integer) 3\n> ZREMRANGEBYLEX z - (c\n(integer) 2",
    run: zremrangebylex,
};

fn zremrangebylex(ctx: &mut Ctx<'_, '_>) -> Outcome {
    remove(ctx, By::Name, "zremrangebylex")
}

pub const ZREMRANGEBYRANK: Command = Command {
    name: "ZREMRANGEBYRANK",
    args: "key start stop",
    arity: 4,
    since: "2.0.0",
    group: Group::SortedSet,
    flags: WRITE,
    keys: Keys::one(1, keys::RW | keys::DELETE),
    doc: "Removes the members in a range of ranks; how many. O(M log N).",
    examples: "> ZADD z 1 a 2 b 3 c\n(integer) 3\n> ZREMRANGEBYRANK z 0 -2\n(integer) 2\n> ZRANGE z 0 -1\n1) \"c\"",
    run: zremrangebyrank,
};

fn zremrangebyrank(ctx: &mut Ctx<'_, '_>) -> Outcome {
    remove(ctx, By::Rank, "zremrangebyrank")
}

pub const ZREMRANGEBYSCORE: Command = Command {
    name: "ZREMRANGEBYSCORE",
    args: "key min max",
    arity: 4,
    since: "1.2.0",
    group: Group::SortedSet,
    flags: WRITE,
    keys: Keys::one(1, keys::RW | keys::DELETE),
    doc: "Removes the members in a range of scores; how many. O(M log N).",
    examples: "> ZADD z 1 a 2 b 3 c\n(integer) 3\n> ZREMRANGEBYSCORE z -inf (3\n(integer) 2",
    run: zremrangebyscore,
};

fn zremrangebyscore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    remove(ctx, By::Score, "zremrangebyscore")
}

fn remove(ctx: &mut Ctx<'_, '_>, by: By, event: &'static str) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let span = Span::read(by, args.get(2), args.get(3))?;
    let Some(mut set) = db.edit::<Zset>(args.key(1))? else { return out.int(0) };
    let ranks = span.ranks(&set, false);
    let count = ranks.len();
    if count > 0 {
        set.remove_ranks(ranks);
        set.changed_by(event, count);
    }
    out.count(count)
}
