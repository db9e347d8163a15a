//! The latency monitor: spikes by kind of event, behind LATENCY LATEST, HISTORY, RESET, GRAPH and DOCTOR.
//!
//! An event (`command`, `aof-write`, `expire-cycle` …) is a ring of the last 160 seconds in which it exceeded
//! `latency-monitor-threshold`, the worst of each second, and the worst ever. The graph is Redis's, character for
//! character; the doctor's advice is ours, because what helps here (no fork, expiry in slices, frees off the serving
//! path) differs. Not here: the threshold; callers report only what exceeds it.
//! Cost: one lock per spike.

use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};

/// All events that ever had a spike, in the order of their names.
#[derive(Default)]
pub struct LatencyMonitor(Mutex<BTreeMap<String, Event>>);

#[derive(Default)]
struct Event {
    /// Oldest first.
    samples: VecDeque<Sample>,
    max_ms: u64,
}

/// The worst spike of one second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub unix_s: i64,
    pub ms: u64,
}

/// The last spike of an event, and the worst it ever had.
#[derive(Debug, PartialEq)]
pub struct Latest {
    pub event: String,
    pub last: Sample,
    pub max_ms: u64,
}

/// What the doctor needs to know about the configuration.
#[derive(Clone, Copy, Debug)]
pub struct DoctorContext {
    pub now_s: i64,
    /// `latency-monitor-threshold`; zero means the monitor is off.
    pub threshold_ms: u64,
    /// `slowlog-log-slower-than`; negative means the slow log is off.
    pub slowlog_slower_than_us: i64,
    pub appendfsync_always: bool,
}

impl LatencyMonitor {
    /// Adds a spike.
    pub fn add(&self, event: &str, unix_s: i64, ms: u64) {
        let mut events = self.0.lock();
        if !events.contains_key(event) {
            events.insert(event.to_owned(), Event::default());
        }
        let event = events.get_mut(event).expect("just inserted");
        event.max_ms = event.max_ms.max(ms);
        match event.samples.back_mut() {
            Some(last) if last.unix_s == unix_s => last.ms = last.ms.max(ms),
            _ => {
                if event.samples.len() == SAMPLES_MAX {
                    event.samples.pop_front();
                }
                event.samples.push_back(Sample { unix_s, ms });
            }
        }
    }

    /// The last spike of every event.
    pub fn latest(&self) -> Vec<Latest> {
        let events = self.0.lock();
        let latest = events.iter().filter_map(|(name, event)| {
            let last = *event.samples.back()?;
            Some(Latest { event: name.clone(), last, max_ms: event.max_ms })
        });
        latest.collect()
    }

    /// The samples of an event, oldest first; empty if it is unknown.
    pub fn history(&self, event: &str) -> Vec<Sample> {
        self.0.lock().get(event).map_or(Vec::new(), |event| event.samples.iter().copied().collect())
    }

    /// Forgets one event, in any case of letters, or all; says how many.
    pub fn reset(&self, event: Option<&[u8]>) -> usize {
        let mut events = self.0.lock();
        let before = events.len();
        events.retain(|name, _| event.is_some_and(|event| !name.as_bytes().eq_ignore_ascii_case(event)));
        before - events.len()
    }

    /// The event's history as a drawing of up to 80 columns, or `None` if it is unknown.
    pub fn graph(&self, event: &str, now_s: i64) -> Option<String> {
        let events = self.0.lock();
        let (name, event) = events.get_key_value(event)?;
        let low = event.samples.iter().map(|s| s.ms).min().unwrap_or(0);
        let high = event.samples.iter().map(|s| s.ms).max().unwrap_or(0);
        let mut text = format!("{name} - high {high} ms, low {low} ms (all time high {} ms)\n", event.max_ms);
        text.push_str(&"-".repeat(GRAPH_COLUMNS));
        text.push('\n');
        let samples: Vec<Sample> = event.samples.iter().copied().collect();
        for (index, columns) in samples.chunks(GRAPH_COLUMNS).enumerate() {
            if index > 0 {
                text.push('\n');
            }
            draw(&mut text, columns, low, high, now_s);
        }
        Some(text)
    }

