//! Locks: the stripes over the keys, and the gate over everything.
//!
//! * A **stripe** is one padded lock over its share of the keys of all databases. Units (a command, EXEC, a script)
//!   lock the stripes of their keys in ascending order and hold them to their end: [`Keyspace::lock`] → [`Held`].
//! * The **gate** is a lock per thread that runs units; a worker holds its own for a whole batch. Who must own the world
//!   takes all of them ([`Gate::exclusive`]) and needs no stripe. Cost of entering: one uncontended lock a batch; cost
//!   of exclusivity: the number of threads, not of stripes.
//! * **Long scripts** leave their worker and go on in a thread of their own, with their locks ([`Loose`]) and a lock of the
//!   gate kept for that. A worker does not wait for them: it asks, while it waits for a lock, whether one of them has it. Who
//!   wants the world waits for them before it takes any other thread's lock.
//! * **Grace**: what lock-free readers may still see (retired table memory) is freed after every thread has left the
//!   gate once ([`Gate::grace`]).
//!
//! Invariants: stripes are locked ascending; a thread inside the gate never takes it again; no thread waits for anything
//! while holding a stripe, except for the journal's buffer and, when changing a big value that a snapshot is reading, for
//! the piece it is at (`types::cut`).

#![allow(unsafe_code)]

use super::databases::{OtherShared, Published, Share, Shares};
use super::entry::Entry;
use super::evict::Pool;
use super::expire::Alarm;
use super::graveyard::Graveyard;
use super::snapshot::{Captures, Numbers};
use super::tracking::{Tracked, TrackedKeys};
use super::waiting::Waiters;
use super::watch::Watchers;
use crate::checksum;
use crate::clock;
use crate::table::keyed_hasher;
use crossbeam_utils::CachePadded;
use parking_lot::lock_api::{Mutex as LockOf, MutexGuard, RawMutex, RawMutexTimed as Timed};
use parking_lot::{Mutex, RawMutex as StripeLock};
use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Where a key lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub stripe: u32,
    pub hash: u64,
}

/// All databases.
pub struct Keyspace {
    stripes: Box<[CachePadded<Stripe>]>,
    other_shared: OtherShared,
    hasher: ahash::RandomState,
    databases: usize,
    pub gate: Gate,
    /// For each thread of the gate, what it would evict next.
    pub(super) pools: Box<[CachePadded<Mutex<Pool>>]>,
    /// For every [`DUE_GROUP`] stripes a time at or before the earliest at which something there is due.
    pub(super) due_groups: Box<[AtomicI64]>,
    pub(super) alarm: Alarm,
    /// Databases from this one on never held anything.
    databases_used: AtomicUsize,
    pub(super) graveyard: Graveyard,
    /// The parity that entries written now carry; entries of the other parity belong to a running snapshot's cut.
    pub(super) parity: AtomicBool,
    pub captures: Captures,
    pub tracked: Tracked,
    pub(super) numbers: Numbers,
    pub settings: Settings,
    /// Fields of some hash expire, or did: snapshots need the newer format.
    pub(super) timed_fields: AtomicBool,
    /// Raised whenever `timed_fields` is said again.
    pub(super) timed_marks: AtomicU64,
    /// Keys that blocked commands wait for.
    pub awaited_keys: AtomicUsize,
    /// Those of which some command waits to hear that they are gone.
    pub awaited_ends: AtomicUsize,
    /// How late the last key was removed that expired by itself; 0 when nothing is due.
    pub expiry_lag_ms: AtomicI64,
    /// For each database the mean of what is left to keys with an expiry, from samples; 0 if there were none.
    pub(super) mean_ttl_ms: Box<[AtomicI64]>,
    /// Milliseconds since the epoch at which the expiry index begins to count.
    pub(super) epoch: i64,
}

