//! Deleting entries by their ids: from the stream alone, or from what groups have pending as well.

use super::ids;
use super::trim::{self, Pending};
use crate::command::error::SYNTAX;
use crate::command::*;
use crate::keyspace::{Db, Edit};
use crate::types::stream::{Id, Stream};

pub const XDEL: Command = Command {
    name: "XDEL",
    args: "key id:string [id ...]",
    arity: -3,
    since: "5.0.0",
    group: Group::Stream,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::DELETE),
    doc: "Deletes entries; how many were there. O(log N) for each.",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XDEL s 1-1 2-2\n(integer) 1",
    run: xdel,
};

fn xdel(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let Some(mut stream) = db.edit::<Stream>(args.key(1))? else { return out.int(0) };
    let wanted = ids::all(args.from(2))?;
    let gone: Vec<Id> = wanted.into_iter().filter(|id| stream.delete(*id)).collect();
    state(&mut stream, &gone);
    out.count(gone.len())
}

/// States that entries were deleted.
fn state(stream: &mut Edit<'_, '_, Stream>, gone: &[Id]) {
    if let Some(greatest) = gone.iter().max() {
        stream.deleted(*greatest);
        stream.changed_by("xdel", gone.len());
    }
}

pub const XDELEX: Command = Command {
    name: "XDELEX",
    args: "key [condition: KEEPREF | DELREF | ACKED] <ids: IDS numids:integer id:string [id:string ...]>",
    arity: -5,
    since: "8.2.0",
    group: Group::Stream,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::DELETE),
    doc: "Deletes entries, and with DELREF from what groups have pending; with ACKED only those that no group has to read or acknowledge. For each id -1 if it is not there, 1 if it was deleted, 2 if it stays. O(log N) for each.",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XADD s 2-1 f v\n\"2-1\"\n> XGROUP CREATE s g 1-1\nOK\n> XDELEX s ACKED IDS 3 1-1 2-1 0-1\n1) (integer) 1\n2) (integer) 2\n3) (integer) -1",
    run: |ctx| delete(ctx, None),
};

pub const XACKDEL: Command = Command {
    name: "XACKDEL",
    args: "key group [condition: KEEPREF | DELREF | ACKED] <ids: IDS numids:integer id:string [id:string ...]>",
    arity: -6,
    keys: Keys::one(1, keys::RW | keys::UPDATE | keys::DELETE),
    doc: "Acknowledges entries in a group and deletes them as XDELEX does. For each id -1 if the group has it not pending, 1 if it was deleted, 2 if it stays. O(log N) for each.",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XGROUP CREATE s g 0\nOK\n> XREADGROUP GROUP g c STREAMS s >\n*\n> XACKDEL s g IDS 2 1-1 2-1\n1) (integer) 1\n2) (integer) -1",
    run: |ctx| {
        let group = ctx.args.get(2);
        delete(ctx, Some(group))
    },
    ..XDELEX
};

/// What became of the ids of one call.
#[derive(Default)]
struct Done {
    replies: Vec<i64>,
    acknowledged: Vec<Id>,
    deleted: Vec<Id>,
    released: Vec<(Vec<u8>, Vec<Id>)>,
}

fn delete(ctx: &mut Ctx<'_, '_>, group: Option<&[u8]>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let key = args.key(1);
    db.look::<Stream>(key)?;
    let (pending, wanted) = parse(args, if group.is_some() { 3 } else { 2 })?;
    let done = carry_out(db, key, group, pending, wanted)?;
    out.0.array(done.replies.len());
    done.replies.iter().for_each(|reply| out.0.int(*reply));
    if let Some(group) = group.filter(|_| !done.acknowledged.is_empty()) {
        trim::propagate_ids(ctx, &[b"XACK", key, group], &done.acknowledged);
    }
    trim::propagate_released(ctx, key, &done.released);
    trim::propagate_ids(ctx, &[b"XDEL", key], &done.deleted);
    Ok(())
}

fn carry_out(
    db: &mut Db<'_>,
    key: &[u8],
    group: Option<&[u8]>,
    pending: Pending,
    wanted: Vec<&[u8]>,
) -> Result<Done, Error> {
    let mut done = Done::default();
    let found = db.edit::<Stream>(key)?.filter(|stream| group.is_none_or(|name| stream.group(name).is_some()));
    let Some(mut stream) = found else {
        done.replies.resize(wanted.len(), NOT_THERE);
        return Ok(done);
    };
    ids::all(wanted)?.into_iter().for_each(|id| done.one(&mut stream, id, group, pending));
    state(&mut stream, &done.deleted);
    let aside = done.acknowledged.len() + done.released.iter().map(|(_, ids)| ids.len()).sum::<usize>();
    if aside > 0 {
        stream.changed_aside("", aside);
    }
    Ok(done)
}

impl Done {
    fn one(&mut self, stream: &mut Stream, id: Id, group: Option<&[u8]>, pending: Pending) {
        if let Some(name) = group {
            if stream.group_mut(name).is_none_or(|group| group.release(id).is_none()) {
                return self.replies.push(NOT_THERE);
            }
            self.acknowledged.push(id);
        }
        if pending == Pending::Respect && stream.is_referenced(id) {
            return self.replies.push(STAYS);
        }
        if pending == Pending::Release {
            self.released.extend(trim::release(stream, &[id]));
        }
        if stream.delete(id) {
            self.deleted.push(id);
            self.replies.push(DELETED);
        } else {
            self.replies.push(if group.is_some() { DELETED } else { NOT_THERE });
        }
    }
}

/// `[KEEPREF|DELREF|ACKED] IDS n id …`, in either order.
fn parse<'a>(args: &mut Args<'a>, from: usize) -> Result<(Pending, Vec<&'a [u8]>), Error> {
    let (mut pending, mut wanted) = (None, None);
    args.skip_to(from);
    while let Some(word) = args.word() {
        match &*word {
            b"IDS" if !args.is_done() => wanted = Some(ids::block(args)?),
            word => match Pending::of(word) {
                Some(told) if pending.is_none() => pending = Some(told),
                _ => return Err(SYNTAX),
            },
        }
    }
    Ok((pending.unwrap_or_default(), wanted.ok_or(SYNTAX)?))
}

/// Replies for an id.
const NOT_THERE: i64 = -1;
const DELETED: i64 = 1;
const STAYS: i64 = 2;
