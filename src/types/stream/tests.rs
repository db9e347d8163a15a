//! Streams against a naive model, and walked part by part into a copy of themselves.

use super::*;
use crate::types::Text;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;
type Model = BTreeMap<Id, Pairs>;

fn entries<'a>(all: impl Iterator<Item = Entry<'a>>) -> Vec<(Id, Pairs)> {
    let owned = |(name, value): (Text<'_>, Text<'_>)| (name.to_vec(), value.to_vec());
    all.map(|entry| (entry.id, entry.pairs().map(owned).collect())).collect()
}

/// Takes a stream apart and puts it together again.
fn reloaded(stream: &Stream) -> Result<Stream, Malformed> {
    let (mut loader, mut walk, mut group, mut owner) =
        (Loader::default(), Walk::begin(), None::<(Vec<u8>, GroupLoader)>, None);
    let mut result = Ok(());
    let mut more = true;
    while more {
        more = walk.step(stream, |part| {
            let mut take = || {
                match part {
                    Part::Node(id, node) => loader.node(id, node.pack().bytes())?,
                    Part::Counters(s) => {
                        let history = Some((s.max_deleted(), s.added()));
                        loader.counters(&Counters { len: s.len(), last: s.last_id(), history })?;
                    }
                    Part::Group(name, g) => {
                        if let Some((name, loaded)) = group.take() {
                            loader.add_group(&name, loaded)?;
                        }
                        group = Some((name.to_vec(), loader.group(g.last, Some(g.read))));
                    }
                    Part::Pending(id, d) => group.as_mut().unwrap().1.pending(id, d.at, d.count)?,
                    Part::Consumers(_) => {}
                    Part::Consumer(owns) => {
                        owner = group.as_mut().unwrap().1.consumer(owns.name, owns.seen, owns.active)?
                    }
                    Part::Owned(_, id, _) => group.as_mut().unwrap().1.owned(id, owner)?,
                }
                Ok(())
            };
            if result.is_ok() {
                result = take();
            }
        });
    }
    if let Some((name, loaded)) = group.take() {
        loader.add_group(&name, loaded)?;
    }
    result.map(|()| loader.finish())
}

/// Everything that can be seen.
fn shown(stream: &Stream) -> String {
    let mut text = format!(
        "{:?} {:?}",
        (stream.len, stream.last, stream.first, stream.max_deleted, stream.added),
        entries(stream.range(Id::ZERO, Id::MAX))
    );
    for (name, group) in stream.groups() {
        text += &format!("\n{name:?} {:?} {:?} {}", group.last, group.read, group.ownerless());
        for (id, d) in group.pending_from(Id::ZERO) {
            text +=
                &format!(" {id}@{}x{}:{:?}", d.at, d.count, d.owner.map(|owner| group.consumer(owner).name.clone()));
        }
        for (_, consumer) in group.consumers() {
            text += &format!(
                "\n  {:?} {} {:?} {:?}",
                consumer.name,
                consumer.seen,
                consumer.active,
                consumer.ids_from(Id::ZERO).collect::<Vec<_>>()
            );
        }
    }
    text
}

fn fields(n: u64) -> Pairs {
    let names: &[&str] = match n % 7 {
        0 => &["other"],
        1 => &["a", "b"],
        _ => &["a", "c"],
    };
    names.iter().map(|name| (name.as_bytes().to_vec(), format!("{n}").repeat(n as usize % 5).into_bytes())).collect()
}

