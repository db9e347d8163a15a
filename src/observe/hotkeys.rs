//! Which keys cost the most: sessions of HOTKEYS, by execution time and by bytes of requests and replies.
//!
//! Each thread counts for itself in a sketch of its own ([`Sketch`]), and a reader merges them. A sketch has
//! [`SKETCH_KEYS`] places for each metric; a key that has none takes that of the least, with what was counted there (the
//! space-saving algorithm), so that a key with more than that share of the whole is never missing. The first
//! [`EXACT`] commands of a thread are all looked at. Of the later ones about one a millisecond is, which then stands for
//! those left out: so the cost of a session is bounded by time, and is below a hundredth.
//! Totals over all commands are the statistics' own, at the beginning and at the end. No session costs one look at a flag.

use super::WorkerStats;
use crate::clock::Millis;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// The session of a server.
#[derive(Default)]
pub struct Hotkeys {
    is_on: AtomicBool,
    /// Sessions so far: a sketch of an older one begins anew.
    number: AtomicU64,
    session: Mutex<Option<Session>>,
}

/// What a session was started with, and what it saw.
#[derive(Clone, Debug)]
pub struct Session {
    pub wanted: Wanted,
    pub started: Millis,
    /// When it is over by itself.
    pub ends: Option<Millis>,
    /// Set when it is over.
    pub stopped: Option<Millis>,
    /// Totals of the server when it began, and when it was over.
    pub before: Totals,
    pub after: Totals,
}

/// HOTKEYS START's arguments.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub cpu: bool,
    pub net: bool,
    /// Keys shown.
    pub count: usize,
    /// One command in `ratio` is looked at.
    pub ratio: u32,
    /// Slots looked at, in order; empty for all.
    pub slots: Arc<[u16]>,
}

/// What the server did in all, since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub exec_us: u64,
    pub net_bytes: u64,
    pub user_ms: u64,
    pub system_ms: u64,
}

/// Keys with their cost, the most first.
pub type Costs = Vec<(Box<[u8]>, u64)>;

/// What the sketches say together.
#[derive(Debug, Default)]
pub struct Hottest {
    /// In nanoseconds.
    pub by_time: Costs,
    pub by_bytes: Costs,
    /// Of all commands that were looked at: nanoseconds and bytes.
    pub seen_ns: u64,
    pub seen_bytes: u64,
}

impl Hotkeys {
    #[inline]
    pub fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// Begins a session; false if there is one that is not over.
    pub fn start(
        &self,
        wanted: Wanted,
        now: Millis,
        ends: Option<Millis>,
        totals: Totals,
        workers: &[&WorkerStats],
    ) -> bool {
        let mut session = self.session.lock();
        if session.as_ref().is_some_and(|session| session.is_active(now)) {
            return false;
        }
        *session = Some(Session { wanted, started: now, ends, stopped: None, before: totals, after: totals });
        self.number.fetch_add(1, Relaxed);
        workers.iter().for_each(|worker| worker.left_out.store(0, Relaxed));
        self.is_on.store(true, Relaxed);
        true
    }

    /// Ends the session; false if none is going on.
    pub fn stop(&self, now: Millis, totals: Totals) -> bool {
        let mut session = self.session.lock();
        let Some(session) = session.as_mut().filter(|session| session.is_active(now)) else { return false };
        self.is_on.store(false, Relaxed);
        (session.stopped, session.after) = (Some(now), totals);
        true
    }

    /// Forgets the session; false if it is going on.
    pub fn reset(&self, now: Millis, workers: &[&WorkerStats]) -> bool {
        let mut session = self.session.lock();
        if session.as_ref().is_some_and(|session| session.is_active(now)) {
            return false;
        }
        self.is_on.store(false, Relaxed);
        *session = None;
        workers.iter().for_each(|worker| *worker.hot.lock() = Sketch::default());
        true
    }

    /// The session with its totals up to now, or to its end.
    pub fn session(&self, now: Millis, totals: Totals) -> Option<Session> {
        let mut session = self.session.lock();
        let session = session.as_mut()?;
        if session.stopped.is_none() {
            session.after = totals;
            if !session.is_active(now) {
                self.is_on.store(false, Relaxed);
                session.stopped = session.ends;
            }
        }
        Some(session.clone())
    }

