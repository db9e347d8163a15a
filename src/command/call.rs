//! The only way to run a command: resolve, pass the gates, queue or lock, run as a unit, serve who waited for it.
//!
//! [`call`] runs one request in a [`Turn`]. Most commands are plain and touch one key while all gates are quiet: that is
//! found out once a batch, and again after every command that could change it; such a command goes from its batch straight
//! to its key's lock.
//! Cost: one clock read a command (the end of one is the beginning of the next).

use super::gates::{self, Deferred};
use super::registry::Row;
use super::room;
use super::run::count_error;
use super::scripts::{self, Anew};
use super::session::{Queue, Then};
use super::slots;
use super::turn::{Called, LookedUp, Prepared, Turn};
use super::unit::{NotEnded, Passed, unit};
use super::waiting;
use super::{ADMIN, Error, PATTERNS, PLAIN_WITHOUT, RUNS_QUEUE, RUNS_SCRIPT, Session, WALK, WORLD};
use crate::clock;
use crate::keyspace::{AccessMode, Db, Hint, Hints, Keyspace, SideEffects};
use crate::resp::{Argv, ArgvView, Out};
use smallvec::smallvec;
use std::sync::atomic::Ordering::Relaxed;

/// Runs one request of a session; its reply is appended to `out`.
pub fn call(turn: &mut Turn<'_>, session: &mut Session, request: Prepared<'_>, out: &mut Vec<u8>) -> Called {
    let start = out.len();
    let called = dispatch(turn, session, request, out);
    if called != Called::Waits {
        session.apply_reply_mode(out, start);
    }
    called
}

#[inline]
fn dispatch(turn: &mut Turn<'_>, session: &mut Session, request: Prepared<'_>, out: &mut Vec<u8>) -> Called {
    let Prepared { argv, canonical, looked_up: LookedUp { row, place } } = request;
    let hint = place.zip(row).map(|(place, row)| Hint { key: argv.get(row.key_at(argv.len())).as_ptr(), place });
    let (Some(row), Some(hint)) = (row, hint) else { return dispatch_any(turn, session, request, out) };
    if !turn.quiet || row.command.has(PLAIN_WITHOUT) || room::ensure(turn, session, row).is_err() {
        return dispatch_any(turn, session, request, out);
    }
    let runs = &turn.node.scripts.runs;
    let held = turn.node.keyspace.lock_one_unless(hint.place.stripe as usize, |stripe| runs.hold(stripe));
    let Some(held) = held else { return hold_back(turn, session, row, out) };
    if turn.pushed {
        write_pushes(turn, session, out);
    }
    session.client.facts.last_command.store(row.id + 1, Relaxed);
    let ended = unit(turn, session, &Passed { row, argv, canonical, again: None }, smallvec![hint], held, out);
    after(turn, row, ended.side_effects, ended.not_ended.is_some())
}

/// Any command, whatever the gates say.
fn dispatch_any(turn: &mut Turn<'_>, session: &mut Session, request: Prepared<'_>, out: &mut Vec<u8>) -> Called {
    let Prepared { argv, canonical, looked_up } = request;
    let Some(row) = looked_up.row else {
        if gates::is_cross_protocol(argv.get(0)) {
            gates::warn_of_attack(turn.now);
            session.then = Then::Drop;
            return Called::Done;
        }
        let error = turn.registry.why_not(argv);
        let row = turn.registry.named(argv);
        refuse(turn, session, row, &error, out);
        return Called::Done;
    };
    let called = pass_and_run(turn, session, Passed { row, argv, canonical, again: None }, out);
    turn.look_at_role();
    turn.ask_gates(session);
    called
}

