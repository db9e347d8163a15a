//! Ids as clients write them, and entries as they are answered.

use crate::command::ctx::Reply;
use crate::command::{Args, Error, Outcome, args};
use crate::num;
use crate::types::stream::{Entry, Id};

/// `ms`, `ms-seq`, `-` or `+`; what is missing of the second part is `seq`.
pub fn any(text: &[u8], seq: u64) -> Result<Id, Error> {
    match text {
        b"-" => Ok(Id::ZERO),
        b"+" => Ok(Id::MAX),
        _ => exact(text, seq),
    }
}

/// The same without the two ends of all ids.
pub fn exact(text: &[u8], seq: u64) -> Result<Id, Error> {
    match parts(text)? {
        (ms, None) => Ok(Id::new(ms, seq)),
        (ms, Some(text)) => Ok(Id::new(ms, args::scan_cursor(text).ok_or(BAD_ID)?)),
    }
}

/// An id that XADD is to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum New {
    /// `*`
    Now,
    /// `ms-*`
    In(u64),
    Exactly(Id),
}

pub fn new(text: &[u8]) -> Result<New, Error> {
    match parts(text)? {
        (ms, Some(b"*")) => Ok(New::In(ms)),
        _ => exact(text, 0).map(New::Exactly),
    }
}

fn parts(text: &[u8]) -> Result<(u64, Option<&[u8]>), Error> {
    if text.len() > TEXT_MAX {
        return Err(BAD_ID);
    }
    let (ms, seq) = match text.iter().position(|&byte| byte == b'-') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    Ok((args::scan_cursor(ms).ok_or(BAD_ID)?, seq))
}

/// Where a range begins: `(` in front leaves the id itself out.
pub fn start(text: &[u8]) -> Result<Id, Error> {
    match text {
        [b'(', rest @ ..] if !rest.is_empty() => exact(rest, 0)?.next().ok_or(BAD_START),
        _ => any(text, 0),
    }
}

/// Where a range ends.
pub fn end(text: &[u8]) -> Result<Id, Error> {
    match text {
        [b'(', rest @ ..] if !rest.is_empty() => exact(rest, u64::MAX)?.prev().ok_or(BAD_END),
        _ => any(text, u64::MAX),
    }
}

/// `n id …` behind the word IDS, not looked at yet.
pub fn block<'a>(args: &mut Args<'a>) -> Result<Vec<&'a [u8]>, Error> {
    let count = num::parse_i64(args.required()?).filter(|count| *count > 0).ok_or(BAD_COUNT)?;
    let count = usize::try_from(count).ok().filter(|count| *count <= args.left()).ok_or(COUNT_DIFFERS)?;
    (0..count).map(|_| args.required()).collect()
}

/// Ids that are all to be right.
pub fn all<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Id>, Error> {
    texts.into_iter().map(|text| exact(text, 0)).collect()
}

/// `[id, [field, value, …]]`
pub fn put_entry(out: &mut Reply<'_>, entry: &Entry<'_>) {
    out.0.array(2);
    put_entry_parts(out, entry);
}

/// The two parts of that.
pub fn put_entry_parts(out: &mut Reply<'_>, entry: &Entry<'_>) {
    put(out, entry.id);
    out.0.array(2 * entry.len());
    entry.pairs().for_each(|(name, value)| {
        out.put(name);
        out.put(value);
    });
}

pub fn put(out: &mut Reply<'_>, id: Id) {
    out.0.bulk(&id.text());
}

/// An array of entries.
pub fn put_entries<'a>(out: &mut Reply<'_>, entries: impl Iterator<Item = Entry<'a>>) -> Outcome {
    let hole = out.0.later();
    let count = entries.inspect(|entry| put_entry(out, entry)).count();
    out.fill_array(hole, count)
}

pub const BAD_ID: Error = Error::new("ERR Invalid stream ID specified as stream command argument");
const BAD_START: Error = Error::new("ERR invalid start ID for the interval");
const BAD_END: Error = Error::new("ERR invalid end ID for the interval");
const BAD_COUNT: Error = Error::new("ERR Number of IDs must be a positive integer");
const COUNT_DIFFERS: Error = Error::new("ERR The `numids` parameter must match the number of arguments");
/// What Redis copies of an id to read it.
const TEXT_MAX: usize = 127;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_liberally_as_redis_does() {
        assert_eq!(any(b"+", 0), Ok(Id::MAX));
        assert_eq!(exact(b"5", 7), Ok(Id::new(5, 7)));
        assert_eq!(exact(b"05-006", 7), Ok(Id::new(5, 6)));
        assert_eq!(exact(b"18446744073709551615-1", 0), Ok(Id::new(u64::MAX, 1)));
        for bad in ["", "-", "+", "-1", "1-", "1-x", "x", "1--1", "18446744073709551616", &"1".repeat(128)] {
            assert_eq!(exact(bad.as_bytes(), 0), Err(BAD_ID), "{bad}");
        }
        assert_eq!((new(b"5-*"), new(b"5-1")), (Ok(New::In(5)), Ok(New::Exactly(Id::new(5, 1)))));
    }

    #[test]
    fn an_open_end_leaves_its_id_out() {
        assert_eq!(
            (start(b"(1-1"), end(b"(1-1"), end(b"1")),
            (Ok(Id::new(1, 2)), Ok(Id::new(1, 0)), Ok(Id::new(1, u64::MAX)))
        );
        assert_eq!((start(b"(+"), start(b"("), end(b"(0-0")), (Err(BAD_ID), Err(BAD_ID), Err(BAD_END)));
    }
}
