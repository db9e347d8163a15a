//! Union, intersection and difference of sorted sets and sets, replied, counted or stored.
//!
//! Members of plain sets count with a score of 1. Scores are multiplied by their input's weight and put together in the
//! order of growing inputs, as Redis does: sums of doubles depend on it. What would be no number is 0.

use crate::command::error::{NOT_INT, SYNTAX, WRONG_TYPE};
use crate::command::registry::Row;
use crate::command::*;
use crate::keyspace::{Db, Expiry};
use crate::num;
use crate::types::set::Set;
use crate::types::zset::Zset;
use crate::types::{Collection, Text, Value};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::cmp::Ordering;

const RO_KEYS: u16 = keys::RO | keys::ACCESS;
const STORE_KEYS: Keys = Keys::one(1, keys::OW | keys::UPDATE).and(Keys::counted(2, RO_KEYS));

pub const ZUNION: Command = Command {
    name: "ZUNION",
    args: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX | COUNT@8.8.0>] [WITHSCORES]",
    arity: -3,
    since: "6.2.0",
    group: Group::SortedSet,
    flags: READONLY | MOVABLE_KEYS,
    keys: Keys::counted(1, RO_KEYS),
    doc: "The members that are in any of several sorted sets. AGGREGATE COUNT scores by how many have them, each counting with its weight. O(N + M log M), N members in and M out.",
    examples: "> ZADD a 1 x 2 y\n(integer) 2\n> ZADD b 3 y\n(integer) 1\n> ZUNION 2 a b WITHSCORES\n1) \"x\"\n2) \"1\"\n3) \"y\"\n4) \"5\"\n> ZUNION 2 a b AGGREGATE COUNT WITHSCORES\n1) \"x\"\n2) \"1\"\n3) \"y\"\n4) \"2\"",
    run: |ctx| answer(ctx, Operation::Union),
};

pub const ZUNIONSTORE: Command = Command {
    name: "ZUNIONSTORE",
    args: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX | COUNT@8.8.0>]",
    arity: -4,
    since: "2.0.0",
    flags: WRITE | DENYOOM | MOVABLE_KEYS,
    keys: STORE_KEYS,
    doc: "Stores the members that are in any of several sorted sets; how many. O(N + M log M).",
    examples: "> ZADD a 1 x 2 y\n(integer) 2\n> ZADD b 3 y\n(integer) 1\n> ZUNIONSTORE c 2 a b WEIGHTS 2 1 AGGREGATE MAX\n(integer) 2\n> ZRANGE c 0 -1 WITHSCORES\n1) \"x\"\n2) \"2\"\n3) \"y\"\n4) \"4\"",
    run: |ctx| store(ctx, Operation::Union, "zunionstore"),
    ..ZUNION
};

pub const ZINTER: Command = Command {
    name: "ZINTER",
    args: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX | COUNT@8.8.0>] [WITHSCORES]",
    doc: "The members that are in all of several sorted sets. O(N K + M log M), N members in the smallest of K.",
    examples: "> ZADD a 1 x 2 y\n(integer) 2\n> ZADD b 3 y\n(integer) 1\n> ZINTER 2 a b WITHSCORES\n1) \"y\"\n2) \"5\"",
    run: |ctx| answer(ctx, Operation::Inter),
    ..ZUNION
};

pub const ZINTERSTORE: Command = Command {
    name: "ZINTERSTORE",
    doc: "Stores the members that are in all of several sorted sets; how many. O(N K + M log M).",
    examples: "> ZADD a 1 x 2 y\n(integer) 2\n> ZADD b 3 y\n(integer) 1\n> ZINTERSTORE c 2 a b\n(integer) 1",
    run: |ctx| store(ctx, Operation::Inter, "zinterstore"),
    ..ZUNIONSTORE
};

pub const ZINTERCARD: Command = Command {
    name: "ZINTERCARD",
    args: "numkeys key [key ...] [LIMIT limit]",
    since: "7.0.0",
    doc: "How many members are in all of several sorted sets, counted up to a limit. O(N K), N members in the smallest of K.",
    examples: "> ZADD a 1 x 2 y\n(integer) 2\n> ZADD b 3 y\n(integer) 1\n> ZINTERCARD 2 a b\n(integer) 1",
    run: zintercard,
    ..ZUNION
};

pub const ZDIFF: Command = Command {
    name: "ZDIFF",
    args: "numkeys key [key ...] [WITHSCORES]",
    doc: "The members of the first of several sorted sets that are in no other. O(N + M log M).",
    examples: "> ZADD a 1 x 2 y\n(integer) 2\n> ZADD b 3 y\n(integer) 1\n> ZDIFF 2 a b\n1) \"x\"",
    run: |ctx| answer(ctx, Operation::Diff),
    ..ZUNION
};

