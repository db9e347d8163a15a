//! BGREWRITEAOF: a new base from one instant of the keyspace, while writes go on. No fork.
//!
//! The cut is one moment under the exclusive gate: the snapshot's parity flips and the journal goes on in a new
//! increment. Before it the increment exists and the manifest names it, so a crash at any point finds a complete set.
//! Then a thread walks the cut in bounded steps into a temporary file, which becomes the base by one manifest.
//! A rewrite that is cancelled (a shutdown, or the log turned off) removes its temporary file; the increment that it began
//! stays part of a log that goes on.

use super::aof::{Aof, AofDir};
use super::journal::Journal;
use super::manifest::{FileInfo, Manifest};
use super::rdb::Version;
use super::snapshot_writer::{self, Form, Order};
use super::storage::{Directory, StoredFile};
use super::walks::Walks;
use crate::clock;
use crate::config::Config;
use crate::keyspace::Keyspace;
use crate::keyspace::snapshot::Walk;
use crate::script::functions::{Libraries, Set};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

/// What a rewrite works on.
pub struct Rewrite<'a> {
    pub keyspace: &'a Keyspace,
    pub journal: &'a Journal,
    pub aof: &'a Aof,
    pub walks: &'a Walks,
    pub libraries: &'a Libraries,
    pub config: &'a Config,
    /// The thread's number: its lock in the gate, its place in the statistics.
    pub thread: usize,
}

