//! One instant, walked while writes go on: no fork, no copy of the whole.
//!
//! A **cut** flips the keyspace's parity under the exclusive gate. Entries written from then on carry the new parity;
//! those of the old one belong to the cut. The walker visits stripe after stripe and flips each entry it has seen. A
//! write that meets an entry of the old parity first hands a copy of it to [`Captures`] and flips it: each entry of the
//! cut is delivered exactly once, either by the walker or as a capture.
//!
//! Big values are neither copied nor written under a stripe's lock: the first to meet one, walker or writer, **cuts** it
//! (`types::big`) and leaves the cut among the captures, to be read in pieces while the value changes. A long string is
//! shared instead, and copied once if it changes in place before it is written.
//!
//! A database that is flushed meanwhile is handed to the walk as a whole, which frees it when it has seen it. Databases
//! that are exchanged keep the number that they had at the cut ([`Numbers`]). So no command makes a walk begin anew.
//! Bound: captures wait in memory until the walker takes them between two steps; a writer pays one copy of what it
//! overwrites. Each entry is captured at most once, and not behind the walker, so that even under a device that takes
//! nothing they never pass the size of the data at the cut, as a fork's copied pages do; nothing is refused or slowed down
//! at that bound. `maxmemory` does not count them: evicting keys would make more of them. INFO tells their present and
//! highest size as `current_cow_size` and `current_cow_peak`. Outside a snapshot all entries carry the keyspace's parity,
//! so a write costs one comparison.

use super::entry::{Body, Entry, Marks};
use super::stripe::{Exclusive, Keyspace};
use super::walk::{Flushed, fetched};
use crate::types::Value;
use crate::types::big::Big;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// An entry as it was at the cut.
pub struct Captured {
    pub db: usize,
    pub key: Box<[u8]>,
    pub marks: Marks,
    pub body: CapturedBody,
}

pub enum CapturedBody {
    Bytes(Box<[u8]>),
    Int(i64),
    Value(Value),
    Big(Big),
}

/// What is to be written of a captured entry.
pub enum Content<'a> {
    Body(Body<'a>),
    Big(&'a Big),
}

impl CapturedBody {
    pub fn content(&self) -> Content<'_> {
        match self {
            Self::Bytes(b) => Content::Body(Body::Bytes(b)),
            Self::Int(n) => Content::Body(Body::Int(*n)),
            Self::Value(v) => Content::Body(Body::Value(v)),
            Self::Big(big) => Content::Big(big),
        }
    }
}

/// Where writers leave what they are about to change.
#[derive(Default)]
pub struct Captures {
    waiting: Mutex<Vec<Captured>>,
    /// Flushed databases' shares of the stripes, with the number that the database had at the cut.
    flushed: Mutex<Vec<(usize, Flushed)>>,
    running: AtomicBool,
    /// Of those waiting, and the most there were since the cut.
    bytes: AtomicUsize,
    peak: AtomicUsize,
    /// Keys of the walk in progress that are written, and how many there were at its cut; 0 when there is none.
    pub keys_written: AtomicUsize,
    pub keys_total: AtomicUsize,
}

impl Captures {
    pub(super) fn capture(&self, db: usize, entry: Entry) {
        let body = match entry.body() {
            Body::Bytes(b) => CapturedBody::Bytes(b.into()),
            Body::Int(n) => CapturedBody::Int(n),
            Body::Value(value) => match entry.value_mut().and_then(Value::cut) {
                Some(big) => CapturedBody::Big(big),
                None => CapturedBody::Value(value.clone()),
            },
        };
        // What is cut is shared with the value itself.
        let shared = matches!(body, CapturedBody::Big(_));
        let bytes = size_of::<Captured>() + if shared { entry.key().len() } else { entry.heap_bytes() };
        let mut waiting = self.waiting.lock();
        waiting.push(Captured { db, key: entry.key().into(), marks: entry.marks(), body });
        let bytes = self.bytes.load(Relaxed) + bytes;
        self.bytes.store(bytes, Relaxed);
        self.peak.fetch_max(bytes, Relaxed);
    }

    fn take(&self) -> Vec<Captured> {
        let mut waiting = self.waiting.lock();
        self.bytes.store(0, Relaxed);
        std::mem::take(&mut *waiting)
    }

