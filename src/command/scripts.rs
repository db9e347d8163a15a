//! What scripts need of the core: commands run inside their unit, and a unit that is thrown away and begins anew.
//!
//! A script runs under the stripes of the keys that it declares, and adds those of other keys as it touches them, where
//! they are free. Where one is not, or where a command needs the world, its unit is taken back, as if it had never been,
//! and begins anew: with all stripes that it is known to need, or owning the world. Stripes are never waited for while
//! others are held out of order, and the world never while a stripe is.

#![allow(unsafe_code)]

use super::Registry;
use super::call::{abandon_transaction, call};
use super::ctx::{Ctx, Reply, Surroundings, Unfinished};
use super::effects::{Audience, Effects};
use super::registry::Row;
use super::run::{count_error, run_handler, run_with};
use super::turn::{Called, Turn};
use super::waiting::{self, Waiting};
use super::{
    ALLOW_BUSY, Error, Group, NO_QUEUE, Outcome, RUNS_QUEUE, RUNS_SCRIPT, Session, WALK, WORLD, gates, monitor_line,
    permission, room, unit,
};
use crate::clock::{self, Millis};
use crate::keyspace::waiting::Waiter;
use crate::keyspace::{AccessMode, Changes, Db, Exclusive, LONG_THREADS, Loose};
use crate::node::Node;
use crate::observe::WorkerStats;
use crate::resp::{self, Argv, ArgvView, Out};
use crate::script::{cache, hex_digest, text};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// What a unit that begins anew must hold from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anew {
    Stripes(Vec<u32>),
    World,
}

impl Ctx<'_, '_> {
    /// The unit was taken back; it is to run again.
    pub fn begin_anew(&mut self, anew: Anew) {
        self.unfinished = Some(Box::new(Unfinished::Anew(anew)));
    }

    /// Whether a script that goes on may leave the thread.
    pub fn may_leave(&self) -> bool {
        self.may_leave
    }

    /// The script goes on elsewhere.
    pub fn leave(&mut self, script: Box<dyn Leaving>) {
        self.unfinished = Some(Box::new(Unfinished::Leaves(script)));
    }

    /// Runs a command for a script: as another session, its reply into another buffer, its effects for `audience`.
    pub fn run_called(
        &mut self,
        row: Row,
        argv: ArgvView<'_>,
        session: &mut Session,
        reply: &mut Vec<u8>,
        audience: Audience,
    ) {
        let mut aside = Effects::default();
        // The limit is for what its client gets; this is for the script.
        resp::unlimited(|| {
            let around = self.surroundings();
            let effects = if audience == Audience::ALL { &mut *self.effects } else { &mut aside };
            let out = Reply(Out::new(reply, session.proto));
            let mut inner = Ctx::new(around, (row, argv), &mut *self.db, out, session, effects);
            run_handler(&mut inner, clock::ticks());
            if inner.node.clients.monitors.any() {
                monitor_line::show(&inner);
            }
        });
        if audience != Audience::ALL {
            self.effects.append_for(&aside, audience);
        }
    }

    /// Refuses a script's command; the error is its reply.
    #[cold]
    pub fn refuse_called(&mut self, row: Option<Row>, error: &Error, reply: &mut Vec<u8>) {
        let start = reply.len();
        Out::new(reply, self.session.proto).error(error.text());
        if let Some(row) = row {
            self.stats.rejected(row.id);
        }
        count_error(self.node, self.stats, &reply[start..]);
    }

    /// Whether the caller's user may run a command of a script.
    pub fn permit_called(&self, row: Row, argv: ArgvView<'_>, session: &Session) -> Result<(), Error> {
        permission::check(&self.called(row, argv, session))
    }

    /// Whether the server's state refuses a command of a script.
    pub fn gate_called(&self, row: Row, argv: ArgvView<'_>, session: &Session) -> Result<(), Error> {
        gates::pass(&self.called(row, argv, session))
    }

