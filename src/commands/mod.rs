//! The commands: one file per family, each opening with its table.

pub mod command;
pub mod config;
pub mod connection;
pub mod databases;
pub mod keys;
pub mod persistence;
pub mod server;
pub mod strings;
pub mod transactions;

use crate::command::Command;

/// Every family's rows.
pub const FAMILIES: &[&[Command]] = &[
    command::COMMANDS,
    config::COMMANDS,
    connection::COMMANDS,
    databases::COMMANDS,
    keys::COMMANDS,
    persistence::COMMANDS,
    server::COMMANDS,
    strings::COMMANDS,
    transactions::COMMANDS,
];
