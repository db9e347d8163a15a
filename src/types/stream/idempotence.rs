//! Which entries producers have added already: an id for each of the last names (`iid`) that a producer (`pid`) gave.
//!
//! A name is forgotten after the duration, by the clock in its entry's id, or when its producer has given more than the
//! greatest number of them since. Recording one looks at one more producer in turn, so that those who never come
//! again go too. A clone shares each producer's names until one of both changes.
//! Not here: what an entry's fields make as a name, who asks.

use super::id::Id;
use crate::clock::Millis;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// What a stream's producers have added, and how long that is known.
#[derive(Clone)]
pub struct Idempotence {
    pub limits: Limits,
    producers: BTreeMap<Box<[u8]>, Arc<Producer>>,
    /// The producer looked at last.
    looked_at: Box<[u8]>,
    /// Names recorded, and entries that were not added again.
    pub added: u64,
    pub duplicates: u64,
    names: usize,
    bytes: usize,
}

/// XCFGSET's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Seconds.
    pub duration: u32,
    /// Names of one producer.
    pub size: u32,
}

#[derive(Clone, Default)]
struct Producer {
    ids: HashMap<Arc<[u8]>, Id>,
    /// In the order of their coming.
    order: VecDeque<Arc<[u8]>>,
}

impl Idempotence {
    pub fn new(limits: Limits) -> Self {
        let (producers, looked_at) = (BTreeMap::new(), Box::default());
        Self { limits, producers, looked_at, added: 0, duplicates: 0, names: 0, bytes: 0 }
    }

    /// Other limits forget all that was recorded.
    pub fn set_limits(&mut self, limits: Limits) {
        if limits != self.limits {
            (self.producers, self.names, self.bytes) = (BTreeMap::new(), 0, 0);
            self.limits = limits;
        }
    }

    /// The entry that was added under a producer's name.
    pub fn find(&self, pid: &[u8], iid: &[u8], now: Millis) -> Option<Id> {
        let id = self.producers.get(pid)?.ids.get(iid).copied();
        id.filter(|id| !self.is_over(*id, now))
    }

    /// States that an entry was added under a producer's name.
    pub fn record(&mut self, pid: &[u8], iid: &[u8], id: Id, now: Millis) {
        self.forget(pid, now, 1);
        if !self.producers.contains_key(pid) {
            self.producers.insert(pid.into(), Arc::default());
            self.bytes += pid.len() + PRODUCER_BYTES;
        }
        let producer = Arc::make_mut(self.producers.get_mut(pid).expect("it was made just now"));
        let name: Arc<[u8]> = iid.into();
        if producer.ids.insert(name.clone(), id).is_none() {
            producer.order.push_back(name);
            self.names += 1;
            self.bytes += iid.len() + NAME_BYTES;
        }
        self.added = self.added.saturating_add(1);
        let next = self.producers.range::<[u8], _>((Bound::Excluded(&*self.looked_at), Bound::Unbounded)).next();
        self.looked_at = next.map_or_else(Box::default, |(pid, _)| pid.clone());
        let other = self.looked_at.clone();
        self.forget(&other, now, 0);
    }

    /// Forgets what is over of a producer, and the oldest so that there is `room`.
    fn forget(&mut self, pid: &[u8], now: Millis, room: usize) {
        let Some(producer) = self.producers.get(pid) else { return };
        let size = self.limits.size as usize;
        let goes = |producer: &Producer| {
            let first = producer.order.front().and_then(|name| producer.ids.get(name));
            producer.order.len() + room > size || first.is_some_and(|id| self.is_over(*id, now))
        };
        if !goes(producer) {
            return;
        }
        let mut producer = producer.clone();
        let (mut names, mut bytes) = (0, 0);
        let left = Arc::make_mut(&mut producer);
        while !left.order.is_empty() && goes(left) {
            if let Some(name) = left.order.pop_front() {
                left.ids.remove(&name);
                names += 1;
                bytes += name.len() + NAME_BYTES;
            }
        }
        if left.order.is_empty() {
            self.producers.remove(pid);
            bytes += pid.len() + PRODUCER_BYTES;
        } else {
            self.producers.insert(pid.into(), producer);
        }
        (self.names, self.bytes) = (self.names - names, self.bytes - bytes);
    }

