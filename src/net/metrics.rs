//! The server's figures for Prometheus and its like: what `/metrics` answers.
//!
//! Names and labels are redis_exporter's, so that its dashboards and alerts work unchanged: what INFO tells goes
//! through one table ([`SERIES`]), percentiles are `redis_latency_percentiles_usec`, histograms
//! `redis_commands_latencies_usec`. What Redis does not have is named `memkv_` and measured in seconds and bytes.
//! Invariant: histogram bounds are always the same ones, and counts in them never fall but at RESETSTAT or restart. Not
//! here: HTTP, and the form of the text (`exposition`). Cost: a millisecond or so, on the admin thread.

use super::exposition::{Format, Page};
use crate::clock;
use crate::commands::server::info::Figures;
use crate::config::{Config, cli, lookup};
use crate::node::Node;
use crate::observe::{CAUSES, CommandReport, LatencyReport, Snapshot};
use crate::replication::Replica;
use std::sync::atomic::Ordering::Relaxed;

/// The whole page.
pub fn render(node: &Node, format: Format) -> String {
    let (now, config) = (clock::now_ms(), node.config.load_full());
    let mut page = Page::new(format);
    instance(&mut page, node, &config);
    let figures = Figures::read(node, &config, now);
    series(&mut page, &figures);
    errors(&mut page, node);
    keyspace(&mut page, node, now);
    replication(&mut page, node, &figures, now);
    slow_log(&mut page, node);
    latency_events(&mut page, node);
    persistence(&mut page, node);
    workers(&mut page, node);
    let commands = node.observatory.commands();
    command_totals(&mut page, &commands);
    command_latencies(&mut page, &commands, &config.latency_tracking_info_percentiles);
    service(&mut page, &node.observatory.latency(now));
    page.end()
}

fn instance(page: &mut Page, node: &Node, config: &Config) {
    page.gauge("redis_up", "The server answers.", 1);
    let (port, pid) = (config.main_port().to_string(), std::process::id().to_string());
    let (build, policy) = (format!("{:016x}", cli::build_id()), policy_name(config));
    page.family("redis_instance", "info", "Who this is.");
    page.sample(
        "redis_instance_info",
        &[
            ("redis_version", config.compatibility_level.redis_version()),
            ("memkv_version", cli::VERSION),
            ("commit", cli::COMMIT),
            ("redis_build_id", &build),
            ("redis_mode", if config.cluster_enabled { "cluster" } else { "standalone" }),
            ("role", if node.replication.is_replica() { "slave" } else { "master" }),
            ("os", std::env::consts::OS),
            ("maxmemory_policy", &policy),
            ("process_id", &pid),
            ("run_id", &node.life.run_id),
            ("tcp_port", &port),
        ],
        1,
    );
    page.gauge("redis_start_time_seconds", "When the server started, in Unix time.", seconds(node.life.started_ms));
    page.gauge("redis_config_maxclients", "The directive maxclients.", config.maxclients);
    page.gauge("redis_config_maxmemory", "The directive maxmemory.", config.maxmemory);
}

/// How a figure of INFO is told.
#[derive(Clone, Copy)]
enum MetricKind {
    Gauge,
    /// Its series ends in `_total`, which the table leaves out.
    Counter,
    /// A name that redis_exporter gave to something that may fall.
    Unknown,
    /// 1 for "ok".
    Status,
}

/// What INFO tells, under redis_exporter's names. A figure that INFO leaves out at the moment has no series.
fn series(page: &mut Page, figures: &Figures) {
    for (field, name, kind, help) in SERIES {
        let Some(value) = figures.get(field) else { continue };
        let name = format!("redis_{name}");
        match kind {
            MetricKind::Status => page.gauge(&name, help, u8::from(value == "ok")),
            MetricKind::Counter => page.counter(&name, help, value),
            MetricKind::Gauge => page.gauge(&name, help, value),
            MetricKind::Unknown => {
                page.family(&name, "unknown", help);
                page.sample(&name, &[], value);
            }
        }
    }
}

fn policy_name(config: &Config) -> String {
    let row = lookup(b"maxmemory-policy").map(|(row, _)| row.get(config));
    String::from_utf8_lossy(&row.unwrap_or_default()).into_owned()
}

fn errors(page: &mut Page, node: &Node) {
    page.family("redis_errors", "counter", "Error replies by their first word.");
    for (kind, count) in node.observatory.errors.counts() {
        page.sample("redis_errors_total", &[("err", &String::from_utf8_lossy(&kind))], count);
    }
}

