//! A big sorted set: members by name in a table, and the same members by (score, name) in a counted B+tree.
//!
//! A member is one [`Piece`] with its score in front, owned by the table; the tree holds pairs of score and pointer, so
//! that searching looks at members only where scores are equal.
//! Invariant: the tree holds exactly the table's members, each under the score that the member has. A member moves only
//! where both are told of it.
//! All unsafety, reading through the tree's pointers, is in this file. Cost: some 21 bytes beside member and table.

#![allow(unsafe_code)]

use super::cut::TableCut;
use super::encoding::Large;
use super::items::{Item, Items};
use super::piece::Piece;
use super::rank::{self, Tree};
use crate::mover::Mover;
use crate::table::Word;
use std::cmp::Ordering;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::sync::Arc;

type Member = Piece<f64, false>;

/// A sorted set with both indexes.
#[derive(Default)]
pub struct Ranked {
    items: Items<Member>,
    order: Tree<Scored>,
}

/// A member as the tree sees it.
#[derive(Clone, Copy)]
struct Scored {
    score: f64,
    /// The address of a piece that the table owns.
    member: Word,
}

impl Scored {
    fn of(member: &Member) -> Self {
        let address = Word::new(member.address() as u64).expect("a pointer is not null");
        Self { score: member.header(), member: address }
    }

    /// # Safety
    /// The table keeps the member for `'a`.
    #[inline]
    unsafe fn name<'a>(self) -> &'a [u8] {
        // SAFETY: the word is the address of a live piece, and the table stays its owner.
        let member = ManuallyDrop::new(unsafe { Member::from_word(self.member) });
        // SAFETY: the name lies in the piece's allocation, which lives for 'a.
        unsafe { &*std::ptr::from_ref(member.name()) }
    }

    /// Where this member stands as seen from a place in the order.
    #[inline]
    fn seen_from(self, score: f64, name: &[u8]) -> Ordering {
        // Scores are never NaN; zeros of both signs are equal.
        if self.score < score {
            Ordering::Less
        } else if self.score > score {
            Ordering::Greater
        } else {
            // SAFETY: what is looked at is in the tree only, whose members the table keeps.
            unsafe { self.name() }.cmp(name)
        }
    }
}

impl Large for Ranked {
    /// Members and both indexes.
    fn heap_bytes(&self) -> usize {
        self.items.heap_bytes() + self.order.heap_bytes()
    }

    fn allocations(&self) -> usize {
        self.len()
    }

    fn is_emptied(&self) -> bool {
        self.is_empty()
    }

    fn is_read(&mut self) -> bool {
        self.items.is_read()
    }

    /// Both indexes, and the members from a rank on, a leaf at a time.
    fn relocate_from(&mut self, rank: u64, mover: &mut Mover) -> u64 {
        self.items.relocate_index(rank, mover);
        let (items, mut rank) = (&mut self.items, rank as usize);
        while rank < self.order.len() {
            rank = self.order.relocate_leaf(rank, mover, |scored, mover| {
                scored.member = items.relocate_member(scored.member, mover);
            });
            if mover.is_tired() {
                break;
            }
        }
        if rank < self.order.len() { rank as u64 } else { 0 }
    }
}

