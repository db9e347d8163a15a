//! Directives of the data types' encodings and of keyspace events.
//!
//! One row per directive, sorted by name; the page of the table above says what the columns mean.

use crate::config::param::{
    DEBUG, EXTENSION, I32_MIN, INT, Kind, LONG, MODIFIABLE, Param, UNSUPPORTED, at, choice, int, memory, num, row,
};
use crate::config::special;

#[rustfmt::skip]
pub(super) const ROWS: &[Param] = &[
    row("compatibility-level", Kind::Choice(choice!(compatibility_level, CompatibilityLevel)), "7.0",
        MODIFIABLE | EXTENSION, "As which Redis the server introduces itself to clients: 7.0 or 8.2."),
    row("encoding-names", Kind::Choice(choice!(encoding_names, EncodingNames)), "level", MODIFIABLE | EXTENSION,
        "Whose names OBJECT ENCODING answers: 7.0's, or 8.2's, which knows listpacks of sets and lists."),
    row("hash-max-listpack-entries", int(num!(hash_max_listpack_entries), 0, LONG), "512", MODIFIABLE,
        "Fields up to which a hash is kept in one compact block.").alias("hash-max-ziplist-entries"),
    row("hash-max-listpack-value", memory(num!(hash_max_listpack_value), 0, LONG), "64", MODIFIABLE,
        "Longest field or value of a compact hash.").alias("hash-max-ziplist-value"),
    row("hash-max-template-entries", int(num!(hash_max_template_entries), 0, LONG), "512", MODIFIABLE | EXTENSION,
        "Fields up to which compact hashes of one layout share their field names; 0 for never."),
    row("hash-min-template-entries", int(num!(hash_min_template_entries), 0, LONG), "3", MODIFIABLE | EXTENSION,
        "Fields from which compact hashes of one layout share their field names; 0 for never."),
    row("hash-rdb-load-max-template-entries", int(num!(hash_rdb_load_max_template_entries), 0, LONG), "512",
        MODIFIABLE | EXTENSION, "The same maximum for hashes that a snapshot or a DUMP payload brings."),
    row("hash-rdb-load-min-template-entries", int(num!(hash_rdb_load_min_template_entries), 0, LONG), "3",
        MODIFIABLE | EXTENSION, "The same minimum for hashes that a snapshot or a DUMP payload brings."),
    row("hll-sparse-max-bytes", memory(num!(hll_sparse_max_bytes), 0, LONG), "3000", MODIFIABLE,
        "Size up to which a HyperLogLog stays in its sparse form."),
    row("list-compress-depth", int(num!(list_compress_depth), 0, INT), "0", MODIFIABLE | DEBUG,
        "Blocks at each end of a list that stay uncompressed; 0 for no compression."),
    row("list-max-listpack-size", int(num!(list_max_listpack_size), I32_MIN, INT), "-2", MODIFIABLE,
        "Size of a list's blocks: entries, or -1 to -5 for 4 to 64 kilobytes.").alias("list-max-ziplist-size"),
    row("notify-keyspace-events", Kind::Special(&special::NOTIFY_KEYSPACE_EVENTS), "", MODIFIABLE,
        "Which changes are published as keyspace events."),
    row("set-max-intset-entries", int(num!(set_max_intset_entries), 0, LONG), "512", MODIFIABLE,
        "Members up to which a set of integers is kept as an array."),
    row("set-max-listpack-entries", int(num!(set_max_listpack_entries), 0, LONG), "128", MODIFIABLE | EXTENSION,
        "Members up to which a set is kept in one compact block."),
    row("set-max-listpack-value", int(num!(set_max_listpack_value), 0, LONG), "64", MODIFIABLE | EXTENSION,
        "Longest member of a compact set."),
    row("stream-node-max-bytes", memory(num!(stream_node_max_bytes), 0, LONG), "4096", MODIFIABLE,
        "Bytes of one block of a stream; 0 for no bound."),
    row("stream-node-max-entries", int(num!(stream_node_max_entries), 0, LONG), "100", MODIFIABLE,
        "Entries of one block of a stream; 0 for no bound."),
    row("vset-force-single-threaded-execution", Kind::Flag(at!(vset_force_single_threaded_execution)),
        "no", MODIFIABLE | EXTENSION | UNSUPPORTED,
        "Search vector sets in the calling thread (Redis 8)."),
    row("zset-max-listpack-entries", int(num!(zset_max_listpack_entries), 0, LONG), "128", MODIFIABLE,
        "Members up to which a sorted set is kept in one compact block.").alias("zset-max-ziplist-entries"),
    row("zset-max-listpack-value", memory(num!(zset_max_listpack_value), 0, LONG), "64", MODIFIABLE,
        "Longest member of a compact sorted set.").alias("zset-max-ziplist-value"),
];
