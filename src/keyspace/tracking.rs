//! CLIENT TRACKING: which clients read a key that they may have cached since.
//!
//! A stripe keeps the tracked keys whose place it is, by name: as in Redis the database does not matter. A read of a client
//! that tracks notes it under the key's lock; the next change of the key takes the note away and makes an invalidation of
//! it, so that of a read and a change either the read saw the change or its client hears of it.
//! Bound: `tracking-table-max-keys` over all stripes; a key that is noted beyond it makes another one be forgotten, whose
//! clients are told that it is no longer valid.
//! Cost: a change looks at one empty table where nothing is tracked.

use super::db::{Db, Notice};
use crate::clients::Tracker;
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The clients that noted a key.
pub type Noted = SmallVec<[Arc<Tracker>; 1]>;

struct TrackedKey {
    hash: u64,
    key: Box<[u8]>,
    noted: Noted,
}

/// A stripe's tracked keys.
#[derive(Default)]
pub(super) struct TrackedKeys(HashTable<TrackedKey>);

/// How much is tracked in all stripes, and how much may be.
#[derive(Default)]
pub struct Tracked {
    pub keys: AtomicUsize,
    /// Pairs of a key and a client.
    pub items: AtomicUsize,
    /// `tracking-table-max-keys`; 0 for no bound.
    pub keys_max: AtomicUsize,
}

impl Tracked {
    pub fn is_over(&self) -> bool {
        let max = self.keys_max.load(Relaxed);
        max > 0 && self.keys.load(Relaxed) > max
    }
}

impl TrackedKeys {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn note(&mut self, hash: u64, key: &[u8], tracker: &Arc<Tracker>, counts: &Tracked) {
        let found = self.0.find_mut(hash, |tracked| *tracked.key == *key);
        match found {
            Some(tracked) => {
                let gone = tracked.noted.len();
                tracked.noted.retain(|other| other.is_on() && !Arc::ptr_eq(other, tracker));
                let gone = gone - tracked.noted.len();
                tracked.noted.push(tracker.clone());
                counts.items.fetch_add(1, Relaxed);
                counts.items.fetch_sub(gone, Relaxed);
            }
            None => {
                let tracked = TrackedKey { hash, key: key.into(), noted: SmallVec::from_iter([tracker.clone()]) };
                self.0.insert_unique(hash, tracked, |tracked| tracked.hash);
                counts.keys.fetch_add(1, Relaxed);
                counts.items.fetch_add(1, Relaxed);
            }
        }
    }

    /// Forgets a key; returns the clients that noted it.
    pub fn take(&mut self, hash: u64, key: &[u8], counts: &Tracked) -> Noted {
        match self.0.find_entry(hash, |tracked| *tracked.key == *key) {
            Ok(entry) => {
                let (tracked, _) = entry.remove();
                counts.forget(1, tracked.noted.len());
                tracked.noted
            }
            Err(_) => SmallVec::new(),
        }
    }

    /// Forgets some key other than `but`.
    fn take_any(&mut self, but: &[u8], counts: &Tracked) -> Option<(Box<[u8]>, Noted)> {
        let (hash, key) = self.0.iter().find(|tracked| *tracked.key != *but).map(|t| (t.hash, t.key.clone()))?;
        let noted = self.take(hash, &key, counts);
        Some((key, noted))
    }

    /// FLUSHALL: everything is invalid, and the clients are told so once.
    pub fn clear(&mut self, counts: &Tracked) {
        counts.forget(self.0.len(), self.0.iter().map(|tracked| tracked.noted.len()).sum());
        self.0 = HashTable::new();
    }
}

impl Tracked {
    fn forget(&self, keys: usize, items: usize) {
        self.keys.fetch_sub(keys, Relaxed);
        self.items.fetch_sub(items, Relaxed);
    }
}

impl Db<'_> {
    /// Notes that a client has read a key, whose stripe is held.
    #[cold]
    pub fn track(&mut self, key: &[u8], tracker: &Arc<Tracker>) {
        let (place, keyspace) = (self.place(key), self.keyspace());
        let tracked = &mut self.held.data(place.stripe as usize).tracked;
        tracked.note(place.hash, key, tracker, &keyspace.tracked);
        if keyspace.tracked.is_over()
            && let Some((key, noted)) = tracked.take_any(key, &keyspace.tracked)
        {
            self.changes.side_effects().notices.push(Notice::Stale { key, noted, changed: false });
        }
    }

    /// Forgets tracked keys beyond the bound, in one stripe; for CONFIG SET and for keys that had no other beside them.
    pub fn trim_tracked(&mut self, stripe: usize) {
        let keyspace = self.keyspace();
        while keyspace.tracked.is_over()
            && let Some((key, noted)) = self.held.data(stripe).tracked.take_any(b"", &keyspace.tracked)
        {
            self.changes.side_effects().notices.push(Notice::Stale { key, noted, changed: false });
        }
    }
}
