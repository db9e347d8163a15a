//! The commands: one file per family, each opening with its table.

pub mod connection;
pub mod databases;
pub mod keys;
pub mod persistence;
pub mod strings;
pub mod transactions;

use crate::command::Command;

/// Every family's rows.
pub const FAMILIES: &[&[Command]] = &[
    connection::COMMANDS,
    databases::COMMANDS,
    keys::COMMANDS,
    persistence::COMMANDS,
    strings::COMMANDS,
    transactions::COMMANDS,
];
