//! A single value as DUMP gives it and RESTORE takes it: type, value, version, checksum.
//!
//! `type 1 | value | RDB version 2 LE | CRC-64 over all before it 8 LE`

use super::decode::{self, Content};
use super::read::Reader;
use super::value;
use super::{VERSION_VALKEY, Version, is_accepted};
use crate::checksum::crc64;
use crate::config::Config;
use crate::keyspace::entry::Body;
use std::io;

/// The payload of a value. Version 10, or 12 if fields expire.
pub fn dump(body: &Body<'_>, compress: bool) -> Vec<u8> {
    dump_as(body, Version::of(is_timed(body)), compress)
}

/// The payload that most versions read: 9 if that carries the value. Of a stream it does not carry the counters.
pub fn lowest(body: &Body<'_>, compress: bool) -> Vec<u8> {
    dump_as(body, lowest_version(body), compress)
}

/// The same in place of a payload of a newer version than the value needs.
pub fn lowered(payload: &[u8], body: &Body<'_>, compress: bool) -> Option<Vec<u8>> {
    let (summed, _) = payload.split_last_chunk::<8>()?;
    let (_, said) = summed.split_last_chunk::<2>()?;
    (u16::from_le_bytes(*said) > lowest_version(body) as u16).then(|| lowest(body, compress))
}

fn lowest_version(body: &Body<'_>) -> Version {
    if is_timed(body) { Version::V12 } else { Version::V9 }
}

fn is_timed(body: &Body<'_>) -> bool {
    matches!(body, Body::Value(value) if value.first_due().is_some())
}

fn dump_as(body: &Body<'_>, version: Version, compress: bool) -> Vec<u8> {
    let mut out = vec![value::kind(body, version)];
    value::encode(&mut out, body, version, compress);
    out.extend_from_slice(&(version as u16).to_le_bytes());
    let crc = crc64(0, &out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Why a payload is refused.
#[derive(Debug)]
pub enum Refused {
    /// Version or checksum: nothing of it was looked at.
    Footer,
    /// What it says is not a value.
    Format(io::Error),
}

/// The value of a payload from a client. `checked`: whether the checksum must be right.
pub fn restore(payload: &[u8], config: &Config, checked: bool) -> Result<Content, Refused> {
    let (summed, crc) = payload.split_last_chunk::<8>().ok_or(Refused::Footer)?;
    let (body, version) = summed.split_last_chunk::<2>().ok_or(Refused::Footer)?;
    let sum_is_right = || u64::from_le_bytes(*crc) == crc64(0, summed);
    let version = u16::from_le_bytes(*version);
    if !is_accepted(version, config) || checked && !sum_is_right() {
        return Err(Refused::Footer);
    }
    let (&kind, rest) = body.split_first().ok_or_else(|| Refused::Format(io::ErrorKind::UnexpectedEof.into()))?;
    let mut reader = Reader::new(rest);
    reader.is_valkey = version >= VERSION_VALKEY;
    let content = decode::decode(&mut reader, kind, config).map_err(Refused::Format)?;
    // Bytes behind the value are ignored, as Redis does.
    Ok(content)
}
