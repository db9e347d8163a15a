//! Members added, rescored and removed.

use crate::command::error::{NOT_FLOAT, SYNTAX};
use crate::command::*;
use crate::num;
use crate::types::zset::Zset;
use smallvec::SmallVec;

pub const ZADD: Command = Command {
    name: "ZADD",
    args: "key [condition@3.0.2: NX | XX] [comparison@6.2.0: GT | LT] [change@3.0.2: CH] [increment@3.0.2: INCR] score member [score member ...]",
    arity: -4,
    since: "1.2.0",
    group: Group::SortedSet,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::write(1),
    doc: "Adds members or changes their scores, on conditions if asked; how many were added. O(log N) for each.",
    examples: "> ZADD z 1 one 2 two\n(integer) 2\n> ZADD z XX CH 3 one 4 four\n(integer) 1\n> ZADD z INCR 0.5 two\n\"2.5\"\n> ZADD z GT INCR -1 two\n(nil)",
    run: zadd,
};

fn zadd(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let options = Options::read(&mut ctx.args)?;
    let from = ctx.args.cursor();
    scored(ctx, options, from)
}

pub const ZINCRBY: Command = Command {
    name: "ZINCRBY",
    args: "key increment member",
    arity: 4,
    since: "1.2.0",
    group: Group::SortedSet,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::UPDATE),
    doc: "Adds to a member's score, which begins at 0; the new score. O(log N).",
    examples: "> ZINCRBY z 2 m\n\"2\"\n> ZINCRBY z 1.5 m\n\"3.5\"",
    run: zincrby,
};

fn zincrby(ctx: &mut Ctx<'_, '_>) -> Outcome {
    scored(ctx, Options { incr: true, ..Options::default() }, 2)
}

/// What may stand in front of ZADD's scores.
#[derive(Clone, Copy, Default)]
pub struct Options {
    pub nx: bool,
    pub xx: bool,
    pub gt: bool,
    pub lt: bool,
    pub ch: bool,
    pub incr: bool,
}

impl Options {
    /// Reads the options; the cursor then stands at the first score.
    fn read(args: &mut Args<'_>) -> Result<Self, Error> {
        let mut options = Self::default();
        args.skip_to(2);
        loop {
            let at = args.cursor();
            match args.word().as_deref() {
                Some(b"NX") => options.nx = true,
                Some(b"XX") => options.xx = true,
                Some(b"GT") => options.gt = true,
                Some(b"LT") => options.lt = true,
                Some(b"CH") => options.ch = true,
                Some(b"INCR") => options.incr = true,
                _ => {
                    args.skip_to(at);
                    break;
                }
            }
        }
        if args.is_done() || !args.left().is_multiple_of(2) {
            return Err(SYNTAX);
        }
        if options.nx && options.xx {
            return Err(NX_AND_XX);
        }
        if options.gt && options.lt || options.nx && (options.gt || options.lt) {
            return Err(GT_LT_NX);
        }
        if options.incr && args.left() > 2 {
            return Err(ONE_INCREMENT);
        }
        Ok(options)
    }

    /// The score a member is to get, if its present one lets it have any.
    fn score(self, old: Option<f64>, given: f64) -> Option<f64> {
        match old {
            None => (!self.xx).then_some(given),
            Some(_) if self.nx => None,
            Some(old) => {
                let new = if self.incr { old + given } else { given };
                Some(new).filter(|&new| !(self.gt && new <= old || self.lt && new >= old))
            }
        }
    }
}

/// Adds the members behind argument `from`, each with its score in front.
fn scored(ctx: &mut Ctx<'_, '_>, options: Options, from: usize) -> Outcome {
    let pairs = ctx.args.pairs(from);
    let members: Result<SmallVec<[_; 4]>, Error> =
        pairs.map(|(score, name)| Ok((num::parse_f64(score).ok_or(NOT_FLOAT)?, name))).collect();
    add(ctx, options, &members?).map(|_| ())
}

/// Adds members and replies as ZADD does; how many were added or rescored.
pub fn add(ctx: &mut Ctx<'_, '_>, options: Options, members: &[(f64, &[u8])]) -> Result<usize, Error> {
    let Ctx { args, db, out, config, .. } = ctx;
    let (key, max) = (args.key(1), config.zset_max());
    let (mut added, mut updated, mut given) = (0, 0, None);
    if options.xx && db.look::<Zset>(key)?.is_none() {
        if options.incr {
            out.null()?
        } else {
            out.int(0)?
        }
        return Ok(0);
    }
    let mut set = db.upsert::<Zset>(key)?;
    set.expect(members.len(), max);
    for &(score, name) in members {
        set.update(name, max, |old| {
            given = options.score(old, score);
            let new = given.filter(|&new| !new.is_nan() && old != Some(new))?;
            if old.is_none() {
                added += 1
            } else {
                updated += 1
            }
            Some(new)
        });
    }
    if added + updated > 0 {
        set.changed_by(if options.incr { "zincr" } else { "zadd" }, added + updated);
    }
    match given {
        _ if !options.incr => out.count(if options.ch { added + updated } else { added })?,
        // Only an increment can make one: infinities of both signs.
        Some(score) if score.is_nan() => return Err(NOT_A_NUMBER),
        Some(score) => out.double(score)?,
        None => out.null()?,
    }
    Ok(added + updated)
}

pub const ZREM: Command = Command {
    name: "ZREM",
    args: "key member [member ...]",
    arity: -3,
    since: "1.2.0",
    group: Group::SortedSet,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::DELETE),
    doc: "Removes members; how many there were. O(log N) for each.",
    examples: "> ZADD z 1 a 2 b\n(integer) 2\n> ZREM z a c\n(integer) 1\n> ZREM z b\n(integer) 1\n> EXISTS z\n(integer) 0",
    run: zrem,
};

fn zrem(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let Some(mut set) = db.edit::<Zset>(args.key(1))? else { return out.int(0) };
    let removed = args.from(2).filter(|name| set.remove(name).is_some()).count();
    if removed > 0 {
        set.changed_by("zrem", removed);
    }
    out.count(removed)
}

const NX_AND_XX: Error = Error::new("ERR XX and NX options at the same time are not compatible");
const GT_LT_NX: Error = Error::new("ERR GT, LT, and/or NX options at the same time are not compatible");
const ONE_INCREMENT: Error = Error::new("ERR INCR option supports a single increment-element pair");
const NOT_A_NUMBER: Error = Error::new("ERR resulting score is not a number (NaN)");
