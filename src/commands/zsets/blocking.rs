//! Waiting for a member.

use super::pop::{End, Query, first_with_members, take_one};
use crate::command::*;
use crate::types::zset::Zset;

pub const BZMPOP: Command = Command {
    name: "BZMPOP",
    args: "timeout numkeys key [key ...] <MIN | MAX> [COUNT count]",
    arity: -5,
    since: "7.0.0",
    group: Group::SortedSet,
    flags: WRITE | BLOCKING | MOVABLE_KEYS,
    keys: Keys::counted(2, keys::RW | keys::ACCESS | keys::DELETE),
    doc: "As ZMPOP, but waits for a member up to `timeout` seconds, 0 for ever. O(K + M log N).",
    examples: "> ZADD z 1 a 2 b\n(integer) 2\n> BZMPOP 0 2 missing z MIN\n1) \"z\"\n2) 1) 1) \"a\"\n      2) \"1\"",
    run: |ctx| {
        let query = Query::read(&mut ctx.args, 2)?;
        let patience = Patience::from_seconds(ctx.args.get(1), ctx.db.now())?;
        match query.run(ctx)? {
            true => Ok(()),
            false => ctx.wait_or(patience, Ctx::answer_null_array),
        }
    },
};

pub const BZPOPMAX: Command = Command {
    name: "BZPOPMAX",
    args: "key [key ...] timeout",
    arity: -3,
    since: "5.0.0",
    group: Group::SortedSet,
    flags: WRITE | NOSCRIPT | BLOCKING | FAST,
    keys: Keys::range(1, -2, 1, keys::RW | keys::ACCESS | keys::DELETE),
    doc: "Takes the member with the highest score out of the first sorted set that has one; waits for it up to `timeout` seconds, 0 for ever. O(log N).",
    examples: "> ZADD z 1 a 2 b\n(integer) 2\n> BZPOPMAX missing z 0\n1) \"z\"\n2) \"b\"\n3) \"2\"",
    run: |ctx| pop_or_wait(ctx, End::Max),
};

pub const BZPOPMIN: Command = Command {
    name: "BZPOPMIN",
    args: "key [key ...] timeout",
    doc: "Takes the member with the lowest score out of the first sorted set that has one; waits for it up to `timeout` seconds, 0 for ever. O(log N).",
    examples: "> ZADD z 1 a 2 b\n(integer) 2\n> BZPOPMIN missing z 0\n1) \"z\"\n2) \"a\"\n3) \"1\"",
    run: |ctx| pop_or_wait(ctx, End::Min),
    ..BZPOPMAX
};

fn pop_or_wait(ctx: &mut Ctx<'_, '_>, end: End) -> Outcome {
    let last = ctx.args.len() - 1;
    let patience = Patience::from_seconds(ctx.args.get(last), ctx.db.now())?;
    let Some(key) = first_with_members(ctx.db, ctx.args.from(1).take(last - 1))? else {
        return ctx.wait_or(patience, Ctx::answer_null_array);
    };
    let Ctx { db, out, .. } = ctx;
    if let Some(mut set) = db.edit::<Zset>(key)? {
        out.array(3);
        out.bulk(key)?;
        take_one(out, &mut set, end)?;
    }
    ctx.propagate(&[end.command(), key]);
    Ok(())
}
