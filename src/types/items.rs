//! A big collection's members, found by name: the keyspace's own table, one word a member.
//!
//! Grows and shrinks a bucket at a time, scans with the SCAN guarantee, samples fairly; see `crate::table`. The members
//! themselves are small owned allocations ([`super::piece::Piece`]) with whatever their type keeps beside the name.
//!
//! A member looked at costs a memory miss or two. Many are looked at in batches, whose misses overlap:
//! [`Items::for_each_batch`], [`Items::contains_each`].

#![allow(unsafe_code)]

use super::cut::TableCut;
use super::text::Text;
use crate::mover::{Movable, Mover};
use crate::table::{Table, Word, prefetch};
use smallvec::SmallVec;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

/// An owned member that is one word.
///
/// # Safety
/// `from_word(into_word(x))` is `x`, and a word is nothing but the owner of what it points to.
pub unsafe trait Item: Sized + Clone + Movable {
    fn into_word(self) -> Word;

    /// # Safety
    /// The word came from [`Item::into_word`]; owners made of one word must not both be dropped.
    unsafe fn from_word(word: Word) -> Self;

    fn name(&self) -> &[u8];

    fn heap_bytes(&self) -> usize;
}

/// A member lent by its collection.
pub struct Lent<'a, T>(ManuallyDrop<T>, PhantomData<&'a T>);

impl<T> Deref for Lent<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Owned members by name.
pub struct Items<T: Item> {
    table: Table,
    /// Heap bytes of the members.
    bytes: usize,
    /// The cut that is being read: told of every change.
    cut: Option<Arc<TableCut<T>>>,
}

impl<T: Item> Default for Items<T> {
    fn default() -> Self {
        Self { table: Table::new(), bytes: 0, cut: None }
    }
}

impl<T: Item> Items<T> {
    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Bytes on the heap: members and index.
    pub fn heap_bytes(&self) -> usize {
        self.bytes + self.table.heap_bytes()
    }

    #[inline]
    fn find(&self, name: &[u8]) -> Option<crate::table::Found> {
        self.table.find(hash(name), |word| lent::<T>(word).name() == name)
    }

    #[inline]
    pub fn contains(&self, name: &[u8]) -> bool {
        self.find(name).is_some()
    }

    /// Which of these names are there, in their order: what many [`Items::contains`] would say, in a fraction of the time.
    pub fn contains_each(&self, names: &[Text<'_>]) -> SmallVec<[bool; BATCH_ROOM]> {
        let mut digits = itoa::Buffer::new();
        let hashes: SmallVec<[u64; BATCH_ROOM]> = names.iter().map(|name| hash(name.bytes(&mut digits))).collect();
        hashes.iter().for_each(|&hash| self.table.prefetch_bucket(hash));
        hashes.iter().for_each(|&hash| self.table.prefetch_words(hash, |word| prefetch(word as *const u8)));
        let found = names.iter().zip(&hashes).map(|(name, &hash)| {
            let name = name.bytes(&mut digits);
            self.table.find(hash, |word| lent::<T>(word).name() == name).is_some()
        });
        found.collect()
    }

    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<Lent<'_, T>> {
        self.find(name).map(|found| lent(self.table.word(found)))
    }

