//! What a stripe keeps for each database. Most servers use the first alone, whose share lies in place; the share of another
//! is made when that database is first used, so that a server may be given thousands and pay for those that hold keys.

use super::expire::Due;
use crate::table::{Probe, Table};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A stripe's share of one database.
#[repr(C)]
#[derive(Default)]
pub(super) struct Share {
    pub table: Table,
    pub due: Due,
    /// Keys with an expiry.
    pub volatile: usize,
}

/// What readers without the stripe's lock see of a [`Share`].
#[derive(Default)]
pub(super) struct Published {
    pub probe: Probe,
    pub len: AtomicUsize,
    pub volatile: AtomicUsize,
}

impl Published {
    /// Publishes all of a share anew.
    pub fn tell(&self, share: &Share) {
        self.probe.publish(&share.table);
        self.len.store(share.table.len(), Relaxed);
        self.volatile.store(share.volatile, Relaxed);
    }
}

/// The databases' shares of one stripe.
#[repr(C)]
#[derive(Default)]
pub(super) struct Shares {
    first: Share,
    /// With their databases' numbers, ascending.
    others: Vec<(usize, Share)>,
}

impl Shares {
    #[inline]
    pub fn get(&self, db: usize) -> Option<&Share> {
        if db == 0 {
            return Some(&self.first);
        }
        self.index(db).ok().map(|at| &self.others[at].1)
    }

    #[inline]
    pub fn get_mut(&mut self, db: usize) -> Option<&mut Share> {
        if db == 0 {
            return Some(&mut self.first);
        }
        self.index(db).ok().map(|at| &mut self.others[at].1)
    }

    /// The share of a database, made if it is not there yet.
    #[inline]
    pub fn obtain(&mut self, db: usize) -> &mut Share {
        if db == 0 {
            return &mut self.first;
        }
        let at = self.index(db).unwrap_or_else(|at| {
            // Most have one or none.
            if self.others.is_empty() {
                self.others.reserve_exact(1);
            }
            self.others.insert(at, (db, Share::default()));
            at
        });
        &mut self.others[at].1
    }

    fn index(&self, db: usize) -> Result<usize, usize> {
        self.others.binary_search_by_key(&db, |(number, _)| *number)
    }

    pub fn iter(&self) -> impl Iterator<Item = (usize, &Share)> {
        std::iter::once((0, &self.first)).chain(self.others.iter().map(|(db, share)| (*db, share)))
    }

    pub fn values(&self) -> impl Iterator<Item = &Share> {
        self.iter().map(|(_, share)| share)
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Share> {
        std::iter::once(&mut self.first).chain(self.others.iter_mut().map(|(_, share)| share))
    }

    pub fn swap(&mut self, a: usize, b: usize) {
        if a != b {
            let was_a = std::mem::take(self.obtain(a));
            let was_b = std::mem::replace(self.obtain(b), was_a);
            *self.obtain(a) = was_b;
        }
    }
}

/// What is published of all databases but the first, whose stands in the stripes.
pub(super) struct OtherShared {
    stripes: usize,
    /// For each database one a stripe.
    databases: Box<[OnceLock<Box<[Published]>>]>,
}

impl OtherShared {
    pub fn new(databases: usize, stripes: usize) -> Self {
        Self { stripes, databases: (1..databases).map(|_| OnceLock::new()).collect() }
    }

    /// `None` of a database that was never used.
    #[inline]
    pub fn get(&self, stripe: usize, db: usize) -> Option<&Published> {
        self.databases.get(db - 1)?.get()?.get(stripe)
    }

    #[inline]
    pub fn obtain(&self, stripe: usize, db: usize) -> &Published {
        let make = || (0..self.stripes).map(|_| Published::default()).collect();
        &self.databases[db - 1].get_or_init(make)[stripe]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_of_a_map() {
        let (mut shares, mut model) = (Shares::default(), std::collections::BTreeMap::from([(0, 0)]));
        for round in 1..2000 {
            let (a, b) = (fastrand::usize(..12), fastrand::usize(..12));
            if round % 7 == 0 {
                shares.swap(a, b);
                let (was_a, was_b) = (model.get(&a).copied(), model.get(&b).copied());
                model.insert(a, was_b.unwrap_or(0));
                model.insert(b, was_a.unwrap_or(0));
            } else {
                shares.obtain(a).volatile = round;
                model.insert(a, round);
            }
            for db in 0..12 {
                let held = model.get(&db).copied();
                assert_eq!(shares.get(db).map_or(0, |share| share.volatile), held.unwrap_or(0));
                assert_eq!(shares.get_mut(db).map_or(0, |share| share.volatile), held.unwrap_or(0));
            }
            assert!(shares.iter().map(|(db, _)| db).is_sorted());
        }
    }
}
