//! EVAL, EVALSHA, FCALL and their read-only twins.
//!
//! A worker runs scripts in states of its own, so that scripts on different keys run at once. What is run is found first
//! (and compiled, if this worker never did), then run as one unit with the keys that it declares.

use super::host::{OUT_OF_MEMORY, Running, State};
use crate::command::error::NOT_INT;
use crate::command::scripts::{Anew, Leaving};
use crate::command::slots::{ScriptSlots, Slots};
use crate::command::*;
use crate::num;
use crate::script::cache::{self, Script, Sha};
use crate::script::functions::{Library, Loader};
use crate::script::library::NO_STATE;
use crate::script::local::{Evals, Functions};
use crate::script::text::{ALLOW_CROSS_SLOT_KEYS, ALLOW_OOM, ALLOW_STALE, Flags, NO_CLUSTER, NO_WRITES, UNDECLARED};
use crate::script::{Compiled, Engine, Ran, Start, hex_digest};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

const KEYS: Keys = Keys::counted(2, keys::RW | keys::ACCESS | keys::UPDATE);
const KEYS_READ: Keys = Keys::counted(2, keys::RO | keys::ACCESS);
const RUNS: Flags64 = NOSCRIPT | SKIP_MONITOR | NO_MANDATORY_KEYS | STALE | MOVABLE_KEYS | RUNS_SCRIPT;
type Flags64 = crate::command::Flags;

pub const EVAL: Command = Command {
    name: "EVAL",
    args: "script numkeys [key ...] [arg ...]",
    arity: -3,
    since: "2.6.0",
    group: Group::Scripting,
    flags: RUNS | MAY_REPLICATE,
    keys: KEYS,
    doc: "Runs a Lua script as one atomic unit. Beside others if it touches only the keys it declares.",
    examples: "> EVAL \"return redis.call('INCRBY', KEYS[1], ARGV[1])\" 1 n 5\n(integer) 5",
    run: |ctx| eval(ctx, false),
};

pub const EVAL_RO: Command = Command {
    name: "EVAL_RO",
    args: "script numkeys [key ...] [arg ...]",
    arity: -3,
    since: "7.0.0",
    group: Group::Scripting,
    flags: RUNS | READONLY,
    keys: KEYS_READ,
    doc: "Runs a Lua script that may only read.",
    examples: "> SET k v\nOK\n> EVAL_RO \"return redis.call('GET', KEYS[1])\" 1 k\n\"v\"",
    run: |ctx| eval(ctx, true),
};

pub const EVALSHA: Command = Command {
    name: "EVALSHA",
    args: "sha1 numkeys [key ...] [arg ...]",
    arity: -3,
    since: "2.6.0",
    group: Group::Scripting,
    flags: RUNS | MAY_REPLICATE,
    keys: KEYS,
    doc: "Runs a cached Lua script, named by the SHA-1 of its text, as one atomic unit.",
    examples: "> SCRIPT LOAD \"return 1\"\n\"e0e1f9fabfc9d4800c877a703b823ac0578ff8db\"\n> EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0\n(integer) 1",
    run: |ctx| evalsha(ctx, false),
};

pub const EVALSHA_RO: Command = Command {
    name: "EVALSHA_RO",
    args: "sha1 numkeys [key ...] [arg ...]",
    arity: -3,
    since: "7.0.0",
    group: Group::Scripting,
    flags: RUNS | READONLY,
    keys: KEYS_READ,
    doc: "Runs a cached Lua script that may only read.",
    examples: "> SCRIPT LOAD \"return 1\"\n\"e0e1f9fabfc9d4800c877a703b823ac0578ff8db\"\n> EVALSHA_RO e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0\n(integer) 1",
    run: |ctx| evalsha(ctx, true),
};

pub const FCALL: Command = Command {
    name: "FCALL",
    args: "function numkeys [key ...] [arg ...]",
    arity: -3,
    since: "7.0.0",
    group: Group::Scripting,
    flags: RUNS | MAY_REPLICATE,
    keys: KEYS,
    doc: "Runs a function of a loaded library as one atomic unit.",
    examples: "> FUNCTION LOAD \"#!lua name=lib\\nredis.register_function('f', function(keys, args) return args[1] end)\"\n\"lib\"\n> FCALL f 0 hello\n\"hello\"",
    run: |ctx| fcall(ctx, false),
};

pub const FCALL_RO: Command = Command {
    name: "FCALL_RO",
    args: "function numkeys [key ...] [arg ...]",
    arity: -3,
    since: "7.0.0",
    group: Group::Scripting,
    flags: RUNS | READONLY,
    keys: KEYS_READ,
    doc: "Runs a function that is flagged as one that only reads.",
    examples: "> FUNCTION LOAD \"#!lua name=lib\\nredis.register_function{function_name='f', callback=function(keys, args) return 1 end, flags={'no-writes'}}\"\n\"lib\"\n> FCALL_RO f 0\n(integer) 1",
    run: |ctx| fcall(ctx, true),
};

fn eval(ctx: &mut Ctx<'_, '_>, read_only: bool) -> Outcome {
    ctx.show_first();
    let keys = key_count(ctx, NOT_INT)?;
    run_eval(ctx, hex_digest(ctx.args.get(1)), true, keys, read_only)
}

