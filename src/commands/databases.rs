//! Whole databases: size, emptying, exchanging. What changes all keys at once owns the world while it does. The memory of
//! flushed keys is freed after that: in the background, or, with SYNC or `lazyfree-lazy-user-flush no`, before the reply.

use crate::command::error::{DB_INDEX, SYNTAX};
use crate::command::*;
use crate::keyspace::walk::Garbage;
use crate::persist::walks::Job;

pub const COMMANDS: &[Command] = &[DBSIZE, FLUSHALL, FLUSHDB, SWAPDB];

const DBSIZE: Command = Command {
    name: "DBSIZE",
    args: "",
    arity: 1,
    since: "1.0.0",
    group: Group::Server,
    flags: READONLY | FAST | IN_KEYSPACE | WALK,
    keys: Keys::NONE,
    doc: "How many keys the database has, at one instant. O(1) in their number.",
    examples: "> MSET a 1 b 2\nOK\n> DBSIZE\n(integer) 2",
    run: dbsize,
};

fn dbsize(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let keys = ctx.db.key_count();
    ctx.out.count(keys)
}

const FLUSHALL: Command = Command {
    name: "FLUSHALL",
    args: "[ASYNC@4.0.0 | SYNC@6.2.0]",
    arity: -1,
    since: "1.0.0",
    group: Group::Server,
    flags: WRITE | DANGEROUS | WORLD | IN_KEYSPACE,
    keys: Keys::NONE,
    doc: "Removes all keys of all databases. O(1) for the others; freeing is O(N), in the background or before the reply.",
    examples: "> SET a 1\nOK\n> FLUSHALL\nOK\n> DBSIZE\n(integer) 0",
    run: flushall,
};

fn flushall(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let databases = ctx.db.keyspace().databases();
    flush(ctx, 0..databases)?;
    ctx.node.walks.cancel(Job::Save);
    if !ctx.config.save.is_empty() {
        // A snapshot that still has everything would bring it back. A failure is in the log and in INFO.
        let _ = super::persistence::save_here(ctx);
    }
    Ok(())
}

const FLUSHDB: Command = Command {
    name: "FLUSHDB",
    args: "[ASYNC@4.0.0 | SYNC@6.2.0]",
    arity: -1,
    since: "1.0.0",
    group: Group::Server,
    flags: WRITE | DANGEROUS | WORLD | IN_KEYSPACE,
    keys: Keys::NONE,
    doc: "Removes all keys of the database. As FLUSHALL.",
    examples: "> SET a 1\nOK\n> FLUSHDB ASYNC\nOK\n> DBSIZE\n(integer) 0",
    run: flushdb,
};

fn flushdb(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let index = ctx.db.index();
    flush(ctx, index..index + 1)
}

fn flush(ctx: &mut Ctx<'_, '_>, databases: std::ops::Range<usize>) -> Outcome {
    let Ctx { args, db, out, node, config, .. } = ctx;
    let wait = match &*args.word_at(1) {
        _ if args.len() == 1 => !config.lazyfree_lazy_user_flush,
        b"SYNC" if args.len() == 2 => true,
        b"ASYNC" if args.len() == 2 => false,
        _ => return Err(SYNTAX),
    };
    let selected = db.index();
    for index in databases {
        db.select(index);
        let flushed = db.flush();
        if wait {
            db.changes.side_effects().flushed.extend(flushed);
        } else if !flushed.is_empty() {
            node.reaper.send(Garbage::Flushed(flushed));
        }
    }
    db.select(selected);
    out.ok()?;
    // Propagated even if there was nothing to remove, as in Redis.
    let said: Vec<&[u8]> = args.from(0).collect();
    ctx.propagate(&said);
    Ok(())
}

const SWAPDB: Command = Command {
    name: "SWAPDB",
    args: "index1 index2",
    arity: 3,
    since: "4.0.0",
    group: Group::Server,
    flags: WRITE | FAST | DANGEROUS | WORLD | IN_KEYSPACE,
    keys: Keys::NONE,
    doc: "Exchanges two databases; their clients see the other's keys from then on. O(1) a stripe.",
    examples: "> SET a 1\nOK\n> SWAPDB 0 1\nOK\n> DBSIZE\n(integer) 0",
    run: swapdb,
};

fn swapdb(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if ctx.config.cluster_enabled {
        return Err(Error::new("ERR SWAPDB is not allowed in cluster mode"));
    }
    let Ctx { args, db, out, .. } = ctx;
    let number = |i, error: Error| args.int_in(i, i64::from(i32::MIN)..=i64::from(i32::MAX), error);
    let (first, second) = (number(1, INVALID_FIRST)?, number(2, INVALID_SECOND)?);
    let databases = db.keyspace().databases();
    let index = |n| usize::try_from(n).ok().filter(|&n| n < databases).ok_or(DB_INDEX);
    let (first, second) = (index(first)?, index(second)?);
    if first != second {
        db.swap(first, second);
    }
    out.ok()
}

const INVALID_FIRST: Error = Error::new("ERR invalid first DB index");
const INVALID_SECOND: Error = Error::new("ERR invalid second DB index");
