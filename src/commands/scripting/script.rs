//! SCRIPT: the cache of scripts' texts.

use super::run::{compile_error, compile_new, no_state};
use crate::command::*;
use crate::script::local::Evals;
use crate::script::{hex_digest, local};

pub const SCRIPT: Command = Command {
    name: "SCRIPT",
    args: "",
    arity: -2,
    since: "2.6.0",
    group: Group::Scripting,
    flags: CONTAINER,
    keys: Keys::NONE,
    doc: "A container for commands on the cache of scripts.",
    examples: "",
    run: container,
};

pub const SCRIPT_DEBUG: Command = Command {
    name: "SCRIPT DEBUG",
    args: "YES | SYNC | NO",
    arity: 3,
    since: "3.2.0",
    group: Group::Scripting,
    flags: NOSCRIPT,
    keys: Keys::NONE,
    doc: "Turns debugging off, which it always is: there is no debugger here.",
    examples: "> SCRIPT DEBUG NO\nOK",
    run: |ctx| match &*ctx.args.word_at(2) {
        b"NO" => ctx.out.ok(),
        b"YES" | b"SYNC" => Err(Error::new("ERR the Lua debugger is not part of this server")),
        _ => Err(Error::new("ERR Use SCRIPT DEBUG YES/SYNC/NO")),
    },
};

pub const SCRIPT_EXISTS: Command = Command {
    name: "SCRIPT EXISTS",
    args: "sha1 [sha1 ...]",
    arity: -3,
    since: "2.6.0",
    group: Group::Scripting,
    flags: NOSCRIPT,
    keys: Keys::NONE,
    doc: "Whether each of the scripts is cached. O(1) a script.",
    examples: "> SCRIPT LOAD \"return 1\"\n\"e0e1f9fabfc9d4800c877a703b823ac0578ff8db\"\n> SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db ffff\n1) (integer) 1\n2) (integer) 0",
    run: |ctx| {
        let Ctx { args, out, node, .. } = ctx;
        out.array(args.len() - 2);
        args.from(2).for_each(|sha| out.0.int(i64::from(node.scripts.find(sha).is_some())));
        Ok(())
    },
};

pub const SCRIPT_FLUSH: Command = Command {
    name: "SCRIPT FLUSH",
    args: "[ASYNC | SYNC]@6.2.0",
    arity: -2,
    since: "2.6.0",
    group: Group::Scripting,
    flags: NOSCRIPT,
    keys: Keys::NONE,
    doc: "Forgets all scripts. Each worker's own state begins anew with its next script.",
    examples: "> SCRIPT FLUSH\nOK",
    run: |ctx| {
        let mode = ctx.args.word_at(2);
        if ctx.args.len() > 3 || ctx.args.len() == 3 && !matches!(&*mode, b"SYNC" | b"ASYNC") {
            return Err(Error::new("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
        }
        ctx.node.scripts.flush();
        local::tidy(&ctx.node.scripts);
        ctx.out.ok()
    },
};

pub const SCRIPT_HELP: Command = Command {
    name: "SCRIPT HELP",
    args: "",
    arity: 2,
    since: "5.0.0",
    group: Group::Scripting,
    flags: LOADING | STALE,
    keys: Keys::NONE,
    doc: "Lists the subcommands.",
    examples: "> SCRIPT HELP too many\n(error) ERR wrong number of arguments for 'script|help' command",
    run: |ctx| {
        ctx.out.help(
            "SCRIPT",
            &[
                "DEBUG (YES|SYNC|NO)",
                "    Set the debug mode for subsequent scripts executed.",
                "EXISTS <sha1> [<sha1> ...]",
                "    Return information about the existence of the scripts in the script cache.",
                "FLUSH [ASYNC|SYNC]",
                "    Flush the Lua scripts cache. Very dangerous on replicas.",
                "    When called without the optional mode argument, the behavior is determined by the",
                "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
                "    * ASYNC: Asynchronously flush the scripts cache.",
                "    * SYNC: Synchronously flush the scripts cache.",
                "KILL",
                "    Kill the currently executing Lua script.",
                "LOAD <script>",
                "    Load a script into the scripts cache without executing it.",
            ],
        )
    },
};

pub const SCRIPT_KILL: Command = Command {
    name: "SCRIPT KILL",
    args: "",
    arity: 2,
    since: "2.6.0",
    group: Group::Scripting,
    flags: NOSCRIPT | ALLOW_BUSY,
    keys: Keys::NONE,
    doc: "Ends scripts that have run longer than `busy-reply-threshold`, unless they have written.",
    examples: "> SCRIPT KILL\n(error) NOTBUSY No scripts in execution right now.",
    run: |ctx| super::kill(ctx, false),
};

pub const SCRIPT_LOAD: Command = Command {
    name: "SCRIPT LOAD",
    args: "script",
    arity: 3,
    since: "2.6.0",
    group: Group::Scripting,
    flags: NOSCRIPT | STALE,
    keys: Keys::NONE,
    doc: "Compiles a script and keeps it for EVALSHA. Answers its SHA-1.",
    examples: "> SCRIPT LOAD \"return 1\"\n\"e0e1f9fabfc9d4800c877a703b823ac0578ff8db\"",
    run: |ctx| {
        let (text, scripts) = (ctx.args.get(2), &ctx.node.scripts);
        let sha = hex_digest(text);
        if let Some(known) = scripts.find(&sha) {
            scripts.stay(&known);
            return ctx.out.bulk(&sha);
        }
        let mut evals = Evals::take(scripts).ok_or_else(no_state)?;
        let compiled = compile_new(ctx, &mut evals, sha, true);
        evals.give_back();
        compiled.map_err(|text| compile_error(&text))?;
        ctx.out.bulk(&sha)
    },
};

pub const SCRIPT_SHOW: Command = Command {
    name: "SCRIPT SHOW",
    args: "sha1",
    arity: 3,
    since: "8.0.0",
    group: Group::Scripting,
    flags: NOSCRIPT,
    keys: Keys::NONE,
    doc: "The text of a cached script (of Valkey).",
    examples: "> SCRIPT LOAD \"return 1\"\n\"e0e1f9fabfc9d4800c877a703b823ac0578ff8db\"\n> SCRIPT SHOW e0e1f9fabfc9d4800c877a703b823ac0578ff8db\n\"return 1\"",
    run: |ctx| match ctx.node.scripts.find(ctx.args.get(2)) {
        Some(script) => ctx.out.bulk(&script.text),
        None => Err(Error::new("NOSCRIPT No matching script. Please use EVAL.")),
    },
};
