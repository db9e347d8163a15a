//! The fields of INFO, section by section: those of Redis 7.0 in its order, some of newer servers, and our own.
//!
//! Values are true where memkv has the thing; where Redis has a feature that is not here, its idle value stands.

use super::hotkeys;
use super::info::{Field, Reading, Section, Value};
use super::memory::ratio;
use super::replication;
use crate::clients::Facts;
use crate::clock;
use crate::config::{self, cli};
use crate::keyspace::access::lru_clock;
use crate::keyspace::sizes::Histogram;
use crate::node::Loads;
use crate::num;
use crate::observe::{self, Snapshot};
use crate::persist::progress::Loading;
use crate::persist::walks::Job;
use crate::process::{self, supervisor};
use crate::pubsub::ChannelKind;
use crate::types::{self, template};
use crate::usage;
use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

/// memkv's own version, beside the one of the server it stands in for.
pub const MEMKV_VERSION: &str = env!("CARGO_PKG_VERSION");

pub const SECTIONS: &[Section] = &[
    Section { name: "server", title: "Server", fields: SERVER, more: None, by_default: true },
    Section { name: "clients", title: "Clients", fields: CLIENTS, more: None, by_default: true },
    Section { name: "memory", title: "Memory", fields: MEMORY, more: None, by_default: true },
    Section { name: "persistence", title: "Persistence", fields: PERSISTENCE, more: None, by_default: true },
    Section { name: "threads", title: "Threads", fields: &[], more: Some(threads), by_default: true },
    Section { name: "stats", title: "Stats", fields: STATS, more: None, by_default: true },
    Section { name: "replication", title: "Replication", fields: replication::FIELDS, more: None, by_default: true },
    Section { name: "cpu", title: "CPU", fields: CPU, more: None, by_default: true },
    Section { name: "modules", title: "Modules", fields: &[], more: None, by_default: true },
    Section { name: "commandstats", title: "Commandstats", fields: &[], more: Some(commandstats), by_default: false },
    Section { name: "errorstats", title: "Errorstats", fields: &[], more: Some(errorstats), by_default: true },
    Section { name: "latencystats", title: "Latencystats", fields: &[], more: Some(latencystats), by_default: false },
    Section { name: "cluster", title: "Cluster", fields: CLUSTER, more: None, by_default: true },
    Section { name: "keyspace", title: "Keyspace", fields: &[], more: Some(keyspace), by_default: true },
    Section { name: "keysizes", title: "Keysizes", fields: &[], more: Some(keysizes), by_default: true },
    Section { name: "memkv", title: "Memkv", fields: MEMKV, more: None, by_default: true },
    Section { name: "hotkeys", title: "Hotkeys", fields: hotkeys::FIELDS, more: None, by_default: false },
    Section { name: "latency", title: "Latency", fields: &[], more: Some(latency), by_default: false },
];

pub(super) const fn field(name: &'static str, value: fn(&Reading<'_>) -> Value) -> Field {
    Field { name, value }
}

const SERVER: &[Field] = &[
    field("redis_version", |r| r.config.compatibility_level.redis_version().into()),
    field("redis_git_sha1", |_| cli::COMMIT.into()),
    field("redis_git_dirty", |_| cli::is_dirty().into()),
    field("redis_build_id", |_| format!("{:x}", cli::build_id()).into()),
    field("redis_mode", |r| mode(r).into()),
    field("os", |_| usage::system().into()),
    field("arch_bits", |_| usize::BITS.into()),
    field("monotonic_clock", |_| "POSIX clock_gettime".into()),
    field("multiplexing_api", |_| "epoll".into()),
    field("atomicvar_api", |_| "c11-builtin".into()),
    field("gcc_version", |_| "0.0.0".into()),
    field("process_id", |_| std::process::id().into()),
    field("process_supervised", |_| supervisor::present().name().into()),
    field("run_id", |r| r.node.life.run_id.as_str().into()),
    field("tcp_port", |r| r.config.main_port().into()),
    field("server_time_usec", |_| clock::now_us().into()),
    field("uptime_in_seconds", |r| uptime_seconds(r).into()),
    field("uptime_in_days", |r| (uptime_seconds(r) / 86_400).into()),
    field("hz", |r| r.config.hz.into()),
    field("configured_hz", |r| r.config.hz.into()),
    field("lru_clock", |r| i64::from(lru_clock(r.now)).into()),
    field("executable", |_| executable().into()),
    field("config_file", |r| config_file(r).into()),
    field("io_threads_active", zero),
    field("shutdown_in_milliseconds", |r| {
        r.node.life.shutdown_deadline().map(|at| (at - r.now).max(0).to_string()).into()
    }),
    field("listener0", |r| listeners(r).next().into()),
    field("listener1", |r| listeners(r).nth(1).into()),
    field("memkv_version", |_| MEMKV_VERSION.into()),
];

