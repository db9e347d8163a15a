//! The keyspace against a naive model: whatever happens to keys under a driven clock, both agree after every step.

use super::db::{AccessMode, Db, Expired, Expiry, FIELDS_PER_VISIT, Lapsed};
use super::defrag::Pass;
use super::expire::expire_slice;
use super::stripe::Keyspace;
use super::walk::Garbage;
use crate::mover::Mover;
use crate::types::ListpackMax;
use crate::types::fields::Due;
use crate::types::hash::Hash;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const START: i64 = 1_700_000_000_000;
const DATABASES: usize = 2;
const STRIPES: usize = 4;

/// One act of a unit; keys are numbers of [`key`].
#[derive(Clone, Debug)]
enum Act {
    Set(usize, usize, Vec<u8>, When),
    SetText(usize, usize, Vec<u8>),
    Append(usize, usize, Vec<u8>),
    SetRange(usize, usize, usize, Vec<u8>),
    Incr(usize, usize, i64),
    Expire(usize, usize, Option<i64>),
    Remove(usize, usize),
    Move(usize, usize, usize, usize),
    Copy(usize, usize, usize, usize),
    Flush(usize),
    Swap,
    Pass(i64),
    /// A visit of defragmentation that looks at a few allocations, all of them worth moving.
    Relocate(usize),
    ExpireSlices,
}

#[derive(Clone, Copy, Debug)]
enum When {
    Clear,
    Keep,
    In(i64),
}

fn key(number: usize) -> &'static [u8] {
    const KEYS: [&[u8]; 8] =
        [b"a", b"b", b"sixteen byte key", b"{tag}one", b"{tag}two", b"", b"\0\xff", b"a key that is long, very long"];
    KEYS[number % KEYS.len()]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        (-20i64..20).prop_map(|n| n.to_string().into_bytes()),
        vec(any::<u8>(), 0..60),
        (any::<u8>(), 4000usize..9000).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let (db, key) = (0..DATABASES, 0usize..8);
    let when = prop_oneof![Just(When::Clear), Just(When::Keep), (1i64..50).prop_map(When::In)];
    let names = (db.clone(), key.clone(), db.clone(), key.clone());
    let at = (db, key);
    prop_oneof![
        6 => (at.clone(), value(), when).prop_map(|((d, k), v, w)| Act::Set(d, k, v, w)),
        1 => (at.clone(), value()).prop_map(|((d, k), v)| Act::SetText(d, k, v)),
        3 => (at.clone(), value()).prop_map(|((d, k), v)| Act::Append(d, k, v)),
        3 => (at.clone(), 0usize..5000, vec(any::<u8>(), 1..40)).prop_map(|((d, k), o, v)| Act::SetRange(d, k, o, v)),
        3 => (at.clone(), any::<i64>()).prop_map(|((d, k), n)| Act::Incr(d, k, n)),
        4 => (at.clone(), proptest::option::of(1i64..50)).prop_map(|((d, k), t)| Act::Expire(d, k, t)),
        2 => at.prop_map(|(d, k)| Act::Remove(d, k)),
        3 => names.clone().prop_map(|(d, k, e, l)| Act::Move(d, k, e, l)),
        3 => names.prop_map(|(d, k, e, l)| Act::Copy(d, k, e, l)),
        1 => (0..DATABASES).prop_map(Act::Flush),
        1 => Just(Act::Swap),
        3 => (0i64..40).prop_map(Act::Pass),
        2 => Just(Act::ExpireSlices),
        6 => (1usize..12).prop_map(Act::Relocate),
    ]
}

type Keys = BTreeMap<(usize, Vec<u8>), (Vec<u8>, Option<i64>)>;

/// The truth: plain maps. Keys that are due stay until the keyspace says that it removed them.
#[derive(Default)]
struct Model {
    keys: Keys,
}

impl Model {
    fn live(&self, db: usize, key: &[u8], now: i64) -> Option<&(Vec<u8>, Option<i64>)> {
        self.keys.get(&(db, key.to_vec())).filter(|(_, expiry)| expiry.is_none_or(|at| at > now))
    }

    fn put(&mut self, db: usize, key: &[u8], value: Vec<u8>, expiry: Option<i64>) {
        self.keys.insert((db, key.to_vec()), (value, expiry));
    }

    /// Says whether it was there, so that removals can be compared.
    fn remove(&mut self, db: usize, key: &[u8], now: i64) -> bool {
        let was = self.live(db, key, now).is_some();
        if was {
            self.keys.remove(&(db, key.to_vec()));
        }
        was
    }
}

