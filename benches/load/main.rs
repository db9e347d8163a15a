//! The load harness: where memkv stands beside its peers and beside the physical limit. `benches/README.md` explains.
//!
//! `compare` runs presets on all servers in interleaved rounds; `closed` and `open` load one running server; `null` is the
//! yardstick. The generator has one core, the server another. Modules: `request` and `replies` speak the protocols,
//! `generator` and `open` are the two loops, `presets` says what is measured, `report` and `summary` what came of it, `machine`
//! who else uses the machine.

mod compare;
mod cpu;
mod fanout;
mod generator;
mod inprocess;
mod keys;
mod machine;
mod memory;
mod null;
mod open;
mod pauses;
mod peers;
mod persistence;
mod plot;
mod presets;
mod replication;
mod replies;
mod report;
mod request;
mod summary;
mod tail;

use clap::{Args, Parser, Subcommand, ValueEnum};
use compare::Plan;
use cpu::Clock;
use generator::{Load, Until};
use keys::Keys;
use peers::{Place, Spec};
use report::Row;
use request::{Dialect, Pool, Recipe};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: memkv::memory::Counting = memkv::memory::Counting;

/// The load harness of memkv.
#[derive(Parser)]
#[command(name = "cargo bench --bench load --", arg_required_else_help = true, args_override_self = true)]
struct Cli {
    /// What cargo adds.
    #[arg(long, hide = true, global = true)]
    bench: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// memkv beside its peers, in interleaved rounds.
    Compare(Compare),
    /// Whether other processes keep this machine busy.
    Machine,
    /// A closed loop on a running server.
    Closed(Closed),
    /// An open loop on a running server: a fixed rate, latency from when requests were due.
    Open(Open),
    /// A fixed amount of work in-process, for callgrind.
    Instructions {
        /// A template, as for the loops.
        command: String,
        #[arg(long)]
        journal: bool,
        #[arg(long)]
        batches: usize,
    },
    /// The null server, until it is killed.
    Null {
        #[arg(long)]
        port: u16,
    },
}

