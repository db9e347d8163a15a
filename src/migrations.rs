//! MIGRATE's keys on their way to another server: what its two halves, here and in the service, share.
//!
//! The command lists its keys and waits; the service (`migrator`) sends their values to the target; then the command runs
//! again and removes what the target has taken. Redis blocks for as long as that takes, so that nothing comes in between.
//! Here only writes that name a listed key are held back (a deferral of the gates). What writes without passing the gates
//! (expiry, eviction, FLUSHALL, a script's undeclared keys) is noticed by a watch on each key, as WATCH does it: such a key
//! is not removed, and the client hears so.
//! Cost: where nothing migrates, a batch asks one flag.

use crate::clock::Millis;
use crate::keyspace::waiting::Waiter;
use crate::keyspace::watch::Dirty;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use tokio::sync::Notify;

#[derive(Default)]
pub struct Migrations {
    under_way: Mutex<BTreeMap<u64, Migration>>,
    any: AtomicBool,
    asked: Mutex<VecDeque<Arc<Waiter>>>,
    /// Wakes the service when a command waits for it.
    pub changed: Notify,
    /// Connections kept for the next migration to the same target: `migrate_cached_sockets`.
    pub cached: AtomicUsize,
}

/// One command's keys, of one database.
pub struct Migration {
    pub db: usize,
    pub keys: Vec<Moving>,
    /// Their names, to be found by.
    names: BTreeSet<Box<[u8]>>,
    /// What the service says at its end.
    pub result: Result<(), String>,
}

/// A key on its way.
pub struct Moving {
    pub key: Box<[u8]>,
    pub expiry: Option<Millis>,
    /// Set once it has changed.
    pub dirty: Dirty,
    /// The target has it.
    pub taken: bool,
}

impl Migration {
    pub fn new(db: usize, keys: Vec<Moving>) -> Self {
        let names = keys.iter().map(|moving| moving.key.clone()).collect();
        Self { db, keys, names, result: Ok(()) }
    }
}

impl Migrations {
    /// Whether any key is on its way.
    #[inline]
    pub fn any(&self) -> bool {
        self.any.load(Relaxed)
    }

    /// Whether this key is.
    pub fn holds(&self, db: usize, key: &[u8]) -> bool {
        let under_way = self.under_way.lock();
        under_way.values().any(|migration| migration.db == db && migration.names.contains(key))
    }

    /// A client's keys are on their way from now on. The caller owns the world: no batch goes on that has not asked the
    /// gates since.
    pub fn begin(&self, client: u64, migration: Migration) {
        self.under_way.lock().insert(client, migration);
        self.any.store(true, Relaxed);
    }

    /// The command waits for the service.
    pub fn ask(&self, waiter: Arc<Waiter>) {
        self.asked.lock().push_back(waiter);
        self.changed.notify_one();
    }

    /// The next command that waits for the service.
    pub fn take_asked(&self) -> Option<Arc<Waiter>> {
        self.asked.lock().pop_front()
    }

    /// A client's keys, in order; none if it has no migration under way.
    pub fn keys(&self, client: u64) -> Vec<Box<[u8]>> {
        let under_way = self.under_way.lock();
        under_way.get(&client).map_or_else(Vec::new, |migration| migration.keys.iter().map(|m| m.key.clone()).collect())
    }

    /// The target has the client's key of this number.
    pub fn taken(&self, client: u64, number: usize) {
        if let Some(moving) = self.under_way.lock().get_mut(&client).and_then(|m| m.keys.get_mut(number)) {
            moving.taken = true;
        }
    }

    /// How the sending ended; an error is the client's reply.
    pub fn sent(&self, client: u64, result: Result<(), String>) {
        if let Some(migration) = self.under_way.lock().get_mut(&client) {
            migration.result = result;
        }
    }

    /// Takes a client's migration off the list. Under the locks of its keys.
    pub fn end(&self, client: u64) -> Option<Migration> {
        let mut under_way = self.under_way.lock();
        let migration = under_way.remove(&client);
        self.any.store(!under_way.is_empty(), Relaxed);
        migration
    }
}