    /// Bytes of the copies that wait to be written.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    /// The most they were since the cut; 0 if no snapshot is under way.
    pub fn peak(&self) -> usize {
        if self.is_running() { self.peak.load(Relaxed) } else { 0 }
    }

    pub fn is_running(&self) -> bool {
        self.running.load(Relaxed)
    }

    /// Hands a flushed database to the walk in progress, which frees it; without one it comes back. The caller owns the
    /// world, so that the walk is between two steps. `db`: its number at the cut.
    pub(super) fn hand_over(&self, db: usize, flushed: Vec<Flushed>) -> Vec<Flushed> {
        if !self.is_running() {
            return flushed;
        }
        self.flushed.lock().extend(flushed.into_iter().map(|share| (db, share)));
        Vec::new()
    }
}

/// Which number each database had at the cut, and where the database with that number is now: SWAPDB exchanges them.
/// Written by the world's owner, read under a stripe's lock.
pub(super) struct Numbers(Box<[(AtomicUsize, AtomicUsize)]>);

impl Numbers {
    pub fn new(databases: usize) -> Self {
        Self((0..databases).map(|db| (AtomicUsize::new(db), AtomicUsize::new(db))).collect())
    }

    fn reset(&self) {
        for (db, (at_cut, now)) in self.0.iter().enumerate() {
            at_cut.store(db, Relaxed);
            now.store(db, Relaxed);
        }
    }

    /// The number that a database had at the cut.
    pub fn at_cut(&self, db: usize) -> usize {
        self.0[db].0.load(Relaxed)
    }

    /// The present number of the database that had this one at the cut.
    fn now(&self, at_cut: usize) -> usize {
        self.0[at_cut].1.load(Relaxed)
    }

    pub fn swap(&self, a: usize, b: usize) {
        let (was_a, was_b) = (self.at_cut(a), self.at_cut(b));
        self.0[a].0.store(was_b, Relaxed);
        self.0[b].0.store(was_a, Relaxed);
        self.0[was_a].1.store(b, Relaxed);
        self.0[was_b].1.store(a, Relaxed);
    }
}

/// A walk over one cut. One at a time; finishes its flipping when dropped early.
pub struct Walk<'k> {
    keyspace: &'k Keyspace,
    thread: usize,
    parity: bool,
    stripe: usize,
    /// As it was numbered at the cut.
    db: usize,
    /// Databases that existed at the cut.
    databases: usize,
    cursor: u64,
    /// Taken over from the captures, the last one being visited from this bucket on.
    flushed: Vec<(usize, Flushed)>,
    bucket: usize,
    /// Flushed, and visited.
    spent: Vec<Flushed>,
}

