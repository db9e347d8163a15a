//! Whole sets combined: what is in all of them, in any of them, or in the first alone.

use crate::command::*;
use crate::keyspace::Expiry;
use crate::types::Text;
use crate::types::set::{Set, SetMax};

pub const RO_KEYS: u16 = keys::RO | keys::ACCESS;

pub const SINTER: Command = Command {
    name: "SINTER",
    args: "key [key ...]",
    arity: -2,
    since: "1.0.0",
    group: Group::Set,
    flags: READONLY,
    keys: Keys::range(1, -1, 1, RO_KEYS),
    doc: "The members that are in all of several sets. O(N*M) in the size of the smallest and the number of sets.",
    examples: "> SADD a 1 2 3\n(integer) 3\n> SADD b 2 3 4\n(integer) 3\n> SINTER a b\n1) \"2\"\n2) \"3\"",
    run: |ctx| reply(ctx, intersection),
};

pub const SINTERSTORE: Command = Command {
    name: "SINTERSTORE",
    args: "destination key [key ...]",
    arity: -3,
    flags: WRITE | DENYOOM,
    keys: STORE_KEYS,
    doc: "Stores the members that are in all of several sets. O(N*M) in the size of the smallest and the number of sets.",
    examples: "> SADD a 1 2 3\n(integer) 3\n> SADD b 2 3 4\n(integer) 3\n> SINTERSTORE c a b\n(integer) 2\n> SMEMBERS c\n1) \"2\"\n2) \"3\"",
    run: |ctx| store(ctx, intersection, "sinterstore"),
    ..SINTER
};

pub const SUNION: Command = Command {
    name: "SUNION",
    doc: "The members that are in any of several sets. O(N) in all their members.",
    examples: "> SADD a 1 2\n(integer) 2\n> SADD b 2 3\n(integer) 2\n> SUNION a b\n1) \"1\"\n2) \"2\"\n3) \"3\"",
    run: |ctx| reply(ctx, union),
    ..SINTER
};

pub const SUNIONSTORE: Command = Command {
    name: "SUNIONSTORE",
    doc: "Stores the members that are in any of several sets. O(N) in all their members.",
    examples: "> SADD a 1 2\n(integer) 2\n> SADD b 2 3\n(integer) 2\n> SUNIONSTORE c a b\n(integer) 3",
    run: sunionstore,
    ..SINTERSTORE
};

pub const SDIFF: Command = Command {
    name: "SDIFF",
    doc: "The members of the first set that are in none of the others. O(N) in all their members.",
    examples: "> SADD a 1 2 3\n(integer) 3\n> SADD b 2\n(integer) 1\n> SDIFF a b\n1) \"1\"\n2) \"3\"",
    run: |ctx| reply(ctx, difference),
    ..SINTER
};

pub const SDIFFSTORE: Command = Command {
    name: "SDIFFSTORE",
    doc: "Stores the members of the first set that are in none of the others. O(N) in all their members.",
    examples: "> SADD a 1 2 3\n(integer) 3\n> SADD b 2\n(integer) 1\n> SDIFFSTORE c a b\n(integer) 2",
    run: |ctx| store(ctx, difference, "sdiffstore"),
    ..SINTERSTORE
};

const STORE_KEYS: Keys = Keys::one(1, keys::OW | keys::UPDATE).and(Keys::range(2, -1, 1, RO_KEYS));

