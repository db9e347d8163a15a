//! Pushing at an end.

use crate::command::*;
use crate::types::list::{End, List};

pub const LPUSH: Command = Command {
    name: "LPUSH",
    args: "key element [element ...]",
    arity: -3,
    since: "1.0.0",
    group: Group::List,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::one(1, keys::RW | keys::INSERT),
    doc: "Puts elements in front of a list, one after the other; creates the list if needed. O(1) per element.",
    examples: "> LPUSH l a b\n(integer) 2\n> LRANGE l 0 -1\n1) \"b\"\n2) \"a\"",
    run: |ctx| push(ctx, End::Left),
};

pub const RPUSH: Command = Command {
    name: "RPUSH",
    args: "key element [element ...]",
    doc: "Puts elements behind a list, one after the other; creates the list if needed. O(1) per element.",
    examples: "> RPUSH l a b\n(integer) 2\n> LRANGE l 0 -1\n1) \"a\"\n2) \"b\"",
    run: |ctx| push(ctx, End::Right),
    ..LPUSH
};

pub const LPUSHX: Command = Command {
    name: "LPUSHX",
    args: "key element [element ...]",
    since: "2.2.0",
    doc: "Puts elements in front of a list that exists; answers 0 if it does not. O(1) per element.",
    examples: "> LPUSHX l a\n(integer) 0\n> LPUSH l a\n(integer) 1\n> LPUSHX l b c\n(integer) 3",
    run: |ctx| push_existing(ctx, End::Left),
    ..LPUSH
};

pub const RPUSHX: Command = Command {
    name: "RPUSHX",
    args: "key element [element ...]",
    since: "2.2.0",
    doc: "Puts elements behind a list that exists; answers 0 if it does not. O(1) per element.",
    examples: "> RPUSHX l a\n(integer) 0\n> RPUSH l a\n(integer) 1\n> RPUSHX l b c\n(integer) 3",
    run: |ctx| push_existing(ctx, End::Right),
    ..LPUSH
};

/// The event of a push at an end.
pub fn event(end: End) -> &'static str {
    if end == End::Left { "lpush" } else { "rpush" }
}

fn push(ctx: &mut Ctx<'_, '_>, end: End) -> Outcome {
    let max = ctx.config.list_max();
    let Ctx { args, db, out, .. } = ctx;
    let mut list = db.upsert::<List>(args.key(1))?;
    args.from(2).for_each(|element| list.push(end, element, max));
    list.changed_by(event(end), args.len() - 2);
    out.count(list.len())
}

fn push_existing(ctx: &mut Ctx<'_, '_>, end: End) -> Outcome {
    let max = ctx.config.list_max();
    let Ctx { args, db, out, .. } = ctx;
    let Some(mut list) = db.edit::<List>(args.key(1))? else { return out.int(0) };
    args.from(2).for_each(|element| list.push(end, element, max));
    list.changed_by(event(end), args.len() - 2);
    out.count(list.len())
}
