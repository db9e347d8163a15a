//! What was measured, as text: INFO's latency, commandstats, latencystats and errorstats lines, and LATENCY JSON.
//!
//! The three sections Redis has are its own, byte for byte; `latency` and the JSON object are ours and show the same
//! numbers as each other. Times are microseconds with three decimals. The buckets are disjoint: `<5ms` counts from
//! 1 ms up to below 5 ms, so that they add up to the count. Shares are parts of one of all service time.
//! Lines end in CRLF and carry no section header; callers put that. Not here: OpenMetrics, which reads the same data.

use super::histogram::Snapshot;
use super::worker::{BAND_BOUNDS_MS, CAUSES, CommandTotals, ServiceTotals};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// Service times of the last second, 10 seconds, minute, 5 minutes (up to a sixth more, see `window`), and since
/// start or RESETSTAT, in this order.
#[derive(Clone, Debug)]
pub struct LatencyReport {
    pub windows: Vec<WindowReport>,
    /// How long the turns of each worker's loop took, since start: what a request may have to wait behind others.
    pub loops: Vec<Snapshot>,
}

#[derive(Clone, Debug)]
pub struct WindowReport {
    /// `1s`, `10s`, `1m`, `5m` or `total`.
    pub name: &'static str,
    /// The time it really covers.
    pub span_ms: u64,
    pub all: ServiceTotals,
    /// Commands serviced in it, by name as in commandstats (`config|get`), in the order of the command table.
    pub commands: Vec<(String, ServiceTotals)>,
}

/// Executions of one command since start or RESETSTAT.
#[derive(Clone, Debug)]
pub struct CommandReport {
    pub name: String,
    pub totals: CommandTotals,
}

impl LatencyReport {
    /// Everything since start or RESETSTAT.
    pub fn total(&self) -> &WindowReport {
        self.windows.last().expect("a report always has the window `total`")
    }

    /// The lines of `INFO latency`: the figures since start one by one, then a line per window, then one per window
    /// and command.
    pub fn info_text(&self) -> String {
        let mut text = String::new();
        let total = &self.total().all;
        for (key, value) in headline(total) {
            push_line(&mut text, format_args!("{key}:{value}"));
        }
        let names: Vec<&str> = self.windows.iter().map(|window| window.name).collect();
        push_line(&mut text, format_args!("latency_windows:{}", names.join(",")));
        for window in &self.windows {
            push_line(
                &mut text,
                format_args!("latency_{}:span_ms={},{}", window.name, window.span_ms, info_fields(&window.all)),
            );
        }
        for window in &self.windows {
            for (command, totals) in &window.commands {
                let name = safe(command.as_bytes());
                push_line(&mut text, format_args!("latency_{}_{name}:{}", window.name, info_fields(totals)));
            }
        }
        for (worker, turns) in self.loops.iter().enumerate() {
            let at = |p| us(turns.bounded_percentile(p));
            let (count, max) = (turns.count(), us(turns.max()));
            let line = format_args!(
                "worker{worker}_loop:turns={count},p50={},p99={},p99.9={},max={max}",
                at(50.0),
                at(99.0),
                at(99.9)
            );
            push_line(&mut text, line);
        }
        text
    }

    /// The object of `LATENCY JSON`: the figures since start at the top, `windows` below, each with its `commands`.
    pub fn json(&self) -> Value {
        let mut top = json_fields(&self.total().all);
        top.insert("commands".into(), json_commands(self.total()));
        let mut windows = Map::new();
        for window in &self.windows {
            let mut object = json_fields(&window.all);
            object.insert("span_ms".into(), window.span_ms.into());
            object.insert("commands".into(), json_commands(window));
            windows.insert(window.name.into(), object.into());
        }
        top.insert("windows".into(), windows.into());
        let loops = self.loops.iter().map(|turns| {
            let Figures { p50, p99, p99_9, max, .. } = Figures::of(turns);
            json!({"turns": turns.count(), "p50_us": p50, "p99_us": p99, "p99_9_us": p99_9, "max_us": max})
        });
        top.insert("workers".into(), loops.collect());
        top.into()
    }
}

