//! Writing one instant of the keyspace, while writes go on: what BGSAVE, BGREWRITEAOF and a full sync share.
//!
//! The walk visits a few dozen keys under one stripe's lock, and lets go; what it met is written without any lock. A big
//! value is read in pieces, between which the buffer is written out: memory is bounded by what changes meanwhile. The file
//! is synced as it grows and at its end. Between its pieces it offers its core to waiting threads.

use super::aof::at;
use super::rdb::Version;
use super::rdb::write::{History, Purpose, Size, Writer};
use super::replay;
use super::storage::{Storage, StoredFile};
use super::walks::Walks;
use crate::clock;
use crate::config::Config;
use crate::keyspace::entry::{Body, Marks};
use crate::keyspace::snapshot::{Captured, Content, Walk};
use crate::process::Courtesy;
use crate::resp::{encode_request, encode_select};
use crate::script::functions::Set;
use crate::types::big::Big;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the file is to be.
pub enum Form {
    Rdb {
        version: Version,
        log_base: bool,
        /// The replication history that the data is of.
        history: Option<History>,
    },
    /// The commands that make the data.
    Commands,
}

/// What a walk is written to, and who may end it.
pub struct Order<'a> {
    pub form: Form,
    pub config: &'a Config,
    pub walks: &'a Walks,
    /// The libraries of functions at the cut.
    pub libraries: &'a Set,
}

/// Where a walk is written to.
pub trait Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Makes durable what was written.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file of its own; its errors name it.
pub struct File {
    path: PathBuf,
    file: StoredFile,
}

impl File {
    pub fn create(storage: &Storage, path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: storage.create(path)? })
    }
}

impl Sink for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).map_err(at(&self.path))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync().map_err(at(&self.path))
    }
}