impl Keyspace {
    /// Cuts: everything written before is in the walk, nothing written after. The gate's owner calls it; `thread` is the
    /// walker thread's own place in the gate. `None` while another walk runs.
    pub fn cut(&self, _gate: &Exclusive<'_>, thread: usize) -> Option<Walk<'_>> {
        if self.captures.running.swap(true, Relaxed) {
            return None;
        }
        self.captures.peak.store(0, Relaxed);
        self.numbers.reset();
        let parity = !self.parity.load(Relaxed);
        self.parity.store(parity, Relaxed);
        let databases = self.databases_used();
        let (flushed, spent) = (Vec::new(), Vec::new());
        Some(Walk { keyspace: self, thread, parity, stripe: 0, db: 0, databases, cursor: 0, flushed, bucket: 0, spent })
    }
}

impl Walk<'_> {
    /// Visits about `keys_max` entries under one stripe's lock; big ones count as many. False when all were visited.
    /// After each step the captures are to be taken.
    pub fn step(&mut self, keys_max: usize, mut visit: impl FnMut(usize, &[u8], Marks, Body<'_>)) -> bool {
        let _inside = self.keyspace.gate.enter(self.thread);
        self.flushed.append(&mut self.keyspace.captures.flushed.lock());
        let seen = self.walk_flushed(keys_max, &mut visit);
        seen >= keys_max || self.walk(keys_max - seen, &mut visit)
    }

    /// Frees what was flushed and is visited; calls `between` every some tens of microseconds.
    pub fn free_spent(&mut self, mut between: impl FnMut()) {
        self.spent.drain(..).for_each(|mut share| share.free(&mut between));
    }

    /// How many keys each database has, and how many of them an expiry; near enough behind the cut, where no thread waits for
    /// it.
    pub fn count(&self) -> Vec<(usize, usize)> {
        let counts: Vec<_> = (0..self.keyspace.databases()).map(|db| self.keyspace.counts(db)).collect();
        self.keyspace.captures.keys_total.store(counts.iter().map(|(keys, _)| keys).sum(), Relaxed);
        counts
    }

    /// Counts keys that are written.
    pub fn wrote(&self, keys: usize) {
        self.keyspace.captures.keys_written.fetch_add(keys, Relaxed);
    }

    /// What writers were about to change, and what was too big to visit.
    pub fn captured(&self) -> Vec<Captured> {
        self.keyspace.captures.take()
    }

    /// Visits flushed databases; returns about how many keys that was.
    fn walk_flushed(&mut self, keys_max: usize, visit: &mut impl FnMut(usize, &[u8], Marks, Body<'_>)) -> usize {
        let mut seen = 0;
        while let Some((db, share)) = self.flushed.last() {
            while self.bucket < share.buckets() && seen < keys_max {
                share.for_each_in(self.bucket, |entry| seen += see(self.keyspace, self.parity, *db, entry, visit));
                // An empty bucket is a look too.
                (self.bucket, seen) = (self.bucket + 1, seen + 1);
            }
            if self.bucket < share.buckets() {
                break;
            }
            self.bucket = 0;
            self.spent.extend(self.flushed.pop().map(|(_, share)| share));
        }
        seen
    }

    fn walk(&mut self, keys_max: usize, visit: &mut impl FnMut(usize, &[u8], Marks, Body<'_>)) -> bool {
        let mut seen = 0;
        while self.stripe < self.keyspace.stripes() {
            let mut held = self.keyspace.lock_one(self.stripe);
            let data = held.data(self.stripe);
            while self.db < self.databases {
                while let Some(share) = data.shares.get(self.keyspace.numbers.now(self.db)) {
                    let (table, from, mut next) = (&share.table, self.cursor, 0);
                    let mut see = |entry| seen += see(self.keyspace, self.parity, self.db, entry, visit);
                    fetched(|word| next = table.scan(from, word), &mut see);
                    self.cursor = next;
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

/// Visits an entry that belongs to the cut and was not visited yet, unless it stood aside; `db` is its database's number at
/// the cut. Returns how many keys it counts as.
fn see(
    keyspace: &Keyspace,
    parity: bool,
    db: usize,
    mut entry: Entry,
    visit: &mut impl FnMut(usize, &[u8], Marks, Body<'_>),
) -> usize {
    if entry.snapshot_parity() == parity {
        return 0;
    }
    entry.set_snapshot_parity(parity);
    if db >= keyspace.databases() {
        return 1;
    }
    match entry.body() {
        Body::Value(value) if value.is_big() || value.heap_bytes() > VISITED_BYTES_MAX => {
            keyspace.capture(db, entry);
            BIG_VALUE_KEYS
        }
        body => {
            let counts_as = if let Body::Value(value) = &body { 1 + value.heap_bytes() / KEY_BYTES } else { 1 };
            visit(db, entry.key(), entry.marks(), body);
            counts_as
        }
    }
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        while self.step(1024, |_, _, _, _| {}) {
            self.captured();
            self.free_spent(|| {});
        }
        let captures = &self.keyspace.captures;
        // Inside the gate, so that no flush is half handed over.
        let inside = self.keyspace.gate.enter(self.thread);
        captures.running.store(false, Relaxed);
        let flushed = std::mem::take(&mut *captures.flushed.lock());
        drop(inside);
        drop(flushed);
        captures.keys_total.store(0, Relaxed);
        captures.keys_written.store(0, Relaxed);
        self.captured();
    }
}

/// A longer value is shared or cut, and written without its stripe's lock.
const VISITED_BYTES_MAX: usize = 64 << 10;
/// Keys that are visited in the time that cutting a big value takes.
const BIG_VALUE_KEYS: usize = 16;
/// Bytes of a value that count as one more key.
const KEY_BYTES: usize = 512;
