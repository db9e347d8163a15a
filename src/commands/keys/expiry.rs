//! When keys end: EXPIRE and its variants, and asking for it.
//!
//! A time that has passed removes the key at once. Whatever unit and base a time came in, it is propagated in absolute
//! milliseconds.

use crate::clock::Millis;
use crate::command::*;

pub const EXPIRE: Command = Command {
    name: "EXPIRE",
    args: "key seconds [condition@7.0.0: NX | XX | GT | LT]",
    arity: -3,
    since: "1.0.0",
    group: Group::Generic,
    flags: WRITE | FAST,
    keys: Keys::write(1),
    doc: "Lets a key end after so many seconds. O(1).",
    examples: "> SET k v\nOK\n> EXPIRE k 100\n(integer) 1\n> EXPIRE k 50 GT\n(integer) 0\n> TTL k\n(integer) 100",
    run: |ctx| expire(ctx, Base::Now, SECOND),
};

pub const EXPIREAT: Command = Command {
    name: "EXPIREAT",
    args: "key unix-time-seconds [condition@7.0.0: NX | XX | GT | LT]",
    arity: -3,
    since: "1.2.0",
    group: Group::Generic,
    flags: WRITE | FAST,
    keys: Keys::write(1),
    doc: "Lets a key end at a time in seconds since 1970. O(1).",
    examples: "> SET k v\nOK\n> EXPIREAT k 33177117420\n(integer) 1\n> EXPIRETIME k\n(integer) 33177117420",
    run: |ctx| expire(ctx, Base::Epoch, SECOND),
};

pub const EXPIRETIME: Command = Command {
    name: "EXPIRETIME",
    args: "key",
    arity: 2,
    since: "7.0.0",
    group: Group::Generic,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "When a key ends, in seconds since 1970; -1 for never, -2 for no such key. O(1).",
    examples: "> SET k v\nOK\n> EXPIRETIME k\n(integer) -1\n> EXPIRETIME missing\n(integer) -2",
    run: |ctx| remaining(ctx, Base::Epoch, SECOND),
};

pub const PERSIST: Command = Command {
    name: "PERSIST",
    args: "key",
    arity: 2,
    since: "2.2.0",
    group: Group::Generic,
    flags: WRITE | FAST,
    keys: Keys::write(1),
    doc: "Lets a key live on. O(1).",
    examples: "> SET k v EX 100\nOK\n> PERSIST k\n(integer) 1\n> PERSIST k\n(integer) 0\n> TTL k\n(integer) -1",
    run: persist,
};

fn persist(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let key = args.key(1);
    let expires = db.inspect(key).is_some_and(|entry| entry.expiry().is_some());
    out.int(i64::from(expires && db.set_expiry(key, None, "persist")))
}

pub const PEXPIRE: Command = Command {
    name: "PEXPIRE",
    args: "key milliseconds [condition@7.0.0: NX | XX | GT | LT]",
    arity: -3,
    since: "2.6.0",
    group: Group::Generic,
    flags: WRITE | FAST,
    keys: Keys::write(1),
    doc: "Lets a key end after so many milliseconds. O(1).",
    examples: "> SET k v\nOK\n> PEXPIRE k 100000 XX\n(integer) 0\n> PEXPIRE k 100000 NX\n(integer) 1\n> TTL k\n(integer) 100",
    run: |ctx| expire(ctx, Base::Now, 1),
};

pub const PEXPIREAT: Command = Command {
    name: "PEXPIREAT",
    args: "key unix-time-milliseconds [condition@7.0.0: NX | XX | GT | LT]",
    arity: -3,
    since: "2.6.0",
    group: Group::Generic,
    flags: WRITE | FAST,
    keys: Keys::write(1),
    doc: "Lets a key end at a time in milliseconds since 1970. O(1).",
    examples: "> SET k v\nOK\n> PEXPIREAT k 33177117420000\n(integer) 1\n> PEXPIRETIME k\n(integer) 33177117420000",
    run: |ctx| expire(ctx, Base::Epoch, 1),
};

pub const PEXPIRETIME: Command = Command {
    name: "PEXPIRETIME",
    args: "key",
    arity: 2,
    since: "7.0.0",
    group: Group::Generic,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "When a key ends, in milliseconds since 1970; -1 for never, -2 for no such key. O(1).",
    examples: "> SET k v PXAT 33177117420000\nOK\n> PEXPIRETIME k\n(integer) 33177117420000",
    run: |ctx| remaining(ctx, Base::Epoch, 1),
};