const CLIENTS: &[Field] = &[
    field("connected_clients", |r| clients(r).into()),
    field("cluster_connections", zero),
    field("maxclients", |r| r.config.maxclients.into()),
    field("client_recent_max_input_buffer", |r| largest(r, |f| f.memory.input.load(Relaxed)).into()),
    field("client_recent_max_output_buffer", |r| {
        largest(r, |f| f.memory.unsent.load(Relaxed) + f.memory.outbox.load(Relaxed)).into()
    }),
    field("blocked_clients", |r| clients_with(r, |f| f.is_waiting()).into()),
    field("tracking_clients", |r| r.node.clients.trackers.len().into()),
    field("pubsub_clients", |r| r.node.pubsub.clients().into()),
    field("watching_clients", |r| clients_with(r, |f| f.watched.load(Relaxed) > 0).into()),
    field("clients_in_timeout_table", |r| clients_with(r, |f| f.wait_ends.load(Relaxed)).into()),
    field("total_watched_keys", |r| {
        r.node.clients.list().iter().map(|c| c.facts.watched.load(Relaxed)).sum::<usize>().into()
    }),
    field("total_blocking_keys", |r| r.node.keyspace.awaited_keys.load(Relaxed).into()),
    field("total_blocking_keys_on_nokey", |r| r.node.keyspace.awaited_ends.load(Relaxed).into()),
];

