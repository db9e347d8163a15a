//! XREADGROUP: entries for one consumer of a group, new ones or its own once more.

use super::read::{self, Request};
use super::{claim, ids, told};
use crate::command::ctx::Reply;
use crate::command::waiting::Wait;
use crate::command::*;
use crate::keyspace::Edit;
use crate::types::stream::{Delivery, Group as ConsumerGroup, Id, Owner, Stream};

pub const XREADGROUP: Command = Command {
    name: "XREADGROUP",
    args: "<group-block: GROUP group consumer> [COUNT count] [BLOCK milliseconds] [NOACK] <streams: STREAMS key [key ...] id:string [id:string ...]>",
    arity: -7,
    since: "5.0.0",
    group: Group::Stream,
    flags: WRITE | BLOCKING | MOVABLE_KEYS,
    keys: read::keys_of(4),
    doc: "Entries that no consumer of the group was delivered yet (`>`), which are then pending, or with an id what this consumer has pending behind it. CLAIM takes over first what is idle for long enough, also while it waits. O(M) in those answered; CLAIM looks at all that is pending, if something may be due.",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XGROUP CREATE s g 0\nOK\n> XREADGROUP GROUP g c STREAMS s >\n1) 1) \"s\"\n   2) 1) 1) \"1-1\"\n         2) 1) \"f\"\n            2) \"v\"\n> XREADGROUP GROUP g c BLOCK 10 STREAMS s >\n(nil)\n> XDEL s 1-1\n(integer) 1\n> XREADGROUP GROUP g c STREAMS s 0\n1) 1) \"s\"\n   2) 1) 1) \"1-1\"\n         2) (nil)",
    run: read_group,
};

/// What is asked of one stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    New,
    Own(Id),
}

/// What one stream's turn did, to be propagated.
#[derive(Default)]
struct Delivered {
    /// The consumer was made.
    made: bool,
    claimed: Vec<(Id, Delivery)>,
    /// Ids that were pending, and are gone from the stream.
    gone: Vec<(Id, Box<[u8]>, Delivery)>,
    new: Vec<Id>,
    last: Id,
    read: Option<u64>,
}

/// The place of one answer among the others.
struct Answer<'r, 'o> {
    out: &'r mut Reply<'o>,
    /// Where the reply begins, and how many entries it has.
    start: usize,
    answered: usize,
}

fn read_group(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let again = ctx.again;
    let Ctx { args, db, .. } = ctx;
    let request = Request::parse(args, db.now(), true)?;
    let Some((group, consumer)) = request.group else { return Err(error::SYNTAX) };
    let mut wanted = Vec::new();
    for i in 0..request.streams {
        let (key, text) = (args.key(request.first + i), request.id(args, i));
        match db.read::<Stream>(key) {
            Ok(Some(stream)) if stream.group(group).is_some() => {}
            Ok(None) | Err(_) if again => return Err(KEY_GONE),
            Ok(_) => return Err(no_group(key, group)),
            Err(wrong) => return Err(wrong.into()),
        }
        wanted.push(match text {
            b">" => From::New,
            b"$" => return Err(meaningless("$")),
            b"+" => return Err(meaningless("+")),
            text => From::Own(ids::exact(text, 0)?),
        });
    }
    let hole = ctx.out.0.later();
    let (start, mut answered, mut streams) = (ctx.out.0.buf.len(), 0, 0);
    ctx.propagate_nothing();
    for (i, from) in wanted.into_iter().enumerate() {
        let key = ctx.args.key(request.first + i);
        let Ctx { db, out, .. } = ctx;
        let Some(mut stream) = db.edit::<Stream>(key)? else { continue };
        let Some((owner, made)) = claim::consumer(&mut stream, group, consumer) else { continue };
        let before = out.0.buf.len();
        let mut answer = Answer { out, start, answered };
        let mut delivered = Delivered { made, ..Delivered::default() };
        let served = match from {
            From::Own(id) => own(&mut stream, group, owner, id, key, &request, &mut answer),
            From::New => new(&mut stream, group, owner, key, &request, &mut answer, &mut delivered),
        };
        answered = answer.answered;
        streams += usize::from(served);
        if !served {
            out.0.buf.truncate(before);
        }
        drop(stream);
        propagate(ctx, [key, group, consumer], &request, &delivered);
    }
    if streams > 0 {
        return read::end_streams(&mut ctx.out, hole, streams);
    }
    match request.patience {
        // Clients that wait in a group hear of its end.
        Some(patience) if ctx.may_wait() => {
            let look_at = look_at(ctx, &request, group);
            ctx.wait(Wait { hears_end: true, look_at, ..Wait::keys(patience) })
        }
        _ => ctx.out.null_array(),
    }
}

