//! What was found: medians with their spread, ratios, verdicts on the targets, and the file of raw rounds.
//!
//! A row is one kind of work; each server has a reading per round; a reading is a few measures. A target compares the
//! median of one measure of memkv with that of the better peer, of the null server, of another measure of its own, or
//! with a number.

use crate::peers::{Family, Spec};
use serde_json::{Value, json};
use std::fmt::Write;
use std::time::Duration;

/// What can be measured. The first measure of a row's readings is its main one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    CpuUs,
    RateK,
    P50Us,
    P99Us,
    P999Us,
    P9999Us,
    ServerPercent,
    GeneratorPercent,
    CalmP99Us,
    BusyP99Us,
    CalmP999Us,
    BusyP999Us,
    CalmWriteP999Us,
    BusyWriteP999Us,
    OfferedK,
    LateP999Us,
    CalmMaxUs,
    BusyMaxUs,
    LateMaxUs,
    UsedBytes,
    ResidentBytes,
    Seconds,
    SaveSeconds,
    ExtraPercent,
    OneWorkerK,
    TwoWorkersK,
}

impl Measure {
    /// Its heading, its name in the results file, and the decimals it deserves.
    fn describe(self) -> (&'static str, &'static str, usize) {
        match self {
            Self::CpuUs => ("CPU us/cmd", "cpu_us_per_command", 2),
            Self::RateK => ("kcmd/s", "kilo_commands_per_second", 1),
            Self::P50Us => ("p50 us", "p50_us", 0),
            Self::P99Us => ("p99 us", "p99_us", 0),
            Self::P999Us => ("p99.9 us", "p99_9_us", 0),
            Self::P9999Us => ("p99.99 us", "p99_99_us", 0),
            Self::ServerPercent => ("server %", "server_core_percent", 0),
            Self::GeneratorPercent => ("generator %", "generator_core_percent", 0),
            Self::CalmP99Us => ("p99 us calm", "p99_us_without", 0),
            Self::BusyP99Us => ("p99 us busy", "p99_us_during", 0),
            Self::CalmP999Us => ("p99.9 us calm", "reads_p99_9_us_without", 0),
            Self::BusyP999Us => ("p99.9 us busy", "reads_p99_9_us_during", 0),
            Self::CalmWriteP999Us => ("writes calm", "writes_p99_9_us_without", 0),
            Self::BusyWriteP999Us => ("writes busy", "writes_p99_9_us_during", 0),
            Self::OfferedK => ("offered k/s", "offered_kilo_per_second", 1),
            Self::LateP999Us => ("late p99.9", "generator_late_p99_9_us", 0),
            Self::CalmMaxUs => ("max us calm", "max_us_without", 0),
            Self::BusyMaxUs => ("max us busy", "max_us_during", 0),
            Self::LateMaxUs => ("late max", "generator_late_max_us", 0),
            Self::UsedBytes => ("used B", "used_bytes_each", 1),
            Self::ResidentBytes => ("resident B", "resident_bytes_each", 1),
            Self::Seconds => ("seconds", "seconds", 3),
            Self::SaveSeconds => ("seconds", "save_seconds", 3),
            Self::OneWorkerK => ("1 worker k/s", "one_worker_kilo_per_second", 0),
            Self::TwoWorkersK => ("2 workers k/s", "two_workers_kilo_per_second", 0),
            Self::ExtraPercent => ("extra mem %", "peak_extra_memory_percent", 1),
        }
    }

    pub fn heading(self) -> &'static str {
        self.describe().0
    }
}

pub type Reading = Vec<(Measure, f64)>;

/// What a measure of memkv is held against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Against {
    /// The best of Redis and Valkey.
    BetterPeer,
    /// One peer by name.
    Peer(&'static str),
    Null,
    /// Another measure of memkv's own.
    Own(Measure),
    /// The number itself.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// What is to be reached.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub measure: Measure,
    pub against: Against,
    pub bound: Bound,
}

/// A target beside what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub text: String,
    pub value: f64,
    pub reached: bool,
}

