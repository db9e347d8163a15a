//! The power is cut at every moment of a workload, and what a disk may then hold is loaded by the server's own code.
//!
//! A seeded workload (single commands, transactions over databases, deadlines, rewrites and saves with writes beside
//! them) runs on a disk that records. For every point of the record some legal states of the disk are laid out, and:
//! the data is that of a prefix of the units; nothing that was promised is missing; transactions are whole; a second
//! start finds the same; what is written after it is found by a third. Snapshots are whole and as new as promised.
//! One workload begins with a log of the single-file kind, as servers before Redis 7 left it.
//! `POWER_CUTS=20` tries so many states a point instead of one in a few (`make crash`), `POWER_SEED` another workload;
//! a directory named in `POWER_SAMPLES` gets some of the recovered ones, for a real server to load.

mod disk;

use disk::{Disk, Event, Image, MEANWHILE};
use memkv::clients::Client;
use memkv::command::Registry;
use memkv::command::call::call;
use memkv::command::session::Session;
use memkv::command::turn::Turn;
use memkv::config::Config;
use memkv::config::choices::AppendFsync;
use memkv::cron::ServiceThreads;
use memkv::node::Node;
use memkv::persist::walks::Job;
use memkv::persist::{Storage, rewrite, save};
use memkv::resp::Argv;
use memkv::{boot, loading};
use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

#[test]
fn a_power_cut_anywhere_leaves_a_prefix_with_all_that_was_promised() {
    let place = tempfile::tempdir().unwrap();
    std::env::set_current_dir(place.path()).unwrap();
    let number = |name: &str, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (seed, states) = (number("POWER_SEED", 1), number("POWER_CUTS", 1));
    // One in so many points, when only some hundreds are asked for.
    let stride = if states > 1 { 1 } else { 3 };
    let samples = std::env::var_os("POWER_SAMPLES").map(PathBuf::from);
    for (fsync, preamble, old_log) in [
        (AppendFsync::Always, true, false),
        (AppendFsync::Everysec, true, false),
        (AppendFsync::Always, false, false),
        (AppendFsync::Everysec, true, true),
    ] {
        let config = Config {
            appendonly: true,
            appendfsync: fsync,
            aof_use_rdb_preamble: preamble,
            stripes: 16,
            save: Vec::new(),
            ..Config::default()
        };
        let mut source = fastrand::Rng::with_seed(seed);
        let (world, events, data) = record(&config, &mut source, old_log);
        let old_log_events = if old_log { OLD_LOG_EVENTS } else { 0 };
        let (mut image, mut tried) = (Image::default(), 0);
        let (mut begun, mut promised, mut saved) = (0, 0, None);
        for (point, event) in events.iter().enumerate() {
            match event {
                Event::Units { begun: b, promised: p } => (begun, promised) = (*b, *p),
                Event::Saved(units) => saved = Some(*units),
                _ => image.apply(event),
            }
            let is_tried = point % stride == 0 && point >= old_log_events;
            for state in 0..if is_tried { states } else { 0 } {
                let files = image.after_power_cut(&mut source);
                let story = format!(
                    "{fsync:?}, preamble {preamble}, old log {old_log}, seed {seed}, point {point} of {} state {state}",
                    events.len()
                );
                let kept = files.iter().map(|(p, b)| (p.clone(), b.len())).collect::<Vec<_>>();
                let story = format!("{story}, units {promised}..={begun}, {kept:?}");
                world.recovers(&files, &data, promised..=begun, &story);
                if let Some(samples) = samples.as_ref().filter(|_| source.u8(..) < SAMPLED_OF_256) {
                    keep(&samples.join(format!("{fsync:?}-{preamble}-{old_log}-{point}-{state}")));
                }
                world.snapshot_is_whole(&files, &data[saved.unwrap_or(0)..=begun], saved.is_some(), &story);
                tried += 1;
            }
        }
        println!(
            "{fsync:?}, preamble {preamble}, old log {old_log}: {} units, {} points, {tried} power cuts",
            data.len() - 1,
            events.len()
        );
        assert!(tried > 50 && data.len() > UNITS);
    }
}

