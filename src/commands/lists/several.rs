//! Moving several elements at once: LMOVEM, and BLMOVEM, which waits for them.
//!
//! In whichever way they are moved, they stand together at the target in the end: in the order they had, or, moved one by
//! one between ends of the same name, turned round. So the order is decided first, and all are pushed at once.
//! Propagated as what Redis 6.2 knows: a push and a pop; within one list as many LMOVE, or LSET where it is turned round in
//! place.

use super::{end, end_name, pop, push};
use crate::command::error::SYNTAX;
use crate::command::*;
use crate::types::list::{End, List};

pub const LMOVEM: Command = Command {
    name: "LMOVEM",
    args: "source destination <wherefrom: LEFT | RIGHT> <whereto: LEFT | RIGHT> [how-many: <selector: COUNT count | EXACTLY exactly:integer> <ordering: OBO | BULK>]",
    arity: -5,
    since: "8.10.0",
    group: Group::List,
    flags: WRITE | DENYOOM,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::DELETE).and(Keys::one(2, keys::RW | keys::INSERT)),
    doc: "Moves up to COUNT elements, or EXACTLY so many or none, from one end of a list to an end of another, or of the same: one by one (OBO), or all at once in the order they have (BULK). Without them, one element. O(N) in those moved.",
    examples: "> RPUSH l 1 2 3 4\n(integer) 4\n> LMOVEM l m LEFT LEFT COUNT 2 OBO\n1) \"2\"\n2) \"1\"\n> LMOVEM l m LEFT LEFT EXACTLY 5 BULK\n(nil)\n> LMOVEM l m RIGHT RIGHT COUNT 9 BULK\n1) \"3\"\n2) \"4\"\n> LRANGE m 0 -1\n1) \"2\"\n2) \"1\"\n3) \"3\"\n4) \"4\"\n> LMOVEM m m LEFT LEFT EXACTLY 3 OBO\n1) \"3\"\n2) \"1\"\n3) \"2\"\n> LMOVEM m n RIGHT LEFT\n1) \"4\"\n> LMOVEM none n LEFT LEFT\n(empty array)",
    run: |ctx| {
        let wanted = Wanted::read(ctx, 5)?;
        match move_several(ctx, &wanted)? {
            true => Ok(()),
            false if wanted.exactly => ctx.out.null(),
            false => ctx.out.empty_array(),
        }
    },
};

pub const BLMOVEM: Command = Command {
    name: "BLMOVEM",
    args: "source destination <wherefrom: LEFT | RIGHT> <whereto: LEFT | RIGHT> timeout [how-many: <selector: COUNT count | EXACTLY exactly:integer> <ordering: OBO | BULK>]",
    arity: -6,
    flags: WRITE | DENYOOM | BLOCKING,
    doc: "As LMOVEM, but waits up to `timeout` seconds, 0 for ever, until there is an element, or EXACTLY so many. O(N) in those moved.",
    examples: "> RPUSH l 1 2 3\n(integer) 3\n> BLMOVEM l m LEFT RIGHT 0 EXACTLY 2 BULK\n1) \"1\"\n2) \"2\"\n> BLMOVEM l m LEFT RIGHT 0.01 EXACTLY 2 BULK\n(nil)\n> BLMOVEM l m LEFT RIGHT 0.01 COUNT 2 BULK\n1) \"3\"\n> BLMOVEM l m LEFT RIGHT 0.01\n(nil)",
    run: |ctx| {
        let wanted = Wanted::read(ctx, 6)?;
        let patience = Patience::from_seconds(ctx.args.get(5), ctx.db.now())?;
        if move_several(ctx, &wanted)? { Ok(()) } else { ctx.wait_or(patience, Ctx::answer_null) }
    },
    ..LMOVEM
};

/// What is to be moved, and how.
struct Wanted {
    from: End,
    to: End,
    count: usize,
    /// Fewer will not do.
    exactly: bool,
    one_by_one: bool,
}