fn keyspace(page: &mut Page, node: &Node, now: i64) {
    let databases: Vec<_> =
        (0..node.keyspace.databases()).map(|db| (format!("db{db}"), node.keyspace.counts(db))).collect();
    page.family("redis_db_keys", "gauge", "Keys of a database.");
    for (name, (keys, _)) in &databases {
        page.sample("redis_db_keys", &[("db", name)], keys);
    }
    page.family("redis_db_keys_expiring", "gauge", "Keys of a database that have an expiry.");
    for (name, (_, expiring)) in &databases {
        page.sample("redis_db_keys_expiring", &[("db", name)], expiring);
    }
    page.family("redis_db_avg_ttl_seconds", "gauge", "Mean time that the keys with an expiry have left, from samples.");
    for (db, (name, _)) in databases.iter().enumerate() {
        page.sample("redis_db_avg_ttl_seconds", &[("db", name)], seconds(node.keyspace.average_ttl_ms(db)));
    }
    let lag_ms = node.keyspace.expiry_lag_ms.load(Relaxed).clamp(0, now.max(0));
    page.gauge("memkv_expiry_lag_seconds", "How late the last key was removed after its time.", seconds(lag_ms));
}

/// Replicas with what redis_exporter labels them by; on a replica, its link.
fn replication(page: &mut Page, node: &Node, figures: &Figures, now: i64) {
    let replicas = node.replication.replicas();
    let mut family = |name: &str, help: &str, value: &dyn Fn(&Replica) -> f64| {
        page.family(name, "gauge", help);
        for replica in &replicas {
            let (ip, port) = (replica.ip(), replica.offered.port.to_string());
            let labels = [("slave_ip", ip.as_str()), ("slave_port", &port), ("slave_state", replica.stage().name())];
            page.sample(name, &labels, value(replica));
        }
    };
    family("redis_connected_slave_offset_bytes", "How far a replica has told to be.", &|replica| {
        replica.acked() as f64
    });
    family("redis_connected_slave_lag_seconds", "How long ago it told so.", &|replica| {
        if replica.is_online() { seconds((now - replica.acked_ms()).max(0)) } else { 0.0 }
    });
    let primary = figures.get("master_host").zip(figures.get("master_port"));
    let labels = primary.map(|(host, port)| [("master_host", host), ("master_port", port)]);
    for (field, name, help) in LINK {
        page.family(name, "gauge", help);
        if let (Some(labels), Some(value)) = (labels, figures.get(field)) {
            let value = match value {
                "up" => "1",
                "down" => "0",
                number => number,
            };
            page.sample(name, &labels, value);
        }
    }
}

fn slow_log(page: &mut Page, node: &Node) {
    let log = &node.observatory.slowlog;
    let latest = log.get(1);
    page.gauge("redis_slowlog_length", "Entries in the slow log.", log.len());
    page.gauge("redis_slowlog_last_id", "The number of its last entry.", latest.first().map_or(0, |entry| entry.id));
    let us = latest.first().map_or(0, |entry| entry.cost);
    page.gauge("redis_last_slow_execution_duration_seconds", "How long that one took.", us as f64 / 1e6);
}

/// What LATENCY LATEST tells.
fn latency_events(page: &mut Page, node: &Node) {
    let latest = node.observatory.monitor.latest();
    page.family(
        "redis_latency_spike_last",
        "gauge",
        "When an event of the latency monitor was last seen, in Unix time.",
    );
    for event in &latest {
        page.sample("redis_latency_spike_last", &[("event_name", &event.event)], event.last.unix_s);
    }
    page.family("redis_latency_spike_duration_seconds", "gauge", "How long it took.");
    for event in &latest {
        page.sample(
            "redis_latency_spike_duration_seconds",
            &[("event_name", &event.event)],
            event.last.ms as f64 / 1e3,
        );
    }
}

/// The loops of the workers.
fn workers(page: &mut Page, node: &Node) {
    page.family("memkv_worker_turn_seconds", "gauge", "How long a worker has been in the present turn of its loop.");
    for (thread, seconds) in super::health::turns(node) {
        page.sample("memkv_worker_turn_seconds", &[("worker", &thread.to_string())], seconds);
    }
}

