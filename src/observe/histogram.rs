//! Latency histograms: fixed relative error, a few nanoseconds to record, cheap to merge and to subtract.
//!
//! Log-linear cells of nanoseconds: exact below 256, then 128 cells per power of two up to 2^40 (18 minutes), so that
//! a value is known to 1/128. These are the cells of an HDR histogram with two significant digits, as Redis keeps
//! them, and `percentile` counts as HDR does: INFO latencystats and LATENCY HISTOGRAM agree with Redis to the digit.
//! `Histogram` is live: one thread writes, with plain loads and stores; any thread reads. Its cells come in pages of
//! one power of two, allocated when first hit; a command touches a handful. `Snapshot` is owned and sparse.
//! Invariants: cells only grow, so a later reading minus an earlier one is the time between them, and nothing is ever
//! reset under the writer. A reading during a write may miss the last records, never invent any.

use super::counter::Counter;
use std::cmp::Ordering;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A live histogram with a single writer.
pub struct Histogram {
    pages: [OnceLock<Box<Page>>; PAGES],
    sum: Counter,
    max: AtomicU64,
}

impl Histogram {
    pub fn new() -> Histogram {
        Histogram { pages: [const { OnceLock::new() }; PAGES], sum: Counter::new(), max: AtomicU64::new(0) }
    }

    /// Records one value. Values of 2^40 and more land in the last cell; sum and max keep them exactly.
    #[inline]
    pub fn record(&self, ns: u64) {
        self.record_n(ns, 1);
    }

    /// Records the same value `n` times, at the price of one.
    #[inline]
    pub fn record_n(&self, ns: u64, n: u64) {
        let cell = cell_of(ns);
        let page = self.pages[cell / PAGE_CELLS].get_or_init(new_page);
        page[cell % PAGE_CELLS].add(n);
        self.sum.add(ns.saturating_mul(n));
        if ns > self.max.load(Relaxed) {
            self.max.store(ns, Relaxed);
        }
    }

    /// Adds everything recorded so far to `snapshot`.
    pub fn merge_into(&self, snapshot: &mut Snapshot) {
        let mut read = Snapshot { cells: Vec::new(), count: 0, sum: self.sum.get(), max: self.max.load(Relaxed) };
        for (page_index, page) in self.pages.iter().enumerate() {
            let Some(page) = page.get() else { continue };
            for (index, counter) in page.iter().enumerate() {
                let count = counter.get();
                if count > 0 {
                    read.cells.push(((page_index * PAGE_CELLS + index) as u16, count));
                    read.count += count;
                }
            }
        }
        snapshot.merge(&read);
    }
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new()
    }
}

/// What was recorded, at one moment or between two.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Non-empty cells in ascending order.
    cells: Vec<(u16, u64)>,
    count: u64,
    sum: u64,
    max: u64,
}

impl Snapshot {
    /// How many values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum in nanoseconds.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The largest value in nanoseconds: exact since start, else to within its cell.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The mean in nanoseconds, 0 of nothing.
    pub fn mean(&self) -> u64 {
        self.sum.checked_div(self.count).unwrap_or(0)
    }

    /// The upper end, in nanoseconds, of the cell in which the given percentile (0 to 100) lies; 0 of nothing.
    /// For percentile 0 the lower end, as in HDR.
    pub fn percentile(&self, percentile: f64) -> u64 {
        let wanted = (percentile.clamp(0.0, 100.0) / 100.0 * self.count as f64 + 0.5) as u64;
        let wanted = wanted.max(1);
        let mut seen = 0;
        for &(cell, count) in &self.cells {
            seen += count;
            if seen >= wanted {
                let (low, high) = cell_range(cell);
                return if percentile == 0.0 { low } else { high };
            }
        }
        0
    }

    /// The same, but never above the maximum, which is known exactly: Redis's own figures tell the end of the cell.
    pub fn bounded_percentile(&self, percentile: f64) -> u64 {
        self.percentile(percentile).min(self.max())
    }

    /// How many values are certainly at or below a bound: those of the cells that end there or before.
    pub fn count_below(&self, bound_ns: u64) -> u64 {
        self.cells.iter().filter(|(cell, _)| cell_range(*cell).1 <= bound_ns).map(|(_, count)| count).sum()
    }

