//! MEMORY: where the bytes are. The same reading serves INFO memory.
//!
//! What is used is counted by the allocator's wrapper; what the allocator holds beyond it are the allocator's own
//! statistics, refreshed for each reading.

use crate::clients::{Client, ClientClass};
use crate::command::*;
use crate::memory;
use crate::node::Node;
use crate::types::template;
use crate::usage;
use std::sync::Arc;
use tikv_jemalloc_ctl::{epoch, stats, stats_print};

/// The process's memory at one moment, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reading {
    pub used: u64,
    /// What of it `maxmemory` leaves out.
    pub not_counted: u64,
    pub peak: u64,
    pub startup: u64,
    pub index: u64,
    pub clients: u64,
    /// Of the connections of replicas.
    pub replicas: u64,
    pub journal: u64,
    pub allocated: u64,
    pub active: u64,
    pub resident: u64,
    pub rss: u64,
}

impl Reading {
    /// Walks the stripes for their tables' sizes: for rows with the WALK flag.
    pub fn take(node: &Node) -> Self {
        let (used, not_counted) = used_and_not_counted(node);
        let clients = node.clients.list();
        // A stale reading is the worst that can happen.
        let _ = epoch::advance();
        let read = |value: Result<usize, _>| value.map_or(0, |bytes: usize| bytes as u64);
        Self {
            used,
            not_counted,
            peak: memory::peak(),
            startup: memory::startup(),
            index: node.keyspace.index_bytes() as u64,
            clients: bytes_of(&clients, |class| class != ClientClass::Replica),
            replicas: bytes_of(&clients, |class| class == ClientClass::Replica),
            journal: node.journal.pending_bytes(),
            allocated: read(stats::allocated::read().map_err(drop)),
            active: read(stats::active::read().map_err(drop)),
            resident: read(stats::resident::read().map_err(drop)),
            rss: usage::resident_bytes(),
        }
    }

    /// What is not data.
    pub fn overhead(&self) -> u64 {
        self.startup + self.index + self.clients + self.replicas + self.journal
    }

    pub fn dataset(&self) -> u64 {
        self.used.saturating_sub(self.overhead())
    }

    pub fn dataset_percentage(&self) -> f64 {
        ratio(self.dataset() * 100, self.used.saturating_sub(self.startup).max(1))
    }

    pub fn peak_percentage(&self) -> f64 {
        ratio(self.used * 100, self.peak)
    }
}

/// Both of one moment, unless they change all the time: a replica that leaves takes the same bytes from each.
fn used_and_not_counted(node: &Node) -> (u64, u64) {
    let (mut used, mut not_counted) = (memory::sample(), node.not_counted_for_eviction());
    for _ in 0..LOOKS_MAX {
        let before = not_counted;
        (used, not_counted) = (memory::sample(), node.not_counted_for_eviction());
        if not_counted == before {
            break;
        }
    }
    (used, not_counted)
}

const LOOKS_MAX: usize = 4;

fn bytes_of(clients: &[Arc<Client>], is_meant: impl Fn(ClientClass) -> bool) -> u64 {
    let meant = clients.iter().filter(|client| is_meant(client.facts.class()));
    meant.map(|client| client.facts.memory.total() as u64).sum()
}

/// A quotient, 0 if there is nothing to divide by.
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

pub const MEMORY: Command = Command {
    name: "MEMORY",
    args: "",
    arity: -2,
    since: "4.0.0",
    group: Group::Server,
    flags: CONTAINER,
    keys: Keys::NONE,
    doc: "A container for commands on memory.",
    examples: "> MEMORY\n(error) ERR wrong number of arguments for 'memory' command",
    run: container,
};

pub const DOCTOR: Command = Command {
    name: "MEMORY DOCTOR",
    args: "",
    arity: 2,
    since: "4.0.0",
    group: Group::Server,
    flags: WALK,
    keys: Keys::NONE,
    doc: "What is remarkable about memory, for humans. O(1).",
    examples: "> MEMORY DOCTOR too many\n(error) ERR wrong number of arguments for 'memory|doctor' command",
    run: doctor,
};

