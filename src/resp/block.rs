//! Blocks: long strings that are shared by reference between a request, the keyspace and the replies that send them.
//!
//! An argument of [`LONG_BYTES`] and more is received straight into a block of its own length ([`Receiving`]); SET keeps
//! that block as its key's value, and GET sends it from where it lies. No byte is copied between the kernel and the
//! keyspace in either direction.
//!
//! While a request with long arguments runs, its connection offers them to its thread ([`offer`]); who stores such an
//! argument finds the block by the address of its bytes ([`owner`]). While a connection's commands run, it collects on its
//! thread the blocks that its replies are to send ([`collect_blocks`], [`push_block`]); replies into any other buffer, a
//! script's or a waiter's, get copies. Both ways cost a command without long strings nothing.
//! Bounds: a request's blocks by [`super::parse::REQUEST_BYTES_MAX`], those of replies by the client's output limit.

use super::bulk;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::sync::Arc;

/// A long string; copied before it is changed while others use it.
pub type Block = Arc<Vec<u8>>;

/// A long argument on its way from the socket.
#[derive(Debug)]
pub struct Receiving {
    bytes: Vec<u8>,
    len: usize,
}

impl Receiving {
    /// One of `len` bytes, of which the first have come already. The memory is asked for at once, and touched as it fills.
    pub fn new(len: usize, first: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(&first[..first.len().min(len)]);
        Self { bytes, len }
    }

    pub fn is_whole(&self) -> bool {
        self.bytes.len() == self.len
    }

    /// Bytes that have come.
    pub fn received(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of the whole argument.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Where the next bytes go, and how many are missing.
    pub fn room(&mut self) -> (&mut Vec<u8>, usize) {
        let missing = self.len - self.bytes.len();
        (&mut self.bytes, missing)
    }

    pub fn into_block(self) -> Block {
        Arc::new(self.bytes)
    }
}

/// Offers the long arguments of the request that runs next on this thread, until the offer is dropped.
pub fn offer(blocks: &[Block]) -> Offer {
    OFFERED.with_borrow_mut(|offered| offered.extend_from_slice(blocks));
    Offer(())
}

/// See [`offer`].
#[must_use = "the blocks are offered until this is dropped"]
pub struct Offer(());

impl Drop for Offer {
    fn drop(&mut self) {
        OFFERED.with_borrow_mut(Vec::clear);
    }
}

/// A block of these bytes: the one that holds them, if it was offered, else a copy.
pub fn block_of(bytes: &[u8]) -> Block {
    let is_it = |block: &&Block| block.as_ptr() == bytes.as_ptr() && block.len() == bytes.len();
    let owner = || OFFERED.with_borrow(|offered| offered.iter().find(is_it).cloned());
    let owner = if bytes.len() >= LONG_BYTES { owner() } else { None };
    owner.unwrap_or_else(|| Arc::new(bytes.to_vec()))
}

/// A piece of a block in the middle of a reply's bytes.
#[derive(Debug)]
pub struct Attached {
    /// How many of the reply's bytes go before it.
    pub at: usize,
    pub block: Block,
    /// What of it is to be sent.
    pub range: Range<usize>,
}

/// Lets replies into this buffer, and no other, attach blocks, until they are taken.
pub fn collect_blocks(out: &Vec<u8>) {
    COLLECTING.set(out);
}

/// What was attached since collecting began, which ends.
#[inline]
pub fn take_blocks() -> Vec<Attached> {
    COLLECTING.set(std::ptr::null());
    if ATTACHED_BYTES.get() == 0 {
        return Vec::new();
    }
    ATTACHED_BYTES.set(0);
    ATTACHED.take()
}

/// Bytes attached so far.
#[inline]
pub fn attached_bytes() -> usize {
    ATTACHED_BYTES.get()
}

/// Runs `work` without collecting: replies to others.
pub(super) fn without_blocks<R>(work: impl FnOnce() -> R) -> R {
    let out = COLLECTING.replace(std::ptr::null());
    let result = work();
    COLLECTING.set(out);
    result
}

/// Appends part of a block as a bulk string; without a copy if it is long and this is the buffer of a connection. How many
/// bytes were attached.
pub fn push_block(out: &mut Vec<u8>, block: &Block, range: Range<usize>) -> usize {
    if range.len() < LONG_BYTES || !std::ptr::eq(COLLECTING.get(), out) {
        bulk::push_bulk(out, &block[range]);
        return 0;
    }
    if !bulk::has_room(out.len() + ATTACHED_BYTES.get() + range.len()) {
        return 0;
    }
    let len = range.len();
    out.push(b'$');
    crate::num::push_u64(out, range.len() as u64);
    out.extend_from_slice(b"\r\n");
    ATTACHED_BYTES.set(ATTACHED_BYTES.get() + range.len());
    ATTACHED.with_borrow_mut(|attached| attached.push(Attached { at: out.len(), block: block.clone(), range }));
    out.extend_from_slice(b"\r\n");
    len
}

/// Shortens a reply, with what was attached behind that length.
pub fn truncate(out: &mut Vec<u8>, len: usize) {
    if ATTACHED_BYTES.get() > 0 && std::ptr::eq(COLLECTING.get(), out) {
        ATTACHED.with_borrow_mut(|attached| attached.retain(|piece| piece.at <= len));
        let left = ATTACHED.with_borrow(|attached| attached.iter().map(|piece| piece.range.len()).sum());
        ATTACHED_BYTES.set(left);
    }
    out.truncate(len);
}

/// `by` bytes were put into a reply at `from`: what was attached behind that moves.
pub(super) fn shift(out: &Vec<u8>, from: usize, by: usize) {
    if ATTACHED_BYTES.get() > 0 && std::ptr::eq(COLLECTING.get(), out) {
        ATTACHED.with_borrow_mut(|attached| {
            attached.iter_mut().filter(|piece| piece.at > from).for_each(|piece| piece.at += by)
        });
    }
}

thread_local! {
    static OFFERED: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
    static COLLECTING: Cell<*const Vec<u8>> = const { Cell::new(std::ptr::null()) };
    static ATTACHED: RefCell<Vec<Attached>> = const { RefCell::new(Vec::new()) };
    static ATTACHED_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// From this length on a string is worth a block of its own in requests, and a reference in replies.
pub const LONG_BYTES: usize = 32 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Out, Proto, limit_output, take_overflow, unlimited};