    /// A member by its own word.
    ///
    /// # Safety
    /// The word is one of this collection's, unchanged since it was taken.
    pub unsafe fn by_word(&self, word: Word) -> Lent<'_, T> {
        lent(word)
    }

    /// The members as they are now, to be read in pieces by another thread while they change.
    pub fn cut(&mut self) -> Arc<TableCut<T>> {
        // SAFETY: the table changes in `insert`, `update` and `remove` only, which open the cut first and tell it of the
        // change; nothing is relocated while it is read, and `drop` leaves it to the cut.
        let cut = Arc::new(unsafe { TableCut::of(&self.table) });
        self.cut = Some(cut.clone());
        cut
    }

    /// The cut that a change must be told of.
    #[inline]
    fn open_cut(&mut self) -> Option<Arc<TableCut<T>>> {
        if self.cut.as_ref()?.is_over() {
            self.cut = None;
        }
        self.cut.clone()
    }

    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// Adds a member whose name is not there.
    pub fn insert(&mut self, item: T) {
        debug_assert!(!self.contains(item.name()));
        let (cut, hash) = (self.open_cut(), hash(item.name()));
        let open = cut.as_ref().map(|cut| cut.open());
        self.bytes += item.heap_bytes();
        let word = item.into_word();
        self.table.insert(hash, word, rehash::<T>);
        self.free_retired();
        if let Some(mut open) = open {
            open.added(&self.table, hash, word);
        }
    }

    /// Changes a member in place; its name stays.
    pub fn update<R>(&mut self, name: &[u8], change: impl FnOnce(&mut T) -> R) -> Option<R> {
        let found = self.find(name)?;
        let before = self.table.word(found);
        let cut = self.open_cut();
        let mut open = cut.as_ref().map(|cut| cut.open());
        if let Some(open) = &mut open {
            open.before(before);
        }
        // SAFETY: the table's word owns the member; the one we make of it goes back below, whatever it became.
        let mut item = ManuallyDrop::new(unsafe { T::from_word(before) });
        self.bytes -= item.heap_bytes();
        let result = change(&mut item);
        self.bytes += item.heap_bytes();
        let after = ManuallyDrop::into_inner(item).into_word();
        self.table.replace(found, after);
        if let Some(mut open) = open {
            open.changed(&self.table, hash(name), before, after);
        }
        Some(result)
    }

    /// Takes a member out.
    pub fn remove(&mut self, name: &[u8]) -> Option<T> {
        let found = self.find(name)?;
        let word = self.table.word(found);
        let cut = self.open_cut();
        let mut open = cut.as_ref().map(|cut| cut.open());
        if let Some(open) = &mut open {
            open.before(word);
        }
        // SAFETY: the word leaves the table, so that this is its only owner.
        let item = unsafe { T::from_word(self.table.remove(found)) };
        self.bytes -= item.heap_bytes();
        self.free_retired();
        if let Some(mut open) = open {
            open.removed(&self.table, word);
        }
        Some(item)
    }

    /// A cut of the members is being read: what is here stays where it is.
    pub fn is_read(&mut self) -> bool {
        self.open_cut().is_some()
    }

    /// Moves what is worth it of the members, and of the table if it is at its beginning, from a place of a scan on until
    /// the mover is tired; the next place, 0 at the end. `changed` is told of a member's old word and of the member.
    /// Nothing moves while a cut is being read.
    pub fn relocate_from(&mut self, mut place: u64, mover: &mut Mover, mut changed: impl FnMut(Word, &T)) -> u64 {
        if self.is_read() {
            return 0;
        }
        self.relocate_index(place, mover);
        loop {
            place = self.table.relocate_step(place, mover, |word, mover| relocated::<T>(word, mover, &mut changed));
            if place == 0 || mover.is_tired() {
                return place;
            }
        }
    }

    /// The table's own memory, before the first member of a walk.
    pub fn relocate_index(&mut self, place: u64, mover: &mut Mover) {
        if place == 0 && !self.is_read() {
            self.table.relocate(mover);
            self.free_retired();
        }
    }

    /// Moves a member that is found by its word, and the buckets it is chained in; its word from then on.
    pub fn relocate_member(&mut self, member: Word, mover: &mut Mover) -> Word {
        if self.is_read() {
            return member;
        }
        let Some(found) = self.table.find(rehash::<T>(member), |word| word == member) else { return member };
        let after = relocated::<T>(member, mover, |_, _| ());
        self.table.replace(found, after);
        self.table.relocate_around(found, mover);
        after
    }

    /// Every member, in no particular order.
    pub fn for_each(&self, mut visit: impl FnMut(&T)) {
        self.walk(|batch| {
            batch.iter().for_each(|item| visit(item));
            true
        });
    }

    /// Every member, about [`BATCH`] at a time, until `visit` says no.
    pub fn for_each_batch(&self, mut visit: impl FnMut(&[Lent<'_, T>]) -> bool) {
        self.walk(|batch| visit(batch));
    }

    /// The members for which `wanted` holds.
    pub fn filtered(&self, wanted: impl Fn(&T) -> bool) -> Vec<Lent<'_, T>> {
        let mut all = Vec::new();
        self.walk(|batch| {
            all.extend(batch.drain(..).filter(|item| wanted(item)));
            true
        });
        all
    }

    /// Batches of whole buckets. Their members' memory is asked for while the batch is gathered.
    fn walk<'a>(&'a self, mut visit: impl FnMut(&mut Batch<'a, T>) -> bool) {
        let mut batch = Batch::new();
        for index in 0..self.table.buckets() {
            self.table.for_each_in(index, |word| {
                prefetch(word.get() as *const u8);
                batch.push(lent(word));
            });
            if batch.len() >= BATCH {
                if !visit(&mut batch) {
                    return;
                }
                batch.clear();
            }
        }
        visit(&mut batch);
    }

    /// One step of a scan: the members of a bucket; the next cursor, 0 at the end.
    pub fn scan(&self, cursor: u64, mut emit: impl FnMut(&T)) -> u64 {
        self.table.scan(cursor, |word| emit(&lent::<T>(word)))
    }

    /// A member, each with the same chance.
    pub fn sample(&self) -> Option<Lent<'_, T>> {
        self.table.sample(|| fastrand::u64(..)).map(lent)
    }

    /// This table is read under the stripe's lock only: memory that fell out of use is freed at once.
    fn free_retired(&mut self) {
        if self.table.has_retired() {
            self.table.take_retired();
        }
    }
}

