//! What is pending in a group: told, acknowledged, put back.

use super::{ids, no_group};
use crate::command::ctx::Reply;
use crate::command::error::SYNTAX;
use crate::command::*;
use crate::types::stream::{self, Delivery, Id, Owner, Stream};

pub const XACK: Command = Command {
    name: "XACK",
    args: "key group id:string [id ...]",
    arity: -4,
    since: "5.0.0",
    group: Group::Stream,
    flags: WRITE | FAST,
    keys: Keys::write(1),
    doc: "Takes entries out of what a group has pending; how many were there. O(log N) for each.",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XGROUP CREATE s g 0\nOK\n> XREADGROUP GROUP g c STREAMS s >\n*\n> XACK s g 1-1 2-1\n(integer) 1",
    run: ack,
};

fn ack(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let Some(mut stream) = db.edit::<Stream>(args.key(1))? else { return out.int(0) };
    let Some(group) = stream.group_mut(args.get(2)) else { return out.int(0) };
    let ids = ids::all(args.from(3))?;
    let acknowledged = ids.into_iter().filter(|id| group.release(*id).is_some()).count();
    if acknowledged > 0 {
        stream.changed_aside("", acknowledged);
    }
    out.count(acknowledged)
}

pub const XPENDING: Command = Command {
    name: "XPENDING",
    args: "key group [filters: [IDLE@6.2.0 min-idle-time:integer] start:string end:string count [consumer]]",
    arity: -3,
    since: "5.0.0",
    group: Group::Stream,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "How much a group has pending, from which id to which, and each consumer's share; or the entries of a range with consumer, idle time and deliveries. O(N) in consumers, or in the entries looked at.",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XGROUP CREATE s g 0\nOK\n> XREADGROUP GROUP g c STREAMS s >\n*\n> XPENDING s g\n1) (integer) 1\n2) \"1-1\"\n3) \"1-1\"\n4) 1) 1) \"c\"\n      2) \"1\"\n> XPENDING s g - + 10 nobody\n(empty array)",
    run: pending,
};

/// Which of the pending entries.
struct Filter<'a> {
    start: Id,
    end: Id,
    count: usize,
    idle_min: i64,
    consumer: Option<&'a [u8]>,
}

fn filter<'a>(args: &Args<'a>) -> Result<Option<Filter<'a>>, Error> {
    if args.len() == 3 {
        return Ok(None);
    }
    if !(6..=9).contains(&args.len()) {
        return Err(SYNTAX);
    }
    let (mut at, mut idle_min) = (3, 0);
    if args.word_at(3).eq(b"IDLE") {
        idle_min = args.int(4)?;
        if args.len() < 8 {
            return Err(SYNTAX);
        }
        at = 5;
    }
    let count = usize::try_from(args.int(at + 2)?).unwrap_or(0);
    let (start, end) = (ids::start(args.get(at))?, ids::end(args.get(at + 1))?);
    let consumer = (at + 3 < args.len()).then(|| args.get(at + 3));
    Ok(Some(Filter { start, end, count, idle_min, consumer }))
}

fn pending(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let (key, name, filter, now) = (args.key(1), args.get(2), filter(args)?, db.now());
    let stream = db.read::<Stream>(key)?;
    let group = stream.and_then(|stream| stream.group(name)).ok_or_else(|| no_group(key, name))?;
    let Some(filter) = filter else { return summary(out, group) };
    let owner = match filter.consumer {
        None => None,
        Some(name) => match group.find(name) {
            Some(owner) => Some(owner),
            None => return out.empty_array(),
        },
    };
    let hole = out.0.later();
    let wanted = entries(group, owner, filter.start)
        .take_while(|(id, _)| *id <= filter.end)
        .filter(|(_, delivery)| filter.idle_min == 0 || now.saturating_sub(delivery.at) >= filter.idle_min)
        .take(filter.count);
    let count = wanted.inspect(|(id, delivery)| put(out, group, *id, *delivery, now)).count();
    out.fill_array(hole, count)
}

/// What is pending from an id on, of one consumer or of all.
fn entries(group: &stream::Group, owner: Option<Owner>, from: Id) -> Box<dyn Iterator<Item = (Id, Delivery)> + '_> {
    match owner {
        None => Box::new(group.pending_from(from)),
        Some(owner) => {
            let ids = group.consumer(owner).ids_from(from);
            Box::new(ids.filter_map(|id| group.delivery(id).map(|delivery| (id, delivery))))
        }
    }
}

fn put(out: &mut Reply<'_>, group: &stream::Group, id: Id, delivery: Delivery, now: i64) {
    out.0.array(4);
    ids::put(out, id);
    match delivery.owner {
        Some(owner) => {
            out.0.bulk(&group.consumer(owner).name);
            out.0.int(now.saturating_sub(delivery.at).max(0));
        }
        None => {
            out.0.bulk(b"");
            out.0.int(-1);
        }
    }
    out.0.int(i64::try_from(delivery.count).unwrap_or(i64::MAX));
}

