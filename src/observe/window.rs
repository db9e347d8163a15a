//! Windows of service time: the last second, 10 seconds, minute and 5 minutes, for each command and for all.
//!
//! Once a second the sampler reads the workers' ever-growing totals and keeps the difference to the previous reading
//! as a interval. Ten seconds are also summed into a ten-second interval, six of those into a minute, so memory is
//! 21 packed intervals however long the server runs, and the workers pay nothing for any of it.
//! Invariants: every service counted by a tick is in exactly one second; a window ends at the last tick and
//! covers its nominal length or, built of coarser intervals, up to a sixth more (`span_ms` says exactly how much), less
//! only while the server is younger. A late tick makes a longer interval, never a lost one.
//! Cost: a tick reads two cache lines per command and worker, plus the histograms of those that changed.

use super::worker::{ServiceTotals, WorkerStats};
use crate::clock::Millis;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Service totals by command number; commands without any are absent.
pub(super) type ByCommand = BTreeMap<usize, ServiceTotals>;

pub(super) struct Windows {
    /// The last reading, and when it was taken.
    previous: BTreeMap<usize, Remembered>,
    previous_ms: Millis,
    seconds: VecDeque<Packed>,
    tens: VecDeque<Packed>,
    minutes: VecDeque<Packed>,
    /// Seconds since the last ten-second interval was closed, and of those since the last minute.
    seconds_open: usize,
    tens_open: usize,
}

/// What happened in a span of time.
#[derive(Clone, Default)]
pub(super) struct Interval {
    pub span_ms: u64,
    pub commands: ByCommand,
}

impl Interval {
    fn merge(&mut self, other: &Interval) {
        self.span_ms += other.span_ms;
        for (command, totals) in &other.commands {
            self.commands.entry(*command).or_default().merge(totals);
        }
    }
}

/// Numbers as they are kept, each in as many groups of seven bits as it needs: `used_memory` has them, and under
/// `maxmemory` what they take is taken from the data.
struct Packed(Box<[u8]>);

impl Packed {
    fn of(write: impl FnOnce(&mut dyn FnMut(u64))) -> Packed {
        let mut bytes = Vec::new();
        write(&mut |mut number| {
            while number >= 0x80 {
                bytes.push(number as u8 | 0x80);
                number >>= 7;
            }
            bytes.push(number as u8);
        });
        Packed(bytes.into())
    }

    fn read<T>(&self, read: impl FnOnce(&mut dyn FnMut() -> u64) -> T) -> T {
        let mut bytes = self.0.iter();
        read(&mut || {
            let (mut number, mut shift) = (0, 0);
            for byte in bytes.by_ref() {
                number |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if *byte < 0x80 {
                    break;
                }
            }
            number
        })
    }

    fn of_interval(interval: &Interval) -> Packed {
        Packed::of(|put| {
            put(interval.span_ms);
            put(interval.commands.len() as u64);
            for (command, totals) in &interval.commands {
                put(*command as u64);
                totals.pack(put);
            }
        })
    }

    fn interval(&self) -> Interval {
        self.read(|next| {
            let span_ms = next();
            let commands = (0..next()).map(|_| (next() as usize, ServiceTotals::unpack(next))).collect();
            Interval { span_ms, commands }
        })
    }
}

/// A command's totals at the last reading.
pub(super) struct Remembered {
    count: u64,
    totals: Packed,
}

impl Remembered {
    fn of(totals: &ServiceTotals) -> Remembered {
        Remembered { count: totals.count(), totals: Packed::of(|put| totals.pack(put)) }
    }

    fn totals(&self) -> ServiceTotals {
        self.totals.read(|next| ServiceTotals::unpack(next))
    }
}

impl Windows {
    pub fn new(now_ms: Millis) -> Windows {
        Windows {
            previous: BTreeMap::new(),
            previous_ms: now_ms,
            seconds: VecDeque::new(),
            tens: VecDeque::new(),
            minutes: VecDeque::new(),
            seconds_open: 0,
            tens_open: 0,
        }
    }

