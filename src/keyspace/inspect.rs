//! A look at the tables themselves, for DEBUG. Commands on data never need it.

use super::db::Db;

impl Db<'_> {
    /// Places for keys in the selected database's tables, taken or not.
    pub fn table_slots(&mut self) -> usize {
        let index = self.index;
        let stripes = 0..self.keyspace().stripes();
        let mut buckets =
            |s| self.held.visit(s, |held| held.share_there(s, index).map_or(0, |share| share.table.buckets()));
        stripes.map(|stripe| buckets(stripe) * SLOTS_PER_BUCKET).sum()
    }
}

const SLOTS_PER_BUCKET: usize = 7;
