//! The clients: what others may see of one, and how they reach it.
//!
//! A connection's own state is its session, which no other thread touches. A [`Client`] is the shared part: facts for
//! CLIENT LIST, written by its connection, and an inbox through which other threads push output to it ([`Push`]), serve
//! the command it waits in, ask it to close, or wake it. [`Clients`] is the list of all, plus CLIENT PAUSE.
//!
//! What a client holds is in its [`Memory`], exact whenever it rests. The sum over all is told by each connection only
//! when its own figure has moved by [`TOLD_STEP_BYTES`], so that `maxmemory-clients` costs a command nothing.
//! Invariant: the sum is what the clients have told, each change once; a client that has left has told 0.
//! Cost: a connection updates a handful of relaxed atomics per batch; the inbox is touched only when used.

mod footprint;
mod limits;
mod monitors;
mod outbox;
mod readers;
mod tracker;

pub use footprint::Memory;
pub use limits::{ClientClass, OutputLimit, OutputLimits};
pub use outbox::Push;
pub use readers::Unread;
pub use tracker::{Tracker, Trackers};

use crate::acl::DEFAULT;
use crate::clock::Millis;
use limits::HardLimits;
use monitors::Monitors;
use outbox::Outbox;
use parking_lot::{Mutex, MutexGuard};
use readers::Readers;
use std::any::Any;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed,
};
use std::task::Waker;

/// The shared part of a connection.
pub struct Client {
    pub id: u64,
    pub address: String,
    pub local_address: String,
    pub is_unix: bool,
    pub created_ms: Millis,
    pub facts: Facts,
    inbox: Mutex<Inbox>,
    /// Something is in the inbox; looked at once per batch.
    called: AtomicBool,
}

/// What CLIENT LIST and INFO show; relaxed values written by the connection's own thread.
#[derive(Default)]
pub struct Facts {
    pub names: Mutex<Names>,
    pub fd: AtomicI32,
    pub db: AtomicUsize,
    pub resp3: AtomicBool,
    /// Row number + 1 of the last command; 0 for none.
    pub last_command: AtomicUsize,
    pub last_active_ms: AtomicI64,
    /// Commands queued in MULTI, -1 outside.
    pub queued: AtomicI64,
    pub watched: AtomicUsize,
    pub memory: Memory,
    pub blocked: AtomicBool,
    /// CLIENT PAUSE holds its command back.
    pub paused: AtomicBool,
    /// Its replies wait for the journal.
    pub awaits_journal: AtomicBool,
    /// The blocking command has a timeout.
    pub wait_ends: AtomicBool,
    pub no_evict: AtomicBool,
    pub no_touch: AtomicBool,
    pub import_source: AtomicBool,
    /// CLIENT CAPA redirect.
    pub redirects: AtomicBool,
    pub monitor: AtomicBool,
    /// A replica's connection, from PSYNC on; the link to the primary.
    pub is_replica: AtomicBool,
    pub is_primary: AtomicBool,
    /// Subscriptions to channels, patterns and shard channels.
    pub subscribed: [AtomicUsize; 3],
    pub authenticated: AtomicBool,
    /// CLIENT TRACKING is on, and in its broadcasting mode.
    pub tracks: AtomicBool,
    pub broadcasts: AtomicBool,
    /// The id of the client that gets its invalidations; 0 for itself.
    pub redirect: AtomicU64,
    /// Its connection has ended, or ends with the reply to QUIT.
    pub gone: AtomicBool,
    pub close_asap: AtomicBool,
    pub worker: AtomicU32,
    pub commands: AtomicU64,
    pub net_input_bytes: AtomicU64,
    pub net_output_bytes: AtomicU64,
}

#[derive(Clone)]
pub struct Names {
    pub name: Vec<u8>,
    pub lib_name: Vec<u8>,
    pub lib_version: Vec<u8>,
    pub user: Vec<u8>,
}

impl Default for Names {
    fn default() -> Self {
        let (name, lib_name, lib_version) = (Vec::new(), Vec::new(), Vec::new());
        Self { name, lib_name, lib_version, user: DEFAULT.to_vec() }
    }
}

#[derive(Default)]
struct Inbox {
    outbox: Outbox,
    /// The journal's offset behind what the pushes tell of.
    journal_end: u64,
    close: bool,
    overflowed: bool,
    unblock: Option<Unblock>,
    served: Option<Served>,
    /// A command that waited is being served: pushes from this one on stay behind its reply.
    held: Option<usize>,
    waker: Option<Waker>,
    /// Its messages are no longer collected.
    is_gone: bool,
}

/// How CLIENT UNBLOCK ends a blocked command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unblock {
    Timeout,
    Error,
    /// The server became a replica: the command hears it, and the connection ends.
    RoleChanged,
}

