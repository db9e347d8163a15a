//! Blocking commands: parking one that found nothing, and running it again when a key of it is ready.
//!
//! A handler ends in [`Ctx::wait_or`] or [`Ctx::wait`]; [`call`](super::call) then lists the command under its keys while
//! it still holds their locks, so that no change is missed. The thread whose unit made a key ready serves the waiters
//! before it runs anything else, and so before its client hears of the change: a client that learns of a push finds the
//! waiters served. A served command may itself make keys ready (BLMOVE into an awaited list): the chain is followed to its
//! end, which comes because every link takes a waiter away.

use super::ctx::{Ctx, Unfinished};
use super::error::Error;
use super::registry::Row;
use super::session::Session;
use super::turn::Turn;
use super::unit::{self, NotEnded, Passed, unit};
use super::{Group, Outcome, gates, keys, permission};
use crate::clients::{Client, Pause};
use crate::clock::{self, Millis};
use crate::config::choices::ShutdownFlags;
use crate::keyspace::waiting::Waiter;
use crate::keyspace::{AccessMode, Db, Hints};
use crate::node::Node;
use crate::num;
use crate::replication::{LogWait, OffsetWait};
use crate::resp::{self, Argv, Out};
use crate::types::Kind;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// A command that waits, as its connection keeps it.
pub struct Waiting {
    pub waiter: Arc<Waiter>,
    /// Wall-clock time at which it gives up; `None` for never.
    pub deadline: Option<Millis>,
}

/// How long a handler is willing to wait: until a time, or for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience(pub Option<Millis>);

impl Patience {
    /// From a timeout argument: seconds with fraction, 0 for no end.
    pub fn from_seconds(text: &[u8], now: Millis) -> Result<Self, Error> {
        let seconds = num::parse_f64(text).ok_or(NOT_A_TIMEOUT)?;
        let ms = (seconds * 1000.0).ceil();
        if ms.is_nan() || ms > i64::MAX as f64 {
            return Err(TIMEOUT_TOO_LARGE);
        }
        if seconds < 0.0 {
            return Err(TIMEOUT_NEGATIVE);
        }
        match ms as i64 {
            0 => Ok(Self(None)),
            ms => now.checked_add(ms).map(|at| Self(Some(at))).ok_or(TIMEOUT_TOO_LARGE),
        }
    }
}

impl Patience {
    /// From a timeout in whole milliseconds, 0 for no end.
    pub fn from_millis(text: &[u8], now: Millis) -> Result<Self, Error> {
        match num::parse_i64(text).ok_or(NOT_MILLIS)? {
            0 => Ok(Self(None)),
            ..0 => Err(TIMEOUT_NEGATIVE),
            ms => now.checked_add(ms).map(|at| Self(Some(at))).ok_or(TIMEOUT_TOO_LARGE),
        }
    }
}

/// What a command waits for, and how it is to be run again.
pub struct Wait {
    pub on: Awaits,
    pub patience: Patience,
    /// The command that runs again, if not the one that came: XREAD's `$` is the id it found.
    pub argv: Option<Argv>,
    /// Also to be run again when its key is gone or became another type.
    pub hears_end: bool,
    /// When to be run again though no key has changed.
    pub look_at: Option<Millis>,
}

/// What ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaits {
    /// A change of one of the command's keys.
    Keys,
    /// The end of the process, or of the attempt.
    Shutdown(ShutdownFlags),
    /// Acknowledgements of an offset in the stream, by a number of replicas, and perhaps the own log.
    Replicas { offset: u64, count: usize, log: Option<LogWait> },
    /// MIGRATE's keys being sent. The service has the command from the start, and ends the wait ([`go_on`]).
    Migration,
}

impl Wait {
    pub fn keys(patience: Patience) -> Self {
        Self { on: Awaits::Keys, patience, argv: None, hears_end: false, look_at: None }
    }
}

impl Ctx<'_, '_> {
    /// Nothing there: waits until one of the command's keys changes, and is run again then. Inside EXEC and scripts
    /// nothing may wait: there it answers at once, as `otherwise` does.
    pub fn wait_or(&mut self, patience: Patience, otherwise: fn(&mut Self) -> Outcome) -> Outcome {
        if !self.may_wait {
            return otherwise(self);
        }
        self.wait(Wait::keys(patience))
    }

