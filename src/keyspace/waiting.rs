//! Commands that wait for a key: their order, and which keys became ready.
//!
//! A [`Waiter`] is a parked command, listed under each of its keys in their stripes. A unit that changes a key that is
//! waited for notes it in the unit's side effects; when the unit is over, its thread runs the waiters' commands again,
//! first come first served (`command::waiting`).
//!
//! A waiter belongs to the thread that claimed it, until that thread releases or serves it; its own connection ends the
//! wait by time, by CLIENT UNBLOCK or because the peer left, unless it is claimed. A thread that finds a waiter claimed
//! leaves a mark: the key it came for may have become ready after the claimant looked at it, so the claimant, when it
//! releases a marked waiter, looks at all keys of the waiter again ([`Claims`], with a model test).
//! Cost: a change looks at one empty list where nothing waits; a thousand waiters on other keys cost nothing.

use super::db::Db;
use crate::acl::User;
use crate::clients::Client;
use crate::resp::{Argv, Proto};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed};

/// A command that found nothing, as it has to be run again.
pub struct Waiter {
    pub client: Arc<Client>,
    /// The command's row.
    pub row: usize,
    pub argv: Argv,
    pub db: usize,
    pub proto: Proto,
    pub no_touch: bool,
    /// Whose rights it runs with.
    pub user: Arc<User>,
    /// Runs again also when its key is gone or became another type: it then has an error to answer.
    pub hears_end: bool,
    /// The keys it waits for, each once; none if it waits for something else.
    pub keys: Vec<Box<[u8]>>,
    /// When to be run again without a change of its keys; the greatest for never.
    pub look_at: AtomicI64,
    /// Its place in every queue: numbers rise in the order of arrival.
    number: u64,
    pub claims: Claims,
}

impl Waiter {
    /// A command about to be parked, `keys` in any order.
    pub fn new(client: Arc<Client>, row: usize, argv: Argv, db: usize, proto: Proto, mut keys: Vec<Box<[u8]>>) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        keys.sort_unstable();
        keys.dedup();
        let number = NUMBERS.fetch_add(1, AcqRel);
        let (no_touch, user, hears_end, claims) = (false, User::of_server(), false, Claims::default());
        let look_at = AtomicI64::new(i64::MAX);
        Self { client, row, argv, db, proto, no_touch, user, hears_end, keys, look_at, number, claims }
    }
}

/// A byte that changes by compare and exchange; model tests bring their own.
pub trait Cell {
    fn exchange(&self, from: u8, to: u8) -> bool;
}

impl Cell for AtomicU8 {
    fn exchange(&self, from: u8, to: u8) -> bool {
        self.compare_exchange(from, to, AcqRel, Acquire).is_ok()
    }
}

/// Which thread may answer a waiter: claimed for an attempt to serve it, released, served, or given up.
pub struct Claims<C: Cell = AtomicU8>(C);

impl Default for Claims {
    fn default() -> Self {
        Self(AtomicU8::new(WAITING))
    }
}

impl<C: Cell> Claims<C> {
    /// Takes the waiter for an attempt to serve it. False if another thread has it, which is told to look again, or if
    /// the wait is over.
    pub fn claim(&self) -> bool {
        loop {
            if self.0.exchange(WAITING, CLAIMED) {
                return true;
            }
            if self.0.exchange(CLAIMED, MARKED) || self.0.exchange(MARKED, MARKED) || self.0.exchange(OVER, OVER) {
                return false;
            }
        }
    }

    /// The claimant found nothing, and the waiter waits on. True if the claimant must look at its keys again: another
    /// thread came for one of them meanwhile.
    #[must_use]
    pub fn release(&self) -> bool {
        if self.0.exchange(CLAIMED, WAITING) {
            return false;
        }
        self.0.exchange(MARKED, WAITING)
    }

    /// The claimant has the reply: the wait is over.
    pub fn served(&self) {
        let ended = self.0.exchange(CLAIMED, OVER) || self.0.exchange(MARKED, OVER);
        debug_assert!(ended, "only the claimant serves");
    }

    /// Whether the wait has ended.
    pub fn is_over(&self) -> bool {
        self.0.exchange(OVER, OVER)
    }

    /// The waiter's own connection ends the wait. False if it is claimed, or was served.
    pub fn give_up(&self) -> bool {
        self.0.exchange(WAITING, OVER)
    }
}

/// A stripe's waiters, by database and key.
#[derive(Default)]
pub(super) struct Waiters(BTreeMap<Awaited, Queue>);

/// Those who wait for one key, first come first.
#[derive(Default)]
struct Queue {
    waiters: VecDeque<Arc<Waiter>>,
    /// How many of them hear of its end.
    hear_end: usize,
}

/// A database and a key.
type Awaited = (usize, Box<[u8]>);

impl Waiters {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this key is waited for.
    #[cold]
    pub fn has(&self, db: usize, key: &[u8]) -> bool {
        self.0.contains_key(&(db, Box::from(key)))
    }

    /// All keys of a database that are waited for.
    pub fn keys(&self, db: usize) -> impl Iterator<Item = &[u8]> {
        self.0.keys().filter(move |(d, _)| *d == db).map(|(_, key)| &**key)
    }

    /// By how much it changes how many keys are waited for, and of how many the end is.
    fn add(&mut self, key: &[u8], waiter: &Arc<Waiter>) -> (usize, usize) {
        let before = self.0.len();
        let queue = self.0.entry((waiter.db, key.into())).or_default();
        // Numbers are given before the locks are taken, so a later one may come first.
        let at = queue.waiters.partition_point(|other| other.number < waiter.number);
        queue.waiters.insert(at, waiter.clone());
        queue.hear_end += usize::from(waiter.hears_end);
        let first = waiter.hears_end && queue.hear_end == 1;
        (self.0.len() - before, usize::from(first))
    }

