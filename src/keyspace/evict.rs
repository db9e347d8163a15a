//! Whom to evict: samples keys of random stripes and names the best victim by the policy.
//!
//! One stripe is locked at a time, and none when the victim is named; it is looked up again when it is removed. The
//! more samples, the closer to the true LRU or LFU order, as in Redis. Volatile policies sample the expiry index, so
//! that few volatile keys among many others are found at once.

use super::access::idle_seconds;
use super::db::Db;
use super::entry::Entry;
use super::expire::Due;
use super::stripe::{Keyspace, Part, PerDb};
use crate::clock::Millis;
use std::sync::atomic::Ordering::Relaxed;

/// By what keys are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    Lru,
    Lfu,
    Ttl,
    Random,
}

/// An eviction policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub rank: Rank,
    /// Only keys with an expiry.
    pub volatile: bool,
}

pub struct Victim {
    pub db: usize,
    pub key: Box<[u8]>,
}

impl Keyspace {
    /// The best of about `samples` keys from each of a few stripes; `None` if no key qualifies. The caller holds no
    /// stripe.
    pub fn pick_victim(&self, policy: Policy, samples: usize, now: Millis) -> Option<Victim> {
        let mut best: Option<(u64, Victim)> = None;
        for (stripe, db) in self.crowded_parts(policy.volatile) {
            let mut held = self.lock_one(stripe);
            let part = held.part(stripe, db);
            for _ in 0..samples {
                let Some(entry) = self.sample(part, policy.volatile) else { break };
                let score = self.score(entry, policy.rank, now);
                if best.as_ref().is_none_or(|(s, _)| score > *s) {
                    best = Some((score, Victim { db, key: entry.key().into() }));
                }
            }
        }
        best.map(|(_, victim)| victim)
    }

    /// A few random parts that hold keys which qualify.
    fn crowded_parts(&self, volatile: bool) -> Vec<(usize, usize)> {
        let start = fastrand::usize(..self.stripes());
        let all = (0..self.stripes()).map(|i| (start + i) % self.stripes());
        let mut parts = Vec::with_capacity(PARTS_SAMPLED);
        for stripe in all {
            for (db, shared) in self.stripe(stripe).shared.iter().enumerate() {
                let count = if volatile { &shared.volatile } else { &shared.len };
                if count.load(Relaxed) > 0 {
                    parts.push((stripe, db));
                }
            }
            if parts.len() >= PARTS_SAMPLED {
                break;
            }
        }
        parts
    }

    fn sample(&self, part: &Part, volatile: bool) -> Option<Entry> {
        // SAFETY: words in a keyspace table are live entries, and the caller holds the stripe.
        let entry = |word| unsafe { Entry::from_word(word) };
        if !volatile {
            return part.table.sample(|| fastrand::u64(..)).map(entry);
        }
        for _ in 0..STALE_TRIES {
            let bits = part.due.sample(fastrand::usize(..))?;
            let mut found = None;
            part.table.for_each_like(bits as u16, (bits >> 16) as u8, |word| {
                found = Some(entry(word)).filter(|e| e.expiry().is_some()).or(found);
            });
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Higher goes first.
    fn score(&self, entry: Entry, rank: Rank, now: Millis) -> u64 {
        match rank {
            Rank::Lru => idle_seconds(entry.access(), now),
            Rank::Lfu => u64::from(255 - self.settings.lfu_decayed(entry.access(), now).min(255)),
            Rank::Ttl => u64::MAX - entry.expiry().map_or(u64::MAX, |at| at.max(0) as u64),
            Rank::Random => fastrand::u64(..),
        }
    }
}

impl Db<'_> {
    /// Gives back what the stripe of a removed key keeps for keys to come, if it holds none: thousands of empty stripes
    /// add up to more than a small `maxmemory`. The table's own memory follows when no reader can see it any more.
    pub fn release_emptied(&mut self, key: &[u8]) {
        let place = self.keyspace().place(key);
        let stripe = place.stripe as usize;
        let part = self.part(place);
        if !part.table.is_empty() {
            return;
        }
        part.table.release();
        part.due = Due::default();
        self.publish(place);
        let data = self.held.data(stripe);
        if data.parts.iter().all(|part| part.table.buckets() == 0) {
            data.parts = PerDb::default();
        }
        self.refresh_next_due(stripe);
    }
}

const PARTS_SAMPLED: usize = 4;
/// Records of the expiry index may be stale; after so many the part counts as empty.
const STALE_TRIES: usize = 16;
