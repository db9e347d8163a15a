//! memkv without sockets: batches of requests through its own parser and turns, on threads of this process.
//!
//! Two uses: two workers beside one (what stripes and shared counters cost), and a fixed amount of work whose instructions
//! callgrind counts. What the connection does around a batch is done here in the same order: requests are looked up and
//! their stripes asked for as they are parsed, the weather is felt once, buckets and entries are asked for ahead of the
//! calls, and the journal is flushed.

use crate::compare::Plan;
use crate::cpu;
use crate::keys::Keys;
use crate::presets::{COUNTING_LIMITER, evalsha};
use crate::report::{Against, Bound, Measure, Row, Target};
use crate::request::{Dialect, Pool, Recipe};
use memkv::boot;
use memkv::clients::Client;
use memkv::command::Registry;
use memkv::command::call::call;
use memkv::command::session::Session;
use memkv::command::turn::{LookedUp, Prepared, Turn};
use memkv::config::Config;
use memkv::keyspace::Place;
use memkv::node::Node;
use memkv::observe::WorkerStats;
use memkv::resp::{ArgvView, Limits, Parser, Span, Step};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Barrier};
use std::time::Instant;

/// A request of the batch: where its bytes and its arguments are, and what they told.
struct Found {
    bytes: Range<usize>,
    spans: Range<usize>,
    canonical: bool,
    looked_up: LookedUp,
}

/// One thread's way through the server.
struct Worker {
    node: &'static Node,
    registry: &'static Registry,
    stats: Arc<WorkerStats>,
    thread: usize,
    session: Session,
    parser: Parser,
    input: Vec<u8>,
    spans: Vec<Span>,
    found: Vec<Found>,
    output: Vec<u8>,
}

impl Worker {
    fn new(node: &'static Node, registry: &'static Registry, thread: usize) -> Self {
        let now = memkv::clock::now_ms();
        let client = Client::new(thread as u64 + 1, "127.0.0.1:50000".into(), "127.0.0.1:6379".into(), false, now);
        Self {
            node,
            registry,
            stats: node.observatory.worker(thread),
            thread,
            session: Session::new(client, true),
            parser: Parser::default(),
            input: Vec::new(),
            spans: Vec::new(),
            found: Vec::new(),
            output: Vec::new(),
        }
    }

    fn run(&mut self, batch: &[u8]) {
        self.input.clear();
        self.input.extend_from_slice(batch);
        self.parse();
        let mut turn = Turn::begin(self.node, &self.stats, self.registry, self.thread);
        (0..2 * AHEAD).for_each(|i| self.ask_for_bucket(i));
        (0..AHEAD).for_each(|i| self.ask_for_entry(i));
        turn.ask_gates(&self.session);
        for (i, found) in self.found.iter().enumerate() {
            self.ask_for_bucket(i + 2 * AHEAD);
            self.ask_for_entry(i + AHEAD);
            let argv = ArgvView::new(&self.input[found.bytes.clone()], &self.spans[found.spans.clone()]);
            let request = Prepared { argv, canonical: found.canonical, looked_up: found.looked_up };
            call(&mut turn, &mut self.session, request, &mut self.output);
        }
        let journal_end = turn.journal_end;
        drop(turn);
        if journal_end > 0 {
            self.node.journal.flush();
            self.write_as_batcher();
        }
        assert!(self.output.first().is_some_and(|b| *b != b'-'), "a request was refused");
        self.output.clear();
    }

    /// No batcher runs here. What a worker leaves to it after a slow write would pile up to the end, and counts would
    /// depend on the device's pace.
    fn write_as_batcher(&self) {
        if self.node.journal.pending_bytes() > 0 {
            self.node.journal.batch();
        }
    }

    fn place(&self, i: usize) -> Option<Place> {
        self.found.get(i)?.looked_up.place
    }

    #[inline]
    fn ask_for_bucket(&self, i: usize) {
        if let Some(place) = self.place(i) {
            self.node.keyspace.prefetch_bucket(0, place);
        }
    }

    #[inline]
    fn ask_for_entry(&self, i: usize) {
        if let Some(place) = self.place(i) {
            self.node.keyspace.prefetch_entry(0, place);
        }
    }

    fn parse(&mut self) {
        let limits = Limits { bulk_bytes_max: 512 << 20, authenticated: true };
        self.spans.clear();
        self.found.clear();
        let mut at = 0;
        loop {
            let first = self.spans.len();
            match self.parser.next(&mut self.input[at..], &mut self.spans, &limits) {
                Step::Request { len, argc, canonical } => {
                    let (bytes, spans) = (at..at + len, first..first + argc);
                    let view = |bytes: &Range<usize>, spans: &Range<usize>| {
                        ArgvView::new(&self.input[bytes.clone()], &self.spans[spans.clone()])
                    };
                    let head = self.found.last().and_then(|last| last.looked_up.head(view(&last.bytes, &last.spans)));
                    let keyspace = &self.node.keyspace;
                    let looked_up = LookedUp::of(self.registry, keyspace, view(&bytes, &spans), head);
                    looked_up.place.into_iter().for_each(|place| keyspace.prefetch_stripe(place));
                    self.found.push(Found { bytes, spans, canonical, looked_up });
                    at += len;
                }
                Step::Incomplete => return,
                Step::Error(error) => unreachable!("the pool holds whole requests: {error:?}"),
            }
        }
    }
}