fn evalsha(ctx: &mut Ctx<'_, '_>, read_only: bool) -> Outcome {
    ctx.show_first();
    let sha = cache::lower(ctx.args.get(1)).ok_or(NO_SCRIPT)?;
    let keys = key_count(ctx, NOT_INT)?;
    run_eval(ctx, sha, false, keys, read_only)
}

/// How many arguments are keys.
fn key_count(ctx: &Ctx<'_, '_>, not_a_number: Error) -> Result<usize, Error> {
    let count = num::parse_i64(ctx.args.get(2)).ok_or(not_a_number)?;
    if count > ctx.args.len() as i64 - 3 {
        return Err(Error::new("ERR Number of keys can't be greater than number of args"));
    }
    usize::try_from(count).map_err(|_| Error::new("ERR Number of keys can't be negative"))
}

fn run_eval(ctx: &mut Ctx<'_, '_>, sha: Sha, has_text: bool, keys: usize, read_only: bool) -> Outcome {
    let scripts = &ctx.node.scripts;
    let mut evals = Evals::take(scripts).ok_or_else(no_state)?;
    if evals.ready(&sha).is_none() {
        let found = match scripts.find(&sha) {
            Some(script) => evals.compile(&script, &mut Loader::new(None)),
            None if has_text => compile_new(ctx, &mut evals, sha, false).map(drop),
            None => {
                evals.give_back();
                return Err(NO_SCRIPT);
            }
        };
        if let Err(text) = found {
            evals.give_back();
            return Err(compile_error(&text));
        }
    }
    let Some((engine, script, function)) = evals.ready(&sha) else {
        evals.give_back();
        return Err(NO_SCRIPT);
    };
    scripts.note_use(script);
    let flags = script.flags;
    let ran = judge(ctx, flags, read_only).map(|()| run(ctx, engine, function, &sha, keys, flags, read_only));
    match ran {
        Ok((Ran::Suspended, state)) => {
            ctx.leave(Box::new(Left { local: Local::Evals(evals), sha: Some(sha), library: None, state }));
            Ok(())
        }
        Ok((ran, state)) => {
            let anew = state.end(ctx);
            if anew == Some(Anew::World) {
                remember(ctx, Some(&sha), None);
            }
            let outcome = finish(ctx, &evals.engine, ran, anew);
            evals.give_back();
            outcome
        }
        Err(error) => {
            evals.give_back();
            Err(error)
        }
    }
}

/// A script that needs the world owns it from its start from now on.
#[cold]
fn remember(ctx: &Ctx<'_, '_>, sha: Option<&Sha>, library: Option<&Library>) {
    let scripts = &ctx.node.scripts;
    if let Some(script) = sha.and_then(|sha| scripts.find(sha)) {
        script.needs_world.store(true, Relaxed);
    }
    library.into_iter().for_each(|library| library.needs_world.store(true, Relaxed));
    scripts.any_needs_world.store(true, Relaxed);
}

/// A script that leaves its worker, with the state that it runs in; the worker makes another.
struct Left {
    local: Local,
    sha: Option<Sha>,
    library: Option<Arc<Library>>,
    state: State,
}

enum Local {
    Evals(Evals),
    Functions(Functions),
}

impl Leaving for Left {
    fn go_on(self: Box<Self>, ctx: &mut Ctx<'_, '_>) -> Outcome {
        let Self { mut local, sha, library, state } = *self;
        ctx.propagate_nothing();
        let engine = match &mut local {
            Local::Evals(evals) => &mut evals.engine,
            Local::Functions(functions) => &mut functions.engine,
        };
        let mut running = Running { ctx, state };
        let mut ran = engine.resume(&mut running);
        while ran == Ran::Suspended {
            ran = engine.resume(&mut running);
        }
        let anew = running.state.end(ctx);
        if anew == Some(Anew::World) {
            remember(ctx, sha.as_ref(), library.as_deref());
        }
        finish(ctx, engine, ran, anew)
    }
}

/// Compiles a text that is not in the cache, and puts it there.
pub fn compile_new(ctx: &Ctx<'_, '_>, evals: &mut Evals, sha: Sha, loaded: bool) -> Result<(), Vec<u8>> {
    let text = if loaded { ctx.args.get(2) } else { ctx.args.get(1) };
    let script: Script = cache::script(text, sha)?;
    let compiled = evals
        .try_compile(script.code(), &mut Loader::new(None))
        .map_err(|text| [b"ERR Error compiling script (new function): ", &text[..]].concat())?;
    let script = ctx.node.scripts.add(script, loaded);
    evals.keep(&script, compiled);
    Ok(())
}

/// An error about a script's text, as the client hears it.
pub fn compile_error(text: &[u8]) -> Error {
    Error::owned(text)
}

pub fn no_state() -> Error {
    Error::owned(NO_STATE)
}