/// Calls the visitor with each member of a combination of sets, once, until it says no; a set that is not there is empty.
pub type Combine = fn(&[Option<&Set>], SetMax, &mut dyn FnMut(Text<'_>) -> bool);

fn reply(ctx: &mut Ctx<'_, '_>, combine: Combine) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let sets = db.read_all::<Set>(args.from(1))?;
    let (hole, mut found) = (out.later(), 0);
    combine(&sets, config.set_max(), &mut |member| {
        found += 1;
        out.text(member).is_ok()
    });
    out.fill_set(hole, found);
    Ok(())
}

fn store(ctx: &mut Ctx<'_, '_>, combine: Combine, event: &'static str) -> Outcome {
    let (target, max, mut result) = (ctx.args.key(1), ctx.config.set_max(), Set::default());
    let sets = ctx.db.read_all::<Set>(ctx.args.from(2))?;
    combine(&sets, max, &mut |member| {
        result.insert_absent(member, max);
        true
    });
    put(ctx, target, result, event)
}

fn put(ctx: &mut Ctx<'_, '_>, target: &[u8], result: Set, event: &'static str) -> Outcome {
    let len = result.len();
    if len > 0 {
        ctx.db.put_value(target, result.into_value(), Expiry::Clear, b's', event);
    } else {
        ctx.db.remove(target);
    }
    ctx.out.count(len)
}

/// The result itself tells what has been seen.
fn sunionstore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (target, max) = (ctx.args.key(1), ctx.config.set_max());
    let sets: Vec<&Set> = ctx.db.read_all::<Set>(ctx.args.from(2))?.into_iter().flatten().collect();
    let most = sets.iter().map(|set| set.len()).max().unwrap_or(0);
    let mut result = if most > max.ints.max(max.packed.entries) { Set::big() } else { Set::default() };
    for (i, set) in sets.iter().enumerate() {
        set.for_each_batch(|batch| {
            if i > 0 {
                result.retain(batch, false);
            }
            batch.iter().for_each(|&member| _ = result.insert_absent(member, max));
            true
        });
    }
    put(ctx, target, result, "sunionstore")
}

pub fn intersection(sets: &[Option<&Set>], _: SetMax, visit: &mut dyn FnMut(Text<'_>) -> bool) {
    let Some(mut sets) = sets.iter().copied().collect::<Option<Vec<&Set>>>() else { return };
    sets.sort_by_key(|set| set.len());
    let Some((smallest, others)) = sets.split_first() else { return };
    smallest.for_each_batch(|batch| {
        others.iter().for_each(|set| set.retain(batch, true));
        batch.iter().all(|&member| visit(member))
    });
}

pub fn union(sets: &[Option<&Set>], max: SetMax, visit: &mut dyn FnMut(Text<'_>) -> bool) {
    let sets: Vec<&Set> = sets.iter().copied().flatten().collect();
    // Sets before it are asked for a member while that costs less than to keep in mind what was seen.
    if sets.len() <= ASKED_MAX && !sets.iter().any(|set| set.is_packed()) {
        let mut goes_on = true;
        for (i, set) in sets.iter().enumerate() {
            set.for_each_batch(|batch| {
                sets[..i].iter().for_each(|earlier| earlier.retain(batch, false));
                goes_on = batch.iter().all(|&member| visit(member));
                goes_on
            });
            if !goes_on {
                break;
            }
        }
        return;
    }
    let (mut seen, mut goes_on) = (Set::big(), true);
    for set in sets {
        set.for_each_while(|member| {
            goes_on = !seen.insert(member.bytes(&mut itoa::Buffer::new()), max) || visit(member);
            goes_on
        });
        if !goes_on {
            return;
        }
    }
}

pub fn difference(sets: &[Option<&Set>], max: SetMax, visit: &mut dyn FnMut(Text<'_>) -> bool) {
    let Some((Some(first), others)) = sets.split_first() else { return };
    let mut others: Vec<&Set> = others.iter().copied().flatten().collect();
    if others.iter().any(|set| std::ptr::eq(*set, *first)) {
        return;
    }
    // Either every member of the first is looked up in the others, half of them in vain, or the others are walked.
    let lookups = first.len() * (others.len() + 1) / 2;
    let walk = first.len() + others.iter().map(|set| set.len()).sum::<usize>();
    if lookups <= walk {
        others.sort_by_key(|set| std::cmp::Reverse(set.len()));
        return first.for_each_batch(|batch| {
            others.iter().for_each(|set| set.retain(batch, false));
            batch.iter().all(|&member| visit(member))
        });
    }
    let mut rest = Set::big();
    first.for_each(|member| _ = rest.insert(member.bytes(&mut itoa::Buffer::new()), max));
    for set in others {
        set.for_each(|member| _ = rest.remove(member.bytes(&mut itoa::Buffer::new())));
    }
    rest.for_each_while(visit);
}

/// A lookup takes a third of an insert, and the first set needs neither.
const ASKED_MAX: usize = 4;
