//! Members by rank, score or name, in either direction, replied or stored.

use super::reply;
use super::span::{By, Span};
use crate::command::error::SYNTAX;
use crate::command::*;
use crate::keyspace::Expiry;
use crate::types::zset::{Walk, Zset};

pub const ZRANGE: Command = Command {
    name: "ZRANGE",
    args: "key start:string stop:string [sortby@6.2.0: BYSCORE | BYLEX] [REV@6.2.0] [LIMIT@6.2.0 offset count] [WITHSCORES] [XX@9.2.0]",
    arity: -4,
    since: "1.2.0",
    group: Group::SortedSet,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Members in a range of ranks, scores or names; with XX (Valkey's, of all that answer ranges) null if there is no such key. O(log N + M), M the number of members answered.",
    examples: "> ZADD z 1 a 2 b 3 c\n(integer) 3\n> ZRANGE z 0 1 WITHSCORES\n1) \"a\"\n2) \"1\"\n3) \"b\"\n4) \"2\"\n> ZRANGE z (1 +inf BYSCORE LIMIT 1 1\n1) \"c\"\n> ZRANGE z [b - BYLEX REV\n1) \"b\"\n2) \"a\"\n> ZRANGE none 0 -1\n(empty array)\n> ZRANGE none 0 -1 XX\n(nil)\n> ZRANGE z 5 9 XX\n(empty array)",
    run: zrange,
};

fn zrange(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let query = Query::read(&mut ctx.args, 1, None, None)?;
    answer(ctx, &query)
}

pub const ZREVRANGE: Command = Command {
    name: "ZREVRANGE",
    args: "key start stop [WITHSCORES] [XX@9.2.0]",
    arity: -4,
    since: "1.2.0",
    group: Group::SortedSet,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Members in a range of ranks, the highest first. O(log N + M).",
    examples: "> ZADD z 1 a 2 b 3 c\n(integer) 3\n> ZREVRANGE z 0 1\n1) \"c\"\n2) \"b\"",
    run: zrevrange,
};

fn zrevrange(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let query = Query::read(&mut ctx.args, 1, Some(By::Rank), Some(true))?;
    answer(ctx, &query)
}

pub const ZRANGEBYSCORE: Command = Command {
    name: "ZRANGEBYSCORE",
    args: "key min max [WITHSCORES@2.0.0] [LIMIT offset count] [XX@9.2.0]",
    arity: -4,
    since: "1.0.5",
    group: Group::SortedSet,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Members in a range of scores. O(log N + M).",
    examples: "> ZADD z 1 a 2 b 3 c\n(integer) 3\n> ZRANGEBYSCORE z (1 3\n1) \"b\"\n2) \"c\"",
    run: zrangebyscore,
};

fn zrangebyscore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let query = Query::read(&mut ctx.args, 1, Some(By::Score), Some(false))?;
    answer(ctx, &query)
}

pub const ZREVRANGEBYSCORE: Command = Command {
    name: "ZREVRANGEBYSCORE",
    args: "key max min [WITHSCORES] [LIMIT offset count] [XX@9.2.0]",
    arity: -4,
    since: "2.2.0",
    group: Group::SortedSet,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Members in a range of scores, the highest first. O(log N + M).",
    examples: "> ZADD z 1 a 2 b 3 c\n(integer) 3\n> ZREVRANGEBYSCORE z +inf -inf LIMIT 0 2\n1) \"c\"\n2) \"b\"",
    run: zrevrangebyscore,
};

fn zrevrangebyscore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let query = Query::read(&mut ctx.args, 1, Some(By::Score), Some(true))?;
    answer(ctx, &query)
}

pub const ZRANGEBYLEX: Command = Command {
    name: "ZRANGEBYLEX",
    args: "key min:string max:string [LIMIT offset count] [XX@9.2.0]",
    arity: -4,
    since: "2.8.9",
    group: Group::SortedSet,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Members in a range of names, all scores being equal. O(log N + M).",
    examples: "> ZADD z 0 a 0 b 0 c\n(integer) 3\n> ZRANGEBYLEX z - (c\n1) \"a\"\n2) \"b\"",
    run: zrangebylex,
};

fn zrangebylex(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let query = Query::read(&mut ctx.args, 1, Some(By::Name), Some(false))?;
    answer(ctx, &query)
}

pub const ZREVRANGEBYLEX: Command = Command {
    name: "ZREVRANGEBYLEX",
    args: "key max:string min:string [LIMIT offset count] [XX@9.2.0]",
    arity: -4,
    since: "2.8.9",
    group: Group::SortedSet,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Members in a range of names, all scores being equal, the highest first. O(log N + M).",
    examples: "> ZADD z 0 a 0 b 0 c\n(integer) 3\n> ZREVRANGEBYLEX z + [b\n1) \"c\"\n2) \"b\"",
    run: zrevrangebylex,
};

