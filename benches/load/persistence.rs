//! How long saving and loading take, without load: BGSAVE, start from a snapshot, start from a log.
//!
//! A start is from the process's beginning until PING is answered. Snapshots are each server's own, because their
//! versions differ; the log is one that all can read, written here.

use crate::compare::{Plan, fill};
use crate::peers::{Family, Server, Spec};
use crate::presets::{Fill, scaled};
use crate::report::{Against, Bound, Measure, Row, Target};
use crate::request::{Dialect, Recipe};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

fn savers(plan: &Plan) -> impl Iterator<Item = &Spec> {
    plan.specs.iter().filter(|spec| matches!(spec.family, Family::Memkv | Family::Redis))
}

fn against_8_2(measure: Measure, ratio: f64) -> [Target; 1] {
    [Target { measure, against: Against::Peer("8.2"), bound: Bound::AtMost(ratio) }]
}

/// Start-up from a log of a gigabyte, at scale 1.
pub fn start(plan: &Plan) -> io::Result<Vec<Row>> {
    let bytes = scaled(1 << 30, plan.scale);
    let name = format!("start from a log of {} MB", bytes >> 20);
    if !plan.wants(&name) {
        return Ok(Vec::new());
    }
    let mut row = Row::new(&name, &plan.specs, &against_8_2(Measure::Seconds, 0.5));
    let source = plan.place.scratch.join(format!("memkv-load-{}-log", std::process::id()));
    write_log(&source, bytes)?;
    for round in 0..=plan.rounds.min(ROUNDS_MAX) {
        for spec in savers(plan) {
            // Nothing is written to the log while it is loaded, so that all can start in one directory.
            let began = Instant::now();
            let server = Server::start_in(spec, &plan.place, &[("appendonly", "yes")], &source)?;
            let seconds = began.elapsed().as_secs_f64();
            server.stop();
            if round > 0 {
                row.push(&spec.name, vec![(Measure::Seconds, seconds)]);
            }
        }
    }
    fs::remove_dir_all(&source)?;
    row.print();
    Ok(vec![row])
}

/// A log of SETs in the form of Redis 7: a manifest and one increment.
fn write_log(dir: &Path, bytes: u64) -> io::Result<()> {
    let log = dir.join("appendonlydir");
    fs::create_dir_all(&log)?;
    fs::write(log.join("appendonly.aof.manifest"), "file appendonly.aof.1.incr.aof seq 1 type i\n")?;
    let fill = Fill::new("SET key:{key} {value}", 0);
    let recipe = Recipe::new(&[(1.0, &fill.line)], fill.keys, fill.value_bytes).map_err(io::Error::other)?;
    let mut file = BufWriter::new(File::create(log.join("appendonly.aof.1.incr.aof"))?);
    let (mut write, mut request, mut written) = (recipe.writer(Dialect::Resp), Vec::new(), 0);
    request.extend_from_slice(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n");
    while written < bytes {
        written += request.len() as u64;
        file.write_all(&request)?;
        request.clear();
        write(&mut request);
    }
    file.flush()
}

/// Saving and loading small keys and hashes.
pub fn save(plan: &Plan) -> io::Result<Vec<Row>> {
    let (keys, hashes) = (scaled(5_000_000, plan.scale), scaled(1_000_000, plan.scale));
    let small = Fill { value_bytes: 16, ..Fill::new("SET key:{key} {value}", keys) };
    let mut rows = Vec::new();
    for (name, fill) in [
        (format!("{keys} small keys"), small),
        (format!("{hashes} hashes of 10 fields"), Fill::new("HSET key:{key} [field{n} 0.123456]*10", hashes)),
    ] {
        if plan.wants(&format!("save {name}")) || plan.wants(&format!("load {name}")) {
            rows.extend(save_and_load(plan, &name, &fill)?);
        }
    }
    Ok(rows)
}

fn save_and_load(plan: &Plan, name: &str, data: &Fill) -> io::Result<[Row; 2]> {
    let mut saved = Row::new(&format!("save {name}"), &plan.specs, &against_8_2(Measure::SaveSeconds, 0.6));
    let mut loaded = Row::new(&format!("load {name}"), &plan.specs, &against_8_2(Measure::Seconds, 0.6));
    for spec in savers(plan) {
        let dir = plan.place.scratch.join(format!("memkv-load-{}-save", std::process::id()));
        let server = Server::start_in(spec, &plan.place, NO_LOG, &dir)?;
        fill(&server, data)?;
        for _ in 0..plan.rounds.min(ROUNDS_MAX) {
            let seconds = bgsave(&server)?;
            saved.push(&spec.name, vec![(Measure::SaveSeconds, seconds)]);
        }
        server.stop();
        for _ in 0..plan.rounds.min(ROUNDS_MAX) {
            let began = Instant::now();
            let server = Server::start_in(spec, &plan.place, NO_LOG, &dir)?;
            loaded.push(&spec.name, vec![(Measure::Seconds, began.elapsed().as_secs_f64())]);
            let keys: u64 = server.ask("DBSIZE")?;
            if keys != data.count {
                return Err(io::Error::other(format!("{} loaded {keys} of {} keys", spec.name, data.count)));
            }
        }
        fs::remove_dir_all(&dir)?;
    }
    saved.print();
    loaded.print();
    Ok([saved, loaded])
}

/// Seconds from the command until INFO says that it is over.
fn bgsave(server: &Server) -> io::Result<f64> {
    let began = Instant::now();
    server.ask::<String>("BGSAVE")?;
    while server.info("persistence", "rdb_bgsave_in_progress")? == "1" {
        std::thread::sleep(LOOK);
    }
    match server.info("persistence", "rdb_last_bgsave_status")?.as_str() {
        "ok" => Ok(began.elapsed().as_secs_f64()),
        status => Err(io::Error::other(format!("BGSAVE of {}: {status}", server.spec.name))),
    }
}

const NO_LOG: &[(&str, &str)] = &[("appendonly", "no"), ("dbfilename", "dump.rdb")];
/// Saving is slow and steady: more rounds would tell nothing.
const ROUNDS_MAX: usize = 3;
const LOOK: Duration = Duration::from_millis(5);
