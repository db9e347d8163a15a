//! Hashes: fields with values under one key; each field may have an expiry of its own.
//!
//! Times of fields are propagated as absolute ones, and a field that is removed because its time has passed as an HDEL.
//! Not here: how a hash is kept, and the removal of fields that fall due (`types::hash`, `keyspace::edit`).

mod expiry;
mod import;
mod options;
mod read;
mod timed;
mod walk;
mod write;

use crate::command::*;

pub const COMMANDS: &[Command] = &[
    write::HDEL,
    read::HEXISTS,
    expiry::HEXPIRE,
    expiry::HEXPIREAT,
    expiry::HEXPIRETIME,
    read::HGET,
    read::HGETALL,
    timed::HGETDEL,
    timed::HGETEX,
    import::HIMPORT,
    import::DISCARD,
    import::DISCARDALL,
    import::PREPARE,
    import::SET,
    write::HINCRBY,
    write::HINCRBYFLOAT,
    read::HKEYS,
    read::HLEN,
    read::HMGET,
    write::HMSET,
    expiry::HPERSIST,
    expiry::HPEXPIRE,
    expiry::HPEXPIREAT,
    expiry::HPEXPIRETIME,
    expiry::HPTTL,
    walk::HRANDFIELD,
    walk::HSCAN,
    write::HSET,
    timed::HSETEX,
    write::HSETNX,
    read::HSTRLEN,
    expiry::HTTL,
    read::HVALS,
];
