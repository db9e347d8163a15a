//! Whole values: reading, replacing, removing, each with its conditions and expiry.

use super::options::{Ttl, Unit, When};
use crate::clock::Millis;
use crate::command::error::SYNTAX;
use crate::command::*;
use crate::keyspace::Expiry;
use crate::resp::ArgvView;
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

pub const DELEX: Command = Command {
    name: "DELEX",
    args: "key [IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest | IFDNE ifdne-digest]",
    arity: -2,
    since: "8.4.0",
    group: Group::String,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::DELETE | keys::VARIABLE),
    doc: "Removes a key, whatever it holds, or with a condition if its string, or the digest of it, is or is not a given one. Redis's form: the condition may be left out. O(1), O(N) for digests.",
    examples: "> SET k v\nOK\n> DELEX k IFEQ w\n(integer) 0\n> DELEX k IFEQ v\n(integer) 1",
    run: delex,
};

fn delex(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let key = args.key(1);
    if args.len() != 2 && args.len() != 4 {
        return Err(error::wrong_arity("delex"));
    }
    let Some(kind) = db.kind(key) else { return out.int(0) };
    if args.len() == 4 {
        if kind != crate::types::Kind::String {
            return Err(CONDITION_NEEDS_STRING);
        }
        let when = When::on_value(&args.word_at(2), args.get(3)).ok_or(INVALID_CONDITION)?;
        if !when.holds(db, key)? {
            return out.int(0);
        }
    }
    db.remove(key);
    let lazy = config.lazyfree_lazy_user_del;
    ctx.propagate_removal(key, lazy);
    ctx.out.int(1)
}

pub const DELIFEQ: Command = Command {
    name: "DELIFEQ",
    args: "key value",
    arity: 3,
    since: "9.0.0",
    group: Group::String,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RM | keys::DELETE),
    doc: "Removes a key if its string is this one: releases a lock that is still one's own. Valkey's older spelling of DELEX IFEQ. O(1).",
    examples: "> SET lock me\nOK\n> DELIFEQ lock you\n(integer) 0\n> DELIFEQ lock me\n(integer) 1\n> RPUSH l a\n(integer) 1\n> DELIFEQ l a\n(error) WRONGTYPE Operation against a key holding the wrong kind of value",
    run: delifeq,
};

fn delifeq(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let key = args.key(1);
    if !When::Value(args.get(2), true).holds(db, key)? {
        return out.int(0);
    }
    db.remove(key);
    let lazy = config.lazyfree_lazy_user_del;
    ctx.propagate_removal(key, lazy);
    ctx.out.int(1)
}

pub const DIGEST: Command = Command {
    name: "DIGEST",
    args: "key",
    arity: 2,
    since: "8.4.0",
    group: Group::String,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "The XXH3 digest of a string, in hexadecimal. O(N) in its length.",
    examples: "> SET k v\nOK\n> DIGEST missing\n(nil)",
    run: digest,
};

fn digest(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    match db.string(args.key(1))? {
        Some(text) => out.bulk(format!("{:016x}", xxh3_64(text.bytes(&mut itoa::Buffer::new()))).as_bytes()),
        None => out.null(),
    }
}

pub const GET: Command = Command {
    name: "GET",
    args: "key",
    arity: 2,
    since: "1.0.0",
    group: Group::String,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "The string stored at a key. O(1).",
    examples: "> SET k v\nOK\n> GET k\n\"v\"\n> GET missing\n(nil)",
    run: get,
};

fn get(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    match db.stored(args.key(1))? {
        Some(stored) => out.stored(stored),
        None => out.null(),
    }
}

pub const GETDEL: Command = Command {
    name: "GETDEL",
    args: "key",
    arity: 2,
    since: "6.2.0",
    group: Group::String,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::DELETE),
    doc: "The string stored at a key, which is then removed. O(1).",
    examples: "> SET k v\nOK\n> GETDEL k\n\"v\"\n> GETDEL k\n(nil)",
    run: getdel,
};

fn getdel(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let key = args.key(1);
    match db.stored(key)? {
        Some(stored) => out.stored(stored)?,
        None => return out.null(),
    }
    db.remove(key);
    let lazy = config.lazyfree_lazy_user_del;
    ctx.propagate_removal(key, lazy);
    Ok(())
}

pub const GETEX: Command = Command {
    name: "GETEX",
    args: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
    arity: -2,
    since: "6.2.0",
    group: Group::String,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::UPDATE).noted("RW and UPDATE because it changes the TTL"),
    doc: "The string stored at a key, whose expiry is set or cleared. O(1).",
    examples: "> SET k v\nOK\n> GETEX k EX 100\n\"v\"\n> TTL k\n(integer) 100\n> GETEX k PERSIST\n\"v\"\n> TTL k\n(integer) -1",
    run: getex,
};