impl<T: Item> Drop for Items<T> {
    fn drop(&mut self) {
        if let Some(cut) = self.open_cut() {
            let mut open = cut.open();
            let left = Self { table: std::mem::take(&mut self.table), bytes: self.bytes, cut: None };
            return open.inherit(left);
        }
        self.walk(|batch| {
            // SAFETY: the table owns its words, lends each once, and is not looked at again.
            batch.iter_mut().for_each(|item| unsafe { ManuallyDrop::drop(&mut item.0) });
            true
        });
    }
}

impl<T: Item + Clone> Clone for Items<T> {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        self.for_each(|item| copy.insert(item.clone()));
        copy
    }
}

/// Members on loan, looked at together.
type Batch<'a, T> = SmallVec<[Lent<'a, T>; BATCH_ROOM]>;

pub(super) fn lent<'a, T: Item>(word: Word) -> Lent<'a, T> {
    // SAFETY: a word in the table owns a live member; `ManuallyDrop` leaves it to the table. The lifetime is bounded by
    // the methods above to the borrow of the collection.
    Lent(ManuallyDrop::new(unsafe { T::from_word(word) }), PhantomData)
}

/// Moves a member if it is worth it; its word then.
fn relocated<T: Item>(word: Word, mover: &mut Mover, changed: impl FnOnce(Word, &T)) -> Word {
    // SAFETY: the table's word owns the member, and the one we make of it takes its place.
    let mut item = ManuallyDrop::new(unsafe { T::from_word(word) });
    let moved = mover.moved;
    item.relocate(mover);
    if mover.moved > moved {
        changed(word, &item);
    }
    ManuallyDrop::into_inner(item).into_word()
}

fn rehash<T: Item>(word: Word) -> u64 {
    hash(lent::<T>(word).name())
}

/// Keyed anew in every process, so that a client cannot choose names that collide.
#[inline]
pub(super) fn hash(name: &[u8]) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    static HASHER: LazyLock<ahash::RandomState> = LazyLock::new(crate::table::keyed_hasher);
    let mut hasher = HASHER.build_hasher();
    hasher.write(name);
    hasher.finish()
}

/// Members looked at together: more than a core's misses in flight, fewer than its first cache holds.
pub const BATCH: usize = 32;
/// A batch ends with a bucket, which seldom holds more than 16 others.
pub const BATCH_ROOM: usize = BATCH + 16;

#[cfg(test)]
mod tests {
    use super::super::piece::Piece;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Field = Piece<(), true>;

    proptest! {
        #[test]
        fn items_are_a_map(steps in prop::collection::vec((0u8..4, 0u16..300, any::<u16>()), 1..600)) {
            let (mut items, mut model) = (Items::<Field>::default(), BTreeMap::new());
            for (step, name, value) in steps {
                let (name, value) = (format!("name{name}").into_bytes(), vec![b'v'; value as usize % 300]);
                match step {
                    0 if !model.contains_key(&name) => {
                        items.insert(Field::new((), &name, &value));
                        model.insert(name, value);
                    }
                    1 => {
                        let updated = items.update(&name, |f| f.set_value(&value)).is_some();
                        prop_assert_eq!(updated, model.get_mut(&name).map(|v| *v = value).is_some());
                    }
                    2 => prop_assert_eq!(items.remove(&name).map(|f| f.value().to_vec()), model.remove(&name)),
                    _ => prop_assert_eq!(items.get(&name).map(|f| f.value().to_vec()), model.get(&name).cloned()),
                }
                prop_assert_eq!(items.len(), model.len());
            }
            let mut all = BTreeMap::new();
            items.clone().for_each(|f| { all.insert(f.name().to_vec(), f.value().to_vec()); });
            prop_assert_eq!(&all, &model);
            let bytes: usize = { let mut n = 0; items.for_each(|f| n += f.heap_bytes()); n };
            prop_assert_eq!(items.bytes, bytes);
            let names: Vec<Vec<u8>> = (0..310).map(|n| format!("name{n}").into_bytes()).collect();
            let texts: Vec<Text<'_>> = names.iter().map(|name| Text::Bytes(name)).collect();
            let expected: Vec<bool> = names.iter().map(|name| model.contains_key(name)).collect();
            prop_assert_eq!(items.contains_each(&texts).to_vec(), expected);
            prop_assert_eq!(items.sample().is_some(), !model.is_empty());
        }
    }
}
