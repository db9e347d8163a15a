//! Serving a replica: what a connection does from PSYNC on.
//!
//! First the snapshot, if it asked for one: it comes from the walk (`replication::sync`), a bounded few at a time. Then
//! the stream, read at the replica's own cursor, so that a slow one costs the memory of what it has not read and nothing
//! else. It sends nothing but acknowledgements.
//!
//! Behind a snapshot that ends in a mark nothing may follow before the first acknowledgement: a replica that writes the
//! snapshot to a file finds the end by looking at the last bytes of what it has read.

use super::stream::Stream;
use super::worker::Worker;
use crate::clients::OutputLimit;
use crate::clients::{Client, ClientClass};
use crate::clock;
use crate::command::line::Viewer;
use crate::command::waiting::serve_acknowledged;
use crate::command::{MAY_REPLICATE, READONLY, WRITE};
use crate::commands::replication::ask_for_acknowledgements;
use crate::log::{notice, warning};
use crate::num;
use crate::persist::stream::{Cursor, random_id};
use crate::persist::walks::Job;
use crate::replication::{Joined, Replica, Stage, Transfer};
use crate::resp::{ArgvView, Limits, Parser, Span, Step};
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::ReadBuf;
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// A connection that serves a replica.
pub struct Feed<'a> {
    worker: &'a Worker,
    stream: &'a mut Stream,
    client: Arc<Client>,
    replica: Arc<Replica>,
    transfers: Receiver<Transfer>,
    phase: Phase,
    cursor: Option<Arc<Cursor>>,
    input: Vec<u8>,
    parser: Parser,
    spans: Vec<Span>,
    output: Vec<u8>,
    sent: usize,
    tick: Interval,
    /// When the soft limit of its class was passed, in ms.
    over_soft_limit_since: Option<i64>,
    /// When the present phase began, or something was last sent, in ms.
    since: i64,
}

enum Phase {
    /// For a full sync to begin.
    Waits,
    Snapshot {
        /// What ends it; none before its first byte.
        mark: Option<String>,
    },
    File(File),
    /// The mark is sent.
    AwaitsFirstAck,
    Online,
    /// Closes when everything is sent.
    Ends,
}

/// Why a connection ends.
struct Over;

