//! A full sync: one walk over one cut of the keyspace, for all replicas that wait.
//!
//! The snapshot goes to the connections as it is made, framed by an end mark, if `repl-diskless-sync` says so and all of
//! them can read that; else to a file first, which is removed while it is read. What is written meanwhile waits for them in
//! the stream. A replica whose connection takes nothing for `repl-timeout` is left behind; the others go on.
//!
//! **Which version of the format.** The handshakes of Redis 6.2, 7.0, 7.2 and 7.4 are the same: `capa eof capa psync2`.
//! Valkey since 8 tells its version, and reads 10; Redis since 8.2 has `capa rdb-channel-repl`, and reads 12; we say
//! `capa rdb12`. A replica that shows nothing gets version 9, which all of them read, as long as it carries the data. Libraries of
//! functions need 10: such a replica is sent it on trust, and if it leaves without a first acknowledgement, which is what
//! 6.2 does, it is refused in words for a while. Hashes whose fields expire need 12: who does not show to read it is refused
//! at once, because it would give up its data for a snapshot that it may not be able to load. What comes behind the
//! snapshot is in the words of 7.0; where 6.2 would lose data over them, it is told in words of its own first.

use super::{Replica, Replication, Stage, Transfer};
use crate::clock::{self, Millis};
use crate::config::Config;
use crate::keyspace::Keyspace;
use crate::persist::rdb::Version;
use crate::persist::rdb::write::{Purpose, Writer};
use crate::persist::snapshot_writer::{self, Form, Order, Sink};
use crate::persist::{Journal, Storage, Walks};
use crate::script::functions::{Libraries, Set};
use bytes::Bytes;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a full sync works on.
pub struct FullSync<'a> {
    pub keyspace: &'a Keyspace,
    pub replication: &'a Replication,
    pub journal: &'a Journal,
    pub storage: &'a Storage,
    pub walks: &'a Walks,
    pub libraries: &'a Libraries,
    pub config: &'a Config,
    /// When the snapshot in progress began, for INFO.
    pub started_ms: &'a AtomicI64,
    /// The thread's number: its lock in the gate, its place in the statistics.
    pub thread: usize,
}

/// Whether a full sync is to begin now: a replica waits, and has waited long enough for others to come.
pub fn is_due(replication: &Replication, config: &Config, now: i64) -> bool {
    let replicas = replication.replicas();
    let waiting: Vec<_> = replicas.iter().filter(|replica| replica.stage() == Stage::Waits).collect();
    let Some(first) = waiting.iter().map(|replica| replica.asked_ms).min() else { return false };
    let enough = config.repl_diskless_sync_max_replicas as usize;
    let delay_ms = if config.repl_diskless_sync { i64::from(config.repl_diskless_sync_delay) * 1000 } else { 0 };
    now - first >= delay_ms || enough > 0 && waiting.len() >= enough
}

impl FullSync<'_> {
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
                // A replica that got no end asks again.
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
        let (libraries, now) = (self.libraries.current(), clock::now_ms());
        let needed = version_needed(self.keyspace, &libraries);
        for replica in waiting {
            match refusal(self.replication, &replica, needed, now) {
                Some(refusal) => self.refuse(&replica, &refusal),
                None => replicas.push(replica),
            }
        }
        let Some(common) = replicas.iter().map(|replica| replica.offered.reads).min() else { return Ok(()) };
        let version = needed.max(common.min(Version::V10));
        let on_trust = replicas.iter().filter(|replica| replica.offered.loads() && replica.offered.reads < version);
        on_trust.for_each(|replica| replica.trust(true));
        let walk = self
            .keyspace
            .cut(&exclusive, self.thread)
            .ok_or_else(|| io::Error::other("another snapshot is in progress"))?;
        let (history, cursors) = self.journal.stream.begin_sync(replicas.len());
        let offset = history.offset;
        drop(exclusive);
        for (replica, cursor) in replicas.iter().zip(cursors) {
            replica.set_cursor(cursor.clone());
            replica.go_to(Stage::Snapshot);
            let _ = replica.send(Transfer::Begin(cursor));
        }
        let order = Order {
            form: Form::Rdb { version, log_base: false, history: Some(history) },
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
            snapshot_writer::write(walk, &order, &mut all)?;
        } else {
            let path = temp_path();
            let written = snapshot_writer::File::create(self.storage, &path)
                .and_then(|mut file| snapshot_writer::write(walk, &order, &mut file))
                .and_then(|()| all.send_file(&path));
            let _ = self.storage.remove(&path);
            written?;
        }
        all.end()
    }
}

