//! Directives of the append-only file and its batches.
//!
//! One row per directive, sorted by name; the page of the table above says what the columns mean.

use crate::config::param::{
    DENY_LOADING, EXTENSION, Empty, IMMUTABLE, INT, LONG, MODIFIABLE, Param, ParamKind, at, checked, choice, int,
    memory, num, row,
};
use crate::config::special;

#[rustfmt::skip]
pub(super) const ROWS: &[Param] = &[
    row("aof-batch-commands", int(num!(aof_batch_commands), 1, 1_000_000), "50", MODIFIABLE | EXTENSION,
        "Commands after which a batch is handed to the disk when replies do not wait for it."),
    row("aof-batch-interval-ms", int(num!(aof_batch_interval_ms), 1, 10_000), "10", MODIFIABLE | EXTENSION,
        "Milliseconds after which a batch is handed to the disk when replies do not wait for it."),
    row("aof-disable-auto-gc", ParamKind::Flag(at!(aof_disable_auto_gc)), "no", MODIFIABLE,
        "Keep the files that a rewrite has replaced, until this is switched off again."),
    row("aof-load-truncated", ParamKind::Flag(at!(aof_load_truncated)), "yes", MODIFIABLE,
        "Start from a journal whose last command is cut off, dropping that command."),
    row("aof-reply-after", ParamKind::Choice(choice!(aof_reply_after, AofReplyAfter)), "default", MODIFIABLE | EXTENSION,
        "When a write may be answered: durable, written or at once (memory); default follows appendfsync."),
    row("aof-rewrite-incremental-fsync", ParamKind::Flag(at!(aof_rewrite_incremental_fsync)), "yes", MODIFIABLE,
        "Sync a rewrite's file every few megabytes instead of at its end."),
    row("aof-timestamp-enabled", ParamKind::Flag(at!(aof_timestamp_enabled)), "no", MODIFIABLE,
        "Put time stamps into the journal, so that it can be cut back to a moment."),
    row("aof-use-rdb-preamble", ParamKind::Flag(at!(aof_use_rdb_preamble)), "yes", MODIFIABLE,
        "Write the base of a rewritten journal in RDB form."),
    row("appenddirname", checked(at!(appenddirname), special::appenddirname, Empty::Kept), "appendonlydir", IMMUTABLE,
        "Directory of the append-only files, below dir."),
    row("appendfilename", checked(at!(appendfilename), special::appendfilename, Empty::Kept),
        "appendonly.aof", IMMUTABLE,
        "First part of the append-only files' names."),
    row("appendfsync", ParamKind::Choice(choice!(appendfsync, AppendFsync)), "everysec", MODIFIABLE,
        "When the journal is synced to the disk."),
    row("appendonly", ParamKind::Flag(at!(appendonly)), "no", MODIFIABLE | DENY_LOADING,
        "Journal every change to the append-only files."),
    row("auto-aof-rewrite-min-size", memory(num!(auto_aof_rewrite_min_size), 0, LONG), "67108864", MODIFIABLE,
        "Size below which no rewrite starts by itself."),
    row("auto-aof-rewrite-percentage", int(num!(auto_aof_rewrite_percentage), 0, INT), "100", MODIFIABLE,
        "Growth since the last rewrite, in percent, that starts the next; 0 for never."),
    row("no-appendfsync-on-rewrite", ParamKind::Flag(at!(no_appendfsync_on_rewrite)), "no", MODIFIABLE,
        "Do not sync while a rewrite or a save is running."),
];
