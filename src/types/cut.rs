//! A big collection as it was at one moment, read in pieces while it goes on changing.
//!
//! A [`TableCut`] is shared by the collection ([`Items`]) and one reader on another thread. The reader walks the table in
//! the order of its scan, a bounded piece at a time. A change to a member that the walk has not passed first leaves a copy
//! of it with the cut, and marks what takes its place as none of the cut's; a change behind the walk costs a comparison.
//! Each member of the moment is delivered exactly once, in no particular order.
//!
//! The cut has a lock of its own, taken by the reader for a piece and by every change while the reader is at work: a
//! collection may be renamed or removed meanwhile, whatever locks guard the place it is in. One that is dropped leaves its
//! table to the cut, which the reader then owns and frees.
//! Bound: copies of the members that change before the walk has passed them.

#![allow(unsafe_code)]

use super::items::{Item, Items, hash, lent};
use crate::table::{Table, Word};
use hashbrown::HashSet;
use parking_lot::{Mutex, MutexGuard};
use std::mem::ManuallyDrop;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};

/// One moment of a collection's members.
pub struct TableCut<T: Item> {
    state: Mutex<State<T>>,
    /// The reader is done, or gave up: changes need not look here any more.
    over: AtomicBool,
    len: usize,
}

struct State<T: Item> {
    source: Source<T>,
    /// Where the walk stands, as the table's scan counts; `None` behind its end.
    cursor: Option<u64>,
    /// Members in front of the walk that are not as they were.
    fresh: HashSet<Word>,
    /// Members as they were, which changed before the walk came to them.
    saved: Vec<T>,
}

enum Source<T: Item> {
    /// The collection's own table, as it was after its last change.
    Lent(ManuallyDrop<Table>),
    /// The collection is gone and left this.
    Left(Items<T>),
}

impl<T: Item> TableCut<T> {
    /// # Safety
    /// Until the cut is over the table is changed only between [`TableCut::open`] and the drop of what it returns, which is
    /// told of the change afterwards ([`Open::changed`] and its like); and before its end it is given to [`Open::inherit`].
    pub(super) unsafe fn of(table: &Table) -> Self {
        // SAFETY: used under the lock only, and replaced after each change before the lock is let go: the promise above.
        let source = Source::Lent(unsafe { table.lend() });
        let state = State { source, cursor: Some(0), fresh: HashSet::new(), saved: Vec::new() };
        Self { state: Mutex::new(state), over: AtomicBool::new(false), len: table.len() }
    }

    /// Members at the moment of the cut.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Acquire)
    }

    /// For a change of the collection: what is returned is to be told of it.
    pub(super) fn open(&self) -> Open<'_, T> {
        Open(self.state.lock())
    }

    /// Visits the next piece, some [`PIECE`] members. False behind the last.
    pub fn step(&self, mut visit: impl FnMut(&T)) -> bool {
        if self.is_over() {
            return false;
        }
        let mut guard = self.state.lock();
        let State { source, cursor, fresh, saved } = &mut *guard;
        let (mut seen, mut bytes) = (0, 0);
        while let Some(at) = *cursor
            && seen < PIECE
            && bytes < PIECE_BYTES
        {
            let next = source.table().scan(at, |word| {
                let member = lent::<T>(word);
                // After a merge the bucket begins before the cursor: those members were passed already.
                if is_passed(at, hash(member.name())) || fresh.remove(&word) {
                    return;
                }
                (seen, bytes) = (seen + 1, bytes + member.heap_bytes());
                visit(&member);
            });
            *cursor = (next != 0).then_some(next);
        }
        while cursor.is_none()
            && seen < PIECE
            && bytes < PIECE_BYTES
            && let Some(member) = saved.pop()
        {
            (seen, bytes) = (seen + 1, bytes + member.heap_bytes());
            visit(&member);
        }
        let more = cursor.is_some() || !saved.is_empty();
        if !more {
            self.close();
        }
        more
    }

    /// The reader wants no more.
    pub fn close(&self) {
        // The writer that finds the cut over changes and frees what was read here.
        self.over.store(true, Release);
    }
}

impl<T: Item> Source<T> {
    fn table(&self) -> &Table {
        match self {
            Self::Lent(table) => table,
            Self::Left(items) => items.table(),
        }
    }
}

/// Whether a walk that goes on at this cursor has the members of a hash behind it.
fn is_passed(cursor: u64, hash: u64) -> bool {
    hash.reverse_bits() < cursor.reverse_bits()
}

/// A cut whose collection is about to change.
pub(super) struct Open<'a, T: Item>(MutexGuard<'a, State<T>>);