impl FullSync<'_> {
    fn refuse(&self, replica: &Replica, refusal: &Refusal) {
        let now = clock::now_ms();
        if self.replication.refused_ms.swap(now, Relaxed) + REFUSALS_LOGGED_EVERY_MS < now {
            crate::log::warning!("Replica {} is refused: {}", replica.client.address, refusal.why);
        }
        replica.go_to(Stage::Snapshot);
        let _ = replica.send(Transfer::Refusal(refusal.line));
    }

    /// A snapshot of nothing but the libraries of functions.
    fn send_functions(&self, replica: &Replica, libraries: &Set) {
        let mut bytes = Vec::new();
        let purpose = Purpose::of(self.config, Version::V10, false, clock::now_ms(), Vec::new());
        let mut writer = Writer::begin(&mut bytes, purpose);
        libraries.libraries().for_each(|library| writer.library(&mut bytes, &library.text));
        writer.end(&mut bytes, self.config.rdbchecksum);
        let _ = replica.send(Transfer::Bytes(bytes.into()));
        let _ = replica.send(Transfer::End);
    }
}

/// The lowest version of the format that carries everything there is.
pub fn version_needed(keyspace: &Keyspace, libraries: &Set) -> Version {
    match keyspace.has_timed_fields() {
        true => Version::V12,
        false if libraries.libraries().len() > 0 => Version::V10,
        false => Version::V9,
    }
}

/// Why a replica is given no snapshot: for the log, and as the answer to PSYNC.
pub struct Refusal {
    why: &'static str,
    /// Not an error of the kind that makes a replica ask with SYNC.
    line: &'static str,
}

/// Whether a replica is to be refused a snapshot of a version.
pub fn refusal(replication: &Replication, replica: &Replica, version: Version, now: Millis) -> Option<Refusal> {
    match version {
        _ if !replica.offered.loads() || replica.offered.reads >= version => None,
        Version::V12 => Some(NEEDS_VERSION_12),
        _ => replication.doubts(replica, now).then_some(NEEDS_VERSION_10),
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
    fn of(replicas: &[Arc<Replica>], job: &FullSync<'j>) -> Self {
        let patience = Duration::from_secs(u64::from(job.config.repl_timeout));
        let whole = replicas.iter().filter(|replica| !replica.offered.functions_only);
        Self { replicas: whole.cloned().collect(), walks: job.walks, patience }
    }

    fn send(&mut self, transfer: impl Fn() -> io::Result<Transfer>) -> io::Result<()> {
        let mut failed = Ok(());
        self.replicas.retain(|replica| match transfer() {
            Ok(transfer) => deliver(replica, transfer, self.walks, self.patience),
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
            Ok(Transfer::File(file, len))
        })
    }

    fn end(&mut self) -> io::Result<()> {
        self.send(|| Ok(Transfer::End))
    }
}

impl Sink for Connections<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let bytes = Bytes::copy_from_slice(bytes);
        self.send(|| Ok(Transfer::Bytes(bytes.clone())))
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for room. False if the connection has ended, or takes nothing.
fn deliver(replica: &Replica, mut transfer: Transfer, walks: &Walks, patience: Duration) -> bool {
    let since = Instant::now();
    loop {
        match replica.send(transfer) {
            Ok(()) => return true,
            Err(None) => return false,
            Err(Some(back)) => transfer = back,
        }
        if since.elapsed() > patience || replica.client.facts.gone.load(Relaxed) || walks.is_cancelled() {
            crate::log::warning!("Full sync: replica {} takes nothing", replica.client.address);
            replica.client.close();
            return false;
        }
        std::thread::sleep(NAP);
    }
}

const NEEDS_VERSION_12: Refusal = Refusal {
    why: "fields of hashes expire here, for which it shows no support (Redis 8.2 does)",
    line: "-NOMASTERLINK Fields of hashes expire here, which needs RDB version 12: this replica does not show that it reads that\r\n",
};
const NEEDS_VERSION_10: Refusal = Refusal {
    why: "functions are loaded here, which needs RDB version 10 (Redis 7.0 reads it), and it left when it was sent that",
    line: "-NOMASTERLINK Functions are loaded here, which needs RDB version 10: this replica left when it was sent that\r\n",
};
const REFUSALS_LOGGED_EVERY_MS: i64 = 60_000;
/// While a connection has no room for more of the snapshot.
const NAP: Duration = Duration::from_millis(1);