pub const ZDIFFSTORE: Command = Command {
    name: "ZDIFFSTORE",
    args: "destination numkeys key [key ...]",
    since: "6.2.0",
    doc: "Stores the members of the first of several sorted sets that are in no other; how many. O(N + M log M).",
    examples: "> ZADD a 1 x 2 y\n(integer) 2\n> ZADD b 3 y\n(integer) 1\n> ZDIFFSTORE c 2 a b\n(integer) 1",
    run: |ctx| store(ctx, Operation::Diff, "zdiffstore"),
    ..ZUNIONSTORE
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
    /// An intersection that is only counted.
    Card,
}

fn answer(ctx: &mut Ctx<'_, '_>, operation: Operation) -> Outcome {
    let Ctx { args, db, out, row, .. } = ctx;
    let query = Query::read(args, db, *row, 1, operation)?;
    super::reply(out, listed(&query.members(operation)), query.options.scores)
}

fn store(ctx: &mut Ctx<'_, '_>, operation: Operation, event: &'static str) -> Outcome {
    let Ctx { args, db, out, row, config, .. } = ctx;
    let (target, max) = (args.key(1), config.zset_max());
    let members = Query::read(args, db, *row, 2, operation)?.members(operation);
    if members.is_empty() {
        db.remove(target);
    } else {
        db.put_value(target, Zset::build(listed(&members), max), Expiry::Clear, b'z', event);
    }
    out.count(members.len())
}

fn zintercard(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, row, .. } = ctx;
    let query = Query::read(args, db, *row, 1, Operation::Card)?;
    let limit = if query.options.limit == 0 { usize::MAX } else { query.options.limit };
    let mut count = 0;
    query.for_each_common(|_, _| {
        count += 1;
        count < limit
    });
    out.count(count)
}

/// A result, in order.
type Members = Vec<(Box<[u8]>, f64)>;

fn listed(members: &Members) -> impl ExactSizeIterator<Item = (Text<'_>, f64)> + Clone {
    members.iter().map(|(name, score)| (Text::Bytes(name), *score))
}

/// What is combined, in the order of the keys, and how.
struct Query<'s> {
    inputs: Vec<Input<'s>>,
    options: Options,
}

struct Input<'s> {
    members: Source<'s>,
    weight: f64,
}

#[derive(Default)]
struct Options {
    weights: SmallVec<[f64; 4]>,
    aggregate: Aggregate,
    scores: bool,
    /// 0: none.
    limit: usize,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Aggregate {
    #[default]
    Sum,
    Min,
    Max,
    /// As the sum, of ones.
    Count,
}

impl Aggregate {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Sum | Self::Count => number(a + b),
            Self::Min if b < a => b,
            Self::Max if b > a => b,
            _ => a,
        }
    }
}

