//! Requests: bytes to argument spans, resumable at any byte, without copying or allocating per command.
//!
//! A [`Parser`] looks at the unconsumed bytes of one connection and yields one request at a time. When a request is
//! not whole yet, it remembers how far it came, so that a large request read in many pieces is scanned once.
//! Multibulk requests become spans over the buffer; an inline request is unquoted in place (its decoded form is
//! never longer) and becomes spans too.
//!
//! Invariants: never panics, never recurses, never allocates from a declared length; consumes only whole requests.
//! Error texts and limits are those of Redis's `networking.c`; one check is ours: a bulk must end in exactly CRLF,
//! because skipping two bytes unseen lets a smuggled request pass.
//! Not here: the socket, authentication (the caller passes the tighter limits that apply before it).
//!
//! redis-protocol was measured for this place: 17 times slower (a frame tree per request), re-parsing from zero on
//! each partial read, and recursing without bound on nested arrays. It is the oracle of the tests instead.

#![allow(unsafe_code)]

use super::argv::{RECORD_BYTES, Span};

/// What a peer may send. Redis's `proto-max-bulk-len` and the small limits that hold before authentication.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest argument in bytes.
    pub bulk_bytes_max: u64,
    /// False before a required AUTH: at most 10 arguments of at most 16 KiB.
    pub authenticated: bool,
}

/// What one look at the buffer brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A whole request: `spans` gained `argc` entries, the request took `len` bytes. `argc` 0 is an empty request,
    /// to be skipped. `canonical` says the bytes are the multibulk form that Redis itself would write.
    Request { len: usize, argc: usize, canonical: bool },
    /// More bytes are needed; [`Parser::half_read`] tells of which argument.
    Incomplete,
    /// The peer broke the protocol: answer the text and close.
    Error(ProtocolError),
}

/// Why a peer is sent away. [`ProtocolError::text`] is Redis's wording, without `-ERR Protocol error: `.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    TooBigMultibulkCount,
    TooBigBulkCount,
    TooBigInline,
    UnbalancedQuotes,
    InvalidMultibulkLength,
    UnauthenticatedMultibulkLength,
    ExpectedDollar(u8),
    InvalidBulkLength,
    UnauthenticatedBulkLength,
    MissingCrlf,
}

impl ProtocolError {
    pub fn text(self) -> Vec<u8> {
        let text: &[u8] = match self {
            Self::TooBigMultibulkCount => b"too big mbulk count string",
            Self::TooBigBulkCount => b"too big bulk count string",
            Self::TooBigInline => b"too big inline request",
            Self::UnbalancedQuotes => b"unbalanced quotes in request",
            Self::InvalidMultibulkLength => b"invalid multibulk length",
            Self::UnauthenticatedMultibulkLength => b"unauthenticated multibulk length",
            // A byte that would break the reply's own line is shown as Redis shows it in a status: as a blank.
            Self::ExpectedDollar(b) => {
                let shown = if b == b'\r' || b == b'\n' { b' ' } else { b };
                return [b"expected '$', got '".as_slice(), &[shown], b"'"].concat();
            }
            Self::InvalidBulkLength => b"invalid bulk length",
            Self::UnauthenticatedBulkLength => b"unauthenticated bulk length",
            Self::MissingCrlf => b"bulk string is not terminated by CRLF",
        };
        text.to_vec()
    }
}

/// Where a half-read multibulk request stands. Offsets count from the request's first byte.
#[derive(Debug, Default)]
struct Progress {
    at: usize,
    args_left: u64,
    bulk_len: Option<usize>,
    canonical: bool,
    spans: Vec<Span>,
    /// The lengths of those that lie among the request's bytes.
    args_bytes: usize,
    /// A record stands for the argument that is being read.
    is_elsewhere: bool,
}

/// A request of which some bytes are understood already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HalfRead {
    /// How many of them.
    pub bytes: usize,
    /// Its whole arguments among them.
    pub args_bytes: usize,
    /// The length of the argument that is being read, 0 if none is, its length is not there yet, or it is kept elsewhere.
    pub bulk_len: usize,
    /// All of that argument is kept elsewhere; the end of its line is missing.
    pub is_elsewhere: bool,
}

/// The parser's memory between two reads of one connection.
#[derive(Debug, Default)]
pub struct Parser {
    half: Option<Box<Progress>>,
    /// How much of an inline request without a newline was searched already.
    inline_searched: usize,
}

