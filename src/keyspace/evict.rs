//! Whom to evict: samples keys of a random stripe, keeps the best candidates, and names the best of them by the policy.
//!
//! As in Redis: each eviction looks at `maxmemory-samples` keys, and a pool remembers the best of those that earlier ones
//! passed over, which comes close to the true LRU or LFU order. The samples are neighbours in the table, so that an
//! eviction waits for memory a few times, not once for each of them (measured: 20 fair samples of four stripes cost 80 us
//! an eviction where a key is a cache miss, these cost 1 to 2). Each thread has its own pool. One stripe is locked at a time.
//! A stripe of a small keyspace has too few keys to choose among: there samples come from as many stripes as it takes, and
//! of up to [`EXACT_MAX`] keys all are looked at, so that the very key goes that the policy means. That costs at most
//! [`KEYS_PER_EVICTION`] looks an eviction, at keys that are in the cache.
//! Volatile policies sample the expiry index where few keys have an expiry, so that those are found at once among many
//! others. Random policies are fair, and look at one.

#![allow(unsafe_code)]

use super::access::idle_seconds;
use super::databases::{Published, Share, Shares};
use super::db::Db;
use super::entry::Entry;
use super::expire::{Due, like_bits};
use super::stripe::{Held, Keyspace};
use crate::clock::Millis;
use crate::table::prefetch;
use smallvec::SmallVec;
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

/// A key to evict, with its stripe locked.
pub struct Victim<'k> {
    pub held: Held<'k>,
    pub db: usize,
    pub key: SmallVec<[u8; 64]>,
}

/// The best candidates one thread has met and not used yet.
#[derive(Default)]
pub(super) struct Pool {
    policy: Option<Policy>,
    /// The best is last.
    candidates: SmallVec<[Candidate; POOL]>,
    /// Evictions for which samples were looked at already.
    provided: usize,
}

/// Names an entry without pointing at it: where it is, as far as an index says it, and what made it a candidate. An entry
/// that was used, changed or removed since is no longer found by that.
#[derive(Clone, Copy)]
struct Candidate {
    score: u64,
    stamp: u64,
    stripe: u32,
    db: u32,
    bits: u32,
}

impl Pool {
    fn suit(&mut self, policy: Policy) {
        if self.policy != Some(policy) {
            *self = Self { policy: Some(policy), ..Self::default() };
        }
    }

    /// Keeps a candidate if it is among the best.
    fn offer(&mut self, score: u64, candidate: impl FnOnce() -> Candidate) {
        let at = self.candidates.partition_point(|other| other.score <= score);
        if self.candidates.len() < POOL {
            self.candidates.insert(at, candidate());
        } else if at > 0 {
            // The worst goes.
            self.candidates[..at].rotate_left(1);
            self.candidates[at - 1] = candidate();
        }
    }
}

