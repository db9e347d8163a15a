//! CPU time and cores: what a server used per command, how busy the generator was, and who runs where.
//!
//! CPU time is user plus system time. It is read from `/proc/PID/task/*/schedstat`, whose first field is nanoseconds on a
//! core; where the kernel keeps no such statistics, from `/proc/PID/stat`, in ticks of 10 ms ([`Clock`] says which). The
//! time of threads that ended between two looks is lost, so that rows in which a server forks or starts threads do not
//! use it.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::fs;
use std::io;

/// Where CPU time comes from on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    Schedstat,
    Ticks,
}

impl Clock {
    pub fn of_this_machine() -> Self {
        match fs::read_to_string("/proc/self/schedstat").ok().and_then(|text| first_number(&text)) {
            Some(_) => Self::Schedstat,
            None => Self::Ticks,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Schedstat => "schedstat, nanoseconds",
            Self::Ticks => "stat, ticks of 10 ms",
        }
    }

    /// Nanoseconds that all threads of a process have used so far.
    pub fn process_ns(self, pid: u32) -> io::Result<u64> {
        match self {
            Self::Ticks => ticks_ns(&format!("/proc/{pid}/stat")),
            Self::Schedstat => {
                let mut sum = 0;
                for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                    // A thread may end while we look.
                    let text = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
                    sum += first_number(&text).unwrap_or(0);
                }
                Ok(sum)
            }
        }
    }

    /// Nanoseconds that the calling thread has used so far.
    pub fn thread_ns(self) -> u64 {
        let read = match self {
            Self::Schedstat => {
                fs::read_to_string("/proc/thread-self/schedstat").map(|text| first_number(&text).unwrap_or(0))
            }
            Self::Ticks => ticks_ns("/proc/thread-self/stat"),
        };
        read.unwrap_or(0)
    }
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

fn ticks_ns(path: &str) -> io::Result<u64> {
    Ok(stat_ticks(&fs::read_to_string(path)?).unwrap_or(0) * NS_PER_TICK)
}

/// utime + stime of a `stat` line.
pub fn stat_ticks(text: &str) -> Option<u64> {
    times(text, 2)
}

/// The same with the times of children that were waited for.
pub fn family_ticks(text: &str) -> Option<u64> {
    times(text, 4)
}

/// utime, stime, cutime, cstime. The name in parentheses before them may contain anything, also blanks and parentheses.
fn times(text: &str, how_many: usize) -> Option<u64> {
    let fields = text.rsplit_once(')')?.1.split_whitespace().skip(11).take(how_many);
    let ticks = fields.map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?;
    (ticks.len() == how_many).then(|| ticks.iter().sum())
}

/// Ties the calling thread, and what it starts from now on, to one core.
pub fn pin(core: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Runs `work` on another core and comes back: a process started there stays there with all its threads.
pub fn on_core<R>(core: usize, work: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
    let home = sched_getaffinity(None)?;
    pin(core)?;
    let result = work();
    sched_setaffinity(None, &home)?;
    result
}

/// USER_HZ, which the kernel's interface fixes at 100.
pub const NS_PER_TICK: u64 = 10_000_000;

#[cfg(test)]
#[allow(unused)] // A bench without a test runner sees them too.
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_a_name_with_blanks_and_parentheses() {
        let line = "17 (a) b (c)) S 1 17 17 0 -1 4194560 1 2 3 4 250 50 7 8 20 0 1 0 9 10 11";
        assert_eq!(stat_ticks(line), Some(300));
        assert_eq!(family_ticks(line), Some(315));
        assert_eq!(stat_ticks("17 (a) S 1"), None);
    }

    #[test]
    fn work_shows_in_both_clocks() {
        for clock in [Clock::Schedstat, Clock::Ticks] {
            let before = (clock.thread_ns(), clock.process_ns(std::process::id()).unwrap());
            let mut n = 1u64;
            while clock.thread_ns() < before.0 + 2 * NS_PER_TICK {
                (0..100_000).for_each(|i| n = std::hint::black_box(n.wrapping_mul(i | 1)));
            }
            assert!(clock.process_ns(std::process::id()).unwrap() >= before.1 + NS_PER_TICK);
        }
    }
}
