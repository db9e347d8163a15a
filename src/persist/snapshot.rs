//! Writing one instant of the keyspace to a file, while writes go on: what BGSAVE and BGREWRITEAOF share.
//!
//! The walk visits a few dozen keys under one stripe's lock, and lets go; what it met is written without any lock. The
//! file is synced as it grows and at its end.

use super::aof::at;
use super::rdb::write::{Purpose, Writer};
use super::replay;
use super::storage::Storage;
use crate::clock::{self, Millis};
use crate::config::Config;
use crate::keyspace::entry::Body;
use crate::keyspace::snapshot::Walk;
use crate::resp::encode_select;
use std::io;
use std::path::Path;
use std::time::Duration;

/// What the file is to be.
#[derive(Clone, Copy)]
pub enum Form {
    Rdb {
        /// Fields of hashes may expire.
        timed_fields: bool,
        log_base: bool,
    },
    /// The commands that make the data.
    Commands,
}

/// Walks a cut into a file, synced. `Interrupted` if the cut was torn: the file is then worth nothing.
pub fn write(mut walk: Walk<'_>, storage: &Storage, path: &Path, form: Form, config: &Config) -> io::Result<()> {
    let mut file = storage.create(path)?;
    let (mut buffer, mut unsynced) = (Vec::with_capacity(2 * WRITE_BYTES), 0);
    let mut writing = Writing::begin(&mut buffer, form, config);
    let (keys_per_step, delay) = pace(config);
    loop {
        let more = walk.step(keys_per_step, |db, key, expiry, body| writing.entry(&mut buffer, db, key, expiry, &body));
        if walk.is_torn() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if !more {
            writing.end(&mut buffer, config.rdbchecksum);
            file.write_all(&buffer).map_err(at(path))?;
            return file.sync().map_err(at(path));
        }
        if buffer.len() >= WRITE_BYTES {
            writing.sum(&buffer);
            file.write_all(&buffer).map_err(at(path))?;
            unsynced += buffer.len();
            buffer.clear();
            buffer.shrink_to(2 * WRITE_BYTES);
        }
        if unsynced >= SYNC_BYTES && incremental_sync(form, config) {
            file.sync().map_err(at(path))?;
            unsynced = 0;
        }
        if !wait(&walk, delay) {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
}

fn incremental_sync(form: Form, config: &Config) -> bool {
    match form {
        Form::Rdb { log_base: false, .. } => config.rdb_save_incremental_fsync,
        _ => config.aof_rewrite_incremental_fsync,
    }
}

/// Keys between two rests, and how long a rest is (`rdb-key-save-delay`, which tests use to make a save slow).
fn pace(config: &Config) -> (usize, Duration) {
    match config.rdb_key_save_delay {
        0 => (KEYS_PER_STEP, Duration::ZERO),
        us @ 1.. => (1, Duration::from_micros(us.unsigned_abs().into())),
        keys => ((keys.unsigned_abs() as usize).min(KEYS_PER_STEP), Duration::from_micros(1)),
    }
}

/// Rests. False when the cut is torn meanwhile.
fn wait(walk: &Walk<'_>, delay: Duration) -> bool {
    let mut left = delay;
    while !left.is_zero() {
        let nap = left.min(NAP);
        std::thread::sleep(nap);
        if walk.is_torn() {
            return false;
        }
        left -= nap;
    }
    true
}

enum Writing {
    Rdb(Box<Writer>),
    /// The database the commands are in.
    Commands(Option<usize>),
}

impl Writing {
    fn begin(out: &mut Vec<u8>, form: Form, config: &Config) -> Self {
        let now = clock::now_ms();
        match form {
            Form::Rdb { timed_fields, log_base } => {
                let purpose = Purpose { compress: config.rdbcompression, timed_fields, log_base, now };
                Self::Rdb(Box::new(Writer::begin(out, purpose)))
            }
            Form::Commands => {
                if config.aof_timestamp_enabled {
                    out.extend_from_slice(format!("#TS:{}\r\n", now / 1000).as_bytes());
                }
                Self::Commands(None)
            }
        }
    }

    fn entry(&mut self, out: &mut Vec<u8>, db: usize, key: &[u8], expiry: Option<Millis>, body: &Body<'_>) {
        match self {
            Self::Rdb(writer) => writer.entry(out, db, key, expiry, body),
            Self::Commands(selected) => {
                if *selected != Some(db) {
                    encode_select(out, db);
                    *selected = Some(db);
                }
                replay::encode_entry(out, key, expiry, body);
            }
        }
    }

    /// Before the buffer is emptied.
    fn sum(&mut self, out: &[u8]) {
        if let Self::Rdb(writer) = self {
            writer.sum(out);
        }
    }

    fn end(self, out: &mut Vec<u8>, checksum: bool) {
        if let Self::Rdb(writer) = self {
            writer.end(out, checksum);
        }
    }
}

/// Entries visited under one stripe's lock: some tens of microseconds.
const KEYS_PER_STEP: usize = 64;
const WRITE_BYTES: usize = 256 << 10;
/// Syncing as we go keeps the device's queue short for the log beside us (Redis's REDIS_AUTOSYNC_BYTES).
const SYNC_BYTES: usize = 4 << 20;
/// A slow save notices this soon that it is in vain.
const NAP: Duration = Duration::from_millis(10);
