//! The ends of a range: ranks, scores or names as a client writes them, and the ranks they come to.

use crate::command::Error;
use crate::command::error::NOT_INT;
use crate::num;
use crate::types::zset::Zset;
use std::ops::Range;

/// What a range's ends are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum By {
    Rank,
    Score,
    Name,
}

/// A range of members.
pub enum Span<'a> {
    /// Places from the front or, negative, from behind; both ends belong to it.
    Ranks(i64, i64),
    Scores(Bound, Bound),
    Names(Edge<'a>, Edge<'a>),
}

/// A score at which a range ends.
#[derive(Clone, Copy)]
pub struct Bound {
    score: f64,
    open: bool,
}

/// A name at which a range ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Edge<'a> {
    Lowest,
    Closed(&'a [u8]),
    Open(&'a [u8]),
    Highest,
}

impl<'a> Span<'a> {
    /// Reads both ends, the lower first.
    pub fn read(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Self, Error> {
        Ok(match by {
            By::Rank => {
                let rank = |text| num::parse_i64(text).ok_or(NOT_INT);
                Self::Ranks(rank(min)?, rank(max)?)
            }
            By::Score => Self::Scores(Bound::read(min)?, Bound::read(max)?),
            By::Name => Self::Names(Edge::read(min)?, Edge::read(max)?),
        })
    }

    /// The ranks of the members in the range. Places count from the last member if the range is asked for in reverse.
    pub fn ranks(&self, set: &Zset, reverse: bool) -> Range<usize> {
        match *self {
            Self::Ranks(start, end) => {
                let len = set.len();
                let from_front = |at: i64| if at < 0 { at.saturating_add_unsigned(len as u64) } else { at };
                let start = usize::try_from(from_front(start)).unwrap_or(0).min(len);
                let end = usize::try_from(from_front(end).saturating_add(1)).unwrap_or(0).clamp(start, len.max(start));
                if reverse { len - end..len - start } else { start..end }
            }
            Self::Scores(min, max) => {
                let start = set.count_scores(|score| min.is_above(score));
                let end = set.count_scores(|score| !max.is_below(score));
                start..end.max(start)
            }
            Self::Names(min, max) => {
                let start = set.count_before(|_, name| min.is_above(name));
                let end = set.count_before(|_, name| !max.is_below(name));
                start..end.max(start)
            }
        }
    }
}

impl Bound {
    fn read(text: &[u8]) -> Result<Self, Error> {
        let (open, text) = text.strip_prefix(b"(").map_or((false, text), |rest| (true, rest));
        let score = score(text).ok_or(NOT_A_SCORE)?;
        Ok(Self { score, open })
    }

    /// Whether a score is too low for a range that begins here.
    fn is_above(self, score: f64) -> bool {
        if self.open { score <= self.score } else { score < self.score }
    }

    /// Whether a score is too high for a range that ends here.
    fn is_below(self, score: f64) -> bool {
        if self.open { score >= self.score } else { score > self.score }
    }
}

/// A score at the end of a range is read more liberally than one to be stored: nothing is 0, and what is too large for
/// a double is infinite. Hexadecimal digits are refused.
fn score(text: &[u8]) -> Option<f64> {
    if text.is_empty() {
        return Some(0.0);
    }
    if text.iter().any(|b| b.eq_ignore_ascii_case(&b'x')) {
        return None;
    }
    let beyond = || std::str::from_utf8(text).ok()?.parse().ok();
    num::parse_f64(text).or_else(beyond).filter(|score| !score.is_nan())
}

impl<'a> Edge<'a> {
    fn read(text: &'a [u8]) -> Result<Self, Error> {
        match text {
            b"-" => Ok(Self::Lowest),
            b"+" => Ok(Self::Highest),
            [b'[', name @ ..] => Ok(Self::Closed(name)),
            [b'(', name @ ..] => Ok(Self::Open(name)),
            _ => Err(NOT_A_NAME),
        }
    }

    /// Whether a name is too low for a range that begins here.
    fn is_above(self, name: &[u8]) -> bool {
        match self {
            Self::Lowest => false,
            Self::Closed(edge) => name < edge,
            Self::Open(edge) => name <= edge,
            Self::Highest => true,
        }
    }

    /// Whether a name is too high for a range that ends here.
    fn is_below(self, name: &[u8]) -> bool {
        match self {
            Self::Lowest => true,
            Self::Closed(edge) => name > edge,
            Self::Open(edge) => name >= edge,
            Self::Highest => false,
        }
    }
}

const NOT_A_SCORE: Error = Error::new("ERR min or max is not a float");
const NOT_A_NAME: Error = Error::new("ERR min or max not valid string range item");
