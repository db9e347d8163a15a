//! The options that SET, GETEX and MSETEX share: when a key's life ends, and under which condition it is written.

use crate::clock::Millis;
use crate::command::error::{NOT_INT, SYNTAX};
use crate::command::{Args, Error};
use crate::keyspace::{Db, Expiry};
use crate::num;
use xxhash_rust::xxh3::xxh3_64;

/// What was said about the key's expiry. The time is read later: syntax errors come first, whatever it holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ttl<'a> {
    Unsaid,
    Keep,
    Persist,
    Set(Unit, &'a [u8]),
}

/// EX, PX, EXAT, PXAT.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Millis,
    AtSeconds,
    AtMillis,
}

impl<'a> Ttl<'a> {
    /// Takes `word` if it is an option of time; the same one may be repeated, another is a syntax error.
    pub fn accept(&mut self, word: &[u8], args: &mut Args<'a>) -> Result<bool, Error> {
        let said = match word {
            b"KEEPTTL" => Self::Keep,
            b"PERSIST" => Self::Persist,
            b"EX" => Self::Set(Unit::Seconds, args.required()?),
            b"PX" => Self::Set(Unit::Millis, args.required()?),
            b"EXAT" => Self::Set(Unit::AtSeconds, args.required()?),
            b"PXAT" => Self::Set(Unit::AtMillis, args.required()?),
            _ => return Ok(false),
        };
        let compatible = match (*self, said) {
            (Self::Unsaid, _) => true,
            (Self::Set(was, _), Self::Set(unit, _)) => was == unit,
            (was, said) => was == said,
        };
        *self = said;
        if compatible { Ok(true) } else { Err(SYNTAX) }
    }

    /// The time of expiry, if one was given. `command` is named in the error.
    pub fn at(self, now: Millis, command: &str) -> Result<Option<Millis>, Error> {
        let Self::Set(unit, text) = self else { return Ok(None) };
        let n = num::parse_i64(text).ok_or(NOT_INT)?;
        let at = match unit {
            _ if n <= 0 => None,
            Unit::Seconds => n.checked_mul(1000).and_then(|ms| ms.checked_add(now)),
            Unit::Millis => n.checked_add(now),
            Unit::AtSeconds => n.checked_mul(1000),
            Unit::AtMillis => Some(n),
        };
        at.map(Some).ok_or_else(|| invalid_expire(command))
    }

    /// For a value that is written without a time.
    pub fn without_time(self) -> Expiry {
        if self == Self::Keep { Expiry::Keep } else { Expiry::Clear }
    }
}

fn invalid_expire(command: &str) -> Error {
    Error::owned(format!("ERR invalid expire time in '{command}' command"))
}

/// What must hold for the write to happen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When<'a> {
    Always,
    /// NX
    Absent,
    /// XX
    Present,
    /// IFEQ (true) and IFNE
    Value(&'a [u8], bool),
    /// IFDEQ (true) and IFDNE
    Digest(&'a [u8], bool),
}

impl<'a> When<'a> {
    /// A condition on the value, by its option word.
    pub fn on_value(word: &[u8], operand: &'a [u8]) -> Option<Self> {
        match word {
            b"IFEQ" => Some(Self::Value(operand, true)),
            b"IFNE" => Some(Self::Value(operand, false)),
            b"IFDEQ" => Some(Self::Digest(operand, true)),
            b"IFDNE" => Some(Self::Digest(operand, false)),
            _ => None,
        }
    }

    /// Whether it holds for a key. An absent key equals nothing and differs from everything.
    pub fn holds(self, db: &mut Db<'_>, key: &[u8]) -> Result<bool, Error> {
        match self {
            Self::Always => Ok(true),
            Self::Absent => Ok(db.kind(key).is_none()),
            Self::Present => Ok(db.kind(key).is_some()),
            Self::Value(wanted, equal) => {
                let text = db.string_for_write(key)?;
                Ok(text.map_or(!equal, |text| (text.bytes(&mut itoa::Buffer::new()) == wanted) == equal))
            }
            Self::Digest(wanted, equal) => match db.string_for_write(key)? {
                None => Ok(!equal),
                Some(text) => {
                    let wanted = parse_digest(wanted).ok_or(NOT_A_DIGEST)?;
                    Ok((xxh3_64(text.bytes(&mut itoa::Buffer::new())) == wanted) == equal)
                }
            },
        }
    }
}

/// Sixteen hexadecimal digits, in any case.
fn parse_digest(text: &[u8]) -> Option<u64> {
    let all_digits = text.len() == 16 && text.iter().all(u8::is_ascii_hexdigit);
    std::str::from_utf8(text).ok().filter(|_| all_digits).and_then(|text| u64::from_str_radix(text, 16).ok())
}

const NOT_A_DIGEST: Error = Error::new("ERR must be exactly 16 hexadecimal characters");