impl Parser {
    /// Looks at `buf`, whose first byte is the first unconsumed one. Spans are appended to `spans` only for a whole
    /// request.
    #[inline]
    pub fn next(&mut self, buf: &mut [u8], spans: &mut Vec<Span>, limits: &Limits) -> Step {
        if self.half.is_some() {
            return self.go_on(buf, spans, limits);
        }
        match buf.first() {
            None => Step::Incomplete,
            Some(b'*') => self.multibulk(buf, spans, limits),
            Some(_) => self.inline(buf, spans),
        }
    }

    #[cold]
    fn go_on(&mut self, buf: &[u8], spans: &mut Vec<Span>, limits: &Limits) -> Step {
        let Some(half) = self.half.take() else { return Step::Incomplete };
        let (end, first) = (half.at + RECORD_BYTES, spans.len());
        if half.is_elsewhere && buf.len() < end + 2 {
            self.half = Some(half);
            return Step::Incomplete;
        }
        let Progress { at, args_left, bulk_len, canonical, spans: had, is_elsewhere, .. } = *half;
        spans.extend_from_slice(&had);
        let mut s = At { at, args_left, bulk_len, canonical };
        if is_elsewhere {
            if buf[end..end + 2] != *b"\r\n" {
                return Step::Error(ProtocolError::MissingCrlf);
            }
            spans.push(Span::elsewhere(at as u32));
            s = At { at: end + 2, args_left: args_left - 1, bulk_len: None, canonical: false };
        }
        self.bulks(buf, spans, first, s, limits)
    }

    /// The bytes of the argument that is being read ([`HalfRead::bulk_len`] of them) are kept in a block, whose
    /// [`super::argv::record`] stands in their place, behind [`HalfRead::bytes`] of the request.
    ///
    /// # Safety
    /// The record is there when the parser reads on, and the block lives as long as the request's spans are used.
    pub unsafe fn keep_elsewhere(&mut self) {
        if let Some(half) = &mut self.half {
            half.is_elsewhere = true;
        }
    }

    /// How far the request is understood that is not all there yet.
    pub fn half_read(&self) -> HalfRead {
        let Some(half) = &self.half else { return HalfRead::default() };
        let bulk_len = if half.is_elsewhere { 0 } else { half.bulk_len.unwrap_or(0) };
        HalfRead { bytes: half.at, args_bytes: half.args_bytes, bulk_len, is_elsewhere: half.is_elsewhere }
    }

    #[inline]
    fn multibulk(&mut self, buf: &[u8], spans: &mut Vec<Span>, limits: &Limits) -> Step {
        let first = spans.len();
        if let Some((count @ 1.., at)) = short_header(buf, 0, b'*')
            && limits.authenticated
        {
            let s = At { at, args_left: count as u64, bulk_len: None, canonical: true };
            let s = short_bulks(buf, spans, s, limits);
            return self.bulks(buf, spans, first, s, limits);
        }
        let (count, at, canonical) = match header(buf, 1) {
            Header::Number(n, at, canonical) => (n, at, canonical),
            Header::Partial if buf.len() > LINE_BYTES_MAX => return Step::Error(ProtocolError::TooBigMultibulkCount),
            Header::Partial => return Step::Incomplete,
            Header::Bad => return Step::Error(ProtocolError::InvalidMultibulkLength),
        };
        if count > i64::from(i32::MAX) {
            return Step::Error(ProtocolError::InvalidMultibulkLength);
        }
        if count > UNAUTHENTICATED_ARGS_MAX && !limits.authenticated {
            return Step::Error(ProtocolError::UnauthenticatedMultibulkLength);
        }
        if count <= 0 {
            return Step::Request { len: at, argc: 0, canonical: false };
        }
        self.bulks(buf, spans, first, At { at, args_left: count as u64, bulk_len: None, canonical }, limits)
    }

