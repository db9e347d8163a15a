//! The append-only directory: base, increments, manifest, in Redis 7's layout and names.
//!
//! Every change of the set of files is made whole by writing a new manifest beside the old one, syncing it, renaming
//! it over, and syncing the directory: after a crash one of the two sets is in force, and both are complete.
//! A log of the older single-file kind is adopted as base at the first start.

use super::manifest::{FileInfo, Manifest};
use super::save::Seconds;
use super::storage::{Directory, Storage, StoredFile, directory_of};
use crate::config::Config;
use parking_lot::Mutex;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

/// The files of one log.
pub struct AofDir {
    pub dir: PathBuf,
    pub name: String,
    pub manifest: Manifest,
    pub storage: Storage,
}

/// The log's files and what INFO tells of rewrites.
#[derive(Default)]
pub struct Aof {
    pub storage: Storage,
    pub files: Mutex<Option<AofDir>>,
    /// There is to be a log, as the configuration has it.
    pub wanted: AtomicBool,
    pub rewrites: AtomicU64,
    pub failures_in_a_row: AtomicU64,
    pub last_failed: AtomicBool,
    /// Seconds that the last rewrite took; -1 before the first.
    pub last_rewrite_seconds: Seconds,
    pub rewrite_started_ms: AtomicI64,
    /// The rewrite in progress makes the first base of a log that is turned on: until it is in force, the log is in no
    /// manifest.
    pub begins: AtomicBool,
    /// Do not try again before this time, after failures.
    pub retry_at_ms: AtomicI64,
}

impl Aof {
    pub fn on(storage: Storage) -> Self {
        Self { storage, ..Self::default() }
    }

    /// CONFIG RESETSTAT: counts begin anew; whether the last rewrite succeeded is no count.
    pub fn reset_counts(&self) {
        self.rewrites.store(0, Relaxed);
        self.failures_in_a_row.store(0, Relaxed);
    }
}

/// A status that begins as "ok".
pub struct LastOk(pub AtomicBool);

impl Default for LastOk {
    fn default() -> Self {
        Self(AtomicBool::new(true))
    }
}

/// Adds the path to an error: the operator must know which file.
pub fn at(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |e| io::Error::new(e.kind(), format!("{}: {}", path.display(), crate::log::cause(&e)))
}

