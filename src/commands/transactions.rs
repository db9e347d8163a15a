//! MULTI, EXEC, DISCARD, WATCH, UNWATCH.
//!
//! The queue lives in the session; `call` fills it. EXEC is one unit: it locks the keys of everything queued and of
//! everything watched, so the whole sees and leaves one instant. The same holds for the keys of its own conditions.

use super::strings::options::When;
use crate::command::*;
use crate::resp::ArgvView;
use std::sync::atomic::Ordering::Relaxed;

pub const COMMANDS: &[Command] = &[DISCARD, EXEC, MULTI, UNWATCH, WATCH];

const DISCARD: Command = Command {
    name: "DISCARD",
    args: "",
    arity: 1,
    since: "2.0.0",
    group: Group::Transactions,
    flags: NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | NO_QUEUE,
    keys: Keys::NONE,
    doc: "Forgets the commands queued since MULTI, and all watches. O(N) in what was queued.",
    examples: "> MULTI\nOK\n> SET k v\nQUEUED\n> DISCARD\nOK\n> GET k\n(nil)",
    run: discard,
};

fn discard(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if ctx.session.queue.take().is_none() {
        return Err(Error::new("ERR DISCARD without MULTI"));
    }
    ctx.session.client.facts.queue_is_gone();
    forget_watches(ctx);
    ctx.out.ok()
}

const EXEC: Command = Command {
    name: "EXEC",
    args: "[condition: IFEQ ifeq-key:key#0 ifeq-value | IFNE ifne-key:key#0 ifne-value | NX nx-key:key#0 | XX xx-key:key#0 ...]",
    arity: -1,
    since: "1.2.0",
    group: Group::Transactions,
    flags: NOSCRIPT | LOADING | STALE | SKIP_SLOWLOG | NO_QUEUE | RUNS_QUEUE,
    keys: Keys::unknown(keys::RO | keys::ACCESS).found_by(keys_of_conditions),
    doc: "Runs what was queued since MULTI as one atomic unit, unless a watched key changed or one of the conditions does not hold at this moment. Those are Valkey's.",
    examples: "> MULTI\nOK\n> INCR n\nQUEUED\n> INCR n\nQUEUED\n> EXEC\n1) (integer) 1\n2) (integer) 2\n> MULTI\nOK\n> SET n 3\nQUEUED\n> EXEC IFEQ n 2 NX m\n1) OK\n> MULTI\nOK\n> SET n 4\nQUEUED\n> EXEC IFEQ n 2\n(nil)\n> GET n\n\"3\"\n> MULTI\nOK\n> EXEC XX\n(error) EXECABORT Transaction discarded because of: invalid check condition syntax\n> EXEC\n(error) ERR EXEC without MULTI",
    run: exec,
};

fn exec(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Some(queue) = ctx.session.queue.take() else { return Err(Error::new("ERR EXEC without MULTI")) };
    ctx.session.client.facts.queue_is_gone();
    let changed = ctx.session.watch.as_ref().is_some_and(|w| ctx.db.watch_failed(w.keys.iter(), &w.dirty));
    forget_watches(ctx);
    if queue.aborted {
        return Err(Error::new("EXECABORT Transaction discarded because of previous errors."));
    }
    if changed || !conditions_hold(ctx)? {
        return ctx.out.null_array();
    }
    ctx.out.array(queue.commands.len());
    for (row, argv) in &queue.commands {
        ctx.run_inner(*row, argv.view());
    }
    Ok(())
}