    /// A report for humans: what was seen, and what to do about it.
    pub fn doctor(&self, context: &DoctorContext) -> String {
        let events = self.0.lock();
        if events.is_empty() {
            return if context.threshold_ms == 0 { MONITOR_OFF.to_owned() } else { NO_SPIKES.to_owned() };
        }
        let mut text = String::from("Latency spikes were observed:\n\n");
        let mut advice: Vec<String> = Vec::new();
        for (number, (name, event)) in events.iter().enumerate() {
            text.push_str(&format!("{}. {}\n", number + 1, summary(name, event, context.now_s)));
            for tip in advice_on(name, context) {
                if !advice.contains(&tip) {
                    advice.push(tip);
                }
            }
        }
        if !advice.is_empty() {
            text.push_str("\nWhat may help:\n\n");
            advice.iter().for_each(|tip| text.push_str(&format!("- {tip}\n")));
        }
        text
    }
}

fn summary(name: &str, event: &Event, now_s: i64) -> String {
    let count = (event.samples.len() as u64).max(1);
    let mean = event.samples.iter().map(|s| s.ms).sum::<u64>() / count;
    let deviation = event.samples.iter().map(|s| s.ms.abs_diff(mean)).sum::<u64>() / count;
    let oldest = event.samples.front().map_or(now_s, |s| s.unix_s);
    let period_s = now_s.saturating_sub(oldest).max(1);
    format!(
        "{name}: {count} latency spikes (average {mean}ms, mean deviation {deviation}ms, period {:.2} sec). \
         Worst all time event {}ms.",
        period_s as f64 / count as f64,
        event.max_ms
    )
}

fn advice_on(event: &str, context: &DoctorContext) -> Vec<String> {
    let threshold_us = context.threshold_ms.saturating_mul(1000);
    let mut tips = Vec::new();
    match event {
        "command" => {
            if context.slowlog_slower_than_us < 0 {
                tips.push(format!("Turn the slow log on to see which commands: CONFIG SET slowlog-log-slower-than {threshold_us}"));
            } else if context.slowlog_slower_than_us.unsigned_abs() > threshold_us {
                tips.push(format!("Let the slow log catch what the monitor sees: CONFIG SET slowlog-log-slower-than {threshold_us}"));
            } else {
                tips.push("SLOWLOG GET names the slow commands and their arguments.".to_owned());
            }
            tips.push("INFO latency and LATENCY JSON say, command by command, whether the time went into waiting, locks, execution, the journal or the network.".to_owned());
        }
        "fast-command" => tips.push("Constant-time commands were slow, so the process was probably not given the processor: look for other load on this machine, CPU limits of the container, or a busy host (redis-cli --intrinsic-latency 100).".to_owned()),
        "expire-cycle" | "eviction-cycle" | "eviction-del" => tips.push("Removing keys took long although it is done in slices: look for very many keys with one deadline, or a maxmemory far below what is stored.".to_owned()),
        "aof-fsync-always" => {
            if context.appendfsync_always {
                tips.push("With 'appendfsync always' every write waits for the device; 'everysec' waits for the kernel only.".to_owned());
            }
            tips.push(SLOW_DEVICE.to_owned());
        }
        _ if event.starts_with("aof-") || event.starts_with("rdb-") => tips.push(SLOW_DEVICE.to_owned()),
        _ => {}
    }
    tips
}

/// Four rows of bars, a blank one, and each bar's age written downward.
fn draw(text: &mut String, samples: &[Sample], low: u64, high: u64, now_s: i64) {
    let steps = (BAR_CHARS.len() * GRAPH_ROWS) as u64;
    let range = (high - low).max(1);
    let bars: Vec<usize> =
        samples.iter().map(|s| ((s.ms - low).saturating_mul(steps) / range).min(steps - 1) as usize).collect();
    for row in (0..GRAPH_ROWS).rev() {
        let floor = row * BAR_CHARS.len();
        text.extend(bars.iter().map(|bar| match bar.checked_sub(floor) {
            None => ' ',
            Some(above) => BAR_CHARS.get(above).copied().unwrap_or('|'),
        }));
        text.push('\n');
    }
    let ages: Vec<Vec<char>> = samples.iter().map(|s| age(now_s - s.unix_s).chars().collect()).collect();
    text.push_str(&" ".repeat(samples.len()));
    text.push('\n');
    for row in 0..ages.iter().map(Vec::len).max().unwrap_or(0) {
        text.extend(ages.iter().map(|age| age.get(row).copied().unwrap_or(' ')));
        text.push('\n');
    }
}