/// The rounds of one server in one row.
pub struct Rounds {
    pub server: String,
    pub family: Family,
    pub readings: Vec<Reading>,
}

impl Rounds {
    fn all(&self, measure: Measure) -> Vec<f64> {
        self.readings.iter().flatten().filter(|(m, _)| *m == measure).map(|(_, value)| *value).collect()
    }

    pub fn median(&self, measure: Measure) -> Option<f64> {
        median(self.all(measure))
    }

    /// Each reading by itself.
    fn points(&self) -> Vec<Self> {
        let alone = |r: &Reading| Self { server: self.server.clone(), family: self.family, readings: vec![r.clone()] };
        self.readings.iter().map(alone).collect()
    }

    /// The main measure with its spread, the others plain.
    fn cells(&self, measures: &[Measure]) -> String {
        let mut line = String::new();
        for (i, measure) in measures.iter().enumerate() {
            let (all, digits) = (self.all(*measure), measure.describe().2);
            let cell = match median(all.clone()) {
                None => "-".to_owned(),
                Some(value) if i == 0 && all.len() > 1 => {
                    let (low, high) = all.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
                    format!("{value:.digits$} ({low:.digits$}-{high:.digits$})")
                }
                Some(value) => format!("{value:.digits$}"),
            };
            let _ = write!(line, " {cell:>width$}", width = width(i));
        }
        line
    }
}

/// Column widths: the first holds a median with its spread.
fn width(column: usize) -> usize {
    if column == 0 { 24 } else { 13 }
}

pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (n, half) = (values.len(), values.len() / 2);
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(values[half]),
        _ => Some((values[half - 1] + values[half]) / 2.0),
    }
}

/// One kind of work on all servers.
pub struct Row {
    pub name: String,
    pub servers: Vec<Rounds>,
    pub targets: Vec<Target>,
    /// The shortest reading of a server, where a number of requests and not a time was given.
    shortest: Option<Duration>,
}

impl Row {
    pub fn new(name: &str, specs: &[Spec], targets: &[Target]) -> Self {
        let rounds = |s: &Spec| Rounds { server: s.name.clone(), family: s.family, readings: Vec::new() };
        Self {
            name: name.to_owned(),
            servers: specs.iter().map(rounds).collect(),
            targets: targets.to_vec(),
            shortest: None,
        }
    }

    /// A server took so long for a reading. Null does not count: it is through first, and a yardstick only.
    pub fn took(&mut self, server: &Spec, time: Duration) {
        if server.family != Family::Null {
            self.shortest = Some(self.shortest.map_or(time, |shortest| shortest.min(time)));
        }
    }

    pub fn push(&mut self, server: &str, reading: Reading) {
        if let Some(rounds) = self.servers.iter_mut().find(|s| s.server == server) {
            rounds.readings.push(reading);
        }
    }

    pub fn has(&self, measure: Measure) -> bool {
        self.measures().contains(&measure)
    }

    fn measures(&self) -> Vec<Measure> {
        let mut found = Vec::new();
        for (measure, _) in self.servers.iter().flat_map(|s| &s.readings).flatten() {
            if !found.contains(measure) {
                found.push(*measure);
            }
        }
        found
    }

    /// The medians of the servers of a family.
    pub fn of_family(&self, family: Family, measure: Measure) -> Vec<(&str, f64)> {
        let servers = self.servers.iter().filter(|s| s.family == family);
        servers.filter_map(|s| Some((s.server.as_str(), s.median(measure)?))).collect()
    }

    /// What came of each target; `None` where a side was not measured.
    pub fn verdicts(&self) -> Vec<Verdict> {
        self.targets.iter().filter_map(|target| self.verdict(target)).collect()
    }

