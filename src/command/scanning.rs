//! SCAN and its family: the options that all of them have, and the reply of a cursor and what was found.

use super::Outcome;
use super::args::{Args, Word, scan_cursor};
use super::ctx::Reply;
use super::error::{Error, NOT_INT, SYNTAX};
use crate::{glob, num};

/// COUNT and MATCH.
pub struct Scan<'a> {
    /// About how many to look at.
    pub count: usize,
    pattern: Option<&'a [u8]>,
}

impl<'a> Scan<'a> {
    /// Reads the options from argument `from` on; words that only one command knows go to `other`.
    pub fn parse(
        args: &mut Args<'a>,
        from: usize,
        mut other: impl FnMut(&Word, &mut Args<'a>) -> Result<(), Error>,
    ) -> Result<Self, Error> {
        let mut scan = Self { count: COUNT_DEFAULT, pattern: None };
        args.skip_to(from);
        while let Some(word) = args.word() {
            match &*word {
                b"COUNT" => {
                    let n = num::parse_i64(args.required()?).ok_or(NOT_INT)?;
                    scan.count = usize::try_from(n).ok().filter(|&n| n > 0).ok_or(SYNTAX)?;
                }
                b"MATCH" => scan.pattern = Some(args.required()?).filter(|p| p != b"*"),
                _ => other(&word, args)?,
            }
        }
        Ok(scan)
    }

    /// Whether MATCH lets a name through.
    pub fn wants(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name, false))
    }
}

/// The cursor of a call.
pub fn cursor(text: &[u8]) -> Result<u64, Error> {
    scan_cursor(text).ok_or(INVALID_CURSOR)
}

impl Reply<'_> {
    /// The next cursor, which is known last and stands first, and `found` elements written already.
    pub fn scanned(&mut self, cursor: u64, found: usize, elements: &[u8]) -> Outcome {
        self.array(2);
        self.bulk(itoa::Buffer::new().format(cursor).as_bytes())?;
        self.array(found);
        self.buf.extend_from_slice(elements);
        Ok(())
    }
}

/// What sets and sorted sets answer to HSCAN's option.
pub const NO_VALUES: Error = Error::new("ERR NOVALUES option can only be used in HSCAN");
const INVALID_CURSOR: Error = Error::new("ERR invalid cursor");
const COUNT_DEFAULT: usize = 10;
