//! A full sync at the replica: a snapshot comes and takes the place of the data.
//!
//! By way of a file it is received, read once to see that it is whole, and only then replaces the data: a transfer that
//! fails costs nothing. Straight from the connection (`repl-diskless-load`) a thread loads what the link hands it, piece by
//! piece: where the data was removed first, or aside of it, to change places with it in one moment. A transfer that fails
//! leaves nothing of itself: no data in the one case, the old in the other.

use super::{ACK_INTERVAL, ID_DIGITS, Service, Wire};
use crate::clients::Client;
use crate::clock;
use crate::command::call::call;
use crate::command::session::Session;
use crate::command::turn::Turn;
use crate::command::unit;
use crate::config::choices::ReplDisklessLoad;
use crate::keyspace::Db;
use crate::keyspace::walk::Garbage;
use crate::loading::{self, Sent};
use crate::log::{cause, notice, warning};
use crate::node::{Loads, Node};
use crate::num;
use crate::persist::rdb::write::History;
use crate::resp::Argv;
use crate::script::functions::Set;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Receives a snapshot and puts it in place of the data.
pub(super) async fn take(service: Service, wire: &mut Wire, history: History, term: u64) -> Result<(), String> {
    let framing = Framing::of(&wire.line().await?)?;
    let way = Way::chosen(service.node);
    let target = if way == Way::File { "disk" } else { "parser" };
    notice!("MASTER <-> REPLICA sync: receiving {} from master to {target}", framing.describe());
    let install = Install { service, history, term };
    if way == Way::File {
        let temp = receive(wire, framing).await?;
        return finished(wire, tokio::task::spawn_blocking(move || install.file(&temp.0))).await;
    }
    let (pieces, coming) = mpsc::channel(PIECES_AHEAD);
    let coming = Coming { pieces: coming, piece: Vec::new(), at: 0, is_over: false };
    let len = if let Framing::Length(len) = framing { len } else { 0 };
    let work = tokio::task::spawn_blocking(move || install.coming(coming, len, way == Way::Aside));
    let copied = copy(wire, framing, Target::Loader(pieces)).await;
    let loaded = finished(wire, work).await;
    if let (Err(_), Err(text)) = (&copied, &loaded) {
        warning!("{text}");
    }
    copied.and(loaded)
}

/// How a snapshot becomes the data.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    File,
    /// While it comes, into databases that were emptied for it.
    Emptied,
    /// While it comes, aside of the data.
    Aside,
}

impl Way {
    fn chosen(node: &Node) -> Self {
        match node.config.load().repl_diskless_load {
            ReplDisklessLoad::Swapdb => Self::Aside,
            ReplDisklessLoad::FlushBeforeLoad => Self::Emptied,
            ReplDisklessLoad::OnEmptyDb if node.keyspace.keys() == 0 => Self::Emptied,
            ReplDisklessLoad::OnEmptyDb | ReplDisklessLoad::Disabled => Self::File,
        }
    }
}

// ---- the transfer

/// How the end of a snapshot is found.
enum Framing {
    Length(u64),
    Mark(Vec<u8>),
}

impl Framing {
    /// What the line in front of a snapshot says.
    fn of(head: &str) -> Result<Self, String> {
        let Some(rest) = head.strip_prefix('$') else {
            return Err(match head.starts_with('-') {
                true => format!("MASTER aborted replication with an error: {head}"),
                false => format!(
                    "Bad protocol from MASTER, the first byte is not '$' (we received '{head}'), are you sure the host and port are right?"
                ),
            });
        };
        match (rest.strip_prefix("EOF:"), num::parse_i64(rest.as_bytes())) {
            (Some(mark), _) if mark.len() == ID_DIGITS => Ok(Self::Mark(mark.as_bytes().to_vec())),
            (None, Some(len @ 0..)) => Ok(Self::Length(len as u64)),
            _ => Err(format!("Bad protocol from MASTER, the first byte is right, the rest is not: '{head}'")),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Length(bytes) => format!("{bytes} bytes"),
            Self::Mark(_) => "streamed RDB".to_owned(),
        }
    }

    /// For INFO.
    fn show_progress(&self, node: &Node, total: u64) {
        let mut link = node.replication.link();
        link.sync_read = total;
        link.sync_total = match self {
            Self::Length(len) => i64::try_from(*len).unwrap_or(i64::MAX),
            Self::Mark(_) => 0,
        };
    }
}

/// A file that goes with its owner, unless it was renamed.
struct TempFile(PathBuf);

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Receives the snapshot into a file of its own.
async fn receive(wire: &mut Wire, framing: Framing) -> Result<TempFile, String> {
    let path = PathBuf::from(format!("temp-{}.{}.rdb", clock::now_ms() / 1000, std::process::id()));
    let temp = TempFile(path.clone());
    let mut file = File::create(&path).map_err(|e| unwritten(&path, &e))?;
    copy(wire, framing, Target::File(&mut file, &path)).await?;
    file.sync_all().map_err(|e| unwritten(&path, &e))?;
    Ok(temp)
}

