//! The link to the primary: connecting, introducing ourselves, copying everything or going on, and applying what comes.
//!
//! One thread with a runtime of its own. The handshake is Redis's, one command after the other; what comes of a full sync
//! is [`snapshot`]'s. From then on the primary's commands run like everybody's, with the origin *primary*: they pass the
//! gates unseen, and their bytes, not our effects, go to the stream, unit by unit.
//!
//! A change of role stops the link: it looks at the term whenever it enters the gate.

mod snapshot;

use crate::clients::{Client, Pause};
use crate::clock;
use crate::command::call::call;
use crate::command::session::Session;
use crate::command::turn::{Called, Prepared, Turn};
use crate::command::{MAY_REPLICATE, PATTERNS, RUNS_QUEUE, RUNS_SCRIPT, Registry, WORLD, WRITE};
use crate::config::Config;
use crate::dial::{self, Duplex};
use crate::log::{cause, notice, warning};
use crate::node::Node;
use crate::num;
use crate::observe::WorkerStats;
use crate::persist::rdb::write::History;
use crate::persist::stream::random_id;
use crate::replication::{Failover, LinkState, Primary};
use crate::resp::{ArgvView, Limits, Parser, Span, Step, encode_request};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};

/// Starts the thread. It sleeps while this server follows no primary.
pub fn start(node: &'static Node, registry: &'static Registry, thread: usize) -> std::io::Result<()> {
    remove_leftovers();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new()
        .name("link".into())
        .spawn(move || runtime.block_on(follow(Service { node, registry, thread })))?;
    Ok(())
}

/// Removes snapshots of transfers in which an earlier process was killed.
fn remove_leftovers() {
    let Ok(entries) = std::fs::read_dir(".") else { return };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let parts = name.strip_prefix("temp-").and_then(|rest| rest.strip_suffix(".rdb")?.split_once('.'));
        let Some((seconds, pid)) = parts else { continue };
        let is_gone = pid.parse::<u32>().is_ok_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if is_gone && seconds.bytes().all(|b| b.is_ascii_digit()) {
            let _ = std::fs::remove_file(name);
        }
    }
}

/// Where the link works.
#[derive(Clone, Copy)]
struct Service {
    node: &'static Node,
    registry: &'static Registry,
    /// The thread's number: its lock in the gate, its place in the statistics.
    thread: usize,
}

/// Follows the configured primary, for as long as the process lives.
async fn follow(service: Service) {
    let replication = &service.node.replication;
    loop {
        let (term, primary) = (replication.term(), replication.link().primary.clone());
        let Some(primary) = primary else {
            replication.changed.notified().await;
            continue;
        };
        let attempt = async {
            let ended = attempt(service, &primary, term).await;
            let was_up = replication.link().state.is_connected();
            replication.report(term, LinkState::Connect, clock::now_ms());
            if let Err(text) = ended {
                warning!("{text}");
            }
            // At once, before the backlog has moved on; a primary that cannot be had is asked once a second.
            match was_up {
                true => notice!("Reconnecting to MASTER {}:{}", primary.host, primary.port),
                false => sleep(RETRY_AFTER).await,
            }
        };
        tokio::select! {
            () = replication.changed.notified() => {}
            () = attempt => {}
        }
    }
}

/// One connection, from its first byte to its last. The error is for the log.
async fn attempt(service: Service, primary: &Primary, term: u64) -> Result<(), String> {
    let node = service.node;
    notice!("Connecting to MASTER {}:{}", primary.host, primary.port);
    node.replication.report(term, LinkState::Connecting, clock::now_ms());
    let config = node.config.load_full();
    let (stream, addresses) = connect(primary, &config).await?;
    node.replication.report(term, LinkState::Handshake, clock::now_ms());
    notice!("MASTER <-> REPLICA sync started");
    let (patience, stats) = (patience(&config), node.observatory.worker(service.thread));
    let mut wire = Wire { stream, held: Vec::new(), consumed: 0, patience, node, stats };
    introduce(&mut wire, &config).await?;
    match psync(&mut wire, term).await? {
        Answer::Continue => notice!("Successful partial resynchronization with master."),
        Answer::Full(history) => {
            node.replication.report(term, LinkState::Sync, clock::now_ms());
            snapshot::take(service, &mut wire, history, term).await?;
        }
    }
    node.replication.report(term, LinkState::Connected, clock::now_ms());
    let db = node.journal.stream.history().map_or(0, |history| history.db);
    Applier::new(service, term, wire, addresses, db).run().await
}