    /// The same where the handler has asked [`Ctx::may_wait`].
    pub fn wait(&mut self, wait: Wait) -> Outcome {
        self.unfinished = Some(Box::new(Unfinished::Waits(wait)));
        Ok(())
    }

    pub fn answer_null_array(&mut self) -> Outcome {
        self.out.null_array()
    }

    pub fn answer_null(&mut self) -> Outcome {
        self.out.null()
    }
}

/// Lists a command that found nothing under its keys. Under its locks.
pub(super) fn park(node: &Node, db: &mut Db<'_>, session: &mut Session, passed: &Passed<'_>, wait: Wait) {
    let mut awaited = Vec::new();
    // Of a command that moves, only the source is waited for.
    if wait.on == Awaits::Keys {
        passed.row.command.keys.for_each(passed.argv, &mut |i, flags| {
            if flags & keys::ACCESS != 0 {
                awaited.push(Box::from(passed.argv.get(i)));
            }
        });
    }
    let client = &session.client;
    let argv = wait.argv.unwrap_or_else(|| passed.argv.to_owned());
    let mut waiter = Waiter::new(client.clone(), passed.row.id, argv, db.index(), session.proto, awaited);
    (waiter.no_touch, waiter.hears_end, waiter.user) = (session.no_touch, wait.hears_end, session.user.clone());
    waiter.look_at = wait.look_at.unwrap_or(Millis::MAX).into();
    let waiter = Arc::new(waiter);
    // What a service has begun is not unblocked.
    client.facts.blocked.store(wait.on != Awaits::Migration, Relaxed);
    client.facts.wait_ends.store(wait.patience.0.is_some(), Relaxed);
    match wait.on {
        Awaits::Keys => db.park(&waiter),
        Awaits::Shutdown(flags) => node.life.ask_shutdown(flags, Some(waiter.clone())),
        Awaits::Migration => {
            waiter.claims.claim();
            node.migrations.ask(waiter.clone());
        }
        Awaits::Replicas { offset, count, log } => {
            node.replication.wait(OffsetWait { waiter: waiter.clone(), offset, replicas: count, log });
        }
    }
    session.waiting = Some(Waiting { waiter, deadline: wait.patience.0 });
}

/// Serves the commands that wait for keys that a unit made ready. Inside the gate, no stripe held.
#[cold]
pub(super) fn serve(turn: &mut Turn<'_>, ready: Vec<(usize, Box<[u8]>)>) {
    let mut ready: VecDeque<_> = ready.into();
    if !ready.is_empty() {
        // The unit may have taken long: what has expired meanwhile serves no waiter.
        turn.now = clock::now_ms();
    }
    while let Some((db, key)) = ready.pop_front() {
        let mut last: Option<Arc<Waiter>> = None;
        while let Some((waiter, kind)) = next_waiter(turn, db, &key, last.as_deref()) {
            // A key that cannot serve it is no reason to claim it: two threads would only disturb each other.
            let is_worth = waiter.hears_end || kind.is_some() && awaits(turn.registry.row(waiter.row)) == kind;
            if is_worth {
                ready.extend(run_again(turn, &waiter));
            }
            last = Some(waiter);
        }
        if ready.is_empty() && !turn.node.scripts.runs.any() {
            // What was put off for a script that has ended meanwhile.
            ready.extend(turn.node.scripts.runs.take_postponed());
        }
    }
}

/// The next waiter for a key, and the type of the key at this moment. A key that is due goes, as whenever it is looked at.
fn next_waiter(
    turn: &mut Turn<'_>,
    db: usize,
    key: &[u8],
    after: Option<&Waiter>,
) -> Option<(Arc<Waiter>, Option<Kind>)> {
    let node = turn.node;
    let (keyspace, runs) = (&node.keyspace, &node.scripts.runs);
    let is_worker = turn.home.is_some();
    let held = keyspace.lock_one_unless(keyspace.place(key).stripe as usize, |stripe| is_worker && runs.hold(stripe));
    let Some(held) = held else {
        runs.postpone(db, key);
        return None;
    };
    let hide_expired = node.replication.is_replica() || node.clients.paused(turn.now) != Pause::None;
    let mode = AccessMode { hide_expired, lazy_free: turn.config.lazyfree_lazy_expire, ..AccessMode::default() };
    let mut of_key = Db::new(held, db, turn.now, mode);
    let waiter = of_key.next_waiter(db, key, after)?;
    let kind = of_key.kind(key);
    if of_key.changes.did_seldom() {
        // Clients that wait for its end are looked at next anyway.
        unit::end(turn, of_key, 0);
    }
    Some((waiter, kind))
}

