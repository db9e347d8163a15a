//! XREAD, and the arguments that it shares with XREADGROUP.

use super::ids;
use crate::command::ctx::Reply;
use crate::command::error::{NOT_INT, SYNTAX};
use crate::command::keys::{Begin, Find, Spec};
use crate::command::waiting::Wait;
use crate::command::*;
use crate::num;
use crate::resp::{Argv, ArgvView};
use crate::types::stream::{Id, Stream};

pub const XREAD: Command = Command {
    name: "XREAD",
    args: "[COUNT count] [BLOCK milliseconds] <streams: STREAMS key [key ...] id:string [id:string ...]>",
    arity: -4,
    since: "5.0.0",
    group: Group::Stream,
    flags: READONLY | BLOCKING | MOVABLE_KEYS,
    keys: keys_of(1),
    doc: "Entries of several streams behind an id each, `$` for those that are to come, `+` for the last one; with BLOCK waits for the first so many milliseconds, 0 for ever. O(M) in those answered.",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XREAD STREAMS s 0\n1) 1) \"s\"\n   2) 1) 1) \"1-1\"\n         2) 1) \"f\"\n            2) \"v\"\n> XREAD BLOCK 10 STREAMS s $\n(nil)",
    run: read,
};

/// Keys behind the word STREAMS, which is found as the handler finds it: a group or a consumer may have that name.
pub const fn keys_of(from: i32) -> Keys {
    let spec = Spec {
        begin: Begin::Keyword("STREAMS", from),
        find: Find::Range { last: -1, step: 1, limit: 2 },
        flags: keys::RO | keys::ACCESS,
        notes: None,
    };
    Keys::spec(spec).found_by(find_keys)
}

fn find_keys(argv: ArgvView<'_>, visit: &mut dyn FnMut(usize, u16)) {
    let mut i = 1;
    while i < argv.len() {
        match &*args::Word::of(argv.get(i)) {
            b"STREAMS" => {
                let count = (argv.len() - i - 1) / 2;
                return (i + 1..=i + count).for_each(|key| visit(key, keys::RO | keys::ACCESS));
            }
            b"NOACK" => i += 1,
            b"GROUP" => i += 3,
            _ => i += 2,
        }
    }
}

/// What both commands are asked for.
#[derive(Default)]
pub struct Request<'a> {
    pub group: Option<(&'a [u8], &'a [u8])>,
    /// Entries of each stream.
    pub count: Option<usize>,
    pub patience: Option<Patience>,
    pub noack: bool,
    /// Pending entries idle for so long are read first.
    pub claim: Option<i64>,
    /// Over all streams: entries, and bytes of the reply.
    pub caps: Caps,
    /// The argument of the first key, and how many keys there are.
    pub first: usize,
    pub streams: usize,
}

/// What one call may answer at most, but for one entry.
#[derive(Clone, Copy)]
pub struct Caps {
    pub entries: usize,
    pub bytes: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self { entries: usize::MAX, bytes: usize::MAX }
    }
}

impl<'a> Request<'a> {
    /// `in_group`: the command is XREADGROUP.
    pub fn parse(args: &mut Args<'a>, now: i64, in_group: bool) -> Result<Self, Error> {
        let mut request = Self::default();
        args.skip_to(1);
        while let Some(word) = args.word() {
            match &*word {
                b"BLOCK" if !args.is_done() => {
                    request.patience = Some(Patience::from_millis(args.required()?, now)?);
                }
                b"COUNT" if !args.is_done() => {
                    request.count = usize::try_from(args.required_int()?).ok().filter(|n| *n > 0)
                }
                b"MAXCOUNT" if !args.is_done() => request.caps.entries = cap(args)?,
                b"MAXSIZE" if !args.is_done() => request.caps.bytes = cap(args)?,
                b"CLAIM" if in_group && !args.is_done() => {
                    request.claim = Some(args.required_int()?).map(|ms| ms.max(0))
                }
                b"STREAMS" if !args.is_done() => {
                    request.first = args.cursor();
                    if args.left() % 2 == 1 {
                        return Err(if in_group { UNBALANCED_GROUP } else { UNBALANCED });
                    }
                    request.streams = args.left() / 2;
                    break;
                }
                b"GROUP" if args.left() >= 2 => {
                    if !in_group {
                        return Err(GROUP_ALONE);
                    }
                    request.group = Some((args.required()?, args.required()?));
                }
                b"NOACK" if !in_group => return Err(NOACK_ALONE),
                b"NOACK" => request.noack = true,
                _ => return Err(SYNTAX),
            }
        }
        match request.first {
            0 => Err(SYNTAX),
            _ if in_group && request.group.is_none() => Err(NO_GROUP_TOLD),
            _ => Ok(request),
        }
    }