impl Rewrite<'_> {
    /// Runs one rewrite to its end.
    pub fn run(&self) -> io::Result<()> {
        let started = clock::now_ms();
        self.aof.rewrite_started_ms.store(started, Relaxed);
        let result = self.attempt();
        self.aof.begins.store(false, Relaxed);
        match &result {
            Ok(()) => {
                crate::log::notice!("Background AOF rewrite finished successfully");
                self.aof.failures_in_a_row.store(0, Relaxed);
                self.aof.last_failed.store(false, Relaxed);
            }
            // Cancelled on purpose: no failure, as in Redis.
            Err(_) if self.walks.is_cancelled() => crate::log::notice!("Background AOF rewrite terminated by signal"),
            Err(e) => {
                crate::log::warning!("Background AOF rewrite terminated with error: {e}");
                let failures = self.aof.failures_in_a_row.fetch_add(1, Relaxed);
                let wait_ms = RETRY_FIRST_MS << failures.min(RETRY_DOUBLINGS);
                self.aof.retry_at_ms.store(clock::now_ms() + wait_ms, Relaxed);
                self.aof.last_failed.store(true, Relaxed);
            }
        }
        self.aof.last_rewrite_seconds.0.store((clock::now_ms() - started) / 1000, Relaxed);
        self.aof.rewrites.fetch_add(1, Relaxed);
        self.aof.rewrite_started_ms.store(0, Relaxed);
        result
    }

    fn attempt(&self) -> io::Result<()> {
        let (log, next) = self.next_file()?;
        let (file, incr) = next.unzip();
        let walk = match self.cut(file, || self.name(log, incr.as_ref())) {
            Ok(walk) => walk,
            Err(e) => {
                self.take_back(log, incr.as_ref());
                return Err(e);
            }
        };
        let temp = temp_path();
        let libraries = self.libraries.current();
        let made = self.write_base(walk, &libraries, &temp).and_then(|()| self.put_in_force(&temp, log, incr.as_ref()));
        if made.is_err() {
            let _ = self.aof.storage.remove(&temp);
            if log == Log::Begins {
                self.take_back(log, incr.as_ref());
            }
        }
        made
    }

    fn write_base(&self, walk: Walk<'_>, libraries: &Set, temp: &Path) -> io::Result<()> {
        let (storage, walks) = (&self.aof.storage, self.walks);
        let order = Order { form: self.form(), config: self.config, walks, libraries };
        let mut file = snapshot_writer::File::create(storage, temp)?;
        snapshot_writer::write(walk, &order, &mut file).and_then(|()| self.go_on())
    }

    fn form(&self) -> Form {
        match self.config.aof_use_rdb_preamble {
            true => Form::Rdb { version: Version::of(self.keyspace.has_timed_fields()), log_base: true, history: None },
            false => Form::Commands,
        }
    }

    /// The increment that is to begin with the cut, if there is to be a log.
    fn next_file(&self) -> io::Result<(Log, Option<(StoredFile, FileInfo)>)> {
        let mut files = self.aof.files.lock();
        self.go_on()?;
        if let Some(dir) = files.as_mut() {
            let (file, incr) = dir.create_incr(&dir.manifest)?;
            dir.prepare(&dir.manifest.with_incr(&incr))?;
            return Ok((Log::GoesOn, Some((file, incr))));
        }
        if !self.aof.wanted.load(Relaxed) {
            return Ok((Log::Off, None));
        }
        self.aof.begins.store(true, Relaxed);
        // Until the first base is in force, the log that lies there belongs to another time and stays as it is.
        let dir = AofDir::open(self.config, &self.aof.storage)?;
        let next = dir.create_incr(&dir.manifest)?;
        *files = Some(dir);
        Ok((Log::Begins, Some(next)))
    }

    /// The cut: the journal goes on in the new file, and the walk sees what is behind it.
    fn cut(
        &self,
        file: Option<StoredFile>,
        name: impl FnOnce() -> io::Result<Option<Directory>>,
    ) -> io::Result<Walk<'_>> {
        // The last increment must be durable before the next one can hold anything: most of it now, the rest by the
        // batcher before it writes on.
        self.journal.flush();
        self.journal.sync();
        let exclusive = self.keyspace.gate.exclusive();
        // The thread that turns the log off is inside the gate: from here on the log is on until the cut is made.
        self.go_on()?;
        let walk = self
            .keyspace
            .cut(&exclusive, self.thread)
            .ok_or_else(|| io::Error::other("another snapshot is in progress"))?;
        file.map_or(Ok(()), |file| self.journal.switch(file, name))?;
        Ok(walk)
    }

    /// Makes the increment part of a log that goes on; the manifest is prepared. One that begins has its first manifest
    /// with its first base.
    fn name(&self, log: Log, incr: Option<&FileInfo>) -> io::Result<Option<Directory>> {
        let mut files = self.aof.files.lock();
        match (log, files.as_mut(), incr) {
            (Log::GoesOn, Some(dir), Some(incr)) => dir.put_prepared_in_force(dir.manifest.with_incr(incr)).map(Some),
            _ => Ok(None),
        }
    }

    /// Nothing stays of an attempt that failed. A log that was to begin with it is off again: what it would have held
    /// is in the next attempt's base.
    fn take_back(&self, log: Log, incr: Option<&FileInfo>) {
        let mut files = self.aof.files.lock();
        if log == Log::Begins {
            self.journal.detach();
        }
        let (Some(dir), Some(incr)) = (files.as_mut(), incr) else { return };
        let mut manifest = dir.manifest.clone();
        manifest.incr.retain(|file| file != incr);
        let _ = dir.storage.remove(&dir.prepared());
        let forgotten = if manifest == dir.manifest { Ok(()) } else { dir.persist(manifest) };
        if let Err(e) = forgotten.and_then(|()| dir.storage.remove(&dir.path(incr))) {
            crate::log::warning!("An empty increment stays in the append-only directory: {e}");
        }
        if log == Log::Begins {
            *files = None;
        }
    }

    /// An error once the job is cancelled.
    fn go_on(&self) -> io::Result<()> {
        if self.walks.is_cancelled() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    /// The temporary file becomes the base; everything older becomes history and is deleted.
    fn put_in_force(&self, temp: &Path, log: Log, incr: Option<&FileInfo>) -> io::Result<()> {
        let (mut files, mut alone) = (self.aof.files.lock(), None);
        let dir = match (files.as_mut(), log) {
            (Some(dir), _) => dir,
            (None, Log::Off) => alone.insert(AofDir::open(self.config, &self.aof.storage)?),
            (None, _) => return Err(io::Error::other("the append-only log was turned off")),
        };
        let seq = dir.manifest.next_base_seq();
        let suffix = if self.config.aof_use_rdb_preamble { "rdb" } else { "aof" };
        let base = FileInfo { name: format!("{}.{seq}.base.{suffix}", dir.name), seq };
        dir.create_dir()?;
        dir.storage.rename(temp, &dir.path(&base))?;
        dir.storage.sync_dir(&dir.dir)?;
        let Manifest { base: old_base, history: older, incr: old_incr } = dir.manifest.clone();
        let (mut kept, left): (Vec<_>, Vec<_>) =
            old_incr.into_iter().partition(|f| log == Log::GoesOn && incr.is_some_and(|incr| f.seq >= incr.seq));
        if log == Log::Begins {
            kept.extend(incr.cloned());
        }
        // The newest comes first, as in Redis's manifests.
        let history = left.into_iter().chain(old_base).chain(older).collect();
        dir.persist(Manifest { base: Some(base), history, incr: kept })?;
        if log != Log::Off {
            self.journal.base_is_in_force();
            let base_bytes = dir.base_size();
            self.journal.stats.behind_bytes.store(base_bytes, Relaxed);
            self.journal.stats.base_bytes.store(base_bytes, Relaxed);
        }
        dir.delete_history(self.config);
        Ok(())
    }
}

/// Where a base is written until it is whole.
pub fn temp_path() -> PathBuf {
    PathBuf::from(format!("temp-rewriteaof-bg-{}.aof", std::process::id()))
}

/// What a rewrite is to the log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Log {
    GoesOn,
    /// It was off until now, and its first base is being made.
    Begins,
    /// Only a base is asked for.
    Off,
}

/// After failures the next attempt waits a second, then twice as long each time, a minute at most.
const RETRY_FIRST_MS: i64 = 1_000;
const RETRY_DOUBLINGS: u64 = 6;
