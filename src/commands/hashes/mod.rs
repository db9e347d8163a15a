//! Hashes: fields with values under one key; each field may have an expiry of its own.
//!
//! Times of fields are propagated as absolute ones, and a field that is removed because its time has passed as an HDEL.
//! Not here: how a hash is kept, and the removal of fields that fall due (`types::hash`, `keyspace::edit`).

mod read;
mod walk;
mod write;

use crate::command::*;
use crate::config::Config;
use crate::types::PackedMax;

pub const COMMANDS: &[Command] = &[
    write::HDEL,
    read::HEXISTS,
    read::HGET,
    read::HGETALL,
    write::HINCRBY,
    write::HINCRBYFLOAT,
    read::HKEYS,
    read::HLEN,
    read::HMGET,
    write::HMSET,
    walk::HRANDFIELD,
    walk::HSCAN,
    write::HSET,
    write::HSETNX,
    read::HSTRLEN,
    read::HVALS,
];

/// Up to where a hash is a listpack.
fn packed_max(config: &Config) -> PackedMax {
    PackedMax { entries: config.hash_max_listpack_entries, bytes: config.hash_max_listpack_value }
}
