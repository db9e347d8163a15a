//! A consumer group: what was delivered last, what is pending, and who has it.
//!
//! The group's pending entries hold time, deliveries and owner; each consumer has the ids of its own beside them, so that
//! reading one consumer's history does not walk the others'. Both are [`Index`]es: some 37 bytes a pending entry.
//! Invariant: an id is among a consumer's exactly if the group has it with that owner. Every change of the two goes through
//! [`Group::assign`] and [`Group::release`].
//! An entry may have no owner ([`Group::put_back`]): it is then first in line for a claim, in the order of putting back.

use super::id::Id;
use super::index::Index;
use crate::clock::Millis;
use crate::mover::Mover;
use std::collections::BTreeMap;
use std::ops::Bound;

/// A consumer group.
#[derive(Clone, Default)]
pub struct Group {
    /// The greatest id delivered.
    pub last: Id,
    /// How many entries were read up to `last`, counted from the stream's very first; `None` if that is not known.
    pub read: Option<u64>,
    pending: Index<Pending>,
    consumers: Vec<Option<Consumer>>,
    names: BTreeMap<Box<[u8]>, Owner>,
    /// Entries without an owner.
    ownerless: usize,
    /// The turn of the next entry put back.
    next_turn: i64,
    /// No entry that has an owner was delivered earlier.
    oldest: Millis,
}

/// A consumer by its place in the group.
pub type Owner = u32;

/// One consumer of a group.
#[derive(Clone)]
pub struct Consumer {
    pub name: Box<[u8]>,
    /// When it last asked.
    pub seen: Millis,
    /// When it last got something; `None` for never.
    pub active: Option<Millis>,
    ids: Index<()>,
}

/// A pending entry as it is kept: 20 bytes, which fields of eight would make 24.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
struct Pending {
    /// When it was delivered; of one without an owner its turn.
    at: Millis,
    deliveries: u64,
    owner: Owner,
}

/// What is known of a pending entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When it was delivered last.
    pub at: Millis,
    /// How often it was.
    pub count: u64,
    /// The consumer that has it, if any.
    pub owner: Option<Owner>,
}

impl From<Pending> for Delivery {
    fn from(pending: Pending) -> Self {
        match pending.owner {
            UNOWNED => Self { at: 0, count: pending.deliveries, owner: None },
            owner => Self { at: pending.at, count: pending.deliveries, owner: Some(owner) },
        }
    }
}

impl Consumer {
    fn new(name: &[u8], now: Millis) -> Self {
        Self { name: name.into(), seen: now, active: None, ids: Index::default() }
    }

    /// Entries that it has to acknowledge.
    pub fn pending(&self) -> usize {
        self.ids.len()
    }

    /// Their ids from one on.
    pub fn ids_from(&self, id: Id) -> impl Iterator<Item = Id> {
        self.ids.from(id).map(|(id, ())| id)
    }
}

impl Group {
    pub fn new(last: Id, read: Option<u64>) -> Self {
        Self { last, read, oldest: Millis::MAX, ..Self::default() }
    }

    /// Entries delivered and not acknowledged.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Those of them that were put back and have no owner.
    pub fn ownerless(&self) -> usize {
        self.ownerless
    }

    pub fn delivery(&self, id: Id) -> Option<Delivery> {
        self.pending.get(id).map(|pending| (*pending).into())
    }

    pub fn pending_from(&self, id: Id) -> impl Iterator<Item = (Id, Delivery)> {
        self.pending.from(id).map(|(id, pending)| (id, (*pending).into()))
    }

    pub fn first_pending(&self) -> Option<Id> {
        self.pending.first().map(|(id, _)| id)
    }

    pub fn last_pending(&self) -> Option<Id> {
        self.pending.last().map(|(id, _)| id)
    }

