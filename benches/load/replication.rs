//! Replication: what two replicas cost a primary under write load, how long a full sync takes and what its tail is
//! meanwhile, and how fast a replica applies what comes.
//!
//! The replicas are of the primary's own kind and run on the generator's core, which they share with it: the CPU per
//! command of the primary is its own all the same. The last row's primary is this program: it answers the handshake, gives
//! an empty snapshot, and sends SETs as fast as they are taken.

use crate::compare::{Plan, fill, reading};
use crate::generator::{Load, Until, closed};
use crate::keys::Keys;
use crate::machine;
use crate::open::{self, Stage};
use crate::peers::{Family, Place, Server, Spec};
use crate::presets::{Fill, NO_AOF, scaled};
use crate::report::{Against, Bound, Measure, Reading, Row, Target};
use crate::request::{Dialect, Pool, Recipe};
use crate::tail::CALM;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

pub fn run(plan: &Plan) -> io::Result<Vec<Row>> {
    let (keys, commands) = (scaled(5_000_000, plan.scale), scaled(5_000_000, plan.scale));
    type Run = fn(&Plan, &str, u64) -> io::Result<Row>;
    let rows: [(String, Run, u64); 3] = [
        ("SET P64 with two replicas".into(), beside_replicas, scaled(3_200_000, plan.scale)),
        (format!("full sync of {keys} keys beside GETs"), full_sync, keys),
        (format!("{commands} SETs applied by a replica"), applied, commands),
    ];
    let wanted = rows.into_iter().filter(|(name, ..)| plan.wants(name));
    wanted.map(|(name, run, count)| run(plan, &name, count)).collect()
}

fn peers(plan: &Plan) -> impl Iterator<Item = &Spec> {
    plan.specs.iter().filter(|spec| matches!(spec.family, Family::Memkv | Family::Redis))
}

fn target(measure: Measure, against: Against, bound: Bound) -> Target {
    Target { measure, against, bound }
}

// ---- a primary under load

fn beside_replicas(plan: &Plan, name: &str, requests: u64) -> io::Result<Row> {
    let than_8_2 = Against::Peer("8.2");
    let targets = [
        target(Measure::RateK, than_8_2, Bound::AtLeast(1.5)),
        target(Measure::CpuUs, than_8_2, Bound::AtMost(1.0 / 1.5)),
    ];
    let (mut row, recipe) = (Row::new(name, &plan.specs, &targets), sets(VALUE_BYTES)?);
    let pool = Pool::build(&recipe, Dialect::Resp, requests, PIPELINE);
    for _ in 0..plan.rounds.min(ROUNDS_MAX) {
        for spec in peers(plan) {
            let primary = Server::start(spec, &plan.place, NO_AOF)?;
            let _replicas = [follower(&primary, plan)?, follower(&primary, plan)?];
            let load = Load {
                port: primary.port,
                pid: Some(primary.pid()),
                pool: &pool,
                connections: CONNECTIONS,
                pipeline: PIPELINE,
                warm_up: Until::Replies(requests / 10),
                until: Until::Replies(requests),
            };
            row.push(&spec.name, reading(&closed(&load, plan.clock)?));
            let syncs: String = primary.info("stats", "sync_full")?;
            if syncs != "2" {
                return Err(io::Error::other(format!("{}: {syncs} full syncs of two replicas", spec.name)));
            }
        }
    }
    row.print();
    Ok(row)
}

/// A replica of the server's own kind, in step.
fn follower(primary: &Server, plan: &Plan) -> io::Result<Server> {
    let replica = beside(&primary.spec, plan)?;
    follow(&replica, primary.port)?;
    until_linked(&replica, || {})?;
    Ok(replica)
}

/// A server on the generator's core.
fn beside(spec: &Spec, plan: &Plan) -> io::Result<Server> {
    Server::start(spec, &Place { core: plan.generator_core, ..plan.place.clone() }, NO_AOF)
}

fn follow(replica: &Server, port: u16) -> io::Result<()> {
    replica.ask::<String>(&format!("REPLICAOF 127.0.0.1 {port}")).map(drop)
}