impl Ranked {
    /// The members as they are now, to be read in pieces while they change.
    pub fn cut(&mut self) -> Arc<TableCut<Member>> {
        self.items.cut()
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    #[inline]
    pub fn score(&self, name: &[u8]) -> Option<f64> {
        self.items.get(name).map(|member| member.header())
    }

    /// A member's rank and score.
    pub fn rank(&self, name: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(name)?;
        Some((self.order.rank(|scored| scored.seen_from(score, name).is_lt()), score))
    }

    /// Gives a member the score that `decide` makes of the one it has; absent or none: as it is.
    #[inline]
    pub fn update(&mut self, name: &[u8], decide: impl FnOnce(Option<f64>) -> Option<f64>) {
        let Some(member) = self.items.get(name) else {
            if let Some(score) = decide(None) {
                self.insert(name, score);
            }
            return;
        };
        let old = member.header();
        let Some(score) = decide(Some(old)) else { return };
        self.order.remove(|scored| scored.seen_from(old, name));
        let scored = self.items.update(name, |member| {
            member.set_header(score);
            Scored::of(member)
        });
        if let Some(scored) = scored {
            self.order.insert(scored, |other| other.seen_from(score, name));
        }
    }

    /// Adds a member that is not there.
    #[inline]
    pub fn insert(&mut self, name: &[u8], score: f64) {
        let member = Member::new(score, name, b"");
        let scored = Scored::of(&member);
        self.items.insert(member);
        self.order.insert(scored, |other| other.seen_from(score, name));
    }

    /// Takes a member out; its score.
    pub fn remove(&mut self, name: &[u8]) -> Option<f64> {
        let score = self.score(name)?;
        self.order.remove(|scored| scored.seen_from(score, name));
        self.items.remove(name);
        Some(score)
    }

    /// Takes out the members of these ranks.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) {
        for _ in ranks.clone() {
            let Some(scored) = self.order.take(ranks.start) else { return };
            // SAFETY: the table still keeps the member that has just left the tree.
            let name: &[u8] = unsafe { scored.name() };
            drop(self.items.remove(name));
        }
    }

    /// How many members are `before` a place; they precede all others.
    pub fn count_before(&self, before: impl Fn(f64, &[u8]) -> bool) -> usize {
        // SAFETY: a member of the tree is in the table.
        self.order.rank(|scored| before(scored.score, unsafe { scored.name() }))
    }

    /// The same for a place that scores alone tell: looks at no member.
    #[inline]
    pub fn count_scores(&self, before: impl Fn(f64) -> bool) -> usize {
        self.order.rank(|scored| before(scored.score))
    }

    /// Members of these ranks with their scores, in order or in reverse.
    pub fn walk(&self, ranks: Range<usize>, reverse: bool) -> Walk<'_> {
        Walk { members: self.order.range(ranks), reverse }
    }

    /// One step of a scan by name: the members of a bucket; the next cursor, 0 at the end.
    pub fn scan(&self, cursor: u64, mut emit: impl FnMut(&[u8], f64)) -> u64 {
        self.items.scan(cursor, |member| emit(member.name(), member.header()))
    }
}

impl Clone for Ranked {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        self.walk(0..self.len(), false).for_each(|(name, score)| copy.insert(name, score));
        copy
    }
}

/// Members in order.
#[derive(Clone)]
pub struct Walk<'a> {
    members: rank::Items<'a, Scored>,
    reverse: bool,
}

impl<'a> Iterator for Walk<'a> {
    type Item = (&'a [u8], f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let scored = if self.reverse { self.members.next_back() } else { self.members.next() }?;
        // Each member is a cache miss of its own: begin with those that come soon.
        let soon = if self.reverse {
            let left = self.members.behind();
            left.len().checked_sub(MEMBERS_AHEAD).map(|at| left[at])
        } else {
            self.members.ahead().get(MEMBERS_AHEAD - 1).copied()
        };
        if let Some(soon) = soon {
            crate::table::prefetch(soon.member.get() as *const u8);
        }
        // SAFETY: the walk borrows table and tree for 'a, so that the member stays.
        Some((unsafe { scored.name() }, scored.score))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.members.size_hint()
    }
}

/// How far a walk looks ahead: a miss takes as long as some six members' replies.
const MEMBERS_AHEAD: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_costs_at_most_72_bytes() {
        let (mut set, mut rng) = (Ranked::default(), fastrand::Rng::with_seed(7));
        for i in 0..100_000 {
            set.insert(format!("member:{i:07}").as_bytes(), rng.f64());
        }
        let bytes = set.heap_bytes() / set.len();
        assert!(bytes <= 60, "{bytes} bytes a member");
    }
}
