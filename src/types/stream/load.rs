//! A stream from a file or a client: put together part by part, each checked against those before it.
//!
//! Nothing is trusted: listpacks must be well formed, ids must rise from one to the next, the count must be theirs; each
//! pending entry must belong to exactly one consumer of its group.

use super::group::{Group, Owner};
use super::id::Id;
use super::node::Node;
use super::{Stream, walk};
use crate::clock::Millis;

/// A stream in the making.
#[derive(Default)]
pub struct Loader {
    stream: Stream,
    top: Option<Id>,
}

/// Why it is refused, in Redis's words where it has some.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// The numbers behind the listpacks.
pub struct Counters {
    pub len: u64,
    pub last: Id,
    /// The greatest id deleted and the entries ever added, which files have since Redis 7.0.
    pub history: Option<(Id, u64)>,
}

impl Loader {
    /// The next listpack and its id.
    pub fn node(&mut self, master: Id, bytes: &[u8]) -> Result<(), Malformed> {
        if self.top.is_some_and(|top| master <= top) {
            return Err(Malformed("Stream listpacks out of order, or one with the id of another"));
        }
        let node = Node::from_untrusted(master, bytes);
        let Some(node) = node.map_err(|_| Malformed("Stream listpack integrity check failed."))? else { return Ok(()) };
        self.top = node.back_from(master, Id::MAX).next().map(|entry| entry.id);
        self.stream.len += node.live() as u64;
        self.stream.node_bytes += node.heap_bytes();
        self.stream.nodes.insert(master, node);
        Ok(())
    }

    /// What stands behind the listpacks.
    pub fn counters(&mut self, counters: &Counters) -> Result<(), Malformed> {
        let stream = &mut self.stream;
        if counters.len != stream.len {
            return Err(Malformed("Stream length inconsistent with its listpacks"));
        }
        if self.top.is_some_and(|top| top > counters.last) {
            return Err(Malformed("Stream last id is smaller than an entry's"));
        }
        stream.last = counters.last;
        (stream.max_deleted, stream.added) = counters.history.unwrap_or((Id::ZERO, stream.len));
        stream.find_first();
        Ok(())
    }

    /// Begins a group. `read`: what it read as files tell it since Redis 7.0.
    pub fn group(&self, last: Id, read: Option<Option<u64>>) -> GroupLoader {
        let read = read.unwrap_or_else(|| self.stream.numbers().added_up_to(last));
        GroupLoader { group: Group::new(last, read), of_nobody: 0 }
    }

    /// Ends a group.
    pub fn add_group(&mut self, name: &[u8], loaded: GroupLoader) -> Result<(), Malformed> {
        let GroupLoader { mut group, of_nobody } = loaded;
        if group.ownerless() != of_nobody {
            return Err(Malformed("NACK entry without consumer"));
        }
        group.line_up();
        if self.stream.create_group(name, group) { Ok(()) } else { Err(Malformed("Duplicated consumer group name")) }
    }

    pub fn finish(self) -> Stream {
        self.stream
    }
}

/// A group in the making.
pub struct GroupLoader {
    group: Group,
    /// Entries without an owner, as they should be.
    of_nobody: usize,
}

impl GroupLoader {
    pub fn pending(&mut self, id: Id, at: Millis, deliveries: u64) -> Result<(), Malformed> {
        match self.group.load(id, at, deliveries) {
            true => Ok(()),
            false => Err(Malformed("Duplicated global PEL entry loading stream consumer group")),
        }
    }

    /// The next consumer; `None` for the one that stands for none.
    pub fn consumer(&mut self, name: &[u8], seen: Millis, active: Option<Millis>) -> Result<Option<Owner>, Malformed> {
        if (name, seen) == (walk::UNOWNED_NAME, walk::UNOWNED_SEEN) {
            return Ok(None);
        }
        let owner = self.group.create(name, seen).ok_or(Malformed("Duplicate stream consumer detected"))?;
        self.group.consumer_mut(owner).active = active;
        Ok(Some(owner))
    }

    /// An entry of a consumer's.
    pub fn owned(&mut self, id: Id, owner: Option<Owner>) -> Result<(), Malformed> {
        let Some(delivery) = self.group.delivery(id) else {
            return Err(Malformed("Consumer entry not found in group global PEL"));
        };
        if delivery.owner.is_some() {
            return Err(Malformed("Stream consumer PEL entry already has a consumer assigned"));
        }
        match owner {
            Some(owner) => self.group.load_owner(id, owner),
            None => self.of_nobody += 1,
        }
        Ok(())
    }
}
