//! INCREX: a number that is added to within bounds, together with its expiry: a window's counter in one command.
//!
//! What is asked for is read as text first, because BYFLOAT decides what the bounds are. A result out of bounds, to which
//! the ends of the number's own range belong, changes nothing unless SATURATE puts the bound in its place.

use super::number::NOT_FINITE;
use super::options::Ttl;
use crate::command::ctx::Reply;
use crate::command::error::{NOT_FLOAT, NOT_INT, OVERFLOW, SYNTAX};
use crate::command::*;
use crate::keyspace::{Db, Text};
use crate::num::{self, LongDouble};
use crate::resp::Proto;
use std::ops::Add;

pub const INCREX: Command = Command {
    name: "INCREX",
    args: "key [increment: BYFLOAT float:double | BYINT integer:integer] [SATURATE] [LBOUND lowerbound] [UBOUND upperbound] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] [ENX]",
    arity: -2,
    since: "8.8.0",
    group: Group::String,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::UPDATE),
    doc: "Adds to a number, within bounds, and sets or clears its expiry; the new number and what was added. Out of bounds it changes nothing and adds 0, or with SATURATE stops at the bound. ENX keeps an expiry that is there. O(1).",
    examples: "> INCREX n\n1) (integer) 1\n2) (integer) 1\n> INCREX n BYINT 98 EX 100 ENX\n1) (integer) 99\n2) (integer) 98\n> INCREX n BYINT 5 UBOUND 100 EX 500 ENX\n1) (integer) 99\n2) (integer) 0\n> INCREX n BYINT 5 UBOUND 100 SATURATE EX 500 ENX\n1) (integer) 100\n2) (integer) 1\n> TTL n\n(integer) 100\n> INCREX n BYFLOAT -0.5 PERSIST\n1) \"99.5\"\n2) \"-0.5\"\n> TTL n\n(integer) -1\n> INCREX n\n(error) ERR value is not an integer or out of range\n> INCREX n ENX\n(error) ERR ENX flag requires an expiration\n> INCREX n LBOUND 2 UBOUND 1\n(error) ERR LBOUND can't be greater than UBOUND",
    run: increx,
};

fn increx(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let (key, request) = (args.key(1), Request::read(args)?);
    let at = request.ttl.at(db.now(), "increx")?;
    let changed = if request.is_float { add_float(db, key, &request, out)? } else { add_int(db, key, &request, out)? };
    if !changed {
        return Ok(());
    }
    let expires = db.expiry(key).flatten().is_some();
    match at {
        Some(_) if expires && request.only_unset => {}
        // The log's times are taken as they are.
        Some(at) if at <= db.now() && db.mode.removes_due() => {
            db.remove(key);
            ctx.propagate_removal(key, ctx.config.lazyfree_lazy_expire);
            return Ok(());
        }
        Some(at) => _ = db.set_expiry(key, Some(at), "expire"),
        None if request.ttl == Ttl::Persist && expires => _ = db.set_expiry(key, None, "persist"),
        None => {}
    }
    propagate(ctx, key);
    Ok(())
}

/// What is asked for; numbers are still text.
struct Request<'a> {
    by: &'a [u8],
    is_float: bool,
    low: Option<&'a [u8]>,
    high: Option<&'a [u8]>,
    saturate: bool,
    ttl: Ttl<'a>,
    /// ENX.
    only_unset: bool,
}

impl<'a> Request<'a> {
    fn read(args: &mut Args<'a>) -> Result<Self, Error> {
        let (mut by, mut low, mut high) = (None, None, None);
        let (mut saturate, mut ttl, mut only_unset) = (false, Ttl::Unsaid, false);
        args.skip_to(2);
        while let Some(word) = args.word() {
            match &*word {
                b"BYINT" if by.is_none() => by = Some((false, args.required()?)),
                b"BYFLOAT" if by.is_none() => by = Some((true, args.required()?)),
                b"LBOUND" if low.is_none() => low = Some(args.required()?),
                b"UBOUND" if high.is_none() => high = Some(args.required()?),
                b"SATURATE" => saturate = true,
                b"ENX" => only_unset = true,
                b"KEEPTTL" => return Err(SYNTAX),
                word if ttl.accept(word, args)? => {}
                _ => return Err(SYNTAX),
            }
        }
        match ttl {
            Ttl::Persist if only_unset => return Err(SYNTAX),
            Ttl::Unsaid if only_unset => return Err(ENX_ALONE),
            _ => {}
        }
        let (is_float, by) = by.unwrap_or((false, b"1"));
        Ok(Self { by, is_float, low, high, saturate, ttl, only_unset })
    }

