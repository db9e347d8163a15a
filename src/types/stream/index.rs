//! An ordered map by id, in pages that are shared until they change.
//!
//! A page holds up to [`PAGE`] neighbours: their ids as differences from its own, 8 bytes each where they are near (within
//! 49 days, numbers below 2^32), and their values in a row. The pages stand in a row of their own, found by halving. So a
//! clone costs one reference a page, and a change of a map that was cloned copies the pages it touches: that is how
//! a snapshot reads a stream while it changes, and why COPY of a long one is short.
//! Cost: finding is two searches by halving; inserting and removing move what is behind within a page, and 24 bytes a page
//! on the shorter side where a page comes or goes. Appending fills pages to their end; neighbours that became small join.

use super::id::Id;
use crate::mover::Mover;
use std::collections::VecDeque;
use std::sync::Arc;

/// Values by id.
pub struct Index<V> {
    pages: VecDeque<(Id, Arc<Page<V>>)>,
    len: usize,
}

#[derive(Clone)]
struct Page<V> {
    /// What near ids are counted from.
    base_ms: u64,
    ids: Ids,
    values: Vec<V>,
}

#[derive(Clone)]
enum Ids {
    /// Milliseconds behind the base, and the number.
    Near(Vec<(u32, u32)>),
    Far(Vec<Id>),
}

impl<V> Default for Index<V> {
    fn default() -> Self {
        Self { pages: VecDeque::new(), len: 0 }
    }
}

impl<V> Clone for Index<V> {
    fn clone(&self) -> Self {
        Self { pages: self.pages.clone(), len: self.len }
    }
}

impl<V: Clone> Index<V> {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Allocations, about.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// Bytes on the heap, without what the values point to.
    pub fn heap_bytes(&self) -> usize {
        let pages: usize = self.pages.iter().map(|(_, page)| page.heap_bytes()).sum();
        pages + self.pages.capacity() * size_of::<(Id, Arc<Page<V>>)>()
    }

    pub fn get(&self, id: Id) -> Option<&V> {
        let page = &self.pages[self.page_of(id)?].1;
        page.ids.find(page.base_ms, id).ok().map(|at| &page.values[at])
    }