/// How long the other may be silent: `repl-timeout`.
fn patience(config: &Config) -> Duration {
    Duration::from_secs(u64::from(config.repl_timeout))
}

/// A connection, with the primary's address and our own.
async fn connect(primary: &Primary, config: &Config) -> Result<(Box<dyn Duplex>, (String, String)), String> {
    let connecting = timeout(patience(config), dial::connect(&primary.host, primary.port, config));
    let stream = connecting
        .await
        .map_err(|_| "Timeout connecting to the MASTER...".to_owned())?
        .map_err(|e| format!("Error condition on socket for SYNC: {}", cause(e.cause())))?;
    let shown = |address: std::io::Result<SocketAddr>| address.map_or(String::new(), |a| a.to_string());
    let addresses = (shown(stream.peer_addr()), shown(stream.local_addr()));
    if !config.tls_replication {
        return Ok((Box::new(stream), addresses));
    }
    match timeout(patience(config), dial::over_tls(stream, &primary.host, config)).await {
        Err(_) => Err("Timeout in the TLS handshake with the MASTER".to_owned()),
        Ok(Err(e)) => Err(format!("The TLS handshake with the MASTER failed: {e}")),
        Ok(Ok(stream)) => Ok((stream, addresses)),
    }
}

// ---- the wire

/// The connection with what was read and not used yet.
struct Wire {
    stream: Box<dyn Duplex>,
    held: Vec<u8>,
    consumed: usize,
    patience: Duration,
    node: &'static Node,
    stats: Arc<WorkerStats>,
}

impl Wire {
    /// Reads once; never nothing.
    async fn fill(&mut self) -> Result<(), String> {
        if self.consumed > 0 {
            self.held.drain(..self.consumed);
            self.consumed = 0;
        }
        self.held.reserve(READ_BYTES);
        match timeout(self.patience, self.stream.read_buf(&mut self.held)).await {
            Err(_) => Err(self.silence().to_owned()),
            Ok(Err(e)) => Err(format!("I/O error reading from the MASTER: {}", cause(&e))),
            Ok(Ok(0)) => Err("Connection with master lost.".to_owned()),
            Ok(Ok(n)) => {
                self.node.replication.link().heard_ms = clock::now_ms();
                self.stats.counters.net_repl_input_bytes.add(n as u64);
                Ok(())
            }
        }
    }

    /// What is said of a primary that says nothing.
    fn silence(&self) -> &'static str {
        match self.node.replication.link().state {
            LinkState::Sync => {
                "Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' parameter in redis.conf to a larger value."
            }
            LinkState::Connected => "MASTER timeout: no data nor PING received...",
            _ => "Timeout connecting to the MASTER...",
        }
    }

    async fn send<'a>(&mut self, command: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<(), String> {
        let mut bytes = Vec::new();
        encode_request(&mut bytes, command);
        self.send_bytes(&bytes).await
    }

    async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        let sent = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        match timeout(self.patience, sent).await {
            Err(_) => Err("Timeout writing to the MASTER".to_owned()),
            Ok(Err(e)) => Err(format!("I/O error writing to the MASTER: {}", cause(&e))),
            Ok(Ok(())) => Ok(()),
        }
    }

    /// A line without its end. Empty ones say that the other is there, and are left out.
    async fn line(&mut self) -> Result<String, String> {
        loop {
            while let Some(end) = memchr::memchr(b'\n', &self.held[self.consumed..]) {
                let line = &self.held[self.consumed..self.consumed + end];
                let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
                self.consumed += end + 1;
                if !line.is_empty() {
                    return Ok(line);
                }
            }
            if self.held.len() - self.consumed > LINE_BYTES_MAX {
                return Err("The MASTER sends a line without an end".to_owned());
            }
            self.fill().await?;
        }
    }

    async fn ask(&mut self, command: &[&[u8]]) -> Result<String, String> {
        self.send(command.iter().copied()).await?;
        self.line().await
    }

    /// Moves what was read and not used yet.
    fn take_held(&mut self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.held[self.consumed..]);
        self.held.clear();
        self.consumed = 0;
    }
}