fn zrevrangebylex(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let query = Query::read(&mut ctx.args, 1, Some(By::Name), Some(true))?;
    answer(ctx, &query)
}

pub const ZRANGESTORE: Command = Command {
    name: "ZRANGESTORE",
    args: "dst src min:string max:string [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
    arity: -5,
    since: "6.2.0",
    group: Group::SortedSet,
    flags: WRITE | DENYOOM,
    keys: Keys::one(1, keys::OW | keys::UPDATE).and(Keys::read(2)),
    doc: "Stores a range of a sorted set at another key; its size. O(log N + M).",
    examples: "> ZADD z 1 a 2 b 3 c\n(integer) 3\n> ZRANGESTORE top z 0 1 REV\n(integer) 2\n> ZRANGE top 0 -1\n1) \"b\"\n2) \"c\"",
    run: zrangestore,
};

fn zrangestore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let query = Query::read(&mut ctx.args, 2, None, None)?;
    let Ctx { args, db, out, config, .. } = ctx;
    let (target, max) = (args.key(1), config.zset_max());
    let Some(members) = db.read::<Zset>(args.key(2))?.map(|set| query.members(set)).filter(|m| m.len() > 0) else {
        db.remove(target);
        return out.int(0);
    };
    let (count, copy) = (members.len(), Zset::build(members, max));
    db.put_value(target, copy, Expiry::Clear, b'z', "zrangestore");
    out.count(count)
}

fn answer(ctx: &mut Ctx<'_, '_>, query: &Query<'_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    match db.read::<Zset>(args.key(1))? {
        Some(set) => reply(out, query.members(set), query.scores),
        None if query.must_exist => out.null_array(),
        None => out.empty_array(),
    }
}

/// Which members are asked for, in which order.
struct Query<'a> {
    span: Span<'a>,
    reverse: bool,
    offset: i64,
    /// Negative: all.
    count: i64,
    scores: bool,
    /// XX.
    must_exist: bool,
}

impl<'a> Query<'a> {
    /// Reads the ends behind the key at argument `key` and the options behind them. What the command's name says
    /// already is no option. ZRANGESTORE (its key is the second) has no WITHSCORES and no XX.
    fn read(args: &mut Args<'a>, key: usize, by: Option<By>, reverse: Option<bool>) -> Result<Self, Error> {
        let (mut by, mut reverse, mut scores, mut must_exist) = (by, reverse, false, false);
        let (mut offset, mut count) = (0, -1);
        args.skip_to(key + 3);
        while let Some(word) = args.word() {
            match &*word {
                b"WITHSCORES" if key == 1 => scores = true,
                b"XX" if key == 1 => must_exist = true,
                b"LIMIT" if args.left() >= 2 => (offset, count) = (args.required_int()?, args.required_int()?),
                b"REV" if reverse.is_none() => reverse = Some(true),
                b"BYLEX" if by.is_none() => by = Some(By::Name),
                b"BYSCORE" if by.is_none() => by = Some(By::Score),
                _ => return Err(SYNTAX),
            }
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if count != -1 && by == By::Rank {
            return Err(LIMIT_NEEDS_ENDS);
        }
        if scores && by == By::Name {
            return Err(SCORES_OF_NAMES);
        }
        let (mut min, mut max) = (args.get(key + 1), args.get(key + 2));
        if reverse && by != By::Rank {
            (min, max) = (max, min);
        }
        let span = Span::read(by, min, max)?;
        if by == By::Rank {
            (offset, count) = (0, -1);
        }
        Ok(Self { span, reverse, offset, count, scores, must_exist })
    }

    fn members<'s>(&self, set: &'s Zset) -> Walk<'s> {
        let ranks = self.span.ranks(set, self.reverse);
        // A negative offset passes over everything.
        let skipped = usize::try_from(self.offset).map_or(ranks.len(), |n| n.min(ranks.len()));
        let left = ranks.len() - skipped;
        let taken = usize::try_from(self.count).map_or(left, |n| n.min(left));
        if self.reverse {
            let end = ranks.end - skipped;
            set.walk(end - taken..end, true)
        } else {
            let start = ranks.start + skipped;
            set.walk(start..start + taken, false)
        }
    }
}

const LIMIT_NEEDS_ENDS: Error =
    Error::new("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX");
const SCORES_OF_NAMES: Error = Error::new("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
