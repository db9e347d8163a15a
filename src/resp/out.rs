//! Replies: written straight into a connection's buffer, in RESP2 or RESP3 as the client asked.
//!
//! One method per reply shape; the writer knows how each shape looks in both protocols, the handler does not.
//! Maps, sets, doubles, booleans, big numbers, verbatim texts and pushes fall back to RESP2's arrays, bulks and
//! integers exactly as Redis falls back. Error lines are cleaned of CR and LF, so that no text can forge a reply.
//! Every method returns `()`; commands wrap it. Not here: who reads the buffer, and when it is sent.

use super::block::{self, Block};
use super::bulk::push_bulk;
use crate::num;
use std::ops::Range;

/// The protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Proto {
    #[default]
    Resp2,
    Resp3,
}

/// Where an aggregate's header goes once its length is known. Fill holes in the reverse order of their making.
#[must_use = "an unfilled hole leaves a reply without its header"]
pub struct Hole(usize);

/// A reply being written at the end of `buf`.
pub struct Out<'a> {
    pub buf: &'a mut Vec<u8>,
    pub proto: Proto,
    /// Bytes of blocks that belong to what this has written, beside those in `buf`.
    pub attached: usize,
}

impl<'a> Out<'a> {
    pub fn new(buf: &'a mut Vec<u8>, proto: Proto) -> Self {
        Self { buf, proto, attached: 0 }
    }

    fn resp3(&self) -> bool {
        self.proto == Proto::Resp3
    }

    #[inline]
    fn header(&mut self, mark: u8, n: u64) {
        self.buf.push(mark);
        num::push_u64(self.buf, n);
        self.buf.extend_from_slice(b"\r\n");
    }

    /// `+OK`
    #[inline]
    pub fn ok(&mut self) {
        self.buf.extend_from_slice(b"+OK\r\n");
    }

    /// A status line. The text is ours, never a client's.
    pub fn simple(&mut self, text: &str) {
        self.buf.push(b'+');
        self.line(text.as_bytes());
    }

    /// A status line of any bytes, cleaned.
    pub fn status(&mut self, text: &[u8]) {
        self.buf.push(b'+');
        self.line(text);
    }

    /// An error line; `text` begins with its code, such as `ERR`.
    pub fn error(&mut self, text: &[u8]) {
        self.buf.push(b'-');
        self.line(text);
    }

    fn line(&mut self, text: &[u8]) {
        self.buf.extend(text.iter().map(|&b| if b == b'\r' || b == b'\n' { b' ' } else { b }));
        self.buf.extend_from_slice(b"\r\n");
    }