/// What the keyspace needs of the configuration; written by CONFIG SET, read without a lock.
#[derive(Default)]
pub struct Settings {
    /// What the access clocks tell: a [`Tracks`](super::access::Tracks).
    pub tracks: AtomicU8,
    pub lfu_log_factor: AtomicU64,
    pub lfu_decay_minutes: AtomicU64,
    /// The classes of keyspace events that are wanted ([`super::event_class`]), and [`super::BROADCAST`]; 0 for none.
    pub events: AtomicU32,
    /// Keys do not expire: a replica, a load in progress, or DEBUG SET-ACTIVE-EXPIRE's wish for the active cycle.
    pub active_expire_off: AtomicBool,
    /// Values that cost more than a little to free go to the background when true (the `lazyfree-lazy-*` family).
    pub lazy_expire: AtomicBool,
}

/// One lock's share of the keys. Laid out so that a read of the first database finds the lock, what prefetching needs and
/// the table's root in one cache line.
#[repr(C)]
pub(super) struct Stripe {
    lock: StripeLock,
    /// Earliest time at which something here is due, in ms; `i64::MAX` for never. Read without the lock.
    pub next_due: AtomicI64,
    /// The first database's, for readers without the lock; see [`Keyspace::shared`].
    shared: Published,
    data: UnsafeCell<StripeData>,
}

/// What a stripe's lock protects.
#[repr(C)]
#[derive(Default)]
pub(super) struct StripeData {
    pub shares: Shares,
    pub watchers: Watchers,
    pub waiters: Waiters,
    pub tracked: TrackedKeys,
}

impl StripeData {
    /// Whether anything here wants to hear of changes.
    #[inline]
    pub fn is_observed(&self) -> bool {
        !self.watchers.is_empty() || !self.waiters.is_empty() || !self.tracked.is_empty()
    }
}

// SAFETY: `data` is only reached through `Held`, which owns the stripe's lock or the whole gate.
unsafe impl Sync for Stripe {}
// SAFETY: entries are owned memory without thread affinity.
unsafe impl Send for StripeData {}

impl Stripe {
    #[inline]
    fn lock(&self) {
        if !self.lock.try_lock() {
            timed(|| self.lock.lock());
        }
    }

    /// False if it is not to be waited for: `give_up` is asked now and then.
    #[inline]
    fn lock_unless(&self, give_up: impl Fn() -> bool) -> bool {
        self.lock.try_lock() || timed(|| self.wait_unless(give_up))
    }

    #[cold]
    fn wait_unless(&self, give_up: impl Fn() -> bool) -> bool {
        while !give_up() {
            if self.lock.try_lock_for(LOOK_INTERVAL) {
                return true;
            }
        }
        false
    }
}

impl Keyspace {
    /// `stripes` is rounded up to a power of two. `threads`: how many threads run units.
    pub fn new(databases: usize, stripes: usize, threads: usize, now: i64) -> Self {
        let stripe = |_| {
            CachePadded::new(Stripe {
                lock: StripeLock::INIT,
                next_due: AtomicI64::new(i64::MAX),
                shared: Published::default(),
                data: UnsafeCell::default(),
            })
        };
        let stripes = stripes.clamp(1, STRIPES_MAX).next_power_of_two();
        Self {
            stripes: (0..stripes).map(stripe).collect(),
            other_shared: OtherShared::new(2 * databases, stripes),
            hasher: keyed_hasher(),
            databases,
            gate: Gate::new(threads),
            pools: (0..threads.max(1) + LONG_THREADS).map(|_| CachePadded::default()).collect(),
            due_groups: (0..stripes.div_ceil(DUE_GROUP)).map(|_| AtomicI64::new(i64::MAX)).collect(),
            alarm: Alarm::default(),
            databases_used: AtomicUsize::new(1),
            graveyard: Graveyard::default(),
            parity: AtomicBool::new(false),
            captures: Captures::default(),
            tracked: Tracked::default(),
            numbers: Numbers::new(2 * databases),
            settings: Settings::default(),
            timed_fields: AtomicBool::new(false),
            timed_marks: AtomicU64::new(0),
            awaited_keys: AtomicUsize::new(0),
            awaited_ends: AtomicUsize::new(0),
            expiry_lag_ms: AtomicI64::new(0),
            mean_ttl_ms: (0..databases).map(|_| AtomicI64::new(0)).collect(),
            epoch: now,
        }
    }