const MEMORY: &[Field] = &[
    field("used_memory", |r| r.memory().used.into()),
    field("used_memory_human", |r| human(r.memory().used)),
    field("used_memory_rss", |r| r.memory().rss.into()),
    field("used_memory_rss_human", |r| human(r.memory().rss)),
    field("used_memory_peak", |r| r.memory().peak.into()),
    field("used_memory_peak_human", |r| human(r.memory().peak)),
    field("used_memory_peak_time", |_| memory_peak_seconds().into()),
    field("used_memory_peak_perc", |r| percent(r.memory().peak_percentage())),
    field("used_memory_overhead", |r| r.memory().overhead().into()),
    field("used_memory_startup", |r| r.memory().startup.into()),
    field("used_memory_dataset", |r| r.memory().dataset().into()),
    field("used_memory_dataset_perc", |r| percent(r.memory().dataset_percentage())),
    field("allocator_allocated", |r| r.memory().allocated.into()),
    field("allocator_active", |r| r.memory().active.into()),
    field("allocator_resident", |r| r.memory().resident.into()),
    field("total_system_memory", |_| usage::machine_bytes().into()),
    field("total_system_memory_human", |_| human(usage::machine_bytes())),
    field("used_memory_lua", |r| eval_bytes(r).into()),
    field("used_memory_vm_eval", |r| eval_bytes(r).into()),
    field("used_memory_lua_human", |r| human(eval_bytes(r))),
    field("used_memory_scripts_eval", |r| (r.node.scripts.bytes() as u64).into()),
    field("number_of_cached_scripts", |r| (r.node.scripts.count() as u64).into()),
    field("number_of_functions", |r| (r.node.scripts.libraries.current().function_count() as u64).into()),
    field("number_of_libraries", |r| (r.node.scripts.libraries.current().libraries().len() as u64).into()),
    field("used_memory_vm_functions", |r| function_vm_bytes(r).into()),
    field("used_memory_vm_total", |r| (eval_bytes(r) + function_vm_bytes(r)).into()),
    field("used_memory_vm_total_human", |r| human(eval_bytes(r) + function_vm_bytes(r))),
    field("used_memory_functions", |r| (r.node.scripts.libraries.current().bytes() as u64).into()),
    field("used_memory_scripts", |r| script_bytes(r).into()),
    field("used_memory_scripts_human", |r| human(script_bytes(r))),
    field("hash_templates", |_| template::Usage::now().templates.into()),
    field("hash_template_keys", |_| template::Usage::now().hashes.into()),
    field("used_memory_hash_templates", |_| template::Usage::now().bytes.into()),
    field("maxmemory", |r| r.config.maxmemory.into()),
    field("maxmemory_human", |r| human(r.config.maxmemory)),
    field("maxmemory_policy", |r| policy(r).into()),
    field("allocator_frag_ratio", |r| two_digits(ratio(r.memory().active, r.memory().allocated))),
    field("allocator_frag_bytes", |r| difference(r.memory().active, r.memory().allocated)),
    field("allocator_rss_ratio", |r| two_digits(ratio(r.memory().resident, r.memory().active))),
    field("allocator_rss_bytes", |r| difference(r.memory().resident, r.memory().active)),
    field("rss_overhead_ratio", |r| two_digits(ratio(r.memory().rss, r.memory().resident))),
    field("rss_overhead_bytes", |r| difference(r.memory().rss, r.memory().resident)),
    field("mem_fragmentation_ratio", |r| two_digits(ratio(r.memory().rss, r.memory().used))),
    field("mem_fragmentation_bytes", |r| difference(r.memory().rss, r.memory().used)),
    field("mem_not_counted_for_evict", |r| r.memory().not_counted.into()),
    field("mem_replication_backlog", |r| backlog(r).into()),
    field("mem_total_replication_buffers", |r| r.node.journal.stream.figures().held_bytes.into()),
    field("mem_clients_slaves", |r| (r.node.journal.stream.figures().for_replicas + r.memory().replicas).into()),
    field("mem_clients_normal", |r| r.memory().clients.into()),
    field("mem_cluster_links", zero),
    field("mem_aof_buffer", |r| r.memory().journal.into()),
    field("mem_allocator", |_| cli::MALLOC.into()),
    field("active_defrag_running", |r| u64::from(r.node.defrag.effort()).into()),
    field("lazyfree_pending_objects", |r| r.node.reaper.pending().into()),
    field("lazyfreed_objects", |r| r.node.reaper.freed().into()),
];

