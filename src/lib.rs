//! memkv: a Redis drop-in server for real-time machine learning.
//!
//! This page is the map. The order of the `mod` lines below **is** the dependency order: a module may use only
//! floors printed above its own; siblings on one floor do not know each other. `tests/tidy.rs` enforces it.

// floor 1: ground — pure words, no state
pub mod checksum;
pub mod clock;
pub mod glob;
pub mod lzf;
pub mod mallctl;
pub mod memory;
pub mod mover;
pub mod num;
pub mod quote;
pub mod table;

// floor 2: wire and values — no tokio, no std::{fs,net,thread}
pub mod log;
pub mod resp;
pub mod types;

// floor 3: who may do what
pub mod acl;

// floor 4: the clients as all floors above see them: facts, and the way to reach one
pub mod clients;

// floor 5: the data and what serves it — locks, but no I/O
pub mod config;
pub mod keyspace;
pub mod observe;
pub mod pubsub;
pub mod script;

// floor 6: one journal — the first floor allowed to touch a disk
pub mod defrag;
pub mod listeners;
pub mod persist;
pub mod process;
pub mod tls;

// floor 7: the other servers
pub mod cluster;
pub mod dial;
pub mod migrations;
pub mod replication;

// floor 8: the list of services, what the machine says of us, and tools for files
pub mod check;
pub mod node;
pub mod usage;

// floor 9: what a command is
pub mod command;

// floor 10: the commands
pub mod commands;

// floor 11: serving
pub mod net;

// floor 12: the process
pub mod boot;
pub mod cron;
pub mod link;
pub mod loading;
pub mod migrator;
