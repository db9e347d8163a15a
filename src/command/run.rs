//! Running a handler: its error, its effects, its time and its statistics. The only place that calls one.

use super::ctx::{Ctx, Reply, Surroundings};
use super::effects::Effects;
use super::gates;
use super::monitor_line;
use super::registry::Row;
use super::session::Session;
use super::stray;
use super::{ADMIN, FAST, MAY_REPLICATE, Outcome, READONLY, REDACTED, RUNS_SCRIPT, SKIP_SLOWLOG, WRITE};
use crate::clock;
use crate::node::Node;
use crate::observe::{Observatory, Slowlog, WorkerStats};
use crate::resp::{self, Argv, ArgvView, Out};

/// A handler, its error, its effects and its time. Returns the tick at its end.
#[inline]
pub(super) fn run_handler(ctx: &mut Ctx<'_, '_>, started: u64) -> u64 {
    run_with(ctx, started, ctx.row.command.run)
}

/// The same for a command that has begun elsewhere.
#[inline]
pub(super) fn run_with(ctx: &mut Ctx<'_, '_>, started: u64, handler: impl FnOnce(&mut Ctx<'_, '_>) -> Outcome) -> u64 {
    let (start, dirty, db) = (ctx.out.buf.len(), ctx.db.changes.dirty, ctx.db.index());
    let hides = ctx.db.mode.hide_expired;
    if ctx.db.mode.owns && ctx.row.command.has(WRITE) {
        ctx.db.mode.hide_expired = false;
    }
    let result = handler(ctx);
    ctx.db.mode.hide_expired = hides;
    let result = stray::judged(ctx, result);
    if ctx.unfinished.is_some() {
        resp::block::truncate(ctx.out.buf, start);
        // It counts when it is served.
        ctx.flush_expired();
        return clock::ticks();
    }
    if let Err(error) = result {
        resp::block::truncate(ctx.out.buf, start);
        ctx.out.error(error.text());
        ctx.stats.failed(ctx.row.id);
        count_error(ctx.node, ctx.stats, &ctx.out.buf[start..]);
    }
    ctx.flush_expired();
    if ctx.session.tracking.is_some() {
        note_keys(ctx);
    }
    if ctx.db.changes.dirty != dirty
        && !ctx.spoke
        && ctx.row.command.has(WRITE | MAY_REPLICATE)
        && ctx.node.journal.records()
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
    // CONFIG SET of the threshold is judged by the new one.
    let config = ctx.row.command.has(ADMIN).then(|| ctx.node.config.load());
    let config = config.as_deref().map_or(ctx.config, |config| config);
    if reaches(elapsed_ns / 1000, config.slowlog_log_slower_than) {
        log_command(ctx, |logs| &logs.slowlog, elapsed_ns / 1000);
    }
    let request = ctx.args.view().bytes().len() + ctx.session.long_bytes;
    let reply = ctx.out.buf.len() - start + ctx.out.attached;
    if reaches(request as u64, config.commandlog_request_larger_than) {
        log_command(ctx, |logs| &logs.large_requests, request as u64);
    }
    if reaches(reply as u64, config.commandlog_reply_larger_than) {
        log_command(ctx, |logs| &logs.large_replies, reply as u64);
    }
    if ctx.node.observatory.hotkeys.is_on() {
        note_cost(ctx, elapsed_ns, (request + reply) as u64);
    }
    let threshold_ms = ctx.config.latency_monitor_threshold;
    if threshold_ms > 0 && elapsed_ns / 1_000_000 >= threshold_ms {
        let event = if ctx.row.command.has(FAST) { "fast-command" } else { "command" };
        ctx.node.observatory.monitor.add(event, ctx.db.now() / 1000, elapsed_ns / 1_000_000);
    }
    ended
}

/// HOTKEYS: counts what the command cost for its keys. A transaction's and a script's commands count each for itself.
#[cold]
fn note_cost(ctx: &Ctx<'_, '_>, ns: u64, bytes: u64) {
    let (argv, keys) = (ctx.args.view(), &ctx.row.command.keys);
    if ctx.row.command.has(RUNS_SCRIPT) {
        return;
    }
    ctx.node.observatory.hotkeys.record(ctx.stats, ctx.db.now(), (ns, bytes), |visit| {
        keys.for_each(argv, &mut |i, _| visit(argv.get(i)));
    });
}