/// The lines of `INFO commandstats`.
pub fn commandstats_text(commands: &[CommandReport]) -> String {
    let mut text = String::new();
    for CommandReport { name, totals } in commands {
        let usec = totals.exec_ns / 1000;
        // Redis divides in single precision, and its last digit shows it.
        let per_call = if totals.calls == 0 { 0.0 } else { usec as f32 / totals.calls as f32 };
        push_line(
            &mut text,
            format_args!(
                "cmdstat_{}:calls={},usec={usec},usec_per_call={per_call:.2},rejected_calls={},failed_calls={}",
                safe(name.as_bytes()),
                totals.calls,
                totals.rejected,
                totals.failed
            ),
        );
    }
    text
}

/// The lines of `INFO latencystats`, for the percentiles of `latency-tracking-info-percentiles`.
pub fn latencystats_text(commands: &[CommandReport], percentiles: &[f64]) -> String {
    let mut text = String::new();
    for CommandReport { name, totals } in commands.iter().filter(|command| command.totals.exec.count() > 0) {
        let fields: Vec<String> = percentiles
            .iter()
            .map(|p| format!("p{}={}", percentile_name(*p), us(totals.exec.percentile(*p))))
            .collect();
        push_line(&mut text, format_args!("latency_percentiles_usec_{}:{}", safe(name.as_bytes()), fields.join(",")));
    }
    text
}

/// The lines of `INFO errorstats`.
pub fn errorstats_text(counts: &[(Vec<u8>, u64)]) -> String {
    let mut text = String::new();
    for (kind, count) in counts {
        push_line(&mut text, format_args!("errorstat_{}:count={count}", safe(kind)));
    }
    text
}