    /// How many clients may select; as many more stand [aside](Self::aside).
    pub fn databases(&self) -> usize {
        self.databases
    }

    /// Databases from this number on never held anything.
    pub(super) fn databases_used(&self) -> usize {
        self.databases_used.load(Relaxed)
    }

    pub fn has_timed_fields(&self) -> bool {
        self.timed_fields.load(Relaxed)
    }

    pub fn stripes(&self) -> usize {
        self.stripes.len()
    }

    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(Bytes(key))
    }

    /// The key's stripe and hash.
    #[inline]
    pub fn place(&self, key: &[u8]) -> Place {
        let hash = self.hash(key);
        let stripe_hash = if checksum::may_have_tag(key) { self.hash(checksum::hash_tag(key)) } else { hash };
        Place { stripe: ((stripe_hash >> 32) as usize & (self.stripes.len() - 1)) as u32, hash }
    }

    #[inline]
    pub(super) fn stripe(&self, index: usize) -> &Stripe {
        &self.stripes[index]
    }

    /// What may be known of a stripe's share of a database without its lock; `None` of a database that was never used.
    #[inline]
    pub(super) fn shared(&self, stripe: usize, db: usize) -> Option<&Published> {
        if db == 0 { Some(&self.stripes[stripe].shared) } else { self.other_shared.get(stripe, db) }
    }

    /// The same, made if it is not there yet.
    #[inline]
    pub(super) fn obtain_shared(&self, stripe: usize, db: usize) -> &Published {
        if db == 0 { &self.stripes[stripe].shared } else { self.other_shared.obtain(stripe, db) }
    }

    /// Keys in a stripe's share of a database.
    pub(super) fn keys_in(&self, stripe: usize, db: usize) -> usize {
        self.shared(stripe, db).map_or(0, |shared| shared.len.load(Relaxed))
    }

    /// Asks for the cache lines of a key's stripe header: first of the three steps of overlapping memory misses.
    #[inline]
    pub fn prefetch_stripe(&self, place: Place) {
        crate::table::prefetch((&raw const *self.stripes[place.stripe as usize]).cast());
    }

    #[inline]
    pub fn prefetch_bucket(&self, db: usize, place: Place) {
        if let Some(shared) = self.shared(place.stripe as usize, db) {
            shared.probe.prefetch_bucket(place.hash);
        }
    }

    #[inline]
    pub fn prefetch_entry(&self, db: usize, place: Place) {
        if let Some(shared) = self.shared(place.stripe as usize, db) {
            shared.probe.prefetch_words(place.hash, |word| {
                Entry::prefetch(word);
            });
        }
    }

    /// Asks for the beginning of the collection under a key, the fourth step. To know where it lies the entry is read,
    /// under its stripe's lock; a stripe that is locked is left alone.
    #[inline]
    pub fn prefetch_value(&self, db: usize, place: Place) {
        if !self.stripes[place.stripe as usize].lock.try_lock() {
            return;
        }
        let mut held = Held::of(self, Mode::One(place.stripe));
        if let Some(share) = held.data(place.stripe as usize).shares.get(db) {
            share.table.prefetch_words(place.hash, |word| {
                // SAFETY: words in a keyspace table are live entries, and their stripe is held.
                let entry = std::num::NonZeroU64::new(word).map(|word| unsafe { Entry::from_word(word) });
                entry.into_iter().for_each(Entry::prefetch_value);
            });
        }
    }

    /// Keys in a database, and how many of them have an expiry. A sum over the stripes, each read at its own moment.
    pub fn counts(&self, db: usize) -> (usize, usize) {
        if db >= self.databases_used.load(Relaxed) {
            return (0, 0);
        }
        (0..self.stripes()).filter_map(|stripe| self.shared(stripe, db)).fold((0, 0), |(keys, volatile), share| {
            (keys + share.len.load(Relaxed), volatile + share.volatile.load(Relaxed))
        })
    }

    /// Keys in all databases, as [`Self::counts`] has them.
    pub fn keys(&self) -> usize {
        (0..self.databases).map(|db| self.counts(db).0).sum()
    }

    /// Bytes of index over all stripes and databases; locks each stripe briefly, and leaves out one that is held for long.
    pub fn index_bytes(&self) -> usize {
        (0..self.stripes())
            .map(|i| {
                let Some(mut held) = self.lock_one_soon(i) else { return 0 };
                held.data(i).shares.values().map(|p| p.table.heap_bytes()).sum::<usize>()
            })
            .sum()
    }

    #[inline]
    pub fn lock_one(&self, stripe: usize) -> Held<'_> {
        self.stripes[stripe].lock();
        Held::of(self, Mode::One(stripe as u32))
    }

    /// One stripe, if it is free before long: for who can do without.
    pub(super) fn lock_one_soon(&self, stripe: usize) -> Option<Held<'_>> {
        let lock = &self.stripes[stripe].lock;
        let locked = lock.try_lock() || timed(|| lock.try_lock_for(LOOK_INTERVAL));
        locked.then(|| Held::of(self, Mode::One(stripe as u32)))
    }

    /// One stripe, unless a long script has it: `is_held_long` says so.
    #[inline]
    pub fn lock_one_unless(&self, stripe: usize, is_held_long: impl Fn(usize) -> bool) -> Option<Held<'_>> {
        let locked = self.stripes[stripe].lock_unless(|| is_held_long(stripe));
        locked.then(|| Held::of(self, Mode::One(stripe as u32)))
    }

    /// Locks stripes as [`Self::lock`] does, unless a long script has one of them; then none is held.
    pub fn lock_unless(
        &self,
        stripes: impl Iterator<Item = u32>,
        is_held_long: impl Fn(usize) -> bool,
    ) -> Option<Held<'_>> {
        let mut stripes = stripes.peekable();
        let Some(first) = stripes.next() else { return Some(self.lock_none()) };
        if stripes.peek().is_none() {
            return self.lock_one_unless(first as usize, is_held_long);
        }
        let (mut wanted, mut locked) = (self.no_stripes(), self.no_stripes());
        std::iter::once(first).chain(stripes).for_each(|stripe| wanted[stripe as usize / 64] |= 1 << (stripe % 64));
        let mut all = true;
        each_bit(&wanted, |stripe| {
            all = all && self.stripes[stripe].lock_unless(|| is_held_long(stripe));
            if all {
                locked[stripe / 64] |= 1 << (stripe % 64);
            }
        });
        let held = Held::of(self, Mode::Many(locked));
        all.then_some(held)
    }

    fn no_stripes(&self) -> Box<[u64]> {
        vec![0u64; self.stripes.len().div_ceil(64)].into_boxed_slice()
    }

    /// Takes over locks that another thread let go of ([`Held::loosen`]).
    pub fn adopt(&self, loose: Loose) -> Held<'_> {
        Held::of(self, loose.0)
    }

    /// Locks stripes, in their order whatever order they come in, each once.
    pub fn lock(&self, stripes: impl Iterator<Item = u32>) -> Held<'_> {
        let mut stripes = stripes.peekable();
        let Some(first) = stripes.next() else { return self.lock_none() };
        if stripes.peek().is_none() {
            return self.lock_one(first as usize);
        }
        let mut set = self.no_stripes();
        std::iter::once(first).chain(stripes).for_each(|stripe| set[stripe as usize / 64] |= 1 << (stripe % 64));
        each_bit(&set, |stripe| self.stripes[stripe].lock());
        Held::of(self, Mode::Many(set))
    }

    /// Locks every stripe, in order, and then lets go those that hold no key of a database. The caller holds none.
    pub(super) fn lock_each(&self, db: usize) -> impl Iterator<Item = (usize, Held<'_>)> {
        let mut all: Vec<(usize, Held<'_>)> =
            (0..self.stripes()).map(|stripe| (stripe, self.lock_one(stripe))).collect();
        all.retain(|(stripe, _)| self.keys_in(*stripe, db) > 0);
        all.into_iter()
    }

    /// No key at all; single stripes may be visited one by one.
    #[inline]
    pub fn lock_none(&self) -> Held<'_> {
        Held::of(self, Mode::Many(Box::default()))
    }

    /// Everything. The caller owns the gate exclusively; the guard proves it.
    pub fn own_world<'a>(&'a self, _gate: &'a Exclusive<'_>) -> Held<'a> {
        Held::of(self, Mode::World)
    }
}

