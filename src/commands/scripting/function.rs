//! FUNCTION: libraries of functions. What changes them owns the world, so that the log has their changes in order.

use crate::command::*;
use crate::glob;
use crate::persist::rdb::functions;
use crate::script::functions::{Described, LOAD_TIMEOUT_MS, Library, Policy};
use crate::script::{local, text};

pub const FUNCTION: Command = Command {
    name: "FUNCTION",
    args: "",
    arity: -2,
    since: "7.0.0",
    group: Group::Scripting,
    flags: CONTAINER,
    keys: Keys::NONE,
    doc: "A container for commands on libraries of functions.",
    examples: "",
    run: container,
};

pub const FUNCTION_DELETE: Command = Command {
    name: "FUNCTION DELETE",
    args: "library-name",
    arity: 3,
    since: "7.0.0",
    group: Group::Scripting,
    flags: NOSCRIPT | WRITE | WORLD,
    keys: Keys::NONE,
    doc: "Deletes a library and its functions.",
    examples: "> FUNCTION DELETE none\n(error) ERR Library not found",
    run: |ctx| {
        if !ctx.node.scripts.delete_library(ctx.args.get(2)) {
            return Err(Error::new("ERR Library not found"));
        }
        changed(ctx);
        ctx.out.ok()
    },
};

pub const FUNCTION_DUMP: Command = Command {
    name: "FUNCTION DUMP",
    args: "",
    arity: 2,
    since: "7.0.0",
    group: Group::Scripting,
    flags: NOSCRIPT,
    keys: Keys::NONE,
    doc: "All libraries as one payload for FUNCTION RESTORE.",
    examples: "> FUNCTION DUMP now\n(error) ERR wrong number of arguments for 'function|dump' command",
    run: |ctx| {
        let set = ctx.node.scripts.libraries.current();
        let texts = set.libraries().map(|library| &library.text[..]);
        let payload = functions::dump(texts, ctx.config.rdbcompression);
        ctx.out.bulk(&payload)
    },
};

pub const FUNCTION_FLUSH: Command = Command {
    name: "FUNCTION FLUSH",
    args: "[ASYNC | SYNC]",
    arity: -2,
    since: "7.0.0",
    group: Group::Scripting,
    flags: NOSCRIPT | WRITE | WORLD,
    keys: Keys::NONE,
    doc: "Deletes all libraries.",
    examples: "> FUNCTION FLUSH\nOK",
    run: |ctx| {
        if ctx.args.len() > 3 {
            return Err(error::subcommand_syntax("FUNCTION", ctx.args.get(1)));
        }
        if ctx.args.len() == 3 && !matches!(&*ctx.args.word_at(2), b"SYNC" | b"ASYNC") {
            return Err(Error::new("ERR FUNCTION FLUSH only supports SYNC|ASYNC option"));
        }
        ctx.node.scripts.flush_libraries();
        local::tidy(&ctx.node.scripts);
        changed(ctx);
        ctx.out.ok()
    },
};

pub const FUNCTION_HELP: Command = Command {
    name: "FUNCTION HELP",
    args: "",
    arity: 2,
    since: "7.0.0",
    group: Group::Scripting,
    flags: LOADING | STALE,
    keys: Keys::NONE,
    doc: "Lists the subcommands.",
    examples: "> FUNCTION HELP too many\n(error) ERR wrong number of arguments for 'function|help' command",
    run: |ctx| ctx.out.help("FUNCTION", HELP),
};

pub const FUNCTION_KILL: Command = Command {
    name: "FUNCTION KILL",
    args: "",
    arity: 2,
    since: "7.0.0",
    group: Group::Scripting,
    flags: NOSCRIPT | ALLOW_BUSY,
    keys: Keys::NONE,
    doc: "Ends functions that have run longer than `busy-reply-threshold`, unless they have written.",
    examples: "> FUNCTION KILL\n(error) NOTBUSY No scripts in execution right now.",
    run: |ctx| super::kill(ctx, true),
};

pub const FUNCTION_LIST: Command = Command {
    name: "FUNCTION LIST",
    args: "[LIBRARYNAME library-name-pattern] [WITHCODE]",
    arity: -2,
    since: "7.0.0",
    group: Group::Scripting,
    flags: NOSCRIPT,
    keys: Keys::NONE,
    doc: "The libraries and their functions.",
    examples: "> FUNCTION FLUSH\nOK\n> FUNCTION LIST\n(empty array)",
    run: list,
};

