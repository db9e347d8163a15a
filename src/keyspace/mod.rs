//! The data: databases over lock stripes, and every piece of bookkeeping a change to a key entails.
//!
//! A key's hash names its stripe (by its `{hash tag}` if it has one, so that one entity's keys meet) and its place in
//! the stripe's table. [`stripe`] holds the locks and the gate, [`entry`] the one allocation of a key, [`db`] what a
//! command may do to the keys it locked, [`expire`] removes what is due, [`evict`] makes room, [`snapshot`] walks one
//! instant while writes go on, [`watch`] tells transactions what changed.
//! Not here: replies, the journal, the network, any I/O.

pub mod access;
mod aside;
mod databases;
pub mod db;
pub mod defrag;
mod edit;
pub mod entry;
pub mod evict;
pub mod expire;
mod generic;
mod graveyard;
mod inspect;
pub mod sizes;
pub mod snapshot;
mod strings;
pub mod stripe;
#[cfg(test)]
mod tests;
pub mod tracking;
pub mod undo;
pub mod waiting;
pub mod walk;
pub mod watch;

pub use crate::types::Text;
pub use db::{AccessMode, Changes, Db, Event, Expired, Expiry, Hint, Hints, Lapsed, Notice, SideEffects, WrongType};
pub use edit::Edit;
pub use generic::{BROADCAST, event_class};
pub use strings::Stored;
#[cfg(test)]
pub use stripe::ModelLock;
pub use stripe::{Exclusive, Gate, Held, Inside, Keyspace, LONG_THREADS, Loose, Place, waited_ticks};