/// ahash over plain bytes, without the length suffix that `[u8]: Hash` adds for composite keys.
struct Bytes<'a>(&'a [u8]);

impl std::hash::Hash for Bytes<'_> {
    #[inline]
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(self.0);
    }
}

/// Locks held by a unit, released on drop.
pub struct Held<'k> {
    keyspace: &'k Keyspace,
    mode: Mode,
    /// What stands for the stripes that the unit does not hold, if it asked for one.
    stray: Option<Box<Stray>>,
}

/// An empty place for keys that a command touches and its row does not declare: a fault of ours, which must neither read
/// nor change what others own, nor end the server. What is written here is gone with the command, which fails.
#[derive(Default)]
struct Stray(StripeData);

impl Drop for Stray {
    fn drop(&mut self) {
        self.0.free_entries();
    }
}

/// A unit's locks on their way to another thread; they stay locked until it adopts and drops them.
#[must_use]
pub struct Loose(Mode);

enum Mode {
    One(u32),
    /// A bit for each stripe of the keyspace, so that a unit of hundreds of keys asks as quickly as one of two; empty for
    /// none.
    Many(Box<[u64]>),
    World,
}

/// The bits that are set, in their order.
#[inline]
fn each_bit(set: &[u64], mut visit: impl FnMut(usize)) {
    for (word, &bits) in set.iter().enumerate() {
        let mut left = bits;
        while left != 0 {
            visit(word * 64 + left.trailing_zeros() as usize);
            left &= left - 1;
        }
    }
}

