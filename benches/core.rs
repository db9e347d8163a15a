//! The hot core under criterion: parser, reply writer, table, keyspace through `Db`, stripes under two threads, journal
//! append, listpack.
//!
//! Figures of one machine are comparable only with each other in one run; the bench `load` compares whole servers.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use memkv::keyspace::{AccessMode, Db, Expiry, Hint, Keyspace};
use memkv::persist::Journal;
use memkv::persist::journal::Record;
use memkv::resp::{Limits, Out, Parser, Proto, Span, Step, encode_request};
use memkv::table::Table;
use memkv::types::listpack::Listpack;
use std::hint::black_box;
use std::num::NonZeroU64;
use std::sync::Barrier;
use std::time::{Duration, Instant};

const KEYS: u64 = 100_000;

fn mix(n: u64) -> u64 {
    let x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ x >> 32
}

fn parser(c: &mut Criterion) {
    let mut wire = Vec::new();
    encode_request(&mut wire, [b"SET".as_slice(), b"sixteen byte key", &[b'v'; 32]].into_iter());
    let limits = Limits { bulk_bytes_max: 512 << 20, authenticated: true };
    let (mut parser, mut spans): (Parser, Vec<Span>) = (Parser::default(), Vec::new());
    let mut group = c.benchmark_group("parser");
    group.throughput(Throughput::Elements(1));
    group.bench_function("set", |b| {
        b.iter(|| {
            spans.clear();
            let step = parser.next(black_box(&mut wire), &mut spans, &limits);
            assert!(matches!(step, Step::Request { argc: 3, .. }));
        });
    });
    let mut pipeline = Vec::new();
    for _ in 0..PIPELINE {
        encode_request(&mut pipeline, [b"GET".as_slice(), b"sixteen byte key"].into_iter());
    }
    group.throughput(Throughput::Elements(PIPELINE as u64));
    group.bench_function("16 gets", |b| {
        b.iter(|| {
            spans.clear();
            let mut at = 0;
            while let Step::Request { len, .. } = parser.next(black_box(&mut pipeline[at..]), &mut spans, &limits) {
                at += len;
            }
            assert_eq!(at, pipeline.len());
        });
    });
    group.finish();
}

fn replies(c: &mut Criterion) {
    let (mut buffer, value) = (Vec::with_capacity(64 << 10), [b'v'; 64]);
    let mut group = c.benchmark_group("replies");
    group.throughput(Throughput::Elements(1));
    let mut measure = |name: &str, write: &dyn Fn(&mut Out<'_>)| {
        group.bench_function(name, |b| {
            b.iter(|| {
                buffer.clear();
                write(&mut Out::new(black_box(&mut buffer), Proto::Resp2));
            });
        });
    };
    measure("ok", &|out| out.ok());
    measure("integer", &|out| out.int(black_box(123_456)));
    measure("bulk of 64", &|out| out.bulk(black_box(&value)));
    measure("array of 20 bulks", &|out| {
        out.array(20);
        (0..20).for_each(|_| out.bulk(black_box(&value)));
    });
    group.finish();
}

fn table(c: &mut Criterion) {
    let word = |n: u64| NonZeroU64::new(n).expect("counted from 1");
    let fill = || {
        let mut table = Table::new();
        (1..=KEYS).for_each(|n| table.insert(mix(n), word(n), |w| mix(w.get())));
        table
    };
    let full = fill();
    let mut group = c.benchmark_group("table");
    group.throughput(Throughput::Elements(1));
    let mut n = 0;
    group.bench_function("find", |b| {
        b.iter(|| {
            n = n % KEYS + 1;
            black_box(full.find(mix(n), |w| w.get() == n)).is_some()
        });
    });
    let mut table = fill();
    let mut next = KEYS;
    group.bench_function("insert", |b| {
        b.iter(|| {
            next += 1;
            // Far from memory's end, and growth is part of what an insertion costs.
            if next.is_multiple_of(50 * KEYS) {
                table = Table::new();
            }
            table.insert(mix(next), word(next), |w| mix(w.get()));
        });
    });
    group.throughput(Throughput::Elements(KEYS));
    group.sample_size(20);
    group.bench_function("grow to 100k", |b| b.iter_batched(|| (), |()| fill(), BatchSize::LargeInput));
    group.finish();
}

