//! Memory that tables gave up while lock-free readers may still look at it: it is freed after a grace of the gate.
//!
//! One thread sweeps, outside the gate, by the clock or when it is asked to. `used_memory` counts what is buried,
//! `maxmemory` does not: a command that meets the limit frees it if no other thread is inside the gate, and asks for it to
//! be freed otherwise, so that the two do not stay apart.

use super::Keyspace;
use crate::table::Retired;
use parking_lot::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// What is buried, and who frees it.
#[derive(Default)]
pub(super) struct Graveyard {
    buried: Mutex<Vec<Retired>>,
    bytes: AtomicUsize,
    is_asked: AtomicBool,
    sweeper: OnceLock<Thread>,
}

impl Keyspace {
    pub(super) fn bury(&self, retired: Vec<Retired>) {
        self.graveyard.bytes.fetch_add(retired.iter().map(Retired::bytes).sum(), Relaxed);
        self.graveyard.buried.lock().extend(retired);
    }

    /// Retired memory that is still to be freed.
    pub fn buried_bytes(&self) -> usize {
        self.graveyard.bytes.load(Relaxed)
    }

    /// Frees retired memory that no reader can see any more. For a service thread outside the gate.
    pub fn sweep_graveyard(&self) {
        let dead = self.take_buried();
        if !dead.is_empty() {
            self.gate.grace();
            self.free(dead);
        }
    }

    /// Frees retired memory now if no other thread is inside the gate, or asks the thread that sweeps to do so soon. For a
    /// `thread` inside the gate that looks at no table.
    pub fn sweep_soon(&self, thread: usize) {
        if self.graveyard.is_asked.load(Relaxed) {
            return;
        }
        // Taken before the gate is looked at: what is buried meanwhile may still be seen.
        let dead = self.take_buried();
        if self.gate.is_free_but_for(thread) {
            return self.free(dead);
        }
        self.graveyard.buried.lock().extend(dead);
        if !self.graveyard.is_asked.swap(true, Relaxed)
            && let Some(sweeper) = self.graveyard.sweeper.get()
        {
            sweeper.unpark();
        }
    }

    fn take_buried(&self) -> Vec<Retired> {
        std::mem::take(&mut *self.graveyard.buried.lock())
    }

    fn free(&self, dead: Vec<Retired>) {
        self.graveyard.bytes.fetch_sub(dead.iter().map(Retired::bytes).sum(), Relaxed);
        drop(dead);
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
