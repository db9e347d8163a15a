//! Several fields at once together with their expiry: HGETDEL, HGETEX, HSETEX.

use super::options::{self, Done, Unit};
use crate::clock::Millis;
use crate::command::error::SYNTAX;
use crate::command::*;
use crate::num;
use crate::types::fields::Due;
use crate::types::hash::Hash;
use smallvec::SmallVec;

pub const HGETDEL: Command = Command {
    name: "HGETDEL",
    args: "key FIELDS numfields field [field ...]",
    arity: -5,
    since: "8.0.0",
    group: Group::Hash,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::DELETE),
    doc: "The values of fields, which are then removed. O(1) a field.",
    examples: "> HSET h a 1 b 2\n(integer) 2\n> HGETDEL h FIELDS 2 a missing\n1) \"1\"\n2) (nil)\n> HKEYS h\n1) \"b\"",
    run: hgetdel,
};

fn hgetdel(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.args.key(1);
    let removed = take_fields(ctx, key)?;
    if !removed.is_empty() {
        options::propagate_hdel(ctx, key, &removed);
    }
    Ok(())
}

/// Answers the fields and removes them; those that were there.
fn take_fields<'a>(ctx: &mut Ctx<'a, '_>, key: &[u8]) -> Result<Done<'a>, Error> {
    let Ctx { args, db, out, .. } = ctx;
    let hash = db.edit::<Hash>(key)?;
    let (fields, mut removed) = (options::fields(args, 2)?, Done::new());
    out.array(fields.len());
    let Some(mut hash) = hash else {
        fields.for_each(|_| out.0.null());
        return Ok(removed);
    };
    for field in fields {
        match hash.get(field) {
            Some(value) => out.put(value),
            None => out.0.null(),
        }
        if hash.remove(field) {
            removed.push(field);
        }
    }
    if !removed.is_empty() {
        hash.changed_by("hdel", removed.len());
    }
    Ok(removed)
}

pub const HGETEX: Command = Command {
    name: "HGETEX",
    args: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]",
    arity: -5,
    since: "8.0.0",
    group: Group::Hash,
    flags: WRITE | FAST,
    keys: Keys::one(1, keys::RW | keys::ACCESS | keys::UPDATE).noted("RW and UPDATE because it changes the TTL"),
    doc: "The values of fields, whose expiry is set or cleared. O(1) a field.",
    examples: "> HSET h a 1\n(integer) 1\n> HGETEX h EX 100 FIELDS 2 a missing\n1) \"1\"\n2) (nil)\n> HTTL h FIELDS 1 a\n1) (integer) 100\n> HGETEX h PERSIST FIELDS 1 a\n1) \"1\"\n> HTTL h FIELDS 1 a\n1) (integer) -1",
    run: hgetex,
};

fn hgetex(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let key = ctx.args.key(1);
    match get_and_act(ctx, key)? {
        (_, done) if done.is_empty() => {}
        (Act::Nothing, _) => {}
        (Act::Persist, done) => options::propagate_hpersist(ctx, key, &done),
        (Act::Expire(at), done) => options::propagate_hpexpireat(ctx, key, at, &done),
        (Act::Remove, done) => options::propagate_hdel(ctx, key, &done),
    }
    Ok(())
}

/// Answers the fields; returns what was to be done to them, and those to which it was.
fn get_and_act<'a>(ctx: &mut Ctx<'a, '_>, key: &[u8]) -> Result<(Act, Done<'a>), Error> {
    let Ctx { args, db, out, .. } = ctx;
    let (now, keep_expired) = (db.now(), db.mode.keep_expired);
    let hash = db.edit::<Hash>(key)?;
    let word = args.word_at(2);
    let (act, fields_at) = match Unit::of(&word) {
        Some(unit) => match unit.time(args.get(3), now, "hgetex")? {
            at if at <= now && !keep_expired => (Act::Remove, 4),
            at => (Act::Expire(at), 4),
        },
        None if *word == *b"PERSIST" => (Act::Persist, 3),
        None => (Act::Nothing, 2),
    };
    if args.len() < fields_at + 2 {
        return Err(error::wrong_arity("hgetex"));
    }
    let (fields, mut done) = (options::fields(args, fields_at)?, Done::new());
    out.array(fields.len());
    let Some(mut hash) = hash else {
        fields.for_each(|_| out.0.null());
        return Ok((act, done));
    };
    if matches!(act, Act::Expire(_) | Act::Remove) {
        hash.expect_times();
    }
    for field in fields {
        match hash.get(field) {
            Some(value) => out.put(value),
            None => out.0.null(),
        }
        let did = match act {
            Act::Nothing => false,
            Act::Persist => hash.due(field).flatten().is_some() && hash.set_due(field, None),
            Act::Expire(at) => hash.set_due(field, Some(at)),
            Act::Remove => hash.remove(field),
        };
        if did {
            done.push(field);
        }
    }
    if !done.is_empty() {
        hash.changed_by(act.event(), done.len());
    }
    Ok((act, done))
}

/// What HGETEX does to the fields it answers.
#[derive(Clone, Copy)]
enum Act {
    Nothing,
    Persist,
    Expire(Millis),
    Remove,
}

impl Act {
    fn event(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Persist => "hpersist",
            Self::Expire(_) => "hexpire",
            Self::Remove => "hdel",
        }
    }
}

