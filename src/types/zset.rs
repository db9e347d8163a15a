//! Sorted sets: members ordered by (score, name), found by either.
//!
//! Few and short members are one listpack, names and scores in turn, in order; more are [`Ranked`]. A big set does not
//! become a listpack again. Ranges of every kind are ranges of ranks here: a range of scores or names first finds
//! the ranks with [`Zset::count_before`]. Scores are never NaN.
//! Invariant: the members are in order, and no two have the same name. Not here: what a range's ends look like, replies.

use super::blob::PACKED_BYTES_MAX;
use super::listpack::{Listpack, Position};
use super::value::{Collection, Value};
use super::{ListpackMax, Text};
use crate::num;
use ref_cast::RefCast;
use std::ops::Range;

pub use super::ranked::Ranked;

/// A value that is a sorted set.
#[derive(RefCast)]
#[repr(transparent)]
pub struct Zset(Value);

enum Repr<'a> {
    Listpack(&'a Listpack),
    Tree(&'a Ranked),
}

enum ReprMut<'a> {
    Listpack(&'a mut Listpack),
    Tree(&'a mut Ranked),
}

impl Zset {
    /// A sorted set of these members, each given once, as small as the limits allow.
    pub fn build<'a>(members: impl Iterator<Item = (Text<'a>, f64)> + Clone, max: ListpackMax) -> Value {
        let mut set = Self(Self::empty());
        let (count, longest) =
            members.clone().fold((0usize, 0), |(n, longest), (name, _)| (n + 1, name.len().max(longest)));
        if count > max.entries || longest > max.bytes || count.saturating_mul(longest) > PACKED_BYTES_MAX {
            set.unpack();
        }
        let mut digits = itoa::Buffer::new();
        match set.repr_mut() {
            ReprMut::Tree(ranked) => members.for_each(|(name, score)| ranked.insert(name.bytes(&mut digits), score)),
            ReprMut::Listpack(packed) => members.for_each(|(name, score)| put(packed, name.bytes(&mut digits), score)),
        }
        set.0
    }

    #[inline]
    fn repr(&self) -> Repr<'_> {
        match &self.0 {
            Value::ZsetListpack(packed) => Repr::Listpack(packed),
            Value::ZsetTree(ranked) => Repr::Tree(ranked),
            _ => unreachable!("a sorted set is one of these"),
        }
    }

    #[inline]
    fn repr_mut(&mut self) -> ReprMut<'_> {
        match &mut self.0 {
            Value::ZsetListpack(packed) => ReprMut::Listpack(packed),
            Value::ZsetTree(ranked) => ReprMut::Tree(ranked),
            _ => unreachable!("a sorted set is one of these"),
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        match self.repr() {
            Repr::Listpack(packed) => packed.len() / 2,
            Repr::Tree(ranked) => ranked.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is a listpack, which keeps scores as text.
    pub fn is_packed(&self) -> bool {
        matches!(self.repr(), Repr::Listpack(_))
    }

    #[inline]
    pub fn score(&self, name: &[u8]) -> Option<f64> {
        match self.repr() {
            Repr::Listpack(packed) => packed.find(packed.first(), name, 2).map(|at| score_behind(packed, at)),
            Repr::Tree(ranked) => ranked.score(name),
        }
    }

    /// A member's rank and score.
    pub fn rank(&self, name: &[u8]) -> Option<(usize, f64)> {
        match self.repr() {
            Repr::Listpack(packed) => {
                let at = packed.find(packed.first(), name, 2)?;
                Some((packed.count_before(at) / 2, score_behind(packed, at)))
            }
            Repr::Tree(ranked) => ranked.rank(name),
        }
    }

    /// Gives a member the score that `decide` makes of the one it has; absent or none: as it is.
    #[inline]
    pub fn update(&mut self, name: &[u8], max: ListpackMax, decide: impl FnOnce(Option<f64>) -> Option<f64>) {
        match self.repr_mut() {
            ReprMut::Tree(ranked) => ranked.update(name, decide),
            ReprMut::Listpack(packed) => {
                let at = packed.find(packed.first(), name, 2);
                let Some(score) = decide(at.map(|at| score_behind(packed, at))) else { return };
                match at {
                    Some(at) => rescore(packed, at, name, score),
                    None if packed.len() / 2 >= max.entries
                        || name.len() > max.bytes
                        || packed.bytes().len() + name.len() > PACKED_BYTES_MAX =>
                    {
                        self.unpack().insert(name, score);
                    }
                    None => put(packed, name, score),
                }
            }
        }
    }

    /// Prepares for members of one command: more than a listpack may have are not put into one first.
    pub fn expect(&mut self, members: usize, max: ListpackMax) {
        if members > max.entries {
            self.unpack();
        }
    }

    /// Takes a member out; its score.
    pub fn remove(&mut self, name: &[u8]) -> Option<f64> {
        match self.repr_mut() {
            ReprMut::Listpack(packed) => {
                let at = packed.find(packed.first(), name, 2)?;
                let score = score_behind(packed, at);
                packed.remove(at, 2);
                Some(score)
            }
            ReprMut::Tree(ranked) => ranked.remove(name),
        }
    }

    /// Takes out the members of these ranks.
    pub fn remove_ranks(&mut self, ranks: Range<usize>) {
        match self.repr_mut() {
            ReprMut::Listpack(packed) => {
                if let Some(at) = seek(packed, ranks.start) {
                    packed.remove(at, 2 * ranks.len());
                }
            }
            ReprMut::Tree(ranked) => ranked.remove_ranks(ranks),
        }
    }

    /// How many members are `before` a place: the rank of the first that is not. They precede all others.
    pub fn count_before(&self, before: impl Fn(f64, &[u8]) -> bool) -> usize {
        match self.repr() {
            Repr::Listpack(packed) => {
                let mut digits = itoa::Buffer::new();
                packed.pairs().take_while(|(name, score)| before(score_of(*score), name.bytes(&mut digits))).count()
            }
            Repr::Tree(ranked) => ranked.count_before(before),
        }
    }

    /// The same for a place that scores alone tell.
    pub fn count_scores(&self, before: impl Fn(f64) -> bool) -> usize {
        match self.repr() {
            Repr::Listpack(packed) => packed.pairs().take_while(|(_, score)| before(score_of(*score))).count(),
            Repr::Tree(ranked) => ranked.count_scores(before),
        }
    }

    /// Members of these ranks with their scores, in order or in reverse.
    pub fn walk(&self, ranks: Range<usize>, reverse: bool) -> Walk<'_> {
        match self.repr() {
            Repr::Listpack(packed) => {
                let ranks = ranks.start..ranks.end.min(self.len());
                let first = if reverse { ranks.end.saturating_sub(1) } else { ranks.start };
                Walk::Listpack { packed, at: seek(packed, first), left: ranks.len(), reverse }
            }
            Repr::Tree(ranked) => Walk::Tree(ranked.walk(ranks, reverse)),
        }
    }

    /// One step of a scan by name; the next cursor, 0 at the end. A listpack is scanned in one step.
    pub fn scan(&self, cursor: u64, mut emit: impl FnMut(Text<'_>, f64)) -> u64 {
        match self.repr() {
            Repr::Listpack(packed) => {
                packed.pairs().for_each(|(name, score)| emit(name, score_of(score)));
                0
            }
            Repr::Tree(ranked) => ranked.scan(cursor, |name, score| emit(Text::Bytes(name), score)),
        }
    }

    /// Changes a listpack to the encoding of big sets.
    fn unpack(&mut self) -> &mut Ranked {
        if let Value::ZsetListpack(packed) = &self.0 {
            let (mut ranked, mut digits) = (Box::<Ranked>::default(), itoa::Buffer::new());
            packed.pairs().for_each(|(name, score)| ranked.insert(name.bytes(&mut digits), score_of(score)));
            self.0 = Value::ZsetTree(ranked);
        }
        match &mut self.0 {
            Value::ZsetTree(ranked) => ranked,
            _ => unreachable!("unpacked just now"),
        }
    }
}

/// Members in order.
#[derive(Clone)]
pub enum Walk<'a> {
    Listpack { packed: &'a Listpack, at: Option<Position>, left: usize, reverse: bool },
    Tree(super::ranked::Walk<'a>),
}

impl<'a> Iterator for Walk<'a> {
    type Item = (Text<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Listpack { left: 0, .. } => None,
            Self::Listpack { packed, at, left, reverse } => {
                let here = (*at)?;
                let score_at = packed.behind(here);
                *left -= 1;
                *at = if *reverse {
                    packed.prev(here).and_then(|score| packed.prev(score))
                } else {
                    packed.next(score_at)
                };
                Some((packed.get(here), score_of(packed.get(score_at))))
            }
            Self::Tree(walk) => walk.next().map(|(name, score)| (Text::Bytes(name), score)),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match self {
            Self::Listpack { left, .. } => *left,
            Self::Tree(walk) => walk.size_hint().0,
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Walk<'_> {}

/// The position of the member of a rank.
fn seek(packed: &Listpack, rank: usize) -> Option<Position> {
    packed.seek(isize::try_from(2 * rank).ok()?)
}

/// Puts a member that is not there in its place, which often is the end.
fn put(packed: &mut Listpack, name: &[u8], score: f64) {
    let mut at = Listpack::FRONT;
    if pair_before(packed, packed.end()).is_none_or(|last| !is_behind(packed, last, name, score)) {
        at = packed.end();
    }
    while at < packed.end() && !is_behind(packed, at, name, score) {
        at = packed.behind(packed.behind(at));
    }
    with_text(score, |text| packed.insert_all(at, [name, text]));
}

/// Gives the member at a position another score, and its place among its neighbours, who are often the same.
fn rescore(packed: &mut Listpack, at: Position, name: &[u8], score: f64) {
    let score_at = packed.behind(at);
    with_text(score, |text| packed.replace(score_at, text));
    let (mut place, behind) = (at, packed.behind(score_at));
    while let Some(other) = pair_before(packed, place)
        && is_behind(packed, other, name, score)
    {
        place = other;
    }
    if place == at {
        place = behind;
        while place < packed.end() && !is_behind(packed, place, name, score) {
            place = packed.behind(packed.behind(place));
        }
    }
    if place != behind {
        packed.shift(at..behind, place);
    }
}

/// The member in front of a position.
fn pair_before(packed: &Listpack, at: Position) -> Option<Position> {
    packed.prev(at).and_then(|score| packed.prev(score))
}

/// Whether the member at a position comes after another one.
fn is_behind(packed: &Listpack, at: Position, name: &[u8], score: f64) -> bool {
    let other = score_behind(packed, at);
    other > score || other == score && packed.get(at).bytes(&mut itoa::Buffer::new()) > name
}

/// A score as it is written into a listpack.
fn with_text(score: f64, write: impl FnOnce(&[u8])) {
    if score.fract() == 0.0 && score.abs() < INTEGER_MAX {
        write(itoa::Buffer::new().format(score as i64).as_bytes());
    } else {
        let mut text = Vec::with_capacity(SCORE_BYTES);
        num::push_f64(&mut text, score);
        write(&text);
    }
}

/// The score of the member at a position.
fn score_behind(packed: &Listpack, at: Position) -> f64 {
    score_of(packed.get(packed.behind(at)))
}

/// A score as a listpack holds it. One that came from a file and is none counts as 0.
fn score_of(text: Text<'_>) -> f64 {
    match text {
        Text::Int(n) => n as f64,
        Text::Bytes(b) => num::parse_f64(b).unwrap_or(0.0),
    }
}

/// From here on Redis writes whole scores as other doubles; -0 is 0 in a listpack.
const INTEGER_MAX: f64 = 4_611_686_018_427_387_904.0;
/// No score is printed longer.
const SCORE_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Model = Vec<(f64, Vec<u8>)>;

    fn listed(walk: Walk<'_>) -> Model {
        walk.map(|(name, score)| (score, name.to_vec())).collect()
    }

    fn check(set: &Zset, model: &Model, from: usize, to: usize) {
        assert_eq!(set.len(), model.len());
        assert_eq!(&listed(set.walk(0..usize::MAX, false)), model);
        let (from, to) = (from.min(model.len()), to.clamp(from.min(model.len()), model.len()));
        assert_eq!(listed(set.walk(from..to, false)), model[from..to]);
        assert!(listed(set.walk(from..to, true)).iter().eq(model[from..to].iter().rev()));
        if let Some((score, name)) = model.get(from) {
            assert_eq!((set.rank(name), set.score(name)), (Some((from, *score)), Some(*score)));
            assert_eq!(set.count_scores(|s| s < *score), model.partition_point(|(s, _)| s < score));
            let before = |s: f64, n: &[u8]| (s, n) < (*score, name);
            assert_eq!(set.count_before(before), from);
        }
        let mut scanned = Model::new();
        let mut cursor = 0;
        loop {
            cursor = set.scan(cursor, |name, score| scanned.push((score, name.to_vec())));
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(scanned.len(), model.len());
        assert!(scanned.iter().all(|(score, name)| set.score(name) == Some(*score)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_sorted_set_is_a_sorted_vector(
            entries in prop_oneof![Just(0usize), Just(20), Just(10_000)],
            steps in prop::collection::vec((0u8..8, 0u16..500, -20i16..20, 0usize..300), 1..400),
        ) {
            let max = ListpackMax { entries, bytes: 64 };
            let (mut set, mut model) = (Zset(Zset::empty()), Model::new());
            for (step, name, score, from) in steps {
                let (name, score) = (name.to_string().into_bytes(), f64::from(score) / 2.0);
                let at = model.iter().position(|(_, other)| *other == name);
                match step {
                    0..=4 => {
                        let mut old = None;
                        set.update(&name, max, |was| {
                            old = was;
                            Some(score)
                        });
                        prop_assert_eq!(old, at.map(|at| model.remove(at).0));
                        let new = (score, name);
                        model.insert(model.partition_point(|other| *other < new), new);
                    }
                    5 | 6 => prop_assert_eq!(set.remove(&name), at.map(|at| model.remove(at).0)),
                    _ => {
                        let ranks = from.min(model.len())..(from + 3).min(model.len());
                        set.remove_ranks(ranks.clone());
                        model.drain(ranks);
                    }
                }
                prop_assert_eq!(set.is_packed(), set.is_packed() && model.len() <= entries);
            }
            for from in [0, 1, model.len() / 2, model.len().saturating_sub(1)] {
                check(&set, &model, from, from + 7);
            }
            let built = Zset(Zset::build(set.walk(0..set.len(), false), max));
            prop_assert_eq!(built.is_packed(), model.len() <= entries);
            check(&Zset(built.0.clone()), &model, 0, 9);
        }
    }
}
