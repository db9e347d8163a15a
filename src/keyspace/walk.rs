//! The keyspace as a whole: SCAN, KEYS, RANDOMKEY, FLUSHALL, SWAPDB.
//!
//! KEYS sees one instant. Other walks lock one stripe at a time, or none when the unit owns the world. A cursor is the table's scan cursor with the
//! stripe's number in its low bits; stripes are walked in order, so the guarantee of the table's scan is SCAN's.

#![allow(unsafe_code)]

use super::databases::Share;
use super::db::{Db, Notice};
use super::entry::{Entry, EntryRef};
use super::stripe::Held;
use super::watch::Presence;
use crate::clock::Millis;
use crate::table::Word;
use crate::types::{Kind, Value};

/// A key met on a walk.
pub struct Met<'a> {
    pub key: &'a [u8],
    pub kind: Kind,
    pub due: bool,
}

impl Db<'_> {
    /// What is due by this time is not shown: nothing to who sees expired keys.
    fn walk_time(&self) -> Millis {
        if self.mode.keep_expired { Millis::MIN } else { self.now }
    }

    /// One SCAN call: emits the keys of whole buckets until about `count` were seen. Returns the next cursor, 0 at the
    /// end. Due keys are marked, and noted for removal.
    pub fn scan(&mut self, cursor: u64, count: usize, mut emit: impl FnMut(Met<'_>)) -> u64 {
        let stripes = self.keyspace().stripes();
        let bits = stripes.trailing_zeros();
        let (mut stripe, mut position) = ((cursor & (stripes as u64 - 1)) as usize, cursor >> bits);
        let (index, now) = (self.index, self.walk_time());
        let (mut seen, mut buckets) = (0, 0);
        let (removes, mut met_due) = (self.mode.removes_due(), Vec::new());
        while stripe < stripes {
            if position == 0 && self.keyspace().keys_in(stripe, index) == 0 {
                stripe += 1;
                continue;
            }
            self.held.visit(stripe, |held| {
                let table = &held.share(stripe, index).table;
                loop {
                    position = table.scan(position, |word| {
                        // SAFETY: words in a keyspace table are live entries, and their stripe is held.
                        let entry = unsafe { Entry::from_word(word) };
                        seen += 1;
                        if removes && entry.is_due(now) {
                            met_due.push((index, entry.key().into()));
                        }
                        emit(Met { key: entry.key(), kind: entry.kind(), due: entry.is_due(now) });
                    });
                    buckets += 1;
                    if position == 0 || seen >= count || buckets >= count.saturating_mul(BUCKETS_PER_KEY) {
                        break;
                    }
                }
            });
            if position == 0 {
                stripe += 1;
            }
            if seen >= count || buckets >= count.saturating_mul(BUCKETS_PER_KEY) {
                break;
            }
        }
        if !met_due.is_empty() {
            self.changes.side_effects().met_due.append(&mut met_due);
        }
        // Position 0 with a stripe to go still encodes as a non-zero cursor: the stripe's number.
        if stripe >= stripes { 0 } else { position << bits | stripe as u64 }
    }

    /// How many keys the database has, at one instant: that at which all stripes are locked. A sum of counts read one
    /// after another would miss a key that is renamed meanwhile, or see it twice.
    pub fn key_count(&self) -> usize {
        let keyspace = self.keyspace();
        let _all = (!self.held.is_world()).then(|| keyspace.lock(0..keyspace.stripes() as u32));
        keyspace.counts(self.index).0
    }

    /// Every living key of the database, at one instant: that at which all stripes are locked. Each is let go as soon as
    /// it was seen, those without a key of this database first.
    pub fn for_each_key(&mut self, mut visit: impl FnMut(&[u8])) {
        let (index, now, keyspace) = (self.index, self.walk_time(), self.keyspace());
        let mut see = |held: &mut Held<'_>, stripe: usize| {
            let Some(share) = held.share_there(stripe, index) else { return };
            share.table.for_each(|word| {
                // SAFETY: words in a keyspace table are live entries, and their stripe is held.
                let entry = unsafe { Entry::from_word(word) };
                if !entry.is_due(now) {
                    visit(entry.key());
                }
            });
        };
        if self.held.is_world() {
            return (0..keyspace.stripes()).for_each(|stripe| see(&mut self.held, stripe));
        }
        for (stripe, mut held) in keyspace.lock_each(index) {
            see(&mut held, stripe);
        }
    }

    /// Every living entry of the database, for DEBUG DIGEST and the like.
    pub fn for_each_entry(&mut self, mut visit: impl FnMut(EntryRef<'_>)) {
        let now = self.now;
        self.for_each_stored(|entry| {
            if entry.expiry().is_none_or(|at| at > now) {
                visit(entry);
            }
        });
    }

    /// Every entry of the database, due or not.
    pub fn for_each_stored(&mut self, mut visit: impl FnMut(EntryRef<'_>)) {
        let index = self.index;
        for stripe in 0..self.keyspace().stripes() {
            self.held.visit(stripe, |held| {
                let Some(Share { table, .. }) = held.share_there(stripe, index) else { return };
                for bucket in 0..table.buckets() {
                    fetched(|see| table.for_each_in(bucket, see), &mut |entry| visit(entry.lent(table)));
                }
            });
        }
    }

    /// A living key, each with about the same chance. Gives up on a database full of due keys; those met are noted for
    /// removal.
    pub fn random_key(&mut self) -> Option<Vec<u8>> {
        let index = self.index;
        let keyspace = self.keyspace();
        for _ in 0..RANDOM_TRIES {
            let lens = (0..keyspace.stripes()).map(|s| keyspace.keys_in(s, index));
            let total: usize = lens.clone().sum();
            if total == 0 {
                return None;
            }
            let mut ticket = fastrand::usize(..total);
            let stripe = lens.enumerate().find_map(|(s, len)| {
                if ticket < len {
                    Some(s)
                } else {
                    ticket -= len;
                    None
                }
            });
            let Some(stripe) = stripe else { continue };
            let now = self.walk_time();
            let removes = self.mode.removes_due();
            let changes = &mut self.changes;
            let found = self.held.visit(stripe, |held| {
                let word = held.share_there(stripe, index)?.table.sample(|| fastrand::u64(..))?;
                // SAFETY: as above.
                let entry = unsafe { Entry::from_word(word) };
                if removes && entry.is_due(now) {
                    changes.side_effects().met_due.push((index, entry.key().into()));
                }
                (!entry.is_due(now)).then(|| entry.key().to_vec())
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Empties this database. The unit owns the world. Returns the emptied shares, to be freed elsewhere; a snapshot in
    /// progress gets them instead.
    pub fn flush(&mut self) -> Vec<Flushed> {
        let index = self.index;
        let mut flushed = Vec::new();
        let keyspace = self.keyspace();
        for stripe in 0..keyspace.stripes() {
            let data = self.held.data(stripe);
            let mut watchers = std::mem::take(&mut data.watchers);
            if let Some(share) = data.shares.get_mut(index) {
                let now = self.now;
                watchers.touch_all(index, |key| (presence(share, keyspace, key, now), Presence::Absent));
                let share = std::mem::take(share);
                self.changes.dirty += share.table.len() as u64;
                if share.table.buckets() > 0 {
                    flushed.push(Flushed(share));
                }
            }
            let data = self.held.data(stripe);
            data.watchers = watchers;
            data.tracked.clear(&keyspace.tracked);
            let awaited: Vec<_> = data.waiters.keys(index).map(|key| (index, key.into())).collect();
            if !awaited.is_empty() {
                self.changes.side_effects().ready.extend(awaited);
            }
            self.refresh_next_due(stripe);
            if let Some(shared) = self.keyspace().shared(stripe, index) {
                shared.tell(&Share::default());
            }
        }
        self.changes.side_effects().notices.push(Notice::AllStale);
        keyspace.captures.hand_over(keyspace.numbers.at_cut(index), flushed)
    }

    /// Exchanges two databases. The unit owns the world.
    pub fn swap(&mut self, a: usize, b: usize) {
        self.keyspace().numbers.swap(a, b);
        let now = self.now;
        for stripe in 0..self.keyspace().stripes() {
            [a, b].into_iter().for_each(|db| _ = self.held.share(stripe, db));
            let keyspace = self.keyspace();
            let data = self.held.data(stripe);
            let (watchers, shares) = (&mut data.watchers, &data.shares);
            for (db, other) in [(a, b), (b, a)] {
                let state = |db: usize, key: &[u8]| {
                    shares.get(db).map_or(Presence::Absent, |share| presence(share, keyspace, key, now))
                };
                watchers.touch_all(db, |key| (state(db, key), state(other, key)));
            }
            data.shares.swap(a, b);
            data.tracked.clear(&keyspace.tracked);
            for db in [a, b] {
                let mut awaited = data.waiters.keys(db).map(|key| (db, key.into())).peekable();
                if awaited.peek().is_some() {
                    self.changes.side_effects().ready.extend(awaited);
                }
            }
            for db in [a, b] {
                keyspace.obtain_shared(stripe, db).tell(data.shares.obtain(db));
            }
        }
        self.changes.dirty += 1;
        // Redis says nothing here, and its clients go on with the other database's values.
        self.changes.side_effects().notices.push(Notice::AllStale);
    }
}

/// Visits the entries of a few words, which `each` goes through in the same way every time. Their memory, and what they
/// point to, is asked for first, so that the misses overlap.
pub(super) fn fetched(mut each: impl FnMut(&mut dyn FnMut(Word)), visit: &mut dyn FnMut(Entry)) {
    each(&mut |word| Entry::prefetch(word.get()));
    // SAFETY: words in a keyspace table are live entries, and the walker holds their stripe.
    let entry = |word| unsafe { Entry::from_word(word) };
    each(&mut |word| entry(word).prefetch_value());
    each(&mut |word| visit(entry(word)));
}

fn presence(share: &Share, keyspace: &super::Keyspace, key: &[u8], now: Millis) -> Presence {
    // SAFETY: words in a keyspace table are live entries.
    let entry = |word| unsafe { Entry::from_word(word) };
    let found = share.table.find(keyspace.hash(key), |word| entry(word).is_of(key));
    match found {
        None => Presence::Absent,
        Some(found) if entry(share.table.word(found)).is_due(now) => Presence::Due,
        Some(_) => Presence::Live,
    }
}

/// A database's former share of one stripe; dropping it frees the keys.
pub struct Flushed(Share);

// SAFETY: owned entries and table, no thread affinity; racing readers only prefetch addresses.
unsafe impl Send for Flushed {}

impl Flushed {
    pub(super) fn buckets(&self) -> usize {
        self.0.table.buckets()
    }

    pub(super) fn for_each_in(&self, bucket: usize, mut visit: impl FnMut(Entry)) {
        fetched(|see| self.0.table.for_each_in(bucket, see), &mut visit);
    }

    /// Frees the keys, and calls `between` every some tens of microseconds.
    pub(super) fn free(&mut self, mut between: impl FnMut()) {
        let table = std::mem::take(&mut self.0.table);
        for bucket in 0..table.buckets() {
            // SAFETY: this share owns its entries and is out of every table's reach.
            table.for_each_in(bucket, |word| unsafe { Entry::from_word(word) }.free());
            if bucket % FREED_BUCKETS == 0 {
                between();
            }
        }
    }
}

impl Drop for Flushed {
    fn drop(&mut self) {
        self.free(|| {});
    }
}

/// A value on its way to the freeing thread.
pub enum Garbage {
    Value(Value),
    Flushed(Vec<Flushed>),
}

impl Garbage {
    /// Frees it, and calls `between` every some tens of microseconds, except within a value.
    pub fn free(self, mut between: impl FnMut()) {
        match self {
            Self::Value(value) => drop(value),
            Self::Flushed(mut shares) => shares.iter_mut().for_each(|share| share.free(&mut between)),
        }
    }

    /// How many keys' values it is.
    pub fn objects(&self) -> usize {
        match self {
            Self::Value(_) => 1,
            Self::Flushed(shares) => shares.iter().map(|Flushed(share)| share.table.len()).sum(),
        }
    }
}

/// Sparse buckets looked at per key asked for, before SCAN answers with fewer (as in Redis).
const BUCKETS_PER_KEY: usize = 10;
const RANDOM_TRIES: usize = 100;
/// Of a database that is freed, between two looks at whether a thread waits.
const FREED_BUCKETS: usize = 32;
