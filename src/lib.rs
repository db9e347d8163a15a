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
pub mod num;
pub mod quote;

// floor 2: what memory there is
pub mod memory;

// floor 3: moving it
pub mod mover;

// floor 4: the table that everything is found in
pub mod table;

// floor 5: wire and values — no tokio, no std::{fs,net,thread}
pub mod log;
pub mod resp;
pub mod types;

// floor 6: who may do what
pub mod acl;

// floor 7: the clients as all floors above see them: facts, and the way to reach one
pub mod clients;

// floor 8: the data and what serves it — locks, but no I/O
pub mod config;
pub mod keyspace;
pub mod observe;
pub mod pubsub;
pub mod script;

// floor 9: the process and its sockets
pub mod listeners;
pub mod process;
pub mod tls;

// floor 10: one journal — the first floor allowed to touch a disk
pub mod defrag;
pub mod persist;

// floor 11: the other servers
pub mod cluster;
pub mod dial;
pub mod migrations;
pub mod replication;

// floor 12: the list of services, what the machine says of us, and tools for files
pub mod check;
pub mod node;
pub mod usage;

// floor 13: what a command is
pub mod command;

// floor 14: the commands
pub mod commands;

// floor 15: serving
pub mod net;

// floor 16: what runs beside it
pub mod cron;
pub mod migrator;

// floor 17: the data at start
pub mod loading;

// floor 18: the link to a primary
pub mod link;

// floor 19: the process's beginning and end
pub mod boot;