impl Keyspace {
    /// The best of some samples and of those that earlier calls of this thread left; `None` if no key qualifies. The
    /// caller is inside the gate as this thread, and holds no stripe.
    pub fn pick_victim(&self, thread: usize, policy: Policy, samples: usize, now: Millis) -> Option<Victim<'_>> {
        let mut pool = self.pools[thread].lock();
        pool.suit(policy);
        for _ in 0..TRIES {
            if pool.provided == 0 || pool.candidates.is_empty() {
                self.meet_some(&mut pool, policy, samples, now)?;
            }
            while let Some(candidate) = pool.candidates.pop() {
                if let Some(victim) = self.still(candidate, policy) {
                    pool.provided -= 1;
                    return Some(victim);
                }
            }
        }
        None
    }

    /// Looks at some keys that qualify, or, where there are few, at all of them; `None` if there is none.
    fn meet_some(&self, pool: &mut Pool, policy: Policy, samples: usize, now: Millis) -> Option<()> {
        let start = fastrand::usize(..self.stripes());
        let all = (start..self.stripes()).chain(0..start);
        let mut stripes = all.into_iter().filter(|&stripe| self.qualifying(stripe, policy) > 0);
        let first = stripes.next()?;
        if policy.rank == Rank::Random {
            pool.provided = 1;
            self.meet(pool, first, policy, 1, now);
            return Some(());
        }
        // A stripe of many keys is one of a large keyspace: only elsewhere is it worth counting.
        if self.qualifying(first, policy) < 4 * EXACT_MAX / self.stripes() + 12 {
            let count: usize = (0..self.stripes()).map(|stripe| self.qualifying(stripe, policy)).sum();
            if count <= EXACT_MAX {
                pool.candidates.clear();
                (0..self.stripes()).for_each(|stripe| _ = self.meet(pool, stripe, policy, usize::MAX, now));
                pool.provided = (count / KEYS_PER_EVICTION).clamp(1, POOL);
                return Some(());
            }
        }
        pool.provided = AT_ONCE;
        let (wanted, mut met) = ((samples * AT_ONCE).min(SAMPLES_MAX), 0);
        for stripe in std::iter::once(first).chain(stripes) {
            met += self.meet(pool, stripe, policy, wanted - met, now);
            if met >= wanted {
                break;
            }
        }
        Some(())
    }

    /// Keys of a stripe that qualify.
    fn qualifying(&self, stripe: usize, policy: Policy) -> usize {
        let count = |shared: &Published| if policy.volatile { &shared.volatile } else { &shared.len }.load(Relaxed);
        (0..self.databases_used().min(self.databases())).filter_map(|db| self.shared(stripe, db)).map(count).sum()
    }

    /// Offers up to `samples` keys of a stripe; how many there were.
    fn meet(&self, pool: &mut Pool, stripe: usize, policy: Policy, samples: usize, now: Millis) -> usize {
        if self.qualifying(stripe, policy) == 0 {
            return 0;
        }
        let Some(mut held) = self.lock_one_soon(stripe) else { return 0 };
        let mut met = 0;
        for (db, share) in held.data(stripe).shares.iter().take_while(|(db, _)| *db < self.databases()) {
            for entry in draw(share, policy, samples - met) {
                let score = self.score(entry, policy.rank, now);
                met += 1;
                pool.offer(score, || Candidate {
                    score,
                    stamp: stamp(entry, policy.rank),
                    stripe: stripe as u32,
                    db: db as u32,
                    bits: like_bits(self.hash(entry.key())),
                });
            }
            if met >= samples {
                break;
            }
        }
        met
    }

    /// The candidate's entry, if it is still as it was.
    fn still(&self, candidate: Candidate, policy: Policy) -> Option<Victim<'_>> {
        let (stripe, db) = (candidate.stripe as usize, candidate.db as usize);
        let mut held = self.lock_one_soon(stripe)?;
        let mut found = None;
        held.share(stripe, db).for_each_like(candidate.bits, |entry| {
            if stamp(entry, policy.rank) == candidate.stamp && qualifies(entry, policy) {
                found = Some(entry);
            }
        });
        let key = found?.key().into();
        Some(Victim { held, db, key })
    }

    /// Higher goes first.
    fn score(&self, entry: Entry, rank: Rank, now: Millis) -> u64 {
        match rank {
            Rank::Lru => idle_seconds(entry.access(), now),
            Rank::Lfu => u64::from(255 - self.settings.lfu_decayed(entry.access(), now).min(255)),
            Rank::Ttl => u64::MAX - entry.expiry().map_or(u64::MAX, |at| at.max(0) as u64),
            Rank::Random => 0,
        }
    }
}

/// What an entry's score is made of.
fn stamp(entry: Entry, rank: Rank) -> u64 {
    match rank {
        Rank::Lru | Rank::Lfu | Rank::Random => entry.access().into(),
        Rank::Ttl => entry.expiry().unwrap_or(0) as u64,
    }
}

fn qualifies(entry: Entry, policy: Policy) -> bool {
    !policy.volatile || entry.expiry().is_some()
}

/// Some entries that qualify. They are neighbours where chance need not be fair: one look finds them all, and their
/// memory is asked for at once.
fn draw(share: &Share, policy: Policy, samples: usize) -> impl Iterator<Item = Entry> {
    // SAFETY: words in a keyspace table are live entries, and the caller holds the stripe.
    let entry = |word| unsafe { Entry::from_word(word) };
    let mut drawn: SmallVec<[Entry; SAMPLES_USUAL]> = SmallVec::new();
    let mut add = |entry: Entry| {
        prefetch(entry.word().get() as *const u8);
        drawn.push(entry);
    };
    let (fair, most_expire) = (policy.rank == Rank::Random, share.volatile * 2 >= share.table.len());
    if policy.volatile && (fair || !most_expire) {
        draw_expiring(share, if fair { 1 } else { samples }, add);
    } else if fair {
        share.table.sample(|| fastrand::u64(..)).map(entry).into_iter().for_each(add);
    } else if samples >= share.table.len() {
        share.table.for_each(|word| add(entry(word)));
    } else {
        share.table.sample_run(fastrand::u64(..), samples, |word| add(entry(word)));
    }
    drawn.into_iter().filter(move |entry| qualifies(*entry, policy))
}

/// Entries that records of the expiry index mean, or may mean.
fn draw_expiring(share: &Share, samples: usize, mut add: impl FnMut(Entry)) {
    let (ticket, mut found) = (fastrand::usize(..), 0);
    share.due.sample(ticket, samples, |bits| share.table.prefetch_bucket(bits.into()));
    share.due.sample(ticket, samples.saturating_add(STALE_EXTRA), |bits| {
        if found < samples {
            share.for_each_like(bits, |entry| {
                found += 1;
                add(entry);
            });
        }
    });
}

