//! Bytes behind one word: what small encodings (listpack, intset) and list nodes are made of.
//!
//! ```text
//! length 4 | bytes | room, up to the allocation's size class
//! ```
//! The room is not stored: an allocation always has the size class of its length ([`size_class`]), so one pointer says
//! everything and a value of a few fields pays 4 bytes for it. Growing by a byte at a time reallocates once per class,
//! four times per doubling. All unsafety of the layout is in this file.

#![allow(unsafe_code)]

use crate::mover::{Movable, Mover};
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error, realloc};
use std::ptr::NonNull;

/// Owned bytes, at most [`BYTES_MAX`] of them.
pub struct Blob(NonNull<u8>);

// SAFETY: owned memory without thread affinity.
unsafe impl Send for Blob {}
// SAFETY: `&self` only reads.
unsafe impl Sync for Blob {}

impl Blob {
    pub fn of(bytes: &[u8]) -> Self {
        let layout = layout(bytes.len());
        // SAFETY: the layout is not empty, and holds header and bytes.
        unsafe {
            let Some(memory) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            memory.cast::<u32>().write(bytes.len() as u32);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory.as_ptr().add(HEADER), bytes.len());
            Self(memory)
        }
    }

    /// `len` zero bytes, for the caller to write.
    pub fn zeroed(len: usize) -> Self {
        let layout = layout(len);
        // SAFETY: the layout is not empty, and holds the header.
        unsafe {
            let Some(memory) = NonNull::new(alloc_zeroed(layout)) else { handle_alloc_error(layout) };
            memory.cast::<u32>().write(len as u32);
            Self(memory)
        }
    }

    #[inline]
    #[allow(clippy::len_without_is_empty, reason = "no encoding is ever without bytes")]
    pub fn len(&self) -> usize {
        // SAFETY: the header is always there.
        unsafe { self.0.cast::<u32>().read() as usize }
    }

    /// Where it lies, for prefetching: nothing is read.
    #[inline]
    pub fn address(&self) -> *const u8 {
        self.0.as_ptr()
    }

    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes behind the header are initialised.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(HEADER), self.len()) }
    }

    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes us the only one.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_ptr().add(HEADER), self.len()) }
    }

    /// Replaces `removed` bytes at `at` by `added` bytes for the caller to write, which are returned.
    #[inline]
    pub fn splice(&mut self, at: usize, removed: usize, added: usize) -> &mut [u8] {
        let len = self.len();
        assert!(at + removed <= len, "the spliced range lies inside");
        let new_len = len - removed + added;
        let tail = len - at - removed;
        if new_len > len {
            self.resize(new_len);
        }
        // SAFETY: source and target lie inside the allocation, which has the larger of both lengths here. Bytes that
        // become readable are either moved old ones or zeroed just below.
        unsafe {
            let base = self.0.as_ptr().add(HEADER);
            std::ptr::copy(base.add(at + removed), base.add(at + added), tail);
            std::ptr::write_bytes(base.add(at), 0, added);
        }
        if new_len < len {
            self.resize(new_len);
        }
        &mut self.bytes_mut()[at..at + added]
    }

    /// Sets the length; the allocation follows its size class. New bytes are for the caller to write.
    #[inline]
    fn resize(&mut self, new_len: usize) {
        let (old, new) = (layout(self.len()), layout(new_len));
        // SAFETY: allocated with the layout of the present length; header and kept bytes move along.
        unsafe {
            if old != new {
                let Some(memory) = NonNull::new(realloc(self.0.as_ptr(), old, new.size())) else {
                    handle_alloc_error(new)
                };
                self.0 = memory;
            }
            self.0.cast::<u32>().write(new_len as u32);
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        layout(self.len()).size()
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        // SAFETY: allocated with this very layout.
        unsafe { dealloc(self.0.as_ptr(), layout(self.len())) }
    }
}

impl Movable for Blob {
    fn relocate(&mut self, mover: &mut Mover) {
        // SAFETY: allocated with this very layout, and borrowed by us alone.
        if let Some(copy) = unsafe { mover.moved(self.0, layout(self.len())) } {
            self.0 = copy;
        }
    }
}

impl Clone for Blob {
    fn clone(&self) -> Self {
        Self::of(self.bytes())
    }
}

fn layout(len: usize) -> Layout {
    assert!(len <= BYTES_MAX, "a blob is shorter than 4 GiB");
    Layout::from_size_align(size_class(len + HEADER), 4).expect("a blob is smaller than the address space")
}

/// Multiples of 8 up to 64, then four classes a doubling: the allocator's own, so that nothing is rounded twice.
#[inline]
pub fn size_class(bytes: usize) -> usize {
    if bytes <= 64 {
        return bytes.next_multiple_of(8);
    }
    let step = (bytes - 1).ilog2() - 2;
    bytes.next_multiple_of(1 << step)
}

const HEADER: usize = 4;
/// What the length in front can tell. Encodings that grow member by member end far below ([`PACKED_BYTES_MAX`]), a list's
/// listpack of one element a little above [`super::MEMBER_BYTES_MAX`].
pub const BYTES_MAX: usize = u32::MAX as usize;
/// A hash, set or sorted set that would be a longer listpack is a table in place of one, whatever the directives allow:
/// half of what Redis takes for safe.
pub const PACKED_BYTES_MAX: usize = 512 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn size_classes_are_the_allocators() {
        let classes: Vec<usize> = [1, 8, 9, 63, 65, 81, 97, 113, 129, 161, 1025].map(size_class).to_vec();
        assert_eq!(classes, [8, 8, 16, 64, 80, 96, 112, 128, 160, 192, 1280]);
    }

    proptest! {
        #[test]
        fn a_blob_splices_like_a_vector(steps in prop::collection::vec((any::<u16>(), any::<u16>(), 0usize..90, any::<u8>()), 1..60)) {
            let (mut blob, mut model) = (Blob::of(b""), Vec::new());
            for (at, removed, added, fill) in steps {
                let at = at as usize % (model.len() + 1);
                let removed = removed as usize % (model.len() - at + 1);
                blob.splice(at, removed, added).fill(fill);
                model.splice(at..at + removed, std::iter::repeat_n(fill, added));
                prop_assert_eq!(blob.bytes(), &model[..]);
                prop_assert!(blob.heap_bytes() >= model.len() + HEADER);
            }
            let copy = blob.clone();
            prop_assert_eq!(copy.bytes(), &model[..]);
        }
    }
}
