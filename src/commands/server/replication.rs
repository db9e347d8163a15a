//! INFO replication: the fields of Redis 7.0, in its order. Those of a replica stand only on one.

use super::info::{Field, Reading, Value};
use crate::replication::{Failover, Link};
use std::sync::atomic::Ordering::Relaxed;

pub const FIELDS: &[Field] = &[
    field("role", |r| if r.node.replication.is_replica() { "slave" } else { "master" }.into()),
    field("master_host", |r| of_link(r, |link| link.primary.as_ref().map_or(String::new(), |p| p.host.clone()).into())),
    field("master_port", |r| of_link(r, |link| link.primary.as_ref().map_or(0, |p| p.port).into())),
    field("master_link_status", |r| of_link(r, |link| if link.state.is_connected() { "up" } else { "down" }.into())),
    field("master_last_io_seconds_ago", |r| {
        let (now, never) = (r.now, -1i64);
        of_link(r, |link| if link.state.is_connected() { (now - link.heard_ms).max(0) / 1000 } else { never }.into())
    }),
    field("master_sync_in_progress", |r| of_link(r, |link| link.is_syncing().into())),
    field("slave_read_repl_offset", |r| {
        of_link(r, |_| (r.node.journal.stream.end() + r.node.replication.read_ahead.load(Relaxed)).into())
    }),
    field("slave_repl_offset", |r| of_link(r, |_| r.node.journal.stream.end().into())),
    field("master_sync_total_bytes", |r| of_sync(r, |link| link.sync_total.into())),
    field("master_sync_read_bytes", |r| of_sync(r, |link| link.sync_read.into())),
    field("master_sync_left_bytes", |r| of_sync(r, |link| (link.sync_total - link.sync_read as i64).into())),
    field("master_sync_perc", |r| of_sync(r, |link| percent(link.sync_read, link.sync_total))),
    field("master_sync_last_io_seconds_ago", |r| of_sync(r, |link| ((r.now - link.heard_ms).max(0) / 1000).into())),
    field("master_link_down_since_seconds", |r| {
        of_link(r, |link| match link.state.is_connected() {
            true => Value(None),
            false if link.down_since_ms == 0 => (-1i64).into(),
            false => ((r.now - link.down_since_ms).max(0) / 1000).into(),
        })
    }),
    field("slave_priority", |r| on_replica(r, r.config.replica_priority.into())),
    field("slave_read_only", |r| on_replica(r, r.config.replica_read_only.into())),
    field("replica_announced", |r| on_replica(r, r.config.replica_announced.into())),
    field("connected_slaves", |r| r.node.replication.replicas().len().into()),
    field("min_slaves_good_slaves", |r| {
        let counts = r.config.min_replicas_to_write > 0 && r.config.min_replicas_max_lag > 0;
        if counts { r.node.replication.good().into() } else { Value(None) }
    }),
    field("", replicas),
    field("master_failover_state", |r| failover_state(r).into()),
    field("master_replid", |r| r.node.journal.stream.id().into()),
    field("master_replid2", |r| {
        r.node.journal.stream.figures().second.map_or_else(|| NO_ID.to_owned(), |second| second.id).into()
    }),
    field("master_repl_offset", |r| r.node.journal.stream.end().into()),
    field("second_repl_offset", |r| {
        r.node.journal.stream.figures().second.map_or_else(|| "-1".to_owned(), |second| second.until.to_string()).into()
    }),
    field("repl_backlog_active", |r| r.node.journal.stream.is_on().into()),
    field("repl_backlog_size", |r| r.config.repl_backlog_size.into()),
    field("repl_backlog_first_byte_offset", |r| {
        let figures = r.node.journal.stream.figures();
        if figures.is_on { figures.start + 1 } else { 0 }.into()
    }),
    field("repl_backlog_histlen", |r| {
        let figures = r.node.journal.stream.figures();
        (figures.end - figures.start).into()
    }),
];

const fn field(name: &'static str, value: fn(&Reading<'_>) -> Value) -> Field {
    Field { name, value }
}

fn of_link(r: &Reading<'_>, value: impl Fn(&Link) -> Value) -> Value {
    let link = r.node.replication.link();
    if link.primary.is_some() { value(&link) } else { Value(None) }
}

fn of_sync(r: &Reading<'_>, value: impl Fn(&Link) -> Value) -> Value {
    of_link(r, |link| if link.is_syncing() { value(link) } else { Value(None) })
}

fn on_replica(r: &Reading<'_>, value: Value) -> Value {
    if r.node.replication.is_replica() { value } else { Value(None) }
}

/// A line for each replica, oldest first.
fn replicas(r: &Reading<'_>) -> Value {
    let lines = r.node.replication.replicas().into_iter().enumerate().map(|(i, replica)| {
        let lag = if replica.is_online() { (r.now - replica.acked_ms()).max(0) / 1000 } else { 0 };
        let (ip, port, state, offset) = (replica.ip(), replica.offered.port, replica.stage().name(), replica.acked());
        format!("slave{i}:ip={ip},port={port},state={state},offset={offset},lag={lag}")
    });
    let lines: Vec<_> = lines.collect();
    Value((!lines.is_empty()).then(|| lines.join("\r\n")))
}

fn failover_state(r: &Reading<'_>) -> &'static str {
    match &*r.node.replication.failover.lock() {
        None => "no-failover",
        Some(Failover::WaitForSync { .. }) => "waiting-for-sync",
        Some(Failover::InProgress { .. }) => "failover-in-progress",
    }
}

fn percent(read: u64, total: i64) -> Value {
    let share = if total > 0 { read as f64 / total as f64 * 100.0 } else { 0.0 };
    format!("{share:.2}").into()
}

const NO_ID: &str = "0000000000000000000000000000000000000000";
