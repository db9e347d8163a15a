//! Expiry, exact in time: every key with a TTL has a record in its stripe's index, ordered by time.
//!
//! A record is 8 bytes: 40 bits of milliseconds since the keyspace's epoch, 24 bits of the key's hash (bucket and tag).
//! It points at no memory, so it may go stale for free: when it fires, whatever keys match its bits are looked at, due
//! ones are deleted, and one new record is kept for the earliest of the others.
//!
//! Invariant: for every key with an expiry, the index has a record of its hash bits at or before that time. Moving an
//! expiry later therefore adds nothing; only new and earlier ones do. Records of keys deleted meanwhile are garbage;
//! when they outnumber the living ([`Due::is_bloated`]), each record is looked up once and the garbage dropped. The
//! work is in proportion to the records added since, whatever the number of keys without an expiry. Due keys are
//! removed in slices of a few microseconds each by one service thread, so that a million keys due in the same
//! millisecond stop no client; so are the fields of one hash. Cost: 8 bytes a key, one heap push for a
//! new expiry.

#![allow(unsafe_code)]

use super::databases::Share;
use super::db::Db;
use super::entry::Entry;
use super::stripe::{DUE_GROUP, Keyspace};
use crate::clock::Millis;
use crate::table::Table;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed, Ordering::SeqCst};
use std::thread::{self, Thread};
use std::time::Duration;

/// The records of one share, earliest first.
#[derive(Default)]
pub(super) struct Due {
    records: BinaryHeap<Reverse<u64>>,
    /// How many records the last rebuild kept: hashes whose fields expire need some too, and are not counted.
    kept: usize,
}

impl Due {
    pub fn add(&mut self, epoch: Millis, at: Millis, hash: u64) {
        self.add_bits(epoch, at, like_bits(hash));
    }

    fn add_bits(&mut self, epoch: Millis, at: Millis, bits: u32) {
        self.records.push(Reverse(record(epoch, at, bits)));
    }

    /// The earliest record's time; none if it is beyond what a record can say, however late it is.
    pub fn next(&self, epoch: Millis) -> Option<Millis> {
        let offset = self.records.peek().map(|r| (r.0 >> HASH_BITS) as i64);
        offset.filter(|&offset| offset < TIME_MAX).map(|offset| epoch + offset)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Takes all records out; returns their hash bits, each once.
    fn take_bits(&mut self) -> Vec<u32> {
        let records = std::mem::take(&mut self.records).into_vec();
        let mut bits: Vec<u32> = records.iter().map(|r| hash_bits(r.0)).collect();
        bits.sort_unstable();
        bits.dedup();
        bits
    }

    /// More garbage than living records.
    pub fn is_bloated(&self, volatile: usize) -> bool {
        self.records.len() > 2 * volatile.max(self.kept) + GARBAGE_MIN
    }

    /// The hash bits of up to `count` records that follow each other, the first chosen by `ticket`.
    pub fn sample(&self, ticket: usize, count: usize, visit: impl FnMut(u32)) {
        let records = self.records.as_slice();
        let (before, after) = records.split_at(ticket % records.len().max(1));
        after.iter().chain(before).take(count).map(|r| hash_bits(r.0)).for_each(visit);
    }

    /// The times of up to `count` records from all over the index, since the epoch.
    fn some_times(&self, count: usize) -> impl Iterator<Item = i64> {
        let records = self.records.as_slice();
        let times =
            records.iter().step_by(records.len().div_ceil(count).max(1)).map(|record| (record.0 >> HASH_BITS) as i64);
        times.filter(|&at| at < TIME_MAX)
    }

    /// Takes the earliest record's hash bits if it is due; equal records go with it.
    pub fn pop(&mut self, epoch: Millis, now: Millis) -> Option<u32> {
        if self.next(epoch)? > now {
            return None;
        }
        let Reverse(first) = self.records.pop()?;
        while self.records.peek() == Some(&Reverse(first)) {
            self.records.pop();
        }
        Some(hash_bits(first))
    }
}

/// The bits of a hash by which a table finds few words: [`Share::for_each_like`].
pub(super) fn like_bits(hash: u64) -> u32 {
    (hash & 0xffff) as u32 | ((hash >> 24 & 0xff) as u32) << 16
}

fn record(epoch: Millis, at: Millis, bits: u32) -> u64 {
    // Times beyond 34 years never fire: such a key goes when it is asked for. Times before the epoch are due at
    // once.
    let offset = at.saturating_sub(epoch).clamp(0, TIME_MAX) as u64;
    offset << HASH_BITS | u64::from(bits)
}

fn hash_bits(record: u64) -> u32 {
    (record & ((1 << HASH_BITS) - 1)) as u32
}

/// What one slice did.
#[derive(Default, Debug, Clone, Copy)]
pub struct Slice {
    /// Keys removed.
    pub expired: usize,
    /// How late the latest of them was removed, in ms.
    pub lag_ms: i64,
    /// More is due in this stripe.
    pub more: bool,
}

/// Fires up to `keys_max` due records of one stripe, stale ones included: each costs about the same. `db` holds that
/// stripe.
pub fn expire_slice(db: &mut Db<'_>, stripe: usize, now: Millis, keys_max: usize) -> Slice {
    let (mut slice, mut left) = (Slice::default(), keys_max);
    for index in db.databases_in(stripe) {
        db.select(index);
        while left > 0 {
            let Some(bits) = db.pop_due(stripe, now) else { break };
            fire(db, stripe, bits, now, &mut slice);
            left -= 1;
        }
    }
    slice.more = db.refresh_next_due(stripe) <= now;
    slice
}

/// One record fired: deletes the due keys it may mean and keeps a record for the earliest of the others.
fn fire(db: &mut Db<'_>, stripe: usize, bits: u32, now: Millis, slice: &mut Slice) {
    let (mut due, mut later): (Vec<Entry>, Option<(Millis, u64)>) = (Vec::new(), None);
    db.for_each_like(stripe, bits, |entry, hash| match entry.next_due() {
        Some(at) if at <= now => due.push(entry),
        Some(at) if later.is_none_or(|(t, _)| at < t) => later = Some((at, hash)),
        _ => {}
    });
    if let Some((at, hash)) = later {
        db.index_expiry(stripe, at, hash);
    }
    for entry in due {
        slice.lag_ms = slice.lag_ms.max(entry.next_due().map_or(0, |at| now - at));
        let key = entry.key().to_vec();
        db.expire_now(&key);
        slice.expired += 1;
        // A hash whose fields went may have others that go later, or now: a big one takes several visits.
        let place = db.keyspace().place(&key);
        if let Some(at) = db.find(place, &key).and_then(|(_, entry)| entry.next_due()) {
            db.index_expiry(stripe, at, place.hash);
        }
    }
}

impl Keyspace {
    /// The mean of what is left to a database's keys with an expiry, in milliseconds, from samples. 0 of none.
    pub fn average_ttl_ms(&self, db: usize) -> i64 {
        let (_, expiring) = self.counts(db);
        if expiring == 0 { 0 } else { self.mean_ttl_ms[db].load(Relaxed) }
    }