fn conditions_hold(ctx: &mut Ctx<'_, '_>) -> Result<bool, Error> {
    let Ctx { args, db, .. } = ctx;
    let conditions = conditions(args.view()).collect::<Option<Vec<_>>>().ok_or(BAD_CONDITION)?;
    for (at, when) in conditions {
        if !when.holds(db, args.key(at))? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The conditions of an EXEC, each with its key's argument number; `None` ends them at one that is malformed.
fn conditions(argv: ArgvView<'_>) -> impl Iterator<Item = Option<(usize, When<'_>)>> {
    let mut at = 1;
    std::iter::from_fn(move || {
        if at >= argv.len() {
            return None;
        }
        let (key, operand) = (at + 1, argv.get(at + 2));
        let (when, len) = match &*args::Word::of(argv.get(at)) {
            b"NX" => (When::Absent, 2),
            b"XX" => (When::Present, 2),
            b"IFEQ" => (When::Value(operand, true), 3),
            b"IFNE" => (When::Value(operand, false), 3),
            _ => (When::Always, usize::MAX),
        };
        let fits = len <= argv.len() - at;
        at = if fits { at + len } else { argv.len() };
        Some(fits.then_some((key, when)))
    })
}

fn keys_of_conditions(argv: ArgvView<'_>, visit: &mut dyn FnMut(usize, u16)) {
    conditions(argv).flatten().for_each(|(key, _)| visit(key, keys::RO | keys::ACCESS));
}

const BAD_CONDITION: Error = Error::new("EXECABORT Transaction discarded because of: invalid check condition syntax");

const MULTI: Command = Command {
    name: "MULTI",
    args: "",
    arity: 1,
    since: "1.2.0",
    group: Group::Transactions,
    flags: NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | NO_QUEUE,
    keys: Keys::NONE,
    doc: "Begins a transaction: commands are queued until EXEC. O(1).",
    examples: "> MULTI\nOK\n> PING\nQUEUED\n> EXEC\n1) PONG",
    run: multi,
};

fn multi(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if ctx.session.queue.is_some() {
        return Err(Error::new("ERR MULTI calls can not be nested"));
    }
    ctx.session.queue = Some(session::Queue::default());
    ctx.session.client.facts.queued.store(0, Relaxed);
    ctx.out.ok()
}

const UNWATCH: Command = Command {
    name: "UNWATCH",
    args: "",
    arity: 1,
    since: "2.2.0",
    group: Group::Transactions,
    flags: NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY,
    keys: Keys::NONE,
    doc: "Forgets all watches. O(1).",
    examples: "> UNWATCH\nOK",
    run: unwatch,
};

fn unwatch(ctx: &mut Ctx<'_, '_>) -> Outcome {
    forget_watches(ctx);
    ctx.out.ok()
}

const WATCH: Command = Command {
    name: "WATCH",
    args: "key [key ...]",
    arity: -2,
    since: "2.2.0",
    group: Group::Transactions,
    flags: NOSCRIPT | LOADING | STALE | FAST | ALLOW_BUSY | NO_QUEUE,
    keys: Keys::range(1, -1, 1, keys::RO),
    doc: "Makes the next EXEC fail if one of the keys changes before it. O(1) a key.",
    examples: "> WATCH k\nOK\n> SET k 1\nOK\n> MULTI\nOK\n> GET k\nQUEUED\n> EXEC\n(nil)",
    run: watch,
};

fn watch(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if ctx.session.queue.is_some() {
        return Err(Error::new("ERR WATCH inside MULTI is not allowed"));
    }
    let db = ctx.db.index();
    let watching = ctx.session.watching();
    if watching.dirty.load(Relaxed) {
        // The transaction will fail whatever is watched now.
        return ctx.out.ok();
    }
    for key in ctx.args.from(1) {
        ctx.db.watch(key, &watching.dirty);
        watching.add(db, key);
    }
    if let Some(watching) = &ctx.session.watch {
        watching.show(&ctx.session.client);
    }
    ctx.out.ok()
}

/// Takes all watches back. Stripes not held by the unit are visited one by one.
pub(crate) fn forget_watches(ctx: &mut Ctx<'_, '_>) {
    if let Some(watching) = ctx.session.watch.take() {
        ctx.db.unwatch(watching.keys.iter(), &watching.dirty);
        ctx.session.client.facts.watches(0, 0);
    }
}
