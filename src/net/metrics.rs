//! The server's figures in OpenMetrics: what `/metrics` answers.
//!
//! Names and labels are redis_exporter's, so that its dashboards and alerts work unchanged: `redis_` and INFO's names,
//! percentiles as the summary `redis_latency_percentiles_usec`, histograms as `redis_commands_latencies_usec`. What
//! Redis does not have is named `memkv_` and measured in seconds and bytes.
//!
//! The text is written by hand. prometheus-client was looked at for this place: it has no summaries, and its registry
//! wants to own numbers that live in `observe` already. A [`Page`] is the sixty lines that are needed.
//! Invariants: a family's samples stand together under one TYPE; histogram bounds are always the same ones, and
//! counts in them never fall but at RESETSTAT or restart. Not here: HTTP. Cost: a millisecond or so, on the admin thread.

use crate::clock;
use crate::config::{Config, cli, lookup};
use crate::memory;
use crate::node::Node;
use crate::observe::{BAND_BOUNDS_MS, CAUSES, CommandReport, LatencyReport, ServiceTotals, Snapshot};
use crate::persist::walks::Job;
use crate::usage;
use std::fmt::{Display, Write};
use std::sync::atomic::Ordering::Relaxed;

/// The whole page.
pub fn render(node: &Node) -> String {
    let (now, config) = (clock::now_ms(), node.config.load_full());
    let mut page = Page::default();
    server(&mut page, node, &config, now);
    counters(&mut page, node);
    keyspace(&mut page, node, now);
    persistence(&mut page, node);
    let commands = node.observatory.commands();
    command_totals(&mut page, &commands);
    command_latencies(&mut page, &commands, &config.latency_tracking_info_percentiles);
    service(&mut page, &node.observatory.latency(now));
    page.end()
}

fn server(page: &mut Page, node: &Node, config: &Config, now: i64) {
    page.gauge("redis_up", "The server answers.", 1);
    let (port, pid) = (config.main_port().to_string(), std::process::id().to_string());
    let (build, policy) = (format!("{:016x}", cli::build_id()), policy_name(config));
    page.family("redis_instance", "info", "Who this is.");
    page.sample(
        "redis_instance_info",
        &[
            ("redis_version", config.compatibility_level.redis_version()),
            ("memkv_version", env!("CARGO_PKG_VERSION")),
            ("redis_build_id", &build),
            ("redis_mode", "standalone"),
            ("role", "master"),
            ("os", std::env::consts::OS),
            ("maxmemory_policy", &policy),
            ("process_id", &pid),
            ("run_id", &node.life.run_id),
            ("tcp_port", &port),
        ],
        1,
    );
    page.gauge("redis_start_time_seconds", "When the server started, in Unix time.", seconds(node.life.started_ms));
    page.gauge("redis_uptime_in_seconds", "Seconds since then.", (now - node.life.started_ms) / 1000);
    page.gauge("redis_connected_clients", "Connections of clients.", node.clients.len());
    let blocked = node.clients.list().iter().filter(|c| c.facts.is_waiting()).count();
    page.gauge("redis_blocked_clients", "Clients that wait in a blocking command.", blocked);
    page.gauge("redis_connected_slaves", "Connected replicas.", node.replication.replicas().len());
    page.gauge("redis_config_maxclients", "The directive maxclients.", config.maxclients);
    page.gauge("redis_config_maxmemory", "The directive maxmemory.", config.maxmemory);
    page.gauge("redis_memory_max_bytes", "The directive maxmemory.", config.maxmemory);
    let (used, resident) = (memory::sample(), usage::resident_bytes());
    page.gauge("redis_memory_used_bytes", "Bytes allocated.", used);
    page.gauge("redis_memory_used_rss_bytes", "Bytes resident.", resident);
    if used > 0 {
        page.gauge("redis_mem_fragmentation_ratio", "Resident bytes to allocated ones.", resident as f64 / used as f64);
    }
    page.gauge("redis_memory_used_peak_bytes", "The most that was ever seen allocated.", memory::peak());
    let cpu = usage::cpu();
    page.counter("redis_cpu_sys_seconds", "Processor time in the kernel.", cpu.system);
    page.counter("redis_cpu_user_seconds", "Processor time outside of it.", cpu.user);
    page.gauge("redis_slowlog_length", "Entries in the slow log.", node.observatory.slowlog.len());
    page.gauge("redis_loading_dump_file", "1 while data is being loaded.", u8::from(node.life.is_loading()));
}

fn policy_name(config: &Config) -> String {
    let row = lookup(b"maxmemory-policy").map(|(row, _)| row.get(config));
    String::from_utf8_lossy(&row.unwrap_or_default()).into_owned()
}