fn until_linked(replica: &Server, mut meanwhile: impl FnMut()) -> io::Result<()> {
    let began = Instant::now();
    while replica.info("replication", "master_link_status")? != "up" {
        if began.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("{}: the link is not up after {PATIENCE:?}", replica.spec.name)));
        }
        meanwhile();
        std::thread::sleep(LOOK);
    }
    Ok(())
}

// ---- a full sync

fn full_sync(plan: &Plan, name: &str, keys: u64) -> io::Result<Row> {
    let targets = [
        target(Measure::SaveSeconds, Against::Peer("8.2"), Bound::AtMost(0.6)),
        target(Measure::BusyP99Us, Against::Own(Measure::CalmP99Us), Bound::AtMost(1.3)),
        target(Measure::ExtraPercent, Against::Nothing, Bound::AtMost(10.0)),
    ];
    let mut row = Row::new(name, &plan.specs, &targets);
    let gets = Recipe::new(&[(1.0, "GET key:{key}")], Keys::uniform(keys), SMALL).map_err(io::Error::other)?;
    let pool = Pool::build(&gets, Dialect::Resp, GETS, 1);
    for _ in 0..plan.rounds.min(ROUNDS_MAX) {
        for spec in peers(plan) {
            row.push(&spec.name, one_sync(plan, spec, keys, &pool)?);
        }
    }
    row.print();
    Ok(row)
}

fn one_sync(plan: &Plan, spec: &Spec, keys: u64, pool: &Pool) -> io::Result<Reading> {
    let directives = [NO_AOF, &[("repl-diskless-sync-delay", "0")]].concat();
    let before = machine::anonymous_kb();
    let primary = Server::start(spec, &plan.place, &directives)?;
    fill(&primary, &Fill { value_bytes: SMALL, ..Fill::new(SET, keys) })?;
    let data_kb = machine::anonymous_kb().saturating_sub(before).max(1);
    let replica = beside(spec, plan)?;
    let load = open::Load { port: primary.port, pool, kinds: 1, connections: CONNECTIONS, rate: RATE };
    let direct = |stage: &Stage| -> io::Result<(f64, u64)> {
        std::thread::sleep(WARM_UP);
        stage.next();
        std::thread::sleep(CALM_TIME);
        stage.next();
        // What the machine's memory grows by, but for the replica's own: pages shared with a forked child count once.
        let besides = || machine::anonymous_kb().saturating_sub(anonymous_kb_of(replica.pid()));
        let (began, base, mut highest) = (Instant::now(), besides(), 0);
        follow(&replica, primary.port)?;
        until_linked(&replica, || highest = besides().max(highest))?;
        Ok((began.elapsed().as_secs_f64(), highest.saturating_sub(base)))
    };
    let (measured, (seconds, extra_kb)) = open::directed(&load, STAGES, direct)?;
    let there: u64 = replica.ask("DBSIZE")?;
    if there != keys {
        return Err(io::Error::other(format!("{}: {there} of {keys} keys came", spec.name)));
    }
    let us = |stage: usize| measured.latencies.all(stage).value_at_quantile(0.99) as f64 / 1000.0;
    let extra_percent = extra_kb as f64 / data_kb as f64 * 100.0;
    Ok(vec![
        (Measure::SaveSeconds, seconds),
        (Measure::BusyP99Us, us(BUSY)),
        (Measure::CalmP99Us, us(CALM)),
        (Measure::ExtraPercent, extra_percent),
        (Measure::LateP999Us, measured.late.value_at_quantile(0.999) as f64 / 1000.0),
    ])
}

// ---- a replica at work

fn applied(plan: &Plan, name: &str, count: u64) -> io::Result<Row> {
    let targets = [target(Measure::CpuUs, Against::Peer("8.2"), Bound::AtMost(1.0))];
    let (mut row, recipe) = (Row::new(name, &plan.specs, &targets), sets(VALUE_BYTES)?);
    for _ in 0..plan.rounds.min(ROUNDS_MAX) {
        for spec in peers(plan) {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let replica = Server::start(spec, &plan.place, NO_AOF)?;
            follow(&replica, listener.local_addr()?.port())?;
            let mut link = PretendedPrimary::meet(listener)?;
            let (cpu, began) = (plan.clock.process_ns(replica.pid())?, Instant::now());
            link.send_all(&recipe, count)?;
            let seconds = began.elapsed().as_secs_f64();
            let ns = plan.clock.process_ns(replica.pid())?.saturating_sub(cpu);
            row.push(
                &spec.name,
                vec![
                    (Measure::CpuUs, ns as f64 / count as f64 / 1000.0),
                    (Measure::RateK, count as f64 / seconds / 1000.0),
                ],
            );
        }
    }
    row.print();
    Ok(row)
}

