//! Streams: entries of fields and values, appended with rising ids, and the groups of consumers that read them.
//!
//! Entries stand in listpacks of Redis's own format ([`node`]), found by id ([`index`]); groups keep what was delivered and
//! is not acknowledged ([`group`]). A clone shares all of it until one of both changes: snapshots and COPY take no time that
//! grows with the entries.
//! Invariants: no listpack is without living entries; `len` is the sum of theirs; `last` is not below any id; what a group
//! has pending may be gone from the stream. Not here: keys, clocks, replies, waiting.
//! Cost: appending touches the last listpack, finding one, trimming whole listpacks a page of counts at a time.

mod group;
mod id;
mod idempotence;
mod index;
mod lag;
mod load;
mod node;
#[cfg(test)]
mod tests;
mod walk;

pub use group::{Consumer, Delivery, Group, Owner};
pub use id::{ID_BYTES, Id};
pub use idempotence::{Idempotence, Limits};
pub use load::{Counters, GroupLoader, Loader, Malformed};
pub use node::{Entry, Node};
pub use walk::{Cut, Owns, Part, Walk};

use super::encoding::{self, Large};
use crate::clock::Millis;
use crate::mover::{Movable, Mover};
use index::Index;
use lag::Numbers;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A stream.
#[derive(Clone, Default)]
pub struct Stream {
    nodes: Index<Node>,
    /// Heap bytes of the listpacks.
    node_bytes: usize,
    len: u64,
    last: Id,
    first: Id,
    max_deleted: Id,
    added: u64,
    groups: BTreeMap<Box<[u8]>, Group>,
    /// Of a stream whose producers name what they add.
    idempotence: Option<Arc<Idempotence>>,
}

/// How much one listpack may hold: `stream-node-max-bytes` and `stream-node-max-entries`.
#[derive(Clone, Copy, Debug)]
pub struct NodeMax {
    bytes: usize,
    entries: usize,
}

impl NodeMax {
    /// From the directives, 0 for no bound.
    pub fn of_directives(bytes: usize, entries: usize) -> Self {
        let bytes = if bytes == 0 { NODE_BYTES_MAX } else { bytes.min(NODE_BYTES_MAX) };
        Self { bytes, entries: if entries == 0 { usize::MAX } else { entries } }
    }
}

/// An entry that no listpack can hold.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// What trimming keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// This many, the newest.
    Newest(u64),
    /// Those from an id on.
    From(Id),
}

impl Large for Stream {
    fn heap_bytes(&self) -> usize {
        let groups: usize = self.groups.iter().map(|(name, group)| name.len() + GROUP_BYTES + group.heap_bytes()).sum();
        let names = self.idempotence().map_or(0, Idempotence::heap_bytes);
        self.nodes.heap_bytes() + self.node_bytes + groups + names
    }

    fn allocations(&self) -> usize {
        let names = self.idempotence().map_or(0, Idempotence::names);
        1 + 2 * self.nodes.len() + self.groups.values().map(Group::allocations).sum::<usize>() + names
    }

    fn is_emptied(&self) -> bool {
        false
    }

    fn is_big(&self) -> bool {
        let pending = |group: &Group| group.pending() + group.consumers().len();
        let pending: usize = self.groups.values().map(pending).sum();
        self.nodes.len() > encoding::NODES_MAX || pending > encoding::MEMBERS_MAX
    }

    /// What a cut reads is shared with it, and known to be.
    fn is_read(&mut self) -> bool {
        false
    }

    fn relocate_from(&mut self, place: u64, mover: &mut Mover) -> u64 {
        let (place, mut begin) = (place as usize, self.nodes.places());
        if place < begin {
            let next = self.nodes.relocate_from(place, mover, |node, mover| node.relocate(mover));
            if next < begin || mover.is_tired() {
                return next as u64;
            }
        }
        for group in self.groups.values_mut() {
            let end = begin + group.places();
            if place < end {
                let next = begin + group.relocate_from(place.saturating_sub(begin), mover);
                if next < end || mover.is_tired() {
                    return next as u64;
                }
            }
            begin = end;
        }
        0
    }
}