    /// The consumers by name.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = (Owner, &Consumer)> {
        self.names.values().map(|&owner| (owner, self.consumer(owner)))
    }

    /// The consumers in a range of names.
    pub fn consumers_in<'a>(
        &'a self,
        names: (Bound<&[u8]>, Bound<&[u8]>),
    ) -> impl Iterator<Item = &'a Consumer> + use<'a> {
        self.names.range::<[u8], _>(names).map(|(_, &owner)| self.consumer(owner))
    }

    pub fn find(&self, name: &[u8]) -> Option<Owner> {
        self.names.get(name).copied()
    }

    /// A consumer by its place, which must be one of the group's.
    pub fn consumer(&self, owner: Owner) -> &Consumer {
        self.consumers[owner as usize].as_ref().expect("an owner is a consumer of the group")
    }

    pub fn consumer_mut(&mut self, owner: Owner) -> &mut Consumer {
        self.consumers[owner as usize].as_mut().expect("an owner is a consumer of the group")
    }

    /// Makes a consumer. `None` if there is one of that name.
    pub fn create(&mut self, name: &[u8], now: Millis) -> Option<Owner> {
        if self.names.contains_key(name) {
            return None;
        }
        let free = if self.names.len() < self.consumers.len() {
            self.consumers.iter().position(Option::is_none)
        } else {
            None
        };
        let at = free.unwrap_or_else(|| {
            self.consumers.push(None);
            self.consumers.len() - 1
        });
        let owner = Owner::try_from(at).ok().filter(|&owner| owner != UNOWNED)?;
        self.consumers[at] = Some(Consumer::new(name, now));
        self.names.insert(name.into(), owner);
        Some(owner)
    }

    /// Removes a consumer and what it has pending; how many that were.
    pub fn remove_consumer(&mut self, owner: Owner) -> usize {
        let Some(consumer) = self.consumers[owner as usize].take() else { return 0 };
        self.names.remove(&consumer.name);
        let pending = consumer.ids.len();
        if pending > self.pending.len() / WALK_SHARE {
            self.pending.retain(|_, pending| pending.owner != owner);
        } else {
            consumer.ids.iter().for_each(|(id, ())| _ = self.pending.remove(id));
        }
        pending
    }

    /// Gives an entry to a consumer, also one that another had.
    pub fn assign(&mut self, id: Id, owner: Owner, at: Millis, deliveries: u64) {
        self.oldest = self.oldest.min(at);
        let before = self.pending.insert(id, Pending { at, deliveries, owner });
        let had = before.map_or(UNOWNED, |before| before.owner);
        if before.is_some() && had == UNOWNED {
            self.ownerless -= 1;
        }
        if had != owner {
            self.forget(had, id);
            self.consumer_mut(owner).ids.insert(id, ());
        }
    }

    /// Takes an entry out of what is pending: acknowledged, or gone.
    pub fn release(&mut self, id: Id) -> Option<Delivery> {
        let pending = self.pending.remove(id)?;
        if pending.owner == UNOWNED {
            self.ownerless -= 1;
        }
        self.forget(pending.owner, id);
        Some(pending.into())
    }

    /// Takes an entry away from its consumer: pending, but without an owner, behind those put back before.
    pub fn put_back(&mut self, id: Id, deliveries: u64) {
        let at = Millis::MIN + self.next_turn;
        self.next_turn += 1;
        let before = self.pending.insert(id, Pending { at, deliveries, owner: UNOWNED });
        match before {
            Some(Pending { owner: UNOWNED, .. }) => {}
            Some(Pending { owner, .. }) => {
                self.ownerless += 1;
                self.forget(owner, id);
            }
            None => self.ownerless += 1,
        }
    }

    fn forget(&mut self, owner: Owner, id: Id) {
        if owner != UNOWNED {
            self.consumer_mut(owner).ids.remove(id);
        }
    }

    /// Up to `max` entries without an owner, and then those delivered at `until` or before, the longest idle first.
    /// Walks what is pending only if there may be one.
    pub fn claimable(&mut self, until: Millis, max: usize) -> Vec<Id> {
        if self.ownerless == 0 && self.oldest > until {
            return Vec::new();
        }
        let (mut found, mut oldest) = (Vec::new(), Millis::MAX);
        for (id, pending) in self.pending.iter() {
            if pending.owner == UNOWNED || pending.at <= until {
                found.push((pending.at, id));
            }
            if pending.owner != UNOWNED {
                oldest = oldest.min(pending.at);
            }
        }
        self.oldest = oldest;
        found.sort_unstable();
        found.truncate(max);
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// When the entry was delivered that waits longest; not later than it was.
    pub fn oldest_delivery(&self) -> Option<Millis> {
        (self.pending.len() > self.ownerless).then_some(self.oldest)
    }

    pub fn heap_bytes(&self) -> usize {
        let consumers: usize =
            self.consumers.iter().flatten().map(|consumer| 2 * consumer.name.len() + consumer.ids.heap_bytes()).sum();
        self.pending.heap_bytes()
            + consumers
            + self.consumers.capacity() * size_of::<Option<Consumer>>()
            + self.names.len() * NAME_BYTES
    }

    /// Allocations, about.
    pub fn allocations(&self) -> usize {
        let consumers = || self.consumers.iter().flatten();
        3 * self.pending.pages() + consumers().map(|consumer| 2 + 2 * consumer.ids.pages()).sum::<usize>()
    }

    /// Moves what is worth it of what is pending, from a place on until the mover is tired; the next place,
    /// [`Group::places`] at the end.
    pub fn relocate_from(&mut self, place: usize, mover: &mut Mover) -> usize {
        let mut begin = self.pending.places();
        if place < begin {
            let next = self.pending.relocate_from(place, mover, |_, _| ());
            if next < begin || mover.is_tired() {
                return next;
            }
        }
        for consumer in self.consumers.iter_mut().flatten() {
            let end = begin + consumer.ids.places();
            if place < end {
                let next = begin + consumer.ids.relocate_from(place.saturating_sub(begin), mover, |(), _| ());
                if next < end || mover.is_tired() {
                    return next;
                }
            }
            begin = end;
        }
        begin
    }

    /// Behind the last place that [`Group::relocate_from`] knows.
    pub fn places(&self) -> usize {
        let ids = self.consumers.iter().flatten().map(|consumer| consumer.ids.places());
        self.pending.places() + ids.sum::<usize>()
    }

    /// Takes a pending entry from a file, whose owner comes later. False if it is there already.
    pub(super) fn load(&mut self, id: Id, at: Millis, deliveries: u64) -> bool {
        self.ownerless += 1;
        self.pending.insert(id, Pending { at, deliveries, owner: UNOWNED }).is_none()
    }

    /// Gives a loaded entry its owner.
    pub(super) fn load_owner(&mut self, id: Id, owner: Owner) {
        let Some(pending) = self.pending.get_mut(id) else { return };
        pending.owner = owner;
        self.oldest = self.oldest.min(pending.at);
        self.ownerless -= 1;
        self.consumer_mut(owner).ids.insert(id, ());
    }

    /// Puts entries without an owner, as loaded, in line by id.
    pub(super) fn line_up(&mut self) {
        if self.ownerless > 0 {
            let ids =
                self.pending.iter().filter(|(_, pending)| pending.owner == UNOWNED).map(|(id, p)| (id, p.deliveries));
            ids.collect::<Vec<_>>().into_iter().for_each(|(id, deliveries)| self.put_back(id, deliveries));
        }
    }
}

