//! What a writable replica has to expire itself: the keys that its clients gave an expiry, which its primary does not know.
//!
//! By time, each key once. The keyspace is not told to forget: a key that was removed, or written without an expiry, is
//! found out when it is looked at. Where more keys come than are seen to, so that the list doubles, all are looked at.

use crate::clock::Millis;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Number of a database, and a key in it.
pub type OwnKey = (usize, Arc<[u8]>);

/// See the module's page.
#[derive(Default)]
pub struct OwnKeys {
    len: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    times: HashMap<OwnKey, Millis>,
    by_time: BTreeSet<(Millis, OwnKey)>,
    /// How many were left when all had been looked at last, if there were not fewer since.
    kept: usize,
}

impl OwnKeys {
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    /// A key is to be looked at when it may be due; an earlier time that is known already stays.
    pub fn remember(&self, db: usize, key: &[u8], at: Millis) {
        let (mut inner, key) = (self.inner.lock(), (db, Arc::from(key)));
        match inner.times.get(&key).copied() {
            Some(was) if was <= at => return,
            Some(was) => _ = inner.by_time.remove(&(was, key.clone())),
            None => {}
        }
        inner.times.insert(key.clone(), at);
        inner.by_time.insert((at, key));
        self.len.store(inner.times.len(), Relaxed);
    }

    /// Takes one whose time has come.
    pub fn take_due(&self, now: Millis) -> Option<OwnKey> {
        let mut inner = self.inner.lock();
        inner.by_time.first().filter(|(at, _)| *at <= now)?;
        let (_, key) = inner.by_time.pop_first()?;
        inner.times.remove(&key);
        self.len.store(inner.times.len(), Relaxed);
        Some(key)
    }

    /// Takes all if many may be out of date; who still has an expiry is to be remembered again.
    pub fn take_bloated(&self) -> Vec<OwnKey> {
        let mut inner = self.inner.lock();
        if inner.times.len() <= 2 * inner.kept + BLOATED_MIN {
            // Behind a look, fewer are left.
            inner.kept = inner.kept.min(inner.times.len());
            return Vec::new();
        }
        inner.by_time.clear();
        let all: Vec<_> = inner.times.drain().map(|(key, _)| key).collect();
        inner.kept = all.len();
        self.len.store(0, Relaxed);
        all
    }

    pub fn clear(&self) {
        *self.inner.lock() = Inner::default();
        self.len.store(0, Relaxed);
    }
}

/// Fewer are not worth a look at all.
const BLOATED_MIN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn due(keys: &OwnKeys, now: Millis) -> Vec<(usize, Vec<u8>)> {
        std::iter::from_fn(|| keys.take_due(now)).map(|(db, key)| (db, key.to_vec())).collect()
    }

    #[test]
    fn each_key_comes_once_at_the_earliest_time_it_was_given() {
        let keys = OwnKeys::default();
        [(0, "a", 30), (0, "a", 10), (0, "a", 20), (5, "a", 15), (0, "b", 40)]
            .into_iter()
            .for_each(|(db, key, at)| keys.remember(db, key.as_bytes(), at));
        assert_eq!(keys.len(), 3);
        assert_eq!(due(&keys, 9), []);
        assert_eq!(due(&keys, 15), [(0, b"a".to_vec()), (5, b"a".to_vec())]);
        assert_eq!((due(&keys, 100), keys.is_empty()), (vec![(0, b"b".to_vec())], true));
    }

    #[test]
    fn a_list_of_keys_that_are_gone_does_not_grow_for_ever() {
        let keys = OwnKeys::default();
        let mut most = 0;
        for i in 0..100_000 {
            keys.remember(0, format!("{i}").as_bytes(), i64::MAX);
            // One in a hundred is still there.
            let there = keys.take_bloated().into_iter().filter(|(_, key)| key.ends_with(b"00"));
            there.for_each(|(db, key)| keys.remember(db, &key, i64::MAX));
            most = most.max(keys.len());
        }
        assert!((1_000..6 * BLOATED_MIN).contains(&most), "{most}");
        assert!(
            (100..100_000).step_by(100).all(|i| keys
                .inner
                .lock()
                .times
                .contains_key(&(0, Arc::from(format!("{i}").as_bytes()))))
        );
    }
}
