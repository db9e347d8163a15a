//! Writing RDB files: version 10, which Redis 7.0 and everything newer reads, 12 if fields of hashes expire, or 9 for an
//! older replica.
//!
//! A [`Writer`] appends to a buffer that its owner writes out and empties; it keeps the checksum over all of it.

use super::{STREAM_IDEMPOTENCE, Version, value};
use crate::checksum::Crc64;
use crate::clock::Millis;
use crate::config::Config;
use crate::config::choices::MaxmemoryPolicy;
use crate::keyspace::access::{idle_seconds, lfu_decayed};
use crate::keyspace::entry::{Body, Marks};
use crate::lzf;
use crate::types::Value;
use crate::types::big::Big;
use crate::types::stream::Stream;

/// Auxiliary fields of a [`History`].
pub const STREAM_DB: &str = "repl-stream-db";
pub const STREAM_ID: &str = "repl-id";
pub const STREAM_OFFSET: &str = "repl-offset";

/// An RDB file in the making.
pub struct Writer {
    crc: Crc64,
    db: Option<usize>,
    version: Version,
    compress: bool,
    usage: Usage,
    now: Millis,
    /// Of the databases not selected yet.
    sizes: Vec<Option<Size>>,
}

/// Keys of a database, and those among them with an expiry: a hint for loading, near enough to what follows.
pub type Size = (usize, usize);

/// What is written of a key's uses.
#[derive(Clone, Copy)]
pub enum Usage {
    Nothing,
    Idle,
    Frequency { decay_minutes: u32 },
}

/// The replication history that a file's data is of, for the loading server to go on there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub id: String,
    /// Bytes of the stream that the data has seen.
    pub offset: u64,
    /// The database that the stream is in.
    pub db: usize,
}

impl History {
    /// Its line in the log, which is an annotation: other servers pass over it.
    pub fn line(&self) -> String {
        let Self { id, offset, db } = self;
        format!("#REPL:{id}:{offset}:{db}\r\n")
    }

    /// What such a line tells; none of another.
    pub fn of_line(line: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(line).ok()?.trim_end().strip_prefix("#REPL:")?;
        let mut parts = text.split(':');
        let (id, offset, db) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { id: id.to_owned(), offset, db })
    }
}

/// What a file is for, and what will be in it.
pub struct Purpose {
    pub compress: bool,
    pub version: Version,
    /// The base of an append-only log.
    pub log_base: bool,
    pub usage: Usage,
    pub now: Millis,
    /// By database.
    pub sizes: Vec<Size>,
    pub history: Option<History>,
}

impl Purpose {
    /// Uses are written if the policy asks for them, as Redis does.
    pub fn of(config: &Config, version: Version, log_base: bool, now: Millis, sizes: Vec<Size>) -> Self {
        let usage = match config.maxmemory_policy {
            MaxmemoryPolicy::AllkeysLru
            | MaxmemoryPolicy::VolatileLru
            | MaxmemoryPolicy::AllkeysLrm
            | MaxmemoryPolicy::VolatileLrm => Usage::Idle,
            MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => {
                Usage::Frequency { decay_minutes: config.lfu_decay_time }
            }
            _ => Usage::Nothing,
        };
        Self { compress: config.rdbcompression, version, log_base, usage, now, sizes, history: None }
    }
}

impl Writer {
    /// Begins a file: magic and auxiliary fields.
    pub fn begin(out: &mut Vec<u8>, purpose: Purpose) -> Self {
        out.extend_from_slice(format!("REDIS{:04}", purpose.version as u16).as_bytes());
        let head = [
            ("redis-ver", crate::config::REDIS_VERSION.to_owned()),
            ("redis-bits", "64".into()),
            ("ctime", (purpose.now / 1000).to_string()),
            ("used-mem", crate::memory::used().to_string()),
        ];
        let history = purpose.history.iter().flat_map(|History { id, offset, db }| {
            [(STREAM_DB, db.to_string()), (STREAM_ID, id.clone()), (STREAM_OFFSET, offset.to_string())]
        });
        let base = ("aof-base", if purpose.log_base { "1".into() } else { "0".into() });
        for (name, value) in head.into_iter().chain(history).chain([base]) {
            out.push(super::AUX);
            string(out, name.as_bytes(), false);
            string(out, value.as_bytes(), false);
        }
        let Purpose { version, compress, usage, now, sizes, .. } = purpose;
        let sizes = sizes.into_iter().map(Some).collect();
        Self { crc: Crc64::new(), db: None, version, compress, usage, now, sizes }
    }

    /// A library of functions; before all keys, as Redis does.
    pub fn library(&mut self, out: &mut Vec<u8>, text: &[u8]) {
        super::functions::write(out, text, self.compress);
    }