/// A server without threads on a recording disk. Recovering servers are the same one, emptied.
struct World {
    node: &'static Node,
    registry: &'static Registry,
    config: Config,
    disk: Arc<Disk>,
    writer: Arc<Mutex<Writer>>,
}

/// Who sends commands.
struct Writer {
    node: &'static Node,
    registry: &'static Registry,
    session: Session,
    disk: Arc<Disk>,
    source: fastrand::Rng,
    always: bool,
    /// What the data was after each unit, and where the journal was.
    data: Vec<String>,
    ends: Vec<u64>,
}

fn record(config: &Config, source: &mut fastrand::Rng, old_log: bool) -> (World, Vec<Event>, Vec<String>) {
    let world = World::new(config, source);
    clear();
    *world.disk.events.lock().unwrap() = Some(Vec::new());
    if old_log {
        let (path, number) = (PathBuf::from("appendonly.aof"), u64::MAX);
        fs::write(&path, OLD_LOG).unwrap();
        world.disk.note(Event::Open(path, number));
        world.disk.note(Event::Write(number, OLD_LOG.to_vec()));
        world.disk.note(Event::Sync(number));
        world.disk.note(Event::SyncDir(PathBuf::from(".")));
    }
    world.load();
    let first = world.writer.lock().unwrap().contents();
    let base = world.node.journal.appended();
    {
        let mut writer = world.writer.lock().unwrap();
        (writer.data, writer.ends) = (vec![first], vec![base]);
    }
    for turn in 0..4 {
        (0..UNITS / 4).for_each(|_| world.writer.lock().unwrap().unit());
        let writer = world.writer.clone();
        MEANWHILE.set(Some(Box::new(move || (0..4).for_each(|_| writer.lock().unwrap().unit()))));
        match turn {
            0 | 2 => world.rewrite(),
            _ => world.save(),
        }
    }
    (0..4).for_each(|_| world.writer.lock().unwrap().unit());
    let events = world.disk.events.lock().unwrap().take().unwrap();
    let data = std::mem::take(&mut world.writer.lock().unwrap().data);
    (world, events, data)
}

impl World {
    fn new(config: &Config, source: &mut fastrand::Rng) -> Self {
        let disk = Arc::new(Disk::default());
        let (node, registry) = boot::offline_on(Storage::watched(disk.clone()), config.clone()).unwrap();
        let client = Client::new(1, "127.0.0.1:50000".into(), "127.0.0.1:6379".into(), false, memkv::clock::now_ms());
        node.clients.add(&client);
        let writer = Writer {
            node,
            registry,
            session: Session::new(client, true),
            disk: disk.clone(),
            source: source.fork(),
            always: config.appendfsync == AppendFsync::Always,
            data: Vec::new(),
            ends: Vec::new(),
        };
        let writer = Arc::new(Mutex::new(writer));
        Self { node, registry, config: config.clone(), disk, writer }
    }

    fn load(&self) {
        loading::load_data(self.node, self.registry, &self.config, ServiceThreads::after(1)).unwrap();
    }

    fn rewrite(&self) {
        let Node { keyspace, journal, aof, walks, scripts, .. } = self.node;
        let libraries = &scripts.libraries;
        let job = rewrite::Rewrite {
            keyspace,
            journal,
            aof,
            walks,
            libraries,
            config: &self.config,
            thread: ServiceThreads::after(1).rewriter,
        };
        walks.run_here(Job::Rewrite, || job.run()).unwrap();
        self.writer.lock().unwrap().tell();
    }

