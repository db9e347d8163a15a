//! Reading hashes: single fields, several, all of them.

use crate::command::*;
use crate::types::hash::Hash;

pub const HEXISTS: Command = Command {
    name: "HEXISTS",
    args: "key field",
    arity: 3,
    since: "2.0.0",
    group: Group::Hash,
    flags: READONLY | FAST,
    keys: Keys::one(1, keys::RO),
    doc: "Whether a hash has a field. O(1).",
    examples: "> HSET h a 1\n(integer) 1\n> HEXISTS h a\n(integer) 1\n> HEXISTS h b\n(integer) 0",
    run: hexists,
};

fn hexists(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let found = db.read::<Hash>(args.key(1))?.is_some_and(|hash| hash.get(args.get(2)).is_some());
    out.int(i64::from(found))
}

pub const HGET: Command = Command {
    name: "HGET",
    args: "key field",
    arity: 3,
    since: "2.0.0",
    group: Group::Hash,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "The value of a field. O(1).",
    examples: "> HSET h a 1\n(integer) 1\n> HGET h a\n\"1\"\n> HGET h b\n(nil)",
    run: hget,
};

fn hget(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    match db.read::<Hash>(args.key(1))?.and_then(|hash| hash.get(args.get(2))) {
        Some(value) => out.text(value),
        None => out.null(),
    }
}

pub const HGETALL: Command = Command {
    name: "HGETALL",
    args: "key",
    arity: 2,
    since: "2.0.0",
    group: Group::Hash,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "All fields of a hash with their values. O(N) in their number.",
    examples: "> HSET h a 1 b 2\n(integer) 2\n> HGETALL h\n1) \"a\"\n2) \"1\"\n3) \"b\"\n4) \"2\"\n> HGETALL missing\n(empty array)",
    run: hgetall,
};

fn hgetall(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let Some(hash) = db.read::<Hash>(args.key(1))? else {
        out.map(0);
        return Ok(());
    };
    out.map(hash.len());
    hash.for_each(|field, value, _| {
        out.put(field);
        out.put(value);
    });
    Ok(())
}

pub const HKEYS: Command = Command {
    name: "HKEYS",
    args: "key",
    arity: 2,
    since: "2.0.0",
    group: Group::Hash,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "The names of all fields of a hash. O(N) in their number.",
    examples: "> HSET h a 1 b 2\n(integer) 2\n> HKEYS h\n1) \"a\"\n2) \"b\"",
    run: hkeys,
};

fn hkeys(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let Some(hash) = db.read::<Hash>(args.key(1))? else { return out.empty_array() };
    out.array(hash.len());
    hash.for_each(|field, _, _| out.put(field));
    Ok(())
}

pub const HLEN: Command = Command {
    name: "HLEN",
    args: "key",
    arity: 2,
    since: "2.0.0",
    group: Group::Hash,
    flags: READONLY | FAST,
    keys: Keys::one(1, keys::RO),
    doc: "The number of fields of a hash. O(1).",
    examples: "> HSET h a 1 b 2\n(integer) 2\n> HLEN h\n(integer) 2\n> HLEN missing\n(integer) 0",
    run: hlen,
};

fn hlen(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let len = db.read::<Hash>(args.key(1))?.map_or(0, Hash::len);
    out.count(len)
}

pub const HMGET: Command = Command {
    name: "HMGET",
    args: "key field [field ...]",
    arity: -3,
    since: "2.0.0",
    group: Group::Hash,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "The values of several fields; nil where there is none. O(N) in the fields asked for; a small hash is walked once.",
    examples: "> HSET h a 1 b 2\n(integer) 2\n> HMGET h b missing a\n1) \"2\"\n2) (nil)\n3) \"1\"",
    run: hmget,
};

fn hmget(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let (hash, wanted) = (db.read::<Hash>(args.key(1))?, args.from(2));
    out.array(wanted.len());
    match hash {
        Some(hash) => hash.get_all(wanted, |value| match value {
            Some(value) => out.put(value),
            None => out.0.null(),
        }),
        None => wanted.for_each(|_| out.0.null()),
    }
    Ok(())
}

pub const HSTRLEN: Command = Command {
    name: "HSTRLEN",
    args: "key field",
    arity: 3,
    since: "3.2.0",
    group: Group::Hash,
    flags: READONLY | FAST,
    keys: Keys::one(1, keys::RO),
    doc: "The length of a field's value in bytes. O(1).",
    examples: "> HSET h a hello\n(integer) 1\n> HSTRLEN h a\n(integer) 5\n> HSTRLEN h b\n(integer) 0",
    run: hstrlen,
};

fn hstrlen(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let len = db.read::<Hash>(args.key(1))?.and_then(|hash| hash.get(args.get(2))).map_or(0, |value| value.len());
    out.count(len)
}

pub const HVALS: Command = Command {
    name: "HVALS",
    args: "key",
    arity: 2,
    since: "2.0.0",
    group: Group::Hash,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "The values of all fields of a hash. O(N) in their number.",
    examples: "> HSET h a 1 b 2\n(integer) 2\n> HVALS h\n1) \"1\"\n2) \"2\"",
    run: hvals,
};

fn hvals(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let Some(hash) = db.read::<Hash>(args.key(1))? else { return out.empty_array() };
    out.array(hash.len());
    hash.for_each(|_, value, _| out.put(value));
    Ok(())
}
