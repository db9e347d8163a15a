//! RDB: Redis's snapshot format. [`read`] and [`write`] are files, [`value`] and [`decode`] what stands behind a key
//! (streams: [`streams`]), [`dump`] a single
//! value as DUMP and RESTORE carry it.

pub mod decode;
pub mod dump;
pub mod functions;
pub mod read;
mod streams;
pub mod value;
pub mod write;

use crate::config::Config;
use crate::config::choices::RdbVersionCheck;

const END: u8 = 0xff;
const SELECT_DB: u8 = 0xfe;
const EXPIRE_SECONDS: u8 = 0xfd;
const EXPIRE_MILLIS: u8 = 0xfc;
const RESIZE_DB: u8 = 0xfb;
const AUX: u8 = 0xfa;
/// The auxiliary field that belongs to the stream behind it.
const STREAM_IDEMPOTENCE: &[u8] = b"memkv-stream-idmp";
const FREQUENCY: u8 = 0xf9;
const IDLE: u8 = 0xf8;
const MODULE_AUX: u8 = 0xf7;
const FUNCTION: u8 = 0xf5;
const SLOT_INFO: u8 = 0xf4;

const STRING: u8 = 0;
const LIST: u8 = 1;
const SET: u8 = 2;
const ZSET: u8 = 3;
const HASH: u8 = 4;
const ZSET_BINARY: u8 = 5;
const HASH_ZIPMAP: u8 = 9;
const LIST_ZIPLIST: u8 = 10;
const SET_INTSET: u8 = 11;
const ZSET_ZIPLIST: u8 = 12;
const HASH_ZIPLIST: u8 = 13;
const LIST_QUICKLIST: u8 = 14;
/// Streams; the second form came with Redis 7.0, the third with 7.2.
const STREAM: u8 = 15;
const HASH_LISTPACK: u8 = 16;
const ZSET_LISTPACK: u8 = 17;
const LIST_QUICKLIST_2: u8 = 18;
const STREAM_2: u8 = 19;
const SET_LISTPACK: u8 = 20;
const STREAM_3: u8 = 21;
/// Valkey's; to Redis the number means nothing that is written any more.
const HASH_TIMED_VALKEY: u8 = 22;
const HASH_TIMED: u8 = 24;
const HASH_TIMED_LISTPACK: u8 = 25;

/// The versions that are written, by who reads them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum Version {
    /// Redis 5.0 and newer: no listpacks but those of streams, and no functions.
    #[default]
    V9 = 9,
    /// Redis 7.0 and newer.
    V10 = 10,
    /// Redis 7.4 and newer: hashes whose fields expire.
    V12 = 12,
}

impl Version {
    /// That of our own files.
    pub fn of(timed_fields: bool) -> Self {
        if timed_fields { Self::V12 } else { Self::V10 }
    }
}

/// Redis's newest that we know.
const VERSION_MAX: u16 = 12;

/// Valkey's own, since its version 9: another magic, and a type of its own. Those below are Redis's, those above its own.
const VERSION_VALKEY: u16 = 80;

/// Whether every type of such a version is known.
fn is_known(version: u16) -> bool {
    version <= VERSION_MAX || version == VERSION_VALKEY
}

/// Whether files and payloads of a version are read: `rdb-version-check` may let the unknown ones pass, of which what is
/// known can be read.
fn is_accepted(version: u16, config: &Config) -> bool {
    is_known(version) || config.rdb_version_check == RdbVersionCheck::Relaxed
}

/// Whether a file's first bytes say that it is an RDB file.
pub fn is_rdb(head: &[u8]) -> bool {
    head.starts_with(REDIS) || head.starts_with(VALKEY)
}

const REDIS: &[u8] = b"REDIS";
const VALKEY: &[u8] = b"VALKEY";
/// Bytes that tell whether a file is one.
pub const MAGIC_BYTES_MAX: usize = 6;

/// Whether a byte before a key is the type of a value, of this server or another.
pub fn is_type(kind: u8) -> bool {
    kind <= TYPE_MAX && kind != NO_TYPE
}

/// Redis 7.4's last; what lies between and is not here belongs to modules.
const TYPE_MAX: u8 = 25;
const NO_TYPE: u8 = 8;