fn counters(page: &mut Page, node: &Node) {
    let counts = node.observatory.counts();
    let table = [
        ("redis_connections_received", "Connections accepted.", counts.connections_received),
        ("redis_rejected_connections", "Connections refused because of maxclients.", counts.rejected_connections),
        ("redis_commands_processed", "Commands run.", counts.commands_processed),
        ("redis_net_input_bytes", "Bytes read from clients.", counts.net_input_bytes),
        ("redis_net_output_bytes", "Bytes written to clients.", counts.net_output_bytes),
        ("memkv_reads", "Reads from sockets.", counts.total_reads_processed),
        ("memkv_writes", "Writes to sockets.", counts.total_writes_processed),
        ("redis_keyspace_hits", "Lookups that found a key.", counts.keyspace_hits),
        ("redis_keyspace_misses", "Lookups that found none.", counts.keyspace_misses),
        ("redis_expired_keys", "Keys whose time was over.", counts.expired_keys),
        ("redis_evicted_keys", "Keys evicted because of maxmemory.", counts.evicted_keys),
        ("memkv_error_replies", "Error replies.", counts.total_error_replies),
        ("redis_acl_access_denied_auth", "Failed authentications.", counts.acl_access_denied_auth),
    ];
    for (name, help, value) in table {
        page.counter(name, help, value);
    }
    page.family("redis_errors", "counter", "Error replies by their first word.");
    for (kind, count) in node.observatory.errors.counts() {
        page.sample("redis_errors_total", &[("err", &String::from_utf8_lossy(&kind))], count);
    }
    let rate = node.observatory.rates().commands;
    page.gauge("redis_instantaneous_ops_per_sec", "Commands a second, over the last moments.", rate);
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
    let lag_ms = node.keyspace.expiry_lag_ms.load(Relaxed).clamp(0, now.max(0));
    page.gauge("memkv_expiry_lag_seconds", "How late the last key was removed after its time.", seconds(lag_ms));
}

fn persistence(page: &mut Page, node: &Node) {
    let (journal, aof) = (&node.journal, &node.aof);
    let stats = &journal.stats;
    let write_ok = journal.write_error().is_none();
    page.gauge("redis_aof_enabled", "Whether changes are logged.", u8::from(journal.is_on()));
    page.gauge("redis_aof_rewrite_in_progress", "A rewrite is running.", u8::from(node.walks.is_running(Job::Rewrite)));
    page.gauge("redis_aof_last_write_status", "1 if the log could be written last.", u8::from(write_ok));
    let rewrite_ok = !aof.last_failed.load(Relaxed);
    page.gauge("redis_aof_last_bgrewrite_status", "1 if the last rewrite succeeded.", u8::from(rewrite_ok));
    if journal.is_on() {
        page.gauge("redis_aof_current_size_bytes", "Bytes of the log.", journal.size());
        page.gauge("redis_aof_base_size_bytes", "Bytes after the last rewrite.", stats.base_bytes.load(Relaxed));
    }
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
        page.sample(name, &[("quantile", quantile)], fsyncs.percentile(percentile) as f64 / 1e9);
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
    page.family("redis_latency_percentiles_usec", "summary", "Execution times of a command by percentile.");
    for command in tracked() {
        let (cmd, times) = (command.name.as_str(), &command.totals.exec);
        for percentile in percentiles {
            // redis_exporter's label is the percentile (99.9, not 0.999), and dashboards ask for that.
            let quantile = percentile.to_string();
            let us = times.percentile(*percentile) as f64 / 1e3;
            page.sample("redis_latency_percentiles_usec", &[("quantile", &quantile), ("cmd", cmd)], us);
        }
        page.sample("redis_latency_percentiles_usec_sum", &[("cmd", cmd)], times.sum() as f64 / 1e3);
        page.sample("redis_latency_percentiles_usec_count", &[("cmd", cmd)], times.count());
    }
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
        let (buckets, sum) = (service_buckets(times), times.histogram.sum() as f64 / 1e9);
        page.histogram(name, &[("cmd", command)], &buckets, times.count(), sum);
    }
    page.family("memkv_service_time_cause_seconds", "counter", "Where the service time of all commands went.");
    for (cause, ns) in CAUSES.iter().zip(total.all.causes_ns) {
        page.sample("memkv_service_time_cause_seconds_total", &[("cause", cause)], ns as f64 / 1e9);
    }
    let name = "memkv_window_service_time_seconds";
    page.family(name, "gauge", "Service time by window and quantile.");
    for window in &report.windows {
        for (quantile, percentile) in QUANTILES {
            let ns = window.all.histogram.percentile(percentile);
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

/// The latency section's own buckets.
fn service_buckets(times: &ServiceTotals) -> Vec<(f64, u64)> {
    let mut seen = 0;
    BAND_BOUNDS_MS
        .iter()
        .zip(times.bands)
        .map(|(ms, count)| {
            seen += count;
            (*ms as f64 / 1000.0, seen)
        })
        .collect()
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

/// A page of families in OpenMetrics' text form.
#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# TYPE {name} {kind}"));
        self.line(format_args!("# HELP {name} {help}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{}\"", if i == 0 { '{' } else { ',' }, escaped(text));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        self.line(format_args!("{end} {value}"));
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// `name` without the `_total` that its sample has.
    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "counter", help);
        self.sample(&format!("{name}_total"), &[], value);
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], buckets: &[(f64, u64)], count: u64, sum: f64) {
        let bucket = format!("{name}_bucket");
        for (bound, below) in buckets {
            let le = bound.to_string();
            self.sample(&bucket, &[labels, &[("le", le.as_str())]].concat(), below);
        }
        self.sample(&bucket, &[labels, &[("le", "+Inf")]].concat(), count);
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, count);
    }

    fn end(mut self) -> String {
        self.line(format_args!("# EOF"));
        self.0
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

const QUANTILES: [(&str, f64); 4] = [("0.5", 50.0), ("0.95", 95.0), ("0.99", 99.0), ("0.999", 99.9)];
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

    #[test]
    fn labels_cannot_break_a_line() {
        let mut page = Page::default();
        page.sample("x", &[("err", "a\"b\\c\nd"), ("cmd", "get")], 1.5);
        assert_eq!(page.0, "x{err=\"a\\\"b\\\\c\\nd\",cmd=\"get\"} 1.5\n");
    }
}
