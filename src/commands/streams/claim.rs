//! Taking over what others have pending: of given ids, or of idle consumers.

use super::{ids, no_group, told};
use crate::command::ctx::Reply;
use crate::command::error::SYNTAX;
use crate::command::*;
use crate::keyspace::Edit;
use crate::num;
use crate::types::stream::{self, Delivery, Entry, Id, Owner, Stream};

pub const XAUTOCLAIM: Command = Command {
    name: "XAUTOCLAIM",
    args: "key group consumer min-idle-time:string start:string [COUNT count] [JUSTID]",
    arity: -6,
    since: "6.2.0",
    group: Group::Stream,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::DELETE),
    doc: "Takes over pending entries from an id on that are idle for long enough; where to go on, the entries, and ids whose entries are gone. O(1) for a small COUNT.",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XGROUP CREATE s g 0\nOK\n> XREADGROUP GROUP g a STREAMS s >\n*\n> XAUTOCLAIM s g b 0 0 JUSTID\n1) \"0-0\"\n2) 1) \"1-1\"\n3) (empty array)",
    run: autoclaim,
};

pub const XCLAIM: Command = Command {
    name: "XCLAIM",
    args: "key group consumer min-idle-time:string id:string [id ...] [IDLE ms:integer] [TIME unix-time-milliseconds:unix-time] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
    arity: -6,
    since: "5.0.0",
    group: Group::Stream,
    flags: WRITE | FAST,
    keys: Keys::write(1),
    doc: "Takes over pending entries that are idle for long enough; with FORCE also what is not pending. O(log N) for each.",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XGROUP CREATE s g 0\nOK\n> XREADGROUP GROUP g a STREAMS s >\n*\n> XCLAIM s g b 0 1-1 2-1\n1) 1) \"1-1\"\n   2) 1) \"f\"\n      2) \"v\"",
    run: claim,
};

/// A change of one pending entry, to be propagated.
struct Moved {
    id: Id,
    consumer: Box<[u8]>,
    delivery: Delivery,
}

/// A stream and one of its groups while entries change hands.
struct Hands<'a, 'd, 'k> {
    stream: Edit<'d, 'k, Stream>,
    group: &'a [u8],
    owner: Owner,
    /// The log is on: what happens is kept.
    kept: bool,
    moved: Vec<Moved>,
    changes: usize,
}

impl Hands<'_, '_, '_> {
    fn group(&mut self) -> &mut stream::Group {
        self.stream.group_mut(self.group).expect("looked up before, and groups go by XGROUP DESTROY only")
    }

    fn delivery(&self, id: Id) -> Option<Delivery> {
        self.stream.group(self.group).and_then(|group| group.delivery(id))
    }

    /// Ends the delivery of an entry that is gone from the stream.
    fn drop_pending(&mut self, id: Id) -> bool {
        let Some(delivery) = self.group().release(id) else { return false };
        self.note(id, delivery);
        true
    }

    fn take(&mut self, id: Id, at: i64, count: u64) {
        let (owner, now) = (self.owner, self.stream.now());
        let group = self.group();
        group.assign(id, owner, at, count);
        group.consumer_mut(owner).active = Some(now);
        self.note(id, Delivery { at, count, owner: Some(owner) });
    }

    fn note(&mut self, id: Id, delivery: Delivery) {
        self.changes += 1;
        if self.kept {
            let group = self.stream.group(self.group);
            let name = delivery.owner.zip(group).map(|(owner, group)| group.consumer(owner).name.clone());
            self.moved.push(Moved { id, consumer: name.unwrap_or_default(), delivery });
        }
    }

    /// States the changes; what is to be propagated.
    fn end(mut self) -> (Vec<Moved>, Id, Option<u64>) {
        if self.changes > 0 {
            self.stream.changed_aside("", self.changes);
        }
        let group = self.group();
        let (last, read) = (group.last, group.read);
        (self.moved, last, read)
    }
}

