//! The unit: what is atomic and enters the journal as one record. A command, an EXEC, a served waiter, a removal by expiry
//! or eviction: each is opened over the locks of its keys and has its end here, in [`end`].
//!
//! Under the locks the unit's effects are appended to the journal and what it tells others (keyspace events, messages,
//! invalidations) is sent, so that two threads that change one key are heard in the order in which they changed it.
//! After the locks what it freed goes to the reaper, keys that a walk met due are removed in units of their own, and the
//! caller serves the waiters of keys that became ready.
//! Cost: a unit that told nothing and freed nothing asks one pointer.

use super::RUNS_SCRIPT;
use super::ctx::{Ctx, Reply, Surroundings, Unfinished};
use super::effects::Effects;
use super::monitor_line;
use super::registry::Row;
use super::run::run_handler;
use super::scripts::{Anew, Departure};
use super::session::Session;
use super::turn::Turn;
use super::waiting;
use crate::clients::Push;
use crate::config::events::KeyspaceEvents;
use crate::keyspace::entry::Body;
use crate::keyspace::waiting::Waiter;
use crate::keyspace::walk::Garbage;
use crate::keyspace::{AccessMode, Db, Event, Expired, Held, Hints, Lapsed, Notice, SideEffects};
use crate::node::Node;
use crate::observe::WorkerStats;
use crate::persist::replay;
use crate::resp::{ArgvView, Out, encode_request};
use crate::types::Value;
use std::sync::atomic::Ordering::Relaxed;

/// A request that passed the gates.
pub(super) struct Passed<'a> {
    pub row: Row,
    pub argv: ArgvView<'a>,
    pub canonical: bool,
    /// A parked command is tried again.
    pub again: Option<&'a Waiter>,
}

/// How a unit ended. Two pointers, which a call returns in registers.
pub(super) struct Ended {
    /// What is left to do: for the waiters of its keys, and for emptied databases, to be freed outside the gate.
    pub side_effects: Option<Box<SideEffects>>,
    /// Its command did not end with it.
    pub not_ended: Option<Box<NotEnded>>,
}

/// How a command goes on behind its unit.
pub(super) enum NotEnded {
    /// It found nothing and waits.
    Waits,
    /// It was taken back and is to run again.
    Anew(Anew),
    /// It goes on in another thread, which ends it.
    Leaves(Box<Departure>),
}

/// Runs a command as a unit, under its locks, which are released at its end.
#[inline]
pub(super) fn unit(
    turn: &mut Turn<'_>,
    session: &mut Session,
    passed: &Passed<'_>,
    hints: Hints,
    held: Held<'_>,
    out: &mut Vec<u8>,
) -> Ended {
    let Passed { row, argv, canonical, again } = *passed;
    let mut db = open(turn, session, held);
    db.hint(hints);
    let around = Surroundings { node: turn.node, config: &turn.config, stats: turn.stats, registry: turn.registry };
    let reply = Reply(Out::new(out, session.proto));
    let mut ctx = Ctx::new(around, (row, argv), &mut db, reply, session, &mut turn.effects);
    (ctx.canonical, ctx.may_wait, ctx.again) = (canonical, true, again.is_some());
    ctx.may_leave = turn.home.is_some();
    let began = turn.tick;
    turn.tick = run_handler(&mut ctx, began);
    let unfinished = ctx.unfinished.take();
    if again.is_none() && ctx.node.clients.monitors.any() && !row.command.has(RUNS_SCRIPT) {
        monitor_line::show(&ctx);
    }
    if let Some(unfinished) = unfinished {
        return put_off(turn, session, passed, (db, began), *unfinished);
    }
    if let Some(waiter) = again {
        waiter.claims.served();
        db.unpark(waiter);
    }
    Ended { side_effects: end(turn, db, session.client.id), not_ended: None }
}

