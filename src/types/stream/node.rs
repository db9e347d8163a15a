//! A listpack of a stream: neighbouring entries, in Redis's own bytes.
//!
//! ```text
//! live | deleted | fields n | field … | 0                                    the master: the first entry's field names
//! flags | ms | seq | value …                              | n + 3            an entry with the master's fields
//! flags | ms | seq | fields n | field value | …           | 2 n + 4          an entry with others
//! ```
//! `ms` and `seq` are differences from the listpack's own id, which the index keeps. What stands behind an entry is the
//! number of listpack entries it takes, so that it can be read from behind. A deleted entry stays, flagged, until the whole
//! listpack goes. Bytes from outside come in through [`Node::from_untrusted`], which looks at every entry once.
//! Invariant: at least one entry is alive, and the living ones' ids rise.

use super::id::Id;
use crate::mover::{Movable, Mover};
use crate::types::Text;
use crate::types::listpack::{Listpack, Position};
use std::sync::Arc;

/// A listpack, shared with snapshots and copies, and how many of its entries are alive.
#[derive(Clone)]
pub struct Node {
    pack: Arc<Listpack>,
    live: u32,
    /// What the listpack takes on the heap.
    bytes: u32,
}

/// The numbers in front of a listpack's entries.
#[derive(Clone, Copy)]
struct Head {
    deleted_at: Position,
    deleted: i64,
    fields: usize,
    fields_at: Position,
    entries_at: Position,
}

/// An entry for reading.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    pub id: Id,
    pack: &'a Listpack,
    /// Where its flags are.
    at: Position,
    flags: i64,
    fields: usize,
    /// Where the names are, of an entry with the master's.
    names_at: Option<Position>,
    /// Where names and values, or values only, begin.
    values_at: Position,
}

impl<'a> Entry<'a> {
    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields
    }

    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }

    fn is_live(&self) -> bool {
        self.flags & DELETED == 0
    }

    /// Field names and values in their order.
    pub fn pairs(&self) -> impl Iterator<Item = (Text<'a>, Text<'a>)> + use<'a> {
        let mut values = self.pack.iter_from(self.values_at);
        let mut names = self.names_at.map(|at| self.pack.iter_from(at));
        (0..self.fields).filter_map(move |_| {
            let name = match &mut names {
                Some(names) => names.next()?,
                None => values.next()?,
            };
            Some((name, values.next()?))
        })
    }
}

impl Node {
    /// A listpack of one entry, whose fields become the master's.
    pub fn of(pairs: &[(&[u8], &[u8])]) -> Self {
        let mut pack = Listpack::new();
        let head = [1, 0, pairs.len() as i64].map(Text::Int);
        let names = pairs.iter().map(|(name, _)| Text::Bytes(name));
        pack.extend(head.into_iter().chain(names).chain([Text::Int(0)]));
        push_values(&mut pack, Id::ZERO, pairs);
        Self::new(pack, 1)
    }

    fn new(pack: Listpack, live: u32) -> Self {
        let bytes = pack.heap_bytes() as u32;
        Self { pack: Arc::new(pack), live, bytes }
    }

    /// Appends an entry; `master` is the listpack's own id.
    pub fn push(&mut self, master: Id, id: Id, pairs: &[(&[u8], &[u8])]) {
        let pack = Arc::make_mut(&mut self.pack);
        self.live += 1;
        write_int(pack, Listpack::FRONT, i64::from(self.live));
        let head = Head::of(pack);
        let delta = Id::new(id.ms.wrapping_sub(master.ms), id.seq.wrapping_sub(master.seq));
        let mut names = pack.iter_from(head.fields_at);
        if head.fields == pairs.len() && pairs.iter().all(|(name, _)| names.next().is_some_and(|text| text.is(name))) {
            push_values(pack, delta, pairs);
            self.bytes = pack.heap_bytes() as u32;
            return;
        }
        let head = [0, delta.ms as i64, delta.seq as i64, pairs.len() as i64].map(Text::Int);
        let texts = pairs.iter().flat_map(|(name, value)| [Text::Bytes(name), Text::Bytes(value)]);
        pack.extend(head.into_iter().chain(texts).chain([Text::Int(2 * pairs.len() as i64 + 4)]));
        self.bytes = pack.heap_bytes() as u32;
    }

    /// Entries alive.
    pub fn live(&self) -> usize {
        self.live as usize
    }

    /// Entries alive or deleted.
    pub fn len_with_deleted(&self) -> usize {
        self.live() + usize::try_from(Head::of(&self.pack).deleted).unwrap_or(0)
    }

    pub fn pack(&self) -> &Listpack {
        &self.pack
    }

    pub fn heap_bytes(&self) -> usize {
        self.bytes as usize + SHARED_BYTES
    }

