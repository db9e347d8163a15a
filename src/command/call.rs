//! The only way to run a command: resolve, pass the gates, queue or lock, run, propagate, count.
//!
//! A [`Turn`] is one thread's stay inside the keyspace's gate, a batch long. [`call`] runs one request in it. A unit's
//! effects reach the journal while its locks are held; that order is the order of everything.
//!
//! Most commands touch one key in calm weather: nothing is loading, refused, paused or queued. That is found out once a
//! batch ([`gates::is_calm`]), and again after every command that could change it; then a command of one key goes from
//! its batch straight to its lock.
//! Cost: one clock read a command (the end of one is the beginning of the next).

use super::ctx::{Ctx, Reply};
use super::effects::Effects;
use super::gates;
use super::monitor;
use super::room;
use super::session::{Origin, Queue, Then};
use super::table::Row;
use super::waiting;
use super::{
    ADMIN, Args, DENYOOM, Error, FAST, MAY_REPLICATE, NO_QUEUE, PATTERNS, PLAIN_WITHOUT, REDACTED, RUNS_QUEUE,
    Registry, SKIP_SLOWLOG, Session, WALK, WORLD, WRITE,
};
use crate::clients::Pause;
use crate::clock::{self, Millis};
use crate::config::Config;
use crate::keyspace::waiting::Waiter;
use crate::keyspace::walk::Garbage;
use crate::keyspace::{Db, Expired, Held, Hint, Hints, Inside, Keyspace, Lapsed, Manner, Place, Seldom};
use crate::node::Node;
use crate::observe::WorkerStats;
use crate::resp::{Argv, ArgvView, Out};
use arc_swap::Guard;
use smallvec::smallvec;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// A thread inside the gate, running one batch.
pub struct Turn<'n> {
    pub node: &'n Node,
    pub stats: &'n WorkerStats,
    pub registry: &'static Registry,
    /// Held as a guard: counting references would make the workers contend for the counter, batch by batch.
    pub config: Guard<Arc<Config>>,
    /// Wall-clock time of the batch.
    pub now: Millis,
    /// Monotonic ticks at the end of the last command.
    pub tick: u64,
    pub(super) slot: usize,
    pub(super) inside: Option<Inside<'n>>,
    pub(super) effects: Effects,
    /// No gate would refuse or hold back a plain command of the session whose batch this is.
    calm: bool,
    /// Journal offset behind the last effects of this turn; replies wait for it.
    pub journal_end: u64,
}

/// A request with what the batch found out about it ahead of time.
pub struct Prepared<'a> {
    pub argv: ArgvView<'a>,
    pub canonical: bool,
    pub looked_up: LookedUp,
}

/// What a request's bytes tell before it runs.
#[derive(Clone, Copy)]
pub struct LookedUp {
    /// None where the name or the number of arguments is wrong.
    pub row: Option<Row>,
    /// Where the key lives, of a command with one key.
    pub place: Option<Place>,
}

