//! What a running script meets: its commands run inside the unit of the command that runs it.
//!
//! A command's keys are reached before it runs: their stripes are held, or added where they are free. Before a command
//! that writes, copies are taken of what it may replace, so that the whole can be taken back when a stripe is not free or
//! a command needs the world: see [`crate::command::scripts`].

use crate::clock;
use crate::command::effects::{Audience, Effects};
use crate::command::permission;
use crate::command::registry::Row;
use crate::command::scripts::Anew;
use crate::command::slots::ScriptSlots;
use crate::command::*;
use crate::keyspace::undo::Before;
use crate::resp::{ArgvView, Proto};
use crate::script::functions::log_script;
use crate::script::running::{Kill, Run, Told};
use crate::script::{Called, Host, REPL_AOF, REPL_REPLICA, Tick};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// A script in execution.
pub struct Running<'r, 'a, 'k> {
    pub ctx: &'r mut Ctx<'a, 'k>,
    pub state: State,
}

/// What is known of a script in execution, wherever it goes on.
pub struct State {
    session: Session,
    slots: ScriptSlots,
    /// No command that writes.
    read_only: bool,
    /// Memory was short when the script began, and it may not use more.
    out_of_memory: bool,
    /// It called a command that writes.
    wrote: bool,
    /// Who gets the effects from here on: `redis.set_repl`.
    audience: Audience,
    /// What it replaced, in that order.
    before: Vec<Before>,
    /// What was found due stays removed if the script is taken back.
    kept: Effects,
    /// Stripes of the keys it touched.
    reached: SmallVec<[u32; STRIPES_INLINE]>,
    anew: Option<Anew>,
    began_ns: u64,
    is_function: bool,
    name: SmallVec<[u8; NAME_INLINE]>,
    /// It has lasted long enough for others to hear of it.
    run: Option<Arc<Run>>,
    /// The process ends.
    ended: bool,
    /// Commands that ran.
    called: u64,
}

/// Why a command does not run.
enum Refusal {
    Error(Option<Row>, Error),
    Anew(Anew),
}

impl State {
    pub fn new(
        ctx: &Ctx<'_, '_>,
        name: &[u8],
        is_function: bool,
        slots: ScriptSlots,
        read_only: bool,
        allow_oom: bool,
    ) -> Self {
        let session = ctx.session.for_script();
        let out_of_memory = !allow_oom && !session.is_replayed() && ctx.is_out_of_memory();
        Self {
            session,
            slots,
            read_only,
            out_of_memory,
            wrote: false,
            audience: Audience::ALL,
            before: Vec::new(),
            kept: Effects::default(),
            reached: SmallVec::new(),
            anew: None,
            began_ns: now_ns(),
            is_function,
            name: name.into(),
            run: None,
            ended: false,
            called: 0,
        }
    }

    /// The script is over: the caller's session and database are as they were.
    pub fn end(self, ctx: &mut Ctx<'_, '_>) -> Option<Anew> {
        let Self { before, kept, anew, session, run, ended, called, .. } = self;
        if let Some(run) = run {
            ctx.node.scripts.runs.remove(&run);
        }
        if session.db != ctx.session.db {
            let db = ctx.session.db;
            ctx.session.select(db);
            ctx.db.select(db);
        }
        if ended {
            // The process ends in its middle: the log has nothing of it.
            ctx.forget_effects(Effects::default());
        }
        if anew.is_some() {
            before.into_iter().rev().for_each(|before| ctx.db.put_back(before));
            ctx.db.forget_changes();
            ctx.forget_effects(kept);
        } else {
            ctx.stats.counters.commands_processed.add(called);
            ctx.session.client.facts.commands.fetch_add(called, Relaxed);
        }
        anew
    }