    /// The distribution in powers of two: `(upper bound in µs, values up to there)`, from 1 µs to 2^20, leaving out
    /// bounds that add nothing. The bounds are Redis's own odd ones (33, 66, 132 …), and its last one takes all.
    pub fn cumulative_us(&self) -> Vec<(u64, u64)> {
        let mut bounds = Vec::new();
        let (mut seen, mut told, mut next) = (0, 0, 0);
        for exponent in FIRST_BOUND_LOG2..=LAST_BOUND_LOG2 {
            let last = exponent == LAST_BOUND_LOG2;
            let (_, bound_ns) = if last { (0, (1 << exponent) - 1) } else { cell_range(cell_of(1 << exponent) as u16) };
            while next < self.cells.len() && (last || cell_range(self.cells[next].0).1 <= bound_ns) {
                seen += self.cells[next].1;
                next += 1;
            }
            if seen > told {
                bounds.push((bound_ns / 1000, seen));
                told = seen;
            }
        }
        bounds
    }

    /// Adds what `other` holds.
    pub fn merge(&mut self, other: &Snapshot) {
        let mut cells = Vec::with_capacity(self.cells.len().max(other.cells.len()));
        let (mut ours, mut theirs) = (self.cells.as_slice(), other.cells.as_slice());
        while let ([our, our_rest @ ..], [their, their_rest @ ..]) = (ours, theirs) {
            cells.push(match our.0.cmp(&their.0) {
                Ordering::Less => *our,
                Ordering::Equal => (our.0, our.1 + their.1),
                Ordering::Greater => *their,
            });
            ours = if our.0 <= their.0 { our_rest } else { ours };
            theirs = if their.0 <= our.0 { their_rest } else { theirs };
        }
        cells.extend_from_slice(ours);
        cells.extend_from_slice(theirs);
        self.cells = cells;
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// What was recorded after `earlier`, an older reading of the same histogram.
    pub fn since(&self, earlier: &Snapshot) -> Snapshot {
        let mut old = earlier.cells.iter().peekable();
        let mut cells = Vec::new();
        for &(cell, count) in &self.cells {
            while old.next_if(|(c, _)| *c < cell).is_some() {}
            let before = old.next_if(|(c, _)| *c == cell).map_or(0, |(_, count)| *count);
            if count > before {
                cells.push((cell, count - before));
            }
        }
        let count = cells.iter().map(|(_, count)| count).sum();
        // The true maximum may be older; the highest cell bounds that of the difference.
        let top = cells.last().map_or(0, |(cell, _)| if *cell == LAST_CELL { u64::MAX } else { cell_range(*cell).1 });
        Snapshot { cells, count, sum: self.sum.saturating_sub(earlier.sum), max: self.max.min(top) }
    }

    /// Hands out everything as numbers, small ones where that can be; [`Snapshot::unpack`] takes them.
    pub fn pack(&self, put: &mut dyn FnMut(u64)) {
        put(self.cells.len() as u64);
        let mut before = 0;
        for &(cell, count) in &self.cells {
            put(u64::from(cell - before));
            put(count);
            before = cell;
        }
        put(self.sum);
        put(self.max);
    }

    /// What was packed.
    pub fn unpack(next: &mut dyn FnMut() -> u64) -> Snapshot {
        let (mut cell, mut count) = (0, 0);
        let cells = (0..next()).map(|_| {
            cell += next() as u16;
            let values = next();
            count += values;
            (cell, values)
        });
        let cells = cells.collect();
        Snapshot { cells, count, sum: next(), max: next() }
    }
}

type Page = [Counter; PAGE_CELLS];

fn new_page() -> Box<Page> {
    Box::new([const { Counter::new() }; PAGE_CELLS])
}

/// The cell of a value: its power of two picks the page, the next seven bits the cell.
#[inline]
fn cell_of(ns: u64) -> usize {
    let ns = ns.min(NS_MAX);
    let page = (ns >> PAGE_CELLS_LOG2).checked_ilog2().map_or(0, |log2| log2 as usize + 1);
    let shift = page.saturating_sub(1);
    page * PAGE_CELLS + (ns >> shift) as usize % PAGE_CELLS
}

/// The least and the greatest value of a cell.
fn cell_range(cell: u16) -> (u64, u64) {
    let (page, index) = (usize::from(cell) / PAGE_CELLS, usize::from(cell) as u64 % PAGE_CELLS as u64);
    if page == 0 {
        return (index, index);
    }
    let shift = page - 1;
    let low = (PAGE_CELLS as u64 + index) << shift;
    (low, low + (1 << shift) - 1)
}

const PAGE_CELLS_LOG2: u32 = 7;
const PAGE_CELLS: usize = 1 << PAGE_CELLS_LOG2;
const NS_MAX: u64 = (1 << 40) - 1;
/// One page below 128, one for each power of two from there.
const PAGES: usize = 34;
const LAST_CELL: u16 = (PAGES * PAGE_CELLS - 1) as u16;

/// Redis lists bounds from 1024 ns, doubling; its table ends below 2^30 ns.
const FIRST_BOUND_LOG2: u32 = 10;
const LAST_BOUND_LOG2: u32 = 30;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn recorded(values: &[u64]) -> Snapshot {
        let histogram = Histogram::new();
        values.iter().for_each(|v| histogram.record(*v));
        let mut snapshot = Snapshot::default();
        histogram.merge_into(&mut snapshot);
        snapshot
    }