    /// Closes a second if a second has passed; call it several times a second.
    pub fn tick(&mut self, now_ms: Millis, workers: &[Arc<WorkerStats>], commands: usize) {
        let span_ms = u64::try_from(now_ms.saturating_sub(self.previous_ms)).unwrap_or(0);
        if span_ms < 1000 {
            // A wall clock set back would otherwise stop the windows until it has caught up.
            self.previous_ms = self.previous_ms.min(now_ms);
            return;
        }
        self.previous_ms = now_ms;
        let commands = advance(&mut self.previous, workers, commands);
        self.rotate(Interval { span_ms, commands });
    }

    /// Forgets all intervals; what the workers counted up to this reading will not show.
    pub fn restart(&mut self, now_ms: Millis, reading: &ByCommand) {
        let previous = reading.iter().map(|(command, totals)| (*command, Remembered::of(totals))).collect();
        *self = Windows { previous, ..Windows::new(now_ms) };
    }

    /// The windows, shortest first, with their names.
    pub fn read(&self) -> [(&'static str, Interval); 4] {
        let newest = |intervals: &VecDeque<Packed>, count: usize| sum(intervals.iter().rev().take(count));
        let mut minute = newest(&self.seconds, self.seconds_open);
        let mut five = minute.clone();
        minute.merge(&newest(&self.tens, TENS));
        five.merge(&newest(&self.tens, self.tens_open));
        five.merge(&newest(&self.minutes, MINUTES));
        [("1s", newest(&self.seconds, 1)), ("10s", newest(&self.seconds, SECONDS)), ("1m", minute), ("5m", five)]
    }

    fn rotate(&mut self, interval: Interval) {
        push(&mut self.seconds, interval, SECONDS);
        self.seconds_open += 1;
        if self.seconds_open < SECONDS {
            return;
        }
        self.seconds_open = 0;
        push(&mut self.tens, sum(self.seconds.iter()), TENS);
        self.tens_open += 1;
        if self.tens_open < TENS {
            return;
        }
        self.tens_open = 0;
        push(&mut self.minutes, sum(self.tens.iter()), MINUTES);
    }
}

/// What was serviced since a former reading, which becomes the present one.
pub(super) fn advance(
    previous: &mut BTreeMap<usize, Remembered>,
    workers: &[Arc<WorkerStats>],
    commands: usize,
) -> ByCommand {
    let mut serviced = ByCommand::new();
    for command in 0..commands {
        let count: u64 = workers.iter().map(|worker| worker.serviced(command)).sum();
        let before = previous.get(&command);
        if count == before.map_or(0, |before| before.count) {
            continue;
        }
        let before = before.map(Remembered::totals).unwrap_or_default();
        let now = read(workers, command);
        serviced.insert(command, now.since(&before));
        previous.insert(command, Remembered::of(&now));
    }
    serviced
}

/// One command's service totals over all workers, now.
pub(super) fn read(workers: &[Arc<WorkerStats>], command: usize) -> ServiceTotals {
    let mut totals = ServiceTotals::default();
    workers.iter().for_each(|worker| worker.merge_service(command, &mut totals));
    totals
}

fn push(intervals: &mut VecDeque<Packed>, interval: Interval, max: usize) {
    if intervals.len() == max {
        intervals.pop_front();
    }
    intervals.push_back(Packed::of_interval(&interval));
}

fn sum<'a>(intervals: impl Iterator<Item = &'a Packed>) -> Interval {
    let mut sum = Interval::default();
    intervals.for_each(|interval| sum.merge(&interval.interval()));
    sum
}

const SECONDS: usize = 10;
const TENS: usize = 6;
const MINUTES: usize = 5;

#[cfg(test)]
mod tests {
    use super::super::worker::ServiceTime;
    use super::*;
    use proptest::prelude::*;

    fn service(worker: &WorkerStats, command: usize, calls: u64, us: u64) {
        worker.service(command, calls, &ServiceTime { total_ns: us * 1000, ..ServiceTime::default() });
    }

