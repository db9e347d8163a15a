//! XGROUP: groups and consumers made, set and removed.

use super::{claim, ids, told};
use crate::command::*;
use crate::types::Value;
use crate::types::stream::{self, Id, Stream};

pub const XGROUP: Command = Command {
    name: "XGROUP",
    args: "",
    arity: -2,
    since: "5.0.0",
    group: Group::Stream,
    flags: CONTAINER,
    keys: Keys::NONE,
    doc: "Groups of consumers that share a stream's entries.",
    examples: "> XGROUP nosuch\n(error) ERR unknown subcommand 'nosuch'. Try XGROUP HELP.",
    run: container,
};

pub const XGROUP_CREATE: Command = Command {
    name: "XGROUP CREATE",
    args: "key group <id-selector: id:string | new-id: $> [MKSTREAM] [ENTRIESREAD entriesread:integer=entries-read]",
    arity: -5,
    since: "5.0.0",
    group: Group::Stream,
    flags: WRITE | DENYOOM,
    keys: Keys::one(2, keys::RW | keys::INSERT),
    doc: "Makes a group that will be delivered what stands behind an id, `$` for the last one there is. O(1).",
    examples: "> XGROUP CREATE s g $ MKSTREAM\nOK\n> XGROUP CREATE s g $\n(error) BUSYGROUP Consumer Group name already exists",
    run: create,
};

/// The options behind the id.
struct Options {
    make: bool,
    read: Option<u64>,
}

fn options(args: &mut Args<'_>, may_make: bool) -> Result<Options, Error> {
    let mut options = Options { make: false, read: None };
    args.skip_to(5);
    while let Some(word) = args.word() {
        match &*word {
            b"MKSTREAM" if may_make => options.make = true,
            b"ENTRIESREAD" if !args.is_done() => {
                let read = args.required_int()?;
                if read < -1 {
                    return Err(BAD_READ);
                }
                options.read = u64::try_from(read).ok();
            }
            _ => return Err(error::subcommand_syntax("XGROUP", args.get(1))),
        }
    }
    Ok(options)
}

fn create(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let (key, name) = (args.key(2), args.get(3));
    let Options { make, read } = options(args, true)?;
    let (last, added, taken) = match db.look::<Stream>(key)? {
        Some(stream) => (stream.last_id(), stream.added(), stream.group(name).is_some()),
        None if make => (Id::ZERO, 0, false),
        None => return Err(NO_KEY),
    };
    let last = if args.get(4) == b"$" { last } else { ids::exact(args.get(4), 0)? };
    if taken {
        return Err(BUSY);
    }
    let (is_new, read) = (db.kind(key).is_none(), read.map(|read| read.min(added)));
    let mut stream = db.upsert::<Stream>(key)?;
    stream.create_group(name, stream::Group::new(last, read));
    if is_new {
        stream.changed("xgroup-create")
    } else {
        stream.changed_aside("xgroup-create", 1)
    }
    drop(stream);
    out.ok()?;
    propagate(ctx, make, last, read);
    Ok(())
}

/// Redis 6.2 refuses what says ENTRIESREAD, so that it is said in a command of its own.
fn propagate(ctx: &mut Ctx<'_, '_>, make: bool, last: Id, read: Option<u64>) {
    let view = ctx.args.view();
    let mut words: Vec<&[u8]> = view.iter().take(5).collect();
    if make {
        words.push(b"MKSTREAM");
    }
    if words.len() == view.len() {
        return;
    }
    ctx.propagate(&words);
    if read.is_some() {
        claim::propagate_read(ctx, words[2], words[3], last, read);
    }
}

pub const XGROUP_SETID: Command = Command {
    name: "XGROUP SETID",
    args: "key group <id-selector: id:string | new-id: $> [ENTRIESREAD entriesread:integer=entries-read]",
    arity: -5,
    flags: WRITE,
    keys: Keys::write(2),
    doc: "Sets the id behind which a group is delivered entries. O(1).",
    examples: "> XGROUP CREATE s g $ MKSTREAM\nOK\n> XGROUP SETID s g 5-1\nOK\n> XGROUP SETID s h 5-1\n(error) NOGROUP No such consumer group 'h' for key name 's'",
    run: set_id,
    ..XGROUP_CREATE
};

fn set_id(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let (key, name, text) = (args.key(2), args.get(3), args.get(4));
    let Options { read, .. } = options(args, false)?;
    let mut stream = db.edit::<Stream>(key)?.ok_or(NO_KEY)?;
    let (top, added) = (stream.last_id(), stream.added());
    let group = stream.group_mut(name).ok_or_else(|| no_group(key, name))?;
    group.last = if text == b"$" { top } else { ids::any(text, 0)? };
    group.read = read.map(|read| read.min(added));
    let (last, read) = (group.last, group.read);
    stream.changed_aside("xgroup-setid", 1);
    drop(stream);
    out.ok()?;
    propagate(ctx, false, last, read);
    Ok(())
}