/// When something may be due to be claimed: what is pending now by its delivery, what will be delivered later at the
/// earliest if that is at this moment.
fn look_at(ctx: &mut Ctx<'_, '_>, request: &Request<'_>, group: &[u8]) -> Option<i64> {
    let (idle_min, now) = (request.claim?, ctx.db.now());
    let mut oldest = now;
    for i in 0..request.streams {
        let stream = ctx.db.look::<Stream>(ctx.args.key(request.first + i)).ok().flatten();
        let delivery = stream.and_then(|stream| stream.group(group)).and_then(ConsumerGroup::oldest_delivery);
        oldest = oldest.min(delivery.unwrap_or(now));
    }
    Some(oldest.saturating_add(idle_min).max(now.saturating_add(LOOK_INTERVAL_MS)))
}

/// Answers what the consumer has pending behind an id: that is one delivery more for those that are still there.
fn own(
    stream: &mut Edit<'_, '_, Stream>,
    group: &[u8],
    owner: Owner,
    behind: Id,
    key: &[u8],
    request: &Request<'_>,
    answer: &mut Answer<'_, '_>,
) -> bool {
    let (now, count) = (stream.now(), request.count.unwrap_or(usize::MAX));
    let consumer = stream.group(group).map(|group| group.consumer(owner));
    let behind = behind.next();
    let ids: Vec<Id> = consumer.zip(behind).into_iter().flat_map(|(c, from)| c.ids_from(from)).take(count).collect();
    read::begin_stream(answer.out, key);
    answer.out.0.array(ids.len());
    for id in &ids {
        match stream.find(*id) {
            Some(entry) => ids::put_entry(answer.out, &entry),
            None => {
                answer.out.0.array(2);
                ids::put(answer.out, *id);
                answer.out.0.null_array();
                continue;
            }
        }
        if let Some(group) = stream.group_mut(group)
            && let Some(delivery) = group.delivery(*id)
        {
            group.assign(*id, owner, now, delivery.count.saturating_add(1));
        }
    }
    answer.answered += ids.len();
    stream.changed_aside("", 1);
    true
}

/// Answers what is due to be claimed, then what was not delivered yet. False if there is nothing.
fn new(
    stream: &mut Edit<'_, '_, Stream>,
    group: &[u8],
    owner: Owner,
    key: &[u8],
    request: &Request<'_>,
    answer: &mut Answer<'_, '_>,
    delivered: &mut Delivered,
) -> bool {
    let (now, from) = (stream.now(), stream.group(group).and_then(|group| group.last.next()));
    read::begin_stream(answer.out, key);
    let (hole, before) = (answer.out.0.later(), answer.answered);
    if let Some(idle_min) = request.claim {
        claimed(stream, group, owner, now.saturating_sub(idle_min), request, answer, delivered);
    }
    let room = request.room(answer.answered, answer.out.0.buf.len() - answer.start);
    let room = room.min(request.count.map_or(usize::MAX, |count| count.saturating_sub(answer.answered - before)));
    if let Some(from) = from {
        for entry in stream.range(from, Id::MAX).take(room) {
            if answer.answered > 0 && answer.out.0.buf.len() - answer.start >= request.caps.bytes {
                break;
            }
            ids::put_entry(answer.out, &entry);
            delivered.new.push(entry.id);
            answer.answered += 1;
        }
    }
    stream.deliver(group, &delivered.new, (!request.noack).then_some(owner), now);
    let served = answer.answered - before;
    answer.out.0.fill_array(hole, served);
    let Some(found) = stream.group_mut(group) else { return false };
    (delivered.last, delivered.read) = (found.last, found.read);
    if served > 0 {
        found.consumer_mut(owner).active = Some(now);
    }
    let changes = delivered.new.len() + delivered.claimed.len() + delivered.gone.len();
    if changes > 0 {
        stream.changed_aside("", changes);
    }
    served > 0
}