const PERSISTENCE: &[Field] = &[
    field("loading", |r| r.node.life.is_loading().into()),
    field("async_loading", |r| (r.node.life.loads() == Loads::Aside).into()),
    field("current_cow_peak", |r| r.node.keyspace.captures.peak().into()),
    field("current_cow_size", |r| r.node.keyspace.captures.bytes().into()),
    field("current_cow_size_age", zero),
    field("current_fork_perc", |_| "0.00".into()),
    field("current_save_keys_processed", |r| r.node.keyspace.captures.keys_written.load(Relaxed).into()),
    field("current_save_keys_total", |r| save_keys_total(r).into()),
    field("rdb_changes_since_last_save", |r| {
        r.counts.changes.saturating_sub(r.node.rdb.changes_saved.load(Relaxed)).into()
    }),
    field("rdb_bgsave_in_progress", |r| {
        (r.node.walks.is_running(Job::Save) || r.node.walks.is_running(Job::Sync)).into()
    }),
    field("rdb_last_save_time", |r| (r.node.last_save_ms() / 1000).into()),
    field("rdb_last_bgsave_status", |r| ok_or_err(r.node.rdb.last_ok.0.load(Relaxed)).into()),
    field("rdb_last_bgsave_time_sec", |r| r.node.rdb.last_seconds.0.load(Relaxed).into()),
    field("rdb_current_bgsave_time_sec", |r| current_save_seconds(r).into()),
    field("rdb_saves", |r| r.node.rdb.saves.load(Relaxed).into()),
    field("rdb_last_cow_size", zero),
    field("rdb_last_load_keys_expired", |r| r.node.rdb.keys_expired_at_load.load(Relaxed).into()),
    field("rdb_last_load_keys_loaded", |r| r.node.rdb.keys_loaded.load(Relaxed).into()),
    field("aof_enabled", |r| r.config.appendonly.into()),
    field("aof_rewrite_in_progress", |r| r.node.walks.is_running(Job::Rewrite).into()),
    field("aof_rewrite_scheduled", |r| r.node.walks.is_waiting(Job::Rewrite).into()),
    field("aof_last_rewrite_time_sec", |r| r.node.aof.last_rewrite_seconds.0.load(Relaxed).into()),
    field("aof_current_rewrite_time_sec", |r| current_rewrite_seconds(r).into()),
    field("aof_last_bgrewrite_status", |r| ok_or_err(!r.node.aof.last_failed.load(Relaxed)).into()),
    field("aof_rewrites", |r| r.node.aof.rewrites.load(Relaxed).into()),
    field("aof_rewrites_consecutive_failures", |r| r.node.aof.failures_in_a_row.load(Relaxed).into()),
    field("aof_last_write_status", |r| ok_or_err(r.node.journal.write_error().is_none()).into()),
    field("aof_last_cow_size", zero),
    field("module_fork_in_progress", zero),
    field("module_fork_last_cow_size", zero),
    field("loading_start_time", |r| while_loading(r, |load| load.started_seconds().into())),
    field("loading_total_bytes", |r| while_loading(r, |load| load.total_bytes().into())),
    field("loading_rdb_used_mem", |r| while_loading(r, |load| load.used_mem.load(Relaxed).into())),
    field("loading_loaded_bytes", |r| while_loading(r, |load| load.loaded_bytes().into())),
    field("loading_loaded_perc", |r| while_loading(r, |load| two_digits(load.percent()))),
    field("loading_eta_seconds", |r| while_loading(r, |load| load.eta_seconds(clock::now_ms()).into())),
    field("aof_current_size", |r| with_log(r, |r| r.node.journal.size())),
    field("aof_base_size", |r| with_log(r, |r| r.node.journal.stats.base_bytes.load(Relaxed))),
    field("aof_pending_rewrite", |r| with_log(r, |r| u64::from(r.node.walks.is_waiting(Job::Rewrite)))),
    field("aof_buffer_length", |r| with_log(r, |r| r.node.journal.pending_bytes())),
    field("aof_pending_bio_fsync", |r| with_log(r, |r| u64::from(r.node.journal.durable_lag_bytes() > 0))),
    field("aof_delayed_fsync", |r| with_log(r, |r| r.node.journal.stats.delayed.load(Relaxed))),
    field("aof_batches", |r| with_log(r, |r| r.node.journal.stats.batches.load(Relaxed))),
    field("aof_batch_commands_avg", |r| per_batch(r, |r| r.node.journal.stats.commands.load(Relaxed))),
    field("aof_batch_bytes_avg", |r| per_batch(r, |r| r.node.journal.stats.bytes.load(Relaxed))),
    field("aof_written_bytes", |r| with_log(r, |r| r.node.journal.stats.bytes.load(Relaxed))),
    field("aof_waiting_bytes", |r| with_log(r, |r| r.node.journal.pending_bytes())),
    field("aof_not_durable_bytes", |r| with_log(r, |r| r.node.journal.durable_lag_bytes())),
    field("aof_waiting_clients", |r| with_log(r, |r| clients_with(r, |f| f.awaits_journal.load(Relaxed)) as u64)),
    field("aof_fsyncs", |r| fsync_times(r, Snapshot::count)),
    field("aof_fsync_usec_avg", |r| fsync_times(r, |times| times.mean() / 1000)),
    field("aof_fsync_usec_p50", |r| fsync_times(r, |times| times.bounded_percentile(50.0) / 1000)),
    field("aof_fsync_usec_p99", |r| fsync_times(r, |times| times.bounded_percentile(99.0) / 1000)),
    field("aof_fsync_usec_p99.9", |r| fsync_times(r, |times| times.bounded_percentile(99.9) / 1000)),
    field("aof_fsync_usec_max", |r| fsync_times(r, |times| times.max() / 1000)),
];