    /// Looks at some records of a few stripes, the first told by `ticket`, and moves each database's mean toward
    /// theirs. The caller is inside the gate.
    pub fn sample_ttls(&self, now: Millis, ticket: usize) {
        let mut found = vec![(0i64, 0i64); self.databases()];
        for stripe in (0..TTL_STRIPES).map(|i| (ticket * TTL_STRIPES + i) % self.stripes()) {
            let Some(mut held) = self.lock_one_soon(stripe) else { continue };
            for (db, share) in held.data(stripe).shares.iter().take_while(|(db, _)| *db < self.databases()) {
                let (sum, count) = &mut found[db];
                for at in share.due.some_times(TTL_RECORDS) {
                    *sum += (self.epoch + at - now).max(0);
                    *count += 1;
                }
            }
        }
        for (db, (mean, (sum, count))) in self.mean_ttl_ms.iter().zip(found).enumerate() {
            if count == 0 {
                // Of keys that are gone nothing is known.
                if mean.load(Relaxed) > 0 && self.counts(db).1 == 0 {
                    mean.store(0, Relaxed);
                }
                continue;
            }
            let (before, sampled) = (mean.load(Relaxed), sum / count);
            mean.store(if before == 0 { sampled } else { before + (sampled - before) / TTL_SMOOTHING }, Relaxed);
        }
    }

    /// Says when something in a stripe, which the caller holds, is due next.
    pub(super) fn set_next_due(&self, stripe: usize, at: Millis) {
        // In this order for a thread that looks at the same time: it raises the group's time first and then asks the stripes.
        self.stripe(stripe).next_due.store(at, SeqCst);
        let group = &self.due_groups[stripe / DUE_GROUP];
        if at < group.load(SeqCst) {
            group.fetch_min(at, SeqCst);
            self.alarm.ring_before(at);
        }
    }

    /// Sleeps until a time, or until something is due before it. For the one thread that expires, after it has looked:
    /// nothing that it saw is due before that time.
    pub fn sleep_until_due(&self, now: Millis, until: Millis) {
        self.alarm.thread.get_or_init(thread::current);
        self.alarm.at.store(until, SeqCst);
        // Who came since the look, and before this, found no alarm to ring.
        if self.due_groups.iter().all(|group| group.load(SeqCst) >= until) {
            thread::park_timeout(Duration::from_millis(until.saturating_sub(now).max(0) as u64));
        }
        self.alarm.at.store(i64::MIN, SeqCst);
    }