impl LookedUp {
    /// `before`: the request before it, which in most batches is of the same kind.
    #[inline]
    pub fn of(
        registry: &Registry,
        keyspace: &Keyspace,
        argv: ArgvView<'_>,
        before: Option<(ArgvView<'_>, LookedUp)>,
    ) -> Self {
        let row = match before {
            Some((other, Self { row, place: Some(_) })) if argv.get(0) == other.get(0) && argv.len() == other.len() => {
                row
            }
            _ => registry.lookup(argv),
        };
        let key_at = row.map_or(0, |row| row.key_at(argv.len()));
        Self { row, place: (key_at > 0).then(|| keyspace.place(argv.get(key_at))) }
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    Done,
    /// CLIENT PAUSE holds it back; nothing happened.
    Paused,
    /// It waits for its keys: `session.waiting`.
    Waits,
}

impl<'n> Turn<'n> {
    /// Enters the gate with the thread's own slot.
    pub fn begin(node: &'n Node, stats: &'n WorkerStats, registry: &'static Registry, slot: usize) -> Self {
        let inside = Some(node.keyspace.gate.enter(slot));
        let effects = Effects::default();
        Self {
            node,
            stats,
            registry,
            config: node.config.load(),
            now: clock::now_ms(),
            tick: clock::ticks(),
            slot,
            inside,
            effects,
            calm: false,
            journal_end: 0,
        }
    }

    /// Leaves the gate and enters it again: whoever waits to own the world gets it in between.
    pub fn step_out_and_in(&mut self) {
        self.inside = None;
        self.now = clock::now_ms();
        self.inside = Some(self.node.keyspace.gate.enter(self.slot));
    }

    /// Appends what a unit did to the journal. Under the unit's locks.
    #[inline]
    pub(super) fn append_effects(&mut self) {
        if !self.effects.is_empty() {
            let (databases, count, record) = (self.effects.databases(), self.effects.count(), self.effects.record());
            self.journal_end = self.node.journal.append(databases, count, record, self.now);
            self.effects.clear();
        }
    }

    /// Runs `work` on one key outside any command: loading.
    pub fn with_db<R>(&mut self, db: usize, key: Hint, work: impl FnOnce(&mut Db<'_>) -> R) -> R {
        let held = self.node.keyspace.lock_one(key.place.stripe as usize);
        let manner = Manner { keep_expired: true, ..Manner::default() };
        let mut db = Db::new(held, db, self.now, manner);
        db.hint(smallvec![key]);
        work(&mut db)
    }

    /// A request that did not come in a batch.
    pub fn prepare<'a>(&self, argv: ArgvView<'a>, canonical: bool) -> Prepared<'a> {
        Prepared { argv, canonical, looked_up: LookedUp::of(self.registry, &self.node.keyspace, argv, None) }
    }

    /// Looks at what the gates look at, once for the commands that follow.
    #[inline]
    pub fn feel_the_weather(&mut self, session: &Session) {
        self.calm = gates::is_calm(self.node, &self.config, session, self.now);
    }
}

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
    if !turn.calm || row.command.has(PLAIN_WITHOUT) || room::ensure(turn, session, row).is_err() {
        return dispatch_any(turn, session, request, out);
    }
    session.client.facts.last_command.store(row.id + 1, Relaxed);
    let held = turn.node.keyspace.lock_one(hint.place.stripe as usize);
    finish(turn, session, Parts { row, argv, canonical, again: None }, smallvec![hint], held, out)
}

/// Any command in any weather.
fn dispatch_any(turn: &mut Turn<'_>, session: &mut Session, request: Prepared<'_>, out: &mut Vec<u8>) -> Called {
    let Prepared { argv, canonical, looked_up } = request;
    let Some(row) = looked_up.row else {
        if gates::is_cross_protocol(argv.get(0)) {
            gates::warn_of_attack(turn.now);
            session.then = Then::Drop;
            return Called::Done;
        }
        let error = turn.registry.why_not(argv);
        let row = turn.registry.find(argv.get(0));
        refuse(turn, session, row, &error, out);
        return Called::Done;
    };
    let called = pass_and_run(turn, session, Parts { row, argv, canonical, again: None }, out);
    turn.feel_the_weather(session);
    called
}

fn pass_and_run(turn: &mut Turn<'_>, session: &mut Session, parts: Parts<'_>, out: &mut Vec<u8>) -> Called {
    let Parts { row, argv, .. } = parts;
    let check = gates::Request { node: turn.node, config: &turn.config, session, row };
    let passed = gates::pass(&check).and_then(|()| room::ensure(turn, session, row));
    if let Err(error) = passed {
        refuse(turn, session, Some(row), &error, out);
        return Called::Done;
    }
    if is_paused(turn, session, row) {
        return Called::Paused;
    }
    if let Some(queue) = &mut session.queue
        && !row.command.has(NO_QUEUE)
    {
        enqueue(queue, row, argv);
        session.client.facts.queued_more(queue.bytes);
        Out::new(out, session.proto).simple("QUEUED");
        return Called::Done;
    }
    session.client.facts.last_command.store(row.id + 1, Relaxed);
    let world = owns_world(row, argv) || (row.command.has(RUNS_QUEUE) && queue_needs_world(session));
    if !world {
        let hints = find_keys(&turn.node.keyspace, session, &parts);
        let held = turn.node.keyspace.lock(hints.iter().map(|hint| hint.place.stripe));
        return finish(turn, session, parts, hints, held, out);
    }
    turn.inside = None;
    let node = turn.node;
    let exclusive = node.keyspace.gate.exclusive();
    let mut ended = unit(turn, session, parts, Hints::new(), node.keyspace.own_world(&exclusive), out);
    drop(exclusive);
    if let Some(seldom) = &mut ended.seldom
        && !seldom.flushed.is_empty()
    {
        // Its client waits for this; the others go on.
        seldom.flushed.clear();
        turn.tick = clock::ticks();
    }
    turn.inside = Some(node.keyspace.gate.enter(turn.slot));
    after(turn, row, ended)
}

