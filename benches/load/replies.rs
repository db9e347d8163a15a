//! Counting replies without keeping them: the generator's inner loop.
//!
//! A counter is fed the bytes of one connection in pieces of any size. It takes only whole lines; what it leaves must
//! be fed again in front of the next piece. Payloads are skipped unseen, also across pieces. Nested replies count once.

use crate::request::Dialect;
use std::io;

/// Where a connection's replies stand.
#[derive(Debug)]
pub struct Replies {
    dialect: Dialect,
    /// Elements that the reply being read still owes; 0 between replies.
    owed: u64,
    /// Bytes of a payload, with its CRLF, not seen yet.
    skip: usize,
    /// Whole replies so far.
    pub count: u64,
}

impl Replies {
    pub fn new(dialect: Dialect) -> Self {
        Self { dialect, owed: 0, skip: 0, count: 0 }
    }

    /// Counts what is whole in `bytes`; tells how many bytes it is done with. An error reply is an error.
    pub fn feed(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut at = 0;
        loop {
            if self.skip > 0 {
                let step = self.skip.min(bytes.len() - at);
                at += step;
                self.skip -= step;
                if self.skip > 0 {
                    return Ok(at);
                }
                self.finish_element();
            }
            let Some(end) = memchr::memchr(b'\n', &bytes[at..]) else { return Ok(at) };
            let line = &bytes[at..at + end];
            at += end + 1;
            match self.dialect {
                Dialect::Resp => self.resp(line)?,
                Dialect::Memcached => self.memcached(line)?,
            }
        }
    }

    #[inline]
    fn finish_element(&mut self) {
        // memcached says END behind the value.
        if self.owed == 0 && self.dialect == Dialect::Resp {
            self.count += 1;
        }
    }

    #[inline]
    fn resp(&mut self, line: &[u8]) -> io::Result<()> {
        self.owed = self.owed.saturating_sub(1);
        match line.first() {
            Some(b'$' | b'=') => {
                if let Some(len) = number(&line[1..]) {
                    self.skip = len as usize + 2;
                    return Ok(());
                }
            }
            Some(b'*' | b'~' | b'>') => self.owed += number(&line[1..]).unwrap_or(0),
            Some(b'%') => self.owed += 2 * number(&line[1..]).unwrap_or(0),
            Some(b'+' | b':' | b'_' | b',' | b'#' | b'(') => {}
            _ => return Err(refused(line)),
        }
        self.finish_element();
        Ok(())
    }

    fn memcached(&mut self, line: &[u8]) -> io::Result<()> {
        if line.starts_with(b"VALUE ") {
            let len = line.rsplit(|b| *b == b' ').next().and_then(number);
            self.skip = len.ok_or_else(|| refused(line))? as usize + 2;
        } else if line.starts_with(b"STORED") || line.starts_with(b"END") {
            self.count += 1;
        } else {
            return Err(refused(line));
        }
        Ok(())
    }
}

fn refused(line: &[u8]) -> io::Error {
    io::Error::other(format!("the server answered {:?}", String::from_utf8_lossy(line)))
}

/// Digits up to a CR; `None` for -1, the null.
#[inline]
fn number(line: &[u8]) -> Option<u64> {
    let mut n = 0;
    for &b in line {
        match b {
            b'0'..=b'9' => n = n * 10 + u64::from(b - b'0'),
            b'\r' => break,
            _ => return None,
        }
    }
    Some(n)
}

#[cfg(test)]
#[allow(unused)] // A bench without a test runner sees them too.
mod tests {
    use super::*;

    /// Fed in pieces of every size, the count is the same.
    fn check(dialect: Dialect, bytes: &[u8], count: u64) {
        for size in 1..=bytes.len() {
            let (mut replies, mut held) = (Replies::new(dialect), Vec::new());
            for piece in bytes.chunks(size) {
                held.extend_from_slice(piece);
                let done = replies.feed(&held).unwrap();
                held.drain(..done);
            }
            assert_eq!((replies.count, held.len()), (count, 0), "pieces of {size}");
        }
    }

    #[test]
    fn replies_of_all_shapes_count_once() {
        check(Dialect::Resp, b"+OK\r\n:12\r\n$3\r\nabc\r\n$-1\r\n*-1\r\n*0\r\n", 6);
        check(Dialect::Resp, b"*3\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n+x\r\n%1\r\n$0\r\n\r\n_\r\n:5\r\n", 3);
        check(Dialect::Resp, b"$5\r\n\r\n+1\n\r\n+OK\r\n", 2);
        check(Dialect::Memcached, b"STORED\r\nEND\r\nVALUE k 0 5\r\nEND\r\n\r\nEND\r\n", 3);
    }

    #[test]
    fn an_error_is_an_error() {
        assert!(Replies::new(Dialect::Resp).feed(b"+OK\r\n-ERR no\r\n").is_err());
        assert!(Replies::new(Dialect::Memcached).feed(b"SERVER_ERROR out of memory\r\n").is_err());
    }
}
