//! Pauses: does anything stop others that they did not ask for? A light open-loop stream of reads and writes goes on while
//! a table grows by millions of keys, while a million keys end in the same millisecond, and while a million fields of one
//! hash do. The worst latency of the stream before and meanwhile tells; a machine that is not quiet shows in both, and in
//! how late the generator itself was.

use crate::compare::{Plan, fill};
use crate::keys::Keys;
use crate::open::{self, Measured, Stage};
use crate::peers::{Family, Server};
use crate::presets::{Fill, scaled};
use crate::report::{Measure, Reading, Row};
use crate::request::{Dialect, Pool, Recipe};
use crate::tail::CALM;
use std::io;
use std::time::{Duration, Instant};

pub fn run(plan: &Plan) -> io::Result<Vec<Row>> {
    let (grown, due) = (scaled(20_000_000, plan.scale), scaled(1_000_000, plan.scale));
    let mut rows = Vec::new();
    for (name, background) in [
        (format!("stream beside the growth to {grown} keys"), Background::Growth(grown)),
        (format!("stream while {due} keys end at once"), Background::Due("SET due:{key} {value} PXAT", "", due)),
        (
            format!("stream while {due} fields of one hash end at once"),
            Background::Due("HSETEX due PXAT", "FIELDS 1 f:{key} {value}", due),
        ),
    ] {
        if plan.wants(&name) {
            rows.push(row(plan, &name, &background)?);
        }
    }
    Ok(rows)
}

enum Background {
    /// So many keys more, as fast as one deeply pipelined connection brings them.
    Growth(u64),
    /// The words before and behind the time at which everything ends, and how often they are said.
    Due(&'static str, &'static str, u64),
}

fn row(plan: &Plan, name: &str, background: &Background) -> io::Result<Row> {
    let mut row = Row::new(name, &plan.specs, &[]);
    let recipe =
        Recipe::new(&[(0.5, "GET key:{key}"), (0.5, "SET key:{key} {value}")], Keys::uniform(STREAM_KEYS), SMALL)
            .map_err(io::Error::other)?;
    let pool = Pool::build(&recipe, Dialect::Resp, STREAM_KEYS, 1);
    for _ in 0..plan.rounds.min(ROUNDS_MAX) {
        for spec in plan.specs.iter().filter(|s| !matches!(s.family, Family::Memcached | Family::Null)) {
            if matches!(background, Background::Due(line, ..) if line.starts_with("HSETEX")) && spec.name == OLD {
                continue; // Fields do not expire there.
            }
            let server = Server::start(spec, &plan.place, &[("appendonly", "no")])?;
            fill(&server, &Fill::new("SET key:{key} {value}", STREAM_KEYS))?;
            row.push(&spec.name, beside(&server, &pool, background)?);
            server.stop();
        }
    }
    row.print();
    Ok(row)
}

fn beside(server: &Server, pool: &Pool, background: &Background) -> io::Result<Reading> {
    let due_at = match background {
        Background::Growth(_) => None,
        Background::Due(before, behind, count) => {
            let patience = Duration::from_secs_f64((*count as f64 / FILL_PER_SECOND).max(1.0)) + CALM_TIME + WARM_UP;
            let at = Instant::now() + patience;
            let at_ms = memkv::clock::now_ms() + patience.as_millis() as i64;
            fill(server, &Fill { value_bytes: SMALL, ..Fill::new(&format!("{before} {at_ms} {behind}"), *count) })?;
            Some(at)
        }
    };
    let load = open::Load { port: server.port, pool, kinds: 2, connections: CONNECTIONS, rate: RATE };
    let (measured, seconds) = open::directed(&load, STAGES, |stage| direct(server, stage, background, due_at))?;
    Ok(reading(&measured, seconds))
}

/// Switches the stages; how long the busy one took.
fn direct(server: &Server, stage: &Stage, background: &Background, due_at: Option<Instant>) -> io::Result<f64> {
    let left = || due_at.map(|at| at.saturating_duration_since(Instant::now()));
    if left().is_some_and(|left| left < CALM_TIME) {
        return Err(io::Error::other(format!("{}: the fill took too long", server.spec.name)));
    }
    std::thread::sleep(left().map_or(WARM_UP, |left| left - CALM_TIME));
    stage.next();
    std::thread::sleep(left().unwrap_or(CALM_TIME).saturating_sub(LEAD));
    stage.next();
    let began = Instant::now();
    match background {
        Background::Growth(count) => {
            fill(server, &Fill { value_bytes: SMALL, ..Fill::new("SET new:{key} {value}", *count) })?
        }
        Background::Due(..) => std::thread::sleep(AFTER),
    }
    Ok(began.elapsed().as_secs_f64())
}

fn reading(measured: &Measured, seconds: f64) -> Reading {
    let (calm, busy) = (measured.latencies.all(CALM), measured.latencies.all(BUSY));
    let us = |ns: u64| ns as f64 / 1000.0;
    vec![
        (Measure::BusyMaxUs, us(busy.max())),
        (Measure::CalmMaxUs, us(calm.max())),
        (Measure::BusyP999Us, us(busy.value_at_quantile(0.999))),
        (Measure::CalmP999Us, us(calm.value_at_quantile(0.999))),
        (Measure::LateMaxUs, us(measured.late.max())),
        (Measure::Seconds, seconds),
    ]
}

/// Stages of a run, behind the warm-up and [`CALM`].
const BUSY: usize = 2;
const STAGES: usize = 3;
/// Requests a second: few enough that they never wait for each other.
const RATE: f64 = 5000.0;
const CONNECTIONS: usize = 8;
const STREAM_KEYS: u64 = 100_000;
const SMALL: usize = 16;
const WARM_UP: Duration = Duration::from_secs(1);
const CALM_TIME: Duration = Duration::from_secs(3);
/// The busy stage begins a little before the moment and ends well behind it.
const LEAD: Duration = Duration::from_millis(50);
const AFTER: Duration = Duration::from_secs(3);
/// The slowest server is filled faster.
const FILL_PER_SECOND: f64 = 100_000.0;
const ROUNDS_MAX: usize = 3;
/// The peer that knows no expiring fields.
const OLD: &str = "7.0";