    /// The same, for fewer.
    fn remove(&mut self, key: &[u8], waiter: &Waiter) -> (usize, usize) {
        let name = (waiter.db, Box::from(key));
        let Some(queue) = self.0.get_mut(&name) else { return (0, 0) };
        let Ok(at) = queue.waiters.binary_search_by_key(&waiter.number, |other| other.number) else { return (0, 0) };
        queue.waiters.remove(at);
        queue.hear_end -= usize::from(waiter.hears_end);
        let (none, last) = (queue.waiters.is_empty(), waiter.hears_end && queue.hear_end == 0);
        if none {
            self.0.remove(&name);
        }
        if self.0.is_empty() {
            self.0 = BTreeMap::new();
        }
        (usize::from(none), usize::from(last))
    }

    fn next(&self, db: usize, key: &[u8], after: Option<u64>) -> Option<Arc<Waiter>> {
        let queue = &self.0.get(&(db, Box::from(key)))?.waiters;
        let at = after.map_or(0, |number| queue.partition_point(|other| other.number <= number));
        queue.get(at).cloned()
    }
}

impl Db<'_> {
    /// Lists a waiter under its keys, whose stripes are held.
    pub fn park(&mut self, waiter: &Arc<Waiter>) {
        for key in &waiter.keys {
            let stripe = self.keyspace().place(key).stripe as usize;
            let (keys, ends) = self.held.data(stripe).waiters.add(key, waiter);
            self.keyspace().awaited_keys.fetch_add(keys, Relaxed);
            self.keyspace().awaited_ends.fetch_add(ends, Relaxed);
        }
    }

    /// Takes a waiter off its keys. Stripes that the unit does not hold are visited one by one.
    pub fn unpark(&mut self, waiter: &Waiter) {
        for key in &waiter.keys {
            let stripe = self.keyspace().place(key).stripe as usize;
            let (keys, ends) = self.held.visit(stripe, |held| held.data(stripe).waiters.remove(key, waiter));
            self.keyspace().awaited_keys.fetch_sub(keys, Relaxed);
            self.keyspace().awaited_ends.fetch_sub(ends, Relaxed);
        }
    }

    /// The waiter that waits longest for a key, of those behind `after`. Visits the key's stripe.
    pub fn next_waiter(&mut self, db: usize, key: &[u8], after: Option<&Waiter>) -> Option<Arc<Waiter>> {
        let stripe = self.keyspace().place(key).stripe as usize;
        self.held.visit(stripe, |held| held.data(stripe).waiters.next(db, key, after.map(|w| w.number)))
    }
}

const WAITING: u8 = 0;
const CLAIMED: u8 = 1;
/// Claimed, and another thread came meanwhile.
const MARKED: u8 = 2;
const OVER: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use shuttle::sync::Mutex;
    use shuttle::sync::atomic::{AtomicBool, AtomicU8 as ModelCell};
    use std::sync::atomic::Ordering::SeqCst;

    impl Cell for ModelCell {
        fn exchange(&self, from: u8, to: u8) -> bool {
            self.compare_exchange(from, to, SeqCst, SeqCst).is_ok()
        }
    }

    /// A waiter of two keys, as `command::waiting` treats it: each key holds elements behind its own lock.
    struct Model {
        claims: Claims<ModelCell>,
        keys: [Mutex<usize>; 2],
        served: AtomicBool,
        gave_up: AtomicBool,
    }

    impl Model {
        fn push_and_serve(&self, key: usize) {
            *self.keys[key].lock().unwrap() += 1;
            self.serve(vec![key]);
        }

        /// The other thread changes a key and takes the change back before it serves.
        fn push_pop_and_serve(&self, key: usize) {
            *self.keys[key].lock().unwrap() += 1;
            let mut elements = self.keys[key].lock().unwrap();
            // Unless the waiter was served with it in between.
            *elements = elements.saturating_sub(1);
            drop(elements);
            self.serve(vec![key]);
        }

        fn serve(&self, mut ready: Vec<usize>) {
            while let Some(key) = ready.pop() {
                if !self.claims.claim() {
                    continue;
                }
                let mut elements = self.keys[key].lock().unwrap();
                if *elements > 0 {
                    *elements -= 1;
                    self.claims.served();
                    assert!(!self.served.swap(true, SeqCst), "served once");
                } else {
                    drop(elements);
                    if self.claims.release() {
                        ready.extend([0, 1]);
                    }
                }
            }
        }
    }

    #[test]
    fn model_no_waiter_sleeps_beside_an_element() {
        shuttle::check_random(
            || {
                let model = Arc::new(Model {
                    claims: Claims(ModelCell::new(WAITING)),
                    keys: [Mutex::new(0), Mutex::new(0)],
                    served: AtomicBool::new(false),
                    gave_up: AtomicBool::new(false),
                });
                let run = |work: fn(&Model)| {
                    let model = model.clone();
                    shuttle::thread::spawn(move || work(&model))
                };
                let threads = [
                    run(|m| m.push_pop_and_serve(0)),
                    run(|m| m.push_and_serve(1)),
                    run(|m| m.push_pop_and_serve(0)),
                    run(|m| m.gave_up.store(m.claims.give_up(), SeqCst)),
                ];
                threads.into_iter().for_each(|thread| thread.join().unwrap());
                let (served, gave_up) = (model.served.load(SeqCst), model.gave_up.load(SeqCst));
                // An element stays under the second key unless the waiter gets it, so it cannot wait for ever.
                assert!(served != gave_up, "exactly one end: served {served}, gave up {gave_up}");
            },
            5_000,
        );
    }
}