    #[inline(always)]
    fn bulks(&mut self, buf: &[u8], spans: &mut Vec<Span>, first: usize, mut s: At, limits: &Limits) -> Step {
        while s.args_left > 0 {
            let len = match s.bulk_len {
                Some(len) => len,
                None => match bulk_header(buf, &mut s, limits) {
                    Ok(Some(len)) => len,
                    Ok(None) => return self.pause(spans, first, s),
                    Err(e) => return Step::Error(e),
                },
            };
            let end = s.at + len;
            if buf.len() < end + 2 {
                s.bulk_len = Some(len);
                return self.pause(spans, first, s);
            }
            if buf[end] != b'\r' || buf[end + 1] != b'\n' {
                return Step::Error(ProtocolError::MissingCrlf);
            }
            // The request's length fits u32: bulk_header refuses what would pass it.
            spans.push(Span { at: s.at as u32, len: len as u32 });
            s.at = end + 2;
            s.bulk_len = None;
            s.args_left -= 1;
        }
        Step::Request { len: s.at, argc: spans.len() - first, canonical: s.canonical }
    }

    #[cold]
    fn pause(&mut self, spans: &mut Vec<Span>, first: usize, s: At) -> Step {
        let had = spans.split_off(first);
        let args_bytes = had.iter().map(|span| span.bytes_here()).sum();
        let At { at, args_left, bulk_len, canonical } = s;
        let is_elsewhere = false;
        self.half =
            Some(Box::new(Progress { at, args_left, bulk_len, canonical, spans: had, args_bytes, is_elsewhere }));
        Step::Incomplete
    }

    #[cold]
    fn inline(&mut self, buf: &mut [u8], spans: &mut Vec<Span>) -> Step {
        let from = self.inline_searched.min(buf.len());
        let newline = match find_in_text(b'\n', &buf[from..]) {
            Ok(i) => from + i,
            Err(_) if buf.len() > LINE_BYTES_MAX => return Step::Error(ProtocolError::TooBigInline),
            Err(searched) => {
                self.inline_searched = from + searched;
                return Step::Incomplete;
            }
        };
        self.inline_searched = 0;
        let line = if newline > 0 && buf[newline - 1] == b'\r' { newline - 1 } else { newline };
        match unquote_in_place(&mut buf[..line], spans) {
            Ok(argc) => Step::Request { len: newline + 1, argc, canonical: false },
            Err(e) => Step::Error(e),
        }
    }
}

/// [`Progress`] without its spans: what the inner loop keeps in registers.
struct At {
    at: usize,
    args_left: u64,
    bulk_len: Option<usize>,
    canonical: bool,
}

/// Takes arguments for as long as they are whole, short and written as Redis writes them, which most requests are to their
/// end. What else there is waits for [`Parser::bulks`]. For peers that may send long ones.
#[inline]
fn short_bulks(buf: &[u8], spans: &mut Vec<Span>, mut s: At, limits: &Limits) -> At {
    while s.args_left > 0 {
        let Some((len, at)) = short_header(buf, s.at, b'$') else { break };
        let end = at + len;
        if buf.get(end..end + 2) != Some(b"\r\n") || len as u64 > limits.bulk_bytes_max {
            break;
        }
        let (Ok(at), Ok(len)) = (u32::try_from(at), u32::try_from(len)) else { break };
        spans.push(Span { at, len });
        s.at = end + 2;
        s.args_left -= 1;
    }
    s
}

/// A sign, one to three digits and CRLF, read in one word, and the offset behind them. `None`: anything else, or nearer than
/// a word to the end of what is there.
#[inline]
fn short_header(buf: &[u8], at: usize, sign: u8) -> Option<(usize, usize)> {
    let word = u64::from_le_bytes(*buf.get(at..)?.first_chunk()?);
    let byte = |i: u32| (word >> (8 * i)) as u8;
    let digit = |i: u32| Some(byte(i).wrapping_sub(b'0')).filter(|&digit| digit <= 9).map(usize::from);
    let ends_at = |i: u32| (word >> (8 * i)) as u16 == u16::from_le_bytes(*b"\r\n");
    if byte(0) != sign {
        return None;
    }
    let first = digit(1)?;
    if ends_at(2) {
        return Some((first, at + 4));
    }
    let second = digit(2).filter(|_| first > 0)?;
    if ends_at(3) {
        return Some((first * 10 + second, at + 5));
    }
    let third = digit(3)?;
    ends_at(4).then_some((first * 100 + second * 10 + third, at + 6))
}

