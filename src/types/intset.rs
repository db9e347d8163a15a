//! Intsets: sets of integers in one block, in Redis's own bytes.
//!
//! ```text
//! bytes a member 4 LE: 2, 4 or 8 | count 4 LE | members, ascending, little-endian
//! ```
//! All members are as wide as the widest needs; a set never gets narrower again. RDB and DUMP copy the bytes as they are.
//! Invariant: the bytes are well formed. Bytes from outside come in through [`Intset::from_untrusted`] only.
//! Cost: finding is a binary search; inserting and removing move what is behind.

use super::blob::Blob;
use crate::mover::{Movable, Mover};

/// A sorted set of integers.
#[derive(Clone)]
pub struct Intset(Blob);

impl Default for Intset {
    fn default() -> Self {
        Self::new()
    }
}

impl Movable for Intset {
    fn relocate(&mut self, mover: &mut Mover) {
        self.0.relocate(mover);
    }
}

impl Intset {
    pub fn new() -> Self {
        Self(Blob::of(&[2, 0, 0, 0, 0, 0, 0, 0]))
    }

    /// Takes bytes from a file or a client: every member is looked at once.
    pub fn from_untrusted(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER || bytes.len() > super::blob::BYTES_MAX {
            return None;
        }
        let (width, count) = (number(bytes, 0), number(bytes, 4));
        let fits = matches!(width, 2 | 4 | 8) && width.checked_mul(count) == Some(bytes.len() - HEADER);
        let set = fits.then(|| Self(Blob::of(bytes)))?;
        set.iter().is_sorted_by(|a, b| a < b).then_some(set)
    }

    /// The set in its own format.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    pub fn len(&self) -> usize {
        number(self.bytes(), 4)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// See [`Blob::address`].
    #[inline]
    pub fn address(&self) -> *const u8 {
        self.0.address()
    }

    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    fn width(&self) -> usize {
        number(self.bytes(), 0)
    }

    /// The member at an index below [`Intset::len`], in ascending order.
    #[inline]
    pub fn get(&self, i: usize) -> i64 {
        let width = self.width();
        let at = HEADER + i * width;
        let bytes = &self.bytes()[at..at + width];
        match width {
            2 => i64::from(i16::from_le_bytes(bytes.try_into().expect("two bytes"))),
            4 => i64::from(i32::from_le_bytes(bytes.try_into().expect("four bytes"))),
            _ => i64::from_le_bytes(bytes.try_into().expect("eight bytes")),
        }
    }

    /// The members in ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator {
        (0..self.len()).map(|i| self.get(i))
    }

    #[inline]
    pub fn contains(&self, n: i64) -> bool {
        self.search(n).is_ok()
    }

    /// Whether a number is there. `near` is where to begin; afterwards where the number is or belongs: numbers asked for
    /// in ascending order are met in steps that double.
    #[inline]
    pub fn contains_near(&self, n: i64, near: &mut usize) -> bool {
        let members = &self.bytes()[HEADER..];
        let found = match self.width() {
            2 => search_from(members.as_chunks::<2>().0, n, *near),
            4 => search_from(members.as_chunks::<4>().0, n, *near),
            _ => search_from(members.as_chunks::<8>().0, n, *near),
        };
        *near = found.unwrap_or_else(|at| at);
        found.is_ok()
    }

    /// Where a number is, or where it belongs.
    #[inline]
    fn search(&self, n: i64) -> Result<usize, usize> {
        let members = &self.bytes()[HEADER..];
        match self.width() {
            2 => search(members.as_chunks::<2>().0, n),
            4 => search(members.as_chunks::<4>().0, n),
            _ => search(members.as_chunks::<8>().0, n),
        }
    }

    /// Adds a number; says whether it is new.
    pub fn insert(&mut self, n: i64) -> bool {
        let Err(i) = self.search(n) else { return false };
        self.widen(width_of(n));
        let width = self.width();
        self.0.splice(HEADER + i * width, 0, width).copy_from_slice(&n.to_le_bytes()[..width]);
        self.set_len(self.len() + 1);
        true
    }

    /// Removes a number; says whether it was there.
    pub fn remove(&mut self, n: i64) -> bool {
        let Ok(i) = self.search(n) else { return false };
        let width = self.width();
        self.0.splice(HEADER + i * width, width, 0);
        self.set_len(self.len() - 1);
        true
    }

    fn set_len(&mut self, len: usize) {
        self.0.bytes_mut()[4..HEADER].copy_from_slice(&(len as u32).to_le_bytes());
    }

    fn widen(&mut self, width: usize) {
        if width <= self.width() {
            return;
        }
        let mut wider = Vec::with_capacity(HEADER + self.len() * width);
        wider.extend_from_slice(&(width as u32).to_le_bytes());
        wider.extend_from_slice(&self.bytes()[4..HEADER]);
        self.iter().for_each(|n| wider.extend_from_slice(&n.to_le_bytes()[..width]));
        self.0 = Blob::of(&wider);
    }
}