impl<T: Item> Open<'_, T> {
    /// A member is about to change or to go.
    pub fn before(&mut self, word: Word) {
        let member = lent::<T>(word);
        if self.is_ahead(hash(member.name())) && !self.0.fresh.contains(&word) {
            self.0.saved.push(member.clone());
        }
    }

    /// It has another word now; the table as it is afterwards.
    pub fn changed(&mut self, table: &Table, hash: u64, before: Word, after: Word) {
        self.stands(table);
        if self.is_ahead(hash) {
            self.0.fresh.remove(&before);
            self.0.fresh.insert(after);
        }
    }

    pub fn added(&mut self, table: &Table, hash: u64, word: Word) {
        self.stands(table);
        if self.is_ahead(hash) {
            self.0.fresh.insert(word);
        }
    }

    pub fn removed(&mut self, table: &Table, word: Word) {
        self.stands(table);
        self.0.fresh.remove(&word);
    }

    fn stands(&mut self, table: &Table) {
        // SAFETY: as in `TableCut::of`.
        self.0.source = Source::Lent(unsafe { table.lend() });
    }

    /// The collection ends; its table, taken out of it under this lock, is the reader's.
    pub fn inherit(&mut self, items: Items<T>) {
        self.0.source = Source::Left(items);
    }

    fn is_ahead(&self, hash: u64) -> bool {
        self.0.cursor.is_some_and(|cursor| !is_passed(cursor, hash))
    }
}

/// Members visited under the lock: some tens of microseconds.
const PIECE: usize = 256;
/// The same for long members; a single one is never divided.
const PIECE_BYTES: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::super::piece::Piece;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Field = Piece<(), true>;

    fn put(items: &mut Items<Field>, model: &mut BTreeMap<Vec<u8>, Vec<u8>>, name: Vec<u8>, value: Vec<u8>) {
        if items.update(&name, |field| field.set_value(&value)).is_none() {
            items.insert(Field::new((), &name, &value));
        }
        model.insert(name, value);
    }

    fn name(n: u16) -> Vec<u8> {
        format!("name{n}").into_bytes()
    }

    /// For the thread sanitizer: a reader on another thread, changes meanwhile, and at once after its end.
    #[test]
    fn a_cut_is_read_beside_changes() {
        for round in 0..20u16 {
            let (mut items, mut model) = (Box::<Items<Field>>::default(), BTreeMap::new());
            (0..2000).for_each(|n| put(&mut items, &mut model, name(n), b"first".to_vec()));
            let cut = items.cut();
            let reader = std::thread::spawn(move || {
                let mut seen = 0;
                while cut.step(|field| seen += usize::from(field.value() == b"first")) {}
                cut.close();
                seen
            });
            // Its end is seen here before the thread is joined.
            let mut n = 0u16;
            while items.is_read() || n < 4000 {
                n = n.wrapping_add(1);
                put(&mut items, &mut model, name((n % 2003 + round) % 2000), b"second".to_vec());
                items.remove(&name((n / 3) % 2000));
            }
            drop(items);
            assert_eq!(reader.join().unwrap(), 2000);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever happens between two pieces (changes, growth, shrinking to nothing, the end of the collection), the
        /// cut delivers the members of its moment, each once.
        #[test]
        fn a_cut_is_one_moment(
            first in 0u16..3000,
            rounds in prop::collection::vec(prop::collection::vec((0u8..4, 0u16..4000, 0usize..40), 0..200), 0..20),
            shrink_at in 0usize..20,
            drop_at in 0usize..30,
        ) {
            let (mut items, mut model) = (Box::<Items<Field>>::default(), BTreeMap::new());
            (0..first).for_each(|n| put(&mut items, &mut model, name(n), b"first".to_vec()));
            let cut = items.cut();
            let expected = model.clone();
            let (mut seen, mut more, mut round) = (Vec::new(), true, 0);
            let mut items = Some(items);
            while more {
                more = cut.step(|field| seen.push((field.name().to_vec(), field.value().to_vec())));
                if let Some(items) = &mut items {
                    for (step, n, len) in rounds.get(round).into_iter().flatten() {
                        match step {
                            0 => { items.remove(&name(*n)); model.remove(&name(*n)); }
                            _ => put(items, &mut model, name(*n), vec![b'v'; *len]),
                        }
                    }
                    if round == shrink_at {
                        (0..4000).filter(|n| n % 16 > 0).for_each(|n| { items.remove(&name(n)); model.remove(&name(n)); });
                    }
                }
                if round == drop_at {
                    items = None;
                }
                round += 1;
            }
            seen.sort();
            prop_assert_eq!(seen.len(), cut.len());
            prop_assert_eq!(seen, expected.into_iter().collect::<Vec<_>>());
            if let Some(items) = items {
                let mut now = BTreeMap::new();
                items.for_each(|field| { now.insert(field.name().to_vec(), field.value().to_vec()); });
                prop_assert_eq!(now, model);
            }
        }
    }
}
