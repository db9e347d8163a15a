//! Several keys in one command; all are locked first, so they are read and written in one instant.

use super::options::{Ttl, When};
use super::whole::set_until;
use crate::command::error::SYNTAX;
use crate::command::keys::{Begin, Find, Spec};
use crate::command::*;
use crate::keyspace::Expiry;

pub const MGET: Command = Command {
    name: "MGET",
    args: "key [key ...]",
    arity: -2,
    since: "1.0.0",
    group: Group::String,
    flags: READONLY | FAST,
    keys: Keys::range(1, -1, 1, keys::RO | keys::ACCESS),
    doc: "The strings stored at several keys; nil where there is none. O(1) a key.",
    examples: "> MSET a 1 b 2\nOK\n> MGET a missing b\n1) \"1\"\n2) (nil)\n3) \"2\"",
    run: mget,
};

fn mget(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    out.array(args.len() - 1);
    for key in args.from(1) {
        match db.stored(key) {
            Ok(Some(stored)) => out.stored(stored)?,
            _ => out.null()?,
        }
    }
    Ok(())
}

pub const MSET: Command = Command {
    name: "MSET",
    args: "key value [key value ...]",
    arity: -3,
    since: "1.0.1",
    group: Group::String,
    flags: WRITE | DENYOOM,
    keys: Keys::range(1, -1, 2, keys::OW | keys::UPDATE),
    doc: "Stores several strings at once. O(1) a key.",
    examples: "> MSET a 1 b 2\nOK\n> GET b\n\"2\"",
    run: mset,
};

fn mset(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if ctx.args.len().is_multiple_of(2) {
        return Err(error::wrong_arity("mset"));
    }
    ctx.args.pairs(1).for_each(|(key, value)| ctx.db.set_string(key, value, Expiry::Clear));
    ctx.out.ok()
}

pub const MSETEX: Command = Command {
    name: "MSETEX",
    args: "numkeys key value [key value ...] [NX | XX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
    arity: -4,
    since: "8.4.0",
    group: Group::String,
    flags: WRITE | DENYOOM | MOVABLE_KEYS,
    keys: Keys::spec(Spec {
        begin: Begin::Index(1),
        find: Find::Counted { at: 0, first: 1, step: 2 },
        flags: keys::OW | keys::UPDATE,
        notes: None,
    }),
    doc: "Stores several strings at once, all or none of them, with one expiry. O(1) a key.",
    examples: "> MSETEX 2 a 1 b 2 NX EX 100\n(integer) 1\n> TTL b\n(integer) 100\n> MSETEX 1 a 3 NX\n(integer) 0",
    run: msetex,
};

fn msetex(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let numkeys = args.int_in(1, 1..=i64::from(i32::MAX), INVALID_NUMKEYS).map_err(|_| INVALID_NUMKEYS)?;
    let numkeys = usize::try_from(numkeys).map_err(|_| INVALID_NUMKEYS)?;
    if numkeys > (args.len() - 2) / 2 {
        return Err(WRONG_PAIRS);
    }
    args.skip_to(2 + 2 * numkeys);
    let (mut when, mut ttl) = (When::Always, Ttl::Unsaid);
    while let Some(word) = args.word() {
        match &*word {
            b"NX" if when != When::Present => when = When::Absent,
            b"XX" if when != When::Absent => when = When::Present,
            b"PERSIST" => return Err(SYNTAX),
            word if ttl.accept(word, args)? => {}
            _ => return Err(SYNTAX),
        }
    }
    let at = ttl.at(db.now(), "msetex")?;
    let pairs = args.pairs(2).take(numkeys);
    for (key, _) in pairs.clone() {
        if !when.holds(db, key)? {
            return out.int(0);
        }
    }
    // Spelled out in commands that every server knows.
    for (key, value) in pairs {
        match at {
            Some(at) => set_until(ctx, key, value, at),
            None => {
                ctx.db.set_string(key, value, ttl.without_time());
                let keep: &[&[u8]] = if ttl == Ttl::Keep { &[b"KEEPTTL"] } else { &[] };
                ctx.propagate(&[&[b"SET", key, value], keep].concat());
            }
        }
    }
    ctx.out.int(1)
}

pub const MSETNX: Command = Command {
    name: "MSETNX",
    args: "key value [key value ...]",
    arity: -3,
    since: "1.0.1",
    group: Group::String,
    flags: WRITE | DENYOOM,
    keys: Keys::range(1, -1, 2, keys::OW | keys::INSERT),
    doc: "Stores several strings at once if none of the keys exists. O(1) a key.",
    examples: "> MSETNX a 1 b 2\n(integer) 1\n> MSETNX b 3 c 4\n(integer) 0\n> EXISTS c\n(integer) 0",
    run: msetnx,
};

fn msetnx(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    if args.len().is_multiple_of(2) {
        return Err(error::wrong_arity("msetnx"));
    }
    if args.pairs(1).any(|(key, _)| db.kind(key).is_some()) {
        return out.int(0);
    }
    args.pairs(1).for_each(|(key, value)| db.set_string(key, value, Expiry::Clear));
    out.int(1)
}

const INVALID_NUMKEYS: Error = Error::new("ERR invalid numkeys value");
const WRONG_PAIRS: Error = Error::new("ERR wrong number of key-value pairs");
