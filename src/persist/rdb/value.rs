//! Values in RDB form, written: what stands behind a key in a snapshot, and in a DUMP.
//!
//! In the lowest form that carries them: listpacks and intsets as they are, big collections member by member; all of it
//! readable by Redis 7.0, but for hashes whose fields expire, which need 7.4. In version 9, for replicas before 7.0, what
//! would be a listpack is written member by member. Reading is in [`super::decode`].

use super::write::{length, string};
use super::*;
use crate::clock::Millis;
use crate::keyspace::entry::Body;
use crate::types::big::{Big, Part};
use crate::types::hash::Hash;
use crate::types::listpack::Listpack;
use crate::types::set::Set;
use crate::types::stream;
use crate::types::zset::Zset;
use crate::types::{Collection, Text, Value};

/// The type byte that [`encode`] writes for.
pub fn kind(body: &Body<'_>, version: Version) -> u8 {
    let is_old = version < Version::V10;
    match body {
        Body::Bytes(_) | Body::Int(_) | Body::Value(Value::Str(_)) => STRING,
        Body::Value(Value::List(_)) if is_old => LIST,
        Body::Value(Value::List(_)) => LIST_QUICKLIST_2,
        Body::Value(Value::HashListpack(_) | Value::HashRow(..)) if is_old => HASH,
        Body::Value(Value::HashListpack(_) | Value::HashRow(..)) => HASH_LISTPACK,
        Body::Value(value @ (Value::HashTimed(_) | Value::HashTable(_))) => {
            if value.first_due().is_some() {
                HASH_TIMED
            } else {
                HASH
            }
        }
        Body::Value(Value::SetInts(_)) => SET_INTSET,
        // Listpacks of sets came with Redis 7.2.
        Body::Value(Value::SetListpack(_) | Value::SetTable(_)) => SET,
        Body::Value(Value::ZsetListpack(_)) if is_old => ZSET_BINARY,
        Body::Value(Value::ZsetListpack(_)) => ZSET_LISTPACK,
        Body::Value(Value::ZsetTree(_)) => ZSET_BINARY,
        Body::Value(Value::Stream(_)) if is_old => STREAM,
        Body::Value(Value::Stream(_)) => STREAM_2,
    }
}

/// Writes a value without its type byte.
pub fn encode(out: &mut Vec<u8>, body: &Body<'_>, version: Version, compress: bool) {
    let is_old = version < Version::V10;
    match body {
        Body::Bytes(bytes) => string(out, bytes, compress),
        Body::Int(n) => string(out, itoa::Buffer::new().format(*n).as_bytes(), compress),
        Body::Value(Value::Str(bytes)) => string(out, bytes, compress),
        Body::Value(Value::List(list)) if is_old => {
            length(out, list.len() as u64);
            list.packs().for_each(|pack| elements(out, pack, compress));
        }
        Body::Value(Value::List(list)) => {
            length(out, list.packs().len() as u64);
            list.packs().for_each(|pack| node(out, pack, compress));
        }
        Body::Value(value @ (Value::HashListpack(_) | Value::HashRow(..))) if is_old => hash(out, value, compress),
        Body::Value(Value::HashListpack(pairs)) => string(out, pairs.bytes(), compress),
        Body::Value(value @ Value::HashRow(..)) => {
            let pairs = Hash::of(value).map(Hash::pairs);
            pairs.into_iter().for_each(|pairs| string(out, pairs.bytes(), compress));
        }
        Body::Value(value @ (Value::HashTimed(_) | Value::HashTable(_))) => hash(out, value, compress),
        Body::Value(Value::SetInts(ints)) => string(out, ints.bytes(), compress),
        Body::Value(value @ (Value::SetListpack(_) | Value::SetTable(_))) => set(out, value, compress),
        Body::Value(value @ Value::ZsetListpack(_)) if is_old => zset(out, value, compress),
        Body::Value(Value::ZsetListpack(pairs)) => string(out, pairs.bytes(), compress),
        Body::Value(value @ Value::ZsetTree(_)) => zset(out, value, compress),
        Body::Value(Value::Stream(stream)) => {
            length(out, stream.nodes() as u64);
            let mut walk = stream::Walk::begin();
            while walk.step(stream, |part| streams::part(out, part, version, compress)) {}
        }
    }
}

