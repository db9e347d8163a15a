//! Lists: a row of listpacks, each within the size that `list-max-listpack-size` gives.
//!
//! Both ends are open: pushing and popping touch one listpack. An index is found by stepping over whole listpacks, from
//! the nearer end. An element beyond the size has a listpack to itself.
//! Invariants: no listpack is empty; `len` is the sum of theirs. Not here: keys, expiry, waiting.
//! Cost: 8 bytes a listpack and 2 an element beside its bytes; inserting in the middle moves one listpack, and shifts
//! 8 bytes for each one on the shorter side.

use super::encoding::{self, Large};
use super::listpack::{Listpack, Position};
use super::nodes::{Nodes, NodesCut};
use super::text::Text;
use crate::mover::Mover;
use std::sync::Arc;

/// Elements from the left to the right.
#[derive(Clone, Default)]
pub struct List {
    nodes: Nodes,
    len: usize,
}

/// How much one listpack may hold.
#[derive(Clone, Copy, Debug)]
pub struct NodeMax {
    entries: usize,
    bytes: usize,
}

impl NodeMax {
    /// From `list-max-listpack-size`: positive for a number of elements, -1 to -5 for 4 KiB to 64 KiB.
    pub fn of_directive(size: i64) -> Self {
        match usize::try_from(size) {
            Ok(entries) => Self { entries: entries.max(1), bytes: SAFE_BYTES - ALLOCATION_HEADER },
            Err(_) => {
                let doublings = (-1 - size.max(-5)) as u32;
                Self { entries: usize::MAX, bytes: (4096 << doublings) - ALLOCATION_HEADER }
            }
        }
    }

    fn takes(&self, node: &Listpack, text: &[u8]) -> bool {
        node.bytes().len() + Listpack::entry_size(text) <= self.bytes && self.has_room(node, 1)
    }

    fn takes_all(&self, node: &Listpack, other: &Listpack) -> bool {
        node.bytes().len() + other.bytes().len() <= self.bytes && self.has_room(node, other.len())
    }

    fn has_room(&self, node: &Listpack, more: usize) -> bool {
        self.entries == usize::MAX || node.len() + more <= self.entries
    }
}

/// The two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Left,
    Right,
}

/// Where an element is: its listpack and its place there.
#[derive(Clone, Copy)]
struct Spot {
    node: usize,
    at: Position,
}

impl Large for List {
    fn heap_bytes(&self) -> usize {
        self.nodes.iter().map(Listpack::heap_bytes).sum::<usize>() + self.nodes.capacity() * size_of::<Listpack>()
    }

    fn allocations(&self) -> usize {
        self.nodes.len()
    }

    fn is_emptied(&self) -> bool {
        self.is_empty()
    }

    fn is_big(&self) -> bool {
        self.nodes.len() > encoding::NODES_MAX
    }

    fn is_read(&mut self) -> bool {
        self.nodes.is_read()
    }

    fn relocate_from(&mut self, index: u64, mover: &mut Mover) -> u64 {
        self.nodes.relocate_from(index, mover)
    }
}

impl List {
    /// The listpacks as they are now, to be read by another thread while the list changes.
    pub fn cut(&mut self) -> Arc<NodesCut> {
        self.nodes.cut()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of listpacks.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The listpacks from the left, for writing to a file.
    pub fn packs(&self) -> impl ExactSizeIterator<Item = &Listpack> {
        self.nodes.iter()
    }

    /// Appends a whole listpack as read from a file; an empty one is left out.
    pub fn push_pack(&mut self, pack: Listpack) {
        if !pack.is_empty() {
            self.len += pack.len();
            self.nodes.push_back(pack);
        }
    }

    pub fn push(&mut self, end: End, text: &[u8], max: NodeMax) {
        self.len += 1;
        match end {
            End::Left => match self.nodes.front_mut() {
                Some(node) if max.takes(node, text) => node.push_front(text),
                _ => self.nodes.push_front(single(text)),
            },
            End::Right => match self.nodes.back_mut() {
                Some(node) if max.takes(node, text) => node.push_back(text),
                _ => self.nodes.push_back(single(text)),
            },
        }
    }

    /// The outermost element.
    pub fn peek(&self, end: End) -> Option<Text<'_>> {
        match end {
            End::Left => self.nodes.front().and_then(|node| Some(node.get(node.first()?))),
            End::Right => self.nodes.back().and_then(|node| Some(node.get(node.last()?))),
        }
    }

