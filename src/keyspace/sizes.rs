//! How large the values of a database are, for INFO, a histogram for each type; and what keys with the same prefix take.
//!
//! Nothing is kept while commands run, so that they pay nothing: asking reads the keys. Up to a number of keys that is
//! all of them; of more it is a sample of that number, from all stripes in proportion and from a place by chance in
//! each, and the counts are what the sample says of all. One stripe is locked at a time, and one that is held for long is left out.

use super::databases::Share;
use super::entry::{Body, Entry};
use super::stripe::Keyspace;
use super::walk::fetched;
use crate::types::hash::Hash;
use crate::types::list::List;
use crate::types::set::Set;
use crate::types::zset::Zset;
use crate::types::{Collection, Kind, Value};
use std::collections::HashMap;

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

/// What keys with the same beginning take together.
#[derive(Debug, PartialEq)]
pub struct Prefix {
    /// Up to the first colon, or another separator where there is none; empty for keys without any.
    pub name: Box<[u8]>,
    pub keys: u64,
    pub bytes: u64,
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
        self.0.iter_mut().filter(|count| **count > 0).for_each(|count| *count = scaled(*count, all, seen));
    }
}

impl Keyspace {
    /// The values of a database by type, from no more than `keys_max` keys.
    pub fn sizes(&self, db: usize, keys_max: usize) -> Vec<Sizes> {
        let none = || Histogram([0; CLASSES]);
        let mut all: Vec<Sizes> = KINDS.iter().map(|&kind| Sizes { kind, members: none(), bytes: none() }).collect();
        let keys = self.counts(db).0;
        let seen = self.sample(db, keys_max, &mut |entry| add(&mut all, entry));
        if keys > keys_max && seen > 0 {
            all.iter_mut().for_each(|sizes| {
                sizes.members.scale(keys, seen);
                sizes.bytes.scale(keys, seen);
            });
        }
        all
    }

    /// Keys and their memory by prefix over all databases, the most memory first, from no more than `keys_max` keys.
    pub fn prefixes(&self, keys_max: usize) -> Vec<Prefix> {
        let mut sums: HashMap<Box<[u8]>, (u64, u64)> = HashMap::new();
        let used: Vec<usize> = (0..self.databases()).filter(|&db| self.counts(db).0 > 0).collect();
        for &db in &used {
            let (keys, share) = (self.counts(db).0, keys_max / used.len());
            let mut found: HashMap<Box<[u8]>, (u64, u64)> = HashMap::new();
            let seen = self.sample(db, share, &mut |entry| {
                let (count, bytes) = found.entry(prefix(entry.key()).into()).or_default();
                *count += 1;
                *bytes = bytes.saturating_add(entry.heap_bytes() as u64);
            });
            // Keys come and go meanwhile: what was seen whole stands for itself.
            let all = if keys > share { keys } else { seen };
            for (name, (count, bytes)) in found {
                let (keys_sum, bytes_sum) = sums.entry(name).or_default();
                *keys_sum = keys_sum.saturating_add(scaled(count, all, seen));
                *bytes_sum = bytes_sum.saturating_add(scaled(bytes, all, seen));
            }
        }
        let mut prefixes: Vec<_> = sums.into_iter().map(|(name, (keys, bytes))| Prefix { name, keys, bytes }).collect();
        prefixes.sort_unstable_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
        prefixes
    }

    /// Visits about `keys_max` entries of a database, or all if it has no more. Returns the number visited.
    fn sample(&self, db: usize, keys_max: usize, visit: &mut dyn FnMut(Entry)) -> usize {
        let (keys, mut seen) = (self.counts(db).0, 0);
        for stripe in 0..self.stripes() {
            let here = self.keys_in(stripe, db) as u128;
            let share = here * keys_max as u128 / keys.max(1) as u128;
            let wanted = if here > 0 && keys <= keys_max { usize::MAX } else { share as usize };
            if wanted > 0 {
                seen += self.see_some(stripe, db, wanted, visit);
            }
        }
        seen
    }

    /// Visits about `wanted` entries of a stripe, a bucket at a time; how many.
    fn see_some(&self, stripe: usize, db: usize, wanted: usize, visit: &mut dyn FnMut(Entry)) -> usize {
        let Some(mut held) = self.lock_one_soon(stripe) else { return 0 };
        let Some(Share { table, .. }) = held.share_there(stripe, db) else { return 0 };
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

/// A count of those seen, as it would be of all.
fn scaled(count: u64, all: usize, seen: usize) -> u64 {
    u64::try_from(u128::from(count) * all as u128 / seen.max(1) as u128).unwrap_or(u64::MAX)
}

/// What a key begins with, its separator included.
fn prefix(key: &[u8]) -> &[u8] {
    let head = &key[..key.len().min(PREFIX_BYTES_MAX)];
    let colon = memchr::memchr(b':', head);
    let end = colon.or_else(|| head.iter().position(|byte| b"/|.-_".contains(byte)));
    end.map_or(&[], |end| &head[..=end])
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
/// What comes after is no prefix: a hostile key must not be copied whole.
const PREFIX_BYTES_MAX: usize = 64;
/// Size 0, and a class for each power of two.
const CLASSES: usize = usize::BITS as usize + 1;