/// Reads `$<len>\r\n` at `s.at` and moves behind it. `None`: not all there yet.
#[inline]
fn bulk_header(buf: &[u8], s: &mut At, limits: &Limits) -> Result<Option<usize>, ProtocolError> {
    match buf.get(s.at) {
        None => return Ok(None),
        Some(b'$') => {}
        Some(&other) => {
            // Redis looks for the line's end before it looks at the first byte.
            return match find_in_text(b'\r', &buf[s.at..]) {
                Err(_) if buf.len() - s.at > LINE_BYTES_MAX => Err(ProtocolError::TooBigBulkCount),
                Err(_) => Ok(None),
                Ok(_) => Err(ProtocolError::ExpectedDollar(other)),
            };
        }
    }
    let (len, next, canonical) = match header(buf, s.at + 1) {
        Header::Number(n, next, canonical) => (n, next, canonical),
        Header::Partial if buf.len() - s.at > LINE_BYTES_MAX => return Err(ProtocolError::TooBigBulkCount),
        Header::Partial => return Ok(None),
        Header::Bad => return Err(ProtocolError::InvalidBulkLength),
    };
    if len < 0 || len as u64 > limits.bulk_bytes_max || next as u64 + len as u64 + 2 > REQUEST_BYTES_MAX {
        return Err(ProtocolError::InvalidBulkLength);
    }
    if len > UNAUTHENTICATED_BULK_MAX && !limits.authenticated {
        return Err(ProtocolError::UnauthenticatedBulkLength);
    }
    s.at = next;
    s.canonical &= canonical;
    Ok(Some(len as usize))
}

/// The first `byte`, as Redis finds it in a C string: what stands behind a zero byte is never seen, and the request waits
/// for a line's end until it is too long. Otherwise how far the search need not be done again.
fn find_in_text(byte: u8, text: &[u8]) -> Result<usize, usize> {
    match memchr::memchr2(byte, 0, text) {
        Some(at) if text[at] == byte => Ok(at),
        Some(zero) => Err(zero),
        None => Err(text.len()),
    }
}

enum Header {
    /// The number, the offset behind its CRLF, and whether it was written the one way Redis writes it.
    Number(i64, usize, bool),
    Partial,
    Bad,
}

/// A decimal number up to CRLF, starting at `at`.
#[inline]
fn header(buf: &[u8], at: usize) -> Header {
    let mut n: i64 = 0;
    let mut i = at;
    // Up to 18 digits cannot overflow; anything else takes the slow road.
    while i < buf.len() && i - at < 18 {
        let d = buf[i].wrapping_sub(b'0');
        if d > 9 {
            break;
        }
        n = n * 10 + i64::from(d);
        i += 1;
    }
    if i + 1 < buf.len() && buf[i] == b'\r' && i > at && (buf[at] != b'0' || i == at + 1) {
        return Header::Number(n, i + 2, buf[i + 1] == b'\n');
    }
    slow_header(buf, at)
}

/// Negative, overlong, malformed or incomplete numbers, by Redis's rule: find CR, then `string2ll`.
#[cold]
fn slow_header(buf: &[u8], at: usize) -> Header {
    let Some(rest) = buf.get(at..) else { return Header::Partial };
    let Ok(cr) = find_in_text(b'\r', rest) else { return Header::Partial };
    if at + cr + 1 >= buf.len() {
        return Header::Partial;
    }
    match crate::num::parse_i64(&rest[..cr]) {
        Some(n) => Header::Number(n, at + cr + 2, false),
        None => Header::Bad,
    }
}

/// Splits an inline request by Redis's quoting rules, writing the decoded arguments over the line itself.
fn unquote_in_place(line: &mut [u8], spans: &mut Vec<Span>) -> Result<usize, ProtocolError> {
    let (mut read, mut write, mut argc) = (0, 0, 0);
    loop {
        while read < line.len() && is_space(line[read]) {
            read += 1;
        }
        if read >= line.len() {
            return Ok(argc);
        }
        let at = write;
        (read, write) = unquote_one(line, read, write).ok_or(ProtocolError::UnbalancedQuotes)?;
        spans.push(Span { at: at as u32, len: (write - at) as u32 });
        argc += 1;
    }
}

