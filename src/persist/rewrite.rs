//! BGREWRITEAOF: a new base from one instant of the keyspace, while writes go on. No fork.
//!
//! The cut is one moment under the exclusive gate: the snapshot's parity flips and the journal goes on in a new
//! increment. Before it the increment exists and the manifest names it, so a crash at any point finds a complete set.
//! Then a thread walks the cut in bounded steps into a temporary file, which becomes the base by one manifest.
//! A torn cut (FLUSHALL, SWAPDB) throws the temporary file away and begins again.

use super::aof::{Aof, AofDir};
use super::journal::Journal;
use super::manifest::{FileInfo, Manifest};
use super::snapshot::{self, Form};
use crate::clock;
use crate::config::Config;
use crate::keyspace::Keyspace;
use crate::keyspace::snapshot::Walk;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

/// What a rewrite works on.
pub struct Job<'a> {
    pub keyspace: &'a Keyspace,
    pub journal: &'a Journal,
    pub aof: &'a Aof,
    pub config: &'a Config,
    /// The thread's own slot in the gate.
    pub slot: usize,
}

impl Job<'_> {
    /// Runs one rewrite to its end. `aof.rewriting` is set by the caller and cleared here.
    pub fn run(&self) -> io::Result<()> {
        let started = clock::now_ms();
        self.aof.rewrite_started_ms.store(started, Relaxed);
        let mut result = self.attempt();
        while matches!(&result, Err(e) if e.kind() == io::ErrorKind::Interrupted) && !self.aof.cancelled.load(Relaxed) {
            result = self.attempt();
        }
        match &result {
            Ok(()) => crate::log::notice!("Background AOF rewrite finished successfully"),
            Err(_) if self.aof.cancelled.load(Relaxed) => {
                crate::log::notice!("Background AOF rewrite ended early: the log is off");
            }
            Err(e) => {
                crate::log::warning!("Background AOF rewrite terminated with error: {e}");
                self.aof.retry_at_ms.store(clock::now_ms() + RETRY_AFTER_MS, Relaxed);
            }
        }
        self.aof.last_rewrite_ok.0.store(result.is_ok(), Relaxed);
        self.aof.last_rewrite_seconds.store((clock::now_ms() - started) / 1000, Relaxed);
        self.aof.rewrites.fetch_add(1, Relaxed);
        self.aof.rewrite_started_ms.store(0, Relaxed);
        self.aof.rewriting.store(false, Relaxed);
        result
    }

    fn attempt(&self) -> io::Result<()> {
        let (walk, incr, fresh) = self.cut()?;
        let temp = PathBuf::from(format!("temp-rewriteaof-bg-{}.aof", std::process::id()));
        let storage = &self.aof.storage;
        let written = snapshot::write(walk, storage, &temp, self.form(), self.config);
        let torn = self.keyspace.captures.is_torn();
        if let Err(e) = written {
            let _ = storage.remove(&temp);
            return Err(if torn { io::ErrorKind::Interrupted.into() } else { e });
        }
        self.put_in_force(&temp, &incr, fresh)
    }

    fn form(&self) -> Form {
        match self.config.aof_use_rdb_preamble {
            true => Form::Rdb { timed_fields: self.keyspace.has_timed_fields(), log_base: true },
            false => Form::Commands,
        }
    }

    /// The cut. Returns the walk and the increment that begins with it; `fresh` when the log was off until now.
    fn cut(&self) -> io::Result<(Walk<'_>, FileInfo, bool)> {
        let mut files = self.aof.files.lock();
        self.go_on()?;
        let fresh = files.is_none();
        if fresh {
            *files = Some(AofDir::open(self.config, &self.aof.storage)?);
        }
        let dir = files.as_mut().expect("set just above");
        let (file, incr) = dir.create_incr(&dir.manifest)?;
        if !fresh {
            let mut manifest = dir.manifest.clone();
            manifest.incr.push(incr.clone());
            dir.persist(manifest)?;
        }
        // Whoever is inside the gate may ask for the files: never wait for the gate with them in hand.
        drop(files);
        // The last increment must be durable before the next one can hold anything: most of it now, the rest by the
        // batcher before it writes on.
        self.journal.flush();
        self.journal.sync();
        let exclusive = self.keyspace.gate.exclusive();
        // Whoever turns the log off is inside the gate: from here on the log is on until the cut is made.
        self.go_on()?;
        let walk = self
            .keyspace
            .cut(&exclusive, self.slot)
            .ok_or_else(|| io::Error::other("another snapshot is in progress"))?;
        self.journal.switch(file)?;
        drop(exclusive);
        Ok((walk, incr, fresh))
    }

    /// An error once the log was turned off.
    fn go_on(&self) -> io::Result<()> {
        if self.aof.cancelled.load(Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }

    /// The temporary file becomes the base; everything older becomes history and is deleted.
    fn put_in_force(&self, temp: &Path, incr: &FileInfo, fresh: bool) -> io::Result<()> {
        let mut files = self.aof.files.lock();
        let Some(dir) = files.as_mut() else { return Err(io::Error::other("the append-only log was turned off")) };
        let seq = dir.manifest.next_base_seq();
        let suffix = if self.config.aof_use_rdb_preamble { "rdb" } else { "aof" };
        let base = FileInfo { name: format!("{}.{seq}.base.{suffix}", dir.name), seq };
        dir.storage.rename(temp, &dir.path(&base))?;
        dir.storage.sync_dir(&dir.dir)?;
        let old = dir.manifest.clone();
        let keep = |f: &&FileInfo| f.seq >= incr.seq;
        let mut manifest = Manifest {
            base: Some(base),
            history: old.history.clone(),
            incr: old.incr.iter().filter(keep).cloned().collect(),
        };
        if fresh {
            manifest.incr = vec![incr.clone()];
        }
        manifest.history.extend(old.base.iter().cloned());
        manifest.history.extend(old.incr.iter().filter(|f| !keep(f) || fresh && f.seq != incr.seq).cloned());
        dir.persist(manifest)?;
        self.journal.base_is_in_force();
        let base_bytes = dir.base_size();
        self.journal.stats.behind_bytes.store(base_bytes, Relaxed);
        self.journal.stats.base_bytes.store(base_bytes, Relaxed);
        dir.delete_history()
    }
}

const RETRY_AFTER_MS: i64 = 60_000;