impl<'k> Held<'k> {
    #[inline]
    fn of(keyspace: &'k Keyspace, mode: Mode) -> Self {
        Self { keyspace, mode, stray: None }
    }

    pub fn keyspace(&self) -> &'k Keyspace {
        self.keyspace
    }

    pub fn is_world(&self) -> bool {
        matches!(self.mode, Mode::World)
    }

    #[inline]
    pub(super) fn holds(&self, stripe: usize) -> bool {
        match &self.mode {
            Mode::One(i) => *i as usize == stripe,
            Mode::Many(set) => set.get(stripe / 64).is_some_and(|bits| bits >> (stripe % 64) & 1 == 1),
            Mode::World => true,
        }
    }

    /// The locks, to be taken over by another thread.
    pub fn loosen(mut self) -> Loose {
        Loose(std::mem::replace(&mut self.mode, Mode::Many(Box::default())))
    }

    /// Holds one more stripe if it is free. False if another has it; nothing is waited for.
    pub(super) fn try_add(&mut self, stripe: usize) -> bool {
        if self.holds(stripe) {
            return true;
        }
        if !self.keyspace.stripes[stripe].lock.try_lock() {
            return false;
        }
        let mut set = match std::mem::replace(&mut self.mode, Mode::World) {
            Mode::One(one) => {
                let mut set = self.keyspace.no_stripes();
                set[one as usize / 64] |= 1 << (one % 64);
                set
            }
            Mode::Many(set) if set.is_empty() => self.keyspace.no_stripes(),
            Mode::Many(set) => set,
            Mode::World => unreachable!("the world holds every stripe"),
        };
        set[stripe / 64] |= 1 << (stripe % 64);
        self.mode = Mode::Many(set);
        true
    }

    /// A held stripe's data; of one that is not held an empty stand-in ([`Held::take_stray`]).
    #[inline]
    pub(super) fn data(&mut self, stripe: usize) -> &mut StripeData {
        if !self.holds(stripe) {
            return self.stray();
        }
        // SAFETY: we hold the stripe's lock or the whole gate, and `&mut self` makes this the only reference.
        unsafe { &mut *self.keyspace.stripes[stripe].data.get() }
    }

    #[inline]
    pub(super) fn share(&mut self, stripe: usize, db: usize) -> &mut Share {
        if db > 0 && db >= self.keyspace.databases_used.load(Relaxed) {
            self.keyspace.databases_used.fetch_max(db + 1, Relaxed);
        }
        self.data(stripe).shares.obtain(db)
    }

    /// The share of a database, if there is one: reading makes none.
    #[inline]
    pub(super) fn share_there(&mut self, stripe: usize, db: usize) -> Option<&Share> {
        self.data(stripe).shares.get(db)
    }

    #[cold]
    fn stray(&mut self) -> &mut StripeData {
        &mut self.stray.get_or_insert_default().0
    }

    /// Whether a stripe was asked for that is not held, since this was last asked; what was put there is forgotten.
    #[inline]
    pub fn take_stray(&mut self) -> bool {
        self.stray.is_some() && self.stray.take().is_some()
    }

    /// Runs `visit` with one stripe, locked for just that long unless the unit holds it anyway. A unit that holds only
    /// part of the keyspace sees nothing of other stripes: the order of locking would break.
    pub(super) fn visit<R>(&mut self, stripe: usize, visit: impl FnOnce(&mut Held<'k>) -> R) -> R {
        let holds_none = matches!(&self.mode, Mode::Many(set) if set.is_empty());
        if holds_none { visit(&mut self.keyspace.lock_one(stripe)) } else { visit(self) }
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        let unlock = |i: usize| {
            // SAFETY: locked by the constructor of this very guard.
            unsafe { self.keyspace.stripes[i].lock.unlock() }
        };
        match &self.mode {
            Mode::One(i) => unlock(*i as usize),
            Mode::Many(set) => each_bit(set, unlock),
            Mode::World => {}
        }
    }
}

