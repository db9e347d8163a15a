//! Open-loop rows: latency against load, and the tail while a rewrite or a snapshot goes on.
//!
//! Capacity is a server's own, measured by a closed loop; the load is a part of it. A run of the tail has a calm stage
//! and a busy one, which lasts until INFO says that the rewrite is over; p99.9 of reads and of writes are told for both.
//! Whatever a server starts for its rewrite, a thread or a forked child, runs on the server's core too.

use crate::compare::{Plan, fill};
use crate::generator::{Load, Until, closed};
use crate::keys::Keys;
use crate::machine;
use crate::open::{self, Measured, Stage};
use crate::peers::{Family, Server, Spec};
use crate::presets::{EVERYSEC, Fill, scaled};
use crate::report::{Against, Bound, Measure, Row, Target};
use crate::request::{Dialect, Pool, Recipe};
use hdrhistogram::Histogram;
use std::io;
use std::time::Duration;

/// What goes on in the background of a busy stage.
struct Background {
    name: &'static str,
    command: &'static str,
    /// The INFO field that is 1 meanwhile.
    field: &'static str,
    directives: &'static [(&'static str, &'static str)],
}

const REWRITE: Background = Background {
    name: "BGREWRITEAOF",
    command: "BGREWRITEAOF",
    field: "aof_rewrite_in_progress",
    directives: EVERYSEC,
};
const SNAPSHOT: Background = Background {
    name: "BGSAVE",
    command: "BGSAVE",
    field: "rdb_bgsave_in_progress",
    directives: &[("appendonly", "no")],
};

fn is_comparable(spec: &&Spec) -> bool {
    matches!(spec.family, Family::Memkv | Family::Redis)
}

/// The tail of reads and writes at 60 % of capacity, without and during a rewrite and a snapshot of five million keys.
pub fn run(plan: &Plan) -> io::Result<Vec<Row>> {
    let keys = scaled(5_000_000, plan.scale);
    let mut rows = Vec::new();
    for background in [REWRITE, SNAPSHOT] {
        let name = format!("60 % load during {} of {keys}", background.name);
        if plan.wants(&name) {
            rows.push(tail(plan, &name, &background, keys)?);
        }
    }
    Ok(rows)
}

fn tail(plan: &Plan, name: &str, background: &Background, keys: u64) -> io::Result<Row> {
    let own = |measure, other| Target { measure, against: Against::Own(other), bound: Bound::AtMost(1.3) };
    let extra = Target { measure: Measure::ExtraPercent, against: Against::Nothing, bound: Bound::AtMost(10.0) };
    let targets =
        [own(Measure::BusyP999Us, Measure::CalmP999Us), own(Measure::BusyWriteP999Us, Measure::CalmWriteP999Us), extra];
    let mut row = Row::new(name, &plan.specs, &targets);
    let pool = mixed(keys)?;
    let specs: Vec<&Spec> = plan.specs.iter().filter(is_comparable).collect();
    let mut servers = Vec::new();
    for spec in specs {
        let before = machine::anonymous_kb();
        let server = Server::start(spec, &plan.place, background.directives)?;
        fill(&server, &Fill { value_bytes: SMALL, ..Fill::new(SET, keys) })?;
        let data_kb = machine::anonymous_kb().saturating_sub(before).max(1);
        let capacity = capacity(&server, &pool, plan)?;
        servers.push((server, data_kb, capacity));
    }
    for _ in 0..plan.rounds {
        for (server, data_kb, capacity) in &servers {
            let rate = capacity * LOAD;
            let load = open::Load { port: server.port, pool: &pool, kinds: 2, connections: CONNECTIONS, rate };
            let (measured, busy) = open::directed(&load, STAGES, |stage| direct(server, stage, background))?;
            let us = |histogram: &Histogram<u64>| histogram.value_at_quantile(0.999) as f64 / 1000.0;
            let latencies = &measured.latencies;
            row.push(
                &server.spec.name,
                vec![
                    (Measure::BusyP999Us, us(latencies.of(BUSY, READ))),
                    (Measure::CalmP999Us, us(latencies.of(CALM, READ))),
                    (Measure::BusyWriteP999Us, us(latencies.of(BUSY, WRITE))),
                    (Measure::CalmWriteP999Us, us(latencies.of(CALM, WRITE))),
                    (Measure::SaveSeconds, busy.seconds),
                    (Measure::ExtraPercent, busy.extra_kb as f64 / *data_kb as f64 * 100.0),
                    (Measure::RateK, rate / 1000.0),
                    (Measure::LateP999Us, us(&measured.late)),
                ],
            );
        }
    }
    row.print();
    Ok(row)
}

fn mixed(keys: u64) -> io::Result<Pool> {
    let lines = [(0.8, "GET key:{key}"), (0.2, SET)];
    let recipe = Recipe::new(&lines, Keys::uniform(keys), SMALL).map_err(io::Error::other)?;
    Ok(Pool::build(&recipe, Dialect::Resp, POOL_REQUESTS, 1))
}

