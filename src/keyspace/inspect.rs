//! A look at the tables themselves, for DEBUG. Commands on data never need it.

use super::db::Db;

impl Db<'_> {
    /// Places for keys in the selected database's tables, taken or not.
    pub fn table_slots(&mut self) -> usize {
        let index = self.index;
        let stripes = 0..self.keyspace().stripes();
        stripes.map(|s| self.held.visit(s, |held| held.part(s, index).table.buckets() * SLOTS_PER_BUCKET)).sum()
    }
}

const SLOTS_PER_BUCKET: usize = 7;
