//! Active defragmentation: when to move allocations together, and how much of a CPU it may take.
//!
//! Off by default. With `activedefrag yes` the allocator's waste (pages in use beyond what is allocated in them) is looked
//! at some times a second. Above `active-defrag-threshold-lower` percent and `active-defrag-ignore-bytes` a **run** begins:
//! one pass over all data (`keyspace::defrag`), which [`crate::mover`] tells what is worth moving. Its effort, the share of
//! a CPU it takes, lies between `active-defrag-cycle-min` and `-max` as the waste does between the lower and the upper
//! threshold, and grows with the waste while the run lasts. When a pass ends with the waste still above, another begins.
//!
//! Work is done in **visits** of one stripe, some tens of microseconds each, of at most [`VISIT_LOOKED_MAX`] allocations
//! or `active-defrag-max-scan-fields`; about a millisecond of them is followed by a rest in proportion to the effort. So a
//! client waits for one visit at most, if it asks for that stripe. The latency event `active-defrag-cycle` is the
//! millisecond, not the visit.
//! Not here: the thread that makes the visits (`cron`), and the load that makes its own while it owns the world.

use crate::clock;
use crate::config::Config;
use crate::keyspace::Db;
use crate::keyspace::defrag::Pass;
use crate::log;
use crate::mover::Mover;
use crate::observe::{Observatory, WorkerStats};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tikv_jemalloc_ctl::{epoch, stats};

/// The state of defragmentation.
pub struct Defrag {
    run: Mutex<Run>,
    /// Percent of a CPU; 0 while no run is under way.
    effort: AtomicU32,
    /// When the run under way, or the first of several without a pause, began; 0 if none is.
    began_us: AtomicI64,
}

struct Run {
    /// `None` if the process's memory is not ours to move.
    mover: Option<Mover>,
    /// `None` between two passes.
    pass: Option<Pass>,
    /// Allocations moved before this pass.
    moved_before: u64,
    /// Bytes of waste left by a pass that found nothing to move: no reason for another until then.
    futile: u64,
    futile_until: Instant,
    /// Since the last rest.
    worked: Duration,
    rests_until: Instant,
}

/// What the allocator holds beyond what is allocated.
#[derive(Clone, Copy, Debug)]
struct Waste {
    percent: f64,
    bytes: u64,
}

impl Default for Defrag {
    fn default() -> Self {
        let run = Run {
            mover: Mover::of_allocator(),
            pass: None,
            moved_before: 0,
            futile: 0,
            futile_until: Instant::now(),
            worked: Duration::ZERO,
            rests_until: Instant::now(),
        };
        Self { run: Mutex::new(run), effort: AtomicU32::new(0), began_us: AtomicI64::new(0) }
    }
}

impl Defrag {
    /// Percent of a CPU that a run takes now; 0 if none is under way.
    pub fn effort(&self) -> u32 {
        self.effort.load(Relaxed)
    }

    /// How long runs have followed each other without a pause, in microseconds; 0 if none is under way.
    pub fn running_us(&self) -> u64 {
        match self.began_us.load(Relaxed) {
            0 => 0,
            began => (clock::now_us() - began).max(0).unsigned_abs(),
        }
    }

    /// Whether there may be something to do.
    pub fn is_wanted(&self, config: &Config) -> bool {
        config.activedefrag || self.effort() > 0
    }

    /// Looks whether a run is due, or makes one visit of the run under way; how long to rest before the next. The unit holds
    /// no stripe, or all; `stats` are the calling thread's.
    pub fn visit(&self, db: &mut Db<'_>, config: &Config, observatory: &Observatory, stats: &WorkerStats) -> Duration {
        let mut guard = self.run.lock();
        let (run, started) = (&mut *guard, Instant::now());
        let rest = run.rests_until.saturating_duration_since(started);
        if !rest.is_zero() {
            return rest;
        }
        if run.worked.is_zero() && !self.goes_on(run, config) {
            self.end(run, stats);
            return run.rest(LOOK_INTERVAL);
        }
        let (Some(mover), Some(pass)) = (&mut run.mover, &mut run.pass) else { return run.rest(LOOK_INTERVAL) };
        let counted = (mover.moved, mover.kept);
        let looked_max = usize::try_from(config.active_defrag_max_scan_fields).unwrap_or(usize::MAX);
        let more = db.relocate(pass, mover, looked_max.min(VISIT_LOOKED_MAX));
        stats.counters.defrag_hits.add(mover.moved - counted.0);
        stats.counters.defrag_misses.add(mover.kept - counted.1);
        stats.counters.defrag_key_hits.add(std::mem::take(&mut pass.keys_moved));
        stats.counters.defrag_key_misses.add(std::mem::take(&mut pass.keys_kept));
        run.worked += started.elapsed();
        if more && run.worked < WORK {
            return Duration::ZERO;
        }
        run.note_cycle(observatory, config);
        if !more {
            return self.passed(run);
        }
        let effort = self.effort().clamp(1, 100);
        run.rest(run.worked * (100 - effort) / effort)
    }

    /// Makes visits until it is time to rest, for a thread that owns the world.
    pub fn visit_for_a_while(&self, db: &mut Db<'_>, config: &Config, observatory: &Observatory, stats: &WorkerStats) {
        while self.is_wanted(config) && self.visit(db, config, observatory, stats).is_zero() {}
    }

