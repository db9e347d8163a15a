//! Work by the clock, on threads of its own: expiry, rewrites, idle clients, samples.
//!
//! The **expirer** looks every few milliseconds for stripes with something due and removes it in slices of a few dozen
//! keys under one stripe's lock; after a millisecond of work it lets others run, so that a million keys due at once
//! take a second in the background and lengthen no client's tail. The **defragger** makes the visits that
//! `crate::defrag` asks for. The **cron** thread does the rest, ten times a second.

use crate::clients::Pause;
use crate::clock;
use crate::command::Registry;
use crate::command::turn::Turn;
use crate::command::waiting::serve_acknowledged;
use crate::command::{room, unit};
use crate::commands::connection::evict;
use crate::config::Config;
use crate::keyspace::expire::expire_slice;
use crate::keyspace::{AccessMode, Db};
use crate::node::{Loads, Node};
use crate::observe::WorkerStats;
use crate::persist::batcher::Pace;
use crate::persist::walks::Job;
use crate::persist::{rewrite, save};
use crate::process;
use crate::replication::own::OwnKey;
use crate::replication::{Failover, Replica, sync};
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// The service threads' numbers, behind the workers'.
#[derive(Clone, Copy)]
pub struct ServiceThreads {
    pub expirer: usize,
    pub rewriter: usize,
    pub main: usize,
    pub defragger: usize,
    pub linker: usize,
    pub migrator: usize,
}

impl ServiceThreads {
    pub const COUNT: usize = 6;

    pub fn after(workers: usize) -> Self {
        let (expirer, rewriter, main) = (workers, workers + 1, workers + 2);
        Self { expirer, rewriter, main, defragger: workers + 3, linker: workers + 4, migrator: workers + 5 }
    }
}

pub fn start(
    node: &'static Node,
    registry: &'static Registry,
    services: ServiceThreads,
    pace: &'static Pace,
) -> io::Result<()> {
    let stats = node.observatory.worker(services.expirer);
    std::thread::Builder::new()
        .name("expirer".into())
        .spawn(move || expire_loop(node, &stats, registry, services.expirer))?;
    let stats = node.observatory.worker(services.defragger);
    std::thread::Builder::new()
        .name("defragger".into())
        .spawn(move || defrag_loop(node, &stats, services.defragger))?;
    std::thread::Builder::new().name("walker".into()).spawn(move || walk_loop(node, services.rewriter))?;
    std::thread::Builder::new().name("cron".into()).spawn(move || cron_loop(node, registry, services, pace))?;
    Ok(())
}

fn expire_loop(node: &Node, stats: &WorkerStats, registry: &'static Registry, thread: usize) {
    let mut stripe = 0;
    loop {
        expire_own(node, stats, registry, thread);
        let now = clock::now_ms();
        let (due, earliest) = node.keyspace.next_due_stripe(stripe, now);
        match due {
            Some(found) if may_expire(node, now) => {
                stripe = expire_for_a_while(node, stats, registry, thread, found);
                std::thread::sleep(EXPIRE_REST);
            }
            held_up => {
                node.keyspace.expiry_lag_ms.store(0, Relaxed);
                match held_up {
                    Some(_) => std::thread::sleep(EXPIRE_LOOK_INTERVAL),
                    None => node.keyspace.sleep_until_due(now, earliest.min(now + EXPIRE_SLEEP_MAX_MS)),
                }
            }
        }
    }
}

/// A replica's primary does it, and an import's source.
fn may_expire(node: &Node, now: i64) -> bool {
    !node.replication.is_replica() && may_remove(node, now)
}

/// Not while loading, nor while CLIENT PAUSE keeps the data still.
fn may_remove(node: &Node, now: i64) -> bool {
    !node.keyspace.settings.active_expire_off.load(Relaxed)
        && node.life.loads() == Loads::Nothing
        && node.clients.paused(now) == Pause::None
        && !node.config.load().import_mode
}

/// Removes, for at most a millisecond, what is due of the keys that clients of a writable replica gave an expiry. Of a
/// chain of replicas only this one does: its own effects are not in the stream.
fn expire_own(node: &Node, stats: &WorkerStats, registry: &'static Registry, thread: usize) {
    let (own_keys, started) = (&node.replication.own_keys, Instant::now());
    if own_keys.is_empty() || !may_remove(node, clock::now_ms()) {
        return;
    }
    while started.elapsed() < EXPIRE_WORK
        && let Some(key) = own_keys.take_due(clock::now_ms())
    {
        see_to_own(node, stats, registry, thread, key);
    }
    for key in own_keys.take_bloated() {
        see_to_own(node, stats, registry, thread, key);
    }
    node.journal.flush();
}

