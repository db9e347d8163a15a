//! Values in RDB form: what stands behind a key in a snapshot, and in a DUMP.
//!
//! Written in the lowest form that carries them: listpacks and intsets as they are, big collections member by member;
//! all of it readable by Redis 7.0, but for hashes whose fields expire, which need 7.4. Reading takes every form since
//! Redis 2.4. What comes in is distrusted: blocks are checked entry by entry, members must be distinct, nothing is
//! allocated by a declared length alone, and an empty collection is refused ([`Content::Empty`] tells the caller).

use super::read::{Reader, bad};
use super::write::{length, string};
use super::*;
use crate::clock::Millis;
use crate::config::Config;
use crate::keyspace::entry::Body;
use crate::keyspace::{Db, Expiry};
use crate::types::list::{End, List, NodeMax};
use crate::types::packed::Packed;
use crate::types::{PackedMax, Text, Value, legacy};
use std::io::{self, Read};

/// A value as read.
pub enum Content {
    Text(Vec<u8>),
    Value(Value),
    /// A collection without members, as old servers wrote them by mistake: no value, and no damage either.
    Empty,
}

impl Content {
    /// Makes a key of it, whatever was there. False if there is nothing to put.
    pub fn put(self, db: &mut Db<'_>, key: &[u8], expiry: Option<Millis>, event: &'static str) -> bool {
        let expiry = expiry.map_or(Expiry::Clear, Expiry::At);
        match self {
            Self::Text(text) => db.set_string_as(key, &text, expiry, event),
            Self::Value(value) => db.put_value(key, value, expiry, b'g', event),
            Self::Empty => return false,
        }
        true
    }
}

/// The limits of the small encodings.
#[derive(Clone, Copy)]
pub struct Encodings {
    list: NodeMax,
    hash: PackedMax,
    set: PackedMax,
    set_ints: usize,
    zset: PackedMax,
}

impl Encodings {
    pub fn of(config: &Config) -> Self {
        Self {
            list: NodeMax::of_directive(config.list_max_listpack_size.into()),
            hash: PackedMax {
                entries: config.hash_max_listpack_entries as usize,
                bytes: config.hash_max_listpack_value as usize,
            },
            set: PackedMax {
                entries: config.set_max_listpack_entries as usize,
                bytes: config.set_max_listpack_value as usize,
            },
            set_ints: config.set_max_intset_entries as usize,
            zset: PackedMax {
                entries: config.zset_max_listpack_entries as usize,
                bytes: config.zset_max_listpack_value as usize,
            },
        }
    }
}

/// The type byte that [`encode`] writes for.
pub fn kind(body: &Body<'_>) -> u8 {
    match body {
        Body::Bytes(_) | Body::Int(_) | Body::Value(Value::Str(_)) => STRING,
        Body::Value(Value::List(_)) => LIST_QUICKLIST_2,
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
        Body::Value(_) => unreachable!("no command makes this type yet"),
    }
}

/// Reads a value behind its type byte.
pub fn decode<R: Read>(r: &mut Reader<R>, kind: u8, encodings: &Encodings) -> io::Result<Content> {
    let value = match kind {
        STRING => return Ok(Content::Text(r.string()?)),
        LIST | LIST_ZIPLIST | LIST_QUICKLIST | LIST_QUICKLIST_2 => list(r, kind, encodings.list)?,
        other => return Err(bad(format!("RDB type {other} is not supported"))),
    };
    Ok(if value.is_empty_collection() { Content::Empty } else { Content::Value(value) })
}

fn list<R: Read>(r: &mut Reader<R>, kind: u8, max: NodeMax) -> io::Result<Value> {
    let mut list = List::default();
    let mut push = |text: Text<'_>| list.push(End::Right, text.bytes(&mut itoa::Buffer::new()), max);
    match kind {
        LIST => {
            for _ in 0..r.length()? {
                push(Text::Bytes(&r.string()?));
            }
        }
        LIST_ZIPLIST => ziplist(&r.string()?)?.into_iter().for_each(push),
        LIST_QUICKLIST => {
            for _ in 0..r.length()? {
                ziplist(&r.string()?)?.into_iter().for_each(&mut push);
            }
        }
        _ => {
            for _ in 0..r.length()? {
                match r.length()? {
                    CONTAINER_PLAIN => list.push(End::Right, &r.string()?, max),
                    CONTAINER_PACKED => list.push_pack(listpack(&r.string()?)?),
                    other => return Err(bad(format!("Quicklist container {other} is unknown"))),
                }
            }
        }
    }
    Ok(Value::List(Box::new(list)))
}

fn ziplist(bytes: &[u8]) -> io::Result<Vec<Text<'_>>> {
    legacy::ziplist(bytes).ok_or_else(|| bad("Ziplist integrity check failed."))
}

fn listpack(bytes: &[u8]) -> io::Result<Packed> {
    Packed::from_untrusted(bytes).ok_or_else(|| bad("Listpack integrity check failed."))
}

/// A quicklist node that is one element.
const CONTAINER_PLAIN: u64 = 1;
/// A quicklist node that is a listpack.
const CONTAINER_PACKED: u64 = 2;
