//! A stream part by part, in the order of files, so that a walk can rest between two parts.
//!
//! Entries without an owner go to a consumer without a name that never asked ([`UNOWNED_NAME`], [`UNOWNED_SEEN`]): older servers
//! know owners only.

use super::Stream;
use super::group::{Consumer, Delivery, Group};
use super::id::Id;
use super::node::Node;
use crate::clock::Millis;
use parking_lot::Mutex;
use std::ops::Bound;

/// A part of a stream.
pub enum Part<'a> {
    /// A listpack under its id.
    Node(Id, &'a Node),
    /// Behind the listpacks: everything that stands once.
    Counters(&'a Stream),
    /// A group begins.
    Group(&'a [u8], &'a Group),
    /// A pending entry of the group.
    Pending(Id, Delivery),
    /// Behind those: how many consumers follow.
    Consumers(usize),
    /// A consumer of a group.
    Consumer(Owns<'a>),
    /// An entry that it has pending.
    Owned(Owns<'a>, Id, Delivery),
}

/// A consumer as files have it.
#[derive(Clone, Copy)]
pub struct Owns<'a> {
    pub group: &'a [u8],
    pub name: &'a [u8],
    pub seen: Millis,
    pub active: Option<Millis>,
    /// Entries that follow.
    pub pending: usize,
}

impl Owns<'_> {
    /// It stands for entries without an owner.
    pub fn is_unowned(&self) -> bool {
        (self.name, self.seen) == (UNOWNED_NAME, UNOWNED_SEEN)
    }
}

/// Where a walk stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Walk {
    Nodes(Id),
    Counters,
    /// In front of the first group behind this name.
    Groups(Option<Box<[u8]>>),
    Pending(Box<[u8]>, Id),
    /// In front of the first consumer behind this name.
    Consumers(Box<[u8]>, Option<Box<[u8]>>),
    Owned(Box<[u8]>, Box<[u8]>, Id),
    Done,
}

impl Walk {
    pub fn begin() -> Self {
        Self::Nodes(Id::ZERO)
    }

