//! OBJECT: how a value is kept, and how it was used lately. Looking does not count as use.

use crate::command::*;
use crate::config::choices::MaxmemoryPolicy;
use crate::keyspace::access::idle_seconds;
use crate::keyspace::entry::{Body, EntryRef};

pub const OBJECT: Command = Command {
    name: "OBJECT",
    args: "",
    arity: -2,
    since: "2.2.3",
    group: Group::Generic,
    flags: CONTAINER,
    keys: Keys::NONE,
    doc: "How a value is kept.",
    examples: "> OBJECT nosuch\n(error) ERR unknown subcommand 'nosuch'. Try OBJECT HELP.",
    run: |_| Err(error::wrong_arity("object")),
};

pub const OBJECT_ENCODING: Command = Command {
    name: "OBJECT ENCODING",
    args: "key",
    arity: 3,
    since: "2.2.3",
    group: Group::Generic,
    flags: READONLY,
    keys: Keys::one(2, keys::RO),
    doc: "The name of a value's representation. O(1).",
    examples: "> MSET a 1 b x\nOK\n> OBJECT ENCODING a\n\"int\"\n> OBJECT ENCODING b\n\"embstr\"",
    run: encoding,
};

fn encoding(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    match db.peek(args.key(2)) {
        Some(entry) => out.bulk(config.shown_encoding(entry.kind(), entry.encoding()).as_bytes()),
        None => out.null(),
    }
}

pub const OBJECT_FREQ: Command = Command {
    name: "OBJECT FREQ",
    args: "key",
    arity: 3,
    since: "4.0.0",
    group: Group::Generic,
    flags: READONLY,
    keys: Keys::one(2, keys::RO),
    doc: "A key's logarithmic counter of uses, under an LFU policy. O(1).",
    examples: "> OBJECT FREQ missing\n(nil)",
    run: freq,
};

fn freq(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let Some(access) = db.peek(args.key(2)).map(EntryRef::access) else { return out.null() };
    let settings = &db.keyspace().settings;
    if !settings.is_lfu() {
        return Err(NOT_LFU);
    }
    out.int(i64::from(settings.lfu_decayed(access, db.now())))
}

pub const OBJECT_HELP: Command = Command {
    name: "OBJECT HELP",
    args: "",
    arity: 2,
    since: "6.2.0",
    group: Group::Generic,
    flags: LOADING | STALE,
    keys: Keys::NONE,
    doc: "The subcommands.",
    examples: "> OBJECT HELP too many\n(error) ERR wrong number of arguments for 'object|help' command",
    run: |ctx| ctx.out.help("OBJECT", HELP),
};

pub const OBJECT_IDLETIME: Command = Command {
    name: "OBJECT IDLETIME",
    args: "key",
    arity: 3,
    since: "2.2.3",
    group: Group::Generic,
    flags: READONLY,
    keys: Keys::one(2, keys::RO),
    doc: "Seconds since a key was used, unless an LFU policy counts in its place. O(1).",
    examples: "> SET a 1\nOK\n> OBJECT IDLETIME a\n(integer) 0",
    run: idletime,
};

fn idletime(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let Some(access) = db.peek(args.key(2)).map(EntryRef::access) else { return out.null() };
    if db.keyspace().settings.is_lfu() {
        return Err(LFU);
    }
    out.count(usize::try_from(idle_seconds(access, db.now())).unwrap_or(usize::MAX))
}

pub const OBJECT_REFCOUNT: Command = Command {
    name: "OBJECT REFCOUNT",
    args: "key",
    arity: 3,
    since: "2.2.3",
    group: Group::Generic,
    flags: READONLY,
    keys: Keys::one(2, keys::RO),
    doc: "How many keys share a value: one, or for the small integers that Redis keeps once for all keys its mark for that. O(1).",
    examples: "> MSET a value b 9999\nOK\n> OBJECT REFCOUNT a\n(integer) 1\n> OBJECT REFCOUNT b\n(integer) 2147483647",
    run: refcount,
};

fn refcount(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let Some(entry) = db.peek(args.key(2)) else { return out.null() };
    let small = matches!(entry.body(), Body::Int(n) if (0..SHARED_INTEGERS).contains(&n));
    let shared = small && (config.maxmemory == 0 || !ranks_by_access(config.maxmemory_policy));
    out.int(if shared { SHARED_REFCOUNT } else { 1 })
}

/// A policy that needs every key's own access clock; Redis then shares no integers.
fn ranks_by_access(policy: MaxmemoryPolicy) -> bool {
    use MaxmemoryPolicy::*;
    matches!(policy, AllkeysLru | VolatileLru | AllkeysLfu | VolatileLfu | AllkeysLrm | VolatileLrm)
}

const HELP: &[&str] = &[
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
];
/// Redis's OBJ_SHARED_INTEGERS.
const SHARED_INTEGERS: i64 = 10_000;
/// What Redis answers for them.
const SHARED_REFCOUNT: i64 = i32::MAX as i64;
const NOT_LFU: Error = Error::new(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
);
const LFU: Error = Error::new(
    "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
);
