//! A counted B+tree: items in an order that only the caller knows, found by order or by rank.
//!
//! Leaves hold up to [`LEAF_MAX`] items, inner nodes up to [`INNER_MAX`] children, each with the number of items below
//! it and a copy of the first. The tree compares nothing: a search brings a closure that places an item before, at or
//! behind what is sought, and must agree with the order in which items were inserted.
//! Invariants: counts and firsts are exact; all leaves are equally deep; a node other than the root is not empty.
//! Cost: O(log n) for everything; an insert moves at most one leaf's items. Leaves grow by [`LEAF_STEP`] items and split
//! into exact halves, so that a leaf has room for some 8 items more than it holds, whatever the order of inserting.

use crate::mover::Mover;
use std::cmp::Ordering::{self, Equal, Greater, Less};
use std::ops::Range;

/// Items in order.
pub struct Tree<T> {
    root: Node<T>,
    len: usize,
}

enum Node<T> {
    Leaf(Vec<T>),
    Inner(Vec<Child<T>>),
}

struct Child<T> {
    first: T,
    len: usize,
    node: Node<T>,
}

impl<T> Default for Tree<T> {
    fn default() -> Self {
        Self { root: Node::Leaf(Vec::new()), len: 0 }
    }
}

impl<T: Copy> Tree<T> {
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.root.heap_bytes()
    }

    /// Adds an item; `place` tells where another one stands as seen from it, never [`Equal`].
    #[inline]
    pub fn insert(&mut self, item: T, place: impl Fn(&T) -> Ordering) {
        self.len += 1;
        if let Some(right) = self.root.insert(item, &place) {
            let left = Child::of(std::mem::replace(&mut self.root, Node::Inner(Vec::with_capacity(2))));
            self.root = Node::Inner(vec![left, right]);
        }
    }

    /// Takes out the item that `place` calls [`Equal`].
    #[inline]
    pub fn remove(&mut self, place: impl Fn(&T) -> Ordering) -> Option<T> {
        let taken = self.root.take(&mut ByOrder(place))?;
        self.taken();
        Some(taken)
    }

    /// Takes out the item of this rank.
    pub fn take(&mut self, rank: usize) -> Option<T> {
        let taken = self.root.take(&mut ByRank(rank))?;
        self.taken();
        Some(taken)
    }

    fn taken(&mut self) {
        self.len -= 1;
        while let Node::Inner(children) = &mut self.root
            && children.len() == 1
            && let Some(only) = children.pop()
        {
            self.root = only.node;
        }
    }

    /// How many items are `before` a place: the rank of the first that is not. All items before it precede the others.
    #[inline]
    pub fn rank(&self, before: impl Fn(&T) -> bool) -> usize {
        let (mut node, mut rank) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(items) => return rank + items.partition_point(&before),
                Node::Inner(children) => {
                    let at = children.partition_point(|child| before(&child.first)).saturating_sub(1);
                    rank += children[..at].iter().map(|child| child.len).sum::<usize>();
                    node = &children[at].node;
                }
            }
        }
    }

    /// The items of these ranks, from either end.
    pub fn range(&self, ranks: Range<usize>) -> Items<'_, T> {
        let end = ranks.end.min(self.len);
        Items { tree: self, ranks: ranks.start.min(end)..end, front: &[], back: &[] }
    }

    /// Moves what is worth it of the leaf in which an existing rank is and of the nodes above it. `visit` sees each item of
    /// the leaf and may change of it what its order does not depend on. The first rank behind the leaf.
    pub fn relocate_leaf(&mut self, rank: usize, mover: &mut Mover, visit: impl FnMut(&mut T, &mut Mover)) -> usize {
        self.root.relocate_leaf(0, rank, mover, visit)
    }

    /// The leaf in which an existing rank is, and the rank's place there.
    fn leaf(&self, mut rank: usize) -> (&[T], usize) {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(items) => return (items, rank),
                Node::Inner(children) => {
                    let at;
                    (at, rank) = child_of_rank(children, rank);
                    node = &children[at].node;
                }
            }
        }
    }
}