fn see_to_own(node: &Node, stats: &WorkerStats, registry: &'static Registry, thread: usize, (index, key): OwnKey) {
    let mut turn = Turn::begin(node, stats, registry, thread);
    let mode = AccessMode { lazy_free: turn.config.lazyfree_lazy_expire, ..AccessMode::default() };
    let held = node.keyspace.lock_one(node.keyspace.place(&key).stripe as usize);
    let mut db = Db::new(held, index, turn.now, mode);
    if let Some(at) = db.expire_whole(&key) {
        node.replication.own_keys.remember(index, &key, at);
    }
    unit::end_alone(&mut turn, db);
}

/// Works through due stripes from `first` on for about a millisecond; returns where to go on.
fn expire_for_a_while(
    node: &Node,
    stats: &WorkerStats,
    registry: &'static Registry,
    thread: usize,
    first: usize,
) -> usize {
    let (started, mut stripe) = (Instant::now(), first);
    let began_us = clock::now_us();
    while started.elapsed() < EXPIRE_WORK {
        let now = clock::now_ms();
        let (Some(due), _) = node.keyspace.next_due_stripe(stripe, now) else { break };
        stripe = due;
        let mut turn = Turn::begin(node, stats, registry, thread);
        let mode = AccessMode { lazy_free: turn.config.lazyfree_lazy_expire, ..AccessMode::default() };
        let mut db = Db::new(node.keyspace.lock_one(stripe), 0, now, mode);
        let slice = expire_slice(&mut db, stripe, now, EXPIRE_KEYS_PER_SLICE);
        unit::append_expired(&mut turn, &mut db);
        unit::end_alone(&mut turn, db);
        drop(turn);
        node.keyspace.expiry_lag_ms.store(slice.lag_ms, Relaxed);
    }
    stats.counters.expire_cycle_us.add(clock::now_us().saturating_sub(began_us).max(0) as u64);
    let (took_ms, threshold_ms) = (started.elapsed().as_millis() as u64, node.config.load().latency_monitor_threshold);
    if threshold_ms > 0 && took_ms >= threshold_ms {
        node.observatory.monitor.add("expire-cycle", began_us / 1_000_000, took_ms);
    }
    node.journal.flush();
    stripe
}

fn defrag_loop(node: &Node, stats: &WorkerStats, thread: usize) {
    let (mut samples, mut sampled_ms) = (0, 0);
    loop {
        let (config, now) = (node.config.load_full(), clock::now_ms());
        if now.abs_diff(sampled_ms) >= CRON_INTERVAL.as_millis() as u64 {
            let _inside = node.keyspace.gate.enter(thread);
            node.keyspace.sample_ttls(now, samples);
            (samples, sampled_ms) = (samples + 1, now);
        }
        let rest = if node.defrag.is_wanted(&config) {
            // Inside for one visit at a time: who wants to own the world waits for no more.
            let _inside = node.keyspace.gate.enter(thread);
            let mut db = Db::new(node.keyspace.lock_none(), 0, clock::now_ms(), AccessMode::default());
            node.defrag.visit(&mut db, &config, &node.observatory, stats)
        } else {
            CRON_INTERVAL
        };
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
    }
}

fn cron_loop(node: &'static Node, registry: &'static Registry, services: ServiceThreads, pace: &Pace) {
    let stats = node.observatory.worker(services.rewriter);
    let (mut last_ping_ms, mut is_over) = (clock::now_ms(), false);
    loop {
        node.keyspace.rest_and_sweep(CRON_INTERVAL);
        let (now, config) = (clock::now_ms(), node.config.load_full());
        node.observatory.tick(now);
        crate::memory::sample();
        node.keyspace.sweep_graveyard();
        close_idle_clients(node, &config, now);
        evict::relieve(node, registry, &stats, &config);
        let was_over = std::mem::replace(&mut is_over, room::is_over(node, config.maxmemory));
        // At two looks in a row: what a command takes while it builds its reply is soon known as its client's.
        if was_over && node.life.loads() == Loads::Nothing {
            // A slice for each turn, so that a command may come in between.
            while room::relieve(&mut Turn::begin(node, &stats, registry, services.main)) {}
        }
        pace.interval_ms.store(u64::from(config.aof_batch_interval_ms), Relaxed);
        pace.hold_fsync.store(config.no_appendfsync_on_rewrite && node.walks.is_running(Job::Rewrite), Relaxed);
        if node.keyspace.tracked.is_over() {
            trim_tracked(node, &stats, registry, services.main);
        }
        if wants_rewrite(node, &config, now) {
            node.walks.ask(Job::Rewrite, true, false);
        }
        node.tls.reload_if_changed(&config, now);
        save_if_due(node, &config, now);
        replicate(node, &config, now, &mut last_ping_ms);
    }
}

