//! What the commands on fields' expiry share: times, the FIELDS clause, and what they propagate.

use crate::clock::Millis;
use crate::command::error::NOT_INT;
use crate::command::*;
use crate::num;
use smallvec::SmallVec;

/// Fields that something happened to.
pub type Done<'a> = SmallVec<[&'a [u8]; 16]>;

/// EX, PX, EXAT, PXAT.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Millis,
    AtSeconds,
    AtMillis,
}

impl Unit {
    pub fn of(word: &[u8]) -> Option<Self> {
        match word {
            b"EX" => Some(Self::Seconds),
            b"PX" => Some(Self::Millis),
            b"EXAT" => Some(Self::AtSeconds),
            b"PXAT" => Some(Self::AtMillis),
            _ => None,
        }
    }

    fn ms(self) -> i64 {
        if matches!(self, Self::Seconds | Self::AtSeconds) { 1000 } else { 1 }
    }

    fn is_relative(self) -> bool {
        matches!(self, Self::Seconds | Self::Millis)
    }

    /// An argument as a time. `command` is named in the error.
    pub fn time(self, text: &[u8], now: Millis, command: &str) -> Result<Millis, Error> {
        let n = num::parse_i64(text).ok_or(NOT_INT)?;
        if n < 0 {
            return Err(NEGATIVE_TIME);
        }
        let base = if self.is_relative() { now } else { 0 };
        let at = n.checked_mul(self.ms()).and_then(|ms| ms.checked_add(base)).filter(|&at| at <= TIME_MAX);
        // Zero is as past as one, and stands for no time in a listpack.
        at.map(|at| at.max(1)).ok_or_else(|| Error::owned(format!("ERR invalid expire time in '{command}' command")))
    }

    /// A time as it is answered: what is left of it, or itself; seconds are rounded up.
    pub fn shown(self, at: Millis, now: Millis) -> i64 {
        let ms = if self.is_relative() { (at - now).max(0) } else { at };
        (ms + self.ms() - 1) / self.ms()
    }
}

/// The fields of a `FIELDS numfields field …` that begins at argument `at` and ends the command.
pub fn fields<'a>(args: &Args<'a>, at: usize) -> Result<impl ExactSizeIterator<Item = &'a [u8]> + use<'a>, Error> {
    fields_after(args, at, FIELDS_NOT_POSITIVE)
}

/// The same, with the error for a number that is none.
pub fn fields_after<'a>(
    args: &Args<'a>,
    at: usize,
    not_positive: Error,
) -> Result<impl ExactSizeIterator<Item = &'a [u8]> + use<'a>, Error> {
    if at + 1 >= args.len() || *args.word_at(at) != *b"FIELDS" {
        return Err(FIELDS_MISSING);
    }
    let count = args.int_in(at + 1, 1..=i64::MAX, not_positive)?;
    let fields = args.from(at + 2);
    if usize::try_from(count) == Ok(fields.len()) { Ok(fields) } else { Err(FIELDS_MISCOUNTED) }
}

pub fn propagate_hdel(ctx: &mut Ctx<'_, '_>, key: &[u8], fields: &[&[u8]]) {
    let said: SmallVec<[&[u8]; 16]> = [b"HDEL", key].into_iter().chain(fields.iter().copied()).collect();
    ctx.propagate(&said);
}

pub fn propagate_hpersist(ctx: &mut Ctx<'_, '_>, key: &[u8], fields: &[&[u8]]) {
    let mut count = itoa::Buffer::new();
    let front: [&[u8]; 4] = [b"HPERSIST", key, b"FIELDS", count.format(fields.len()).as_bytes()];
    let said: SmallVec<[&[u8]; 16]> = front.into_iter().chain(fields.iter().copied()).collect();
    ctx.propagate(&said);
}

pub fn propagate_hpexpireat(ctx: &mut Ctx<'_, '_>, key: &[u8], at: Millis, fields: &[&[u8]]) {
    let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let front: [&[u8]; 5] =
        [b"HPEXPIREAT", key, time.format(at).as_bytes(), b"FIELDS", count.format(fields.len()).as_bytes()];
    let said: SmallVec<[&[u8]; 16]> = front.into_iter().chain(fields.iter().copied()).collect();
    ctx.propagate(&said);
}

/// Redis keeps a field's time in 46 bits.
const TIME_MAX: Millis = (1 << 46) - 1;
const NEGATIVE_TIME: Error = Error::new("ERR invalid expire time, must be >= 0");
const FIELDS_MISSING: Error = Error::new("ERR Mandatory argument FIELDS is missing or not at the right position");
const FIELDS_NOT_POSITIVE: Error = Error::new("ERR Number of fields must be a positive integer");
const FIELDS_MISCOUNTED: Error = Error::new("ERR The `numfields` parameter must match the number of arguments");
/// HEXPIRE's own words.
pub const NUMFIELDS_NOT_POSITIVE: Error = Error::new("ERR Parameter `numFields` should be greater than 0");