    pub fn entry(&mut self, out: &mut Vec<u8>, db: usize, key: &[u8], marks: Marks, body: &Body<'_>) {
        if let Body::Value(Value::Stream(stream)) = body {
            idempotence(out, stream);
        }
        self.head(out, db, key, marks, value::kind(body, self.version));
        value::encode(out, body, self.version, self.compress);
    }

    /// Begins a value that comes in pieces.
    pub fn begin_big(&mut self, out: &mut Vec<u8>, db: usize, key: &[u8], marks: Marks, big: &Big) {
        if let Big::Stream(cut) = big {
            idempotence(out, cut.stream());
        }
        self.head(out, db, key, marks, value::kind_of_big(big, self.version));
        value::begin_big(out, big, self.version);
    }

    /// The next piece. False behind the last.
    pub fn big_piece(&mut self, out: &mut Vec<u8>, big: &Big) -> bool {
        value::encode_piece(out, big, self.version, self.compress)
    }

    fn head(&mut self, out: &mut Vec<u8>, db: usize, key: &[u8], marks: Marks, kind: u8) {
        if self.db != Some(db) {
            self.db = Some(db);
            out.push(super::SELECT_DB);
            length(out, db as u64);
            if let Some((keys, volatile)) = self.sizes.get_mut(db).and_then(Option::take) {
                out.push(super::RESIZE_DB);
                length(out, keys as u64);
                length(out, volatile as u64);
            }
        }
        if let Some(at) = marks.expiry {
            out.push(super::EXPIRE_MILLIS);
            out.extend_from_slice(&at.to_le_bytes());
        }
        match self.usage {
            Usage::Nothing => {}
            Usage::Idle => {
                out.push(super::IDLE);
                length(out, idle_seconds(marks.access, self.now));
            }
            Usage::Frequency { decay_minutes } => {
                let counter = lfu_decayed(marks.access, self.now, decay_minutes);
                out.extend_from_slice(&[super::FREQUENCY, counter.min(255) as u8]);
            }
        }
        out.push(kind);
        string(out, key, self.compress);
    }

    /// Takes what the buffer gained into the checksum. Before the buffer is emptied.
    pub fn sum(&mut self, out: &[u8]) {
        self.crc.update(out);
    }

    /// Ends the file.
    pub fn end(mut self, out: &mut Vec<u8>, checksum: bool) {
        out.push(super::END);
        self.sum(out);
        let crc = if checksum { self.crc.value() } else { 0 };
        out.extend_from_slice(&crc.to_le_bytes());
    }
}

/// What a stream's producers have added, in front of its key: a field of the file's, which servers that do not know it
/// leave out.
fn idempotence(out: &mut Vec<u8>, stream: &Stream) {
    if let Some(known) = stream.idempotence() {
        out.push(super::AUX);
        string(out, STREAM_IDEMPOTENCE, false);
        string(out, &known.to_bytes(), false);
    }
}

pub(super) fn length(out: &mut Vec<u8>, len: u64) {
    match len {
        0..=63 => out.push(len as u8),
        64..=16383 => out.extend_from_slice(&[0x40 | (len >> 8) as u8, len as u8]),
        16384..=0xffff_ffff => {
            out.push(0x80);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&len.to_be_bytes());
        }
    }
}

/// A string: in binary if it reads as a small integer, compressed if that is shorter, else as it is.
pub(super) fn string(out: &mut Vec<u8>, bytes: &[u8], compress: bool) {
    if bytes.len() <= INT_DIGITS_MAX
        && let Some(n) = crate::num::parse_i64(bytes)
        && small_int(out, n)
    {
        return;
    }
    if compress
        && bytes.len() > COMPRESS_ABOVE
        && let Some(packed) = lzf::compress(bytes)
    {
        out.push(0xc3);
        length(out, packed.len() as u64);
        length(out, bytes.len() as u64);
        out.extend_from_slice(&packed);
        return;
    }
    length(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// An integer in one, two or four bytes; false if it needs more.
fn small_int(out: &mut Vec<u8>, n: i64) -> bool {
    if let Ok(n) = i8::try_from(n) {
        out.push(0xc0);
        out.extend_from_slice(&n.to_le_bytes());
    } else if let Ok(n) = i16::try_from(n) {
        out.push(0xc1);
        out.extend_from_slice(&n.to_le_bytes());
    } else if let Ok(n) = i32::try_from(n) {
        out.push(0xc2);
        out.extend_from_slice(&n.to_le_bytes());
    } else {
        return false;
    }
    true
}

/// `-2147483648` has 11 characters.
const INT_DIGITS_MAX: usize = 11;
const COMPRESS_ABOVE: usize = 20;
