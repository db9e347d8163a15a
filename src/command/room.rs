//! `maxmemory`: makes room before a command that may need it, by the policy, or refuses.
//!
//! Evictions are units of their own: each locks its key's stripe, propagates a DEL, and is counted. They happen before
//! the command's own locks are taken, at most [`EVICTIONS_MAX`] for one command, so that no client waits for a storm.

use super::line::Viewer;
use super::registry::{Registry, Row};
use super::turn::Turn;
use super::unit;
use super::{DENYOOM, Error, RUNS_QUEUE, Session};
use crate::clients::{Client, Pause, Unread};
use crate::clock::Millis;
use crate::config::choices::MaxmemoryPolicy;
use crate::keyspace::evict::{Policy, Rank};
use crate::keyspace::{AccessMode, Db};
use crate::memory;
use crate::node::Node;
use crate::observe::WorkerStats;
use std::sync::Arc;

#[inline(always)]
pub fn ensure(turn: &mut Turn<'_>, session: &Session, row: Row) -> Result<(), Error> {
    if turn.config.maxmemory == 0 { Ok(()) } else { ensure_within(turn, session, row) }
}

fn ensure_within(turn: &mut Turn<'_>, session: &Session, row: Row) -> Result<(), Error> {
    if session.is_replayed() {
        return Ok(());
    }
    let limit = turn.config.maxmemory;
    let to_free = excess(turn.node, limit);
    // The limit is kept without what is buried: with it, it should be as well, now or soon.
    let buried = i64::try_from(turn.node.keyspace.buried_bytes()).unwrap_or(i64::MAX);
    if buried > 0 && to_free.saturating_add(buried) > 0 && turn.inside.is_some() {
        turn.node.keyspace.sweep_soon(turn.thread);
    }
    if to_free <= 0 {
        return Ok(());
    }
    if leaves_it_to_the_primary(turn) {
        return Ok(());
    }
    // A pause holds back what changes data, and evictions are changes: who would need them waits as well.
    if turn.node.clients.paused(turn.now) != Pause::None {
        return Ok(());
    }
    let wants = row.command.has(DENYOOM) || (row.command.has(RUNS_QUEUE) && queue_wants(session));
    if readers_go_first(turn, to_free) || make_room(turn, limit, to_free) || !wants {
        Ok(())
    } else {
        Err(OUT_OF_MEMORY)
    }
}

/// Evicts while no command asks for memory: after `CONFIG SET maxmemory`, or when memory grew by itself. Returns whether
/// there is more to do.
pub fn relieve(turn: &mut Turn<'_>) -> bool {
    let limit = turn.config.maxmemory;
    let to_free = excess(turn.node, limit);
    limit > 0
        && to_free > 0
        && !leaves_it_to_the_primary(turn)
        && turn.node.clients.paused(turn.now) == Pause::None
        && !readers_go_first(turn, to_free)
        && make_room(turn, limit, to_free)
        && is_over(turn.node, limit)
}

/// Whether the limit is passed.
pub fn is_over(node: &Node, maxmemory: u64) -> bool {
    maxmemory > 0 && excess(node, maxmemory) > 0
}

/// `replica-ignore-maxmemory`: what the primary evicts is gone here as well.
fn leaves_it_to_the_primary(turn: &Turn<'_>) -> bool {
    turn.node.replication.is_replica() && turn.config.replica_ignore_maxmemory
}

/// The memory that `maxmemory` counts: evicting keys makes the others grow.
pub(super) fn counted(node: &Node) -> u64 {
    memory::used().saturating_sub(node.not_counted_for_eviction())
}

fn queue_wants(session: &Session) -> bool {
    session.queue.as_ref().is_some_and(|q| q.commands.iter().any(|(row, _)| row.command.has(DENYOOM)))
}

/// By how much the limit is passed. Invalidations that tell of evictions take memory until they leave: were they judged,
/// evictions would bring on others.
fn excess(node: &Node, limit: u64) -> i64 {
    let beyond = beyond(node, limit);
    if beyond <= 0 { beyond } else { beyond - node.clients.trackers.waiting_bytes() as i64 }
}

