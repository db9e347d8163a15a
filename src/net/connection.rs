//! A connection: read what came, run it in batches, wait for the journal, write all replies with one call.
//!
//! A hand-written future, because reading, writing, mail from other threads and the end of a pause may each make it go
//! on. Every poll: collect mail, run up to [`BATCH_COMMANDS_MAX`] requests, write, read again; when more than a batch is
//! there it yields to the others in between.
//!
//! A batch looks ahead: all its requests are parsed, their rows found and their keys hashed, then their stripes, buckets
//! and entries are prefetched, each step for the whole batch, so that the memory misses of independent commands overlap;
//! only then they run, in order. Replies leave when all requests that were read have run, or [`FLUSH_BYTES`] of them
//! wait: a write a batch would cost as much as the batch.
//!
//! Bounds: the read buffer by `client-query-buffer-limit`, the reply buffer by `client-output-buffer-limit` and, before
//! authentication, by [`UNAUTHENTICATED_OUTPUT_MAX`], all connections together by `maxmemory-clients`. Buffers are borrowed
//! from the worker while in use.

use super::batch::{Ahead, BATCH_COMMANDS_MAX, Request, Requests};
use super::incoming::{Incoming, READ_BYTES};
use super::outgoing::Outgoing;
use super::service_time::Timeline;
use super::stream::Stream;
use super::worker::Worker;
use crate::clients::{Client, Push, Unblock};
use crate::clock;
use crate::command::call::{abandon_transaction, call};
use crate::command::registry::Row;
use crate::command::session::{Session, Then};
use crate::command::turn::{Called, Head, LookedUp, Prepared, Turn};
use crate::command::waiting::{ROLE_CHANGED, UNBLOCKED, give_up, look_again, timed_out};
use crate::commands::connection::evict;
use crate::config::Config;
use crate::config::limits::QUERY_BUFFER_LIMIT_MIN;
use crate::keyspace::waited_ticks;
use crate::keyspace::walk::Garbage;
use crate::observe::Cause;
use crate::replication::Joined;
use crate::resp::parse::ProtocolError::InvalidBulkLength;
use crate::resp::{self, Argv, ArgvView, Limits, Out, Span, Step, block, encode_request};
use crate::types::Value;
use std::any::Any;
use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub struct Connection {
    worker: Rc<Worker>,
    stream: Stream,
    session: Session,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Replies wait until the journal is this far.
    journal_end: u64,
    awaits_journal: bool,
    spans: Vec<Span>,
    state: State,
    /// When the unread output passed the soft limit, in ms.
    over_soft_limit_since: Option<i64>,
    soft_limit_timer: Option<Pin<Box<tokio::time::Sleep>>>,
    /// The waker that the client's inbox knows.
    waker: Option<Waker>,
    /// The socket took no more of the output.
    is_blocked: bool,
    /// It may take more, but others had to get their turn.
    is_sending: bool,
    /// What the requests read so far are waiting for when the next batch begins.
    before_batch: Cause,
    timeline: Timeline,
    pause_timer: Option<Pin<Box<tokio::time::Sleep>>>,
    wait_timer: Option<Pin<Box<tokio::time::Sleep>>>,
    unblock: Option<Unblock>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Write what is in the buffer, then close.
    Closing,
    Closed,
}

/// How a batch ended.
#[derive(PartialEq, Eq)]
enum Ran {
    /// Everything whole was run.
    All,
    /// There may be more.
    More,
    /// CLIENT PAUSE.
    Paused,
    /// A command waits for its keys.
    Waits,
}

impl Connection {
    pub fn new(worker: Rc<Worker>, stream: Stream, client: Arc<Client>) -> Self {
        client.facts.worker.store(worker.thread as u32, Relaxed);
        client.facts.memory.base.store(size_of::<Self>() + size_of::<Client>() + stream.heap_bytes(), Relaxed);
        worker.node.clients.hold(&client);
        Self {
            session: Session::begin(client, &worker.node.acl),
            worker,
            stream,
            incoming: Incoming::default(),
            outgoing: Outgoing::default(),
            journal_end: 0,
            awaits_journal: false,
            spans: Vec::new(),
            state: State::Open,
            over_soft_limit_since: None,
            soft_limit_timer: None,
            waker: None,
            is_blocked: false,
            is_sending: false,
            before_batch: Cause::Queue,
            timeline: Timeline::default(),
            pause_timer: None,
            wait_timer: None,
            unblock: None,
        }
    }