impl Db<'_> {
    /// Gives back what the stripe of a removed key keeps for keys to come, if it holds none: thousands of empty stripes
    /// add up to more than a small `maxmemory`. The table's own memory follows when no reader can see it any more.
    pub fn release_emptied(&mut self, key: &[u8]) {
        let place = self.keyspace().place(key);
        let stripe = place.stripe as usize;
        let share = self.share(place);
        if !share.table.is_empty() {
            return;
        }
        share.table.release();
        share.due = Due::default();
        self.publish(place);
        let data = self.held.data(stripe);
        if data.shares.values().all(|share| share.table.buckets() == 0) {
            data.shares = Shares::default();
        }
        self.refresh_next_due(stripe);
    }
}

/// Keys that qualify, up to which the choice is exact.
const EXACT_MAX: usize = 4096;
/// Of an exact choice of more keys than this several victims are taken, up to a whole pool.
const KEYS_PER_EVICTION: usize = 64;
/// As many as Redis keeps.
const POOL: usize = 16;
/// Evictions that samples are looked at for at once: their neighbourhood has to be found only once.
const AT_ONCE: usize = 4;
/// Samples that are looked at under one lock, at most.
const SAMPLES_MAX: usize = 64;
/// What the default of `maxmemory-samples` comes to.
const SAMPLES_USUAL: usize = 5 * AT_ONCE;
/// Records of the expiry index that are looked at in addition, as some may be stale.
const STALE_EXTRA: usize = 8;
/// Candidates can all be gone when another thread evicts too, or all records looked at be stale.
const TRIES: usize = 16;

#[cfg(test)]
mod tests {
    use super::super::access::Tracks;
    use super::super::db::{AccessMode, Expiry};
    use super::*;

    const START: Millis = 1_700_000_000_000;
    const HOUR: Millis = 3_600_000;
    const OLDEST: Policy = Policy { rank: Rank::Lru, volatile: false };

