//! Popping at an end: of one list, or of the first of several that has something.

use super::end;
use crate::command::error::{NOT_POSITIVE, SYNTAX};
use crate::command::*;
use crate::keyspace::{Db, Edit};
use crate::types::list::{End, List};

pub const LPOP: Command = Command {
    name: "LPOP",
    args: "key [count@6.2.0]",
    arity: -2,
    since: "1.0.0",
    group: Group::List,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::DELETE),
    doc: "Takes the first element, or up to `count` of them, out of a list. O(N) in the number taken.",
    examples: "> RPUSH l a b c\n(integer) 3\n> LPOP l\n\"a\"\n> LPOP l 5\n1) \"b\"\n2) \"c\"\n> LPOP l\n(nil)",
    run: |ctx| pop(ctx, End::Left),
};

pub const RPOP: Command = Command {
    name: "RPOP",
    args: "key [count@6.2.0]",
    doc: "Takes the last element, or up to `count` of them, out of a list. O(N) in the number taken.",
    examples: "> RPUSH l a b c\n(integer) 3\n> RPOP l\n\"c\"\n> RPOP l 5\n1) \"b\"\n2) \"a\"\n> RPOP l\n(nil)",
    run: |ctx| pop(ctx, End::Right),
    ..LPOP
};

pub const LMPOP: Command = Command {
    name: "LMPOP",
    args: "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
    arity: -4,
    since: "7.0.0",
    group: Group::List,
    flags: WRITE | MOVABLE_KEYS,
    keys: Keys::counted(1, keys::RW | keys::ACCESS | keys::DELETE),
    doc: "Takes elements out of the first list that has some. O(N+M) in the numbers of keys and of elements taken.",
    examples: "> RPUSH l a b c\n(integer) 3\n> LMPOP 2 none l LEFT COUNT 2\n1) \"l\"\n2) 1) \"a\"\n   2) \"b\"",
    run: |ctx| {
        let wanted = Several::parse(ctx, 1)?;
        if pop_several(ctx, &wanted)? { Ok(()) } else { ctx.out.null_array() }
    },
};

pub fn event(end: End) -> &'static str {
    if end == End::Left { "lpop" } else { "rpop" }
}

fn pop(ctx: &mut Ctx<'_, '_>, end: End) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    if args.len() > 3 {
        return Err(error::wrong_arity(if end == End::Left { "lpop" } else { "rpop" }));
    }
    let count = match args.len() {
        3 => Some(args.int_in(2, 0..=i64::MAX, NOT_POSITIVE)? as usize),
        _ => None,
    };
    let Some(mut list) = db.edit::<List>(args.key(1))? else {
        return if count.is_some() { out.null_array() } else { out.null() };
    };
    match count {
        None => take_one(&mut list, end, out),
        Some(0) => {
            out.array(0);
            Ok(())
        }
        Some(count) => take(&mut list, end, count, out),
    }
}

/// Takes the outermost element and answers it.
pub fn take_one(list: &mut Edit<'_, '_, List>, end: End, out: &mut ctx::Reply<'_>) -> Outcome {
    match list.peek(end) {
        Some(text) => out.text(text)?,
        None => out.null()?,
    }
    list.drop_from(end, 1);
    list.changed(event(end));
    Ok(())
}

/// Takes up to `count` elements and answers them, outermost first.
fn take(list: &mut Edit<'_, '_, List>, end: End, count: usize, out: &mut ctx::Reply<'_>) -> Outcome {
    let count = count.min(list.len());
    out.array(count);
    match end {
        End::Left => list.iter_from(0).take(count).try_for_each(|text| out.text(text))?,
        End::Right => list.iter_back_from(list.len() - 1).take(count).try_for_each(|text| out.text(text))?,
    }
    list.drop_from(end, count);
    list.changed_by(event(end), count);
    Ok(())
}

/// `numkeys key … LEFT|RIGHT [COUNT n]`
pub struct Several {
    keys: std::ops::Range<usize>,
    end: End,
    count: usize,
}

impl Several {
    /// `at`: the argument with the number of keys.
    pub fn parse(ctx: &mut Ctx<'_, '_>, at: usize) -> Result<Self, Error> {
        let args = &mut ctx.args;
        let count = args.int_in(at, 1..=i64::MAX, NO_KEYS)?;
        let first = at + 1;
        let behind = usize::try_from(count).ok().and_then(|n| first.checked_add(n)).filter(|&b| b < args.len());
        let behind = behind.ok_or(SYNTAX)?;
        let end = end(&args.word_at(behind))?;
        args.skip_to(behind + 1);
        let mut count = None;
        while let Some(word) = args.word() {
            match &*word {
                b"COUNT" if count.is_none() && !args.is_done() => {
                    count = Some(args.int_in(args.cursor(), 1..=i64::MAX, BAD_COUNT)? as usize);
                    args.shift();
                }
                _ => return Err(SYNTAX),
            }
        }
        Ok(Self { keys: first..behind, end, count: count.unwrap_or(1) })
    }
}

/// Pops from the first of the lists that is there: `[key, [element …]]`. False if none is.
pub fn pop_several(ctx: &mut Ctx<'_, '_>, wanted: &Several) -> Result<bool, Error> {
    let Some(key) = first_there(ctx.db, &ctx.args, wanted.keys.clone())? else { return Ok(false) };
    let Ctx { db, out, .. } = ctx;
    let Some(mut list) = db.edit::<List>(key)? else { return Ok(false) };
    let popped = wanted.count.min(list.len());
    out.array(2);
    out.bulk(key)?;
    take(&mut list, wanted.end, wanted.count, out)?;
    drop(list);
    let name: &[u8] = if wanted.end == End::Left { b"LPOP" } else { b"RPOP" };
    ctx.propagate(&[name, key, itoa::Buffer::new().format(popped).as_bytes()]);
    Ok(true)
}

/// The first of the keys that holds a list; a key of another type in front of it is an error.
pub fn first_there<'a>(
    db: &mut Db<'_>,
    args: &Args<'a>,
    mut keys: std::ops::Range<usize>,
) -> Result<Option<&'a [u8]>, Error> {
    keys.find_map(|i| match db.look::<List>(args.key(i)) {
        Ok(None) => None,
        Ok(Some(_)) => Some(Ok(args.key(i))),
        Err(wrong) => Some(Err(wrong.into())),
    })
    .transpose()
}

const NO_KEYS: Error = Error::new("ERR numkeys should be greater than 0");
const BAD_COUNT: Error = Error::new("ERR count should be greater than 0");