fn pass_and_run(turn: &mut Turn<'_>, session: &mut Session, passed: Passed<'_>, out: &mut Vec<u8>) -> Called {
    let Passed { row, argv, .. } = passed;
    let request = gates::Request { look: gates::Look::of(turn, session), row, argv, within: None };
    let (verdict, deferred) = (gates::pass(&request), gates::deferred(&request));
    if turn.is_outside() && verdict.is_ok() && !scripts::may_run_outside(session, row, argv) {
        return hold_back(turn, session, row, out);
    }
    if let Err(error) = verdict.and_then(|()| room::ensure(turn, session, row)) {
        refuse(turn, session, Some(row), &error, out);
        return Called::Done;
    }
    if turn.pushed {
        write_pushes(turn, session, out);
    }
    match (deferred, &mut session.queue) {
        (Some(Deferred::Held), _) => return Called::Paused,
        (Some(Deferred::Queued), Some(queue)) => {
            enqueue(queue, row, argv);
            session.client.facts.queued_more(queue.bytes);
            Out::new(out, session.proto).simple("QUEUED");
            return Called::Done;
        }
        _ => {}
    }
    session.client.facts.last_command.store(row.id + 1, Relaxed);
    if row.command.has(RUNS_QUEUE)
        && turn.home.is_some()
        && scripts::are_queued(session)
        && scripts::depart_with_queue(turn, session, row, argv)
    {
        return Called::Waits;
    }
    if turn.node.scripts.runs.any() && turn.home.is_some() && scripts::is_in_the_way(turn, session, row) {
        return hold_back(turn, session, row, out);
    }
    let mut world = owns_world(row, argv)
        || (row.command.has(RUNS_QUEUE) && queue_needs_world(session))
        || scripts::needs_world(turn.node, row, argv);
    let mut more = Vec::new();
    while !world {
        let hints = find_keys(&turn.node.keyspace, session, &passed);
        let stripes = hints.iter().map(|hint| hint.place.stripe).chain(more.iter().copied());
        let runs = &turn.node.scripts.runs;
        let Some(held) = turn.node.keyspace.lock_unless(stripes, |stripe| runs.hold(stripe)) else {
            return hold_back(turn, session, row, out);
        };
        let mut ended = unit(turn, session, &passed, hints, held, out);
        match ended.not_ended.take().map(|not_ended| *not_ended) {
            Some(NotEnded::Leaves(departure)) => return scripts::depart(turn, session, departure, None),
            // Once with the stripes it turned out to need; a script that then needs others owns the world.
            Some(NotEnded::Anew(Anew::Stripes(stripes))) if more.is_empty() => more = stripes,
            Some(NotEnded::Anew(_)) => world = true,
            waits => return after(turn, row, ended.side_effects, waits.is_some()),
        }
    }
    own_the_world(turn, session, &passed, out)
}

/// Runs a unit that owns the world.
fn own_the_world(turn: &mut Turn<'_>, session: &mut Session, passed: &Passed<'_>, out: &mut Vec<u8>) -> Called {
    let row = passed.row;
    turn.inside = None;
    let node = turn.node;
    let Some(exclusive) = node.keyspace.gate.exclusive_unless(|| turn.home.is_some() && node.scripts.runs.any()) else {
        turn.enter_again();
        return hold_back(turn, session, row, out);
    };
    let mut ended = unit(turn, session, passed, Hints::new(), node.keyspace.own_world(&exclusive), out);
    let not_ended = ended.not_ended.take().map(|not_ended| *not_ended);
    let waits = match not_ended {
        Some(NotEnded::Leaves(departure)) => return scripts::depart(turn, session, departure, Some(exclusive)),
        Some(NotEnded::Waits) => true,
        Some(NotEnded::Anew(_)) | None => false,
    };
    if let Some(raw) = turn.raw.take() {
        node.journal.stream.append_raw(&raw, session.db);
    }
    drop(exclusive);
    if let Some(side_effects) = &mut ended.side_effects
        && !side_effects.flushed.is_empty()
    {
        // Its client waits for this; the others go on.
        side_effects.flushed.clear();
        turn.tick = clock::ticks();
    }
    turn.enter_again();
    after(turn, row, ended.side_effects, waits)
}

/// What making room for a command has told its own client stands before the command's reply.
#[cold]
fn write_pushes(turn: &mut Turn<'_>, session: &Session, out: &mut Vec<u8>) {
    turn.pushed = false;
    session.client.take_pushes().iter().for_each(|push| push.render(out, session.proto));
}

/// A long script has what the command needs: it waits its turn, or hears BUSY once that has lasted.
#[cold]
fn hold_back(turn: &mut Turn<'_>, session: &mut Session, row: Row, out: &mut Vec<u8>) -> Called {
    match turn.node.scripts.runs.busy() {
        Some(run) => {
            refuse(turn, session, Some(row), scripts::busy(run.is_function), out);
            Called::Done
        }
        None => Called::Paused,
    }
}

