//! Snapshots on disk: SAVE, BGSAVE, save points, and the last one at shutdown.
//!
//! A background save ([`super::walks`]) walks one cut of the keyspace into a temporary file that takes the old one's place
//! when it is complete and synced. FLUSHALL cancels it, as in Redis, and so does a shutdown, which makes its own. A save
//! in the foreground ([`save_now`]) owns the world and has a temporary file of its own.

use super::aof::{LastOk, at};
use super::progress::Loading;
use super::rdb::Version;
use super::rdb::write::{History, Purpose, Writer};
use super::snapshot_writer::{self, Form, Order};
use super::storage::{Storage, directory_of};
use super::walks::Walks;
use crate::clock::{self, Millis};
use crate::config::Config;
use crate::keyspace::{Db, Keyspace};
use crate::script::functions::{Libraries, Set};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

/// What is known of snapshots.
#[derive(Default)]
pub struct Rdb {
    pub storage: Storage,
    pub last_ok: LastOk,
    /// When the last one succeeded; 0 if none has.
    pub last_save_ms: AtomicI64,
    last_try_ms: AtomicI64,
    /// Seconds that the last background save took; -1 before the first.
    pub last_seconds: Seconds,
    pub started_ms: AtomicI64,
    pub saves: AtomicU64,
    /// The keyspace's count of changes when what is on disk was cut.
    pub changes_saved: AtomicU64,
    /// DEBUG SET-SKIP-CHECKSUM-VALIDATION.
    pub skips_checksums: AtomicBool,
    pub loading: Loading,
    pub keys_loaded: AtomicU64,
    pub keys_expired_at_load: AtomicU64,
}

/// A duration that begins as -1.
pub struct Seconds(pub AtomicI64);

impl Default for Seconds {
    fn default() -> Self {
        Self(AtomicI64::new(-1))
    }
}

impl Rdb {
    pub fn on(storage: Storage) -> Self {
        Self { storage, ..Self::default() }
    }

    /// A save of everything up to this count of changes succeeded.
    fn succeeded(&self, changes: u64) {
        self.changes_saved.store(changes, Relaxed);
        self.last_save_ms.store(clock::now_ms(), Relaxed);
        self.last_ok.0.store(true, Relaxed);
        self.saves.fetch_add(1, Relaxed);
    }

    /// The save point that is reached, if any.
    pub fn reached(&self, config: &Config, changes: u64, started_ms: Millis, now: Millis) -> Option<(u64, i64)> {
        let last = self.last_save_ms.load(Relaxed).max(started_ms);
        let may_try = self.last_ok.0.load(Relaxed) || now - self.last_try_ms.load(Relaxed) > RETRY_AFTER_MS;
        let unsaved = changes.saturating_sub(self.changes_saved.load(Relaxed));
        let points = config.save.iter();
        let mut reached = points.filter(|p| unsaved >= p.changes && now - last > p.seconds as i64 * 1000);
        reached.next().filter(|_| may_try).map(|p| (unsaved, p.seconds as i64))
    }
}

/// What a background save works on.
pub struct Save<'a> {
    pub keyspace: &'a Keyspace,
    pub rdb: &'a Rdb,
    pub walks: &'a Walks,
    pub libraries: &'a Libraries,
    pub config: &'a Config,
    /// The thread's number: its lock in the gate, its place in the statistics.
    pub thread: usize,
    /// Reads the keyspace's count of changes, and the replication history that it stands in.
    pub changes: &'a dyn Fn() -> (u64, Option<History>),
}

