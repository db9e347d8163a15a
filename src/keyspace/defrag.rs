//! The walk of defragmentation: every entry of every database, and all it owns, offered to a [`Mover`].
//!
//! A [`Pass`] goes stripe by stripe, in the order of the tables' scan. A visit holds one stripe's lock for a bounded number
//! of allocations; a value that is not through by then is put down by its key and the place reached, and goes on in the
//! next visit, if the key still holds such a value. What is added or moves behind the walk waits for the next pass.
//!
//! **Why a move is safe**: an entry, and all that hangs on it, is reached only through the table's word, under the
//! stripe's lock or by who owns the world, and no pointer to it outlives the unit that took it. Those who look without the
//! lock are three: racing readers of the table prefetch the words they see and follow none, and its segments are retired
//! for them as when it grows; readers of a big value's cut are known to the value, which moves nothing then; a long string
//! that a snapshot shares is not unshared for us. Expiries, watchers and waiters know keys by bits or bytes, not by address.
//! The header of an entry goes along with its parity: a snapshot neither misses it nor meets it twice.

#![allow(unsafe_code)]

use super::db::Db;
use super::entry::Entry;
use super::stripe::{Keyspace, StripeData};
use crate::mover::Mover;

/// One walk over everything, between two visits.
#[derive(Default)]
pub struct Pass {
    stripe: usize,
    db: usize,
    cursor: u64,
    /// Values met in this stripe and database that are not through: key and place.
    begun: Vec<(Box<[u8]>, u64)>,
    /// Keys of which something moved, and others, since last taken.
    pub keys_moved: u64,
    pub keys_kept: u64,
}

impl Db<'_> {
    /// One visit: about `looked_max` allocations of one stripe. False when all was seen. The unit holds no stripe, or all.
    pub fn relocate(&mut self, pass: &mut Pass, mover: &mut Mover, looked_max: usize) -> bool {
        let keyspace = self.keyspace();
        while pass.stripe < keyspace.stripes() && !keyspace.has_keys(pass.stripe) {
            pass.next_stripe();
        }
        let stripe = pass.stripe;
        if stripe == keyspace.stripes() {
            return false;
        }
        mover.begin_visit(looked_max);
        let retired = self.held.visit(stripe, |held| {
            let data = held.data(stripe);
            pass.visit(keyspace, data, mover);
            data.shares.values_mut().flat_map(|share| share.table.take_retired()).collect::<Vec<_>>()
        });
        if !retired.is_empty() {
            keyspace.bury(retired);
        }
        true
    }
}

impl Keyspace {
    fn has_keys(&self, stripe: usize) -> bool {
        (0..self.databases_used()).any(|db| self.keys_in(stripe, db) > 0)
    }
}

impl Pass {
    fn next_stripe(&mut self) {
        (self.stripe, self.db, self.cursor) = (self.stripe + 1, 0, 0);
        self.begun.clear();
    }

    /// Goes on in the stripe until the mover is tired or the stripe is through.
    fn visit(&mut self, keyspace: &Keyspace, data: &mut StripeData, mover: &mut Mover) {
        while self.db < keyspace.databases_used() {
            while let Some(share) = data.shares.get_mut(self.db) {
                while let Some((key, place)) = self.begun.pop() {
                    let found = share.table.find(keyspace.hash(&key), |word| entry(word).key() == &*key);
                    let value = found.and_then(|found| entry(share.table.word(found)).value_mut());
                    let place = value.map_or(0, |value| value.relocate(place, mover));
                    if place > 0 {
                        self.begun.push((key, place));
                    }
                    if mover.is_tired() {
                        return;
                    }
                }
                if self.cursor == THROUGH {
                    break;
                }
                if self.cursor == 0 {
                    share.table.relocate(mover);
                }
                let (cursor, relocate) =
                    (self.cursor, |word, mover: &mut Mover| self.relocate_key(entry(word), mover).word());
                let next = share.table.relocate_step(cursor, mover, relocate);
                self.cursor = if next == 0 { THROUGH } else { next };
                if mover.is_tired() {
                    return;
                }
            }
            (self.db, self.cursor) = (self.db + 1, 0);
        }
        self.next_stripe();
    }

    /// The entry's new place, its value offered too or put down for later.
    fn relocate_key(&mut self, old: Entry, mover: &mut Mover) -> Entry {
        let moved = mover.moved;
        let entry = old.relocated(mover);
        if let Some(value) = entry.value_mut() {
            let place = value.relocate(0, mover);
            if place > 0 {
                self.begun.push((entry.key().into(), place));
            }
        }
        *if mover.moved > moved { &mut self.keys_moved } else { &mut self.keys_kept } += 1;
        entry
    }
}

fn entry(word: crate::table::Word) -> Entry {
    // SAFETY: words in a keyspace table are live entries, and their stripe is held.
    unsafe { Entry::from_word(word) }
}

/// A cursor behind a table's last bucket. A scan's cursors have a zero in one of the bits that choose no bucket.
const THROUGH: u64 = u64::MAX;
