//! The commands that make an entry: a base of the append-only log without the RDB preamble.

use crate::clock::Millis;
use crate::keyspace::entry::Body;
use crate::num;
use crate::resp::encode_request;
use crate::types::big::{Big, Part};
use crate::types::hash::Hash;
use crate::types::set::Set;
use crate::types::stream::{self, Delivery, Id, Owns, Stream};
use crate::types::zset::Zset;
use crate::types::{Text, View};

/// Appends the commands that make a key as it is.
pub fn encode_entry(out: &mut Vec<u8>, key: &[u8], expiry: Option<Millis>, body: &Body<'_>) {
    let mut digits = itoa::Buffer::new();
    match body {
        Body::Bytes(bytes) => request(out, &[b"SET", key, bytes]),
        Body::Int(n) => request(out, &[b"SET", key, digits.format(*n).as_bytes()]),
        Body::Value(value) => encode_view(out, key, value.view()),
    }
    encode_expiry(out, key, expiry);
}

fn encode_view(out: &mut Vec<u8>, key: &[u8], view: View<'_>) {
    match view {
        View::Str(bytes) => request(out, &[b"SET", key, bytes]),
        View::List(list) => several(out, &[b"RPUSH", key], list.iter_from(0)),
        View::Hash(fields) => hash(out, key, fields),
        View::Set(members) => set(out, key, members),
        View::Zset(members) => zset(out, key, members),
        View::Stream(stream) => {
            let mut walk = stream::Walk::begin();
            while walk.step(stream, |part| stream_part(out, key, part)) {}
        }
    }
}

pub fn encode_expiry(out: &mut Vec<u8>, key: &[u8], expiry: Option<Millis>) {
    if let Some(at) = expiry {
        request(out, &[b"PEXPIREAT", key, itoa::Buffer::new().format(at).as_bytes()]);
    }
}

/// Appends the commands that add the next piece of a big value. False behind the last.
pub fn encode_piece(out: &mut Vec<u8>, key: &[u8], big: &Big) -> bool {
    if let Big::Stream(cut) = big {
        return cut.step(|part| stream_part(out, key, part));
    }
    let (mut members, mut timed) = (Vec::new(), Vec::new());
    let more = big.step(|part| match part {
        Part::Pack(pack) => members.extend(pack.iter().map(Text::to_vec)),
        Part::Member(member) => members.push(member.to_vec()),
        Part::Scored(member, score) => members.extend([score_text(score), member.to_vec()]),
        Part::Field(field) => {
            members.extend([field.name().to_vec(), field.value().to_vec()]);
            timed.extend(field.due().map(|at| (field.name().to_vec(), at)));
        }
        Part::Stream(_) => {}
    });
    let command: &[u8] = match big {
        Big::List(_) => b"RPUSH",
        Big::Hash(..) => b"HSET",
        Big::Set(_) => b"SADD",
        Big::Zset(_) | Big::Stream(_) => b"ZADD",
    };
    several(out, &[command, key], members.iter().map(|text| Text::Bytes(text)));
    times(out, key, &timed);
    more
}

fn request(out: &mut Vec<u8>, args: &[&[u8]]) {
    encode_request(out, args.iter().copied());
}

fn set(out: &mut Vec<u8>, key: &[u8], set: &Set) {
    let mut members = Vec::new();
    set.for_each(|member| members.push(member.to_vec()));
    several(out, &[b"SADD", key], members.iter().map(|text| Text::Bytes(text)));
}

fn zset(out: &mut Vec<u8>, key: &[u8], zset: &Zset) {
    let mut pairs = Vec::new();
    for (member, score) in zset.walk(0..zset.len(), false) {
        pairs.extend([score_text(score), member.to_vec()]);
    }
    several(out, &[b"ZADD", key], pairs.iter().map(|text| Text::Bytes(text)));
}

fn hash(out: &mut Vec<u8>, key: &[u8], fields: &Hash) {
    let (mut pairs, mut timed) = (Vec::new(), Vec::new());
    fields.for_each(|field, value, due| {
        pairs.extend([field.to_vec(), value.to_vec()]);
        timed.extend(due.map(|at| (field.to_vec(), at)));
    });
    several(out, &[b"HSET", key], pairs.iter().map(|text| Text::Bytes(text)));
    times(out, key, &timed);
}

