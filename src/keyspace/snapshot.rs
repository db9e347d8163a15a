//! One instant, walked while writes go on: no fork, no copy of the whole.
//!
//! A **cut** flips the keyspace's parity under the exclusive gate. Entries written from then on carry the new parity;
//! those of the old one belong to the cut. The walker visits stripe after stripe and flips each entry it has seen. A
//! write that meets an entry of the old parity first hands a copy of it to [`Captures`] and flips it: each entry of the
//! cut is delivered exactly once, either by the walker or as a capture.
//!
//! FLUSHALL, FLUSHDB and SWAPDB cannot be captured in bounded time; they tear the snapshot ([`Captures::tear`]), whose
//! owner discards it and cuts anew over what is then a small or swapped keyspace.
//! Bound: captures wait in memory until the walker takes them between two buckets; a writer pays one copy of what it
//! overwrites. Outside a snapshot all entries carry the keyspace's parity, so a write costs one comparison.

use super::entry::{Body, Entry};
use super::stripe::{Exclusive, Keyspace};
use crate::clock::Millis;
use crate::types::Value;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// An entry as it was at the cut.
pub struct Captured {
    pub db: usize,
    pub key: Box<[u8]>,
    pub expiry: Option<Millis>,
    pub body: CapturedBody,
}

pub enum CapturedBody {
    Bytes(Box<[u8]>),
    Int(i64),
    Value(Value),
}

impl CapturedBody {
    pub fn as_body(&self) -> Body<'_> {
        match self {
            Self::Bytes(b) => Body::Bytes(b),
            Self::Int(n) => Body::Int(*n),
            Self::Value(v) => Body::Value(v),
        }
    }
}

/// Where writers leave what they are about to change.
#[derive(Default)]
pub struct Captures {
    waiting: Mutex<Vec<Captured>>,
    torn: AtomicBool,
    running: AtomicBool,
    taken: AtomicUsize,
}

impl Captures {
    pub(super) fn capture(&self, db: usize, entry: Entry) {
        let body = match entry.body() {
            Body::Bytes(b) => CapturedBody::Bytes(b.into()),
            Body::Int(n) => CapturedBody::Int(n),
            Body::Value(v) => CapturedBody::Value(v.clone()),
        };
        self.taken.fetch_add(1, Relaxed);
        self.waiting.lock().push(Captured { db, key: entry.key().into(), expiry: entry.expiry(), body });
    }

    pub fn take(&self) -> Vec<Captured> {
        std::mem::take(&mut *self.waiting.lock())
    }

    /// The cut can no longer be completed.
    pub fn tear(&self) {
        self.torn.store(self.running.load(Relaxed), Relaxed);
    }

    pub fn is_torn(&self) -> bool {
        self.torn.load(Relaxed)
    }

    pub fn is_running(&self) -> bool {
        self.running.load(Relaxed)
    }
}

/// A walk over one cut. One at a time; finishes its flipping when dropped early.
pub struct Walk<'k> {
    keyspace: &'k Keyspace,
    slot: usize,
    parity: bool,
    stripe: usize,
    db: usize,
    cursor: u64,
}

impl Keyspace {
    /// Cuts: everything written before is in the walk, nothing written after. The gate's owner calls it; `slot` is the
    /// walker thread's own place in the gate. `None` while another walk runs.
    pub fn cut(&self, _gate: &Exclusive<'_>, slot: usize) -> Option<Walk<'_>> {
        if self.captures.running.swap(true, Relaxed) {
            return None;
        }
        self.captures.torn.store(false, Relaxed);
        let parity = !self.parity.load(Relaxed);
        self.parity.store(parity, Relaxed);
        Some(Walk { keyspace: self, slot, parity, stripe: 0, db: 0, cursor: 0 })
    }
}

impl Walk<'_> {
    /// The cut can no longer be completed; what was delivered must be thrown away.
    pub fn is_torn(&self) -> bool {
        self.keyspace.captures.is_torn()
    }

    /// Visits about `keys_max` entries under one stripe's lock, then delivers the captures. False when all is done.
    pub fn step(&mut self, keys_max: usize, mut visit: impl FnMut(usize, &[u8], Option<Millis>, Body<'_>)) -> bool {
        let inside = self.keyspace.gate.enter(self.slot);
        let more = self.walk(keys_max, &mut visit);
        drop(inside);
        for c in self.keyspace.captures.take() {
            visit(c.db, &c.key, c.expiry, c.body.as_body());
        }
        more
    }

    fn walk(&mut self, keys_max: usize, visit: &mut impl FnMut(usize, &[u8], Option<Millis>, Body<'_>)) -> bool {
        let mut seen = 0;
        while self.stripe < self.keyspace.stripes() {
            let mut held = self.keyspace.lock_one(self.stripe);
            let data = held.data(self.stripe);
            while self.db < data.parts.len() {
                loop {
                    self.cursor = data.parts[self.db].table.scan(self.cursor, |word| {
                        // SAFETY: a word in a keyspace table is a live entry, and its stripe is locked.
                        let mut entry = unsafe { Entry::from_word(word) };
                        if entry.snapshot_parity() != self.parity {
                            entry.set_snapshot_parity(self.parity);
                            visit(self.db, entry.key(), entry.expiry(), entry.body());
                            seen += 1;
                        }
                    });
                    if self.cursor == 0 {
                        break;
                    }
                    if seen >= keys_max {
                        return true;
                    }
                }
                self.db += 1;
            }
            (self.stripe, self.db) = (self.stripe + 1, 0);
            if seen >= keys_max {
                return true;
            }
        }
        false
    }
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        while self.step(1024, |_, _, _, _| {}) {}
        self.keyspace.captures.running.store(false, Relaxed);
        self.keyspace.captures.take();
    }
}
