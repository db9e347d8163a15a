//! Bytes per key and per member: what a server's memory grows by while data comes in, divided by how much came.
//!
//! Each server runs alone and empty. `used` is its own INFO field used_memory, `resident` what the kernel says.

use crate::compare::{Plan, fill};
use crate::peers::{Family, Server};
use crate::presets::{Fill, scaled};
use crate::report::{Against, Bound, Measure, Row, Target};
use std::io;
use std::time::Duration;

/// Data of which one thing is counted.
struct Shape {
    name: String,
    fill: Fill,
    /// Things that come with one request.
    each: u64,
    used_max: f64,
    resident_max: Option<f64>,
}

fn shapes(scale: f64) -> Vec<Shape> {
    let count = scaled(1_000_000, scale);
    let shape = |name: &str, line: &str, each: u64, value_bytes, used_max, resident_max| Shape {
        name: name.to_owned(),
        fill: Fill { value_bytes, ..Fill::new(line, count / each) },
        each,
        used_max,
        resident_max,
    };
    vec![
        shape("key and value of 16 B", "SET key:{key} {value}", 1, 16, 60.0, Some(66.0)),
        shape("value of 64 B with TTL", "SET key:{key} {value} EX 1000000", 1, 64, 134.0, Some(142.0)),
        shape("hash of 10 small fields", "HSET key:{key} [field{n} val{n}]*10", 1, 8, 130.0, None),
        shape("member of a large zset", "ZADD z [{key} key:{again}]*100", 100, 8, 72.0, None),
        shape("field of a large hash", "HSET h [key:{key} {value}]*100", 100, 8, 61.0, None),
        shape("member of a large set", "SADD s [key:{key}]*100", 100, 8, 36.0, None),
        shape("element of a large list", "RPUSH l [key:{key}]*100", 100, 8, 18.2, None),
        shape("entry of a stream, a field of 8 and 16 B", "XADD x * fieldone {value}", 1, 16, 34.0, None),
    ]
}

pub fn run(plan: &Plan) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for shape in shapes(plan.scale).into_iter().filter(|shape| plan.wants(&shape.name)) {
        let at_most = |measure, max| Target { measure, against: Against::Nothing, bound: Bound::AtMost(max) };
        let resident = shape.resident_max.map(|max| at_most(Measure::ResidentBytes, max));
        let targets: Vec<Target> = [at_most(Measure::UsedBytes, shape.used_max)].into_iter().chain(resident).collect();
        let mut row = Row::new(&format!("bytes: {}", shape.name), &plan.specs, &targets);
        for spec in plan.specs.iter().filter(|s| matches!(s.family, Family::Memkv | Family::Redis)) {
            let server = Server::start(spec, &plan.place, &[("appendonly", "no")])?;
            let before = sizes(&server)?;
            fill(&server, &shape.fill)?;
            let after = sizes(&server)?;
            let each = |bytes: u64| bytes as f64 / (shape.fill.count * shape.each) as f64;
            let (used, resident) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
            row.push(&spec.name, vec![(Measure::UsedBytes, each(used)), (Measure::ResidentBytes, each(resident))]);
        }
        row.print();
        rows.push(row);
    }
    Ok(rows)
}

/// used_memory and resident bytes, once tables have grown and the cron has counted.
fn sizes(server: &Server) -> io::Result<(u64, u64)> {
    std::thread::sleep(SETTLE);
    let used = server.info("memory", "used_memory")?.parse().map_err(io::Error::other)?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: u64 = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    Ok((used, kilobytes * 1024))
}

/// Redis finishes growing its tables in its cron.
const SETTLE: Duration = Duration::from_secs(1);
