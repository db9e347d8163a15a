//! What machine this is, for the results file, and how much of it other processes take.

use crate::cpu::{self, Clock};
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, Instant, SystemTime};

pub fn describe(clock: Clock) -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let (cpus, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    json!({
        "cpu": field(&cpus, "model name"),
        "cpus": cores(),
        "memory": field(&memory, "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "cpu_time_from": clock.name(),
        "unix_seconds": unix_seconds(),
        "arguments": std::env::args().skip(1).filter(|arg| arg != "--bench").collect::<Vec<_>>(),
    })
}

pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Kilobytes of anonymous memory in use on the whole machine: pages that a forked child shares count once.
pub fn anonymous_kb() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("AnonPages:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// A moment, from which on the processor time of others is counted.
pub struct Since {
    others: u64,
    moment: Instant,
}

impl Since {
    pub fn now() -> Self {
        Self { others: others_ns(), moment: Instant::now() }
    }

    /// The cores that others have kept busy on average.
    pub fn others(&self) -> Others {
        let elapsed = self.moment.elapsed().as_nanos().max(1) as f64;
        // Our own time and the machine's are not read in the same instant.
        Others { cores: others_ns().saturating_sub(self.others) as f64 / elapsed, of: cores() }
    }
}

/// Cores that processes other than this one and its children kept busy.
#[derive(Clone, Copy)]
pub struct Others {
    pub cores: f64,
    pub of: usize,
}

impl Others {
    /// Over the second that follows.
    pub fn in_a_second() -> Self {
        let since = Since::now();
        std::thread::sleep(Duration::from_secs(1));
        since.others()
    }

    /// For the beginning of a run.
    pub fn warning(&self) -> String {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split_whitespace().next().unwrap_or("?");
        let Self { cores, of } = self;
        if self.are_quiet() {
            format!("The machine is quiet: other processes use {cores:.1} of its {of} cores (load {load}).")
        } else {
            format!(
                "The machine is busy: other processes use {cores:.1} of its {of} cores (load {load}), and what is \
                 measured now is theirs in part; end them, or compare ratios only."
            )
        }
    }

    /// For the end of a run, as a part of a sentence.
    pub fn verdict(&self) -> String {
        let word = if self.are_quiet() { "quiet" } else { "busy" };
        format!("the machine was {word} (other processes used {:.1} of its {} cores)", self.cores, self.of)
    }

    fn are_quiet(&self) -> bool {
        self.cores <= QUIET_CORES_MAX
    }
}

/// Nanoseconds of all processors, and of neighbours on the same hardware, less those of this process and of the children it
/// has waited for. Interrupts are left out: those of the loopback are our own work.
fn others_ns() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    (busy_ticks(&stat).unwrap_or(0)).saturating_sub(cpu::family_ticks(&own).unwrap_or(0)) * cpu::NS_PER_TICK
}

/// user, nice, system and steal of the first line.
fn busy_ticks(stat: &str) -> Option<u64> {
    let fields: Vec<u64> = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().flat_map(str::parse).collect();
    Some(fields.get(..3)?.iter().sum::<u64>() + fields.get(7).unwrap_or(&0))
}

fn cores() -> usize {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines().filter(|line| line.starts_with("processor")).count().max(1)
}

/// An idle desktop takes less.
const QUIET_CORES_MAX: f64 = 0.2;

#[cfg(test)]
#[allow(unused)] // A bench without a test runner sees them too.
mod tests {
    use super::*;

    #[test]
    fn time_of_processors_without_waiting_and_interrupts() {
        assert_eq!(busy_ticks("cpu  10 20 30 4000 500 60 70 8 9 10\ncpu0 1 1 1 1"), Some(68));
        assert_eq!(busy_ticks("cpu  10 20 30 4000"), Some(60));
        assert_eq!(busy_ticks(""), None);
    }

    #[test]
    fn a_busy_machine_is_told() {
        let others = |cores| Others { cores, of: 2 };
        assert!(others(0.1).warning().starts_with("The machine is quiet: other processes use 0.1 of its 2 cores"));
        assert!(others(1.4).warning().starts_with("The machine is busy: other processes use 1.4 of its 2 cores"));
        assert_eq!(others(1.4).verdict(), "the machine was busy (other processes used 1.4 of its 2 cores)");
    }

    #[test]
    fn another_process_counts_until_it_was_ours() {
        let mut other = std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let before = others_ns();
        let worked = |pid: u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            cpu::stat_ticks(&text).unwrap() > 20
        };
        while !worked(other.id()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        // In steps of a tick, and each reading at its own instant.
        assert!(others_ns() >= before + 15 * cpu::NS_PER_TICK);
        let own = || cpu::family_ticks(&fs::read_to_string("/proc/self/stat").unwrap()).unwrap();
        let waiting = own();
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(own() > waiting + 20);
    }
}
