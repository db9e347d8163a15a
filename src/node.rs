//! The server as its commands see it: a list of services, and no scalar of its own.

use crate::acl::Users;
use crate::clients::{Client, ClientClass, Clients, Unblock};
use crate::clock::{self, Millis};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::config::choices::{AofReplyAfter, AppendFsync, MaxmemoryPolicy, ShutdownFlags};
use crate::config::events::KeyspaceEvents;
use crate::defrag::Defrag;
use crate::keyspace::access::Tracks;
use crate::keyspace::waiting::Waiter;
use crate::keyspace::walk::Garbage;
use crate::keyspace::{BROADCAST, Keyspace, event_class};
use crate::listeners::Doors;
use crate::migrations::Migrations;
use crate::observe::{Observatory, Slowlog};
use crate::persist::journal::{Fsync, ReplyAfter};
use crate::persist::stream::random_id;
use crate::persist::walks::Job;
use crate::persist::{Aof, Journal, Rdb, Walks};
use crate::process::{self, Courtesy, OomScore, Title};
use crate::pubsub::PubSub;
use crate::replication::{Failover, Primary, Replication};
use crate::resp::ArgvView;
use crate::script::Scripts;
use crate::tls::Tls;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, mpsc};

pub struct Node {
    pub config: ArcSwap<Config>,
    pub keyspace: Keyspace,
    pub journal: Journal,
    pub aof: Aof,
    pub rdb: Rdb,
    pub walks: Walks,
    pub replication: Replication,
    pub migrations: Migrations,
    pub cluster: Cluster,
    pub acl: Users,
    pub clients: Clients,
    pub pubsub: PubSub,
    pub doors: Doors,
    pub tls: Tls,
    pub observatory: Observatory,
    pub scripts: Scripts,
    pub defrag: Defrag,
    pub reaper: Reaper,
    pub life: Life,
    pub oom_score: OomScore,
    pub title: Title,
}

/// The server's stages of life.
pub struct Life {
    pub run_id: String,
    pub started_ms: Millis,
    /// The configuration file's full path, if there is one.
    pub config_file: OnceLock<PathBuf>,
    loads: AtomicU8,
    shutdown: Mutex<Shutdown>,
    /// A shutdown asked for is held back, as DEBUG PAUSE-CRON wishes.
    shutdown_held: AtomicBool,
    /// Until when replicas are waited for before the end; 0 if they are not.
    shutdown_deadline_ms: AtomicI64,
    /// Wakes the main task when a shutdown is asked for.
    pub shutdown_asked: tokio::sync::Notify,
}

/// What is being loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loads {
    Nothing,
    /// The data: what needs it is refused meanwhile.
    Data,
    /// What will replace the data, which is served: `async_loading`.
    Aside,
}

impl Life {
    pub fn new() -> Self {
        Self {
            run_id: random_id(),
            started_ms: clock::now_ms(),
            config_file: OnceLock::new(),
            loads: AtomicU8::new(Loads::Nothing as u8),
            shutdown: Mutex::default(),
            shutdown_held: AtomicBool::new(false),
            shutdown_deadline_ms: AtomicI64::new(0),
            shutdown_asked: tokio::sync::Notify::new(),
        }
    }

    #[inline]
    pub fn loads(&self) -> Loads {
        match self.loads.load(Relaxed) {
            loads if loads == Loads::Data as u8 => Loads::Data,
            loads if loads == Loads::Aside as u8 => Loads::Aside,
            _ => Loads::Nothing,
        }
    }

    pub fn set_loads(&self, loads: Loads) {
        self.loads.store(loads as u8, Relaxed);
    }

    /// Whether the data is not there yet.
    #[inline]
    pub fn is_loading(&self) -> bool {
        self.loads() == Loads::Data
    }

