//! The commands that make an entry: a base of the append-only log without the RDB preamble.

use crate::clock::Millis;
use crate::keyspace::entry::Body;
use crate::num;
use crate::resp::encode_request;
use crate::types::big::{Big, Part};
use crate::types::hash::Hash;
use crate::types::set::Set;
use crate::types::zset::Zset;
use crate::types::{Collection, Text, Value};

/// Appends the commands that make a key as it is.
pub fn encode_entry(out: &mut Vec<u8>, key: &[u8], expiry: Option<Millis>, body: &Body<'_>) {
    let mut digits = itoa::Buffer::new();
    match body {
        Body::Bytes(bytes) => request(out, &[b"SET", key, bytes]),
        Body::Int(n) => request(out, &[b"SET", key, digits.format(*n).as_bytes()]),
        Body::Value(Value::Str(bytes)) => request(out, &[b"SET", key, bytes]),
        Body::Value(Value::List(list)) => several(out, &[b"RPUSH", key], list.iter_from(0)),
        Body::Value(value @ (Value::HashPacked(_) | Value::HashTimed(_) | Value::HashTable(_))) => {
            hash(out, key, value)
        }
        Body::Value(value @ (Value::SetInts(_) | Value::SetPacked(_) | Value::SetTable(_))) => set(out, key, value),
        Body::Value(value @ (Value::ZsetPacked(_) | Value::ZsetTree(_))) => zset(out, key, value),
    }
    encode_expiry(out, key, expiry);
}

pub fn encode_expiry(out: &mut Vec<u8>, key: &[u8], expiry: Option<Millis>) {
    if let Some(at) = expiry {
        request(out, &[b"PEXPIREAT", key, itoa::Buffer::new().format(at).as_bytes()]);
    }
}

/// Appends the commands that add the next piece of a big value. False behind the last.
pub fn encode_piece(out: &mut Vec<u8>, key: &[u8], big: &Big) -> bool {
    let (mut members, mut timed) = (Vec::new(), Vec::new());
    let more = big.step(|part| match part {
        Part::Pack(pack) => members.extend(pack.iter().map(Text::to_vec)),
        Part::Member(member) => members.push(member.to_vec()),
        Part::Scored(member, score) => members.extend([score_text(score), member.to_vec()]),
        Part::Field(field) => {
            members.extend([field.name().to_vec(), field.value().to_vec()]);
            timed.extend(field.due().map(|at| (field.name().to_vec(), at)));
        }
    });
    let command: &[u8] = match big {
        Big::List(_) => b"RPUSH",
        Big::Hash(..) => b"HSET",
        Big::Set(_) => b"SADD",
        Big::Zset(_) => b"ZADD",
    };
    several(out, &[command, key], members.iter().map(|text| Text::Bytes(text)));
    times(out, key, &timed);
    more
}

fn request(out: &mut Vec<u8>, args: &[&[u8]]) {
    encode_request(out, args.iter().copied());
}

fn set(out: &mut Vec<u8>, key: &[u8], value: &Value) {
    let Some(set) = Set::of(value) else { return };
    let mut members = Vec::new();
    set.for_each(|member| members.push(member.to_vec()));
    several(out, &[b"SADD", key], members.iter().map(|text| Text::Bytes(text)));
}

fn zset(out: &mut Vec<u8>, key: &[u8], value: &Value) {
    let Some(zset) = Zset::of(value) else { return };
    let mut pairs = Vec::new();
    for (member, score) in zset.walk(0..zset.len(), false) {
        pairs.extend([score_text(score), member.to_vec()]);
    }
    several(out, &[b"ZADD", key], pairs.iter().map(|text| Text::Bytes(text)));
}

fn hash(out: &mut Vec<u8>, key: &[u8], value: &Value) {
    let Some(fields) = Hash::of(value) else { return };
    let (mut pairs, mut timed) = (Vec::new(), Vec::new());
    fields.for_each(|field, value, due| {
        pairs.extend([field.to_vec(), value.to_vec()]);
        timed.extend(due.map(|at| (field.to_vec(), at)));
    });
    several(out, &[b"HSET", key], pairs.iter().map(|text| Text::Bytes(text)));
    times(out, key, &timed);
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

/// A command for every so many members.
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
