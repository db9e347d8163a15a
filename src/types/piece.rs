//! A member of a big collection: header, name and value in one allocation, behind one word.
//!
//! ```text
//! header H | name length 1 or 5 | value length 1 or 5, if values are kept | name | value
//! ```
//! A set's member is `Piece<(), false>`: its bytes and one more. A sorted set's has its score in front, a hash's field
//! has a value behind. All unsafety of the layout is in this file.

#![allow(unsafe_code)]

use super::blob::size_class;
use super::items::Item;
use crate::mover::{Movable, Mover};
use crate::table::Word;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// An owned member. `VALUES`: whether a value follows the name.
pub struct Piece<H: Copy, const VALUES: bool> {
    memory: NonNull<u8>,
    owns: PhantomData<H>,
}

// SAFETY: owned memory without thread affinity; headers are plain data.
unsafe impl<H: Copy + Send, const VALUES: bool> Send for Piece<H, VALUES> {}
// SAFETY: `&self` only reads.
unsafe impl<H: Copy + Sync, const VALUES: bool> Sync for Piece<H, VALUES> {}

/// Offsets and lengths, read from the length bytes.
struct Shape {
    name_at: usize,
    name_len: usize,
    value_len: usize,
}

impl Shape {
    fn bytes(&self) -> usize {
        self.name_at + self.name_len + self.value_len
    }

    fn layout(&self) -> Layout {
        Layout::from_size_align(size_class(self.bytes()), 8).expect("a member is smaller than the address space")
    }
}

impl<H: Copy, const VALUES: bool> Piece<H, VALUES> {
    /// `value` must be empty where no values are kept.
    pub fn new(header: H, name: &[u8], value: &[u8]) -> Self {
        debug_assert!(VALUES || value.is_empty());
        let lengths = length_bytes(name.len()) + if VALUES { length_bytes(value.len()) } else { 0 };
        let shape = Shape { name_at: size_of::<H>() + lengths, name_len: name.len(), value_len: value.len() };
        let layout = shape.layout();
        // SAFETY: the layout holds header, lengths, name and value, in this order, and is never empty.
        unsafe {
            let Some(memory) = NonNull::new(alloc(layout)) else { handle_alloc_error(layout) };
            memory.cast::<H>().write_unaligned(header);
            let mut at = write_length(memory.as_ptr().add(size_of::<H>()), name.len());
            if VALUES {
                at = write_length(at, value.len());
            }
            std::ptr::copy_nonoverlapping(name.as_ptr(), at, name.len());
            std::ptr::copy_nonoverlapping(value.as_ptr(), at.add(name.len()), value.len());
            Self { memory, owns: PhantomData }
        }
    }

    #[inline]
    fn shape(&self) -> Shape {
        // SAFETY: `new` wrote the lengths behind the header.
        unsafe {
            let start = self.memory.as_ptr();
            let (name_len, mut at) = read_length(start.add(size_of::<H>()));
            let mut value_len = 0;
            if VALUES {
                (value_len, at) = read_length(at);
            }
            Shape { name_at: at.offset_from_unsigned(start), name_len, value_len }
        }
    }

    #[inline]
    pub fn header(&self) -> H {
        // SAFETY: `new` wrote it; unaligned because an allocation of 8 bytes is only that much aligned.
        unsafe { self.memory.cast::<H>().read_unaligned() }
    }

    #[inline]
    pub fn set_header(&mut self, header: H) {
        // SAFETY: as in `header`.
        unsafe { self.memory.cast::<H>().write_unaligned(header) }
    }

    #[inline]
    pub fn name(&self) -> &[u8] {
        let shape = self.shape();
        // SAFETY: `new` wrote that many bytes there.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(shape.name_at), shape.name_len) }
    }

    #[inline]
    pub fn value(&self) -> &[u8] {
        let shape = self.shape();
        // SAFETY: as in `name`.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(shape.name_at + shape.name_len), shape.value_len) }
    }

