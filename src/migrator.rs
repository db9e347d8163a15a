//! The service behind MIGRATE: it connects to the target and sends the keys' values.
//!
//! One thread with a runtime of its own; every migration is a task, of which [`TASKS_MAX`] work at a time. The target is
//! told AUTH, SELECT and one RESTORE a key, in pieces of about [`PIECE_BYTES`], each made under the lock of one key at a
//! time. A connection that ended well is kept for ten seconds, as Redis keeps it; one that turns out to be closed by the
//! target is replaced once, if nothing was heard on it. The timeout is for each step in the conversation, as in Redis.
//! What the client then hears, and what is removed, is the command's own work (`commands::keys`).

use crate::command::turn::Turn;
use crate::command::{Args, Registry, waiting};
use crate::commands::keys::Order;
use crate::dial::{self, Duplex};
use crate::keyspace::waiting::Waiter;
use crate::keyspace::{AccessMode, Db};
use crate::node::Node;
use crate::observe::WorkerStats;
use crate::persist::rdb::dump::dump;
use crate::resp::encode_request;
use bytes::{Buf, BytesMut};
use redis_protocol::resp2::{decode::decode, types::OwnedFrame};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;
use tokio::time::timeout;

/// Starts the thread. It sleeps while nothing is to be migrated.
pub fn start(node: &'static Node, registry: &'static Registry, thread: usize) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("migrator".into()).spawn(move || {
        let service = Service { node, registry, thread, stats: node.observatory.worker(thread) };
        LocalSet::new().block_on(&runtime, serve(Rc::new(service)));
    })?;
    Ok(())
}

/// Where the service works.
struct Service {
    node: &'static Node,
    registry: &'static Registry,
    /// The thread's number: its lock in the gate, its place in the statistics.
    thread: usize,
    stats: Arc<WorkerStats>,
}

impl Service {
    fn turn(&self) -> Turn<'_> {
        Turn::begin(self.node, &self.stats, self.registry, self.thread)
    }
}

async fn serve(service: Rc<Service>) {
    let (migrations, pool) = (&service.node.migrations, Rc::new(Pool::default()));
    let places = Arc::new(Semaphore::new(TASKS_MAX));
    loop {
        while let Some(waiter) = migrations.take_asked() {
            let Ok(permit) = places.clone().acquire_owned().await else { return };
            let (service, pool) = (service.clone(), pool.clone());
            tokio::task::spawn_local(async move {
                migrate(&service, &pool, &waiter).await;
                drop(permit);
            });
        }
        let until_swept = if pool.is_empty() { FOR_EVER } else { SWEEP_INTERVAL };
        let _ = timeout(until_swept, migrations.changed.notified()).await;
        pool.sweep();
        migrations.cached.store(pool.len(), Relaxed);
    }
}

/// One command, from its keys to its reply.
async fn migrate(service: &Service, pool: &Pool, waiter: &Arc<Waiter>) {
    let migrations = &service.node.migrations;
    let mut args = Args::new(waiter.argv.view());
    // It was parsed before it was let wait.
    if let Ok(order) = Order::parse(&mut args) {
        let result = send(service, pool, waiter, &order).await;
        migrations.sent(waiter.client.id, result);
    }
    migrations.cached.store(pool.len(), Relaxed);
    // The sweep's interval begins.
    migrations.changed.notify_one();
    let mut turn = service.turn();
    waiting::go_on(&mut turn, waiter);
    drop(turn);
    service.node.journal.flush();
}

/// How a conversation with the target ended badly.
enum Failed {
    /// No connection to be had.
    Connecting,
    Writing(std::io::ErrorKind),
    Reading(std::io::ErrorKind),
    /// The target refused something; its words.
    Refused(String),
}

impl Failed {
    fn text(self) -> String {
        match self {
            Self::Connecting => "IOERR error or timeout connecting to the client".to_owned(),
            Self::Writing(_) => "IOERR error or timeout writing to target instance".to_owned(),
            Self::Reading(_) => "IOERR error or timeout reading from target instance".to_owned(),
            Self::Refused(words) => format!("ERR Target instance replied with error: {words}"),
        }
    }