/// Decodes one argument from `read` to `write`; returns both positions behind it, or `None` if a quote stays open or
/// is followed by anything but a blank.
fn unquote_one(line: &mut [u8], mut read: usize, mut write: usize) -> Option<(usize, usize)> {
    let mut quote = 0u8;
    while let Some(&b) = line.get(read) {
        read += 1;
        let decoded = match (quote, b) {
            (0, b'"' | b'\'') => {
                quote = b;
                continue;
            }
            (0, b) if is_space(b) => return Some((read, write)),
            (b'"', b'\\') => {
                let (byte, used) = escape(&line[read..])?;
                read += used;
                byte
            }
            (b'\'', b'\\') if line.get(read) == Some(&b'\'') => {
                read += 1;
                b'\''
            }
            (q, b) if q != 0 && b == q => {
                // A closing quote ends the argument.
                return line.get(read).is_none_or(|&next| is_space(next)).then_some((read, write));
            }
            (_, b) => b,
        };
        line[write] = decoded;
        write += 1;
    }
    (quote == 0).then_some((read, write))
}

/// One escape inside double quotes, behind the backslash: the byte it stands for and how many bytes it took.
fn escape(rest: &[u8]) -> Option<(u8, usize)> {
    let hex = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
    match rest {
        [b'x', high, low, ..] if hex(*high).is_some() && hex(*low).is_some() => {
            Some((hex(*high)? << 4 | hex(*low)?, 3))
        }
        [b'n', ..] => Some((b'\n', 1)),
        [b'r', ..] => Some((b'\r', 1)),
        [b't', ..] => Some((b'\t', 1)),
        [b'b', ..] => Some((8, 1)),
        [b'a', ..] => Some((7, 1)),
        [other, ..] => Some((*other, 1)),
        [] => None,
    }
}

