//! WATCH: which transactions must fail because a key changed.
//!
//! A stripe keeps the watches of its keys; a change marks their flags under the stripe's lock. EXEC locks the watched
//! keys' stripes too before it reads its flag, so a change is either seen or happens after the transaction.
//! Cost: a change looks at one empty list where no key is watched.

use super::db::Db;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Set once a watched key has changed; shared by the session and the stripes.
pub type Dirty = Arc<AtomicBool>;

/// What a key is at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Absent,
    Due,
    Live,
}

/// A stripe's watches, by key: a client with very many costs others nothing.
#[derive(Default)]
pub(super) struct Watchers(BTreeMap<Box<[u8]>, Vec<Watch>>);

struct Watch {
    db: usize,
    dirty: Dirty,
    /// The key was already due when it was watched: its removal is then no change.
    was_due: bool,
}

impl Watch {
    fn is(&self, dirty: &Dirty, db: usize) -> bool {
        self.db == db && Arc::ptr_eq(&self.dirty, dirty)
    }
}

impl Watchers {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&mut self, db: usize, key: &[u8], dirty: &Dirty, was_due: bool) {
        let watches = self.0.entry(key.into()).or_default();
        if !watches.iter().any(|w| w.is(dirty, db)) {
            watches.push(Watch { db, dirty: dirty.clone(), was_due });
        }
    }

    pub fn remove(&mut self, db: usize, key: &[u8], dirty: &Dirty) {
        let Some(watches) = self.0.get_mut(key) else { return };
        watches.retain(|w| !w.is(dirty, db));
        if watches.is_empty() {
            self.0.remove(key);
        }
        if self.0.is_empty() {
            self.0 = BTreeMap::new();
        }
    }

    /// A key changed; `exists` says whether it is there now.
    #[cold]
    pub fn touch(&mut self, db: usize, key: &[u8], exists: bool) {
        let watches = self.0.get_mut(key).into_iter().flatten();
        for watch in watches.filter(|w| w.db == db) {
            if watch.was_due && !exists {
                watch.was_due = false;
            } else {
                watch.dirty.store(true, Relaxed);
            }
        }
    }

    /// Whether the key was alive when this transaction watched it.
    fn was_alive(&self, dirty: &Dirty, db: usize, key: &[u8]) -> bool {
        self.0.get(key).into_iter().flatten().any(|w| w.is(dirty, db) && !w.was_due)
    }

    /// FLUSHALL and SWAPDB: `change` tells what a key of `db` is before and after. A key that is due counts as absent
    /// for the clients that watched it so.
    pub fn touch_all(&mut self, db: usize, change: impl Fn(&[u8]) -> (Presence, Presence)) {
        for (key, watches) in &mut self.0 {
            for watch in watches.iter_mut().filter(|w| w.db == db) {
                match (change(key), watch.was_due) {
                    ((Presence::Absent, Presence::Absent), _) | ((_, Presence::Due), true) => {}
                    ((_, Presence::Absent), true) => watch.was_due = false,
                    ((Presence::Absent, Presence::Due), false) => watch.was_due = true,
                    _ => watch.dirty.store(true, Relaxed),
                }
            }
        }
    }
}

impl Db<'_> {
    /// Watches a key of the selected database, whose stripe is held.
    pub fn watch(&mut self, key: &[u8], dirty: &Dirty) {
        let place = self.place(key);
        let was_due = self.find(place, key).is_some_and(|(_, entry)| entry.is_due(self.now));
        let index = self.index;
        self.held.data(place.stripe as usize).watchers.add(index, key, dirty, was_due);
    }

    /// Takes back the watches of one transaction. Stripes that the unit does not hold are visited one by one.
    pub fn unwatch<'w>(&mut self, keys: impl Iterator<Item = &'w (usize, Box<[u8]>)>, dirty: &Dirty) {
        for (db, key) in keys {
            let stripe = self.keyspace().place(key).stripe as usize;
            self.held.visit(stripe, |held| held.data(stripe).watchers.remove(*db, key, dirty));
        }
    }

    /// Whether a watched key changed, or was alive at WATCH and is due now. The keys' stripes are held.
    pub fn watch_failed<'w>(&mut self, keys: impl Iterator<Item = &'w (usize, Box<[u8]>)>, dirty: &Dirty) -> bool {
        if dirty.load(Relaxed) {
            return true;
        }
        let selected = self.index;
        let mut failed = false;
        for (db, key) in keys {
            let place = self.keyspace().place(key);
            self.index = *db;
            let due = self.find(place, key).is_some_and(|(_, entry)| entry.is_due(self.now));
            failed |= due && self.held.data(place.stripe as usize).watchers.was_alive(dirty, *db, key);
        }
        self.index = selected;
        failed
    }
}
