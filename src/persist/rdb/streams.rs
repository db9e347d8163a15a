//! Streams in RDB form.
//!
//! ```text
//! listpacks n | (id 16, listpack) … | length | last ms, seq | first ms, seq | greatest deleted ms, seq | entries added
//! groups n | (name | last ms, seq | entries read | pending n | (id 16, time 8 LE, deliveries) …
//!   | consumers n | (name | seen 8 LE | pending n | (id 16) …) …) …
//! ```
//! That is type 19, of Redis 7.0, which everything newer reads: what is written, and type 15 in version 9. Type 15 lacks the first id, what stands
//! behind it in that line, and the entries read; type 21, of 7.2, has when a consumer was active behind when it was seen.
//! Read are all three; every reference among the parts is checked ([`Loader`]).

use super::read::{Reader, bad};
use super::write::{length, string};
use super::{STREAM, STREAM_3, Version};
use crate::types::Value;
use crate::types::stream::{Counters, Id, Loader, Malformed, Owns, Part};
use std::io::{self, BufRead};

/// Writes a part. The number of listpacks stands in front of the first.
pub fn part(out: &mut Vec<u8>, part: Part<'_>, version: Version, compress: bool) {
    let is_old = version < Version::V10;
    match part {
        Part::Node(id, node) => {
            string(out, &id.to_bytes(), compress);
            string(out, node.pack().bytes(), compress);
        }
        Part::Counters(stream) => {
            length(out, stream.len());
            put_id(out, stream.last_id());
            if !is_old {
                put_id(out, stream.first_id());
                put_id(out, stream.max_deleted());
                length(out, stream.added());
            }
            length(out, stream.groups().len() as u64);
        }
        Part::Group(name, group) => {
            string(out, name, compress);
            put_id(out, group.last);
            if !is_old {
                length(out, group.read.unwrap_or(NOT_KNOWN));
            }
            length(out, group.pending() as u64);
        }
        Part::Pending(id, delivery) => {
            out.extend_from_slice(&id.to_bytes());
            out.extend_from_slice(&delivery.at.to_le_bytes());
            length(out, delivery.count);
        }
        Part::Consumers(count) => length(out, count as u64),
        Part::Consumer(Owns { name, seen, pending, .. }) => {
            string(out, name, compress);
            out.extend_from_slice(&seen.to_le_bytes());
            length(out, pending as u64);
        }
        Part::Owned(_, id, _) => out.extend_from_slice(&id.to_bytes()),
    }
}

/// Reads a stream behind its type byte.
pub fn read<R: BufRead>(r: &mut Reader<R>, kind: u8) -> io::Result<Value> {
    let mut loader = Loader::default();
    for _ in 0..r.length()? {
        let id = <[u8; 16]>::try_from(r.string()?);
        let id = Id::from_bytes(id.map_err(|_| bad("Stream node key entry is not the size of a stream ID"))?);
        r.string_with(|bytes| loader.node(id, bytes).map_err(refused))?;
    }
    let (len, last) = (r.length()?, id(r)?);
    let history = if kind == STREAM {
        None
    } else {
        // Where the first entry is, the listpacks say themselves.
        id(r)?;
        Some((id(r)?, r.length()?))
    };
    loader.counters(&Counters { len, last, history }).map_err(refused)?;
    for _ in 0..r.length()? {
        group(r, kind, &mut loader)?;
    }
    Ok(Value::Stream(Box::new(loader.finish())))
}

fn group<R: BufRead>(r: &mut Reader<R>, kind: u8, loader: &mut Loader) -> io::Result<()> {
    let (name, last) = (r.string()?, id(r)?);
    let read = if kind == STREAM { None } else { Some(Some(r.length()?).filter(|read| *read <= i64::MAX as u64)) };
    let mut group = loader.group(last, read);
    for _ in 0..r.length()? {
        let (id, at) = (Id::from_bytes(r.array()?), i64::from_le_bytes(r.array()?));
        group.pending(id, at, r.length()?).map_err(refused)?;
    }
    for _ in 0..r.length()? {
        let (name, seen) = (r.string()?, i64::from_le_bytes(r.array()?));
        // Before there was a time of its own, a consumer that was seen was active.
        let active = if kind == STREAM_3 { i64::from_le_bytes(r.array()?) } else { seen };
        let owner = group.consumer(&name, seen, Some(active).filter(|at| *at >= 0)).map_err(refused)?;
        for _ in 0..r.length()? {
            group.owned(Id::from_bytes(r.array()?), owner).map_err(refused)?;
        }
    }
    loader.add_group(&name, group).map_err(refused)
}

fn id<R: BufRead>(r: &mut Reader<R>) -> io::Result<Id> {
    Ok(Id::new(r.length()?, r.length()?))
}

fn put_id(out: &mut Vec<u8>, id: Id) {
    length(out, id.ms);
    length(out, id.seq);
}

fn refused(Malformed(why): Malformed) -> io::Error {
    bad(why)
}

/// The mark of an unknown number of entries read: -1.
const NOT_KNOWN: u64 = u64::MAX;
