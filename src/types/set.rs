//! Sets: members without order.
//!
//! * `SetInts`: integers alone, sorted, up to `set-max-intset-entries`.
//! * `SetListpack`: a listpack of members in the order they were added, up to the `set-max-listpack-*` limits.
//! * `SetTable`: everything beyond, [`Members`].
//!
//! A set never goes back to a smaller encoding by losing members. Not here: keys, replies, combining several sets.

use super::ListpackMax;
use super::blob::PACKED_BYTES_MAX;
use super::cut::TableCut;
use super::encoding::Large;
use super::intset::Intset;
use super::items::{BATCH, BATCH_ROOM, Items};
use super::listpack::Listpack;
use super::piece::Piece;
use super::text::{Text, as_int};
use super::value::Value;
use crate::mover::Mover;
use ref_cast::RefCast;
use smallvec::SmallVec;
use std::collections::HashSet;
use std::sync::Arc;

/// A value that is a set.
#[derive(RefCast)]
#[repr(transparent)]
pub struct Set(Value);

/// Some members of a set: looked up in other sets together, they wait for memory together.
pub type Batch<'a> = SmallVec<[Text<'a>; BATCH_ROOM]>;

/// Up to where a set is kept small: the `set-max-*` directives.
#[derive(Clone, Copy, Debug)]
pub struct SetMax {
    pub ints: usize,
    pub packed: ListpackMax,
}

/// A big set.
#[derive(Clone, Default)]
pub struct Members {
    items: Items<Piece<(), false>>,
}

impl Large for Members {
    fn heap_bytes(&self) -> usize {
        self.items.heap_bytes()
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

    fn relocate_from(&mut self, place: u64, mover: &mut Mover) -> u64 {
        self.items.relocate_from(place, mover, |_, _| ())
    }
}

impl Members {
    /// The members as they are now, to be read in pieces while they change.
    pub fn cut(&mut self) -> Arc<TableCut<Piece<(), false>>> {
        self.items.cut()
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Adds a member; says whether it is new.
    #[inline]
    pub fn insert(&mut self, member: &[u8]) -> bool {
        let is_new = !self.items.contains(member);
        if is_new {
            self.items.insert(Piece::new((), member, b""));
        }
        is_new
    }
}

impl Default for Set {
    fn default() -> Self {
        Self(Value::SetInts(Intset::new()))
    }
}

impl Set {
    /// An empty one in the encoding for many members.
    pub fn big() -> Self {
        Self(Value::SetTable(Box::default()))
    }

    pub fn is_ints(&self) -> bool {
        matches!(self.0, Value::SetInts(_))
    }

    pub fn is_packed(&self) -> bool {
        matches!(self.0, Value::SetListpack(_))
    }

    pub fn into_value(self) -> Value {
        self.0
    }

    #[inline]
    pub fn len(&self) -> usize {
        match &self.0 {
            Value::SetInts(ints) => ints.len(),
            Value::SetListpack(packed) => packed.len(),
            Value::SetTable(members) => members.len(),
            _ => not_a_set(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty_collection()
    }

    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match &self.0 {
            Value::SetInts(ints) => as_int(member).is_some_and(|n| ints.contains(n)),
            Value::SetListpack(packed) => packed.find(packed.first(), member, 1).is_some(),
            Value::SetTable(members) => members.items.contains(member),
            _ => not_a_set(),
        }
    }

    /// The same for a member of another set, which may be a number already.
    #[inline]
    pub fn has(&self, member: Text<'_>) -> bool {
        match (&self.0, member) {
            (Value::SetInts(ints), Text::Int(n)) => ints.contains(n),
            _ => self.contains(member.bytes(&mut itoa::Buffer::new())),
        }
    }

    /// Adds a member; says whether it is new.
    pub fn insert(&mut self, member: &[u8], max: SetMax) -> bool {
        // Among integers it is looked for when it is put in its place.
        (self.is_ints() || !self.contains(member)) && self.insert_absent(Text::Bytes(member), max)
    }

    /// Adds a member that is not there. One that is may be said to be so only if the set is one of integers: false then.
    pub fn insert_absent(&mut self, member: Text<'_>, max: SetMax) -> bool {
        let mut digits = itoa::Buffer::new();
        match &mut self.0 {
            Value::SetInts(ints) => {
                let number = match member {
                    Text::Int(n) => Some(n),
                    Text::Bytes(bytes) => as_int(bytes),
                };
                let Some(n) = number else {
                    self.admit_text(member.len(), max);
                    return self.insert_absent(member, max);
                };
                let is_new = ints.insert(n);
                if ints.len() > max.ints.min(INTS_MAX) {
                    self.become_table();
                }
                is_new
            }
            Value::SetListpack(packed) => {
                let text = member.bytes(&mut digits);
                let fits = packed.len() < max.packed.entries
                    && text.len() <= max.packed.bytes
                    && packed.bytes().len() + text.len() <= PACKED_BYTES_MAX;
                if fits {
                    packed.push_back(text);
                    return true;
                }
                self.become_table();
                self.insert_absent(member, max)
            }
            Value::SetTable(members) => {
                members.items.insert(Piece::new((), member.bytes(&mut digits), b""));
                true
            }
            _ => not_a_set(),
        }
    }

    /// Makes of a set of integers one that may have another member, `len` bytes long.
    fn admit_text(&mut self, len: usize, max: SetMax) {
        let Value::SetInts(ints) = &self.0 else { return };
        // The longest integers are the least and the greatest.
        let ends = [ints.iter().next(), ints.iter().next_back()];
        let longest = ends.into_iter().flatten().map(|n| Text::Int(n).len()).max().unwrap_or(0);
        if ints.len() < max.packed.entries && longest.max(len) <= max.packed.bytes {
            self.become_listpack();
        } else {
            self.become_table();
        }
    }

    /// Prepares for `count` members to be added: a set that will be big becomes so at once. `first`
    /// is the first of them.
    pub fn expect(&mut self, count: usize, first: &[u8], max: SetMax) {
        if self.is_empty() && !(as_int(first).is_some() && count <= max.ints) {
            self.become_listpack();
        }
        match &self.0 {
            Value::SetInts(_) if count > max.ints => self.become_table(),
            Value::SetListpack(_) if count > max.packed.entries => self.become_table(),
            _ => {}
        }
    }

    /// Removes a member; says whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match &mut self.0 {
            Value::SetInts(ints) => as_int(member).is_some_and(|n| ints.remove(n)),
            Value::SetListpack(packed) => {
                let found = packed.find(packed.first(), member, 1);
                found.inspect(|&at| packed.remove(at, 1)).is_some()
            }
            Value::SetTable(members) => members.items.remove(member).is_some(),
            _ => not_a_set(),
        }
    }