// ---- the handshake

async fn introduce(wire: &mut Wire, config: &Config) -> Result<(), String> {
    let pong = wire.ask(&[b"PING"]).await?;
    let may_go_on = ["-NOAUTH", "-NOPERM", "-ERR operation not permitted"];
    if pong.starts_with('-') && !may_go_on.iter().any(|start| pong.starts_with(start)) {
        return Err(format!("Error reply to PING from master: '{pong}'"));
    }
    if !config.masterauth.is_empty() {
        let (user, password) = (&*config.masteruser, &*config.masterauth);
        let words: &[&[u8]] = if user.is_empty() { &[b"AUTH", password] } else { &[b"AUTH", user, password] };
        let reply = wire.ask(words).await?;
        if reply.starts_with('-') {
            return Err(format!("Unable to AUTH to MASTER: {reply}"));
        }
    }
    let listens = if config.tls_replication { config.tls_port } else { config.port };
    let port = if config.replica_announce_port > 0 { config.replica_announce_port } else { listens };
    let mut said: Vec<Vec<&[u8]>> = Vec::new();
    let port = port.to_string();
    said.push(vec![b"REPLCONF", b"listening-port", port.as_bytes()]);
    if !config.replica_announce_ip.is_empty() {
        said.push(vec![b"REPLCONF", b"ip-address", config.replica_announce_ip.as_bytes()]);
    }
    said.push(vec![b"REPLCONF", b"capa", b"eof", b"capa", b"psync2", b"capa", b"rdb12"]);
    for words in said {
        let reply = wire.ask(&words).await?;
        if reply.starts_with('-') {
            notice!(
                "(Non critical) Master does not understand {}: {reply}",
                String::from_utf8_lossy(&words.join(&b' '))
            );
        }
    }
    Ok(())
}

/// How the primary answers PSYNC.
enum Answer {
    Continue,
    Full(History),
}