    /// The bounds, with the ends of the range for those not given.
    fn bounds<N: PartialOrd>(&self, ends: (N, N), parse: impl Fn(&[u8]) -> Result<N, Error>) -> Result<(N, N), Error> {
        let (low, high) = (self.low.map_or(Ok(ends.0), &parse), self.high.map_or(Ok(ends.1), &parse));
        let named = |name| move |_| self.not_a_number(name);
        let (low, high) = (low.map_err(named("LBOUND"))?, high.map_err(named("UBOUND"))?);
        if low > high { Err(BOUNDS_CROSS) } else { Ok((low, high)) }
    }

    fn not_a_number(&self, name: &str) -> Error {
        let what = if self.is_float { "a valid float" } else { "an integer or out of range" };
        Error::owned(format!("ERR {name} is not {what}"))
    }

    /// The sum, or the bound that it passes; `None` if that is to change nothing.
    fn sum<N: PartialOrd + Add<Output = N> + Copy>(&self, value: N, by: N, (low, high): (N, N)) -> Option<N> {
        let sum = value + by;
        match (sum < low, sum > high) {
            (false, false) => Some(sum),
            (true, _) if self.saturate => Some(low),
            (_, true) if self.saturate => Some(high),
            _ => None,
        }
    }
}

/// Adds and answers; false if that was out of bounds. In 128 bits nothing overflows.
fn add_int(db: &mut Db<'_>, key: &[u8], request: &Request<'_>, out: &mut Reply<'_>) -> Result<bool, Error> {
    let parse = |text: &[u8]| num::parse_i64(text).map(i128::from).ok_or(NOT_INT);
    let bounds = request.bounds((i128::from(i64::MIN), i128::from(i64::MAX)), parse)?;
    let by = parse(request.by)?;
    let value = match db.string_for_write(key)? {
        None => 0,
        Some(Text::Int(n)) => i128::from(n),
        Some(Text::Bytes(text)) => parse(text)?,
    };
    let sum = request.sum(value, by, bounds);
    let narrow = |n: i128| i64::try_from(n).map_err(|_| OVERFLOW);
    let (new, added) = (narrow(sum.unwrap_or(value))?, narrow(sum.map_or(0, |sum| sum - value))?);
    if sum.is_some() {
        db.set_int(key, new, "incrby");
    }
    out.array(2);
    out.int(new)?;
    out.int(added)?;
    Ok(sum.is_some())
}

/// The same in 80-bit floating point.
fn add_float(db: &mut Db<'_>, key: &[u8], request: &Request<'_>, out: &mut Reply<'_>) -> Result<bool, Error> {
    let parse = |text: &[u8]| {
        let value = LongDouble::parse(text).ok_or(NOT_FLOAT)?;
        if value.is_finite() { Ok(value) } else { Err(NOT_FINITE) }
    };
    let bounds = request.bounds((-LongDouble::largest(), LongDouble::largest()), parse)?;
    let by = parse(request.by)?;
    let value = match db.string_for_write(key)? {
        None => LongDouble::ZERO,
        Some(text) => parse(text.bytes(&mut itoa::Buffer::new()))?,
    };
    let sum = request.sum(value, by, bounds);
    let (new, added) = (sum.unwrap_or(value), sum.map_or(LongDouble::ZERO, |sum| sum - value));
    if !added.is_finite() {
        return Err(NOT_FINITE);
    }
    if sum.is_some() {
        db.set_text(key, &new.to_text(), "incrbyfloat");
    }
    out.array(2);
    for number in [new, added] {
        if out.proto == Proto::Resp3 { out.double(number.to_f64())? } else { out.bulk(&number.to_text())? }
    }
    Ok(sum.is_some())
}

/// Propagates what the key holds now, with its expiry: every server knows that.
fn propagate(ctx: &mut Ctx<'_, '_>, key: &[u8]) {
    if !ctx.node.journal.records() {
        return;
    }
    let expiry = ctx.db.expiry(key).flatten();
    let Ok(Some(value)) = ctx.db.string_for_write(key).map(|text| text.map(Text::to_vec)) else { return };
    match expiry {
        Some(at) => ctx.propagate(&[b"SET", key, &value, b"PXAT", itoa::Buffer::new().format(at).as_bytes()]),
        None => ctx.propagate(&[b"SET", key, &value]),
    }
}

const BOUNDS_CROSS: Error = Error::new("ERR LBOUND can't be greater than UBOUND");
const ENX_ALONE: Error = Error::new("ERR ENX flag requires an expiration");
