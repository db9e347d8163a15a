//! A request's arguments: spans over one run of bytes, borrowed from the read buffer or owned.
//!
//! Offsets are relative to the request's first byte, so that the same spans hold when the request is copied out of
//! the read buffer (MULTI queue, blocked clients, scripts). An owned request is one allocation for all bytes.
//! Cost: 8 bytes an argument. A request is therefore shorter than 4 GiB; the parser refuses longer ones.
//!
//! A long argument may lie in a block of its own ([`super::block`]). In the request's bytes a record then stands for it, its
//! address and length, and its span has a length that reaches beyond any request, so that only the bounds check that each
//! access has anyway tells it from others.

#![allow(unsafe_code)]

use super::block::{Block, LONG_BYTES};
use crate::num;

/// One argument: where it starts in the request's bytes and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub(super) at: u32,
    pub(super) len: u32,
}

impl Span {
    /// An argument of which a record at `at` tells where it is.
    pub(super) fn elsewhere(at: u32) -> Self {
        Self { at, len: ELSEWHERE }
    }

    fn is_elsewhere(self) -> bool {
        self.len == ELSEWHERE
    }

    /// The argument's bytes among the request's own.
    pub(super) fn bytes_here(self) -> usize {
        if self.is_elsewhere() { 0 } else { self.len as usize }
    }
}

/// What stands in a request's bytes for an argument that lies in a block. The block must live as long as these bytes are
/// read as a request.
pub fn record(block: &Block) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..8].copy_from_slice(&(block.as_ptr().expose_provenance() as u64).to_le_bytes());
    record[8..].copy_from_slice(&(block.len() as u64).to_le_bytes());
    record
}

/// Arguments borrowed from a buffer.
#[derive(Clone, Copy)]
pub struct ArgvView<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> ArgvView<'a> {
    /// `bytes` begins at the request's first byte. Panics on access if a span reaches beyond them.
    pub fn new(bytes: &'a [u8], spans: &'a [Span]) -> Self {
        Self { bytes, spans }
    }

    #[inline]
    pub fn len(self) -> usize {
        self.spans.len()
    }

    #[inline]
    pub fn is_empty(self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `i`; the command's name is number 0. Empty when there is no such argument.
    #[inline]
    pub fn get(self, i: usize) -> &'a [u8] {
        match self.spans.get(i) {
            Some(&span) => self.argument(span),
            None => &[],
        }
    }

    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone {
        self.spans.iter().map(move |&span| self.argument(span))
    }

    #[inline]
    fn argument(self, span: Span) -> &'a [u8] {
        match self.bytes.get(span.at as usize..span.at as usize + span.len as usize) {
            Some(bytes) => bytes,
            None => self.elsewhere(span),
        }
    }

    #[cold]
    #[inline(never)]
    fn elsewhere(self, span: Span) -> &'a [u8] {
        assert!(span.is_elsewhere(), "an argument lies within its request");
        let record = &self.bytes[span.at as usize..span.at as usize + RECORD_BYTES];
        let word = |at: usize| u64::from_le_bytes(*record[at..].first_chunk().expect("a record is two words")) as usize;
        // SAFETY: only the parser makes such spans, where its caller has put the record of a block that lives as long as
        // these bytes are read as a request.
        unsafe { std::slice::from_raw_parts(std::ptr::with_exposed_provenance(word(0)), word(8)) }
    }

    /// Its own bytes up to the end of the command's name, if that lies among them.
    #[inline]
    pub fn head(self) -> Option<&'a [u8]> {
        let name = self.spans.first()?;
        self.bytes.get(..name.at as usize + name.len as usize)
    }

    /// The request's own bytes, as they arrived; without long arguments that lie elsewhere.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// With long arguments among its own bytes.
    pub fn to_owned(self) -> Argv {
        if self.spans.iter().any(|span| span.is_elsewhere()) {
            return Argv::of(self.iter());
        }
        Argv { bytes: self.bytes.to_vec(), spans: self.spans.to_vec() }
    }
}

/// Arguments that own their bytes.
#[derive(Clone, Debug, Default)]
pub struct Argv {
    bytes: Vec<u8>,
    spans: Vec<Span>,
}

impl Argv {
    pub fn new() -> Self {
        Self::default()
    }

    /// Builds a request from its arguments.
    pub fn of<I: AsRef<[u8]>>(args: impl IntoIterator<Item = I>) -> Self {
        let mut argv = Self::default();
        for arg in args {
            argv.push(arg.as_ref());
        }
        argv
    }

    /// Forgets all arguments; the memory stays, unless it is much.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.spans.shrink_to(KEPT_SPANS_MAX);
    }

    /// Whether an argument of `len` bytes can be appended.
    pub fn has_room(&self, len: usize) -> bool {
        u32::try_from(self.bytes.len().saturating_add(len)).is_ok()
    }

    /// Appends one argument that `write` writes.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let span = |n: usize| u32::try_from(n).expect("a request is shorter than 4 GiB");
        self.spans.push(Span { at: span(start), len: span(self.bytes.len() - start) });
    }

    /// Appends one argument. Panics when the request passes 4 GiB, which no caller's limits allow.
    pub fn push(&mut self, arg: &[u8]) {
        let at = u32::try_from(self.bytes.len()).expect("a request is shorter than 4 GiB");
        let len = u32::try_from(arg.len()).expect("an argument is shorter than 4 GiB");
        self.bytes.extend_from_slice(arg);
        self.spans.push(Span { at, len });
    }

    pub fn view(&self) -> ArgvView<'_> {
        ArgvView { bytes: &self.bytes, spans: &self.spans }
    }

    /// The lengths of all arguments.
    pub fn args_bytes(&self) -> usize {
        self.spans.iter().map(|span| span.len as usize).sum()
    }

    /// Bytes held, for a client's memory accounting.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.spans.capacity() * size_of::<Span>()
    }
}

/// Writes a request in its canonical form: an array of bulk strings. The form of the log and of replication.
pub fn encode_request<'a>(out: &mut Vec<u8>, args: impl ExactSizeIterator<Item = &'a [u8]>) {
    out.push(b'*');
    num::push_u64(out, args.len() as u64);
    out.extend_from_slice(b"\r\n");
    for arg in args {
        out.push(b'$');
        num::push_u64(out, arg.len() as u64);
        out.extend_from_slice(b"\r\n");
        if arg.len() >= LONG_BYTES {
            // With room for what follows: the next append must not double the buffer.
            out.reserve(arg.len() + LONG_BYTES);
        }
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// `SELECT db` in canonical form.
pub fn encode_select(out: &mut Vec<u8>, db: usize) {
    let mut digits = itoa::Buffer::new();
    encode_request(out, [b"SELECT".as_slice(), digits.format(db).as_bytes()].into_iter());
}

/// An address and a length.
pub const RECORD_BYTES: usize = 16;
/// The length of no argument: a request with one would have 4 GiB.
const ELSEWHERE: u32 = u32::MAX;
/// What a request leaves behind when it is cleared.
const KEPT_BYTES_MAX: usize = 64 << 10;
const KEPT_SPANS_MAX: usize = 1024;