/// What follows from a unit when its locks are free.
#[inline(always)]
fn after(turn: &mut Turn<'_>, row: Row, side_effects: Option<Box<SideEffects>>, waits: bool) -> Called {
    if let Some(side_effects) = side_effects {
        serve_ready(turn, *side_effects);
    }
    if row.command.has(ADMIN) {
        turn.config = turn.node.config.load();
    }
    if waits { Called::Waits } else { Called::Done }
}

#[cold]
fn serve_ready(turn: &mut Turn<'_>, side_effects: SideEffects) {
    if turn.is_outside() && !side_effects.ready.is_empty() {
        turn.inside = Some(turn.node.keyspace.gate.enter(turn.thread));
    }
    waiting::serve(turn, side_effects.ready);
}

/// Where the keys live that a unit will touch, in the order it will touch them. The memory is asked for all of them, step
/// by step, so that the misses of a wide read overlap.
fn find_keys(keyspace: &Keyspace, session: &Session, request: &Passed<'_>) -> Hints {
    let mut hints = Hints::new();
    let mut add = |argv: ArgvView<'_>, row: Row| {
        row.command.keys.for_each(argv, &mut |i, _| {
            let key = argv.get(i);
            let place = keyspace.place(key);
            keyspace.prefetch_stripe(place);
            hints.push(Hint { key: key.as_ptr(), place });
        });
    };
    add(request.argv, request.row);
    if request.row.command.has(RUNS_QUEUE) {
        session.queue.iter().flat_map(|q| &q.commands).for_each(|(row, argv)| add(argv.view(), *row));
        let watched = session.watch.iter().flat_map(|w| &w.keys);
        hints.extend(watched.map(|(_, key)| Hint { key: key.as_ptr(), place: keyspace.place(key) }));
    }
    if hints.len() > 1 {
        let some = || hints.iter().take(PREFETCHED_MAX).map(|hint| hint.place);
        some().for_each(|place| keyspace.prefetch_bucket(session.db, place));
        some().for_each(|place| keyspace.prefetch_entry(session.db, place));
    }
    hints
}

fn queue_needs_world(session: &Session) -> bool {
    let needs = |row: Row, argv: &Argv| row.command.has(WALK | RUNS_SCRIPT) || owns_world(row, argv.view());
    session.queue.as_ref().is_some_and(|q| q.commands.iter().any(|(row, argv)| needs(*row, argv)))
}

/// Whether a command reaches keys that its arguments do not name.
#[inline]
fn owns_world(row: Row, argv: ArgvView<'_>) -> bool {
    row.command.has(WORLD) || (row.command.has(PATTERNS) && argv.iter().skip(2).any(|arg| arg.contains(&b'*')))
}

#[cold]
fn refuse(turn: &mut Turn<'_>, session: &mut Session, row: Option<Row>, error: &Error, out: &mut Vec<u8>) {
    let start = out.len();
    let mut reply = Out::new(out, session.proto);
    if row.is_some_and(|row| row.command.has(RUNS_QUEUE)) {
        // An EXEC that may not run takes its transaction with it.
        abandon_transaction(turn, session);
        let cause = error.text().strip_prefix(b"ERR ").unwrap_or(error.text());
        match *error == slots::CROSS_SLOT {
            true => reply.error(cause),
            false => reply.error(&[b"EXECABORT Transaction discarded because of: ", cause].concat()),
        }
    } else {
        session.abort_queue();
        reply.error(error.text());
    }
    if let Some(row) = row {
        turn.stats.rejected(row.id);
    }
    count_error(turn.node, turn.stats, &out[start..]);
}

/// Forgets a session's queue and watches: a refused EXEC, RESET, the end of a connection. Inside the gate.
pub fn abandon_transaction(turn: &Turn<'_>, session: &mut Session) {
    session.queue = None;
    session.client.facts.queue_is_gone();
    if let Some(watching) = session.watch.take() {
        let mut db = Db::new(turn.node.keyspace.lock_none(), session.db, turn.now, AccessMode::default());
        db.unwatch(watching.keys.iter(), &watching.dirty);
        session.client.facts.watches(0, 0);
    }
}

fn enqueue(queue: &mut Queue, row: Row, argv: ArgvView<'_>) {
    let argv: Argv = argv.to_owned();
    queue.bytes += argv.heap_bytes() + size_of::<(Row, Argv)>();
    queue.commands.push((row, argv));
}

/// What the first cache keeps of a unit's keys until their turn comes.
const PREFETCHED_MAX: usize = 128;