fn fcall(ctx: &mut Ctx<'_, '_>, read_only: bool) -> Outcome {
    ctx.show_first();
    let scripts = &ctx.node.scripts;
    let set = scripts.libraries.current();
    let name = ctx.args.get(1);
    let (library, i) = set.find(name).ok_or(Error::new("ERR Function not found"))?;
    let keys = key_count(ctx, Error::new("ERR Bad number of keys provided"))?;
    let flags = library.functions[i].flags;
    judge(ctx, flags, read_only)?;
    let mut functions = Functions::take(scripts).ok_or_else(no_state)?;
    let function = match functions.ready(scripts, library, i) {
        Ok(function) => function,
        Err(text) => {
            functions.give_back();
            return Err(Error::owned(text));
        }
    };
    let (ran, state) = run(ctx, &mut functions.engine, function, name, keys, flags, read_only);
    if ran == Ran::Suspended {
        let (local, library) = (Local::Functions(functions), Some(library.clone()));
        ctx.leave(Box::new(Left { local, sha: None, library, state }));
        return Ok(());
    }
    let anew = state.end(ctx);
    if anew == Some(Anew::World) {
        remember(ctx, None, Some(library));
    }
    let outcome = finish(ctx, &functions.engine, ran, anew);
    functions.give_back();
    outcome
}

/// Whether a script that declares what it does may run now. One that declares nothing is judged command by command.
fn judge(ctx: &Ctx<'_, '_>, flags: Flags, read_only: bool) -> Outcome {
    if ctx.session.is_replayed() {
        return Ok(());
    }
    let replication = &ctx.node.replication;
    let is_stale = replication.is_stale() && !ctx.config.replica_serve_stale_data;
    if flags & UNDECLARED != 0 {
        return if is_stale { Err(error::PRIMARY_IS_DOWN) } else { Ok(()) };
    }
    if ctx.config.cluster_enabled && flags & NO_CLUSTER != 0 {
        return Err(NOT_IN_CLUSTER);
    }
    if is_stale && flags & ALLOW_STALE == 0 {
        return Err(error::PRIMARY_IS_DOWN);
    }
    if flags & NO_WRITES == 0 {
        if let Some(write) = ctx.registry.find(b"SET") {
            ctx.gate_called(write, ctx.args.view(), ctx.session)?;
        }
        if read_only {
            return Err(Error::new("ERR Can not execute a script with write flag using *_ro command."));
        }
        if flags & ALLOW_OOM == 0 && ctx.is_out_of_memory() {
            return Err(OUT_OF_MEMORY);
        }
    }
    Ok(())
}

fn run(
    ctx: &mut Ctx<'_, '_>,
    engine: &mut Engine,
    function: Compiled,
    name: &[u8],
    keys: usize,
    flags: Flags,
    read_only: bool,
) -> (Ran, State) {
    // What a script did is told by its commands.
    ctx.propagate_nothing();
    let arguments: SmallVec<[&[u8]; ARGUMENTS_INLINE]> = ctx.args.from(3).collect();
    let (keys, arguments) = arguments.split_at(keys);
    let start = Start { function, name, keys, arguments, proto: ctx.session.proto };
    let declared = flags & UNDECLARED == 0;
    let read_only = read_only || declared && flags & NO_WRITES != 0;
    let is_function = ctx.row.command.name.starts_with("FCALL");
    let slots = slots_of(ctx, flags);
    let state = State::new(ctx, name, is_function, slots, read_only, declared && flags & ALLOW_OOM != 0);
    let mut running = Running { ctx, state };
    let ran = engine.start(&start, &mut running);
    (ran, running.state)
}

/// A script that declares nothing may go from slot to slot, as before scripts could declare anything.
fn slots_of(ctx: &Ctx<'_, '_>, flags: Flags) -> ScriptSlots {
    if !ctx.config.cluster_enabled || ctx.session.is_replayed() {
        return ScriptSlots::Any;
    }
    if flags & (UNDECLARED | ALLOW_CROSS_SLOT_KEYS) != 0 {
        return ScriptSlots::Each;
    }
    match Slots::of(ctx.row, ctx.args.view()) {
        Slots::One(slot) => ScriptSlots::One(Some(slot)),
        Slots::None | Slots::Several => ScriptSlots::One(None),
    }
}

/// The script's reply, or its error.
fn finish(ctx: &mut Ctx<'_, '_>, engine: &Engine, ran: Ran, anew: Option<Anew>) -> Outcome {
    if let Some(anew) = anew {
        ctx.begin_anew(anew);
        return Ok(());
    }
    match ran {
        Ran::Reply => ctx.out.buf.extend_from_slice(engine.output()),
        // The command that it comes from has been counted among the errors.
        Ran::Error { counted: true } => {
            ctx.stats.failed(ctx.row.id);
            ctx.out.error(engine.output());
        }
        Ran::Error { counted: false } => return Err(Error::owned(engine.output())),
        Ran::Abandoned | Ran::Suspended => return Err(Error::new("ERR the script was abandoned")),
    }
    Ok(())
}

const NOT_IN_CLUSTER: Error = Error::new("ERR Can not run script on cluster, 'no-cluster' flag is set.");
const NO_SCRIPT: Error = Error::new("NOSCRIPT No matching script. Please use EVAL.");
const ARGUMENTS_INLINE: usize = 16;
