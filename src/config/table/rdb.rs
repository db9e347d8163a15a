//! Directives of snapshots.
//!
//! One row per directive, sorted by name; the page of the table above says what the columns mean.

use crate::config::param::{
    DEBUG, EXTENSION, Empty, HIDDEN, I32_MIN, IMMUTABLE, INT, MODIFIABLE, MULTI_ARG, PROTECTED, Param, ParamKind,
    UNSUPPORTED, at, checked, choice, int, num, row,
};
use crate::config::special;

#[rustfmt::skip]
pub(super) const ROWS: &[Param] = &[
    row("dbfilename", checked(at!(dbfilename), special::dbfilename, Empty::Kept), "dump.rdb", MODIFIABLE | PROTECTED,
        "Name of the snapshot file."),
    row("key-load-delay", int(num!(key_load_delay), I32_MIN, INT), "0", MODIFIABLE | HIDDEN,
        "For tests: microseconds to wait after each loaded key; negative for one wait per that many keys."),
    row("loading-process-events-interval-bytes", int(num!(loading_process_events_interval_bytes), 1_024, INT),
        "2097152", MODIFIABLE | HIDDEN | UNSUPPORTED,
        "Redis: bytes loaded between two looks at the clients. Other threads serve them here."),
    row("rdb-del-sync-files", ParamKind::Flag(at!(rdb_del_sync_files)), "no", MODIFIABLE | UNSUPPORTED,
        "Without persistence, delete the snapshot that replication needed."),
    row("rdb-key-save-delay", int(num!(rdb_key_save_delay), I32_MIN, INT), "0", MODIFIABLE | HIDDEN,
        "For tests: microseconds to wait after each saved key; negative for one wait per that many keys."),
    row("rdb-save-incremental-fsync", ParamKind::Flag(at!(rdb_save_incremental_fsync)), "yes", MODIFIABLE,
        "Sync a snapshot every few megabytes instead of at its end."),
    row("rdb-version-check", ParamKind::Choice(choice!(rdb_version_check, RdbVersionCheck)),
        "strict", MODIFIABLE | EXTENSION | HIDDEN,
        "Whether snapshots and payloads of unknown versions are read (Valkey): `relaxed` takes what is known of them."),
    row("rdbchecksum", ParamKind::Flag(at!(rdbchecksum)), "yes", IMMUTABLE,
        "Write and check a checksum at the end of a snapshot."),
    row("rdbcompression", ParamKind::Flag(at!(rdbcompression)), "yes", MODIFIABLE,
        "Compress strings in snapshots."),
    row("sanitize-dump-payload", ParamKind::Choice(choice!(sanitize_dump_payload, SanitizeDumpPayload)),
        "no", MODIFIABLE | DEBUG | UNSUPPORTED,
        "Redis: how deeply snapshots and RESTORE payloads are checked. They are always checked here."),
    row("save", ParamKind::Special(&special::SAVE), "3600 1 300 100 60 10000", MODIFIABLE | MULTI_ARG,
        "Save a snapshot after so many seconds if at least so many changes were made; \"\" for never."),
    row("stop-writes-on-bgsave-error", ParamKind::Flag(at!(stop_writes_on_bgsave_error)), "yes", MODIFIABLE,
        "Refuse writes after a failed background save."),
];