impl Stream {
    pub fn len(&self) -> u64 {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The greatest id there ever was, or that was set.
    pub fn last_id(&self) -> Id {
        self.last
    }

    /// The id of the first living entry; zero if there is none.
    pub fn first_id(&self) -> Id {
        self.first
    }

    /// The greatest id deleted one by one.
    pub fn max_deleted(&self) -> Id {
        self.max_deleted
    }

    /// Entries ever added.
    pub fn added(&self) -> u64 {
        self.added
    }

    /// Number of listpacks.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Sets what XSETID sets.
    pub fn set_counters(&mut self, last: Id, added: Option<u64>, max_deleted: Option<Id>) {
        self.last = last;
        self.added = added.unwrap_or(self.added);
        self.max_deleted = max_deleted.unwrap_or(self.max_deleted);
    }

    /// Appends an entry, whose id must be above [`Stream::last_id`].
    pub fn append(&mut self, id: Id, pairs: &[(&[u8], &[u8])], max: NodeMax) -> Result<(), TooLarge> {
        debug_assert!(id > self.last);
        let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let overhead = pairs.len().saturating_mul(2 * ELEMENT_OVERHEAD) + ENTRY_OVERHEAD;
        if bytes.saturating_add(overhead) > NODE_BYTES_MAX {
            return Err(TooLarge);
        }
        let fits = |node: &Node| {
            let held = node.pack().bytes().len();
            held + bytes < max.bytes
                && held + bytes + overhead <= NODE_BYTES_MAX
                && (max.entries == usize::MAX || node.len_with_deleted() < max.entries)
        };
        match self.nodes.last().filter(|(_, node)| fits(node)).map(|(master, _)| master) {
            Some(master) => {
                let node = self.nodes.get_mut(master).expect("it is the last one");
                self.node_bytes -= node.heap_bytes();
                node.push(master, id, pairs);
                self.node_bytes += node.heap_bytes();
            }
            None => {
                let node = Node::of(pairs);
                self.node_bytes += node.heap_bytes();
                self.nodes.insert(id, node);
            }
        }
        (self.len, self.added, self.last) = (self.len + 1, self.added.saturating_add(1), id);
        if self.len == 1 {
            self.first = id;
        }
        Ok(())
    }

    /// The entries between two ids, both included, upwards.
    pub fn range(&self, from: Id, to: Id) -> impl Iterator<Item = Entry<'_>> {
        let start = self.nodes.at_or_before(from).map_or(from, |(master, _)| master);
        let entries = self.nodes.from(start).flat_map(move |(master, node)| node.from(master, from));
        entries.take_while(move |entry| entry.id <= to)
    }

