//! Members taken from either end. [`take_one`], [`first_with_members`] and [`Query`] are what the waiting commands are made of too.

use super::reply;
use crate::command::error::{NOT_POSITIVE, SYNTAX};
use crate::command::*;
use crate::keyspace::Edit;
use crate::num;
use crate::types::zset::Zset;

/// Which end of a sorted set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Min,
    Max,
}

impl End {
    pub fn read(word: &[u8]) -> Result<Self, Error> {
        match word {
            b"MIN" => Ok(Self::Min),
            b"MAX" => Ok(Self::Max),
            _ => Err(SYNTAX),
        }
    }

    /// The ranks of up to `count` outermost members.
    fn ranks(self, len: usize, count: usize) -> std::ops::Range<usize> {
        let count = count.min(len);
        match self {
            Self::Min => 0..count,
            Self::Max => len - count..len,
        }
    }

    fn event(self) -> &'static str {
        match self {
            Self::Min => "zpopmin",
            Self::Max => "zpopmax",
        }
    }

    /// The command by which a pop propagates.
    pub fn command(self) -> &'static [u8] {
        match self {
            Self::Min => b"ZPOPMIN",
            Self::Max => b"ZPOPMAX",
        }
    }
}

/// Takes the outermost member and answers it and its score, which are part of an array.
pub fn take_one(out: &mut ctx::Reply<'_>, set: &mut Edit<'_, '_, Zset>, end: End) -> Outcome {
    let ranks = end.ranks(set.len(), 1);
    if let Some((name, score)) = set.walk(ranks.clone(), false).next() {
        out.text(name)?;
        out.double(score)?;
    }
    set.remove_ranks(ranks);
    set.changed(end.event());
    Ok(())
}

/// Takes up to `count` members and answers them with their scores, outermost first.
fn take(out: &mut ctx::Reply<'_>, set: &mut Edit<'_, '_, Zset>, end: End, count: usize) -> Outcome {
    let ranks = end.ranks(set.len(), count);
    reply(out, set.walk(ranks.clone(), end == End::Max), true)?;
    if !ranks.is_empty() {
        let count = ranks.len();
        set.remove_ranks(ranks);
        set.changed_by(end.event(), count);
    }
    Ok(())
}

/// The first of the keys that holds members; a key of another type in front of it is an error.
pub fn first_with_members<'a>(
    db: &mut crate::keyspace::Db<'_>,
    mut keys: impl Iterator<Item = &'a [u8]>,
) -> Result<Option<&'a [u8]>, Error> {
    Ok(keys.find_map(|key| db.look::<Zset>(key).map(|set| set.map(|_| key)).transpose()).transpose()?)
}

pub const ZPOPMAX: Command = Command {
    name: "ZPOPMAX",
    args: "key [count]",
    arity: -2,
    since: "5.0.0",
    group: Group::SortedSet,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::DELETE),
    doc: "Removes and answers the members with the highest scores. O(M log N).",
    examples: "> ZADD z 1 a 2 b 3 c\n(integer) 3\n> ZPOPMAX z\n1) \"c\"\n2) \"3\"\n> ZPOPMAX missing\n(empty array)",
    run: zpopmax,
};

fn zpopmax(ctx: &mut Ctx<'_, '_>) -> Outcome {
    pop(ctx, End::Max)
}

pub const ZPOPMIN: Command = Command {
    name: "ZPOPMIN",
    args: "key [count]",
    arity: -2,
    since: "5.0.0",
    group: Group::SortedSet,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::DELETE),
    doc: "Removes and answers the members with the lowest scores. O(M log N).",
    examples: "> ZADD z 1 a 2 b 3 c\n(integer) 3\n> ZPOPMIN z 2\n1) \"a\"\n2) \"1\"\n3) \"b\"\n4) \"2\"",
    run: zpopmin,
};

fn zpopmin(ctx: &mut Ctx<'_, '_>) -> Outcome {
    pop(ctx, End::Min)
}

