//! The last five minutes of the server, a sample for every two seconds: what the page shows of the time before it was opened.
//!
//! A sample is the difference between two readings of what is counted anyway, so the workers pay nothing for it and no
//! reset disturbs it. All service times are told in one row of buckets, those of each command by their percentiles and only
//! for the commands that took the most time. Times are nanoseconds, the rest is counts and bytes.
//! Invariant: no more than [`SAMPLES_MAX`] samples, and their numbers have no gaps. Not here: who reads them (`figures`).
//! Cost: less than a millisecond for a sample, on the admin thread, and nothing unless there is one.

use crate::clock::{self, Millis};
use crate::memory;
use crate::node::Node;
use crate::observe::{CAUSES, Counts, Seen, ServiceTotals, Snapshot};
use crate::process;
use crate::usage;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// The samples, and the readings that the next one starts from.
pub struct History {
    samples: VecDeque<Sample>,
    /// The number of the next sample; the first one is 1.
    next: u64,
    before: Readings,
    seen: Seen,
}

/// What is counted from the start on, at one moment.
struct Readings {
    at: Instant,
    counts: Counts,
    log: Log,
    fsyncs: Snapshot,
    /// The turns of each worker's loop.
    turns: Vec<Snapshot>,
}

/// What the log took.
#[derive(Clone, Copy, Default)]
struct Log {
    batches: u64,
    commands: u64,
    bytes: u64,
}

/// What happened in two seconds, and the memory at their end.
struct Sample {
    number: u64,
    at: Millis,
    span_ms: u64,
    all: Times,
    buckets: Vec<u64>,
    causes_ns: [u64; CAUSES.len()],
    /// The most time first.
    commands: Vec<(String, Times)>,
    counts: Counts,
    log: Log,
    fsyncs: Times,
    turns: Vec<Times>,
    memory_used: u64,
    memory_max: u64,
    memory_resident: u64,
}

/// How long something took.
struct Times {
    count: u64,
    p50: u64,
    p99: u64,
    p99_9: u64,
    max: u64,
}

impl History {
    /// An empty history that begins now.
    pub fn new(node: &Node) -> Self {
        let mut seen = Seen::default();
        node.observatory.serviced(&mut seen);
        Self { samples: VecDeque::new(), next: 1, before: Readings::take(node), seen }
    }

    /// Adds what happened since the last sample; the oldest one makes room.
    pub fn sample(&mut self, node: &Node) {
        let now = Readings::take(node);
        let mut commands = node.observatory.serviced(&mut self.seen);
        let mut all = ServiceTotals::default();
        commands.iter().for_each(|(_, totals)| all.merge(totals));
        commands.sort_by_key(|(_, totals)| std::cmp::Reverse(totals.histogram.sum()));
        let commands = commands.iter().take(COMMANDS_MAX);
        let before = &self.before;
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            number: self.next,
            at: clock::now_ms(),
            span_ms: u64::try_from(now.at.duration_since(before.at).as_millis()).unwrap_or(u64::MAX).max(1),
            all: Times::of(&all.histogram),
            buckets: in_buckets(&all.histogram),
            causes_ns: all.causes_ns,
            commands: commands.map(|(name, totals)| ((*name).to_owned(), Times::of(&totals.histogram))).collect(),
            counts: now.counts.since(&before.counts),
            log: now.log.since(&before.log),
            fsyncs: Times::of(&now.fsyncs.since(&before.fsyncs)),
            turns: now.turns.iter().zip(&before.turns).map(|(now, before)| Times::of(&now.since(before))).collect(),
            memory_used: memory::used(),
            memory_max: node.config.load().maxmemory,
            memory_resident: usage::resident_bytes(),
        });
        self.next += 1;
        self.before = now;
    }

    /// The samples with a number above this one, the oldest first.
    pub fn json(&self, after: u64) -> Value {
        self.samples.iter().filter(|sample| sample.number > after).map(Sample::json).collect()
    }
}

impl Readings {
    fn take(node: &Node) -> Self {
        let stats = &node.journal.stats;
        let workers = process::worker_threads(&node.config.load());
        Self {
            at: Instant::now(),
            counts: node.observatory.counts_since_start(),
            log: Log {
                batches: stats.batches.load(Relaxed),
                commands: stats.commands.load(Relaxed),
                bytes: stats.bytes.load(Relaxed),
            },
            fsyncs: stats.fsync_times(),
            turns: (0..workers).map(|thread| node.observatory.lent(thread).turns()).collect(),
        }
    }
}

