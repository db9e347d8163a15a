//! When fields end: HEXPIRE and its variants, and asking for it.
//!
//! A time that has passed removes the field at once, which propagates as an HDEL. Whatever unit and base a time came in,
//! it is propagated in absolute milliseconds, for those fields only whose expiry was set.

use super::options::{self, Done, Unit};
use crate::clock::Millis;
use crate::command::*;
use crate::types::hash::Hash;

pub const HEXPIRE: Command = Command {
    name: "HEXPIRE",
    args: "key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    arity: -6,
    since: "7.4.0",
    group: Group::Hash,
    flags: WRITE | FAST,
    keys: Keys::write(1),
    doc: "Lets fields end after so many seconds; answers 1 for each that now does, 0 where the condition fails, -2 for none such. O(1) a field.",
    examples: "> HSET h a 1\n(integer) 1\n> HEXPIRE h 100 FIELDS 2 a missing\n1) (integer) 1\n2) (integer) -2\n> HEXPIRE h 50 GT FIELDS 1 a\n1) (integer) 0\n> HTTL h FIELDS 1 a\n1) (integer) 100",
    run: |ctx| expire(ctx, Unit::Seconds),
};

pub const HEXPIREAT: Command = Command {
    name: "HEXPIREAT",
    args: "key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    arity: -6,
    since: "7.4.0",
    group: Group::Hash,
    flags: WRITE | FAST,
    keys: Keys::write(1),
    doc: "Lets fields end at a time in seconds since 1970. O(1) a field.",
    examples: "> HSET h a 1\n(integer) 1\n> HEXPIREAT h 33177117420 FIELDS 1 a\n1) (integer) 1\n> HEXPIREAT h 1 FIELDS 1 a\n1) (integer) 2\n> EXISTS h\n(integer) 0",
    run: |ctx| expire(ctx, Unit::AtSeconds),
};

pub const HEXPIRETIME: Command = Command {
    name: "HEXPIRETIME",
    args: "key FIELDS numfields field [field ...]",
    arity: -5,
    since: "7.4.0",
    group: Group::Hash,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "When fields end, in seconds since 1970; -1 for never, -2 for no such field. O(1) a field.",
    examples: "> HSET h a 1\n(integer) 1\n> HEXPIREAT h 33177117420 FIELDS 1 a\n1) (integer) 1\n> HEXPIRETIME h FIELDS 1 a\n1) (integer) 33177117420",
    run: |ctx| remaining(ctx, Unit::AtSeconds),
};

pub const HPERSIST: Command = Command {
    name: "HPERSIST",
    args: "key FIELDS numfields field [field ...]",
    arity: -5,
    since: "7.4.0",
    group: Group::Hash,
    flags: WRITE | FAST,
    keys: Keys::write(1),
    doc: "Lets fields live on; answers 1 for each that would have ended, -1 for those that would not, -2 for none such. O(1) a field.",
    examples: "> HSET h a 1 b 2\n(integer) 2\n> HEXPIRE h 100 FIELDS 1 a\n1) (integer) 1\n> HPERSIST h FIELDS 3 a b missing\n1) (integer) 1\n2) (integer) -1\n3) (integer) -2",
    run: hpersist,
};

fn hpersist(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let hash = db.edit::<Hash>(args.key(1))?;
    let fields = options::fields(args, 2)?;
    out.array(fields.len());
    let Some(mut hash) = hash else {
        fields.for_each(|_| out.0.int(MISSING));
        return Ok(());
    };
    let mut persisted = 0;
    for field in fields {
        out.int(match hash.due(field) {
            None => MISSING,
            Some(None) => LASTING,
            Some(Some(_)) => {
                hash.set_due(field, None);
                persisted += 1;
                1
            }
        })?;
    }
    if persisted > 0 {
        hash.changed("hpersist");
    }
    Ok(())
}

pub const HPEXPIRE: Command = Command {
    name: "HPEXPIRE",
    args: "key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    arity: -6,
    since: "7.4.0",
    group: Group::Hash,
    flags: WRITE | FAST,
    keys: Keys::write(1),
    doc: "Lets fields end after so many milliseconds. O(1) a field.",
    examples: "> HSET h a 1\n(integer) 1\n> HPEXPIRE h 100000 XX FIELDS 1 a\n1) (integer) 0\n> HPEXPIRE h 100000 NX FIELDS 1 a\n1) (integer) 1\n> HTTL h FIELDS 1 a\n1) (integer) 100",
    run: |ctx| expire(ctx, Unit::Millis),
};

pub const HPEXPIREAT: Command = Command {
    name: "HPEXPIREAT",
    args: "key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
    arity: -6,
    since: "7.4.0",
    group: Group::Hash,
    flags: WRITE | FAST,
    keys: Keys::write(1),
    doc: "Lets fields end at a time in milliseconds since 1970. O(1) a field.",
    examples: "> HSET h a 1\n(integer) 1\n> HPEXPIREAT h 33177117420000 FIELDS 1 a\n1) (integer) 1\n> HPEXPIRETIME h FIELDS 1 a\n1) (integer) 33177117420000",
    run: |ctx| expire(ctx, Unit::AtMillis),
};

