//! The work that is measured, as data: every row of throughput and CPU with its targets.
//!
//! Values are 64 bytes, keys 16 (`key:` and twelve digits), connections 50, as in the table of targets. Each row's data
//! is of its own making: `prepare` runs before every measurement, so that a row means the same alone as in its suite.

use crate::keys::Keys;
use crate::report::{Against, Bound, Measure, Target};
use memkv::checksum::sha1_hex;

/// Servers started alike, filled once, and what is asked of them in turn.
pub struct Suite {
    pub name: &'static str,
    pub directives: &'static [(&'static str, &'static str)],
    pub fill: Vec<Fill>,
    pub works: Vec<Work>,
}

/// One kind of work.
#[derive(Clone)]
pub struct Work {
    pub name: String,
    pub connections: usize,
    pub pipeline: usize,
    /// At scale 1.
    pub requests: u64,
    pub lines: Vec<(f64, String)>,
    pub keys: Keys,
    pub value_bytes: usize,
    pub prepare: Vec<Fill>,
    pub targets: Vec<Target>,
}

/// Requests that bring data in.
#[derive(Clone)]
pub struct Fill {
    pub line: String,
    pub count: u64,
    pub keys: Keys,
    pub value_bytes: usize,
}

impl Fill {
    pub fn new(line: &str, count: u64) -> Self {
        Self { line: line.to_owned(), count, keys: Keys::sequence(), value_bytes: VALUE_BYTES }
    }

    fn from(self, first: u64) -> Self {
        Self { keys: Keys::sequence_from(first), ..self }
    }

    fn shuffled(self, keys: u64) -> Self {
        Self { keys: Keys::shuffled(keys), ..self }
    }
}

impl Work {
    fn new(name: &str, line: &str, pipeline: usize, requests: u64) -> Self {
        Self {
            name: if pipeline == 1 { name.to_owned() } else { format!("{name} P{pipeline}") },
            connections: CONNECTIONS,
            pipeline,
            requests,
            lines: vec![(1.0, line.to_owned())],
            keys: Keys::uniform(KEYS),
            value_bytes: VALUE_BYTES,
            prepare: Vec::new(),
            targets: Vec::new(),
        }
    }

    fn keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    fn prepare(mut self, fill: Fill) -> Self {
        self.prepare.push(fill);
        self
    }

    fn target(mut self, measure: Measure, against: Against, bound: Bound) -> Self {
        self.targets.push(Target { measure, against, bound });
        self
    }

    /// CPU per command, at most so many times the better peer's.
    fn cpu(self, ratio: f64) -> Self {
        self.target(Measure::CpuUs, Against::BetterPeer, Bound::AtMost(ratio))
    }

    fn cpu_of_null(self, ratio: f64) -> Self {
        self.target(Measure::CpuUs, Against::Null, Bound::AtMost(ratio))
    }

    fn rate(self, ratio: f64) -> Self {
        self.target(Measure::RateK, Against::BetterPeer, Bound::AtLeast(ratio))
    }
}

fn strings_fill() -> Vec<Fill> {
    vec![Fill::new("SET key:{key} {value}", KEYS)]
}

pub fn strings() -> Suite {
    let works = vec![
        Work::new("GET P1", GET, 1, 200_000).cpu_of_null(1.05),
        Work::new("SET P1", SET, 1, 200_000),
        Work::new("GET", GET, 16, 1_600_000).cpu(0.62),
        Work::new("SET", SET, 16, 1_600_000).cpu(0.62),
        Work::new("GET", GET, 64, 3_200_000).cpu(0.38).cpu_of_null(1.8),
        Work::new("SET", SET, 64, 3_200_000).cpu(0.38),
    ];
    Suite { name: "strings, AOF off", directives: NO_AOF, fill: strings_fill(), works }
}

pub fn everysec() -> Suite {
    let works =
        vec![Work::new("SET everysec", SET, 16, 800_000), Work::new("SET everysec", SET, 64, 1_600_000).cpu(0.33)];
    Suite { name: "strings, AOF everysec", directives: EVERYSEC, fill: strings_fill(), works }
}

