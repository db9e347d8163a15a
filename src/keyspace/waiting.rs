//! Commands that wait for a key: who waits, in which order, and which keys became ready.
//!
//! A [`Waiter`] is a parked command, listed under each of its keys in their stripes. A unit that changes a key somebody
//! waits for notes it in [`super::Changes::ready`]; when the unit is over, its thread runs the waiters' commands again,
//! first come first served (`command::waiting`). A waiter belongs to whoever moved it out of [`WAITING`]: the thread
//! that serves it, or its own connection, which gives up by time, by CLIENT UNBLOCK or because the peer left.
//! Cost: a change looks at one empty list where nobody waits; a thousand waiters on other keys cost nothing.

use super::db::Db;
use crate::resp::{Argv, Proto};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU8, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed, Ordering::Release,
};

/// A command that found nothing, as it has to be run again.
pub struct Waiter {
    pub client: u64,
    /// The command's row.
    pub row: usize,
    pub argv: Argv,
    pub db: usize,
    pub proto: Proto,
    pub no_touch: bool,
    /// The keys it waits for, each once.
    pub keys: Vec<Box<[u8]>>,
    /// Its place in every queue: numbers rise in the order of arrival.
    number: u64,
    state: AtomicU8,
}

impl Waiter {
    /// A command about to be parked, `keys` in any order.
    pub fn new(client: u64, row: usize, argv: Argv, db: usize, proto: Proto, mut keys: Vec<Box<[u8]>>) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        keys.sort_unstable();
        keys.dedup();
        let number = NUMBERS.fetch_add(1, AcqRel);
        Self { client, row, argv, db, proto, no_touch: false, keys, number, state: AtomicU8::new(WAITING) }
    }

    fn step(&self, from: u8, to: u8) -> bool {
        self.state.compare_exchange(from, to, AcqRel, Acquire).is_ok()
    }

    /// Takes it for an attempt to serve it. False if somebody else has it.
    pub fn claim(&self) -> bool {
        self.step(WAITING, SERVING)
    }

    /// The attempt found nothing: it waits on.
    pub fn release(&self) {
        self.state.store(WAITING, Release);
    }

    /// The attempt succeeded; its reply is on its way.
    pub fn served(&self) {
        self.state.store(OVER, Release);
    }

    /// Its own connection ends the wait. False if it is being served, or was.
    pub fn give_up(&self) -> bool {
        self.step(WAITING, OVER)
    }
}

/// A stripe's waiters, by database and key.
#[derive(Default)]
pub(super) struct Waiters(BTreeMap<Awaited, VecDeque<Arc<Waiter>>>);

/// A database and a key.
type Awaited = (usize, Box<[u8]>);

impl Waiters {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Somebody waits for this key.
    #[cold]
    pub fn has(&self, db: usize, key: &[u8]) -> bool {
        self.0.contains_key(&(db, Box::from(key)))
    }

    /// All keys of a database that somebody waits for.
    pub fn keys(&self, db: usize) -> impl Iterator<Item = &[u8]> {
        self.0.keys().filter(move |(d, _)| *d == db).map(|(_, key)| &**key)
    }

    /// Returns how many keys more are waited for: 0 or 1.
    fn add(&mut self, key: &[u8], waiter: &Arc<Waiter>) -> usize {
        let before = self.0.len();
        let queue = self.0.entry((waiter.db, key.into())).or_default();
        // Numbers are given before the locks are taken, so a later one may come first.
        let at = queue.partition_point(|other| other.number < waiter.number);
        queue.insert(at, waiter.clone());
        self.0.len() - before
    }

    /// Returns how many keys fewer are waited for: 0 or 1.
    fn remove(&mut self, key: &[u8], waiter: &Waiter) -> usize {
        let before = self.0.len();
        let name = (waiter.db, Box::from(key));
        let Some(queue) = self.0.get_mut(&name) else { return 0 };
        if let Ok(at) = queue.binary_search_by_key(&waiter.number, |other| other.number) {
            queue.remove(at);
        }
        if queue.is_empty() {
            self.0.remove(&name);
        }
        let removed = before - self.0.len();
        if self.0.is_empty() {
            self.0 = BTreeMap::new();
        }
        removed
    }

    fn next(&self, db: usize, key: &[u8], after: Option<u64>) -> Option<Arc<Waiter>> {
        let queue = self.0.get(&(db, Box::from(key)))?;
        let at = after.map_or(0, |number| queue.partition_point(|other| other.number <= number));
        queue.get(at).cloned()
    }
}

impl Db<'_> {
    /// Lists a waiter under its keys, whose stripes are held.
    pub fn park(&mut self, waiter: &Arc<Waiter>) {
        for key in &waiter.keys {
            let stripe = self.keyspace().place(key).stripe as usize;
            let more = self.held.data(stripe).waiters.add(key, waiter);
            self.keyspace().awaited_keys.fetch_add(more, Relaxed);
        }
    }

    /// Takes a waiter off its keys. Stripes that the unit does not hold are visited one by one.
    pub fn unpark(&mut self, waiter: &Waiter) {
        for key in &waiter.keys {
            let stripe = self.keyspace().place(key).stripe as usize;
            let fewer = self.held.visit(stripe, |held| held.data(stripe).waiters.remove(key, waiter));
            self.keyspace().awaited_keys.fetch_sub(fewer, Relaxed);
        }
    }

    /// Whoever waits longest for a key, behind `after`. Visits the key's stripe.
    pub fn next_waiter(&mut self, db: usize, key: &[u8], after: Option<&Waiter>) -> Option<Arc<Waiter>> {
        let stripe = self.keyspace().place(key).stripe as usize;
        self.held.visit(stripe, |held| held.data(stripe).waiters.next(db, key, after.map(|w| w.number)))
    }
}

const WAITING: u8 = 0;
const SERVING: u8 = 1;
const OVER: u8 = 2;
