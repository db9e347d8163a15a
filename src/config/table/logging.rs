//! Directives of logs, slow log, latency and the admin listener.
//!
//! One row per directive, sorted by name; the page of the table above says what the columns mean.

use crate::config::param::{
    ALIAS_HIDDEN, EXTENSION, HIDDEN, IMMUTABLE, LONG, MODIFIABLE, MULTI_ARG, Param, ParamKind, SENSITIVE, UNSUPPORTED,
    at, choice, int, num, row, text,
};
use crate::config::special;

#[rustfmt::skip]
pub(super) const ROWS: &[Param] = &[
    row("admin-bind", text(at!(admin_bind)), "127.0.0.1", IMMUTABLE | EXTENSION,
        "Address of the admin listener."),
    row("admin-port", int(num!(admin_port), 0, 65_535), "0", IMMUTABLE | EXTENSION,
        "Port of the admin listener (a page at /, /metrics, /latency.json, /healthz, /readyz); 0 for none."),
    row("admin-tls", ParamKind::Flag(at!(admin_tls)), "no", IMMUTABLE | EXTENSION,
        "The admin listener speaks TLS, with the certificates and the rules for clients of tls-port."),
    row("admin-token", ParamKind::Secret(at!(admin_token)), "", MODIFIABLE | EXTENSION | SENSITIVE,
        "What /metrics and /latency.json ask for as a bearer token; empty for nothing."),
    row("commandlog-large-reply-max-len", int(num!(commandlog_large_reply_max_len), 0, LONG),
        "128", MODIFIABLE | EXTENSION | HIDDEN,
        "Entries kept of large replies, as Valkey has it."),
    row("commandlog-large-request-max-len", int(num!(commandlog_large_request_max_len), 0, LONG),
        "128", MODIFIABLE | EXTENSION | HIDDEN,
        "Entries kept of large requests, as Valkey has it."),
    row("commandlog-reply-larger-than", int(num!(commandlog_reply_larger_than), -1, LONG),
        "1048576", MODIFIABLE | EXTENSION | HIDDEN,
        "Bytes from which a reply is logged, as Valkey has it."),
    row("commandlog-request-larger-than", int(num!(commandlog_request_larger_than), -1, LONG),
        "1048576", MODIFIABLE | EXTENSION | HIDDEN,
        "Bytes from which a request is logged, as Valkey has it."),
    row("hide-user-data-from-log", ParamKind::Flag(at!(hide_user_data_from_log)), "no", MODIFIABLE | EXTENSION | UNSUPPORTED,
        "Keep keys and arguments out of log lines (Redis 8)."),
    row("latency-monitor-threshold", int(num!(latency_monitor_threshold), 0, LONG), "0", MODIFIABLE,
        "Milliseconds from which LATENCY HISTORY keeps an event; 0 turns it off."),
    row("latency-tracking", ParamKind::Flag(at!(latency_tracking)), "yes", MODIFIABLE,
        "Keep a latency histogram per command."),
    row("latency-tracking-info-percentiles", ParamKind::Special(&special::LATENCY_TRACKING_INFO_PERCENTILES),
        "50 99 99.9", MODIFIABLE | MULTI_ARG,
        "Percentiles that INFO latencystats shows."),
    row("log-format", ParamKind::Choice(choice!(log_format, LogFormat)),
        "legacy", MODIFIABLE | EXTENSION | HIDDEN | UNSUPPORTED,
        "Shape of a log line (Valkey)."),
    row("log-timestamp-format", ParamKind::Choice(choice!(log_timestamp_format, LogTimestampFormat)),
        "legacy", MODIFIABLE | EXTENSION | HIDDEN | UNSUPPORTED,
        "Shape of a log line's time (Valkey)."),
    row("logfile", text(at!(logfile)), "", IMMUTABLE,
        "Log file; empty means standard output."),
    row("loglevel", ParamKind::Choice(choice!(loglevel, LogLevel)), "notice", MODIFIABLE,
        "Least important kind of message that is logged."),
    row("slowlog-log-slower-than", int(num!(slowlog_log_slower_than), -1, LONG), "10000", MODIFIABLE | ALIAS_HIDDEN,
        "Microseconds from which a command enters the slow log; -1 turns it off, 0 logs everything.")
        .alias("commandlog-execution-slower-than"),
    row("slowlog-max-len", int(num!(slowlog_max_len), 0, LONG), "128", MODIFIABLE | ALIAS_HIDDEN,
        "Entries kept by the slow log.").alias("commandlog-slow-execution-max-len"),
    row("syslog-enabled", ParamKind::Flag(at!(syslog_enabled)), "no", IMMUTABLE | UNSUPPORTED,
        "Log to the system logger as well."),
    row("syslog-facility", ParamKind::Choice(choice!(syslog_facility, SyslogFacility)), "local0", IMMUTABLE | UNSUPPORTED,
        "Facility used in the system log."),
    row("syslog-ident", text(at!(syslog_ident)), "redis", IMMUTABLE | UNSUPPORTED,
        "Name used in the system log."),
];