    fn called<'r>(&'r self, row: Row, argv: ArgvView<'r>, session: &'r Session) -> gates::Request<'r> {
        let Self { node, config, stats, registry, .. } = *self;
        let look = gates::Look { node, config, session, stats, registry, now: self.db.now() };
        gates::Request { look, row, argv, within: Some(self.row) }
    }

    /// Whether more memory is used than `maxmemory` allows, after evicting what could be.
    pub fn is_out_of_memory(&self) -> bool {
        self.config.maxmemory > 0 && room::counted(self.node) > self.config.maxmemory
    }

    /// Shows the command to MONITOR before what it runs, as Redis does with scripts.
    pub fn show_first(&self) {
        if self.node.clients.monitors.any() {
            monitor_line::show(self);
        }
    }

    /// What was found due goes to the log now, and stays there should the unit be taken back.
    pub fn keep_expired(&mut self, kept: &mut Effects) {
        if self.db.changes.did_seldom() {
            let (expired, mut some) = (self.db.changes.take_expired(), Effects::default());
            super::unit::note_expired(expired, &mut some, self.stats, self.config.lazyfree_lazy_expire);
            self.effects.append(&some);
            kept.append(&some);
        }
    }

    /// Takes back what the unit did but for what it found due.
    pub fn forget_effects(&mut self, kept: Effects) {
        *self.effects = kept;
    }
}

/// A script on its way to its end, in another thread than it began in.
pub trait Leaving: Send {
    /// Goes on to its end, or until it is taken back.
    fn go_on(self: Box<Self>, ctx: &mut Ctx<'_, '_>) -> Outcome;
}

/// A unit that leaves its worker: all that it holds.
pub struct Departure {
    script: Box<dyn Leaving>,
    row: Row,
    argv: Argv,
    began: u64,
    session: Session,
    locks: Loose,
    db: usize,
    now: Millis,
    mode: AccessMode,
    changes: Changes,
    effects: Effects,
}

impl Departure {
    pub(super) fn new(
        script: Box<dyn Leaving>,
        (row, argv): (Row, ArgvView<'_>),
        began: u64,
        mut db: Db<'_>,
        session: &Session,
        effects: Effects,
    ) -> Self {
        let (index, now, mode) = (db.index(), db.now(), db.mode);
        let changes = std::mem::take(&mut db.changes);
        let (argv, session, locks) = (argv.to_owned(), session.for_departure(), db.into_held().loosen());
        Self { script, row, argv, began, session, locks, db: index, now, mode, changes, effects }
    }

    /// Runs the unit to its end and delivers its reply.
    fn go_on(self, mut turn: Turn<'_>, owns_world: bool) {
        let Self { script, row, argv, began, mut session, locks, db, now, mode, changes, effects } = self;
        let keyspace = &turn.node.keyspace;
        // SAFETY: the worker let go of it for this thread.
        let exclusive = owns_world.then(|| unsafe { keyspace.gate.adopt() });
        let (mut db, mut out) = (Db::new(keyspace.adopt(locks), db, now, mode), Vec::new());
        (db.changes, turn.effects) = (changes, effects);
        let around = Surroundings { node: turn.node, config: &turn.config, stats: turn.stats, registry: turn.registry };
        let reply = Reply(Out::new(&mut out, session.proto));
        let mut ctx = Ctx::new(around, (row, argv.view()), &mut db, reply, &mut session, &mut turn.effects);
        turn.tick = run_with(&mut ctx, began, |ctx| script.go_on(ctx));
        let anew = matches!(ctx.unfinished.as_deref(), Some(Unfinished::Anew(_)));
        let side_effects = unit::end(&mut turn, db, session.client.id);
        if let Some(exclusive) = exclusive {
            drop(exclusive);
            turn.enter_again();
        }
        if let Some(side_effects) = side_effects {
            waiting::serve(&mut turn, side_effects.ready);
        }
        if anew {
            out.clear();
            call_until_run(&mut turn, &mut session, argv.view(), &mut out);
        }
        session.client.serve(out, turn.journal_end);
    }
}

/// Hands a script over to a thread of its own. Its client waits for the reply as for a key.
#[cold]
pub(super) fn depart(
    turn: &mut Turn<'_>,
    session: &mut Session,
    departure: Box<Departure>,
    world: Option<Exclusive<'_>>,
) -> Called {
    let Some(node) = turn.home else { unreachable!("only a worker's scripts leave") };
    wait_for_thread(session, departure.row);
    let owns_world = world.is_some();
    world.into_iter().for_each(Exclusive::loosen);
    let begin: Begin = if owns_world { Turn::outside } else { Turn::begin };
    let refused = in_a_thread(turn, begin, departure, move |turn, departure| departure.go_on(turn, owns_world));
    if let Some(departure) = refused {
        // No thread is to be had: it goes on here.
        departure.go_on(Turn::outside(node, turn.stats, turn.registry, turn.thread), owns_world);
    }
    if owns_world {
        turn.enter_again();
    }
    Called::Waits
}

/// Whether an EXEC runs scripts: any of them may be long, and what it holds is the whole EXEC's.
pub(super) fn are_queued(session: &Session) -> bool {
    session.queue.as_ref().is_some_and(|queue| queue.commands.iter().any(|(row, _)| row.command.has(RUNS_SCRIPT)))
}

/// Runs an EXEC with scripts in a thread of its own, from its beginning. False if there is none: it runs here.
#[cold]
pub(super) fn depart_with_queue(turn: &mut Turn<'_>, session: &mut Session, row: Row, argv: ArgvView<'_>) -> bool {
    // What its commands change of the session, SELECT or SUBSCRIBE, stays changed: it goes along and comes back.
    let stand_in = session.for_departure();
    let other = Box::new(std::mem::replace(session, stand_in));
    let argv = argv.to_owned();
    let run = move |mut turn: Turn<'_>, mut session: Box<Session>| {
        let (mut out, client) = (Vec::new(), session.client.clone());
        call_until_run(&mut turn, &mut session, argv.view(), &mut out);
        if let Some(mut session) = client.serve_with_session(out, turn.journal_end, session) {
            session.unsubscribe_all(&turn.node.pubsub);
            session.stop_tracking(turn.node);
            abandon_transaction(&turn, &mut session);
        }
    };
    match in_a_thread(turn, Turn::begin, other, run) {
        None => {
            wait_for_thread(session, row);
            true
        }
        Some(other) => {
            *session = *other;
            false
        }
    }
}

