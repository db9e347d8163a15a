//! What one worker thread measures about the commands it runs, and the owned sums of it.
//!
//! Two times per command. *Execution* is what Redis calls latency: the handler, with the wait for its locks where there
//! was one; it feeds commandstats, latencystats and LATENCY HISTOGRAM. *Service* is what a client feels: from bytes
//! readable to reply handed to the kernel, split by cause. A worker only ever adds to ever-growing cells; windows and
//! resets are differences that the reader takes (`window`, `Observatory::reset`), so recording costs the same whatever
//! is shown.
//! Invariant: one `WorkerStats` has one writing thread. Its commands' cells are allocated when it first runs them.
//! Cost: `call` four plain additions (measured: 2 ns), `service` eight (3 ns), whatever the size of the batch.

use super::counter::{Counter, Counters};
use super::histogram::{Histogram, Snapshot};
use super::hotkeys::Sketch;
use parking_lot::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

/// The statistics of one worker.
pub struct WorkerStats {
    /// What INFO stats counts.
    pub counters: Counters,
    /// How long the turns of the worker's loop took.
    turns: Histogram,
    turns_ns: Counter,
    /// When the present turn began, in ticks; 0 between turns.
    turn_began: AtomicU64,
    /// The client whose batch runs; 0 for none.
    serving: AtomicU64,
    commands: Box<[OnceLock<Box<CommandStats>>]>,
    tracking: AtomicBool,
    /// What it has counted for HOTKEYS: locked by itself, and by who reads it.
    pub(super) hot: Mutex<Sketch>,
    /// Commands that HOTKEYS leaves out before it looks at one.
    pub(super) left_out: AtomicU32,
}

impl WorkerStats {
    /// For commands numbered `0..commands`, as their names are in the `Observatory`.
    pub fn new(commands: usize) -> WorkerStats {
        WorkerStats {
            counters: Counters::default(),
            turns: Histogram::new(),
            turns_ns: Counter::new(),
            turn_began: AtomicU64::new(0),
            serving: AtomicU64::new(0),
            commands: (0..commands).map(|_| OnceLock::new()).collect(),
            tracking: AtomicBool::new(true),
            hot: Mutex::default(),
            left_out: AtomicU32::new(0),
        }
    }

    /// A turn of the worker's loop begins.
    #[inline]
    pub fn turn_begins(&self, ticks: u64) {
        self.turn_began.store(ticks, Relaxed);
    }

    /// When the turn began that this worker is in, in ticks; none while it waits for sockets.
    pub fn turn_since(&self) -> Option<u64> {
        Some(self.turn_began.load(Relaxed)).filter(|ticks| *ticks > 0)
    }

    /// A client's batch runs; 0 when it has.
    #[inline]
    pub fn serve(&self, client: u64) {
        self.serving.store(client, Relaxed);
    }

    /// The client whose batch runs.
    pub fn serving(&self) -> Option<u64> {
        Some(self.serving.load(Relaxed)).filter(|id| *id > 0)
    }

    /// Records a turn of the worker's loop: from the moment the kernel told which sockets are ready until all that were
    /// served in it were.
    #[inline]
    pub fn turned(&self, took_ns: u64) {
        self.turn_began.store(0, Relaxed);
        self.turns.record(took_ns);
        let before_us = self.turns_ns.get() / 1000;
        self.turns_ns.add(took_ns);
        self.counters.eventloop_cycles.add(1);
        self.counters.eventloop_us.add(self.turns_ns.get() / 1000 - before_us);
    }

    /// How long the turns of this worker's loop took, since start. Empty for a thread that is no worker.
    pub fn turns(&self) -> Snapshot {
        let mut turns = Snapshot::default();
        self.turns.merge_into(&mut turns);
        turns
    }

    /// Records one execution, successful or not.
    #[inline]
    pub fn call(&self, command: usize, exec_ns: u64) {
        let stats = self.command(command);
        stats.calls.add(1);
        stats.exec_ns.add(exec_ns);
        if self.tracking.load(Relaxed) {
            stats.exec.record(exec_ns);
        }
    }

    /// Records that an execution answered an error.
    pub fn failed(&self, command: usize) {
        self.command(command).failed.add(1);
    }

    /// Records that a call was refused before its execution.
    pub fn rejected(&self, command: usize) {
        self.command(command).rejected.add(1);
    }

    /// Records the service of `calls` commands of one kind that arrived and were answered together, each taking
    /// `time`.
    #[inline]
    pub fn service(&self, command: usize, calls: u64, time: &ServiceTime) {
        let service = &self.command(command).service;
        service.histogram.record_n(time.total_ns, calls);
        service.bands[band_of(time.total_ns)].add(calls);
        for (cause, ns) in service.causes.iter().zip(time.by_cause_ns) {
            cause.add(ns.saturating_mul(calls));
        }
    }

    /// `latency-tracking`: whether executions go into their histograms.
    pub fn set_latency_tracking(&self, on: bool) {
        self.tracking.store(on, Relaxed);
    }

    /// How many commands this worker serviced of one kind: tells, cheaply, whether anything changed.
    pub(super) fn serviced(&self, command: usize) -> u64 {
        self.commands[command].get().map_or(0, |stats| stats.service.bands.iter().map(Counter::get).sum())
    }

    pub(super) fn merge_command(&self, command: usize, totals: &mut CommandTotals) {
        let Some(stats) = self.commands[command].get() else { return };
        totals.calls += stats.calls.get();
        totals.failed += stats.failed.get();
        totals.rejected += stats.rejected.get();
        totals.exec_ns += stats.exec_ns.get();
        stats.exec.merge_into(&mut totals.exec);
    }