impl<T: Copy> Node<T> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(items) => items.len(),
            Self::Inner(children) => children.iter().map(|child| child.len).sum(),
        }
    }

    /// The first item of a node that has one.
    fn first(&self) -> T {
        match self {
            Self::Leaf(items) => items[0],
            Self::Inner(children) => children[0].first,
        }
    }

    /// Adds an item; a node that was full comes back as two, of which the right one is returned.
    fn insert(&mut self, item: T, place: &impl Fn(&T) -> Ordering) -> Option<Child<T>> {
        match self {
            Self::Leaf(items) => {
                let at = items.partition_point(|other| place(other) == Less);
                let mut right = None;
                if items.len() < LEAF_MAX {
                    put(items, at, item);
                } else {
                    let mut upper = halve(items);
                    match at.checked_sub(items.len()) {
                        Some(at) => put(&mut upper, at, item),
                        None => put(items, at, item),
                    }
                    right = Some(Child::of(Self::Leaf(upper)));
                }
                right
            }
            Self::Inner(children) => {
                let at = children.partition_point(|child| place(&child.first) == Less).saturating_sub(1);
                let child = &mut children[at];
                let right = child.node.insert(item, place);
                child.len += 1;
                child.first = child.node.first();
                let right = right?;
                child.len -= right.len;
                children.insert(at + 1, right);
                (children.len() > INNER_MAX).then(|| Child::of(Self::Inner(halve(children))))
            }
        }
    }

    /// Takes an item out of the node, if what is sought is there.
    fn take(&mut self, seek: &mut impl Seek<T>) -> Option<T> {
        match self {
            Self::Leaf(items) => {
                let at = seek.item(items)?;
                let taken = items.remove(at);
                if items.capacity() >= items.len() + 2 * LEAF_STEP {
                    items.shrink_to(items.len() + LEAF_STEP);
                }
                Some(taken)
            }
            Self::Inner(children) => {
                let at = seek.child(children)?;
                let child = &mut children[at];
                let taken = child.node.take(seek)?;
                child.len -= 1;
                if child.node.is_small() {
                    join(children, at);
                } else {
                    child.first = child.node.first();
                }
                Some(taken)
            }
        }
    }

    /// `before`: the items in front of this node.
    fn relocate_leaf(
        &mut self,
        before: usize,
        rank: usize,
        mover: &mut Mover,
        mut visit: impl FnMut(&mut T, &mut Mover),
    ) -> usize {
        match self {
            Self::Leaf(items) => {
                mover.vec(items);
                items.iter_mut().for_each(|item| visit(item, mover));
                before + items.len()
            }
            Self::Inner(children) => {
                mover.vec(children);
                let (at, _) = child_of_rank(children, rank - before);
                let before = before + children[..at].iter().map(|child| child.len).sum::<usize>();
                let child = &mut children[at];
                let behind = child.node.relocate_leaf(before, rank, mover, visit);
                child.first = child.node.first();
                behind
            }
        }
    }

    fn is_small(&self) -> bool {
        match self {
            Self::Leaf(items) => items.len() < LEAF_MAX / 4,
            Self::Inner(children) => children.len() < INNER_MAX / 4,
        }
    }

    /// Appends a sibling's content; what is too much for one node comes back as a node of its own.
    fn append(&mut self, right: Self) -> Option<Self> {
        match (self, right) {
            (Self::Leaf(items), Self::Leaf(more)) => {
                items.extend(more);
                (items.len() > LEAF_MAX).then(|| Self::Leaf(halve(items)))
            }
            (Self::Inner(children), Self::Inner(more)) => {
                children.extend(more);
                (children.len() > INNER_MAX).then(|| Self::Inner(halve(children)))
            }
            _ => unreachable!("siblings are equally deep"),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Leaf(items) => items.capacity() * size_of::<T>(),
            Self::Inner(children) => {
                let below: usize = children.iter().map(|child| child.node.heap_bytes()).sum();
                below + children.capacity() * size_of::<Child<T>>()
            }
        }
    }
}

impl<T: Copy> Child<T> {
    fn of(node: Node<T>) -> Self {
        Self { first: node.first(), len: node.len(), node }
    }
}