fn persistence(page: &mut Page, node: &Node) {
    let journal = &node.journal;
    let stats = &journal.stats;
    let changes = node.observatory.counts().changes;
    page.counter("memkv_changes", "Changes to keys.", changes);
    let (batches, commands) = (stats.batches.load(Relaxed), stats.commands.load(Relaxed));
    page.counter("memkv_aof_batches", "Writes to the log, each of everybody's pending commands.", batches);
    page.counter("memkv_aof_commands", "Commands in those batches.", commands);
    page.counter("memkv_aof_bytes", "Bytes in those batches.", stats.bytes.load(Relaxed));
    let mean = if batches == 0 { 0.0 } else { commands as f64 / batches as f64 };
    page.gauge("memkv_aof_batch_size_commands", "Mean number of commands in a batch.", mean);
    let fsyncs = stats.fsync_times();
    let name = "memkv_aof_fsync_seconds";
    page.family(name, "summary", "Times in which the device took the log.");
    for (quantile, percentile) in QUANTILES {
        page.sample(name, &[("quantile", quantile)], fsyncs.bounded_percentile(percentile) as f64 / 1e9);
    }
    page.sample("memkv_aof_fsync_seconds_sum", &[], fsyncs.sum() as f64 / 1e9);
    page.sample("memkv_aof_fsync_seconds_count", &[], fsyncs.count());
    page.gauge("memkv_aof_fsync_seconds_max", "The longest of them.", fsyncs.max() as f64 / 1e9);
    let waiting = node.clients.list().iter().filter(|c| c.facts.awaits_journal.load(Relaxed)).count();
    page.gauge("memkv_aof_waiting_clients", "Clients whose replies wait for the log.", waiting);
    page.counter("memkv_aof_slow_device", "Times the batcher took over a slow device.", stats.delayed.load(Relaxed));
    page.gauge("memkv_aof_pending_bytes", "Bytes not yet handed to the kernel.", journal.pending_bytes());
    page.gauge("memkv_aof_unsynced_bytes", "Bytes the kernel has and the device may not.", journal.durable_lag_bytes());
}

fn command_totals(page: &mut Page, commands: &[CommandReport]) {
    let mut family = |name: &str, help: &str, value: fn(&CommandReport) -> f64| {
        page.family(name, "counter", help);
        let name = format!("{name}_total");
        for command in commands {
            page.sample(&name, &[("cmd", &command.name)], value(command));
        }
    };
    family("redis_commands", "Calls of a command.", |c| c.totals.calls as f64);
    family("redis_commands_duration_seconds", "Time spent in a command.", |c| c.totals.exec_ns as f64 / 1e9);
    family("redis_commands_failed_calls", "Calls that answered an error.", |c| c.totals.failed as f64);
    family("redis_commands_rejected_calls", "Calls refused before they ran.", |c| c.totals.rejected as f64);
}

/// Execution times, which is what Redis calls latency.
fn command_latencies(page: &mut Page, commands: &[CommandReport], percentiles: &[f64]) {
    let tracked = || commands.iter().filter(|c| c.totals.exec.count() > 0);
    // redis_exporter's label is the percentile (99.9, not 0.999), and dashboards ask for that; a summary may not have it.
    let name = "redis_latency_percentiles_usec";
    page.family(name, "gauge", "Execution times of a command by percentile.");
    for command in tracked() {
        for percentile in percentiles {
            let labels = [("quantile", &*percentile.to_string()), ("cmd", &command.name)];
            page.sample(name, &labels, command.totals.exec.percentile(*percentile) as f64 / 1e3);
        }
    }
    let mut total = |suffix: &str, help: &str, value: fn(&Snapshot) -> f64| {
        let name = format!("{name}{suffix}");
        page.family(&name, "gauge", help);
        tracked().for_each(|c| page.sample(&name, &[("cmd", &c.name)], value(&c.totals.exec)));
    };
    total("_sum", "Their sum.", |times| times.sum() as f64 / 1e3);
    total("_count", "How many there were.", |times| times.count() as f64);
    page.family("redis_commands_latencies_usec", "histogram", "Execution times of a command.");
    for command in tracked() {
        let labels = [("cmd", command.name.as_str())];
        let (buckets, times) = (buckets_us(&command.totals.exec), &command.totals.exec);
        page.histogram("redis_commands_latencies_usec", &labels, &buckets, times.count(), times.sum() as f64 / 1e3);
    }
}