    /// Asks the process to end. `waiter`: the command that asked, which is answered only if the attempt fails.
    pub fn ask_shutdown(&self, flags: ShutdownFlags, waiter: Option<Arc<Waiter>>) {
        let mut shutdown = self.shutdown.lock();
        shutdown.flags.get_or_insert(flags);
        shutdown.waiters.extend(waiter);
        drop(shutdown);
        self.shutdown_asked.notify_one();
    }

    /// The shutdown that was asked for does not take place; the caller answers the commands that asked. None if there
    /// was none.
    pub fn forget_shutdown(&self) -> Option<Vec<Arc<Waiter>>> {
        let Shutdown { flags, waiters } = std::mem::take(&mut *self.shutdown.lock());
        process::crash::forget_restart();
        flags.map(|_| waiters)
    }

    /// How the process is to end, if it is.
    pub fn shutdown_flags(&self) -> Option<ShutdownFlags> {
        self.shutdown.lock().flags
    }

    pub fn hold_shutdown(&self, yes: bool) {
        self.shutdown_held.store(yes, Relaxed);
    }

    pub fn set_shutdown_deadline(&self, at: Option<Millis>) {
        self.shutdown_deadline_ms.store(at.unwrap_or(0), Relaxed);
    }

    /// Until when replicas are waited for before the end.
    pub fn shutdown_deadline(&self) -> Option<Millis> {
        Some(self.shutdown_deadline_ms.load(Relaxed)).filter(|&at| at > 0)
    }

    pub fn is_shutdown_held(&self) -> bool {
        self.shutdown_held.load(Relaxed)
    }
}

/// A shutdown that was asked for and has not ended the process yet.
#[derive(Default)]
struct Shutdown {
    flags: Option<ShutdownFlags>,
    waiters: Vec<Arc<Waiter>>,
}

impl Default for Life {
    fn default() -> Self {
        Self::new()
    }
}

/// Frees big values on a thread of its own.
pub struct Reaper {
    send: mpsc::Sender<Garbage>,
    counts: Arc<ReaperCounts>,
}

/// Objects on their way to the reaper, and freed by it since start or RESETSTAT.
#[derive(Default)]
struct ReaperCounts {
    pending: AtomicUsize,
    freed: AtomicUsize,
}

impl Reaper {
    pub fn start() -> std::io::Result<Self> {
        let (send, receive) = mpsc::channel::<Garbage>();
        let counts = Arc::new(ReaperCounts::default());
        let shared = counts.clone();
        let run = move || {
            process::take_small_slices(0);
            let mut courtesy = Courtesy::begin();
            for garbage in receive {
                let objects = garbage.objects();
                garbage.free(|| courtesy.give_way());
                shared.pending.fetch_sub(objects, Relaxed);
                shared.freed.fetch_add(objects, Relaxed);
            }
        };
        std::thread::Builder::new().name("reaper".into()).spawn(run)?;
        Ok(Self { send, counts })
    }

    /// Hands over what is to be freed; if the thread is gone (at exit), it is freed here.
    pub fn send(&self, garbage: Garbage) {
        self.counts.pending.fetch_add(garbage.objects(), Relaxed);
        let _ = self.send.send(garbage);
    }

    /// Objects not yet freed.
    pub fn pending(&self) -> usize {
        self.counts.pending.load(Relaxed)
    }

    /// Objects freed since start or RESETSTAT.
    pub fn freed(&self) -> usize {
        self.counts.freed.load(Relaxed)
    }

    pub fn reset(&self) {
        self.counts.freed.store(0, Relaxed);
    }
}

impl Node {
    /// Bytes that `maxmemory` leaves out: what waits for the log, and for replicas beyond the backlog, copies that a snapshot has yet to write, and what
    /// clients hold that are being closed for it.
    pub fn not_counted_for_eviction(&self) -> u64 {
        let soon_free = self.keyspace.captures.bytes() + self.keyspace.buried_bytes() + self.clients.leaving_bytes();
        self.journal.pending_bytes() + self.journal.stream.beyond_backlog() + soon_free as u64
    }