    /// Removes up to `count` elements from an end.
    pub fn drop_from(&mut self, end: End, mut count: usize) {
        while count > 0
            && let Some(node) = (match end {
                End::Left => self.nodes.front_mut(),
                End::Right => self.nodes.back_mut(),
            })
        {
            let (len, removed) = (node.len(), count.min(node.len()));
            if removed == len {
                match end {
                    End::Left => self.nodes.pop_front(),
                    End::Right => self.nodes.pop_back(),
                };
            } else {
                let from = if end == End::Left { 0 } else { (len - removed) as isize };
                if let Some(at) = node.seek(from) {
                    node.remove(at, removed);
                }
            }
            self.len -= removed;
            count -= removed;
        }
    }

    /// Index from the left of an index that counts from behind if negative.
    pub fn index(&self, index: i64) -> Option<usize> {
        let len = self.len as i64;
        let from_left = if index < 0 { index.checked_add(len)? } else { index };
        (0..len).contains(&from_left).then_some(from_left as usize)
    }

    fn locate(&self, index: usize) -> Option<Spot> {
        if index >= self.len {
            return None;
        }
        if index <= self.len / 2 {
            let mut left = index;
            for (node, pack) in self.nodes.iter().enumerate() {
                let len = pack.len();
                if left < len {
                    return Some(Spot { node, at: pack.seek(left as isize)? });
                }
                left -= len;
            }
            return None;
        }
        let mut right = self.len - index;
        for (node, pack) in self.nodes.iter().enumerate().rev() {
            let len = pack.len();
            if right <= len {
                return Some(Spot { node, at: pack.seek((len - right) as isize)? });
            }
            right -= len;
        }
        None
    }

    /// The element at an index from the left.
    pub fn get(&self, index: usize) -> Option<Text<'_>> {
        self.locate(index).map(|spot| self.nodes[spot.node].get(spot.at))
    }

    /// Elements from an index on to the right.
    pub fn iter_from(&self, index: usize) -> impl Iterator<Item = Text<'_>> {
        // Node by node: the loop over the elements of one is as short as it can be.
        let first = self.locate(index);
        let nodes = first.map_or(self.nodes.len(), |spot| spot.node)..self.nodes.len();
        let start = move |node| first.filter(|spot| spot.node == node).map_or(Listpack::FRONT, |spot| spot.at);
        nodes.flat_map(move |node| self.nodes[node].iter_from(start(node)))
    }

    /// Elements from an index on to the left.
    pub fn iter_back_from(&self, index: usize) -> impl Iterator<Item = Text<'_>> {
        let mut spot = self.locate(index);
        std::iter::from_fn(move || {
            let here = spot?;
            spot = self.before(here);
            Some(self.nodes[here.node].get(here.at))
        })
    }

    fn before(&self, spot: Spot) -> Option<Spot> {
        match self.nodes[spot.node].prev(spot.at) {
            Some(at) => Some(Spot { at, ..spot }),
            None => {
                let node = spot.node.checked_sub(1)?;
                Some(Spot { node, at: self.nodes[node].last()? })
            }
        }
    }

    /// Puts another element in an element's place. False if there is no such index.
    pub fn set(&mut self, index: usize, text: &[u8], max: NodeMax) -> bool {
        let Some(Spot { node, at }) = self.locate(index) else { return false };
        let pack = &mut self.nodes[node];
        if pack.len() == 1 || max.takes(pack, text) {
            pack.replace(at, text);
        } else {
            self.remove_at(Spot { node, at });
            self.insert(index, text, max);
        }
        true
    }

    /// Puts an element in front of the one at `index`, or at the end.
    pub fn insert(&mut self, index: usize, text: &[u8], max: NodeMax) {
        let Some(Spot { node, at }) = self.locate(index) else { return self.push(End::Right, text, max) };
        self.len += 1;
        if max.takes(&self.nodes[node], text) {
            return self.nodes[node].insert(at, text);
        }
        if self.nodes[node].first() == Some(at) {
            match node.checked_sub(1).map(|before| &mut self.nodes[before]) {
                Some(before) if max.takes(before, text) => before.push_back(text),
                _ => self.nodes.insert(node, single(text)),
            }
            return;
        }
        let tail = self.nodes[node].split_off(at);
        match self.nodes.get_mut(node + 1) {
            Some(next) if max.takes_all(&tail, next) => {
                let mut joined = tail;
                joined.append(next);
                *next = joined;
            }
            _ => self.nodes.insert(node + 1, tail),
        }
        if max.takes(&self.nodes[node], text) {
            self.nodes[node].push_back(text);
        } else if max.takes(&self.nodes[node + 1], text) {
            self.nodes[node + 1].push_front(text);
        } else {
            self.nodes.insert(node + 1, single(text));
        }
    }

    /// Index of the first element that is `text`.
    pub fn find(&self, text: &[u8]) -> Option<usize> {
        let mut passed = 0;
        for pack in self.nodes.iter() {
            if let Some(at) = pack.find(pack.first(), text, 1) {
                return Some(passed + index_in(pack, at));
            }
            passed += pack.len();
        }
        None
    }

    /// Removes up to `max` elements that are `text`, beginning at an end; how many.
    pub fn remove(&mut self, text: &[u8], from: End, max: usize) -> usize {
        let mut removed = 0;
        match from {
            End::Left => {
                let mut node = 0;
                while removed < max && node < self.nodes.len() {
                    let pack = &mut self.nodes[node];
                    let mut from = pack.first();
                    while removed < max
                        && let Some(at) = pack.find(from, text, 1)
                    {
                        pack.remove(at, 1);
                        removed += 1;
                        from = (at < pack.end()).then_some(at);
                    }
                    if pack.is_empty() {
                        self.nodes.remove(node);
                    } else {
                        node += 1;
                    }
                }
                self.len -= removed;
            }
            End::Right => {
                let mut spot = self.len.checked_sub(1).and_then(|last| self.locate(last));
                while removed < max
                    && let Some(here) = spot
                {
                    spot = self.before(here);
                    if self.nodes[here.node].get(here.at).is(text) {
                        self.remove_at(here);
                        removed += 1;
                    }
                }
            }
        }
        removed
    }

    fn remove_at(&mut self, spot: Spot) {
        let pack = &mut self.nodes[spot.node];
        pack.remove(spot.at, 1);
        if pack.is_empty() {
            self.nodes.remove(spot.node);
        }
        self.len -= 1;
    }
}

