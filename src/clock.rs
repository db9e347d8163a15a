//! Time: the wall clock for what users see, ticks for what is measured.
//!
//! Expiry, journals and replies use Unix milliseconds (`Millis`). Latencies use `ticks`, the processor's time-stamp
//! counter where it is invariant (same rate in all power states, running in all of them), else the monotonic clock.
//! `init` measures the counter's rate once against the monotonic clock; converting is then one multiplication.
//! Invariants: ticks never go backwards on one thread; two readings may be subtracted across threads within some tens
//! of nanoseconds; `init` is called before the first reading that is kept, since it may change the unit.
//! Cost: a tick about 10 ns against 16 and more for the monotonic clock; `ticks_to_ns` under 1 ns; `init` 10 ms.

#![allow(unsafe_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, or a span of them.
pub type Millis = i64;

/// The wall clock in milliseconds.
pub fn now_ms() -> Millis {
    now_us() / 1000
}

/// The wall clock in microseconds.
pub fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Chooses the source of ticks and measures its rate. Call once, at start, before any thread keeps a tick.
pub fn init() {
    if RATE.load(Relaxed) == 0 && tsc::is_invariant() {
        RATE.store(calibrate(), Relaxed);
    }
}

/// A reading of the fast monotonic clock, in its own unit; only differences mean something.
#[inline]
pub fn ticks() -> u64 {
    if RATE.load(Relaxed) != 0 { tsc::read() } else { monotonic_ns() }
}

/// Converts a difference of two readings to nanoseconds.
#[inline]
pub fn ticks_to_ns(ticks: u64) -> u64 {
    match RATE.load(Relaxed) {
        0 => ticks,
        rate => ((u128::from(ticks) * u128::from(rate)) >> RATE_SHIFT) as u64,
    }
}

/// Converts nanoseconds to a difference of readings, for thresholds that are compared with many of them.
pub fn ns_to_ticks(ns: u64) -> u64 {
    match RATE.load(Relaxed) {
        0 => ns,
        rate => u64::try_from((u128::from(ns) << RATE_SHIFT) / u128::from(rate)).unwrap_or(u64::MAX),
    }
}

fn monotonic_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Nanoseconds per tick, as a fixed-point number.
fn calibrate() -> u64 {
    let (from_ns, from_ticks) = paired_reading();
    std::thread::sleep(CALIBRATION);
    let (to_ns, to_ticks) = paired_reading();
    let ticks = u128::from(to_ticks.saturating_sub(from_ticks)).max(1);
    let rate = (u128::from(to_ns - from_ns) << RATE_SHIFT) / ticks;
    // A counter slower than 1 MHz or faster than 1 THz is broken; zero falls back to the monotonic clock.
    u64::try_from(rate).ok().filter(|r| (RATE_ONE / 1000..RATE_ONE * 1000).contains(r)).unwrap_or(0)
}

/// Both clocks at nearly the same moment: the closest of several tries, so that an interruption does not count.
fn paired_reading() -> (u64, u64) {
    let tries = (0..8).map(|_| {
        let before = tsc::read();
        let ns = monotonic_ns();
        let after = tsc::read();
        (after.saturating_sub(before), ns, before + after.saturating_sub(before) / 2)
    });
    let (_, ns, ticks) = tries.min().expect("eight tries have a minimum");
    (ns, ticks)
}

#[cfg(target_arch = "x86_64")]
pub use tsc::cpuid;

#[cfg(target_arch = "x86_64")]
mod tsc {
    use std::arch::x86_64::{__cpuid_count, _rdtsc, CpuidResult};

    #[inline]
    pub fn read() -> u64 {
        // SAFETY: RDTSC exists on every x86-64 processor and touches nothing but its result registers.
        unsafe { _rdtsc() }
    }

    /// CPUID leaf 0x80000007, EDX bit 8: constant rate, never stops.
    pub fn is_invariant() -> bool {
        const LEAF: u32 = 0x8000_0007;
        cpuid(0x8000_0000, 0).eax >= LEAF && cpuid(LEAF, 0).edx >> 8 & 1 == 1
    }

    /// What the processor answers about itself.
    #[inline]
    #[allow(unused_unsafe)] // Compilers of the last years call it safe; the oldest that builds this does not.
    pub fn cpuid(leaf: u32, part: u32) -> CpuidResult {
        // SAFETY: every x86-64 processor has CPUID, and knows or answers zeros for each leaf.
        unsafe { __cpuid_count(leaf, part) }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod tsc {
    pub fn read() -> u64 {
        super::monotonic_ns()
    }

    pub fn is_invariant() -> bool {
        false
    }
}

/// Nanoseconds per tick in units of 2^-32; zero while ticks are nanoseconds of the monotonic clock.
static RATE: AtomicU64 = AtomicU64::new(0);
const RATE_SHIFT: u32 = 32;
const RATE_ONE: u64 = 1 << RATE_SHIFT;

/// Long enough for five digits against readings some tens of nanoseconds apart.
const CALIBRATION: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_agree_with_the_monotonic_clock() {
        init();
        let (wall, from) = (Instant::now(), ticks());
        std::thread::sleep(Duration::from_millis(40));
        let (elapsed, measured) = (wall.elapsed().as_nanos() as f64, ticks_to_ns(ticks() - from) as f64);
        assert!((measured / elapsed - 1.0).abs() < 0.02, "{measured} ns measured, {elapsed} ns elapsed");
    }

    #[test]
    fn conversion_is_its_own_inverse_to_within_a_few_ticks() {
        init();
        for ns in [0, 1, 1000, 1_000_000_000, 86_400_000_000_000] {
            assert!(ticks_to_ns(ns_to_ticks(ns)).abs_diff(ns) <= 2, "{ns}");
        }
    }

    #[test]
    fn the_wall_clock_counts_from_1970() {
        assert!(now_ms() > 1_700_000_000_000);
        assert!((now_us() / 1000 - now_ms()).abs() < 1000);
    }
}