/// Joins a child that has become small with a neighbour, which may leave them as two again, of equal size.
fn join<T: Copy>(children: &mut Vec<Child<T>>, at: usize) {
    let at = at.saturating_sub(1);
    if at + 1 < children.len() {
        let right = children.remove(at + 1);
        let rest = children[at].node.append(right.node).map(Child::of);
        children.splice(at + 1..at + 1, rest);
    }
    let left = &mut children[at];
    (left.first, left.len) = (left.node.first(), left.node.len());
}

/// Cuts off the upper half; both halves then have no room to spare.
fn halve<N>(nodes: &mut Vec<N>) -> Vec<N> {
    let upper = nodes.split_off(nodes.len() / 2);
    nodes.shrink_to_fit();
    upper
}

#[inline]
fn put<T>(items: &mut Vec<T>, at: usize, item: T) {
    if items.len() == items.capacity() {
        // A young root begins with less, as big members make big sets of few of them.
        items.reserve_exact(if items.len() < LEAF_STEP { items.len().max(4) } else { LEAF_STEP });
    }
    items.insert(at, item);
}

/// The child that holds a rank, and the rank's place among its items.
fn child_of_rank<T>(children: &[Child<T>], mut rank: usize) -> (usize, usize) {
    let mut at = 0;
    while rank >= children[at].len {
        rank -= children[at].len;
        at += 1;
    }
    (at, rank)
}

/// What an item to be taken is found by.
trait Seek<T> {
    fn child(&mut self, children: &[Child<T>]) -> Option<usize>;
    fn item(&self, items: &[T]) -> Option<usize>;
}

struct ByOrder<P>(P);

impl<T, P: Fn(&T) -> Ordering> Seek<T> for ByOrder<P> {
    #[inline]
    fn child(&mut self, children: &[Child<T>]) -> Option<usize> {
        children.partition_point(|child| self.0(&child.first) != Greater).checked_sub(1)
    }

    #[inline]
    fn item(&self, items: &[T]) -> Option<usize> {
        let at = items.partition_point(|item| self.0(item) == Less);
        (self.0(items.get(at)?) == Equal).then_some(at)
    }
}

struct ByRank(usize);

impl<T> Seek<T> for ByRank {
    fn child(&mut self, children: &[Child<T>]) -> Option<usize> {
        let len: usize = children.iter().map(|child| child.len).sum();
        let at;
        (at, self.0) = (self.0 < len).then(|| child_of_rank(children, self.0))?;
        Some(at)
    }

    fn item(&self, items: &[T]) -> Option<usize> {
        (self.0 < items.len()).then_some(self.0)
    }
}

/// A walk over ranks, from the front and from the back. Finds each leaf anew, which a leaf's items pay for together.
#[derive(Clone)]
pub struct Items<'a, T> {
    tree: &'a Tree<T>,
    ranks: Range<usize>,
    /// What is left of the leaf at either end, if it has been found.
    front: &'a [T],
    back: &'a [T],
}

impl<'a, T: Copy> Items<'a, T> {
    /// The items that come next from the front, as far as they are in one leaf.
    #[inline]
    pub fn ahead(&self) -> &'a [T] {
        self.front
    }

    /// The items that come next from the back, the last one first, as far as they are in one leaf.
    #[inline]
    pub fn behind(&self) -> &'a [T] {
        self.back
    }
}

impl<T: Copy> Iterator for Items<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        if self.ranks.is_empty() {
            return None;
        }
        if self.front.is_empty() {
            let (leaf, at) = self.tree.leaf(self.ranks.start);
            self.front = &leaf[at..];
        }
        let (&item, rest) = self.front.split_first()?;
        self.front = rest;
        self.ranks.start += 1;
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.ranks.len(), Some(self.ranks.len()))
    }
}

impl<T: Copy> DoubleEndedIterator for Items<'_, T> {
    #[inline]
    fn next_back(&mut self) -> Option<T> {
        if self.ranks.is_empty() {
            return None;
        }
        if self.back.is_empty() {
            let (leaf, at) = self.tree.leaf(self.ranks.end - 1);
            self.back = &leaf[..=at];
        }
        let (&item, rest) = self.back.split_last()?;
        self.back = rest;
        self.ranks.end -= 1;
        Some(item)
    }
}

