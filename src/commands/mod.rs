//! The commands: one file per family, each opening with its table.

pub mod connection;
pub mod keys;
pub mod strings;
pub mod transactions;

use crate::command::Command;

/// Every family's rows.
pub const FAMILIES: &[&[Command]] = &[connection::COMMANDS, keys::COMMANDS, strings::COMMANDS, transactions::COMMANDS];