fn server(keys: u64) -> io::Result<(&'static Node, &'static Registry)> {
    let (node, registry) = boot::offline(Config::default())?;
    let pool = pool(&[(1.0, "SET key:{key} {value}")], Keys::shuffled(keys), keys)?;
    let mut worker = Worker::new(node, registry, 0);
    (0..keys as usize / PIPELINE).for_each(|i| worker.run(pool.slice(i * PIPELINE..(i + 1) * PIPELINE)));
    Ok((node, registry))
}

fn pool(lines: &[(f64, &str)], keys: Keys, requests: u64) -> io::Result<Pool> {
    let recipe = Recipe::new(lines, keys, 64).map_err(io::Error::other)?;
    Ok(Pool::build(&recipe, Dialect::Resp, requests, PIPELINE))
}

/// One worker, then two, the same work for each, in turn.
pub fn two_workers(plan: &Plan) -> io::Result<Vec<Row>> {
    let lines = [(1.0, "GET key:{key}"), (1.0, "SET key:{key} {value}")];
    two_beside_one(plan, "GET/SET mix in-process, workers", 1.85, &[], &[&lines])
}

/// The same with a script whose keys no two workers share.
pub fn two_workers_with_scripts(plan: &Plan) -> io::Result<Vec<Row>> {
    let load = format!("SCRIPT LOAD {COUNTING_LIMITER}");
    let [one, two] = ["one", "two"].map(|name| evalsha(COUNTING_LIMITER, &format!("1 {name}:{{key}} 60000 100")));
    two_beside_one(plan, "limiter in-process, workers", 1.8, &[&load], &[&[(1.0, &one)], &[(1.0, &two)]])
}

/// `first` is asked once; then each worker asks its own of `lines`, or all the same.
fn two_beside_one(
    plan: &Plan,
    name: &str,
    ratio: f64,
    first: &[&str],
    lines: &[&[(f64, &str)]],
) -> io::Result<Vec<Row>> {
    if !plan.wants(name) {
        return Ok(Vec::new());
    }
    let bound = Bound::AtLeast(ratio);
    let target = Target { measure: Measure::TwoWorkersK, against: Against::Own(Measure::OneWorkerK), bound };
    let mut row = Row::new(name, &plan.specs[..1], &[target]);
    let (node, registry) = server(KEYS)?;
    for line in first {
        Worker::new(node, registry, 0).run(pool(&[(1.0, line)], Keys::sequence(), 1)?.slice(0..1));
    }
    let pools = lines.iter().map(|lines| pool(lines, Keys::uniform(KEYS), u64::MAX)).collect::<io::Result<Vec<_>>>()?;
    let batches = crate::presets::scaled(WORKER_BATCHES, plan.scale) as usize;
    let cores = [plan.place.core, plan.generator_core];
    for round in 0..=plan.rounds {
        let rate = |workers: usize| {
            let seconds = together(node, registry, &pools, batches, &cores[..workers])?;
            io::Result::Ok((workers * batches * PIPELINE) as f64 / seconds / 1000.0)
        };
        let (one, two) = (rate(1)?, rate(2)?);
        if round > 0 {
            row.push(&plan.specs[0].name, vec![(Measure::TwoWorkersK, two), (Measure::OneWorkerK, one)]);
        }
    }
    row.print();
    Ok(vec![row])
}

/// Seconds until the last of the threads, one on each core, has run its batches.
fn together(
    node: &'static Node,
    registry: &'static Registry,
    pools: &[Pool],
    batches: usize,
    cores: &[usize],
) -> io::Result<f64> {
    let barrier = Barrier::new(cores.len());
    let work = |thread: usize, core: usize| {
        cpu::pin(core)?;
        let mut worker = Worker::new(node, registry, thread);
        let pool = &pools[thread % pools.len()];
        let (all, first) = (pool.len() / PIPELINE, thread * pool.len() / PIPELINE / 2);
        barrier.wait();
        let began = Instant::now();
        for i in 0..batches {
            let at = (first + i) % all * PIPELINE;
            worker.run(pool.slice(at..at + PIPELINE));
        }
        io::Result::Ok((began, Instant::now()))
    };
    let times = std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            cores.iter().enumerate().map(|(thread, core)| scope.spawn(move || work(thread, *core))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join().expect("a worker does not panic");
        threads.into_iter().map(join).collect::<io::Result<Vec<_>>>()
    })?;
    let began = times.iter().map(|(began, _)| *began).min();
    let ended = times.iter().map(|(_, ended)| *ended).max();
    Ok(began.zip(ended).map_or(0.0, |(began, ended)| (ended - began).as_secs_f64()))
}

/// A fixed amount of work for callgrind: batches of one command, the same in every run; with the journal, into nowhere.
pub fn instructions(line: &str, journal: bool, batches: usize) -> io::Result<()> {
    memkv::table::fix_seeds([1, 2, 3, 4]);
    fastrand::seed(1);
    let keys = 10_000;
    let (node, registry) = server(keys)?;
    if journal {
        node.journal.attach(memkv::persist::Storage::default().append(std::path::Path::new("/dev/null"))?, 0);
    }
    let pool = pool(&[(1.0, line)], Keys::uniform(keys), 2 * keys)?;
    let (mut worker, all) = (Worker::new(node, registry, 0), pool.len() / PIPELINE);
    for i in 0..batches {
        let at = i % all * PIPELINE;
        worker.run(pool.slice(at..at + PIPELINE));
    }
    println!("{} commands", batches * PIPELINE);
    Ok(())
}

const PIPELINE: usize = 16;
/// As far ahead as the connection asks.
const AHEAD: usize = 8;
const KEYS: u64 = 100_000;
const WORKER_BATCHES: u64 = 200_000;