pub const PTTL: Command = Command {
    name: "PTTL",
    args: "key",
    arity: 2,
    since: "2.6.0",
    group: Group::Generic,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "How long a key lives, in milliseconds; -1 for ever, -2 for no such key. O(1).",
    examples: "> PTTL missing\n(integer) -2\n> SET k v\nOK\n> PTTL k\n(integer) -1",
    run: |ctx| remaining(ctx, Base::Now, 1),
};

pub const TTL: Command = Command {
    name: "TTL",
    args: "key",
    arity: 2,
    since: "1.0.0",
    group: Group::Generic,
    flags: READONLY | FAST,
    keys: Keys::read(1),
    doc: "How long a key lives, in seconds; -1 for ever, -2 for no such key. O(1).",
    examples: "> SET k v EX 100\nOK\n> TTL k\n(integer) 100\n> TTL missing\n(integer) -2",
    run: |ctx| remaining(ctx, Base::Now, SECOND),
};

/// What a time is counted from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Base {
    Now,
    Epoch,
}

fn expire(ctx: &mut Ctx<'_, '_>, base: Base, unit_ms: i64) -> Outcome {
    let Ctx { args, db, out, row, config, .. } = ctx;
    let key = args.key(1);
    let conditions = Conditions::read(args)?;
    let base_ms = if base == Base::Now { db.now() } else { 0 };
    let at = args.int(2)?.checked_mul(unit_ms).and_then(|ms| ms.checked_add(base_ms));
    let at =
        at.ok_or_else(|| Error::owned(format!("ERR invalid expire time in '{}' command", row.command.full_name())))?;
    let Some(current) = db.inspect(key).map(|entry| entry.expiry()) else { return out.int(0) };
    if !conditions.hold(current, at) {
        return out.int(0);
    }
    if at <= db.now() && db.mode.removes_due() {
        db.remove(key);
        let lazy = config.lazyfree_lazy_expire;
        ctx.propagate_removal(key, lazy);
        return ctx.out.int(1);
    }
    db.set_expiry(key, Some(at), "expire");
    out.int(1)?;
    if base == Base::Now || unit_ms != 1 || args.len() > 3 {
        // Without the condition, which held: replicas before 7.0 know none.
        ctx.propagate(&[b"PEXPIREAT", key, itoa::Buffer::new().format(at).as_bytes()]);
    }
    Ok(())
}

/// NX, XX, GT, LT.
#[derive(Default)]
struct Conditions {
    absent: bool,
    present: bool,
    greater: bool,
    less: bool,
}

impl Conditions {
    fn read(args: &Args<'_>) -> Result<Self, Error> {
        let mut conditions = Self::default();
        for option in args.from(3) {
            match &*args::Word::of(option) {
                b"NX" => conditions.absent = true,
                b"XX" => conditions.present = true,
                b"GT" => conditions.greater = true,
                b"LT" => conditions.less = true,
                _ => return Err(Error::owned([b"ERR Unsupported option ", option].concat())),
            }
        }
        let Self { absent, present, greater, less } = conditions;
        if absent && (present || greater || less) {
            return Err(NX_WITH_OTHERS);
        }
        if greater && less { Err(GT_WITH_LT) } else { Ok(conditions) }
    }

    /// No expiry counts as later than any time.
    fn hold(&self, current: Option<Millis>, at: Millis) -> bool {
        !(self.absent && current.is_some()
            || self.present && current.is_none()
            || self.greater && current.is_none_or(|current| at <= current)
            || self.less && current.is_some_and(|current| at >= current))
    }
}

fn remaining(ctx: &mut Ctx<'_, '_>, base: Base, unit_ms: i64) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let at = match db.expiry(args.key(1)) {
        None => return out.int(-2),
        Some(None) => return out.int(-1),
        Some(Some(at)) => at,
    };
    let ms = if base == Base::Now { at.saturating_sub(db.now()) } else { at }.max(0);
    // Rounded to the nearest, without the overflow of adding first.
    out.int(ms / unit_ms + i64::from(ms % unit_ms * 2 >= unit_ms))
}

const SECOND: i64 = 1000;
const NX_WITH_OTHERS: Error = Error::new("ERR NX and XX, GT or LT options at the same time are not compatible");
const GT_WITH_LT: Error = Error::new("ERR GT and LT options at the same time are not compatible");