    #[test]
    fn bounds_and_percentiles_are_those_of_a_real_server() {
        // DEBUG SLEEP on 7.0.15: what LATENCY HISTOGRAM and INFO latencystats showed for these times in µs.
        let cases = [
            (1_042, 1_056, 1_044_479),
            (3_140, 4_227, 3_145_727),
            (100_300, 135_266, 100_663_295),
            (300_100, 541_065, 301_989_887),
            (550_100, 1_073_741, 553_648_127),
            (900_100, 1_073_741, 901_775_359),
            (1_000_000, 1_073_741, 1_002_438_655),
            (1, 1, 1_003),
            (2, 2, 2_007),
            (12, 16, 12_031),
            (41, 66, 41_215),
        ];
        for (us, bound, p99) in cases {
            let snapshot = recorded(&[us * 1000]);
            assert_eq!(snapshot.cumulative_us(), [(bound, 1)], "{us}");
            assert_eq!(snapshot.percentile(99.0), p99, "{us}");
        }
        assert_eq!(recorded(&[4_000]).percentile(0.0), 4_000);
        assert_eq!(recorded(&[5_000_000_000, 20_185_000]).cumulative_us(), [(33_816, 1), (1_073_741, 2)]);
    }

    #[test]
    fn huge_values_are_kept_in_the_last_cell() {
        let snapshot = recorded(&[u64::MAX / 4, 1 << 41, 5]);
        assert_eq!((snapshot.count(), snapshot.max()), (3, u64::MAX / 4));
        assert_eq!(snapshot.percentile(100.0), NS_MAX);
        assert_eq!(snapshot.since(&recorded(&[5])).max(), u64::MAX / 4);
    }

    #[test]
    fn nothing_has_zero_percentiles() {
        let nothing = Snapshot::default();
        assert_eq!((nothing.percentile(50.0), nothing.mean(), nothing.max()), (0, 0, 0));
        assert!(nothing.cumulative_us().is_empty());
    }

    fn values() -> impl Strategy<Value = Vec<u64>> {
        // Uniform in the exponent, so that every page is met.
        prop::collection::vec((0u32..40, any::<u64>()).prop_map(|(bits, raw)| raw & ((1 << bits) - 1)), 1..300)
    }

    proptest! {
        #[test]
        fn cells_tile_the_range(ns in 0u64..=NS_MAX) {
            let (low, high) = cell_range(cell_of(ns) as u16);
            prop_assert!(low <= ns && ns <= high);
            prop_assert!((high - low) as f64 <= low as f64 / 128.0);
            prop_assert_eq!(cell_of(low), cell_of(high));
            prop_assert_eq!(cell_of(high + 1).min(LAST_CELL as usize), (cell_of(ns) + 1).min(LAST_CELL as usize));
        }

        #[test]
        fn percentiles_are_within_one_part_in_128(mut values in values(), percentile in 0.1f64..=100.0) {
            let snapshot = recorded(&values);
            values.sort_unstable();
            let rank = ((percentile / 100.0 * values.len() as f64 + 0.5) as usize).max(1);
            let exact = values[rank - 1];
            let told = snapshot.percentile(percentile);
            prop_assert!(told >= exact && told - exact <= exact / 128 + 1, "{told} for {exact}");
            prop_assert_eq!(snapshot.max(), *values.last().unwrap());
            prop_assert_eq!(snapshot.sum(), values.iter().sum::<u64>());
        }

        #[test]
        fn merging_is_recording_together(a in values(), b in values()) {
            let mut merged = recorded(&a);
            merged.merge(&recorded(&b));
            prop_assert_eq!(&merged, &recorded(&[a.clone(), b.clone()].concat()));
            // And taking one away leaves the other, but for the maximum, which is known to its cell.
            let left = merged.since(&recorded(&a));
            let want = recorded(&b);
            prop_assert_eq!((&left.cells, left.count, left.sum), (&want.cells, want.count, want.sum));
            prop_assert!(left.max >= want.max && left.max - want.max <= want.max / 128);
        }
    }
}