impl AofDir {
    /// Reads the directory's manifest, adopts an old log, or begins with nothing. Creates no file.
    pub fn open(config: &Config, storage: &Storage) -> io::Result<Self> {
        let dir = PathBuf::from(&config.appenddirname);
        let name = config.appendfilename.clone();
        let path = dir.join(format!("{name}.manifest"));
        let manifest = match fs::read_to_string(&path) {
            Ok(text) => {
                Manifest::parse(&text).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e)).map_err(at(&path))?
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Manifest::default(),
            Err(e) => return Err(at(&path)(e)),
        };
        let mut this = Self { dir, name, manifest, storage: storage.clone() };
        if this.manifest == Manifest::default() || this.is_half_adopted() {
            this.adopt_old_log()?;
        }
        Ok(this)
    }

    /// The manifest names the old log as base, but a crash came before it was moved into the directory.
    fn is_half_adopted(&self) -> bool {
        let only_base = self.manifest.incr.is_empty() && self.manifest.history.is_empty();
        only_base && self.manifest.base.as_ref().is_some_and(|b| b.name == self.name && !self.path(b).exists())
    }

    /// A single-file log from before Redis 7 becomes the base.
    fn adopt_old_log(&mut self) -> io::Result<()> {
        let old = PathBuf::from(&self.name);
        match fs::metadata(&old) {
            Ok(m) if m.is_file() && m.len() > 0 => {}
            _ => return Ok(()),
        }
        self.create_dir()?;
        let mut manifest = self.manifest.clone();
        manifest.base = Some(FileInfo { name: self.name.clone(), seq: 1 });
        self.persist(manifest)?;
        let new = self.dir.join(&self.name);
        self.storage.rename(&old, &new)?;
        self.storage.sync_dir(&self.dir)?;
        self.storage.sync_dir(directory_of(&old))?;
        crate::log::notice!(
            "Successfully migrated an old-style AOF configuration ({}) into the AOF directory ({}).",
            self.name,
            self.dir.display()
        );
        Ok(())
    }

    pub fn path(&self, file: &FileInfo) -> PathBuf {
        self.dir.join(&file.name)
    }

    pub fn create_dir(&self) -> io::Result<()> {
        self.storage.create_dir(&self.dir)
    }

    /// Puts another manifest in force.
    pub fn persist(&mut self, manifest: Manifest) -> io::Result<()> {
        self.prepare(&manifest)?;
        self.put_prepared_in_force(manifest)?.sync()
    }

    /// Writes a manifest beside the one in force.
    pub fn prepare(&self, manifest: &Manifest) -> io::Result<()> {
        let temp = self.prepared();
        let mut file = self.storage.create(&temp)?;
        file.write_all(manifest.format().as_bytes()).and_then(|()| file.sync()).map_err(at(&temp))
    }

    /// Puts the prepared manifest in force: it is what a reader finds from here on, and survives a power cut once the
    /// directory, which is returned, is synced.
    pub fn put_prepared_in_force(&mut self, manifest: Manifest) -> io::Result<Directory> {
        self.storage.rename(&self.prepared(), &self.dir.join(format!("{}.manifest", self.name)))?;
        self.manifest = manifest;
        Ok(self.storage.directory(&self.dir))
    }

    /// Where a manifest waits to be put in force.
    pub fn prepared(&self) -> PathBuf {
        self.dir.join(format!("temp-{}.manifest", self.name))
    }

    /// The increment to append to after loading: the last one, or a first one (beside an empty base if there is none).
    pub fn open_last_incr(&mut self, config: &Config) -> io::Result<(StoredFile, u64)> {
        self.create_dir()?;
        if let Some(last) = self.manifest.incr.last() {
            let path = self.path(last);
            let file = self.storage.append(&path)?;
            let len = file.size().map_err(at(&path))?;
            return Ok((file, len));
        }
        let mut manifest = self.manifest.clone();
        if manifest.base.is_none() {
            let suffix = if config.aof_use_rdb_preamble { "rdb" } else { "aof" };
            let base = FileInfo { name: format!("{}.1.base.{suffix}", self.name), seq: 1 };
            let path = self.path(&base);
            let content: Vec<u8> = if config.aof_use_rdb_preamble { super::load::empty_rdb() } else { Vec::new() };
            let mut file = self.storage.create(&path)?;
            file.write_all(&content).and_then(|()| file.sync()).map_err(at(&path))?;
            manifest.base = Some(base);
        }
        let (file, info) = self.create_incr(&manifest)?;
        manifest.incr.push(info);
        self.persist(manifest)?;
        Ok((file, 0))
    }

    /// A new, empty increment that no manifest names yet.
    pub fn create_incr(&self, manifest: &Manifest) -> io::Result<(StoredFile, FileInfo)> {
        self.create_dir()?;
        let seq = manifest.next_incr_seq();
        let info = FileInfo { name: format!("{}.{seq}.incr.aof", self.name), seq };
        let path = self.path(&info);
        let file = self.storage.create(&path)?;
        self.storage.sync_dir(&self.dir)?;
        Ok((file, info))
    }

    /// Deletes what the manifest calls history, unless it is to be kept. What cannot be deleted stays, and is tried again
    /// with the next rewrite or start.
    pub fn delete_history(&mut self, config: &Config) {
        if config.aof_disable_auto_gc || self.manifest.history.is_empty() {
            return;
        }
        if let Err(e) = self.try_delete_history() {
            crate::log::warning!("A history file of the append-only log stays: {e}");
        }
    }

    fn try_delete_history(&mut self) -> io::Result<()> {
        for old in &self.manifest.history {
            let path = self.path(old);
            crate::log::notice!("Removing the history file {} in the background", old.name);
            match self.storage.remove(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        let manifest = Manifest { history: Vec::new(), ..self.manifest.clone() };
        self.persist(manifest)
    }

    /// Total size of base and increments.
    pub fn size(&self) -> u64 {
        self.manifest.to_load().filter_map(|f| fs::metadata(self.path(f)).ok()).map(|m| m.len()).sum()
    }

    pub fn base_size(&self) -> u64 {
        self.manifest.base.iter().filter_map(|f| fs::metadata(self.path(f)).ok()).map(|m| m.len()).sum()
    }
}