pub fn always() -> Suite {
    let works =
        vec![Work::new("SET always P1", SET, 1, 20_000).rate(2.0), Work::new("SET always", SET, 16, 160_000).rate(2.0)];
    Suite { name: "strings, AOF always", directives: ALWAYS, fill: strings_fill(), works }
}

pub fn wide() -> Suite {
    let line = "MGET [key:{key}]*100";
    let works = vec![
        Work::new("MGET of 100 P1", line, 1, 60_000).cpu(0.4),
        Work::new("MGET of 100", line, 16, 60_000).cpu(0.4),
    ];
    Suite { name: "wide reads", directives: NO_AOF, fill: strings_fill(), works }
}

/// Ten million keys at scale 1: more than any cache holds.
pub fn zipfian(scale: f64) -> Suite {
    let keys = scaled(10_000_000, scale);
    let name = format!("GET zipfian of {keys}");
    let works = vec![Work::new(&name, GET, 16, 3_200_000).keys(Keys::zipfian(keys)).cpu(0.42)];
    Suite { name: "many keys", directives: NO_AOF, fill: vec![Fill::new(SET, keys)], works }
}

/// A full cache: every write of a new key evicts another.
pub fn evicting(policy: &'static str) -> Suite {
    let (directives, line): (&[_], _) = match policy {
        "volatile-ttl" => (FULL_OF_VOLATILE, "SET key:{key} {value} EX 1000"),
        _ => (FULL, SET),
    };
    let name = format!("SET evicting {policy}");
    let works = vec![Work::new(&name, line, 16, 800_000).keys(Keys::uniform(100_000_000)).cpu(0.62)];
    Suite { name: "a full cache", directives, fill: vec![Fill::new(line, 1_000_000)], works }
}

/// Every default test of redis-benchmark on collections, and what feature stores do.
pub fn types(scale: f64) -> Suite {
    // Pops take what was put there before the clock started: warm-up, and what is under way at the end, included.
    let pops = scaled(800_000, scale);
    let stock = (pops + pops / 5) / 100 + 100;
    let at16 = |name: &str, line: &str, requests: u64| Work::new(name, line, 16, requests);
    let mut works = vec![
        at16("LPUSH", "LPUSH pushed {value}", 800_000).prepare(Fill::new("DEL pushed", 1)).cpu(0.6),
        at16("RPUSH", "RPUSH pushed {value}", 800_000).prepare(Fill::new("DEL pushed", 1)).cpu(0.6),
        at16("LPOP", "LPOP popped", 800_000).prepare(Fill::new("RPUSH popped [{value}]*100", stock)).cpu(0.6),
        at16("RPOP", "RPOP popped", 800_000).prepare(Fill::new("RPUSH popped [{value}]*100", stock)).cpu(0.6),
        at16("SADD", "SADD set element:{key}", 800_000).cpu(0.6),
        at16("HSET", "HSET hash element:{key} {value}", 800_000).cpu(0.6),
        at16("SPOP", "SPOP drawn", 800_000).prepare(Fill::new("SADD drawn [element:{key}]*100", stock)).cpu(0.6),
        at16("ZADD", "ZADD zset {key} element:{key}", 800_000).cpu(0.6),
        at16("ZPOPMIN", "ZPOPMIN ranked", 800_000)
            .prepare(Fill::new("ZADD ranked [{key} element:{again}]*100", stock).shuffled(stock * 100))
            .cpu(0.6),
        at16("MSET of 10", "MSET [key:{key} {value}]*10", 160_000).cpu(0.6),
    ];
    for (count, requests) in [(100, 80_000), (300, 32_000), (500, 24_000), (600, 16_000)] {
        works.push(
            at16(&format!("LRANGE_{count}"), &format!("LRANGE range 0 {}", count - 1), requests)
                .prepare(Fill::new("DEL range", 1))
                .prepare(Fill::new("RPUSH range [{value}]*100", 10))
                .cpu(0.6),
        );
    }
    let (of_10k, of_million) = (Keys::uniform(10_000), Keys::uniform(1_000_000));
    works.extend([
        at16("HMGET of 20", "HMGET wide:{key} [field{n}]*20", 400_000).keys(of_10k.clone()).cpu(0.5),
        at16("HGETALL of 10", "HGETALL vector:{key}", 400_000).keys(of_10k).cpu(0.5),
        at16("ZADD in 1M", "ZADD million {key} member:{key}", 800_000).keys(of_million.clone()).cpu(0.7),
        at16("ZRANGE by rank in 1M", "ZRANGE million 500000 500009", 400_000).cpu(0.7),
        at16("ZRANK in 1M", "ZRANK million member:{key}", 400_000).keys(of_million).cpu(0.7),
        Work::new("BITCOUNT of 1 MB", "BITCOUNT bits", 1, 4_000).cpu(0.7),
        Work::new("SINTER of 2 x 100k", "SINTER left right", 1, 60).cpu(0.7),
        Work::new("ZUNIONSTORE of 2 x 100k", "ZUNIONSTORE union 2 ranks1 ranks2", 1, 60).cpu(0.7),
    ]);
    works.iter_mut().filter(|w| w.requests <= 60).for_each(|w| w.connections = 2);
    Suite { name: "data types", directives: NO_AOF, fill: types_fill(), works }
}