    /// A value for changing; a page that is shared is copied first.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut V> {
        let at_page = self.page_of(id)?;
        let page = &mut self.pages[at_page].1;
        let at = page.ids.find(page.base_ms, id).ok()?;
        Some(&mut Arc::make_mut(page).values[at])
    }

    pub fn first(&self) -> Option<(Id, &V)> {
        self.pages.front().map(|(_, page)| (page.id(0), &page.values[0]))
    }

    pub fn last(&self) -> Option<(Id, &V)> {
        self.pages.back().map(|(_, page)| (page.id(page.values.len() - 1), &page.values[page.values.len() - 1]))
    }

    /// The greatest id that is not above this one.
    pub fn at_or_before(&self, id: Id) -> Option<(Id, &V)> {
        self.back_from(id).next()
    }

    /// From an id on, upwards.
    pub fn from(&self, id: Id) -> impl Iterator<Item = (Id, &V)> {
        let first = self.page_of(id).unwrap_or(0);
        let start = self.pages.get(first).map_or(0, |(_, page)| page.ids.lower(page.base_ms, id));
        self.pages.range(first.min(self.pages.len())..).enumerate().flat_map(move |(i, (_, page))| {
            (if i == 0 { start } else { 0 }..page.values.len()).map(move |at| (page.id(at), &page.values[at]))
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = (Id, &V)> {
        self.from(Id::ZERO)
    }

    /// From an id on, downwards.
    pub fn back_from(&self, id: Id) -> impl Iterator<Item = (Id, &V)> {
        let pages = self.page_of(id).map_or(0, |last| last + 1);
        self.pages.range(..pages).rev().enumerate().flat_map(move |(i, (_, page))| {
            let end = if i > 0 { page.values.len() } else { page.ids.upper(page.base_ms, id) };
            (0..end).rev().map(move |at| (page.id(at), &page.values[at]))
        })
    }

    /// Puts a value under an id; what was there.
    pub fn insert(&mut self, id: Id, value: V) -> Option<V> {
        let Some(at_page) = self.page_of(id).or_else(|| (!self.pages.is_empty()).then_some(0)) else {
            self.pages.push_back((id, Arc::new(Page::of(id, value))));
            self.len = 1;
            return None;
        };
        let (_, page) = &mut self.pages[at_page];
        let at = match page.ids.find(page.base_ms, id) {
            Ok(at) => return Some(std::mem::replace(&mut Arc::make_mut(page).values[at], value)),
            Err(at) => at,
        };
        self.len += 1;
        if page.values.len() < PAGE {
            Arc::make_mut(page).insert(at, id, value);
            if at == 0 {
                self.pages[at_page].0 = id;
            }
            return None;
        }
        if at == PAGE {
            // Behind a full page: those that only grow at their end stay full.
            self.pages.insert(at_page + 1, (id, Arc::new(Page::of(id, value))));
            return None;
        }
        let page = Arc::make_mut(page);
        let mut behind = page.split_at(PAGE / 2);
        match at.checked_sub(PAGE / 2) {
            Some(at) => behind.insert(at, id, value),
            None => page.insert(at, id, value),
        }
        self.pages[at_page].0 = page.id(0);
        self.pages.insert(at_page + 1, (behind.id(0), Arc::new(behind)));
        None
    }

    pub fn remove(&mut self, id: Id) -> Option<V> {
        let at_page = self.page_of(id)?;
        let page = &mut self.pages[at_page].1;
        let at = page.ids.find(page.base_ms, id).ok()?;
        self.len -= 1;
        if page.values.len() == 1 {
            return self.pages.remove(at_page).map(|(_, page)| page.values[0].clone());
        }
        let page = Arc::make_mut(page);
        let value = page.remove(at);
        if at == 0 {
            self.pages[at_page].0 = self.pages[at_page].1.id(0);
        }
        self.join(at_page);
        Some(value)
    }

    /// Keeps those for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(Id, &V) -> bool) {
        let mut kept = Self::default();
        for (_, page) in std::mem::take(&mut self.pages) {
            for (at, value) in page.values.iter().enumerate() {
                let id = page.id(at);
                if keep(id, value) {
                    kept.insert(id, value.clone());
                }
            }
        }
        *self = kept;
    }

    /// Takes the first `count` out, as a map of their own; whole pages move as they are.
    pub fn split_front(&mut self, mut count: usize) -> Self {
        let mut front = Self::default();
        while count > 0
            && let Some((first, page)) = self.pages.pop_front()
        {
            let here = page.values.len();
            if here <= count {
                front.pages.push_back((first, page));
                (front.len, self.len, count) = (front.len + here, self.len - here, count - here);
                continue;
            }
            let mut page = page;
            let rest = Arc::make_mut(&mut page).split_at(count);
            self.pages.push_front((rest.id(0), Arc::new(rest)));
            front.pages.push_back((first, page));
            (front.len, self.len, count) = (front.len + count, self.len - count, 0);
        }
        front
    }

    /// Moves what is worth it of the pages and of what their values own, from a place on until the mover is tired; the next
    /// place, [`Index::places`] at the end. What is shared stays.
    pub fn relocate_from(&mut self, place: usize, mover: &mut Mover, each: impl Fn(&mut V, &mut Mover)) -> usize {
        if place == 0 {
            mover.deque(&mut self.pages);
        }
        let mut first = place % PAGE;
        for number in place / PAGE..self.pages.len() {
            if let Some(page) = Arc::get_mut(&mut self.pages[number].1) {
                if first == 0 {
                    page.relocate(mover);
                }
                for at in first..page.values.len() {
                    if mover.is_tired() {
                        return number * PAGE + at;
                    }
                    each(&mut page.values[at], mover);
                }
            }
            first = 0;
            if mover.is_tired() {
                return (number + 1) * PAGE;
            }
        }
        self.places()
    }

    /// Behind the last place that [`Index::relocate_from`] knows.
    pub fn places(&self) -> usize {
        self.pages.len() * PAGE
    }

    /// The last page that does not begin behind an id.
    fn page_of(&self, id: Id) -> Option<usize> {
        // Most are asked for at the end.
        match self.pages.back() {
            Some((first, _)) if *first <= id => Some(self.pages.len() - 1),
            _ => self.pages.partition_point(|(first, _)| *first <= id).checked_sub(1),
        }
    }

    /// Joins a page that became small with a neighbour.
    fn join(&mut self, at: usize) {
        let len = |at: usize| self.pages.get(at).map_or(PAGE, |(_, page)| page.values.len());
        if len(at) > PAGE / 4 {
            return;
        }
        let first = if len(at + 1) + len(at) <= PAGE / 2 {
            at
        } else if at > 0 && len(at - 1) + len(at) <= PAGE / 2 {
            at - 1
        } else {
            return Arc::make_mut(&mut self.pages[at].1).shrink();
        };
        let Some((_, behind)) = self.pages.remove(first + 1) else { return };
        let page = Arc::make_mut(&mut self.pages[first].1);
        for (at, value) in behind.values.iter().enumerate() {
            page.insert(page.values.len(), behind.id(at), value.clone());
        }
    }
}

impl<V: Clone> Page<V> {
    fn of(id: Id, value: V) -> Self {
        let mut page = Self { base_ms: id.ms, ids: Ids::Near(Vec::new()), values: Vec::new() };
        page.insert(0, id, value);
        page
    }

    fn id(&self, at: usize) -> Id {
        self.ids.get(self.base_ms, at)
    }

    fn insert(&mut self, at: usize, id: Id, value: V) {
        match (&mut self.ids, near(self.base_ms, id)) {
            (Ids::Near(ids), Some(id)) => ids.insert(at, id),
            (Ids::Far(ids), _) => ids.insert(at, id),
            (Ids::Near(ids), None) => {
                let mut far: Vec<Id> = (0..ids.len()).map(|at| Ids::far(self.base_ms, ids[at])).collect();
                far.insert(at, id);
                self.ids = Ids::Far(far);
            }
        }
        self.values.insert(at, value);
    }

    fn remove(&mut self, at: usize) -> V {
        match &mut self.ids {
            Ids::Near(ids) => _ = ids.remove(at),
            Ids::Far(ids) => _ = ids.remove(at),
        }
        self.values.remove(at)
    }

    /// What stands from a place on, as a page of its own. Both are left without spare room.
    fn split_at(&mut self, at: usize) -> Self {
        let first = self.id(at);
        let mut behind = Self { base_ms: first.ms, ids: Ids::Near(Vec::new()), values: Vec::new() };
        for from in at..self.values.len() {
            behind.insert(from - at, self.id(from), self.values[from].clone());
        }
        self.values.truncate(at);
        match &mut self.ids {
            Ids::Near(ids) => ids.truncate(at),
            Ids::Far(ids) => ids.truncate(at),
        }
        behind
    }

    /// Gives room back that most of a page's values left.
    fn shrink(&mut self) {
        let room = 2 * self.values.len();
        if self.values.capacity() > 2 * room || size_of::<V>() == 0 {
            self.values.shrink_to(room);
            match &mut self.ids {
                Ids::Near(ids) => ids.shrink_to(room),
                Ids::Far(ids) => ids.shrink_to(room),
            }
        }
    }

    fn relocate(&mut self, mover: &mut Mover) {
        match &mut self.ids {
            Ids::Near(ids) => mover.vec(ids),
            Ids::Far(ids) => mover.vec(ids),
        }
        mover.vec(&mut self.values);
    }

    fn heap_bytes(&self) -> usize {
        let ids = match &self.ids {
            Ids::Near(ids) => ids.capacity() * size_of::<(u32, u32)>(),
            Ids::Far(ids) => ids.capacity() * size_of::<Id>(),
        };
        let values = if size_of::<V>() > 0 { self.values.capacity() * size_of::<V>() } else { 0 };
        ids + values + size_of::<Self>() + ARC_COUNTS
    }
}

impl Ids {
    fn far(base_ms: u64, (ms, seq): (u32, u32)) -> Id {
        Id::new(base_ms + u64::from(ms), u64::from(seq))
    }

    fn get(&self, base_ms: u64, at: usize) -> Id {
        match self {
            Self::Near(ids) => Self::far(base_ms, ids[at]),
            Self::Far(ids) => ids[at],
        }
    }

    /// Ids below this one.
    fn lower(&self, base_ms: u64, id: Id) -> usize {
        match self {
            // Most are asked for at the end.
            Self::Near(ids) if ids.last().is_some_and(|last| Self::far(base_ms, *last) < id) => ids.len(),
            Self::Near(ids) => ids.partition_point(|near| Self::far(base_ms, *near) < id),
            Self::Far(ids) => ids.partition_point(|far| *far < id),
        }
    }

    /// Ids not above this one.
    fn upper(&self, base_ms: u64, id: Id) -> usize {
        match self {
            Self::Near(ids) if ids.last().is_some_and(|last| Self::far(base_ms, *last) <= id) => ids.len(),
            Self::Near(ids) => ids.partition_point(|near| Self::far(base_ms, *near) <= id),
            Self::Far(ids) => ids.partition_point(|far| *far <= id),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Near(ids) => ids.len(),
            Self::Far(ids) => ids.len(),
        }
    }

    /// Where an id stands, or would.
    fn find(&self, base_ms: u64, id: Id) -> Result<usize, usize> {
        let at = self.lower(base_ms, id);
        if at < self.len() && self.get(base_ms, at) == id { Ok(at) } else { Err(at) }
    }
}

fn near(base_ms: u64, id: Id) -> Option<(u32, u32)> {
    let ms = id.ms.checked_sub(base_ms)?;
    Some((u32::try_from(ms).ok()?, u32::try_from(id.seq).ok()?))
}

/// Values of a page: what a change copies at most while a snapshot is read, some microseconds' worth.
const PAGE: usize = 256;
/// The two counters in front of what is shared.
const ARC_COUNTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn id() -> impl Strategy<Value = Id> {
        prop_oneof![
            8 => (0u64..40, 0u64..40).prop_map(|(ms, seq)| Id::new(1_700_000_000_000 + ms, seq)),
            1 => any::<(u64, u64)>().prop_map(|(ms, seq)| Id::new(ms, seq)),
            1 => (0u64..3, any::<u64>()).prop_map(|(ms, seq)| Id::new(1_700_000_000_000 + ms, seq)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn an_index_is_an_ordered_map(
            first in 0u64..2000,
            steps in prop::collection::vec((0u8..12, id(), any::<u32>()), 1..800),
        ) {
            let (mut index, mut model) = (Index::<u32>::default(), BTreeMap::new());
            for n in 0..first {
                let id = Id::new(1_700_000_000_000 + n / 50, n % 50);
                index.insert(id, n as u32);
                model.insert(id, n as u32);
            }
            let mut copies = Vec::new();
            for (step, id, value) in steps {
                match step {
                    0..4 => prop_assert_eq!(index.insert(id, value), model.insert(id, value)),
                    4..7 => prop_assert_eq!(index.remove(id), model.remove(&id)),
                    7 => prop_assert_eq!(index.get_mut(id).map(|v| { *v = value; *v }), model.get_mut(&id).map(|v| { *v = value; *v })),
                    8 => copies.push((index.clone(), model.clone())),
                    9 => {
                        let count = value as usize % 40;
                        let front = index.split_front(count);
                        for (id, value) in front.iter() {
                            prop_assert_eq!(model.remove(&id), Some(*value));
                        }
                        prop_assert!(front.len() == count || index.is_empty());
                    }
                    10 if value % 8 == 0 => {
                        index.retain(|_, v| v % 3 != 0);
                        model.retain(|_, v| *v % 3 != 0);
                    }
                    _ => {
                        prop_assert_eq!(index.get(id), model.get(&id));
                        prop_assert_eq!(index.at_or_before(id).map(|(id, v)| (id, *v)), model.range(..=id).next_back().map(|(id, v)| (*id, *v)));
                        let up: Vec<_> = index.from(id).take(300).map(|(id, v)| (id, *v)).collect();
                        let down: Vec<_> = index.back_from(id).take(300).map(|(id, v)| (id, *v)).collect();
                        prop_assert_eq!(up, model.range(id..).take(300).map(|(id, v)| (*id, *v)).collect::<Vec<_>>());
                        prop_assert_eq!(down, model.range(..=id).rev().take(300).map(|(id, v)| (*id, *v)).collect::<Vec<_>>());
                    }
                }
                prop_assert_eq!(index.len(), model.len());
                prop_assert_eq!(index.first().map(|(id, v)| (id, *v)), model.first_key_value().map(|(id, v)| (*id, *v)));
                prop_assert_eq!(index.last().map(|(id, v)| (id, *v)), model.last_key_value().map(|(id, v)| (*id, *v)));
            }
            copies.push((index, model));
            for (index, model) in copies {
                prop_assert!(index.iter().map(|(id, v)| (id, *v)).eq(model.into_iter()));
            }
        }
    }

    #[test]
    fn appended_ids_cost_eight_bytes_each() {
        let mut index = Index::<()>::default();
        (0..100_000).for_each(|n| _ = index.insert(Id::new(1_700_000_000_000 + n / 3, n % 3), ()));
        assert!(index.heap_bytes() < 9 * 100_000, "{}", index.heap_bytes());
    }
}