/// Infinities of both signs sum to no number, as does infinity times 0.
fn number(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

impl<'s> Query<'s> {
    /// Reads from the number of keys at argument `at` on, and the inputs. Inputs come before options: a key of another
    /// type is the first error.
    fn read(args: &mut Args<'_>, db: &'s mut Db<'_>, row: Row, at: usize, operation: Operation) -> Result<Self, Error> {
        let keys = num::parse_i64(args.get(at)).ok_or(NOT_INT)?;
        if keys < 1 {
            let name = row.command.full_name();
            return Err(Error::owned(format!("ERR at least 1 input key is needed for '{name}' command")));
        }
        let keys = usize::try_from(keys).ok().filter(|&n| n < args.len() - at).ok_or(SYNTAX)?;
        let values = db.read_values(args.from(at + 1).take(keys))?;
        let sources: Result<Vec<Source<'s>>, Error> = values.into_iter().map(Source::of).collect();
        let sources = sources?;
        args.skip_to(at + 1 + keys);
        let options = Options::read(args, keys, operation, at == 2)?;
        let weights = options.weights.iter().copied().chain(std::iter::repeat(1.0));
        let inputs = sources.into_iter().zip(weights).map(|(members, weight)| Input { members, weight }).collect();
        Ok(Self { inputs, options })
    }

    fn members(&self, operation: Operation) -> Members {
        let mut members = Members::new();
        match operation {
            Operation::Union => members = self.union(),
            Operation::Diff => members = self.difference(),
            Operation::Inter | Operation::Card => self.for_each_common(|name, score| {
                members.push((name.into(), score));
                true
            }),
        }
        members.sort_unstable_by(|(a_name, a), (b_name, b)| {
            a.partial_cmp(b).unwrap_or(Ordering::Equal).then_with(|| a_name.cmp(b_name))
        });
        members
    }

    /// The inputs, the smallest first.
    fn by_size(&self) -> SmallVec<[&Input<'s>; 4]> {
        let mut inputs: SmallVec<[&Input<'s>; 4]> = self.inputs.iter().collect();
        inputs.sort_by_key(|input| input.members.len());
        inputs
    }

    fn union(&self) -> Members {
        let mut members = HashMap::<Box<[u8]>, f64>::new();
        let aggregate = self.options.aggregate;
        for input in self.by_size() {
            input.members.for_each(|name, score| {
                let score = number(self.counted(score) * input.weight);
                match members.get_mut(name) {
                    Some(sum) => *sum = aggregate.of(*sum, score),
                    None => _ = members.insert(name.into(), score),
                }
                true
            });
        }
        members.into_iter().collect()
    }

    /// What is in all inputs, until `visit` has enough.
    fn for_each_common(&self, mut visit: impl FnMut(&[u8], f64) -> bool) {
        let inputs = self.by_size();
        let Some((smallest, others)) = inputs.split_first() else { return };
        smallest.members.for_each(|name, score| {
            let first = number(self.counted(score) * smallest.weight);
            let score = others.iter().try_fold(first, |sum, input| {
                Some(self.options.aggregate.of(sum, self.counted(input.members.score(name)?) * input.weight))
            });
            score.is_none_or(|score| visit(name, score))
        });
    }

    /// What a score counts for.
    fn counted(&self, score: f64) -> f64 {
        if self.options.aggregate == Aggregate::Count { 1.0 } else { score }
    }

    fn difference(&self) -> Members {
        let mut members = Members::new();
        let Some((first, others)) = self.inputs.split_first() else { return members };
        first.members.for_each(|name, score| {
            if !others.iter().any(|other| other.members.score(name).is_some()) {
                members.push((name.into(), score));
            }
            true
        });
        members
    }
}

impl Options {
    /// Reads to the end of the arguments.
    fn read(args: &mut Args<'_>, keys: usize, operation: Operation, stores: bool) -> Result<Self, Error> {
        let mut options = Self::default();
        let combines = matches!(operation, Operation::Union | Operation::Inter);
        while let Some(word) = args.word() {
            match &*word {
                b"WEIGHTS" if combines && args.left() >= keys => {
                    options.weights.clear();
                    for text in (0..keys).filter_map(|_| args.shift()) {
                        options.weights.push(num::parse_f64(text).ok_or(BAD_WEIGHT)?);
                    }
                }
                b"AGGREGATE" if combines => {
                    options.aggregate = match &*args::Word::of(args.required()?) {
                        b"SUM" => Aggregate::Sum,
                        b"MIN" => Aggregate::Min,
                        b"MAX" => Aggregate::Max,
                        b"COUNT" => Aggregate::Count,
                        _ => return Err(SYNTAX),
                    }
                }
                b"WITHSCORES" if !stores && operation != Operation::Card => options.scores = true,
                b"LIMIT" if operation == Operation::Card => {
                    let n = num::parse_i64(args.required()?).and_then(|n| usize::try_from(n).ok());
                    options.limit = n.ok_or(BAD_LIMIT)?;
                }
                _ => return Err(SYNTAX),
            }
        }
        Ok(options)
    }
}

/// An input: a sorted set, a set whose members all score 1, or nothing.
enum Source<'s> {
    Absent,
    Ranked(&'s Zset),
    /// A set: every member scores 1.
    Plain(&'s Set),
}

impl<'s> Source<'s> {
    fn of(value: Option<&'s Value>) -> Result<Self, Error> {
        match value {
            None => Ok(Self::Absent),
            Some(value) => {
                let ranked = Zset::of(value).map(Self::Ranked);
                ranked.or_else(|| Set::of(value).map(Self::Plain)).ok_or(WRONG_TYPE)
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Ranked(set) => set.len(),
            Self::Plain(set) => set.len(),
        }
    }

    fn score(&self, name: &[u8]) -> Option<f64> {
        match self {
            Self::Absent => None,
            Self::Ranked(set) => set.score(name),
            Self::Plain(set) => set.contains(name).then_some(1.0),
        }
    }

    /// Visits members until `visit` says that it is enough.
    fn for_each(&self, mut visit: impl FnMut(&[u8], f64) -> bool) {
        let mut digits = itoa::Buffer::new();
        match self {
            Self::Absent => {}
            Self::Ranked(set) => {
                set.walk(0..set.len(), false).all(|(name, score)| visit(name.bytes(&mut digits), score));
            }
            Self::Plain(set) => set.for_each_while(|name| visit(name.bytes(&mut digits), 1.0)),
        }
    }
}

const BAD_WEIGHT: Error = Error::new("ERR weight value is not a float");
const BAD_LIMIT: Error = Error::new("ERR LIMIT can't be negative");