/// Runs a command that CLIENT PAUSE, a failover or a shutdown may hold back once more. No client waits for it meanwhile.
fn call_until_run(turn: &mut Turn<'_>, session: &mut Session, argv: ArgvView<'_>, out: &mut Vec<u8>) {
    let request = turn.prepare(argv, false);
    while call(turn, session, request, out) == Called::Paused {
        turn.rest(PAUSE_LOOK_INTERVAL);
    }
}

type Begin = fn(&'static Node, &'static WorkerStats, &'static Registry, usize) -> Turn<'static>;

/// Runs `work` in a thread with a turn of its own, which has begun when this returns. Gives `load` back if there is none.
fn in_a_thread<T: Send + 'static>(
    turn: &Turn<'_>,
    begin: Begin,
    load: T,
    work: impl FnOnce(Turn<'_>, T) + Send + 'static,
) -> Option<T> {
    let (Some(node), registry) = (turn.home, turn.registry) else { return Some(load) };
    let Some(number) = node.scripts.runs.take_thread(LONG_THREADS) else { return Some(load) };
    let thread = node.keyspace.gate.long_thread(number);
    let (hand_over, taken) = mpsc::sync_channel::<T>(1);
    let (enter, entered) = mpsc::sync_channel::<()>(1);
    let run = move || {
        let turn = begin(node, node.observatory.lent(thread), registry, thread);
        let _ = enter.send(());
        if let Ok(load) = taken.recv() {
            work(turn, load);
            let postponed = node.scripts.runs.take_postponed();
            if !postponed.is_empty() {
                waiting::serve(&mut Turn::begin(node, node.observatory.lent(thread), registry, thread), postponed);
            }
        }
        node.scripts.runs.give_thread(number);
    };
    if std::thread::Builder::new().name("script".into()).spawn(run).is_err() {
        node.scripts.runs.give_thread(number);
        return Some(load);
    }
    let _ = entered.recv();
    hand_over.send(load).err().map(|unsent| unsent.0)
}

/// The session's command is answered by another thread.
fn wait_for_thread(session: &mut Session, row: Row) {
    let waiter = Waiter::new(session.client.clone(), row.id, Argv::new(), session.db, session.proto, Vec::new());
    waiter.claims.claim();
    session.waiting = Some(Waiting { waiter: Arc::new(waiter), deadline: None });
}

/// What may run beside a script that owns the world: no key is touched.
pub(super) fn may_run_outside(session: &Session, row: Row, argv: ArgvView<'_>) -> bool {
    let mut keys = 0;
    row.command.keys.for_each(argv, &mut |_, _| keys += 1);
    let apart = row.command.has(ALLOW_BUSY) && !row.command.has(RUNS_QUEUE | WORLD | WALK);
    keys == 0 && session.watch.is_none() && (apart || session.queue.is_some() && !row.command.has(NO_QUEUE))
}

/// Whether a command visits stripes one by one that a long script may have: a walk, or the end of watches.
#[cold]
pub(super) fn is_in_the_way(turn: &Turn<'_>, session: &Session, row: Row) -> bool {
    let (keyspace, runs) = (&turn.node.keyspace, &turn.node.scripts.runs);
    let watched = || session.watch.iter().flat_map(|watch| &watch.keys);
    let ends_watches = row.command.group == Group::Transactions || row.command.name == "RESET";
    row.command.has(WALK) || ends_watches && watched().any(|(_, key)| runs.hold(keyspace.place(key).stripe as usize))
}

/// What others hear while a script has been running for long.
pub fn busy(is_function: bool) -> &'static Error {
    if is_function { &BUSY_FUNCTION } else { &BUSY_SCRIPT }
}

