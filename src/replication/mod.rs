//! Replication: whom this server follows, who follows it, and who waits for their acknowledgements.
//!
//! [`Replication`] is the state that commands, INFO and the cron look at. The work is done elsewhere: `persist::stream` keeps
//! the bytes, [`sync`] sends snapshots, `net::feed` serves one replica, `link` follows a primary. Facts of the protocol are
//! Redis's: a replica asks with PSYNC, acknowledges once a second, and is dropped after `repl-timeout` without a word.
//!
//! A change of role is made by a command that owns the world ([`Replication::follow`], [`Replication::promote`]); the link
//! looks at the *term*, a number that each change raises, whenever it enters the gate, so that nothing of an old primary
//! is applied in a new role.

pub mod own;
pub mod replica;
pub mod sync;

pub use own::OwnKeys;
pub use replica::{Joined, Offered, Replica, Stage, Transfer};

use crate::clock::Millis;
use crate::keyspace::waiting::Waiter;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use tokio::sync::Notify;

/// A server to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primary {
    pub host: String,
    pub port: u16,
}

/// How far the link to the primary is; the names are those of ROLE and `master_link_status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// To be connected.
    #[default]
    Connect,
    Connecting,
    /// Introducing ourselves.
    Handshake,
    /// A snapshot is on its way.
    Sync,
    Connected,
}

impl Link {
    pub fn is_syncing(&self) -> bool {
        self.state == LinkState::Sync
    }
}

impl LinkState {
    /// Its name in ROLE.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Connecting => "connecting",
            Self::Handshake => "handshake",
            Self::Sync => "sync",
            Self::Connected => "connected",
        }
    }

    pub fn is_connected(self) -> bool {
        self == Self::Connected
    }
}

/// What is known of the link to the primary.
#[derive(Clone, Debug, Default)]
pub struct Link {
    pub primary: Option<Primary>,
    pub state: LinkState,
    /// When something last came; 0 for never.
    pub heard_ms: Millis,
    /// Since when the link is down; 0 while it is up, or was not up yet.
    pub down_since_ms: Millis,
    /// Bytes of the snapshot in transfer: those there will be (-1 before it begins, 0 if that is not known), and those that came.
    pub sync_total: i64,
    pub sync_read: u64,
    /// The next PSYNC asks the other to hand over: FAILOVER.
    pub takes_over: bool,
}

/// A client in WAIT or WAITAOF.
pub struct OffsetWait {
    pub waiter: Arc<Waiter>,
    /// Offset in the stream that replicas are to acknowledge.
    pub offset: u64,
    pub replicas: usize,
    /// Of WAITAOF: what the own log must have made durable, if that is asked for.
    pub log: Option<LogWait>,
}

/// What WAITAOF asks of the own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogWait {
    /// Offset in the journal that must be durable; `None` if only replicas count.
    pub offset: Option<u64>,
    /// Offset in the journal that counts as "the log has it".
    pub end: u64,
}

/// Where a failover that this server was asked for stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failover {
    /// Writes are paused until a replica has everything.
    WaitForSync { target: Option<Primary>, deadline_ms: Option<Millis>, force: bool },
    /// This server follows the target and asks it to take over.
    InProgress { target: Primary },
}

#[derive(Default)]
pub struct Replication {
    is_replica: AtomicBool,
    /// A replica whose link is not up.
    is_stale: AtomicBool,
    term: AtomicU64,
    link: Mutex<Link>,
    /// Wakes the link when there is another primary, or none.
    pub changed: Notify,
    replicas: Mutex<Vec<Arc<Replica>>>,
    /// Online replicas heard of within `min-replicas-max-lag`.
    good: AtomicUsize,
    waits: Mutex<Vec<OffsetWait>>,
    waiting: AtomicBool,
    pub failover: Mutex<Option<Failover>>,
    /// Bytes of the primary's that came and have not run.
    pub read_ahead: AtomicU64,
    /// Of a writable replica.
    pub own_keys: OwnKeys,
    /// Replicas that left with a snapshot which they did not show to read, and when.
    doubts: Mutex<VecDeque<(Primary, Millis)>>,
    /// When a replica that cannot be served was last told to the log.
    pub refused_ms: AtomicI64,
    /// When the last replica left, for `repl-backlog-ttl`; 0 if that is to be counted from the next look.
    pub alone_since_ms: AtomicU64,
}

impl Replication {
    #[inline]
    pub fn is_replica(&self) -> bool {
        self.is_replica.load(Relaxed)
    }

    /// A replica that does not know what its primary has by now.
    #[inline]
    pub fn is_stale(&self) -> bool {
        self.is_stale.load(Relaxed)
    }

    /// Raised by each change of role.
    pub fn term(&self) -> u64 {
        self.term.load(Relaxed)
    }