fn beyond(node: &Node, limit: u64) -> i64 {
    counted(node) as i64 - limit.min(i64::MAX as u64) as i64
}

/// Closes clients that do not read what takes the memory. True if that, or that they will, is reason enough to keep the keys.
fn readers_go_first(turn: &Turn<'_>, to_free: i64) -> bool {
    let (clients, to_free) = (&turn.node.clients, usize::try_from(to_free).unwrap_or(0));
    if clients.told_bytes() < to_free {
        return false;
    }
    match clients.take_unread(to_free, turn.now) {
        Unread::Little => false,
        Unread::Wait => turn.config.maxmemory_policy != MaxmemoryPolicy::Noeviction,
        Unread::Taken(readers) => {
            evict_clients(turn.registry, turn.stats, turn.now, &readers);
            true
        }
    }
}

/// Closes clients that were taken off the list for what they hold.
pub fn evict_clients(registry: &'static Registry, stats: &WorkerStats, now: Millis, taken: &[Arc<Client>]) {
    let viewer = Viewer::server(registry, now);
    for client in taken {
        crate::log::notice!("Evicting client: {}", viewer.line(client));
        stats.counters.evicted_clients.add(1);
        client.close();
    }
}

/// Evicts `to_free` bytes, or until the limit is kept, or the patience is over. True unless nothing can be evicted.
fn make_room(turn: &mut Turn<'_>, limit: u64, mut to_free: i64) -> bool {
    // In import mode the source says which keys go.
    let policy = policy(turn.config.maxmemory_policy).filter(|_| !turn.config.import_mode);
    let Some(policy) = policy else { return false };
    // As of now: clients share what tells of these evictions, and it is counted for each of them.
    let waiting = turn.node.clients.trackers.waiting_bytes() as i64;
    for _ in 0..EVICTIONS_MAX {
        // A value that is freed elsewhere, and what tells of the eviction, make the figure lag behind.
        if to_free <= 0 || beyond(turn.node, limit) <= waiting {
            return true;
        }
        match evict_one(turn, policy) {
            Some(freed) => to_free = to_free.saturating_sub(freed),
            None => return false,
        }
    }
    true
}

/// Answers the bytes that the victim took; none if there is no victim.
fn evict_one(turn: &mut Turn<'_>, policy: Policy) -> Option<i64> {
    let keyspace = &turn.node.keyspace;
    let samples = turn.config.maxmemory_samples as usize;
    let victim = keyspace.pick_victim(turn.thread, policy, samples, turn.now)?;
    let mode =
        AccessMode { keep_expired: true, lazy_free: turn.config.lazyfree_lazy_eviction, ..AccessMode::default() };
    let mut db = Db::new(victim.held, victim.db, turn.now, mode);
    let freed = db.inspect(&victim.key).map_or(0, |entry| entry.heap_bytes());
    if db.remove_as(&victim.key, b'e', "evicted") {
        turn.effects.add(victim.db, [unit::removal(db.mode.lazy_free), &victim.key].into_iter());
        db.release_emptied(&victim.key);
        turn.stats.counters.evicted_keys.add(1);
    }
    unit::end_alone(turn, db);
    Some(i64::try_from(freed).unwrap_or(i64::MAX))
}

fn policy(policy: MaxmemoryPolicy) -> Option<Policy> {
    use MaxmemoryPolicy::*;
    let (rank, volatile) = match policy {
        Noeviction => return None,
        // The clock tells the last write then.
        AllkeysLru | AllkeysLrm => (Rank::Lru, false),
        AllkeysLfu => (Rank::Lfu, false),
        AllkeysRandom => (Rank::Random, false),
        VolatileLru | VolatileLrm => (Rank::Lru, true),
        VolatileLfu => (Rank::Lfu, true),
        VolatileRandom => (Rank::Random, true),
        VolatileTtl => (Rank::Ttl, true),
    };
    Some(Policy { rank, volatile })
}

const OUT_OF_MEMORY: Error = Error::new("OOM command not allowed when used memory > 'maxmemory'.");
/// Evictions that one command pays for, at most; the next one goes on.
const EVICTIONS_MAX: usize = 64;
