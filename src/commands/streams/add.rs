//! XADD.

use super::ids::{self, New};
use super::trim::{self, Left, Options, Trimmed};
use crate::command::*;
use crate::types::stream::{Id, Stream};
use smallvec::SmallVec;

pub const XADD: Command = Command {
    name: "XADD",
    args: "key [NOMKSTREAM@6.2.0] [condition: KEEPREF | DELREF | ACKED] [trim: <strategy: MAXLEN | MINID@6.2.0> [operator: equal: = | approximately: ~] threshold [LIMIT@6.2.0 count]] <id-selector: auto-id: * | id:string> field value [field value ...]",
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
    let id = chosen(request.new, last, now)?;
    let mut stream = db.upsert::<Stream>(key)?;
    stream.append(id, &pairs, max).map_err(|_| TOO_LARGE)?;
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
    Ok(())
}

fn parse(ctx: &mut Ctx<'_, '_>) -> Result<Request, Error> {
    let node_entries = ctx.config.stream_node_max_entries;
    let Ctx { args, session, .. } = ctx;
    let (mut options, mut make) = (Options::default(), true);
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
    Ok(Request { options, make, new, at })
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
    ctx.propagate(&args);
}

const ZERO_ID: Error = Error::new("ERR The ID specified in XADD must be greater than 0-0");
const TOO_SMALL: Error = Error::new("ERR The ID specified in XADD is equal or smaller than the target stream top item");
const EXHAUSTED: Error = Error::new("ERR The stream has exhausted the last possible ID, unable to add more items");
const TOO_LARGE: Error = Error::new("ERR Elements are too large to be stored");
/// Fields of an entry without an allocation.
const PAIRS_ROOM: usize = 8;