    fn verdict(&self, target: &Target) -> Option<Verdict> {
        let Target { measure, against, bound } = *target;
        let own = self.of_family(Family::Memkv, measure).first()?.1;
        let pick = |peers: Vec<(&str, f64)>| {
            let order = |a: &(String, f64), b: &(String, f64)| a.1.total_cmp(&b.1);
            let named = peers.into_iter().map(|(name, value)| (name.to_owned(), value));
            match bound {
                Bound::AtMost(_) => named.min_by(order),
                Bound::AtLeast(_) => named.max_by(order),
            }
        };
        let (name, yardstick) = match against {
            Against::BetterPeer => {
                let (name, value) = pick(self.of_family(Family::Redis, measure))?;
                (format!("x the better peer ({name})"), value)
            }
            Against::Peer(name) => {
                let peers = self.of_family(Family::Redis, measure);
                (format!("x {name}"), peers.iter().find(|(peer, _)| *peer == name)?.1)
            }
            Against::Null => ("x null".to_owned(), self.of_family(Family::Null, measure).first()?.1),
            Against::Own(other) => {
                (format!("x its own {}", other.heading()), self.of_family(Family::Memkv, other).first()?.1)
            }
            Against::Nothing => (String::new(), 1.0),
        };
        let value = own / yardstick;
        let (sign, limit, reached) = match bound {
            Bound::AtMost(limit) => ("<=", limit, value <= limit),
            Bound::AtLeast(limit) => (">=", limit, value >= limit),
        };
        let word = if reached { "reached" } else { "NOT reached" };
        let text = format!("{}: {value:.2} {name} (target {sign} {limit}): {word}", measure.heading());
        Some(Verdict { text, value, reached })
    }

    pub fn print(&self) {
        let measures = self.measures();
        let mut head = format!("\n{:<28}", self.name);
        for (i, measure) in measures.iter().enumerate() {
            let _ = write!(head, " {:>width$}", measure.heading(), width = width(i));
        }
        println!("{head}");
        for rounds in self.servers.iter().filter(|s| !s.readings.is_empty()) {
            if self.has(Measure::OfferedK) {
                // A series of loads, not rounds of one.
                rounds.points().iter().for_each(|p| println!("  {:<26}{}", rounds.server, p.cells(&measures)));
                continue;
            }
            println!("  {:<26}{}", rounds.server, rounds.cells(&measures));
            if rounds.median(Measure::GeneratorPercent).is_some_and(|percent| percent > SATURATED_PERCENT) {
                let name = &rounds.server;
                println!(
                    "    the generator's core was saturated by {name}: its throughput and latency are the generator's"
                );
            }
        }
        self.print_lateness();
        if let Some(time) = self.shortest.filter(|time| *time < BRIEF) {
            println!("  measured for {} ms only: too short for the clocks; raise --scale", time.as_millis());
        }
        for (name, ratio) in self.peer_ratios() {
            println!("  {name}'s own ratio: {ratio:.2}");
        }
        self.verdicts().iter().for_each(|verdict| println!("  -> {}", verdict.text));
    }

    /// Says where an open loop's generator has measured itself.
    fn print_lateness(&self) {
        for rounds in &self.servers {
            let tail = rounds.median(Measure::P999Us).or(rounds.median(Measure::CalmP999Us));
            if let Some((late, tail)) = rounds.median(Measure::LateP999Us).zip(tail)
                && late > tail * LATE_PART
            {
                println!(
                    "  the generator was late for {} ({late:.0} us at p99.9): not the server's tail",
                    rounds.server
                );
            }
        }
    }

    /// Where memkv is held against itself: the same ratio of the peers.
    fn peer_ratios(&self) -> Vec<(&str, f64)> {
        let own = self.targets.iter().filter_map(|t| match t.against {
            Against::Own(other) => Some((t.measure, other)),
            _ => None,
        });
        let ratio = |(measure, other): (Measure, Measure)| {
            let peers = self.servers.iter().filter(|s| s.family == Family::Redis);
            peers.filter_map(move |s| Some((s.server.as_str(), s.median(measure)? / s.median(other)?)))
        };
        own.flat_map(ratio).collect()
    }