pub const HPEXPIRETIME: Command = Command {
    name: "HPEXPIRETIME",
    args: "key FIELDS numfields field [field ...]",
    arity: -5,
    since: "7.4.0",
    group: Group::Hash,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "When fields end, in milliseconds since 1970; -1 for never, -2 for no such field. O(1) a field.",
    examples: "> HSET h a 1\n(integer) 1\n> HPEXPIRETIME h FIELDS 2 a missing\n1) (integer) -1\n2) (integer) -2",
    run: |ctx| remaining(ctx, Unit::AtMillis),
};

pub const HPTTL: Command = Command {
    name: "HPTTL",
    args: "key FIELDS numfields field [field ...]",
    arity: -5,
    since: "7.4.0",
    group: Group::Hash,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "How long fields live, in milliseconds; -1 for ever, -2 for no such field. O(1) a field.",
    examples: "> HSET h a 1\n(integer) 1\n> HPTTL h FIELDS 2 a missing\n1) (integer) -1\n2) (integer) -2",
    run: |ctx| remaining(ctx, Unit::Millis),
};

pub const HTTL: Command = Command {
    name: "HTTL",
    args: "key FIELDS numfields field [field ...]",
    arity: -5,
    since: "7.4.0",
    group: Group::Hash,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "How long fields live, in seconds; -1 for ever, -2 for no such field. O(1) a field.",
    examples: "> HSET h a 1 b 2\n(integer) 2\n> HEXPIRE h 100 FIELDS 1 a\n1) (integer) 1\n> HTTL h FIELDS 3 a b missing\n1) (integer) 100\n2) (integer) -1\n3) (integer) -2",
    run: |ctx| remaining(ctx, Unit::Seconds),
};

fn expire(ctx: &mut Ctx<'_, '_>, unit: Unit) -> Outcome {
    let (key, now) = (ctx.args.key(1), ctx.db.now());
    let (at, done) = set_times(ctx, key, unit)?;
    if done.is_empty() {
        return Ok(());
    }
    match at <= now && !ctx.db.mode.keep_expired {
        true => options::propagate_hdel(ctx, key, &done),
        false => options::propagate_hpexpireat(ctx, key, at, &done),
    }
    Ok(())
}

/// Answers for each field; returns the time and the fields that now have it, or are gone if it has passed.
fn set_times<'a>(ctx: &mut Ctx<'a, '_>, key: &[u8], unit: Unit) -> Result<(Millis, Done<'a>), Error> {
    let Ctx { args, db, out, row, .. } = ctx;
    let now = db.now();
    let keep_expired = db.mode.keep_expired;
    let hash = db.edit::<Hash>(key)?;
    let at = unit.time(args.get(2), now, &row.command.full_name())?;
    let condition = Condition::of(&args.word_at(3));
    let fields_at = if condition.is_some() { 4 } else { 3 };
    let fields = options::fields_after(args, fields_at, options::NUMFIELDS_NOT_POSITIVE)?;
    out.array(fields.len());
    let Some(mut hash) = hash else {
        fields.for_each(|_| out.0.int(MISSING));
        return Ok((at, Done::new()));
    };
    let (mut done, removes) = (Done::new(), at <= now && !keep_expired);
    hash.expect_times();
    for field in fields {
        let answer = match hash.due(field) {
            None => MISSING,
            Some(due) if !condition.is_none_or(|condition| condition.holds(due, at)) => 0,
            Some(_) if removes => {
                hash.remove(field);
                2
            }
            Some(_) => {
                hash.set_due(field, Some(at));
                1
            }
        };
        if answer > 0 {
            done.push(field);
        }
        out.int(answer)?;
    }
    if !done.is_empty() {
        hash.changed_by(if removes { "hdel" } else { "hexpire" }, done.len());
    }
    Ok((at, done))
}

/// NX, XX, GT, LT.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Absent,
    Present,
    Greater,
    Less,
}

impl Condition {
    fn of(word: &[u8]) -> Option<Self> {
        match word {
            b"NX" => Some(Self::Absent),
            b"XX" => Some(Self::Present),
            b"GT" => Some(Self::Greater),
            b"LT" => Some(Self::Less),
            _ => None,
        }
    }

    /// No expiry counts as later than any time.
    fn holds(self, due: Option<Millis>, at: Millis) -> bool {
        match self {
            Self::Absent => due.is_none(),
            Self::Present => due.is_some(),
            Self::Greater => due.is_some_and(|due| at > due),
            Self::Less => due.is_none_or(|due| at < due),
        }
    }
}

fn remaining(ctx: &mut Ctx<'_, '_>, unit: Unit) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let now = db.now();
    let hash = db.read::<Hash>(args.key(1))?;
    let fields = options::fields(args, 2)?;
    out.array(fields.len());
    for field in fields {
        out.int(match hash.and_then(|hash| hash.due(field)) {
            None => MISSING,
            Some(None) => LASTING,
            Some(Some(at)) => unit.shown(at, now),
        })?;
    }
    Ok(())
}

/// Answers for a field that does not exist, and for one that does not expire.
const MISSING: i64 = -2;
const LASTING: i64 = -1;
