//! Latency and counters: the server explains itself from here.
//!
//! `Observatory` holds one `WorkerStats` per thread that serves (or otherwise counts), and what is read from them:
//! rates, windows of service time, totals since start or RESETSTAT. Beside them the error statistics, the slow log and
//! the latency monitor, which are rare events behind a lock.
//! How: threads only add to their own ever-growing cells, without locked instructions; everything else is a difference
//! between two readings, taken when they are asked for. So recording costs a few nanoseconds whatever is shown, and no reset
//! or window ever touches a worker. Invariants: a `WorkerStats` has one writer; a command is a number below the
//! length of the table of names given at start. Not here: I/O, gauges (connected clients, memory), OpenMetrics.
//!
//! `counter` cells and the table of INFO stats · `histogram` · `hotkeys` HOTKEYS · `worker` · `window` · `rates` · `errors` · `slowlog` ·
//! `monitor` LATENCY LATEST and friends · `report` the texts.

mod counter;
mod errors;
mod histogram;
mod hotkeys;
mod latency_monitor;
mod rates;
mod report;
mod slowlog;
mod window;
mod worker;

pub use counter::{Counter, Counters, Counts};
pub use errors::ErrorStats;
pub use histogram::{Histogram, Snapshot};
pub use hotkeys::{Costs, Hotkeys, Hottest, Session, Totals, Wanted};
pub use latency_monitor::{DoctorContext, LatencyMonitor, Latest, Sample};
pub use rates::Rates;
pub use report::{CommandReport, LatencyReport, WindowReport, commandstats_text, errorstats_text, latencystats_text};
pub use slowlog::{Slowlog, SlowlogEntry};
pub use worker::{BAND_BOUNDS_MS, CAUSES, Cause, CommandTotals, ServiceTime, ServiceTotals, WorkerStats};

use crate::clock::Millis;
use parking_lot::Mutex;
use rates::Sampler;
use std::collections::BTreeMap;
use std::sync::Arc;
use window::{ByCommand, Interval, Remembered, Windows};

/// All statistics of the server.
pub struct Observatory {
    pub errors: ErrorStats,
    pub slowlog: Slowlog,
    pub large_requests: Slowlog,
    pub large_replies: Slowlog,
    pub monitor: LatencyMonitor,
    pub hotkeys: Hotkeys,
    names: Vec<String>,
    workers: Vec<Arc<WorkerStats>>,
    readings: Mutex<Readings>,
}

/// The service times that a history has read so far.
#[derive(Default)]
pub struct Seen(BTreeMap<usize, Remembered>);

struct Readings {
    windows: Windows,
    sampler: Sampler,
    baseline: Baseline,
}

/// What RESETSTAT subtracts.
#[derive(Default)]
struct Baseline {
    at_ms: Millis,
    counts: Counts,
    commands: BTreeMap<usize, CommandTotals>,
    services: ByCommand,
}

impl Observatory {
    /// For commands with these names, as commandstats prints them (`get`, `config|set`), numbered by their place, and
    /// this many threads that count. Times are wall-clock milliseconds throughout.
    pub fn new(names: Vec<String>, workers: usize, slowlog_max_len: usize, now_ms: Millis) -> Observatory {
        let commands = names.len();
        Observatory {
            errors: ErrorStats::default(),
            slowlog: Slowlog::new(slowlog_max_len),
            large_requests: Slowlog::new(0),
            large_replies: Slowlog::new(0),
            monitor: LatencyMonitor::default(),
            hotkeys: Hotkeys::default(),
            names,
            workers: (0..workers).map(|_| Arc::new(WorkerStats::new(commands))).collect(),
            readings: Mutex::new(Readings {
                windows: Windows::new(now_ms),
                sampler: Sampler::new(now_ms),
                baseline: Baseline { at_ms: now_ms, ..Baseline::default() },
            }),
        }
    }

    /// The statistics of one thread, which must be the only one to write them.
    pub fn worker(&self, index: usize) -> Arc<WorkerStats> {
        Arc::clone(&self.workers[index])
    }

    /// The same, borrowed.
    pub fn lent(&self, index: usize) -> &WorkerStats {
        &self.workers[index]
    }

    /// The workers that run a batch now, and for which client.
    pub fn served(&self) -> Vec<(usize, u64)> {
        self.workers.iter().enumerate().filter_map(|(thread, worker)| Some((thread, worker.serving()?))).collect()
    }