fn pop(ctx: &mut Ctx<'_, '_>, end: End) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let count = match args.len() {
        2 => None,
        3 => Some(usize::try_from(args.int_in(2, 0..=i64::MAX, NOT_POSITIVE)?).map_err(|_| NOT_POSITIVE)?),
        _ => return Err(SYNTAX),
    };
    let Some(mut set) = db.edit::<Zset>(args.key(1))? else {
        out.array(0);
        return Ok(());
    };
    match count {
        Some(count) => take(out, &mut set, end, count),
        // Without a count it is one pair, whatever the protocol.
        None => {
            out.array(2);
            take_one(out, &mut set, end)
        }
    }
}

pub const ZMPOP: Command = Command {
    name: "ZMPOP",
    args: "numkeys key [key ...] <MIN | MAX> [COUNT count]",
    arity: -4,
    since: "7.0.0",
    group: Group::SortedSet,
    flags: WRITE | MOVABLE_KEYS,
    keys: Keys::counted(1, keys::RW | keys::ACCESS | keys::DELETE),
    doc: "Removes and answers members of the first of several sorted sets that has any. O(K + M log N).",
    examples: "> ZADD z 1 a 2 b\n(integer) 2\n> ZMPOP 2 missing z MIN\n1) \"z\"\n2) 1) 1) \"a\"\n      2) \"1\"\n> ZMPOP 1 missing MAX\n(nil)",
    run: zmpop,
};

fn zmpop(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let query = Query::read(&mut ctx.args, 1)?;
    if query.run(ctx)? { Ok(()) } else { ctx.out.null_array() }
}

/// What ZMPOP and BZMPOP ask for.
pub struct Query<'a> {
    keys: smallvec::SmallVec<[&'a [u8]; 4]>,
    end: End,
    count: usize,
}

impl<'a> Query<'a> {
    /// Reads from the number of keys at argument `at` on.
    pub fn read(args: &mut Args<'a>, at: usize) -> Result<Self, Error> {
        let keys = args.int_in(at, 1..=i64::MAX, NO_KEYS)?;
        let keys = usize::try_from(keys).map_err(|_| SYNTAX)?;
        // The end's word stands behind the keys.
        if keys >= args.len().saturating_sub(at + 1) {
            return Err(SYNTAX);
        }
        args.skip_to(at + 1 + keys);
        let end = End::read(&args.word().ok_or(SYNTAX)?)?;
        let mut count = None;
        while let Some(word) = args.word() {
            if *word != *b"COUNT" || count.is_some() {
                return Err(SYNTAX);
            }
            let n = num::parse_i64(args.required()?).and_then(|n| usize::try_from(n).ok());
            count = Some(n.filter(|&n| n > 0).ok_or(NO_COUNT)?);
        }
        Ok(Self { keys: args.from(at + 1).take(keys).collect(), end, count: count.unwrap_or(1) })
    }

    pub fn keys(&self) -> &[&'a [u8]] {
        &self.keys
    }

    /// Takes members from the first key that has any, replies them with the key and says what happened. False and no
    /// reply: none has.
    pub fn run(&self, ctx: &mut Ctx<'_, '_>) -> Result<bool, Error> {
        let Ctx { db, out, .. } = ctx;
        let Some(key) = first_with_members(db, self.keys.iter().copied())? else { return Ok(false) };
        let Some(mut set) = db.edit::<Zset>(key)? else { return Ok(false) };
        let end = self.end;
        let ranks = end.ranks(set.len(), self.count);
        let count = ranks.len();
        out.array(2);
        out.bulk(key)?;
        out.array(count);
        for (name, score) in set.walk(ranks.clone(), end == End::Max) {
            out.array(2);
            out.text(name)?;
            out.double(score)?;
        }
        set.remove_ranks(ranks);
        set.changed_by(end.event(), count);
        drop(set);
        ctx.propagate(&[end.command(), key, itoa::Buffer::new().format(count).as_bytes()]);
        Ok(true)
    }
}

const NO_KEYS: Error = Error::new("ERR numkeys should be greater than 0");
const NO_COUNT: Error = Error::new("ERR count should be greater than 0");
