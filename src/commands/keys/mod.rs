//! Keys of any type: existence, removal, names, expiry, walks over the keyspace, introspection.
//!
//! Big values are always freed off the serving path; the `lazyfree-lazy-*` settings decide only whether a removal is
//! propagated as DEL or UNLINK. Not here: whole databases.

mod dump;
mod expiry;
mod migrate;
mod name;
mod object;
mod walk;

use crate::command::*;

pub use migrate::Order;

pub const COMMANDS: &[Command] = &[
    name::COPY,
    DEL,
    dump::DUMP,
    EXISTS,
    expiry::EXPIRE,
    expiry::EXPIREAT,
    expiry::EXPIRETIME,
    walk::KEYS,
    MEXISTS,
    migrate::MIGRATE,
    name::MOVE,
    object::OBJECT,
    object::OBJECT_ENCODING,
    object::OBJECT_FREQ,
    object::OBJECT_HELP,
    object::OBJECT_IDLETIME,
    object::OBJECT_REFCOUNT,
    expiry::PERSIST,
    expiry::PEXPIRE,
    expiry::PEXPIREAT,
    expiry::PEXPIRETIME,
    expiry::PTTL,
    walk::RANDOMKEY,
    name::RENAME,
    name::RENAMENX,
    dump::RESTORE,
    dump::RESTORE_ASKING,
    walk::SCAN,
    TOUCH,
    expiry::TTL,
    TYPE,
    UNLINK,
];

const DEL: Command = Command {
    name: "DEL",
    args: "key [key ...]",
    arity: -2,
    since: "1.0.0",
    group: Group::Generic,
    flags: WRITE,
    keys: Keys::range(1, -1, 1, keys::RM | keys::DELETE),
    doc: "Removes keys; answers how many were there. O(1) a key; big values are freed in the background.",
    examples: "> SET a 1\nOK\n> DEL a b\n(integer) 1",
    run: del,
};

fn del(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let removed = ctx.args.from(1).filter(|key| ctx.db.remove(key)).count();
    ctx.out.count(removed)
}

const EXISTS: Command = Command {
    name: "EXISTS",
    args: "key [key ...]",
    arity: -2,
    since: "1.0.0",
    group: Group::Generic,
    flags: READONLY | FAST,
    keys: Keys::range(1, -1, 1, keys::RO),
    doc: "How many of the keys exist; one named twice counts twice. O(1) a key.",
    examples: "> SET a 1\nOK\n> EXISTS a b a\n(integer) 2",
    run: exists,
};

fn exists(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let found = ctx.args.from(1).filter(|key| ctx.db.exists(key)).count();
    ctx.out.count(found)
}

const MEXISTS: Command = Command {
    name: "MEXISTS",
    args: "key [key ...]",
    arity: -2,
    since: "0.2.0",
    group: Group::Generic,
    flags: READONLY | FAST,
    keys: Keys::range(1, -1, 1, keys::RO),
    doc: "Which of the keys exist: 1 or 0 for each. memkv's own command: one round trip for a client that would send EXISTS for every key. O(1) a key.",
    examples: "> SET a 1\nOK\n> MEXISTS a b a\n1) (integer) 1\n2) (integer) 0\n3) (integer) 1",
    run: mexists,
};

fn mexists(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    out.array(args.len() - 1);
    args.from(1).try_for_each(|key| out.int(i64::from(db.exists(key))))
}

const TOUCH: Command = Command {
    name: "TOUCH",
    args: "key [key ...]",
    arity: -2,
    since: "3.2.1",
    group: Group::Generic,
    flags: READONLY | FAST,
    keys: Keys::range(1, -1, 1, keys::RO),
    doc: "Marks keys as just used; answers how many exist. O(1) a key.",
    examples: "> SET a 1\nOK\n> TOUCH a b\n(integer) 1",
    run: touch,
};

fn touch(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let touched = ctx.args.from(1).filter(|key| ctx.db.touch(key)).count();
    ctx.out.count(touched)
}

const TYPE: Command = Command {
    name: "TYPE",
    args: "key",
    arity: 2,
    since: "1.0.0",
    group: Group::Generic,
    flags: READONLY | FAST,
    keys: Keys::one(1, keys::RO),
    doc: "What kind of value a key holds. O(1).",
    examples: "> SET a 1\nOK\n> TYPE a\nstring\n> TYPE b\nnone",
    run: kind,
};

fn kind(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    out.simple(db.peek(args.key(1)).map_or("none", |entry| entry.kind().name()))
}

const UNLINK: Command = Command {
    name: "UNLINK",
    args: "key [key ...]",
    arity: -2,
    since: "4.0.0",
    group: Group::Generic,
    flags: WRITE | FAST,
    keys: Keys::range(1, -1, 1, keys::RM | keys::DELETE),
    doc: "DEL by its lazy name; here both free big values in the background. O(1) a key.",
    examples: "> SET a 1\nOK\n> UNLINK a b\n(integer) 1",
    run: del,
};
