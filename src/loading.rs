//! Loading at start: the append-only log or the snapshot file becomes the keyspace.
//!
//! Commands of a log go through [`call`] like everybody's. Nearly every key is a cache miss in its stripe, its bucket and
//! its entry, so the next keys are known ahead and their memory is asked for together: that halves the time.

use crate::clock;
use crate::command::Registry;
use crate::command::call::call;
use crate::command::session::Session;
use crate::command::turn::{LookedUp, Prepared, Turn};
use crate::config::Config;
use crate::cron::ServiceThreads;
use crate::keyspace::{Hint, Place};
use crate::log::{notice, warning};
use crate::node::Node;
use crate::persist::aof::AofDir;
use crate::persist::load::{self, Apply, SnapshotCounts};
use crate::persist::progress::Loading;
use crate::persist::rdb::read::{Delivered, Loaded, bad};
use crate::resp::ArgvView;
use std::collections::VecDeque;
use std::io::{self, BufRead};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;

/// Loads the append-only log if there shall be one, and begins to record; else the snapshot file.
pub fn load_data(
    node: &'static Node,
    registry: &'static Registry,
    config: &Config,
    services: ServiceThreads,
) -> io::Result<()> {
    load_files(node, registry, config, services)?;
    if config.cluster_enabled && (1..node.keyspace.databases()).any(|db| node.keyspace.counts(db).0 > 0) {
        let text = "You can't have keys in a DB different than DB 0 when in Cluster mode. Exiting.";
        return Err(io::Error::other(text));
    }
    Ok(())
}

fn load_files(
    node: &'static Node,
    registry: &'static Registry,
    config: &Config,
    services: ServiceThreads,
) -> io::Result<()> {
    if !config.appendonly {
        return load_snapshot(node, registry, config, services);
    }
    let started = std::time::Instant::now();
    let mut files = AofDir::open(config, &node.aof.storage)?;
    let mut replay = Replay::new(node, registry, services.main);
    let loaded = load::load(&files, config, &node.rdb.loading, &mut replay);
    drop(replay);
    loaded?;
    let (keys, _) =
        (0..node.keyspace.databases()).map(|db| node.keyspace.counts(db)).fold((0, 0), |a, c| (a.0 + c.0, 0));
    if files.manifest.to_load().next().is_some() {
        notice!("DB loaded from append only file: {:.3} seconds", started.elapsed().as_secs_f64());
        notice!("{keys} keys loaded");
    }
    let (file, len) = files.open_last_incr(config)?;
    files.delete_history(config);
    let size = files.size();
    node.journal.stats.base_bytes.store(size, Relaxed);
    node.journal.stats.behind_bytes.store(size.saturating_sub(len), Relaxed);
    restore_history(node);
    *node.aof.files.lock() = Some(files);
    node.aof.wanted.store(true, Relaxed);
    node.journal.attach(file, len);
    Ok(())
}

/// Loads the snapshot file, if there is one.
fn load_snapshot(
    node: &'static Node,
    registry: &'static Registry,
    config: &Config,
    services: ServiceThreads,
) -> io::Result<()> {
    let (started, path) = (std::time::Instant::now(), PathBuf::from(&config.dbfilename));
    if !path.exists() {
        return Ok(());
    }
    let mut replay = Replay::new(node, registry, services.main);
    let counts = load::load_snapshot(&path, (config, &node.rdb.loading), clock::now_ms(), &mut |loaded| match loaded {
        Delivered::Key(key) => replay.key(key),
        Delivered::Library(text) => replay.library(&text),
    })
    .and_then(|counts| replay.put_keys().map_err(bad).map(|()| counts))
    .map_err(|e| {
        warning!("{e}");
        if e.kind() == io::ErrorKind::InvalidData {
            warning!("Terminating server after rdb file reading failure.");
        }
        io::Error::new(e.kind(), "Fatal error loading the DB, check server logs. Exiting.")
    })?;
    drop(replay);
    node.rdb.keys_loaded.store(counts.loaded, Relaxed);
    node.rdb.keys_expired_at_load.store(counts.expired, Relaxed);
    notice!("Done loading RDB, keys loaded: {}, keys expired: {}.", counts.loaded, counts.expired);
    notice!("DB loaded from disk: {:.3} seconds", started.elapsed().as_secs_f64());
    restore_history(node);
    // What was loaded is on disk.
    node.rdb.changes_saved.store(node.observatory.counts().changes, Relaxed);
    Ok(())
}

/// Goes on in the replication history that the files stand in, if they tell it.
fn restore_history(node: &Node) {
    if let Some(history) = node.rdb.loading.take_history() {
        node.journal.stream.restore(&history, node.replication.is_replica());
    }
}

/// Whether a snapshot that a primary sent can be loaded whole, before anything is given up for it.
pub fn check_snapshot(path: &Path, config: &Config) -> io::Result<()> {
    load::load_snapshot(path, (config, &Loading::default()), i64::MIN, &mut |_| Ok(())).map(drop)
}

