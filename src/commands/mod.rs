//! The commands: one file per family, each opening with its table.

pub mod acl;
pub mod bitmaps;
pub mod cluster;
pub mod command;
pub mod config;
pub mod connection;
pub mod databases;
pub mod geo;
pub mod hashes;
pub mod hyperloglog;
pub mod keys;
pub mod lists;
pub mod modules;
pub mod persistence;
pub mod pubsub;
pub mod replication;
pub mod scripting;
pub mod server;
pub mod sets;
pub mod sort;
pub mod streams;
pub mod strings;
pub mod transactions;
pub mod zsets;

use crate::command::{Command, HIDDEN};

/// Every family's rows.
pub const FAMILIES: &[&[Command]] = &[
    acl::COMMANDS,
    bitmaps::COMMANDS,
    cluster::COMMANDS,
    command::COMMANDS,
    config::COMMANDS,
    connection::COMMANDS,
    databases::COMMANDS,
    geo::COMMANDS,
    hashes::COMMANDS,
    hyperloglog::COMMANDS,
    keys::COMMANDS,
    lists::COMMANDS,
    modules::COMMANDS,
    persistence::COMMANDS,
    pubsub::COMMANDS,
    replication::COMMANDS,
    scripting::COMMANDS,
    server::COMMANDS,
    sets::COMMANDS,
    sort::COMMANDS,
    streams::COMMANDS,
    strings::COMMANDS,
    transactions::COMMANDS,
    zsets::COMMANDS,
];

/// All examples, each under a line `# NAME`.
pub fn examples() -> String {
    let rows = FAMILIES.iter().copied().flatten().filter(|row| !row.has(HIDDEN) && !row.examples.is_empty());
    rows.map(|row| format!("# {}\n{}\n\n", row.name, row.examples)).collect()
}