    fn save(&self) {
        let (Node { keyspace, rdb, walks, scripts, .. }, units) =
            (self.node, self.writer.lock().unwrap().data.len() - 1);
        let (config, thread, changes) = (&self.config, ServiceThreads::after(1).rewriter, || (0, None));
        let libraries = &scripts.libraries;
        let job = save::Save { keyspace, rdb, walks, libraries, config, thread, changes: &changes };
        walks.run_here(Job::Save, || job.run());
        assert!(rdb.last_ok.0.load(Relaxed));
        self.disk.note(Event::Saved(units));
    }

    /// Starts on files: as a process that has none of the former one's memory.
    fn start(&self, appendonly: bool, story: &str) -> String {
        self.node.journal.detach();
        let mut writer = self.writer.lock().unwrap();
        writer.run(&["FLUSHALL"]);
        let config = Config { appendonly, ..self.config.clone() };
        let loaded = loading::load_data(self.node, self.registry, &config, ServiceThreads::after(1));
        loaded.unwrap_or_else(|e| panic!("does not start: {e}: {story}: {:?}", listing()));
        writer.contents()
    }

    fn recovers(
        &self,
        files: &BTreeMap<PathBuf, Vec<u8>>,
        data: &[String],
        allowed: RangeInclusive<usize>,
        story: &str,
    ) {
        lay_out(files);
        let found = self.start(true, story);
        let prefix = data.iter().rposition(|state| *state == found);
        let good = data[allowed].contains(&found);
        assert!(good, "{prefix:?}, not a prefix with all that was promised: {story}\n{:?}", listing());
        let again = self.start(true, story);
        assert_eq!(again, found, "a second start finds something else: {story}");
        let after = {
            let mut writer = self.writer.lock().unwrap();
            writer.run(&["SET", "after", "the crash"]);
            writer.contents()
        };
        assert_eq!(self.start(true, story), after, "what was written after recovery is lost: {story}");
    }

    fn snapshot_is_whole(
        &self,
        files: &BTreeMap<PathBuf, Vec<u8>>,
        allowed: &[String],
        is_promised: bool,
        story: &str,
    ) {
        lay_out(files);
        if PathBuf::from("dump.rdb").exists() {
            let found = self.start(false, story);
            assert!(allowed.contains(&found), "the snapshot holds something else: {story}");
        } else {
            assert!(!is_promised, "the snapshot is gone: {story}");
        }
    }
}

impl Writer {
    fn run(&mut self, words: &[&str]) -> Vec<u8> {
        let words: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let (argv, mut out, stats) = (Argv::of(&words), Vec::new(), self.node.observatory.worker(0));
        let mut turn = Turn::begin(self.node, &stats, self.registry, 0);
        let request = turn.prepare(argv.view(), false);
        call(&mut turn, &mut self.session, request, &mut out);
        assert_ne!(out.first(), Some(&b'-'), "{words:?}: {}", String::from_utf8_lossy(&out));
        out
    }

    /// One unit, and what it makes of the promises.
    fn unit(&mut self) {
        let n = self.data.len();
        let (value, name) = (format!("{n}:{}", "x".repeat(self.source.usize(0..1200))), format!("k{}", n % 6));
        match self.source.u8(0..9) {
            0 => drop(self.run(&["SET", &name, &value])),
            1 => drop(self.run(&["SET", "life", &value, "PX", "100000000"])),
            2 => drop(self.run(&["RPUSH", "list", &value])),
            3 => drop(self.run(&["HSET", "hash", &name, &value])),
            4 => drop(self.run(&["ZADD", "zset", &n.to_string(), &name])),
            5 => {
                self.run(&["SADD", "set", &value, "a", "b"]);
            }
            6 => drop(self.run(&["INCRBYFLOAT", "float", "0.5"])),
            _ => {
                for words in [
                    &["MULTI"][..],
                    &["SET", "one", &value],
                    &["SELECT", "3"],
                    &["APPEND", "two", "."],
                    &["SELECT", "0"],
                    &["EXEC"],
                ] {
                    self.run(words);
                }
            }
        }
        let contents = self.contents();
        self.data.push(contents);
        self.ends.push(self.node.journal.appended());
        // What was begun may be on the disk from here on.
        self.tell();
        match (self.always, self.source.u8(0..4)) {
            (true, 0) | (false, 1..) => self.node.journal.flush(),
            (true, _) | (false, _) => {
                self.node.journal.batch();
                self.node.journal.sync();
            }
        }
        self.tell();
    }