/// Runs a command again whose time to look has come. Inside the gate, no stripe held.
pub fn look_again(turn: &mut Turn<'_>, waiter: &Arc<Waiter>) {
    turn.now = clock::now_ms();
    let ready = run_again(turn, waiter);
    serve(turn, ready);
}

/// Runs a parked command again, unless another thread has it, which is then told; the keys that became ready by it. Once
/// more if another thread came for the waiter meanwhile.
fn run_again(turn: &mut Turn<'_>, waiter: &Arc<Waiter>) -> Vec<(usize, Box<[u8]>)> {
    while waiter.claims.claim() {
        match attempt(turn, waiter) {
            Attempt::Served(ready) => return ready,
            Attempt::Nothing if waiter.claims.release() => {}
            Attempt::Nothing => break,
        }
    }
    Vec::new()
}

enum Attempt {
    /// Its reply is on its way; these keys became ready by it.
    Served(Vec<(usize, Box<[u8]>)>),
    /// It goes on waiting, and is to be released.
    Nothing,
}

/// Runs a parked command again, which this thread has claimed.
fn attempt(turn: &mut Turn<'_>, waiter: &Arc<Waiter>) -> Attempt {
    let (node, client) = (turn.node, &waiter.client);
    let row = turn.registry.row(waiter.row);
    let (argv, mut stripes) = (waiter.argv.view(), Vec::new());
    row.command.keys.for_each(argv, &mut |i, _| stripes.push(node.keyspace.place(argv.get(i)).stripe));
    // A worker does not wait for a long script: its end serves this waiter.
    let (runs, is_worker) = (&node.scripts.runs, turn.home.is_some());
    let held = node.keyspace.lock_unless(stripes.into_iter(), |stripe| is_worker && runs.hold(stripe));
    let Some(held) = held else {
        waiter.keys.iter().for_each(|key| runs.postpone(waiter.db, key));
        return Attempt::Nothing;
    };
    let mut db = Db::new(held, waiter.db, turn.now, AccessMode::default());
    let is_there = waiter.keys.iter().any(|key| db.kind_present(key).is_some_and(|kind| awaits(row) == Some(kind)));
    if !is_there && !waiter.hears_end {
        return Attempt::Nothing;
    }
    if !client.facts.blocked.swap(false, Relaxed) {
        // CLIENT UNBLOCK was first: its connection ends the wait.
        return Attempt::Nothing;
    }
    client.hold();
    let mut session = Session::stand_in(waiter);
    // What was allowed when it came may not be any more.
    let request = gates::Request { look: gates::Look::of(turn, &session), row, argv, within: None };
    if let Err(error) = permission::check(&request) {
        waiter.claims.served();
        db.unpark(waiter);
        drop(db);
        client.facts.wait_ends.store(false, Relaxed);
        let mut reply = Vec::new();
        Out::new(&mut reply, waiter.proto).error(error.text());
        client.serve(reply, 0);
        return Attempt::Served(Vec::new());
    }
    let passed = Passed { row, argv, canonical: false, again: Some(waiter) };
    let mut reply = Vec::new();
    let held = db.into_held();
    let ended = resp::unlimited(|| unit(turn, &mut session, &passed, Hints::new(), held, &mut reply));
    if matches!(ended.not_ended.as_deref(), Some(NotEnded::Waits)) {
        client.facts.blocked.store(true, Relaxed);
        client.release();
        return Attempt::Nothing;
    }
    client.facts.wait_ends.store(false, Relaxed);
    client.serve(reply, turn.journal_end);
    Attempt::Served(ended.side_effects.map_or_else(Vec::new, |side_effects| side_effects.ready))
}

/// Runs a command again whose service has done its work. Inside the gate.
pub fn go_on(turn: &mut Turn<'_>, waiter: &Arc<Waiter>) {
    let (row, argv, mut stripes) = (turn.registry.row(waiter.row), waiter.argv.view(), Vec::new());
    row.command.keys.for_each(argv, &mut |i, _| stripes.push(turn.node.keyspace.place(argv.get(i)).stripe));
    let held = turn.node.keyspace.lock(stripes.into_iter());
    waiter.client.hold();
    let mut session = Session::stand_in(waiter);
    let (passed, mut reply) = (Passed { row, argv, canonical: false, again: Some(waiter) }, Vec::new());
    let ended = unit(turn, &mut session, &passed, Hints::new(), held, &mut reply);
    waiter.client.serve(reply, turn.journal_end);
    if let Some(side_effects) = ended.side_effects {
        serve(turn, side_effects.ready);
    }
}