    #[inline]
    pub fn int(&mut self, n: i64) {
        self.buf.push(b':');
        num::push_i64(self.buf, n);
        self.buf.extend_from_slice(b"\r\n");
    }

    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        push_bulk(self.buf, bytes);
    }

    /// An integer as a bulk string: how a number stored in a key is read.
    #[inline]
    pub fn bulk_int(&mut self, n: i64) {
        let mut digits = itoa::Buffer::new();
        self.bulk(digits.format(n).as_bytes());
    }

    #[inline]
    pub fn null(&mut self) {
        self.buf.extend_from_slice(if self.resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// The absent array: `*-1` in RESP2.
    pub fn null_array(&mut self) {
        self.buf.extend_from_slice(if self.resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    #[inline]
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len as u64);
    }

    /// A map of `pairs` pairs: in RESP2 an array of twice as many.
    pub fn map(&mut self, pairs: usize) {
        if self.resp3() { self.header(b'%', pairs as u64) } else { self.header(b'*', pairs as u64 * 2) }
    }

    pub fn set(&mut self, len: usize) {
        self.header(if self.resp3() { b'~' } else { b'*' }, len as u64);
    }

    /// An out-of-band message.
    pub fn push(&mut self, len: usize) {
        self.header(if self.resp3() { b'>' } else { b'*' }, len as u64);
    }

    pub fn attribute(&mut self, pairs: usize) {
        self.header(b'|', pairs as u64);
    }

    pub fn double(&mut self, x: f64) {
        let mut text = Vec::with_capacity(24);
        num::push_f64(&mut text, x);
        if self.resp3() {
            self.buf.push(b',');
            self.buf.extend_from_slice(&text);
            self.buf.extend_from_slice(b"\r\n");
        } else {
            self.bulk(&text);
        }
    }

    pub fn bool(&mut self, yes: bool) {
        match (self.resp3(), yes) {
            (true, true) => self.buf.extend_from_slice(b"#t\r\n"),
            (true, false) => self.buf.extend_from_slice(b"#f\r\n"),
            (false, yes) => self.int(i64::from(yes)),
        }
    }

    pub fn big_number(&mut self, digits: &[u8]) {
        if self.resp3() {
            self.buf.push(b'(');
            self.line(digits);
        } else {
            self.bulk(digits);
        }
    }

    /// Text with a three-letter format: `txt` or `mkd`.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        if self.resp3() {
            self.header(b'=', text.len() as u64 + 4);
            self.buf.extend_from_slice(format.as_bytes());
            self.buf.push(b':');
            self.buf.extend_from_slice(text);
            self.buf.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text);
        }
    }

    /// An array of bulk strings.
    pub fn bulks<I: AsRef<[u8]>>(&mut self, items: impl ExactSizeIterator<Item = I>) {
        self.array(items.len());
        for item in items {
            self.bulk(item.as_ref());
        }
    }

    /// Begins an aggregate whose length is not known yet.
    pub fn later(&mut self) -> Hole {
        Hole(self.buf.len())
    }

    pub fn fill_array(&mut self, hole: Hole, len: usize) {
        self.fill(hole, b'*', len as u64);
    }

    pub fn fill_set(&mut self, hole: Hole, len: usize) {
        let mark = if self.resp3() { b'~' } else { b'*' };
        self.fill(hole, mark, len as u64);
    }

    pub fn fill_map(&mut self, hole: Hole, pairs: usize) {
        let (mark, n) = if self.resp3() { (b'%', pairs as u64) } else { (b'*', pairs as u64 * 2) };
        self.fill(hole, mark, n);
    }

    /// A bulk string in front of what was written since.
    pub fn fill_bulk(&mut self, hole: Hole, bytes: &[u8]) {
        let mut text = Vec::with_capacity(bytes.len() + 16);
        push_bulk(&mut text, bytes);
        self.put_at(hole, text);
    }

    /// Moves what was written since behind the header: one memmove of the reply, cheaper than counting twice.
    fn fill(&mut self, hole: Hole, mark: u8, n: u64) {
        let mut header = Vec::with_capacity(24);
        header.push(mark);
        num::push_u64(&mut header, n);
        header.extend_from_slice(b"\r\n");
        self.put_at(hole, header);
    }

    fn put_at(&mut self, hole: Hole, bytes: Vec<u8>) {
        block::shift(self.buf, hole.0, bytes.len());
        self.buf.splice(hole.0..hole.0, bytes);
    }

    /// Part of a block as a bulk string: see [`block::push_block`].
    pub fn block(&mut self, block: &Block, range: Range<usize>) {
        self.attached += block::push_block(self.buf, block, range);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(proto: Proto, write: impl Fn(&mut Out<'_>)) -> String {
        let mut buf = Vec::new();
        write(&mut Out::new(&mut buf, proto));
        String::from_utf8(buf).unwrap()
    }

    #[test]
    fn shapes_fall_back_to_resp2() {
        let all = |out: &mut Out<'_>| {
            out.null();
            out.null_array();
            out.map(1);
            out.set(1);
            out.bool(true);
            out.double(1.5);
            out.verbatim("txt", b"a");
        };
        assert_eq!(written(Proto::Resp2, all), "$-1\r\n*-1\r\n*2\r\n*1\r\n:1\r\n$3\r\n1.5\r\n$1\r\na\r\n");
        assert_eq!(written(Proto::Resp3, all), "_\r\n_\r\n%1\r\n~1\r\n#t\r\n,1.5\r\n=5\r\ntxt:a\r\n");
    }

    #[test]
    fn an_error_text_cannot_forge_a_reply() {
        assert_eq!(written(Proto::Resp2, |o| o.error(b"ERR x\r\n+OK")), "-ERR x  +OK\r\n");
    }

    #[test]
    fn holes_take_the_count_afterwards() {
        let nested = |out: &mut Out<'_>| {
            let outer = out.later();
            let inner = out.later();
            out.int(7);
            out.fill_array(inner, 1);
            out.fill_map(outer, 1);
        };
        assert_eq!(written(Proto::Resp3, nested), "%1\r\n*1\r\n:7\r\n");
    }
}