/// The end of a unit whose command goes on. `began`: its first tick.
#[cold]
fn put_off(
    turn: &mut Turn<'_>,
    session: &mut Session,
    passed: &Passed<'_>,
    (mut db, began): (Db<'_>, u64),
    unfinished: Unfinished,
) -> Ended {
    let not_ended = match (unfinished, passed.again) {
        (Unfinished::Leaves(script), _) => {
            let (command, effects) = ((passed.row, passed.argv), std::mem::take(&mut turn.effects));
            let departure = Departure::new(script, command, began, db, session, effects);
            return Ended { side_effects: None, not_ended: Some(Box::new(NotEnded::Leaves(Box::new(departure)))) };
        }
        (Unfinished::Waits(wait), None) => {
            waiting::park(turn.node, &mut db, session, passed, wait);
            NotEnded::Waits
        }
        (Unfinished::Waits(wait), Some(waiter)) => {
            waiter.look_at.store(wait.look_at.unwrap_or(i64::MAX), Relaxed);
            NotEnded::Waits
        }
        (Unfinished::Anew(anew), again) => {
            if let Some(waiter) = again {
                waiter.claims.served();
                db.unpark(waiter);
            }
            NotEnded::Anew(anew)
        }
    };
    Ended { side_effects: end(turn, db, session.client.id), not_ended: Some(Box::new(not_ended)) }
}

/// The beginning of a unit: the session's database over the locks of the unit's keys.
#[inline]
fn open<'k>(turn: &Turn<'k>, session: &Session, held: Held<'k>) -> Db<'k> {
    let mode = AccessMode {
        no_touch: session.no_touch,
        keep_expired: session.is_replayed() || session.import_source && turn.config.import_mode,
        hide_expired: turn.hides_expired,
        owns: turn.is_replica && !session.is_replayed(),
        lazy_free: true,
    };
    Db::new(held, session.db, turn.now, mode)
}

/// The end of every unit. Appends its effects, sends what it tells others, counts, and releases its locks. `by`: the id of
/// the client whose command it was; 0 for none. Returns what is left to do for the caller: the waiters of keys that became
/// ready, and emptied databases.
#[inline(always)]
pub(super) fn end(turn: &mut Turn<'_>, mut db: Db<'_>, by: u64) -> Option<Box<SideEffects>> {
    if db.changes.did_seldom() {
        tell_counters(&mut db, &mut turn.effects);
        note_expired(db.changes.take_expired(), &mut turn.effects, turn.stats, db.mode.lazy_free);
    }
    if !turn.effects.is_empty() {
        turn.append_effects();
    }
    let (changes, counters) = (&db.changes, &turn.stats.counters);
    counters.keyspace_hits.add(changes.hits);
    counters.keyspace_misses.add(changes.misses);
    if changes.dirty > 0 {
        counters.changes.add(changes.dirty);
    }
    let side_effects = db.changes.take_side_effects()?;
    Some(end_rarely(turn, db, side_effects, by))
}

/// The end of a unit that did what few do.
#[cold]
fn end_rarely(turn: &mut Turn<'_>, db: Db<'_>, mut side_effects: Box<SideEffects>, by: u64) -> Box<SideEffects> {
    if !side_effects.notices.is_empty() {
        tell(turn, &std::mem::take(&mut side_effects.notices), by);
    }
    drop(db);
    side_effects.garbage.drain(..).for_each(|value| turn.node.reaper.send(Garbage::Value(value)));
    expire_met(turn, std::mem::take(&mut side_effects.met_due));
    for (index, key, at) in side_effects.owned.drain(..) {
        turn.node.replication.own_keys.remember(index, &key, at);
    }
    side_effects
}

/// Adds the counters of streams, as the unit left them, to its effects.
fn tell_counters(db: &mut Db<'_>, effects: &mut Effects) {
    let mut counted = std::mem::take(&mut db.changes.side_effects().counted);
    counted.sort_unstable();
    counted.dedup();
    for (index, key, of_groups) in counted {
        db.select(index);
        if let Some(Body::Value(Value::Stream(stream))) = db.inspect_even_due(&key).as_ref().map(|entry| entry.body()) {
            replay::tell_counters(&key, stream, of_groups, &mut |args| effects.add_newer(index, args));
        }
    }
}

/// The end of a unit in which no client's command runs: commands that wait for its keys are served too. Inside the gate.
pub fn end_alone(turn: &mut Turn<'_>, db: Db<'_>) {
    if let Some(side_effects) = end(turn, db, 0) {
        waiting::serve(turn, side_effects.ready);
    }
}

/// Runs `work` as a unit that owns the world, in which no client's command runs. What it does is in no journal.
pub fn alone<R>(turn: &mut Turn<'_>, work: impl FnOnce(&mut Db<'_>) -> R) -> R {
    let node = turn.node;
    turn.inside = None;
    let exclusive = node.keyspace.gate.exclusive();
    let mode = AccessMode { keep_expired: true, ..AccessMode::default() };
    let mut db = Db::new(node.keyspace.own_world(&exclusive), 0, turn.now, mode);
    let done = work(&mut db);
    let side_effects = end(turn, db, 0);
    drop(exclusive);
    turn.enter_again();
    side_effects.into_iter().for_each(|side_effects| waiting::serve(turn, side_effects.ready));
    done
}

