//! CLIENT TRACKING: a client that caches what it read, and the way of an invalidation to it.

use super::{Client, Clients, Push};
use crate::acl::User;
use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// A client that tracks, as the tables of keys and prefixes know it. Switched off, it stays in the tables until they meet
/// it again.
pub struct Tracker {
    pub client: Arc<Client>,
    /// The client that gets the invalidations in its place.
    pub redirect: Option<Arc<Client>>,
    no_loop: bool,
    /// Whose rights the broadcasting mode minds.
    user: ArcSwap<User>,
    on: AtomicBool,
    broken: AtomicBool,
}

impl Tracker {
    pub fn new(client: Arc<Client>, user: Arc<User>, redirect: Option<Arc<Client>>, no_loop: bool) -> Arc<Self> {
        let (user, on, broken) = (ArcSwap::new(user), AtomicBool::new(true), AtomicBool::new(false));
        Arc::new(Self { client, redirect, no_loop, user, on, broken })
    }

    /// The client is another user from now on.
    pub fn become_user(&self, user: Arc<User>) {
        self.user.store(user);
    }

    /// The keys among these of whose change it may hear: names that its user may not read stay hidden. `None` for all.
    pub fn may_hear<'k>(&self, keys: &[&'k [u8]]) -> Option<Vec<&'k [u8]>> {
        let user = self.user.load();
        if user.is_unrestricted() {
            return None;
        }
        let rules = user.rules();
        Some(keys.iter().copied().filter(|key| rules.may_read(key)).collect())
    }

    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    pub fn switch_off(&self) {
        self.on.store(false, Relaxed);
    }

    pub fn is_no_loop(&self) -> bool {
        self.no_loop
    }

    /// The client to which invalidations are redirected is gone, as an invalidation found.
    pub fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }

    /// Whether it wants to hear of a change that this client made; 0 for a change that no client made.
    pub fn hears(&self, by: u64) -> bool {
        self.is_on() && !(self.no_loop && by == self.client.id)
    }

    /// Sends an invalidation to the client or to where it redirects. One that speaks RESP2 hears it only by redirection, in
    /// the subscribed mode.
    pub fn send(&self, clients: &Clients, invalid: &Push, journal_end: u64) {
        match &self.redirect {
            None if self.client.facts.resp3.load(Relaxed) => clients.push(&self.client, invalid, journal_end),
            None => {}
            Some(target) if target.facts.gone.load(Relaxed) => {
                self.broken.store(true, Relaxed);
                if self.client.facts.resp3.load(Relaxed) {
                    let head = Bytes::from_static(b"$21\r\ntracking-redir-broken\r\n");
                    let tail = format!(":{}\r\n", target.id).into();
                    clients.push(&self.client, &Push::Elements { len: 2, head, tail }, journal_end);
                }
            }
            Some(target) if target.facts.resp3.load(Relaxed) || target.facts.is_subscribed() => {
                clients.push(target, invalid, journal_end);
            }
            Some(_) => {}
        }
    }
}

/// The clients that track, for what concerns all of them.
#[derive(Default)]
pub struct Trackers {
    all: Mutex<Vec<Arc<Tracker>>>,
    count: AtomicUsize,
}

impl Trackers {
    pub fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn add(&self, tracker: &Arc<Tracker>) {
        let mut all = self.all.lock();
        all.push(tracker.clone());
        self.count.store(all.len(), Relaxed);
    }

    pub fn remove(&self, tracker: &Arc<Tracker>) {
        tracker.switch_off();
        let mut all = self.all.lock();
        all.retain(|other| !Arc::ptr_eq(other, tracker));
        self.count.store(all.len(), Relaxed);
    }

    /// Bytes that wait for them, or for those to whom they redirect: invalidations, for the most part.
    pub fn waiting_bytes(&self) -> usize {
        let of = |client: &Arc<Client>| {
            let memory = &client.facts.memory;
            memory.outbox.load(Relaxed) + memory.unsent.load(Relaxed)
        };
        self.all.lock().iter().map(|tracker| of(tracker.redirect.as_ref().unwrap_or(&tracker.client))).sum()
    }

    /// A copy of the list, so that no lock is held while something is sent.
    pub fn list(&self) -> Vec<Arc<Tracker>> {
        self.all.lock().clone()
    }
}