fn summary(out: &mut Reply<'_>, group: &stream::Group) -> Outcome {
    out.0.array(4);
    out.count(group.pending())?;
    let (Some(first), Some(last)) = (group.first_pending(), group.last_pending()) else {
        out.0.null();
        out.0.null();
        return out.null_array();
    };
    ids::put(out, first);
    ids::put(out, last);
    let hole = out.0.later();
    let busy = group.consumers().filter(|(_, consumer)| consumer.pending() > 0);
    let count = busy
        .inspect(|(_, consumer)| {
            out.0.array(2);
            out.0.bulk(&consumer.name);
            out.0.bulk_int(consumer.pending() as i64);
        })
        .count();
    out.fill_array(hole, count)
}

pub const XNACK: Command = Command {
    name: "XNACK",
    args: "key group <mode: SILENT | FAIL | FATAL> <ids: IDS numids:integer id:string [id:string ...]> [RETRYCOUNT count] [FORCE]",
    arity: -7,
    since: "8.8.0",
    group: Group::Stream,
    flags: WRITE | FAST,
    keys: Keys::write(1),
    doc: "Puts pending entries back: they have no owner, and are the first to be claimed. SILENT takes one delivery back, FATAL counts the greatest number of them. How many were put back. O(log N) for each.",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XGROUP CREATE s g 0\nOK\n> XREADGROUP GROUP g c STREAMS s >\n*\n> XNACK s g FAIL IDS 1 1-1\n(integer) 1\n> XPENDING s g - + 1\n1) 1) \"1-1\"\n   2) \"\"\n   3) (integer) -1\n   4) (integer) 1",
    run: nack,
};

/// What putting back does to the deliveries counted.
#[derive(Clone, Copy)]
enum Counts {
    OneLess,
    Same,
    Most,
    Exactly(u64),
}

impl Counts {
    fn after(self, deliveries: u64) -> u64 {
        match self {
            Self::OneLess => deliveries.saturating_sub(1),
            Self::Same => deliveries,
            Self::Most => i64::MAX as u64,
            Self::Exactly(count) => count,
        }
    }
}

struct Nack {
    counts: Counts,
    ids: Vec<Id>,
    force: bool,
}

fn nack_request(args: &mut Args<'_>) -> Result<Nack, Error> {
    args.skip_to(3);
    let counts = match &*args.word().ok_or(SYNTAX)? {
        b"SILENT" => Counts::OneLess,
        b"FAIL" => Counts::Same,
        b"FATAL" => Counts::Most,
        _ => return Err(SYNTAX),
    };
    let (mut nack, mut told) = (Nack { counts, ids: Vec::new(), force: false }, false);
    while let Some(word) = args.word() {
        match &*word {
            b"FORCE" => nack.force = true,
            b"RETRYCOUNT" if !args.is_done() => {
                nack.counts = Counts::Exactly(u64::try_from(args.required_int()?).map_err(|_| error::NOT_POSITIVE)?);
            }
            b"IDS" if !told && !args.is_done() => {
                (nack.ids, told) = (ids::all(ids::block(args)?)?, true);
            }
            _ => return Err(SYNTAX),
        }
    }
    if told { Ok(nack) } else { Err(SYNTAX) }
}

fn nack(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let request = nack_request(&mut ctx.args)?;
    let Ctx { args, db, out, .. } = ctx;
    let (key, name) = (args.key(1), args.get(2));
    let mut stream = db.edit::<Stream>(key)?.ok_or_else(|| no_group(key, name))?;
    if stream.group(name).is_none() {
        return Err(no_group(key, name));
    }
    let mut back = Vec::new();
    for id in request.ids {
        let (exists, Some(group)) = (stream.find(id).is_some(), stream.group_mut(name)) else { continue };
        let deliveries = match group.delivery(id) {
            Some(delivery) => request.counts.after(delivery.count),
            None if request.force && exists => request.counts.after(0),
            None => continue,
        };
        group.put_back(id, deliveries);
        back.push((id, deliveries));
    }
    if !back.is_empty() {
        stream.changed_aside("", back.len());
        stream.wake();
    }
    drop(stream);
    out.count(back.len())?;
    back.into_iter().for_each(|(id, deliveries)| propagate_back(ctx, key, name, id, deliveries));
    Ok(())
}

/// As a claim of the consumer without a name, of the beginning of time: what older servers can hold of it, and what is
/// understood when the log is read ([`super::claim`]).
fn propagate_back(ctx: &mut Ctx<'_, '_>, key: &[u8], group: &[u8], id: Id, deliveries: u64) {
    let (id, mut digits) = (id.text(), itoa::Buffer::new());
    let count = digits.format(deliveries).as_bytes();
    let args: [&[u8]; 12] =
        [b"XCLAIM", key, group, b"", b"0", &id, b"TIME", b"0", b"RETRYCOUNT", count, b"FORCE", b"JUSTID"];
    ctx.propagate(&args);
}
