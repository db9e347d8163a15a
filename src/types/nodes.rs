//! A list's listpacks, which a reader on another thread may share as they were at one moment.
//!
//! A [`NodesCut`] has the addresses of all listpacks of its moment. Until the reader is done they are **shared**: one that
//! is about to change is replaced by a copy first, one that leaves the list goes to the cut in place of being freed. So the
//! reader needs no lock: what it reads is never written and never freed.
//! Cost: a cut takes some 10 ns a listpack, a hundredth of what they hold takes to copy; a change while one is read copies
//! at most the listpacks it touches. Lists without a reader pay one comparison a change.

#![allow(unsafe_code)]

use super::listpack::Listpack;
use crate::mover::{Movable, Mover};
use hashbrown::HashSet;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::ops::{Deref, Index, IndexMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

/// A row of listpacks. Read as a deque; every change goes through the methods here.
#[derive(Default)]
pub struct Nodes {
    row: VecDeque<Listpack>,
    shared: Option<Box<Shared>>,
}

/// What a reader still has in common with the list.
struct Shared {
    cut: Arc<NodesCut>,
    addresses: HashSet<usize>,
}

/// One moment of a row of listpacks, for one reader.
pub struct NodesCut {
    row: Vec<ManuallyDrop<Listpack>>,
    next: AtomicUsize,
    /// Listpacks of the moment that are no longer the list's.
    left: Mutex<Vec<Listpack>>,
    over: AtomicBool,
}

fn address(node: &Listpack) -> usize {
    node.bytes().as_ptr() as usize
}

impl Nodes {
    /// The row as it is now, to be read by another thread while the list changes.
    pub fn cut(&mut self) -> Arc<NodesCut> {
        // SAFETY: duplicates of owners that are never dropped and only read, and only while the cut is not over: until
        // then the methods below neither change nor free what they own.
        let row = self.row.iter().map(|node| ManuallyDrop::new(unsafe { std::ptr::read(node) })).collect();
        let cut = NodesCut { row, next: AtomicUsize::new(0), left: Mutex::default(), over: AtomicBool::new(false) };
        let (cut, addresses) = (Arc::new(cut), self.row.iter().map(address).collect());
        self.shared = Some(Box::new(Shared { cut: cut.clone(), addresses }));
        cut
    }

    /// A listpack to be changed in place.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Listpack> {
        if self.shared.is_some() {
            self.unshare(index);
        }
        self.row.get_mut(index)
    }

    #[inline]
    pub fn front_mut(&mut self) -> Option<&mut Listpack> {
        self.get_mut(0)
    }

    #[inline]
    pub fn back_mut(&mut self) -> Option<&mut Listpack> {
        self.get_mut(self.row.len().checked_sub(1)?)
    }

    #[inline]
    pub fn push_front(&mut self, node: Listpack) {
        self.row.push_front(node);
    }

    #[inline]
    pub fn push_back(&mut self, node: Listpack) {
        self.row.push_back(node);
    }

    pub fn insert(&mut self, index: usize, node: Listpack) {
        self.row.insert(index, node);
    }

    /// Takes a listpack out.
    pub fn remove(&mut self, index: usize) {
        if let Some(node) = self.row.remove(index) {
            self.let_go(node);
        }
    }

    pub fn pop_front(&mut self) {
        if let Some(node) = self.row.pop_front() {
            self.let_go(node);
        }
    }

    pub fn pop_back(&mut self) {
        if let Some(node) = self.row.pop_back() {
            self.let_go(node);
        }
    }

    /// A cut of the row is being read: what is here stays where it is.
    pub fn is_read(&mut self) -> bool {
        self.check_reader();
        self.shared.is_some()
    }

    /// Moves what is worth it of the row and its listpacks from an index on, until the mover is tired; the next index, 0 at
    /// the end. Nothing moves while a cut is being read.
    pub fn relocate_from(&mut self, index: u64, mover: &mut Mover) -> u64 {
        if self.is_read() {
            return 0;
        }
        if index == 0 {
            mover.deque(&mut self.row);
        }
        let mut index = index as usize;
        while let Some(node) = self.row.get_mut(index) {
            node.relocate(mover);
            index += 1;
            if mover.is_tired() {
                break;
            }
        }
        if index < self.row.len() { index as u64 } else { 0 }
    }

    /// Forgets a reader that is done.
    fn check_reader(&mut self) {
        if self.shared.as_ref().is_some_and(|shared| shared.cut.over.load(Acquire)) {
            self.shared = None;
        }
    }

    #[cold]
    fn unshare(&mut self, index: usize) {
        self.check_reader();
        let (Some(shared), Some(node)) = (&mut self.shared, self.row.get_mut(index)) else { return };
        if shared.addresses.remove(&address(node)) {
            let copy = node.clone();
            shared.cut.left.lock().push(std::mem::replace(node, copy));
        }
    }

    fn let_go(&mut self, node: Listpack) {
        self.check_reader();
        if let Some(shared) = &mut self.shared
            && shared.addresses.remove(&address(&node))
        {
            shared.cut.left.lock().push(node);
        }
    }
}

