//! Waiting for an element.

use super::pop::{Several, first_there, pop_several, take_one};
use super::{end, moving::move_one};
use crate::command::*;
use crate::types::list::{End, List};

pub const BLMOVE: Command = Command {
    name: "BLMOVE",
    args: "source destination <wherefrom: LEFT | RIGHT> <whereto: LEFT | RIGHT> timeout",
    arity: 6,
    since: "6.2.0",
    group: Group::List,
    flags: WRITE | DENYOOM | NOSCRIPT | BLOCKING,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::DELETE).and(Keys::one(2, keys::RW | keys::INSERT)),
    doc: "As LMOVE, but waits for an element up to `timeout` seconds, 0 for ever. O(1).",
    examples: "> RPUSH l a b\n(integer) 2\n> BLMOVE l m RIGHT LEFT 0\n\"b\"\n> BLMOVE none m LEFT LEFT 0.01\n(nil)",
    run: blmove,
};

fn blmove(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (from, to) = (end(&ctx.args.word_at(3))?, end(&ctx.args.word_at(4))?);
    let patience = Patience::from_seconds(ctx.args.get(5), ctx.db.now())?;
    let does = [b"LMOVE", ctx.args.key(1), ctx.args.key(2), ctx.args.get(3), ctx.args.get(4)];
    move_or_wait(ctx, from, to, patience, &does)
}

pub const BRPOPLPUSH: Command = Command {
    name: "BRPOPLPUSH",
    args: "source destination timeout",
    arity: 4,
    since: "2.2.0",
    doc: "As RPOPLPUSH, but waits for an element up to `timeout` seconds, 0 for ever. O(1).",
    examples: "> RPUSH l a b\n(integer) 2\n> BRPOPLPUSH l m 0\n\"b\"",
    run: |ctx| {
        let patience = Patience::from_seconds(ctx.args.get(3), ctx.db.now())?;
        let does = [b"RPOPLPUSH", ctx.args.key(1), ctx.args.key(2)];
        move_or_wait(ctx, End::Right, End::Left, patience, &does)
    },
    ..BLMOVE
};

/// `does`: the command that does the same without waiting.
fn move_or_wait(ctx: &mut Ctx<'_, '_>, from: End, to: End, patience: Patience, does: &[&[u8]]) -> Outcome {
    if move_one(ctx, from, to)? {
        ctx.propagate(does);
        return Ok(());
    }
    ctx.wait_or(patience, Ctx::answer_null)
}

pub const BLPOP: Command = Command {
    name: "BLPOP",
    args: "key [key ...] timeout",
    arity: -3,
    since: "2.0.0",
    group: Group::List,
    flags: WRITE | NOSCRIPT | BLOCKING,
    keys: Keys::range(1, -2, 1, keys::RW | keys::ACCESS | keys::DELETE),
    doc: "Takes the first element of the first list that has one; waits for it up to `timeout` seconds, 0 for ever. O(N) in the number of keys.",
    examples: "> RPUSH l a b\n(integer) 2\n> BLPOP none l 0\n1) \"l\"\n2) \"a\"\n> BLPOP none 0.01\n(nil)",
    run: |ctx| pop_or_wait(ctx, End::Left),
};

pub const BRPOP: Command = Command {
    name: "BRPOP",
    args: "key [key ...] timeout",
    doc: "Takes the last element of the first list that has one; waits for it up to `timeout` seconds, 0 for ever. O(N) in the number of keys.",
    examples: "> RPUSH l a b\n(integer) 2\n> BRPOP none l 0\n1) \"l\"\n2) \"b\"",
    run: |ctx| pop_or_wait(ctx, End::Right),
    ..BLPOP
};

fn pop_or_wait(ctx: &mut Ctx<'_, '_>, end: End) -> Outcome {
    let last = ctx.args.len() - 1;
    let patience = Patience::from_seconds(ctx.args.get(last), ctx.db.now())?;
    let Some(key) = first_there(ctx.db, &ctx.args, 1..last)? else {
        return ctx.wait_or(patience, Ctx::answer_null_array);
    };
    let Ctx { db, out, .. } = ctx;
    out.array(2);
    out.bulk(key)?;
    if let Some(mut list) = db.edit::<List>(key)? {
        take_one(&mut list, end, out)?;
    }
    ctx.propagate(&[if end == End::Left { b"LPOP" } else { b"RPOP" }, key]);
    Ok(())
}

pub const BLMPOP: Command = Command {
    name: "BLMPOP",
    args: "timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
    arity: -5,
    since: "7.0.0",
    group: Group::List,
    flags: WRITE | BLOCKING | MOVABLE_KEYS,
    keys: Keys::counted(2, keys::RW | keys::ACCESS | keys::DELETE),
    doc: "As LMPOP, but waits for an element up to `timeout` seconds, 0 for ever. O(N+M) in the numbers of keys and of elements taken.",
    examples: "> RPUSH l a b c\n(integer) 3\n> BLMPOP 0 2 none l LEFT COUNT 2\n1) \"l\"\n2) 1) \"a\"\n   2) \"b\"",
    run: |ctx| {
        let wanted = Several::parse(ctx, 2)?;
        let patience = Patience::from_seconds(ctx.args.get(1), ctx.db.now())?;
        match pop_several(ctx, &wanted)? {
            true => Ok(()),
            false => ctx.wait_or(patience, Ctx::answer_null_array),
        }
    },
};