/// The consumer of a name, made if need be and seen now; whether it was made.
pub fn consumer(stream: &mut Edit<'_, '_, Stream>, group: &[u8], name: &[u8]) -> Option<(Owner, bool)> {
    let now = stream.now();
    let found = stream.group_mut(group)?;
    if let Some(owner) = found.find(name) {
        found.consumer_mut(owner).seen = now;
        return Some((owner, false));
    }
    let owner = found.create(name, now)?;
    stream.changed_aside("xgroup-createconsumer", 1);
    Some((owner, true))
}

pub fn propagate_consumer(ctx: &mut Ctx<'_, '_>, key: &[u8], group: &[u8], name: &[u8]) {
    ctx.propagate(&[b"XGROUP", b"CREATECONSUMER", key, group, name]);
}

/// Propagates up to where a group is read, which no claim tells. Redis 6.2 refuses the form with the count.
pub fn propagate_position(ctx: &mut Ctx<'_, '_>, key: &[u8], group: &[u8], last: Id, read: Option<u64>) {
    ctx.propagate(&[b"XGROUP", b"SETID", key, group, &last.text()]);
    if read.is_some() {
        propagate_read(ctx, key, group, last, read);
    }
}

/// Propagates how much of a stream a group has read, up to where claims told already.
pub fn propagate_read(ctx: &mut Ctx<'_, '_>, key: &[u8], group: &[u8], last: Id, read: Option<u64>) {
    let read = read.and_then(|read| i64::try_from(read).ok()).unwrap_or(-1);
    let (last, mut digits) = (last.text(), itoa::Buffer::new());
    ctx.propagate(&[b"XGROUP", b"SETID", key, group, &last, b"ENTRIESREAD", digits.format(read).as_bytes()]);
}

/// Propagates that an entry is a consumer's, `last` what the group has been delivered last.
pub fn propagate_claim(ctx: &mut Ctx<'_, '_>, names: [&[u8]; 3], id: Id, delivery: Delivery, last: Id) {
    let [key, group, consumer] = names;
    let (id, last, mut at, mut count) = (id.text(), last.text(), itoa::Buffer::new(), itoa::Buffer::new());
    let (at, count) = (at.format(delivery.at).as_bytes(), count.format(delivery.count).as_bytes());
    ctx.propagate(&[
        b"XCLAIM",
        key,
        group,
        consumer,
        b"0",
        &id,
        b"TIME",
        at,
        b"RETRYCOUNT",
        count,
        b"FORCE",
        b"JUSTID",
        b"LASTID",
        &last,
    ]);
}

/// The options behind XCLAIM's ids.
#[derive(Default)]
struct Options {
    at: Option<i64>,
    count: Option<u64>,
    force: bool,
    just_id: bool,
    last: Id,
}

fn options(args: &mut Args<'_>, now: i64) -> Result<Options, Error> {
    let mut options = Options::default();
    while let Some(text) = args.shift() {
        let is_last = args.is_done();
        let mut number = |error: Error| num::parse_i64(args.required()?).ok_or(error);
        match &*args::Word::of(text) {
            b"FORCE" => options.force = true,
            b"JUSTID" => options.just_id = true,
            b"IDLE" if !is_last => options.at = Some(now.saturating_sub(number(BAD_IDLE)?)),
            b"TIME" if !is_last => options.at = Some(number(BAD_TIME)?),
            b"RETRYCOUNT" if !is_last => options.count = u64::try_from(number(BAD_RETRYCOUNT)?).ok(),
            b"LASTID" if !is_last => options.last = ids::exact(args.required()?, 0)?,
            _ => return Err(told(&[b"ERR Unrecognized XCLAIM option '", text, b"'"])),
        }
    }
    Ok(options)
}