    /// Before some work: whether the pass under way goes on, or the waste calls for one; and with how much effort.
    fn goes_on(&self, run: &mut Run, config: &Config) -> bool {
        let Some(mover) = run.mover.as_mut().filter(|_| config.activedefrag) else { return false };
        let waste = Waste::now();
        let mut effort = waste.effort(config);
        if run.pass.is_some() {
            effort = effort.max(self.effort());
        } else {
            let futile = waste.bytes <= run.futile && Instant::now() < run.futile_until;
            if futile || !waste.matters(config) {
                return false;
            }
            run.pass = Some(Pass::default());
            mover.begin_pass();
            let Waste { percent, bytes } = waste;
            log::verbose!(
                "Active defragmentation begins at {effort}% of a CPU: {percent:.0}% or {bytes} bytes are waste"
            );
        }
        if self.began_us.load(Relaxed) == 0 {
            self.began_us.store(clock::now_us(), Relaxed);
        }
        self.effort.store(effort, Relaxed);
        mover.refresh();
        true
    }

    /// A pass is over. If it moved something, the run is not until the waste was looked at again.
    fn passed(&self, run: &mut Run) -> Duration {
        let moved = run.mover.as_ref().map_or(0, |mover| mover.moved);
        let (done, Waste { percent, bytes }) = (moved - run.moved_before, Waste::now());
        log::verbose!("Active defragmentation moved {done} allocations: {percent:.0}% or {bytes} bytes are waste now");
        (run.pass, run.moved_before) = (None, moved);
        if done > 0 {
            return run.rest(PASS_REST);
        }
        (run.futile, run.futile_until) = (bytes, Instant::now() + FUTILE_REST);
        self.effort.store(0, Relaxed);
        run.rest(LOOK_INTERVAL)
    }

    /// No run is under way any more.
    fn end(&self, run: &mut Run, stats: &WorkerStats) {
        stats.counters.defrag_us.add(self.running_us());
        self.began_us.store(0, Relaxed);
        self.effort.store(0, Relaxed);
        run.pass = None;
    }
}

impl Run {
    fn rest(&mut self, rest: Duration) -> Duration {
        self.worked = Duration::ZERO;
        self.rests_until = Instant::now() + rest;
        rest
    }

    fn note_cycle(&self, observatory: &Observatory, config: &Config) {
        let (took_ms, threshold_ms) = (self.worked.as_millis() as u64, config.latency_monitor_threshold);
        if threshold_ms > 0 && took_ms >= threshold_ms {
            observatory.monitor.add("active-defrag-cycle", clock::now_us() / 1_000_000, took_ms);
        }
    }
}

impl Waste {
    fn now() -> Self {
        // A stale reading is the worst that can happen.
        let _ = epoch::advance();
        Self::of(stats::active::read().unwrap_or(0) as u64, stats::allocated::read().unwrap_or(0) as u64)
    }

    fn of(active: u64, allocated: u64) -> Self {
        let bytes = active.saturating_sub(allocated);
        Self { percent: bytes as f64 * 100.0 / allocated.max(1) as f64, bytes }
    }

    /// Enough to begin a run.
    fn matters(self, config: &Config) -> bool {
        self.percent >= f64::from(config.active_defrag_threshold_lower)
            && self.bytes >= config.active_defrag_ignore_bytes
    }

    fn effort(self, config: &Config) -> u32 {
        let (lower, upper) = (config.active_defrag_threshold_lower, config.active_defrag_threshold_upper);
        let (least, most) = (config.active_defrag_cycle_min, config.active_defrag_cycle_max);
        let span = f64::from(upper.saturating_sub(lower).max(1));
        let share = ((self.percent - f64::from(lower)) / span).clamp(0.0, 1.0);
        let effort = f64::from(least) + share * (f64::from(most) - f64::from(least));
        // Redis lets the largest rule where the two contradict each other.
        (effort as u32).max(least).min(most).max(1)
    }
}

/// Allocations looked at in one visit: at most some 100 µs, if most of them move.
const VISIT_LOOKED_MAX: usize = 256;
/// Work between two rests.
const WORK: Duration = Duration::from_millis(1);
/// How often the waste is looked at while no run is under way.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Between a pass and the look that decides whether the run is over: a reader of INFO should see the shortest.
const PASS_REST: Duration = Duration::from_millis(200);
/// How long waste that a pass could not help is left in peace, if it does not grow.
const FUTILE_REST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effort_follows_waste_between_the_thresholds() {
        let config = Config::default();
        for (percent, effort) in [(0.0, 1), (10.0, 1), (55.0, 13), (100.0, 25), (900.0, 25)] {
            assert_eq!(Waste { percent, bytes: 0 }.effort(&config), effort, "{percent}");
        }
        let crossed = Config { active_defrag_threshold_lower: 50, active_defrag_threshold_upper: 5, ..config };
        assert_eq!(Waste { percent: 60.0, bytes: 0 }.effort(&crossed), 25);
    }

    #[test]
    fn waste_matters_by_share_and_size() {
        let config = Config::default();
        let (much, little) = (Waste::of(300 << 20, 150 << 20), Waste::of(30 << 20, 15 << 20));
        assert!(much.matters(&config) && !little.matters(&config));
        assert!(!Waste::of(10_200 << 20, 10_000 << 20).matters(&config), "2% of much");
    }
}