async fn psync(wire: &mut Wire, term: u64) -> Result<Answer, String> {
    let node = wire.node;
    let stream = &node.journal.stream;
    let (id, next) = (stream.id(), (stream.end() + 1).to_string());
    let takes_over = node.replication.link().takes_over;
    let mut words: Vec<&[u8]> = vec![b"PSYNC", id.as_bytes(), next.as_bytes()];
    if takes_over {
        words.push(b"FAILOVER");
    }
    notice!("Trying a partial resynchronization (request {id}:{next}).");
    let reply = wire.ask(&words).await?;
    let mut parts = reply.split(' ');
    let answer = match parts.next() {
        Some("+FULLRESYNC") => {
            let (id, offset) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let offset = num::parse_i64(offset.as_bytes()).and_then(|offset| u64::try_from(offset).ok());
            let is_id = id.len() == ID_DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit());
            let offset = offset.filter(|_| is_id).ok_or("Master replied with wrong +FULLRESYNC syntax.")?;
            notice!("Full resync from master: {id}:{offset}");
            Answer::Full(History { id: id.to_owned(), offset, db: 0 })
        }
        Some("+CONTINUE") => {
            let id = parts.next().filter(|id| id.len() == ID_DIGITS);
            let turn = node.keyspace.gate.exclusive();
            if node.replication.term() != term {
                return Err("The role has changed meanwhile".to_owned());
            }
            stream.follow_on(id);
            drop(turn);
            Answer::Continue
        }
        _ if takes_over && reply.starts_with('-') && !is_passing(&reply) => {
            let world = node.keyspace.gate.exclusive();
            node.abort_failover("Failover target rejected psync request");
            drop(world);
            return Err(format!("The failover's target refused: {reply}"));
        }
        _ if is_passing(&reply) => {
            return Err(format!("Master is currently unable to PSYNC but should be in the future: {reply}"));
        }
        _ if reply.starts_with('-') => {
            notice!("Master does not support PSYNC or is in error state (reply: {reply}). Retrying with SYNC...");
            wire.send([&b"SYNC"[..]].into_iter()).await?;
            // A history that ends here.
            Answer::Full(History { id: random_id(), offset: 0, db: 0 })
        }
        _ => return Err(format!("Unexpected reply to PSYNC from master: {reply}")),
    };
    if takes_over {
        let mut link = node.replication.link();
        link.takes_over = false;
        drop(link);
        let was = node.replication.failover.lock().take();
        if let Some(Failover::InProgress { target }) = was {
            notice!("Failover to {}:{} is complete", target.host, target.port);
            node.clients.unpause();
        }
    }
    Ok(answer)
}

fn is_passing(reply: &str) -> bool {
    reply.starts_with("-NOMASTERLINK") || reply.starts_with("-LOADING")
}

// ---- the stream

/// Runs what the primary sends.
struct Applier {
    service: Service,
    term: u64,
    wire: Wire,
    client: Arc<Client>,
    session: Session,
    parser: Parser,
    spans: Vec<Span>,
    out: Vec<u8>,
    /// Bytes read; those before `run` have run, those before `passed_on` are in the stream.
    bytes: Vec<u8>,
    run: usize,
    passed_on: usize,
    /// Behind the last whole unit.
    unit_end: usize,
    acks_now: bool,
    last_ack: Instant,
    on_disk: OnDisk,
}

/// How far our log has the stream: places in the two, the older of which is looked for on the device.
#[derive(Default)]
struct OnDisk {
    offset: u64,
    waits: (u64, u64),
}

impl OnDisk {
    /// Offset in the stream up to which the log is durable; 0 for a log without a base.
    fn look(&mut self, node: &Node) -> u64 {
        let now = (node.journal.stream.end(), node.journal.appended());
        match node.durable_log() {
            Some(durable) if durable >= now.1 => self.offset = now.0,
            Some(durable) if durable >= self.waits.1 => {
                (self.offset, self.waits) = (self.offset.max(self.waits.0), now);
            }
            _ => {}
        }
        self.offset
    }
}

/// However it ends: a change of role drops it where it waits.
impl Drop for Applier {
    fn drop(&mut self) {
        self.service.node.replication.read_ahead.store(0, Relaxed);
        self.service.node.clients.remove(&self.client);
    }
}

impl Applier {
    fn new(service: Service, term: u64, mut wire: Wire, (address, local): (String, String), db: usize) -> Self {
        let node = service.node;
        let client = Client::new(node.clients.next_id(), address, local, false, clock::now_ms());
        client.facts.is_primary.store(true, Relaxed);
        node.clients.add(&client);
        let mut bytes = Vec::new();
        wire.take_held(&mut bytes);
        Self {
            service,
            term,
            session: Session::for_primary(client.clone(), db),
            wire,
            client,
            parser: Parser::default(),
            spans: Vec::new(),
            out: Vec::new(),
            bytes,
            run: 0,
            passed_on: 0,
            unit_end: 0,
            acks_now: true,
            last_ack: Instant::now(),
            on_disk: OnDisk::default(),
        }
    }

