//! A connection's own state: what its next command depends on. Nothing else touches it.

use super::registry::Row;
use super::waiting::Waiting;
use crate::acl::{User, Users};
use crate::clients::{Client, Tracker};
use crate::keyspace::waiting::Waiter;
use crate::keyspace::watch::Dirty;
use crate::node::Node;
use crate::pubsub::{ChannelKind, PubSub};
use crate::replication::{Joined, Offered};
use crate::resp::{Argv, Proto};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

pub struct Session {
    pub client: Arc<Client>,
    pub db: usize,
    pub proto: Proto,
    pub authenticated: bool,
    /// Who the client is: `default` until it says otherwise.
    pub user: Arc<User>,
    pub reply: ReplyMode,
    /// The present command writes pushes, which CLIENT REPLY does not silence.
    pub replies_anyway: bool,
    /// MULTI is open.
    pub queue: Option<Queue>,
    pub watch: Option<Watching>,
    pub subscriptions: Subscriptions,
    pub tracking: Option<Box<Tracking>>,
    /// HIMPORT's, if it has prepared any.
    pub fieldsets: Option<Arc<Fieldsets>>,
    pub no_touch: bool,
    /// CLIENT IMPORT-SOURCE: while data is imported it sees what has expired.
    pub import_source: bool,
    /// The command that waits for its keys.
    pub waiting: Option<Waiting>,
    /// REPLCONF was said, or SYNC.
    pub joining: Option<Box<Joining>>,
    /// Bytes of the present request's long arguments, which lie beside its own.
    pub long_bytes: usize,
    /// What the connection must do after this command.
    pub then: Then,
    pub origin: Origin,
}

/// Where commands come from; decides which gates apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Socket,
    /// The append-only file being read at start.
    Log,
    /// The primary, whose commands are its effects.
    Primary,
    /// A script.
    Script,
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyMode {
    On,
    Off,
    /// This command's reply is left out, then on.
    SkipNext,
    Skip,
}

/// What a handler asks of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Then {
    #[default]
    GoOn,
    /// Send what is in the buffer, then close.
    Close,
    /// Close without another byte.
    Drop,
    /// Send what is in the buffer, then serve a replica: [`Session::joining`].
    Replicate,
}

/// A replica that introduces itself.
#[derive(Default)]
pub struct Joining {
    pub offered: Offered,
    /// It is one from now on.
    pub replica: Option<Joined>,
}

/// Commands queued by MULTI.
#[derive(Default)]
pub struct Queue {
    pub commands: Vec<(Row, Argv)>,
    pub bytes: usize,
    /// A command was refused while queueing: EXEC answers EXECABORT.
    pub aborted: bool,
}

/// The names of channels, patterns and shard channels that a connection listens to.
#[derive(Default)]
pub struct Subscriptions([BTreeSet<Box<[u8]>>; 3]);

impl Subscriptions {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(BTreeSet::is_empty)
    }

    pub fn of(&mut self, kind: ChannelKind) -> &mut BTreeSet<Box<[u8]>> {
        &mut self.0[kind as usize]
    }

    /// How many a confirmation of this kind tells: channels and patterns together, shard channels by themselves.
    pub fn count(&self, kind: ChannelKind) -> usize {
        let [channels, patterns, shard_channels] = &self.0;
        if kind == ChannelKind::Shard { shard_channels.len() } else { channels.len() + patterns.len() }
    }
}

/// Names of fields in order, under the names that HIMPORT gave them.
pub type Fieldsets = BTreeMap<Box<[u8]>, Box<[Box<[u8]>]>>;

/// CLIENT TRACKING.
#[derive(Clone)]
pub struct Tracking {
    pub tracker: Arc<Tracker>,
    pub mode: TrackingMode,
    /// CLIENT CACHING was said before the present command, or transaction.
    pub caching: bool,
    /// Of the broadcasting mode; one empty prefix for all keys.
    pub prefixes: Vec<Box<[u8]>>,
}

