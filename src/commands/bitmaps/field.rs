//! Integers of any width at any bit of a string: BITFIELD's little programs.
//!
//! A program is read whole before anything is done, so a mistake in its last step leaves the string alone. One of GETs
//! alone writes nothing and is for ACL rules a command that reads.

use super::bit_offset;
use crate::command::error::SYNTAX;
use crate::command::*;
use crate::num;
use crate::resp::ArgvView;
use crate::types::bits::{Field, Overflow};

pub const BITFIELD: Command = Command {
    name: "BITFIELD",
    args: "key [operation: get-block: GET encoding offset | write: [overflow-block: OVERFLOW <WRAP | SAT | FAIL>] <write-operation: set-block: SET encoding offset value:integer | incrby-block: INCRBY encoding offset increment> ...]",
    arity: -2,
    since: "3.2.0",
    group: Group::Bitmap,
    flags: WRITE | DENYOOM,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::UPDATE | keys::VARIABLE)
        .noted("This command allows both access and modification of the key")
        .flags_by(access),
    doc: "Reads, sets and increments integers inside a string, lengthening it if need be. Encodings are i1 to i64 and u1 to u63; #n is the nth such integer. O(1) a step.",
    examples: "> BITFIELD k INCRBY i5 100 1 GET u4 0\n1) (integer) 1\n2) (integer) 0\n> BITFIELD k SET u8 #0 255 OVERFLOW SAT INCRBY u8 #0 9 OVERFLOW FAIL INCRBY u8 #0 1\n1) (integer) 0\n2) (integer) 255\n3) (nil)",
    run: |ctx| bitfield(ctx, true),
};

pub const BITFIELD_RO: Command = Command {
    name: "BITFIELD_RO",
    args: "key [get-block: GET encoding offset [GET encoding offset ...]]",
    arity: -2,
    since: "6.0.0",
    group: Group::Bitmap,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "BITFIELD with GETs only. O(1) a step.",
    examples: "> SET k a\nOK\n> BITFIELD_RO k GET u8 0 GET i4 4\n1) (integer) 97\n2) (integer) 1",
    run: |ctx| bitfield(ctx, false),
};

/// Whether the program writes. As much of a malformed one is read as can be.
fn access(argv: ArgvView<'_>) -> u16 {
    let mut i = 2;
    while i < argv.len() {
        let word = argv.get(i);
        let left = argv.len() - i - 1;
        i += match word {
            _ if word.eq_ignore_ascii_case(b"get") && left >= 2 => 3,
            _ if word.eq_ignore_ascii_case(b"overflow") && left >= 1 => 2,
            _ => return keys::RW | keys::ACCESS | keys::UPDATE,
        };
    }
    keys::RO | keys::ACCESS
}

struct Step {
    field: Field,
    act: Act,
}

#[derive(Clone, Copy)]
enum Act {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

fn bitfield(ctx: &mut Ctx<'_, '_>, may_write: bool) -> Outcome {
    let steps = read_steps(ctx)?;
    let Ctx { args, db, out, .. } = ctx;
    let key = args.key(1);
    let writes = steps.iter().filter(|step| !matches!(step.act, Act::Get));
    let Some(last) = writes.map(|step| step.field.last()).max() else {
        let mut digits = itoa::Buffer::new();
        let bytes = db.string(key)?.map_or(&b""[..], |text| text.bytes(&mut digits));
        out.array(steps.len());
        return steps.iter().try_for_each(|step| out.int(step.field.read(bytes)));
    };
    if !may_write {
        return Err(ONLY_GET);
    }
    let min_len = last as usize / 8 + 1;
    let grows = db.string_for_write(key)?.is_none_or(|text| text.len() < min_len);
    out.array(steps.len());
    db.modify_string_if(key, min_len, "setbit", |bytes| {
        let mut changes = 0;
        for step in &steps {
            let (reply, stored) = step.run(bytes);
            changes += u64::from(stored.is_some_and(|changed| changed || grows));
            match reply {
                Some(n) => out.0.int(n),
                None => out.0.null(),
            }
        }
        // Redis tells neither log nor replicas that the string grew if every step failed; they would differ from then on.
        changes.max(u64::from(grows))
    })?;
    Ok(())
}

impl Step {
    /// The reply, and whether what was stored is another value than before, if anything was.
    fn run(&self, bytes: &mut [u8]) -> (Option<i64>, Option<bool>) {
        let was = self.field.read(bytes);
        let (wanted, overflow) = match self.act {
            Act::Get => return (Some(was), None),
            Act::Set(value, Overflow::Saturate) if self.saturates_upwards(value) => (i128::MAX, Overflow::Saturate),
            Act::Set(value, overflow) if self.field.signed => (i128::from(value), overflow),
            // A negative number for an unsigned field is a very large one.
            Act::Set(value, overflow) => (i128::from(value as u64), overflow),
            Act::Add(by, overflow) => (i128::from(was) + i128::from(by), overflow),
        };
        let Some(new) = self.field.fit(wanted, overflow) else { return (None, None) };
        self.field.write(bytes, new);
        (Some(if let Act::Set(..) = self.act { was } else { new }), Some(new != was))
    }

    /// The most negative numbers saturate at the wrong end, as in Redis, which subtracts them from the greatest value
    /// without looking whether that overflows.
    fn saturates_upwards(&self, value: i64) -> bool {
        let Field { width, signed, .. } = self.field;
        signed && width < 64 && (i64::MAX >> (64 - width)).checked_sub(value).is_none()
    }
}

fn read_steps(ctx: &mut Ctx<'_, '_>) -> Result<Vec<Step>, Error> {
    let (mut steps, mut overflow) = (Vec::new(), Overflow::Wrap);
    ctx.args.skip_to(2);
    while let Some(word) = ctx.args.word() {
        match (&*word, ctx.args.left()) {
            (b"GET", 2..) => steps.push(Step { field: read_field(ctx)?, act: Act::Get }),
            (b"SET", 3..) => {
                let field = read_field(ctx)?;
                steps.push(Step { field, act: Act::Set(ctx.args.required_int()?, overflow) });
            }
            (b"INCRBY", 3..) => {
                let field = read_field(ctx)?;
                steps.push(Step { field, act: Act::Add(ctx.args.required_int()?, overflow) });
            }
            (b"OVERFLOW", 1..) => {
                overflow = match ctx.args.word().as_deref() {
                    Some(b"WRAP") => Overflow::Wrap,
                    Some(b"SAT") => Overflow::Saturate,
                    Some(b"FAIL") => Overflow::Fail,
                    _ => return Err(BAD_OVERFLOW),
                }
            }
            _ => return Err(SYNTAX),
        }
    }
    Ok(steps)
}

fn read_field(ctx: &mut Ctx<'_, '_>) -> Result<Field, Error> {
    let (encoding, offset) = (ctx.args.required()?, ctx.args.required()?);
    let (signed, width) = match encoding {
        [b'i', digits @ ..] => (true, num::parse_i64(digits)),
        [b'u', digits @ ..] => (false, num::parse_i64(digits)),
        _ => return Err(BAD_ENCODING),
    };
    let width = width.filter(|n| (1..=if signed { 64 } else { 63 }).contains(n)).ok_or(BAD_ENCODING)? as u32;
    Ok(Field { offset: bit_offset(ctx, offset, Some(width))?, width, signed })
}

const BAD_ENCODING: Error =
    Error::new("ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.");
const BAD_OVERFLOW: Error = Error::new("ERR Invalid OVERFLOW type specified");
const ONLY_GET: Error = Error::new("ERR BITFIELD_RO only supports the GET subcommand");