const STATS: &[Field] = &[
    field("total_connections_received", |r| r.counts.connections_received.into()),
    field("total_commands_processed", |r| r.counts.commands_processed.into()),
    field("eventloop_cycles", |r| r.counts.eventloop_cycles.into()),
    field("eventloop_duration_sum", |r| r.counts.eventloop_us.into()),
    field("eventloop_duration_cmd_sum", |r| (r.counts.eventloop_command_ns / 1000).into()),
    field("instantaneous_eventloop_cycles_per_sec", |r| r.rates.eventloop_cycles.into()),
    field("instantaneous_eventloop_duration_usec", |r| r.rates.eventloop_us_per_cycle.into()),
    field("instantaneous_ops_per_sec", |r| r.rates.commands.into()),
    field("total_net_input_bytes", |r| (r.counts.net_input_bytes + r.counts.net_repl_input_bytes).into()),
    field("total_net_output_bytes", |r| (r.counts.net_output_bytes + r.counts.net_repl_output_bytes).into()),
    field("total_net_repl_input_bytes", |r| r.counts.net_repl_input_bytes.into()),
    field("total_net_repl_output_bytes", |r| r.counts.net_repl_output_bytes.into()),
    field("instantaneous_input_kbps", |r| kilobytes(r.rates.net_input_bytes)),
    field("instantaneous_output_kbps", |r| kilobytes(r.rates.net_output_bytes)),
    field("instantaneous_input_repl_kbps", |r| kilobytes(r.rates.net_repl_input_bytes)),
    field("instantaneous_output_repl_kbps", |r| kilobytes(r.rates.net_repl_output_bytes)),
    field("rejected_connections", |r| r.counts.rejected_connections.into()),
    field("sync_full", |r| r.counts.sync_full.into()),
    field("sync_partial_ok", |r| r.counts.sync_partial_ok.into()),
    field("sync_partial_err", |r| r.counts.sync_partial_err.into()),
    field("expired_subkeys", |r| r.counts.expired_subkeys.into()),
    field("expired_keys", |r| r.counts.expired_keys.into()),
    field("expired_stale_perc", |_| "0.00".into()),
    field("expired_time_cap_reached_count", |r| r.counts.expired_time_cap_reached.into()),
    field("expire_cycle_cpu_milliseconds", |r| (r.counts.expire_cycle_us / 1000).into()),
    field("evicted_keys", |r| r.counts.evicted_keys.into()),
    field("evicted_clients", |r| r.counts.evicted_clients.into()),
    field("evicted_scripts", |r| r.node.scripts.evicted.load(Relaxed).into()),
    field("total_eviction_exceeded_time", zero),
    field("current_eviction_exceeded_time", zero),
    field("keyspace_hits", |r| r.counts.keyspace_hits.into()),
    field("keyspace_misses", |r| r.counts.keyspace_misses.into()),
    field("pubsub_channels", |r| r.node.pubsub.len(ChannelKind::Channel).into()),
    field("pubsub_patterns", |r| r.node.pubsub.len(ChannelKind::Pattern).into()),
    field("pubsubshard_channels", |r| r.node.pubsub.len(ChannelKind::Shard).into()),
    field("latest_fork_usec", zero),
    field("total_forks", zero),
    field("migrate_cached_sockets", |r| r.node.migrations.cached.load(Relaxed).into()),
    field("slave_expires_tracked_keys", |r| r.node.replication.own_keys.len().into()),
    field("active_defrag_hits", |r| r.counts.defrag_hits.into()),
    field("active_defrag_misses", |r| r.counts.defrag_misses.into()),
    field("active_defrag_key_hits", |r| r.counts.defrag_key_hits.into()),
    field("active_defrag_key_misses", |r| r.counts.defrag_key_misses.into()),
    field("total_active_defrag_time", |r| ((r.counts.defrag_us + r.node.defrag.running_us()) / 1000).into()),
    field("current_active_defrag_time", |r| (r.node.defrag.running_us() / 1000).into()),
    field("tracking_total_keys", |r| r.node.keyspace.tracked.keys.load(Relaxed).into()),
    field("tracking_total_items", |r| r.node.keyspace.tracked.items.load(Relaxed).into()),
    field("tracking_total_prefixes", |r| r.node.pubsub.prefixes().into()),
    field("unexpected_error_replies", |r| r.counts.unexpected_error_replies.into()),
    field("total_error_replies", |r| r.counts.total_error_replies.into()),
    field("dump_payload_sanitizations", |r| r.counts.dump_payload_sanitizations.into()),
    field("total_reads_processed", |r| r.counts.total_reads_processed.into()),
    field("total_writes_processed", |r| r.counts.total_writes_processed.into()),
    field("io_threaded_reads_processed", zero),
    field("io_threaded_writes_processed", zero),
    field("reply_buffer_shrinks", zero),
    field("reply_buffer_expands", zero),
    field("client_query_buffer_limit_disconnections", |r| r.counts.client_query_buffer_limit_disconnections.into()),
    field("client_output_buffer_limit_disconnections", |r| r.counts.client_output_buffer_limit_disconnections.into()),
    field("acl_access_denied_auth", |r| r.counts.acl_access_denied_auth.into()),
    field("acl_access_denied_cmd", |r| r.counts.acl_access_denied_cmd.into()),
    field("acl_access_denied_key", |r| r.counts.acl_access_denied_key.into()),
    field("acl_access_denied_channel", |r| r.counts.acl_access_denied_channel.into()),
];