fn getex(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let key = args.key(1);
    let mut ttl = Ttl::Unsaid;
    args.skip_to(2);
    while let Some(word) = args.word() {
        if *word == *b"KEEPTTL" || !ttl.accept(&word, args)? {
            return Err(SYNTAX);
        }
    }
    match db.stored(key)? {
        Some(stored) => out.stored(stored)?,
        None => return out.null(),
    }
    match ttl.at(db.now(), "getex")? {
        // The log's times are taken as they are.
        Some(at) if at <= db.now() && db.mode.removes_due() => {
            db.remove(key);
            let lazy = config.lazyfree_lazy_expire;
            ctx.propagate_removal(key, lazy);
        }
        Some(at) => {
            db.set_expiry(key, Some(at), "expire");
            ctx.propagate(&[b"PEXPIREAT", key, itoa::Buffer::new().format(at).as_bytes()]);
        }
        None if ttl == Ttl::Persist => {
            let expires = db.inspect(key).is_some_and(|entry| entry.expiry().is_some());
            if expires && db.set_expiry(key, None, "persist") {
                ctx.propagate(&[b"PERSIST", key]);
            }
        }
        None => {}
    }
    Ok(())
}

pub const GETSET: Command = Command {
    name: "GETSET",
    args: "key value",
    arity: 3,
    since: "1.0.0",
    group: Group::String,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::UPDATE),
    doc: "Stores a string and answers the one it replaces. O(1).",
    examples: "> GETSET k a\n(nil)\n> GETSET k b\n\"a\"",
    run: getset,
};

fn getset(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let (key, value) = (args.key(1), args.get(2));
    match db.stored(key)? {
        Some(stored) => out.stored(stored)?,
        None => out.null()?,
    }
    db.set_string(key, value, Expiry::Clear);
    ctx.propagate(&[b"SET", key, value]);
    Ok(())
}

pub const PSETEX: Command = Command {
    name: "PSETEX",
    args: "key milliseconds value",
    arity: 4,
    since: "2.6.0",
    group: Group::String,
    flags: WRITE | DENYOOM,
    keys: Keys::one(1, keys::OW | keys::UPDATE),
    doc: "Stores a string that expires after so many milliseconds. O(1).",
    examples: "> PSETEX k 100000 v\nOK\n> GET k\n\"v\"",
    run: psetex,
};

fn psetex(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let ttl = Ttl::Set(Unit::Millis, ctx.args.get(2));
    set_with_time(ctx, ttl, "psetex")
}

pub const SET: Command = Command {
    name: "SET",
    args: "key value [condition@2.6.12: NX | XX | IFEQ@8.4.0 ifeq-value | IFNE@8.4.0 ifne-value | IFDEQ@8.4.0 ifdeq-digest | IFDNE@8.4.0 ifdne-digest] [GET@6.2.0] [EX@2.6.12 seconds | PX@2.6.12 milliseconds | EXAT@6.2.0 unix-time-seconds | PXAT@6.2.0 unix-time-milliseconds | KEEPTTL@6.0.0]",
    arity: -3,
    since: "1.0.0",
    group: Group::String,
    flags: WRITE | DENYOOM,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::UPDATE | keys::VARIABLE)
        .noted("RW and ACCESS due to the optional `GET` argument")
        .flags_by(access),
    doc: "Stores a string at a key, on conditions and for a time if asked. O(1).",
    examples: "> SET k v\nOK\n> SET k w NX\n(nil)\n> SET k w GET EX 100\n\"v\"\n> TTL k\n(integer) 100",
    run: set,
};

fn set(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let (key, value) = (args.key(1), args.get(2));
    if args.len() == 3 {
        db.set_string(key, value, Expiry::Clear);
        return out.ok();
    }
    let options = SetOptions::read(args)?;
    let at = options.ttl.at(db.now(), "set")?;
    if options.get {
        match db.stored(key)? {
            Some(stored) => out.stored(stored)?,
            None => out.null()?,
        }
    }
    if !options.when.holds(db, key)? {
        return if options.get { Ok(()) } else { out.null() };
    }
    match at {
        Some(at) => set_until(ctx, key, value, at),
        None => {
            db.set_string(key, value, options.ttl.without_time());
            if options.get || matches!(options.when, When::Value(..) | When::Digest(..)) {
                propagate_plain(ctx);
            }
        }
    }
    if options.get { Ok(()) } else { ctx.out.ok() }
}