/// C's `isspace`.
fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Longest inline request or length header (Redis's PROTO_INLINE_MAX_SIZE).
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Before AUTH a peer may not make us hold more than 10 × 16 KiB (CVE-2021-32675).
const UNAUTHENTICATED_ARGS_MAX: i64 = 10;
const UNAUTHENTICATED_BULK_MAX: i64 = 16384;
/// Spans are 32-bit.
pub const REQUEST_BYTES_MAX: u64 = u32::MAX as u64 - 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OPEN: Limits = Limits { bulk_bytes_max: 512 << 20, authenticated: true };

    /// Feeds `input` in the given pieces; returns the requests, or the error.
    fn feed(input: &[u8], cuts: &[usize], limits: Limits) -> Result<Vec<Vec<Vec<u8>>>, ProtocolError> {
        let (mut parser, mut held, mut requests) = (Parser::default(), Vec::new(), Vec::new());
        let mut from = 0;
        let mut ends: Vec<usize> = cuts.iter().map(|c| c % (input.len() + 1)).collect();
        ends.push(input.len());
        ends.sort_unstable();
        for end in ends {
            held.extend_from_slice(&input[from..end]);
            from = end;
            loop {
                let mut spans = Vec::new();
                match parser.next(&mut held, &mut spans, &limits) {
                    Step::Request { len, argc, .. } => {
                        assert_eq!(argc, spans.len());
                        if argc > 0 {
                            requests.push(ArgvLike(&held[..len], &spans).args());
                        }
                        held.drain(..len);
                    }
                    Step::Incomplete => break,
                    Step::Error(e) => return Err(e),
                }
            }
        }
        Ok(requests)
    }

    struct ArgvLike<'a>(&'a [u8], &'a [Span]);
    impl ArgvLike<'_> {
        fn args(&self) -> Vec<Vec<u8>> {
            crate::resp::ArgvView::new(self.0, self.1).iter().map(<[u8]>::to_vec).collect()
        }
    }

    fn encode(args: &[Vec<u8>]) -> Vec<u8> {
        let mut out = format!("*{}\r\n", args.len()).into_bytes();
        for a in args {
            out.extend(format!("${}\r\n", a.len()).bytes());
            out.extend(a);
            out.extend(b"\r\n");
        }
        out
    }

    fn words(text: &str) -> Vec<Vec<u8>> {
        text.split(' ').map(|w| w.as_bytes().to_vec()).collect()
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_requests(
            requests in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..140), 1..6), 1..8),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let wire: Vec<u8> = requests.iter().flat_map(|r| encode(r)).collect();
            prop_assert_eq!(feed(&wire, &cuts, OPEN).unwrap(), requests);
        }

        #[test]
        fn redis_protocol_reads_the_same(args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..6)) {
            use redis_protocol::resp2::{decode::decode, types::OwnedFrame};
            let wire = encode(&args);
            let (frame, used) = decode(&wire).unwrap().unwrap();
            prop_assert_eq!(used, wire.len());
            let OwnedFrame::Array(frames) = frame else { panic!("an array") };
            let theirs: Vec<Vec<u8>> = frames.into_iter().map(|f| match f { OwnedFrame::BulkString(b) => b, _ => panic!("a bulk") }).collect();
            prop_assert_eq!(feed(&wire, &[], OPEN).unwrap(), vec![theirs]);
        }

        #[test]
        fn a_header_read_in_one_word_is_a_header(
            line in prop::collection::vec(prop_oneof![3 => b'0'..=b'9', 1 => Just(b'\r'), 1 => Just(b'-'), 1 => any::<u8>()], 0..5),
            behind in prop::collection::vec(any::<u8>(), 0..4),
        ) {
            let bytes = [b"$".as_slice(), &line, b"\r\n", &behind].concat();
            let slowly = match header(&bytes, 1) {
                Header::Number(n, next, true) if n >= 0 => Some((n as usize, next)),
                _ => None,
            };
            let fits = bytes.len() >= 8 && slowly.is_some_and(|(n, _)| n < 1000);
            prop_assert_eq!(short_header(&bytes, 0, b'$'), slowly.filter(|_| fits));
        }

        #[test]
        fn garbage_never_panics(input in prop::collection::vec(prop_oneof![Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'1'), Just(b'-'), Just(b'"'), any::<u8>()], 0..200), cuts in prop::collection::vec(any::<usize>(), 0..6)) {
            let whole = feed(&input, &[], OPEN);
            let split = feed(&input, &cuts, OPEN);
            prop_assert_eq!(whole, split);
        }
    }

    #[test]
    fn inline_requests_are_unquoted() {
        assert_eq!(
            feed(b"SET  k \"a\\x41\\n\\\"b\"\r\nGET 'it\\'s'\n\r\n  PING\r\n", &[5, 9], OPEN).unwrap(),
            vec![
                vec![b"SET".to_vec(), b"k".to_vec(), b"aA\n\"b".to_vec()],
                vec![b"GET".to_vec(), b"it's".to_vec()],
                words("PING")
            ]
        );
        for bad in [&b"GET \"a\r\n"[..], b"GET \"a\"b\r\n", b"GET 'a\r\n"] {
            assert_eq!(feed(bad, &[], OPEN), Err(ProtocolError::UnbalancedQuotes));
        }
    }

    #[test]
    fn empty_requests_are_skipped() {
        assert_eq!(feed(b"*0\r\n*-1\r\n\r\n*1\r\n$4\r\nPING\r\n", &[], OPEN).unwrap(), vec![words("PING")]);
    }

    #[test]
    fn limits_answer_with_redis_texts() {
        use ProtocolError::*;
        let closed = Limits { authenticated: false, ..OPEN };
        let small = Limits { bulk_bytes_max: 5, ..OPEN };
        for (input, limits, error) in [
            (&b"*1\r\n$4\r\nPINGxx"[..], OPEN, MissingCrlf),
            (b"*1\r\n:4\r\n", OPEN, ExpectedDollar(b':')),
            (b"*3000000000\r\n", OPEN, InvalidMultibulkLength),
            (b"*x\r\n", OPEN, InvalidMultibulkLength),
            (b"*11\r\n", closed, UnauthenticatedMultibulkLength),
            (b"*1\r\n$16385\r\n", closed, UnauthenticatedBulkLength),
            (b"*1\r\n$-1\r\n", OPEN, InvalidBulkLength),
            (b"*1\r\n$6\r\n", small, InvalidBulkLength),
            (b"*1\r\n$99999999999999999999\r\n", OPEN, InvalidBulkLength),
            (&[b'*'; 70_000], OPEN, TooBigMultibulkCount),
            (&[b'a'; 70_000], OPEN, TooBigInline),
        ] {
            assert_eq!(
                feed(input, &[], limits),
                Err(error),
                "{:?}",
                String::from_utf8_lossy(&input[..input.len().min(20)])
            );
        }
        let mut long = b"*1\r\n$".to_vec();
        long.extend([b'1'; 70_000]);
        assert_eq!(feed(&long, &[], OPEN), Err(TooBigBulkCount));
    }
}
