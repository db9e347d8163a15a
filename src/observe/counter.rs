//! Counters with one writer: a relaxed load and a relaxed store, no locked instruction, about a nanosecond.
//!
//! `Counters` is the table of what INFO stats counts, one per worker; `Counts` the same numbers read and summed.
//! Invariant: only the owning thread calls `add`. A second writer would lose counts, nothing worse. They never go
//! down: CONFIG RESETSTAT remembers a reading and later ones are shown less that.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that one thread adds to and any thread reads.
#[derive(Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub const fn new() -> Counter {
        Counter(AtomicU64::new(0))
    }

    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Names the counters once and derives the live table, the owned one, and the arithmetic between them.
macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// What one worker counts.
        #[derive(Default)]
        pub struct Counters { $($(#[doc = $doc])* pub $name: Counter,)* }

        /// What all workers counted.
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        pub struct Counts { $($(#[doc = $doc])* pub $name: u64,)* }

        impl Counts {
            /// Adds a worker's present numbers.
            pub fn add(&mut self, counters: &Counters) {
                $(self.$name = self.$name.wrapping_add(counters.$name.get());)*
            }

            /// What was counted after `earlier`, an older reading.
            pub fn since(&self, earlier: &Counts) -> Counts {
                Counts { $($name: self.$name.wrapping_sub(earlier.$name),)* }
            }
        }
    };
}

counters! {
    /// Connections accepted.
    connections_received,
    /// Connections refused by `maxclients`.
    rejected_connections,
    /// Commands run, those in scripts and transactions included.
    commands_processed,
    net_input_bytes,
    net_output_bytes,
    net_repl_input_bytes,
    net_repl_output_bytes,
    /// Reads from sockets that brought something.
    total_reads_processed,
    /// Writes to sockets.
    total_writes_processed,
    keyspace_hits,
    keyspace_misses,
    expired_keys,
    /// Hash fields that expired.
    expired_subkeys,
    /// Stops of the expiry cycle because its time was up.
    expired_time_cap_reached,
    /// Time spent removing expired keys, in microseconds.
    expire_cycle_us,
    /// Allocations that defragmentation moved, and those it looked at and left; likewise keys.
    defrag_hits,
    defrag_misses,
    defrag_key_hits,
    defrag_key_misses,
    /// Time defragmentation was under way, its rests included, in microseconds.
    defrag_us,
    evicted_keys,
    /// Changes to the keyspace, as `rdb_changes_since_last_save` counts them.
    changes,
    evicted_clients,
    evicted_scripts,
    /// Error replies, each also in the error statistics.
    total_error_replies,
    /// Errors answered to a master, a replica or a journal, where none is expected.
    unexpected_error_replies,
    acl_access_denied_auth,
    acl_access_denied_cmd,
    acl_access_denied_key,
    acl_access_denied_channel,
    client_query_buffer_limit_disconnections,
    client_output_buffer_limit_disconnections,
    sync_full,
    sync_partial_ok,
    sync_partial_err,
    dump_payload_sanitizations,
    /// Turns of the workers' loops.
    eventloop_cycles,
    /// Time in those turns, in microseconds, waiting for events not included.
    eventloop_us,
    /// Time in commands, in nanoseconds.
    eventloop_command_ns,
}
