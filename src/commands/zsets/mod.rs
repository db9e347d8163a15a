//! Sorted sets: members with scores, ranges by rank, score and name, set algebra.
//!
//! Every range is a range of ranks once [`span`] has read its ends; counting, replying, storing and removing then need
//! no more than that. Not here: places on Earth.

mod algebra;
mod blocking;
pub mod change;
mod look;
pub mod pop;
mod random;
mod range;
mod span;
mod trim;

use crate::command::*;
use crate::resp::Proto;
use crate::types::Text;

pub const COMMANDS: &[Command] = &[
    blocking::BZMPOP,
    blocking::BZPOPMAX,
    blocking::BZPOPMIN,
    change::ZADD,
    look::ZCARD,
    trim::ZCOUNT,
    algebra::ZDIFF,
    algebra::ZDIFFSTORE,
    change::ZINCRBY,
    algebra::ZINTER,
    algebra::ZINTERCARD,
    algebra::ZINTERSTORE,
    trim::ZLEXCOUNT,
    pop::ZMPOP,
    look::ZMSCORE,
    pop::ZPOPMAX,
    pop::ZPOPMIN,
    random::ZRANDMEMBER,
    range::ZRANGE,
    range::ZRANGEBYLEX,
    range::ZRANGEBYSCORE,
    range::ZRANGESTORE,
    look::ZRANK,
    change::ZREM,
    trim::ZREMRANGEBYLEX,
    trim::ZREMRANGEBYRANK,
    trim::ZREMRANGEBYSCORE,
    range::ZREVRANGE,
    range::ZREVRANGEBYLEX,
    range::ZREVRANGEBYSCORE,
    look::ZREVRANK,
    look::ZSCAN,
    look::ZSCORE,
    algebra::ZUNION,
    algebra::ZUNIONSTORE,
];

/// An array of members, with their scores if asked: side by side in RESP2, in pairs in RESP3.
fn reply<'a>(
    out: &mut ctx::Reply<'_>,
    members: impl ExactSizeIterator<Item = (Text<'a>, f64)>,
    scores: bool,
) -> Outcome {
    let pairs = scores && out.proto == Proto::Resp3;
    out.array(if scores && !pairs { 2 * members.len() } else { members.len() });
    reply_members(out, members, scores)
}

/// The elements of such an array.
fn reply_members<'a>(
    out: &mut ctx::Reply<'_>,
    members: impl Iterator<Item = (Text<'a>, f64)>,
    scores: bool,
) -> Outcome {
    let pairs = scores && out.proto == Proto::Resp3;
    for (name, score) in members {
        if pairs {
            out.array(2);
        }
        out.text(name)?;
        if scores {
            out.double(score)?;
        }
    }
    Ok(())
}