    fn is_of_connection(&self) -> bool {
        let broken = |kind: &std::io::ErrorKind| *kind != std::io::ErrorKind::TimedOut;
        matches!(self, Self::Writing(kind) | Self::Reading(kind) if broken(kind))
    }
}

/// The text is for the client.
async fn send(service: &Service, pool: &Pool, waiter: &Waiter, order: &Order<'_>) -> Result<(), String> {
    let name = (order.host.to_vec(), order.port);
    if let Some(mut wire) = pool.take(&name) {
        let mut heard = false;
        match converse(service, &mut wire, waiter, order, &mut heard).await {
            Ok(()) => {
                pool.put(name, wire);
                return Ok(());
            }
            Err(failed) if heard || !failed.is_of_connection() => return Err(failed.text()),
            // The target has closed it since.
            Err(_) => {}
        }
    }
    let mut wire = connect(service, order).await.map_err(Failed::text)?;
    converse(service, &mut wire, waiter, order, &mut false).await.map_err(Failed::text)?;
    pool.put(name, wire);
    Ok(())
}

// ---- the conversation

async fn converse(
    service: &Service,
    wire: &mut Wire,
    waiter: &Waiter,
    order: &Order<'_>,
    heard: &mut bool,
) -> Result<(), Failed> {
    wire.patience = order.patience;
    let mut bytes = Vec::new();
    let (auth, select) = (!order.auth.is_empty(), wire.db != Some(order.db));
    if auth {
        let words: Vec<&[u8]> = std::iter::once(&b"AUTH"[..]).chain(order.auth.iter().copied()).collect();
        encode_request(&mut bytes, words.into_iter());
    }
    if select {
        encode_request(&mut bytes, [&b"SELECT"[..], order.db.to_string().as_bytes()].into_iter());
    }
    // Until all is well the target's database is not known.
    wire.db = None;
    let client = waiter.client.id;
    let (keys, mut sent) = (service.node.migrations.keys(client), Vec::new());
    for (number, key) in keys.iter().enumerate() {
        if append_restore(service, &mut bytes, waiter.db, key, order) {
            sent.push(number);
        }
        if bytes.len() >= PIECE_BYTES {
            wire.write(&bytes).await?;
            bytes.clear();
        }
    }
    wire.write(&bytes).await?;
    let mut refused = None;
    let mut before = usize::from(auth) + usize::from(select);
    let mut all_before_ok = true;
    let mut numbers = sent.into_iter();
    loop {
        let number = if before > 0 { None } else { Some(numbers.next()) };
        if let Some(None) = number {
            break;
        }
        let error = match wire.reply().await {
            Ok(reply) => reply.err(),
            // The target's own words say more.
            Err(failed) => return Err(refused.map_or(failed, Failed::Refused)),
        };
        *heard = true;
        match number.flatten() {
            None => {
                before -= 1;
                all_before_ok &= error.is_none();
            }
            Some(number) if error.is_none() && all_before_ok => service.node.migrations.taken(client, number),
            Some(_) => {}
        }
        refused = refused.or(error);
    }
    wire.db = refused.is_none().then_some(order.db);
    refused.map_or(Ok(()), |words| Err(Failed::Refused(words)))
}

/// Appends the RESTORE of a key. False if it is gone.
fn append_restore(service: &Service, bytes: &mut Vec<u8>, db: usize, key: &[u8], order: &Order<'_>) -> bool {
    let (node, turn) = (service.node, service.turn());
    let held = node.keyspace.lock_one(node.keyspace.place(key).stripe as usize);
    let mut db = Db::new(held, db, turn.now, AccessMode::default());
    let Some(entry) = db.inspect(key) else { return false };
    let payload = dump(&entry.body(), turn.config.rdbcompression);
    let ttl = entry.expiry().map_or(0, |at| (at - turn.now).max(1));
    drop(db);
    let name: &[u8] = if turn.config.cluster_enabled { b"RESTORE-ASKING" } else { b"RESTORE" };
    let ttl = ttl.to_string();
    let mut words = vec![name, key, ttl.as_bytes(), &payload];
    if order.replace {
        words.push(b"REPLACE");
    }
    encode_request(bytes, words.into_iter());
    true
}