    /// Visits some parts. False behind the last.
    pub fn step(&mut self, stream: &Stream, mut visit: impl FnMut(Part<'_>)) -> bool {
        let mut left = PIECE;
        while left > 0 && *self != Self::Done {
            self.advance(stream, &mut left, &mut visit);
        }
        *self != Self::Done
    }

    fn advance(&mut self, stream: &Stream, left: &mut usize, visit: &mut impl FnMut(Part<'_>)) {
        *self = match self {
            Self::Nodes(from) => {
                let mut rest = stream.nodes.from(*from);
                for (id, node) in rest.by_ref().take(left.div_ceil(NODE_PARTS)) {
                    visit(Part::Node(id, node));
                    *left = left.saturating_sub(NODE_PARTS);
                }
                rest.next().map_or(Self::Counters, |(next, _)| Self::Nodes(next))
            }
            Self::Counters => {
                visit(Part::Counters(stream));
                Self::Groups(None)
            }
            Self::Groups(behind) => match stream.groups.range::<[u8], _>(after(behind.as_deref())).next() {
                Some((name, group)) => {
                    visit(Part::Group(name, group));
                    Self::Pending(name.clone(), Id::ZERO)
                }
                None => Self::Done,
            },
            Self::Pending(name, from) => {
                let Some(group) = stream.groups.get(name) else { return *self = Self::Done };
                match visit_some(group.pending_from(*from), left, |(id, delivery)| visit(Part::Pending(id, delivery))) {
                    Some((next, _)) => Self::Pending(std::mem::take(name), next),
                    None => {
                        visit(Part::Consumers(group.consumers().len() + usize::from(has_nobody(group))));
                        if has_nobody(group) {
                            visit(Part::Consumer(owns(name, group, UNOWNED_NAME)));
                            Self::Owned(std::mem::take(name), UNOWNED_NAME.into(), Id::ZERO)
                        } else {
                            Self::Consumers(std::mem::take(name), None)
                        }
                    }
                }
            }
            Self::Consumers(name, behind) => {
                let Some(group) = stream.groups.get(name) else { return *self = Self::Done };
                match group.consumers_in(after(behind.as_deref())).next() {
                    Some(consumer) => {
                        visit(Part::Consumer(owns(name, group, &consumer.name)));
                        Self::Owned(std::mem::take(name), consumer.name.clone(), Id::ZERO)
                    }
                    None => Self::Groups(Some(std::mem::take(name))),
                }
            }
            Self::Owned(name, consumer, from) => {
                let Some(group) = stream.groups.get(name) else { return *self = Self::Done };
                let owner = owns(name, group, consumer);
                let see = |(id, delivery)| visit(Part::Owned(owner, id, delivery));
                match visit_some(owned(group, consumer, *from), left, see) {
                    Some((next, _)) => Self::Owned(std::mem::take(name), std::mem::take(consumer), next),
                    // The nameless one that is no consumer stands in front of all that are.
                    None if group.find(consumer).is_none() => Self::Consumers(std::mem::take(name), None),
                    None => Self::Consumers(std::mem::take(name), Some(std::mem::take(consumer))),
                }
            }
            Self::Done => Self::Done,
        };
        *left = left.saturating_sub(1);
    }
}

/// Visits as many as are left and says which is next.
fn visit_some<T>(mut all: impl Iterator<Item = T>, left: &mut usize, mut visit: impl FnMut(T)) -> Option<T> {
    for part in all.by_ref().take(*left) {
        *left -= 1;
        visit(part);
    }
    all.next()
}

fn after(name: Option<&[u8]>) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (name.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

/// Entries have no owner, and no consumer is without a name that could take them along.
fn has_nobody(group: &Group) -> bool {
    group.ownerless() > 0 && group.find(UNOWNED_NAME).is_none()
}

fn owns<'a>(group_name: &'a [u8], group: &'a Group, name: &'a [u8]) -> Owns<'a> {
    let consumer: Option<&Consumer> = group.find(name).map(|owner| group.consumer(owner));
    let extra = if name == UNOWNED_NAME { group.ownerless() } else { 0 };
    Owns {
        group: group_name,
        name,
        seen: consumer.map_or(UNOWNED_SEEN, |consumer| consumer.seen),
        active: consumer.and_then(|consumer| consumer.active),
        pending: consumer.map_or(0, Consumer::pending) + extra,
    }
}

/// What a consumer has pending, from an id on; the nameless one has those without an owner as well.
fn owned<'a>(group: &'a Group, name: &[u8], from: Id) -> Box<dyn Iterator<Item = (Id, Delivery)> + 'a> {
    let owner = group.find(name);
    if name == UNOWNED_NAME && group.ownerless() > 0 {
        return Box::new(
            group.pending_from(from).filter(move |(_, delivery)| delivery.owner.is_none() || delivery.owner == owner),
        );
    }
    let ids = owner.into_iter().flat_map(move |owner| group.consumer(owner).ids_from(from));
    Box::new(ids.filter_map(|id| group.delivery(id).map(|delivery| (id, delivery))))
}

/// A stream as it was at one moment, read in pieces by another thread. It is a clone: what both have in common is copied
/// when one of them changes.
pub struct Cut {
    stream: Stream,
    walk: Mutex<Walk>,
}

impl Cut {
    pub fn of(stream: &Stream) -> Self {
        Self { stream: stream.clone(), walk: Mutex::new(Walk::begin()) }
    }

    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Visits the next piece. False behind the last.
    pub fn step(&self, visit: impl FnMut(Part<'_>)) -> bool {
        self.walk.lock().step(&self.stream, visit)
    }
}

/// The consumer that stands for none in files: it has no name, and never asked.
pub(super) const UNOWNED_NAME: &[u8] = b"";
pub(super) const UNOWNED_SEEN: Millis = 0;
/// Parts visited between two looks at other things; a listpack counts as several.
const PIECE: usize = 256;
const NODE_PARTS: usize = 16;