    /// Shows ports and configuration file as the process's name.
    pub fn show_title(&self, config: &Config) {
        self.title.show(config, self.life.config_file.get().map(PathBuf::as_path));
    }

    /// This server is a primary from now on; its replicas come back and go on under its new history. The caller owns the
    /// world.
    pub fn promote(&self) {
        self.journal.stream.promote();
        self.replication.promote();
        self.set_primary(None);
        crate::log::set_role(crate::log::Role::Primary);
    }

    /// This server follows another from now on. Clients that wait for keys hear of it. The caller owns the world.
    pub fn demote(&self, primary: Primary) {
        self.journal.stream.follow_on(None);
        self.set_primary(Some((primary.host.clone(), primary.port)));
        self.replication.follow(primary);
        crate::log::set_role(crate::log::Role::Replica);
        let blocked = self.clients.list().into_iter().filter(|client| client.facts.blocked.load(Relaxed));
        blocked.for_each(|client| client.unblock(Unblock::RoleChanged));
    }

    /// `replicaof`, as CONFIG GET and REWRITE are to have it.
    fn set_primary(&self, primary: Option<(String, u16)>) {
        let is_replica = primary.is_some();
        self.config.rcu(|config| Arc::new(Config { replicaof: primary.clone(), ..Config::clone(config) }));
        if let Err(e) = self.oom_score.apply(&self.config.load(), is_replica) {
            crate::log::warning!(
                "The score for the system's out-of-memory killer was not set: {}",
                crate::log::cause(&e)
            );
        }
    }

    /// Counts the replicas that `min-replicas-to-write` asks for.
    pub fn count_good_replicas(&self, now: Millis) {
        self.replication.count_good(i64::from(self.config.load().min_replicas_max_lag) * 1000, now);
    }

    /// A failover does not take place: this server stays, or is again, the primary, and writes go on. The caller owns the
    /// world.
    pub fn abort_failover(&self, why: &str) {
        let Some(failover) = self.replication.failover.lock().take() else { return };
        crate::log::notice!("{why}");
        if matches!(failover, Failover::InProgress { .. }) {
            self.promote();
        }
        self.clients.unpause();
    }

    /// Hands the configuration's values to the services that keep copies of them.
    pub fn apply_settings(&self) {
        let config = self.config.load();
        let settings = &self.keyspace.settings;
        let tracks = match config.maxmemory_policy {
            MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => Tracks::Frequency,
            MaxmemoryPolicy::AllkeysLrm | MaxmemoryPolicy::VolatileLrm => Tracks::Writes,
            _ => Tracks::Use,
        };
        settings.tracks.store(tracks as u8, Relaxed);
        self.apply_events();
        self.keyspace.tracked.keys_max.store(config.tracking_table_max_keys, Relaxed);
        settings.lfu_log_factor.store(u64::from(config.lfu_log_factor), Relaxed);
        settings.lfu_decay_minutes.store(u64::from(config.lfu_decay_time), Relaxed);
        let fsync = match config.appendfsync {
            AppendFsync::Always => Fsync::Always,
            AppendFsync::Everysec => Fsync::EverySec,
            AppendFsync::No => Fsync::No,
        };
        let reply_after = match config.aof_reply_after {
            AofReplyAfter::Default if fsync == Fsync::Always => ReplyAfter::Durable,
            AofReplyAfter::Default | AofReplyAfter::Written => ReplyAfter::Written,
            AofReplyAfter::Durable => ReplyAfter::Durable,
            AofReplyAfter::Memory => ReplyAfter::Memory,
        };
        let lag_max = config.client_output_buffer_limit.of(ClientClass::Replica).hard_bytes;
        // A smaller limit than the backlog would drop replicas for what is kept for them anyway.
        let lag_max = if lag_max == 0 { 0 } else { lag_max.max(config.repl_backlog_size) };
        self.journal.stream.set_limits(config.repl_backlog_size, lag_max);
        self.count_good_replicas(clock::now_ms());
        let batch_commands = u64::from(config.aof_batch_commands);
        self.journal.set_policy(fsync, reply_after, config.aof_timestamp_enabled, batch_commands);
        self.clients.set_output_limits(&config.client_output_buffer_limit);
        self.scripts.deprecated_api.store(config.lua_enable_deprecated_api, Relaxed);
        *self.scripts.version.write() = config.compatibility_level.redis_version();
        let Observatory { slowlog, large_requests, large_replies, .. } = &self.observatory;
        slowlog.set_max_len(config.slowlog_max_len);
        large_requests.set_max_len(usize::try_from(config.commandlog_large_request_max_len).unwrap_or(usize::MAX));
        large_replies.set_max_len(usize::try_from(config.commandlog_large_reply_max_len).unwrap_or(usize::MAX));
        self.observatory.set_latency_tracking(config.latency_tracking);
        process::crash::apply(&config);
        // Where the allocator has no such thread, there is nothing to switch.
        let _ = crate::mallctl::set(b"background_thread", config.jemalloc_bg_thread.into());
    }