/// The type byte of a value that comes in pieces.
pub fn kind_of_big(big: &Big, version: Version) -> u8 {
    let is_old = version < Version::V10;
    match big {
        Big::List(_) if is_old => LIST,
        Big::List(_) => LIST_QUICKLIST_2,
        Big::Hash(_, Some(_)) => HASH_TIMED,
        Big::Hash(_, None) => HASH,
        Big::Set(_) => SET,
        Big::Zset(_) => ZSET_BINARY,
        Big::Stream(_) if is_old => STREAM,
        Big::Stream(_) => STREAM_2,
    }
}

/// What stands in front of a big value's parts.
pub fn begin_big(out: &mut Vec<u8>, big: &Big, version: Version) {
    if let Big::Hash(_, Some(first_due)) = big {
        out.extend_from_slice(&first_due.to_le_bytes());
    }
    let count = match big {
        Big::List(cut) if version < Version::V10 => cut.elements(),
        _ => big.len(),
    };
    length(out, count as u64);
}

/// The next piece of a big value. False behind the last.
pub fn encode_piece(out: &mut Vec<u8>, big: &Big, version: Version, compress: bool) -> bool {
    let first_due = if let Big::Hash(_, first_due) = big { *first_due } else { None };
    big.step(|part| match part {
        Part::Pack(pack) if version < Version::V10 => elements(out, pack, compress),
        Part::Pack(pack) => node(out, pack, compress),
        Part::Member(member) => string(out, member, compress),
        Part::Scored(member, score) => scored(out, member, score, compress),
        Part::Field(f) => field(out, first_due, (f.name(), f.value(), f.due()), compress),
        Part::Stream(part) => streams::part(out, part, version, compress),
    })
}

/// A listpack of a list; what is too long for a listpack of Redis's is one element, written as it is.
fn node(out: &mut Vec<u8>, pack: &Listpack, compress: bool) {
    if pack.bytes().len() > PACKED_SAFE_BYTES
        && let (Some(Text::Bytes(element)), 1) = (pack.iter().next(), pack.len())
    {
        length(out, CONTAINER_PLAIN);
        return string(out, element, compress);
    }
    length(out, CONTAINER_PACKED);
    string(out, pack.bytes(), compress);
}

fn elements(out: &mut Vec<u8>, pack: &Listpack, compress: bool) {
    pack.iter().for_each(|element| string(out, element.bytes(&mut itoa::Buffer::new()), compress));
}

fn scored(out: &mut Vec<u8>, member: &[u8], score: f64, compress: bool) {
    string(out, member, compress);
    out.extend_from_slice(&score.to_le_bytes());
}

/// A field; its time, if any field has one, as milliseconds behind the earliest and one more, 0 for none.
fn field(out: &mut Vec<u8>, first_due: Option<Millis>, field: (&[u8], &[u8], Option<Millis>), compress: bool) {
    let (name, value, due) = field;
    if let Some(first) = first_due {
        length(out, due.map_or(0, |at| at.abs_diff(first) + 1));
    }
    string(out, name, compress);
    string(out, value, compress);
}

fn set(out: &mut Vec<u8>, value: &Value, compress: bool) {
    let Some(members) = Set::of(value) else { return };
    length(out, members.len() as u64);
    members.for_each(|member| string(out, member.bytes(&mut itoa::Buffer::new()), compress));
}

/// Members and scores, the highest first, as Redis writes them.
fn zset(out: &mut Vec<u8>, value: &Value, compress: bool) {
    let Some(members) = Zset::of(value) else { return };
    length(out, members.len() as u64);
    for (member, score) in members.walk(0..members.len(), true) {
        scored(out, member.bytes(&mut itoa::Buffer::new()), score, compress);
    }
}

/// Fields and values, and times if there are any.
fn hash(out: &mut Vec<u8>, value: &Value, compress: bool) {
    let Some(fields) = Hash::of(value) else { return };
    let first_due = value.first_due();
    if let Some(at) = first_due {
        out.extend_from_slice(&at.to_le_bytes());
    }
    length(out, fields.len() as u64);
    let mut digits = (itoa::Buffer::new(), itoa::Buffer::new());
    fields.for_each(|name, value, due| {
        field(out, first_due, (name.bytes(&mut digits.0), value.bytes(&mut digits.1), due), compress);
    });
}

/// A quicklist node that is one element.
pub(super) const CONTAINER_PLAIN: u64 = 1;
/// Redis keeps longer elements outside listpacks.
const PACKED_SAFE_BYTES: usize = 1 << 30;
/// A quicklist node that is a listpack.
pub(super) const CONTAINER_PACKED: u64 = 2;