pub const XGROUP_DESTROY: Command = Command {
    name: "XGROUP DESTROY",
    args: "key group",
    arity: 4,
    flags: WRITE,
    keys: Keys::one(2, keys::RW | keys::DELETE),
    doc: "Removes a group and what it has pending; whoever waits in it hears of it. O(1).",
    examples: "> XGROUP CREATE s g $ MKSTREAM\nOK\n> XGROUP DESTROY s g\n(integer) 1\n> XGROUP DESTROY s g\n(integer) 0",
    run: |ctx| {
        let Ctx { args, db, out, .. } = ctx;
        let Some(mut stream) = db.edit::<Stream>(args.key(2))? else { return Err(NO_KEY) };
        let Some(taken) = stream.remove_group(args.get(3)) else { return out.int(0) };
        stream.discard(Value::Stream(taken));
        stream.changed_aside("xgroup-destroy", 1);
        stream.wake();
        out.int(1)
    },
    ..XGROUP_CREATE
};

pub const XGROUP_CREATECONSUMER: Command = Command {
    name: "XGROUP CREATECONSUMER",
    args: "key group consumer",
    arity: 5,
    since: "6.2.0",
    doc: "Makes a consumer of a group; 0 if there is one of that name. O(1).",
    examples: "> XGROUP CREATE s g $ MKSTREAM\nOK\n> XGROUP CREATECONSUMER s g c\n(integer) 1\n> XGROUP CREATECONSUMER s g c\n(integer) 0",
    run: |ctx| {
        let Ctx { args, db, out, .. } = ctx;
        let (key, name, consumer, now) = (args.key(2), args.get(3), args.get(4), db.now());
        let mut stream = db.edit::<Stream>(key)?.ok_or(NO_KEY)?;
        let group = stream.group_mut(name).ok_or_else(|| no_group(key, name))?;
        let created = group.create(consumer, now).is_some();
        if created {
            stream.changed_aside("xgroup-createconsumer", 1);
        }
        out.int(i64::from(created))
    },
    ..XGROUP_CREATE
};

pub const XGROUP_DELCONSUMER: Command = Command {
    name: "XGROUP DELCONSUMER",
    args: "key group consumer",
    arity: 5,
    flags: WRITE,
    keys: Keys::one(2, keys::RW | keys::DELETE),
    doc: "Removes a consumer; how many entries it had pending, which no consumer can acknowledge then. O(N) in those.",
    examples: "> XGROUP CREATE s g $ MKSTREAM\nOK\n> XGROUP CREATECONSUMER s g c\n(integer) 1\n> XGROUP DELCONSUMER s g c\n(integer) 0",
    run: |ctx| {
        let Ctx { args, db, out, .. } = ctx;
        let (key, name) = (args.key(2), args.get(3));
        let mut stream = db.edit::<Stream>(key)?.ok_or(NO_KEY)?;
        let group = stream.group_mut(name).ok_or_else(|| no_group(key, name))?;
        let Some(owner) = group.find(args.get(4)) else { return out.int(0) };
        let pending = group.remove_consumer(owner);
        stream.changed_aside("xgroup-delconsumer", 1);
        out.count(pending)
    },
    ..XGROUP_CREATE
};

pub const XGROUP_HELP: Command = Command {
    name: "XGROUP HELP",
    args: "",
    arity: 2,
    flags: LOADING | STALE,
    keys: Keys::NONE,
    doc: "The subcommands.",
    examples: "> XGROUP HELP too many\n(error) ERR wrong number of arguments for 'xgroup|help' command",
    run: |ctx| ctx.out.help("XGROUP", HELP),
    ..XGROUP_CREATE
};

/// `NOGROUP No such consumer group 'g' for key name 'k'`
pub fn no_group(key: &[u8], group: &[u8]) -> Error {
    told(&[b"NOGROUP No such consumer group '", group, b"' for key name '", key, b"'"])
}

const HELP: &[&str] = &[
    "CREATE <key> <groupname> <id|$> [option]",
    "    Create a new consumer group. Options are:",
    "    * MKSTREAM",
    "      Create the empty stream if it does not exist.",
    "    * ENTRIESREAD entries_read",
    "      Set the group's entries_read counter (internal use).",
    "CREATECONSUMER <key> <groupname> <consumer>",
    "    Create a new consumer in the specified group.",
    "DELCONSUMER <key> <groupname> <consumer>",
    "    Remove the specified consumer.",
    "DESTROY <key> <groupname>",
    "    Remove the specified group.",
    "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    "    Set the current group ID and entries_read counter.",
];
const NO_KEY: Error = Error::new(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.",
);
const BUSY: Error = Error::new("BUSYGROUP Consumer Group name already exists");
const BAD_READ: Error = Error::new("ERR value for ENTRIESREAD must be positive or -1");