    async fn run(&mut self) -> Result<(), String> {
        let mut heard = Instant::now();
        loop {
            while self.run_some()? {
                self.show_held();
                if self.last_ack.elapsed() >= ACK_INTERVAL {
                    self.acknowledge().await?;
                }
            }
            self.show_held();
            self.service.node.journal.flush();
            if self.acks_now || self.last_ack.elapsed() >= ACK_INTERVAL {
                self.acknowledge().await?;
            }
            if self.client.facts.close_asap.load(Relaxed) {
                return Err("Connection with master lost: it was closed by CLIENT KILL.".to_owned());
            }
            if self.bytes.len() > HELD_BACK_BYTES_MAX && self.is_paused() {
                sleep(LOOK_INTERVAL).await;
                heard = Instant::now();
                continue;
            }
            match timeout(LOOK_INTERVAL, self.wire.fill()).await {
                Ok(filled) => {
                    filled?;
                    heard = Instant::now();
                    self.client.facts.last_active_ms.store(clock::now_ms(), Relaxed);
                    self.wire.take_held(&mut self.bytes);
                    self.show_held();
                }
                Err(_) if heard.elapsed() > self.wire.patience => {
                    return Err(self.wire.silence().to_owned());
                }
                Err(_) => {}
            }
        }
    }

    /// What the link holds, for CLIENT LIST and INFO memory.
    fn show_held(&self) {
        let (buffer, used) = (self.bytes.capacity() + self.wire.held.capacity(), self.bytes.len());
        self.client.facts.memory.show_input(buffer, used, buffer - used);
        self.service.node.replication.read_ahead.store((used - self.passed_on) as u64, Relaxed);
    }

    fn is_paused(&self) -> bool {
        self.service.node.clients.paused(clock::now_ms()) != Pause::None
    }

    async fn acknowledge(&mut self) -> Result<(), String> {
        let node = self.service.node;
        let offset = node.journal.stream.end().to_string();
        let mut words: Vec<&[u8]> = vec![b"REPLCONF", b"ACK", offset.as_bytes()];
        let on_disk = self.on_disk.look(node).to_string();
        if node.journal.is_on() {
            words.extend([&b"FACK"[..], on_disk.as_bytes()]);
        }
        (self.acks_now, self.last_ack) = (false, Instant::now());
        self.wire.send(words.into_iter()).await
    }

    /// Runs up to [`TURN_COMMANDS_MAX`] commands in one turn. False when there is no whole one left.
    fn run_some(&mut self) -> Result<bool, String> {
        let Service { node, registry, thread } = self.service;
        let stats = self.wire.stats.clone();
        let mut turn = Turn::begin(node, &stats, registry, thread);
        if node.replication.term() != self.term {
            return Err("The link ends: the role of this server has changed.".to_owned());
        }
        let mut more = false;
        for i in 0..TURN_COMMANDS_MAX {
            self.spans.clear();
            let limits = Limits { bulk_bytes_max: u64::MAX >> 1, authenticated: true };
            match self.parser.next(&mut self.bytes[self.run..], &mut self.spans, &limits) {
                Step::Request { len, argc, canonical } => {
                    if argc > 0 && self.is_held_back(&turn, len) {
                        break;
                    }
                    if argc > 0 {
                        self.run_one(&mut turn, len, canonical);
                    }
                    self.run += len;
                    if self.session.queue.is_none() {
                        self.unit_end = self.run;
                    }
                    more = i + 1 == TURN_COMMANDS_MAX;
                }
                Step::Incomplete => break,
                Step::Error(e) => {
                    return Err(format!("Protocol error from the MASTER: {}", String::from_utf8_lossy(&e.text())));
                }
            }
        }
        self.pass_on();
        drop(turn);
        self.bytes.drain(..self.passed_on);
        self.run -= self.passed_on;
        self.unit_end -= self.passed_on;
        self.passed_on = 0;
        if self.bytes.len() <= READ_BYTES {
            // A big command is over.
            self.bytes.shrink_to(BYTES_KEPT_MAX);
        }
        Ok(more)
    }

