//! A full sync: one walk over one cut of the keyspace, for all replicas that wait.
//!
//! The snapshot goes to the connections as it is made, framed by an end mark, if `repl-diskless-sync` says so and all of
//! them can read that; else to a file first, which is removed while it is read. What is written meanwhile waits for them in
//! the stream. A replica whose connection takes nothing for `repl-timeout` is left behind; the others go on.

use super::{Part, Replica, Replication, Stage};
use crate::clock;
use crate::config::Config;
use crate::keyspace::Keyspace;
use crate::persist::rdb::write::{Purpose, Writer};
use crate::persist::snapshot::{self, Form, Order, Sink};
use crate::persist::{Journal, Storage, Walks};
use crate::script::functions::{Libraries, Set};
use bytes::Bytes;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a full sync works on.
pub struct Job<'a> {
    pub keyspace: &'a Keyspace,
    pub replication: &'a Replication,
    pub journal: &'a Journal,
    pub storage: &'a Storage,
    pub walks: &'a Walks,
    pub libraries: &'a Libraries,
    pub config: &'a Config,
    /// When the snapshot in progress began, for INFO.
    pub started_ms: &'a AtomicI64,
    /// The thread's own slot in the gate.
    pub slot: usize,
}

/// Whether a full sync is to begin now: somebody waits, and has waited long enough for others to come.
pub fn is_due(replication: &Replication, config: &Config, now: i64) -> bool {
    let replicas = replication.replicas();
    let waiting: Vec<_> = replicas.iter().filter(|replica| replica.stage() == Stage::Waits).collect();
    let Some(first) = waiting.iter().map(|replica| replica.asked_ms).min() else { return false };
    let enough = config.repl_diskless_sync_max_replicas as usize;
    let delay_ms = if config.repl_diskless_sync { i64::from(config.repl_diskless_sync_delay) * 1000 } else { 0 };
    now - first >= delay_ms || enough > 0 && waiting.len() >= enough
}

impl Job<'_> {
    pub fn run(&self) {
        let started = Instant::now();
        self.started_ms.store(clock::now_ms(), Relaxed);
        let mut replicas = Vec::new();
        match self.attempt(&mut replicas) {
            Ok(()) => {
                let seconds = started.elapsed().as_secs_f64();
                crate::log::notice!("Full sync: the snapshot was sent in {seconds:.3} seconds");
            }
            Err(e) => {
                crate::log::warning!("Full sync failed: {e}");
                // Whoever got no end asks again.
                let cut_off = replicas.iter().filter(|replica| !replica.is_online());
                cut_off.for_each(|replica| replica.client.close());
            }
        }
        self.started_ms.store(0, Relaxed);
    }

    fn attempt(&self, replicas: &mut Vec<Arc<Replica>>) -> io::Result<()> {
        self.keyspace.look_for_timed_fields();
        let exclusive = self.keyspace.gate.exclusive();
        let waiting = self.replication.replicas().into_iter().filter(|replica| replica.stage() == Stage::Waits);
        let timed_fields = self.keyspace.has_timed_fields();
        let (served, refused): (Vec<_>, Vec<_>) = waiting
            .partition(|replica| !timed_fields || replica.offered.reads_rdb_12 || replica.offered.functions_only);
        refused.iter().for_each(|replica| self.refuse(replica));
        replicas.extend(served);
        if replicas.is_empty() {
            return Ok(());
        }
        let walk = self
            .keyspace
            .cut(&exclusive, self.slot)
            .ok_or_else(|| io::Error::other("another snapshot is in progress"))?;
        let (history, cursors) = self.journal.stream.begin_sync(replicas.len());
        let offset = history.offset;
        let libraries = self.libraries.current();
        drop(exclusive);
        for (replica, cursor) in replicas.iter().zip(cursors) {
            replica.set_cursor(cursor.clone());
            replica.go_to(Stage::Snapshot);
            let _ = replica.send(Part::Begin(cursor));
        }
        let order = Order {
            form: Form::Rdb { timed_fields, log_base: false, history: Some(history) },
            config: self.config,
            walks: self.walks,
            libraries: &libraries,
        };
        for replica in replicas.iter().filter(|replica| replica.offered.functions_only) {
            self.send_functions(replica, &libraries);
        }
        let diskless = self.config.repl_diskless_sync && replicas.iter().all(|replica| replica.offered.eof);
        let target = if diskless { "replicas sockets" } else { "disk" };
        crate::log::notice!(
            "Starting a full sync of {} replicas at offset {offset} with target: {target}",
            replicas.len()
        );
        let mut all = Connections::of(replicas, self);
        if all.replicas.is_empty() {
            return Ok(());
        }
        if diskless {
            snapshot::write(walk, &order, &mut all)?;
        } else {
            let path = temp_path();
            let written = snapshot::File::create(self.storage, &path)
                .and_then(|mut file| snapshot::write(walk, &order, &mut file))
                .and_then(|()| all.send_file(&path));
            let _ = self.storage.remove(&path);
            written?;
        }
        all.end()
    }
}