#[derive(Args)]
struct Compare {
    /// What to measure.
    #[arg(long, value_enum, default_value = "core")]
    work: Work,
    /// Rounds that count; one more warms up.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Of the numbers of requests and of large amounts of data.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Only rows whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Of 7.0 8.2 valkey memcached null, and Redis or Valkey with I/O threads as in 8.2:io=2.
    #[arg(long, value_delimiter = ',', default_value = "7.0,8.2,valkey,memcached,null")]
    peers: Vec<String>,
    /// memkv's binary; by default the one built along with this program.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_memkv-server"))]
    server: PathBuf,
    /// Where the results file and the plots go.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/results"))]
    results: PathBuf,
    /// Where servers keep their files: on a disk, for the rows with a log.
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    scratch: PathBuf,
    #[arg(long, default_value_t = 21500)]
    first_port: u16,
    #[arg(long, default_value_t = 0)]
    server_core: usize,
    #[arg(long, default_value_t = 1)]
    generator_core: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Work {
    /// strings, everysec, always and wide.
    Core,
    /// GET and SET at pipelines 1, 16 and 64.
    Strings,
    /// SET with a log, synced every second.
    Everysec,
    /// SET with a log, synced before the reply.
    Always,
    /// MGET of 100 keys.
    Wide,
    /// Zipfian GET on ten million keys.
    Zipfian,
    /// SET of new keys into a full cache.
    Evicting,
    /// Collections.
    Types,
    /// Streams and their groups.
    Streams,
    /// Scripts and functions, and two workers beside one with them.
    Scripts,
    /// GET and SET of 4 and 32 MiB.
    Large,
    /// Two workers beside one, in-process.
    Workers,
    /// Bytes per key and member.
    Memory,
    /// Start-up from a log.
    Start,
    /// Saving and loading snapshots.
    Save,
    /// The tail at 60 % load during BGREWRITEAOF and BGSAVE.
    Tail,
    /// Latency against load.
    Curve,
    /// The worst latency beside growth and mass expiry.
    Pauses,
    /// Publish and subscribe.
    Pubsub,
    /// A primary with replicas, a full sync, a replica that applies.
    Replication,
    /// Everything.
    All,
}

/// What is sent, for the loops on one server.
#[derive(Args)]
struct Sent {
    #[arg(long)]
    port: u16,
    /// The server's process id, for its CPU time.
    #[arg(long)]
    pid: Option<u32>,
    /// A template such as "SET key:{key} {value}", several with shares as "0.9 GET key:{key}".
    #[arg(long, default_values_t = vec!["GET key:{key}".to_owned()])]
    command: Vec<String>,
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Draw keys by Zipf's law, theta 0.99.
    #[arg(long)]
    zipfian: bool,
    #[arg(long, default_value_t = 64)]
    value_bytes: usize,
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// memcached's text protocol.
    #[arg(long)]
    memcached: bool,
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    #[arg(long, default_value_t = 1.0)]
    warm_up_seconds: f64,
    #[arg(long)]
    core: Option<usize>,
}

#[derive(Args)]
struct Closed {
    #[command(flatten)]
    sent: Sent,
    #[arg(long, default_value_t = 1)]
    pipeline: usize,
}

#[derive(Args)]
struct Open {
    #[command(flatten)]
    sent: Sent,
    /// Requests per second.
    #[arg(long)]
    rate: f64,
}

fn main() {
    let result = match Cli::parse().action {
        Action::Compare(options) => compare(&options),
        Action::Machine => {
            println!("{}", machine::Others::in_a_second().warning());
            Ok(())
        }
        Action::Closed(options) => closed(&options),
        Action::Open(options) => open_loop(&options),
        Action::Instructions { command, journal, batches } => inprocess::instructions(&command, journal, batches),
        Action::Null { port } => null::serve(port),
    };
    if let Err(error) = result {
        eprintln!("load: {error}");
        std::process::exit(1);
    }
}

fn compare(options: &Compare) -> io::Result<()> {
    println!("{}", machine::Others::in_a_second().warning());
    peers::end_with_ctrl_c();
    let (clock, since) = (Clock::of_this_machine(), machine::Since::now());
    std::fs::create_dir_all(&options.scratch)?;
    cpu::pin(options.generator_core)?;
    let plan = Plan {
        specs: specs(options)?,
        place: Place { core: options.server_core, first_port: options.first_port, scratch: options.scratch.clone() },
        generator_core: options.generator_core,
        clock,
        rounds: options.rounds,
        scale: options.scale,
        only: options.only.clone(),
    };
    let rows = rows(options.work, &plan)?;
    let others = since.others();
    store(options, &rows, &plan.specs, clock)?;
    summary::print(&rows, &others.verdict());
    Ok(())
}

/// memkv and the peers that are there; the others are told.
fn specs(options: &Compare) -> io::Result<Vec<Spec>> {
    let mut specs = vec![Spec::find("memkv", &options.server).map_err(io::Error::other)?];
    for name in options.peers.iter().filter(|name| !name.is_empty()) {
        match Spec::find(name, &options.server) {
            Ok(spec) => specs.push(spec),
            Err(cause) => eprintln!("left out: {cause}"),
        }
    }
    Ok(specs)
}

fn rows(work: Work, plan: &Plan) -> io::Result<Vec<Row>> {
    let is = |works: &[Work]| work == Work::All || works.contains(&work);
    let mut suites = Vec::new();
    if is(&[Work::Strings, Work::Core]) {
        suites.push(presets::strings());
    }
    if is(&[Work::Everysec, Work::Core]) {
        suites.push(presets::everysec());
    }
    if is(&[Work::Always, Work::Core]) {
        suites.push(presets::always());
    }
    if is(&[Work::Wide, Work::Core]) {
        suites.push(presets::wide());
    }
    if is(&[Work::Zipfian]) {
        suites.push(presets::zipfian(plan.scale));
    }
    if is(&[Work::Evicting]) {
        suites.extend(["allkeys-lru", "volatile-ttl"].map(presets::evicting));
    }
    if is(&[Work::Types]) {
        suites.push(presets::types(plan.scale));
    }
    if is(&[Work::Streams]) {
        suites.push(presets::streams(plan.scale));
    }
    if is(&[Work::Scripts]) {
        suites.push(presets::scripts());
    }
    if is(&[Work::Large]) {
        suites.push(presets::large());
    }
    let mut rows = Vec::new();
    for suite in suites {
        rows.extend(compare::run(suite, plan)?);
    }
    type Run = fn(&Plan) -> io::Result<Vec<Row>>;
    let others: [(Work, Run); 10] = [
        (Work::Workers, inprocess::two_workers),
        (Work::Scripts, inprocess::two_workers_with_scripts),
        (Work::Memory, memory::run),
        (Work::Start, persistence::start),
        (Work::Save, persistence::save),
        (Work::Tail, tail::run),
        (Work::Curve, tail::curve),
        (Work::Pauses, pauses::run),
        (Work::Pubsub, fanout::run),
        (Work::Replication, replication::run),
    ];
    for (_, run) in others.into_iter().filter(|(work, _)| is(&[*work])) {
        rows.extend(run(plan)?);
    }
    Ok(rows)
}

/// Writes the results file and the plots.
fn store(options: &Compare, rows: &[Row], specs: &[Spec], clock: Clock) -> io::Result<()> {
    let name = options.work.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default();
    let stem = options.results.join(format!("{name}-{}", machine::unix_seconds()));
    let document = report::document(rows, specs, &machine::describe(clock));
    write(&stem.with_extension("json"), &format!("{document:#}\n"))?;
    plot::draw(rows, &stem)?.iter().for_each(|path| println!("{}", path.display()));
    Ok(())
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let tell = |e: io::Error| io::Error::new(e.kind(), format!("{}: {e}", path.display()));
    path.parent().map_or(Ok(()), std::fs::create_dir_all).map_err(tell)?;
    std::fs::write(path, text).map_err(tell)?;
    println!("{}", path.display());
    Ok(())
}

impl Sent {
    fn pool(&self, pipeline: usize) -> io::Result<Pool> {
        let share = |line: &String| match line.split_once(' ') {
            Some((share, rest)) if share.parse::<f64>().is_ok() => (share.parse().unwrap_or(1.0), rest.to_owned()),
            _ => (1.0, line.clone()),
        };
        let lines: Vec<(f64, String)> = self.command.iter().map(share).collect();
        let keys = if self.zipfian { Keys::zipfian(self.keys) } else { Keys::uniform(self.keys) };
        let recipe = Recipe::new(&lines, keys, self.value_bytes).map_err(io::Error::other)?;
        let dialect = if self.memcached { Dialect::Memcached } else { Dialect::Resp };
        if !recipe.speaks(dialect) {
            return Err(io::Error::other("memcached knows GET and SET only"));
        }
        Ok(Pool::build(&recipe, dialect, u64::MAX, pipeline))
    }
}

fn closed(options: &Closed) -> io::Result<()> {
    let Closed { sent, pipeline } = options;
    sent.core.map_or(Ok(()), cpu::pin)?;
    let pool = sent.pool(*pipeline)?;
    let load = Load {
        port: sent.port,
        pid: sent.pid,
        pool: &pool,
        connections: sent.connections,
        pipeline: *pipeline,
        warm_up: Until::Time(Duration::from_secs_f64(sent.warm_up_seconds)),
        until: Until::Time(Duration::from_secs_f64(sent.seconds)),
    };
    let measured = generator::closed(&load, Clock::of_this_machine())?;
    for (measure, value) in compare::reading(&measured) {
        println!("{:<12} {value:.2}", measure.heading());
    }
    Ok(())
}

fn open_loop(options: &Open) -> io::Result<()> {
    let Open { sent, rate } = options;
    sent.core.map_or(Ok(()), cpu::pin)?;
    let pool = sent.pool(1)?;
    let load = open::Load {
        port: sent.port,
        pool: &pool,
        kinds: sent.command.len(),
        connections: sent.connections,
        rate: *rate,
    };
    let time = Duration::from_secs_f64;
    let measured = tail::steady(&load, time(sent.warm_up_seconds), time(sent.seconds))?;
    println!("rate {:.0} per second", measured.rate(tail::CALM));
    let latencies = measured.latencies.all(tail::CALM);
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)] {
        let us = |h: &hdrhistogram::Histogram<u64>| h.value_at_quantile(quantile) as f64 / 1000.0;
        println!("{name:<8} {:>10.0} us, of which the generator was late {:.0} us", us(&latencies), us(&measured.late));
    }
    Ok(())
}
