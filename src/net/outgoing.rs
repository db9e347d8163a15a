//! What a connection has still to send: bytes, and between them blocks that are sent from where they lie.

use super::stream::Stream;
use crate::resp::block::Attached;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::task::{Context, Poll};

#[derive(Default)]
pub struct Outgoing {
    pub bytes: Vec<u8>,
    /// How many of `bytes` were sent.
    sent: usize,
    /// Blocks that are not sent yet, in order; of the first a part may be.
    blocks: VecDeque<Attached>,
    unsent_in_blocks: usize,
}

impl Outgoing {
    /// Bytes that the socket has not taken.
    #[inline]
    pub fn unsent(&self) -> usize {
        self.bytes.len() - self.sent + self.unsent_in_blocks
    }

    /// All that it has held since it was last empty.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Memory held, blocks included: they may be their last user.
    pub fn held(&self) -> usize {
        self.bytes.capacity() + self.unsent_in_blocks
    }

    /// Bytes sent of those that it still holds.
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// Blocks for the bytes written last.
    pub fn attach(&mut self, blocks: Vec<Attached>) {
        self.unsent_in_blocks += blocks.iter().map(|piece| piece.range.len()).sum::<usize>();
        self.blocks.extend(blocks);
    }

    /// Writes up to `max` bytes with one call; 0 says that the peer is gone.
    #[inline]
    pub fn poll_write(&mut self, stream: &mut Stream, cx: &mut Context<'_>, max: usize) -> Poll<io::Result<usize>> {
        if !self.blocks.is_empty() {
            return stream.poll_write_all_of(cx, &self.slices(max));
        }
        let unsent = &self.bytes[self.sent..];
        stream.poll_write(cx, &unsent[..unsent.len().min(max)])
    }

    #[cold]
    fn slices(&self, mut max: usize) -> SmallVec<[IoSlice<'_>; SLICES_MAX]> {
        let (mut slices, mut at) = (SmallVec::new(), self.sent);
        let mut add = |bytes| add_slice(&mut slices, bytes, &mut max);
        for piece in self.blocks.iter().take(SLICES_MAX / 2) {
            add(&self.bytes[at..piece.at]);
            add(&piece.block[piece.range.clone()]);
            at = piece.at;
        }
        if self.blocks.len() <= SLICES_MAX / 2 {
            add(&self.bytes[at..]);
        }
        slices
    }

    /// The socket took `n` bytes more. The blocks that are sent to their end.
    #[inline]
    pub fn advance(&mut self, n: usize) -> Option<Vec<Attached>> {
        if self.blocks.is_empty() {
            self.sent += n;
            return None;
        }
        Some(self.advance_through_blocks(n))
    }

    #[cold]
    fn advance_through_blocks(&mut self, mut n: usize) -> Vec<Attached> {
        let mut done = Vec::new();
        while let Some(piece) = self.blocks.front_mut() {
            let before = n.min(piece.at - self.sent);
            let of_block = (n - before).min(piece.range.len());
            self.sent += before;
            piece.range.start += of_block;
            self.unsent_in_blocks -= of_block;
            n -= before + of_block;
            if self.sent < piece.at || !piece.range.is_empty() {
                return done;
            }
            done.extend(self.blocks.pop_front());
        }
        self.sent += n;
        done
    }

    /// Forgets what was sent, if that is most: a peer that is always a little behind must not make us keep it.
    pub fn compact(&mut self) {
        if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.blocks.iter_mut().for_each(|piece| piece.at -= self.sent);
            self.sent = 0;
        }
    }

    /// Gives the buffer away. Everything is sent.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        self.sent = 0;
        std::mem::take(&mut self.bytes)
    }
}

fn add_slice<'a>(slices: &mut SmallVec<[IoSlice<'a>; SLICES_MAX]>, bytes: &'a [u8], max: &mut usize) {
    let len = bytes.len().min(*max);
    if len > 0 && slices.len() < SLICES_MAX {
        slices.push(IoSlice::new(&bytes[..len]));
        *max -= len;
    }
}

/// Slices of one write.
const SLICES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Replies of bytes and blocks, sent in writes of any size, compacted now and then: all bytes come in order.
    fn sends_everything(pieces: &[(usize, usize)], writes: &[usize]) -> Result<(), TestCaseError> {
        let (mut out, mut expected, mut next) = (Outgoing::default(), Vec::new(), 0u8);
        let mut fresh = |len: usize| -> Vec<u8> {
            let bytes = (0..len).map(|i| next.wrapping_add(i as u8)).collect();
            next = next.wrapping_add(len as u8).wrapping_add(7);
            bytes
        };
        let (mut sent, mut taken) = (Vec::new(), 0);
        for (i, &(plain, long)) in pieces.iter().enumerate() {
            let (plain, block) = (fresh(plain), fresh(long + 2));
            expected.extend_from_slice(&plain);
            expected.extend_from_slice(&block[1..=long]);
            out.bytes.extend_from_slice(&plain);
            let at = out.bytes.len();
            out.attach(vec![Attached { at, block: Arc::new(block), range: 1..long + 1 }]);
            let max = writes[i % writes.len()];
            let slices = out.slices(max).iter().map(|slice| slice.to_vec()).collect::<Vec<_>>().concat();
            prop_assert!(slices.len() <= max && (!slices.is_empty() || max == 0));
            sent.extend_from_slice(&slices);
            taken += out.advance(slices.len()).map_or(0, |done| done.len());
            out.compact();
            prop_assert_eq!(out.unsent(), expected.len() - sent.len());
        }
        while out.unsent() > 0 {
            let slices = out.slices(1 + writes[0]).iter().map(|slice| slice.to_vec()).collect::<Vec<_>>().concat();
            sent.extend_from_slice(&slices);
            taken += out.advance(slices.len()).map_or(0, |done| done.len());
        }
        prop_assert_eq!(&sent, &expected);
        prop_assert_eq!(taken, pieces.len());
        Ok(())
    }

    proptest! {
        #[test]
        fn bytes_and_blocks_are_sent_in_order(
            pieces in prop::collection::vec((0usize..20, 1usize..40), 1..30),
            writes in prop::collection::vec(0usize..70, 1..8),
        ) {
            sends_everything(&pieces, &writes)?;
        }
    }
}
