//! What machine this is, for the results file.

use crate::cpu::Clock;
use serde_json::{Value, json};
use std::fs;
use std::time::SystemTime;

pub fn describe(clock: Clock) -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    let (cpus, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    json!({
        "cpu": field(&cpus, "model name"),
        "cpus": cpus.lines().filter(|line| line.starts_with("processor")).count(),
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
