//! Slots in cluster mode: everything that one request names lies in one of them, and so does everything of an EXEC. A script
//! keeps to one too, unless it says that it does not.
//!
//! Keys count, and the names of shard channels. The gate stops no command with one key, so it is always quiet.

use super::gates::Request;
use super::registry::Row;
use super::{Error, RUNS_QUEUE};
use crate::checksum::key_slot;
use crate::resp::ArgvView;

/// The slots that something needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slots {
    None,
    One(u16),
    Several,
}

impl Slots {
    /// Those of one command.
    pub fn of(row: Row, argv: ArgvView<'_>) -> Self {
        Self::None.and(row, argv)
    }

    fn and(self, row: Row, argv: ArgvView<'_>) -> Self {
        let mut all = self;
        row.command.keys.for_each_in_slots(argv, &mut |i| {
            let slot = key_slot(argv.get(i));
            all = match all {
                Self::None => Self::One(slot),
                Self::One(known) if known == slot => all,
                _ => Self::Several,
            };
        });
        all
    }
}

/// The gate. What runs inside EXEC was judged with it; a script's commands are judged by its own rule.
pub(super) fn gate(r: &Request<'_>) -> Result<(), Error> {
    if !r.config.cluster_enabled || r.within.is_some() {
        return Ok(());
    }
    let queued = r.session.queue.iter().filter(|_| r.row.command.has(RUNS_QUEUE)).flat_map(|queue| &queue.commands);
    let all = queued.fold(Slots::of(r.row, r.argv), |all, (row, argv)| all.and(*row, argv.view()));
    if all == Slots::Several { Err(CROSS_SLOT) } else { Ok(()) }
}

/// What a script may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptSlots {
    /// Anything: cluster mode is off.
    Any,
    /// What each of its commands could touch by itself.
    Each,
    /// One slot; none yet if nothing has named a key.
    One(Option<u16>),
}

impl ScriptSlots {
    /// Takes in a command of the script.
    pub fn admit(&mut self, row: Row, argv: ArgvView<'_>) -> Result<(), Error> {
        if *self == Self::Any {
            return Ok(());
        }
        match (self, Slots::of(row, argv)) {
            (_, Slots::Several) => Err(NOT_LOCAL),
            (Self::One(known), Slots::One(slot)) => {
                if *known.get_or_insert(slot) == slot {
                    Ok(())
                } else {
                    Err(OTHER_SLOT)
                }
            }
            _ => Ok(()),
        }
    }
}

pub(super) const CROSS_SLOT: Error = Error::new("CROSSSLOT Keys in request don't hash to the same slot");
const NOT_LOCAL: Error = Error::new("ERR Script attempted to access a non local key in a cluster node");
const OTHER_SLOT: Error = Error::new("ERR Script attempted to access keys that do not hash to the same slot");
