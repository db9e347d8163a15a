//! What a connection has read and not run yet: requests in a buffer, and long arguments in blocks of their own.
//!
//! Once the length of an argument is known to be [`LONG_BYTES`] or more, it is received straight into a block of that
//! length, and a record stands for it in the buffer. A request with long arguments is a batch of its own.

#![allow(unsafe_code)]

use super::stream::Stream;
use super::worker::Worker;
use crate::resp::argv::{RECORD_BYTES, record};
use crate::resp::block::Receiving;
use crate::resp::parse::REQUEST_BYTES_MAX;
use crate::resp::{Block, HalfRead, LONG_BYTES, Limits, Parser, Span, Step};
use std::io;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;

#[derive(Default)]
pub struct Incoming {
    pub bytes: Vec<u8>,
    /// How many of `bytes` have run.
    pub consumed: usize,
    parser: Parser,
    /// The long argument that is being read.
    receiving: Option<Receiving>,
    /// The other long arguments of its request, or those of the request that runs.
    long: Vec<Block>,
    /// Bytes of long arguments read since others had their turn.
    read_at_once: usize,
}

impl Incoming {
    /// Whether there may be a whole request.
    pub fn has_more(&self) -> bool {
        self.consumed < self.bytes.len() && self.receiving.is_none()
    }

    /// How far the request is understood that is not all there yet.
    pub fn half_read(&self) -> HalfRead {
        self.parser.half_read()
    }

    /// The next request at `consumed`. `bytes` are this one's own.
    #[inline]
    pub fn next(&mut self, bytes: &mut [u8], spans: &mut Vec<Span>, limits: &Limits) -> Step {
        self.parser.next(&mut bytes[self.consumed..], spans, limits)
    }

    /// Long arguments of the request that runs.
    pub fn long(&self) -> &[Block] {
        &self.long
    }

    /// The request with long arguments has run, or stands in the buffer as a whole.
    #[inline]
    pub fn forget_long(&mut self) {
        if !self.long.is_empty() {
            self.long = Vec::new();
        }
    }

    /// Bytes read that are not understood yet: of a long argument all, until the end of its line is there.
    pub fn not_understood(&self) -> usize {
        let received = self.receiving.as_ref().map_or(0, Receiving::received);
        // A record stands for it already.
        let unended = self.unended().saturating_sub(RECORD_BYTES);
        (self.bytes.len() + received + unended).saturating_sub(self.consumed + self.half_read().bytes)
    }

    /// Bytes of the long argument that is all there but for the end of its line.
    fn unended(&self) -> usize {
        let last = self.long.last().filter(|_| self.half_read().is_elsewhere);
        last.map_or(0, |block| block.len())
    }

    /// Memory held.
    pub fn held(&self) -> usize {
        self.bytes.capacity() + self.receiving.as_ref().map_or(0, Receiving::capacity) + self.long_bytes()
    }

    /// Bytes of understood arguments of a request that is not all there.
    pub fn args_bytes(&self) -> usize {
        self.half_read().args_bytes + self.long_bytes() - self.unended()
    }

    /// Bytes of the long arguments.
    pub fn long_bytes(&self) -> usize {
        self.long.iter().map(|block| block.len()).sum()
    }

    /// Room left in the buffer and in the block that is being filled.
    pub fn room(&self) -> usize {
        let missing = self.receiving.as_ref().map_or(0, |receiving| receiving.capacity() - receiving.received());
        self.bytes.capacity() - self.bytes.len() + missing
    }

    /// Reads once. How many bytes came; 0 if the peer has left.
    #[inline]
    pub fn poll_read(&mut self, stream: &mut Stream, cx: &mut Context<'_>, worker: &Worker) -> Poll<io::Result<usize>> {
        let half = self.half_read();
        if self.receiving.is_some() || self.begins_long(half) {
            return self.poll_read_long(half, stream, cx, worker);
        }
        if self.bytes.capacity() == 0 {
            self.bytes = worker.take_buffer();
        }
        self.bytes.reserve(if half.is_elsewhere { LINE_END_BYTES } else { READ_BYTES });
        let read = read_into(stream, cx, &mut self.bytes, usize::MAX);
        if read.is_pending() && self.bytes.is_empty() {
            worker.give_buffer(std::mem::take(&mut self.bytes));
        }
        read
    }