impl Log {
    /// RESETSTAT sets these to 0: what is lower than before began anew.
    fn since(&self, before: &Log) -> Log {
        let before = if self.batches < before.batches { Log::default() } else { *before };
        Log {
            batches: self.batches.saturating_sub(before.batches),
            commands: self.commands.saturating_sub(before.commands),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }
}

impl Sample {
    fn json(&self) -> Value {
        let counts = &self.counts;
        let commands = self.commands.iter().map(|(name, times)| (name.clone(), times.json()));
        json!({
            "number": self.number,
            "at_ms": self.at,
            "span_ms": self.span_ms,
            "all": self.all.json(),
            "buckets": self.buckets,
            "causes_ns": self.causes_ns,
            "commands": Value::Object(commands.collect()),
            "ops": counts.commands_processed,
            "errors": counts.total_error_replies,
            "hits": counts.keyspace_hits,
            "misses": counts.keyspace_misses,
            "bytes_in": counts.net_input_bytes + counts.net_repl_input_bytes,
            "bytes_out": counts.net_output_bytes + counts.net_repl_output_bytes,
            "evicted": counts.evicted_keys,
            "expired": counts.expired_keys,
            "memory_used": self.memory_used,
            "memory_max": self.memory_max,
            "memory_resident": self.memory_resident,
            "batches": self.log.batches,
            "batch_commands": self.log.commands,
            "batch_bytes": self.log.bytes,
            "fsyncs": self.fsyncs.json(),
            "turns": self.turns.iter().map(Times::json).collect::<Value>(),
        })
    }
}

impl Times {
    fn of(times: &Snapshot) -> Self {
        let at = |percentile| times.bounded_percentile(percentile);
        Self { count: times.count(), p50: at(50.0), p99: at(99.0), p99_9: at(99.9), max: times.max() }
    }

    /// `[count, p50, p99, p99.9, max]`.
    fn json(&self) -> Value {
        json!([self.count, self.p50, self.p99, self.p99_9, self.max])
    }
}

/// The upper ends of the buckets but the last, which has none, in nanoseconds: each power of two, and half way to the next.
pub fn bounds_ns() -> impl Iterator<Item = u64> {
    (FIRST_BOUND_LOG2..LAST_BOUND_LOG2).flat_map(|log2| [1 << log2, 3 << (log2 - 1)]).chain([1 << LAST_BOUND_LOG2])
}

/// How many of the times are in each bucket. The bounds are ends of the histogram's own cells, so this is exact.
fn in_buckets(times: &Snapshot) -> Vec<u64> {
    let mut below = 0;
    let mut bucket = |up_to: u64| up_to - std::mem::replace(&mut below, up_to);
    let mut buckets: Vec<u64> = bounds_ns().map(|bound| bucket(times.count_below(bound - 1))).collect();
    buckets.push(bucket(times.count()));
    buckets
}

/// How often a sample is taken, and for how long it is kept: five minutes.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(2);
pub const SAMPLES_MAX: usize = 150;
/// Commands of which a sample knows the percentiles.
const COMMANDS_MAX: usize = 10;
/// A microsecond, which is less than any request takes, and 8 seconds, after which most clients have given up.
const FIRST_BOUND_LOG2: u32 = 10;
const LAST_BOUND_LOG2: u32 = 33;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Histogram;

    #[test]
    fn every_time_is_in_one_bucket() {
        let histogram = Histogram::new();
        [5, 1023, 1024, 1535, 1536, 1 << 33, 1 << 39].into_iter().for_each(|ns| histogram.record(ns));
        let mut times = Snapshot::default();
        histogram.merge_into(&mut times);
        let buckets = in_buckets(&times);
        assert_eq!(buckets[..4], [2, 2, 1, 0]);
        assert_eq!((buckets.len(), buckets[buckets.len() - 1]), (bounds_ns().count() + 1, 2));
        assert!(bounds_ns().is_sorted());
    }

    #[test]
    fn a_log_that_was_reset_begins_anew() {
        let log = |batches, bytes| Log { batches, commands: batches, bytes };
        assert_eq!(log(9, 50).since(&log(4, 20)).bytes, 30);
        assert_eq!(log(2, 50).since(&log(4, 20)).bytes, 50);
    }
}