fn single(text: &[u8]) -> Listpack {
    let mut pack = Listpack::new();
    pack.push_back(text);
    pack
}

fn index_in(pack: &Listpack, at: Position) -> usize {
    std::iter::successors(pack.first(), |&p| pack.next(p)).take_while(|&p| p != at).count()
}

/// A full listpack and the allocation's own length together fill a size class.
const ALLOCATION_HEADER: usize = 4;
/// However many small elements a listpack may hold, it may not hold more than this.
const SAFE_BYTES: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (0u8..4).prop_map(|n| vec![b'a' + n]),
            any::<i16>().prop_map(|n| n.to_string().into_bytes()),
            (0usize..3000).prop_map(|n| vec![b'x'; n]),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn a_list_is_a_deque(
            size in prop_oneof![Just(-1i64), Just(1), Just(3), Just(100)],
            steps in prop::collection::vec((0u8..10, any::<u16>(), text()), 1..120),
        ) {
            let max = NodeMax::of_directive(size);
            let (mut list, mut model) = (List::default(), VecDeque::<Vec<u8>>::new());
            for (step, at, text) in steps {
                let index = at as usize % (model.len() + 1);
                match step {
                    0 | 1 => { list.push(End::Left, &text, max); model.push_front(text); }
                    2 | 3 => { list.push(End::Right, &text, max); model.push_back(text); }
                    4 => { list.insert(index, &text, max); model.insert(index, text); }
                    5 => {
                        prop_assert_eq!(list.set(index, &text, max), index < model.len());
                        if let Some(slot) = model.get_mut(index) { *slot = text; }
                    }
                    6 => {
                        let (end, count) = (if at & 1 == 0 { End::Left } else { End::Right }, at as usize % 4);
                        list.drop_from(end, count);
                        for _ in 0..count {
                            if end == End::Left { model.pop_front(); } else { model.pop_back(); }
                        }
                    }
                    7 => {
                        let max_removed = 1 + at as usize % 3;
                        let mut expected = 0;
                        let from = if at & 1 == 0 { End::Left } else { End::Right };
                        for _ in 0..max_removed {
                            let found = match from {
                                End::Left => model.iter().position(|t| *t == text),
                                End::Right => model.iter().rposition(|t| *t == text),
                            };
                            if let Some(found) = found { model.remove(found); expected += 1; }
                        }
                        prop_assert_eq!(list.remove(&text, from, max_removed), expected);
                    }
                    8 => prop_assert_eq!(list.find(&text), model.iter().position(|t| *t == text)),
                    _ => {
                        prop_assert_eq!(list.get(index).map(Text::to_vec), model.get(index).cloned());
                        let back: Vec<_> = list.iter_back_from(index).map(Text::to_vec).collect();
                        let expected: Vec<_> = if index < model.len() { model.iter().take(index + 1).rev().cloned().collect() } else { vec![] };
                        prop_assert_eq!(back, expected);
                    }
                }
                prop_assert_eq!(list.len(), model.len());
                prop_assert!(list.packs().all(|p| !p.is_empty()));
                prop_assert_eq!(list.iter_from(0).map(Text::to_vec).collect::<Vec<_>>(), model.iter().cloned().collect::<Vec<_>>());
                prop_assert_eq!(list.peek(End::Right).map(Text::to_vec), model.back().cloned());
            }
        }
    }
}
