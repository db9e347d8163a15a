//! Fields by chance and by cursor: HRANDFIELD, HSCAN.

use crate::command::error::{NOT_INT, NOT_NEGATABLE, OUT_OF_RANGE, SYNTAX};
use crate::command::*;
use crate::num;
use crate::resp::{Out, Proto};
use crate::types::Text;
use crate::types::hash::Hash;

pub const HRANDFIELD: Command = Command {
    name: "HRANDFIELD",
    args: "key [options: count [WITHVALUES]]",
    arity: -2,
    since: "6.2.0",
    group: Group::Hash,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Fields by chance: one, so many different ones, or, for a negative count, so many that may repeat. O(N) in them.",
    examples: "> HSET h a 1\n(integer) 1\n> HRANDFIELD h\n\"a\"\n> HRANDFIELD h 5 WITHVALUES\n1) \"a\"\n2) \"1\"\n> HRANDFIELD h -2\n1) \"a\"\n2) \"a\"",
    run: hrandfield,
};

fn hrandfield(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    if args.len() == 2 {
        let Some(hash) = db.read::<Hash>(args.key(1))? else { return out.null() };
        hash.sample(1, |field, _| {
            out.put(field);
            true
        });
        return Ok(());
    }
    let (count, with_values) = read_count(args)?;
    let Some(hash) = db.read::<Hash>(args.key(1))? else { return out.empty_array() };
    let drawn = count.unsigned_abs();
    let mut draws = if count < 0 { Some(Draws::of(drawn, out.buf.len())?) } else { None };
    let count = usize::try_from(drawn).unwrap_or(usize::MAX);
    let count = if draws.is_some() { count } else { count.min(hash.len()) };
    let pairs = with_values && out.proto == Proto::Resp3;
    out.array(if with_values && !pairs { count * 2 } else { count });
    let mut fits = true;
    let mut write = |field: Text<'_>, value: Text<'_>| {
        if pairs {
            out.0.array(2);
        }
        out.put(field);
        if with_values {
            out.put(value);
        }
        out.buf.len()
    };
    match &mut draws {
        Some(draws) => hash.sample(count, |field, value| {
            fits = draws.goes_on(write(field, value));
            fits
        }),
        None => hash.sample_distinct(count, |field, value| _ = write(field, value)),
    }
    if fits { Ok(()) } else { Err(OUT_OF_RANGE) }
}

fn read_count(args: &Args<'_>) -> Result<(i64, bool), Error> {
    let count = num::parse_i64(args.get(2)).ok_or(NOT_INT)?;
    if count == i64::MIN {
        return Err(NOT_NEGATABLE);
    }
    if args.len() == 3 {
        return Ok((count, false));
    }
    if args.len() > 4 || *args.word_at(3) != *b"WITHVALUES" {
        return Err(SYNTAX);
    }
    if count.unsigned_abs() > i64::MAX as u64 / 2 { Err(OUT_OF_RANGE) } else { Ok((count, true)) }
}

pub const HSCAN: Command = Command {
    name: "HSCAN",
    args: "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
    arity: -3,
    since: "2.8.0",
    group: Group::Hash,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Some of a hash's fields and a cursor for the next call; all calls together answer each field that was there throughout. O(1) a call.",
    examples: "> HSET h a 1\n(integer) 1\n> HSCAN h 0\n1) \"0\"\n2) 1) \"a\"\n   2) \"1\"\n> HSCAN h 0 NOVALUES\n1) \"0\"\n2) 1) \"a\"",
    run: hscan,
};

fn hscan(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let cursor = scanning::cursor(args.get(2))?;
    let Some(hash) = db.read::<Hash>(args.key(1))? else { return out.scanned(0, 0, &[]) };
    let mut values = true;
    let scan = Scan::parse(args, 3, |word, _| match &**word {
        b"NOVALUES" => {
            values = false;
            Ok(())
        }
        _ => Err(SYNTAX),
    })?;
    let (mut found, mut fields) = (0, Vec::new());
    let mut reply = ctx::Reply(Out::new(&mut fields, out.proto));
    let next = hash.scan(cursor, scan.count, |field, value| {
        if scan.wants(field.bytes(&mut itoa::Buffer::new())) {
            reply.put(field);
            found += 1;
            if values {
                reply.put(value);
                found += 1;
            }
        }
    });
    out.scanned(next, found, &fields)
}
