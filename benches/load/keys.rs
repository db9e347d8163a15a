//! Which keys are asked for: uniform, zipfian as in YCSB, or one after the other.
//!
//! Zipfian numbers come by the method of Gray et al. ("Quickly generating billion-record synthetic databases", 1994),
//! theta 0.99 as in YCSB: key of rank r is drawn with a probability proportional to 1 / r^theta. Ranks are scattered over
//! the keys by a fixed permutation, so that the hot keys are not neighbours.

/// A source of key numbers below `count`.
#[derive(Clone, Debug)]
pub struct Keys {
    count: u64,
    shape: Shape,
}

#[derive(Clone, Debug)]
enum Shape {
    Uniform,
    Zipfian(Zipf),
    Sequence(u64),
    /// A sequence scattered over the keys.
    Shuffled(u64),
}

impl Keys {
    pub fn uniform(count: u64) -> Self {
        Self { count, shape: Shape::Uniform }
    }

    pub fn zipfian(count: u64) -> Self {
        Self { count, shape: Shape::Zipfian(Zipf::new(count, ZIPF_THETA)) }
    }

    /// 0, 1, 2, … without end: what a fill needs.
    pub fn sequence() -> Self {
        Self::sequence_from(0)
    }

    pub fn sequence_from(first: u64) -> Self {
        Self { count: u64::MAX, shape: Shape::Sequence(first) }
    }

    /// Every number once, in no order that a data structure could profit from; then again.
    pub fn shuffled(count: u64) -> Self {
        Self { count, shape: Shape::Shuffled(0) }
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn next(&mut self, random: &mut fastrand::Rng) -> u64 {
        match &mut self.shape {
            Shape::Uniform => random.u64(0..self.count),
            Shape::Zipfian(zipf) => scatter(zipf.rank(random.f64()), self.count),
            Shape::Sequence(next) => {
                *next += 1;
                *next - 1
            }
            Shape::Shuffled(next) => {
                *next += 1;
                scatter((*next - 1) % self.count, self.count)
            }
        }
    }
}

/// A permutation of the numbers below `count`: multiplication by a number without a common factor.
fn scatter(rank: u64, count: u64) -> u64 {
    let mut factor = (count as f64 * GOLDEN) as u64 | 1;
    while common_factor(factor, count) != 1 {
        factor += 2;
    }
    (u128::from(rank) * u128::from(factor) % u128::from(count)) as u64
}

fn common_factor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[derive(Clone, Debug)]
struct Zipf {
    count: f64,
    /// Sum of 1 / r^theta over all ranks.
    zeta: f64,
    alpha: f64,
    eta: f64,
    /// Up to here, times zeta, the second rank is drawn.
    second: f64,
}

impl Zipf {
    fn new(count: u64, theta: f64) -> Self {
        let weight = |rank: u64| (rank as f64).powf(-theta);
        let zeta: f64 = (1..=count).map(weight).sum();
        let n = count as f64;
        let eta = (1.0 - (2.0 / n).powf(1.0 - theta)) / (1.0 - (1.0 + weight(2)) / zeta);
        Self { count: n, zeta, alpha: 1.0 / (1.0 - theta), eta, second: 1.0 + weight(2) }
    }

    /// The rank, from 0, that a number in 0..1 stands for.
    fn rank(&self, uniform: f64) -> u64 {
        let scaled = uniform * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < self.second {
            return 1;
        }
        let rank = self.count * (self.eta * uniform - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.count as u64 - 1)
    }
}

const ZIPF_THETA: f64 = 0.99;
const GOLDEN: f64 = 0.618_033_988_749_895;

#[cfg(test)]
#[allow(unused)] // A bench without a test runner sees them too.
mod tests {
    use super::*;

    #[test]
    fn ranks_are_drawn_as_often_as_zipf_says() {
        let (count, draws) = (1000, 2_000_000);
        let zipf = Zipf::new(count, ZIPF_THETA);
        let mut random = fastrand::Rng::with_seed(7);
        let mut seen = vec![0u64; count as usize];
        for _ in 0..draws {
            seen[zipf.rank(random.f64()) as usize] += 1;
        }
        // The method is exact for the first two ranks and an approximation by an integral behind them.
        let expected = |rank: usize| draws as f64 * ((rank + 1) as f64).powf(-ZIPF_THETA) / zipf.zeta;
        for rank in [0, 1] {
            let share = seen[rank] as f64 / expected(rank);
            assert!((0.98..1.02).contains(&share), "rank {rank}: {share}");
        }
        for (from, to) in [(2, 10), (10, 100), (100, 500), (500, 1000)] {
            let got: u64 = seen[from..to].iter().sum();
            let share = got as f64 / (from..to).map(expected).sum::<f64>();
            assert!((0.85..1.15).contains(&share), "ranks {from}..{to}: {share}");
        }
    }

    #[test]
    fn scattering_loses_no_key() {
        for count in [1, 2, 7, 10, 1000, 4096, 99_991] {
            let mut seen = vec![false; count as usize];
            (0..count).for_each(|rank| seen[scatter(rank, count) as usize] = true);
            assert!(seen.into_iter().all(|s| s), "{count}");
        }
    }

    #[test]
    fn uniform_keys_cover_the_range_evenly() {
        let (mut keys, mut random) = (Keys::uniform(10), fastrand::Rng::with_seed(7));
        let mut seen = [0u32; 10];
        (0..100_000).for_each(|_| seen[keys.next(&mut random) as usize] += 1);
        assert!(seen.iter().all(|n| (9_500..10_500).contains(n)), "{seen:?}");
    }

    #[test]
    fn the_hottest_zipfian_key_of_a_million_has_the_share_that_ycsb_has() {
        let (mut keys, mut random) = (Keys::zipfian(1_000_000), fastrand::Rng::with_seed(7));
        let mut seen = std::collections::HashMap::<u64, u32>::new();
        (0..1_000_000).for_each(|_| *seen.entry(keys.next(&mut random)).or_default() += 1);
        let hottest = *seen.values().max().unwrap();
        // 1 / zeta(1e6, 0.99) = 6.5 %.
        assert!((62_000..68_000).contains(&hottest), "{hottest}");
    }
}
