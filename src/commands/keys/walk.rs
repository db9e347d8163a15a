//! Walks over the keyspace: KEYS, RANDOMKEY, SCAN. Keys that are due are passed over.

use crate::command::error::{NOT_INT, SYNTAX};
use crate::command::*;
use crate::glob;
use crate::num;
use crate::resp::Out;

pub const KEYS: Command = Command {
    name: "KEYS",
    args: "pattern",
    arity: 2,
    since: "1.0.0",
    group: Group::Generic,
    flags: READONLY | DANGEROUS | WALK,
    keys: Keys::NONE,
    doc: "All keys that match a glob pattern. O(N) in the number of keys; O(1) for a pattern that matches only itself.",
    examples: "> MSET firstname Jack lastname Stuntman age 35\nOK\n> KEYS a??\n1) \"age\"\n> KEYS nosuch\n(empty array)",
    run: keys_matching,
};

fn keys_matching(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let pattern = args.get(1);
    if is_literal(pattern) {
        let found = db.contains(pattern);
        out.array(usize::from(found));
        return if found { out.bulk(pattern) } else { Ok(()) };
    }
    let hole = out.later();
    let mut found = 0;
    let all = pattern == b"*";
    db.for_each_key(|key| {
        if all || glob::matches(pattern, key, false) {
            out.0.bulk(key);
            found += 1;
        }
    });
    out.fill_array(hole, found)
}

/// Whether a pattern has no special byte, so that it matches only itself.
fn is_literal(pattern: &[u8]) -> bool {
    !pattern.iter().any(|b| matches!(b, b'*' | b'?' | b'[' | b'\\'))
}

pub const RANDOMKEY: Command = Command {
    name: "RANDOMKEY",
    args: "",
    arity: 1,
    since: "1.0.0",
    group: Group::Generic,
    flags: READONLY | WALK,
    keys: Keys::NONE,
    doc: "Any key of the database, each with about the same chance. O(1).",
    examples: "> RANDOMKEY\n(nil)\n> SET a 1\nOK\n> RANDOMKEY\n\"a\"",
    run: randomkey,
};

fn randomkey(ctx: &mut Ctx<'_, '_>) -> Outcome {
    match ctx.db.random_key() {
        Some(key) => ctx.out.bulk(&key),
        None => ctx.out.null(),
    }
}

pub const SCAN: Command = Command {
    name: "SCAN",
    args: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
    arity: -2,
    since: "2.8.0",
    group: Group::Generic,
    flags: READONLY | WALK,
    keys: Keys::NONE,
    doc: "Some of the keys and a cursor for the next call; all calls together answer each key that was there throughout. O(1) a call.",
    examples: "> SET a 1\nOK\n> SCAN 0 COUNT 100\n1) \"0\"\n2) 1) \"a\"\n> SCAN x\n(error) ERR invalid cursor",
    run: scan,
};

fn scan(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let cursor = args::scan_cursor(args.get(1)).ok_or(INVALID_CURSOR)?;
    let (mut count, mut pattern, mut kind) = (COUNT_DEFAULT, None, None);
    args.skip_to(2);
    while let Some(word) = args.word() {
        match &*word {
            b"COUNT" => {
                let n = num::parse_i64(args.required()?).ok_or(NOT_INT)?;
                count = usize::try_from(n).ok().filter(|&n| n > 0).ok_or(SYNTAX)?;
            }
            b"MATCH" => pattern = Some(args.required()?).filter(|p| p != b"*"),
            b"TYPE" => kind = Some(args.required()?),
            _ => return Err(SYNTAX),
        }
    }
    // The cursor stands in front of the keys and is known after them.
    let (mut found, mut keys) = (0, Vec::new());
    let next = db.scan(cursor, count, |met| {
        let wanted = !met.due
            && kind.is_none_or(|kind: &[u8]| kind.eq_ignore_ascii_case(met.kind.name().as_bytes()))
            && pattern.is_none_or(|pattern| glob::matches(pattern, met.key, false));
        if wanted {
            Out::new(&mut keys, out.proto).bulk(met.key);
            found += 1;
        }
    });
    out.array(2);
    out.bulk(itoa::Buffer::new().format(next).as_bytes())?;
    out.array(found);
    out.buf.extend_from_slice(&keys);
    Ok(())
}

const COUNT_DEFAULT: usize = 10;
const INVALID_CURSOR: Error = Error::new("ERR invalid cursor");
