//! How many members a combination of sets has, without answering them; up to a limit, at which counting ends.

use super::combine::{self, Combine, RO_KEYS};
use crate::command::error::SYNTAX;
use crate::command::*;
use crate::types::hll::{self, REGISTERS, Registers};
use crate::types::set::Set;

pub const SINTERCARD: Command = Command {
    name: "SINTERCARD",
    args: "numkeys key [key ...] [LIMIT limit]",
    arity: -3,
    since: "7.0.0",
    group: Group::Set,
    flags: READONLY | MOVABLE_KEYS,
    keys: Keys::counted(1, RO_KEYS),
    doc: "How many members are in all of several sets, counted up to a limit. O(N*M) in the size of the smallest and the number of sets.",
    examples: "> SADD a 1 2 3\n(integer) 3\n> SADD b 2 3 4\n(integer) 3\n> SINTERCARD 2 a b\n(integer) 2\n> SINTERCARD 2 a b LIMIT 1\n(integer) 1",
    run: |ctx| count(ctx, combine::intersection, false),
};

pub const SUNIONCARD: Command = Command {
    name: "SUNIONCARD",
    args: "numkeys key [key ...] [APPROX] [LIMIT limit]",
    since: "8.10.0",
    doc: "How many members are in any of several sets, counted up to a limit; with APPROX estimated, to about 0.8 %, without keeping in mind what was seen. O(N) in all their members.",
    examples: "> SADD a 1 2 3\n(integer) 3\n> SADD b 3 4 5\n(integer) 3\n> SUNIONCARD 2 a b\n(integer) 5\n> SUNIONCARD 2 a b LIMIT 3\n(integer) 3\n> SUNIONCARD 3 a b none APPROX\n(integer) 5\n> SUNIONCARD 2 a b APPROX LIMIT 4\n(integer) 4",
    run: |ctx| count(ctx, combine::union, true),
    ..SINTERCARD
};

pub const SDIFFCARD: Command = Command {
    name: "SDIFFCARD",
    since: "8.10.0",
    doc: "How many members of the first set are in none of the others, counted up to a limit. O(N) in all their members.",
    examples: "> SADD a 1 2 3\n(integer) 3\n> SADD b 3 4 5\n(integer) 3\n> SDIFFCARD 2 a b\n(integer) 2\n> SDIFFCARD 2 a b LIMIT 1\n(integer) 1\n> SDIFFCARD 2 none b\n(integer) 0",
    run: |ctx| count(ctx, combine::difference, false),
    ..SINTERCARD
};

fn count(ctx: &mut Ctx<'_, '_>, combine: Combine, may_estimate: bool) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let numkeys = args.int_in(1, 1..=i64::MAX, NO_KEYS).map_err(|_| NO_KEYS)?;
    let numkeys = usize::try_from(numkeys).ok().filter(|&n| n <= args.len() - 2).ok_or(TOO_MANY_KEYS)?;
    let (mut limit, mut estimates) = (0, false);
    args.skip_to(2 + numkeys);
    while let Some(word) = args.word() {
        match &*word {
            b"APPROX" if may_estimate => estimates = true,
            b"LIMIT" if !args.is_done() => {
                limit = args.int_in(args.cursor(), 0..=i64::MAX, NEGATIVE_LIMIT).map_err(|_| NEGATIVE_LIMIT)?;
                args.shift();
            }
            _ => return Err(SYNTAX),
        }
    }
    let sets = db.read_all::<Set>(args.from(2).take(numkeys))?;
    let mut found = 0;
    if estimates {
        found = estimate(&sets);
        return out.int(if limit > 0 { found.min(limit) } else { found });
    }
    combine(&sets, config.set_max(), &mut |_| {
        found += 1;
        found != limit
    });
    out.int(found)
}

/// The size of the union as a HyperLogLog of all members tells it.
fn estimate(sets: &[Option<&Set>]) -> i64 {
    let mut registers: Registers = [0; REGISTERS];
    for set in sets.iter().copied().flatten() {
        set.for_each(|member| {
            let (register, rank) = hll::place(member.bytes(&mut itoa::Buffer::new()));
            registers[register] = registers[register].max(rank);
        });
    }
    i64::try_from(hll::count_registers(&registers)).unwrap_or(i64::MAX)
}

const NO_KEYS: Error = Error::new("ERR numkeys should be greater than 0");
const TOO_MANY_KEYS: Error = Error::new("ERR Number of keys can't be greater than number of args");
const NEGATIVE_LIMIT: Error = Error::new("ERR LIMIT can't be negative");