impl<'a> Feed<'a> {
    /// `input`: what came behind PSYNC.
    pub fn new(worker: &'a Worker, stream: &'a mut Stream, (replica, transfers): Joined, input: Vec<u8>) -> Self {
        let mut tick = interval_at(Instant::now() + TICK, TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (client, cursor) = (replica.client.clone(), replica.cursor());
        client.facts.is_replica.store(true, Relaxed);
        let phase = if cursor.is_some() { Phase::Online } else { Phase::Waits };
        Self {
            worker,
            stream,
            client,
            replica,
            transfers,
            phase,
            cursor,
            input,
            parser: Parser::default(),
            spans: Vec::new(),
            output: Vec::new(),
            sent: 0,
            tick,
            over_soft_limit_since: None,
            since: clock::now_ms(),
        }
    }

    /// Serves until either side ends it.
    pub async fn run(mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
        notice!("Connection with replica {} lost.", self.client.address);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let gone_on = self.go_on(cx);
        if let Some(cursor) = &self.cursor {
            cursor.show_buffer(self.output.capacity());
        }
        match gone_on {
            Ok(()) => Poll::Pending,
            Err(Over) => Poll::Ready(()),
        }
    }

    /// Everything that can be done now.
    fn go_on(&mut self, cx: &mut Context<'_>) -> Result<(), Over> {
        let mail = self.client.collect(Some(cx.waker()));
        if mail.close {
            return Err(Over);
        }
        while self.tick.poll_tick(cx).is_ready() {
            self.look_at_the_clock()?;
        }
        self.read(cx)?;
        for _ in 0..ROUNDS_MAX {
            if self.write(cx)?.is_pending() {
                return Ok(());
            }
            if !self.produce(cx)? {
                return Ok(());
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Over> {
        while self.sent < self.output.len() {
            match self.stream.poll_write(cx, &self.output[self.sent..]) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    self.sent += n;
                    self.since = clock::now_ms();
                    self.worker.stats.counters.net_repl_output_bytes.add(n as u64);
                    self.client.facts.net_output_bytes.fetch_add(n as u64, Relaxed);
                }
                Poll::Ready(_) => return Err(Over),
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(Poll::Ready(()))
    }

    /// Puts what is to be sent next into the empty output. False if there is nothing; something wakes us then.
    fn produce(&mut self, cx: &mut Context<'_>) -> Result<bool, Over> {
        match &mut self.phase {
            Phase::Waits | Phase::Snapshot { .. } => match self.transfers.poll_recv(cx) {
                Poll::Ready(Some(transfer)) => self.take_transfer(transfer),
                Poll::Ready(None) => return Err(Over),
                Poll::Pending => return Ok(false),
            },
            Phase::File(file) => {
                let read = file.take(CHUNK_BYTES as u64).read_to_end(&mut self.output);
                match read {
                    Ok(0) => self.go_to(Phase::Snapshot { mark: None }),
                    Ok(_) => {}
                    Err(e) => {
                        warning!("Full sync: reading the snapshot again failed: {e}");
                        return Err(Over);
                    }
                }
            }
            Phase::AwaitsFirstAck => return Ok(false),
            Phase::Online => {
                let Some(cursor) = &self.cursor else { return Err(Over) };
                if cursor.is_dropped() {
                    return Err(self.dropped());
                }
                let stream = &self.worker.node.journal.stream;
                if !stream.read(cursor, &mut self.output, CHUNK_BYTES, cx.waker()) {
                    return if cursor.is_dropped() { Err(self.dropped()) } else { Ok(false) };
                }
            }
            Phase::Ends => return Err(Over),
        }
        Ok(true)
    }

    fn take_transfer(&mut self, transfer: Transfer) {
        match transfer {
            Transfer::Begin(cursor) => {
                if !self.replica.is_silent {
                    let id = self.worker.node.journal.stream.id();
                    self.output.extend_from_slice(format!("+FULLRESYNC {id} {}\r\n", cursor.at()).as_bytes());
                }
                self.cursor = Some(cursor);
                self.go_to(Phase::Snapshot { mark: None });
            }
            Transfer::Bytes(bytes) => {
                if let Phase::Snapshot { mark: mark @ None } = &mut self.phase {
                    let new = random_id();
                    self.output.extend_from_slice(format!("$EOF:{new}\r\n").as_bytes());
                    *mark = Some(new);
                }
                self.output.extend_from_slice(&bytes);
            }
            Transfer::Refusal(line) => {
                self.output.extend_from_slice(line.as_bytes());
                self.go_to(Phase::Ends);
            }
            Transfer::File(file, len) => {
                self.output.extend_from_slice(format!("${len}\r\n").as_bytes());
                self.replica.go_to(Stage::Bulk);
                self.go_to(Phase::File(file));
            }
            Transfer::End => {
                let mark = match &mut self.phase {
                    Phase::Snapshot { mark } => mark.take(),
                    _ => None,
                };
                self.output.extend(mark.iter().flat_map(|mark| mark.bytes()));
                if self.replica.offered.rdb_only {
                    self.go_to(Phase::Ends);
                } else if mark.is_some() && !self.replica.is_silent {
                    self.go_to(Phase::AwaitsFirstAck);
                } else {
                    self.go_online();
                }
            }
        }
    }

    fn go_to(&mut self, phase: Phase) {
        (self.phase, self.since) = (phase, clock::now_ms());
    }

    fn go_online(&mut self) {
        notice!("Synchronization with replica {} succeeded", self.client.address);
        self.replica.go_to(Stage::Online);
        self.replica.acknowledge(0, None, clock::now_ms());
        self.go_to(Phase::Online);
        let node = self.worker.node;
        node.count_good_replicas(clock::now_ms());
        // A client that began to wait before there was a replica asked none.
        if node.replication.is_awaited() {
            ask_for_acknowledgements(node);
        }
    }

    fn timed_out(&self, doing: &str) -> Over {
        warning!("Disconnecting timedout replica ({doing}): {}", self.client.address);
        Over
    }

    fn dropped(&self) -> Over {
        self.worker.stats.counters.client_output_buffer_limit_disconnections.add(1);
        warning!("Replica {} is closed: it is too far behind, or its history has ended.", self.client.address);
        Over
    }

    // ---- what it says

    fn read(&mut self, cx: &mut Context<'_>) -> Result<(), Over> {
        let mut room = [0; READ_BYTES];
        loop {
            let mut buf = ReadBuf::new(&mut room);
            match self.stream.poll_read(cx, &mut buf) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    let n = buf.filled().len() as u64;
                    self.input.extend_from_slice(buf.filled());
                    self.worker.stats.counters.net_repl_input_bytes.add(n);
                    self.client.facts.net_input_bytes.fetch_add(n, Relaxed);
                }
                Poll::Ready(_) => return Err(Over),
            }
            self.take_requests()?;
        }
    }

    fn take_requests(&mut self) -> Result<(), Over> {
        let limits = Limits { bulk_bytes_max: REQUEST_BYTES_MAX as u64, authenticated: true };
        let mut consumed = 0;
        loop {
            self.spans.clear();
            match self.parser.next(&mut self.input[consumed..], &mut self.spans, &limits) {
                Step::Request { len, argc, .. } => {
                    if argc > 0 {
                        let argv = ArgvView::new(&self.input[consumed..consumed + len], &self.spans);
                        match said(argv) {
                            Said::Acknowledged(offset, on_disk) => self.acknowledged(offset, on_disk),
                            Said::Nothing => {}
                            Said::Command => return Err(self.asked(argv)),
                        }
                    }
                    consumed += len;
                }
                Step::Incomplete => break,
                Step::Error(_) => return Err(Over),
            }
        }
        self.input.drain(..consumed);
        if self.input.len() > REQUEST_BYTES_MAX { Err(Over) } else { Ok(()) }
    }

    /// It sent a command that has a reply, for which there is no room on this connection.
    fn asked(&self, argv: ArgvView<'_>) -> Over {
        let registry = self.worker.registry;
        let row = registry.lookup(argv);
        let name = row.map_or_else(|| String::from_utf8_lossy(argv.get(0)).into_owned(), |row| row.command.full_name());
        let line = Viewer::server(registry, clock::now_ms()).line(&self.client);
        warning!("Replica generated a reply to command '{name}', disconnecting it: {line}");
        if row.is_some_and(|row| row.command.has(READONLY | WRITE | MAY_REPLICATE)) {
            warning!(
                "== CRITICAL == This master is sending an error to its replica: 'Replica can't interact with the keyspace' after processing the command '{name}'"
            );
        }
        Over
    }

    fn acknowledged(&mut self, offset: u64, on_disk: Option<u64>) {
        let (node, now) = (self.worker.node, clock::now_ms());
        self.client.facts.last_active_ms.store(now, Relaxed);
        self.replica.acknowledge(offset, on_disk, now);
        self.replica.trust(false);
        if matches!(self.phase, Phase::AwaitsFirstAck) {
            self.go_online();
        }
        if node.replication.is_awaited() {
            serve_acknowledged(node);
        }
    }

    // ---- the clock

    fn look_at_the_clock(&mut self) -> Result<(), Over> {
        let (now, config) = (clock::now_ms(), self.worker.node.config.load());
        let timeout_ms = i64::from(config.repl_timeout) * 1000;
        if self.cursor.as_ref().is_some_and(|cursor| cursor.is_dropped()) {
            return Err(self.dropped());
        }
        match self.phase {
            // It must not think that we are gone.
            Phase::Waits if self.output.is_empty() => self.output.push(b'\n'),
            Phase::AwaitsFirstAck if now - self.since > timeout_ms => return Err(self.timed_out("full sync")),
            Phase::Snapshot { .. } | Phase::File(_)
                if now - self.since > timeout_ms && self.sent < self.output.len() =>
            {
                return Err(self.timed_out("full sync"));
            }
            Phase::Online if !self.replica.is_silent && now - self.replica.acked_ms() > timeout_ms => {
                return Err(self.timed_out("streaming sync"));
            }
            _ => {}
        }
        let lag =
            self.cursor.as_ref().map_or(0, |cursor| self.worker.node.journal.stream.end().saturating_sub(cursor.at()));
        self.client.facts.memory.show_output(self.output.capacity(), lag as usize + self.output.len() - self.sent);
        self.check_soft_limit(config.client_output_buffer_limit.of(ClientClass::Replica), lag, now)
    }

    fn check_soft_limit(&mut self, limit: OutputLimit, lag: u64, now: i64) -> Result<(), Over> {
        if limit.soft_bytes == 0 || lag <= limit.soft_bytes {
            self.over_soft_limit_since = None;
            return Ok(());
        }
        let since = *self.over_soft_limit_since.get_or_insert(now);
        if now - since > i64::from(limit.soft_seconds) * 1000 { Err(self.dropped()) } else { Ok(()) }
    }
}

impl Drop for Feed<'_> {
    fn drop(&mut self) {
        let node = self.worker.node;
        node.replication.remove(&self.replica, clock::now_ms());
        // Of no use to anybody, unless it is a save as well, as in Redis.
        let wants_data = |replica: &Arc<Replica>| !replica.is_online();
        if self.replica.stage() == Stage::Snapshot
            && node.config.load().save.is_empty()
            && !node.replication.replicas().iter().any(wants_data)
        {
            node.walks.cancel(Job::Sync);
        }
        if let Some(cursor) = self.replica.cursor() {
            node.journal.stream.leave(&cursor);
        }
        node.count_good_replicas(clock::now_ms());
    }
}

/// What a replica's request says.
enum Said {
    /// `REPLCONF ACK offset [FACK offset]`.
    Acknowledged(u64, Option<u64>),
    /// No reply either, and nothing that is understood.
    Nothing,
    Command,
}

fn said(argv: ArgvView<'_>) -> Said {
    let is = |i: usize, word: &[u8]| argv.len() > i && argv.get(i).eq_ignore_ascii_case(word);
    let number = |i: usize| num::parse_i64(argv.get(i)).and_then(|n| u64::try_from(n).ok());
    if !is(0, b"replconf") || !(is(1, b"ack") || is(1, b"fack") || is(1, b"getack")) {
        return Said::Command;
    }
    let on_disk = if argv.len() == 5 && is(3, b"fack") { number(4) } else { None };
    let offset = if argv.len() >= 3 && is(1, b"ack") { number(2) } else { None };
    offset.map_or(Said::Nothing, |offset| Said::Acknowledged(offset, on_disk))
}

/// Bytes of the stream, or of a snapshot in a file, sent with one call.
const CHUNK_BYTES: usize = 64 << 10;
/// Calls in a row before other connections are served.
const ROUNDS_MAX: usize = 16;
const READ_BYTES: usize = 4 << 10;
/// A replica says nothing longer than this.
const REQUEST_BYTES_MAX: usize = 64 << 10;
const TICK: Duration = Duration::from_secs(1);
