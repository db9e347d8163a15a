//! Whole strings combined bit by bit into another.

use crate::command::error::SYNTAX;
use crate::command::*;
use crate::keyspace::Text;
use crate::types::bits::{self, Combine};
use std::borrow::Cow;

pub const BITOP: Command = Command {
    name: "BITOP",
    args: "<operation: AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE> destkey key [key ...]",
    arity: -4,
    since: "2.6.0",
    group: Group::Bitmap,
    flags: WRITE | DENYOOM,
    keys: Keys::one(2, keys::OW | keys::UPDATE).and(Keys::range(3, -1, 1, keys::RO | keys::ACCESS)),
    doc: "Combines strings bit by bit and stores the result, as long as the longest of them. O(N) in all their bytes.",
    examples: "> MSET a abc b abd\nOK\n> BITOP AND c a b\n(integer) 3\n> GET c\n\"ab`\"\n> BITOP XOR c a b\n(integer) 3\n> GET c\n\"\\x00\\x00\\a\"",
    run: bitop,
};

fn bitop(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let (how, sources_min, refusal) = match &*args.word_at(1) {
        b"AND" => (Combine::And, 1, SYNTAX),
        b"OR" => (Combine::Or, 1, SYNTAX),
        b"XOR" => (Combine::Xor, 1, SYNTAX),
        b"NOT" => (Combine::Not, 1, SYNTAX),
        b"DIFF" => (Combine::Diff, 2, DIFF_NEEDS_TWO),
        b"DIFF1" => (Combine::Diff1, 2, DIFF1_NEEDS_TWO),
        b"ANDOR" => (Combine::AndOr, 2, ANDOR_NEEDS_TWO),
        b"ONE" => (Combine::One, 1, SYNTAX),
        _ => return Err(SYNTAX),
    };
    let (target, sources) = (args.key(2), args.from(3));
    if how == Combine::Not && sources.len() != 1 {
        return Err(NOT_NEEDS_ONE);
    }
    if sources.len() < sources_min {
        return Err(refusal);
    }
    let len = db.compute_string(target, sources.clone(), "set", |result, texts| {
        let texts: Vec<Cow<'_, [u8]>> = texts.iter().map(|text| bytes_of(*text)).collect();
        let slices = sources.zip(&texts).map(|(key, bytes)| (key != target).then_some(&**bytes));
        bits::combine(how, result, &slices.collect::<Vec<_>>());
    })?;
    out.count(len)?;
    if matches!(how, Combine::Diff | Combine::Diff1 | Combine::AndOr | Combine::One) {
        propagate_result(ctx, target, len);
    }
    Ok(())
}

/// The operations of 8.2 propagate as what they made, which every server understands.
fn propagate_result(ctx: &mut Ctx<'_, '_>, target: &[u8], len: usize) {
    if !ctx.node.journal.records() || ctx.db.changes.dirty == 0 {
        return;
    }
    match ctx.db.string_for_write(target).map(|text| bytes_of(text).into_owned()) {
        Ok(result) if len > 0 => ctx.propagate(&[b"SET", target, &result]),
        _ => ctx.propagate(&[b"DEL", target]),
    }
}

fn bytes_of(text: Option<Text<'_>>) -> Cow<'_, [u8]> {
    match text {
        Some(Text::Bytes(bytes)) => bytes.into(),
        Some(number) => number.to_vec().into(),
        None => Cow::default(),
    }
}

const NOT_NEEDS_ONE: Error = Error::new("ERR BITOP NOT must be called with a single source key.");
const DIFF_NEEDS_TWO: Error = Error::new("ERR BITOP DIFF must be called with at least two source keys.");
const DIFF1_NEEDS_TWO: Error = Error::new("ERR BITOP DIFF1 must be called with at least two source keys.");
const ANDOR_NEEDS_TWO: Error = Error::new("ERR BITOP ANDOR must be called with at least two source keys.");
