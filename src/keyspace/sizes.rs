//! How large the values of a database are, for INFO: a histogram for each type.
//!
//! Nothing is kept while commands run, so that they pay nothing: who asks reads the keys. Up to a number of keys that is
//! all of them; of more it is so many, from all stripes in proportion and from a place by chance in each, and the counts
//! are what they say of all. One stripe is locked at a time, and one that is held for long is left out.

use super::entry::{Body, Entry};
use super::stripe::Keyspace;
use super::walk::fetched;
use crate::types::hash::Hash;
use crate::types::list::List;
use crate::types::set::Set;
use crate::types::zset::Zset;
use crate::types::{Collection, Kind, Value};
use std::sync::atomic::Ordering::Relaxed;

/// Values by size: how many are of size 0, and from each power of two on up to the next.
pub struct Histogram([u64; CLASSES]);

/// Of one type.
pub struct Sizes {
    pub kind: Kind,
    /// By bytes of a string, by members of the others.
    pub members: Histogram,
    /// By the memory they take.
    pub bytes: Histogram,
}

impl Histogram {
    fn add(&mut self, size: usize) {
        self.0[(usize::BITS - size.leading_zeros()) as usize] += 1;
    }

    /// Each class that has values: its lower end, and how many.
    pub fn classes(&self) -> impl Iterator<Item = (u64, u64)> {
        let classes = self.0.iter().enumerate().filter(|(_, count)| **count > 0);
        classes.map(|(class, count)| (if class == 0 { 0 } else { 1 << (class - 1) }, *count))
    }

    fn scale(&mut self, all: usize, seen: usize) {
        for count in self.0.iter_mut().filter(|count| **count > 0) {
            let scaled = u128::from(*count) * all as u128 / seen as u128;
            *count = u64::try_from(scaled).unwrap_or(u64::MAX);
        }
    }
}

impl Keyspace {
    /// The values of a database by type, from no more than `keys_max` keys.
    pub fn sizes(&self, db: usize, keys_max: usize) -> Vec<Sizes> {
        let none = || Histogram([0; CLASSES]);
        let mut all: Vec<Sizes> = KINDS.iter().map(|&kind| Sizes { kind, members: none(), bytes: none() }).collect();
        let (keys, mut seen) = (self.counts(db).0, 0);
        for stripe in 0..self.stripes() {
            let Some(shared) = self.stripe(stripe).shared.get(db) else { continue };
            let share = shared.len.load(Relaxed) as u128 * keys_max as u128 / keys.max(1) as u128;
            let wanted = if keys <= keys_max { usize::MAX } else { share as usize };
            if wanted > 0 {
                seen += self.see_some(stripe, db, wanted, &mut |entry| add(&mut all, entry));
            }
        }
        if keys > keys_max && seen > 0 {
            all.iter_mut().for_each(|sizes| {
                sizes.members.scale(keys, seen);
                sizes.bytes.scale(keys, seen);
            });
        }
        all
    }

    /// Visits about so many entries of a stripe, a bucket at a time; how many.
    fn see_some(&self, stripe: usize, db: usize, wanted: usize, visit: &mut dyn FnMut(Entry)) -> usize {
        let Some(mut held) = self.lock_one_soon(stripe) else { return 0 };
        let table = &held.part(stripe, db).table;
        let (buckets, mut seen) = (table.buckets(), 0);
        let first = if buckets == 0 || wanted == usize::MAX { 0 } else { fastrand::usize(..buckets) };
        for bucket in (first..buckets).chain(0..first) {
            if seen >= wanted {
                break;
            }
            let mut see = |entry| {
                seen += 1;
                visit(entry);
            };
            fetched(|each| table.for_each_in(bucket, each), &mut see);
        }
        seen
    }
}

fn add(all: &mut [Sizes], entry: Entry) {
    let kind = entry.kind();
    if let Some(sizes) = all.iter_mut().find(|sizes| sizes.kind == kind) {
        sizes.members.add(members(entry));
        sizes.bytes.add(entry.heap_bytes());
    }
}

/// The length of a string, or the members of a collection.
fn members(entry: Entry) -> usize {
    match entry.body() {
        Body::Bytes(bytes) => bytes.len(),
        Body::Int(n) => itoa::Buffer::new().format(n).len(),
        Body::Value(Value::Str(text)) => text.len(),
        Body::Value(value) => (List::of(value).map(List::len))
            .or_else(|| Set::of(value).map(Set::len))
            .or_else(|| Zset::of(value).map(Zset::len))
            .or_else(|| Hash::of(value).map(Hash::len))
            .unwrap_or(0),
    }
}

/// The types told of, in Redis's order.
const KINDS: [Kind; 5] = [Kind::String, Kind::List, Kind::Set, Kind::Zset, Kind::Hash];
/// Size 0, and a class for each power of two.
const CLASSES: usize = usize::BITS as usize + 1;