pub static BUSY_SCRIPT: Error =
    Error::new("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.");
pub static BUSY_FUNCTION: Error =
    Error::new("BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.");

/// Whether the script that a command runs declares that it only reads.
pub(super) fn only_reads(node: &Node, row: Row, argv: ArgvView<'_>) -> bool {
    declared(node, row, argv).is_some_and(|flags| flags & text::NO_WRITES != 0)
}

/// Whether the script that a command runs declares what it does, and not that it only reads: it counts as a write then.
pub(super) fn declares_writes(node: &Node, row: Row, argv: ArgvView<'_>) -> bool {
    declared(node, row, argv).is_some_and(|flags| flags & text::NO_WRITES == 0)
}

/// The flags that the script of a command declares; none if it declares nothing, or is not there.
fn declared(node: &Node, row: Row, argv: ArgvView<'_>) -> Option<text::Flags> {
    if !row.command.has(RUNS_SCRIPT) {
        return None;
    }
    let (scripts, name) = (&node.scripts, argv.get(1));
    let flags = if row.command.name.starts_with("FCALL") {
        scripts.libraries.current().find(name).map(|(library, i)| library.functions[i].flags)
    } else if row.command.name.starts_with("EVALSHA") {
        cache::lower(name).and_then(|sha| scripts.find(&sha)).map(|script| script.flags)
    } else {
        text::script(name).ok().map(|(flags, _)| flags)
    };
    flags.filter(|flags| flags & text::UNDECLARED == 0)
}

/// Whether a script needs the world from its start: it did before, or MONITOR is to show what it does, which cannot be
/// taken back.
pub(super) fn needs_world(node: &Node, row: Row, argv: ArgvView<'_>) -> bool {
    if !row.command.has(RUNS_SCRIPT) {
        return false;
    }
    node.clients.monitors.any() || node.scripts.any_needs_world.load(Relaxed) && is_worldly(node, row, argv)
}

#[cold]
fn is_worldly(node: &Node, row: Row, argv: ArgvView<'_>) -> bool {
    let scripts = &node.scripts;
    if row.command.name.starts_with("FCALL") {
        let set = scripts.libraries.current();
        return set.find(argv.get(1)).is_some_and(|(library, _)| library.needs_world.load(Relaxed));
    }
    let sha =
        if row.command.name.starts_with("EVALSHA") { cache::lower(argv.get(1)) } else { Some(hex_digest(argv.get(1))) };
    sha.and_then(|sha| scripts.find(&sha)).is_some_and(|script| script.needs_world.load(Relaxed))
}

/// How often an EXEC that is held back looks whether it may run.
const PAUSE_LOOK_INTERVAL: Duration = Duration::from_millis(2);