fn age(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Redis's length of a time series.
const SAMPLES_MAX: usize = 160;
const GRAPH_COLUMNS: usize = 80;
const GRAPH_ROWS: usize = 4;
const BAR_CHARS: [char; 3] = ['_', 'o', '#'];

const MONITOR_OFF: &str = "The latency monitor is off. CONFIG SET latency-monitor-threshold <milliseconds> turns it on; \
                           INFO latency shows percentiles without it.\n";
const NO_SPIKES: &str = "No latency spike was observed since the monitor was turned on or reset.\n";
const SLOW_DEVICE: &str = "The device behind the append-only file was slow: look for other load on it, prefer a local \
                           SSD, and compare INFO persistence's fsync percentiles over time.";

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of the golden files: now, the worst ever, then `second:ms` for each sample; the rest is the graph.
    fn check_graph(golden: &str) {
        let (first, graph) = golden.split_once('\n').unwrap();
        let mut words = first.split(' ');
        let now: i64 = words.next().unwrap().parse().unwrap();
        let max: u64 = words.next().unwrap().parse().unwrap();
        let monitor = LatencyMonitor::default();
        monitor.add("command", 1, max);
        // Push the maximum out of the ring, as time did on the real server.
        (2..2 + SAMPLES_MAX as i64).for_each(|s| monitor.add("command", s, 1));
        let samples: Vec<Sample> = words
            .map(|word| {
                let (unix_s, ms) = word.split_once(':').unwrap();
                Sample { unix_s: unix_s.parse().unwrap(), ms: ms.parse().unwrap() }
            })
            .collect();
        samples.iter().for_each(|s| monitor.add("command", s.unix_s, s.ms));
        let dropped = SAMPLES_MAX - samples.len();
        monitor.0.lock().get_mut("command").unwrap().samples.drain(..dropped);
        assert_eq!(monitor.history("command"), samples);
        assert_eq!(monitor.graph("command", now).unwrap(), graph);
    }

    #[test]
    fn graphs_are_those_of_a_real_server() {
        check_graph(include_str!("../../tests/golden/latency_graph_one.txt"));
        check_graph(include_str!("../../tests/golden/latency_graph_few.txt"));
        check_graph(include_str!("../../tests/golden/latency_graph_full.txt"));
    }

    #[test]
    fn a_second_keeps_its_worst_and_the_event_its_worst_ever() {
        let monitor = LatencyMonitor::default();
        monitor.add("command", 10, 5);
        monitor.add("command", 10, 9);
        monitor.add("command", 10, 7);
        (11..200).for_each(|second| monitor.add("command", second, 3));
        monitor.add("aof-write", 50, 4);
        let history = monitor.history("command");
        assert_eq!((history.len(), history[0]), (160, Sample { unix_s: 40, ms: 3 }));
        assert_eq!(
            monitor.latest(),
            [
                Latest { event: "aof-write".into(), last: Sample { unix_s: 50, ms: 4 }, max_ms: 4 },
                Latest { event: "command".into(), last: Sample { unix_s: 199, ms: 3 }, max_ms: 9 },
            ]
        );
        assert!(monitor.history("COMMAND").is_empty() && monitor.graph("nope", 200).is_none());
        assert_eq!(monitor.reset(Some(b"nope")), 0);
        assert_eq!(monitor.reset(Some(b"COMMAND")), 1);
        assert_eq!(monitor.reset(None), 1);
        assert!(monitor.latest().is_empty());
    }

    #[test]
    fn the_doctor_says_what_was_seen_and_what_to_do() {
        let monitor = LatencyMonitor::default();
        let context =
            DoctorContext { now_s: 100, threshold_ms: 0, slowlog_slower_than_us: -1, appendfsync_always: true };
        assert_eq!(monitor.doctor(&context), MONITOR_OFF);
        let context = DoctorContext { threshold_ms: 2, ..context };
        assert_eq!(monitor.doctor(&context), NO_SPIKES);
        monitor.add("command", 90, 20);
        monitor.add("command", 95, 40);
        monitor.add("aof-fsync-always", 95, 40);
        let text = monitor.doctor(&context);
        assert!(text.contains(
            "2. command: 2 latency spikes (average 30ms, mean deviation 10ms, period 5.00 sec). Worst all time event 40ms."
        ));
        assert!(text.contains("slowlog-log-slower-than 2000") && text.contains("appendfsync always"), "{text}");
    }
}
