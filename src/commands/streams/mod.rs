//! Streams: appending, reading, trimming, consumer groups and what they have pending, waiting for entries.
//!
//! What is propagated is what happened, in words that Redis 7.0 knows: entries with their ids, trimming to what is left,
//! deliveries as XCLAIM, reading without acknowledgement as XGROUP SETID.

mod add;
mod claim;
mod delete;
mod group;
mod ids;
mod info;
mod pending;
mod range;
mod read;
mod read_group;
mod set_id;
mod trim;

use crate::command::{Command, Error};

pub const COMMANDS: &[Command] = &[
    pending::XACK,
    delete::XACKDEL,
    add::XADD,
    claim::XAUTOCLAIM,
    add::XCFGSET,
    claim::XCLAIM,
    delete::XDEL,
    delete::XDELEX,
    group::XGROUP,
    group::XGROUP_CREATE,
    group::XGROUP_CREATECONSUMER,
    group::XGROUP_DELCONSUMER,
    group::XGROUP_DESTROY,
    group::XGROUP_HELP,
    group::XGROUP_SETID,
    add::XIDMPRECORD,
    info::XINFO,
    info::XINFO_CONSUMERS,
    info::XINFO_GROUPS,
    info::XINFO_HELP,
    info::XINFO_STREAM,
    range::XLEN,
    pending::XNACK,
    pending::XPENDING,
    range::XRANGE,
    read::XREAD,
    read_group::XREADGROUP,
    range::XREVRANGE,
    set_id::XSETID,
    trim::XTRIM,
];

/// An error that names what the client sent, up to a NUL, where Redis ends it too.
fn told(parts: &[&[u8]]) -> Error {
    let shown: Vec<&[u8]> = parts.iter().filter_map(|part| part.split(|byte| *byte == 0).next()).collect();
    Error::owned(shown.concat())
}

/// `NOGROUP No such key 'k' or consumer group 'g'`
fn no_group(key: &[u8], group: &[u8]) -> Error {
    told(&[b"NOGROUP No such key '", key, b"' or consumer group '", group, b"'"])
}