impl Job<'_> {
    /// Fields of hashes expire, which needs a version of the format that the replica does not show to read: it would give up
    /// its data for a snapshot that it cannot load.
    fn refuse(&self, replica: &Replica) {
        let now = clock::now_ms();
        if self.replication.refused_ms.swap(now, Relaxed) + REFUSALS_LOGGED_EVERY_MS < now {
            crate::log::warning!(
                "Replica {} is refused: fields of hashes expire here, for which it shows no support (Redis 8.2 does)",
                replica.client.address
            );
        }
        replica.go_to(Stage::Snapshot);
        let _ = replica.send(Part::Refusal(NEEDS_VERSION_12));
    }

    /// A snapshot of nothing but the libraries of functions.
    fn send_functions(&self, replica: &Replica, libraries: &Set) {
        let mut bytes = Vec::new();
        let purpose = Purpose::of(self.config, false, false, clock::now_ms(), Vec::new());
        let mut writer = Writer::begin(&mut bytes, purpose);
        libraries.libraries().for_each(|library| writer.library(&mut bytes, &library.text));
        writer.end(&mut bytes, self.config.rdbchecksum);
        let _ = replica.send(Part::Bytes(bytes.into()));
        let _ = replica.send(Part::End);
    }
}

/// Where a snapshot that goes through a file is written.
pub fn temp_path() -> PathBuf {
    PathBuf::from(format!("temp-sync-{}.rdb", std::process::id()))
}

/// The connections of the replicas that are still there.
struct Connections<'j> {
    replicas: Vec<Arc<Replica>>,
    walks: &'j Walks,
    patience: Duration,
}

impl<'j> Connections<'j> {
    fn of(replicas: &[Arc<Replica>], job: &Job<'j>) -> Self {
        let patience = Duration::from_secs(u64::from(job.config.repl_timeout));
        let whole = replicas.iter().filter(|replica| !replica.offered.functions_only);
        Self { replicas: whole.cloned().collect(), walks: job.walks, patience }
    }

    fn send(&mut self, part: impl Fn() -> io::Result<Part>) -> io::Result<()> {
        let mut failed = Ok(());
        self.replicas.retain(|replica| match part() {
            Ok(part) => deliver(replica, part, self.walks, self.patience),
            Err(e) => {
                failed = Err(e);
                true
            }
        });
        failed?;
        if self.walks.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.replicas.is_empty() { Err(io::Error::other("no replica is left to send to")) } else { Ok(()) }
    }

    fn send_file(&mut self, path: &std::path::Path) -> io::Result<()> {
        self.send(|| {
            let file = std::fs::File::open(path)?;
            let len = file.metadata()?.len();
            Ok(Part::File(file, len))
        })
    }

    fn end(&mut self) -> io::Result<()> {
        self.send(|| Ok(Part::End))
    }
}

impl Sink for Connections<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let bytes = Bytes::copy_from_slice(bytes);
        self.send(|| Ok(Part::Bytes(bytes.clone())))
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for room. False if the connection has ended, or takes nothing.
fn deliver(replica: &Replica, mut part: Part, walks: &Walks, patience: Duration) -> bool {
    let since = Instant::now();
    loop {
        match replica.send(part) {
            Ok(()) => return true,
            Err(None) => return false,
            Err(Some(back)) => part = back,
        }
        if since.elapsed() > patience || replica.client.facts.gone.load(Relaxed) || walks.is_cancelled() {
            crate::log::warning!("Full sync: replica {} takes nothing", replica.client.address);
            replica.client.close();
            return false;
        }
        std::thread::sleep(NAP);
    }
}

/// Not an error of the kind that makes a replica ask with SYNC.
const NEEDS_VERSION_12: &str = "-NOMASTERLINK Fields of hashes expire here, which needs RDB version 12: this replica does not show that it reads that\r\n";
const REFUSALS_LOGGED_EVERY_MS: i64 = 60_000;
/// While a connection has no room for more of the snapshot.
const NAP: Duration = Duration::from_millis(1);
