//! What one client holds, in bytes: the figures behind CLIENT LIST, `mem_clients_normal` and `maxmemory-clients`.
//!
//! The connection's own thread writes them, relaxed, whenever it comes to rest, and in part when a batch begins, so that
//! a client that asks for its own line sees the buffers it is using. Others may see them a moment old.
//! The arguments of a half-read request lie in the read buffer: they are shown apart and counted once.

use super::readers::Progress;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[derive(Default)]
pub struct Memory {
    /// The connection itself.
    pub base: AtomicUsize,
    /// The read buffer; 0 for a connection that has given it back.
    pub input: AtomicUsize,
    /// Bytes in it that are not understood yet.
    pub query: AtomicUsize,
    /// Room left in it.
    pub query_free: AtomicUsize,
    /// Arguments of a request that is half there, or of the command that waits.
    pub args: AtomicUsize,
    /// The copy of the command that waits.
    pub parked: AtomicUsize,
    /// Commands queued by MULTI.
    pub queue: AtomicUsize,
    /// Keys under WATCH, here and where the keys are.
    pub watches: AtomicUsize,
    /// Names of channels and patterns, here and where the subscribers are found.
    pub subscriptions: AtomicUsize,
    /// Prefixes of CLIENT TRACKING.
    pub prefixes: AtomicUsize,
    /// What HIMPORT prepared.
    pub fieldsets: AtomicUsize,
    /// The reply buffer; 0 for a connection that has given it back.
    pub output: AtomicUsize,
    /// Bytes in it that the peer has not taken.
    pub unsent: AtomicUsize,
    /// Pushes from other threads that are not in it yet.
    pub outbox: AtomicUsize,
    pub(super) progress: Progress,
    /// The total as the sum over all clients has it.
    pub(super) told: AtomicUsize,
    /// What it held when `maxmemory-clients` closed it, until it is gone.
    pub(super) leaving: AtomicUsize,
}

impl Memory {
    pub fn total(&self) -> usize {
        let kept = [&self.queue, &self.watches, &self.subscriptions, &self.prefixes, &self.fieldsets];
        let parts = [&self.base, &self.input, &self.parked, &self.output, &self.outbox];
        parts.into_iter().chain(kept).map(|bytes| bytes.load(Relaxed)).sum()
    }

    /// The read buffer: its size, the bytes in it that are not understood yet, and its room.
    pub fn show_input(&self, buffer: usize, query: usize, free: usize) {
        self.input.store(buffer, Relaxed);
        self.query.store(query, Relaxed);
        self.query_free.store(free, Relaxed);
    }

    /// The reply buffer: its size and the bytes in it that the peer has not taken.
    pub fn show_output(&self, buffer: usize, unsent: usize) {
        self.output.store(buffer, Relaxed);
        self.unsent.store(unsent, Relaxed);
    }
}
