//! Looking into a list, and changing it in its middle.

use crate::command::error::{INDEX_OUT_OF_RANGE, NO_SUCH_KEY, NOT_NEGATABLE, SYNTAX};
use crate::command::*;
use crate::types::list::{End, List};

pub const LINDEX: Command = Command {
    name: "LINDEX",
    args: "key index",
    arity: 3,
    since: "1.0.0",
    group: Group::List,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "The element at an index, counted from behind if negative. O(N) in the listpacks on the way.",
    examples: "> RPUSH l a b c\n(integer) 3\n> LINDEX l -1\n\"c\"\n> LINDEX l 3\n(nil)",
    run: lindex,
};

fn lindex(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let Some(list) = db.read::<List>(args.key(1))? else { return out.null() };
    match list.index(args.int(2)?).and_then(|index| list.get(index)) {
        Some(text) => out.text(text),
        None => out.null(),
    }
}

pub const LINSERT: Command = Command {
    name: "LINSERT",
    args: "key <BEFORE | AFTER> pivot element",
    arity: 5,
    since: "2.2.0",
    group: Group::List,
    flags: WRITE | DENYOOM,
    keys: Keys::one(1, keys::RW | keys::INSERT),
    doc: "Puts an element in front of or behind the first one that equals `pivot`; -1 if there is none. O(N) up to it.",
    examples: "> RPUSH l a c\n(integer) 2\n> LINSERT l BEFORE c b\n(integer) 3\n> LINSERT l AFTER x y\n(integer) -1",
    run: linsert,
};

fn linsert(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let max = ctx.config.list_max();
    let Ctx { args, db, out, .. } = ctx;
    let after = match &*args.word_at(2) {
        b"BEFORE" => 0,
        b"AFTER" => 1,
        _ => return Err(SYNTAX),
    };
    let Some(mut list) = db.edit::<List>(args.key(1))? else { return out.int(0) };
    let Some(pivot) = list.find(args.get(3)) else { return out.int(-1) };
    list.insert(pivot + after, args.get(4), max);
    list.changed("linsert");
    out.count(list.len())
}

pub const LLEN: Command = Command {
    name: "LLEN",
    args: "key",
    arity: 2,
    since: "1.0.0",
    group: Group::List,
    flags: READONLY | FAST,
    keys: Keys::one(1, keys::RO),
    doc: "The number of elements. O(1).",
    examples: "> RPUSH l a b\n(integer) 2\n> LLEN l\n(integer) 2\n> LLEN none\n(integer) 0",
    run: |ctx| {
        let Ctx { args, db, out, .. } = ctx;
        out.count(db.read::<List>(args.key(1))?.map_or(0, List::len))
    },
};

pub const LPOS: Command = Command {
    name: "LPOS",
    args: "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
    arity: -3,
    since: "6.0.6",
    group: Group::List,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Indexes of elements that equal the given one; RANK says which match is the first, negative from behind. O(N).",
    examples: "> RPUSH l a b a\n(integer) 3\n> LPOS l a\n(integer) 0\n> LPOS l a RANK -1 COUNT 0\n1) (integer) 2\n2) (integer) 0",
    run: lpos,
};

fn lpos(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let (mut rank, mut count, mut max_compared) = (1, None, usize::MAX);
    args.skip_to(3);
    while let Some(word) = args.word() {
        if args.is_done() {
            return Err(SYNTAX);
        }
        let at = args.cursor();
        match &*word {
            b"RANK" => {
                rank = negatable(args.int(at)?)?;
                if rank == 0 {
                    return Err(RANK_ZERO);
                }
            }
            b"COUNT" => count = Some(args.int_in(at, 0..=i64::MAX, NEGATIVE_COUNT)? as usize),
            b"MAXLEN" => {
                let len = args.int_in(at, 0..=i64::MAX, NEGATIVE_MAXLEN)? as usize;
                max_compared = if len == 0 { usize::MAX } else { len };
            }
            _ => return Err(SYNTAX),
        }
        args.shift();
    }
    let (wanted, skipped) = (args.get(2), rank.unsigned_abs() as usize - 1);
    let list = db.read::<List>(args.key(1))?.filter(|list| !list.is_empty());
    let indexes = list.into_iter().flat_map(|list| matches(list, wanted, rank < 0, max_compared)).skip(skipped);
    match count {
        None => match { indexes }.next() {
            Some(index) => out.count(index),
            None => out.null(),
        },
        Some(count) => {
            let hole = out.later();
            let mut found = 0;
            for index in indexes.take(if count == 0 { usize::MAX } else { count }) {
                out.count(index)?;
                found += 1;
            }
            out.fill_array(hole, found)
        }
    }
}

/// Indexes from the left of the elements that are `wanted`, in the order of the walk.
fn matches<'a>(list: &'a List, wanted: &'a [u8], back: bool, max: usize) -> Box<dyn Iterator<Item = usize> + 'a> {
    let last = list.len().saturating_sub(1);
    if back {
        let walk = list.iter_back_from(last).take(max).enumerate();
        return Box::new(walk.filter(|(_, text)| text.is(wanted)).map(move |(i, _)| last - i));
    }
    Box::new(list.iter_from(0).take(max).enumerate().filter(|(_, text)| text.is(wanted)).map(|(i, _)| i))
}