/// Stands for no consumer.
const UNOWNED: Owner = Owner::MAX;
/// A consumer with more than this share of what is pending is removed by one walk over all of it.
const WALK_SHARE: usize = 16;
/// A name's place in an ordered map.
const NAME_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Whatever is given, taken and put back, group and consumers agree, with a plain map too.
        #[test]
        fn nothing_pending_is_lost(steps in prop::collection::vec((0u8..8, 0u64..300, 0u8..4, 0i64..50), 0..600)) {
            let (mut group, mut model) = (Group::new(Id::ZERO, None), BTreeMap::new());
            for (step, n, name, at) in steps {
                let (id, name) = (Id::new(n / 7, n % 7 + 1), [b'a' + name]);
                match step {
                    0..4 => {
                        let owner = group.find(&name).or_else(|| group.create(&name, 0)).unwrap();
                        group.assign(id, owner, at, n);
                        model.insert(id, (at, n, Some(name)));
                    }
                    4 => prop_assert_eq!(group.release(id).is_some(), model.remove(&id).is_some()),
                    5 if at % 8 == 0 => if let Some(owner) = group.find(&name) {
                        let had = model.values().filter(|(_, _, owner)| *owner == Some(name)).count();
                        prop_assert_eq!(group.remove_consumer(owner), had);
                        model.retain(|_, (_, _, owner)| *owner != Some(name));
                    },
                    6 => {
                        group.put_back(id, n);
                        model.insert(id, (0, n, None));
                    }
                    _ => {
                        let found = group.claimable(at, 10);
                        let mut expected: Vec<_> = model.iter().filter(|(_, (_, _, owner))| owner.is_none()).collect();
                        let back = expected.len();
                        expected.extend(model.iter().filter(|(_, (when, _, owner))| owner.is_some() && *when <= at));
                        expected[back..].sort_by_key(|(id, (when, _, _))| (*when, **id));
                        prop_assert_eq!(found.len(), expected.len().min(10));
                        if back == 0 {
                            prop_assert!(found.iter().eq(expected.iter().map(|(id, _)| *id).take(10)));
                        }
                        prop_assert!(group.oldest_delivery().is_none_or(|oldest| model.values().all(|(when, _, owner)| owner.is_none() || *when >= oldest)));
                    }
                }
                let owner_name = |owner: Owner| { let name = &group.consumer(owner).name; [name[0]] };
                let all: Vec<_> = group.pending_from(Id::ZERO).map(|(id, d)| (id, (d.at, d.count, d.owner.map(owner_name)))).collect();
                prop_assert!(all.iter().copied().eq(model.iter().map(|(id, all)| (*id, *all))));
                prop_assert_eq!(group.ownerless(), model.values().filter(|(_, _, owner)| owner.is_none()).count());
                for (_, consumer) in group.consumers() {
                    let own = model.iter().filter(|(_, (_, _, owner))| owner.is_some_and(|owner| owner == *consumer.name)).map(|(id, _)| *id);
                    prop_assert!(consumer.ids_from(Id::ZERO).eq(own));
                }
            }
        }
    }

    #[test]
    fn a_pending_entry_takes_less_than_forty_bytes() {
        let mut group = Group::new(Id::ZERO, None);
        let owner = group.create(b"consumer", 0).unwrap();
        (0..100_000u64).for_each(|n| group.assign(Id::new(1_700_000_000_000 + n, 0), owner, n as i64, 1));
        assert!(group.heap_bytes() < 38 * 100_000, "{}", group.heap_bytes());
    }
}
