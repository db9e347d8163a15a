//! A request's arguments: spans over one run of bytes, borrowed from the read buffer or owned.
//!
//! Offsets are relative to the request's first byte, so that the same spans hold when the request is copied out of
//! the read buffer (MULTI queue, blocked clients, scripts). An owned request is one allocation for all bytes.
//! Cost: 8 bytes an argument. A request is therefore shorter than 4 GiB; the parser refuses longer ones.

use crate::num;

/// One argument: where it starts in the request's bytes and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub at: u32,
    pub len: u32,
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
            Some(s) => &self.bytes[s.at as usize..s.at as usize + s.len as usize],
            None => &[],
        }
    }

    pub fn iter(self) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone {
        self.spans.iter().map(move |s| &self.bytes[s.at as usize..s.at as usize + s.len as usize])
    }

    /// The request's own bytes, as they arrived.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    pub fn to_owned(self) -> Argv {
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

    /// Whether an argument of so many bytes can be appended.
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
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// `SELECT db` in canonical form.
pub fn encode_select(out: &mut Vec<u8>, db: usize) {
    let mut digits = itoa::Buffer::new();
    encode_request(out, [b"SELECT".as_slice(), digits.format(db).as_bytes()].into_iter());
}

/// What a request leaves behind when it is cleared.
const KEPT_BYTES_MAX: usize = 64 << 10;
const KEPT_SPANS_MAX: usize = 1024;