    /// Puts another value behind the name; the allocation is kept where length and size class stay the same.
    pub fn set_value(&mut self, value: &[u8]) {
        let shape = self.shape();
        if value.len() == shape.value_len {
            // SAFETY: exactly the bytes of the old value.
            unsafe {
                let at = self.memory.as_ptr().add(shape.name_at + shape.name_len);
                std::ptr::copy_nonoverlapping(value.as_ptr(), at, value.len());
            }
            return;
        }
        *self = Self::new(self.header(), self.name(), value);
    }

    /// Where the member is: two members of a collection never share an address. It stays until the member is changed or
    /// relocated.
    pub fn address(&self) -> usize {
        self.memory.as_ptr() as usize
    }

    pub fn heap_bytes(&self) -> usize {
        self.shape().layout().size()
    }
}

impl<H: Copy, const VALUES: bool> Drop for Piece<H, VALUES> {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout: lengths never change in place.
        unsafe { dealloc(self.memory.as_ptr(), self.shape().layout()) }
    }
}

impl<H: Copy, const VALUES: bool> Movable for Piece<H, VALUES> {
    fn relocate(&mut self, mover: &mut Mover) {
        // SAFETY: allocated with this layout, and borrowed by us alone.
        if let Some(copy) = unsafe { mover.moved(self.memory, self.shape().layout()) } {
            self.memory = copy;
        }
    }
}

impl<H: Copy, const VALUES: bool> Clone for Piece<H, VALUES> {
    fn clone(&self) -> Self {
        Self::new(self.header(), self.name(), self.value())
    }
}

// SAFETY: the word is the pointer, which owns the allocation; nothing else is in a `Piece`.
unsafe impl<H: Copy, const VALUES: bool> Item for Piece<H, VALUES> {
    #[inline]
    fn into_word(self) -> Word {
        let word = Word::new(self.memory.as_ptr() as u64).expect("a pointer is not null");
        std::mem::forget(self);
        word
    }

    /// # Safety
    /// As the trait says.
    #[inline]
    unsafe fn from_word(word: Word) -> Self {
        // SAFETY: the caller's promise: the word came from `into_word`.
        Self { memory: unsafe { NonNull::new_unchecked(word.get() as *mut u8) }, owns: PhantomData }
    }

    #[inline]
    fn name(&self) -> &[u8] {
        self.name()
    }

    fn heap_bytes(&self) -> usize {
        self.heap_bytes()
    }
}

fn length_bytes(len: usize) -> usize {
    if len < LONG as usize { 1 } else { 5 }
}

/// # Safety
/// [`length_bytes`] bytes at `at` are writable.
unsafe fn write_length(at: *mut u8, len: usize) -> *mut u8 {
    // SAFETY: the caller's promise.
    unsafe {
        if len < LONG as usize {
            at.write(len as u8);
            return at.add(1);
        }
        at.write(LONG);
        let len = u32::try_from(len).expect("a member is shorter than 4 GiB");
        at.add(1).cast::<u32>().write_unaligned(len);
        at.add(5)
    }
}

/// # Safety
/// `at` points to a length written by [`write_length`].
#[inline]
unsafe fn read_length(at: *mut u8) -> (usize, *mut u8) {
    // SAFETY: the caller's promise.
    unsafe {
        match at.read() {
            LONG => (at.add(1).cast::<u32>().read_unaligned() as usize, at.add(5)),
            len => (len as usize, at.add(1)),
        }
    }
}

/// A length byte that says that four more follow.
const LONG: u8 = u8::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_keeps_header_name_and_value() {
        for (name, value) in [(0, 0), (1, 254), (254, 255), (255, 3), (70_000, 70_000)] {
            let (name, value) = (vec![b'n'; name], vec![b'v'; value]);
            let mut p = Piece::<f64, true>::new(1.5, &name, &value);
            assert_eq!((p.header(), p.name(), p.value()), (1.5, &name[..], &value[..]));
            p.set_value(b"other");
            p.set_header(-2.0);
            let p = p.clone();
            assert_eq!((p.header(), p.name(), p.value()), (-2.0, &name[..], &b"other"[..]));
        }
        let member = Piece::<(), false>::new((), b"member:0000001", b"");
        assert_eq!((member.heap_bytes(), member.name()), (16, &b"member:0000001"[..]));
    }
}
