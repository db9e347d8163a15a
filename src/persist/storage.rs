//! The disk as log and snapshots use it: every operation that a power cut could undo goes through here.
//!
//! In production this is the file system and nothing else: a write costs one branch more. A test gives a [`Watch`],
//! which hears of each operation before it happens, may let it fail, and may let it count as done without doing it:
//! so `tests/power_cut` writes down what was asked of the disk and rebuilds what a power cut could have left of it.
//! Errors of operations on paths carry the path. Reading is not here: it changes nothing.

use super::aof::at;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Something asked of the disk. Files are known by the number they were opened under.
#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    /// Opened for appending, created if it was not there.
    Open {
        path: &'a Path,
        file: u64,
    },
    Write {
        file: u64,
        bytes: &'a [u8],
    },
    SetLen {
        file: u64,
        len: u64,
    },
    Sync {
        file: u64,
    },
    Rename {
        from: &'a Path,
        to: &'a Path,
    },
    Remove {
        path: &'a Path,
    },
    CreateDir {
        path: &'a Path,
    },
    SyncDir {
        path: &'a Path,
    },
}

/// Who hears of operations.
pub trait Watch: Send + Sync {
    /// Before an operation. An error lets it fail; `false` lets it count as done.
    fn before(&self, operation: Operation<'_>) -> io::Result<bool>;
}

/// The disk.
#[derive(Clone, Default)]
pub struct Storage {
    watch: Option<Arc<dyn Watch>>,
}

/// A file that is written from its end on. A clone is the same open file.
#[derive(Clone)]
pub struct StoredFile {
    file: Arc<File>,
    path: Arc<Path>,
    number: u64,
    storage: Storage,
}

impl Storage {
    pub fn watched(watch: Arc<dyn Watch>) -> Self {
        Self { watch: Some(watch) }
    }

    #[inline]
    fn may<'a>(&self, operation: impl FnOnce() -> Operation<'a>) -> io::Result<bool> {
        self.watch.as_ref().map_or(Ok(true), |watch| watch.before(operation()))
    }

    /// Opens a file to write on at its end; creates it if it is not there.
    pub fn append(&self, path: &Path) -> io::Result<StoredFile> {
        let number = NEXT_NUMBER.fetch_add(1, Relaxed);
        self.may(|| Operation::Open { path, file: number }).map_err(at(path))?;
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(at(path))?;
        Ok(StoredFile { file: Arc::new(file), path: path.into(), number, storage: self.clone() })
    }

    /// Opens an empty file, whatever was there.
    pub fn create(&self, path: &Path) -> io::Result<StoredFile> {
        let mut file = self.append(path)?;
        file.cut(0).map_err(at(path))?;
        Ok(file)
    }

    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self.may(|| Operation::Rename { from, to }).map_err(at(to))? {
            true => fs::rename(from, to).map_err(at(to)),
            false => Ok(()),
        }
    }

    pub fn remove(&self, path: &Path) -> io::Result<()> {
        match self.may(|| Operation::Remove { path }).map_err(at(path))? {
            true => fs::remove_file(path).map_err(at(path)),
            false => Ok(()),
        }
    }

    /// Makes a directory that survives a power cut; one that is there already is as good.
    pub fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        if self.may(|| Operation::CreateDir { path }).map_err(at(path))? {
            fs::create_dir(path).map_err(at(path))?;
        }
        self.sync_dir(directory_of(path))
    }

    /// A directory to be synced later.
    pub fn directory(&self, path: &Path) -> Directory {
        Directory { storage: self.clone(), path: path.into() }
    }

    /// Makes renames and creations in a directory survive a power cut.
    pub fn sync_dir(&self, path: &Path) -> io::Result<()> {
        match self.may(|| Operation::SyncDir { path }).map_err(at(path))? {
            true => File::open(path).and_then(|d| d.sync_all()).map_err(at(path)),
            false => Ok(()),
        }
    }
}

/// A directory in which something was renamed.
pub struct Directory {
    storage: Storage,
    path: PathBuf,
}

impl Directory {
    pub fn sync(&self) -> io::Result<()> {
        self.storage.sync_dir(&self.path)
    }
}

impl StoredFile {
    #[inline]
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.storage.may(|| Operation::Write { file: self.number, bytes })? {
            true => (&*self.file).write_all(bytes),
            false => Ok(()),
        }
    }

    /// Shortens the file to `len` bytes; what is written next follows them.
    pub fn cut(&mut self, len: u64) -> io::Result<()> {
        if self.storage.may(|| Operation::SetLen { file: self.number, len })? {
            self.file.set_len(len)?;
            (&*self.file).seek(SeekFrom::Start(len))?;
        }
        Ok(())
    }

    /// Waits until the device has what was written, and the length.
    pub fn sync(&self) -> io::Result<()> {
        match self.storage.may(|| Operation::Sync { file: self.number })? {
            true => self.file.sync_data(),
            false => Ok(()),
        }
    }

    pub fn size(&self) -> io::Result<u64> {
        self.file.metadata().map(|m| m.len())
    }

    /// Under which it was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The directory a path is in.
pub fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);