impl Wanted {
    /// `at`: the argument at which the optional block begins.
    fn read(ctx: &mut Ctx<'_, '_>, at: usize) -> Result<Self, Error> {
        let args = &mut ctx.args;
        let (from, to) = (end(&args.word_at(3))?, end(&args.word_at(4))?);
        if args.len() == at {
            return Ok(Self { from, to, count: 1, exactly: false, one_by_one: true });
        }
        if args.len() != at + 3 {
            return Err(SYNTAX);
        }
        let exactly = match &*args.word_at(at) {
            b"COUNT" => false,
            b"EXACTLY" => true,
            _ => return Err(SYNTAX),
        };
        let one_by_one = match &*args.word_at(at + 2) {
            b"OBO" => true,
            b"BULK" => false,
            _ => return Err(SYNTAX),
        };
        let count = args.int_in(at + 1, 1..=i64::MAX, BAD_COUNT)? as usize;
        Ok(Self { from, to, count, exactly, one_by_one })
    }
}

/// Moves elements between the lists of arguments 1 and 2 and answers them as they stand there. False if there are not
/// enough.
fn move_several(ctx: &mut Ctx<'_, '_>, wanted: &Wanted) -> Result<bool, Error> {
    let max = ctx.config.list_max();
    let Ctx { args, db, out, .. } = ctx;
    let (source, target, &Wanted { from, to, .. }) = (args.key(1), args.key(2), wanted);
    let Some(list) = db.look::<List>(source)? else { return Ok(false) };
    if wanted.exactly && list.len() < wanted.count {
        return Ok(false);
    }
    let count = wanted.count.min(list.len());
    let first = if from == End::Left { 0 } else { list.len() - count };
    let mut moved: Vec<Vec<u8>> = list.iter_from(first).take(count).map(|text| text.to_vec()).collect();
    if wanted.one_by_one && from == to {
        moved.reverse();
    }
    let pushed = |list: &mut List| match to {
        End::Left => moved.iter().rev().for_each(|element| list.push(to, element, max)),
        End::Right => moved.iter().for_each(|element| list.push(to, element, max)),
    };
    let mut edit = db.upsert::<List>(target)?;
    if source == target {
        edit.drop_from(from, count);
    }
    pushed(&mut edit);
    edit.changed_by(push::event(to), count);
    if source == target {
        edit.changed_by(pop::event(from), 0);
    }
    drop(edit);
    if source != target
        && let Some(mut list) = db.edit::<List>(source)?
    {
        list.drop_from(from, count);
        list.changed_by(pop::event(from), 0);
    }
    out.array(count);
    moved.iter().try_for_each(|element| out.bulk(element))?;
    propagate(ctx, wanted, &moved);
    Ok(true)
}

fn propagate(ctx: &mut Ctx<'_, '_>, wanted: &Wanted, moved: &[Vec<u8>]) {
    if !ctx.node.journal.records() {
        return;
    }
    let (source, target, &Wanted { from, to, .. }) = (ctx.args.key(1), ctx.args.key(2), wanted);
    ctx.propagate_nothing();
    if source == target && from != to {
        moved.iter().for_each(|_| ctx.propagate(&[b"LMOVE", source, target, end_name(from), end_name(to)]));
        return;
    }
    if source == target {
        // All at once to where they were changes nothing.
        let turned = if wanted.one_by_one { moved } else { &[] };
        let first = if from == End::Left { 0 } else { -(moved.len() as i64) };
        for (index, element) in (first..).zip(turned) {
            ctx.propagate(&[b"LSET", source, itoa::Buffer::new().format(index).as_bytes(), element]);
        }
        return;
    }
    let mut elements: Vec<&[u8]> = moved.iter().map(|element| &**element).collect();
    if to == End::Left {
        elements.reverse();
    }
    for some in elements.chunks(ELEMENTS_PER_EFFECT) {
        let name: &[u8] = if to == End::Left { b"LPUSH" } else { b"RPUSH" };
        let said: Vec<&[u8]> = [name, target].into_iter().chain(some.iter().copied()).collect();
        ctx.propagate(&said);
    }
    let name: &[u8] = if from == End::Left { b"LPOP" } else { b"RPOP" };
    ctx.propagate(&[name, source, itoa::Buffer::new().format(moved.len()).as_bytes()]);
}

/// Elements in one push of the log.
const ELEMENTS_PER_EFFECT: usize = 512;
const BAD_COUNT: Error = Error::new("ERR count should be greater than 0");
