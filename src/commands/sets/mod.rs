//! Sets: members without order, adding and removing them, drawing some by chance, and combining whole sets.
//!
//! What was drawn propagates as SREM of just that. A combination is complete before its target is touched, which may be
//! one of the sources.

mod change;
mod combine;
mod random;
mod read;

use crate::command::Command;
use crate::config::Config;
use crate::types::PackedMax;
use crate::types::set::SetMax;

pub const COMMANDS: &[Command] = &[
    change::SADD,
    read::SCARD,
    combine::SDIFF,
    combine::SDIFFSTORE,
    combine::SINTER,
    combine::SINTERCARD,
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
    combine::SUNIONSTORE,
];

/// Up to where sets are small, as configured at the moment.
fn max(config: &Config) -> SetMax {
    SetMax {
        ints: config.set_max_intset_entries,
        packed: PackedMax { entries: config.set_max_listpack_entries, bytes: config.set_max_listpack_value },
    }
}