fn claim(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, session, node, .. } = ctx;
    let (key, name, consumer_name, now) = (args.key(1), args.get(2), args.get(3), db.now());
    let mut stream = db.edit::<Stream>(key)?.ok_or_else(|| no_group(key, name))?;
    if stream.group(name).is_none() {
        return Err(no_group(key, name));
    }
    let idle_min = args.int_in(4, i64::MIN..=i64::MAX, BAD_MIN_IDLE)?;
    let wanted: Vec<Id> = args.from(5).map_while(|text| ids::exact(text, 0).ok()).collect();
    args.skip_to(5 + wanted.len());
    let options = options(args, now)?;
    if session.is_replayed() && consumer_name.is_empty() && options.at == Some(0) {
        return put_back(&mut stream, name, &wanted, options.count.unwrap_or(0), out);
    }
    let moves_last = stream.group_mut(name).is_some_and(|group| {
        let moves = options.last > group.last;
        group.last = group.last.max(options.last);
        moves
    });
    let Some((owner, made)) = consumer(&mut stream, name, consumer_name) else { return Err(no_group(key, name)) };
    let kept = node.journal.records();
    let mut hands = Hands { stream, group: name, owner, kept, moved: Vec::new(), changes: usize::from(moves_last) };
    let (at, hole) = (options.at.filter(|at| (0..=now).contains(at)).unwrap_or(now), out.0.later());
    let claimed = wanted.into_iter().filter(|id| claim_one(&mut hands, out, *id, at, idle_min, &options)).count();
    let (moved, last, read) = hands.end();
    out.fill_array(hole, claimed)?;
    propagate(ctx, [key, name, consumer_name], &moved, made, last);
    if moves_last && moved.is_empty() {
        propagate_position(ctx, key, name, last, read);
    }
    Ok(())
}

/// Claims one entry if it may be, and answers it.
fn claim_one(
    hands: &mut Hands<'_, '_, '_>,
    out: &mut Reply<'_>,
    id: Id,
    at: i64,
    idle_min: i64,
    options: &Options,
) -> bool {
    let (now, delivery) = (hands.stream.now(), hands.delivery(id));
    let Some(entry) = hands.stream.find(id) else {
        hands.drop_pending(id);
        return false;
    };
    let deliveries = match delivery {
        Some(Delivery { at, owner: Some(_), .. }) if idle_min > 0 && now.saturating_sub(at) < idle_min => return false,
        Some(delivery) => delivery.count,
        None if options.force => 1,
        None => return false,
    };
    let counted = if options.just_id { deliveries } else { deliveries.saturating_add(1) };
    answer(out, &entry, options.just_id);
    hands.take(id, at, options.count.unwrap_or(counted));
    true
}

fn answer(out: &mut Reply<'_>, entry: &Entry<'_>, just_id: bool) {
    match just_id {
        true => ids::put(out, entry.id),
        false => ids::put_entry(out, entry),
    }
}

/// What the log has of XNACK.
fn put_back(stream: &mut Edit<'_, '_, Stream>, group: &[u8], ids: &[Id], count: u64, out: &mut Reply<'_>) -> Outcome {
    if let Some(group) = stream.group_mut(group) {
        ids.iter().for_each(|id| group.put_back(*id, count));
    }
    stream.changed_aside("", ids.len());
    out.empty_array()
}

/// What moved; a consumer that was made and got nothing is told of its own.
fn propagate(ctx: &mut Ctx<'_, '_>, names: [&[u8]; 3], moved: &[Moved], made: bool, last: Id) {
    let [key, group, consumer] = names;
    ctx.propagate_nothing();
    if made && !moved.iter().any(|moved| *moved.consumer == *consumer) {
        propagate_consumer(ctx, key, group, consumer);
    }
    for Moved { id, consumer, delivery } in moved {
        propagate_claim(ctx, [key, group, consumer], *id, *delivery, last);
    }
}

/// What XAUTOCLAIM is asked for.
struct Sweep {
    idle_min: i64,
    start: Id,
    count: usize,
    just_id: bool,
}