/// The data that the work on types reads.
fn types_fill() -> Vec<Fill> {
    let third = 66_667;
    vec![
        Fill::new("HSET wide:{key} [field{n} 0.123456]*20", 10_000),
        Fill::new("HSET vector:{key} [field{n} 0.123456]*10", 10_000),
        Fill::new("ZADD million [{key} member:{again}]*100", 10_000).shuffled(1_000_000),
        Fill::new("SADD left [member:{key}]*100", 1_000),
        Fill::new("SADD right [member:{key}]*100", 1_000).from(third),
        Fill::new("ZADD ranks1 [{key} member:{again}]*100", 1_000),
        Fill::new("ZADD ranks2 [{key} member:{again}]*100", 1_000).from(third),
        Fill { value_bytes: 1 << 20, ..Fill::new("SETRANGE bits 0 {value}", 1) },
    ]
}

/// Appending, reading in order, and groups that read, acknowledge and take over.
pub fn streams(scale: f64) -> Suite {
    let at16 = |name: &str, line: &str, requests: u64| Work::new(name, line, 16, requests);
    let entry = "fieldone 0123456789abcdef";
    // Ids that are known beforehand, so that they can be acknowledged in their order.
    let fill = |key: &str, count: u64| Fill::new(&format!("XADD {key} 1{{key}} {entry}"), count);
    let (stock, pending) = (scaled(1_000_000, scale), scaled(100_000, scale));
    let anew = |work: Work, key: &str, entries: u64| {
        work.prepare(Fill::new(&format!("DEL {key}"), 1))
            .prepare(fill(key, entries))
            .prepare(Fill::new(&format!("XGROUP CREATE {key} g 0"), 1))
    };
    let reading = |name: &str, key: &str, count: u64, requests: u64| {
        let read = format!("XREADGROUP GROUP g c COUNT {count} STREAMS {key} >");
        let mut work = anew(at16(name, &read, requests), key, stock).keys(Keys::sequence());
        work.lines.push((1.0, format!("XACK {key} g [1{{key}}]*{count}")));
        work
    };
    let works = vec![
        anew(at16("XADD", &format!("XADD added * {entry}"), 800_000), "added", 1).cpu(0.6),
        anew(at16("XADD MAXLEN ~", &format!("XADD capped MAXLEN ~ 10000 * {entry}"), 800_000), "capped", 1).cpu(0.6),
        at16("XRANGE of 10", "XRANGE stream - + COUNT 10", 400_000).cpu(0.6),
        at16("XRANGE of 100", "XRANGE stream - + COUNT 100", 80_000).cpu(0.6),
        reading("XREADGROUP of 1 and XACK", "acked", 1, 400_000).cpu(0.6),
        reading("XREADGROUP of 100 and XACK", "many", 100, 16_000).cpu(0.6),
        at16("XAUTOCLAIM of 10", "XAUTOCLAIM owed g d 0 0 COUNT 10", 160_000).cpu(0.6),
        at16("XPENDING", "XPENDING owed g", 800_000).cpu(0.6),
        at16("XPENDING of 10", "XPENDING owed g - + 10", 400_000).cpu(0.6),
    ];
    let fill = vec![
        fill("stream", 100_000),
        fill("owed", pending),
        Fill::new("XGROUP CREATE owed g 0", 1),
        Fill::new(&format!("XREADGROUP GROUP g c COUNT {pending} STREAMS owed >"), 1),
    ];
    Suite { name: "streams", directives: NO_AOF, fill, works }
}