/// Which reads are noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackingMode {
    Every,
    /// Those behind CLIENT CACHING YES.
    OptIn,
    /// All but those behind CLIENT CACHING NO.
    OptOut,
    /// None: it hears of every change of a key with one of its prefixes.
    Broadcast,
}

impl Tracking {
    /// Whether the present command's keys are to be noted.
    pub fn notes(&self) -> bool {
        match self.mode {
            TrackingMode::Every => true,
            TrackingMode::OptIn => self.caching,
            TrackingMode::OptOut => !self.caching,
            TrackingMode::Broadcast => false,
        }
    }
}

/// Keys under WATCH, and the flag their change sets.
pub struct Watching {
    pub dirty: Dirty,
    pub keys: BTreeSet<(usize, Box<[u8]>)>,
    /// What they take here and in their stripes.
    bytes: usize,
}

impl Watching {
    pub fn add(&mut self, db: usize, key: &[u8]) {
        if self.keys.insert((db, key.into())) {
            self.bytes += 2 * key.len() + WATCH_BYTES;
        }
    }

    /// Shows what is watched to others.
    pub fn show(&self, client: &Client) {
        client.facts.watches(self.keys.len(), self.bytes);
    }
}

impl Session {
    /// A new connection's: the default user, who may have to give a password first.
    pub fn begin(client: Arc<Client>, users: &Users) -> Self {
        let user = users.default_user().clone();
        let authenticated = user.rules().is_open();
        Self { user, ..Self::new(client, authenticated) }
    }

    /// A session that may do everything once it is authenticated.
    pub fn new(client: Arc<Client>, authenticated: bool) -> Self {
        client.facts.authenticated.store(authenticated, Relaxed);
        Self {
            client,
            db: 0,
            proto: Proto::Resp2,
            authenticated,
            user: User::of_server(),
            reply: ReplyMode::On,
            replies_anyway: false,
            queue: None,
            watch: None,
            subscriptions: Subscriptions::default(),
            tracking: None,
            fieldsets: None,
            no_touch: false,
            import_source: false,
            waiting: None,
            joining: None,
            long_bytes: 0,
            then: Then::GoOn,
            origin: Origin::Socket,
        }
    }

    /// A session for the log's commands: everything allowed, nothing replied.
    pub fn for_log(now: i64) -> Self {
        let client = Client::new(0, String::new(), String::new(), false, now);
        Self { origin: Origin::Log, ..Self::new(client, true) }
    }

    /// A session for what the primary sends, as `client`.
    pub fn for_primary(client: Arc<Client>, db: usize) -> Self {
        Self { origin: Origin::Primary, db, ..Self::new(client, true) }
    }

    /// A session to run a parked command again for its client, whose own session is elsewhere.
    pub fn stand_in(waiter: &Waiter) -> Self {
        Self {
            client: waiter.client.clone(),
            db: waiter.db,
            proto: waiter.proto,
            authenticated: true,
            user: waiter.user.clone(),
            reply: ReplyMode::On,
            replies_anyway: false,
            queue: None,
            watch: None,
            subscriptions: Subscriptions::default(),
            tracking: None,
            fieldsets: None,
            no_touch: waiter.no_touch,
            import_source: false,
            waiting: None,
            joining: None,
            long_bytes: 0,
            then: Then::GoOn,
            origin: Origin::Socket,
        }
    }

    /// The client is this user from now on.
    pub fn become_user(&mut self, user: Arc<User>, authenticated: bool) {
        self.client.facts.names.lock().user = user.name().to_vec();
        self.client.facts.authenticated.store(authenticated, Relaxed);
        if let Some(tracking) = &self.tracking {
            tracking.tracker.become_user(user.clone());
        }
        (self.user, self.authenticated) = (user, authenticated);
    }

    /// The command was let through when it first ran, here or on the primary: the log's, and the primary's.
    #[inline]
    pub fn is_replayed(&self) -> bool {
        matches!(self.origin, Origin::Log | Origin::Primary)
    }

