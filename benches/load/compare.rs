//! Interleaved rounds: every kind of work on every server in turn, so that a noisy neighbour hits them alike.
//!
//! All servers of a suite run at the same time, on the server's core, one of them working. The first round warms up and
//! does not count.

use crate::cpu::Clock;
use crate::generator::{Load, Measured, Until, closed};
use crate::peers::{Family, Place, Server, Spec};
use crate::presets::{Fill, NO_AOF, Suite, Work, scaled};
use crate::report::{Measure, Reading, Row};
use crate::request::{Dialect, Pool, Recipe};
use std::io;

/// What all kinds of comparison are told.
pub struct Plan {
    pub specs: Vec<Spec>,
    pub place: Place,
    pub generator_core: usize,
    pub clock: Clock,
    pub rounds: usize,
    pub scale: f64,
    /// Only rows whose name contains this.
    pub only: String,
}

impl Plan {
    pub fn wants(&self, name: &str) -> bool {
        name.to_lowercase().contains(&self.only.to_lowercase())
    }
}

pub fn run(suite: Suite, plan: &Plan) -> io::Result<Vec<Row>> {
    let works: Vec<Work> = suite.works.into_iter().filter(|work| plan.wants(&work.name)).collect();
    if works.is_empty() {
        return Ok(Vec::new());
    }
    eprintln!("{}: {} kinds of work, {} rounds", suite.name, works.len(), plan.rounds);
    let mut servers = Vec::new();
    // Where directives are the point, who has none of them has no place, but for the limit.
    let is_plain = suite.directives == NO_AOF;
    for spec in plan.specs.iter().filter(|spec| is_plain || spec.family != Family::Memcached) {
        let server = Server::start(spec, &plan.place, suite.directives)?;
        suite.fill.iter().try_for_each(|one| fill(&server, one))?;
        servers.push(server);
    }
    let asked = works.iter().map(|work| Asked::new(work, plan)).collect::<io::Result<Vec<_>>>()?;
    let mut rows: Vec<Row> = works.iter().map(|work| Row::new(&work.name, &plan.specs, &work.targets)).collect();
    for round in 0..=plan.rounds {
        for ((work, asked), row) in works.iter().zip(&asked).zip(&mut rows) {
            for server in &servers {
                let Some(pool) = asked.pool(server.spec.dialect()) else { continue };
                work.prepare.iter().try_for_each(|one| fill(server, one))?;
                let measured = measure(server, work, pool, plan)?;
                if round > 0 {
                    row.push(&server.spec.name, reading(&measured));
                    row.took(&server.spec, measured.elapsed);
                }
            }
        }
    }
    rows.iter().for_each(Row::print);
    Ok(rows)
}

/// Brings data in, where the server knows the words.
pub fn fill(server: &Server, fill: &Fill) -> io::Result<()> {
    let lines = [(1.0, fill.line.as_str())];
    let recipe = Recipe::new(&lines, fill.keys.clone(), fill.value_bytes).map_err(io::Error::other)?;
    if recipe.speaks(server.spec.dialect()) { server.fill(&recipe, fill.count) } else { Ok(()) }
}

/// The ready-made requests of a kind of work, in each dialect that has words for it.
struct Asked(Vec<Pool>);

impl Asked {
    fn new(work: &Work, plan: &Plan) -> io::Result<Self> {
        let recipe = Recipe::new(&work.lines, work.keys.clone(), work.value_bytes).map_err(io::Error::other)?;
        let spoken =
            |dialect: &Dialect| recipe.speaks(*dialect) && plan.specs.iter().any(|spec| spec.dialect() == *dialect);
        let wanted = scaled(work.requests, plan.scale).max((work.pipeline * work.connections) as u64);
        let build = |dialect| Pool::build(&recipe, dialect, wanted, work.pipeline);
        Ok(Self([Dialect::Resp, Dialect::Memcached].into_iter().filter(spoken).map(build).collect()))
    }

    fn pool(&self, dialect: Dialect) -> Option<&Pool> {
        self.0.iter().find(|pool| pool.dialect == dialect)
    }
}

fn measure(server: &Server, work: &Work, pool: &Pool, plan: &Plan) -> io::Result<Measured> {
    let requests = scaled(work.requests, plan.scale);
    let load = Load {
        port: server.port,
        pid: Some(server.pid()),
        pool,
        connections: work.connections,
        pipeline: work.pipeline,
        warm_up: Until::Replies(requests / WARM_UP_PART),
        until: Until::Replies(requests),
    };
    closed(&load, plan.clock)
        .map_err(|e| io::Error::new(e.kind(), format!("{} with {}: {e}", work.name, server.spec.name)))
}

/// A closed loop's figures.
pub fn reading(measured: &Measured) -> Reading {
    let us = |quantile: f64| measured.latency.value_at_quantile(quantile) as f64 / 1000.0;
    let cpu = measured.server_ns_per_reply().map(|ns| (Measure::CpuUs, ns / 1000.0));
    let share = measured.server_share().map(|share| (Measure::ServerPercent, share * 100.0));
    let others = [
        (Measure::RateK, measured.rate() / 1000.0),
        (Measure::P50Us, us(0.5)),
        (Measure::P99Us, us(0.99)),
        (Measure::P999Us, us(0.999)),
        (Measure::P9999Us, us(0.9999)),
        (Measure::GeneratorPercent, measured.generator_share() * 100.0),
    ];
    cpu.into_iter().chain(others).chain(share).collect()
}

/// A tenth of the requests go before the clock starts.
const WARM_UP_PART: u64 = 10;