impl<T: Copy> ExactSizeIterator for Items<'_, T> {}

/// Items of a leaf: of 16 bytes, one kibibyte, in which a search touches four lines and an insert moves half.
const LEAF_MAX: usize = 64;
/// Items by which a leaf's room grows.
const LEAF_STEP: usize = 16;
/// Children of an inner node: a million items are four levels of these.
const INNER_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Node<u32> {
        /// Counts, firsts, sizes and depth are as the header says; the depth.
        fn check(&self, root: bool) -> usize {
            match self {
                Node::Leaf(items) => {
                    assert!(items.len() <= LEAF_MAX && (root || !items.is_empty()));
                    assert!(items.is_sorted());
                    0
                }
                Node::Inner(children) => {
                    assert!(children.len() <= INNER_MAX && children.len() > usize::from(root));
                    let depths: Vec<usize> = children.iter().map(|child| child.node.check(false)).collect();
                    assert!(depths.windows(2).all(|w| w[0] == w[1]));
                    for child in children {
                        assert_eq!((child.len, child.first), (child.node.len(), child.node.first()));
                    }
                    depths[0] + 1
                }
            }
        }
    }

    /// Phases of inserting or removing, at random, ascending or descending places, against a sorted vector.
    fn run(phases: &[(u8, u16)], mut random: impl FnMut(usize) -> usize) {
        let (mut tree, mut model) = (Tree::<u32>::default(), Vec::<u32>::new());
        for &(kind, steps) in phases {
            for step in 0..u32::from(steps) {
                let item = match kind % 4 {
                    0 => random(5000) as u32,
                    1 => 10_000 + step,
                    2 => 100_000 - step,
                    _ => model.get(random(model.len())).copied().unwrap_or(7),
                };
                let at = model.binary_search(&item);
                match (kind < 4, at) {
                    (true, Err(at)) => {
                        tree.insert(item, |other| other.cmp(&item));
                        model.insert(at, item);
                    }
                    (false, _) if step % 2 == 0 && !model.is_empty() => {
                        let rank = random(model.len());
                        assert_eq!(tree.take(rank), Some(model.remove(rank)));
                    }
                    (false, at) => {
                        assert_eq!(tree.remove(|other| other.cmp(&item)), at.ok().map(|at| model.remove(at)));
                    }
                    _ => {}
                }
            }
            tree.root.check(true);
            assert_eq!(tree.len(), model.len());
            assert_eq!(tree.take(model.len()), None);
            for _ in 0..20 {
                let (a, b) = (random(model.len() + 2), random(model.len() + 2));
                let want = model.get(a..b.min(model.len())).unwrap_or(&[]);
                assert!(tree.range(a..b).eq(want.iter().copied()));
                assert!(tree.range(a..b).rev().eq(want.iter().rev().copied()));
                let item = random(120_000) as u32;
                assert_eq!(tree.rank(|other| *other < item), model.partition_point(|other| *other < item));
            }
            let mut ends = tree.range(0..model.len());
            let mut left = &model[..];
            while let Some((&want, rest)) = left.split_first() {
                assert_eq!(ends.next(), Some(want));
                left = rest;
                if let Some((&want, rest)) = left.split_last() {
                    assert_eq!(ends.next_back(), Some(want));
                    left = rest;
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_tree_is_a_sorted_vector(phases in prop::collection::vec((0u8..8, 0u16..3000), 1..8), seed: u64) {
            let mut rng = fastrand::Rng::with_seed(seed);
            run(&phases, |n| rng.usize(..n.max(1)));
        }
    }

    #[test]
    fn leaves_are_well_filled_in_any_order_of_inserting() {
        let mut rng = fastrand::Rng::with_seed(7);
        for order in 0..3 {
            let mut tree = Tree::<(f64, u64)>::default();
            for i in 0..100_000u64 {
                let key = [i, u64::MAX - i, rng.u64(..)][order];
                tree.insert((0.0, key), |other| other.1.cmp(&key));
            }
            let bytes = tree.heap_bytes() as f64 / tree.len() as f64;
            assert!(bytes < 22.0, "{order}: {bytes} bytes an item");
        }
    }
}