impl Deref for Nodes {
    type Target = VecDeque<Listpack>;

    #[inline]
    fn deref(&self) -> &VecDeque<Listpack> {
        &self.row
    }
}

impl Index<usize> for Nodes {
    type Output = Listpack;

    #[inline]
    fn index(&self, index: usize) -> &Listpack {
        &self.row[index]
    }
}

impl IndexMut<usize> for Nodes {
    #[inline]
    fn index_mut(&mut self, index: usize) -> &mut Listpack {
        self.get_mut(index).expect("an index of the row")
    }
}

impl Clone for Nodes {
    fn clone(&self) -> Self {
        Self { row: self.row.clone(), shared: None }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.check_reader();
        if let Some(shared) = &mut self.shared {
            let (kept, _): (Vec<_>, Vec<_>) =
                self.row.drain(..).partition(|node| shared.addresses.contains(&address(node)));
            shared.cut.left.lock().extend(kept);
        }
    }
}

impl NodesCut {
    /// Listpacks at the moment of the cut.
    pub fn len(&self) -> usize {
        self.row.len()
    }

    pub fn is_empty(&self) -> bool {
        self.row.is_empty()
    }

    /// Elements in them: O(their number).
    pub fn elements(&self) -> usize {
        self.row.iter().map(|node| node.len()).sum()
    }

    /// Visits the next few listpacks, from the left. False behind the last.
    pub fn step(&self, mut visit: impl FnMut(&Listpack)) -> bool {
        if self.over.load(Relaxed) {
            return false;
        }
        let from = self.next.load(Relaxed);
        let to = (from + PIECE).min(self.row.len());
        self.row[from..to].iter().for_each(|node| visit(node));
        self.next.store(to, Relaxed);
        if to == self.row.len() {
            self.close();
        }
        to < self.row.len()
    }

    /// The reader wants no more.
    pub fn close(&self) {
        self.over.store(true, Release);
    }
}

/// Listpacks visited between two looks at other things.
const PIECE: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::list::{End, List, NodeMax};
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever happens between two pieces, the cut delivers the elements of its moment in their order.
        #[test]
        fn a_cut_is_one_moment(
            first in 0usize..400,
            rounds in prop::collection::vec(prop::collection::vec((0u8..7, any::<u16>()), 0..60), 0..12),
            drop_at in 0usize..14,
        ) {
            let max = NodeMax::of_directive(3);
            let mut list = List::default();
            (0..first).for_each(|n| list.push(End::Right, format!("first{n}").as_bytes(), max));
            let expected: Vec<_> = list.iter_from(0).map(|text| text.to_vec()).collect();
            let cut = list.cut();
            let (mut list, mut seen, mut more, mut round) = (Some(list), Vec::new(), true, 0);
            while more {
                more = cut.step(|pack| seen.extend(pack.iter().map(|text| text.to_vec())));
                if let Some(list) = &mut list {
                    for &(step, at) in rounds.get(round).into_iter().flatten() {
                        let (index, text) = (at as usize % (list.len() + 1), format!("later{at}").into_bytes());
                        match step {
                            0 => list.push(End::Left, &text, max),
                            1 => list.push(End::Right, &text, max),
                            2 => list.drop_from(End::Left, at as usize % 9),
                            3 => list.drop_from(End::Right, at as usize % 9),
                            4 => list.insert(index, &text, max),
                            5 => _ = list.set(index, &text, max),
                            _ => _ = list.remove(format!("first{}", at % 400).as_bytes(), End::Left, 1),
                        }
                    }
                }
                if round == drop_at {
                    list = None;
                }
                round += 1;
            }
            prop_assert_eq!(seen, expected);
        }
    }
}