    pub(super) fn merge_service(&self, command: usize, totals: &mut ServiceTotals) {
        let Some(stats) = self.commands[command].get() else { return };
        stats.service.histogram.merge_into(&mut totals.histogram);
        add_each(&mut totals.bands, stats.service.bands.iter().map(Counter::get));
        add_each(&mut totals.causes_ns, stats.service.causes.iter().map(Counter::get));
    }

    #[inline]
    fn command(&self, command: usize) -> &CommandStats {
        self.commands[command].get_or_init(Box::default)
    }
}

/// Where the time of one command went, in nanoseconds; the causes add up to the total.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceTime {
    /// From bytes readable to reply handed to the kernel.
    pub total_ns: u64,
    pub by_cause_ns: [u64; CAUSES.len()],
}

/// What a request waits for, or is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its bytes were there, and the worker was busy with other connections or with requests before it.
    Queue,
    /// The gate and the stripes of its keys.
    Lock,
    /// Its batch ran.
    Execution,
    /// The log had to have the write before the reply may leave.
    Journal,
    /// The system call that wrote the reply.
    Write,
    /// The peer did not read: its socket took no more.
    Peer,
    /// CLIENT PAUSE.
    Pause,
}

impl Cause {
    pub const ALL: [Cause; CAUSES.len()] =
        [Self::Queue, Self::Lock, Self::Execution, Self::Journal, Self::Write, Self::Peer, Self::Pause];
}

/// The names of the causes, in their order.
pub const CAUSES: [&str; 7] = ["queue", "lock", "execution", "journal", "write", "peer", "pause"];

/// The upper bounds of all latency bands but the last, in milliseconds.
pub const BAND_BOUNDS_MS: [u64; 5] = [1, 5, 10, 50, 100];

/// All executions of one command, over all workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CommandTotals {
    pub calls: u64,
    pub failed: u64,
    pub rejected: u64,
    pub exec_ns: u64,
    pub exec: Snapshot,
}

impl CommandTotals {
    pub(super) fn since(&self, earlier: &CommandTotals) -> CommandTotals {
        CommandTotals {
            calls: self.calls - earlier.calls,
            failed: self.failed - earlier.failed,
            rejected: self.rejected - earlier.rejected,
            exec_ns: self.exec_ns - earlier.exec_ns,
            exec: self.exec.since(&earlier.exec),
        }
    }
}

/// Service times of one command or of all, at one moment or between two.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceTotals {
    pub histogram: Snapshot,
    /// Exact counts below 1, 5, 10, 50, 100 ms, and from 100 ms on.
    pub bands: [u64; BAND_BOUNDS_MS.len() + 1],
    /// Sums by cause, in the order of `CAUSES`.
    pub causes_ns: [u64; CAUSES.len()],
}

impl ServiceTotals {
    pub fn count(&self) -> u64 {
        self.bands.iter().sum()
    }

    /// Commands that took 100 ms and longer.
    pub fn tail_events(&self) -> u64 {
        self.bands[BAND_BOUNDS_MS.len()]
    }

    /// Each cause's part of all the time, in the order of `CAUSES`. Zeros of nothing.
    pub fn shares(&self) -> [f64; CAUSES.len()] {
        let total = self.causes_ns.iter().sum::<u64>().max(1) as f64;
        self.causes_ns.map(|ns| ns as f64 / total)
    }

    pub fn merge(&mut self, other: &ServiceTotals) {
        self.histogram.merge(&other.histogram);
        add_each(&mut self.bands, other.bands.into_iter());
        add_each(&mut self.causes_ns, other.causes_ns.into_iter());
    }

    pub(super) fn since(&self, earlier: &ServiceTotals) -> ServiceTotals {
        let mut left = ServiceTotals { histogram: self.histogram.since(&earlier.histogram), ..self.clone() };
        left.bands.iter_mut().zip(earlier.bands).for_each(|(now, before)| *now -= before);
        left.causes_ns.iter_mut().zip(earlier.causes_ns).for_each(|(now, before)| *now -= before);
        left
    }

    /// Hands out everything as numbers; [`ServiceTotals::unpack`] takes them.
    pub(super) fn pack(&self, put: &mut dyn FnMut(u64)) {
        self.histogram.pack(put);
        self.bands.iter().chain(&self.causes_ns).for_each(|number| put(*number));
    }

    /// What was packed.
    pub(super) fn unpack(next: &mut dyn FnMut() -> u64) -> ServiceTotals {
        let histogram = Snapshot::unpack(next);
        let bands = std::array::from_fn(|_| next());
        ServiceTotals { histogram, bands, causes_ns: std::array::from_fn(|_| next()) }
    }
}

#[derive(Default)]
struct CommandStats {
    calls: Counter,
    failed: Counter,
    rejected: Counter,
    exec_ns: Counter,
    exec: Histogram,
    service: ServiceStats,
}

#[derive(Default)]
struct ServiceStats {
    histogram: Histogram,
    bands: [Counter; BAND_BOUNDS_MS.len() + 1],
    causes: [Counter; CAUSES.len()],
}

#[inline]
fn band_of(ns: u64) -> usize {
    // Nearly everything is below the first bound, and the branch predictor knows.
    BAND_BOUNDS_MS.iter().position(|ms| ns < ms * 1_000_000).unwrap_or(BAND_BOUNDS_MS.len())
}

fn add_each(sums: &mut [u64], more: impl Iterator<Item = u64>) {
    sums.iter_mut().zip(more).for_each(|(sum, n)| *sum += n);
}
