//! Moving an element from one list to another, or around within one.

use super::{end, pop, push};
use crate::command::*;
use crate::types::list::{End, List};

pub const LMOVE: Command = Command {
    name: "LMOVE",
    args: "source destination <wherefrom: LEFT | RIGHT> <whereto: LEFT | RIGHT>",
    arity: 5,
    since: "6.2.0",
    group: Group::List,
    flags: WRITE | DENYOOM,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::DELETE).and(Keys::one(2, keys::RW | keys::INSERT)),
    doc: "Takes an element from one end of a list and puts it at an end of another, or of the same. O(1).",
    examples: "> RPUSH l a b\n(integer) 2\n> LMOVE l m RIGHT LEFT\n\"b\"\n> LRANGE m 0 -1\n1) \"b\"\n> LMOVE none m LEFT LEFT\n(nil)",
    run: |ctx| {
        let (from, to) = (end(&ctx.args.word_at(3))?, end(&ctx.args.word_at(4))?);
        if move_one(ctx, from, to)? { Ok(()) } else { ctx.out.null() }
    },
};

pub const RPOPLPUSH: Command = Command {
    name: "RPOPLPUSH",
    args: "source destination",
    arity: 3,
    since: "1.2.0",
    doc: "Takes the last element of a list and puts it in front of another, or of the same. O(1).",
    examples: "> RPUSH l a b\n(integer) 2\n> RPOPLPUSH l m\n\"b\"\n> RPOPLPUSH none m\n(nil)",
    run: |ctx| if move_one(ctx, End::Right, End::Left)? { Ok(()) } else { ctx.out.null() },
    ..LMOVE
};

/// Moves an element between the lists of arguments 1 and 2 and answers it. False if the first is not there.
pub fn move_one(ctx: &mut Ctx<'_, '_>, from: End, to: End) -> Result<bool, Error> {
    let max = ctx.config.list_max();
    let Ctx { args, db, out, .. } = ctx;
    let (source, target) = (args.key(1), args.key(2));
    let Some(list) = db.look::<List>(source)? else { return Ok(false) };
    let Some(element) = list.peek(from).map(|text| text.to_vec()) else { return Ok(false) };
    if source == target {
        if let Some(mut list) = db.edit::<List>(source)? {
            list.drop_from(from, 1);
            list.push(to, &element, max);
            list.changed(push::event(to));
            list.changed_by(pop::event(from), 0);
        }
        out.bulk(&element)?;
        return Ok(true);
    }
    let mut to_list = db.upsert::<List>(target)?;
    to_list.push(to, &element, max);
    to_list.changed(push::event(to));
    drop(to_list);
    if let Some(mut list) = db.edit::<List>(source)? {
        list.drop_from(from, 1);
        list.changed_by(pop::event(from), 0);
    }
    out.bulk(&element)?;
    Ok(true)
}
