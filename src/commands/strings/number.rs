//! Strings as numbers: 64-bit integers, and the 80-bit long double.

use crate::command::error::{NOT_FLOAT, NOT_INT, OVERFLOW};
use crate::command::*;
use crate::keyspace::Text;
use crate::num::{self, LongDouble};

pub const DECR: Command = Command {
    name: "DECR",
    args: "key",
    arity: 2,
    since: "1.0.0",
    group: Group::String,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::UPDATE),
    doc: "Takes one from the integer stored at a key; an absent key counts from zero. O(1).",
    examples: "> DECR n\n(integer) -1",
    run: |ctx| add(ctx, -1),
};

pub const DECRBY: Command = Command {
    name: "DECRBY",
    args: "key decrement",
    arity: 3,
    since: "1.0.0",
    group: Group::String,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::UPDATE),
    doc: "Takes a number from the integer stored at a key. O(1).",
    examples: "> DECRBY n 10\n(integer) -10",
    run: decrby,
};

fn decrby(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let by = ctx.args.int(2)?.checked_neg().ok_or(DECREMENT_OVERFLOW)?;
    add(ctx, by)
}

pub const INCR: Command = Command {
    name: "INCR",
    args: "key",
    arity: 2,
    since: "1.0.0",
    group: Group::String,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::UPDATE),
    doc: "Adds one to the integer stored at a key; an absent key counts from zero. O(1).",
    examples: "> INCR n\n(integer) 1\n> SET n x\nOK\n> INCR n\n(error) ERR value is not an integer or out of range",
    run: |ctx| add(ctx, 1),
};

pub const INCRBY: Command = Command {
    name: "INCRBY",
    args: "key increment",
    arity: 3,
    since: "1.0.0",
    group: Group::String,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::UPDATE),
    doc: "Adds a number to the integer stored at a key. O(1).",
    examples: "> INCRBY n 5\n(integer) 5\n> INCRBY n 9223372036854775807\n(error) ERR increment or decrement would overflow",
    run: incrby,
};

fn incrby(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let by = ctx.args.int(2)?;
    add(ctx, by)
}

fn add(ctx: &mut Ctx<'_, '_>, by: i64) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let key = args.key(1);
    let value = match db.string_for_write(key)? {
        None => 0,
        Some(Text::Int(n)) => n,
        Some(Text::Bytes(text)) => num::parse_i64(text).ok_or(NOT_INT)?,
    };
    let value = value.checked_add(by).ok_or(OVERFLOW)?;
    db.set_int(key, value, "incrby");
    out.int(value)
}

pub const INCRBYFLOAT: Command = Command {
    name: "INCRBYFLOAT",
    args: "key increment:double",
    arity: 3,
    since: "2.6.0",
    group: Group::String,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::UPDATE),
    doc: "Adds a number to the one stored at a key, in 80-bit floating point; the result is stored as text. O(1).",
    examples: "> SET x 10.50\nOK\n> INCRBYFLOAT x 0.1\n\"10.6\"\n> INCRBYFLOAT x -5\n\"5.6\"",
    run: incrbyfloat,
};

fn incrbyfloat(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let key = args.key(1);
    let value = match db.string_for_write(key)? {
        None => LongDouble::parse(b"0"),
        Some(text) => LongDouble::parse(text.bytes(&mut itoa::Buffer::new())),
    };
    let sum = value.ok_or(NOT_FLOAT)? + LongDouble::parse(args.get(2)).ok_or(NOT_FLOAT)?;
    if !sum.is_finite() {
        return Err(NOT_FINITE);
    }
    let text = sum.to_text();
    db.set_text(key, &text, "incrbyfloat");
    out.bulk(&text)?;
    ctx.propagate(&[b"SET", key, &text, b"KEEPTTL"]);
    Ok(())
}

const DECREMENT_OVERFLOW: Error = Error::new("ERR decrement would overflow");
pub const NOT_FINITE: Error = Error::new("ERR increment would produce NaN or Infinity");