    /// A log is being turned on, and its first base is not in force: what it holds so far is in no manifest.
    pub fn is_first_log_in_the_making(&self) -> bool {
        let rewrites = self.walks.is_running(Job::Rewrite) || self.walks.is_waiting(Job::Rewrite);
        rewrites && self.aof.wanted.load(Relaxed) && (self.aof.begins.load(Relaxed) || !self.journal.is_on())
    }

    /// Offset up to which a start from the log's files would find everything; none while there is no log, or none that has
    /// its first base yet.
    pub fn durable_log(&self) -> Option<u64> {
        let is_whole = self.journal.is_on() && !self.aof.begins.load(Relaxed);
        is_whole.then(|| self.journal.durable())
    }

    /// Tells the keyspace which changes are to be told: keyspace events by class, and all where some client tracks by
    /// prefixes.
    pub fn apply_events(&self) {
        let wanted = self.config.load().notify_keyspace_events;
        let classes = wanted.letters_to_read().replace('A', "g$lshzxetd");
        let heard = wanted.has(KeyspaceEvents::KEYSPACE | KeyspaceEvents::KEYEVENT);
        let events = classes.bytes().filter(|_| heard).fold(0, |classes, letter| classes | event_class(letter));
        let broadcast = if self.pubsub.prefixes() > 0 { BROADCAST } else { 0 };
        self.keyspace.settings.events.store(events | broadcast, Relaxed);
    }

    /// When the last snapshot was written, or the server started.
    pub fn last_save_ms(&self) -> Millis {
        self.rdb.last_save_ms.load(Relaxed).max(self.life.started_ms)
    }

    /// `CONFIG SET appendonly`: begins a log with a new base from this instant, or ends it. Errors are for the client.
    pub fn switch_log(&self, on: bool) -> Result<(), String> {
        if self.aof.wanted.swap(on, Relaxed) == on {
            return Ok(());
        }
        if on {
            // The rewrite's cut turns recording on; until its base is in force the old set of files stays.
            self.walks.ask(Job::Rewrite, true, false);
            return Ok(());
        }
        self.journal.detach();
        if self.walks.cancel(Job::Rewrite) {
            crate::log::notice!("Killing AOF child: the rewrite in progress has no log to be the base of");
        }
        *self.aof.files.lock() = None;
        Ok(())
    }

    /// Puts a command into a log of the observatory. `cost`: the microseconds or bytes that it is there for.
    #[cold]
    pub fn log_command(
        &self,
        log: impl Fn(&Observatory) -> &Slowlog,
        argv: ArgvView<'_>,
        cost: u64,
        client: &Client,
        now: Millis,
    ) {
        let name = client.facts.names.lock().name.clone();
        log(&self.observatory).push(now / 1000, cost, argv.iter(), client.address.clone(), &name);
    }
}
