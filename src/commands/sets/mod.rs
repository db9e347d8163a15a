//! Sets: members without order, adding and removing them, drawing some by chance, and combining whole sets.
//!
//! What was drawn propagates as SREM of just that. A combination is complete before its target is touched, which may be
//! one of the sources.

mod change;
mod combine;
mod count;
mod random;
mod read;

use crate::command::Command;

pub const COMMANDS: &[Command] = &[
    change::SADD,
    read::SCARD,
    combine::SDIFF,
    count::SDIFFCARD,
    combine::SDIFFSTORE,
    combine::SINTER,
    count::SINTERCARD,
    combine::SINTERSTORE,
    read::SISMEMBER,
    read::SMEMBERS,
    read::SMISMEMBER,
    change::SMOVE,
    random::SPOP,
    random::SRANDMEMBER,
    change::SREM,
    read::SSCAN,
    combine::SUNION,
    count::SUNIONCARD,
    combine::SUNIONSTORE,
];
