//! memkv: a Redis drop-in server for real-time machine learning.
//!
//! This page is the map. The order of the `mod` lines below **is** the dependency order: a module may use only
//! floors printed above its own; siblings on one floor do not know each other. `tests/tidy.rs` enforces it.

// floor 1: ground — pure words, no state
pub mod checksum;
pub mod clock;
pub mod glob;
pub mod lzf;
pub mod num;

// floor 2: wire and values — no tokio, no std::{fs,net,thread}
pub mod resp;
pub mod table;

// floor 3: data types over the table
pub mod types;

// floor 4: the data and its services — locks, but no I/O
pub mod config;
pub mod keyspace;
pub mod log;
pub mod observe;
