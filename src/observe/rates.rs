//! Rates of the last moments: `instantaneous_ops_per_sec` and its like.
//!
//! As in Redis, a sampler reads the counters every 100 ms and the rate shown is the mean of the last 16 samples.
//! Invariant: a reading lower than the one before (there is none) would count as zero, not as a huge number.

use super::counter::Counts;
use crate::clock::Millis;

/// Per second, over about the last 1.6 seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    pub commands: u64,
    pub net_input_bytes: u64,
    pub net_output_bytes: u64,
    pub net_repl_input_bytes: u64,
    pub net_repl_output_bytes: u64,
    pub eventloop_cycles: u64,
    /// Mean duration of a turn of the loop in microseconds.
    pub eventloop_us_per_cycle: u64,
}

pub(super) struct Sampler {
    last_ms: Millis,
    last: Counts,
    samples: [Rates; SAMPLES],
    next: usize,
}

impl Sampler {
    pub fn new(now_ms: Millis) -> Sampler {
        Sampler::starting_at(now_ms, Counts::default())
    }

    /// Without samples, going on from these counts.
    pub fn starting_at(now_ms: Millis, counts: Counts) -> Sampler {
        Sampler { last_ms: now_ms, last: counts, samples: [Rates::default(); SAMPLES], next: 0 }
    }

    /// Takes a sample if it is time for one.
    pub fn sample(&mut self, now_ms: Millis, counts: &Counts) {
        let elapsed = now_ms.saturating_sub(self.last_ms);
        if (0..SAMPLE_MS).contains(&elapsed) {
            return;
        }
        let elapsed = elapsed.max(1).unsigned_abs();
        let per_second = |now: u64, before: u64| now.saturating_sub(before).saturating_mul(1000) / elapsed;
        let last = &self.last;
        let cycles = counts.eventloop_cycles.saturating_sub(last.eventloop_cycles);
        self.samples[self.next] = Rates {
            commands: per_second(counts.commands_processed, last.commands_processed),
            net_input_bytes: per_second(counts.net_input_bytes, last.net_input_bytes),
            net_output_bytes: per_second(counts.net_output_bytes, last.net_output_bytes),
            net_repl_input_bytes: per_second(counts.net_repl_input_bytes, last.net_repl_input_bytes),
            net_repl_output_bytes: per_second(counts.net_repl_output_bytes, last.net_repl_output_bytes),
            eventloop_cycles: per_second(counts.eventloop_cycles, last.eventloop_cycles),
            eventloop_us_per_cycle: counts
                .eventloop_us
                .saturating_sub(last.eventloop_us)
                .checked_div(cycles)
                .unwrap_or(0),
        };
        self.next = (self.next + 1) % SAMPLES;
        self.last_ms = now_ms;
        self.last = *counts;
    }

    pub fn rates(&self) -> Rates {
        let mean = |field: fn(&Rates) -> u64| self.samples.iter().map(field).sum::<u64>() / SAMPLES as u64;
        Rates {
            commands: mean(|s| s.commands),
            net_input_bytes: mean(|s| s.net_input_bytes),
            net_output_bytes: mean(|s| s.net_output_bytes),
            net_repl_input_bytes: mean(|s| s.net_repl_input_bytes),
            net_repl_output_bytes: mean(|s| s.net_repl_output_bytes),
            eventloop_cycles: mean(|s| s.eventloop_cycles),
            eventloop_us_per_cycle: mean(|s| s.eventloop_us_per_cycle),
        }
    }
}

const SAMPLES: usize = 16;
const SAMPLE_MS: Millis = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_mean_of_sixteen_samples() {
        let mut sampler = Sampler::new(0);
        let mut counts = Counts::default();
        for step in 1..=8 {
            counts.commands_processed += 100;
            counts.net_input_bytes += 5000;
            counts.eventloop_cycles += 10;
            counts.eventloop_us += 700;
            sampler.sample(step * 100 - 40, &counts);
            sampler.sample(step * 100, &counts);
        }
        // Half of the samples are still empty.
        assert_eq!(sampler.rates().commands, 500);
        (9..=16).for_each(|step| {
            counts.commands_processed += 100;
            sampler.sample(step * 100, &counts);
        });
        let rates = sampler.rates();
        assert_eq!((rates.commands, rates.net_input_bytes, rates.eventloop_cycles), (1000, 25_000, 50));
        assert_eq!(rates.eventloop_us_per_cycle, 35);
        (17..=32).for_each(|step| sampler.sample(step * 100, &counts));
        assert_eq!(sampler.rates(), Rates::default());
    }

    #[test]
    fn a_clock_set_back_does_no_harm() {
        let mut sampler = Sampler::new(1_000_000);
        sampler.sample(5, &Counts { commands_processed: 3, ..Counts::default() });
        sampler.sample(105, &Counts { commands_processed: 13, ..Counts::default() });
        assert_eq!(sampler.rates().commands, (3000 + 100) / 16);
    }
}