/// Sends keyspace events and messages to their subscribers, in the order in which the unit told them.
#[cold]
fn tell(turn: &mut Turn<'_>, notices: &[Notice], by: u64) {
    let (pubsub, clients, at) = (&turn.node.pubsub, &turn.node.clients, turn.journal_end);
    let wanted = turn.config.notify_keyspace_events;
    let (mut sent, mut all_told) = (0, false);
    for notice in notices {
        sent += match notice {
            Notice::Event(Event { name, db, key, .. }) => {
                let mut sent = 0;
                if wanted.has(KeyspaceEvents::KEYSPACE) {
                    let channel = [format!("__keyspace@{db}__:").as_bytes(), key].concat();
                    sent += pubsub.publish(clients, &channel, name.as_bytes(), at);
                }
                if wanted.has(KeyspaceEvents::KEYEVENT) {
                    sent += pubsub.publish(clients, format!("__keyevent@{db}__:{name}").as_bytes(), key, at);
                }
                sent
            }
            Notice::Message { shard, channel, payload } => {
                pass_on_message(turn.node, *shard, channel, payload);
                match shard {
                    false => pubsub.publish(clients, channel, payload, at),
                    true => pubsub.publish_to_shard(clients, channel, payload, at),
                }
            }
            Notice::Stale { key, noted, .. } => {
                let heard = noted.iter().filter(|tracker| tracker.hears(by));
                let push = Push::invalid(&[key]);
                heard.map(|tracker| tracker.send(clients, &push, at)).count()
            }
            Notice::AllStale if std::mem::replace(&mut all_told, true) => 0,
            Notice::AllStale => {
                let all = clients.trackers.list();
                all.iter().map(|tracker| tracker.send(clients, &Push::Invalid(None), at)).count()
            }
        };
    }
    let changed = notices.iter().filter_map(|notice| match notice {
        Notice::Stale { key, changed: true, .. } => Some(&**key),
        _ => None,
    });
    let changed: Vec<&[u8]> = changed.collect();
    if !changed.is_empty() {
        sent += pubsub.broadcast(clients, &changed, by, at);
    }
    turn.pushed |= sent > 0;
}

/// Replicas get a primary's messages, which are in no log.
fn pass_on_message(node: &Node, shard: bool, channel: &[u8], payload: &[u8]) {
    if node.journal.stream.is_on() {
        let (name, mut command): (&[u8], _) = (if shard { b"SPUBLISH" } else { b"PUBLISH" }, Vec::new());
        encode_request(&mut command, [name, channel, payload].into_iter());
        node.journal.stream.append_message(&command);
    }
}

/// Removes the keys that a walk met due, each in a unit of its own; one that was written again since then stays.
fn expire_met(turn: &mut Turn<'_>, met_due: Vec<(usize, Box<[u8]>)>) {
    let (node, lazy_free) = (turn.node, turn.config.lazyfree_lazy_expire);
    for (index, key) in met_due {
        let held = node.keyspace.lock_one(node.keyspace.place(&key).stripe as usize);
        let mut db = Db::new(held, index, turn.now, AccessMode { lazy_free, ..AccessMode::default() });
        // Looking at a due key is what removes it.
        db.kind(&key);
        end_alone(turn, db);
    }
}

/// Appends what was found due, each key as a record of its own: none needs another, and a MULTI around thousands would hold
/// up a reader of the journal.
pub fn append_expired(turn: &mut Turn<'_>, db: &mut Db<'_>) {
    for expired in db.changes.take_expired() {
        note_expired(vec![expired], &mut turn.effects, turn.stats, db.mode.lazy_free);
        turn.append_effects();
    }
}

/// Counts what expired and adds it to the effects: DEL (or UNLINK) for keys, HDEL for fields.
pub fn note_expired(expired: Vec<Expired>, effects: &mut Effects, stats: &WorkerStats, lazy: bool) {
    let counters = &stats.counters;
    for Expired { db, key, what } in expired {
        match what {
            Lapsed::Key => counters.expired_keys.add(1),
            Lapsed::Fields(fields) => {
                counters.expired_subkeys.add(fields.len() as u64);
                for some in fields.chunks(FIELDS_PER_EFFECT) {
                    let front = [&b"HDEL"[..], &key].into_iter();
                    let args: Vec<&[u8]> = front.chain(some.iter().map(|field| &**field)).collect();
                    effects.add(db, args.into_iter());
                }
                continue;
            }
            Lapsed::Hash(fields) => counters.expired_subkeys.add(fields as u64),
        }
        effects.add(db, [removal(lazy), &key].into_iter());
    }
}

/// The command that stands for a removal by the server itself: UNLINK where `lazyfree-lazy-*` says so, as in Redis.
pub fn removal(lazy: bool) -> &'static [u8] {
    if lazy { b"UNLINK" } else { b"DEL" }
}

/// Fields in one HDEL of the log.
const FIELDS_PER_EFFECT: usize = 512;