/// Runs a unit under its locks, and what follows from it.
#[inline]
fn finish(
    turn: &mut Turn<'_>,
    session: &mut Session,
    parts: Parts<'_>,
    hints: Hints,
    held: Held<'_>,
    out: &mut Vec<u8>,
) -> Called {
    let row = parts.row;
    let ended = unit(turn, session, parts, hints, held, out);
    after(turn, row, ended)
}

#[inline]
fn after(turn: &mut Turn<'_>, row: Row, ended: Ended) -> Called {
    if let Some(seldom) = ended.seldom {
        waiting::serve(turn, seldom.ready);
    }
    if row.command.has(ADMIN) {
        turn.config = turn.node.config.load();
    }
    if ended.waits { Called::Waits } else { Called::Done }
}

/// A request that passed the gates.
pub(super) struct Parts<'a> {
    pub row: Row,
    pub argv: ArgvView<'a>,
    pub canonical: bool,
    /// A parked command is tried again.
    pub again: Option<&'a Waiter>,
}

/// How a unit ended.
pub(super) struct Ended {
    /// The command found nothing and waits.
    pub waits: bool,
    /// What is left to do: for whoever waits for keys of it, and for emptied databases, to be freed outside the gate.
    pub seldom: Option<Box<Seldom>>,
}

/// Where the keys live that a unit will touch, in the order it will touch them. The memory is asked for all of them, step
/// by step, so that the misses of a wide read overlap.
fn find_keys(keyspace: &Keyspace, session: &Session, request: &Parts<'_>) -> Hints {
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
    let needs = |row: Row, argv: &Argv| row.command.has(WALK) || owns_world(row, argv.view());
    session.queue.as_ref().is_some_and(|q| q.commands.iter().any(|(row, argv)| needs(*row, argv)))
}

/// Whether a command reaches keys that its arguments do not name.
#[inline]
fn owns_world(row: Row, argv: ArgvView<'_>) -> bool {
    row.command.has(WORLD) || (row.command.has(PATTERNS) && argv.iter().skip(2).any(|arg| arg.contains(&b'*')))
}