/// Walks a cut into a sink, synced. `Interrupted` if the job is cancelled: what was written is then worth nothing.
pub fn write(mut walk: Walk<'_>, order: &Order<'_>, sink: &mut dyn Sink) -> io::Result<()> {
    let Order { config, walks, .. } = order;
    let sizes = walk.count();
    let mut file = Target::begin(order, sink, sizes);
    let (keys_per_step, delay) = pace(config);
    loop {
        let more = {
            let Target { writing, buffer, .. } = &mut file;
            let mut keys = 0;
            let more = walk.step(keys_per_step, |db, key, marks, body| {
                keys += 1;
                writing.entry(buffer, db, key, marks, &body);
            });
            walk.wrote(keys);
            more
        };
        file.courtesy.give_way();
        walk.free_spent(|| file.courtesy.give_way());
        for (i, captured) in walk.captured().into_iter().enumerate() {
            file.captured(&captured, walks)?;
            walk.wrote(1);
            file.courtesy.give_way();
            if (i + 1).is_multiple_of(keys_per_step) && !wait(walks, delay) {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        if walks.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if !more {
            return file.end(config.rdbchecksum);
        }
        file.write_if_full()?;
        if !wait(walks, delay) {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
}

/// What is written in the making.
struct Target<'s> {
    sink: &'s mut dyn Sink,
    buffer: Vec<u8>,
    writing: Writing,
    unsynced: usize,
    syncs_as_it_grows: bool,
    courtesy: Courtesy,
}

impl<'s> Target<'s> {
    fn begin(order: &Order<'_>, sink: &'s mut dyn Sink, sizes: Vec<Size>) -> Self {
        let Order { ref form, config, libraries, .. } = *order;
        let mut buffer = Vec::with_capacity(2 * WRITE_BYTES);
        let mut writing = Writing::begin(&mut buffer, form, config, sizes);
        libraries.libraries().for_each(|library| writing.library(&mut buffer, &library.text));
        let syncs_as_it_grows = incremental_sync(form, config);
        Self { sink, buffer, writing, unsynced: 0, syncs_as_it_grows, courtesy: Courtesy::begin() }
    }

    fn captured(&mut self, captured: &Captured, walks: &Walks) -> io::Result<()> {
        let Captured { db, key, marks, body } = captured;
        match body.content() {
            Content::Body(body) => self.writing.entry(&mut self.buffer, *db, key, *marks, &body),
            Content::Big(big) => {
                self.writing.begin_big(&mut self.buffer, *db, key, *marks, big);
                while self.writing.big_piece(&mut self.buffer, key, big) && !walks.is_cancelled() {
                    self.courtesy.give_way();
                    self.write_if_full()?;
                }
                self.writing.end_big(&mut self.buffer, key, *marks);
            }
        }
        self.write_if_full()
    }

    fn write_if_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= WRITE_BYTES {
            self.writing.sum(&self.buffer);
            self.courtesy.give_way();
            self.sink.write(&self.buffer)?;
            self.courtesy.give_way();
            self.unsynced += self.buffer.len();
            self.buffer.clear();
            self.buffer.shrink_to(2 * WRITE_BYTES);
        }
        if self.unsynced >= SYNC_BYTES && self.syncs_as_it_grows {
            self.sink.sync()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    fn end(mut self, checksum: bool) -> io::Result<()> {
        self.writing.end(&mut self.buffer, checksum);
        self.sink.write(&self.buffer)?;
        self.sink.sync()
    }
}

fn incremental_sync(form: &Form, config: &Config) -> bool {
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

/// Rests. False when the job is cancelled meanwhile.
fn wait(walks: &Walks, delay: Duration) -> bool {
    let mut left = delay;
    while !left.is_zero() {
        let nap = left.min(NAP);
        std::thread::sleep(nap);
        if walks.is_cancelled() {
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
    fn begin(out: &mut Vec<u8>, form: &Form, config: &Config, sizes: Vec<Size>) -> Self {
        let now = clock::now_ms();
        match form {
            Form::Rdb { version, log_base, history } => {
                let history = history.clone();
                let purpose = Purpose { history, ..Purpose::of(config, *version, *log_base, now, sizes) };
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

    fn library(&mut self, out: &mut Vec<u8>, text: &[u8]) {
        match self {
            Self::Rdb(writer) => writer.library(out, text),
            Self::Commands(_) => encode_request(out, [&b"FUNCTION"[..], b"LOAD", text].into_iter()),
        }
    }

    fn entry(&mut self, out: &mut Vec<u8>, db: usize, key: &[u8], marks: Marks, body: &Body<'_>) {
        match self {
            Self::Rdb(writer) => writer.entry(out, db, key, marks, body),
            Self::Commands(selected) => {
                select(out, selected, db);
                replay::encode_entry(out, key, marks.expiry, body);
            }
        }
    }

    fn begin_big(&mut self, out: &mut Vec<u8>, db: usize, key: &[u8], marks: Marks, big: &Big) {
        match self {
            Self::Rdb(writer) => writer.begin_big(out, db, key, marks, big),
            Self::Commands(selected) => select(out, selected, db),
        }
    }

    /// The next piece of a big value. False behind the last.
    fn big_piece(&mut self, out: &mut Vec<u8>, key: &[u8], big: &Big) -> bool {
        match self {
            Self::Rdb(writer) => writer.big_piece(out, big),
            Self::Commands(_) => replay::encode_piece(out, key, big),
        }
    }

    fn end_big(&mut self, out: &mut Vec<u8>, key: &[u8], marks: Marks) {
        if let Self::Commands(_) = self {
            replay::encode_expiry(out, key, marks.expiry);
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

/// Goes to a database, of the log.
fn select(out: &mut Vec<u8>, selected: &mut Option<usize>, db: usize) {
    if *selected != Some(db) {
        encode_select(out, db);
        *selected = Some(db);
    }
}

/// Entries visited under one stripe's lock: some tens of microseconds.
const KEYS_PER_STEP: usize = 64;
/// Summing or writing so much takes some tens of microseconds too.
const WRITE_BYTES: usize = 64 << 10;
/// Syncing as we go keeps the device's queue short for the log beside us (Redis's REDIS_AUTOSYNC_BYTES).
const SYNC_BYTES: usize = 4 << 20;
/// A slow save notices this soon that it is cancelled.
const NAP: Duration = Duration::from_millis(10);