    /// The id that belongs to a key, by the key's number.
    pub fn id<'b>(&self, args: &Args<'b>, i: usize) -> &'b [u8] {
        args.get(self.first + self.streams + i)
    }

    /// Entries that may still be answered of the next stream.
    pub fn room(&self, answered: usize, bytes: usize) -> usize {
        if answered > 0 && bytes >= self.caps.bytes {
            return 0;
        }
        self.count.unwrap_or(usize::MAX).min(self.caps.entries.saturating_sub(answered))
    }
}

fn cap(args: &mut Args<'_>) -> Result<usize, Error> {
    let cap = num::parse_i64(args.required()?).ok_or(NOT_INT)?;
    usize::try_from(cap).ok().filter(|cap| *cap > 0).ok_or(error::NOT_POSITIVE)
}

/// Begins one stream's part of the reply.
pub fn begin_stream(out: &mut Reply<'_>, key: &[u8]) {
    if out.0.proto == crate::resp::Proto::Resp2 {
        out.0.array(2);
    }
    out.0.bulk(key);
}

/// The streams that had something, in front of what was written of them.
pub fn end_streams(out: &mut Reply<'_>, hole: crate::resp::Hole, streams: usize) -> Outcome {
    match out.0.proto {
        crate::resp::Proto::Resp2 => out.0.fill_array(hole, streams),
        crate::resp::Proto::Resp3 => out.0.fill_map(hole, streams),
    }
    Ok(())
}

fn read(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let request = Request::parse(args, db.now(), false)?;
    let mut behind = Vec::new();
    for i in 0..request.streams {
        let (key, text) = (args.key(request.first + i), request.id(args, i));
        let stream = db.read::<Stream>(key)?;
        behind.push(match text {
            b"$" => stream.map_or(Id::ZERO, Stream::last_id),
            // The last entry itself is to be answered.
            b"+" => stream.and_then(Stream::top).and_then(Id::prev).unwrap_or_default(),
            b">" => return Err(NEW_ALONE),
            text => ids::exact(text, 0)?,
        });
    }
    let (hole, start) = (out.0.later(), out.0.buf.len());
    let (mut streams, mut answered) = (0, 0);
    for (i, id) in behind.iter().enumerate() {
        let key = args.key(request.first + i);
        let (room, Some(from)) = (request.room(answered, out.0.buf.len() - start), id.next()) else { continue };
        let Some(stream) = db.look::<Stream>(key)? else { continue };
        let mut entries = stream.range(from, Id::MAX).take(room).peekable();
        if entries.peek().is_none() {
            continue;
        }
        begin_stream(out, key);
        answered += put_within(out, entries, start, answered, request.caps);
        streams += 1;
    }
    if streams > 0 {
        return end_streams(out, hole, streams);
    }
    wait_or_null(ctx, request.patience, &behind, request.first + request.streams)
}

/// Answers entries until the reply is long enough; how many.
fn put_within<'a>(
    out: &mut Reply<'_>,
    entries: impl Iterator<Item = crate::types::stream::Entry<'a>>,
    start: usize,
    before: usize,
    caps: Caps,
) -> usize {
    let (hole, mut count) = (out.0.later(), 0);
    for entry in entries {
        if before + count > 0 && out.0.buf.len() - start >= caps.bytes {
            break;
        }
        ids::put_entry(out, &entry);
        count += 1;
    }
    out.0.fill_array(hole, count);
    count
}

/// Waits for what comes behind the ids of now; `at` is the first id's argument.
fn wait_or_null(ctx: &mut Ctx<'_, '_>, patience: Option<Patience>, behind: &[Id], at: usize) -> Outcome {
    let Some(patience) = patience.filter(|_| ctx.may_wait()) else { return ctx.out.null_array() };
    let texts: Vec<_> = behind.iter().map(|id| id.text()).collect();
    let argv = Argv::of((0..at).map(|i| ctx.args.get(i)).chain(texts.iter().map(|text| &**text)));
    ctx.wait(Wait { argv: Some(argv), ..Wait::keys(patience) })
}

const UNBALANCED: Error =
    Error::new("ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified.");
const UNBALANCED_GROUP: Error =
    Error::new("ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified.");
const GROUP_ALONE: Error =
    Error::new("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.");
const NOACK_ALONE: Error =
    Error::new("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.");
const NO_GROUP_TOLD: Error = Error::new("ERR Missing GROUP option for XREADGROUP");
const NEW_ALONE: Error =
    Error::new("ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_a_word_of_the_command() {
        let keys = |line: &str| {
            let (argv, mut found) = (Argv::of(line.split(' ')), Vec::new());
            keys_of(1).for_each(argv.view(), &mut |i, _| found.push(i));
            found
        };
        assert_eq!(keys("XREAD COUNT 1 STREAMS a b 0 0"), [4, 5]);
        assert_eq!(keys("XREADGROUP GROUP STREAMS STREAMS NOACK STREAMS s >"), [6]);
        assert_eq!(keys("XREADGROUP COUNT 5 GROUP g STREAMS BLOCK 0 STREAMS STREAMS >"), [9]);
        assert_eq!(keys("XREAD STREAMS"), [] as [usize; 0]);
    }
}