#[inline]
fn search<const WIDTH: usize>(members: &[[u8; WIDTH]], n: i64) -> Result<usize, usize> {
    // Often numbers come in ascending order.
    match members.last() {
        Some(&last) if wide(last) >= n => members.binary_search_by_key(&n, |&member| wide(member)),
        _ => Err(members.len()),
    }
}

/// The same, from an index on in steps that double.
#[inline]
fn search_from<const WIDTH: usize>(members: &[[u8; WIDTH]], n: i64, from: usize) -> Result<usize, usize> {
    let is_behind = |at: usize| members.get(at).is_none_or(|&member| wide(member) >= n);
    let (mut low, mut step) = (if from > 0 && is_behind(from - 1) { 0 } else { from }, 1);
    while !is_behind(low + step - 1) {
        (low, step) = (low + step, 2 * step);
    }
    let found = members[low..members.len().min(low + step)].binary_search_by_key(&n, |&member| wide(member));
    found.map(|at| low + at).map_err(|at| low + at)
}

#[inline]
fn wide<const WIDTH: usize>(member: [u8; WIDTH]) -> i64 {
    let mut bytes = [0; 8];
    bytes[8 - WIDTH..].copy_from_slice(&member);
    i64::from_le_bytes(bytes) >> (64 - 8 * WIDTH)
}

fn width_of(n: i64) -> usize {
    if i16::try_from(n).is_ok() {
        2
    } else if i32::try_from(n).is_ok() {
        4
    } else {
        8
    }
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

const HEADER: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn any_width() -> impl Strategy<Value = i64> {
        prop_oneof![-50i64..50, any::<i16>().prop_map(i64::from), any::<i32>().prop_map(i64::from), any::<i64>()]
    }

    #[test]
    fn the_bytes_are_those_redis_writes() {
        let mut set = Intset::new();
        assert!(set.insert(2) && set.insert(-1) && !set.insert(2));
        assert_eq!(set.bytes(), [2, 0, 0, 0, 2, 0, 0, 0, 0xff, 0xff, 2, 0]);
        assert!(set.insert(70_000));
        assert_eq!(set.bytes()[..12], [4, 0, 0, 0, 3, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    }

    proptest! {
        #[test]
        fn an_intset_is_a_sorted_set(steps in prop::collection::vec((any::<bool>(), any_width()), 0..200)) {
            let (mut set, mut model) = (Intset::new(), BTreeSet::new());
            for &(add, n) in &steps {
                let (changed, expected) =
                    if add { (set.insert(n), model.insert(n)) } else { (set.remove(n), model.remove(&n)) };
                prop_assert_eq!(changed, expected);
                prop_assert_eq!(set.contains(n), add);
            }
            prop_assert!(set.iter().eq(model.iter().copied()) && set.len() == model.len());
            let mut asked: Vec<i64> = steps.iter().map(|(_, n)| *n).collect();
            for sorted in [false, true] {
                if sorted {
                    asked.sort_unstable();
                }
                let mut near = 0;
                for &n in &asked {
                    prop_assert_eq!(set.contains_near(n, &mut near), model.contains(&n));
                    prop_assert_eq!(near, model.range(..n).count());
                }
            }
            let again = Intset::from_untrusted(set.bytes());
            prop_assert!(again.is_some_and(|again| again.iter().eq(model.iter().copied())));
        }

        #[test]
        fn only_well_formed_bytes_are_taken(
            width in prop_oneof![Just(2u32), Just(4), Just(8), any::<u32>()], count in prop_oneof![0u32..5, any::<u32>()],
            body in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..40),
        ) {
            let bytes = [&width.to_le_bytes()[..], &count.to_le_bytes(), &body].concat();
            if let Some(mut set) = Intset::from_untrusted(&bytes) {
                prop_assert_eq!(set.bytes(), &bytes[..]);
                let members: Vec<i64> = set.iter().collect();
                prop_assert!(members.iter().all(|&n| set.contains(n)) && members.len() == count as usize);
                prop_assert!(set.insert(i64::MIN) || members[0] == i64::MIN);
                prop_assert!(members.iter().all(|&n| set.remove(n)));
            }
        }
    }
}
