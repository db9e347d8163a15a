//! Values that are moved while they change: nothing of it can be seen, by who asks or by who reads a cut.
//!
//! Each value has a twin that goes through the same and is never moved.

use super::big::{Big, Part};
use super::fields::Due;
use super::hash::Hash;
use super::list::{End, List, NodeMax};
use super::set::{Set, SetMax};
use super::stream::{self, Id, Stream};
use super::value::{Collection, Kind, Value};
use super::zset::Zset;
use super::{ListpackMax, Text};
use crate::mover::Mover;
use proptest::collection::vec;
use proptest::prelude::*;
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
enum Step {
    Put(u16, u8),
    Remove(u16),
    /// A piece, by a mover that is tired after some allocations.
    Piece(usize),
    /// Everything, in pieces.
    Whole(usize),
    Cut,
    ReadCut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u16..2000, any::<u8>()).prop_map(|(n, extra)| Step::Put(n, extra)),
        6 => (0u16..2000).prop_map(Step::Remove),
        4 => (1usize..300).prop_map(Step::Piece),
        1 => (1usize..300).prop_map(Step::Whole),
        1 => Just(Step::Cut),
        3 => Just(Step::ReadCut),
    ]
}

const PACKED: ListpackMax = ListpackMax { entries: 8, bytes: 32 };

fn empty(kind: Kind) -> Value {
    match kind {
        Kind::Hash => Hash::empty(),
        Kind::Set => Set::empty(),
        Kind::Zset => Zset::empty(),
        Kind::List => List::empty(),
        Kind::Stream => Stream::empty(),
        _ => Value::Str(Arc::default()),
    }
}

fn name(n: u16) -> Vec<u8> {
    format!("member {n}").into_bytes()
}

fn put(value: &mut Value, n: u16, extra: u8) {
    let (name, text) = (name(n), vec![b'v'; usize::from(extra) / 4]);
    if let Some(hash) = Hash::of_mut(value) {
        let due = if extra.is_multiple_of(4) { Due::At(1 + i64::from(extra)) } else { Due::Keep };
        hash.set(&name, &text, due, PACKED);
    } else if let Some(set) = Set::of_mut(value) {
        set.insert(if n < 4 { b"12" } else { &name }, SetMax { ints: 2, packed: PACKED });
    } else if let Some(zset) = Zset::of_mut(value) {
        zset.update(&name, PACKED, |_| Some(f64::from(extra / 8)));
    } else if let Some(list) = List::of_mut(value) {
        list.push(if extra & 1 == 0 { End::Left } else { End::Right }, &name, NodeMax::of_directive(5));
    } else if let Some(stream) = Stream::of_mut(value) {
        let id = stream.last_id().next().unwrap();
        stream.append(id, &[(b"name", &name), (b"text", &text)], stream::NodeMax::of_directives(0, 7)).unwrap();
    } else if let Value::Str(text) = value {
        Arc::make_mut(text).extend(name);
    }
}

fn remove(value: &mut Value, n: u16) {
    if let Some(hash) = Hash::of_mut(value) {
        hash.remove(&name(n));
    } else if let Some(set) = Set::of_mut(value) {
        set.remove(&name(n));
    } else if let Some(zset) = Zset::of_mut(value) {
        zset.remove(&name(n));
    } else if let Some(list) = List::of_mut(value) {
        list.drop_from(End::Left, 1);
    } else if let Some(stream) = Stream::of_mut(value) {
        stream.delete(Id::new(0, u64::from(n)));
    }
}

fn entry(entry: stream::Entry<'_>) -> String {
    let pairs = entry.pairs().map(|(name, text)| format!(" {:?}={:?}", name.to_vec(), text.to_vec()));
    format!("{}:{}", entry.id, pairs.collect::<String>())
}

/// All that can be seen, what has no order sorted.
fn contents(value: &Value) -> Vec<String> {
    let shown = |text: Text<'_>| String::from_utf8(text.to_vec()).unwrap();
    let mut seen = Vec::new();
    if let Some(hash) = Hash::of(value) {
        hash.for_each(|name, text, due| {
            assert_eq!(hash.get(&name.to_vec()).map(Text::to_vec), Some(text.to_vec()));
            seen.push(format!("{}={}@{due:?}", shown(name), shown(text)));
        });
    } else if let Some(set) = Set::of(value) {
        set.for_each(|name| {
            assert!(set.has(name));
            seen.push(shown(name));
        });
    } else if let Some(zset) = Zset::of(value) {
        for (rank, (name, score)) in zset.walk(0..zset.len(), false).enumerate() {
            assert_eq!(zset.rank(&name.to_vec()), Some((rank, score)));
            seen.push(format!("{}:{score}", shown(name)));
        }
        return seen;
    } else if let Some(list) = List::of(value) {
        return list.iter_from(0).map(shown).collect();
    } else if let Some(stream) = Stream::of(value) {
        return stream.range(Id::ZERO, Id::MAX).map(entry).collect();
    } else if let Value::Str(text) = value {
        return vec![String::from_utf8(text.to_vec()).unwrap()];
    }
    seen.sort();
    seen
}