pub const HSETEX: Command = Command {
    name: "HSETEX",
    args: "key [key-condition@9.1.0: NX | XX] [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field value ...]",
    arity: -6,
    since: "8.0.0",
    group: Group::Hash,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::write(1),
    doc: "Sets fields and their expiry, all or none of them: FNX if none exists, FXX if all do; NX and XX (Valkey's) if the key does not, or does. O(1) a field.",
    examples: "> HSETEX h EX 100 FIELDS 2 a 1 b 2\n(integer) 1\n> HTTL h FIELDS 1 b\n1) (integer) 100\n> HSETEX h FNX FIELDS 2 b 3 c 4\n(integer) 0\n> HGETALL h\n1) \"b\"\n2) \"2\"\n3) \"a\"\n4) \"1\"\n> HSETEX h NX FIELDS 1 c 4\n(integer) 0\n> HSETEX none XX FIELDS 1 c 4\n(integer) 0",
    run: hsetex,
};

fn hsetex(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let (key, now, max) = (args.key(1), db.now(), config.hash_max());
    let options = SetOptions::read(args, now)?;
    let (pairs, set) = (args.pairs(options.pairs_at), args.pairs(options.pairs_at).len());
    if options.key_exists.is_some_and(|wanted| db.exists(key) != wanted) {
        // Of another type it is an error still.
        db.look::<Hash>(key)?;
        return out.int(0);
    }
    let mut hash = db.upsert::<Hash>(key)?;
    if options.when.is_some_and(|present| pairs.clone().any(|(field, _)| hash.get(field).is_some() != present)) {
        return out.int(0);
    }
    out.int(1)?;
    hash.expect_fields(set, max);
    pairs.clone().for_each(|(field, value)| _ = hash.set(field, value, options.due, max));
    match options.due {
        Due::At(at) if at <= now && !hash.keeps_expired() => {
            let removed: Done<'_> = pairs.map(|(field, _)| field).filter(|field| hash.remove(field)).collect();
            hash.notify("hset");
            hash.changed_by("hdel", set);
            drop(hash);
            options::propagate_hdel(ctx, key, &removed);
        }
        due => {
            hash.changed_by("hset", set);
            if let Due::At(_) = due {
                hash.notify("hexpire");
            }
            drop(hash);
            options.propagate(ctx, key);
        }
    }
    Ok(())
}

struct SetOptions {
    /// Whether the key must be there (XX) or must not (NX).
    key_exists: Option<bool>,
    /// Whether the fields must be there (FXX) or must not (FNX).
    when: Option<bool>,
    due: Due,
    /// The argument at which the fields begin.
    pairs_at: usize,
}

impl SetOptions {
    fn read(args: &mut Args<'_>, now: Millis) -> Result<Self, Error> {
        let (mut key_exists, mut when, mut due) = (None, None, Due::Clear);
        args.skip_to(2);
        while let Some(text) = args.shift() {
            let word = args::Word::of(text);
            match &*word {
                b"NX" | b"XX" if key_exists.is_some() => return Err(SYNTAX),
                b"NX" => key_exists = Some(false),
                b"XX" => key_exists = Some(true),
                b"FNX" | b"FXX" if when.is_some() => return Err(CONDITION_TWICE),
                b"FNX" => when = Some(false),
                b"FXX" => when = Some(true),
                b"KEEPTTL" | b"EX" | b"PX" | b"EXAT" | b"PXAT" if due != Due::Clear => return Err(EXPIRY_TWICE),
                b"KEEPTTL" => due = Due::Keep,
                b"FIELDS" => {
                    let pairs_at = args.cursor() + 1;
                    check_pairs(args, pairs_at)?;
                    return Ok(Self { key_exists, when, due, pairs_at });
                }
                word => {
                    let unit =
                        Unit::of(word).ok_or_else(|| Error::owned([b"ERR unknown argument: ", text].concat()))?;
                    due = Due::At(unit.time(args.shift().ok_or_else(wrong_arity)?, now, "hsetex")?);
                }
            }
        }
        Err(wrong_arity())
    }

    /// Propagates the write without its conditions, which held: as HSET, which ends times too, and HPEXPIREAT, which more
    /// servers know; as itself where times are kept.
    fn propagate(&self, ctx: &mut Ctx<'_, '_>, key: &[u8]) {
        let pairs = ctx.args.from(self.pairs_at);
        let front: &[&[u8]] = match self.due {
            Due::Keep => &[b"HSETEX", key, b"KEEPTTL", b"FIELDS", ctx.args.get(self.pairs_at - 1)],
            Due::Clear | Due::At(_) => &[b"HSET", key],
        };
        let said: SmallVec<[&[u8]; 16]> = front.iter().copied().chain(pairs).collect();
        ctx.propagate(&said);
        if let Due::At(at) = self.due {
            let fields: Done<'_> = ctx.args.pairs(self.pairs_at).map(|(field, _)| field).collect();
            options::propagate_hpexpireat(ctx, key, at, &fields);
        }
    }
}

/// Whether as many pairs follow as the argument in front of them says.
fn check_pairs(args: &Args<'_>, pairs_at: usize) -> Result<(), Error> {
    let given = args.len().saturating_sub(pairs_at);
    if given < 2 {
        return Err(wrong_arity());
    }
    let said = num::parse_i64(args.get(pairs_at - 1)).filter(|n| (1..=i64::from(i32::MAX)).contains(n));
    match usize::try_from(said.ok_or(INVALID_COUNT)?) {
        Ok(said) if given == said.saturating_mul(2) => Ok(()),
        _ => Err(wrong_arity()),
    }
}

fn wrong_arity() -> Error {
    error::wrong_arity("hsetex")
}

const CONDITION_TWICE: Error = Error::new("ERR Only one of FXX or FNX arguments can be specified");
const EXPIRY_TWICE: Error = Error::new("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified");
const INVALID_COUNT: Error = Error::new("ERR invalid number of fields");