/// Takes over and answers what has no owner or was delivered before `until`, with its idle time and deliveries.
fn claimed(
    stream: &mut Edit<'_, '_, Stream>,
    group: &[u8],
    owner: Owner,
    until: i64,
    request: &Request<'_>,
    answer: &mut Answer<'_, '_>,
    delivered: &mut Delivered,
) {
    let (now, room) = (stream.now(), request.room(answer.answered, answer.out.0.buf.len() - answer.start));
    let ids = stream.group_mut(group).map_or_else(Vec::new, |group| group.claimable(until, room));
    for id in ids {
        if answer.answered > 0 && answer.out.0.buf.len() - answer.start >= request.caps.bytes {
            break;
        }
        let exists = stream.find(id).is_some();
        let Some(found) = stream.group_mut(group) else { return };
        let Some(delivery) = found.delivery(id) else { continue };
        if !exists {
            let name = delivery.owner.map_or_else(Box::default, |owner| found.consumer(owner).name.clone());
            found.release(id);
            delivered.gone.push((id, name, delivery));
            continue;
        }
        let count = delivery.count.saturating_add(1);
        found.assign(id, owner, now, count);
        delivered.claimed.push((id, Delivery { at: now, count, owner: Some(owner) }));
        let Some(entry) = stream.find(id) else { continue };
        answer.out.0.array(4);
        ids::put_entry_parts(answer.out, &entry);
        answer.out.0.int(now.saturating_sub(delivery.at).max(0));
        answer.out.0.int(i64::try_from(delivery.count).unwrap_or(i64::MAX));
        answer.answered += 1;
    }
}

/// Deliveries as claims; where the group stands now; a consumer that got nothing of its own.
fn propagate(ctx: &mut Ctx<'_, '_>, names: [&[u8]; 3], request: &Request<'_>, delivered: &Delivered) {
    if !ctx.node.journal.records() {
        return;
    }
    let ([key, group, consumer], now) = (names, ctx.db.now());
    let pending = if request.noack { &[] } else { &delivered.new[..] };
    if delivered.made && pending.is_empty() && delivered.claimed.is_empty() {
        claim::propagate_consumer(ctx, key, group, consumer);
    }
    for (id, name, delivery) in &delivered.gone {
        claim::propagate_claim(ctx, [key, group, name], *id, *delivery, Id::ZERO);
    }
    for (id, delivery) in &delivered.claimed {
        claim::propagate_claim(ctx, names, *id, *delivery, Id::ZERO);
    }
    for id in pending {
        claim::propagate_claim(ctx, names, *id, Delivery { at: now, count: 1, owner: None }, *id);
    }
    match (delivered.new.is_empty(), pending.is_empty()) {
        (true, _) => {}
        (_, true) => claim::propagate_position(ctx, key, group, delivered.last, delivered.read),
        _ => claim::propagate_read(ctx, key, group, delivered.last, delivered.read),
    }
}

fn no_group(key: &[u8], group: &[u8]) -> Error {
    told(&[b"NOGROUP No such key '", key, b"' or consumer group '", group, b"' in XREADGROUP with GROUP option"])
}

/// What a reader that waited is told in Redis 7.0; newer versions tell what a reader would be told that comes now.
const KEY_GONE: Error = Error::new("UNBLOCKED the stream key no longer exists");

/// A waiting reader looks no more often for what it may claim.
const LOOK_INTERVAL_MS: i64 = 20;

fn meaningless(id: &str) -> Error {
    Error::owned(format!(
        "ERR The {id} ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The {id} ID would just return an empty result set."
    ))
}