/// What SET does to its key: without GET and without a condition on the value it never looks at it.
fn access(argv: ArgvView<'_>) -> u16 {
    let looks =
        |word: &&[u8]| [&b"GET"[..], b"IFEQ", b"IFNE", b"IFDEQ", b"IFDNE"].iter().any(|w| word.eq_ignore_ascii_case(w));
    match argv.iter().skip(3).find(looks) {
        Some(_) => keys::RW | keys::ACCESS | keys::UPDATE,
        None => keys::OW | keys::UPDATE,
    }
}

struct SetOptions<'a> {
    when: When<'a>,
    ttl: Ttl<'a>,
    get: bool,
}

impl<'a> SetOptions<'a> {
    fn read(args: &mut Args<'a>) -> Result<Self, Error> {
        let mut options = Self { when: When::Always, ttl: Ttl::Unsaid, get: false };
        args.skip_to(3);
        while let Some(word) = args.word() {
            let when = match &*word {
                b"GET" => {
                    options.get = true;
                    continue;
                }
                b"NX" => When::Absent,
                b"XX" => When::Present,
                b"IFEQ" | b"IFNE" | b"IFDEQ" | b"IFDNE" => {
                    When::on_value(&word, args.required()?).expect("the word is one of the four")
                }
                b"PERSIST" => return Err(SYNTAX),
                word => match options.ttl.accept(word, args)? {
                    true => continue,
                    false => return Err(SYNTAX),
                },
            };
            // A word may be repeated, a condition on the value may not.
            let repeats = options.when == when && matches!(when, When::Absent | When::Present);
            if options.when != When::Always && !repeats {
                return Err(SYNTAX);
            }
            options.when = when;
        }
        Ok(options)
    }
}

/// Stores a string with an expiry. One whose time has passed is stored too, and then expires, as in Redis.
pub fn set_until(ctx: &mut Ctx<'_, '_>, key: &[u8], value: &[u8], at: Millis) {
    ctx.db.set_string(key, value, Expiry::At(at));
    ctx.db.notify(b'g', "expire", key);
    ctx.propagate(&[b"SET", key, value, b"PXAT", itoa::Buffer::new().format(at).as_bytes()]);
}

/// Propagates SET without GET, which has no effect, and without conditions that older servers do not know.
fn propagate_plain(ctx: &mut Ctx<'_, '_>) {
    let args = &mut ctx.args;
    let mut kept: SmallVec<[&[u8]; 8]> = args.from(0).take(3).collect();
    args.skip_to(3);
    while let Some(arg) = args.shift() {
        match &*args::Word::of(arg) {
            b"GET" => {}
            b"IFEQ" | b"IFNE" | b"IFDEQ" | b"IFDNE" => {
                args.shift();
            }
            _ => kept.push(arg),
        }
    }
    ctx.propagate(&kept);
}

pub const SETEX: Command = Command {
    name: "SETEX",
    args: "key seconds value",
    arity: 4,
    since: "2.0.0",
    group: Group::String,
    flags: WRITE | DENYOOM,
    keys: Keys::one(1, keys::OW | keys::UPDATE),
    doc: "Stores a string that expires after so many seconds. O(1).",
    examples: "> SETEX k 100 v\nOK\n> TTL k\n(integer) 100",
    run: setex,
};

fn setex(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let ttl = Ttl::Set(Unit::Seconds, ctx.args.get(2));
    set_with_time(ctx, ttl, "setex")
}

fn set_with_time(ctx: &mut Ctx<'_, '_>, ttl: Ttl<'_>, command: &str) -> Outcome {
    let (key, value) = (ctx.args.key(1), ctx.args.get(3));
    if let Some(at) = ttl.at(ctx.db.now(), command)? {
        set_until(ctx, key, value, at);
    }
    ctx.out.ok()
}

pub const SETNX: Command = Command {
    name: "SETNX",
    args: "key value",
    arity: 3,
    since: "1.0.0",
    group: Group::String,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::one(1, keys::OW | keys::INSERT),
    doc: "Stores a string if the key does not exist. O(1).",
    examples: "> SETNX k v\n(integer) 1\n> SETNX k w\n(integer) 0",
    run: setnx,
};

fn setnx(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let key = args.key(1);
    if db.kind(key).is_some() {
        return out.int(0);
    }
    db.set_string(key, args.get(2), Expiry::Clear);
    out.int(1)
}

const CONDITION_NEEDS_STRING: Error = Error::new("ERR Key should be of string type if conditions are specified");
const INVALID_CONDITION: Error = Error::new("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE");