    /// Those of all threads, for reading.
    pub fn all(&self) -> impl Iterator<Item = &WorkerStats> {
        self.workers.iter().map(|worker| &**worker)
    }

    /// What INFO stats counts, since start whatever was reset.
    pub fn counts_since_start(&self) -> Counts {
        self.read_counts()
    }

    /// How long all commands took to execute, since start.
    pub fn exec_ns(&self) -> u64 {
        (0..self.names.len()).map(|command| self.read_command(command).exec_ns).sum()
    }

    /// Takes the samples that are due; call it about every 100 ms.
    pub fn tick(&self, now_ms: Millis) {
        let counts = self.read_counts();
        let mut readings = self.readings.lock();
        readings.sampler.sample(now_ms, &counts);
        readings.windows.tick(now_ms, &self.workers, self.names.len());
    }

    /// What INFO stats counts, since start or RESETSTAT.
    pub fn counts(&self) -> Counts {
        let baseline = self.readings.lock().baseline.counts;
        self.read_counts().since(&baseline)
    }

    pub fn rates(&self) -> Rates {
        self.readings.lock().sampler.rates()
    }

    /// Every command that was called, failed or was rejected since start or RESETSTAT, in the table's order.
    pub fn commands(&self) -> Vec<CommandReport> {
        let readings = self.readings.lock();
        let mut reports = Vec::new();
        for (command, name) in self.names.iter().enumerate() {
            let mut totals = self.read_command(command);
            if let Some(before) = readings.baseline.commands.get(&command) {
                totals = totals.since(before);
            }
            if totals.calls > 0 || totals.failed > 0 || totals.rejected > 0 {
                reports.push(CommandReport { name: name.clone(), totals });
            }
        }
        reports
    }

    /// Service times by window and command.
    pub fn latency(&self, now_ms: Millis) -> LatencyReport {
        let readings = self.readings.lock();
        let span_ms = now_ms.saturating_sub(readings.baseline.at_ms);
        let mut total = Interval { span_ms: u64::try_from(span_ms).unwrap_or(0), commands: self.read_services() };
        for (command, before) in &readings.baseline.services {
            if let Some(totals) = total.commands.get_mut(command) {
                *totals = totals.since(before);
            }
        }
        total.commands.retain(|_, totals| totals.count() > 0);
        let windows = readings.windows.read().into_iter().chain([("total", total)]);
        let windows = windows.map(|(name, interval)| self.window_report(name, interval)).collect();
        let loops = self.workers.iter().map(|worker| worker.turns()).filter(|turns| turns.count() > 0).collect();
        LatencyReport { windows, loops }
    }

    /// Service times by command since `seen` was last brought up to date, whatever was reset meanwhile; brings it up to
    /// date. Commands without any are left out.
    pub fn serviced(&self, seen: &mut Seen) -> Vec<(&str, ServiceTotals)> {
        let commands = window::advance(&mut seen.0, &self.workers, self.names.len());
        commands.into_iter().map(|(command, totals)| (self.names[command].as_str(), totals)).collect()
    }

    /// `latency-tracking`.
    pub fn set_latency_tracking(&self, on: bool) {
        self.workers.iter().for_each(|worker| worker.set_latency_tracking(on));
    }

    /// CONFIG RESETSTAT: counts, rates, commands, service times and errors begin anew. As in Redis, the slow log and
    /// the latency monitor have resets of their own.
    pub fn reset(&self, now_ms: Millis) {
        let mut readings = self.readings.lock();
        let counts = self.read_counts();
        let commands = (0..self.names.len()).map(|command| (command, self.read_command(command)));
        let services = self.read_services();
        readings.windows.restart(now_ms, &services);
        readings.sampler = Sampler::starting_at(now_ms, counts);
        readings.baseline = Baseline {
            at_ms: now_ms,
            // Save points compare this one with what it was when the last snapshot was cut: it only ever grows.
            counts: Counts { changes: 0, ..counts },
            commands: commands.filter(|(_, totals)| *totals != CommandTotals::default()).collect(),
            services,
        };
        self.errors.reset();
    }

    fn window_report(&self, name: &'static str, interval: Interval) -> WindowReport {
        let mut all = ServiceTotals::default();
        interval.commands.values().for_each(|totals| all.merge(totals));
        let commands = interval.commands.into_iter().map(|(command, totals)| (self.names[command].clone(), totals));
        WindowReport { name, span_ms: interval.span_ms, all, commands: commands.collect() }
    }