/// Runs an atomic unit under its locks and appends its effects to the journal before they are released.
#[inline]
pub(super) fn unit(
    turn: &mut Turn<'_>,
    session: &mut Session,
    parts: Parts<'_>,
    hints: Hints,
    held: Held<'_>,
    out: &mut Vec<u8>,
) -> Ended {
    let Parts { row, argv, canonical, again } = parts;
    let manner = Manner {
        no_touch: session.no_touch,
        keep_expired: session.origin == Origin::Log,
        hide_expired: turn.node.clients.paused(turn.now) != Pause::None,
        events: turn.config.notify_keyspace_events.0 != 0,
        lazy_free: true,
    };
    let mut db = Db::new(held, session.db, turn.now, manner);
    db.hint(hints);
    let mut ctx = Ctx {
        args: Args::new(argv),
        db: &mut db,
        out: Reply(Out::new(out, session.proto)),
        session,
        node: turn.node,
        config: &turn.config,
        stats: turn.stats,
        registry: turn.registry,
        row,
        secrets: 0,
        effects: &mut turn.effects,
        spoke: false,
        canonical,
        may_wait: true,
        waiting: None,
    };
    turn.tick = run_handler(&mut ctx, turn.tick);
    if again.is_none() && ctx.node.clients.monitors.any() {
        monitor::show(&ctx);
    }
    let wait = ctx.waiting;
    let waits = wait.is_some();
    match (wait, again) {
        (Some(wait), None) => waiting::park(turn.node, &mut db, session, &parts, wait),
        (None, Some(waiter)) => {
            waiter.claims.served();
            db.unpark(waiter);
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    turn.append_effects();
    let mut seldom = account(turn.node, turn.stats, db);
    if let Some(seldom) = &mut seldom {
        expire_met(turn, std::mem::take(&mut seldom.met_due));
    }
    Ended { waits, seldom }
}

/// Removes the keys that a walk met due, each in a unit of its own; one that was written again since then stays.
fn expire_met(turn: &mut Turn<'_>, met_due: Vec<(usize, Box<[u8]>)>) {
    let (node, lazy_free) = (turn.node, turn.config.lazyfree_lazy_expire);
    let manner = Manner { events: turn.config.notify_keyspace_events.0 != 0, lazy_free, ..Manner::default() };
    for (index, key) in met_due {
        let held = node.keyspace.lock_one(node.keyspace.place(&key).stripe as usize);
        let mut db = Db::new(held, index, turn.now, manner);
        // Looking at a due key is what removes it.
        db.kind(&key);
        note_expired(db.changes.take_expired(), &mut turn.effects, turn.stats, lazy_free);
        turn.append_effects();
        account(node, turn.stats, db);
    }
}

/// Counts what expired and adds it to the effects: DEL (or UNLINK) for keys, HDEL for fields.
pub fn note_expired(expired: Vec<Expired>, effects: &mut Effects, stats: &WorkerStats, lazy: bool) {
    let counters = &stats.counters;
    for Expired { db, key, what } in expired {
        match what {
            Lapsed::Key => counters.expired_keys.add(1),
            Lapsed::Fields(fields) => {
                counters.expired_subkeys.add(fields.len() as u64);
                for some in fields.chunks(FIELDS_PER_EFFECT) {
                    let front = [&b"HDEL"[..], &key].into_iter();
                    let args: Vec<&[u8]> = front.chain(some.iter().map(|field| &**field)).collect();
                    effects.add(db, args.into_iter());
                }
                continue;
            }
            Lapsed::Hash(fields) => counters.expired_subkeys.add(fields as u64),
        }
        effects.add(db, [removal(lazy), &key].into_iter());
    }
}

/// The command that stands for a removal which nobody asked for: UNLINK where `lazyfree-lazy-*` says so, as in Redis.
pub fn removal(lazy: bool) -> &'static [u8] {
    if lazy { b"UNLINK" } else { b"DEL" }
}

/// Counts what a unit did and sends big values to be freed elsewhere. The locks are released here. Returns what else
/// there is to do.
#[inline]
pub fn account(node: &Node, stats: &WorkerStats, mut db: Db<'_>) -> Option<Box<Seldom>> {
    let (changes, counters) = (&db.changes, &stats.counters);
    counters.keyspace_hits.add(changes.hits);
    counters.keyspace_misses.add(changes.misses);
    if changes.dirty > 0 {
        counters.changes.add(changes.dirty);
    }
    let mut seldom = db.changes.take_seldom()?;
    drop(db);
    seldom.garbage.drain(..).for_each(|value| node.reaper.send(Garbage::Value(value)));
    Some(seldom)
}

/// A handler, its error, its effects and its time. Returns the tick at its end.
#[inline]
fn run_handler(ctx: &mut Ctx<'_, '_>, started: u64) -> u64 {
    let (start, dirty, db) = (ctx.out.buf.len(), ctx.db.changes.dirty, ctx.db.index());
    let result = (ctx.row.command.run)(ctx);
    if ctx.waiting.is_some() {
        ctx.out.buf.truncate(start);
        // It counts when it is served.
        ctx.flush_expired();
        return clock::ticks();
    }
    if let Err(error) = result {
        ctx.out.buf.truncate(start);
        ctx.out.error(error.text());
        ctx.stats.failed(ctx.row.id);
        count_error(ctx.node, ctx.stats, &ctx.out.buf[start..]);
    }
    ctx.flush_expired();
    if ctx.db.changes.dirty != dirty
        && !ctx.spoke
        && ctx.row.command.has(WRITE | MAY_REPLICATE)
        && ctx.node.journal.is_on()
    {
        if ctx.canonical {
            ctx.effects.add_canonical(db, ctx.args.view());
        } else {
            ctx.effects.add(db, ctx.args.view().iter());
        }
    }
    let ended = clock::ticks();
    let elapsed_ns = clock::ticks_to_ns(ended.wrapping_sub(started));
    ctx.stats.call(ctx.row.id, elapsed_ns);
    let threshold_us = ctx.config.slowlog_log_slower_than;
    if threshold_us >= 0 && elapsed_ns / 1000 >= threshold_us as u64 && !ctx.row.command.has(SKIP_SLOWLOG) {
        log_slow(ctx, elapsed_ns);
    }
    let threshold_ms = ctx.config.latency_monitor_threshold;
    if threshold_ms > 0 && elapsed_ns / 1_000_000 >= threshold_ms {
        let event = if ctx.row.command.has(FAST) { "fast-command" } else { "command" };
        ctx.node.observatory.monitor.add(event, ctx.db.now() / 1000, elapsed_ns / 1_000_000);
    }
    ended
}

#[cold]
fn log_slow(ctx: &Ctx<'_, '_>, elapsed_ns: u64) {
    let (argv, client, now) = (ctx.args.view(), &ctx.session.client, ctx.db.now());
    if ctx.secrets == 0 {
        return ctx.node.log_slow(argv, elapsed_ns, client, now);
    }
    let shown = Argv::of(argv.iter().enumerate().map(|(i, arg)| if ctx.is_secret(i) { REDACTED } else { arg }));
    ctx.node.log_slow(shown.view(), elapsed_ns, client, now);
}

/// See [`Ctx::run_inner`]. False if the gates refused it.
pub(super) fn run_inner(ctx: &mut Ctx<'_, '_>, row: Row, argv: ArgvView<'_>) -> bool {
    let check = gates::Request { node: ctx.node, config: ctx.config, session: ctx.session, row };
    if let Err(error) = gates::pass(&check) {
        let start = ctx.out.buf.len();
        ctx.out.error(error.text());
        ctx.stats.rejected(row.id);
        count_error(ctx.node, ctx.stats, &ctx.out.buf[start..]);
        return false;
    }
    let mut inner = Ctx {
        args: Args::new(argv),
        db: &mut *ctx.db,
        out: Reply(Out::new(&mut *ctx.out.0.buf, ctx.session.proto)),
        session: &mut *ctx.session,
        node: ctx.node,
        config: ctx.config,
        stats: ctx.stats,
        registry: ctx.registry,
        row,
        secrets: 0,
        effects: &mut *ctx.effects,
        spoke: false,
        canonical: false,
        may_wait: false,
        waiting: None,
    };
    run_handler(&mut inner, clock::ticks());
    if inner.node.clients.monitors.any() {
        monitor::show(&inner);
    }
    true
}

/// See [`Ctx::replay`].
pub(super) fn replay(ctx: &mut Ctx<'_, '_>, row: Row, argv: ArgvView<'_>, session: &mut Session) {
    let (mut reply, mut effects) = (Vec::new(), Effects::default());
    let (manner, db) = (ctx.db.manner, session.db);
    ctx.db.manner.keep_expired = true;
    ctx.db.select(db);
    let mut inner = Ctx {
        args: Args::new(argv),
        db: &mut *ctx.db,
        out: Reply(Out::new(&mut reply, session.proto)),
        session,
        node: ctx.node,
        config: ctx.config,
        stats: ctx.stats,
        registry: ctx.registry,
        row,
        secrets: 0,
        effects: &mut effects,
        spoke: true,
        canonical: false,
        may_wait: false,
        waiting: None,
    };
    // The log holds what once succeeded; an error now means the same command failed the same way then.
    let _ = (row.command.run)(&mut inner);
    ctx.db.manner = manner;
}

#[cold]
fn refuse(turn: &mut Turn<'_>, session: &mut Session, row: Option<Row>, error: &Error, out: &mut Vec<u8>) {
    let start = out.len();
    let mut reply = Out::new(out, session.proto);
    if row.is_some_and(|row| row.command.has(RUNS_QUEUE)) {
        // An EXEC that may not run takes its transaction with it.
        abandon_transaction(turn, session);
        let cause = error.text().strip_prefix(b"ERR ").unwrap_or(error.text());
        reply.error(&[b"EXECABORT Transaction discarded because of: ", cause].concat());
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
        let mut db = Db::new(turn.node.keyspace.lock_none(), session.db, turn.now, Manner::default());
        db.unwatch(watching.keys.iter(), &watching.dirty);
        session.client.facts.watches(0, 0);
    }
}

/// Counts an error reply, given with its line's end.
#[cold]
fn count_error(node: &Node, stats: &WorkerStats, reply: &[u8]) {
    stats.counters.total_error_replies.add(1);
    node.observatory.errors.record(reply.strip_suffix(b"\r\n").unwrap_or(reply));
}

fn enqueue(queue: &mut Queue, row: Row, argv: ArgvView<'_>) {
    let argv: Argv = argv.to_owned();
    queue.bytes += argv.heap_bytes() + size_of::<(Row, Argv)>();
    queue.commands.push((row, argv));
}

#[inline]
fn is_paused(turn: &Turn<'_>, session: &Session, row: Row) -> bool {
    if session.origin == Origin::Log {
        return false;
    }
    match turn.node.clients.paused(turn.now) {
        Pause::None => false,
        Pause::All => true,
        Pause::Write => {
            row.command.has(WRITE | MAY_REPLICATE) || (row.command.has(RUNS_QUEUE) && queue_writes(session))
        }
    }
}

fn queue_writes(session: &Session) -> bool {
    session
        .queue
        .as_ref()
        .is_some_and(|q| q.commands.iter().any(|(row, _)| row.command.has(WRITE | MAY_REPLICATE | DENYOOM)))
}

/// What the first cache keeps of a unit's keys until their turn comes.
const PREFETCHED_MAX: usize = 128;
/// Fields in one HDEL of the log.
const FIELDS_PER_EFFECT: usize = 512;