fn unwritten(path: &Path, e: &io::Error) -> String {
    format!("Failed writing the synchronization DB {}: {}", path.display(), cause(e))
}

/// Where a snapshot goes.
enum Target<'f> {
    File(&'f mut File, &'f Path),
    /// An empty piece is its end.
    Loader(mpsc::Sender<Vec<u8>>),
}

impl Target<'_> {
    /// Passes on what was read; the primary hears meanwhile that we are there.
    async fn put(&mut self, wire: &mut Wire, bytes: usize) -> Result<(), String> {
        let held = &wire.held[wire.consumed..wire.consumed + bytes];
        wire.consumed += bytes;
        match self {
            Self::File(file, path) => file.write_all(held).map_err(|e| unwritten(path, &e)),
            Self::Loader(_) if held.is_empty() => Ok(()),
            Self::Loader(loader) => {
                let piece = held.to_vec();
                loop {
                    match timeout(ACK_INTERVAL, loader.reserve()).await {
                        Ok(Ok(room)) => {
                            room.send(piece);
                            return Ok(());
                        }
                        // It has failed, and says why itself.
                        Ok(Err(_)) => return Ok(()),
                        Err(_) => wire.send_bytes(b"\n").await?,
                    }
                }
            }
        }
    }
}

async fn copy(wire: &mut Wire, framing: Framing, mut target: Target<'_>) -> Result<(), String> {
    let (mut total, mut signed) = (0, Instant::now());
    loop {
        let held = &wire.held[wire.consumed..];
        let (now, is_last) = match &framing {
            Framing::Length(len) => {
                let now = held.len().min(usize::try_from(len - total).unwrap_or(usize::MAX));
                (now, total + now as u64 == *len)
            }
            // The mark may be here in part: as much as it is long stays until more comes.
            Framing::Mark(mark) => (held.len().saturating_sub(mark.len()), held.ends_with(mark)),
        };
        target.put(wire, now).await?;
        total += now as u64;
        framing.show_progress(wire.node, total);
        if let Target::Loader(loader) = &target {
            if loader.is_closed() {
                return Ok(());
            }
            if signed.elapsed() >= ACK_INTERVAL {
                wire.send_bytes(b"\n").await?;
                signed = Instant::now();
            }
        }
        if is_last {
            if let Framing::Mark(mark) = &framing {
                wire.consumed += mark.len();
            }
            if let Target::Loader(loader) = &target {
                let _ = loader.send(Vec::new()).await;
            }
            return Ok(());
        }
        wire.fill().await.map_err(|text| format!("{text} (in the middle of a full sync)"))?;
    }
}

/// The end of work in a thread of its own; the primary hears meanwhile that we are there.
async fn finished(wire: &mut Wire, mut work: JoinHandle<Result<(), String>>) -> Result<(), String> {
    loop {
        tokio::select! {
            done = &mut work => {
                return done.unwrap_or_else(|_| Err("Loading the synchronization DB failed".to_owned()));
            }
            () = sleep(ACK_INTERVAL) => {
                // A primary that is gone by now is noticed later.
                let _ = wire.send_bytes(b"\n").await;
            }
        }
    }
}

/// A snapshot as the link hands it over, to be read by another thread.
struct Coming {
    pieces: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
    /// The end has come: what ends before is a transfer that broke.
    is_over: bool,
}

impl Read for Coming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.fill_buf()?.read(buffer)?;
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Coming {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.piece.len() && !self.is_over {
            let broken = || io::Error::new(io::ErrorKind::UnexpectedEof, "the transfer broke");
            (self.piece, self.at) = (self.pieces.blocking_recv().ok_or_else(broken)?, 0);
            self.is_over = self.piece.is_empty();
        }
        Ok(&self.piece[self.at..])
    }

    fn consume(&mut self, bytes: usize) {
        self.at += bytes;
    }
}

// ---- the data

/// What puts a snapshot in place of the data.
struct Install {
    service: Service,
    history: History,
    term: u64,
}