/// The commands that make a part of a stream, as Redis writes them.
fn stream_part(out: &mut Vec<u8>, key: &[u8], part: stream::Part<'_>) {
    match part {
        stream::Part::Node(master, node) => node.from(master, Id::ZERO).for_each(|entry| {
            let id = entry.id.text();
            let pairs: Vec<Vec<u8>> = entry.pairs().flat_map(|(name, value)| [name.to_vec(), value.to_vec()]).collect();
            let args: Vec<&[u8]> = [b"XADD", key, &id].into_iter().chain(pairs.iter().map(|text| &text[..])).collect();
            request(out, &args);
        }),
        stream::Part::Counters(stream) => counters(out, key, stream),
        stream::Part::Group(name, group) => {
            let (id, mut digits) = (group.last.text(), itoa::Buffer::new());
            let read = digits.format(read(group)).as_bytes();
            request(out, &[b"XGROUP", b"CREATE", key, name, &id, b"ENTRIESREAD", read]);
        }
        // Also one that has something pending: of entries that are gone no claim makes it.
        stream::Part::Consumer(owns) if !owns.is_unowned() => {
            request(out, &[b"XGROUP", b"CREATECONSUMER", key, owns.group, owns.name]);
        }
        stream::Part::Owned(owns, id, delivery) => owned(out, key, owns, id, delivery),
        stream::Part::Pending(..) | stream::Part::Consumers(_) | stream::Part::Consumer(_) => {}
    }
}

/// What stands once of a stream. One without entries comes to be by an entry that is trimmed at once.
fn counters(out: &mut Vec<u8>, key: &[u8], stream: &Stream) {
    if stream.is_empty() {
        request(out, &[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"]);
    }
    tell_counters(key, stream, false, &mut |args| request(out, args));
    if let Some(known) = stream.idempotence() {
        let (mut duration, mut size) = (itoa::Buffer::new(), itoa::Buffer::new());
        let (duration, size) = (duration.format(known.limits.duration), size.format(known.limits.size));
        request(out, &[b"XCFGSET", key, b"IDMP-DURATION", duration.as_bytes(), b"IDMP-MAXSIZE", size.as_bytes()]);
        for (pid, iid, id) in known.iter() {
            request(out, &[b"XIDMPRECORD", key, pid, iid, &id.text()]);
        }
    }
}

/// The command that sets a stream's counters, and with `of_groups` those that set how much of it each group has read.
pub fn tell_counters(key: &[u8], stream: &Stream, of_groups: bool, tell: &mut impl FnMut(&[&[u8]])) {
    let (last, max_deleted, mut digits) = (stream.last_id().text(), stream.max_deleted().text(), itoa::Buffer::new());
    let added = digits.format(stream.added()).as_bytes();
    tell(&[b"XSETID", key, &last, b"ENTRIESADDED", added, b"MAXDELETEDID", &max_deleted]);
    for (name, group) in stream.groups().filter(|_| of_groups) {
        let (id, read) = (group.last.text(), read(group));
        tell(&[b"XGROUP", b"SETID", key, name, &id, b"ENTRIESREAD", digits.format(read).as_bytes()]);
    }
}

/// What ENTRIESREAD says of a group.
fn read(group: &stream::Group) -> i64 {
    group.read.and_then(|read| i64::try_from(read).ok()).unwrap_or(-1)
}

/// A pending entry and who has it.
fn owned(out: &mut Vec<u8>, key: &[u8], owns: Owns<'_>, id: Id, delivery: Delivery) {
    let (id, mut at, mut count) = (id.text(), itoa::Buffer::new(), itoa::Buffer::new());
    let (at, count) = (at.format(delivery.at).as_bytes(), count.format(delivery.count).as_bytes());
    let args: [&[u8]; 12] =
        [b"XCLAIM", key, owns.group, owns.name, b"0", &id, b"TIME", at, b"RETRYCOUNT", count, b"JUSTID", b"FORCE"];
    request(out, &args);
}

fn times(out: &mut Vec<u8>, key: &[u8], timed: &[(Vec<u8>, Millis)]) {
    for (field, at) in timed {
        request(out, &[b"HPEXPIREAT", key, itoa::Buffer::new().format(*at).as_bytes(), b"FIELDS", b"1", field]);
    }
}

fn score_text(score: f64) -> Vec<u8> {
    let mut text = Vec::new();
    num::push_f64(&mut text, score);
    text
}

/// A command for every [`MEMBERS_PER_COMMAND`] members.
fn several<'a>(out: &mut Vec<u8>, head: &[&[u8]], members: impl Iterator<Item = Text<'a>>) {
    let mut members = members.peekable();
    while members.peek().is_some() {
        let some: Vec<Vec<u8>> = members.by_ref().take(MEMBERS_PER_COMMAND).map(Text::to_vec).collect();
        let args: Vec<&[u8]> = head.iter().copied().chain(some.iter().map(|m| &m[..])).collect();
        request(out, &args);
    }
}

/// Redis's AOF_REWRITE_ITEMS_PER_CMD.
const MEMBERS_PER_COMMAND: usize = 64;
