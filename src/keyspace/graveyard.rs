//! Memory that tables gave up while lock-free readers may still look at it: it is freed after a grace of the gate.
//!
//! One thread sweeps, outside the gate, by the clock or when it is asked to. `used_memory` counts what is buried,
//! `maxmemory` does not: a command that meets the limit frees it if no other thread is inside the gate, and asks for it to
//! be freed otherwise, so that the two do not stay apart.

use super::Keyspace;
use crate::table::Retired;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// What is buried, and who frees it.
#[derive(Default)]
pub(super) struct Graveyard {
    buried: Mutex<Buried>,
    bytes: AtomicUsize,
    is_asked: AtomicBool,
    sweeper: OnceLock<Thread>,
}

/// The oldest first.
#[derive(Default)]
struct Buried {
    waiting: VecDeque<Retired>,
    /// How many have been freed.
    freed: usize,
}

impl Keyspace {
    pub(super) fn bury(&self, retired: Vec<Retired>) {
        self.graveyard.bytes.fetch_add(retired.iter().map(Retired::bytes).sum(), Relaxed);
        self.graveyard.buried.lock().waiting.extend(retired);
    }

    /// Retired memory that is still to be freed.
    pub fn buried_bytes(&self) -> usize {
        self.graveyard.bytes.load(Relaxed)
    }

    /// Frees retired memory that no reader can see any more. For a service thread outside the gate.
    pub fn sweep_graveyard(&self) {
        if self.buried_bytes() > 0 {
            self.free_after(|| {
                self.gate.grace();
                true
            });
        }
    }

    /// Frees retired memory now if no other thread is inside the gate, or asks the thread that sweeps to do so soon. For a
    /// `thread` inside the gate that looks at no table.
    pub fn sweep_soon(&self, thread: usize) {
        if !self.free_after(|| self.gate.is_free_but_for(thread))
            && !self.graveyard.is_asked.swap(true, Relaxed)
            && let Some(sweeper) = self.graveyard.sweeper.get()
        {
            sweeper.unpark();
        }
    }

    /// Frees what is buried by now if `is_past` says that no reader sees it any more. Until then others may free it: a
    /// sweeper that waits for its turn keeps nothing from a command that finds the gate free.
    fn free_after(&self, is_past: impl FnOnce() -> bool) -> bool {
        let end = {
            let buried = self.graveyard.buried.lock();
            buried.freed + buried.waiting.len()
        };
        if !is_past() {
            return false;
        }
        let mut buried = self.graveyard.buried.lock();
        let count = end.saturating_sub(buried.freed);
        let dead: Vec<Retired> = buried.waiting.drain(..count).collect();
        buried.freed += count;
        drop(buried);
        self.graveyard.bytes.fetch_sub(dead.iter().map(Retired::bytes).sum(), Relaxed);
        true
    }

    /// Rests for a time, and sweeps whenever it is asked to meanwhile. For the one thread that sweeps.
    pub fn rest_and_sweep(&self, rest: Duration) {
        self.graveyard.sweeper.get_or_init(thread::current);
        let until = Instant::now() + rest;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if self.graveyard.is_asked.swap(false, Relaxed) {
                self.sweep_graveyard();
                thread::sleep(left.min(SWEEP_REST));
            } else {
                thread::park_timeout(left);
            }
        }
    }
}

/// Between two sweeps: each makes every thread's lock in the gate change hands once.
const SWEEP_REST: Duration = Duration::from_micros(200);