/// The reply to a command that waited.
#[derive(Default)]
pub struct Served {
    pub reply: Vec<u8>,
    /// It may leave when the journal is this far.
    pub journal_end: u64,
    /// The client's session, of a command that went on in another thread and took it along.
    pub session: Option<Box<dyn Any + Send>>,
}

/// What a connection finds in its inbox.
#[derive(Default)]
pub struct Mail {
    /// In front of the reply to a command that waited.
    pub pushes: VecDeque<Push>,
    /// Behind it.
    pub late: VecDeque<Push>,
    /// The pushes may leave when the journal is this far.
    pub journal_end: u64,
    pub close: bool,
    /// It is to be closed because it reads too slowly: a push did not fit.
    pub overflowed: bool,
    pub unblock: Option<Unblock>,
    pub served: Option<Served>,
}

impl Facts {
    /// Neither under CLIENT NO-EVICT, nor about to go, nor another server.
    fn may_be_evicted(&self) -> bool {
        let not = [&self.no_evict, &self.close_asap, &self.is_replica, &self.is_primary];
        not.into_iter().all(|flag| !flag.load(Relaxed))
    }

    /// What the connection is used for. MONITOR makes no class of its own, as in Redis.
    pub fn class(&self) -> ClientClass {
        if self.is_replica.load(Relaxed) {
            return ClientClass::Replica;
        }
        if self.is_subscribed() { ClientClass::PubSub } else { ClientClass::Normal }
    }

    pub fn is_subscribed(&self) -> bool {
        self.subscribed.iter().any(|count| count.load(Relaxed) > 0)
    }

    /// In a blocking command, or held back: what `blocked_clients` counts.
    pub fn is_waiting(&self) -> bool {
        self.blocked.load(Relaxed) || self.paused.load(Relaxed)
    }

    /// MULTI queued one more command; all of them take `bytes`.
    pub fn queued_more(&self, bytes: usize) {
        self.queued.fetch_add(1, Relaxed);
        self.memory.queue.store(bytes, Relaxed);
    }

    /// EXEC, DISCARD, or whatever else ended the transaction.
    pub fn queue_is_gone(&self) {
        self.queued.store(-1, Relaxed);
        self.memory.queue.store(0, Relaxed);
    }

    /// WATCH: its number of keys and their bytes; 0 after UNWATCH and its like.
    pub fn watches(&self, keys: usize, bytes: usize) {
        self.watched.store(keys, Relaxed);
        self.memory.watches.store(bytes, Relaxed);
    }
}

impl Client {
    pub fn new(id: u64, address: String, local_address: String, is_unix: bool, now: Millis) -> Arc<Self> {
        let facts = Facts { queued: AtomicI64::new(-1), last_active_ms: AtomicI64::new(now), ..Facts::default() };
        Arc::new(Self {
            id,
            address,
            local_address,
            is_unix,
            created_ms: now,
            facts,
            inbox: Mutex::default(),
            called: AtomicBool::new(false),
        })
    }

    /// Queues output that is no reply to one of its commands, unless more than `limit` bytes would wait for the peer: then
    /// the client is closed.
    fn push(&self, push: &Push, limit: usize, journal_end: u64) {
        let room = limit.saturating_sub(self.facts.memory.unsent.load(Relaxed));
        self.mail(|inbox| {
            if inbox.overflowed || inbox.close {
                return;
            }
            inbox.journal_end = inbox.journal_end.max(journal_end);
            if inbox.outbox.put(push, room) {
                self.facts.memory.outbox.store(inbox.outbox.bytes(), Relaxed);
            } else {
                self.facts.close_asap.store(true, Relaxed);
                inbox.outbox.take();
                (inbox.overflowed, inbox.close) = (true, true);
            }
        });
    }

    /// Whether a push did not fit: its connection closes it, and counts that.
    pub fn is_overflowed(&self) -> bool {
        self.inbox.lock().overflowed
    }

    /// Asks the connection to close as soon as it can.
    pub fn close(&self) {
        self.facts.close_asap.store(true, Relaxed);
        self.mail(|inbox| inbox.close = true);
    }

    pub fn unblock(&self, how: Unblock) {
        self.mail(|inbox| inbox.unblock = Some(how));
    }

    /// The command that the connection waits in is about to be tried again: what is pushed from here on stays behind its
    /// reply, or comes when [`Client::release`] says that there is none.
    pub fn hold(&self) {
        let mut inbox = self.inbox.lock();
        inbox.held = Some(inbox.outbox.len());
    }

    pub fn release(&self) {
        self.mail(|inbox| inbox.held = None);
    }

    /// Delivers the reply to the command that the connection waits in.
    pub fn serve(&self, reply: Vec<u8>, journal_end: u64) {
        self.mail(|inbox| inbox.served = Some(Served { reply, journal_end, session: None }));
    }

