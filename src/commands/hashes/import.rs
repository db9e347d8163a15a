//! HIMPORT: many hashes of one layout, whose field names are sent once and then only values.
//!
//! The names are the connection's own, and hashes that are imported share them
//! ([`crate::types::template`]): no other client sees them, and they are gone with it and with RESET. A transaction sees
//! them; a script sees what its caller has, and what it prepares is gone at its end. To the log an import is what it does:
//! a DEL of what was there and an HSET.

use crate::command::session::Fieldsets;
use crate::command::*;
use crate::keyspace::Expiry;
use crate::types::Collection;
use crate::types::hash::Hash;
use crate::types::template::Sharing;
use smallvec::SmallVec;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub const HIMPORT: Command = Command {
    name: "HIMPORT",
    args: "",
    arity: -2,
    since: "8.10.0",
    group: Group::Hash,
    flags: CONTAINER,
    keys: Keys::NONE,
    doc: "Imports hashes of one layout.",
    examples: "> HIMPORT\n(error) ERR wrong number of arguments for 'himport' command",
    run: container,
};

pub const DISCARD: Command = Command {
    name: "HIMPORT DISCARD",
    args: "fieldset-name",
    arity: 3,
    flags: 0,
    doc: "Forgets a fieldset of the connection; 1 if there was one. What was imported with it stays. O(1).",
    examples: "> HIMPORT PREPARE u name\nOK\n> HIMPORT DISCARD u\n(integer) 1\n> HIMPORT DISCARD u\n(integer) 0",
    run: |ctx| {
        let name = ctx.args.get(2);
        let has = ctx.session.fieldsets.as_ref().is_some_and(|sets| sets.contains_key(name));
        if has {
            change(ctx, |sets| _ = sets.remove(name));
        }
        ctx.out.int(i64::from(has))
    },
    ..HIMPORT
};

pub const DISCARDALL: Command = Command {
    name: "HIMPORT DISCARDALL",
    args: "",
    arity: 2,
    doc: "Forgets all fieldsets of the connection; how many there were. O(N).",
    examples: "> HIMPORT PREPARE u name\nOK\n> HIMPORT PREPARE o id total\nOK\n> HIMPORT DISCARDALL\n(integer) 2",
    run: |ctx| {
        let count = ctx.session.fieldsets.take().map_or(0, |sets| sets.len());
        ctx.session.client.facts.memory.fieldsets.store(0, Relaxed);
        ctx.out.count(count)
    },
    ..DISCARD
};

pub const PREPARE: Command = Command {
    name: "HIMPORT PREPARE",
    args: "fieldset-name field [field ...]",
    arity: -4,
    flags: DENYOOM,
    doc: "Names the fields of hashes that this connection is going to import, in the order of their values; replaces what had the name. O(N).",
    examples: "> HIMPORT PREPARE u name email\nOK\n> HIMPORT PREPARE v same same\n(error) ERR duplicate field name in fieldset",
    run: prepare,
    ..DISCARD
};

fn prepare(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (name, fields) = (ctx.args.get(2), ctx.args.from(3));
    let mut seen = HashSet::with_capacity(fields.len());
    if !fields.clone().all(|field| seen.insert(field)) {
        return Err(DUPLICATE);
    }
    let fields: Box<[Box<[u8]>]> = fields.map(Box::from).collect();
    let held = ctx.session.fieldsets.as_ref().map_or(0, |sets| bytes(sets));
    if held.saturating_add(bytes_of(name, &fields)) > FIELDSETS_BYTES_MAX {
        return Err(TOO_MANY);
    }
    change(ctx, |sets| _ = sets.insert(name.into(), fields));
    ctx.out.ok()
}

/// Changes what the connection has prepared, and shows what that takes.
fn change(ctx: &mut Ctx<'_, '_>, change: impl FnOnce(&mut Fieldsets)) {
    let sets = Arc::make_mut(ctx.session.fieldsets.get_or_insert_default());
    change(sets);
    let bytes = bytes(sets);
    ctx.session.client.facts.memory.fieldsets.store(bytes, Relaxed);
}

fn bytes(sets: &Fieldsets) -> usize {
    sets.iter().map(|(name, fields)| bytes_of(name, fields)).sum()
}

fn bytes_of(name: &[u8], fields: &[Box<[u8]>]) -> usize {
    name.len() + FIELDSET_OVERHEAD + fields.iter().map(|field| field.len() + size_of::<Box<[u8]>>()).sum::<usize>()
}

pub const SET: Command = Command {
    name: "HIMPORT SET",
    args: "key fieldset-name value [value ...]",
    arity: -5,
    flags: WRITE | DENYOOM,
    keys: Keys::one(2, keys::OW | keys::UPDATE),
    doc: "Makes a key the hash of a prepared fieldset with these values, whatever fields and expiry it had. O(N).",
    examples: "> HIMPORT PREPARE u name email\nOK\n> HSET user:1 age 30\n(integer) 1\n> HIMPORT SET user:1 u alice a@example.com\nOK\n> HGETALL user:1\n1) \"name\"\n2) \"alice\"\n3) \"email\"\n4) \"a@example.com\"\n> HIMPORT SET user:2 u bob\n(error) ERR value count does not match fieldset field count\n> HIMPORT SET user:2 none bob\n(error) ERR no such fieldset\n> SET s x\nOK\n> HIMPORT SET s u bob b@example.com\n(error) WRONGTYPE Operation against a key holding the wrong kind of value",
    run: set,
    ..DISCARD
};

fn set(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let sets = ctx.session.fieldsets.clone().unwrap_or_default();
    let Ctx { args, db, out, config, .. } = ctx;
    let (key, fields, values) = (args.key(2), sets.get(args.get(3)).ok_or(NO_SUCH)?, args.from(4));
    if fields.len() != values.len() {
        return Err(MISCOUNTED);
    }
    let existed = db.look::<Hash>(key)?.is_some();
    let (mut value, max) = (Hash::empty(), config.hash_max());
    let hash = Hash::of_mut(&mut value).expect("an empty hash is a hash");
    hash.expect_fields(fields.len(), max);
    let pairs = || fields.iter().map(|field| &**field).zip(values.clone());
    hash.set_all(pairs(), max, &Sharing { at_once: true, ..config.hash_sharing() });
    db.put_value(key, value, Expiry::Clear, b'h', "hset");
    out.ok()?;
    if existed {
        ctx.propagate(&[b"DEL", key]);
    }
    let said: SmallVec<[&[u8]; 32]> =
        [b"HSET", key].into_iter().chain(pairs().flat_map(|(field, value)| [field, value])).collect();
    ctx.propagate(&said);
    Ok(())
}

/// What a connection may prepare: enough for thousands of layouts, and no way to fill the memory.
const FIELDSETS_BYTES_MAX: usize = 16 << 20;
/// A fieldset beside its names.
const FIELDSET_OVERHEAD: usize = 64;
const NO_SUCH: Error = Error::new("ERR no such fieldset");
const MISCOUNTED: Error = Error::new("ERR value count does not match fieldset field count");
const DUPLICATE: Error = Error::new("ERR duplicate field name in fieldset");
const TOO_MANY: Error = Error::new("ERR too many fieldsets: this connection holds 16 MB of field names");
