//! What the process takes of the machine, as the kernel tells it: processor time, resident memory; and the machine.
//!
//! A few microseconds a reading. What cannot be read counts as zero.

use crate::process::rusage;
use rustix::system::{sysinfo, uname};
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
    let (own, children) = (rusage(libc::RUSAGE_SELF), rusage(libc::RUSAGE_CHILDREN));
    Cpu {
        system: seconds(own.ru_stime),
        user: seconds(own.ru_utime),
        children_system: seconds(children.ru_stime),
        children_user: seconds(children.ru_utime),
    }
}

/// Of the thread that asks.
pub fn cpu_of_thread() -> Cpu {
    let own = rusage(libc::RUSAGE_THREAD);
    Cpu { system: seconds(own.ru_stime), user: seconds(own.ru_utime), ..Cpu::default() }
}

fn seconds(time: libc::timeval) -> f64 {
    time.tv_sec as f64 + time.tv_usec as f64 / 1e6
}

/// Resident memory in bytes.
pub fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// The machine's memory in bytes.
pub fn machine_bytes() -> u64 {
    let machine = sysinfo();
    machine.totalram as u64 * u64::from(machine.mem_unit)
}

/// System, release and machine, as `uname` prints them.
pub fn system() -> String {
    let name = uname();
    [name.sysname(), name.release(), name.machine()].map(|word| word.to_string_lossy()).join(" ")
}

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
