//! A disk that writes down what was asked of it, and what a power cut may leave of that.
//!
//! What a file or a directory was when it was last synced is there for certain. Of what came after, a power cut leaves
//! a part: of a directory's changes any; of a file's the first few, the last of them cut anywhere, with zeros behind
//! where the file had been lengthened before its data arrived. Files and directories lose independently of each other.
//! Not here: a sector lost before one that was kept. A log without checksums cannot tell it from data.

use memkv::persist::storage::{Operation, Watch};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// What was asked of the disk, and what the workload knew at that moment.
#[derive(Clone, Debug)]
pub enum Event {
    Open(PathBuf, u64),
    Write(u64, Vec<u8>),
    SetLen(u64, u64),
    Sync(u64),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    CreateDir(PathBuf),
    SyncDir(PathBuf),
    /// So many units were begun, and so many are promised to be there.
    Units {
        begun: usize,
        promised: usize,
    },
    /// A snapshot is promised to hold this many units at least.
    Saved(usize),
}

/// Records while it is told to. Nothing waits for a device.
#[derive(Default)]
pub struct Disk {
    pub events: Mutex<Option<Vec<Event>>>,
}

thread_local! {
    /// Runs when a temporary file is written: what happens beside a rewrite or a save.
    pub static MEANWHILE: std::cell::RefCell<Option<Box<dyn FnMut()>>> = const { std::cell::RefCell::new(None) };
}

impl Disk {
    pub fn note(&self, event: Event) {
        if let Some(events) = self.events.lock().unwrap().as_mut() {
            events.push(event);
        }
    }
}

impl Watch for Disk {
    fn before(&self, operation: Operation<'_>) -> io::Result<bool> {
        let own = Path::to_path_buf;
        self.note(match operation {
            Operation::Open { path, file } => Event::Open(own(path), file),
            Operation::Write { file, bytes } => Event::Write(file, bytes.to_vec()),
            Operation::SetLen { file, len } => Event::SetLen(file, len),
            Operation::Sync { file } => Event::Sync(file),
            Operation::Rename { from, to } => Event::Rename(own(from), own(to)),
            Operation::Remove { path } => Event::Remove(own(path)),
            Operation::CreateDir { path } => Event::CreateDir(own(path)),
            Operation::SyncDir { path } => Event::SyncDir(own(path)),
        });
        let temporary = |path: &Path| path.to_string_lossy().starts_with("temp-");
        if matches!(operation, Operation::Open { path, .. } if temporary(path))
            && let Some(mut run) = MEANWHILE.take()
        {
            run();
        }
        Ok(!matches!(operation, Operation::Sync { .. } | Operation::SyncDir { .. }))
    }
}