/// Scripts and a function: one call in each, rate limiters, many calls, and none.
pub fn scripts() -> Suite {
    let called = |name: &str, script: &str, rest: &str, pipeline: usize, requests: u64| {
        Work::new(name, &evalsha(script, rest), pipeline, requests)
    };
    let key = "1 key:{key}";
    let function = "FCALL bench_get 1 key:{key}";
    let limit = "60000 100";
    let works = vec![
        called("EVALSHA GET P1", SCRIPTED_GET, key, 1, 200_000).cpu(0.95),
        called("EVALSHA GET", SCRIPTED_GET, key, 16, 800_000).cpu(0.5),
        called("EVALSHA GET", SCRIPTED_GET, key, 64, 1_600_000).cpu(0.5),
        Work::new("FCALL GET P1", function, 1, 200_000).cpu(0.95),
        Work::new("FCALL GET", function, 16, 800_000).cpu(0.5),
        Work::new("FCALL GET", function, 64, 1_600_000).cpu(0.5),
        called("limiter, INCR and PEXPIRE", COUNTING_LIMITER, &format!("1 count:{{key}} {limit}"), 16, 400_000)
            .cpu(0.7),
        // Windows that are full soon: what is asked then is what a limiter is there for.
        called("limiter, sliding window", SLIDING_LIMITER, &format!("1 window:{{key}} {limit}"), 16, 400_000)
            .prepare(Fill::new("DEL [window:{key}]*1000", 1))
            .keys(Keys::uniform(1_000))
            .cpu(0.7),
        called("1,000 calls in a script", THOUSAND_CALLS, key, 1, 4_000).cpu(0.4),
        called("a computing loop of 100,000", COMPUTING, "0", 1, 2_000).cpu(1.0),
    ];
    let mut fill = strings_fill();
    fill.push(Fill::new(FUNCTION_GET, 1));
    fill.extend(
        [SCRIPTED_GET, COUNTING_LIMITER, SLIDING_LIMITER, THOUSAND_CALLS, COMPUTING]
            .map(|script| Fill::new(&format!("SCRIPT LOAD {script}"), 1)),
    );
    Suite { name: "scripts", directives: NO_AOF, fill, works }
}

/// The call of a script that is loaded.
pub fn evalsha(script: &str, rest: &str) -> String {
    format!("EVALSHA {} {rest}", sha1_hex(script.as_bytes()))
}

/// Values of megabytes, as KV caches of LLM serving have them, over few connections and many.
pub fn large() -> Suite {
    let mib = |mib: usize, connections: usize| {
        let work = |what: &str, line: &str| Work {
            name: format!("{what} {mib} MiB, {connections} connections"),
            connections,
            keys: Keys::uniform(LARGE_BYTES / (mib << 20) as u64),
            value_bytes: mib << 20,
            ..Work::new(what, line, 1, (2 * LARGE_BYTES / (mib << 20) as u64).max(3 * connections as u64))
        };
        let set = work("SET", SET).cpu(0.7).cpu_of_null(1.3).rate(1.0);
        let stored = Fill { value_bytes: mib << 20, ..Fill::new(SET, LARGE_BYTES / (mib << 20) as u64) };
        [set, work("GET", GET).prepare(stored).cpu(0.7).cpu_of_null(1.3).rate(1.0)]
    };
    let works = [(4, 1), (4, 8), (4, 80), (32, 1), (32, 8)].into_iter().flat_map(|(size, n)| mib(size, n)).collect();
    Suite { name: "large values, AOF off", directives: NO_AOF, fill: Vec::new(), works }
}

pub fn scaled(count: u64, scale: f64) -> u64 {
    ((count as f64 * scale) as u64).max(1)
}

