//! ZRANDMEMBER: members at random.

use super::reply;
use crate::command::error::{NOT_INT, NOT_NEGATABLE, OUT_OF_RANGE, SYNTAX};
use crate::command::*;
use crate::num;
use crate::resp::Proto;
use crate::types::Text;
use crate::types::zset::Zset;
use hashbrown::HashSet;

pub const ZRANDMEMBER: Command = Command {
    name: "ZRANDMEMBER",
    args: "key [options: count [WITHSCORES]]",
    arity: -2,
    since: "6.2.0",
    group: Group::SortedSet,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Members at random: different ones for a positive count, possibly the same for a negative one. O(log N) for each.",
    examples: "> ZADD z 1 a\n(integer) 1\n> ZRANDMEMBER z\n\"a\"\n> ZRANDMEMBER z -2\n1) \"a\"\n2) \"a\"\n> ZRANDMEMBER missing 2\n(empty array)",
    run: zrandmember,
};

fn zrandmember(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    if args.len() == 2 {
        let Some(set) = db.read::<Zset>(args.key(1))? else { return out.null() };
        return match member(set, fastrand::usize(..set.len())) {
            Some((name, _)) => out.text(name),
            None => out.null(),
        };
    }
    let scores = args.len() > 3;
    let count = num::parse_i64(args.get(2)).ok_or(NOT_INT)?;
    if count == i64::MIN {
        return Err(NOT_NEGATABLE);
    }
    if args.len() > 4 || scores && *args.word_at(3) != *b"WITHSCORES" {
        return Err(SYNTAX);
    }
    if scores && count.unsigned_abs() > PAIRS_MAX {
        return Err(OUT_OF_RANGE);
    }
    let Some(set) = db.read::<Zset>(args.key(1))? else {
        out.array(0);
        return Ok(());
    };
    let Ok(distinct) = usize::try_from(count) else { return repeated(out, set, count.unsigned_abs(), scores) };
    if distinct >= set.len() {
        return reply(out, set.walk(0..set.len(), true), scores);
    }
    let ranks = different_below(set.len(), distinct);
    let picked: Vec<_> = ranks.iter().filter_map(|&rank| member(set, rank)).collect();
    reply(out, picked.into_iter(), scores)
}

fn repeated(out: &mut ctx::Reply<'_>, set: &Zset, count: u64, scores: bool) -> Outcome {
    let mut draws = Draws::of(count, out.buf.len())?;
    let pairs = scores && out.proto == Proto::Resp3;
    out.array(if scores && !pairs { 2 * draws.count } else { draws.count });
    for _ in 0..draws.count {
        let rank = fastrand::usize(..set.len());
        super::reply_members(out, set.walk(rank..rank + 1, false), scores)?;
        if !draws.goes_on(out.buf.len()) {
            return Err(OUT_OF_RANGE);
        }
    }
    Ok(())
}

fn member(set: &Zset, rank: usize) -> Option<(Text<'_>, f64)> {
    set.walk(rank..rank + 1, false).next()
}

/// `count` different numbers below `n`, each choice with the same chance (Floyd's sampling), in no particular order.
fn different_below(n: usize, count: usize) -> HashSet<usize> {
    let mut chosen = HashSet::with_capacity(count);
    for last in n - count..n {
        let pick = fastrand::usize(..=last);
        if !chosen.insert(pick) {
            chosen.insert(last);
        }
    }
    chosen
}

/// Redis refuses more pairs, whose reply would have more elements than a number can say.
const PAIRS_MAX: u64 = i64::MAX as u64 / 2;