    /// It has been running for a while.
    #[cold]
    fn register(&mut self, ctx: &Ctx<'_, '_>) -> Arc<Run> {
        let run = Run::new(Told {
            name: self.name.to_vec(),
            command: ctx.args.view().iter().map(<[u8]>::to_vec).collect(),
            is_function: self.is_function,
            began_ms: self.began_ns / 1_000_000,
            obeyed: ctx.session.is_replayed(),
            owns_world: ctx.db.owns_world(),
            stripes: ctx.node.keyspace.stripes(),
        });
        run.wrote.store(self.wrote, Relaxed);
        let view = ctx.args.view();
        ctx.row.command.keys.for_each(view, &mut |i, _| run.holds_too(ctx.db.stripe_of(view.get(i))));
        self.reached.iter().for_each(|stripe| run.holds_too(*stripe));
        ctx.node.scripts.runs.add(&run);
        self.run.insert(run).clone()
    }
}

fn now_ns() -> u64 {
    clock::ticks_to_ns(clock::ticks())
}

impl Running<'_, '_, '_> {
    fn run(&mut self, request: ArgvView<'_>, reply: &mut Vec<u8>) -> Result<(), Refusal> {
        let row = self.find(request).map_err(|(row, error)| Refusal::Error(row, error))?;
        self.judge(row, request).map_err(|error| Refusal::Error(Some(row), error))?;
        if !self.ctx.db.owns_world() {
            self.reach(row, request).map_err(Refusal::Anew)?;
        }
        let state = &mut self.state;
        if row.command.has(WRITE) && !state.wrote {
            state.wrote = true;
            state.run.iter().for_each(|run| run.wrote.store(true, Relaxed));
        }
        self.ctx.run_called(row, request, &mut state.session, reply, state.audience);
        state.called += 1;
        Ok(())
    }

    fn find(&self, request: ArgvView<'_>) -> Result<Row, (Option<Row>, Error)> {
        let registry = self.ctx.registry;
        if let Some(row) = registry.lookup(request) {
            let allowed = !row.command.has(NOSCRIPT)
                || self.ctx.node.scripts.allow_all.load(Relaxed) && !row.command.has(RUNS_SCRIPT | NO_QUEUE | NO_MULTI);
            return if allowed { Ok(row) } else { Err((Some(row), NOT_ALLOWED)) };
        }
        let row = registry.find(request.get(0));
        let is_unknown = registry.why_not(request).text().starts_with(b"ERR unknown");
        Err(if is_unknown { (None, UNKNOWN) } else { (row, WRONG_ARITY) })
    }

    fn judge(&mut self, row: Row, request: ArgvView<'_>) -> Result<(), Error> {
        let state = &mut self.state;
        self.ctx.permit_called(row, request, &state.session)?;
        if state.read_only && row.command.has(WRITE | MAY_REPLICATE) {
            return Err(WRITES);
        }
        state.slots.admit(row, request)?;
        // Once it has changed something it cannot be stopped in the middle.
        if state.wrote {
            return Ok(());
        }
        self.ctx.gate_called(row, request, &state.session)?;
        if state.out_of_memory && row.command.has(DENYOOM) { Err(OUT_OF_MEMORY) } else { Ok(()) }
    }

    /// Makes sure of the command's keys, and of what they hold if it writes.
    fn reach(&mut self, row: Row, request: ArgvView<'_>) -> Result<(), Anew> {
        let command = row.command;
        let patterns = command.has(PATTERNS) && request.iter().skip(2).any(|arg| arg.contains(&b'*'));
        if patterns || command.has(WORLD | WALK) {
            return Err(Anew::World);
        }
        let writes = command.has(WRITE);
        let Self { ctx, state } = self;
        let State { reached, before, kept, run, .. } = state;
        let mut anew = None;
        command.keys.for_each(request, &mut |i, flags| {
            let key = request.get(i);
            let found = ctx.db.reach(key);
            let (Ok(stripe) | Err(stripe)) = found;
            if found.is_err() {
                reached.push(stripe);
                // The keys behind it are needed as well.
                anew.get_or_insert(Anew::Stripes(Vec::new()));
            } else if anew.is_none() {
                if !reached.contains(&stripe) {
                    reached.push(stripe);
                    run.iter().for_each(|run| run.holds_too(stripe));
                }
                if ctx.db.may_be_due(stripe) {
                    // Removes it if it is due, before anything is copied.
                    ctx.db.kind(key);
                    ctx.keep_expired(kept);
                }
                let db = ctx.db.index();
                if writes && flags & keys::RO == 0 && !before.iter().any(|before| before.is_of(db, key)) {
                    match ctx.db.copy_before(key) {
                        Some(copy) => before.push(copy),
                        None => anew = Some(Anew::World),
                    }
                }
            }
        });
        match anew {
            None => Ok(()),
            Some(Anew::Stripes(_)) => Err(Anew::Stripes(std::mem::take(reached).into_vec())),
            Some(world) => Err(world),
        }
    }
}