    fn run(keyspace: &Keyspace, now: Millis, work: impl FnOnce(&mut Db<'_>)) {
        let exclusive = keyspace.gate.exclusive();
        work(&mut Db::new(keyspace.own_world(&exclusive), 0, now, AccessMode::default()));
    }

    fn filled(stripes: usize, numbers: std::ops::Range<u32>, now: Millis) -> Keyspace {
        let keyspace = Keyspace::new(2, stripes, 1, START);
        run(&keyspace, now, |db| numbers.for_each(|n| db.set_string(&name(n), b"v", Expiry::Clear)));
        keyspace
    }

    fn name(number: u32) -> Vec<u8> {
        number.to_string().into_bytes()
    }

    fn number(key: &[u8]) -> u32 {
        std::str::from_utf8(key).unwrap().parse().unwrap()
    }

    /// Evicts up to `count` keys, each of which must go.
    fn evict(keyspace: &Keyspace, policy: Policy, samples: usize, now: Millis, count: usize) -> Vec<u32> {
        let one = || {
            let Victim { held, db, key } = keyspace.pick_victim(0, policy, samples, now)?;
            let mut db = Db::new(held, db, now, AccessMode::default());
            assert!(db.remove_as(&key, b'e', "evicted"));
            db.release_emptied(&key);
            Some(number(&key))
        };
        std::iter::from_fn(one).take(count).collect()
    }

    #[test]
    fn keys_long_unused_go_first() {
        let keyspace = filled(64, 0..4000, START);
        run(&keyspace, START + HOUR, |db| {
            (4000..8000).for_each(|n| db.set_string(&name(n), b"v", Expiry::Clear));
        });
        let gone = evict(&keyspace, OLDEST, 5, START + HOUR, 2000);
        assert_eq!(gone.len(), 2000);
        let old = gone.iter().filter(|n| **n < 4000).count();
        assert!(old > 1960, "{old} of 2000 are of the old half");
    }

    /// Keys 0 to `count`, each used a second after the one before it; among `others` that have no expiry.
    fn in_turn(count: u32, others: u32) -> Keyspace {
        let keyspace = Keyspace::new(16, 1024, 1, START);
        for n in 0..count {
            run(&keyspace, START + i64::from(n) * 1000, |db| {
                db.set_string(&name(n), b"v", Expiry::At(START + HOUR * 24 + i64::from(n)));
            });
        }
        run(&keyspace, START, |db| (count..count + others).for_each(|n| db.set_string(&name(n), b"v", Expiry::Clear)));
        keyspace
    }

    #[test]
    fn of_few_keys_the_very_one_goes_that_the_policy_means() {
        for (count, others, policy) in [
            (40, 0, OLDEST),
            (400, 0, OLDEST),
            (4000, 0, OLDEST),
            (40, 0, Policy { rank: Rank::Ttl, volatile: true }),
            (400, 3000, Policy { rank: Rank::Ttl, volatile: true }),
            (2000, 30_000, Policy { rank: Rank::Lru, volatile: true }),
        ] {
            let keyspace = in_turn(count, others);
            let gone = evict(&keyspace, policy, 5, START + HOUR * 2, count as usize / 2);
            assert!(gone.iter().copied().eq(0..count / 2), "{count}, {others}, {policy:?}");
        }
    }

    #[test]
    fn of_few_keys_the_least_often_used_go() {
        let keyspace = in_turn(400, 0);
        keyspace.settings.tracks.store(Tracks::Frequency as u8, Relaxed);
        run(&keyspace, START, |db| (0..400).for_each(|n| db.set_frequency(&name(n), 255 - i64::from(n / 2))));
        let gone = evict(&keyspace, Policy { rank: Rank::Lfu, volatile: false }, 5, START, 200);
        assert!(gone.iter().all(|n| *n >= 200), "{gone:?}");
    }

    #[test]
    fn reading_does_not_save_a_key_where_writes_are_tracked() {
        let keyspace = in_turn(400, 0);
        keyspace.settings.tracks.store(Tracks::Writes as u8, Relaxed);
        // The older half is read, of which a quarter is also written.
        run(&keyspace, START + HOUR, |db| {
            for n in 0..200 {
                db.touch(&name(n));
                assert!(db.string(&name(n)).unwrap().is_some());
                if n < 50 {
                    db.set_string(&name(n), b"w", Expiry::Keep);
                }
            }
        });
        let gone = evict(&keyspace, OLDEST, 5, START + HOUR * 2, 150);
        assert!(gone.iter().copied().eq(50..200), "{gone:?}");
    }

    #[test]
    fn of_some_ten_thousand_keys_nearly_all_that_go_are_old() {
        let keyspace = in_turn(10_000, 0);
        let gone = evict(&keyspace, OLDEST, 5, START + HOUR * 3, 2000);
        let old = gone.iter().filter(|n| **n < 5000).count();
        assert!(old > 1960, "{old} of 2000 are of the old half");
    }

    #[test]
    fn who_was_used_since_it_was_met_is_no_candidate() {
        let keyspace = filled(1, 0..10, START);
        drop(keyspace.pick_victim(0, OLDEST, SAMPLES_MAX, START + HOUR));
        run(&keyspace, START + HOUR, |db| {
            (0..10).filter(|n| *n != 7).for_each(|n| assert!(db.touch(&name(n))));
        });
        let victim = keyspace.pick_victim(0, OLDEST, SAMPLES_MAX, START + HOUR).unwrap();
        assert_eq!(number(&victim.key), 7);
    }

    #[test]
    fn everything_goes_and_then_nobody_is_left() {
        for rank in [Rank::Lru, Rank::Lfu, Rank::Random] {
            let keyspace = filled(16, 0..100, START);
            let mut gone = evict(&keyspace, Policy { rank, volatile: false }, 5, START, 200);
            gone.sort_unstable();
            assert!(gone.into_iter().eq(0..100), "{rank:?}");
        }
    }

    #[test]
    fn volatile_policies_take_only_keys_with_an_expiry_soonest_first_by_ttl() {
        for rank in [Rank::Lru, Rank::Lfu, Rank::Ttl, Rank::Random] {
            let keyspace = filled(1, 0..50, START);
            let policy = Policy { rank, volatile: true };
            assert!(evict(&keyspace, policy, 5, START, 1).is_empty(), "{rank:?}");
            run(&keyspace, START, |db| {
                (20..30).for_each(|n| {
                    db.set_expiry(&name(n), Some(START + HOUR - i64::from(n)), "expire");
                });
            });
            let mut gone = evict(&keyspace, policy, 16, START, 50);
            if rank == Rank::Ttl {
                gone.reverse();
            } else {
                gone.sort_unstable();
            }
            assert!(gone.iter().copied().eq(20..30), "{rank:?}: {gone:?}");
        }
    }

    #[test]
    fn the_pool_keeps_the_best() {
        let mut pool = Pool::default();
        let scores = (0..100u64).map(|i| i * 37 % 101);
        let candidate = |score| Candidate { score, stamp: 0, stripe: 0, db: 0, bits: 0 };
        scores.clone().for_each(|score| pool.offer(score, || candidate(score)));
        let mut all: Vec<u64> = scores.collect();
        all.sort_unstable();
        assert!(pool.candidates.iter().map(|c| c.score).eq(all[100 - POOL..].iter().copied()));
    }
}
