//! Strings.

use crate::command::*;
use crate::keyspace::Expiry;

pub const COMMANDS: &[Command] = &[GET, SET];

const GET: Command = Command {
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
    match db.string(args.key(1))? {
        Some(text) => out.text(text),
        None => out.null(),
    }
}

const SET: Command = Command {
    name: "SET",
    args: "key value",
    arity: -3,
    since: "1.0.0",
    group: Group::String,
    flags: WRITE | DENYOOM,
    keys: Keys::write(1),
    doc: "Stores a string at a key. O(1).",
    examples: "> SET k v\nOK",
    run: set,
};

fn set(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    db.set_string(args.key(1), args.get(2), Expiry::Clear);
    out.ok()
}