/// Who runs units, and who wants them all to stop. `L` is the kind of its locks, which model tests choose.
pub struct Gate<L: Lock = StripeLock> {
    /// The last [`LONG_THREADS`] are for long scripts.
    locks: Box<[CachePadded<LockOf<L, ()>>]>,
}

/// What a thread's lock can do.
pub trait Lock: RawMutex + Timed<Duration = Duration> {}

impl<L: RawMutex + Timed<Duration = Duration>> Lock for L {}

/// A thread's share of the gate, held while it runs units.
pub struct Inside<'g, L: Lock = StripeLock> {
    _lock: MutexGuard<'g, L, ()>,
}

/// The whole gate: no unit runs anywhere else.
pub struct Exclusive<'g, L: Lock = StripeLock> {
    guards: Vec<MutexGuard<'g, L, ()>>,
}

impl<L: Lock> Exclusive<'_, L> {
    /// The gate stays closed until another thread takes it over ([`Gate::adopt`]).
    pub fn loosen(self) {
        self.guards.into_iter().for_each(|guard| _ = MutexGuard::leak(guard));
    }
}

impl<L: Lock> Gate<L> {
    pub(crate) fn new(threads: usize) -> Self {
        Self { locks: (0..threads.max(1) + LONG_THREADS).map(|_| CachePadded::new(LockOf::default())).collect() }
    }

    /// The number of a long script's thread.
    pub fn long_thread(&self, number: usize) -> usize {
        self.locks.len() - LONG_THREADS + number
    }