/// Says what is loaded, as long as it lives.
struct Load(&'static Node);

impl Load {
    fn begin(node: &'static Node, loads: Loads) -> Self {
        node.life.set_loads(loads);
        Self(node)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.0.life.set_loads(Loads::Nothing);
    }
}

impl Install {
    fn file(&self, path: &Path) -> Result<(), String> {
        let node = self.service.node;
        let (started, config) = (Instant::now(), node.config.load_full());
        // What cannot be loaded is found before anything is given up for it.
        loading::check_snapshot(path, &config).map_err(|e| {
            format!("The MASTER's synchronization DB is not usable, the data here stays as it was: {e}")
        })?;
        if self.is_over() {
            return Err(ROLE_CHANGED.to_owned());
        }
        std::fs::rename(path, &config.dbfilename)
            .map_err(|e| format!("Failed trying to rename the temp DB into {}: {}", config.dbfilename, cause(&e)))?;
        self.load(started, Sent::File(Path::new(&config.dbfilename)), false)
    }

    fn coming(&self, mut coming: Coming, len: u64, aside: bool) -> Result<(), String> {
        self.load(Instant::now(), Sent::Coming(&mut coming, len), aside)
    }

    fn load(&self, started: Instant, sent: Sent<'_>, aside: bool) -> Result<(), String> {
        let Service { node, registry, thread } = self.service;
        // Data of another history is not served while its successor loads, as in Redis.
        let is_served = aside && node.journal.stream.id() == self.history.id;
        let _load = Load::begin(node, if is_served { Loads::Aside } else { Loads::Data });
        if !aside {
            // The log goes on with the new data as its base.
            node.switch_log(false)?;
        }
        let load = || {
            notice!("MASTER <-> REPLICA sync: Loading DB in memory");
            loading::load_sync(node, registry, thread, sent, aside)
                .map_err(|e| format!("Failed trying to load the MASTER synchronization DB: Internal error in RDB: {e}"))
        };
        let loaded = if aside { load() } else { self.empty().and_then(|()| load()) };
        let loaded = loaded
            .and_then(|(counts, texts)| Ok((counts, self.libraries(&texts)?)))
            .and_then(|(counts, libraries)| self.put_in_force(libraries, aside).map(|()| counts));
        if loaded.is_err() {
            self.undo(aside);
        }
        // Whatever the data is by now.
        if node.config.load().appendonly {
            node.switch_log(true)?;
        }
        let counts = loaded?;
        node.rdb.changes_saved.store(node.observatory.counts().changes, Relaxed);
        let (keys, seconds) = (counts.loaded, started.elapsed().as_secs_f64());
        notice!("MASTER <-> REPLICA sync: Finished with success: {keys} keys loaded in {seconds:.3} seconds");
        let there = node.keyspace.keys();
        if there as u64 != keys {
            warning!("MASTER <-> REPLICA sync: the snapshot held {keys} keys, {there} are here");
        }
        Ok(())
    }

    /// Nothing stays of a load that failed.
    fn undo(&self, aside: bool) {
        let reaper = &self.service.node.reaper;
        if aside {
            self.alone(|world| reaper.send(Garbage::Flushed(world.discard_aside())));
        } else {
            // Once the role has changed, what is here is not of this load.
            let _ = self.empty();
        }
    }

    fn libraries(&self, texts: &[Vec<u8>]) -> Result<Set, String> {
        // They took no longer than they may when they were first loaded.
        let set = self.service.node.scripts.set_of(texts, None);
        set.map_err(|text| format!("Failed creating the library: {}", String::from_utf8_lossy(&text)))
    }

    /// What was loaded is the data from now on, and the stream goes on behind it.
    fn put_in_force(&self, libraries: Set, aside: bool) -> Result<(), String> {
        let node = self.service.node;
        let db = node.rdb.loading.take_history().map_or(0, |told| told.db).min(node.keyspace.databases() - 1);
        if aside {
            node.switch_log(false)?;
        }
        self.alone(|world| {
            if self.is_over() {
                return Err(ROLE_CHANGED.to_owned());
            }
            if aside {
                node.reaper.send(Garbage::Flushed(world.take_aside()));
            }
            node.scripts.replace_libraries(libraries);
            node.journal.stream.follow(&History { db, ..self.history.clone() });
            node.life.set_loads(Loads::Nothing);
            Ok(())
        })
    }

    /// Whether the role has changed.
    fn is_over(&self) -> bool {
        self.service.node.replication.term() != self.term
    }

    fn alone<R>(&self, work: impl FnOnce(&mut Db<'_>) -> R) -> R {
        let Service { node, registry, thread } = self.service;
        let stats = node.observatory.worker(thread);
        unit::alone(&mut Turn::begin(node, &stats, registry, thread), work)
    }

    /// Removes everything, as if a primary's FLUSHDBs had come; not if the role has changed.
    fn empty(&self) -> Result<(), String> {
        let Service { node, registry, thread } = self.service;
        notice!("MASTER <-> REPLICA sync: Flushing old data");
        let stats = node.observatory.worker(thread);
        let client = Client::new(0, String::new(), String::new(), false, clock::now_ms());
        let mut session = Session::for_primary(client, 0);
        let (mut turn, mut out) = (Turn::begin(node, &stats, registry, thread), Vec::new());
        if self.is_over() {
            return Err(ROLE_CHANGED.to_owned());
        }
        let mut run = |session: &mut Session, words: &[&[u8]]| {
            let argv = Argv::of(words.iter().copied());
            let prepared = turn.prepare(argv.view(), false);
            call(&mut turn, session, prepared, &mut out);
        };
        for db in 0..node.keyspace.databases() {
            session.select(db);
            run(&mut session, &[b"FLUSHDB", b"ASYNC"]);
        }
        run(&mut session, &[b"FUNCTION", b"FLUSH"]);
        Ok(())
    }
}

const ROLE_CHANGED: &str = "The role has changed meanwhile";
/// Pieces of a snapshot that came and are not loaded yet; each is a read of the link's.
const PIECES_AHEAD: usize = 16;
