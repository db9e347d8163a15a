//! The configuration: typed fields, the table of directives, and everything that turns one into the other.
//!
//! [`Config`] is a plain value with one field per directive, named as the directive with `_` for `-`. A server keeps
//! one snapshot of it and swaps in a new one; readers see a whole configuration, never half of a change. The rows of
//! [`table`] own names, kinds, defaults, flags and the sentence of documentation; the file ([`mod@file`]), the command
//! line ([`cli`]), CONFIG GET and SET ([`live`]), CONFIG REWRITE ([`rewrite`]) and the sample ([`sample`]) are generic
//! over rows.
//!
//! Everything here is pure: no file is opened and no socket touched. What needs the world (including a file, changing
//! the directory) goes through the caller's [`file::Host`]; what a change sets in motion (listening on another port)
//! is the caller's, who gets the list of rows that changed.
//!
//! Cost: a `Config` is a few kilobytes; it is cloned once per CONFIG SET and read by reference everywhere else.

pub mod choices;
pub mod cli;
mod encodings;
pub mod events;
pub mod file;
pub mod help;
pub mod limits;
pub mod live;
pub mod param;
pub mod rewrite;
pub mod sample;
pub mod special;
pub mod table;
pub mod value;

use choices::*;
use events::KeyspaceEvents;
use limits::OutputLimits;

pub use crate::quote::{quoted, split_args};
pub use param::Param;
pub use special::expand_title;
pub use table::{PARAMS, lookup};

/// The server whose configuration, errors and defaults these are.
pub const REDIS_VERSION: &str = "7.0.15";

/// `save <seconds> <changes>`: a snapshot `seconds` after the last one, if there were `changes` or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    pub seconds: u64,
    pub changes: u64,
}

/// An amount of memory, or a part of `maxmemory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryShare {
    Bytes(u64),
    /// 1 to 100.
    Percent(u8),
}

impl MemoryShare {
    /// In bytes, given `maxmemory`; `None` for no bound.
    pub fn bytes(self, maxmemory: u64) -> Option<u64> {
        let bytes = match self {
            MemoryShare::Bytes(bytes) => bytes,
            MemoryShare::Percent(percent) => share(maxmemory, percent),
        };
        (bytes > 0).then_some(bytes)
    }
}

/// A percentage of an amount, rounded down.
fn share(amount: u64, percent: u8) -> u64 {
    let part = u128::from(amount) * u128::from(percent) / 100;
    u64::try_from(part).unwrap_or(u64::MAX)
}

impl Default for MemoryShare {
    fn default() -> Self {
        MemoryShare::Bytes(0)
    }
}

/// Writes the struct and a blank value of it, from which the table's defaults make the real one.
macro_rules! config {
    ($($field:ident: $type:ty,)+) => {
        /// A whole configuration. What a field means, its bounds and its default are in the row of the same name.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {
            $(pub $field: $type,)+
        }

        impl Config {
            fn blank() -> Config {
                Config { $($field: Default::default(),)+ }
            }
        }
    };
}

impl Default for Config {
    fn default() -> Config {
        let mut config = Config::blank();
        // Blank texts and lists are empty already.
        for param in PARAMS.iter().filter(|p| !p.default.is_empty()) {
            param.set(&mut config, param.default.as_bytes()).expect("defaults are valid: tested for every row");
        }
        config
    }
}

impl Config {
    /// The port that the server is known by: that of TLS if there is no other.
    pub fn main_port(&self) -> u16 {
        if self.port == 0 { self.tls_port } else { self.port }
    }

    /// The directives that were given a value and have no effect, for one line in the log.
    pub fn without_effect(&self) -> impl Iterator<Item = &'static Param> + '_ {
        let set = |p: &&Param| p.has(param::UNSUPPORTED) && p.get(self) != p.default.as_bytes();
        PARAMS.iter().filter(set)
    }
}

