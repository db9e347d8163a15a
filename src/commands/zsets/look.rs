//! Members by name: how many, their scores and ranks; ZSCAN.

use crate::command::error::SYNTAX;
use crate::command::*;
use crate::num;
use crate::resp::Out;
use crate::types::zset::Zset;

pub const ZCARD: Command = Command {
    name: "ZCARD",
    args: "key",
    arity: 2,
    since: "1.2.0",
    group: Group::SortedSet,
    flags: READONLY | FAST,
    keys: Keys::one(1, keys::RO),
    doc: "How many members a sorted set has. O(1).",
    examples: "> ZADD z 1 a 2 b\n(integer) 2\n> ZCARD z\n(integer) 2\n> ZCARD missing\n(integer) 0",
    run: zcard,
};

fn zcard(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    out.count(db.read::<Zset>(args.key(1))?.map_or(0, Zset::len))
}

pub const ZSCORE: Command = Command {
    name: "ZSCORE",
    args: "key member",
    arity: 3,
    since: "1.2.0",
    group: Group::SortedSet,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "A member's score. O(1).",
    examples: "> ZADD z 1.5 a\n(integer) 1\n> ZSCORE z a\n\"1.5\"\n> ZSCORE z b\n(nil)",
    run: zscore,
};

fn zscore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    match db.read::<Zset>(args.key(1))?.and_then(|set| set.score(args.get(2))) {
        Some(score) => out.double(score),
        None => out.null(),
    }
}

pub const ZMSCORE: Command = Command {
    name: "ZMSCORE",
    args: "key member [member ...]",
    arity: -3,
    since: "6.2.0",
    group: Group::SortedSet,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "The scores of several members. O(N) in their number.",
    examples: "> ZADD z 1 a 2 b\n(integer) 2\n> ZMSCORE z a c b\n1) \"1\"\n2) (nil)\n3) \"2\"",
    run: zmscore,
};

fn zmscore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let set = db.read::<Zset>(args.key(1))?;
    let names = args.from(2);
    out.array(names.len());
    for name in names {
        match set.and_then(|set| set.score(name)) {
            Some(score) => out.double(score)?,
            None => out.null()?,
        }
    }
    Ok(())
}

pub const ZRANK: Command = Command {
    name: "ZRANK",
    args: "key member [WITHSCORE]",
    arity: -3,
    since: "2.0.0",
    group: Group::SortedSet,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "How many members stand before this one. O(log N).",
    examples: "> ZADD z 1 a 2 b\n(integer) 2\n> ZRANK z b\n(integer) 1\n> ZRANK z c\n(nil)",
    run: zrank,
};

fn zrank(ctx: &mut Ctx<'_, '_>) -> Outcome {
    rank(ctx, false)
}

pub const ZREVRANK: Command = Command {
    name: "ZREVRANK",
    args: "key member [WITHSCORE]",
    arity: -3,
    since: "2.0.0",
    group: Group::SortedSet,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "How many members stand behind this one. O(log N).",
    examples: "> ZADD z 1 a 2 b\n(integer) 2\n> ZREVRANK z b\n(integer) 0",
    run: zrevrank,
};

fn zrevrank(ctx: &mut Ctx<'_, '_>) -> Outcome {
    rank(ctx, true)
}

fn rank(ctx: &mut Ctx<'_, '_>, reverse: bool) -> Outcome {
    let Ctx { args, db, out, row, .. } = ctx;
    let with_score = args.len() == 4;
    if args.len() > 4 {
        return Err(error::wrong_arity(&row.command.full_name()));
    }
    if with_score && *args.word_at(3) != *b"WITHSCORE" {
        return Err(SYNTAX);
    }
    let set = db.read::<Zset>(args.key(1))?;
    let Some((set, (rank, score))) = set.and_then(|set| Some((set, set.rank(args.get(2))?))) else {
        return if with_score { out.null_array() } else { out.null() };
    };
    if with_score {
        out.array(2);
    }
    out.count(if reverse { set.len() - 1 - rank } else { rank })?;
    if with_score { out.double(score) } else { Ok(()) }
}

pub const ZSCAN: Command = Command {
    name: "ZSCAN",
    args: "key cursor [MATCH pattern] [COUNT count]",
    arity: -3,
    since: "2.8.0",
    group: Group::SortedSet,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Some members with their scores, and a cursor for the next call; all calls together answer each member that was there throughout. O(1) a call.",
    examples: "> ZADD z 1 a\n(integer) 1\n> ZSCAN z 0\n1) \"0\"\n2) 1) \"a\"\n   2) \"1\"",
    run: zscan,
};

fn zscan(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let mut cursor = scanning::cursor(args.get(2))?;
    let Some(set) = db.read::<Zset>(args.key(1))? else { return out.scanned(0, 0, &[]) };
    let scan = Scan::parse(args, 3, |word, _| Err(if **word == *b"NOVALUES" { scanning::NO_VALUES } else { SYNTAX }))?;
    let (mut met, mut found, mut members) = (0, 0, Vec::new());
    let (mut digits, mut text) = (itoa::Buffer::new(), Vec::new());
    // As Redis: a listpack's own text, and all digits of a double.
    let print = if set.is_packed() { num::push_f64 } else { num::push_g17 };
    for _ in 0..scan.count.saturating_mul(STEPS_PER_COUNT) {
        cursor = set.scan(cursor, |name, score| {
            met += 1;
            if scan.wants(name.bytes(&mut digits)) {
                let mut members = Out::new(&mut members, out.proto);
                members.bulk(name.bytes(&mut digits));
                text.clear();
                print(&mut text, score);
                members.bulk(&text);
                found += 2;
            }
        });
        if cursor == 0 || met >= scan.count {
            break;
        }
    }
    out.scanned(cursor, found, &members)
}

/// Empty buckets in a row end a call at last.
const STEPS_PER_COUNT: usize = 10;
