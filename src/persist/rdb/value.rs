//! Values in RDB form, written: what stands behind a key in a snapshot, and in a DUMP.
//!
//! In the lowest form that carries them: listpacks and intsets as they are, big collections member by member; all of it
//! readable by Redis 7.0, but for hashes whose fields expire, which need 7.4. Reading is in [`super::decode`].

use super::write::{length, string};
use super::*;
use crate::keyspace::entry::Body;
use crate::types::hash::Hash;
use crate::types::set::Set;
use crate::types::{Collection, Value};

/// The type byte that [`encode`] writes for.
pub fn kind(body: &Body<'_>) -> u8 {
    match body {
        Body::Bytes(_) | Body::Int(_) | Body::Value(Value::Str(_)) => STRING,
        Body::Value(Value::List(_)) => LIST_QUICKLIST_2,
        Body::Value(Value::SetInts(_)) => SET_INTSET,
        // Redis has a form for listpacks since 7.2 only.
        Body::Value(Value::SetPacked(_) | Value::SetTable(_)) => SET,
        Body::Value(Value::HashPacked(_)) => HASH_LISTPACK,
        Body::Value(value @ (Value::HashTimed(_) | Value::HashTable(_))) => {
            if value.fields_due().is_some() {
                HASH_TIMED
            } else {
                HASH
            }
        }
        Body::Value(_) => unreachable!("no command makes this type yet"),
    }
}

/// Writes a value without its type byte.
pub fn encode(out: &mut Vec<u8>, body: &Body<'_>, compress: bool) {
    match body {
        Body::Bytes(bytes) => string(out, bytes, compress),
        Body::Int(n) => string(out, itoa::Buffer::new().format(*n).as_bytes(), compress),
        Body::Value(Value::Str(bytes)) => string(out, bytes, compress),
        Body::Value(Value::List(list)) => {
            length(out, list.packs().len() as u64);
            for pack in list.packs() {
                length(out, CONTAINER_PACKED);
                string(out, pack.bytes(), compress);
            }
        }
        Body::Value(Value::SetInts(ints)) => string(out, ints.bytes(), compress),
        Body::Value(value @ (Value::SetPacked(_) | Value::SetTable(_))) => set(out, value, compress),
        Body::Value(Value::HashPacked(pairs)) => string(out, pairs.bytes(), compress),
        Body::Value(value @ (Value::HashTimed(_) | Value::HashTable(_))) => hash(out, value, compress),
        Body::Value(_) => unreachable!("no command makes this type yet"),
    }
}

fn set(out: &mut Vec<u8>, value: &Value, compress: bool) {
    let Some(set) = Set::of(value) else { return };
    length(out, set.len() as u64);
    set.for_each(|member| string(out, member.bytes(&mut itoa::Buffer::new()), compress));
}

/// Fields and values, and times if there are any, as milliseconds behind the earliest and one more; 0 for none.
fn hash(out: &mut Vec<u8>, value: &Value, compress: bool) {
    let Some(fields) = Hash::of(value) else { return };
    let first_due = value.fields_due();
    if let Some(at) = first_due {
        out.extend_from_slice(&at.to_le_bytes());
    }
    length(out, fields.len() as u64);
    fields.for_each(|field, value, due| {
        if let Some(first) = first_due {
            length(out, due.map_or(0, |at| at.abs_diff(first) + 1));
        }
        string(out, field.bytes(&mut itoa::Buffer::new()), compress);
        string(out, value.bytes(&mut itoa::Buffer::new()), compress);
    });
}

/// A quicklist node that is a listpack.
pub(super) const CONTAINER_PACKED: u64 = 2;
