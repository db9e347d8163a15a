//! A second set of databases that no client reaches: a full sync is loaded there while the data that it will replace is served.
//!
//! Each database has one aside, whose number is its own plus [`Keyspace::databases`]. What goes over all databases ends at
//! that number; the stripes hold both, so that the exchange is SWAPDB's. A snapshot leaves out what stood aside at its cut.

use super::db::Db;
use super::entry::Entry;
use super::stripe::Keyspace;
use super::walk::Flushed;

impl Keyspace {
    /// The number of the database aside of this one.
    pub fn aside(&self, db: usize) -> usize {
        self.databases() + db
    }

    /// Hands an entry to the snapshot in progress, unless it stood aside at the cut. `db`: its database's number there.
    pub(super) fn capture(&self, db: usize, entry: Entry) {
        if db < self.databases() {
            self.captures.capture(db, entry);
        }
    }
}

impl Db<'_> {
    /// Puts all that stands aside in place of the data. The unit owns the world. Returns what was there, to be freed elsewhere.
    pub fn take_aside(&mut self) -> Vec<Flushed> {
        self.empty_aside(|db, index, aside| db.swap(index, aside))
    }

    /// Empties what stands aside. The unit owns the world. Returns it, to be freed elsewhere.
    pub fn discard_aside(&mut self) -> Vec<Flushed> {
        self.empty_aside(|_, _, _| {})
    }

    fn empty_aside(&mut self, first: impl Fn(&mut Self, usize, usize)) -> Vec<Flushed> {
        let (keyspace, selected, mut flushed) = (self.keyspace(), self.index(), Vec::new());
        for index in 0..keyspace.databases() {
            let aside = keyspace.aside(index);
            if keyspace.counts(index).0 + keyspace.counts(aside).0 > 0 {
                first(self, index, aside);
                self.select(aside);
                flushed.extend(self.flush());
            }
        }
        self.select(selected);
        flushed
    }
}
