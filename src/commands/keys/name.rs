//! A key under another name or in another database.

use crate::command::error::{DB_INDEX, NO_SUCH_KEY, SYNTAX};
use crate::command::*;
use crate::num;

pub const COPY: Command = Command {
    name: "COPY",
    args: "source destination [DB destination-db] [REPLACE]",
    arity: -3,
    since: "6.2.0",
    group: Group::Generic,
    flags: WRITE | DENYOOM,
    keys: Keys::one(1, keys::RO | keys::ACCESS).and(Keys::one(2, keys::OW | keys::UPDATE)),
    doc: "Copies a value and its expiry to another key. O(N) in the value's size.",
    examples: "> SET a 1\nOK\n> COPY a b\n(integer) 1\n> COPY a b\n(integer) 0\n> GET b\n\"1\"",
    run: copy,
};

fn copy(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let (from, to) = (args.key(1), args.key(2));
    let (here, mut there, mut replace) = (db.index(), db.index(), false);
    args.skip_to(3);
    while let Some(word) = args.word() {
        match &*word {
            b"REPLACE" => replace = true,
            b"DB" => there = database(args.required()?, db.keyspace().databases())?,
            _ => return Err(SYNTAX),
        }
    }
    if config.cluster_enabled && there != 0 {
        return Err(Error::new("ERR Copying to another database is not allowed in cluster mode"));
    }
    if here == there && from == to {
        return Err(SAME_OBJECT);
    }
    if db.peek(from).is_none() {
        return out.int(0);
    }
    db.select(there);
    let taken = db.kind(to).is_some();
    db.select(here);
    let copied = (replace || !taken) && db.copy_to(from, there, to, "copy_to");
    out.int(i64::from(copied))
}

pub const MOVE: Command = Command {
    name: "MOVE",
    args: "key db",
    arity: 3,
    since: "1.0.0",
    group: Group::Generic,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::UPDATE),
    doc: "Moves a key to another database unless it exists there. O(1).",
    examples: "> SET a 1\nOK\n> MOVE a 1\n(integer) 1\n> EXISTS a\n(integer) 0",
    run: move_key,
};

fn move_key(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if ctx.config.cluster_enabled {
        return Err(Error::new("ERR MOVE is not allowed in cluster mode"));
    }
    let Ctx { args, db, out, .. } = ctx;
    let (key, here) = (args.key(1), db.index());
    let there = database(args.get(2), db.keyspace().databases())?;
    if here == there {
        return Err(SAME_OBJECT);
    }
    db.select(there);
    let taken = db.kind(key).is_some();
    db.select(here);
    let moved = !taken && db.move_to(key, there, key, ("move_from", "move_to"));
    out.int(i64::from(moved))
}

/// A database's number as COPY and MOVE read it.
fn database(text: &[u8], databases: usize) -> Result<usize, Error> {
    let number = num::parse_i64(text).ok_or(error::NOT_INT)?;
    let number = i32::try_from(number).map_err(|_| NOT_AN_INT32)?;
    usize::try_from(number).ok().filter(|&db| db < databases).ok_or(DB_INDEX)
}

pub const RENAME: Command = Command {
    name: "RENAME",
    args: "key newkey",
    arity: 3,
    since: "1.0.0",
    group: Group::Generic,
    flags: WRITE,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::DELETE).and(Keys::one(2, keys::OW | keys::UPDATE)),
    doc: "Gives a key another name, replacing what has it. O(1).",
    examples: "> SET a 1\nOK\n> RENAME a b\nOK\n> GET b\n\"1\"\n> RENAME a b\n(error) ERR no such key",
    run: rename,
};

fn rename(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let (from, to) = (args.key(1), args.key(2));
    if from == to {
        return if db.kind(from).is_some() { out.ok() } else { Err(NO_SUCH_KEY) };
    }
    if db.move_to(from, db.index(), to, RENAMED) { out.ok() } else { Err(NO_SUCH_KEY) }
}

pub const RENAMENX: Command = Command {
    name: "RENAMENX",
    args: "key newkey",
    arity: 3,
    since: "1.0.0",
    group: Group::Generic,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::DELETE).and(Keys::one(2, keys::OW | keys::INSERT)),
    doc: "Gives a key another name that is free. O(1).",
    examples: "> MSET a 1 b 2\nOK\n> RENAMENX a b\n(integer) 0\n> RENAMENX a c\n(integer) 1",
    run: renamenx,
};

fn renamenx(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let (from, to) = (args.key(1), args.key(2));
    if db.kind(from).is_none() {
        return Err(NO_SUCH_KEY);
    }
    let renamed = db.kind(to).is_none() && db.move_to(from, db.index(), to, RENAMED);
    out.int(i64::from(renamed))
}

const RENAMED: (&str, &str) = ("rename_from", "rename_to");
const SAME_OBJECT: Error = Error::new("ERR source and destination objects are the same");
const NOT_AN_INT32: Error = Error::new("ERR value is out of range, value must between -2147483648 and 2147483647");
