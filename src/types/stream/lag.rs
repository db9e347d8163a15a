//! How far groups are: entries read and entries to come, exactly or not at all.
//!
//! A group counts what it reads. The count is lost where entries in front of it were deleted one by one, and found again
//! where a place in the stream tells it: at its very end, or at its first entry as long as nothing behind that is missing.

use super::group::Group;
use super::id::Id;

/// What a stream knows of its past.
#[derive(Clone, Copy)]
pub struct Numbers {
    pub len: u64,
    pub last: Id,
    pub first: Id,
    pub max_deleted: Id,
    pub added: u64,
}

impl Numbers {
    /// Entries may be missing between two ids, or from one on: the greatest one deleted lies there.
    fn has_gap(self, from: Id) -> bool {
        let known = self.len > 0 && !self.max_deleted.is_zero() && self.first <= self.max_deleted;
        known && from <= self.max_deleted
    }

    /// How many entries were added up to an id, itself included, since the stream began; `None` where that cannot be told.
    pub fn added_up_to(self, id: Id) -> Option<u64> {
        if self.added == 0 {
            return Some(0);
        }
        if self.len == 0 && id <= self.last || id == self.last {
            return Some(self.added);
        }
        if id > self.last {
            return None;
        }
        let whole = self.max_deleted.is_zero() || self.max_deleted < self.first;
        match id.cmp(&self.first) {
            std::cmp::Ordering::Less if whole => self.added.checked_sub(self.len),
            std::cmp::Ordering::Equal if whole => self.added.checked_sub(self.len)?.checked_add(1),
            _ => None,
        }
    }

    /// What `read` becomes when a group is delivered the entry `id` behind its last.
    pub fn read_after(self, group: &Group, id: Id) -> Option<u64> {
        match group.read {
            Some(read) if group.last >= self.first && !self.has_gap(group.last) => read.checked_add(1),
            _ if self.added > 0 => self.added_up_to(id),
            read => read,
        }
    }

    /// How many entries a group has still to be delivered; `None` where that cannot be told.
    pub fn lag(self, group: &Group) -> Option<u64> {
        if self.added == 0 || self.len == 0 {
            return Some(0);
        }
        if group.last < self.first && self.max_deleted < self.first {
            return Some(self.len);
        }
        match group.read {
            Some(read) if !self.has_gap(group.last) => self.added.checked_sub(read),
            _ => self.added.checked_sub(self.added_up_to(group.last)?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NodeMax, Stream};
    use super::*;

    /// Ten entries, of which some are read, and then some deleted.
    fn stream(read: u64, deleted: &[u64]) -> (Stream, Option<u64>) {
        let mut stream = Stream::default();
        for n in 1..=10 {
            stream.append(Id::new(n, 0), &[(b"f", b"v")], NodeMax::of_directives(0, 3)).unwrap();
        }
        stream.create_group(b"g", Group::new(Id::ZERO, None));
        let ids: Vec<Id> = (1..=read).map(|n| Id::new(n, 0)).collect();
        stream.deliver(b"g", &ids, None, 0);
        for &n in deleted {
            stream.delete(Id::new(n, 0));
            stream.deleted(Id::new(n, 0));
        }
        let lag = stream.lag(stream.group(b"g").unwrap());
        (stream, lag)
    }

    #[test]
    fn a_lag_is_exact_or_unknown() {
        assert_eq!(stream(0, &[]).1, Some(10));
        assert_eq!(stream(4, &[]).1, Some(6));
        assert_eq!(stream(4, &[2]).1, Some(6), "behind the group");
        assert_eq!(stream(4, &[7]).1, None, "in front of it");
        assert_eq!(stream(10, &[7]).1, Some(0), "it is at the end");
        assert_eq!(stream(0, &[1, 2]).1, Some(8), "all that is left");
        let (mut stream, _) = stream(4, &[7]);
        stream.deliver(b"g", &[Id::new(8, 0)], None, 0);
        assert_eq!(stream.group(b"g").unwrap().read, None);
        stream.deliver(b"g", &[Id::new(9, 0), Id::new(10, 0)], None, 0);
        assert_eq!(stream.group(b"g").unwrap().read, Some(10), "the end tells it");
    }
}
