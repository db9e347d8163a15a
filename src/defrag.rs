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
    pass: Pass,
    /// Allocations moved before this pass.
    moved_before: u64,
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
            pass: Pass::default(),
            moved_before: 0,
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
    pub fn visit(&self, db: &mut Db<'_>, config: &Config, watch: (&Observatory, &WorkerStats)) -> Duration {
        let mut guard = self.run.lock();
        let (run, started) = (&mut *guard, Instant::now());
        let rest = run.rests_until.saturating_duration_since(started);
        if !rest.is_zero() {
            return rest;
        }
        let Some(mover) = run.mover.as_mut().filter(|_| config.activedefrag) else {
            self.end(run, watch.1);
            return run.rest(LOOK_INTERVAL);
        };
        if run.worked.is_zero() {
            let waste = Waste::now();
            if self.effort() == 0 && !waste.matters(config) {
                self.end(run, watch.1);
                return run.rest(LOOK_INTERVAL);
            }
            self.try_harder(waste, config);
            mover.refresh();
        }
        let looked_max = VISIT_LOOKED_MAX.min(usize::try_from(config.active_defrag_max_scan_fields).unwrap_or(usize::MAX));
        let counted = (mover.moved, mover.kept);
        let more = db.relocate(&mut run.pass, mover, looked_max);
        let counters = &watch.1.counters;
        counters.defrag_hits.add(mover.moved - counted.0);
        counters.defrag_misses.add(mover.kept - counted.1);
        counters.defrag_key_hits.add(std::mem::take(&mut run.pass.keys_moved));
        counters.defrag_key_misses.add(std::mem::take(&mut run.pass.keys_kept));
        run.worked += started.elapsed();
        let effort = self.effort();
        if !more {
            self.effort.store(0, Relaxed);
            return self.passed(run, watch.0, config);
        }
        if run.worked < WORK { Duration::ZERO } else { run.rest_as(effort, watch.0, config) }
    }

    /// Makes visits until it is time to rest, for a thread that owns the world.
    pub fn visit_for_a_while(&self, db: &mut Db<'_>, config: &Config, watch: (&Observatory, &WorkerStats)) {
        while self.is_wanted(config) && self.visit(db, config, watch).is_zero() {}
    }

    /// The effort for this waste, if it is more than that of the run so far.
    fn try_harder(&self, waste: Waste, config: &Config) {
        let (before, effort) = (self.effort(), waste.effort(config));
        if effort <= before {
            return;
        }
        self.effort.store(effort, Relaxed);
        if self.began_us.load(Relaxed) == 0 {
            self.began_us.store(clock::now_us(), Relaxed);
        }
        let Waste { percent, bytes } = waste;
        log::verbose!("Active defragmentation at {effort}% of a CPU: {percent:.0}% or {bytes} bytes of memory are waste");
    }

    /// A pass is over: another follows at once, unless this one had nothing to move.
    fn passed(&self, run: &mut Run, observatory: &Observatory, config: &Config) -> Duration {
        let moved = run.mover.as_ref().map_or(0, |mover| mover.moved);
        let Waste { percent, bytes } = Waste::now();
        let done = moved - run.moved_before;
        log::verbose!("Active defragmentation moved {done} allocations: {percent:.0}% or {bytes} bytes are waste now");
        (run.pass, run.moved_before) = (Pass::default(), moved);
        run.note_cycle(observatory, config);
        run.rest(if done == 0 { NOTHING_TO_MOVE_REST } else { Duration::ZERO })
    }

    /// No run is under way any more.
    fn end(&self, run: &mut Run, stats: &WorkerStats) {
        stats.counters.defrag_us.add(self.running_us());
        self.began_us.store(0, Relaxed);
        self.effort.store(0, Relaxed);
        run.pass = Pass::default();
    }
}

impl Run {
    fn rest(&mut self, rest: Duration) -> Duration {
        self.worked = Duration::ZERO;
        self.rests_until = Instant::now() + rest;
        rest
    }

    /// Rests so long that work is `effort` percent of the time.
    fn rest_as(&mut self, effort: u32, observatory: &Observatory, config: &Config) -> Duration {
        let rest = self.worked * 100u32.saturating_sub(effort) / effort.max(1);
        self.note_cycle(observatory, config);
        self.rest(rest)
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
        self.percent >= f64::from(config.active_defrag_threshold_lower) && self.bytes >= config.active_defrag_ignore_bytes
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
/// After a pass that found nothing to move, though there is waste: it is not in the data.
const NOTHING_TO_MOVE_REST: Duration = Duration::from_secs(1);

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