/// CLIENT TRACKING: notes the keys of a command that has read, for its client to hear when they change.
#[cold]
fn note_keys(ctx: &mut Ctx<'_, '_>) {
    let Ctx { session, db, row, args, .. } = ctx;
    let in_multi = session.queue.is_some();
    let Some(tracking) = &mut session.tracking else { return };
    // What a script reads is noted when it does.
    if row.command.has(READONLY) && !row.command.has(RUNS_SCRIPT) && tracking.notes() {
        let argv = args.view();
        row.command.keys.for_each(argv, &mut |i, _| db.track(argv.get(i), &tracking.tracker));
    }
    // CLIENT CACHING holds for one command, or one transaction.
    if !in_multi && ctx.may_wait && !row.command.name.starts_with("CLIENT ") {
        tracking.caching = false;
    }
}

/// Whether a cost is to be logged; a negative threshold is for never.
#[inline]
fn reaches(cost: u64, threshold: i64) -> bool {
    // A negative one is larger than every cost as an unsigned number.
    cost >= threshold as u64
}

#[cold]
fn log_command(ctx: &Ctx<'_, '_>, log: impl Fn(&Observatory) -> &Slowlog, cost: u64) {
    if ctx.row.command.has(SKIP_SLOWLOG) {
        return;
    }
    let (argv, client, now) = (ctx.args.view(), &ctx.session.client, ctx.db.now());
    if ctx.secrets == 0 {
        return ctx.node.log_command(log, argv, cost, client, now);
    }
    let shown = Argv::of(argv.iter().enumerate().map(|(i, arg)| if ctx.is_secret(i) { REDACTED } else { arg }));
    ctx.node.log_command(log, shown.view(), cost, client, now);
}

/// See [`Ctx::run_inner`]. False if the gates refused it.
pub(super) fn run_inner(ctx: &mut Ctx<'_, '_>, row: Row, argv: ArgvView<'_>) -> bool {
    // What a command before it in the same unit has configured holds.
    ctx.reconfigures |= row.command.has(ADMIN);
    let fresh = ctx.reconfigures.then(|| ctx.node.config.load());
    let Ctx { node, config, ref session, stats, registry, .. } = *ctx;
    let config = fresh.as_deref().map_or(config, |config| config);
    let look = gates::Look { node, config, session, stats, registry, now: ctx.db.now() };
    if let Err(error) = gates::pass(&gates::Request { look, row, argv, within: Some(ctx.row) }) {
        let start = ctx.out.buf.len();
        ctx.out.error(error.text());
        ctx.stats.rejected(row.id);
        count_error(ctx.node, ctx.stats, &ctx.out.buf[start..]);
        return false;
    }
    let around = Surroundings { config, ..ctx.surroundings() };
    let reply = Reply(Out::new(&mut *ctx.out.0.buf, ctx.session.proto));
    let mut inner = Ctx::new(around, (row, argv), &mut *ctx.db, reply, &mut *ctx.session, &mut *ctx.effects);
    run_handler(&mut inner, clock::ticks());
    if inner.node.clients.monitors.any() {
        monitor_line::show(&inner);
    }
    true
}

/// See [`Ctx::replay`].
pub(super) fn replay(ctx: &mut Ctx<'_, '_>, row: Row, argv: ArgvView<'_>, session: &mut Session) {
    let (mut reply, mut effects) = (Vec::new(), Effects::default());
    let (mode, db) = (ctx.db.mode, session.db);
    ctx.db.mode.keep_expired = true;
    ctx.db.select(db);
    let out = Reply(Out::new(&mut reply, session.proto));
    let mut inner = Ctx::new(ctx.surroundings(), (row, argv), &mut *ctx.db, out, session, &mut effects);
    inner.spoke = true;
    // The log holds what once succeeded; an error now means the same command failed the same way then.
    let _ = (row.command.run)(&mut inner);
    ctx.db.mode = mode;
}

/// Counts an error reply, given with its line's end.
#[cold]
pub(super) fn count_error(node: &Node, stats: &WorkerStats, reply: &[u8]) {
    stats.counters.total_error_replies.add(1);
    node.observatory.errors.record(reply.strip_suffix(b"\r\n").unwrap_or(reply));
}