    /// The next stripe from `from` on, wrapping, that has something due; and the earliest time anything is. Groups in
    /// which nothing is due are asked once, not each of their stripes: this is what an idle server does all the time.
    pub fn next_due_stripe(&self, from: usize, now: Millis) -> (Option<usize>, Millis) {
        let groups = self.due_groups.len();
        let mut earliest = i64::MAX;
        // The group of `from` comes first with what is behind it, and last with what is before it.
        for i in 0..=groups {
            let group = (from / DUE_GROUP + i) % groups;
            let mut least = self.due_groups[group].load(SeqCst);
            if least <= now {
                let all = group * DUE_GROUP..self.stripes().min((group + 1) * DUE_GROUP);
                let mut wanted = if i == 0 { from..all.end } else { all.clone() };
                least = self.ask_group(group, all);
                if let Some(stripe) = wanted.find(|&stripe| self.stripe(stripe).next_due.load(SeqCst) <= now) {
                    return (Some(stripe), least);
                }
            }
            earliest = earliest.min(least);
        }
        (None, earliest)
    }

    /// Asks each stripe of a group, and remembers the earliest time.
    fn ask_group(&self, group: usize, stripes: Range<usize>) -> Millis {
        self.due_groups[group].store(i64::MAX, SeqCst);
        let least = stripes.map(|stripe| self.stripe(stripe).next_due.load(SeqCst)).min().unwrap_or(i64::MAX);
        self.due_groups[group].fetch_min(least, SeqCst);
        least
    }
}

/// What wakes the thread that expires.
pub(super) struct Alarm {
    /// When it wakes by itself; the beginning of time while it is awake.
    at: AtomicI64,
    thread: OnceLock<Thread>,
}

impl Default for Alarm {
    fn default() -> Self {
        Self { at: AtomicI64::new(i64::MIN), thread: OnceLock::new() }
    }
}

impl Alarm {
    fn ring_before(&self, time: Millis) {
        if time < self.at.load(SeqCst)
            && self.at.swap(i64::MIN, SeqCst) != i64::MIN
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

impl Keyspace {
    /// Looks whether the fields of any hash still expire, so that snapshots may be of the older version again. Takes
    /// one stripe at a time; costs a look-up for each key with an expiry, unless such a hash is found sooner.
    pub fn look_for_timed_fields(&self) {
        if !self.has_timed_fields() {
            return;
        }
        let marks = self.timed_marks.load(SeqCst);
        if (0..self.stripes()).any(|stripe| self.stripe_has_timed_fields(stripe)) {
            return;
        }
        self.timed_fields.store(false, SeqCst);
        if self.timed_marks.load(SeqCst) != marks {
            self.timed_fields.store(true, SeqCst);
        }
    }

    fn stripe_has_timed_fields(&self, stripe: usize) -> bool {
        let mut held = self.lock_one(stripe);
        held.data(stripe).shares.values().any(|share| share.has_timed_fields())
    }
}

impl Share {
    /// Every hash whose fields expire has a record.
    fn has_timed_fields(&self) -> bool {
        self.due.records.iter().any(|record| {
            let mut found = false;
            entries_like(&self.table, hash_bits(record.0), |entry| {
                found |= entry.has_expiring_fields() && entry.fields_due().is_some();
            });
            found
        })
    }

    /// Every entry whose key's hash has these bits.
    pub fn for_each_like(&self, bits: u32, visit: impl FnMut(Entry)) {
        entries_like(&self.table, bits, visit);
    }

    /// Drops the garbage: keeps a record for every key with an expiry, at its time.
    pub fn rebuild_due(&mut self, epoch: Millis) {
        let Self { table, due, .. } = self;
        for bits in due.take_bits() {
            entries_like(table, bits, |entry| {
                if let Some(at) = entry.next_due() {
                    due.add_bits(epoch, at, bits);
                }
            });
        }
        due.kept = due.records.len();
    }
}

fn entries_like(table: &Table, bits: u32, mut visit: impl FnMut(Entry)) {
    // SAFETY: a word in a keyspace table is a live entry.
    table.for_each_like(bits as u16, (bits >> 16) as u8, |word| visit(unsafe { Entry::from_word(word) }));
}

const HASH_BITS: u32 = 24;
const TIME_MAX: i64 = (1 << 40) - 1;
const GARBAGE_MIN: usize = 64;
/// Stripes and records of each that one sample looks at, and how much of the way the mean goes to what it finds.
const TTL_STRIPES: usize = 16;
const TTL_RECORDS: usize = 8;
const TTL_SMOOTHING: i64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// A wall clock that jumps 35 years ahead made such records due for ever, and the thread that expires spin.
    #[test]
    fn a_time_beyond_what_a_record_can_say_never_fires() {
        let mut due = Due::default();
        due.add(0, TIME_MAX + 5, 7);
        assert_eq!((due.next(0), due.pop(0, i64::MAX)), (None, None));
        due.add(0, TIME_MAX - 1, 9);
        assert_eq!((due.next(0), due.pop(0, TIME_MAX)), (Some(TIME_MAX - 1), Some(like_bits(9))));
        assert_eq!(due.pop(0, i64::MAX), None);
    }
}