    pub fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock()
    }

    /// Follows a primary from now on. The caller owns the world.
    pub fn follow(&self, primary: Primary) {
        let mut link = self.link.lock();
        *link = Link { primary: Some(primary), sync_total: -1, ..Link::default() };
        self.is_replica.store(true, Relaxed);
        self.is_stale.store(true, Relaxed);
        self.term.fetch_add(1, Relaxed);
        self.changed.notify_one();
    }

    /// Follows no primary from now on. The caller owns the world.
    pub fn promote(&self) {
        *self.link.lock() = Link::default();
        // From now on all keys are its own.
        self.own_keys.clear();
        // Its brothers have from now on to come.
        self.alone_since_ms.store(0, Relaxed);
        self.is_replica.store(false, Relaxed);
        self.is_stale.store(false, Relaxed);
        self.term.fetch_add(1, Relaxed);
        self.changed.notify_one();
    }

    /// The link's own report; nothing if the role has changed since `term`.
    pub fn report(&self, term: u64, state: LinkState, now: Millis) {
        let mut link = self.link.lock();
        if self.term() != term {
            return;
        }
        match (state, link.state) {
            (LinkState::Connected, _) => link.down_since_ms = 0,
            (_, LinkState::Connected) => link.down_since_ms = now,
            _ => {}
        }
        link.state = state;
        self.is_stale.store(state != LinkState::Connected, Relaxed);
    }

    // ---- replicas

    pub fn add(&self, replica: &Arc<Replica>) {
        self.replicas.lock().push(replica.clone());
    }

    /// A replica's connection has ended.
    pub fn remove(&self, replica: &Arc<Replica>, now: Millis) {
        let mut replicas = self.replicas.lock();
        replicas.retain(|other| !Arc::ptr_eq(other, replica));
        if replicas.is_empty() {
            self.alone_since_ms.store(now as u64, Relaxed);
        }
        // Not of one that was closed here, nor of a tool that listens to the stream and loads nothing.
        let left = !replica.client.facts.close_asap.load(Relaxed) && !replica.is_silent;
        if replica.is_on_trust() && left {
            let mut doubts = self.doubts.lock();
            doubts.push_front((replica.place(), now));
            doubts.truncate(DOUBTS_MAX);
        }
    }

    /// Whether a replica left not long ago with a snapshot that it did not show to read.
    pub fn doubts(&self, replica: &Replica, now: Millis) -> bool {
        let place = replica.place();
        self.doubts.lock().iter().any(|(other, since)| *other == place && now - since < DOUBT_MS)
    }

    /// Oldest first.
    pub fn replicas(&self) -> Vec<Arc<Replica>> {
        self.replicas.lock().clone()
    }

    /// Online replicas heard of within `min-replicas-max-lag`, as counted last.
    pub fn good(&self) -> usize {
        self.good.load(Relaxed)
    }

    pub fn count_good(&self, lag_max_ms: Millis, now: Millis) {
        let replicas = self.replicas.lock();
        let is_good = |replica: &&Arc<Replica>| replica.is_online() && now - replica.acked_ms() <= lag_max_ms;
        self.good.store(replicas.iter().filter(is_good).count(), Relaxed);
    }

    // ---- WAIT

    /// Online replicas that have acknowledged an offset; with `on_disk`, in their logs.
    pub fn acknowledged(&self, offset: u64, on_disk: bool) -> usize {
        let replicas = self.replicas.lock();
        let has = |replica: &&Arc<Replica>| {
            // A replica whose log has no base yet says 0, or nothing.
            let has = if on_disk { replica.acked_on_disk() >= offset.max(1) } else { replica.acked() >= offset };
            replica.is_online() && has
        };
        replicas.iter().filter(has).count()
    }

    pub fn wait(&self, wait: OffsetWait) {
        self.waits.lock().push(wait);
        self.waiting.store(true, Relaxed);
    }

    /// Whether some client waits for acknowledgements.
    pub fn is_awaited(&self) -> bool {
        self.waiting.load(Relaxed)
    }

    /// Takes the waits that are over; `durable` is how far the own log is, if it has a base.
    pub fn take_met(&self, durable: Option<u64>) -> Vec<OffsetWait> {
        if !self.is_awaited() {
            return Vec::new();
        }
        let mut waits = self.waits.lock();
        waits.retain(|wait| !wait.waiter.claims.is_over());
        let is_met = |wait: &mut OffsetWait| {
            let on_disk = wait.log.is_some();
            let log_has_it = wait
                .log
                .and_then(|log| log.offset)
                .is_none_or(|offset| durable.is_some_and(|durable| durable >= offset));
            log_has_it && self.acknowledged(wait.offset, on_disk) >= wait.replicas
        };
        let met = waits.extract_if(.., is_met).collect();
        self.waiting.store(!waits.is_empty(), Relaxed);
        met
    }

    /// The wait of a command whose time is over, if it waits for replicas.
    pub fn take_wait(&self, waiter: &Waiter) -> Option<OffsetWait> {
        if !self.is_awaited() {
            return None;
        }
        let mut waits = self.waits.lock();
        let at = waits.iter().position(|wait| std::ptr::eq(&*wait.waiter, waiter))?;
        Some(waits.swap_remove(at))
    }
}

/// Replicas beyond this many are trusted again.
const DOUBTS_MAX: usize = 64;
/// A replica that lost its link for another reason waits no longer than this.
const DOUBT_MS: Millis = 60_000;