    /// The living entries from an id on, upwards.
    pub fn from(&self, master: Id, start: Id) -> impl Iterator<Item = Entry<'_>> {
        let (pack, head) = (&*self.pack, Head::of(&self.pack));
        let mut at = head.entries_at;
        std::iter::from_fn(move || {
            while at < pack.end() {
                let entry = Entry::at(pack, &head, master, at);
                at = entry.behind();
                if entry.is_live() && entry.id >= start {
                    return Some(entry);
                }
            }
            None
        })
    }

    /// The living entries from an id on, downwards.
    pub fn back_from(&self, master: Id, start: Id) -> impl Iterator<Item = Entry<'_>> {
        let (pack, head) = (&*self.pack, Head::of(&self.pack));
        let mut end = pack.end();
        std::iter::from_fn(move || {
            while end > head.entries_at {
                end = before(pack, end)?;
                let entry = Entry::at(pack, &head, master, end);
                if entry.is_live() && entry.id <= start {
                    return Some(entry);
                }
            }
            None
        })
    }

    pub fn find(&self, master: Id, id: Id) -> Option<Entry<'_>> {
        self.from(master, id).next().filter(|entry| entry.id == id)
    }

    /// Marks living entries as deleted for which `is` holds, from the front until `is` says `None`; how many. There
    /// remains at least one.
    pub fn delete(&mut self, master: Id, mut is: impl FnMut(Id) -> Option<bool>) -> usize {
        let head = Head::of(&self.pack);
        let (mut at, mut marked) = (head.entries_at, Vec::new());
        while at < self.pack.end() {
            let entry = Entry::at(&self.pack, &head, master, at);
            if entry.is_live() {
                match is(entry.id) {
                    Some(true) => marked.push((entry.at, entry.flags)),
                    Some(false) => {}
                    None => break,
                }
            }
            at = entry.behind();
        }
        if marked.is_empty() {
            return 0;
        }
        let pack = Arc::make_mut(&mut self.pack);
        // From behind, so that the places in front stay, whatever a number takes.
        marked.iter().rev().for_each(|(at, flags)| write_int(pack, *at, flags | DELETED));
        write_int(pack, head.deleted_at, head.deleted + marked.len() as i64);
        self.live -= marked.len() as u32;
        write_int(pack, Listpack::FRONT, i64::from(self.live));
        self.bytes = pack.heap_bytes() as u32;
        marked.len()
    }

    /// The id of the last entry, alive or deleted: what decides whether a whole listpack is in front of an id.
    pub fn last_with_deleted(&self, master: Id) -> Id {
        let (pack, head) = (&*self.pack, Head::of(&self.pack));
        before(pack, pack.end()).map_or(master, |at| Entry::at(pack, &head, master, at).id)
    }

    /// Takes a listpack from a file or a client. `Ok(None)` if all its entries are deleted.
    pub fn from_untrusted(master: Id, bytes: &[u8]) -> Result<Option<Self>, Damaged> {
        let pack = Listpack::from_untrusted(bytes).ok_or(Damaged)?;
        let live = checked(master, &pack).ok_or(Damaged)?;
        Ok((live > 0).then(|| Self::new(pack, live)))
    }
}

/// A listpack that is not one of a stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Damaged;

impl Movable for Node {
    fn relocate(&mut self, mover: &mut Mover) {
        if let Some(pack) = Arc::get_mut(&mut self.pack) {
            pack.relocate(mover);
        }
    }
}

impl Head {
    fn of(pack: &Listpack) -> Self {
        let deleted_at = pack.behind(Listpack::FRONT);
        let fields_n_at = pack.behind(deleted_at);
        let fields_at = pack.behind(fields_n_at);
        let fields = int(pack, fields_n_at) as usize;
        // Behind the names stands a zero.
        let entries_at = (0..=fields).fold(fields_at, |at, _| pack.behind(at));
        Self { deleted_at, deleted: int(pack, deleted_at), fields, fields_at, entries_at }
    }
}

impl<'a> Entry<'a> {
    fn at(pack: &'a Listpack, head: &Head, master: Id, at: Position) -> Self {
        let flags = int(pack, at);
        let ms_at = pack.behind(at);
        let seq_at = pack.behind(ms_at);
        let id =
            Id::new(master.ms.wrapping_add(int(pack, ms_at) as u64), master.seq.wrapping_add(int(pack, seq_at) as u64));
        let rest = pack.behind(seq_at);
        if flags & SAME_FIELDS != 0 {
            let names_at = Some(head.fields_at);
            return Self { id, pack, at, flags, fields: head.fields, names_at, values_at: rest };
        }
        let (fields, values_at) = (int(pack, rest) as usize, pack.behind(rest));
        Self { id, pack, at, flags, fields, names_at: None, values_at }
    }

    /// Where the next entry begins.
    fn behind(&self) -> Position {
        let texts = if self.names_at.is_some() { self.fields } else { 2 * self.fields };
        (0..=texts).fold(self.values_at, |at, _| self.pack.behind(at))
    }
}

/// Where the entry begins that ends in front of `end`.
fn before(pack: &Listpack, end: Position) -> Option<Position> {
    let count_at = pack.prev(end)?;
    (0..int(pack, count_at)).try_fold(count_at, |at, _| pack.prev(at))
}

