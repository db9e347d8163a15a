//! XADD, and what it knows of entries that a producer added before.
//!
//! A producer that tries again (IDMP with a name of its own, IDMPAUTO with the fields for one) gets the first entry's id, and
//! nothing changes. To the log such an entry is an XADD with its id and an XIDMPRECORD, which Redis knows from 8.6.2 on.

use super::ids::{self, New};
use super::trim::{self, Left, Options, Trimmed};
use crate::checksum::xxh3_64;
use crate::command::error::NO_SUCH_KEY;
use crate::command::*;
use crate::types::stream::{Id, Limits, Stream};
use smallvec::SmallVec;
use std::borrow::Cow;

pub const XADD: Command = Command {
    name: "XADD",
    args: "key [NOMKSTREAM@6.2.0] [condition: KEEPREF | DELREF | ACKED] [idempotence: <manual: IDMP@8.6.0 pid:string iid:string> | <auto: IDMPAUTO@8.6.0 pid:string>] [trim: <strategy: MAXLEN | MINID@6.2.0> [operator: equal: = | approximately: ~] threshold [LIMIT@6.2.0 count]] <id-selector: auto-id: * | id:string> field value [field value ...]",
    arity: -5,
    since: "5.0.0",
    group: Group::Stream,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::write(1).noted("UPDATE instead of INSERT because of the optional trimming feature"),
    doc: "Appends an entry under an id: `*` for the clock's, `ms-*` for the next number within a millisecond. O(1), and O(N) in the entries that trimming deletes.",
    examples: "> XADD s 1-1 sensor 7 t 20.5\n\"1-1\"\n> XADD s 1-* sensor 7 t 21\n\"1-2\"\n> XADD s 1-1 sensor 7 t 22\n(error) ERR The ID specified in XADD is equal or smaller than the target stream top item\n> XADD s MAXLEN 1 2 sensor 7 t 23\n\"2-0\"\n> XLEN s\n(integer) 1",
    run: xadd,
};

/// What stands in front of the fields.
struct Request {
    options: Options,
    make: bool,
    new: New,
    /// The id's argument.
    at: usize,
    name: Option<Name>,
}

/// What a producer calls an entry.
struct Name {
    /// The option's argument, behind which the producer's stands.
    at: usize,
    /// The fields are the name.
    auto: bool,
}

impl Name {
    /// The arguments that say it.
    fn args(&self) -> std::ops::Range<usize> {
        self.at..self.at + if self.auto { 2 } else { 3 }
    }
}

fn xadd(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let request = parse(ctx)?;
    let max = ctx.config.stream_max();
    let Ctx { args, db, out, .. } = ctx;
    let (key, now) = (args.key(1), db.now());
    let pairs: SmallVec<[(&[u8], &[u8]); PAIRS_ROOM]> = args.pairs(request.at + 1).collect();
    let last = match db.look::<Stream>(key)? {
        Some(stream) => stream.last_id(),
        None if !request.make => return out.null(),
        None => Id::ZERO,
    };
    let named = request.name.as_ref().map(|name| (args.get(name.at + 1), iid(args, name, &pairs)));
    if let Some((pid, iid)) = &named
        && let Some(stream) = db.look::<Stream>(key)?
        && let Some(known) = stream.idempotence().and_then(|known| known.find(pid, iid, now))
    {
        if let Some(mut stream) = db.edit::<Stream>(key)? {
            stream.idempotence_mut(ctx.config.stream_idmp()).duplicates += 1;
        }
        ids::put(out, known);
        ctx.propagate_nothing();
        return Ok(());
    }
    let id = chosen(request.new, last, now)?;
    let mut stream = db.upsert::<Stream>(key)?;
    stream.append(id, &pairs, max).map_err(|_| TOO_LARGE)?;
    if let Some((pid, iid)) = &named {
        stream.idempotence_mut(ctx.config.stream_idmp()).record(pid, iid, id, now);
    }
    stream.changed("xadd");
    let mut trimmed = Trimmed::default();
    if let Some(wanted) = &request.options.trim {
        trimmed = trim::trim(&mut stream, wanted, request.options.pending);
        if trimmed.count > 0 {
            stream.notify("xtrim");
        }
    }
    let left = Left::of(&stream);
    drop(stream);
    ids::put(out, id);
    propagate(ctx, &request, id, &trimmed, left);
    if let Some((pid, iid)) = named {
        ctx.propagate_newer(&[b"XIDMPRECORD", key, pid, &iid, &id.text()]);
    }
    Ok(())
}

