//! The table against naive models: a set, scans under churn, samples, readers that race.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeSet, HashSet};

/// Words are numbers; their hash is a fixed mix of them.
fn hash(w: Word) -> u64 {
    let x = w.get().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ x >> 32
}

fn word(n: u64) -> Word {
    NonZeroU64::new(n).unwrap()
}

fn find(t: &Table, n: u64) -> Option<Found> {
    t.find(hash(word(n)), |w| w.get() == n)
}

fn insert(t: &mut Table, n: u64) {
    t.insert(hash(word(n)), word(n), hash);
}

fn remove(t: &mut Table, n: u64) {
    let found = find(t, n).unwrap();
    assert_eq!(t.remove(found).get(), n);
}

fn all(t: &Table) -> BTreeSet<u64> {
    let mut seen = BTreeSet::new();
    t.for_each(|w| assert!(seen.insert(w.get()), "each word once"));
    seen
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 64 }))]

    #[test]
    fn behaves_like_a_set(steps in prop::collection::vec((any::<bool>(), 1u64..400), 0..if cfg!(miri) { 60 } else { 1500 })) {
        let (mut table, mut model) = (Table::new(), BTreeSet::new());
        for (add, n) in steps {
            match (add, model.contains(&n)) {
                (true, false) => { insert(&mut table, n); model.insert(n); }
                (false, true) => { remove(&mut table, n); model.remove(&n); }
                (_, present) => prop_assert_eq!(find(&table, n).is_some(), present),
            }
            prop_assert_eq!(table.len(), model.len());
        }
        prop_assert_eq!(all(&table), model);
    }

    #[test]
    fn scan_sees_everything_that_stays(keep in 1u64..200, churn in prop::collection::vec((any::<bool>(), 1000u64..1600), 0..800), every in 1usize..40) {
        let mut table = Table::new();
        (1..=keep).for_each(|n| insert(&mut table, n));
        let (mut present, mut seen, mut cursor, mut steps) = (HashSet::new(), HashSet::new(), 0, 0);
        let mut churn = churn.into_iter();
        loop {
            cursor = table.scan(cursor, |w| { seen.insert(w.get()); });
            if cursor == 0 { break }
            for (add, n) in churn.by_ref().take(every) {
                if add && present.insert(n) { insert(&mut table, n); }
                if !add && present.remove(&n) { remove(&mut table, n); }
            }
            steps += 1;
            prop_assert!(steps < 10_000, "a scan ends");
        }
        prop_assert!((1..=keep).all(|n| seen.contains(&n)));
    }
}

#[test]
fn grows_and_shrinks_without_losing_memory() {
    let n = if cfg!(miri) { 500 } else { 50_000 };
    let mut table = Table::new();
    (1..=n).for_each(|i| insert(&mut table, i));
    assert_eq!(table.len() as u64, n);
    let per_word = table.heap_bytes() as f64 / n as f64;
    assert!(per_word < 14.5, "{per_word} bytes a word");
    (1..=n).for_each(|i| remove(&mut table, i));
    assert!(table.is_empty() && table.buckets() == 1);
    drop(table.take_retired());
    insert(&mut table, 1);
    assert!(find(&table, 1).is_some());
    table.release();
    assert!(find(&table, 1).is_some(), "a table with words keeps its memory");
    remove(&mut table, 1);
    table.release();
    assert!(table.buckets() == 0 && table.has_retired() && find(&table, 1).is_none());
    insert(&mut table, 2);
    assert!(find(&table, 2).is_some());
}

#[test]
fn sampling_is_fair() {
    let mut table = Table::new();
    (1..=100).for_each(|i| insert(&mut table, i));
    let rounds = if cfg!(miri) { 200 } else { 100_000 };
    let (mut rng, mut hits) = (fastrand::Rng::with_seed(7), [0u32; 101]);
    for _ in 0..rounds {
        hits[table.sample(|| rng.u64(..)).unwrap().get() as usize] += 1;
    }
    let expected = f64::from(rounds) / 100.0;
    let chi: f64 = hits[1..].iter().map(|&h| (f64::from(h) - expected).powi(2) / expected).sum();
    assert!(chi < 160.0, "chi squared {chi} at 99 degrees of freedom");
}

#[test]
fn a_run_has_as_many_words_as_there_are_and_any_word_can_be_in_it() {
    let (mut table, mut rng) = (Table::new(), fastrand::Rng::with_seed(5));
    table.sample_run(1, 5, |_| unreachable!("an empty table has no words"));
    for len in 1..=60 {
        insert(&mut table, len);
        let mut met = BTreeSet::new();
        for _ in 0..if cfg!(miri) { 1 } else { 1000 } {
            let mut run = Vec::new();
            table.sample_run(rng.u64(..), 5, |w| run.push(w.get()));
            assert_eq!(run.len() as u64, len.min(5));
            met.extend(run);
        }
        assert!(cfg!(miri) || met.len() as u64 == len, "{} of {len}", met.len());
    }
}

#[test]
fn racing_readers_see_only_live_memory() {
    let (probe, stop) = (Probe::default(), std::sync::atomic::AtomicBool::new(false));
    let mut table = Table::new();
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut n = 1;
            while !stop.load(Relaxed) {
                probe.prefetch_bucket(hash(word(n)));
                probe.prefetch_words(hash(word(n)), |w| {
                    std::hint::black_box(w);
                });
                n = n % 3000 + 1;
            }
        });
        for _ in 0..if cfg!(miri) { 1 } else { 20 } {
            let n = if cfg!(miri) { 60 } else { 3000 };
            (1..=n).for_each(|i| (insert(&mut table, i), probe.publish(&table)).1);
            (1..=n).for_each(|i| (remove(&mut table, i), probe.publish(&table)).1);
        }
        stop.store(true, Relaxed);
    });
}