/// A snapshot that a primary sent.
pub enum Sent<'a> {
    File(&'a Path),
    /// It comes while it is loaded. The number is its length in bytes, or 0 if that is not known.
    Coming(&'a mut dyn BufRead, u64),
}

/// Loads a snapshot that a primary sent into the empty databases, or into those aside. Nothing expires: that is for the
/// primary to say. Returns the texts of its libraries too, which are still to be taken in.
pub fn load_sync(
    node: &'static Node,
    registry: &'static Registry,
    thread: usize,
    sent: Sent<'_>,
    aside: bool,
) -> io::Result<(SnapshotCounts, Vec<Vec<u8>>)> {
    let (config, mut replay, mut libraries) =
        (node.config.load_full(), Replay::new(node, registry, thread), Vec::new());
    replay.aside = aside;
    let (around, now) = ((&*config, &node.rdb.loading), i64::MIN);
    let mut put = |loaded| match loaded {
        Delivered::Key(key) => replay.key(key),
        Delivered::Library(text) => {
            libraries.push(text);
            Ok(())
        }
    };
    let counts = match sent {
        Sent::File(path) => load::load_snapshot(path, around, now, &mut put),
        Sent::Coming(input, len) => {
            let counts = load::read_snapshot(&mut *input, len, around, now, &mut put)?;
            // Nothing is behind its end, which has come.
            if !input.fill_buf()?.is_empty() {
                return Err(bad("The snapshot goes on behind its end"));
            }
            Ok(counts)
        }
    }?;
    replay.put_keys().map_err(bad)?;
    Ok((counts, libraries))
}

/// A library of a file: it took no longer than it may when it was first loaded.
pub fn load_library(node: &Node, text: &[u8]) -> Result<(), String> {
    let loaded = node.scripts.load_library(text, false, None);
    loaded.map(drop).map_err(|text| format!("Failed creating the library: {}", String::from_utf8_lossy(&text)))
}

/// The log's commands, run through the one road.
struct Replay {
    turn: Turn<'static>,
    session: Session,
    out: Vec<u8>,
    registry: &'static Registry,
    loaded: u64,
    /// Keys of a snapshot go into the databases aside.
    aside: bool,
    /// Keys of a snapshot that were read and are still to be put: what they need is fetched meanwhile.
    keys: Vec<(Loaded, Place)>,
    /// Of the log's next commands.
    foreseen: VecDeque<LookedUp>,
}

impl Replay {
    fn new(node: &'static Node, registry: &'static Registry, thread: usize) -> Self {
        let stats: &'static _ = Box::leak(Box::new(node.observatory.worker(thread)));
        let turn = Turn::begin(node, stats, registry, thread);
        Self {
            turn,
            session: Session::for_log(clock::now_ms()),
            out: Vec::new(),
            registry,
            loaded: 0,
            aside: false,
            keys: Vec::new(),
            foreseen: VecDeque::new(),
        }
    }

    /// Lets those in who must own the world, now and then.
    fn breathe(&mut self) {
        self.loaded += 1;
        if self.loaded.is_multiple_of(LOADED_PER_BREATH) {
            self.turn.step_out_and_in();
        }
    }

    fn rest(&self, loaded: u64) {
        load::rest(self.turn.node.config.load().key_load_delay, self.loaded, loaded);
    }

    fn put_keys(&mut self) -> Result<(), String> {
        self.rest(self.keys.len() as u64);
        let (keyspace, aside) = (&self.turn.node.keyspace, self.aside);
        let index = |key: &Loaded| if aside { keyspace.aside(key.db) } else { key.db };
        self.keys.iter().for_each(|(key, place)| keyspace.prefetch_bucket(index(key), *place));
        let mut keys = std::mem::take(&mut self.keys);
        for (loaded, place) in keys.drain(..) {
            self.breathe();
            let hint = Hint { key: loaded.key.as_ptr(), place };
            self.turn.with_db(index(&loaded), hint, |db| loaded.put(db))?;
        }
        self.keys = keys;
        Ok(())
    }
}

impl Apply for Replay {
    fn foresee<'a>(&mut self, commands: impl Iterator<Item = ArgvView<'a>>) -> Result<(), String> {
        self.put_keys()?;
        let (keyspace, db) = (&self.turn.node.keyspace, self.session.db);
        let mut head = None;
        self.foreseen.extend(commands.map(|argv| {
            let looked_up = LookedUp::of(self.registry, keyspace, argv, head);
            looked_up.place.inspect(|&place| keyspace.prefetch_stripe(place));
            head = looked_up.head(argv);
            looked_up
        }));
        let places = || self.foreseen.iter().filter_map(|looked_up| looked_up.place);
        places().for_each(|place| keyspace.prefetch_bucket(db, place));
        places().for_each(|place| keyspace.prefetch_entry(db, place));
        Ok(())
    }

    fn command(&mut self, argv: ArgvView<'_>) -> Result<(), String> {
        self.breathe();
        self.rest(1);
        let prepared = match self.foreseen.pop_front() {
            Some(looked_up) => Prepared { argv, canonical: true, looked_up },
            None => self.turn.prepare(argv, true),
        };
        if prepared.looked_up.row.is_none() && self.registry.find(argv.get(0)).is_none() {
            let name = String::from_utf8_lossy(argv.get(0));
            return Err(format!("Unknown command '{name}' reading the append only file"));
        }
        call(&mut self.turn, &mut self.session, prepared, &mut self.out);
        self.out.clear();
        Ok(())
    }

    fn key(&mut self, loaded: Loaded) -> Result<(), String> {
        let keyspace = &self.turn.node.keyspace;
        let place = keyspace.place(&loaded.key);
        keyspace.prefetch_stripe(place);
        self.keys.push((loaded, place));
        if self.keys.len() == KEYS_AHEAD {
            self.put_keys()?;
        }
        Ok(())
    }

    fn library(&mut self, text: &[u8]) -> Result<(), String> {
        load_library(self.turn.node, text)
    }

    fn end_of_file(&mut self) -> Result<(), String> {
        self.session = Session::for_log(clock::now_ms());
        self.put_keys()
    }
}

/// Keys or commands loaded before others may enter the gate alone.
const LOADED_PER_BREATH: u64 = 256;
/// Keys of a snapshot put together, so that their cache misses overlap.
const KEYS_AHEAD: usize = 32;