impl Host for Running<'_, '_, '_> {
    fn call(&mut self, request: ArgvView<'_>, resp3: bool, reply: &mut Vec<u8>) -> Called {
        self.state.session.proto = if resp3 { Proto::Resp3 } else { Proto::Resp2 };
        match self.run(request, reply) {
            Ok(()) => Called::Replied,
            Err(Refusal::Error(row, error)) => {
                self.ctx.refuse_called(row, &error, reply);
                Called::Replied
            }
            Err(Refusal::Anew(anew)) => {
                self.state.anew = Some(anew);
                Called::Abandon
            }
        }
    }

    fn set_repl(&mut self, flags: u8) {
        self.state.audience = Audience { log: flags & REPL_AOF != 0, replicas: flags & REPL_REPLICA != 0 };
    }

    fn may_run(&mut self, request: ArgvView<'_>) -> Option<bool> {
        // How many arguments it has does not matter.
        let row = self.ctx.registry.named(request)?;
        Some(permission::judge(&self.ctx.session.user.rules(), row, request).is_ok())
    }

    fn log(&mut self, level: u8, text: &[u8]) {
        log_script(level, text);
    }

    fn tick(&mut self) -> Tick {
        let (ctx, now) = (&*self.ctx, now_ns());
        let lasted_ms = now.saturating_sub(self.state.began_ns) / 1_000_000;
        let runs = &ctx.node.scripts.runs;
        if runs.are_ending() {
            self.state.ended = true;
            return Tick::Kill(ENDING);
        }
        let run = match &self.state.run {
            Some(run) => run.clone(),
            None if lasted_ms < LONG_MS => return Tick::GoOn,
            None => self.state.register(ctx),
        };
        let threshold = ctx.config.busy_reply_threshold;
        if threshold > 0 && lasted_ms >= threshold && !run.is_busy.swap(true, Relaxed) {
            let (name, kill) = (run.name.escape_ascii(), if run.is_function { "FUNCTION KILL" } else { "SCRIPT KILL" });
            crate::log::warning!(
                "Slow script detected: still in execution after {lasted_ms} milliseconds. You can try killing the script using the {kill} command. Script name is: {name}."
            );
        }
        if run.killed() == Kill::Asked {
            crate::log::warning!("Lua script killed by user with SCRIPT KILL.");
            return Tick::Kill(KILLED);
        }
        if ctx.may_leave() { Tick::Suspend } else { Tick::GoOn }
    }
}

/// Most scripts touch no more stripes.
const STRIPES_INLINE: usize = 8;
/// The digest that names a script, and most names of functions.
const NAME_INLINE: usize = 40;
/// A script that lasts longer leaves its worker, if it can.
const LONG_MS: u64 = 5;
const KILLED: &str = "ERR Script killed by user with SCRIPT KILL...";
const ENDING: &str = "ERR The server is shutting down";
const NOT_ALLOWED: Error = Error::new("ERR This Redis command is not allowed from script");
const UNKNOWN: Error = Error::new("ERR Unknown Redis command called from script");
const WRONG_ARITY: Error = Error::new("ERR Wrong number of args calling Redis command from script");
const WRITES: Error = Error::new("ERR Write commands are not allowed from read-only scripts.");
pub const OUT_OF_MEMORY: Error = Error::new("OOM command not allowed when used memory > 'maxmemory'.");