/// A reader of one moment and what it must see.
struct Reader {
    cut: Big,
    expected: Vec<String>,
    seen: Vec<String>,
}

impl Reader {
    fn of(value: &mut Value) -> Option<Self> {
        let mut expected = contents(value);
        let cut = value.cut()?;
        expected.sort();
        Some(Self { cut, expected, seen: Vec::new() })
    }

    /// Says whether more is to be read.
    fn read(&mut self) -> bool {
        let shown = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let seen = &mut self.seen;
        let more = self.cut.step(|part| match part {
            Part::Pack(pack) => seen.extend(pack.iter().map(|text| shown(&text.to_vec()))),
            Part::Field(f) => seen.push(format!("{}={}@{:?}", shown(f.name()), shown(f.value()), f.due())),
            Part::Member(name) => seen.push(shown(name)),
            Part::Scored(name, score) => seen.push(format!("{}:{score}", shown(name))),
            Part::Stream(stream::Part::Node(master, node)) => seen.extend(node.from(master, Id::ZERO).map(entry)),
            Part::Stream(_) => {}
        });
        if !more {
            self.seen.sort();
            assert_eq!(self.seen, self.expected);
        }
        more
    }
}

fn relocate(value: &mut Value, place: u64, looked_max: usize) -> (u64, u64) {
    let mut mover = Mover::of_everything();
    mover.begin_visit(looked_max);
    let place = value.relocate(place, &mut mover);
    assert_eq!(mover.kept, 0);
    (place, mover.moved)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 96 }))]
    #[test]
    fn a_moved_value_is_as_one_that_stays(
        kind in prop_oneof![Just(Kind::Hash), Just(Kind::Set), Just(Kind::Zset), Just(Kind::List), Just(Kind::Stream), Just(Kind::String)],
        first in prop_oneof![0u16..10, 0u16..if cfg!(miri) { 60 } else { 2000 }],
        steps in vec(step(), 0..150),
    ) {
        let (mut value, mut twin, mut place, mut reader) = (empty(kind), empty(kind), 0, None::<Reader>);
        let both = |value: &mut Value, twin: &mut Value, n, extra| { put(value, n, extra); put(twin, n, extra); };
        (0..first).for_each(|n| both(&mut value, &mut twin, n, n as u8));
        for step in steps {
            match step {
                Step::Put(n, extra) => both(&mut value, &mut twin, n, extra),
                Step::Remove(n) => { remove(&mut value, n); remove(&mut twin, n); }
                Step::Piece(looked_max) => {
                    let moved;
                    (place, moved) = relocate(&mut value, place, looked_max);
                    // Of a stream only what is shared stays.
                    prop_assert!(kind == Kind::Stream || reader.is_none() || (place, moved) == (0, 0), "what is read stays");
                }
                Step::Whole(looked_max) => loop {
                    (place, _) = relocate(&mut value, place, looked_max);
                    if place == 0 {
                        break;
                    }
                },
                Step::Cut if reader.is_none() => reader = Reader::of(&mut value),
                Step::Cut => {}
                Step::ReadCut => reader = reader.read_on(),
            }
            // Pages of a stream that were shared are copied without spare room.
            prop_assert!(kind == Kind::Stream || value.heap_bytes() == twin.heap_bytes());
        }
        prop_assert_eq!(contents(&value), contents(&twin));
        while let Some(r) = reader { reader = Some(r).read_on(); }
        prop_assert_eq!(value.remove_due_fields(100, usize::MAX).len(), twin.remove_due_fields(100, usize::MAX).len());
        prop_assert_eq!(contents(&value), contents(&twin));
    }
}

/// A reader that reads on until it is through.
trait ReadOn: Sized {
    fn read_on(self) -> Self;
}

impl ReadOn for Option<Reader> {
    fn read_on(self) -> Self {
        self.and_then(|mut reader| reader.read().then_some(reader))
    }
}

#[test]
fn a_visit_ends_soon_and_all_of_a_big_value_is_moved_once() {
    for kind in [Kind::Hash, Kind::Set, Kind::Zset, Kind::List, Kind::Stream] {
        let mut value = empty(kind);
        (0..2000).for_each(|n| put(&mut value, n, 1 + n as u8 % 2));
        let (mut place, mut visits, mut moved) = (0, 0, 0);
        loop {
            let piece;
            (place, piece) = relocate(&mut value, place, 50);
            assert!(piece < 200, "{piece} allocations in a visit");
            (moved, visits) = (moved + piece, visits + 1);
            if place == 0 {
                break;
            }
        }
        let least = match kind {
            Kind::List => 400,
            Kind::Stream => 280,
            _ => 2000,
        };
        assert!(visits > 5 && moved > least, "{kind:?}: {moved} in {visits}");
    }
}

#[test]
fn a_string_that_is_shared_stays() {
    let mut value = Value::Str(Arc::new(vec![b'x'; 5000]));
    let Value::Str(shared) = value.clone() else { unreachable!("a clone is of the same kind") };
    assert_eq!(relocate(&mut value, 0, 100), (0, 0));
    drop(shared);
    assert_eq!(relocate(&mut value, 0, 100), (0, 1));
}
