//! Blocking commands: parking one that found nothing, and running it again when a key of it is ready.
//!
//! A handler ends in [`Ctx::wait_or`]; [`call`](super::call) then lists the command under its keys while it still holds
//! their locks, so that no change is missed. The thread whose unit made a key ready serves the waiters before it runs
//! anything else, and so before its client hears of the change: whoever learns of a push finds the waiters served. A
//! served command may itself make keys ready (BLMOVE into an awaited list): the chain is followed to its end, which
//! comes because every link takes a waiter away.

use super::call::{Parts, Turn, unit};
use super::ctx::Ctx;
use super::error::Error;
use super::session::Session;
use super::table::Row;
use super::{Group, Outcome, keys};
use crate::clients::Client;
use crate::clock::Millis;
use crate::keyspace::waiting::Waiter;
use crate::keyspace::{Db, Hints, Manner};
use crate::num;
use crate::resp::Out;
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
    /// From a timeout argument: seconds with fraction, 0 for ever.
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

impl Ctx<'_, '_> {
    /// Nothing there: waits until one of the command's keys changes, and is run again then. Inside EXEC and scripts
    /// nobody may wait: there it answers at once, as `otherwise` does.
    pub fn wait_or(&mut self, patience: Patience, otherwise: fn(&mut Self) -> Outcome) -> Outcome {
        if !self.may_wait {
            return otherwise(self);
        }
        self.waiting = Some(patience);
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
pub(super) fn park(db: &mut Db<'_>, session: &mut Session, parts: &Parts<'_>, patience: Patience) {
    let mut awaited = Vec::new();
    // Of a command that moves, only the source is waited for.
    parts.row.command.keys.for_each(parts.argv, &mut |i, flags| {
        if flags & keys::ACCESS != 0 {
            awaited.push(Box::from(parts.argv.get(i)));
        }
    });
    let client = &session.client;
    let argv = parts.argv.to_owned();
    let mut waiter = Waiter::new(client.id, parts.row.id, argv, db.index(), session.proto, awaited);
    waiter.no_touch = session.no_touch;
    let waiter = Arc::new(waiter);
    db.park(&waiter);
    client.facts.blocked.store(true, Relaxed);
    client.facts.wait_ends.store(patience.0.is_some(), Relaxed);
    session.waiting = Some(Waiting { waiter, deadline: patience.0 });
}

/// Serves whoever waits for keys that a unit made ready. Inside the gate, no stripe held.
#[cold]
pub(super) fn serve(turn: &mut Turn<'_>, ready: Vec<(usize, Box<[u8]>)>) {
    let mut ready: VecDeque<_> = ready.into();
    while let Some((db, key)) = ready.pop_front() {
        let mut last: Option<Arc<Waiter>> = None;
        while let Some(waiter) = next_waiter(turn, db, &key, last.as_deref()) {
            if waiter.claim() {
                match attempt(turn, &waiter, &key) {
                    Attempt::Served(more) => ready.extend(more),
                    Attempt::Nothing => {}
                    Attempt::KeyGone => break,
                }
            }
            last = Some(waiter);
        }
    }
}

fn next_waiter(turn: &Turn<'_>, db: usize, key: &[u8], after: Option<&Waiter>) -> Option<Arc<Waiter>> {
    let keyspace = &turn.node.keyspace;
    Db::new(keyspace.lock_none(), db, turn.now, Manner::default()).next_waiter(db, key, after)
}

enum Attempt {
    /// Its reply is on its way; these keys became ready by it.
    Served(Vec<(usize, Box<[u8]>)>),
    /// It goes on waiting.
    Nothing,
    /// And so does everybody behind it.
    KeyGone,
}

/// Runs a parked command again.
fn attempt(turn: &mut Turn<'_>, waiter: &Arc<Waiter>, key: &[u8]) -> Attempt {
    let node = turn.node;
    let Some(client) = node.clients.get(waiter.client) else {
        // The connection is ending and takes its waiter along.
        waiter.release();
        return Attempt::Nothing;
    };
    let row = turn.registry.row(waiter.row);
    let (argv, mut stripes) = (waiter.argv.view(), Vec::new());
    row.command.keys.for_each(argv, &mut |i, _| stripes.push(node.keyspace.place(argv.get(i)).stripe));
    let mut db = Db::new(node.keyspace.lock(stripes.into_iter()), waiter.db, turn.now, Manner::default());
    // Released under the locks, as in `unit`: a change from now on finds a waiter that can be claimed.
    match db.kind_present(key) {
        None => {
            waiter.release();
            return Attempt::KeyGone;
        }
        Some(kind) if awaits(row) != Some(kind) => {
            waiter.release();
            return Attempt::Nothing;
        }
        // CLIENT UNBLOCK was first: its connection ends the wait.
        Some(_) if !client.facts.blocked.swap(false, Relaxed) => {
            waiter.release();
            return Attempt::Nothing;
        }
        Some(_) => {}
    }
    let mut session = Session::stand_in(client.clone(), waiter);
    let parts = Parts { row, argv, canonical: false, again: Some(waiter) };
    let mut reply = Vec::new();
    let ended = unit(turn, &mut session, parts, Hints::new(), db.into_held(), &mut reply);
    if ended.waits {
        return Attempt::Nothing;
    }
    client.facts.wait_ends.store(false, Relaxed);
    client.serve(reply, turn.journal_end);
    Attempt::Served(ended.seldom.map_or_else(Vec::new, |seldom| seldom.ready))
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
    if !waiter.give_up() {
        return false;
    }
    let keyspace = &turn.node.keyspace;
    Db::new(keyspace.lock_none(), waiter.db, turn.now, Manner::default()).unpark(waiter);
    client.facts.blocked.store(false, Relaxed);
    client.facts.wait_ends.store(false, Relaxed);
    true
}

/// What a command answers whose time is over: for all of them the absent array.
pub fn timed_out(waiter: &Waiter, out: &mut Vec<u8>) {
    Out::new(out, waiter.proto).null_array();
}

/// What CLIENT UNBLOCK … ERROR makes a command answer.
pub const UNBLOCKED: Error = Error::new("UNBLOCKED client unblocked via CLIENT UNBLOCK");
const NOT_A_TIMEOUT: Error = Error::new("ERR timeout is not a float or out of range");
const TIMEOUT_NEGATIVE: Error = Error::new("ERR timeout is negative");
const TIMEOUT_TOO_LARGE: Error = Error::new("ERR timeout is out of range");