struct Pair {
    keyspace: Keyspace,
    model: Model,
    now: i64,
    pass: Pass,
}

impl Pair {
    fn new() -> Self {
        let keyspace = Keyspace::new(DATABASES, STRIPES, 1, START);
        Self { keyspace, model: Model::default(), now: START, pass: Pass::default() }
    }

    /// Runs a unit that owns everything and takes what it expired out of the model.
    fn unit<R>(&mut self, db: usize, work: impl FnOnce(&mut Db<'_>) -> R) -> R {
        let exclusive = self.keyspace.gate.exclusive();
        let mut db = Db::new(self.keyspace.own_world(&exclusive), db, self.now, AccessMode::default());
        let result = work(&mut db);
        for Expired { db, key, .. } in db.changes.take_expired() {
            let (_, expiry) = self.model.keys.remove(&(db, key.to_vec())).expect("an expired key was there");
            assert!(expiry.expect("an expired key had a time") <= self.now);
        }
        result
    }

    fn string(&mut self, db: usize, key: &[u8]) -> Option<Vec<u8>> {
        self.unit(db, |db| db.string(key).expect("all values are strings").map(|text| text.to_vec()))
    }

    fn act(&mut self, act: Act) {
        let now = self.now;
        match act {
            Act::Set(d, k, value, when) => {
                let had = self.model.live(d, key(k), now).and_then(|(_, expiry)| *expiry);
                let (expiry, at) = match when {
                    When::Clear => (Expiry::Clear, None),
                    When::Keep => (Expiry::Keep, had),
                    When::In(ms) => (Expiry::At(now + ms), Some(now + ms)),
                };
                self.unit(d, |db| db.set_string(key(k), &value, expiry));
                self.model.put(d, key(k), value, at);
            }
            Act::SetText(d, k, value) => {
                let at = self.model.live(d, key(k), now).and_then(|(_, expiry)| *expiry);
                self.unit(d, |db| db.set_text(key(k), &value, "set"));
                self.model.put(d, key(k), value, at);
            }
            Act::Append(d, k, tail) => {
                let (mut value, at) = self.model.live(d, key(k), now).cloned().unwrap_or_default();
                let len = value.len();
                let total = len + tail.len();
                self.unit(d, |db| {
                    assert_eq!(db.string_for_write(key(k)).unwrap().map_or(0, |text| text.len()), len);
                    db.modify_string(key(k), total, "append", |bytes| bytes[len..].copy_from_slice(&tail)).unwrap();
                });
                value.extend_from_slice(&tail);
                self.model.put(d, key(k), value, at);
            }
            Act::SetRange(d, k, offset, piece) => {
                let (mut value, at) = self.model.live(d, key(k), now).cloned().unwrap_or_default();
                let end = offset + piece.len();
                let change = |bytes: &mut [u8]| bytes[offset..end].copy_from_slice(&piece);
                self.unit(d, |db| db.modify_string(key(k), end, "setrange", change)).unwrap();
                value.resize(value.len().max(end), 0);
                value[offset..end].copy_from_slice(&piece);
                self.model.put(d, key(k), value, at);
            }
            Act::Incr(d, k, n) => {
                let at = self.model.live(d, key(k), now).and_then(|(_, expiry)| *expiry);
                self.unit(d, |db| db.set_int(key(k), n, "incrby"));
                self.model.put(d, key(k), n.to_string().into_bytes(), at);
            }
            Act::Expire(d, k, ms) => {
                let at = ms.map(|ms| now + ms);
                let found = self.unit(d, |db| db.set_expiry(key(k), at, "expire"));
                let live = self.model.live(d, key(k), now).cloned();
                assert_eq!(found, live.is_some());
                if let Some((value, _)) = live {
                    self.model.put(d, key(k), value, at);
                }
            }
            Act::Remove(d, k) => {
                let found = self.unit(d, |db| db.remove(key(k)));
                assert_eq!(found, self.model.remove(d, key(k), now));
            }
            other => self.act_on_many(other),
        }
    }

    fn act_on_many(&mut self, act: Act) {
        let now = self.now;
        match act {
            Act::Move(d, k, to_db, to) if (d, key(k)) != (to_db, key(to)) => {
                let moved = self.unit(d, |db| db.move_to(key(k), to_db, key(to), ("from", "to")));
                let source = self.model.live(d, key(k), now).cloned();
                assert_eq!(moved, source.is_some());
                if let Some((value, at)) = source {
                    self.model.remove(d, key(k), now);
                    self.model.put(to_db, key(to), value, at);
                }
            }
            Act::Copy(d, k, to_db, to) if (d, key(k)) != (to_db, key(to)) => {
                let copied = self.unit(d, |db| db.copy_to(key(k), to_db, key(to), "copy_to"));
                let source = self.model.live(d, key(k), now).cloned();
                assert_eq!(copied, source.is_some());
                if let Some((value, at)) = source {
                    self.model.put(to_db, key(to), value, at);
                }
            }
            Act::Flush(d) => {
                let flushed = self.unit(d, |db| db.flush());
                drop(Garbage::Flushed(flushed));
                self.model.keys.retain(|(db, _), _| *db != d);
            }
            Act::Swap => {
                self.unit(0, |db| db.swap(0, 1));
                let keys = std::mem::take(&mut self.model.keys);
                self.model.keys = keys.into_iter().map(|((db, key), value)| ((1 - db, key), value)).collect();
            }
            Act::Pass(ms) => self.now += ms,
            Act::Relocate(looked_max) => {
                let mut pass = std::mem::take(&mut self.pass);
                let more = self.unit(0, |db| db.relocate(&mut pass, &mut Mover::of_everything(), looked_max));
                self.pass = if more { pass } else { Pass::default() };
                self.keyspace.sweep_graveyard();
            }
            Act::ExpireSlices => self.expire_all(3),
            _ => {}
        }
    }

    /// Runs the expiry cycle until nothing is due.
    fn expire_all(&mut self, keys_max: usize) {
        while let (Some(stripe), _) = self.keyspace.next_due_stripe(0, self.now) {
            let now = self.now;
            self.unit(0, |db| expire_slice(db, stripe, now, keys_max));
        }
        let due = self.model.keys.values().filter(|(_, at)| at.is_some_and(|at| at <= self.now)).count();
        assert_eq!(due, 0, "the cycle removes everything that is due");
        let (_, earliest) = self.keyspace.next_due_stripe(0, self.now);
        let next = self.model.keys.values().filter_map(|(_, at)| *at).min();
        assert!(next.is_none_or(|next| earliest <= next), "the cycle wakes up in time");
    }

    /// Everything that can be seen agrees.
    fn compare(&mut self) {
        let now = self.now;
        for db in 0..DATABASES {
            let mut seen = BTreeMap::new();
            self.unit(db, |db| {
                db.for_each_entry(|entry| assert!(seen.insert(entry.key().to_vec(), entry.expiry()).is_none()))
            });
            let model: BTreeMap<_, _> = (self.model.keys.iter())
                .filter(|((d, _), (_, at))| *d == db && at.is_none_or(|at| at > now))
                .map(|((_, key), (_, at))| (key.clone(), *at))
                .collect();
            assert_eq!(seen, model);
            let here = self.model.keys.iter().filter(|((d, _), _)| *d == db);
            let (keys, volatile) = (here.clone().count(), here.filter(|(_, (_, at))| at.is_some()).count());
            assert_eq!(
                self.keyspace.counts(db),
                (keys, volatile),
                "keys, and keys with a time, that are not yet removed"
            );
        }
    }

    fn compare_values(&mut self) {
        for (db, number) in (0..DATABASES).flat_map(|db| (0..8).map(move |number| (db, number))) {
            let want = self.model.live(db, key(number), self.now).cloned();
            assert_eq!(self.string(db, key(number)), want.as_ref().map(|(value, _)| value.clone()));
            assert_eq!(self.unit(db, |db| db.expiry(key(number))), want.map(|(_, at)| at));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn keys_live_and_die_as_in_a_map(acts in vec(act(), 1..80)) {
        let mut pair = Pair::new();
        for act in acts {
            pair.act(act);
            pair.compare();
        }
        pair.compare_values();
        pair.now += 60;
        pair.expire_all(2);
        pair.compare();
    }

    /// A key that is there from the first call of a scan to its last is answered, whatever comes and goes beside it.
    #[test]
    fn scan_answers_what_was_there_throughout(
        stable in 0usize..300,
        churn in vec((any::<bool>(), 0usize..600), 0..3000),
        first in 0usize..600,
        count in 1usize..40,
    ) {
        let keyspace = Keyspace::new(1, STRIPES, 1, START);
        let name = |kind: &str, n: usize| format!("{kind}:{n}").into_bytes();
        let run = |work: &mut dyn FnMut(&mut Db<'_>)| {
            let exclusive = keyspace.gate.exclusive();
            work(&mut Db::new(keyspace.own_world(&exclusive), 0, START, AccessMode::default()));
        };
        run(&mut |db| {
            (0..stable).for_each(|n| db.set_string(&name("stable", n), b"v", Expiry::Clear));
            (0..first).for_each(|n| db.set_string(&name("churn", n), b"v", Expiry::Clear));
        });
        let (mut cursor, mut seen, mut calls) = (0, BTreeSet::new(), 0);
        let mut churn = churn.chunks(20);
        loop {
            run(&mut |db| cursor = db.scan(cursor, count, |met| { seen.insert(met.key.to_vec()); }));
            calls += 1;
            prop_assert!(calls < 10_000, "a scan ends");
            if cursor == 0 {
                break;
            }
            run(&mut |db| for (add, n) in churn.next().unwrap_or_default() {
                match add {
                    true => (0..8).for_each(|i| db.set_string(&name("churn", n + 1000 * i), b"v", Expiry::Clear)),
                    false => (0..8).for_each(|i| { db.remove(&name("churn", n + 1000 * i)); }),
                }
            });
        }
        for n in 0..stable {
            prop_assert!(seen.contains(&name("stable", n)), "stable:{} was there throughout", n);
        }
    }

    #[test]
    fn any_cursor_is_harmless(cursor: u64, keys in 0usize..200, count in 1usize..1000) {
        let mut pair = Pair::new();
        pair.unit(0, |db| (0..keys).for_each(|n| db.set_string(n.to_string().as_bytes(), b"v", Expiry::Clear)));
        let mut cursor = cursor;
        for _ in 0..10_000 {
            cursor = pair.unit(0, |db| db.scan(cursor, count, |_| {}));
            if cursor == 0 {
                return Ok(());
            }
        }
        prop_assert!(false, "a scan from anywhere ends");
    }

    /// At every moment exactly the keys are gone whose time has come, however often the times were changed.
    #[test]
    fn keys_end_at_their_time_exactly(times in vec((0usize..400, 1i64..1000), 1..1500), steps in vec(1i64..120, 1..20)) {
        let keyspace = Keyspace::new(1, STRIPES, 1, START);
        let mut ends = BTreeMap::new();
        let mut now = START;
        let run = |now: i64, work: &mut dyn FnMut(&mut Db<'_>)| {
            let exclusive = keyspace.gate.exclusive();
            work(&mut Db::new(keyspace.own_world(&exclusive), 0, now, AccessMode::default()));
        };
        run(now, &mut |db| for (n, ms) in &times {
            db.set_string(n.to_string().as_bytes(), b"v", Expiry::At(now + ms));
            ends.insert(n.to_string().into_bytes(), now + ms);
        });
        for step in steps {
            now += step;
            let mut slices = 0;
            while let (Some(stripe), _) = keyspace.next_due_stripe(slices % STRIPES, now) {
                run(now, &mut |db| {
                    let slice = expire_slice(db, stripe, now, 16);
                    assert!(slice.lag_ms < step.max(1) + 1);
                });
                slices += 1;
                prop_assert!(slices < 10_000, "the cycle ends");
            }
            ends.retain(|_, at| *at > now);
            prop_assert_eq!(keyspace.counts(0), (ends.len(), ends.len()));
            run(now, &mut |db| db.for_each_key(|key| assert!(ends.contains_key(key))));
        }
    }
}

/// Walks made the shares of a database in all stripes: an INFO took half a megabyte, from which a small `maxmemory` evicted.
#[test]
fn who_only_reads_a_database_makes_no_part_of_it() {
    let mut pair = Pair::new();
    pair.unit(1, |db| db.set_string(b"a", b"b", Expiry::Clear));
    pair.unit(1, |db| {
        assert_eq!(db.random_key().as_deref(), Some(&b"a"[..]));
        db.for_each_key(|key| assert_eq!(key, b"a"));
        db.for_each_entry(|entry| assert_eq!(entry.key(), b"a"));
        assert_eq!(db.scan(0, 100, |met| assert_eq!(met.key, b"a")), 0);
        assert!(db.table_slots() > 0);
        for name in (0..100).map(|n: u32| n.to_string()) {
            assert!(db.inspect(name.as_bytes()).is_none() && !db.contains(name.as_bytes()));
        }
    });
    assert_eq!(pair.keyspace.sizes(1, 100).iter().filter(|sizes| sizes.bytes.classes().count() > 0).count(), 1);
    let has_share = |stripe: &usize| pair.keyspace.lock_one(*stripe).share_there(*stripe, 1).is_some();
    assert_eq!((0..STRIPES).filter(has_share).count(), 1);
}

/// Tables grow and shrink, which retires memory.
fn retire(keyspace: &Keyspace) {
    {
        let exclusive = keyspace.gate.exclusive();
        let mut db = Db::new(keyspace.own_world(&exclusive), 0, START, AccessMode::default());
        let names: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        names.iter().for_each(|name| db.set_string(name.as_bytes(), b"a value", Expiry::Clear));
        names.iter().for_each(|name| assert!(db.remove(name.as_bytes())));
    }
    assert!(keyspace.buried_bytes() > 0);
}

#[test]
fn retired_memory_is_freed_at_once_or_by_the_thread_that_sweeps() {
    let keyspace: &'static Keyspace = Box::leak(Box::new(Keyspace::new(DATABASES, STRIPES, 2, START)));
    retire(keyspace);
    let inside = keyspace.gate.enter(0);
    keyspace.sweep_soon(0);
    assert_eq!(keyspace.buried_bytes(), 0, "no other thread is inside");
    drop(inside);
    retire(keyspace);
    let other = keyspace.gate.enter(1);
    {
        let _inside = keyspace.gate.enter(0);
        keyspace.sweep_soon(0);
    }
    assert!(keyspace.buried_bytes() > 0, "another thread is inside");
    drop(other);
    {
        let _inside = keyspace.gate.enter(0);
        keyspace.sweep_soon(0);
    }
    assert_eq!(keyspace.buried_bytes(), 0, "the thread that was asked has not come yet");
    retire(keyspace);
    let other = keyspace.gate.enter(1);
    {
        let _inside = keyspace.gate.enter(0);
        keyspace.sweep_soon(0);
    }
    drop(other);
    // It would rest for longer than this test waits.
    std::thread::spawn(move || keyspace.rest_and_sweep(Duration::from_secs(600)));
    let started = Instant::now();
    while keyspace.buried_bytes() > 0 {
        assert!(started.elapsed() < Duration::from_secs(60), "{} bytes stay", keyspace.buried_bytes());
        std::thread::yield_now();
    }
}

#[test]
fn a_pass_moves_every_entry_and_changes_no_byte_count() {
    let mut pair = Pair::new();
    pair.unit(0, |db| (0..3000).for_each(|n| db.set_string(n.to_string().as_bytes(), b"a value", Expiry::Clear)));
    pair.unit(1, |db| (0..100).for_each(|n| db.set_string(n.to_string().as_bytes(), &[b'v'; 5000], Expiry::Clear)));
    let facts = |pair: &mut Pair| {
        let mut facts = BTreeMap::new();
        for db in 0..DATABASES {
            pair.unit(db, |db| {
                let index = db.index();
                db.for_each_entry(|e| {
                    facts.insert((index, e.key().to_vec()), (e.heap_bytes(), e.access(), e.encoding()));
                });
            });
        }
        (facts, pair.keyspace.index_bytes())
    };
    let before = facts(&mut pair);
    let (mut pass, mut mover, mut visits, mut moved) = (Pass::default(), Mover::of_everything(), 0, 0);
    while pair.unit(0, |db| db.relocate(&mut pass, &mut mover, 64)) {
        assert!(mover.moved - moved < 64 + 40, "a visit is bounded");
        (moved, visits) = (mover.moved, visits + 1);
    }
    assert!(visits > 3200 / 104 && moved >= 3200, "{moved} moved in {visits} visits: entries, long strings, segments");
    assert_eq!((pass.keys_moved, pass.keys_kept), (3100, 0));
    pair.keyspace.sweep_graveyard();
    assert_eq!(facts(&mut pair), before);
}

#[test]
fn moving_one_expiry_back_and_forth_takes_no_memory() {
    let mut pair = Pair::new();
    pair.unit(0, |db| {
        (0..1000).for_each(|n| db.set_string(n.to_string().as_bytes(), b"v", Expiry::Clear));
        db.set_string(b"k", b"v", Expiry::Clear);
        for i in 0..100_000 {
            db.set_expiry(b"k", Some(START + if i % 2 == 0 { 1_000_000 } else { 1000 }), "expire");
        }
        let records: usize = (0..STRIPES).map(|stripe| db.due_records(stripe)).sum();
        assert!(records < 200, "{records} records for one key with an expiry");
    });
    pair.model.put(0, b"k", b"v".to_vec(), Some(START + 1000));
    pair.now = START + 1000;
    pair.expire_all(10);
}

/// A big hash: `fields` expire 10 ms after the start, one is lasting.
fn with_due_fields(fields: usize) -> Pair {
    let mut pair = Pair::new();
    let packed = ListpackMax { entries: 4, bytes: 64 };
    pair.unit(0, |db| {
        let mut hash = db.upsert::<Hash>(b"h").unwrap_or_else(|_| panic!("the key is free"));
        for n in 0..fields {
            hash.set(n.to_string().as_bytes(), b"v", Due::At(START + 10), packed);
        }
        hash.set(b"lasting", b"v", Due::Clear, packed);
        hash.changed("hset");
    });
    pair.now = START + 10;
    pair
}

/// Names of removed fields, or how many went with the key.
type Gone = Result<Vec<Box<[u8]>>, usize>;

impl Pair {
    /// Runs a unit on the hash; what it did and which fields it removed as due.
    fn meet<R>(&self, work: impl FnOnce(&mut Db<'_>) -> R) -> (R, Gone) {
        let exclusive = self.keyspace.gate.exclusive();
        let mut db = Db::new(self.keyspace.own_world(&exclusive), 0, self.now, AccessMode::default());
        let (result, mut names) = (work(&mut db), Ok(Vec::new()));
        for expired in db.changes.take_expired() {
            match (expired.what, &mut names) {
                (Lapsed::Fields(more), Ok(names)) => names.extend(more),
                (Lapsed::Hash(fields), _) => names = Err(fields),
                _ => panic!("fields are due, no key"),
            }
        }
        (result, names)
    }
}

#[test]
fn the_fields_of_a_big_hash_expire_in_bounded_visits() {
    const FIELDS: usize = 10 * FIELDS_PER_VISIT + 5;
    let mut pair = with_due_fields(FIELDS);
    let stripe = pair.keyspace.place(b"h").stripe as usize;
    let (mut gone, mut more) = (0, true);
    while more {
        let removed;
        (more, removed) = pair.meet(|db| expire_slice(db, stripe, pair.now, 1).more);
        let removed = removed.unwrap().len();
        assert!(removed <= FIELDS_PER_VISIT && (removed > 0 || !more), "{removed} at once");
        gone += removed;
    }
    assert_eq!(gone, FIELDS);
    pair.unit(0, |db| assert_eq!(db.read::<Hash>(b"h").ok().flatten().map(|hash| hash.len()), Some(1)));
}

#[test]
fn whoever_meets_a_crowd_of_due_fields_sees_none_and_removes_few() {
    const FIELDS: usize = 10 * FIELDS_PER_VISIT;
    let mut pair = with_due_fields(FIELDS);
    let all = |db: &mut Db<'_>| {
        let mut all = Vec::new();
        let hash = db.read::<Hash>(b"h").ok().flatten().expect("one field is lasting");
        hash.for_each(|name, _, _| all.push(name.to_vec()));
        assert_eq!(hash.len(), all.len());
        all
    };
    let mut left: Vec<Box<[u8]>> = (0..FIELDS).map(|n| n.to_string().into_bytes().into()).collect();
    for _ in 0..3 {
        let (seen, removed) = pair.meet(|db| (all(db), all(db)));
        let removed = removed.unwrap();
        assert_eq!((seen, removed.len()), ((vec![b"lasting".to_vec()], vec![b"lasting".to_vec()]), FIELDS_PER_VISIT));
        left.retain(|name| !removed.contains(name));
        pair.now += 1;
    }
    // Nothing else is removed at the same time, and what is written anew was removed before.
    pair.now -= 1;
    let packed = ListpackMax { entries: 4, bytes: 64 };
    let (_, removed) = pair.meet(|db| {
        let mut hash = db.edit::<Hash>(b"h").ok().flatten().expect("one field is lasting");
        assert!(!hash.set_due(&left[1], None) && !hash.remove(&left[1]) && hash.get(&left[0]).is_none());
        assert!(hash.set(&left[0], b"new", Due::Keep, packed) && hash.due(&left[0]) == Some(None));
        hash.changed("hset");
    });
    assert_eq!(removed.unwrap(), vec![left.remove(0)]);
    // Without the fields that can be seen there is no hash, whatever is still to be removed.
    let (_, removed) = pair.meet(|db| {
        let mut hash = db.edit::<Hash>(b"h").ok().flatten().expect("two fields are lasting");
        let names: Vec<_> = (0..FIELDS).map(|n| n.to_string().into_bytes()).chain([b"lasting".to_vec()]).collect();
        assert_eq!(names.iter().filter(|name| hash.remove(name)).count(), 2);
        hash.changed("hdel");
    });
    assert_eq!(removed, Err(left.len()));
    pair.unit(0, |db| assert!(!db.exists(b"h")));
}

#[test]
fn a_hash_whose_fields_are_all_due_goes_at_once() {
    const FIELDS: usize = 10 * FIELDS_PER_VISIT;
    for met_by_cycle in [false, true] {
        let mut pair = with_due_fields(FIELDS);
        pair.now = START;
        let (removed, _) = pair.meet(|db| db.edit::<Hash>(b"h").ok().flatten().map(|mut hash| hash.remove(b"lasting")));
        assert_eq!(removed, Some(true));
        pair.now = START + 10;
        let stripe = pair.keyspace.place(b"h").stripe as usize;
        let (_, removed) = pair.meet(|db| match met_by_cycle {
            true => assert!(!expire_slice(db, stripe, pair.now, 1).more),
            false => assert!(!db.exists(b"h")),
        });
        assert_eq!(removed, Err(FIELDS));
    }
}

#[test]
fn what_a_snapshot_holds_back_is_counted_until_it_is_taken() {
    let mut pair = Pair::new();
    let value = [b'v'; 100];
    let set_all = |pair: &mut Pair| {
        pair.unit(0, |db| (0..50).for_each(|n: u32| db.set_string(n.to_string().as_bytes(), &value, Expiry::Clear)));
    };
    set_all(&mut pair);
    let keyspace = &pair.keyspace;
    let exclusive = keyspace.gate.exclusive();
    let mut walk = keyspace.cut(&exclusive, 0).expect("no other walk runs");
    let mut db = Db::new(keyspace.own_world(&exclusive), 0, START, AccessMode::default());
    for _ in 0..3 {
        (0..50).for_each(|n: u32| db.set_string(n.to_string().as_bytes(), &value, Expiry::Clear));
    }
    drop(db);
    drop(exclusive);
    let bytes = keyspace.captures.bytes();
    assert!((50 * 100..50 * 300).contains(&bytes), "{bytes} bytes for 50 keys, each captured once");
    assert_eq!((walk.captured().len(), keyspace.captures.bytes(), keyspace.captures.peak()), (50, 0, bytes));
    while walk.step(1000, |_, _, _, _| panic!("all were captured")) {}
    drop(walk);
    assert_eq!(keyspace.captures.peak(), 0);
}

proptest! {
    /// Groups of stripes say the same as all stripes asked one by one.
    #[test]
    fn the_next_due_stripe_is_the_first_from_where_one_looks(steps in vec((0usize..128, 0i64..100, 0usize..128, 0i64..100), 1..60)) {
        let keyspace = Keyspace::new(1, 128, 1, START);
        let mut model = [i64::MAX; 128];
        for (stripe, at, from, now) in steps {
            let at = if at > 90 { i64::MAX } else { at };
            keyspace.set_next_due(stripe, at);
            model[stripe] = at;
            let first = (from..128).chain(0..from).find(|&stripe| model[stripe] <= now);
            let (found, earliest) = keyspace.next_due_stripe(from, now);
            prop_assert_eq!(found, first);
            prop_assert!(found.is_some() || (now < earliest && earliest <= model.into_iter().min().unwrap()));
        }
    }
}

/// Who is not woken sleeps for an hour.
#[test]
fn something_due_earlier_wakes_who_expires() {
    let keyspace = Keyspace::new(1, 128, 1, START);
    let ((go, going), (awake, awoken)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel());
    std::thread::scope(|threads| {
        let keyspace = &keyspace;
        threads.spawn(move || {
            while let Ok(until) = going.recv() {
                keyspace.sleep_until_due(START, until);
                awake.send(()).unwrap();
            }
        });
        for round in 0..300 {
            keyspace.set_next_due(100, i64::MAX);
            let (_, earliest) = keyspace.next_due_stripe(0, START + 10);
            assert_eq!(earliest, i64::MAX);
            go.send(START + 3_600_000).unwrap();
            (0..round * 40).for_each(|_| std::hint::spin_loop());
            keyspace.set_next_due(100, START + 5);
            awoken.recv().unwrap();
        }
        drop(go);
    });
}

#[test]
fn of_many_databases_those_that_are_used_take_memory() {
    // Enough that no stripe stays without one.
    const KEYS: usize = 1000;
    let keyspace = Keyspace::new(10_000, 16, 1, START);
    let run = |work: &mut dyn FnMut(&mut Db<'_>)| {
        let exclusive = keyspace.gate.exclusive();
        work(&mut Db::new(keyspace.own_world(&exclusive), 9_999, START, AccessMode::default()));
    };
    let shares = || -> Vec<usize> {
        let mut seen: Vec<_> = (0..16)
            .flat_map(|stripe| {
                keyspace.lock_one(stripe).data(stripe).shares.iter().map(|(db, _)| db).collect::<Vec<_>>()
            })
            .collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    };
    run(&mut |db| (0..KEYS as u32).for_each(|n| db.set_string(n.to_string().as_bytes(), b"v", Expiry::At(START + 5))));
    assert_eq!((shares(), keyspace.counts(9_999), keyspace.counts(5_000)), (vec![0, 9_999], (KEYS, KEYS), (0, 0)));
    assert!(keyspace.shared(0, 5_000).is_none() && keyspace.shared(0, 9_999).is_some());
    run(&mut |db| db.swap(9_999, 5_000));
    assert_eq!((keyspace.counts(9_999), keyspace.counts(5_000)), ((0, 0), (KEYS, KEYS)));
    run(&mut |db| {
        db.select(5_000);
        assert_eq!(db.flush().len(), 16);
    });
    assert_eq!((shares(), keyspace.counts(5_000)), (vec![0, 5_000, 9_999], (0, 0)));
}

/// What stands aside is seen by no client until it takes the data's place, and a snapshot cut before that holds the data.
#[test]
fn what_stands_aside_is_unseen_until_it_takes_the_place_of_the_data() {
    let keyspace = Keyspace::new(2, STRIPES, 1, START);
    let run = |work: &mut dyn FnMut(&mut Db<'_>)| {
        let exclusive = keyspace.gate.exclusive();
        work(&mut Db::new(keyspace.own_world(&exclusive), 0, START, AccessMode::default()));
    };
    let put = |index: usize, name: &str, expiry: Expiry| {
        run(&mut |db| {
            db.select(index);
            (0..200).for_each(|n| db.set_string(format!("{name}:{n}").as_bytes(), b"v", expiry));
        });
    };
    put(1, "old", Expiry::Clear);
    put(keyspace.aside(0), "new", Expiry::At(START + 50));
    put(keyspace.aside(1), "new", Expiry::Clear);
    let keys = |db: usize| {
        let mut first = None;
        run(&mut |unit| {
            unit.select(db);
            unit.for_each_key(|key| first = Some(key[..3].to_vec()));
        });
        (keyspace.counts(db).0, first)
    };
    let (old, new) = (Some(b"old".to_vec()), Some(b"new".to_vec()));
    assert_eq!((keys(0), keys(1), keyspace.keys()), ((0, None), (200, old), 200));
    // Nothing there is due, however late it is.
    for stripe in 0..STRIPES {
        run(&mut |db| assert_eq!(expire_slice(db, stripe, START + 60, 16).lag_ms, 0));
    }
    assert_eq!(keyspace.next_due_stripe(0, START + 60).0, None);
    let exclusive = keyspace.gate.exclusive();
    let mut walk = keyspace.cut(&exclusive, 0).expect("no other walk runs");
    drop(exclusive);
    run(&mut |db| assert!(db.take_aside().is_empty(), "the walk has what was there"));
    assert_eq!((keys(0), keys(1), keyspace.keys()), ((200, new.clone()), (200, new), 400));
    let (mut seen, note) = (0, |db: usize, key: &[u8]| {
        assert_eq!((db, &key[..3]), (1, &b"old"[..]));
    });
    while walk.step(16, |db, key, _, _| {
        seen += 1;
        note(db, key);
    }) {}
    assert_eq!((seen, walk.captured().len()), (200, 0));
    drop(walk);
    assert!(keyspace.next_due_stripe(0, START + 60).0.is_some());
    put(keyspace.aside(1), "gone", Expiry::Clear);
    run(&mut |db| assert_eq!(db.discard_aside().len(), STRIPES));
    assert_eq!((keyspace.counts(keyspace.aside(1)).0, keyspace.keys()), (0, 400));
}