    /// Enters with the thread's own lock. Threads that share a number exclude each other.
    #[inline]
    pub fn enter(&self, thread: usize) -> Inside<'_, L> {
        Inside { _lock: lock_timed(&self.locks[thread]) }
    }

    /// The same, unless the wait is not worth it: `give_up` is asked now and then.
    #[inline]
    pub fn enter_unless(&self, thread: usize, give_up: impl Fn() -> bool) -> Option<Inside<'_, L>> {
        let lock = &self.locks[thread];
        let guard = lock.try_lock().or_else(|| timed(|| wait_unless(lock, give_up)));
        guard.map(|guard| Inside { _lock: guard })
    }

    /// Waits for every batch in progress and keeps new ones out. The caller must be outside.
    pub fn exclusive(&self) -> Exclusive<'_, L> {
        loop {
            if let Some(exclusive) = self.exclusive_unless(|| false) {
                return exclusive;
            }
        }
    }

    /// The same, unless the wait is not worth it: `give_up` is asked now and then. While a long script is inside no other
    /// lock is taken, and one that wants to leave its worker finds its lock free.
    pub fn exclusive_unless(&self, give_up: impl Fn() -> bool) -> Option<Exclusive<'_, L>> {
        timed(|| {
            let long = self.locks.len() - LONG_THREADS;
            loop {
                for lock in &self.locks[long..] {
                    drop(wait_unless(lock, &give_up)?);
                }
                let guards: Vec<_> =
                    self.locks.iter().map_while(|lock| lock.try_lock_for(EXCLUSIVE_PATIENCE)).collect();
                if guards.len() == self.locks.len() {
                    return Some(Exclusive { guards });
                }
                drop(guards);
                if give_up() {
                    return None;
                }
            }
        })
    }

    /// Takes over the gate that another thread closed and let go of ([`Exclusive::loosen`]).
    ///
    /// # Safety
    /// Exactly one thread does, for each time it was let go of.
    pub unsafe fn adopt(&self) -> Exclusive<'_, L> {
        // SAFETY: all threads' locks are held, and no guard of them is left.
        Exclusive { guards: self.locks.iter().map(|lock| unsafe { lock.make_guard_unchecked() }).collect() }
    }

    /// Whether each other thread was seen outside, after this call began: what only those inside before it know is theirs no
    /// longer.
    pub fn is_free_but_for(&self, thread: usize) -> bool {
        self.locks.iter().enumerate().all(|(number, lock)| number == thread || lock.try_lock().is_some())
    }

    /// Returns after every thread inside at the time of the call has left. The caller must be outside.
    pub fn grace(&self) {
        for lock in &self.locks {
            drop(lock.lock());
        }
    }
}

fn wait_unless<L: Lock>(lock: &LockOf<L, ()>, give_up: impl Fn() -> bool) -> Option<MutexGuard<'_, L, ()>> {
    loop {
        if let Some(guard) = lock.try_lock_for(LOOK_INTERVAL) {
            return Some(guard);
        }
        if give_up() {
            return None;
        }
    }
}

#[inline]
fn lock_timed<L: Lock>(lock: &LockOf<L, ()>) -> MutexGuard<'_, L, ()> {
    lock.try_lock().unwrap_or_else(|| timed(|| lock.lock()))
}

/// Ticks this thread has waited for stripes and the gate, ever. Only who waits reads the clock.
pub fn waited_ticks() -> u64 {
    WAITED_TICKS.get()
}

#[cold]
fn timed<R>(wait: impl FnOnce() -> R) -> R {
    let started = clock::ticks();
    let locked = wait();
    WAITED_TICKS.set(WAITED_TICKS.get().wrapping_add(clock::ticks().wrapping_sub(started)));
    locked
}

thread_local! {
    static WAITED_TICKS: Cell<u64> = const { Cell::new(0) };
}

impl StripeData {
    /// Frees what the tables own, at their end.
    fn free_entries(&mut self) {
        for share in self.shares.values() {
            // SAFETY: words in a keyspace table are entries, owned by it.
            share.table.for_each(|word| unsafe { Entry::from_word(word) }.free());
        }
    }
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        self.stripes.iter_mut().for_each(|stripe| stripe.data.get_mut().free_entries());
    }
}