/// `tracking-table-max-keys` was lowered, or keys were noted in stripes that hold no other.
fn trim_tracked(node: &Node, stats: &WorkerStats, registry: &'static Registry, thread: usize) {
    for stripe in 0..node.keyspace.stripes() {
        let mut turn = Turn::begin(node, stats, registry, thread);
        let mut db = Db::new(node.keyspace.lock_one(stripe), 0, turn.now, AccessMode::default());
        db.trim_tracked(stripe);
        unit::end_alone(&mut turn, db);
    }
}

fn close_idle_clients(node: &Node, config: &Config, now: i64) {
    if config.timeout == 0 {
        return;
    }
    let limit_ms = i64::from(config.timeout) * 1000;
    for client in node.clients.list() {
        let idle = now - client.facts.last_active_ms.load(Relaxed);
        let facts = &client.facts;
        let is_server = facts.is_replica.load(Relaxed) || facts.is_primary.load(Relaxed);
        if idle > limit_ms && !facts.is_waiting() && !facts.monitor.load(Relaxed) && !is_server {
            crate::log::verbose!("Closing idle client");
            client.close();
        }
    }
}

fn wants_rewrite(node: &Node, config: &Config, now: i64) -> bool {
    let aof = &node.aof;
    if node.walks.is_running(Job::Rewrite) || node.walks.is_waiting(Job::Rewrite) || node.life.loads() != Loads::Nothing
    {
        return false;
    }
    if !aof.wanted.load(Relaxed) || now < aof.retry_at_ms.load(Relaxed) {
        return false;
    }
    // A log that could not begin, or cannot go on in its file.
    if !node.journal.is_on() || node.journal.needs_new_file() {
        return true;
    }
    let base = node.journal.stats.base_bytes.load(Relaxed).max(1);
    let size = node.journal.size();
    let grown = size.saturating_sub(base).saturating_mul(100) / base;
    let percentage = u64::from(config.auto_aof_rewrite_percentage);
    if percentage > 0 && size > config.auto_aof_rewrite_min_size && grown >= percentage {
        crate::log::notice!("Starting automatic rewriting of AOF on {grown}% growth");
        return true;
    }
    false
}

/// Asks for the snapshot that a save point calls for, unless a walk is in progress.
fn save_if_due(node: &Node, config: &Config, now: i64) {
    let changes = node.observatory.counts().changes;
    if node.life.loads() != Loads::Nothing || !node.walks.is_idle() {
        return;
    }
    if let Some((changes, seconds)) = node.rdb.reached(config, changes, node.life.started_ms, now) {
        crate::log::notice!("{changes} changes in {seconds} seconds. Saving...");
        node.walks.ask(Job::Save, false, false);
    }
}

/// A primary's part of replication: full syncs that are due, pings, replicas that are counted, the end of the backlog, and
/// a failover in progress.
fn replicate(node: &Node, config: &Config, now: i64, last_ping_ms: &mut i64) {
    let replication = &node.replication;
    if replication.is_awaited() {
        serve_acknowledged(node);
    }
    fail_over(node, now);
    node.count_good_replicas(now);
    if sync::is_due(replication, config, now) && !node.walks.is_waiting(Job::Sync) {
        node.walks.ask(Job::Sync, true, false);
    }
    let stream = &node.journal.stream;
    if replication.is_replica() || !stream.has_cursors() {
        *last_ping_ms = now;
    }
    if replication.is_replica() || !stream.is_on() {
        return;
    }
    let is_failing_over = replication.failover.lock().is_some();
    if !stream.has_cursors() {
        let ttl_ms = config.repl_backlog_ttl.saturating_mul(1000);
        // A history that a data file tells of waits for its replicas from now on.
        let _ = replication.alone_since_ms.compare_exchange(0, now as u64, Relaxed, Relaxed);
        let alone_ms = (now as u64).saturating_sub(replication.alone_since_ms.load(Relaxed));
        if ttl_ms > 0 && alone_ms > ttl_ms && replication.replicas().is_empty() && stream.stop() {
            crate::log::notice!(
                "Replication backlog freed after {} seconds without connected replicas.",
                config.repl_backlog_ttl
            );
        }
    } else if now - *last_ping_ms >= i64::from(config.repl_ping_replica_period) * 1000 && !is_failing_over {
        *last_ping_ms = now;
        stream.append_for_replicas(PING);
    }
}