    fn read_counts(&self) -> Counts {
        let mut counts = Counts::default();
        self.workers.iter().for_each(|worker| counts.add(&worker.counters));
        counts
    }

    fn read_command(&self, command: usize) -> CommandTotals {
        let mut totals = CommandTotals::default();
        self.workers.iter().for_each(|worker| worker.merge_command(command, &mut totals));
        totals
    }

    fn read_services(&self) -> ByCommand {
        let all = (0..self.names.len()).map(|command| (command, window::read(&self.workers, command)));
        all.filter(|(_, totals)| totals.count() > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn observatory() -> Observatory {
        Observatory::new(vec!["get".into(), "set".into(), "config|set".into()], 2, 128, 0)
    }

    fn ms(total: u64) -> ServiceTime {
        let ns = total * 1_000_000;
        let mut by_cause_ns = [0; CAUSES.len()];
        by_cause_ns[Cause::Queue as usize] = ns - ns / 4;
        by_cause_ns[Cause::Execution as usize] = ns / 4;
        ServiceTime { total_ns: ns, by_cause_ns }
    }

    #[test]
    fn workers_are_summed_and_windows_move() {
        let stats = observatory();
        let (a, b) = (stats.worker(0), stats.worker(1));
        a.counters.commands_processed.add(3);
        b.counters.commands_processed.add(4);
        a.service(0, 10, &ms(2));
        b.service(0, 5, &ms(120));
        b.service(2, 1, &ms(0));
        stats.tick(1000);
        stats.tick(2000);
        assert_eq!(stats.counts().commands_processed, 7);
        let report = stats.latency(2000);
        let spans: Vec<_> = report.windows.iter().map(|w| (w.name, w.span_ms, w.all.count())).collect();
        assert_eq!(
            spans,
            [("1s", 1000, 0), ("10s", 2000, 16), ("1m", 2000, 16), ("5m", 2000, 16), ("total", 2000, 16)]
        );
        let total = report.total();
        assert_eq!((total.all.bands, total.all.tail_events()), ([1, 10, 0, 0, 0, 5], 5));
        assert_eq!(total.commands.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["get", "config|set"]);
        assert_eq!(total.all.histogram.max(), 120_000_000);
        assert_eq!(total.all.shares(), [0.75, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn resetstat_forgets_everything_but_keeps_counting() {
        let stats = observatory();
        let worker = stats.worker(1);
        let run = |exec_us: u64, total_ms: u64| {
            worker.call(1, exec_us * 1000);
            worker.service(1, 1, &ms(total_ms));
            worker.counters.keyspace_hits.add(1);
        };
        run(500, 200);
        worker.counters.changes.add(7);
        worker.failed(1);
        worker.rejected(0);
        stats.errors.record(b"-ERR x");
        stats.tick(1000);
        stats.reset(1500);
        assert!(stats.commands().is_empty() && stats.errors.counts().is_empty());
        assert_eq!(stats.counts(), Counts { changes: 7, ..Counts::default() }, "save points go by the changes");
        assert!(stats.latency(1500).windows.iter().all(|w| w.all.count() == 0 && w.commands.is_empty()));
        run(3, 1);
        stats.tick(2500);
        let commands = stats.commands();
        assert_eq!((commands.len(), commands[0].name.as_str(), commands[0].totals.calls), (1, "set", 1));
        assert_eq!((commands[0].totals.failed, commands[0].totals.exec_ns), (0, 3000));
        assert_eq!(commands[0].totals.exec.percentile(99.0), 3007);
        let report = stats.latency(2500);
        assert!(report.windows.iter().all(|w| w.all.count() == 1 && w.all.bands[1] == 1 && w.span_ms == 1000));
        // The maximum since the reset is known to its cell.
        assert!((1_000_000..1_008_000).contains(&report.total().all.histogram.max()));
        assert_eq!(stats.counts().keyspace_hits, 1);
    }

    #[test]
    fn latency_tracking_can_be_turned_off() {
        let stats = observatory();
        stats.set_latency_tracking(false);
        stats.worker(0).call(0, 1000);
        let commands = stats.commands();
        assert_eq!(
            (commands[0].totals.calls, commands[0].totals.exec_ns, commands[0].totals.exec.count()),
            (1, 1000, 0)
        );
        assert_eq!(latencystats_text(&commands, &[50.0]), "");
    }

    #[test]
    fn info_and_json_show_the_same_figures() {
        let stats = observatory();
        stats.worker(0).service(0, 99, &ms(2));
        stats.worker(0).service(2, 1, &ms(150));
        stats.tick(1000);
        let report = stats.latency(1000);
        let text = report.info_text();
        let line = |key: &str| text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':')).unwrap_or("absent");
        assert_eq!(line("latency_count"), "100");
        assert_eq!(line("p50_latency_us"), "2007.039");
        assert_eq!(line("p99_tail_events"), "1");
        assert_eq!(line("latency_windows"), "1s,10s,1m,5m,total");
        assert_eq!(
            line("latency_10s_get"),
            "count=99,mean=2000.000,p50=2000.000,p95=2000.000,p99=2000.000,p99.9=2000.000,max=2000.000,tail_events=0,\
             lt_1ms=0,lt_5ms=99,lt_10ms=0,lt_50ms=0,lt_100ms=0,ge_100ms=0,\
             queue=0.7500,lock=0.0000,execution=0.2500,journal=0.0000,write=0.0000,peer=0.0000,pause=0.0000"
        );
        assert!(line("latency_total").starts_with("span_ms=1000,count=100,"));
        let json = report.json();
        assert_eq!(json["p50_latency_us"], 2007.039);
        assert_eq!(json["p99_latency_us"], 2007.039);
        assert_eq!(json["max_latency_us"], 150_000.0);
        assert_eq!(json["p99_tail_events"], 1);
        assert_eq!(json["histogram"]["<5ms"], 99);
        assert_eq!(json["histogram"][">=100ms"], 1);
        assert_eq!(json["windows"]["1s"]["commands"]["config|set"]["count"], 1);
        assert_eq!(json["commands"]["get"]["causes"]["queue"], 0.75);
        let buckets: Vec<&String> = json["histogram"].as_object().unwrap().keys().collect();
        assert_eq!(buckets, ["<1ms", "<5ms", "<10ms", "<50ms", "<100ms", ">=100ms"], "in their order");
        assert_eq!(json["windows"]["5m"]["span_ms"], 1000);
    }

    #[test]
    fn readers_and_writers_do_not_disturb_each_other() {
        let stats = observatory();
        std::thread::scope(|scope| {
            for index in 0..2 {
                let worker = stats.worker(index);
                scope.spawn(move || {
                    for n in 0..100_000u64 {
                        worker.call(0, n);
                        worker.service(1, 2, &ServiceTime { total_ns: n * 100, ..ServiceTime::default() });
                    }
                });
            }
            for now in 1..60 {
                stats.tick(now * 1000);
                if now % 20 == 0 {
                    stats.reset(now * 1000);
                }
                assert!(stats.latency(now * 1000).total().all.count() <= 400_000);
                stats.commands();
            }
        });
        stats.reset(60_000);
        assert_eq!(stats.latency(60_000).total().all.count(), 0);
        assert_eq!(stats.read_services()[&1].count(), 400_000);
        assert_eq!(stats.read_command(0).calls, 200_000);
    }

    proptest! {
        #[test]
        fn bands_and_percentiles_agree_with_sorting(us in prop::collection::vec(0u64..400_000, 1..300)) {
            let stats = observatory();
            for (n, us) in us.iter().enumerate() {
                stats.worker(n % 2).service(n % 3, 1, &ServiceTime { total_ns: us * 1000, ..ServiceTime::default() });
            }
            let report = stats.latency(1);
            let all = &report.total().all;
            let below = |ms: u64| us.iter().filter(|us| **us < ms * 1000).count() as u64;
            let mut seen = 0;
            for (bound, count) in BAND_BOUNDS_MS.iter().zip(all.bands) {
                seen += count;
                prop_assert_eq!(seen, below(*bound));
            }
            prop_assert_eq!(all.tail_events(), us.len() as u64 - below(100));
            let mut sorted = us.clone();
            sorted.sort_unstable();
            for p in [50.0, 95.0, 99.0, 99.9] {
                let rank = ((p / 100.0 * us.len() as f64 + 0.5) as usize).max(1);
                let (exact, told) = (sorted[rank - 1] * 1000, all.histogram.percentile(p));
                prop_assert!(told >= exact && told - exact <= exact / 128 + 1);
            }
        }
    }
}