fn list(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (mut pattern, mut with_code) = (None, false);
    ctx.args.skip_to(2);
    while let Some(arg) = ctx.args.shift() {
        if !with_code && arg.eq_ignore_ascii_case(b"WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && arg.eq_ignore_ascii_case(b"LIBRARYNAME") {
            let name = ctx.args.shift().ok_or(Error::new("ERR library name argument was not given"))?;
            pattern = Some(name);
        } else {
            return Err(Error::owned([b"ERR Unknown argument ", arg].concat()));
        }
    }
    let set = ctx.node.scripts.libraries.current();
    let matches = |library: &&std::sync::Arc<Library>| pattern.is_none_or(|p| glob::matches(p, &library.name, true));
    let hole = ctx.out.later();
    let mut count = 0;
    for library in set.libraries().filter(matches) {
        show(ctx, library, with_code);
        count += 1;
    }
    ctx.out.fill_array(hole, count)
}

fn show(ctx: &mut Ctx<'_, '_>, library: &Library, with_code: bool) {
    let out = &mut ctx.out.0;
    out.map(if with_code { 4 } else { 3 });
    out.bulk(b"library_name");
    out.bulk(&library.name);
    out.bulk(b"engine");
    out.bulk(b"LUA");
    out.bulk(b"functions");
    out.array(library.functions.len());
    for Described { name, description, flags } in &library.functions {
        out.map(3);
        out.bulk(b"name");
        out.bulk(name);
        out.bulk(b"description");
        match description {
            Some(text) => out.bulk(text),
            None => out.null(),
        }
        out.bulk(b"flags");
        let shown = text::NAMES.iter().filter(|(flag, _)| flags & flag != 0);
        out.set(shown.clone().count());
        shown.for_each(|(_, name)| out.simple(name));
    }
    if with_code {
        out.bulk(b"library_code");
        out.bulk(&library.text);
    }
}

pub const FUNCTION_LOAD: Command = Command {
    name: "FUNCTION LOAD",
    args: "[REPLACE] function-code",
    arity: -3,
    since: "7.0.0",
    group: Group::Scripting,
    flags: NOSCRIPT | WRITE | DENYOOM | WORLD,
    keys: Keys::NONE,
    doc: "Loads a library: its code runs, for half a second at most, and registers its functions.",
    examples: "> FUNCTION LOAD \"#!lua name=lib\\nredis.register_function('f', function(keys, args) return 1 end)\"\n\"lib\"\n> FCALL f 0\n(integer) 1",
    run: |ctx| {
        let (mut replace, last) = (false, ctx.args.len() - 1);
        for arg in ctx.args.from(2).take(last - 2) {
            if !arg.eq_ignore_ascii_case(b"REPLACE") {
                return Err(Error::owned([b"ERR Unknown option given: ", arg].concat()));
            }
            replace = true;
        }
        let timeout = timeout(ctx);
        let name = ctx.node.scripts.load_library(ctx.args.get(last), replace, timeout).map_err(Error::owned)?;
        changed(ctx);
        ctx.out.bulk(&name)
    },
};

pub const FUNCTION_RESTORE: Command = Command {
    name: "FUNCTION RESTORE",
    args: "serialized-value [FLUSH | APPEND | REPLACE]",
    arity: -3,
    since: "7.0.0",
    group: Group::Scripting,
    flags: NOSCRIPT | WRITE | DENYOOM | WORLD,
    keys: Keys::NONE,
    doc: "Loads the libraries of a payload, all or none.",
    examples: "> FUNCTION RESTORE x\n(error) ERR DUMP payload version or checksum are wrong",
    run: |ctx| {
        if ctx.args.len() > 4 {
            return Err(error::subcommand_syntax("FUNCTION", ctx.args.get(1)));
        }
        let policy = match &*ctx.args.word_at(3) {
            b"FLUSH" => Policy::Flush,
            b"REPLACE" => Policy::Replace,
            b"APPEND" => Policy::Append,
            _ if ctx.args.len() == 3 => Policy::Append,
            _ => {
                return Err(Error::new(
                    "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
                ));
            }
        };
        let texts = functions::restore(ctx.args.get(2), ctx.config).map_err(Error::new)?;
        let timeout = timeout(ctx);
        ctx.node.scripts.restore_libraries(&texts, policy, timeout).map_err(Error::owned)?;
        changed(ctx);
        ctx.out.ok()
    },
};