    /// In RESP2 a connection with subscriptions only listens.
    #[inline]
    pub fn only_listens(&self) -> bool {
        self.proto == Proto::Resp2 && !self.subscriptions.is_empty()
    }

    /// A session for what a script calls: what it changes of itself is gone with it. What it reads is read for its caller.
    pub fn for_script(&self) -> Self {
        let origin = if self.is_replayed() { self.origin } else { Origin::Script };
        Self { proto: Proto::Resp2, origin, ..self.for_departure() }
    }

    /// A session to go on with a command of this one in another thread.
    pub fn for_departure(&self) -> Self {
        Self {
            client: self.client.clone(),
            db: self.db,
            proto: self.proto,
            authenticated: self.authenticated,
            user: self.user.clone(),
            reply: ReplyMode::On,
            replies_anyway: false,
            queue: None,
            watch: None,
            subscriptions: Subscriptions::default(),
            tracking: self.tracking.clone(),
            fieldsets: self.fieldsets.clone(),
            no_touch: self.no_touch,
            import_source: self.import_source,
            waiting: None,
            joining: None,
            long_bytes: 0,
            then: Then::GoOn,
            origin: self.origin,
        }
    }

    pub fn select(&mut self, db: usize) {
        self.db = db;
        self.client.facts.db.store(db, Relaxed);
    }

    /// CLIENT REPLY: what was written since `start` is a whole reply.
    #[inline]
    pub fn apply_reply_mode(&mut self, out: &mut Vec<u8>, start: usize) {
        if self.reply != ReplyMode::On {
            self.leave_out(out, start);
        }
    }

    #[cold]
    fn leave_out(&mut self, out: &mut Vec<u8>, start: usize) {
        let silent = self.reply != ReplyMode::SkipNext && !std::mem::take(&mut self.replies_anyway);
        if silent {
            crate::resp::block::truncate(out, start);
        }
        match self.reply {
            ReplyMode::Skip => self.reply = ReplyMode::On,
            ReplyMode::SkipNext => self.reply = ReplyMode::Skip,
            ReplyMode::On | ReplyMode::Off => {}
        }
    }

    /// Ends all subscriptions without a word: RESET, and the end of the connection.
    pub fn unsubscribe_all(&mut self, pubsub: &PubSub) {
        for kind in [ChannelKind::Channel, ChannelKind::Pattern, ChannelKind::Shard] {
            for name in std::mem::take(self.subscriptions.of(kind)) {
                pubsub.unsubscribe(kind, &name, &self.client);
            }
        }
    }

    /// CLIENT TRACKING OFF, RESET, and the end of the connection.
    pub fn stop_tracking(&mut self, node: &Node) {
        let Some(tracking) = self.tracking.take() else { return };
        node.clients.trackers.remove(&tracking.tracker);
        if tracking.mode == TrackingMode::Broadcast {
            node.pubsub.remove_prefixes(&tracking.tracker);
            node.apply_events();
        }
        let facts = &self.client.facts;
        facts.memory.prefixes.store(0, Relaxed);
        facts.tracks.store(false, Relaxed);
        facts.broadcasts.store(false, Relaxed);
    }

    /// Marks an open transaction as failed: a command could not be queued.
    pub fn abort_queue(&mut self) {
        if let Some(queue) = &mut self.queue {
            queue.aborted = true;
        }
    }

    pub fn watching(&mut self) -> &mut Watching {
        self.watch.get_or_insert_with(|| Watching {
            dirty: Arc::new(AtomicBool::new(false)),
            keys: BTreeSet::new(),
            bytes: 0,
        })
    }
}

/// A watched key beside its own bytes: its place in the session's set, and in its stripe a name with a list of one.
const WATCH_BYTES: usize = size_of::<(usize, Box<[u8]>)>() + 2 * size_of::<Vec<u8>>() + size_of::<Dirty>() + 16;