    fn json(&self) -> Value {
        let reading = |reading: &Reading| {
            let named = reading.iter().map(|(measure, value)| (measure.describe().1.to_owned(), json!(value)));
            Value::Object(named.collect())
        };
        let of = |s: &Rounds| (s.server.clone(), Value::Array(s.readings.iter().map(reading).collect()));
        let verdicts = self.verdicts().into_iter();
        let verdicts: Vec<Value> =
            verdicts.map(|v| json!({"text": v.text, "value": v.value, "reached": v.reached})).collect();
        let rounds: serde_json::Map<String, Value> = self.servers.iter().map(of).collect();
        json!({"name": self.name, "rounds": rounds, "targets": verdicts})
    }
}

/// The whole run as one document.
pub fn document(rows: &[Row], specs: &[Spec], machine: &Value) -> Value {
    let server = |s: &Spec| (s.name.clone(), json!({"version": s.version(), "binary": s.binary}));
    let servers: serde_json::Map<String, Value> = specs.iter().map(server).collect();
    json!({"machine": machine, "servers": servers, "rows": rows.iter().map(Row::json).collect::<Vec<_>>()})
}

/// CPU time is brought up to date once a scheduler tick, up to 10 ms: readings shorter than this err by several percent.
const BRIEF: Duration = Duration::from_millis(100);

/// Above this share of its core the generator is the limit.
const SATURATED_PERCENT: f64 = 95.0;

/// A generator that was late by more than this part of the latency explains too much of it.
const LATE_PART: f64 = 0.25;

#[cfg(test)]
#[allow(unused)] // A bench without a test runner sees them too.
mod tests {
    use super::*;

    fn row(targets: &[Target]) -> Row {
        let servers = [("memkv", Family::Memkv), ("8.2", Family::Redis), ("valkey", Family::Redis)]
            .into_iter()
            .chain([("memcached", Family::Memcached), ("null", Family::Null)])
            .map(|(name, family)| Rounds { server: name.into(), family, readings: Vec::new() })
            .collect();
        let mut row = Row { name: "work".into(), servers, targets: targets.to_vec(), shortest: None };
        for (server, rounds) in [
            ("memkv", [0.4, 0.5, 9.0]),
            ("8.2", [1.5, 2.0, 1.6]),
            ("valkey", [1.0, 1.25, 1.3]),
            ("memcached", [0.1, 0.1, 0.1]),
            ("null", [0.25, 0.25, 0.2]),
        ] {
            rounds
                .into_iter()
                .for_each(|cpu| row.push(server, vec![(Measure::CpuUs, cpu), (Measure::RateK, 1.0 / cpu)]));
        }
        row
    }

    fn value(against: Against, bound: Bound, measure: Measure) -> (f64, bool) {
        let verdicts = row(&[Target { measure, against, bound }]).verdicts();
        (verdicts[0].value, verdicts[0].reached)
    }

    #[test]
    fn medians_are_compared_with_the_better_peer_and_with_null() {
        let cpu = Measure::CpuUs;
        assert_eq!(value(Against::BetterPeer, Bound::AtMost(0.4), cpu), (0.5 / 1.25, true));
        assert_eq!(value(Against::BetterPeer, Bound::AtMost(0.38), cpu), (0.5 / 1.25, false));
        assert_eq!(value(Against::Peer("8.2"), Bound::AtMost(0.38), cpu), (0.5 / 1.6, true));
        assert_eq!(value(Against::Null, Bound::AtMost(1.8), cpu), (2.0, false));
        assert_eq!(value(Against::Nothing, Bound::AtMost(0.6), cpu), (0.5, true));
    }

    #[test]
    fn the_better_peer_of_a_throughput_is_the_faster_one() {
        let (ratio, reached) = value(Against::BetterPeer, Bound::AtLeast(2.0), Measure::RateK);
        assert!((ratio - 2.0 / 0.8).abs() < 1e-9 && reached);
    }

    #[test]
    fn what_was_not_measured_has_no_verdict() {
        let target = Target { measure: Measure::UsedBytes, against: Against::BetterPeer, bound: Bound::AtMost(1.0) };
        assert_eq!(row(&[target]).verdicts(), []);
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