pub const FUNCTION_STATS: Command = Command {
    name: "FUNCTION STATS",
    args: "",
    arity: 2,
    since: "7.0.0",
    group: Group::Scripting,
    flags: NOSCRIPT | ALLOW_BUSY,
    keys: Keys::NONE,
    doc: "The function that has been running for long, and how many libraries and functions there are.",
    examples: "> FUNCTION FLUSH\nOK\n> FUNCTION STATS\n1) \"running_script\"\n2) (nil)\n3) \"engines\"\n4) 1) \"LUA\"\n   2) 1) \"libraries_count\"\n      2) (integer) 0\n      3) \"functions_count\"\n      4) (integer) 0",
    run: stats,
};

fn stats(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let scripts = &ctx.node.scripts;
    let running = scripts.runs.first();
    if running.as_ref().is_some_and(|run| !run.is_function) {
        return Err(scripts::BUSY_SCRIPT.clone());
    }
    let (out, set) = (&mut ctx.out.0, scripts.libraries.current());
    out.map(2);
    out.bulk(b"running_script");
    match running {
        None => out.null(),
        Some(run) => {
            out.map(3);
            out.bulk(b"name");
            out.bulk(&run.name);
            out.bulk(b"command");
            out.bulks(run.command.iter());
            out.bulk(b"duration_ms");
            let now_ms = crate::clock::ticks_to_ns(crate::clock::ticks()) / 1_000_000;
            out.int(now_ms.saturating_sub(run.began_ms) as i64);
        }
    }
    out.bulk(b"engines");
    out.map(1);
    out.bulk(b"LUA");
    out.map(2);
    out.bulk(b"libraries_count");
    out.int(set.libraries().len() as i64);
    out.bulk(b"functions_count");
    out.int(set.function_count() as i64);
    Ok(())
}

/// The log's libraries loaded in time when they were first loaded.
fn timeout(ctx: &Ctx<'_, '_>) -> Option<u64> {
    (!ctx.session.is_replayed()).then_some(LOAD_TIMEOUT_MS)
}

/// Counts as a change, so that the command goes to the log. A transaction does without it where 6.2 follows, which knows
/// no functions.
fn changed(ctx: &mut Ctx<'_, '_>) {
    ctx.db.changes.dirty += 1;
    if ctx.is_in_exec() {
        let view = ctx.args.view();
        ctx.propagate_newer(&view.iter().collect::<Vec<_>>());
    }
}

const HELP: &[&str] = &[
    "LOAD [REPLACE] <FUNCTION CODE>",
    "    Create a new library with the given library name and code.",
    "DELETE <LIBRARY NAME>",
    "    Delete the given library.",
    "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
    "    Return general information on all the libraries:",
    "    * Library name",
    "    * The engine used to run the Library",
    "    * Library description",
    "    * Functions list",
    "    * Library code (if WITHCODE is given)",
    "    It also possible to get only function that matches a pattern using LIBRARYNAME argument.",
    "STATS",
    "    Return information about the current function running:",
    "    * Function name",
    "    * Command used to run the function",
    "    * Duration in MS that the function is running",
    "    If no function is running, return nil",
    "    In addition, returns a list of available engines.",
    "KILL",
    "    Kill the current running function.",
    "FLUSH [ASYNC|SYNC]",
    "    Delete all the libraries.",
    "    When called without the optional mode argument, the behavior is determined by the",
    "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
    "    * ASYNC: Asynchronously flush the libraries.",
    "    * SYNC: Synchronously flush the libraries.",
    "DUMP",
    "    Return a serialized payload representing the current libraries, can be restored using FUNCTION RESTORE command",
    "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
    "    Restore the libraries represented by the given payload, it is possible to give a restore policy to",
    "    control how to handle existing libraries (default APPEND):",
    "    * FLUSH: delete all existing libraries.",
    "    * APPEND: appends the restored libraries to the existing libraries. On collision, abort.",
    "    * REPLACE: appends the restored libraries to the existing libraries, On collision, replace the old",
    "      libraries with the new libraries (notice that even on this option there is a chance of failure",
    "      in case of functions name collision with another library).",
];