    /// The same, downwards.
    pub fn range_back(&self, from: Id, to: Id) -> impl Iterator<Item = Entry<'_>> {
        let entries = self.nodes.back_from(to).flat_map(move |(master, node)| node.back_from(master, to));
        entries.take_while(move |entry| entry.id >= from)
    }

    pub fn find(&self, id: Id) -> Option<Entry<'_>> {
        self.nodes.at_or_before(id).and_then(|(master, node)| node.find(master, id))
    }

    /// The id of the last living entry.
    pub fn top(&self) -> Option<Id> {
        let mut entries = self.range_back(Id::ZERO, Id::MAX);
        entries.next().map(|entry| entry.id)
    }

    /// Deletes an entry. False if it is not there. [`Stream::deleted`] is to be told of all that a command deleted.
    pub fn delete(&mut self, id: Id) -> bool {
        let Some((master, node)) = self.nodes.at_or_before(id) else { return false };
        if node.find(master, id).is_none() {
            return false;
        }
        if node.live() == 1 {
            self.node_bytes -= node.heap_bytes();
            self.nodes.remove(master);
        } else {
            self.mark(master, |other| if other > id { None } else { Some(other == id) });
        }
        self.len -= 1;
        true
    }

    /// States that entries were deleted one by one, `greatest` the greatest of their ids.
    pub fn deleted(&mut self, greatest: Id) {
        self.max_deleted = self.max_deleted.max(greatest);
        self.find_first();
    }

    fn mark(&mut self, master: Id, is: impl FnMut(Id) -> Option<bool>) -> usize {
        let Some(node) = self.nodes.get_mut(master) else { return 0 };
        self.node_bytes -= node.heap_bytes();
        let marked = node.delete(master, is);
        self.node_bytes += node.heap_bytes();
        marked
    }

    fn find_first(&mut self) {
        let first = self.range(Id::ZERO, Id::MAX).next().map(|entry| entry.id);
        self.first = first.unwrap_or_default();
    }

    /// Removes from the front what is not to be kept: whole listpacks only if `whole`, and of those at most `limit` entries'
    /// worth if that is not 0. How many, and the listpacks taken out, for the caller to free off the serving path.
    pub fn trim(&mut self, keep: Keep, whole: bool, limit: u64) -> (u64, Option<Box<Stream>>) {
        let (nodes, mut removed) = self.nodes_to_remove(keep, limit);
        let mut taken = None;
        if nodes > 0 {
            let front = Self { nodes: self.nodes.split_front(nodes), len: removed, ..Self::default() };
            self.node_bytes = if self.nodes.is_empty() { 0 } else { self.node_bytes - front.counted_node_bytes() };
            self.len -= removed;
            taken = Some(Box::new(front));
        }
        if !whole {
            removed += self.trim_first(keep);
        }
        if removed > 0 {
            self.find_first();
        }
        (removed, taken)
    }

    /// Of whole listpacks from the front: how many go, and how many entries with them.
    fn nodes_to_remove(&self, keep: Keep, limit: u64) -> (usize, u64) {
        let (mut nodes, mut removed) = (0, 0);
        let mut rest = self.nodes.iter().peekable();
        while let Some((master, node)) = rest.next() {
            let live = node.live() as u64;
            let goes = match keep {
                Keep::Newest(count) => self.len - removed > count && self.len - removed - live >= count,
                // What begins before the id ends before it too, if the next one does not begin behind it.
                Keep::From(id) => {
                    rest.peek().is_some_and(|(next, _)| *next <= id) || node.last_with_deleted(master) < id
                }
            };
            if !goes || limit > 0 && removed + live > limit {
                break;
            }
            (nodes, removed) = (nodes + 1, removed + live);
        }
        (nodes, removed)
    }

    /// Removes entries of the first listpack, which does not go as a whole.
    fn trim_first(&mut self, keep: Keep) -> u64 {
        let Some((master, node)) = self.nodes.first() else { return 0 };
        let live = node.live() as u64;
        let mut excess = match keep {
            Keep::Newest(count) => self.len.saturating_sub(count),
            Keep::From(_) => live,
        };
        let goes = |id: Id| match keep {
            Keep::Newest(_) => {
                excess = excess.checked_sub(1)?;
                Some(true)
            }
            Keep::From(from) => (id < from).then_some(true),
        };
        let marked = self.mark(master, goes) as u64;
        if marked == live
            && let Some(node) = self.nodes.remove(master)
        {
            self.node_bytes -= node.heap_bytes();
        }
        self.len -= marked;
        marked
    }

    /// The living entries that trimming would remove, each by its own: for who asks about each.
    pub fn trimmed(&self, keep: Keep) -> impl Iterator<Item = Id> {
        let mut excess = match keep {
            Keep::Newest(count) => self.len.saturating_sub(count),
            Keep::From(_) => self.len,
        };
        let entries = self.range(Id::ZERO, Id::MAX).map(|entry| entry.id);
        entries.take_while(move |id| {
            let goes = excess > 0 && if let Keep::From(from) = keep { *id < from } else { true };
            excess = excess.saturating_sub(1);
            goes
        })
    }

    pub fn groups(&self) -> impl ExactSizeIterator<Item = (&[u8], &Group)> {
        self.groups.iter().map(|(name, group)| (&**name, group))
    }

    pub fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name)
    }

    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.groups.get_mut(name)
    }

    /// Makes a group. False if there is one of that name.
    pub fn create_group(&mut self, name: &[u8], group: Group) -> bool {
        match self.groups.entry(name.into()) {
            std::collections::btree_map::Entry::Occupied(_) => false,
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(group);
                true
            }
        }
    }

    /// Takes a group out, as a stream of its own that is to be freed off the serving path.
    pub fn remove_group(&mut self, name: &[u8]) -> Option<Box<Stream>> {
        let (name, group) = self.groups.remove_entry(name)?;
        Some(Box::new(Self { groups: BTreeMap::from([(name, group)]), ..Self::default() }))
    }

    /// What producers have added under names of their own, if any did.
    pub fn idempotence(&self) -> Option<&Idempotence> {
        self.idempotence.as_deref()
    }

    /// The same for changing; made with these limits if there is none.
    pub fn idempotence_mut(&mut self, limits: Limits) -> &mut Idempotence {
        Arc::make_mut(self.idempotence.get_or_insert_with(|| Arc::new(Idempotence::new(limits))))
    }

    /// Sets what a file has of it.
    pub fn set_idempotence(&mut self, known: Idempotence) {
        self.idempotence = Some(Arc::new(known));
    }

    fn numbers(&self) -> Numbers {
        let Self { len, last, first, max_deleted, added, .. } = *self;
        Numbers { len, last, first, max_deleted, added }
    }

    /// How many entries a group has still to be delivered; `None` where that cannot be told.
    pub fn lag(&self, group: &Group) -> Option<u64> {
        self.numbers().lag(group)
    }

    /// States that a group was delivered entries behind its last, in order: to a consumer, who has them pending from now
    /// on, or to no consumer in particular.
    pub fn deliver(&mut self, group: &[u8], ids: &[Id], owner: Option<Owner>, now: Millis) {
        let numbers = self.numbers();
        let Some(group) = self.groups.get_mut(group) else { return };
        for &id in ids {
            group.read = numbers.read_after(group, id);
            group.last = id;
            if let Some(owner) = owner {
                group.assign(id, owner, now, 1);
            }
        }
    }

    /// Whether some group has not been delivered an entry, or has it pending.
    pub fn is_referenced(&self, id: Id) -> bool {
        self.groups.values().any(|group| group.last < id || group.delivery(id).is_some())
    }

    fn counted_node_bytes(&self) -> usize {
        self.nodes.iter().map(|(_, node)| node.heap_bytes()).sum()
    }

    /// The listpacks' ids, the last first.
    pub fn node_ids_back(&self) -> impl Iterator<Item = Id> {
        self.nodes.back_from(Id::MAX).map(|(id, _)| id)
    }
}

/// A listpack's greatest size, which Redis has as well.
const NODE_BYTES_MAX: usize = 1 << 30;
/// What a text takes beside its bytes, at most; it stands twice where it is a name of the master's.
const ELEMENT_OVERHEAD: usize = 10;
/// Master and entry without their texts.
const ENTRY_OVERHEAD: usize = 128;
/// A group's place in the ordered map of groups.
const GROUP_BYTES: usize = size_of::<Group>() + 2 * size_of::<Box<[u8]>>();
