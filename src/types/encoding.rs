//! What the server asks of every value, whatever its encoding: memory, moving, the cost of freeing.
//!
//! A small encoding is one allocation and answers by itself; a big one, of many allocations behind a box, implements
//! [`Large`]. [`super::Value`] goes there by one match.

use crate::mover::Mover;
use std::sync::Arc;

/// What a [`Value`] asks of its content.
pub trait Encoding {
    /// Bytes on the heap behind the value's own two words.
    fn heap_bytes(&self) -> usize;
    /// Where its memory begins, for prefetching: nothing behind the pointer is read.
    fn address(&self) -> *const u8;
    /// See [`Value::relocate`].
    fn relocate(&mut self, place: u64, mover: &mut Mover) -> u64;
    /// About how many allocations dropping it frees.
    fn free_effort(&self) -> usize;
    /// True for a collection without members, which must not stay in the keyspace. A stream may.
    fn is_emptied(&self) -> bool;
    /// Too big to be copied or written under a lock.
    fn is_big(&self) -> bool;
}

/// A collection of many allocations.
pub trait Large: Sized {
    /// Bytes on the heap behind the type's own.
    fn heap_bytes(&self) -> usize;
    /// About how many allocations dropping it frees.
    fn allocations(&self) -> usize;
    /// It has no members, and must not stay in the keyspace without.
    fn is_emptied(&self) -> bool;
    /// Too big to be copied or written under a lock.
    fn is_big(&self) -> bool {
        self.allocations() > MEMBERS_MAX
    }
    /// A cut is being read, so nothing may move. False where what is read is shared, and known to be.
    fn is_read(&mut self) -> bool;
    /// Moves what is worth it from a place on until the mover is tired; the next place, 0 at the end.
    fn relocate_from(&mut self, place: u64, mover: &mut Mover) -> u64;
}

/// A long string. It is shared with a snapshot that is still to write it, so it is never cut.
impl Encoding for Arc<Vec<u8>> {
    fn heap_bytes(&self) -> usize {
        self.capacity() + size_of::<Vec<u8>>()
    }

    #[inline]
    fn address(&self) -> *const u8 {
        Self::as_ptr(self).cast()
    }

    /// The header of what is shared stays; an unshared string's bytes are all but that.
    fn relocate(&mut self, _: u64, mover: &mut Mover) -> u64 {
        Self::get_mut(self).into_iter().for_each(|bytes| mover.vec(bytes));
        0
    }

    fn free_effort(&self) -> usize {
        1 + self.capacity() / UNMAPPED_BYTES
    }

    fn is_emptied(&self) -> bool {
        false
    }

    fn is_big(&self) -> bool {
        false
    }
}

impl<T: Large> Encoding for Box<T> {
    fn heap_bytes(&self) -> usize {
        T::heap_bytes(self) + size_of::<T>()
    }

    #[inline]
    fn address(&self) -> *const u8 {
        (&raw const **self).cast()
    }

    fn relocate(&mut self, place: u64, mover: &mut Mover) -> u64 {
        if self.is_read() {
            return 0;
        }
        if place == 0 {
            mover.boxed(self);
        }
        self.relocate_from(place, mover)
    }

    fn free_effort(&self) -> usize {
        self.allocations()
    }

    fn is_emptied(&self) -> bool {
        T::is_emptied(self)
    }

    fn is_big(&self) -> bool {
        T::is_big(self)
    }
}

/// Unmapping a block of this size costs like freeing a small one.
const UNMAPPED_BYTES: usize = 256 << 10;
/// Members that are written, or copied, in some tens of microseconds.
pub(super) const MEMBERS_MAX: usize = 512;
/// Listpacks of 8 KiB, likewise.
pub(super) const NODES_MAX: usize = 8;