    fn long(byte: u8) -> Block {
        Arc::new(vec![byte; LONG_BYTES])
    }

    #[test]
    fn an_offered_argument_is_kept_and_another_copied() {
        let block = long(b'a');
        assert!(!Arc::ptr_eq(&block_of(&block), &block));
        let offer = offer(std::slice::from_ref(&block));
        assert!(Arc::ptr_eq(&block_of(&block), &block));
        let part = block_of(&block[1..]);
        assert_eq!((Arc::ptr_eq(&part, &block), part.len()), (false, LONG_BYTES - 1));
        drop(offer);
        assert!(!Arc::ptr_eq(&block_of(&block), &block));
    }

    #[test]
    fn blocks_are_attached_to_the_buffer_that_collects_and_copied_into_others() {
        let (block, mut out, mut other) = (long(b'a'), Vec::new(), Vec::new());
        limit_output(usize::MAX);
        collect_blocks(&out);
        push_block(&mut other, &block, 0..LONG_BYTES);
        assert!(other.len() > LONG_BYTES);
        let (hole, mut writer) = (Out::new(&mut out, Proto::Resp2).later(), Vec::new());
        push_block(&mut out, &block, 0..LONG_BYTES);
        push_block(&mut out, &block, 5..6);
        let kept = out.len();
        push_block(&mut out, &block, 0..LONG_BYTES);
        truncate(&mut out, kept);
        Out::new(&mut out, Proto::Resp2).fill_array(hole, 2);
        unlimited(|| push_block(&mut writer, &block, 0..LONG_BYTES));
        let attached = take_blocks();
        assert_eq!(out, b"*2\r\n$32768\r\n\r\n$1\r\na\r\n");
        assert_eq!(attached.len(), 1);
        assert_eq!((attached[0].at, attached[0].range.clone()), (12, 0..LONG_BYTES));
        assert!(take_blocks().is_empty());
    }

    #[test]
    fn attached_bytes_count_against_the_reply_s_limit() {
        let (block, mut out) = (long(b'a'), Vec::new());
        limit_output(LONG_BYTES + 100);
        collect_blocks(&out);
        push_block(&mut out, &block, 0..LONG_BYTES);
        assert!(!take_overflow());
        push_block(&mut out, &block, 0..LONG_BYTES);
        assert!(take_overflow());
        assert_eq!(take_blocks().len(), 1);
        limit_output(usize::MAX);
    }
}