// Scripts are one word of a template: what separates theirs is a newline.
const SCRIPTED_GET: &str = "return\nredis.call('GET',KEYS[1])";
/// A count that ends with its window: key, milliseconds, limit.
pub const COUNTING_LIMITER: &str = "local\nn=redis.call('INCR',KEYS[1])\n\
    if\nn==1\nthen\nredis.call('PEXPIRE',KEYS[1],ARGV[1])\nend\n\
    return\nn<=tonumber(ARGV[2])";
/// The times of what was let through: key, milliseconds, limit.
const SLIDING_LIMITER: &str = "local\nt=redis.call('TIME')\nlocal\nnow=t[1]*1000000+t[2]\n\
    redis.call('ZREMRANGEBYSCORE',KEYS[1],0,now-ARGV[1]*1000)\n\
    if\nredis.call('ZCARD',KEYS[1])>=tonumber(ARGV[2])\nthen\nreturn\n0\nend\n\
    redis.call('ZADD',KEYS[1],now,now)\nredis.call('PEXPIRE',KEYS[1],ARGV[1])\nreturn\n1";
const THOUSAND_CALLS: &str = "for\ni=1,1000\ndo\nredis.call('SET',KEYS[1],i)\nend";
const COMPUTING: &str = "local\ns=0\nfor\ni=1,100000\ndo\ns=s+i%7\nend\nreturn\ns";
const FUNCTION_GET: &str = "FUNCTION LOAD REPLACE #!lua\tname=bench\n\
    redis.register_function('bench_get',function(keys)\nreturn\nredis.call('GET',keys[1])\nend)";
const GET: &str = "GET key:{key}";
const SET: &str = "SET key:{key} {value}";
const KEYS: u64 = 100_000;
pub const VALUE_BYTES: usize = 64;
const CONNECTIONS: usize = 50;
/// Data of a row of large values.
const LARGE_BYTES: u64 = 512 << 20;
pub const NO_AOF: &[(&str, &str)] = &[("appendonly", "no")];
const FULL: &[(&str, &str)] = &[("appendonly", "no"), ("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru")];
const FULL_OF_VOLATILE: &[(&str, &str)] =
    &[("appendonly", "no"), ("maxmemory", "100mb"), ("maxmemory-policy", "volatile-ttl")];
pub const EVERYSEC: &[(&str, &str)] =
    &[("appendonly", "yes"), ("appendfsync", "everysec"), ("auto-aof-rewrite-percentage", "0")];
const ALWAYS: &[(&str, &str)] =
    &[("appendonly", "yes"), ("appendfsync", "always"), ("auto-aof-rewrite-percentage", "0")];

#[cfg(test)]
#[allow(unused)] // A bench without a test runner sees them too.
mod tests {
    use super::*;
    use crate::request::{Dialect, Recipe};

    fn suites() -> impl IntoIterator<Item = Suite> {
        [
            strings(),
            everysec(),
            always(),
            wide(),
            zipfian(0.001),
            evicting("allkeys-lru"),
            evicting("volatile-ttl"),
            types(0.01),
            streams(0.01),
            scripts(),
        ]
    }

    #[test]
    fn every_line_of_every_suite_is_a_command() {
        for suite in suites() {
            let fills = suite.fill.iter().chain(suite.works.iter().flat_map(|w| &w.prepare));
            let lines = fills.map(|f| f.line.as_str());
            for line in lines.chain(suite.works.iter().flat_map(|w| w.lines.iter().map(|(_, line)| line.as_str()))) {
                let recipe = Recipe::new(&[(1.0, line)], Keys::uniform(10), 8).unwrap();
                let (mut out, registry) = (Vec::new(), memkv::command::Registry::new(memkv::commands::FAMILIES));
                recipe.writer(Dialect::Resp)(&mut out);
                let name = line.split(' ').next().unwrap();
                assert!(registry.find(name.as_bytes()).is_some(), "{line}");
            }
        }
    }

    #[test]
    fn names_are_told_apart() {
        let mut names: Vec<String> = suites().into_iter().flat_map(|s| s.works).map(|w| w.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
