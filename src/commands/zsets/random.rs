//! ZRANDMEMBER: members at random.

use super::reply;
use crate::command::error::{NOT_INT, OUT_OF_RANGE, SYNTAX};
use crate::command::*;
use crate::num;
use crate::types::Text;
use crate::types::zset::Zset;
use hashbrown::HashSet;

pub const ZRANDMEMBER: Command = Command {
    name: "ZRANDMEMBER",
    args: "key [count [WITHSCORES]]",
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
        return Err(COUNT_RANGE);
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
    let Ok(distinct) = usize::try_from(count) else {
        let picks = usize::try_from(count.unsigned_abs()).map_err(|_| OUT_OF_RANGE)?;
        if picks > PICKS_MAX {
            return Err(OUT_OF_RANGE);
        }
        let picked = (0..picks).filter_map(|_| member(set, fastrand::usize(..set.len())));
        return reply(out, Counted(picked, picks), scores);
    };
    if distinct >= set.len() {
        return reply(out, set.walk(0..set.len(), true), scores);
    }
    let ranks = different_below(set.len(), distinct);
    let picked = ranks.iter().filter_map(|&rank| member(set, rank));
    reply(out, Counted(picked, distinct), scores)
}

fn member(set: &Zset, rank: usize) -> Option<(Text<'_>, f64)> {
    set.walk(rank..rank + 1, false).next()
}

/// So many different numbers below `n`, each choice with the same chance (Floyd's sampling), in no particular order.
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

/// An iterator whose length its maker knows.
struct Counted<I>(I, usize);

impl<I: Iterator> Iterator for Counted<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.1 = self.1.saturating_sub(1);
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.1, Some(self.1))
    }
}

impl<I: Iterator> ExactSizeIterator for Counted<I> {}

/// Redis refuses more pairs, whose reply would have more elements than a number can say.
const PAIRS_MAX: u64 = i64::MAX as u64 / 2;
/// Redis tries to reply any number of repeated picks; this many are some 2 GB of the smallest members.
const PICKS_MAX: usize = 1 << 27;
const COUNT_RANGE: Error =
    Error::new("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