// ---- connections

struct Wire {
    stream: Box<dyn Duplex>,
    /// What the target sent and is not read yet: at most [`REPLY_BYTES_MAX`] and one reading.
    received: BytesMut,
    /// The database that the target is in; none if that is not known.
    db: Option<i64>,
    patience: Duration,
    used: Instant,
}

impl Wire {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), Failed> {
        for piece in bytes.chunks(PIECE_BYTES) {
            let written = async {
                self.stream.write_all(piece).await?;
                self.stream.flush().await
            };
            match timeout(self.patience, written).await {
                Err(_) => return Err(Failed::Writing(std::io::ErrorKind::TimedOut)),
                Ok(Err(e)) => return Err(Failed::Writing(e.kind())),
                Ok(Ok(())) => {}
            }
        }
        Ok(())
    }

    /// The next reply. Of what the target answers only the text of an error matters, which is the inner `Err`.
    async fn reply(&mut self) -> Result<Result<(), String>, Failed> {
        loop {
            match decode(&self.received) {
                Ok(Some((frame, length))) => {
                    self.received.advance(length);
                    return Ok(if let OwnedFrame::Error(words) = frame { Err(words) } else { Ok(()) });
                }
                Ok(None) if self.received.len() < REPLY_BYTES_MAX => {}
                Ok(None) | Err(_) => return Err(Failed::Reading(std::io::ErrorKind::InvalidData)),
            }
            match timeout(self.patience, self.stream.read_buf(&mut self.received)).await {
                Err(_) => return Err(Failed::Reading(std::io::ErrorKind::TimedOut)),
                Ok(Err(e)) => return Err(Failed::Reading(e.kind())),
                Ok(Ok(0)) => return Err(Failed::Reading(std::io::ErrorKind::UnexpectedEof)),
                Ok(Ok(_)) => {}
            }
        }
    }
}

async fn connect(service: &Service, order: &Order<'_>) -> Result<Wire, Failed> {
    let config = service.node.config.load_full();
    let host = String::from_utf8_lossy(order.host).into_owned();
    let connected = async {
        let stream = dial::connect(&host, order.port, &config).await.map_err(|e| match e {
            dial::Failed::Name(_) => Failed::Connecting,
            // Redis finds out only when it writes.
            dial::Failed::Connecting(e) => Failed::Writing(e.kind()),
        })?;
        if !config.tls_cluster {
            return Ok(Box::new(stream) as Box<dyn Duplex>);
        }
        dial::over_tls(stream, &host, &config).await.map_err(|_| Failed::Connecting)
    };
    let stream = timeout(order.patience, connected).await.map_err(|_| Failed::Connecting)??;
    let received = BytesMut::new();
    Ok(Wire { stream, received, db: None, patience: order.patience, used: Instant::now() })
}

/// A target: host and port.
type Name = (Vec<u8>, u16);

/// Connections that wait for another migration to the same target.
#[derive(Default)]
struct Pool(RefCell<HashMap<Name, Wire>>);

impl Pool {
    fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    fn len(&self) -> usize {
        self.0.borrow().len()
    }

    fn take(&self, name: &Name) -> Option<Wire> {
        self.0.borrow_mut().remove(name)
    }

    fn put(&self, name: Name, wire: Wire) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KEPT_MAX || kept.contains_key(&name) {
            kept.insert(name, Wire { used: Instant::now(), ..wire });
        }
    }

    /// Closes those that were not used for long.
    fn sweep(&self) {
        self.0.borrow_mut().retain(|_, wire| wire.used.elapsed() < KEPT_FOR);
    }
}

/// Migrations at work at a time: each has a connection, and a piece or one value in memory.
const TASKS_MAX: usize = 16;
/// What is collected before it is sent.
const PIECE_BYTES: usize = 64 << 10;
/// A reply is not longer.
const REPLY_BYTES_MAX: usize = 64 << 10;
const KEPT_MAX: usize = 64;
const KEPT_FOR: Duration = Duration::from_secs(10);
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const FOR_EVER: Duration = Duration::from_secs(86_400);
