//! The hot core under criterion: parser, table, keyspace through `Db`, journal append.
//!
//! Figures of one machine are comparable only with each other in one run; `scripts/bench.py` compares whole servers.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use memkv::keyspace::{Db, Expiry, Hint, Keyspace, Manner};
use memkv::persist::Journal;
use memkv::resp::{Limits, Parser, Span, Step, encode_request};
use memkv::table::Table;
use std::hint::black_box;
use std::num::NonZeroU64;

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
        let mut db = Db::new(keyspace.lock_one(place.stripe as usize), 0, 1, Manner::default());
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
            journal.append((0, 0), 1, [b"", black_box(&record), b""], 0);
            if n % 64 == 0 {
                journal.flush();
            }
        });
    });
    group.finish();
}

criterion_group!(benches, parser, table, keyspace, journal);
criterion_main!(benches);
