//! Walks over the keyspace: KEYS, RANDOMKEY, SCAN. Keys that are due are passed over.

use crate::command::error::SYNTAX;
use crate::command::*;
use crate::glob;
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
    args: "cursor [MATCH pattern] [COUNT count] [TYPE@6.0.0 type]",
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
    let (cursor, mut kind) = (scanning::cursor(args.get(1))?, None);
    let scan = Scan::parse(args, 2, |word, args| match &**word {
        b"TYPE" => {
            kind = Some(args.required()?);
            Ok(())
        }
        _ => Err(SYNTAX),
    })?;
    let (mut found, mut keys) = (0, Vec::new());
    let next = db.scan(cursor, scan.count, |met| {
        let wanted = !met.due
            && kind.is_none_or(|kind: &[u8]| kind.eq_ignore_ascii_case(met.kind.name().as_bytes()))
            && scan.wants(met.key);
        if wanted {
            Out::new(&mut keys, out.proto).bulk(met.key);
            found += 1;
        }
    });
    out.scanned(next, found, &keys)
}