/// Moves all of it, about `allocations` at a time.
fn relocate_in_pieces(stream: &mut Stream, allocations: usize) {
    let (mut mover, mut place) = (crate::mover::Mover::of_everything(), 0);
    loop {
        mover.begin_visit(allocations);
        place = stream.relocate_from(place, &mut mover);
        if place == 0 {
            return;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_stream_is_an_ordered_map_of_entries(
        (node_bytes, node_entries) in prop_oneof![Just((200, 10)), Just((0, 3)), Just((4096, 100)), Just((60, 0))],
        steps in prop::collection::vec((0u8..16, 0u64..400), 1..400),
    ) {
        let max = NodeMax::of_directives(node_bytes, node_entries);
        let (mut stream, mut model, mut added) = (Stream::default(), Model::new(), 0);
        let mut cuts: Vec<(Stream, String)> = Vec::new();
        for (step, n) in steps {
            match step {
                0..8 => {
                    let id = Id::new(stream.last.ms + n % 3, if n % 3 > 0 { n % 5 } else { stream.last.seq + 1 });
                    let pairs = fields(n);
                    let lent: Vec<(&[u8], &[u8])> = pairs.iter().map(|(a, b)| (&a[..], &b[..])).collect();
                    prop_assert_eq!(stream.append(id, &lent, max), Ok(()));
                    model.insert(id, pairs);
                    added += 1;
                }
                8 | 9 => {
                    let id = model.keys().nth(n as usize % model.len().max(1)).copied().unwrap_or(Id::new(n, 0));
                    let was = model.remove(&id).is_some();
                    prop_assert_eq!(stream.delete(id), was);
                    if was { stream.deleted(id); }
                }
                10 => {
                    let keep = n.saturating_sub(model.len() as u64 / 2);
                    let before = model.len();
                    let (removed, _) = stream.trim(Keep::Newest(keep), false, 0);
                    while model.len() as u64 > keep { model.pop_first(); }
                    prop_assert_eq!(removed as usize, before - model.len());
                }
                11 => {
                    let from = Id::new(n / 4, n % 4);
                    let expected = model.keys().filter(|id| **id < from).count();
                    prop_assert_eq!(stream.trimmed(Keep::From(from)).count(), expected);
                    prop_assert_eq!(stream.trim(Keep::From(from), false, 0).0 as usize, expected);
                    model.retain(|id, _| *id >= from);
                }
                12 => {
                    let limit = n % 50;
                    let (removed, taken) = stream.trim(Keep::Newest(model.len() as u64 / 2), true, limit);
                    prop_assert!(limit == 0 || removed <= limit);
                    prop_assert_eq!(taken.map_or(0, |taken| taken.len), removed);
                    (0..removed).for_each(|_| _ = model.pop_first());
                    prop_assert!(model.len() as u64 >= stream.len);
                }
                13 if cuts.len() < 5 => cuts.push((stream.clone(), shown(&stream))),
                14 => relocate_in_pieces(&mut stream, n as usize % 40 + 1),
                _ => {
                    let (from, to) = (Id::new(n / 8, n % 3), Id::new(n / 3, 2));
                    let up = entries(stream.range(from, to).take(20));
                    let down = entries(stream.range_back(from, to));
                    prop_assert!(up.iter().eq(down.iter().rev().take(20)));
                    let expected: Vec<_> = if from <= to { model.range(from..=to).take(20).map(|(id, all)| (*id, all.clone())).collect() } else { Vec::new() };
                    prop_assert_eq!(up, expected);
                }
            }
            prop_assert_eq!((stream.len as usize, stream.added), (model.len(), added));
            prop_assert_eq!(stream.first, model.keys().next().copied().unwrap_or_default());
            prop_assert_eq!(stream.top(), model.keys().next_back().copied());
            prop_assert_eq!(stream.node_bytes, stream.counted_node_bytes());
        }
        prop_assert_eq!(entries(stream.range(Id::ZERO, Id::MAX)), model.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(shown(&reloaded(&stream).unwrap()), shown(&stream));
        for (cut, expected) in cuts {
            prop_assert_eq!(shown(&cut), expected);
        }
    }

    #[test]
    fn groups_survive_files(steps in prop::collection::vec((0u8..6, 0u64..2000, 0u8..4), 0..1500)) {
        let mut stream = Stream::default();
        for n in 0..40 {
            stream.append(Id::new(n + 1, 0), &[(b"f", b"v")], NodeMax::of_directives(0, 10)).unwrap();
        }
        for (step, n, name) in steps {
            let group = format!("g{}", n % 3).into_bytes();
            stream.create_group(&group, Group::new(Id::new(n, 1), (n % 2 == 0).then_some(n)));
            let group = stream.group_mut(&group).unwrap();
            let id = Id::new(n / 3, n % 2);
            match step {
                0..4 => {
                    let name: &[u8] = if name == 0 { b"" } else { &[b'a' + name] };
                    let owner = group.find(name).or_else(|| group.create(name, n as i64 + 1)).unwrap();
                    group.consumer_mut(owner).active = (n % 5 == 0).then_some(n as i64);
                    group.assign(id, owner, n as i64, n);
                }
                4 => _ = group.release(id),
                _ => if group.find(b"").is_none() { group.put_back(id, n) },
            }
        }
        let has_nameless = stream.groups().any(|(_, group)| group.ownerless() > 0 && group.find(b"").is_some());
        let copy = reloaded(&stream).unwrap();
        prop_assert!(has_nameless || shown(&copy) == shown(&stream), "{}\n{}", shown(&copy), shown(&stream));
    }
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let mut stream = Stream::default();
    for n in 1..5 {
        stream.append(Id::new(n, 0), &[(b"f", b"v")], NodeMax::of_directives(0, 2)).unwrap();
    }
    let nodes: Vec<_> = stream.nodes.iter().map(|(id, node)| (id, node.pack().bytes().to_vec())).collect();
    let mut loader = Loader::default();
    loader.node(nodes[0].0, &nodes[0].1).unwrap();
    assert!(loader.node(nodes[0].0, &nodes[0].1).is_err(), "the same once more");
    assert!(loader.node(Id::new(2, 0), &nodes[1].1).is_err(), "not above the last entry");
    loader.node(nodes[1].0, &nodes[1].1).unwrap();
    let counters = |len, last| Counters { len, last: Id::new(last, 0), history: None };
    assert!(loader.counters(&counters(3, 4)).is_err() && loader.counters(&counters(4, 3)).is_err());
    loader.counters(&counters(4, 4)).unwrap();
    let mut group = loader.group(Id::new(2, 0), None);
    group.pending(Id::new(1, 0), 5, 1).unwrap();
    assert!(group.pending(Id::new(1, 0), 5, 1).is_err());
    let owner = group.consumer(b"c", 1, None).unwrap();
    assert!(group.consumer(b"c", 1, None).is_err() && group.owned(Id::new(2, 0), owner).is_err());
    group.owned(Id::new(1, 0), owner).unwrap();
    assert!(group.owned(Id::new(1, 0), owner).is_err(), "it has an owner");
    group.pending(Id::new(2, 0), 5, 1).unwrap();
    assert!(loader.add_group(b"g", group).is_err(), "one has none");
}