    /// Every member.
    #[inline]
    pub fn for_each(&self, mut visit: impl FnMut(Text<'_>)) {
        match &self.0 {
            Value::SetInts(ints) => ints.iter().for_each(|n| visit(Text::Int(n))),
            Value::SetListpack(packed) => packed.iter().for_each(visit),
            Value::SetTable(members) => members.items.for_each(|piece| visit(Text::Bytes(piece.name()))),
            _ => not_a_set(),
        }
    }

    /// Members until `visit` says no.
    pub fn for_each_while(&self, mut visit: impl FnMut(Text<'_>) -> bool) {
        self.for_each_batch(|batch| batch.iter().all(|&member| visit(member)));
    }

    /// Every member, some at a time, until `visit` says no: for [`Set::retain`].
    pub fn for_each_batch(&self, mut visit: impl FnMut(&mut Batch<'_>) -> bool) {
        match &self.0 {
            Value::SetInts(ints) => visit_chunks(ints.iter().map(Text::Int), visit),
            Value::SetListpack(packed) => visit_chunks(packed.iter(), visit),
            Value::SetTable(members) => members
                .items
                .for_each_batch(|pieces| visit(&mut pieces.iter().map(|piece| Text::Bytes(piece.name())).collect())),
            _ => not_a_set(),
        }
    }

    /// Keeps of a batch what this set has, or with `has` false what it does not have.
    pub fn retain(&self, batch: &mut Batch<'_>, has: bool) {
        match &self.0 {
            Value::SetTable(members) => {
                let mut found = members.items.contains_each(batch).into_iter();
                batch.retain(|_| found.next() == Some(has));
            }
            Value::SetInts(ints) => {
                let mut near = 0;
                batch.retain(|member| match *member {
                    Text::Int(n) => ints.contains_near(n, &mut near) == has,
                    member => self.has(member) == has,
                });
            }
            _ => batch.retain(|&mut member| self.has(member) == has),
        }
    }

    /// One step of a scan: about `count` members and the next cursor, 0 at the end. A small set comes whole, whatever the
    /// cursor.
    pub fn scan(&self, mut cursor: u64, count: usize, mut emit: impl FnMut(Text<'_>)) -> u64 {
        let Value::SetTable(members) = &self.0 else {
            self.for_each(emit);
            return 0;
        };
        let (mut seen, mut steps) = (0, 0);
        loop {
            cursor = members.items.scan(cursor, |piece| {
                seen += 1;
                emit(Text::Bytes(piece.name()));
            });
            steps += 1;
            if cursor == 0 || seen >= count || steps >= count.saturating_mul(STEPS_PER_MEMBER) {
                return cursor;
            }
        }
    }

    /// `count` times a member, each time any with the same chance; ends early when `visit` says no. None from an empty set.
    pub fn sample(&self, count: usize, mut visit: impl FnMut(Text<'_>) -> bool) {
        let len = self.len();
        if len == 0 {
            return;
        }
        let mut draws = 0..count;
        match &self.0 {
            Value::SetInts(ints) => _ = draws.all(|_| visit(Text::Int(ints.get(fastrand::usize(..len))))),
            // A single one is reached from the nearer end; many are looked up.
            Value::SetListpack(packed) if count == 1 => {
                packed.seek(fastrand::usize(..len) as isize).map(|at| visit(packed.get(at)));
            }
            Value::SetListpack(packed) => {
                let all: Vec<Text<'_>> = packed.iter().collect();
                draws.all(|_| visit(all[fastrand::usize(..len)]));
            }
            Value::SetTable(members) => {
                draws.all(|_| members.items.sample().is_some_and(|piece| visit(Text::Bytes(piece.name()))));
            }
            _ => not_a_set(),
        }
    }

    /// `count` different members, or all if there are fewer; every choice of them has the same chance.
    pub fn sample_distinct(&self, count: usize, mut visit: impl FnMut(Text<'_>)) {
        if let Value::SetTable(members) = &self.0
            && count.saturating_mul(SPARSE) < self.len()
        {
            let mut seen = HashSet::with_capacity(count);
            while seen.len() < count
                && let Some(piece) = members.items.sample()
            {
                if seen.insert(piece.address()) {
                    visit(Text::Bytes(piece.name()));
                }
            }
            return;
        }
        let mut choice = Choice::new(count, self.len());
        self.for_each(|member| {
            if choice.takes_next() {
                visit(member);
            }
        });
    }

    /// Takes `count` different members out, or all if there are fewer; every choice of them has the same chance. What is
    /// left over of a big set that was made anew is returned, for the caller to free.
    pub fn pop(&mut self, count: usize, max: SetMax, mut visit: impl FnMut(Text<'_>)) -> Option<Value> {
        let len = self.len();
        if let Value::SetTable(members) = &mut self.0
            && count < len.saturating_mul(FEW_LEFT) / (FEW_LEFT + 1)
        {
            for _ in 0..count {
                let Some(name) = members.items.sample().map(|piece| piece.name().to_vec()) else { break };
                visit(Text::Bytes(&name));
                members.items.remove(&name);
            }
            return None;
        }
        let mut choice = Choice::new(count, len);
        if let Value::SetListpack(packed) = &mut self.0 {
            packed.retain(|member| {
                let stays = !choice.takes_next();
                if !stays {
                    visit(member);
                }
                stays
            });
            return None;
        }
        let mut kept = Self::default();
        self.for_each(|member| match choice.takes_next() {
            true => visit(member),
            false => _ = kept.insert_absent(member, max),
        });
        Some(std::mem::replace(&mut self.0, kept.0))
    }

    fn become_listpack(&mut self) {
        let mut packed = Listpack::new();
        self.for_each(|member| packed.push_back(member.bytes(&mut itoa::Buffer::new())));
        self.0 = Value::SetListpack(packed);
    }

    fn become_table(&mut self) {
        let mut members = Members::default();
        self.for_each(|member| members.items.insert(Piece::new((), member.bytes(&mut itoa::Buffer::new()), b"")));
        self.0 = Value::SetTable(Box::new(members));
    }
}

fn visit_chunks<'a>(mut members: impl Iterator<Item = Text<'a>>, mut visit: impl FnMut(&mut Batch<'a>) -> bool) {
    let mut batch: Batch<'a> = Batch::new();
    loop {
        batch.extend(members.by_ref().take(BATCH));
        if batch.is_empty() || !visit(&mut batch) {
            return;
        }
        batch.clear();
    }
}

/// A random choice of `wanted` among `of` members that are met one after the other: each is taken with the chance that
/// those still wanted bear to those still to come.
struct Choice {
    wanted: usize,
    left: usize,
    rng: fastrand::Rng,
}

impl Choice {
    fn new(wanted: usize, of: usize) -> Self {
        Self { wanted: wanted.min(of), left: of, rng: fastrand::Rng::new() }
    }

    fn takes_next(&mut self) -> bool {
        let takes = self.rng.usize(..self.left.max(1)) < self.wanted;
        self.left = self.left.saturating_sub(1);
        self.wanted -= usize::from(takes);
        takes
    }
}

fn not_a_set() -> ! {
    unreachable!("a set is one of the set variants")
}

/// However high the directive: what moves with each insertion is at most half a gigabyte.
pub const INTS_MAX: usize = 1 << 26;
/// Buckets that a scan of a thin table looks at for each member asked for, as in Redis.
const STEPS_PER_MEMBER: usize = 10;
/// A set of this many times the members asked for: drawing until they differ is cheaper than a walk.
const SPARSE: usize = 3;
/// While at least one member in this many stays, those taken are drawn one by one; else those that stay are moved out.
const FEW_LEFT: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const MAX: SetMax = SetMax { ints: 16, packed: ListpackMax { entries: 8, bytes: 6 } };

    fn members(set: &Set) -> BTreeSet<Vec<u8>> {
        let mut all = BTreeSet::new();
        set.for_each(|member| assert!(all.insert(member.to_vec()), "met twice: {member:?}"));
        all
    }

    fn of(names: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Set {
        let mut set = Set::default();
        names.into_iter().for_each(|name| _ = set.insert(name.as_ref(), MAX));
        set
    }

    #[test]
    fn a_set_grows_through_its_encodings() {
        let mut set = of((0..16).map(|n| n.to_string()));
        assert_eq!(set.0.encoding(), "intset");
        assert!(!set.insert(b"3", MAX) && set.insert(b"16", MAX));
        assert_eq!(set.0.encoding(), "hashtable");
        assert_eq!(of(["1", "2", "a"]).0.encoding(), "listpack");
        assert_eq!(of(["1234567", "a"]).0.encoding(), "hashtable");
        assert_eq!(of(["1", "abcdefg"]).0.encoding(), "hashtable");
        assert_eq!(of(["a", "b", "c", "d", "e", "f", "g", "h"]).0.encoding(), "listpack");
        assert_eq!(of(["a", "b", "c", "d", "e", "f", "g", "h", "i"]).0.encoding(), "hashtable");
    }

    #[test]
    fn every_member_is_drawn_about_as_often() {
        for names in [5, 12, 400] {
            let set = of((0..names).map(|n| if names == 12 { format!("{n}") } else { format!("m{n}") }));
            for distinct in [false, true] {
                let mut drawn = std::collections::BTreeMap::<Vec<u8>, usize>::new();
                for _ in 0..names * 100 {
                    match distinct {
                        true => set.sample_distinct(2, |member| *drawn.entry(member.to_vec()).or_default() += 1),
                        false => set.sample(2, |member| {
                            *drawn.entry(member.to_vec()).or_default() += 1;
                            true
                        }),
                    }
                }
                // Twice a hundred draws each on average, give or take five standard deviations.
                assert!(drawn.len() == names && drawn.values().all(|n| (130..=270).contains(n)), "{drawn:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_set_holds_what_was_added_and_not_removed(
            steps in prop::collection::vec((0u8..4, 0u8..30, prop_oneof![Just(""), Just("x"), Just("long-")]), 0..120),
            pops in prop::collection::vec(0usize..12, 0..5),
        ) {
            let (mut set, mut model) = (Set::default(), BTreeSet::new());
            for (step, n, prefix) in steps {
                let name = format!("{prefix}{n}").into_bytes();
                let (changed, expected) = match step {
                    0 => (set.remove(&name), model.remove(&name)),
                    _ => (set.insert(&name, MAX), model.insert(name.clone())),
                };
                prop_assert_eq!(changed, expected);
                prop_assert_eq!((set.contains(&name), set.len()), (model.contains(&name), model.len()));
            }
            prop_assert_eq!(&members(&set), &model);
            let mut scanned = BTreeSet::new();
            let mut cursor = 0;
            loop {
                cursor = set.scan(cursor, 3, |member| _ = scanned.insert(member.to_vec()));
                if cursor == 0 { break }
            }
            prop_assert_eq!(&scanned, &model);
            let mut batched = BTreeSet::new();
            set.for_each_batch(|batch| batch.iter().all(|member| batched.insert(member.to_vec())));
            prop_assert_eq!(&batched, &model);
            let every: Vec<Vec<u8>> = ["", "x", "long-"].iter().flat_map(|p| (0..30).map(move |n| format!("{p}{n}").into_bytes())).collect();
            for has in [true, false] {
                let texts = every.iter().map(|name| as_int(name).map_or(Text::Bytes(name), Text::Int));
                let mut batch: Batch<'_> = texts.collect();
                set.retain(&mut batch, has);
                let expected: Vec<_> = every.iter().filter(|name| model.contains(*name) == has).cloned().collect();
                prop_assert_eq!(batch.iter().map(|member| member.to_vec()).collect::<Vec<_>>(), expected);
            }
            for count in pops {
                let mut sampled = BTreeSet::new();
                set.sample_distinct(count, |member| assert!(sampled.insert(member.to_vec())));
                prop_assert!(sampled.len() == count.min(model.len()) && sampled.is_subset(&model));
                let before = model.len();
                set.pop(count, MAX, |member| assert!(model.remove(&member.to_vec()), "{member:?}"));
                prop_assert_eq!(model.len(), before - count.min(before));
                prop_assert_eq!(&members(&set), &model);
            }
        }
    }
}