    #[test]
    fn windows_cover_the_last_seconds_and_no_more() {
        let workers = [Arc::new(WorkerStats::new(2)), Arc::new(WorkerStats::new(2))];
        let mut windows = Windows::new(0);
        // One call in the first second, two in the second, and so on, on alternating workers.
        for second in 1..=400u64 {
            service(&workers[second as usize % 2], 1, second, second);
            windows.tick(second as Millis * 1000 - 300, &workers, 2);
            windows.tick(second as Millis * 1000, &workers, 2);
            let counts = windows
                .read()
                .map(|(_, interval)| (interval.span_ms, interval.commands.get(&1).map_or(0, ServiceTotals::count)));
            let expect = |seconds: u64| {
                let seconds = seconds.min(second);
                (seconds * 1000, (second - seconds + 1..=second).sum::<u64>())
            };
            let minute = (second % 10) + 60;
            let five = (second % 60) + 300;
            assert_eq!(counts, [expect(1), expect(10), expect(minute), expect(five)], "at {second} s");
        }
    }

    #[test]
    fn a_late_tick_makes_a_longer_interval_and_a_clock_set_back_does_no_harm() {
        let workers = [Arc::new(WorkerStats::new(1))];
        let mut windows = Windows::new(10_000);
        service(&workers[0], 0, 5, 10);
        windows.tick(13_500, &workers, 1);
        let [(_, second), ..] = windows.read();
        assert_eq!((second.span_ms, second.commands[&0].count()), (3500, 5));
        windows.tick(2_000, &workers, 1);
        service(&workers[0], 0, 7, 10);
        windows.tick(3_000, &workers, 1);
        let [(_, second), ..] = windows.read();
        assert_eq!((second.span_ms, second.commands[&0].count()), (1000, 7));
    }

    #[test]
    fn quiet_commands_leave_no_trace() {
        let workers = [Arc::new(WorkerStats::new(3))];
        let mut windows = Windows::new(0);
        service(&workers[0], 2, 1, 10);
        windows.tick(1000, &workers, 3);
        windows.tick(2000, &workers, 3);
        let [(_, second), (_, ten), ..] = windows.read();
        assert!(second.commands.is_empty());
        assert_eq!(ten.commands.keys().copied().collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn what_is_packed_comes_back() {
        let workers = [Arc::new(WorkerStats::new(300))];
        for ns in [0, 1, 127, 128, 1 << 20, u64::MAX >> 1] {
            workers[0].service(299, 3, &ServiceTime { total_ns: ns, ..ServiceTime::default() });
        }
        let commands = ByCommand::from([(7, ServiceTotals::default()), (299, read(&workers, 299))]);
        let interval = Interval { span_ms: u64::MAX, commands };
        let back = Packed::of_interval(&interval).interval();
        assert_eq!((back.span_ms, &back.commands), (u64::MAX, &interval.commands));
    }

    #[test]
    fn a_second_of_one_command_takes_little_memory() {
        let worker = Arc::new(WorkerStats::new(3));
        (20..120).for_each(|us| service(&worker, 1, 1, us));
        let interval = Interval { span_ms: 1000, commands: advance(&mut BTreeMap::new(), &[worker], 3) };
        let bytes = Packed::of_interval(&interval).0.len();
        assert!(bytes < 300, "{bytes} bytes");
    }

    proptest! {
        #[test]
        fn intervals_add_up_to_everything(steps in prop::collection::vec((0usize..3, 0u64..50, 0u64..200_000, 0i64..2500), 1..200)) {
            let workers = [Arc::new(WorkerStats::new(3)), Arc::new(WorkerStats::new(3))];
            let mut windows = Windows::new(0);
            let mut now = 0;
            for (command, calls, us, wait) in steps {
                service(&workers[calls as usize % 2], command, calls, us);
                now += wait;
                windows.tick(now, &workers, 3);
            }
            now += 1000;
            windows.tick(now, &workers, 3);
            // Under 300 seconds everything is still in the five-minute window.
            if now < 300_000 {
                let [.., (_, five)] = windows.read();
                for command in 0..3 {
                    let total = read(&workers, command);
                    let told = five.commands.get(&command).cloned().unwrap_or_default();
                    prop_assert_eq!(told.bands, total.bands);
                    prop_assert_eq!(told.histogram.sum(), total.histogram.sum());
                    prop_assert_eq!(told.histogram.count(), total.histogram.count());
                }
                prop_assert_eq!(five.span_ms as i64, now);
            }
        }
    }
}