/// A producer's name for an entry.
fn iid<'a>(args: &Args<'a>, name: &Name, pairs: &[(&[u8], &[u8])]) -> Cow<'a, [u8]> {
    if !name.auto {
        return Cow::Borrowed(args.get(name.at + 2));
    }
    let mut said = Vec::new();
    for text in pairs.iter().flat_map(|(field, value)| [field, value]) {
        said.extend((text.len() as u64).to_le_bytes());
        said.extend_from_slice(text);
    }
    Cow::Owned(format!("{:016x}", xxh3_64(&said)).into_bytes())
}

fn parse(ctx: &mut Ctx<'_, '_>) -> Result<Request, Error> {
    let node_entries = ctx.config.stream_node_max_entries;
    let Ctx { args, session, .. } = ctx;
    let (mut options, mut make, mut name) = (Options::default(), true, None);
    args.skip_to(2);
    let new = loop {
        let text = args.get(args.cursor());
        if text == b"*" {
            break New::Now;
        }
        if !args.is_done() && options.take(args)? {
            continue;
        }
        if args.word_at(args.cursor()).eq(b"NOMKSTREAM") {
            args.shift();
            make = false;
            continue;
        }
        let auto = args.word_at(args.cursor()).eq(b"IDMPAUTO");
        if auto || args.word_at(args.cursor()).eq(b"IDMP") {
            let named = Name { at: args.cursor(), auto };
            if name.is_some() || args.left() < named.args().len() {
                return Err(error::SYNTAX);
            }
            args.skip_to(named.args().end);
            name = Some(named);
            continue;
        }
        if args.is_done() {
            return Err(error::wrong_arity("xadd"));
        }
        break ids::new(text)?;
    };
    options.finish(false, session.is_replayed(), node_entries)?;
    let at = args.cursor();
    let fields = args.len() - at - 1;
    if fields < 2 || fields % 2 == 1 {
        return Err(error::wrong_arity("xadd"));
    }
    if new == New::Exactly(Id::ZERO) {
        return Err(ZERO_ID);
    }
    if name.is_some() && new != New::Now {
        return Err(NAMED_ID);
    }
    Ok(Request { options, make, new, at, name })
}

/// The id that an entry gets.
fn chosen(new: New, last: Id, now: i64) -> Result<Id, Error> {
    if last == Id::MAX {
        return Err(EXHAUSTED);
    }
    let id = match new {
        New::Now => {
            let clock = Id::new(now.max(0) as u64, 0);
            if clock > last { Some(clock) } else { last.next() }
        }
        New::In(ms) if ms == last.ms => last.seq.checked_add(1).map(|seq| Id::new(ms, seq)),
        New::In(ms) => Some(Id::new(ms, 0)),
        New::Exactly(id) => Some(id),
    };
    id.filter(|id| *id > last).ok_or(TOO_SMALL)
}

/// The entry with its id; what `~` trimmed as what is left; with a condition, the trimming as a command of its own.
fn propagate(ctx: &mut Ctx<'_, '_>, request: &Request, id: Id, trimmed: &Trimmed, left: Left) {
    let (trim, told) = (request.options.trim, matches!(request.new, New::Exactly(_)));
    let about = trim.is_some_and(|trim| trim.about);
    if !ctx.node.journal.records() || told && !about && !request.options.has_condition() {
        return;
    }
    let (view, text) = (ctx.args.view(), id.text());
    let key = view.get(1);
    if request.options.has_condition() {
        let fields = view.iter().skip(request.at + 1);
        let args: Vec<&[u8]> = [b"XADD", key, &text].into_iter().chain(fields).collect();
        ctx.propagate(&args);
        if let Some(wanted) = trim.filter(|_| trimmed.count > 0) {
            trim::propagate_trimmed(ctx, key, wanted.keep, trimmed, left);
        }
        return;
    }
    let (mut args, threshold): (Vec<&[u8]>, _) =
        (view.iter().collect(), trim.map(|wanted| left.threshold(wanted.keep)));
    args[request.at] = &text;
    if let (Some(wanted), Some(threshold)) = (trim.filter(|trim| trim.about), &threshold) {
        (args[wanted.at - 1], args[wanted.at]) = (b"=", threshold);
    }
    if let Some(name) = &request.name {
        args.drain(name.args());
    }
    ctx.propagate(&args);
}