/// A file's bytes: as last synced, and each state since.
#[derive(Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    since: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Append(Vec<u8>),
    Cut(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Append(more) => bytes.extend_from_slice(more),
            Self::Cut(len) => bytes.resize(*len, 0),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Entry {
    File(usize),
    Directory,
}

#[derive(Clone)]
enum Move {
    Put(PathBuf, Entry),
    Drop(PathBuf),
    Rename(PathBuf, PathBuf, Entry),
}

/// The disk after some events.
#[derive(Clone, Default)]
pub struct Image {
    inodes: Vec<Inode>,
    open: HashMap<u64, usize>,
    durable: BTreeMap<PathBuf, Entry>,
    since: Vec<Move>,
}

impl Image {
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Open(path, file) => {
                let inode = match self.now().get(path) {
                    Some(Entry::File(inode)) => *inode,
                    _ => {
                        self.inodes.push(Inode::default());
                        self.since.push(Move::Put(path.clone(), Entry::File(self.inodes.len() - 1)));
                        self.inodes.len() - 1
                    }
                };
                self.open.insert(*file, inode);
            }
            Event::Write(file, bytes) => self.inode(*file).since.push(Change::Append(bytes.clone())),
            Event::SetLen(file, len) => self.inode(*file).since.push(Change::Cut(*len as usize)),
            Event::Sync(file) => {
                let inode = self.inode(*file);
                for change in std::mem::take(&mut inode.since) {
                    change.apply(&mut inode.durable);
                }
            }
            Event::Rename(from, to) => {
                let entry = *self.now().get(from).expect("what is renamed is there");
                self.since.push(Move::Rename(from.clone(), to.clone(), entry));
            }
            Event::Remove(path) => self.since.push(Move::Drop(path.clone())),
            Event::CreateDir(path) => self.since.push(Move::Put(path.clone(), Entry::Directory)),
            Event::SyncDir(path) => self.sync_dir(path),
            Event::Units { .. } | Event::Saved(_) => {}
        }
    }

    fn inode(&mut self, file: u64) -> &mut Inode {
        &mut self.inodes[self.open[&file]]
    }

    /// Names as a process sees them.
    fn now(&self) -> BTreeMap<PathBuf, Entry> {
        let mut names = self.durable.clone();
        self.since.iter().for_each(|change| change.apply(&mut names));
        names
    }

    fn sync_dir(&mut self, dir: &Path) {
        let inside = |path: &Path| memkv::persist::storage::directory_of(path) == dir;
        for change in std::mem::take(&mut self.since) {
            match &change {
                Move::Put(path, _) | Move::Drop(path) if !inside(path) => self.since.push(change),
                // A file that leaves one directory for another: both names are written by one journal entry.
                Move::Rename(from, to, _) if !inside(from) && !inside(to) => self.since.push(change),
                _ => {
                    if let Move::Rename(from, ..) = &change {
                        // With its new name on the disk a file has no claim to the old one.
                        self.since.retain(|earlier| !matches!(earlier, Move::Put(path, _) if path == from));
                    }
                    change.apply(&mut self.durable);
                }
            }
        }
    }

    /// One of the states that a power cut now may leave: the files there are.
    pub fn after_power_cut(&self, source: &mut fastrand::Rng) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut names = self.durable.clone();
        let manner = source.u8(0..4);
        let first = source.usize(0..=self.since.len());
        for (i, change) in self.since.iter().enumerate() {
            let stays = match manner {
                0 => true,
                1 => false,
                2 => i < first,
                _ => source.bool(),
            };
            if stays {
                change.apply(&mut names);
            }
        }
        let there = |path: &Path| {
            let dir = memkv::persist::storage::directory_of(path);
            dir == Path::new(".") || names.get(dir) == Some(&Entry::Directory)
        };
        let files = names.iter().filter(|(path, _)| there(path));
        files
            .filter_map(|(path, entry)| match entry {
                Entry::File(inode) => Some((path.clone(), self.inodes[*inode].after_power_cut(source))),
                Entry::Directory => None,
            })
            .collect()
    }
}

impl Move {
    fn apply(&self, names: &mut BTreeMap<PathBuf, Entry>) {
        match self {
            Self::Put(path, entry) => drop(names.insert(path.clone(), *entry)),
            Self::Drop(path) => drop(names.remove(path)),
            Self::Rename(from, to, entry) => {
                names.remove(from);
                names.insert(to.clone(), *entry);
            }
        }
    }
}

impl Inode {
    fn after_power_cut(&self, source: &mut fastrand::Rng) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let manner = source.u8(0..5);
        let kept = match manner {
            0 => self.since.len(),
            1 => 0,
            _ => source.usize(0..=self.since.len()),
        };
        self.since[..kept].iter().for_each(|change| change.apply(&mut bytes));
        if let (2.., Some(Change::Append(more))) = (manner, self.since.get(kept)) {
            bytes.extend_from_slice(&more[..source.usize(0..=more.len())]);
            if manner == 4 {
                bytes.resize(bytes.len() + SECTOR * source.usize(0..4) + source.usize(0..SECTOR), 0);
            }
        }
        bytes
    }
}

const SECTOR: usize = 512;
