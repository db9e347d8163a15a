//! Taking a unit back: copies of what it replaces, and stripes added while it runs. For scripts, whose keys are known only
//! once they are touched.

use super::entry::{Body, New};
use super::{Db, Notice, SideEffects};
use crate::clock::Millis;
use crate::types::Value;
use std::sync::atomic::Ordering::Relaxed;

/// What a key held before a unit changed it.
pub struct Before {
    db: usize,
    key: Box<[u8]>,
    /// None if there was no such key.
    held: Option<Held>,
}

struct Held {
    value: Copied,
    expiry: Option<Millis>,
    access: u32,
    raw: bool,
}

enum Copied {
    Bytes(Box<[u8]>),
    Int(i64),
    Value(Value),
}

impl Before {
    pub fn is_of(&self, db: usize, key: &[u8]) -> bool {
        self.db == db && *self.key == *key
    }
}

impl Db<'_> {
    /// The stripe of a key that the unit may touch: it is held, or was free and is held from now on. The stripe as an error
    /// where another unit has it: nothing is waited for, so that the order of locking cannot be broken.
    #[inline]
    pub fn reach(&mut self, key: &[u8]) -> Result<u32, u32> {
        let stripe = self.place(key).stripe;
        if self.held.try_add(stripe as usize) { Ok(stripe) } else { Err(stripe) }
    }

    /// Whether anything in a stripe, which is held, may be due.
    #[inline]
    pub fn may_be_due(&self, stripe: u32) -> bool {
        self.keyspace().stripe(stripe as usize).next_due.load(Relaxed) <= self.now
    }

    /// The stripe of a key, for a unit that is to begin anew with it.
    pub fn stripe_of(&self, key: &[u8]) -> u32 {
        self.place(key).stripe
    }

    /// The unit owns the world.
    pub fn owns_world(&self) -> bool {
        self.held.is_world()
    }

    /// A copy of what a key holds; `None` if it is too big to copy.
    pub fn copy_before(&mut self, key: &[u8]) -> Option<Before> {
        let place = self.place(key);
        let held = match self.find(place, key) {
            None => None,
            Some((_, entry)) => {
                let value = match entry.body() {
                    Body::Bytes(bytes) => Copied::Bytes(bytes.into()),
                    Body::Int(n) => Copied::Int(n),
                    Body::Value(value) if value.heap_bytes() <= COPIED_BYTES_MAX => Copied::Value(value.clone()),
                    Body::Value(_) => return None,
                };
                let raw = entry.encoding() == "raw";
                Some(Held { value, expiry: entry.expiry(), access: entry.access(), raw })
            }
        };
        Some(Before { db: self.index, key: key.into(), held })
    }

    /// Puts back what a key held. No event tells of it: for others it never changed.
    pub fn put_back(&mut self, before: Before) {
        let Before { db, key, held } = before;
        let selected = self.index;
        self.select(db);
        let place = self.keyspace().place(&key);
        if let Some((found, _)) = self.find(place, &key) {
            let now = self.extract(place, found);
            self.dispose(now);
        }
        if let Some(Held { value, expiry, access, raw }) = held {
            let body = match &value {
                Copied::Bytes(bytes) => New::Bytes { bytes, room: 0 },
                Copied::Int(n) => New::Int(*n),
                Copied::Value(value) => New::Value(value.clone()),
            };
            let mut entry = self.create(place, &key, body, expiry);
            entry.set_access(access);
            entry.set_raw(raw);
        }
        self.select(selected);
    }

    /// Forgets what the unit did so far: its changes are put back.
    pub fn forget_changes(&mut self) {
        let side_effects = self.changes.take_side_effects();
        self.changes = super::Changes::default();
        if let Some(side_effects) = side_effects {
            // Clients that cache a key were struck off when it first changed: better told in vain than never.
            let stale = |notice: &Notice| matches!(notice, Notice::Stale { .. } | Notice::AllStale);
            let (garbage, notices) = (side_effects.garbage, side_effects.notices.into_iter().filter(stale).collect());
            *self.changes.side_effects() = SideEffects { garbage, notices, ..SideEffects::default() };
        }
    }
}

/// A greater value is not copied in case a script must be taken back: the script owns the world before it changes one.
const COPIED_BYTES_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use crate::keyspace::{AccessMode, Db, Expiry, Keyspace};

    #[test]
    fn what_is_put_back_is_as_it_was() {
        let keyspace = Keyspace::new(2, 8, 1, 0);
        let stripes = 0..8u32;
        let mut db = Db::new(keyspace.lock(stripes), 0, 1000, AccessMode::default());
        db.set_string(b"a", b"one", Expiry::At(5000));
        let befores: Vec<_> = [&b"a"[..], b"b"].iter().map(|key| db.copy_before(key).expect("small")).collect();
        db.set_string(b"a", b"two", Expiry::Clear);
        db.set_string(b"b", b"new", Expiry::Clear);
        befores.into_iter().rev().for_each(|before| db.put_back(before));
        db.forget_changes();
        assert_eq!((db.expiry(b"a"), db.expiry(b"b")), (Some(Some(5000)), None));
        assert_eq!(db.changes.dirty, 0);
    }

    #[test]
    fn a_stripe_that_another_holds_is_not_reached() {
        let keyspace = Keyspace::new(1, 8, 1, 0);
        let keys: Vec<Vec<u8>> = (0..50).map(|i| format!("k{i}").into_bytes()).collect();
        let stripe = |key: &[u8]| keyspace.place(key).stripe;
        let mine = &keys[0];
        let other = keys.iter().find(|key| stripe(key) != stripe(mine)).expect("another stripe");
        let mut db = Db::new(keyspace.lock_one(stripe(mine) as usize), 0, 0, AccessMode::default());
        let held = keyspace.lock_one(stripe(other) as usize);
        assert!(db.reach(mine).is_ok() && db.reach(other).is_err());
        drop(held);
        assert!(db.reach(other).is_ok());
        drop(db);
        // Both are free again.
        keyspace.lock([stripe(mine), stripe(other)].into_iter());
    }
}