const CPU: &[Field] = &[
    field("used_cpu_sys", |r| seconds(r.cpu().0.system)),
    field("used_cpu_user", |r| seconds(r.cpu().0.user)),
    field("used_cpu_sys_children", |r| seconds(r.cpu().0.children_system)),
    field("used_cpu_user_children", |r| seconds(r.cpu().0.children_user)),
    field("used_cpu_sys_main_thread", |r| seconds(r.cpu().1.system)),
    field("used_cpu_user_main_thread", |r| seconds(r.cpu().1.user)),
];

const CLUSTER: &[Field] = &[field("cluster_enabled", |r| r.config.cluster_enabled.into())];

const MEMKV: &[Field] = &[
    field("memkv_version", |_| MEMKV_VERSION.into()),
    field("worker_threads", |r| process::worker_threads(r.config).into()),
    field("stripes", |r| r.node.keyspace.stripes().into()),
    field("expiry_lag_ms", |r| r.node.keyspace.expiry_lag_ms.load(Relaxed).into()),
];

fn zero(_: &Reading<'_>) -> Value {
    "0".into()
}

/// What has not happened yet.
/// Bytes of all states for EVAL.
fn eval_bytes(r: &Reading<'_>) -> u64 {
    r.node.scripts.eval_bytes.load(Relaxed) as u64
}

fn function_vm_bytes(r: &Reading<'_>) -> u64 {
    r.node.scripts.function_bytes.load(Relaxed) as u64
}

/// Bytes of scripts' and libraries' texts, and what goes with them.
fn script_bytes(r: &Reading<'_>) -> u64 {
    (r.node.scripts.bytes() + r.node.scripts.libraries.current().bytes()) as u64
}

/// When the peak was seen, in Unix time (Redis 8).
fn memory_peak_seconds() -> i64 {
    crate::memory::peak_ms() / 1000
}

fn human(bytes: u64) -> Value {
    num::human_bytes(bytes).into()
}

fn percent(value: f64) -> Value {
    format!("{value:.2}%").into()
}

fn two_digits(value: f64) -> Value {
    format!("{value:.2}").into()
}

fn kilobytes(bytes: u64) -> Value {
    two_digits(bytes as f64 / 1024.0)
}

fn seconds(value: f64) -> Value {
    format!("{value:.6}").into()
}