/// Requests per second that a closed loop without pipelines gets.
fn capacity(server: &Server, pool: &Pool, plan: &Plan) -> io::Result<f64> {
    let load = Load {
        port: server.port,
        pid: Some(server.pid()),
        pool,
        connections: CONNECTIONS,
        pipeline: 1,
        warm_up: Until::Time(Duration::from_secs(1)),
        until: Until::Time(Duration::from_secs(2)),
    };
    Ok(closed(&load, plan.clock)?.rate())
}

/// How the busy stage went.
struct Busy {
    seconds: f64,
    /// Anonymous memory of the machine at its highest, above that before.
    extra_kb: u64,
}

/// Switches the stages: warm-up, calm, busy.
fn direct(server: &Server, stage: &Stage, background: &Background) -> io::Result<Busy> {
    std::thread::sleep(WARM_UP);
    stage.next();
    std::thread::sleep(CALM_TIME);
    let before = machine::anonymous_kb();
    let (began, mut highest) = (std::time::Instant::now(), before);
    stage.next();
    server.ask::<String>(background.command)?;
    let mut last_asked = std::time::Instant::now();
    loop {
        std::thread::sleep(LOOK);
        highest = highest.max(machine::anonymous_kb());
        if last_asked.elapsed() < ASK {
            continue;
        }
        last_asked = std::time::Instant::now();
        if server.info("persistence", background.field)? == "0" {
            return Ok(Busy { seconds: began.elapsed().as_secs_f64(), extra_kb: highest - before });
        }
    }
}

/// p99.9 of GET at rising parts of each server's capacity.
pub fn curve(plan: &Plan) -> io::Result<Vec<Row>> {
    let name = "GET, latency against load";
    if !plan.wants(name) {
        return Ok(Vec::new());
    }
    let mut row = Row::new(name, &plan.specs, &[]);
    let keys = 100_000;
    let recipe = Recipe::new(&[(1.0, "GET key:{key}")], Keys::uniform(keys), 64).map_err(io::Error::other)?;
    let pool = Pool::build(&recipe, Dialect::Resp, POOL_REQUESTS, 1);
    let mut servers = Vec::new();
    for spec in plan.specs.iter().filter(|spec| spec.family != Family::Memcached) {
        let server = Server::start(spec, &plan.place, &[("appendonly", "no")])?;
        fill(&server, &Fill::new(SET, keys))?;
        let capacity = capacity(&server, &pool, plan)?;
        servers.push((server, capacity));
    }
    for part in [0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95] {
        for (server, capacity) in &servers {
            let rate = part * capacity;
            let time = Duration::from_secs_f64((CURVE_SECONDS * plan.scale).max(1.0));
            let measured = steady(
                &open::Load { port: server.port, pool: &pool, kinds: 1, connections: CONNECTIONS, rate },
                WARM_UP,
                time,
            )?;
            let all = measured.latencies.all(CALM);
            let us = |quantile: f64| all.value_at_quantile(quantile) as f64 / 1000.0;
            row.push(
                &server.spec.name,
                vec![
                    (Measure::OfferedK, rate / 1000.0),
                    (Measure::RateK, measured.rate(CALM) / 1000.0),
                    (Measure::P50Us, us(0.5)),
                    (Measure::P99Us, us(0.99)),
                    (Measure::P999Us, us(0.999)),
                    (Measure::P9999Us, us(0.9999)),
                    (Measure::LateP999Us, measured.late.value_at_quantile(0.999) as f64 / 1000.0),
                ],
            );
        }
    }
    row.print();
    Ok(vec![row])
}

/// A warm-up and a calm stage of given lengths.
pub fn steady(load: &open::Load<'_>, warm_up: Duration, time: Duration) -> io::Result<Measured> {
    let direct = |stage: &Stage| {
        std::thread::sleep(warm_up);
        stage.next();
        std::thread::sleep(time);
        Ok(())
    };
    Ok(open::directed(load, CALM + 1, direct)?.0)
}

/// Stages of a run; the warm-up is stage 0.
pub const CALM: usize = 1;
const BUSY: usize = 2;
const STAGES: usize = 3;
/// Kinds of requests in the mixed pool.
const READ: usize = 0;
const WRITE: usize = 1;
const LOAD: f64 = 0.6;
const SET: &str = "SET key:{key} {value}";
const SMALL: usize = 16;
const CONNECTIONS: usize = 50;
const POOL_REQUESTS: u64 = 2_000_000;
const WARM_UP: Duration = Duration::from_secs(1);
const CALM_TIME: Duration = Duration::from_secs(5);
/// How often memory is looked at, and how often the server is asked: a question costs it microseconds that the tail shows.
const LOOK: Duration = Duration::from_millis(10);
const ASK: Duration = Duration::from_millis(100);
const CURVE_SECONDS: f64 = 5.0;
