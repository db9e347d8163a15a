//! `maxmemory-clients`: closing the clients that hold most.
//!
//! Looked at where something has changed: by a connection that holds more than before, by CONFIG SET, and ten times a
//! second for what neither sees. Who is closed is off the list at once; its worker closes the socket when it next looks
//! at its mail.

use crate::clock;
use crate::command::{Registry, room};
use crate::config::Config;
use crate::node::Node;
use crate::observe::WorkerStats;

/// Closes the largest clients if all together are not below the limit.
pub fn relieve(node: &Node, registry: &'static Registry, stats: &WorkerStats, config: &Config) {
    if let Some(limit) = config.clients_bytes_max()
        && node.clients.told_bytes() >= limit
    {
        close_largest(node, registry, stats, limit);
    }
}

#[cold]
fn close_largest(node: &Node, registry: &'static Registry, stats: &WorkerStats, limit: usize) {
    let taken = node.clients.take_largest(limit);
    room::evict_clients(registry, stats, clock::now_ms(), &taken);
    // Once for each time that a client went, not ten times a second for as long as it lasts.
    if !taken.is_empty() && node.clients.told_bytes() >= limit {
        crate::log::warning!("Over client maxmemory after evicting all evictable clients");
    }
}