fn difference(more: u64, less: u64) -> Value {
    (i128::from(more) - i128::from(less)).to_string().into()
}

/// Without those that are servers.
fn clients(r: &Reading<'_>) -> usize {
    let servers = r.node.replication.replicas().len() + usize::from(r.node.replication.link().state.is_connected());
    r.node.clients.len().saturating_sub(servers)
}

fn backlog(r: &Reading<'_>) -> u64 {
    let figures = r.node.journal.stream.figures();
    figures.held_bytes - figures.for_replicas
}

fn ok_or_err(ok: bool) -> &'static str {
    if ok { "ok" } else { "err" }
}

/// A field that stands only while the log is on.
fn while_loading(r: &Reading<'_>, value: fn(&Loading) -> Value) -> Value {
    if r.node.life.loads() != Loads::Nothing { value(&r.node.rdb.loading) } else { Value(None) }
}

fn with_log(r: &Reading<'_>, value: fn(&Reading<'_>) -> u64) -> Value {
    if r.node.journal.is_on() { value(r).into() } else { Value(None) }
}

fn per_batch(r: &Reading<'_>, total: fn(&Reading<'_>) -> u64) -> Value {
    let batches = r.node.journal.stats.batches.load(Relaxed);
    if r.node.journal.is_on() { two_digits(ratio(total(r), batches)) } else { Value(None) }
}

fn fsync_times(r: &Reading<'_>, figure: fn(&Snapshot) -> u64) -> Value {
    let journal = &r.node.journal;
    if journal.is_on() { figure(&journal.stats.fsync_times()).into() } else { Value(None) }
}

fn current_save_seconds(r: &Reading<'_>) -> i64 {
    since(r, r.node.rdb.started_ms.load(Relaxed))
}

/// Seconds since something started that is going on, or -1.
fn since(r: &Reading<'_>, started_ms: i64) -> i64 {
    if started_ms == 0 { -1 } else { r.now.saturating_sub(started_ms).max(0) / 1000 }
}

fn current_rewrite_seconds(r: &Reading<'_>) -> i64 {
    since(r, r.node.aof.rewrite_started_ms.load(Relaxed))
}

/// What clients connect to, TCP first.
fn listeners(r: &Reading<'_>) -> impl Iterator<Item = String> {
    let addresses: String = r.config.bind.iter().map(|a| format!("bind={},", a.trim_start_matches('-'))).collect();
    let on = |name, port| (port > 0).then(|| format!("name={name},{addresses}port={port}"));
    let (tcp, tls) = (on("tcp", r.config.port), on("tls", r.config.tls_port));
    let unix = (!r.config.unixsocket.is_empty()).then(|| format!("name=unix,bind={}", r.config.unixsocket));
    tcp.into_iter().chain(unix).chain(tls)
}