/// Service times: from bytes readable to reply handed to the kernel.
fn service(page: &mut Page, report: &LatencyReport) {
    let total = report.total();
    let name = "memkv_service_time_seconds";
    page.family(name, "histogram", "Time from bytes readable to reply written, by command.");
    for (command, times) in &total.commands {
        let (buckets, sum) = (service_buckets(&times.histogram), times.histogram.sum() as f64 / 1e9);
        page.histogram(name, &[("cmd", command)], &buckets, times.count(), sum);
    }
    page.family("memkv_service_time_cause_seconds", "counter", "Where the service time of all commands went.");
    for (cause, ns) in CAUSES.iter().zip(total.all.causes_ns) {
        page.sample("memkv_service_time_cause_seconds_total", &[("cause", cause)], ns as f64 / 1e9);
    }
    let name = "memkv_window_service_time_seconds";
    page.family(name, "summary", "Service time by window and quantile.");
    for window in &report.windows {
        for (quantile, percentile) in QUANTILES {
            let ns = window.all.histogram.bounded_percentile(percentile);
            page.sample(name, &[("window", window.name), ("quantile", quantile)], ns as f64 / 1e9);
        }
        let labels = [("window", window.name), ("quantile", "1")];
        page.sample(name, &labels, window.all.histogram.max() as f64 / 1e9);
    }
    page.family("memkv_window_commands", "gauge", "Commands serviced in a window.");
    for window in &report.windows {
        page.sample("memkv_window_commands", &[("window", window.name)], window.all.count());
    }
    page.family("memkv_window_tail_events", "gauge", "Commands of a window that took 100 ms and longer.");
    for window in &report.windows {
        page.sample("memkv_window_tail_events", &[("window", window.name)], window.all.tail_events());
    }
}

/// Redis's bounds, with what lies at or below each. Redis leaves out those that add nothing; a time series needs the
/// same ones every time.
fn buckets_us(times: &Snapshot) -> Vec<(f64, u64)> {
    let told = times.cumulative_us();
    (FIRST_BOUND_LOG2..=LAST_BOUND_LOG2)
        .map(|log2| {
            // The last nanosecond of the histogram's cell that holds the power of two.
            let bound = ((1u64 << log2) + (1 << (log2 - 7)) - 1) / 1000;
            let below = told.iter().take_while(|(us, _)| *us <= bound).last().map_or(0, |(_, count)| *count);
            (bound as f64, below)
        })
        .collect()
}

