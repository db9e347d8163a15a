//! Persistence on demand: snapshots and the log's rewriting.

use crate::command::*;
use crate::persist::save;
use crate::persist::walks::{Asked, Job};

pub const COMMANDS: &[Command] = &[BGREWRITEAOF, BGSAVE, LASTSAVE, SAVE];

const BGREWRITEAOF: Command = Command {
    name: "BGREWRITEAOF",
    args: "",
    arity: 1,
    since: "1.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | NO_ASYNC_LOADING,
    keys: Keys::NONE,
    doc: "Writes a new base of the append-only log from one instant of the data, in the background and without fork.",
    examples: "> BGREWRITEAOF\nBackground append only file rewriting started",
    run: bgrewriteaof,
};

fn bgrewriteaof(ctx: &mut Ctx<'_, '_>) -> Outcome {
    // One walk at a time: the rewrite begins when the save is over.
    match ctx.node.walks.ask(Job::Rewrite, true, ctx.is_in_exec()) {
        Asked::Started => ctx.out.simple("Background append only file rewriting started"),
        Asked::Scheduled => ctx.out.simple("Background append only file rewriting scheduled"),
        Asked::Busy(_) => Err(Error::new("ERR Background append only file rewriting already in progress")),
    }
}

const BGSAVE: Command = Command {
    name: "BGSAVE",
    args: "[SCHEDULE@3.2.2]",
    arity: -1,
    since: "1.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | NO_ASYNC_LOADING,
    keys: Keys::NONE,
    doc: "Writes a snapshot of one instant of the data to disk, in the background and without fork.",
    examples: "> BGSAVE now\n(error) ERR syntax error\n> BGSAVE SCHEDULE now\n(error) ERR syntax error",
    run: bgsave,
};

fn bgsave(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let schedule = match (ctx.args.len(), &*ctx.args.word_at(1)) {
        (1, _) => false,
        (2, b"SCHEDULE") => true,
        _ => return Err(error::SYNTAX),
    };
    match ctx.node.walks.ask(Job::Save, schedule, ctx.is_in_exec()) {
        Asked::Started => ctx.out.simple("Background saving started"),
        Asked::Scheduled => ctx.out.simple("Background saving scheduled"),
        Asked::Busy(Job::Save | Job::Sync) => Err(SAVE_IN_PROGRESS),
        Asked::Busy(Job::Rewrite) => Err(REWRITE_IN_PROGRESS),
    }
}

const LASTSAVE: Command = Command {
    name: "LASTSAVE",
    args: "",
    arity: 1,
    since: "1.0.0",
    group: Group::Server,
    flags: LOADING | STALE | FAST | IN_ADMIN,
    keys: Keys::NONE,
    doc: "When the last snapshot was written, in Unix seconds; the time of start if there was none. O(1).",
    examples: "> LASTSAVE too many\n(error) ERR wrong number of arguments for 'lastsave' command",
    run: |ctx| ctx.out.int(ctx.node.last_save_ms() / 1000),
};

const SAVE: Command = Command {
    name: "SAVE",
    args: "",
    arity: 1,
    since: "1.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | NO_ASYNC_LOADING | NO_MULTI | WORLD,
    keys: Keys::NONE,
    doc: "Writes a snapshot of the data to disk while everybody waits; BGSAVE lets them go on. O(N) in all keys.",
    examples: "> SAVE now\n(error) ERR wrong number of arguments for 'save' command",
    run: |ctx| {
        if ctx.node.walks.is_running(Job::Save) {
            return Err(SAVE_IN_PROGRESS);
        }
        save_here(ctx)?;
        ctx.out.ok()
    },
};

/// Saves inside a unit that owns the world.
pub(super) fn save_here(ctx: &mut Ctx<'_, '_>) -> Outcome {
    // This unit's own changes are counted when it is over.
    let changes = ctx.node.observatory.counts().changes + ctx.db.changes.dirty;
    let libraries = ctx.node.scripts.libraries.current();
    save::save_now(ctx.db, &ctx.node.rdb, &libraries, ctx.config, (changes, ctx.node.journal.stream.history()))
        .map_err(|_| Error::new("ERR"))
}

const SAVE_IN_PROGRESS: Error = Error::new("ERR Background save already in progress");
const REWRITE_IN_PROGRESS: Error = Error::new(
    "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.",
);