fn mode(r: &Reading<'_>) -> &'static str {
    if r.config.cluster_enabled { "cluster" } else { "standalone" }
}

fn policy(r: &Reading<'_>) -> String {
    let value = config::lookup(b"maxmemory-policy").map(|(param, _)| param.get(r.config));
    String::from_utf8_lossy(&value.unwrap_or_default()).into_owned()
}

/// Keys of the save or rewrite in progress; one that was asked for and has not begun will find those that are there now.
fn save_keys_total(r: &Reading<'_>) -> usize {
    let (keyspace, runs) = (&r.node.keyspace, |job| r.node.walks.is_running(job));
    match keyspace.captures.keys_total.load(Relaxed) {
        0 if runs(Job::Save) || runs(Job::Rewrite) => (0..keyspace.databases()).map(|db| keyspace.counts(db).0).sum(),
        total => total,
    }
}

fn uptime_seconds(r: &Reading<'_>) -> i64 {
    r.now.saturating_sub(r.node.life.started_ms).max(0) / 1000
}

fn executable() -> String {
    std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default()
}

fn config_file(r: &Reading<'_>) -> String {
    r.node.life.config_file.get().map(|path| path.display().to_string()).unwrap_or_default()
}

fn largest(r: &Reading<'_>, size: fn(&Facts) -> usize) -> usize {
    r.node.clients.list().iter().map(|client| size(&client.facts)).max().unwrap_or(0)
}

fn clients_with(r: &Reading<'_>, has: fn(&Facts) -> bool) -> usize {
    r.node.clients.list().iter().filter(|client| has(&client.facts)).count()
}

fn commandstats(r: &Reading<'_>, text: &mut String) {
    text.push_str(&observe::commandstats_text(&r.node.observatory.commands()));
}

fn errorstats(r: &Reading<'_>, text: &mut String) {
    text.push_str(&observe::errorstats_text(&r.node.observatory.errors.counts()));
}

fn latencystats(r: &Reading<'_>, text: &mut String) {
    if r.config.latency_tracking {
        let commands = r.node.observatory.commands();
        text.push_str(&observe::latencystats_text(&commands, &r.config.latency_tracking_info_percentiles));
    }
}

/// The workers, as Redis 8 shows its I/O threads.
fn threads(r: &Reading<'_>, text: &mut String) {
    let clients = r.node.clients.list();
    for slot in 0..process::worker_threads(r.config) {
        let mine = clients.iter().filter(|client| client.facts.worker.load(Relaxed) as usize == slot).count();
        let counters = &r.node.observatory.lent(slot).counters;
        let (reads, writes) = (counters.total_reads_processed.get(), counters.total_writes_processed.get());
        let _ = write!(text, "io_thread_{slot}:clients={mine},reads={reads},writes={writes}\r\n");
    }
}

fn keyspace(r: &Reading<'_>, text: &mut String) {
    for db in 0..r.node.keyspace.databases() {
        let (keys, expires) = r.node.keyspace.counts(db);
        if keys > 0 {
            let _ =
                write!(text, "db{db}:keys={keys},expires={expires},avg_ttl={}\r\n", r.node.keyspace.average_ttl_ms(db));
        }
    }
}

/// Lines as `db0_distrib_lists_items:1=2,16=1`. From a sample of the keys where there are many.
fn keysizes(r: &Reading<'_>, text: &mut String) {
    let keyspace = &r.node.keyspace;
    let used: Vec<usize> = (0..keyspace.databases()).filter(|&db| keyspace.counts(db).0 > 0).collect();
    for &db in &used {
        for sizes in keyspace.sizes(db, KEYS_SAMPLED / used.len()) {
            let (kind, is_text) = (plural(sizes.kind), sizes.kind == types::Kind::String);
            let unit = if is_text { "sizes" } else { "items" };
            distribution(text, &format!("db{db}_distrib_{kind}_{unit}"), &sizes.members);
            if r.config.key_memory_histograms && !is_text {
                distribution(text, &format!("db{db}_distrib_{kind}_sizes"), &sizes.bytes);
            }
        }
    }
}

fn plural(kind: types::Kind) -> &'static str {
    match kind {
        types::Kind::String => "strings",
        types::Kind::List => "lists",
        types::Kind::Set => "sets",
        types::Kind::Zset => "zsets",
        types::Kind::Hash => "hashes",
        types::Kind::Stream => "streams",
    }
}

fn distribution(text: &mut String, name: &str, histogram: &Histogram) {
    let mut separator = ':';
    for (size, count) in histogram.classes() {
        if separator == ':' {
            text.push_str(name);
        }
        let _ = match size {
            0..KIB => write!(text, "{separator}{size}={count}"),
            KIB..MIB => write!(text, "{separator}{}K={count}", size / KIB),
            MIB..GIB => write!(text, "{separator}{}M={count}", size / MIB),
            _ => write!(text, "{separator}{}G={count}", size / GIB),
        };
        separator = ',';
    }
    if separator == ',' {
        text.push_str("\r\n");
    }
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Keys that INFO keysizes looks at in all: a fraction of a millisecond.
const KEYS_SAMPLED: usize = 4096;

fn latency(r: &Reading<'_>, text: &mut String) {
    text.push_str(&r.node.observatory.latency(r.now).info_text());
}