fn keyspace(c: &mut Criterion) {
    let keyspace = Keyspace::new(1, 1024, 1, 0);
    let keys: Vec<String> = (0..KEYS).map(|n| format!("key:{n:012}")).collect();
    let open = |key: &str| {
        let place = keyspace.place(key.as_bytes());
        let mut db = Db::new(keyspace.lock_one(place.stripe as usize), 0, 1, AccessMode::default());
        db.hint(std::iter::once(Hint { key: key.as_ptr(), place }).collect());
        db
    };
    for key in &keys {
        open(key).set_string(key.as_bytes(), &[b'v'; 64], Expiry::Clear);
    }
    let mut group = c.benchmark_group("keyspace");
    group.throughput(Throughput::Elements(1));
    let mut n = 0;
    group.bench_function("get", |b| {
        b.iter(|| {
            n = (n + 7919) % keys.len();
            black_box(open(&keys[n]).string(keys[n].as_bytes()).is_ok())
        });
    });
    group.bench_function("set", |b| {
        b.iter(|| {
            n = (n + 7919) % keys.len();
            open(&keys[n]).set_string(keys[n].as_bytes(), &[b'w'; 64], Expiry::Clear);
        });
    });
    group.finish();
}

/// Two threads write to one keyspace: what sharing the stripes' cache lines and waiting for locks costs.
fn stripes(c: &mut Criterion) {
    let keyspace = Keyspace::new(1, 1024, 2, 0);
    let keys: Vec<String> = (0..KEYS).map(|n| format!("key:{n:012}")).collect();
    let set = |key: &str| {
        let place = keyspace.place(key.as_bytes());
        let mut db = Db::new(keyspace.lock_one(place.stripe as usize), 0, 1, AccessMode::default());
        db.hint(std::iter::once(Hint { key: key.as_ptr(), place }).collect());
        db.set_string(key.as_bytes(), &[b'v'; 64], Expiry::Clear);
    };
    keys.iter().for_each(|key| set(key));
    let run = |thread: usize, times: u64, start: &Barrier| -> Duration {
        start.wait();
        let began = Instant::now();
        let mut n = thread * keys.len() / 2;
        for _ in 0..times {
            n = (n + 7919) % keys.len();
            set(&keys[n]);
        }
        began.elapsed()
    };
    let mut group = c.benchmark_group("stripes");
    group.throughput(Throughput::Elements(1));
    for threads in [1, 2] {
        group.bench_function(format!("set by {threads} at once, each"), |b| {
            b.iter_custom(|times| {
                let start = Barrier::new(threads);
                std::thread::scope(|scope| {
                    let (run, start) = (&run, &start);
                    let all: Vec<_> = (0..threads).map(|t| scope.spawn(move || run(t, times, start))).collect();
                    all.into_iter().map(|t| t.join().expect("a writer ends")).max().unwrap_or_default()
                })
            });
        });
    }
    group.finish();
}

fn listpack(c: &mut Criterion) {
    let mut full = Listpack::new();
    let field = |n: usize| format!("field{n}");
    for n in 0..LISTPACK_ENTRIES {
        full.push_back(field(n).as_bytes());
        full.push_back(b"0.123456");
    }
    let mut group = c.benchmark_group("listpack");
    group.throughput(Throughput::Elements(1));
    let last = field(LISTPACK_ENTRIES - 1);
    group.bench_function("find the last of 20 fields", |b| {
        b.iter(|| black_box(full.find(full.first(), black_box(last.as_bytes()), 1)).is_some());
    });
    group.bench_function("walk 20 pairs", |b| b.iter(|| black_box(&full).pairs().count()));
    group.bench_function("push and drop an entry", |b| {
        b.iter(|| {
            full.push_back(black_box(b"0.654321"));
            let last = full.last().expect("one was pushed");
            full.remove(last, 1);
        });
    });
    group.finish();
}

fn journal(c: &mut Criterion) {
    let journal = Journal::default();
    let null = std::path::Path::new("/dev/null");
    let file = memkv::persist::Storage::default().append(null).expect("the null device opens");
    journal.attach(file, 0);
    let mut record = Vec::new();
    encode_request(&mut record, [b"SET".as_slice(), b"sixteen byte key", &[b'v'; 64]].into_iter());
    let mut group = c.benchmark_group("journal");
    group.throughput(Throughput::Elements(1));
    let mut n = 0;
    group.bench_function("append", |b| {
        b.iter(|| {
            n += 1;
            let unit = Record { databases: (0, 0), commands: 1, pieces: [b"", black_box(&record), b""] };
            journal.append(unit, unit, 0);
            if n % 64 == 0 {
                journal.flush();
            }
        });
    });
    group.finish();
}

const PIPELINE: usize = 16;
const LISTPACK_ENTRIES: usize = 20;

criterion_group!(benches, parser, replies, table, keyspace, stripes, journal, listpack);
criterion_main!(benches);