    /// A long argument is next, of which more than the end of its line is missing.
    #[inline]
    fn begins_long(&self, half: HalfRead) -> bool {
        half.bulk_len >= LONG_BYTES && half.bulk_len > self.bytes.len() - self.consumed - half.bytes
    }

    #[cold]
    fn poll_read_long(
        &mut self,
        half: HalfRead,
        stream: &mut Stream,
        cx: &mut Context<'_>,
        worker: &Worker,
    ) -> Poll<io::Result<usize>> {
        let mut receiving = self.receiving.take().unwrap_or_else(|| {
            let (head, first) = self.bytes.split_at(self.consumed + half.bytes);
            let (head, receiving) = (head.to_vec(), Receiving::new(half.bulk_len, first));
            // What is understood is some words: others have better use for the buffer.
            worker.give_buffer(std::mem::replace(&mut self.bytes, head));
            receiving
        });
        let (bytes, missing) = receiving.room();
        let read = read_into(stream, cx, bytes, missing.min(READ_LONG_BYTES));
        if let Poll::Ready(Ok(n)) = read {
            self.read_at_once += n;
        }
        match receiving.is_whole() {
            true => self.keep(receiving.into_block()),
            false => self.receiving = Some(receiving),
        }
        read
    }

    /// A long argument is there.
    fn keep(&mut self, block: Block) {
        self.bytes.extend_from_slice(&record(&block));
        self.long.push(block);
        // SAFETY: the record stands behind the bytes that are understood, and the block is kept until the request has run.
        unsafe { self.parser.keep_elsewhere() };
    }

    /// Whether so much of a long argument was read that others are to get their turn; asked once for each.
    #[inline]
    pub fn gives_way(&mut self) -> bool {
        let yes = self.read_at_once >= READ_LONG_BYTES;
        if yes {
            self.read_at_once = 0;
        }
        yes
    }

    /// Whether the request that is half there, with this many bytes in the buffer, would be too long with the argument that
    /// is being read.
    #[inline]
    pub fn is_too_long(&self, bytes: usize) -> bool {
        let total = || bytes + self.long_bytes() + self.half_read().bulk_len;
        !self.long.is_empty() && total() as u64 > REQUEST_BYTES_MAX
    }

    /// What was parsed and has not run was put back in front of the unread bytes, in canonical form: an inline request was
    /// unquoted where it stood and must not be read twice, and long arguments have come home.
    #[cold]
    pub fn begin_again(&mut self) {
        (self.consumed, self.parser) = (0, Parser::default());
    }

    /// Forgets what has run.
    pub fn compact(&mut self, worker: &Worker) {
        if self.consumed == self.bytes.len() {
            worker.give_buffer(std::mem::take(&mut self.bytes));
        } else if self.consumed > 0 {
            self.bytes.drain(..self.consumed);
        }
        self.consumed = 0;
    }
}

/// Reads up to `max` bytes into a buffer's spare capacity; how many.
#[inline]
fn read_into(stream: &mut Stream, cx: &mut Context<'_>, to: &mut Vec<u8>, max: usize) -> Poll<io::Result<usize>> {
    let spare = to.spare_capacity_mut();
    let max = spare.len().min(max);
    let mut buf = ReadBuf::uninit(&mut spare[..max]);
    let read = stream.poll_read(cx, &mut buf);
    let n = buf.filled().len();
    // SAFETY: the socket filled exactly `n` bytes of the spare capacity.
    unsafe { to.set_len(to.len() + n) };
    read.map_ok(|()| n)
}

/// Room offered to one read.
pub const READ_BYTES: usize = 16 << 10;
/// The same for a long argument; others get their turn behind it.
const READ_LONG_BYTES: usize = 256 << 10;
/// The same where only the end of a long argument's line is missing.
const LINE_END_BYTES: usize = 32;