    fn tell(&self) {
        let journal = &self.node.journal;
        let durable = journal.appended() - journal.pending_bytes() - journal.durable_lag_bytes();
        let promised = self.ends.iter().filter(|end| **end <= durable).count().saturating_sub(1);
        self.disk.note(Event::Units { begun: self.data.len().saturating_sub(1), promised });
    }

    /// All keys, values and deadlines.
    fn contents(&mut self) -> String {
        let mut text = String::new();
        for db in ["0", "3"] {
            self.run(&["SELECT", db]);
            for key in ["k0", "k1", "k2", "k3", "k4", "k5", "life", "float", "one", "two", "after"] {
                let reply = [self.run(&["GET", key]), self.run(&["PEXPIRETIME", key])].concat();
                text += &format!("{db} {key} {}", String::from_utf8_lossy(&reply));
            }
            let mut fields: Vec<Vec<u8>> = (0..6).map(|n| self.run(&["HGET", "hash", &format!("k{n}")])).collect();
            fields.push(self.run(&["LRANGE", "list", "0", "-1"]));
            fields.push(self.run(&["ZRANGE", "zset", "0", "-1", "WITHSCORES"]));
            fields.push(self.run(&["SORT", "set", "ALPHA"]));
            fields.push(self.run(&["DBSIZE"]));
            text += &String::from_utf8_lossy(&fields.concat());
        }
        self.run(&["SELECT", "0"]);
        text
    }
}

fn clear() {
    for entry in fs::read_dir(".").unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
}

/// Copies what is there.
fn keep(place: &Path) {
    fs::create_dir_all(place.join("appendonlydir")).unwrap();
    for entry in fs::read_dir("appendonlydir").unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, place.join(&path)).unwrap();
    }
}

fn lay_out(files: &BTreeMap<PathBuf, Vec<u8>>) {
    clear();
    for (path, bytes) in files {
        fs::create_dir_all(memkv::persist::storage::directory_of(path)).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// The files that are there and their sizes, and the manifest's text.
fn listing() -> Vec<String> {
    let mut out = Vec::new();
    for dir in [".", "appendonlydir"] {
        for entry in fs::read_dir(dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            let text = if path.extension().is_some_and(|e| e == "manifest") {
                fs::read_to_string(&path).unwrap()
            } else {
                String::new()
            };
            out.push(format!("{} {} {text}", path.display(), fs::metadata(&path).unwrap().len()));
        }
    }
    out
}

/// Of a database, a transaction and a deadline, from before the log was a directory.
const OLD_LOG: &[u8] =
    b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$2\r\nk1\r\n$3\r\nold\r\n*1\r\n$5\r\nMULTI\r\n\
    *3\r\n$3\r\nSET\r\n$3\r\none\r\n$3\r\nold\r\n*3\r\n$5\r\nRPUSH\r\n$4\r\nlist\r\n$3\r\nold\r\n*1\r\n$4\r\nEXEC\r\n\
    *3\r\n$9\r\nPEXPIREAT\r\n$2\r\nk1\r\n$13\r\n4102444800000\r\n";
/// Events before which the old log is not there.
const OLD_LOG_EVENTS: usize = 4;
/// About one recovered directory in a hundred is kept.
const SAMPLED_OF_256: u8 = 3;
/// Units of a workload, besides those that run beside rewrites and saves.
const UNITS: usize = 48;