fn push_values(pack: &mut Listpack, delta: Id, pairs: &[(&[u8], &[u8])]) {
    let head = [SAME_FIELDS, delta.ms as i64, delta.seq as i64].map(Text::Int);
    let values = pairs.iter().map(|(_, value)| Text::Bytes(value));
    pack.extend(head.into_iter().chain(values).chain([Text::Int(pairs.len() as i64 + 3)]));
}

fn int(pack: &Listpack, at: Position) -> i64 {
    if let Text::Int(n) = pack.get(at) { n } else { 0 }
}

fn write_int(pack: &mut Listpack, at: Position, n: i64) {
    pack.replace(at, itoa::Buffer::new().format(n).as_bytes());
}

/// Entries alive in a listpack of which only its own format is known to be right; `None` if it is not one of a stream.
fn checked(master: Id, pack: &Listpack) -> Option<u32> {
    let mut texts = pack.iter();
    let mut number = || if let Text::Int(n) = texts.next()? { Some(n) } else { None };
    let (live, deleted, fields) = (number()?, number()?, number()?);
    // Not more than there are bytes, so that no sum overflows.
    let most = pack.bytes().len() as i64;
    if ![live, deleted, fields].iter().all(|n| (0..most).contains(n)) {
        return None;
    }
    (0..fields).try_for_each(|_| texts.next().map(drop))?;
    if texts.next()? != Text::Int(0) {
        return None;
    }
    let (mut seen, mut last) = ([0, 0], None);
    while let Some(flags) = texts.next() {
        let Text::Int(flags @ 0..=3) = flags else { return None };
        let mut number = || if let Text::Int(n) = texts.next()? { Some(n) } else { None };
        let (ms, seq) = (number()?, number()?);
        let id = Id::new(master.ms.wrapping_add(ms as u64), master.seq.wrapping_add(seq as u64));
        let (count, texts_here) = if flags & SAME_FIELDS != 0 {
            (fields + 3, fields)
        } else {
            let own = number().filter(|n| (0..most).contains(n))?;
            (2 * own + 4, 2 * own)
        };
        (0..texts_here).try_for_each(|_| texts.next().map(drop))?;
        if texts.next()? != Text::Int(count) {
            return None;
        }
        let is_deleted = flags & DELETED != 0;
        seen[usize::from(is_deleted)] += 1;
        if !is_deleted {
            if id < master || last.is_some_and(|last| id <= last) {
                return None;
            }
            last = Some(id);
        }
    }
    (seen == [live, deleted]).then(|| u32::try_from(live).ok()).flatten()
}

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;
/// Two counters and a pointer in front of what is shared.
const SHARED_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(node: &Node) -> Vec<Vec<u8>> {
        node.pack.iter().map(Text::to_vec).collect()
    }

    #[test]
    fn bytes_are_those_of_redis() {
        let master = Id::new(5, 9);
        let mut node = Node::of(&[(b"a", b"1")]);
        node.push(master, Id::new(6, 0), &[(b"a", b"2")]);
        node.push(master, Id::new(6, 1), &[(b"b", b"x")]);
        node.delete(master, |id| Some(id == Id::new(6, 0)));
        let expected = "2 1 1 a 0  2 0 0 1 4  3 1 -9 2 4  0 1 -8 1 b x 6";
        assert_eq!(
            texts(&node).iter().map(|t| String::from_utf8_lossy(t)).collect::<Vec<_>>(),
            expected.split_whitespace().collect::<Vec<_>>()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn damage_is_found_or_harmless(
            entries in prop::collection::vec((0u64..4, 0usize..3), 1..20),
            flips in prop::collection::vec((any::<u16>(), any::<u8>()), 0..4),
        ) {
            let (master, pair) = (Id::new(100, 0), [(&b"name"[..], &b"value"[..]), (b"other", b"12"), (b"third", b"")]);
            let (mut node, mut id) = (Node::of(&pair[..1]), master);
            for (step, fields) in entries {
                id = Id::new(id.ms + step, id.seq + 1);
                node.push(master, id, &pair[..=fields]);
            }
            node.delete(master, |id| Some(id.seq % 3 == 1));
            prop_assert_eq!(Node::from_untrusted(master, node.pack.bytes()).unwrap().map(|n| n.live), Some(node.live));
            let mut bytes = node.pack.bytes().to_vec();
            for (at, bits) in flips {
                let at = 6 + at as usize % (bytes.len() - 7);
                bytes[at] ^= bits;
            }
            if let Ok(Some(read)) = Node::from_untrusted(master, &bytes) {
                let up: Vec<Id> = read.from(master, Id::ZERO).map(|entry| { entry.pairs().count(); entry.id }).collect();
                let mut down: Vec<Id> = read.back_from(master, Id::MAX).map(|entry| entry.id).collect();
                down.reverse();
                prop_assert_eq!(&up, &down);
                prop_assert_eq!(up.len(), read.live());
            }
        }
    }
}