/// The keys that stand for the whole in both texts.
fn headline(totals: &ServiceTotals) -> [(&'static str, String); 8] {
    let percentile = |p| us(totals.histogram.bounded_percentile(p));
    [
        ("latency_count", totals.count().to_string()),
        ("mean_latency_us", us(totals.histogram.mean())),
        ("p50_latency_us", percentile(50.0)),
        ("p95_latency_us", percentile(95.0)),
        ("p99_latency_us", percentile(99.0)),
        ("p99_9_latency_us", percentile(99.9)),
        ("max_latency_us", us(totals.histogram.max())),
        ("p99_tail_events", totals.tail_events().to_string()),
    ]
}

fn info_fields(totals: &ServiceTotals) -> String {
    let mut text = format!("count={},mean={}", totals.count(), us(totals.histogram.mean()));
    for p in [50.0, 95.0, 99.0, 99.9] {
        let _ = write!(text, ",p{}={}", percentile_name(p), us(totals.histogram.bounded_percentile(p)));
    }
    let _ = write!(text, ",max={},tail_events={}", us(totals.histogram.max()), totals.tail_events());
    for (ms, count) in BAND_BOUNDS_MS.iter().zip(totals.bands) {
        let _ = write!(text, ",lt_{ms}ms={count}");
    }
    let _ = write!(text, ",ge_100ms={}", totals.tail_events());
    for (cause, share) in causes(totals) {
        let _ = write!(text, ",{cause}={share:.4}");
    }
    text
}

fn json_fields(totals: &ServiceTotals) -> Map<String, Value> {
    let Figures { mean, p50, p95, p99, p99_9, max } = Figures::of(&totals.histogram);
    let mut histogram = Map::new();
    for (ms, count) in BAND_BOUNDS_MS.iter().zip(totals.bands) {
        histogram.insert(format!("<{ms}ms"), count.into());
    }
    histogram.insert(">=100ms".into(), totals.tail_events().into());
    let causes: Map<String, Value> =
        causes(totals).map(|(cause, share)| (cause.to_owned(), ((share * 1e4).round() / 1e4).into())).collect();
    let object = json!({
        "count": totals.count(),
        "mean_latency_us": mean,
        "p50_latency_us": p50,
        "p95_latency_us": p95,
        "p99_latency_us": p99,
        "p99_9_latency_us": p99_9,
        "max_latency_us": max,
        "p99_tail_events": totals.tail_events(),
        "histogram": histogram,
        "causes": causes,
    });
    match object {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The figures of one histogram in microseconds.
struct Figures {
    mean: f64,
    p50: f64,
    p95: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
}

impl Figures {
    fn of(histogram: &Snapshot) -> Figures {
        let us = |ns: u64| ns as f64 / 1000.0;
        let percentile = |p| us(histogram.bounded_percentile(p));
        Figures {
            mean: us(histogram.mean()),
            p50: percentile(50.0),
            p95: percentile(95.0),
            p99: percentile(99.0),
            p99_9: percentile(99.9),
            max: us(histogram.max()),
        }
    }
}

fn json_commands(window: &WindowReport) -> Value {
    let commands = window.commands.iter();
    Value::Object(commands.map(|(name, totals)| (name.clone(), json_fields(totals).into())).collect())
}

fn causes(totals: &ServiceTotals) -> impl Iterator<Item = (&'static str, f64)> {
    CAUSES.into_iter().zip(totals.shares())
}

fn us(ns: u64) -> String {
    format!("{:.3}", ns as f64 / 1000.0)
}

/// `50`, `99.9`: as configured, at most six decimals, no trailing zeros.
fn percentile_name(percentile: f64) -> String {
    format!("{percentile:.6}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A name within an INFO line: bytes that would break the line's grammar become `_`.
fn safe(name: &[u8]) -> String {
    let bytes = name.iter().map(|b| if matches!(b, b'#' | b':' | b'\n' | b'\r') { b'_' } else { *b });
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}

fn push_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = write!(text, "{line}\r\n");
}

#[cfg(test)]
mod tests {
    use super::super::histogram::Histogram;
    use super::*;

    fn totals(values_us: &[u64]) -> CommandTotals {
        let histogram = Histogram::new();
        values_us.iter().for_each(|us| histogram.record(us * 1000));
        let mut totals = CommandTotals { calls: values_us.len() as u64, ..CommandTotals::default() };
        totals.exec_ns = values_us.iter().sum::<u64>() * 1000;
        histogram.merge_into(&mut totals.exec);
        totals
    }

    #[test]
    fn redis_sections_read_as_a_real_server_printed_them() {
        // Three DEBUG SLEEPs, a SET and an unknown subcommand on 7.0.15.
        let debug = CommandReport { name: "debug".into(), totals: totals(&[20_100, 10_100, 1_200_200]) };
        let set = CommandReport { name: "set".into(), totals: totals(&[1, 1, 2]) };
        let graph = CommandReport {
            name: "latency|graph".into(),
            totals: CommandTotals { failed: 1, rejected: 2, ..totals(&[]) },
        };
        let commands = [debug, set, graph];
        assert_eq!(
            commandstats_text(&commands),
            "cmdstat_debug:calls=3,usec=1230400,usec_per_call=410133.34,rejected_calls=0,failed_calls=0\r\n\
             cmdstat_set:calls=3,usec=4,usec_per_call=1.33,rejected_calls=0,failed_calls=0\r\n\
             cmdstat_latency|graph:calls=0,usec=0,usec_per_call=0.00,rejected_calls=2,failed_calls=1\r\n"
        );
        assert_eq!(
            latencystats_text(&commands[..2], &[50.0, 99.0, 99.9]),
            "latency_percentiles_usec_debug:p50=20185.087,p99=1207959.551,p99.9=1207959.551\r\n\
             latency_percentiles_usec_set:p50=1.003,p99=2.007,p99.9=2.007\r\n"
        );
        assert_eq!(latencystats_text(&commands[1..2], &[]), "latency_percentiles_usec_set:\r\n");
        assert!(
            latencystats_text(&commands[1..2], &[0.0, 100.0, 99.999])
                .ends_with(":p0=1.000,p100=2.007,p99.999=2.007\r\n")
        );
        assert_eq!(errorstats_text(&[(b"a:b#c\n".to_vec(), 3)]), "errorstat_a_b_c_:count=3\r\n");
    }
}