/// A primary as far as a replica can tell.
struct PretendedPrimary {
    input: BufReader<TcpStream>,
    output: TcpStream,
    /// Bytes of the stream so far.
    offset: u64,
}

impl PretendedPrimary {
    /// Waits for a replica, answers its handshake and gives it an empty snapshot.
    fn meet(listener: TcpListener) -> io::Result<Self> {
        let (output, _) = listener.accept()?;
        output.set_read_timeout(Some(PATIENCE))?;
        let mut this = Self { input: BufReader::new(output.try_clone()?), output, offset: 0 };
        loop {
            let words = this.request()?;
            match words.first().map(|word| word.to_ascii_uppercase()).as_deref() {
                Some("PING") => this.output.write_all(b"+PONG\r\n")?,
                Some("PSYNC") => break,
                _ => this.output.write_all(b"+OK\r\n")?,
            }
        }
        let snapshot = memkv::persist::load::empty_rdb();
        write!(this.output, "+FULLRESYNC {} 0\r\n${}\r\n", "a".repeat(40), snapshot.len())?;
        this.output.write_all(&snapshot)?;
        // The first acknowledgement says that it is loaded.
        while this.request()?.get(1).is_none_or(|word| !word.eq_ignore_ascii_case("ack")) {}
        Ok(this)
    }

    /// Sends `count` requests of a recipe, and waits until the replica has them all.
    fn send_all(&mut self, recipe: &Recipe, count: u64) -> io::Result<()> {
        let (mut write, mut out, mut written) = (recipe.writer(Dialect::Resp), Vec::new(), 0);
        self.send(b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n")?;
        while written < count {
            out.clear();
            while written < count && out.len() < BATCH_BYTES {
                write(&mut out);
                written += 1;
            }
            self.send(&out)?;
        }
        let wanted = self.offset;
        self.send(b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n")?;
        loop {
            let words = self.request()?;
            let acknowledged = words.get(2).and_then(|offset| offset.parse::<u64>().ok());
            if acknowledged.is_some_and(|offset| offset >= wanted) {
                return Ok(());
            }
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.offset += bytes.len() as u64;
        self.output.write_all(bytes)
    }

    fn request(&mut self) -> io::Result<Vec<String>> {
        let mut words = Vec::new();
        let count = loop {
            let line = self.line()?;
            // An empty line says that the replica is there.
            if let Some(count) = line.strip_prefix('*') {
                break count.parse().unwrap_or(0);
            }
        };
        for _ in 0..count {
            self.line()?;
            words.push(self.line()?);
        }
        Ok(words)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.input.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the replica closed its link"));
        }
        Ok(line.trim_end().to_owned())
    }
}

fn sets(value_bytes: usize) -> io::Result<Recipe> {
    Recipe::new(&[(1.0, SET)], Keys::uniform(KEYS), value_bytes).map_err(io::Error::other)
}

/// Anonymous memory of a process.
fn anonymous_kb_of(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    value.and_then(|kb| kb.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

const SET: &str = "SET key:{key} {value}";
const KEYS: u64 = 100_000;
const VALUE_BYTES: usize = 64;
const SMALL: usize = 16;
const PIPELINE: usize = 64;
const CONNECTIONS: usize = 50;
/// GETs per second beside a full sync: what no server is busy with.
const RATE: f64 = 5_000.0;
const GETS: u64 = 200_000;
const STAGES: usize = 3;
const BUSY: usize = 2;
const ROUNDS_MAX: usize = 3;
const BATCH_BYTES: usize = 64 << 10;
const LOOK: Duration = Duration::from_millis(5);
const WARM_UP: Duration = Duration::from_secs(1);
const CALM_TIME: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(300);