config! {
    // Network
    bind: Vec<String>,
    bind_source_addr: String,
    client_output_buffer_limit: OutputLimits,
    client_query_buffer_limit: u64,
    max_new_connections_per_cycle: u32,
    maxclients: u32,
    maxmemory_clients: MemoryShare,
    mptcp: bool,
    port: u16,
    protected_mode: bool,
    proto_max_bulk_len: u64,
    rdma_bind: String,
    rdma_completion_vector: i32,
    rdma_port: u16,
    rdma_rx_size: u32,
    socket_mark_id: u32,
    tcp_backlog: u32,
    tcp_keepalive: u32,
    timeout: u32,
    unixsocket: String,
    unixsocketgroup: String,
    unixsocketperm: u32,

    // TLS
    max_new_tls_connections_per_cycle: u32,
    tls_auth_clients: TlsAuthClients,
    tls_auth_clients_user: TlsAuthClientsUser,
    tls_auto_reload_interval: u32,
    tls_ca_cert_dir: String,
    tls_ca_cert_file: String,
    tls_cert_file: String,
    tls_ciphers: String,
    tls_ciphersuites: String,
    tls_client_cert_file: String,
    tls_client_key_file: String,
    tls_client_key_file_pass: String,
    tls_cluster: bool,
    tls_dh_params_file: String,
    tls_key_file: String,
    tls_key_file_pass: String,
    tls_port: u16,
    tls_prefer_server_ciphers: bool,
    tls_protocols: String,
    tls_replication: bool,
    tls_session_cache_size: u32,
    tls_session_cache_timeout: u32,
    tls_session_caching: bool,

    // General
    always_show_logo: bool,
    aof_rewrite_cpulist: String,
    availability_zone: String,
    bgsave_cpulist: String,
    bio_cpulist: String,
    busy_reply_threshold: u64,
    crash_log_enabled: bool,
    crash_memcheck_enabled: bool,
    daemonize: bool,
    databases: u32,
    debug_context: String,
    dir: String,
    disable_thp: bool,
    dynamic_hz: bool,
    enable_debug_assert: bool,
    enable_debug_command: ProtectedAction,
    enable_module_command: ProtectedAction,
    enable_protected_configs: ProtectedAction,
    extended_redis_compatibility: bool,
    hash_seed: String,
    hz: u32,
    ignore_warnings: String,
    import_mode: bool,
    io_threads: u32,
    io_threads_always_active: bool,
    io_threads_do_reads: bool,
    locale_collate: String,
    lua_enable_deprecated_api: bool,
    lua_enable_insecure_api: bool,
    min_io_threads_avoid_copy_reply: u32,
    min_string_size_avoid_copy_reply: u32,
    min_string_size_avoid_copy_reply_threaded: u32,
    oom_score_adj: OomScoreAdj,
    oom_score_adj_values: [i32; 3],
    pidfile: String,
    prefetch_batch_max_size: u32,
    proc_title_template: String,
    propagation_error_behavior: PropagationErrorBehavior,
    server_cpulist: String,
    set_proc_title: bool,
    shutdown_on_sigint: ShutdownFlags,
    shutdown_on_sigterm: ShutdownFlags,
    shutdown_timeout: u32,
    stripes: u32,
    supervised: Supervised,
    threads: u32,
    use_exit_on_panic: bool,
    watchdog_period: u32,

    // Security
    acl_pubsub_default: AclPubsubDefault,
    aclfile: String,
    acllog_max_len: usize,
    requirepass: Vec<u8>,

    // Logging and observability
    admin_bind: String,
    admin_port: u16,
    admin_tls: bool,
    admin_token: Vec<u8>,
    commandlog_large_reply_max_len: u64,
    commandlog_large_request_max_len: u64,
    commandlog_reply_larger_than: i64,
    commandlog_request_larger_than: i64,
    hide_user_data_from_log: bool,
    latency_monitor_threshold: u64,
    latency_tracking: bool,
    latency_tracking_info_percentiles: Vec<f64>,
    log_format: LogFormat,
    log_timestamp_format: LogTimestampFormat,
    logfile: String,
    loglevel: LogLevel,
    slowlog_log_slower_than: i64,
    slowlog_max_len: usize,
    syslog_enabled: bool,
    syslog_facility: SyslogFacility,
    syslog_ident: String,

    // Memory, expiry and eviction
    active_defrag_cycle_max: u32,
    active_defrag_cycle_min: u32,
    active_defrag_cycle_us: u32,
    active_defrag_ignore_bytes: u64,
    active_defrag_max_scan_fields: u64,
    active_defrag_threshold_lower: u32,
    active_defrag_threshold_upper: u32,
    active_expire_effort: u32,
    activedefrag: bool,
    activerehashing: bool,
    jemalloc_bg_thread: bool,
    lazyexpire_nested_arbitrary_keys: bool,
    lazyfree_lazy_eviction: bool,
    lazyfree_lazy_expire: bool,
    lazyfree_lazy_server_del: bool,
    lazyfree_lazy_user_del: bool,
    lazyfree_lazy_user_flush: bool,
    lfu_decay_time: u32,
    lfu_log_factor: u32,
    maxmemory: u64,
    maxmemory_eviction_tenacity: u32,
    maxmemory_policy: MaxmemoryPolicy,
    maxmemory_samples: u32,
    tracking_table_max_keys: usize,

    // Append-only file
    aof_batch_commands: u32,
    aof_batch_interval_ms: u32,
    aof_disable_auto_gc: bool,
    aof_load_truncated: bool,
    aof_reply_after: AofReplyAfter,
    aof_rewrite_incremental_fsync: bool,
    aof_timestamp_enabled: bool,
    aof_use_rdb_preamble: bool,
    appenddirname: String,
    appendfilename: String,
    appendfsync: AppendFsync,
    appendonly: bool,
    auto_aof_rewrite_min_size: u64,
    auto_aof_rewrite_percentage: u32,
    no_appendfsync_on_rewrite: bool,

    // Snapshots
    dbfilename: String,
    key_load_delay: i32,
    loading_process_events_interval_bytes: u32,
    rdb_del_sync_files: bool,
    rdb_key_save_delay: i32,
    rdb_save_incremental_fsync: bool,
    rdb_version_check: RdbVersionCheck,
    rdbchecksum: bool,
    rdbcompression: bool,
    sanitize_dump_payload: SanitizeDumpPayload,
    save: Vec<SavePoint>,
    stop_writes_on_bgsave_error: bool,

    // Replication
    dual_channel_replication_enabled: bool,
    masterauth: Vec<u8>,
    masteruser: Vec<u8>,
    min_replicas_max_lag: u32,
    min_replicas_to_write: u32,
    repl_backlog_size: u64,
    repl_backlog_ttl: u64,
    repl_disable_tcp_nodelay: bool,
    repl_diskless_load: ReplDisklessLoad,
    repl_diskless_sync: bool,
    repl_diskless_sync_delay: u32,
    repl_diskless_sync_max_replicas: u32,
    repl_mptcp: bool,
    repl_ping_replica_period: u32,
    repl_rdb_channel: bool,
    repl_timeout: u32,
    replica_announce_ip: String,
    replica_announce_port: u16,
    replica_announced: bool,
    replica_full_sync_buffer_limit: u64,
    replica_ignore_disk_write_errors: bool,
    replica_ignore_maxmemory: bool,
    replica_lazy_flush: bool,
    replica_priority: u32,
    replica_read_only: bool,
    replica_serve_stale_data: bool,
    replicaof: Option<(String, u16)>,

    // Cluster
    cluster_allow_pubsubshard_when_down: bool,
    cluster_allow_reads_when_down: bool,
    cluster_allow_replica_migration: bool,
    cluster_announce_bus_port: u16,
    cluster_announce_client_ipv4: String,
    cluster_announce_client_ipv6: String,
    cluster_announce_client_port: u16,
    cluster_announce_client_tls_port: u16,
    cluster_announce_hostname: String,
    cluster_announce_human_nodename: String,
    cluster_announce_ip: String,
    cluster_announce_port: u16,
    cluster_announce_tls_port: u16,
    cluster_blacklist_ttl: u64,
    cluster_compatibility_sample_ratio: u32,
    cluster_config_file: String,
    cluster_config_save_behavior: ClusterConfigSaveBehavior,
    cluster_databases: u32,
    cluster_enabled: bool,
    cluster_link_sendbuf_limit: u64,
    cluster_manual_failover_timeout: u32,
    cluster_message_gossip_perc: u32,
    cluster_migration_barrier: u32,
    cluster_node_timeout: u64,
    cluster_ping_interval: u64,
    cluster_port: u16,
    cluster_preferred_endpoint_type: ClusterPreferredEndpointType,
    cluster_replica_no_failover: bool,
    cluster_replica_validity_factor: u32,
    cluster_require_full_coverage: bool,
    cluster_slot_migration_log_max_len: u64,
    cluster_slot_stats_enabled: bool,
    slot_migration_max_failover_repl_bytes: i64,

    // Data types
    compatibility_level: CompatibilityLevel,
    encoding_names: EncodingNames,
    hash_max_listpack_entries: usize,
    hash_max_listpack_value: usize,
    hash_max_template_entries: usize,
    hash_min_template_entries: usize,
    hash_rdb_load_max_template_entries: usize,
    hash_rdb_load_min_template_entries: usize,
    hash_rdb_load_template_disassembly_threshold: usize,
    hll_sparse_max_bytes: usize,
    key_memory_histograms: bool,
    list_compress_depth: u32,
    list_max_listpack_size: i32,
    notify_keyspace_events: KeyspaceEvents,
    set_max_intset_entries: usize,
    set_max_listpack_entries: usize,
    set_max_listpack_value: usize,
    stream_idmp_duration: u32,
    stream_idmp_maxsize: u32,
    stream_node_max_bytes: usize,
    stream_node_max_entries: usize,
    vset_force_single_threaded_execution: bool,
    zset_max_listpack_entries: usize,
    zset_max_listpack_value: usize,
}

#[cfg(test)]
mod tests;
