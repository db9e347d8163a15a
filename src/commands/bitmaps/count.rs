//! Counting bits and finding the first one, in a whole string or a range of its bytes or bits.

use crate::command::error::SYNTAX;
use crate::command::*;
use crate::types::bits;

pub const BITCOUNT: Command = Command {
    name: "BITCOUNT",
    args: "key [range: start end [unit@7.0.0: BYTE | BIT]]",
    arity: -2,
    since: "2.6.0",
    group: Group::Bitmap,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "How many bits of a string are set, or of a range of it. O(N).",
    examples: "> SET k foobar\nOK\n> BITCOUNT k\n(integer) 26\n> BITCOUNT k 1 1\n(integer) 6\n> BITCOUNT k 5 30 BIT\n(integer) 17",
    run: bitcount,
};

fn bitcount(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let range = match args.len() {
        2 => Range::WHOLE,
        4 | 5 => Range { start: args.int(2)?, end: Some(args.int(3)?), unit: unit(args, 4)? },
        _ => return Err(SYNTAX),
    };
    let mut digits = itoa::Buffer::new();
    let bytes = db.string(args.key(1))?.map_or(&b""[..], |text| text.bytes(&mut digits));
    let backwards = range.end.is_some_and(|end| range.start < 0 && end < 0 && range.start > end);
    let count = match range.bits(bytes.len()).filter(|_| !backwards) {
        Some((first, last)) => bits::count_between(bytes, first, last),
        None => 0,
    };
    out.int(count as i64)
}

pub const BITPOS: Command = Command {
    name: "BITPOS",
    args: "key bit [range: start [end-unit-block: end [unit@7.0.0: BYTE | BIT]]]",
    arity: -3,
    since: "2.8.7",
    group: Group::Bitmap,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "Where the first set or clear bit of a string is, or of a range of it; -1 if there is none. Without an end, zeros follow the string. O(N).",
    examples: "> SET k \"\\xff\\xf0\\x00\"\nOK\n> BITPOS k 0\n(integer) 12\n> BITPOS k 1 2\n(integer) -1\n> BITPOS k 1 7 15 BIT\n(integer) 7",
    run: bitpos,
};

fn bitpos(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let bit = args.int(2)?;
    if bit != 0 && bit != 1 {
        return Err(BAD_BIT);
    }
    let range = match args.len() {
        3 => Range::WHOLE,
        4 => Range { start: args.int(3)?, ..Range::WHOLE },
        5 | 6 => {
            let (start, unit) = (args.int(3)?, unit(args, 5)?);
            Range { start, end: Some(args.int(4)?), unit }
        }
        _ => return Err(SYNTAX),
    };
    let Some(text) = db.string(args.key(1))? else { return out.int(-bit) };
    let mut digits = itoa::Buffer::new();
    let bytes = text.bytes(&mut digits);
    let Some((first, last)) = range.bits(bytes.len()) else { return out.int(-1) };
    match bits::position(bytes, bit == 1, first, last) {
        Some(found) => out.int(found as i64),
        None if bit == 0 && range.end.is_none() => out.int(last as i64 + 1),
        None => out.int(-1),
    }
}

/// From a start to an end, both included; negative numbers count from the string's end.
struct Range {
    start: i64,
    end: Option<i64>,
    unit: Unit,
}

#[derive(Clone, Copy)]
enum Unit {
    Byte,
    Bit,
}

fn unit(args: &Args<'_>, i: usize) -> Result<Unit, Error> {
    match &*args.word_at(i) {
        b"BYTE" => Ok(Unit::Byte),
        b"BIT" => Ok(Unit::Bit),
        _ if i >= args.len() => Ok(Unit::Byte),
        _ => Err(SYNTAX),
    }
}

impl Range {
    const WHOLE: Self = Self { start: 0, end: None, unit: Unit::Byte };

    /// The first and last bit of the range in a string of `len` bytes, unless it is empty.
    fn bits(&self, len: usize) -> Option<(u64, u64)> {
        let scale = if let Unit::Bit = self.unit { 1 } else { 8 };
        let total = (len as i64 * 8) / scale;
        let from_end = |i: i64| if i < 0 { i.saturating_add(total).max(0) } else { i };
        let (start, end) = (from_end(self.start), from_end(self.end.unwrap_or(-1)).min(total - 1));
        (start <= end).then(|| ((start * scale) as u64, (end * scale + scale - 1) as u64))
    }
}

const BAD_BIT: Error = Error::new("ERR The bit argument must be 1 or 0.");