    /// What the threads have counted for the present session.
    pub fn hottest(&self, session: &Session, workers: &[&WorkerStats]) -> Hottest {
        let (mut by_time, mut by_bytes, mut all) = (HashMap::new(), HashMap::new(), Hottest::default());
        for worker in workers {
            let sketch = worker.hot.lock();
            if sketch.session == self.number.load(Relaxed) {
                sketch.time.merge_into(&mut by_time);
                sketch.bytes.merge_into(&mut by_bytes);
                all.seen_ns += sketch.seen_ns;
                all.seen_bytes += sketch.seen_bytes;
            }
        }
        let first = |counts: HashMap<Box<[u8]>, u64>| {
            let mut counts: Vec<_> = counts.into_iter().collect();
            counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            counts.truncate(session.wanted.count);
            counts
        };
        (all.by_time, all.by_bytes) = (first(by_time), first(by_bytes));
        all
    }

    /// Memory that the session takes.
    pub fn heap_bytes(&self, workers: &[&WorkerStats]) -> usize {
        workers.iter().map(|worker| worker.hot.lock().heap_bytes()).sum()
    }

    /// Counts a command by its nanoseconds and bytes, if it is one of those looked at. `keys` visits its keys.
    #[inline]
    pub fn record(&self, stats: &WorkerStats, now: Millis, cost: (u64, u64), keys: impl Fn(&mut dyn FnMut(&[u8]))) {
        match stats.left_out.load(Relaxed) {
            0 => self.look(stats, now, cost, keys),
            more => stats.left_out.store(more - 1, Relaxed),
        }
    }

    #[cold]
    fn look(&self, stats: &WorkerStats, now: Millis, cost: (u64, u64), keys: impl Fn(&mut dyn FnMut(&[u8]))) {
        let number = self.number.load(Relaxed);
        let mut sketch = stats.hot.lock();
        if sketch.session != number {
            *sketch = Sketch { session: number, wanted: self.wanted(), gap: 1, ..Sketch::default() };
        }
        let stands_for = sketch.gap;
        stats.left_out.store(sketch.next_look(now), Relaxed);
        let Some((wanted, ends)) = &sketch.wanted else { return };
        if ends.is_some_and(|ends| now >= ends) {
            return self.is_on.store(false, Relaxed);
        }
        if wanted.ratio > 1 && fastrand::u32(..wanted.ratio) > 0 {
            return;
        }
        let (cpu, net, slots) = (wanted.cpu, wanted.net, wanted.slots.clone());
        let is_wanted = |key: &[u8]| slots.is_empty() || slots.binary_search(&crate::checksum::key_slot(key)).is_ok();
        let mut count = 0;
        keys(&mut |key| count += u64::from(is_wanted(key)));
        if count == 0 {
            return;
        }
        // What it stands for, in equal parts for its keys.
        let (ns, bytes) = (cost.0.saturating_mul(stands_for.into()), cost.1.saturating_mul(stands_for.into()));
        sketch.seen_ns = sketch.seen_ns.saturating_add(ns);
        sketch.seen_bytes = sketch.seen_bytes.saturating_add(bytes);
        keys(&mut |key| {
            if is_wanted(key) {
                if cpu {
                    sketch.time.add(key, ns / count);
                }
                if net {
                    sketch.bytes.add(key, bytes / count);
                }
            }
        });
    }

    fn wanted(&self) -> Option<(Wanted, Option<Millis>)> {
        self.session.lock().as_ref().map(|session| (session.wanted.clone(), session.ends))
    }
}

impl Session {
    pub fn is_active(&self, now: Millis) -> bool {
        self.stopped.is_none() && self.ends.is_none_or(|ends| now < ends)
    }
}

/// What one thread has counted.
#[derive(Default)]
pub struct Sketch {
    session: u64,
    wanted: Option<(Wanted, Option<Millis>)>,
    looks: u64,
    /// When the last command was looked at.
    looked: Millis,
    /// One command in `gap` is looked at.
    gap: u32,
    time: Places,
    bytes: Places,
    seen_ns: u64,
    seen_bytes: u64,
}

impl Sketch {
    /// How many commands to leave out now: by chance, on average one less than the gap, which widens while there is more
    /// than one look in a millisecond.
    fn next_look(&mut self, now: Millis) -> u32 {
        self.looks += 1;
        if self.looks <= EXACT {
            return 0;
        }
        self.gap = match now.saturating_sub(self.looked) {
            ..=0 => (self.gap * 2).min(GAP_MAX),
            1 => self.gap,
            _ => (self.gap / 2).max(1),
        };
        self.looked = now;
        fastrand::u32(..2 * self.gap - 1)
    }

    fn heap_bytes(&self) -> usize {
        self.time.heap_bytes() + self.bytes.heap_bytes()
    }
}

/// Keys with what was counted for them, side by side: they are looked through as arrays.
#[derive(Default)]
struct Places {
    hashes: Vec<u64>,
    counts: Vec<u64>,
    keys: Vec<Box<[u8]>>,
}