    /// The bytes of whole units go to the stream. Inside the gate.
    fn pass_on(&mut self) {
        if self.unit_end > self.passed_on {
            let stream = &self.service.node.journal.stream;
            stream.append_raw(&self.bytes[self.passed_on..self.unit_end], self.session.db);
            self.passed_on = self.unit_end;
        }
    }

    /// CLIENT PAUSE holds the primary's writes back like everybody's.
    fn is_held_back(&self, turn: &Turn<'_>, len: usize) -> bool {
        match turn.node.clients.paused(turn.now) {
            Pause::None => false,
            Pause::All => true,
            Pause::Write => {
                let argv = ArgvView::new(&self.bytes[self.run..self.run + len], &self.spans);
                let row = self.service.registry.lookup(argv);
                row.is_some_and(|row| row.command.has(WRITE | MAY_REPLICATE | RUNS_QUEUE))
            }
        }
    }

    fn run_one(&mut self, turn: &mut Turn<'_>, len: usize, canonical: bool) {
        let argv = ArgvView::new(&self.bytes[self.run..self.run + len], &self.spans);
        let is = |i: usize, word: &[u8]| argv.get(i).eq_ignore_ascii_case(word);
        if argv.len() == 3 && is(0, b"replconf") && is(1, b"getack") {
            self.acks_now = true;
            return;
        }
        let looked_up = turn.prepare(argv, canonical).looked_up;
        let leaves_the_gate =
            looked_up.row.is_some_and(|row| row.command.has(WORLD | PATTERNS | RUNS_QUEUE | RUNS_SCRIPT));
        if leaves_the_gate {
            // Up to the unit that it ends, which may have begun with MULTI.
            self.pass_on();
            turn.raw = Some(self.bytes[self.passed_on..self.run + len].to_vec());
        }
        self.out.clear();
        loop {
            let argv = ArgvView::new(&self.bytes[self.run..self.run + len], &self.spans);
            let prepared = Prepared { argv, canonical, looked_up };
            if call(turn, &mut self.session, prepared, &mut self.out) != Called::Paused {
                break;
            }
            // A long script has what the command needs. A cut that is made meanwhile must find the units before it in the stream.
            self.pass_on();
            turn.rest(SCRIPT_LOOK_INTERVAL);
        }
        if leaves_the_gate && turn.raw.take().is_none() {
            self.passed_on = self.run + len;
        }
        if self.out.first() == Some(&b'-') {
            let argv = ArgvView::new(&self.bytes[self.run..self.run + len], &self.spans);
            let (name, reply) = (String::from_utf8_lossy(argv.get(0)), String::from_utf8_lossy(&self.out));
            warning!(
                "== CRITICAL == This replica is sending an error to its master: '{}' after processing the command '{name}'",
                reply.trim_end()
            );
        }
    }
}

/// Hexadecimal digits of a replication id, and of the mark behind a snapshot.
const ID_DIGITS: usize = 40;
const READ_BYTES: usize = 64 << 10;
/// What is read ahead while CLIENT PAUSE holds the primary's writes back; more stays with the primary.
const HELD_BACK_BYTES_MAX: usize = 1 << 20;
/// A larger buffer is given back when what needed it is over.
const BYTES_KEPT_MAX: usize = 4 * READ_BYTES;
/// No line of the handshake is longer.
const LINE_BYTES_MAX: usize = 64 << 10;
const RETRY_AFTER: Duration = Duration::from_secs(1);
const ACK_INTERVAL: Duration = Duration::from_secs(1);
/// How soon CLIENT KILL is noticed.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Commands run before others may enter the gate alone.
const TURN_COMMANDS_MAX: usize = 64;
const SCRIPT_LOOK_INTERVAL: Duration = Duration::from_millis(1);