/// Ends waits that no key ends, with an error. From any thread.
pub fn fail_all(waiters: Vec<Arc<Waiter>>, error: &Error) {
    waiters.iter().for_each(|waiter| serve_with(waiter, |out| out.error(error.text())));
}

/// Ends the waits in WAIT and WAITAOF whose offsets have been acknowledged. From any thread.
pub fn serve_acknowledged(node: &Node) {
    // A log that was switched off ends the waits for it.
    let durable = if node.journal.is_on() { node.durable_log() } else { Some(u64::MAX) };
    let met = node.replication.take_met(durable);
    met.iter().for_each(|wait| serve_with(&wait.waiter, |out| tell_acknowledged(node, wait.offset, wait.log, out)));
}

/// What WAIT and WAITAOF answer: how many have it.
pub fn tell_acknowledged(node: &Node, offset: u64, log: Option<LogWait>, out: &mut Out<'_>) {
    let count = i64::try_from(node.replication.acknowledged(offset, log.is_some())).unwrap_or(i64::MAX);
    if let Some(log) = log {
        if log.offset.is_some() && !node.journal.is_on() {
            // It was switched off meanwhile.
            return out.error(NO_LOG.text());
        }
        out.array(2);
        out.int(i64::from(node.durable_log().is_some_and(|durable| durable >= log.end)));
    }
    out.int(count);
}

pub const NO_LOG: Error = Error::new("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");

/// Answers a command that waits for no key, unless its wait is over.
fn serve_with(waiter: &Waiter, answer: impl FnOnce(&mut Out<'_>)) {
    if !waiter.claims.claim() {
        return;
    }
    let mut reply = Vec::new();
    answer(&mut Out::new(&mut reply, waiter.proto));
    let facts = &waiter.client.facts;
    facts.blocked.store(false, Relaxed);
    facts.wait_ends.store(false, Relaxed);
    waiter.claims.served();
    waiter.client.serve(reply, 0);
}

/// The type that a family's blocking commands wait for; a key of another type is no reason to wake up.
fn awaits(row: Row) -> Option<Kind> {
    match row.command.group {
        Group::List => Some(Kind::List),
        Group::SortedSet => Some(Kind::Zset),
        Group::Stream => Some(Kind::Stream),
        _ => None,
    }
}

/// Ends a wait from the waiter's side. False if it is being served: the reply is on its way. Inside the gate.
pub fn give_up(turn: &Turn<'_>, client: &Client, waiter: &Waiter) -> bool {
    if !waiter.claims.give_up() {
        return false;
    }
    let keyspace = &turn.node.keyspace;
    Db::new(keyspace.lock_none(), waiter.db, turn.now, AccessMode::default()).unpark(waiter);
    client.facts.blocked.store(false, Relaxed);
    client.facts.wait_ends.store(false, Relaxed);
    true
}

/// What a command answers whose time is over: the absent array, or, of WAIT, how many have acknowledged by now.
pub fn timed_out(node: &Node, waiter: &Waiter, out: &mut Vec<u8>) {
    let mut out = Out::new(out, waiter.proto);
    match node.replication.take_wait(waiter) {
        Some(wait) => tell_acknowledged(node, wait.offset, wait.log, &mut out),
        None => out.null_array(),
    }
}

/// What CLIENT UNBLOCK … ERROR makes a command answer.
pub const UNBLOCKED: Error = Error::new("UNBLOCKED client unblocked via CLIENT UNBLOCK");
/// What a blocked command answers when the server becomes a replica.
pub const ROLE_CHANGED: Error =
    Error::new("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)");
const NOT_A_TIMEOUT: Error = Error::new("ERR timeout is not a float or out of range");
const NOT_MILLIS: Error = Error::new("ERR timeout is not an integer or out of range");
const TIMEOUT_NEGATIVE: Error = Error::new("ERR timeout is negative");
const TIMEOUT_TOO_LARGE: Error = Error::new("ERR timeout is out of range");