/// Stripes per group in the expiry summary.
pub(super) const DUE_GROUP: usize = 32;
/// Cursors and indexes leave 16 bits for the stripe.
const STRIPES_MAX: usize = 1 << 16;
/// Long scripts that have threads of their own at a time; further ones stay on their workers.
pub const LONG_THREADS: usize = 16;
/// A thread that waits for a lock looks this often whether a long script has it.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
/// Batches take less; a thread without its stripes by then lets go of those it has, and begins again.
const EXCLUSIVE_PATIENCE: Duration = Duration::from_millis(20);

/// A lock at which shuttle may let another thread go on: for model tests.
#[cfg(test)]
pub struct ModelLock(shuttle::sync::atomic::AtomicBool);

#[cfg(test)]
// SAFETY: the thread that turns the flag on holds the lock, and turns it off again.
unsafe impl RawMutex for ModelLock {
    #[allow(clippy::declare_interior_mutable_const)] // The trait asks for it.
    const INIT: Self = Self(shuttle::sync::atomic::AtomicBool::new(false));
    type GuardMarker = parking_lot::lock_api::GuardSend;

    fn lock(&self) {
        while !self.try_lock() {
            shuttle::thread::yield_now();
        }
    }

    fn try_lock(&self) -> bool {
        !self.0.swap(true, std::sync::atomic::Ordering::SeqCst)
    }

    /// # Safety
    /// The caller holds the lock.
    unsafe fn unlock(&self) {
        self.0.store(false, std::sync::atomic::Ordering::SeqCst);
    }
}

#[cfg(test)]
// SAFETY: a lock that was got in time is got as any other.
unsafe impl Timed for ModelLock {
    type Duration = Duration;
    type Instant = std::time::Instant;

    fn try_lock_for(&self, _: Duration) -> bool {
        (0..3).any(|_| {
            shuttle::thread::yield_now();
            self.try_lock()
        })
    }

    fn try_lock_until(&self, _: std::time::Instant) -> bool {
        self.try_lock_for(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn model_nobody_is_inside_while_somebody_owns_the_world() {
        shuttle::check_random(
            || {
                let (gate, owned) = (Arc::new(Gate::<ModelLock>::new(2)), Arc::new(AtomicUsize::new(0)));
                let owners = (0..2).map(|_| {
                    let (gate, owned) = (gate.clone(), owned.clone());
                    shuttle::thread::spawn(move || {
                        let _world = gate.exclusive();
                        assert_eq!(owned.fetch_add(1, Relaxed), 0, "one owner");
                        shuttle::thread::yield_now();
                        owned.fetch_sub(1, Relaxed);
                    })
                });
                let inside = (0..2).map(|thread| {
                    let (gate, owned) = (gate.clone(), owned.clone());
                    shuttle::thread::spawn(move || {
                        for _ in 0..2 {
                            let _inside = gate.enter(thread);
                            shuttle::thread::yield_now();
                            assert_eq!(owned.load(Relaxed), 0, "inside while the world is owned");
                        }
                    })
                });
                let threads: Vec<_> = owners.chain(inside).collect();
                threads.into_iter().for_each(|thread| thread.join().unwrap());
            },
            MODEL_RUNS,
        );
    }

    #[test]
    fn model_what_a_reader_saw_lives_until_it_leaves() {
        shuttle::check_random(
            || {
                let gate = Arc::new(Gate::<ModelLock>::new(2));
                let (present, freed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
                let readers: Vec<_> = (0..2)
                    .map(|thread| {
                        let (gate, present, freed) = (gate.clone(), present.clone(), freed.clone());
                        shuttle::thread::spawn(move || {
                            let _inside = gate.enter(thread);
                            let seen = present.load(Relaxed);
                            shuttle::thread::yield_now();
                            assert!(seen >= freed.load(Relaxed), "read after it was freed");
                        })
                    })
                    .collect();
                for next in 1..3 {
                    present.store(next, Relaxed);
                    gate.grace();
                    freed.store(next, Relaxed);
                }
                readers.into_iter().for_each(|reader| reader.join().unwrap());
            },
            MODEL_RUNS,
        );
    }

    const MODEL_RUNS: usize = 2000;
}