    fn is_over(&self, id: Id, now: Millis) -> bool {
        let age = u64::try_from(now).unwrap_or(0).saturating_sub(id.ms);
        age > u64::from(self.limits.duration) * 1000
    }

    /// Every name with its producer and entry, the first of each producer first.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], Id)> {
        self.producers.iter().flat_map(|(pid, producer)| {
            producer.order.iter().filter_map(move |name| Some((&**pid, &**name, *producer.ids.get(name)?)))
        })
    }

    pub fn producers(&self) -> usize {
        self.producers.len()
    }

    pub fn names(&self) -> usize {
        self.names
    }

    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes
    }

    /// As bytes for a file: `duration 4, size 4, added 8, duplicates 8 | (pid, iid, ms 8, seq 8) …`, integers LE, texts
    /// behind their length in 4 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.limits.duration.to_le_bytes());
        out.extend(self.limits.size.to_le_bytes());
        out.extend(self.added.to_le_bytes());
        out.extend(self.duplicates.to_le_bytes());
        for (pid, iid, id) in self.iter() {
            for text in [pid, iid] {
                out.extend((text.len() as u32).to_le_bytes());
                out.extend(text);
            }
            out.extend(id.ms.to_le_bytes());
            out.extend(id.seq.to_le_bytes());
        }
        out
    }

    /// `None` if they are damaged.
    pub fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let input = &mut bytes;
        let (duration, size) = (u32::from_le_bytes(*take(input)?), u32::from_le_bytes(*take(input)?));
        let (added, duplicates) = (u64::from_le_bytes(*take(input)?), u64::from_le_bytes(*take(input)?));
        let mut this = Self::new(Limits { duration, size });
        while !input.is_empty() {
            let (pid, iid) = (text(input)?, text(input)?);
            let id = Id::new(u64::from_le_bytes(*take(input)?), u64::from_le_bytes(*take(input)?));
            this.record(pid, iid, id, 0);
        }
        (this.added, this.duplicates) = (added, duplicates);
        Some(this)
    }
}

fn take<'a, const N: usize>(input: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, rest) = input.split_first_chunk()?;
    *input = rest;
    Some(taken)
}

fn text<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = u32::from_le_bytes(*take(input)?) as usize;
    let (text, rest) = input.split_at_checked(len)?;
    *input = rest;
    Some(text)
}

/// What a producer and a name take beside their own bytes, about.
const PRODUCER_BYTES: usize = 200;
const NAME_BYTES: usize = 90;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_last_names_of_each_producer_are_known(
            steps in prop::collection::vec((0u8..4, 0u8..30, 0u64..3000), 1..200),
            size in 1u32..9,
        ) {
            let limits = Limits { duration: 20, size };
            let (mut known, mut now) = (Idempotence::new(limits), 0u64);
            let mut model: Vec<(Vec<u8>, Vec<u8>, Id)> = Vec::new();
            for (pid, iid, ahead) in steps {
                now += ahead;
                let (pid, iid, id) = (vec![b'p', pid], vec![b'i', iid], Id::new(now, 0));
                model.retain(|(_, _, id)| now - id.ms <= 20_000);
                let expected = model.iter().find(|(p, i, _)| (p, i) == (&pid, &iid)).map(|(_, _, id)| *id);
                prop_assert_eq!(known.find(&pid, &iid, now as i64), expected);
                if expected.is_none() {
                    known.record(&pid, &iid, id, now as i64);
                    model.push((pid.clone(), iid, id));
                    let own: Vec<usize> = (0..model.len()).filter(|&i| model[i].0 == pid).collect();
                    if own.len() > size as usize {
                        model.remove(own[0]);
                    }
                }
                prop_assert_eq!(known.iter().count(), known.names());
                prop_assert!(known.names() >= model.len() && known.producers() <= 4);
                let copy = Idempotence::from_bytes(&known.to_bytes()).unwrap();
                prop_assert!(copy.iter().eq(known.iter()) && copy.added == known.added);
                prop_assert_eq!(copy.bytes, known.bytes);
            }
        }

        #[test]
        fn damage_is_found_or_harmless(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            _ = Idempotence::from_bytes(&bytes);
        }
    }
}