impl Places {
    fn add(&mut self, key: &[u8], by: u64) {
        let hash = crate::checksum::xxh3_64(key);
        if let Some(place) = self.hashes.iter().position(|known| *known == hash) {
            self.counts[place] = self.counts[place].saturating_add(by);
        } else if self.hashes.len() < SKETCH_KEYS {
            self.hashes.push(hash);
            self.counts.push(by);
            self.keys.push(key.into());
        } else if let Some((place, least)) = self.counts.iter().copied().enumerate().min_by_key(|(_, count)| *count) {
            (self.hashes[place], self.counts[place], self.keys[place]) = (hash, least.saturating_add(by), key.into());
        }
    }

    fn merge_into(&self, all: &mut HashMap<Box<[u8]>, u64>) {
        for (key, count) in self.keys.iter().zip(&self.counts) {
            let sum = all.entry(key.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
    }

    fn heap_bytes(&self) -> usize {
        self.keys.iter().map(|key| key.len()).sum::<usize>() + self.keys.capacity() * PLACE_BYTES
    }
}

/// A hash, a count and a key's pointer and length.
const PLACE_BYTES: usize = 32;
/// Several times as many as are ever shown.
const SKETCH_KEYS: usize = 256;
/// Commands of a thread that are all looked at.
const EXACT: u64 = 1024;
/// The largest gap between two commands of a thread that are looked at.
const GAP_MAX: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted { cpu: true, net: true, count: 3, ratio: 1, slots: [].into() }
    }

    #[test]
    fn the_hottest_keys_of_all_threads_are_found_among_many() {
        let (hotkeys, workers) = (Hotkeys::default(), [WorkerStats::new(1), WorkerStats::new(1)]);
        assert!(hotkeys.start(wanted(), 5, None, Totals::default(), &[]));
        assert!(!hotkeys.start(wanted(), 6, None, Totals::default(), &[]));
        for n in 0..200_000u64 {
            let key = match n % 10 {
                0..3 => "hot".to_owned(),
                3 | 4 => "warm".to_owned(),
                _ => format!("cold {n}"),
            };
            let cost = (1000, if key == "warm" { 900 } else { 100 });
            // A hundred a millisecond.
            hotkeys.record(&workers[n as usize / 7 % 2], n as i64 / 100, cost, |visit| visit(key.as_bytes()));
        }
        let lent: Vec<&WorkerStats> = workers.iter().collect();
        let session = hotkeys.session(5000, Totals::default()).unwrap();
        let found = hotkeys.hottest(&session, &lent);
        let names =
            |counts: &[(Box<[u8]>, u64)]| counts.iter().take(2).map(|(key, _)| key.to_vec()).collect::<Vec<_>>();
        assert_eq!(names(&found.by_time), [b"hot".to_vec(), b"warm".to_vec()]);
        assert_eq!(names(&found.by_bytes), [b"warm".to_vec(), b"hot".to_vec()]);
        assert_eq!(found.by_time.len(), 3);
        // 60,000 commands of a microsecond; what was left out is made up for.
        assert!((50_000_000..70_000_000).contains(&found.by_time[0].1), "{found:?}");
        assert!(
            !hotkeys.reset(5000, &lent)
                && hotkeys.stop(5000, Totals::default())
                && !hotkeys.stop(5000, Totals::default())
        );
        assert!(hotkeys.reset(5000, &lent) && hotkeys.session(5000, Totals::default()).is_none());
    }

    #[test]
    fn a_session_ends_by_itself_and_the_next_one_begins_anew() {
        let (hotkeys, worker) = (Hotkeys::default(), WorkerStats::new(1));
        assert!(hotkeys.start(wanted(), 0, Some(100), Totals::default(), &[]));
        hotkeys.record(&worker, 50, (1, 1), |visit| visit(b"a"));
        hotkeys.record(&worker, 100, (1, 1), |visit| visit(b"late"));
        assert!(!hotkeys.is_on());
        let session = hotkeys.session(200, Totals::default()).unwrap();
        assert_eq!((session.stopped, hotkeys.hottest(&session, &[&worker]).by_time.len()), (Some(100), 1));
        assert!(hotkeys.start(wanted(), 300, None, Totals::default(), &[]));
        let session = hotkeys.session(301, Totals::default()).unwrap();
        assert!(hotkeys.hottest(&session, &[&worker]).by_time.is_empty());
        hotkeys.record(&worker, 302, (6, 1), |visit| ["b", "c"].iter().for_each(|key| visit(key.as_bytes())));
        assert_eq!(hotkeys.hottest(&session, &[&worker]).by_time.iter().map(|(_, ns)| ns).sum::<u64>(), 6);
    }
}