impl Save<'_> {
    /// Runs one save to its end.
    pub fn run(&self) {
        let started = clock::now_ms();
        self.rdb.started_ms.store(started, Relaxed);
        self.rdb.last_try_ms.store(started, Relaxed);
        crate::log::notice!("Background saving started by pid {}", std::process::id());
        match self.attempt() {
            Ok(changes) => {
                self.rdb.succeeded(changes);
                crate::log::notice!("DB saved on disk");
                crate::log::notice!("Background saving terminated with success");
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                crate::log::notice!("Background saving terminated by signal");
            }
            Err(e) => {
                self.rdb.last_ok.0.store(false, Relaxed);
                crate::log::warning!("Background saving error: {e}");
            }
        }
        self.rdb.last_seconds.0.store((clock::now_ms() - started) / 1000, Relaxed);
        self.rdb.started_ms.store(0, Relaxed);
    }

    /// Returns the count of changes at the cut.
    fn attempt(&self) -> io::Result<u64> {
        self.keyspace.look_for_timed_fields();
        let exclusive = self.keyspace.gate.exclusive();
        let (changes, history) = (self.changes)();
        let libraries = self.libraries.current();
        let walk = self
            .keyspace
            .cut(&exclusive, self.thread)
            .ok_or_else(|| io::Error::other("another snapshot is in progress"))?;
        drop(exclusive);
        let (storage, temp) = (&self.rdb.storage, background_path());
        let form = Form::Rdb { version: Version::of(self.keyspace.has_timed_fields()), log_base: false, history };
        let order = Order { form, config: self.config, walks: self.walks, libraries: &libraries };
        let written = snapshot_writer::File::create(storage, &temp)
            .and_then(|mut file| snapshot_writer::write(walk, &order, &mut file))
            .and_then(|()| match self.walks.is_cancelled() {
                true => Err(io::ErrorKind::Interrupted.into()),
                false => Ok(()),
            });
        let saved = written.and_then(|()| put_in_force(storage, &temp, self.config));
        saved.map(|()| changes).inspect_err(|_| {
            let _ = storage.remove(&temp);
        })
    }
}

/// Saves here and now; the unit owns the world. `changes`: the keyspace's count of them.
/// `history`: the replication history that the data stands in.
pub fn save_now(
    db: &mut Db<'_>,
    rdb: &Rdb,
    libraries: &Set,
    config: &Config,
    (changes, history): (u64, Option<History>),
) -> io::Result<()> {
    let temp = temp_path();
    let storage = &rdb.storage;
    let saved = write_everything(db, libraries, (storage, &temp), config, history)
        .and_then(|()| put_in_force(storage, &temp, config));
    match &saved {
        Ok(()) => {
            rdb.succeeded(changes);
            crate::log::notice!("DB saved on disk");
        }
        Err(e) => {
            let _ = storage.remove(&temp);
            crate::log::warning!("Failed saving the DB: {e}");
        }
    }
    saved
}

fn write_everything(
    db: &mut Db<'_>,
    libraries: &Set,
    (storage, path): (&Storage, &Path),
    config: &Config,
    history: Option<History>,
) -> io::Result<()> {
    let mut file = storage.create(path)?;
    let keyspace = db.keyspace();
    let mut out = Vec::new();
    let version = Version::of(keyspace.has_timed_fields());
    let sizes = (0..keyspace.databases()).map(|index| keyspace.counts(index)).collect();
    let purpose = Purpose { history, ..Purpose::of(config, version, false, db.now(), sizes) };
    let mut writer = Writer::begin(&mut out, purpose);
    libraries.libraries().for_each(|library| writer.library(&mut out, &library.text));
    let selected = db.index();
    let mut written = Ok(());
    for index in 0..keyspace.databases() {
        db.select(index);
        db.for_each_stored(|entry| {
            writer.entry(&mut out, index, entry.key(), entry.marks(), &entry.body());
            if let Ok(us @ 1..) = u64::try_from(config.rdb_key_save_delay) {
                std::thread::sleep(std::time::Duration::from_micros(us));
            }
            if out.len() >= WRITE_BYTES && written.is_ok() {
                writer.sum(&out);
                written = file.write_all(&out);
                out.clear();
            }
        });
    }
    db.select(selected);
    written.map_err(at(path))?;
    writer.end(&mut out, config.rdbchecksum);
    file.write_all(&out).and_then(|()| file.sync()).map_err(at(path))
}

fn put_in_force(storage: &Storage, temp: &Path, config: &Config) -> io::Result<()> {
    let path = Path::new(&config.dbfilename);
    storage.rename(temp, path)?;
    storage.sync_dir(directory_of(path))
}

/// Where a snapshot in the foreground is written until it is whole.
pub fn temp_path() -> PathBuf {
    PathBuf::from(format!("temp-{}.rdb", std::process::id()))
}

/// Where one in the background is.
pub fn background_path() -> PathBuf {
    PathBuf::from(format!("temp-bg-{}.rdb", std::process::id()))
}

const WRITE_BYTES: usize = 256 << 10;
/// After a failure, save points wait this long.
const RETRY_AFTER_MS: i64 = 5_000;