fn sweep(args: &mut Args<'_>) -> Result<Sweep, Error> {
    let idle_min = args.int_in(4, i64::MIN..=i64::MAX, BAD_MIN_IDLE_AUTO)?;
    let mut sweep = Sweep { idle_min, start: ids::start(args.get(5))?, count: COUNT_DEFAULT, just_id: false };
    args.skip_to(6);
    while let Some(word) = args.word() {
        match &*word {
            b"COUNT" if !args.is_done() => {
                sweep.count = args.int_in(args.cursor(), 1..=COUNT_MAX, BAD_COUNT)? as usize;
                args.shift();
            }
            b"JUSTID" => sweep.just_id = true,
            _ => return Err(SYNTAX),
        }
    }
    Ok(sweep)
}

fn autoclaim(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, node, .. } = ctx;
    let sweep = sweep(args)?;
    let (key, name, consumer_name) = (args.key(1), args.get(2), args.get(3));
    let mut stream = db.edit::<Stream>(key)?.ok_or_else(|| no_group(key, name))?;
    let Some((owner, made)) = consumer(&mut stream, name, consumer_name) else { return Err(no_group(key, name)) };
    let kept = node.journal.records();
    let mut hands = Hands { stream, group: name, owner, kept, moved: Vec::new(), changes: 0 };
    out.0.array(3);
    let gone = swept(&mut hands, out, &sweep);
    out.0.array(gone.len());
    gone.into_iter().for_each(|id| ids::put(out, id));
    let (moved, last, _) = hands.end();
    propagate(ctx, [key, name, consumer_name], &moved, made, last);
    Ok(())
}

/// Answers where to go on and what was claimed; the ids whose entries are gone.
fn swept(hands: &mut Hands<'_, '_, '_>, out: &mut Reply<'_>, sweep: &Sweep) -> Vec<Id> {
    let (now, mut from, mut left, mut gone) = (hands.stream.now(), Some(sweep.start), sweep.count, Vec::new());
    let place = out.0.later();
    let (hole, mut claimed) = (out.0.later(), 0);
    let mut looks = sweep.count.saturating_mul(LOOKS_PER_CLAIM);
    while let Some(start) = from.filter(|_| left > 0 && looks > 0) {
        let some: Vec<_> = hands.group().pending_from(start).take(left.min(looks).min(LOOKS_AT_ONCE)).collect();
        if some.is_empty() {
            break;
        }
        looks -= some.len();
        for (id, delivery) in some {
            from = id.next();
            let Some(entry) = hands.stream.find(id) else {
                hands.drop_pending(id);
                gone.push(id);
                left -= 1;
                continue;
            };
            if delivery.owner.is_some() && sweep.idle_min > 0 && now.saturating_sub(delivery.at) < sweep.idle_min {
                continue;
            }
            answer(out, &entry, sweep.just_id);
            let count = if sweep.just_id { delivery.count } else { delivery.count.saturating_add(1) };
            hands.take(id, now, count);
            (left, claimed) = (left - 1, claimed + 1);
        }
    }
    out.0.fill_array(hole, claimed);
    let next = from.and_then(|from| hands.group().pending_from(from).next()).map_or(Id::ZERO, |(id, _)| id);
    out.0.fill_bulk(place, &next.text());
    gone
}

const BAD_MIN_IDLE: Error = Error::new("ERR Invalid min-idle-time argument for XCLAIM");
const BAD_MIN_IDLE_AUTO: Error = Error::new("ERR Invalid min-idle-time argument for XAUTOCLAIM");
const BAD_IDLE: Error = Error::new("ERR Invalid IDLE option argument for XCLAIM");
const BAD_TIME: Error = Error::new("ERR Invalid TIME option argument for XCLAIM");
const BAD_RETRYCOUNT: Error = Error::new("ERR Invalid RETRYCOUNT option argument for XCLAIM");
const BAD_COUNT: Error = Error::new("ERR COUNT must be > 0");
const COUNT_DEFAULT: usize = 100;
/// Redis's own bound.
const COUNT_MAX: i64 = i64::MAX / 16;
/// Pending entries looked at for each that may be claimed.
const LOOKS_PER_CLAIM: usize = 10;
/// Pending entries that are looked up together.
const LOOKS_AT_ONCE: usize = 64;