/// FAILOVER: once a replica has everything, this server follows it and asks it to take over.
fn fail_over(node: &Node, now: i64) {
    let Some(Failover::WaitForSync { target, deadline_ms, force }) = node.replication.failover.lock().clone() else {
        return;
    };
    let end = node.journal.stream.end();
    let is_wanted = |replica: &Replica| target.as_ref().is_none_or(|target| *target == replica.place());
    let replicas = node.replication.replicas();
    let synced = replicas.iter().find(|replica| replica.is_online() && replica.acked() >= end && is_wanted(replica));
    let is_late = deadline_ms.is_some_and(|deadline| now > deadline);
    let target = match (synced, target) {
        (Some(replica), _) => replica.place(),
        (None, Some(target)) if is_late && force => {
            crate::log::notice!("Failover to {}:{} time out exceeded, failing over.", target.host, target.port);
            target
        }
        (None, _) if is_late => {
            let _world = node.keyspace.gate.exclusive();
            return node.abort_failover("Failover attempt timed out");
        }
        (None, _) => return,
    };
    let exclusive = node.keyspace.gate.exclusive();
    if node.replication.failover.lock().is_none() {
        // FAILOVER ABORT was first.
        return;
    }
    crate::log::notice!("Failover target is {}:{}", target.host, target.port);
    *node.replication.failover.lock() = Some(Failover::InProgress { target: target.clone() });
    node.demote(target);
    node.replication.link().takes_over = true;
    drop(exclusive);
}

/// Runs the walks. Saves and rewrites let the workers go first, on a thread for each: what has stepped back may not step
/// forward again. A replica that waits for its data, or a log that is to begin, is no work in the background: with other
/// processes on the cores, one that steps back gets next to nothing.
fn walk_loop(node: &'static Node, thread: usize) -> ! {
    process::take_small_slices(0);
    node.walks.serve(&node.keyspace.gate, |job| {
        let is_awaited = job == Job::Sync || job == Job::Rewrite && node.is_first_log_in_the_making();
        let in_background = || {
            process::step_back();
            walk(node, thread, job);
        };
        let has_run = !is_awaited
            && std::thread::scope(|scope| {
                std::thread::Builder::new().name("walker".into()).spawn_scoped(scope, in_background).is_ok()
            });
        if !has_run {
            walk(node, thread, job);
        }
    })
}

fn walk(node: &Node, thread: usize, job: Job) {
    let Node { keyspace, rdb, aof, journal, walks, .. } = node;
    let (config, libraries) = (&node.config.load_full(), &node.scripts.libraries);
    match job {
        Job::Save => {
            let changes = || (node.observatory.counts().changes, journal.stream.history());
            save::Save { keyspace, rdb, walks, libraries, config, thread, changes: &changes }.run();
        }
        Job::Sync => {
            let (replication, storage) = (&node.replication, &rdb.storage);
            let started_ms = &rdb.started_ms;
            sync::FullSync { keyspace, replication, journal, storage, walks, libraries, config, started_ms, thread }
                .run();
        }
        Job::Rewrite => {
            // The outcome is in the log and in INFO.
            let _ = rewrite::Rewrite { keyspace, journal, aof, walks, libraries, config, thread }.run();
        }
    }
}

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const CRON_INTERVAL: Duration = Duration::from_millis(100);
/// While expiry is held up.
const EXPIRE_LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// The wall clock may jump.
const EXPIRE_SLEEP_MAX_MS: i64 = 100;
const EXPIRE_KEYS_PER_SLICE: usize = 32;
const EXPIRE_WORK: Duration = Duration::from_millis(1);
const EXPIRE_REST: Duration = Duration::from_micros(200);