    /// What the feed gets of a client that turned out to be a replica: the socket, the replica, and the bytes
    /// behind its last request. None of a connection that has simply ended.
    pub fn as_replica(&mut self) -> Option<(&mut Stream, Joined, Vec<u8>)> {
        let replica = self.session.joining.as_mut()?.replica.take()?;
        (self.state == State::Closing)
            .then(|| (&mut self.stream, replica, self.incoming.bytes.split_off(self.incoming.consumed)))
    }

    /// The client's certificate names these users: it is the first of them that exists and is on. If none is, it says
    /// itself who it is.
    pub fn become_one_of(&mut self, names: &[Vec<u8>]) {
        let users = &self.worker.node.acl;
        let known = names.iter().filter_map(|name| users.get(name)).find(|user| user.rules().enabled);
        if let Some(user) = known {
            self.session.become_user(user, true);
        }
    }

    /// What other threads sent.
    fn collect_mail(&mut self, cx: &Context<'_>) {
        let client = &self.session.client;
        if !client.is_called() && self.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            return;
        }
        let mail = client.collect(Some(cx.waker()));
        self.waker = Some(cx.waker().clone());
        self.close_if_asked(mail.close, mail.overflowed);
        self.journal_end = self.journal_end.max(mail.journal_end);
        self.render(mail.pushes);
        if let Some(served) = mail.served
            && self.session.waiting.take().is_some()
        {
            self.take_back(served.session);
            self.journal_end = self.journal_end.max(served.journal_end);
            self.end_wait(|out| out.extend_from_slice(&served.reply));
        }
        self.render(mail.late);
        if self.session.waiting.is_some() {
            self.unblock = mail.unblock.or(self.unblock);
        }
    }

    /// The session that a command took along into another thread.
    fn take_back(&mut self, session: Option<Box<dyn Any + Send>>) {
        if let Some(session) = session.and_then(|session| session.downcast::<Session>().ok()) {
            self.session = *session;
        }
    }

    fn render(&mut self, pushes: VecDeque<Push>) {
        if !pushes.is_empty() && self.outgoing.bytes.capacity() == 0 {
            self.outgoing.bytes = self.worker.take_buffer();
        }
        pushes.iter().for_each(|push| push.render(&mut self.outgoing.bytes, self.session.proto));
    }

    /// The command that waited has its reply; the requests behind it may run.
    fn end_wait(&mut self, reply: impl FnOnce(&mut Vec<u8>)) {
        self.session.waiting = None;
        (self.wait_timer, self.unblock) = (None, None);
        let output = &mut self.outgoing.bytes;
        let start = output.len();
        reply(output);
        self.session.apply_reply_mode(output, start);
        // The time spent waiting is not the server's.
        self.timeline.begin(clock::ticks());
        self.session.client.facts.last_active_ms.store(clock::now_ms(), Relaxed);
        self.session.client.facts.commands.fetch_add(1, Relaxed);
    }

    /// Looks after the command that waits: its time may be over, or CLIENT UNBLOCK ends it.
    fn poll_wait(&mut self, cx: &mut Context<'_>) {
        let Some(waiting) = &self.session.waiting else { return };
        let (waiter, deadline) = (waiting.waiter.clone(), waiting.deadline);
        let look_at = waiter.look_at.load(Relaxed);
        let until = deadline.unwrap_or(i64::MAX).min(look_at);
        if self.unblock.is_none() && !self.is_wait_over(cx, until) {
            return;
        }
        let worker = self.worker.clone();
        let mut turn = Turn::try_begin(worker.node, &worker.stats, worker.registry, worker.thread);
        let (keyspace, runs) = (&worker.node.keyspace, &worker.node.scripts.runs);
        if turn.is_outside() || waiter.keys.iter().any(|key| runs.hold(keyspace.place(key).stripe as usize)) {
            // A script has what is needed to end the wait: again in a while.
            let mut timer = Box::pin(tokio::time::sleep(SCRIPT_LOOK_INTERVAL));
            let _ = timer.as_mut().poll(cx);
            self.wait_timer = Some(timer);
            return;
        }
        if self.unblock.is_none() && deadline.is_none_or(|deadline| look_at < deadline) {
            look_again(&mut turn, &waiter);
            // Its reply is there, or there is another time to wait for.
            cx.waker().wake_by_ref();
            return;
        }
        if !give_up(&turn, &self.session.client, &waiter) {
            // It is being served at this moment: the reply, or its failure, is microseconds away.
            cx.waker().wake_by_ref();
            return;
        }
        worker.stats.call(waiter.row, 0);
        let error = match self.unblock {
            Some(Unblock::Error) => Some(UNBLOCKED),
            Some(Unblock::RoleChanged) => Some(ROLE_CHANGED),
            Some(Unblock::Timeout) | None => None,
        };
        if self.unblock == Some(Unblock::RoleChanged) {
            self.state = State::Closing;
        }
        match error {
            Some(error) => {
                worker.stats.failed(waiter.row);
                worker.stats.counters.total_error_replies.add(1);
                worker.node.observatory.errors.record(&[b"-", error.text()].concat());
                self.end_wait(|out| Out::new(out, waiter.proto).error(error.text()));
            }
            None => self.end_wait(|out| timed_out(worker.node, &waiter, out)),
        }
    }

    /// Whether a time has passed, the greatest of which never does; else a timer wakes us when it has.
    fn is_wait_over(&mut self, cx: &mut Context<'_>, deadline: i64) -> bool {
        if deadline == i64::MAX {
            return false;
        }
        loop {
            let left_ms = deadline.saturating_sub(clock::now_ms());
            if left_ms <= 0 {
                return true;
            }
            let sleep = Duration::from_millis(left_ms.min(WAIT_STEP_MS) as u64);
            let timer = self.wait_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(sleep)));
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.wait_timer = None;
        }
    }

    /// Writes as much as the socket takes. `Ready` when nothing is left to write now.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_blocked {
            self.timeline.until(clock::ticks(), Cause::Peer);
        }
        (self.is_blocked, self.is_sending) = (false, false);
        let mut written = 0;
        while self.outgoing.unsent() > 0 {
            if written >= WRITE_BYTES_MAX {
                // The others get their turn.
                self.timeline.until(clock::ticks(), Cause::Write);
                self.is_sending = true;
                return give_way(cx);
            }
            match self.outgoing.poll_write(&mut self.stream, cx, WRITE_BYTES_MAX) {
                Poll::Ready(Ok(n)) if n > 0 => {
                    written += n;
                    self.sent(n);
                }
                Poll::Ready(_) => {
                    self.state = State::Closed;
                    return Poll::Ready(());
                }
                Poll::Pending => {
                    self.timeline.until(clock::ticks(), Cause::Write);
                    self.is_blocked = true;
                    self.outgoing.compact();
                    return Poll::Pending;
                }
            }
        }
        if !self.outgoing.is_empty() {
            self.worker.stats.counters.total_writes_processed.add(1);
            self.timeline.report(&self.worker.stats);
        }
        if self.outgoing.bytes.capacity() > 0 {
            self.worker.give_buffer(self.outgoing.take_buffer());
        }
        Poll::Ready(())
    }

    /// The socket took `n` bytes. Blocks that are sent and have no other user are freed elsewhere.
    #[inline]
    fn sent(&mut self, n: usize) {
        let done = self.outgoing.advance(n);
        self.worker.stats.counters.net_output_bytes.add(n as u64);
        self.session.client.facts.net_output_bytes.fetch_add(n as u64, Relaxed);
        for piece in done.into_iter().flatten().filter(|piece| Arc::strong_count(&piece.block) == 1) {
            self.worker.node.reaper.send(Garbage::Value(Value::Str(piece.block)));
        }
    }

    /// True while a reply is being sent piece by piece: what ran meanwhile would be held beside it. A socket that is full is
    /// no reason to wait.
    fn must_go_on_sending(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.is_sending {
            return false;
        }
        if self.must_wait_for_journal(cx) {
            return true;
        }
        let _ = self.poll_flush(cx);
        self.is_sending
    }

    /// Reads once. `Ready(true)` if bytes came.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match self.incoming.poll_read(&mut self.stream, cx, &self.worker) {
            Poll::Pending => self.rest().map(|()| false),
            Poll::Ready(Ok(n)) if n > 0 => {
                // Else they come behind requests that are not answered yet.
                if self.outgoing.is_empty() {
                    self.timeline.begin(self.worker.turns.arrival(&self.stream, self.timeline.at()));
                }
                self.worker.stats.counters.total_reads_processed.add(1);
                self.worker.stats.counters.net_input_bytes.add(n as u64);
                self.session.client.facts.net_input_bytes.fetch_add(n as u64, Relaxed);
                self.check_input();
                // What one long request takes counts before it runs.
                self.rest_if_large();
                Poll::Ready(self.state != State::Closed)
            }
            Poll::Ready(_) => {
                self.state = State::Closed;
                Poll::Ready(false)
            }
        }
    }

    /// Runs up to a batch of the requests in the buffer.
    fn run_batch(&mut self) -> Ran {
        let worker = self.worker.clone();
        let config = worker.node.config.load();
        let limits = Limits { bulk_bytes_max: config.proto_max_bulk_len, authenticated: self.session.authenticated };
        let mut spans = std::mem::take(&mut self.spans);
        let mut input = std::mem::take(&mut self.incoming.bytes);
        let mut requests = Requests::new();
        let mut ended = self.parse_batch(&mut input, &mut spans, &mut requests, &limits);
        let alone = !limits.authenticated || !self.incoming.long().is_empty();
        let cut_short = requests.len() == BATCH_COMMANDS_MAX || alone && !requests.is_empty();
        let mut ran = if cut_short && self.incoming.consumed < input.len() { Ran::More } else { Ran::All };
        if !requests.is_empty()
            && let Some(stopped) = self.run_requests(&worker, &mut input, &spans, &requests)
        {
            (ran, ended) = (stopped, None);
        }
        if let Some(error) = ended
            && self.session.then == Then::GoOn
        {
            self.protocol_error(&error.text());
        }
        spans.clear();
        spans.shrink_to(KEPT_SPANS_MAX);
        self.spans = spans;
        self.incoming.bytes = input;
        self.incoming.compact(&worker);
        match self.session.then {
            Then::GoOn => {}
            Then::Close | Then::Replicate => self.state = State::Closing,
            Then::Drop => self.state = State::Closed,
        }
        if self.outgoing.unsent() > self.hard_limit(&config) {
            self.close_over_limit(true);
        }
        // A client that has its reply and asks over another connection finds this one at rest.
        if self.outgoing.held() <= LARGE_BYTES {
            self.show_held(0, 0);
        }
        ran
    }

    /// Runs the requests of a batch. If some must not run yet, why; they are put back.
    fn run_requests(
        &mut self,
        worker: &Worker,
        input: &mut Vec<u8>,
        spans: &[Span],
        requests: &[Request],
    ) -> Option<Ran> {
        if self.outgoing.bytes.capacity() == 0 {
            self.outgoing.bytes = worker.take_buffer();
        }
        let memory = &self.session.client.facts.memory;
        memory.show_input(input.capacity() + self.incoming.long_bytes(), input.len(), input.capacity() - input.len());
        memory.show_output(self.outgoing.held(), self.outgoing.unsent());
        let outside = waited_ticks();
        let mut turn = Turn::try_begin(worker.node, &worker.stats, worker.registry, worker.thread);
        let inside = waited_ticks();
        self.timeline.until(turn.tick - inside.wrapping_sub(outside), self.before_batch);
        self.timeline.until(turn.tick, Cause::Lock);
        let entered = turn.tick;
        self.before_batch = Cause::Queue;
        let long = self.incoming.long();
        let offer = (!long.is_empty()).then(|| block::offer(long));
        self.session.long_bytes = self.incoming.long_bytes();
        worker.stats.serve(self.session.client.id);
        let (executed, stop) = self.execute(&mut turn, input, spans, requests);
        worker.stats.serve(0);
        drop(offer);
        self.outgoing.attach(block::take_blocks());
        self.timeline.ran(turn.tick, waited_ticks().wrapping_sub(inside));
        let ran_ns = clock::ticks_to_ns(turn.tick.saturating_sub(entered));
        worker.stats.counters.eventloop_command_ns.add(ran_ns);
        if stop.is_some() {
            let mut again = Vec::new();
            requests[executed..].iter().for_each(|r| encode_request(&mut again, r.argv(input, spans).iter()));
            again.extend_from_slice(&input[self.incoming.consumed..]);
            self.incoming.begin_again();
            *input = again;
        }
        self.journal_end = self.journal_end.max(turn.journal_end);
        self.session.client.facts.last_active_ms.store(turn.now, Relaxed);
        worker.stats.counters.commands_processed.add(executed as u64);
        // One that waits counts when its wait is over.
        let ended = executed - usize::from(stop == Some(Ran::Waits));
        self.session.client.facts.commands.fetch_add(ended as u64, Relaxed);
        self.incoming.forget_long();
        stop
    }

    /// Finds the whole requests in the buffer, their rows and their stripes.
    fn parse_batch(
        &mut self,
        input: &mut [u8],
        spans: &mut Vec<Span>,
        requests: &mut Requests,
        limits: &Limits,
    ) -> Option<crate::resp::ProtocolError> {
        let (registry, keyspace) = (self.worker.registry, &self.worker.node.keyspace);
        let mut head = None::<(Range<usize>, Row)>;
        while requests.len() < BATCH_COMMANDS_MAX {
            let first_span = spans.len();
            match self.incoming.next(input, spans, limits) {
                Step::Request { len, argc, canonical } => {
                    if argc > 0 {
                        let at = self.incoming.consumed;
                        let argv = ArgvView::new(&input[at..at + len], &spans[first_span..]);
                        let last = head.as_ref().map(|(at, row)| Head { bytes: &input[at.clone()], row: *row });
                        let looked_up = LookedUp::of(registry, keyspace, argv, last);
                        if head.as_ref().map(|(_, row)| row.id) != looked_up.row.map(|row| row.id) {
                            head = looked_up.head(argv).map(|head| (at..at + head.bytes.len(), head.row));
                        }
                        if let Some(place) = looked_up.place {
                            keyspace.prefetch_stripe(place);
                        }
                        requests.push(Request { at, len, first_span, argc, canonical, looked_up });
                    }
                    self.incoming.consumed += len;
                    // What AUTH changes must hold for the next request already. One with long arguments is alone.
                    if argc > 0 && (!limits.authenticated || !self.incoming.long().is_empty()) {
                        return None;
                    }
                }
                Step::Incomplete => return self.incoming.is_too_long(input.len()).then_some(InvalidBulkLength),
                Step::Error(error) => return Some(error),
            }
        }
        None
    }

    /// Runs the batch. How many requests were run, and, if others must wait, why.
    fn execute(
        &mut self,
        turn: &mut Turn<'_>,
        input: &[u8],
        spans: &[Span],
        requests: &[Request],
    ) -> (usize, Option<Ran>) {
        let ahead = Ahead { keyspace: &turn.node.keyspace, db: self.session.db, requests };
        ahead.begin();
        resp::limit_output(self.hard_limit(&turn.config).saturating_add(self.outgoing.sent()));
        block::collect_blocks(&self.outgoing.bytes);
        turn.ask_gates(&self.session);
        for (i, r) in requests.iter().enumerate() {
            ahead.of(i);
            let row = r.looked_up.row.map_or(usize::MAX, |row| row.id);
            let prepared = Prepared { argv: r.argv(input, spans), canonical: r.canonical, looked_up: r.looked_up };
            match call(turn, &mut self.session, prepared, &mut self.outgoing.bytes) {
                Called::Done => {}
                Called::Paused => return (i, Some(Ran::Paused)),
                Called::Waits => return (i + 1, Some(Ran::Waits)),
            }
            self.timeline.count(row);
            if turn.has_pushed() {
                // What the command sent to its own client follows its reply.
                self.render(self.session.client.take_pushes());
            }
            if resp::take_overflow() {
                self.close_over_limit(true);
                return (i + 1, None);
            }
            if self.session.then != Then::GoOn {
                return (i + 1, None);
            }
            if self.outgoing.unsent() >= BATCH_REPLY_BYTES && i + 1 < requests.len() {
                return (i + 1, Some(Ran::More));
            }
        }
        (requests.len(), None)
    }

    #[cold]
    fn protocol_error(&mut self, text: &[u8]) {
        for piece in [b"-ERR Protocol error: ".as_slice(), text, b"\r\n"] {
            self.outgoing.bytes.extend_from_slice(piece);
        }
        crate::log::verbose!(
            "Protocol error ({}) from client {}",
            String::from_utf8_lossy(text),
            self.session.client.address
        );
        self.state = State::Closing;
    }

    /// How many bytes of output may be unread; `usize::MAX` for no limit.
    fn hard_limit(&self, config: &Config) -> usize {
        match config.client_output_buffer_limit.of(self.session.client.facts.class()).hard_bytes {
            0 => usize::MAX,
            bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
        }
    }

    /// `client-query-buffer-limit`: what is read and not understood yet, and what MULTI has queued. Arguments that are
    /// understood no longer count, as in Redis, where they have left the buffer.
    fn check_input(&mut self) {
        let unparsed = self.incoming.not_understood();
        let queued = self.session.queue.as_ref().map_or(0, |queue| queue.bytes);
        let held = (unparsed + queued) as u64;
        if held > QUERY_BUFFER_LIMIT_MIN && held > self.worker.node.config.load().client_query_buffer_limit {
            self.close_over_limit(false);
        }
    }

    /// Output that the socket has not taken, at the end of a poll: closes a client that has passed its hard limit, or its
    /// soft one for too long, of which a timer reminds the connection.
    fn check_output(&mut self, cx: &mut Context<'_>) {
        let unread = self.outgoing.unsent();
        if unread == 0 {
            (self.over_soft_limit_since, self.soft_limit_timer) = (None, None);
            return;
        }
        let config = self.worker.node.config.load();
        let limit = config.client_output_buffer_limit.of(self.session.client.facts.class());
        let unauthenticated = !self.session.authenticated && unread > UNAUTHENTICATED_OUTPUT_MAX;
        if unread > self.hard_limit(&config) || unauthenticated {
            return self.close_over_limit(true);
        }
        if limit.soft_bytes == 0 || unread as u64 <= limit.soft_bytes {
            (self.over_soft_limit_since, self.soft_limit_timer) = (None, None);
            return;
        }
        let now = clock::now_ms();
        let left_ms = *self.over_soft_limit_since.get_or_insert(now) + i64::from(limit.soft_seconds) * 1000 + 1 - now;
        if left_ms <= 0 {
            return self.close_over_limit(true);
        }
        let mut timer = Box::pin(tokio::time::sleep(Duration::from_millis(left_ms as u64)));
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.soft_limit_timer = Some(timer);
    }

    /// Others may have asked for the end; one of them, because a push did not fit.
    fn close_if_asked(&mut self, is_asked: bool, overflowed: bool) {
        if overflowed {
            self.close_over_limit(true);
        } else if is_asked {
            self.state = State::Closed;
        }
    }

    #[cold]
    fn close_over_limit(&mut self, of_output: bool) {
        if self.state == State::Closed {
            return;
        }
        let counters = &self.worker.stats.counters;
        let closed = match of_output {
            true => &counters.client_output_buffer_limit_disconnections,
            false => &counters.client_query_buffer_limit_disconnections,
        };
        closed.add(1);
        let address = &self.session.client.address;
        crate::log::warning!("Client {address} closed for overcoming of output or query buffer limits.");
        self.state = State::Closed;
    }

    /// In mid-turn: buffers that go back at its end are not worth telling.
    fn rest_if_large(&mut self) {
        if self.incoming.held().max(self.outgoing.held()) > LARGE_BYTES {
            self.come_to_rest();
        }
    }

    /// The end of a turn.
    fn rest(&mut self) -> Poll<()> {
        self.come_to_rest();
        if self.state == State::Closed { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Shows what the connection holds and tells the sum; if that has grown, `maxmemory-clients` may close some, perhaps
    /// this one.
    fn come_to_rest(&mut self) {
        self.show_held(self.outgoing.held(), self.outgoing.unsent());
        let (node, client) = (self.worker.node, &self.session.client);
        if node.clients.hold(client) {
            evict::relieve(node, self.worker.registry, &self.worker.stats, &node.config.load());
            self.close_if_asked(client.facts.close_asap.load(Relaxed), client.is_overflowed());
        }
    }

    /// What CLIENT LIST says of the connection, with this much in its reply buffer.
    fn show_held(&self, output: usize, unsent: usize) {
        let memory = &self.session.client.facts.memory;
        let incoming = &self.incoming;
        memory.show_input(incoming.held(), incoming.not_understood(), incoming.room());
        memory.show_output(output, unsent);
        let waiting = self.session.waiting.as_ref().map(|waiting| &waiting.waiter.argv);
        memory.parked.store(waiting.map_or(0, Argv::heap_bytes), Relaxed);
        memory.args.store(waiting.map_or_else(|| incoming.args_bytes(), Argv::args_bytes), Relaxed);
    }

    /// True while replies must wait for the journal; the worker's flusher will wake us.
    fn must_wait_for_journal(&mut self, cx: &Context<'_>) -> bool {
        let waits = self.journal_end > 0 && self.worker.node.journal.reply_offset() < self.journal_end;
        if waits {
            self.rest_if_large();
            self.worker.wait_for_journal(cx.waker());
        }
        if waits != self.awaits_journal {
            if !waits {
                self.timeline.until(clock::ticks(), Cause::Journal);
            }
            self.awaits_journal = waits;
            self.session.client.facts.awaits_journal.store(waits, Relaxed);
        }
        waits
    }

    /// Sleeps until a pause is over, or lifted.
    fn wait_for_pause(&mut self, cx: &mut Context<'_>) {
        let clients = &self.worker.node.clients;
        clients.wake_after_pause(cx.waker());
        let left_ms = (clients.pause_until_ms() - clock::now_ms()).clamp(1, PAUSE_CHECK_MS);
        let mut timer = Box::pin(tokio::time::sleep(std::time::Duration::from_millis(left_ms as u64)));
        if timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        self.pause_timer = Some(timer);
        self.session.client.facts.paused.store(true, Relaxed);
    }
}

impl Drop for Connection {
    /// Watches are taken back when the peer is gone, and a command that waits gives up.
    fn drop(&mut self) {
        self.stream.end();
        let session = self.session.client.end();
        self.take_back(session);
        self.session.unsubscribe_all(&self.worker.node.pubsub);
        self.session.stop_tracking(self.worker.node);
        if self.session.watch.is_some() || self.session.waiting.is_some() {
            let worker = self.worker.clone();
            let turn = Turn::try_begin(worker.node, &worker.stats, worker.registry, worker.thread);
            if turn.is_outside() || worker.node.scripts.runs.any() {
                drop(turn);
                return self.leave_later();
            }
            leave(&turn, &mut self.session);
        }
    }
}

impl Connection {
    /// A script owns the world; what the connection left in it is taken away when that is over.
    #[cold]
    fn leave_later(&mut self) {
        let (node, registry, thread) = (self.worker.node, self.worker.registry, self.worker.thread);
        let mut session = self.session.for_departure();
        (session.watch, session.waiting) = (self.session.watch.take(), self.session.waiting.take());
        // Without a thread the watches stay: they cost memory, and no one hears of them.
        let _ = std::thread::Builder::new().name("leaver".into()).spawn(move || {
            let stats = node.observatory.worker(thread);
            leave(&Turn::begin(node, &stats, registry, thread), &mut session);
        });
    }
}

fn leave(turn: &Turn<'_>, session: &mut Session) {
    abandon_transaction(turn, session);
    if let Some(waiting) = session.waiting.take() {
        give_up(turn, &session.client, &waiting.waiter);
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.worker.turns.serve();
        let polled = this.go_on(cx);
        if polled.is_pending() {
            this.check_output(cx);
            if this.state == State::Closed {
                return Poll::Ready(());
            }
        }
        polled
    }
}

impl Connection {
    /// Everything that can be done now.
    fn go_on(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let this = self;
        if this.pause_timer.take().is_some() {
            this.session.client.facts.paused.store(false, Relaxed);
        }
        this.collect_mail(cx);
        if this.must_go_on_sending(cx) {
            return Poll::Pending;
        }
        let mut has_input = this.incoming.has_more();
        loop {
            if this.state == State::Closed {
                return Poll::Ready(());
            }
            let mut ran = Ran::All;
            if this.session.waiting.is_some() {
                this.poll_wait(cx);
                has_input = this.incoming.has_more();
            }
            if this.session.waiting.is_some() {
                ran = Ran::Waits;
            } else if has_input && this.state == State::Open {
                ran = this.run_batch();
                if this.state == State::Closed {
                    return Poll::Ready(());
                }
                // Registers the timer.
                this.poll_wait(cx);
            }
            if ran == Ran::More && this.outgoing.unsent() < FLUSH_BYTES && this.session.authenticated {
                return give_way(cx);
            }
            if this.must_wait_for_journal(cx) {
                return Poll::Pending;
            }
            let flushed = this.poll_flush(cx);
            this.rest_if_large();
            match this.state {
                State::Closed => return Poll::Ready(()),
                State::Closing => return if flushed.is_ready() { Poll::Ready(()) } else { Poll::Pending },
                State::Open if this.is_sending => return Poll::Pending,
                State::Open => {}
            }
            match ran {
                Ran::More => return give_way(cx),
                Ran::Paused => {
                    this.before_batch = Cause::Pause;
                    this.wait_for_pause(cx);
                    return this.rest();
                }
                Ran::Waits if this.session.waiting.is_none() => {
                    has_input = this.incoming.has_more();
                    continue;
                }
                // Reads on only to learn that the peer leaves.
                Ran::Waits if this.incoming.bytes.len() >= WAITING_INPUT_MAX => return this.rest(),
                Ran::All | Ran::Waits => {}
            }
            match this.poll_fill(cx) {
                Poll::Ready(true) if this.incoming.gives_way() => return give_way(cx),
                Poll::Ready(true) => has_input = this.incoming.has_more(),
                Poll::Ready(false) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// Goes on when the others had their turn, those too whose bytes have come meanwhile: a task that wakes itself would go on,
/// tens of times, before the runtime looks at its sockets again.
fn give_way(cx: &mut Context<'_>) -> Poll<()> {
    std::pin::pin!(tokio::task::yield_now()).poll(cx)
}

/// Replies that wait for the rest of what was read, at most.
const FLUSH_BYTES: usize = 64 << 10;
/// A batch whose replies have come to this ends: many requests for large values are not to be answered into memory all
/// at once, before anybody looks at what the connection holds.
const BATCH_REPLY_BYTES: usize = 256 << 10;
/// Bytes sent to one peer before others get their turn.
const WRITE_BYTES_MAX: usize = 256 << 10;
/// A peer that has not authenticated may let this much output wait (CVE-2025-21605).
const UNAUTHENTICATED_OUTPUT_MAX: usize = 1 << 10;
const PAUSE_CHECK_MS: i64 = 100;
/// How soon it is looked again whether a script has given the world back.
const SCRIPT_LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// The wall clock may be set: a timer is never longer than this before it is looked at again.
const WAIT_STEP_MS: i64 = 10_000;
/// Requests read while a command waits.
const WAITING_INPUT_MAX: usize = 64 << 10;
/// A request with very many arguments leaves no more than this behind.
const KEPT_SPANS_MAX: usize = 1024;
/// Larger than any buffer that goes back to the worker: what the connection holds is worth counting even in mid-turn.
const LARGE_BYTES: usize = 4 * READ_BYTES;