pub const LRANGE: Command = Command {
    name: "LRANGE",
    args: "key start stop",
    arity: 4,
    since: "1.0.0",
    group: Group::List,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Elements from one index to another, both included and counted from behind if negative. O(S+N).",
    examples: "> RPUSH l a b c\n(integer) 3\n> LRANGE l 1 -1\n1) \"b\"\n2) \"c\"\n> LRANGE l 0 -5\n(empty array)",
    run: lrange,
};

fn lrange(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let (start, stop) = (args.int(2)?, args.int(3)?);
    let list = db.read::<List>(args.key(1))?;
    let Some((list, range)) = list.and_then(|list| Some((list, range(start, stop, list.len())?))) else {
        out.array(0);
        return Ok(());
    };
    out.array(range.len());
    list.iter_from(range.start).take(range.len()).for_each(|text| out.put(text));
    Ok(())
}

/// Indexes counted from behind if negative, both included, as a range within `len`; `None` if nothing is in it.
fn range(start: i64, stop: i64, len: usize) -> Option<std::ops::Range<usize>> {
    let len = len as i64;
    let from_left = |index: i64| if index < 0 { index.saturating_add(len) } else { index };
    let (start, stop) = (from_left(start).max(0), from_left(stop).min(len - 1));
    (start <= stop).then(|| start as usize..stop as usize + 1)
}

pub const LREM: Command = Command {
    name: "LREM",
    args: "key count element",
    arity: 4,
    since: "1.0.0",
    group: Group::List,
    flags: WRITE,
    keys: Keys::one(1, keys::RW | keys::DELETE),
    doc: "Removes elements that equal the given one: the first `count`, the last if negative, all if 0. O(N).",
    examples: "> RPUSH l a b a a\n(integer) 4\n> LREM l -2 a\n(integer) 2\n> LRANGE l 0 -1\n1) \"a\"\n2) \"b\"\n> LREM l x a\n(error) ERR value is not an integer or out of range",
    run: lrem,
};

fn lrem(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let count = negatable(args.int(2)?)?;
    let Some(mut list) = db.edit::<List>(args.key(1))? else { return out.int(0) };
    let max = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let removed = list.remove(args.get(3), if count < 0 { End::Right } else { End::Left }, max);
    if removed > 0 {
        list.changed_by("lrem", removed);
    }
    out.count(removed)
}

/// Any integer but the one without a counterpart.
fn negatable(n: i64) -> Result<i64, Error> {
    if n == i64::MIN { Err(NOT_NEGATABLE) } else { Ok(n) }
}

pub const LSET: Command = Command {
    name: "LSET",
    args: "key index element",
    arity: 4,
    since: "1.0.0",
    group: Group::List,
    flags: WRITE | DENYOOM,
    keys: Keys::write(1),
    doc: "Puts another element at an index. O(N) in the listpacks on the way.",
    examples: "> RPUSH l a b\n(integer) 2\n> LSET l -1 c\nOK\n> LSET l 9 x\n(error) ERR index out of range",
    run: lset,
};

fn lset(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let max = ctx.config.list_max();
    let Ctx { args, db, out, .. } = ctx;
    let mut list = db.edit::<List>(args.key(1))?.ok_or(NO_SUCH_KEY)?;
    let index = list.index(args.int(2)?).ok_or(INDEX_OUT_OF_RANGE)?;
    list.set(index, args.get(3), max);
    list.changed("lset");
    out.ok()
}

pub const LTRIM: Command = Command {
    name: "LTRIM",
    args: "key start stop",
    arity: 4,
    since: "1.0.0",
    group: Group::List,
    flags: WRITE,
    keys: Keys::one(1, keys::RW | keys::DELETE),
    doc: "Keeps only the elements from one index to another. O(N) in the number removed.",
    examples: "> RPUSH l a b c d\n(integer) 4\n> LTRIM l 1 -2\nOK\n> LRANGE l 0 -1\n1) \"b\"\n2) \"c\"",
    run: ltrim,
};

fn ltrim(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let (start, stop) = (args.int(2)?, args.int(3)?);
    let Some(mut list) = db.edit::<List>(args.key(1))? else { return out.ok() };
    let len = list.len();
    let kept = range(start, stop, len).unwrap_or(len..len);
    list.drop_from(End::Right, len - kept.end);
    list.drop_from(End::Left, kept.start);
    // Told even when nothing was removed, as in Redis.
    list.changed_by("ltrim", len - kept.len());
    out.ok()
}

const RANK_ZERO: Error = Error::new(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
);
const NEGATIVE_COUNT: Error = Error::new("ERR COUNT can't be negative");
const NEGATIVE_MAXLEN: Error = Error::new("ERR MAXLEN can't be negative");
