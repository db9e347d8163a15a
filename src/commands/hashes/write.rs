//! Writing hashes: setting and removing fields, and counting in them.

use crate::command::error::{NOT_FLOAT, OVERFLOW};
use crate::command::*;
use crate::num::{self, LongDouble};
use crate::types::Text;
use crate::types::fields::Due;
use crate::types::hash::Hash;

pub const HDEL: Command = Command {
    name: "HDEL",
    args: "key field [field ...]",
    arity: -3,
    since: "2.0.0",
    group: Group::Hash,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::DELETE),
    doc: "Removes fields; answers how many were there. A hash without fields is no more. O(1) a field.",
    examples: "> HSET h a 1 b 2\n(integer) 2\n> HDEL h a missing\n(integer) 1\n> HDEL h b\n(integer) 1\n> EXISTS h\n(integer) 0",
    run: hdel,
};

fn hdel(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let Some(mut hash) = db.edit::<Hash>(args.key(1))? else { return out.int(0) };
    let removed = args.from(2).filter(|field| hash.remove(field)).count();
    if removed > 0 {
        hash.changed_by("hdel", removed);
    }
    out.count(removed)
}

pub const HINCRBY: Command = Command {
    name: "HINCRBY",
    args: "key field increment",
    arity: 4,
    since: "2.0.0",
    group: Group::Hash,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::UPDATE),
    doc: "Adds a number to the integer in a field; an absent field counts from zero. O(1).",
    examples: "> HINCRBY h n 5\n(integer) 5\n> HINCRBY h n -2\n(integer) 3\n> HSET h n x\n(integer) 0\n> HINCRBY h n 1\n(error) ERR hash value is not an integer",
    run: hincrby,
};

fn hincrby(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let (field, by) = (args.get(2), args.int(3)?);
    let mut hash = db.upsert::<Hash>(args.key(1))?;
    let value = match hash.get(field) {
        None => 0,
        Some(Text::Int(n)) => n,
        Some(Text::Bytes(text)) => num::parse_i64(text).ok_or(NOT_INT_IN_HASH)?,
    };
    let value = value.checked_add(by).ok_or(OVERFLOW)?;
    hash.set(field, itoa::Buffer::new().format(value).as_bytes(), Due::Keep, config.hash_max());
    hash.changed("hincrby");
    out.int(value)
}

pub const HINCRBYFLOAT: Command = Command {
    name: "HINCRBYFLOAT",
    args: "key field increment:double",
    arity: 4,
    since: "2.6.0",
    group: Group::Hash,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::UPDATE),
    doc: "Adds a number to the one in a field, in 80-bit floating point; the result is stored as text. O(1).",
    examples: "> HSET h x 10.50\n(integer) 1\n> HINCRBYFLOAT h x 0.1\n\"10.6\"\n> HINCRBYFLOAT h x -5\n\"5.6\"",
    run: hincrbyfloat,
};

fn hincrbyfloat(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let (key, field) = (args.key(1), args.get(2));
    let by = LongDouble::parse(args.get(3)).ok_or(NOT_FLOAT)?;
    if !by.is_finite() {
        return Err(NOT_A_NUMBER);
    }
    let mut hash = db.upsert::<Hash>(key)?;
    let value = match hash.get(field) {
        None => LongDouble::parse(b"0"),
        Some(text) => LongDouble::parse(text.bytes(&mut itoa::Buffer::new())),
    };
    let sum = value.ok_or(NOT_FLOAT_IN_HASH)? + by;
    if !sum.is_finite() {
        return Err(NOT_FINITE);
    }
    let text = sum.to_text();
    let expires = hash.due(field).flatten().is_some();
    hash.set(field, &text, Due::Keep, config.hash_max());
    hash.changed("hincrbyfloat");
    drop(hash);
    out.bulk(&text)?;
    // HSET would end the field's expiry.
    match expires {
        true => ctx.propagate(&[b"HSETEX", key, b"KEEPTTL", b"FIELDS", b"1", field, &text]),
        false => ctx.propagate(&[b"HSET", key, field, &text]),
    }
    Ok(())
}

pub const HMSET: Command = Command {
    name: "HMSET",
    args: "key field value [field value ...]",
    arity: -4,
    since: "2.0.0",
    group: Group::Hash,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::write(1),
    doc: "HSET's old name for several fields. O(1) a field.",
    examples: "> HMSET h a 1 b 2\nOK\n> HGET h b\n\"2\"",
    run: hmset,
};

fn hmset(ctx: &mut Ctx<'_, '_>) -> Outcome {
    set_fields(ctx, "hmset")?;
    ctx.out.ok()
}

pub const HSET: Command = Command {
    name: "HSET",
    args: "key field value [field value ...]",
    arity: -4,
    since: "2.0.0",
    group: Group::Hash,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::write(1),
    doc: "Sets fields; answers how many are new. A field's expiry ends. O(1) a field.",
    examples: "> HSET h a 1 b 2\n(integer) 2\n> HSET h b 3 c 4\n(integer) 1\n> HGET h b\n\"3\"",
    run: hset,
};

fn hset(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let created = set_fields(ctx, "hset")?;
    ctx.out.count(created)
}

fn set_fields(ctx: &mut Ctx<'_, '_>, command: &str) -> Result<usize, Error> {
    let Ctx { args, db, config, .. } = ctx;
    if !args.len().is_multiple_of(2) {
        return Err(error::wrong_arity(command));
    }
    let (pairs, max) = (args.pairs(2), config.hash_max());
    let mut hash = db.upsert::<Hash>(args.key(1))?;
    // Most are taken to be new ones.
    hash.expect_fields(pairs.len(), max);
    let set = pairs.len();
    let created = hash.set_all(pairs, max, &config.hash_sharing());
    hash.changed_by("hset", set);
    Ok(created)
}

pub const HSETNX: Command = Command {
    name: "HSETNX",
    args: "key field value",
    arity: 4,
    since: "2.0.0",
    group: Group::Hash,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::one(1, keys::RW | keys::INSERT),
    doc: "Sets a field if it does not exist. O(1).",
    examples: "> HSETNX h a 1\n(integer) 1\n> HSETNX h a 2\n(integer) 0\n> HGET h a\n\"1\"",
    run: hsetnx,
};

fn hsetnx(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let mut hash = db.upsert::<Hash>(args.key(1))?;
    if hash.get(args.get(2)).is_some() {
        return out.int(0);
    }
    hash.set(args.get(2), args.get(3), Due::Clear, config.hash_max());
    hash.changed("hset");
    out.int(1)
}

const NOT_INT_IN_HASH: Error = Error::new("ERR hash value is not an integer");
const NOT_FLOAT_IN_HASH: Error = Error::new("ERR hash value is not a float");
const NOT_A_NUMBER: Error = Error::new("ERR value is NaN or Infinity");
const NOT_FINITE: Error = Error::new("ERR increment would produce NaN or Infinity");