    /// The same, with the session that the command took along. Gives it back if the connection is gone.
    pub fn serve_with_session<S: Any + Send>(
        &self,
        reply: Vec<u8>,
        journal_end: u64,
        session: Box<S>,
    ) -> Option<Box<S>> {
        let mut left = Some(session);
        self.mail(|inbox| {
            if !inbox.is_gone {
                let session = left.take().map(|session| session as Box<dyn Any + Send>);
                inbox.served = Some(Served { reply, journal_end, session });
            }
        });
        left
    }

    /// The connection ends. The session that was on its way back to it, if one was.
    pub fn end(&self) -> Option<Box<dyn Any + Send>> {
        let mut inbox = self.inbox.lock();
        inbox.is_gone = true;
        inbox.served.take()?.session
    }

    fn mail(&self, put: impl FnOnce(&mut Inbox)) {
        let mut inbox = self.inbox.lock();
        put(&mut inbox);
        // The first letter since the last collection wakes the connection; it collects the others with it.
        let waker = if self.called.swap(true, Relaxed) { None } else { inbox.waker.clone() };
        drop(inbox);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the pushes that wait, for a connection that writes something they must not follow.
    pub fn take_pushes(&self) -> VecDeque<Push> {
        if !self.is_called() {
            return VecDeque::new();
        }
        self.facts.memory.outbox.store(0, Relaxed);
        self.inbox.lock().outbox.take()
    }

    /// Whether there is mail; cheap.
    #[inline]
    pub fn is_called(&self) -> bool {
        self.called.load(Relaxed)
    }

    /// Takes the mail, and remembers whom to wake for the next.
    pub fn collect(&self, waker: Option<&Waker>) -> Mail {
        let mut inbox = self.inbox.lock();
        self.called.store(false, Relaxed);
        if let Some(waker) = waker
            && !inbox.waker.as_ref().is_some_and(|w| w.will_wake(waker))
        {
            inbox.waker = Some(waker.clone());
        }
        let served = inbox.served.take();
        let mut pushes = inbox.outbox.take();
        let late = inbox.held.map_or_else(VecDeque::new, |held| pushes.split_off(held.min(pushes.len())));
        let late = match (inbox.held, &served) {
            (Some(_), None) => {
                inbox.held = Some(0);
                inbox.outbox.put_back(late);
                VecDeque::new()
            }
            _ => late,
        };
        if served.is_some() {
            inbox.held = None;
        }
        self.facts.memory.outbox.store(inbox.outbox.bytes(), Relaxed);
        Mail {
            pushes,
            late,
            journal_end: std::mem::take(&mut inbox.journal_end),
            close: inbox.close,
            overflowed: inbox.overflowed,
            unblock: inbox.unblock.take(),
            served,
        }
    }
}

/// CLIENT PAUSE's two modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    None,
    Write,
    All,
}

/// All connections.
#[derive(Default)]
pub struct Clients {
    all: Mutex<BTreeMap<u64, Arc<Client>>>,
    count: AtomicUsize,
    /// What all have told that they hold.
    told_bytes: AtomicUsize,
    /// What those hold that are off the list and still to be closed by their own threads.
    leaving_bytes: AtomicUsize,
    next_id: AtomicU64,
    pause_mode: AtomicU8,
    pause_until_ms: AtomicI64,
    pause_wakers: Mutex<Vec<Waker>>,
    hard_limits: HardLimits,
    readers: Readers,
    pub monitors: Monitors,
    pub trackers: Trackers,
}