/// What lies at or below each bound.
fn service_buckets(times: &Snapshot) -> Vec<(f64, u64)> {
    SERVICE_BOUNDS_US.iter().map(|us| (*us as f64 / 1e6, times.count_below(us * 1000))).collect()
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

use MetricKind::{Counter as C, Gauge as G, Status as S, Unknown as U};

/// INFO's field, the series without `redis_`, its kind, its help.
#[rustfmt::skip]
const SERIES: &[(&str, &str, MetricKind, &str)] = &[
    ("uptime_in_seconds", "uptime_in_seconds", G, "Seconds since the server started."),
    ("process_id", "process_id", G, "The process."),
    ("connected_clients", "connected_clients", G, "Connections of clients."),
    ("maxclients", "max_clients", G, "The most connections there may be."),
    ("blocked_clients", "blocked_clients", G, "Clients that wait in a blocking command."),
    ("tracking_clients", "tracking_clients", G, "Clients that cache (CLIENT TRACKING)."),
    ("pubsub_clients", "pubsub_clients", G, "Clients that subscribe."),
    ("watching_clients", "watching_clients", G, "Clients that watch keys."),
    ("clients_in_timeout_table", "clients_in_timeout_table", G, "Clients that wait with a timeout."),
    ("total_watched_keys", "total_watched_keys", G, "Keys that are watched."),
    ("total_blocking_keys", "total_blocking_keys", G, "Keys that are waited for."),
    ("client_recent_max_input_buffer", "client_recent_max_input_buffer_bytes", G, "The largest read buffer of a client."),
    ("client_recent_max_output_buffer", "client_recent_max_output_buffer_bytes", G, "The largest amount of replies that a client has not read."),
    ("used_memory", "memory_used_bytes", G, "Bytes allocated."),
    ("used_memory_rss", "memory_used_rss_bytes", G, "Bytes resident."),
    ("used_memory_peak", "memory_used_peak_bytes", G, "The most that was ever seen allocated."),
    ("used_memory_lua", "memory_used_lua_bytes", G, "Bytes of the scripts' machines."),
    ("used_memory_vm_eval", "memory_used_vm_eval_bytes", G, "The same, for EVAL."),
    ("used_memory_vm_functions", "memory_used_vm_functions_bytes", G, "The same, for functions."),
    ("used_memory_vm_total", "memory_used_vm_total", G, "The same, for both."),
    ("used_memory_scripts", "memory_used_scripts_bytes", G, "Bytes of scripts and libraries."),
    ("used_memory_scripts_eval", "memory_used_scripts_eval_bytes", G, "Bytes of cached scripts."),
    ("used_memory_functions", "memory_used_functions_bytes", G, "Bytes of libraries."),
    ("number_of_cached_scripts", "number_of_cached_scripts", G, "Cached scripts."),
    ("number_of_functions", "number_of_functions", G, "Functions."),
    ("number_of_libraries", "number_of_libraries", G, "Libraries of functions."),
    ("used_memory_overhead", "memory_used_overhead_bytes", G, "Bytes that are not data."),
    ("used_memory_startup", "memory_used_startup_bytes", G, "Bytes allocated when the server was up and empty."),
    ("used_memory_dataset", "memory_used_dataset_bytes", G, "Bytes of data."),
    ("maxmemory", "memory_max_bytes", G, "The directive maxmemory."),
    ("allocator_allocated", "allocator_allocated_bytes", G, "Bytes that the allocator has given out."),
    ("allocator_active", "allocator_active_bytes", G, "Bytes of the pages that it has given out from."),
    ("allocator_resident", "allocator_resident_bytes", G, "Bytes that it holds in memory."),
    ("allocator_frag_ratio", "allocator_frag_ratio", G, "Active bytes to allocated ones."),
    ("allocator_frag_bytes", "allocator_frag_bytes", G, "Active bytes beyond the allocated ones."),
    ("allocator_rss_ratio", "allocator_rss_ratio", G, "Resident bytes to active ones."),
    ("allocator_rss_bytes", "allocator_rss_bytes", G, "Resident bytes beyond the active ones."),
    ("mem_fragmentation_ratio", "mem_fragmentation_ratio", G, "Bytes resident to bytes allocated."),
    ("mem_fragmentation_bytes", "mem_fragmentation_bytes", G, "Bytes resident beyond bytes allocated."),
    ("mem_clients_slaves", "mem_clients_slaves", G, "Bytes kept for replicas beyond the backlog."),
    ("mem_clients_normal", "mem_clients_normal", G, "Bytes of clients' buffers."),
    ("mem_not_counted_for_evict", "mem_not_counted_for_eviction_bytes", G, "Bytes that maxmemory leaves out."),
    ("mem_total_replication_buffers", "mem_total_replication_buffers_bytes", G, "Bytes of the replication stream in memory."),
    ("mem_replication_backlog", "mem_replication_backlog_bytes", G, "Bytes of the backlog."),
    ("mem_aof_buffer", "mem_aof_buffer_bytes", G, "Bytes of the log's buffers."),
    ("active_defrag_running", "active_defrag_running", G, "Effort of the defragmentation, in percent of a core."),
    ("active_defrag_hits", "defrag_hits", G, "Values that the defragmentation moved."),
    ("active_defrag_misses", "defrag_misses", G, "Values that it left."),
    ("active_defrag_key_hits", "defrag_key_hits", G, "Keys of which it moved something."),
    ("active_defrag_key_misses", "defrag_key_misses", G, "Keys of which it moved nothing."),
    ("lazyfree_pending_objects", "lazyfree_pending_objects", G, "Values that wait to be freed in the background."),
    ("lazyfreed_objects", "lazyfreed_objects", G, "Values freed in the background."),
    ("migrate_cached_sockets", "migrate_cached_sockets_total", U, "Connections kept for MIGRATE."),
    ("loading", "loading_dump_file", G, "1 while data is being loaded."),
    ("rdb_changes_since_last_save", "rdb_changes_since_last_save", G, "Changes that are in no snapshot."),
    ("rdb_bgsave_in_progress", "rdb_bgsave_in_progress", G, "1 while a snapshot is written."),
    ("rdb_last_save_time", "rdb_last_save_timestamp_seconds", G, "When the last snapshot was written, in Unix time."),
    ("rdb_last_bgsave_status", "rdb_last_bgsave_status", S, "1 if the last snapshot was written whole."),
    ("rdb_last_bgsave_time_sec", "rdb_last_bgsave_duration_sec", G, "How long the last snapshot took; -1 if there was none."),
    ("rdb_current_bgsave_time_sec", "rdb_current_bgsave_duration_sec", G, "How long the present one has taken; -1 if there is none."),
    ("rdb_saves", "rdb_saves", C, "Snapshots written."),
    ("rdb_last_load_keys_expired", "rdb_last_load_expired_keys", G, "Keys of the loaded snapshot whose time was over."),
    ("rdb_last_load_keys_loaded", "rdb_last_load_loaded_keys", G, "Keys loaded from it."),
    ("aof_enabled", "aof_enabled", G, "1 if changes are logged."),
    ("aof_rewrite_in_progress", "aof_rewrite_in_progress", G, "1 while the log is rewritten."),
    ("aof_rewrite_scheduled", "aof_rewrite_scheduled", G, "1 while a rewrite waits its turn."),
    ("aof_last_rewrite_time_sec", "aof_last_rewrite_duration_sec", G, "How long the last rewrite took; -1 if there was none."),
    ("aof_current_rewrite_time_sec", "aof_current_rewrite_duration_sec", G, "How long the present one has taken; -1 if there is none."),
    ("aof_last_bgrewrite_status", "aof_last_bgrewrite_status", S, "1 if the last rewrite succeeded."),
    ("aof_last_write_status", "aof_last_write_status", S, "1 if the log could be written last."),
    ("aof_current_size", "aof_current_size_bytes", G, "Bytes of the log."),
    ("aof_base_size", "aof_base_size_bytes", G, "Bytes after the last rewrite."),
    ("aof_pending_rewrite", "aof_pending_rewrite", G, "1 while a rewrite is pending."),
    ("aof_buffer_length", "aof_buffer_length", G, "Bytes not yet handed to the kernel."),
    ("aof_pending_bio_fsync", "aof_pending_bio_fsync", G, "1 while the device does not have everything."),
    ("aof_delayed_fsync", "aof_delayed_fsync", G, "Times that the device was too slow for the workers."),
    ("total_connections_received", "connections_received", C, "Connections accepted."),
    ("rejected_connections", "rejected_connections", C, "Connections refused."),
    ("total_commands_processed", "commands_processed", C, "Commands run."),
    ("instantaneous_ops_per_sec", "instantaneous_ops_per_sec", G, "Commands a second, over the last moments."),
    ("instantaneous_input_kbps", "instantaneous_input_kbps", G, "Kilobytes read a second, over the last moments."),
    ("instantaneous_output_kbps", "instantaneous_output_kbps", G, "Kilobytes written a second, over the last moments."),
    ("total_net_input_bytes", "net_input_bytes", C, "Bytes read."),
    ("total_net_output_bytes", "net_output_bytes", C, "Bytes written."),
    ("total_net_repl_input_bytes", "net_repl_input_bytes", C, "Bytes read from the primary."),
    ("total_net_repl_output_bytes", "net_repl_output_bytes", C, "Bytes written to replicas."),
    ("keyspace_hits", "keyspace_hits", C, "Lookups that found a key."),
    ("keyspace_misses", "keyspace_misses", C, "Lookups that found none."),
    ("expired_keys", "expired_keys", C, "Keys whose time was over."),
    ("expired_subkeys", "expired_subkeys", C, "Fields of hashes whose time was over."),
    ("expired_stale_perc", "expired_stale_percentage", G, "Keys in memory whose time is over, in percent."),
    ("expired_time_cap_reached_count", "expired_time_cap_reached", C, "Times that expiry had to go on later."),
    ("expire_cycle_cpu_milliseconds", "expire_cycle_cpu_time_ms", C, "Time spent in expiry."),
    ("evicted_keys", "evicted_keys", C, "Keys evicted because of maxmemory."),
    ("evicted_clients", "evicted_clients", C, "Clients closed because of maxmemory-clients."),
    ("evicted_scripts", "evicted_scripts", C, "Cached scripts evicted."),
    ("pubsub_channels", "pubsub_channels", G, "Channels with subscribers."),
    ("pubsub_patterns", "pubsub_patterns", G, "Patterns with subscribers."),
    ("pubsubshard_channels", "pubsubshard_channels", G, "Shard channels with subscribers."),
    ("tracking_total_keys", "tracking_total_keys", G, "Keys that clients cache."),
    ("tracking_total_items", "tracking_total_items", G, "Pairs of such a key and a client."),
    ("tracking_total_prefixes", "tracking_total_prefixes", G, "Prefixes that clients cache."),
    ("unexpected_error_replies", "unexpected_error_replies", C, "Errors of commands from the primary or the log."),
    ("total_error_replies", "total_error_replies", U, "Error replies."),
    ("total_reads_processed", "total_reads_processed", U, "Reads from sockets."),
    ("total_writes_processed", "total_writes_processed", U, "Writes to sockets."),
    ("acl_access_denied_auth", "acl_access_denied_auth", C, "Failed authentications."),
    ("acl_access_denied_cmd", "acl_access_denied_cmd", C, "Commands refused for want of rights."),
    ("acl_access_denied_key", "acl_access_denied_key", C, "Keys refused for want of rights."),
    ("acl_access_denied_channel", "acl_access_denied_channel", C, "Channels refused for want of rights."),
    ("used_cpu_sys", "cpu_sys_seconds", C, "Processor time in the kernel."),
    ("used_cpu_user", "cpu_user_seconds", C, "Processor time outside of it."),
    ("used_cpu_sys_children", "cpu_sys_children_seconds", C, "The same, of child processes."),
    ("used_cpu_user_children", "cpu_user_children_seconds", C, "The same, outside of the kernel."),
    ("connected_slaves", "connected_slaves", G, "Connected replicas."),
    ("repl_backlog_size", "replication_backlog_bytes", G, "The directive repl-backlog-size."),
    ("repl_backlog_active", "repl_backlog_is_active", G, "1 if there is a backlog."),
    ("repl_backlog_first_byte_offset", "repl_backlog_first_byte_offset", G, "Offset of its first byte."),
    ("repl_backlog_histlen", "repl_backlog_history_bytes", G, "Bytes in it."),
    ("master_repl_offset", "master_repl_offset", G, "Offset of the end of the stream."),
    ("second_repl_offset", "second_repl_offset", G, "Offset up to which the former history holds."),
    ("slave_priority", "slave_priority", G, "The directive replica-priority."),
    ("slave_repl_offset", "slave_repl_offset", G, "Offset up to which the primary's stream is here."),
    ("sync_full", "replica_resyncs_full", G, "Full syncs of replicas."),
    ("sync_partial_ok", "replica_partial_resync_accepted", G, "Partial syncs of replicas."),
    ("sync_partial_err", "replica_partial_resync_denied", G, "Partial syncs that were asked for and not possible."),
    ("slave_expires_tracked_keys", "slave_expires_tracked_keys", G, "Keys with an expiry that a writable replica made itself."),
    ("cluster_enabled", "cluster_enabled", G, "1 in cluster mode."),
];

/// Figures of a replica's link.
const LINK: &[(&str, &str, &str)] = &[
    ("master_link_status", "redis_master_link_up", "1 while the link to the primary is up."),
    ("master_last_io_seconds_ago", "redis_master_last_io_seconds_ago", "Seconds since the primary was heard."),
    ("master_sync_in_progress", "redis_master_sync_in_progress", "1 while its snapshot comes."),
];
const QUANTILES: [(&str, f64); 4] = [("0.5", 50.0), ("0.95", 95.0), ("0.99", 99.0), ("0.999", 99.9)];
/// From what a hit takes to what a client gives up after.
const SERVICE_BOUNDS_US: [u64; 19] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];
/// Redis's histogram of latencies: 1 µs to 2^29 ns; what is longer is in `+Inf` alone.
const FIRST_BOUND_LOG2: u32 = 10;
const LAST_BOUND_LOG2: u32 = 29;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Histogram;

    #[test]
    fn bounds_are_redis_own_and_always_all_there() {
        let histogram = Histogram::new();
        [900, 1_500, 40_000, 2_000_000_000].into_iter().for_each(|ns| histogram.record(ns));
        let mut snapshot = Snapshot::default();
        histogram.merge_into(&mut snapshot);
        let buckets = buckets_us(&snapshot);
        let bounds: Vec<u64> = buckets.iter().map(|(bound, _)| *bound as u64).collect();
        assert_eq!(bounds[..9], [1, 2, 4, 8, 16, 33, 66, 132, 264]);
        assert_eq!(bounds.len(), 20);
        let counts: Vec<u64> = buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts[..7], [1, 2, 2, 2, 2, 2, 3]);
        assert_eq!(counts[19], 3, "two seconds are beyond the last bound");
    }
}
