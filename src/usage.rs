//! What the process takes of the machine, as the kernel tells it: processor time, resident memory; and the machine.
//!
//! Read from `/proc` when asked; a few tens of microseconds a reading. What cannot be read counts as zero.

use std::fs;

/// Processor time in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cpu {
    pub system: f64,
    pub user: f64,
    pub children_system: f64,
    pub children_user: f64,
}

/// Of the whole process.
pub fn cpu() -> Cpu {
    read_cpu("/proc/self/stat")
}

/// Of the thread that asks.
pub fn cpu_of_thread() -> Cpu {
    read_cpu("/proc/thread-self/stat")
}

fn read_cpu(path: &str) -> Cpu {
    let text = fs::read_to_string(path).unwrap_or_default();
    // The command's name, in parentheses, may contain anything; fields are counted behind it.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let seconds = |i: usize| fields.get(i).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0) / TICKS_PER_SECOND;
    Cpu { user: seconds(11), system: seconds(12), children_user: seconds(13), children_system: seconds(14) }
}

/// Resident memory in bytes.
pub fn resident_bytes() -> u64 {
    status_kilobytes("/proc/self/status", "VmRSS:") * 1024
}

/// The machine's memory in bytes.
pub fn machine_bytes() -> u64 {
    status_kilobytes("/proc/meminfo", "MemTotal:") * 1024
}

fn status_kilobytes(path: &str, field: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// System, release and machine, as `uname` prints them.
pub fn system() -> String {
    let word = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let (kind, release) = (word("/proc/sys/kernel/ostype"), word("/proc/sys/kernel/osrelease"));
    format!("{kind} {release} {}", std::env::consts::ARCH)
}

/// The kernel's unit of these fields, fixed for user space.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_has_memory_and_takes_time() {
        assert!(resident_bytes() > 100_000 && machine_bytes() > resident_bytes());
        let started = std::time::Instant::now();
        while started.elapsed().as_millis() < 30 {}
        assert!(cpu().user + cpu().system > 0.0);
        assert!(system().split(' ').count() >= 3);
    }
}