fn doctor(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let reading = Reading::take(ctx.node);
    let keys: usize = ctx.node.keyspace.keys();
    let findings = diagnose(&reading, ctx.node.clients.len() as u64, keys as u64);
    let text = match findings.as_slice() {
        _ if reading.used < TOO_LITTLE_TO_JUDGE => {
            "There is too little in memory to tell anything from it.\n".to_owned()
        }
        [] => "Nothing remarkable.\n".to_owned(),
        findings => findings.iter().map(|finding| format!("* {finding}\n")).collect(),
    };
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

fn diagnose(reading: &Reading, clients: u64, keys: u64) -> Vec<String> {
    let mut findings = Vec::new();
    if ratio(reading.peak, reading.used) > 1.5 {
        findings.push("Peak: once half as much again was in use; the allocator may still hold that memory. MEMORY PURGE gives back what it can.".to_owned());
    }
    if ratio(reading.active, reading.allocated) > 1.1 && reading.active - reading.allocated > WASTE_TO_MENTION {
        findings.push(
            "Fragmentation: pages are in use only in part, as after deleting many values of other sizes.".to_owned(),
        );
    }
    if ratio(reading.resident, reading.active) > 1.1 && reading.resident - reading.active > WASTE_TO_MENTION {
        findings.push(
            "Kept pages: the allocator holds pages it does not need now. MEMORY PURGE gives them back.".to_owned(),
        );
    }
    if ratio(reading.rss, reading.resident) > 1.1 && reading.rss - reading.resident > WASTE_TO_MENTION {
        findings.push(
            "Other memory: the process is larger than its allocator; look for many threads or mapped files.".to_owned(),
        );
    }
    if clients > 0 && reading.clients / clients > CLIENT_BYTES_MANY {
        findings.push("Clients: on average their buffers are large. CLIENT LIST shows whose (qbuf, omem).".to_owned());
    }
    if keys > 0 && reading.index / keys > INDEX_BYTES_MANY {
        findings.push("Tables: they have room for many more keys than there are.".to_owned());
    }
    findings
}

pub const HELP: Command = Command {
    name: "MEMORY HELP",
    args: "",
    arity: 2,
    since: "4.0.0",
    group: Group::Server,
    flags: LOADING | STALE,
    keys: Keys::NONE,
    doc: "Says what subcommands there are. O(1).",
    examples: "> MEMORY HELP too many\n(error) ERR wrong number of arguments for 'memory|help' command",
    run: |ctx| ctx.out.help("MEMORY", HELP_LINES),
};

pub const MALLOC_STATS: Command = Command {
    name: "MEMORY MALLOC-STATS",
    args: "",
    arity: 2,
    since: "4.0.0",
    group: Group::Server,
    flags: 0,
    keys: Keys::NONE,
    doc: "The allocator's own report. O(N) in the number of its arenas; may be slow.",
    examples: "> MEMORY MALLOC-STATS too many\n(error) ERR wrong number of arguments for 'memory|malloc-stats' command",
    run: malloc_stats,
};

fn malloc_stats(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let mut text = Vec::new();
    let printed = stats_print::stats_print(&mut text, stats_print::Options::default());
    printed.map_err(|e| Error::owned(format!("ERR the allocator's report failed: {e}")))?;
    ctx.out.verbatim("txt", &text);
    Ok(())
}

pub const PURGE: Command = Command {
    name: "MEMORY PURGE",
    args: "",
    arity: 2,
    since: "4.0.0",
    group: Group::Server,
    flags: 0,
    keys: Keys::NONE,
    doc: "Gives the allocator's unused pages back. O(N) in their number; may be slow.",
    examples: "> MEMORY PURGE\nOK",
    run: |ctx| if memory::purge() { ctx.out.ok() } else { Err(NOT_PURGED) },
};

pub const STATS: Command = Command {
    name: "MEMORY STATS",
    args: "",
    arity: 2,
    since: "4.0.0",
    group: Group::Server,
    flags: WALK,
    keys: Keys::NONE,
    doc: "Memory by what it is for. O(N) in the number of stripes and clients.",
    examples: "> MEMORY STATS too many\n(error) ERR wrong number of arguments for 'memory|stats' command",
    run: memory_stats,
};

fn memory_stats(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let reading = Reading::take(ctx.node);
    let keyspace = &ctx.node.keyspace;
    let databases: Vec<(usize, usize, usize)> = (0..keyspace.databases())
        .map(|db| (db, keyspace.counts(db)))
        .filter(|&(_, (keys, _))| keys > 0)
        .map(|(db, (keys, volatile))| (db, keys, volatile))
        .collect();
    let keys: usize = databases.iter().map(|(_, keys, _)| keys).sum();
    let stream = ctx.node.journal.stream.figures();
    let hole = ctx.out.later();
    let mut map = Pairs { out: &mut ctx.out.0, count: 0 };
    map.bytes("peak.allocated", reading.peak);
    map.bytes("total.allocated", reading.used);
    map.bytes("startup.allocated", reading.startup);
    map.bytes("replication.backlog", stream.held_bytes - stream.for_replicas);
    map.bytes("clients.slaves", stream.for_replicas + reading.replicas);
    map.bytes("clients.normal", reading.clients);
    map.bytes("cluster.links", 0);
    map.bytes("aof.buffer", reading.journal);
    map.bytes("lua.caches", ctx.node.scripts.bytes() as u64);
    map.bytes("functions.caches", ctx.node.scripts.libraries.current().bytes() as u64);
    map.bytes("hash.templates", template::Usage::now().bytes as u64);
    for (db, in_db, volatile) in databases {
        let index = ratio(reading.index, keys as u64) * in_db as f64;
        map.name(&format!("db.{db}"));
        map.out.map(3);
        map.out.bulk(b"overhead.hashtable.main");
        map.out.int(index as i64);
        map.out.bulk(b"overhead.hashtable.expires");
        map.out.int((volatile * EXPIRY_INDEX_BYTES) as i64);
        map.out.bulk(b"overhead.hashtable.slot-to-keys");
        map.out.int(0);
    }
    map.bytes("overhead.total", reading.overhead());
    map.bytes("keys.count", keys as u64);
    map.bytes("keys.bytes-per-key", reading.used.saturating_sub(reading.startup).checked_div(keys as u64).unwrap_or(0));
    map.bytes("dataset.bytes", reading.dataset());
    map.ratio("dataset.percentage", reading.dataset_percentage());
    map.ratio("peak.percentage", reading.peak_percentage());
    map.bytes("allocator.allocated", reading.allocated);
    map.bytes("allocator.active", reading.active);
    map.bytes("allocator.resident", reading.resident);
    map.quotient("allocator-fragmentation", reading.active, reading.allocated);
    map.quotient("allocator-rss", reading.resident, reading.active);
    map.quotient("rss-overhead", reading.rss, reading.resident);
    map.ratio("fragmentation", ratio(reading.rss, reading.used));
    map.difference("fragmentation.bytes", reading.rss, reading.used);
    let count = map.count;
    ctx.out.fill_map(hole, count);
    Ok(())
}

/// A map being written.
struct Pairs<'a, 'b> {
    out: &'a mut crate::resp::Out<'b>,
    count: usize,
}

impl Pairs<'_, '_> {
    fn name(&mut self, name: &str) {
        self.count += 1;
        self.out.bulk(name.as_bytes());
    }

    fn bytes(&mut self, name: &str, value: u64) {
        self.name(name);
        self.out.int(i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn ratio(&mut self, name: &str, value: f64) {
        self.name(name);
        self.out.double(value);
    }

    fn difference(&mut self, name: &str, more: u64, less: u64) {
        self.name(name);
        self.out.int(more as i64 - less as i64);
    }

    fn quotient(&mut self, name: &str, more: u64, less: u64) {
        self.ratio(&format!("{name}.ratio"), ratio(more, less));
        self.difference(&format!("{name}.bytes"), more, less);
    }
}

pub const USAGE: Command = Command {
    name: "MEMORY USAGE",
    args: "key [SAMPLES count]",
    arity: -3,
    since: "4.0.0",
    group: Group::Server,
    flags: READONLY,
    keys: Keys::one(2, keys::RO),
    doc: "Bytes a key takes, its share of the index included. O(1).",
    examples: "> MEMORY USAGE nokey\n(nil)\n> MEMORY USAGE nokey SAMPLES -1\n(error) ERR syntax error",
    run: usage_of_key,
};

fn usage_of_key(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    args.skip_to(3);
    while let Some(word) = args.word() {
        // Values know their size, so the number of samples is read and not needed.
        match &*word {
            b"SAMPLES" if !args.is_done() => {
                if args.required_int()? < 0 {
                    return Err(error::SYNTAX);
                }
            }
            _ => return Err(error::SYNTAX),
        }
    }
    match db.inspect(args.key(2)) {
        Some(entry) => out.count(memory::size_class_of(entry.heap_bytes(), 8) + INDEX_BYTES),
        None => out.null(),
    }
}

const HELP_LINES: &[&str] = &[
    "DOCTOR",
    "    Return memory problems reports.",
    "MALLOC-STATS",
    "    Return internal statistics report from the memory allocator.",
    "PURGE",
    "    Attempt to purge dirty pages for reclamation by the allocator.",
    "STATS",
    "    Return information about the memory usage of the server.",
    "USAGE <key> [SAMPLES <count>]",
    "    Return memory in bytes used by <key> and its value. Nested values are",
    "    sampled up to <count> times (default: 5, 0 means sample all).",
];

const NOT_PURGED: Error = Error::new("ERR Error purging dirty pages");
/// A key's share of its table: a bucket of 64 bytes has seven places, of which about six are taken.
const INDEX_BYTES: usize = 11;
/// A key's record in the index of expiries.
const EXPIRY_INDEX_BYTES: usize = 8;
const TOO_LITTLE_TO_JUDGE: u64 = 5 << 20;
const WASTE_TO_MENTION: u64 = 10 << 20;
const CLIENT_BYTES_MANY: u64 = 200 << 10;
const INDEX_BYTES_MANY: u64 = 64;