impl Clients {
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Relaxed) + 1
    }

    pub fn add(&self, client: &Arc<Client>) {
        self.all.lock().insert(client.id, client.clone());
        self.count.fetch_add(1, Relaxed);
    }

    /// Takes a client off the list; its connection calls this last of all.
    pub fn remove(&self, client: &Client) {
        let removed = self.all.lock().remove(&client.id);
        if removed.is_some() {
            self.forget(client);
        }
        self.tell(client, 0);
        self.leaving_bytes.fetch_sub(client.facts.memory.leaving.swap(0, Relaxed), Relaxed);
    }

    fn forget(&self, client: &Client) {
        client.facts.gone.store(true, Relaxed);
        self.count.fetch_sub(1, Relaxed);
        self.monitors.remove(client);
    }

    /// CONFIG SET `client-output-buffer-limit`.
    pub fn set_output_limits(&self, limits: &OutputLimits) {
        self.hard_limits.set(limits);
    }

    /// Sends something to a client that is no reply to one of its commands. `journal_end`: the journal's offset behind the
    /// change that it tells of; it leaves when a reply to that change may.
    pub fn push(&self, client: &Client, push: &Push, journal_end: u64) {
        client.push(push, self.hard_limits.of(client.facts.class()), journal_end);
    }

    pub fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.all.lock().get(&id).cloned()
    }

    /// Everyone, oldest first.
    pub fn list(&self) -> Vec<Arc<Client>> {
        self.all.lock().values().cloned().collect()
    }

    /// A connection says what it holds, if that is news. True if the sum has grown by it.
    #[inline]
    pub fn hold(&self, client: &Client) -> bool {
        let (now, before) = (client.facts.memory.total(), client.facts.memory.told.load(Relaxed));
        if now.abs_diff(before) < TOLD_STEP_BYTES {
            return false;
        }
        self.tell(client, now);
        now > before
    }

    #[cold]
    fn tell(&self, client: &Client, bytes: usize) {
        let before = client.facts.memory.told.swap(bytes, Relaxed);
        // Modulo 2^64: every change is told once, so the sum is never negative for long.
        self.told_bytes.fetch_add(bytes.wrapping_sub(before), Relaxed);
    }

    /// What all clients hold together, to within a step of each.
    pub fn told_bytes(&self) -> usize {
        self.told_bytes.load(Relaxed)
    }

    /// What is about to be free again, as soon as other threads get to it.
    pub fn leaving_bytes(&self) -> usize {
        self.leaving_bytes.load(Relaxed)
    }

    /// `maxmemory-clients`: takes the largest off the list until the others keep below the limit. Those under NO-EVICT
    /// count as well, but stay. The caller closes those it gets.
    #[cold]
    pub fn take_largest(&self, limit_bytes: usize) -> Vec<Arc<Client>> {
        // Held throughout: of two that look at once, the second finds what the first has left.
        let mut all = self.all.lock();
        let told = |client: &Client| client.facts.memory.told.load(Relaxed);
        let mut total: usize = all.values().map(|client| told(client)).sum();
        let may_go = all.values().filter(|client| client.facts.may_be_evicted());
        // Of equals the oldest goes first, as in Redis.
        let mut sized: Vec<_> = may_go.map(|client| (told(client), Reverse(client.id))).collect();
        sized.sort_unstable();
        let mut taken = Vec::new();
        while total >= limit_bytes
            && let Some((bytes, Reverse(id))) = sized.pop()
        {
            total -= bytes;
            taken.extend(self.take(&mut all, id));
        }
        drop(all);
        self.forget_taken(&taken);
        taken
    }

    /// Takes a client off the list; what it holds is about to be free. Under the lock: its connection, which takes this back
    /// when it ends, needs the lock first.
    fn take(&self, all: &mut MutexGuard<'_, BTreeMap<u64, Arc<Client>>>, id: u64) -> Option<Arc<Client>> {
        let client = all.remove(&id)?;
        let bytes = client.facts.memory.told.load(Relaxed);
        client.facts.memory.leaving.store(bytes, Relaxed);
        self.leaving_bytes.fetch_add(bytes, Relaxed);
        Some(client)
    }

    fn forget_taken(&self, taken: &[Arc<Client>]) {
        for client in taken {
            self.forget(client);
            self.tell(client, 0);
        }
    }

    /// Holds commands back until a time. A pause in force is never shortened, and ALL is not weakened to WRITE.
    pub fn pause(&self, mode: Pause, until_ms: Millis, now: Millis) {
        let in_force = self.paused(now);
        if in_force != Pause::None {
            self.pause_until_ms.fetch_max(until_ms, Relaxed);
        } else {
            self.pause_until_ms.store(until_ms, Relaxed);
        }
        let mode = if in_force == Pause::All { Pause::All } else { mode };
        self.pause_mode.store(mode as u8, Relaxed);
    }

    pub fn unpause(&self) {
        self.pause_mode.store(Pause::None as u8, Relaxed);
        self.pause_wakers.lock().drain(..).for_each(Waker::wake);
    }

    /// The pause in force.
    #[inline]
    pub fn paused(&self, now: Millis) -> Pause {
        match self.pause_mode.load(Relaxed) {
            0 => Pause::None,
            _ if now >= self.pause_until_ms.load(Relaxed) => Pause::None,
            1 => Pause::Write,
            _ => Pause::All,
        }
    }

    pub fn pause_until_ms(&self) -> Millis {
        self.pause_until_ms.load(Relaxed)
    }

    /// Wakes the task when the pause is lifted early; its end by time is the task's own business.
    pub fn wake_after_pause(&self, waker: &Waker) {
        self.pause_wakers.lock().push(waker.clone());
    }
}

/// A client whose figure moves by less is not worth a write that all threads see. A tenth of the smallest limit is
/// what a dozen clients can leave untold.
const TOLD_STEP_BYTES: usize = 1 << 10;