pub const XIDMPRECORD: Command = Command {
    name: "XIDMPRECORD",
    args: "key pid:string iid:string id:string",
    arity: 5,
    since: "8.6.2",
    group: Group::Stream,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::write(1),
    doc: "States that a producer added an entry under a name: what a log needs to know it again. O(1).",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XIDMPRECORD s p one 1-1\nOK\n> XIDMPRECORD none p one 1-1\n(error) ERR no such key",
    run: record,
};

fn record(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let (id, now) = (ids::exact(args.get(4), 0)?, db.now());
    let mut stream = db.edit::<Stream>(args.key(1))?.ok_or(NO_SUCH_KEY)?;
    stream.idempotence_mut(config.stream_idmp()).record(args.get(2), args.get(3), id, now);
    stream.changed_aside("", 1);
    out.ok()
}

pub const XCFGSET: Command = Command {
    name: "XCFGSET",
    args: "key [IDMP-DURATION seconds] [IDMP-MAXSIZE count]",
    arity: -2,
    since: "8.6.0",
    group: Group::Stream,
    flags: WRITE | FAST,
    keys: Keys::write(1),
    doc: "Sets for how many seconds, and of how many entries of one producer, a stream knows what it was sent before; another setting forgets what it knows. O(1).",
    examples: "> XADD s IDMP p one 1-1 f v\n(error) ERR IDMP and IDMPAUTO can only be used with an auto-generated ID\n> XADD s 1-1 f v\n\"1-1\"\n> XCFGSET s IDMP-DURATION 300 IDMP-MAXSIZE 1000\nOK\n> XCFGSET s IDMP-DURATION 0\n(error) ERR invalid duration\n> XCFGSET s IDMP-MAXSIZE 10001\n(error) ERR invalid maxsize\n> XCFGSET none IDMP-MAXSIZE 10\n(error) ERR no such key",
    run: configure,
};

fn configure(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let (mut duration, mut size) = (None, None);
    args.skip_to(2);
    while let Some(word) = args.word() {
        let number = |args: &mut Args<'_>, max: u32, wrong: Error| {
            let number = args.required_int().ok().and_then(|number| u32::try_from(number).ok());
            number.filter(|number| (1..=max).contains(number)).ok_or(wrong)
        };
        match &*word {
            b"IDMP-DURATION" if !args.is_done() => duration = Some(number(args, DURATION_MAX, BAD_DURATION)?),
            b"IDMP-MAXSIZE" if !args.is_done() => size = Some(number(args, SIZE_MAX, BAD_SIZE)?),
            _ => return Err(error::SYNTAX),
        }
    }
    if duration.is_none() && size.is_none() {
        return Err(error::SYNTAX);
    }
    let mut stream = db.edit::<Stream>(args.key(1))?.ok_or(NO_SUCH_KEY)?;
    let known = stream.idempotence_mut(config.stream_idmp());
    let Limits { duration: old_duration, size: old_size } = known.limits;
    known.set_limits(Limits { duration: duration.unwrap_or(old_duration), size: size.unwrap_or(old_size) });
    stream.changed_aside("", 1);
    drop(stream);
    out.ok()?;
    let view = ctx.args.view();
    ctx.propagate_newer(&view.iter().collect::<Vec<_>>());
    Ok(())
}

/// A day.
const DURATION_MAX: u32 = 86_400;
const SIZE_MAX: u32 = 10_000;
const BAD_DURATION: Error = Error::new("ERR invalid duration");
const BAD_SIZE: Error = Error::new("ERR invalid maxsize");
const NAMED_ID: Error = Error::new("ERR IDMP and IDMPAUTO can only be used with an auto-generated ID");
const ZERO_ID: Error = Error::new("ERR The ID specified in XADD must be greater than 0-0");
const TOO_SMALL: Error = Error::new("ERR The ID specified in XADD is equal or smaller than the target stream top item");
const EXHAUSTED: Error = Error::new("ERR The stream has exhausted the last possible ID, unable to add more items");
const TOO_LARGE: Error = Error::new("ERR Elements are too large to be stored");
/// Fields of an entry without an allocation.
const PAIRS_ROOM: usize = 8;
