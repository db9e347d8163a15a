//! Trimming: XTRIM, and the options that XADD shares with it.
//!
//! What was trimmed approximately is propagated exactly: to as many entries, or from the first id, that are left. How
//! entries go that a group has pending is told by a word: KEEPREF leaves them pending, DELREF takes them out of every
//! group, ACKED lets only those go that all groups have read and acknowledged. The last two look at each entry, and with
//! `~` trim nothing, as Redis 8.2 does; they are propagated as what became of each.

use super::ids;
use crate::command::error::{NOT_INT, SYNTAX};
use crate::command::*;
use crate::keyspace::Edit;
use crate::num;
use crate::types::Value;
use crate::types::stream::{Id, Keep, Stream};

pub const XTRIM: Command = Command {
    name: "XTRIM",
    args: "key <trim: <strategy: MAXLEN | MINID@6.2.0> [operator: equal: = | approximately: ~] threshold [LIMIT@6.2.0 count] [condition: KEEPREF | DELREF | ACKED]>",
    arity: -4,
    since: "5.0.0",
    group: Group::Stream,
    flags: WRITE,
    keys: Keys::one(1, keys::RW | keys::DELETE),
    doc: "Deletes the first entries: all but the last so many, or those below an id; with `~` only what goes cheaply. O(N) in those deleted.",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XADD s 2-1 f w\n\"2-1\"\n> XTRIM s MAXLEN 1\n(integer) 1\n> XTRIM s MINID ~ 5\n(integer) 1\n> XLEN s\n(integer) 0",
    run: xtrim,
};

/// What becomes of entries that groups have pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pending {
    #[default]
    Keep,
    Release,
    /// Only entries go that no group has to read or acknowledge.
    Respect,
}

impl Pending {
    pub fn of(word: &[u8]) -> Option<Self> {
        match word {
            b"KEEPREF" => Some(Self::Keep),
            b"DELREF" => Some(Self::Release),
            b"ACKED" => Some(Self::Respect),
            _ => None,
        }
    }
}

/// How much is to be trimmed.
#[derive(Clone, Copy)]
pub struct Trim {
    pub keep: Keep,
    pub about: bool,
    /// Entries that one call may delete; 0 for any number.
    pub limit: u64,
    /// The argument that says how much to keep.
    pub at: usize,
}

/// The options in front of XADD's id, or all of XTRIM's.
#[derive(Default)]
pub struct Options {
    pub trim: Option<Trim>,
    pub pending: Pending,
    pending_told: bool,
    limit: Option<i64>,
}

impl Options {
    /// A word told what becomes of pending entries.
    pub fn has_condition(&self) -> bool {
        self.pending_told
    }

    /// Takes the option at the cursor, if it is one of these.
    pub fn take(&mut self, args: &mut Args<'_>) -> Result<bool, Error> {
        let (word, more) = (args.word_at(args.cursor()), args.left() > 1);
        match &*word {
            b"MAXLEN" | b"MINID" if more => {
                if self.trim.is_some() {
                    return Err(TWO_STRATEGIES);
                }
                args.shift();
                let about = args.get(args.cursor()) == b"~";
                if args.left() > 1 && (about || args.get(args.cursor()) == b"=") {
                    args.shift();
                }
                let (at, text) = (args.cursor(), args.required()?);
                let keep = if &*word == b"MAXLEN" {
                    let count = num::parse_i64(text).ok_or(NOT_INT)?;
                    Keep::Newest(u64::try_from(count).map_err(|_| NEGATIVE_MAXLEN)?)
                } else {
                    Keep::From(ids::exact(text, 0)?)
                };
                self.trim = Some(Trim { keep, about, limit: 0, at });
            }
            b"LIMIT" if more => {
                args.shift();
                let limit = args.required_int()?;
                self.limit = Some(limit).filter(|limit| *limit >= 0);
                self.limit.ok_or(NEGATIVE_LIMIT)?;
            }
            word => match Pending::of(word) {
                Some(pending) if !self.pending_told => {
                    args.shift();
                    (self.pending, self.pending_told) = (pending, true);
                }
                _ => return Ok(false),
            },
        }
        Ok(true)
    }

    /// Behind the last option: `required` if there must be a strategy, `replayed` if the log is being read.
    pub fn finish(&mut self, required: bool, replayed: bool, node_entries: usize) -> Result<(), Error> {
        let Some(trim) = &mut self.trim else {
            return match self.limit {
                Some(1..) => Err(LIMIT_ALONE),
                _ if required => Err(NO_STRATEGY),
                _ => Ok(()),
            };
        };
        if replayed {
            // What stands there is what was trimmed.
            return Ok(());
        }
        trim.limit = match (self.limit, trim.about) {
            (Some(_), false) => return Err(LIMIT_EXACT),
            (Some(limit), true) => limit.unsigned_abs(),
            (None, false) => 0,
            (None, true) => match node_entries.saturating_mul(NODES_PER_CALL) {
                0 => LIMIT_DEFAULT,
                limit => (limit as u64).min(LIMIT_MAX),
            },
        };
        Ok(())
    }
}

/// What trimming did.
#[derive(Default)]
pub struct Trimmed {
    pub count: u64,
    /// Pending entries that were taken out of groups: of each group, by its name.
    released: Vec<(Vec<u8>, Vec<Id>)>,
    /// Entries that went one by one, others perhaps staying between them.
    singly: Vec<Id>,
}

/// Trims a stream.
pub fn trim(stream: &mut Edit<'_, '_, Stream>, trim: &Trim, pending: Pending) -> Trimmed {
    let mut done = Trimmed::default();
    match pending {
        Pending::Keep => {}
        _ if trim.about => return done,
        Pending::Release => {
            let ids: Vec<Id> = stream.trimmed(trim.keep).collect();
            done.released = release(stream, &ids);
        }
        Pending::Respect => {
            let free: Vec<Id> = stream.trimmed(trim.keep).filter(|id| !stream.is_referenced(*id)).collect();
            free.iter().for_each(|id| _ = stream.delete(*id));
            stream.deleted(Id::ZERO);
            return Trimmed { count: free.len() as u64, singly: free, ..done };
        }
    }
    let (count, taken) = stream.trim(trim.keep, trim.about, trim.limit);
    if let Some(taken) = taken {
        stream.discard(Value::Stream(taken));
    }
    done.count = count;
    done
}

/// Takes entries out of what all groups have pending; those of each group that had some.
pub fn release(stream: &mut Stream, ids: &[Id]) -> Vec<(Vec<u8>, Vec<Id>)> {
    let names: Vec<Vec<u8>> =
        stream.groups().filter(|(_, group)| group.pending() > 0).map(|(name, _)| name.to_vec()).collect();
    let mut released = Vec::new();
    for name in names {
        let Some(group) = stream.group_mut(&name) else { continue };
        let gone: Vec<Id> = ids.iter().copied().filter(|id| group.release(*id).is_some()).collect();
        if !gone.is_empty() {
            released.push((name, gone));
        }
    }
    released
}

/// Propagates a command on a key and ids, some of them at a time.
pub fn propagate_ids(ctx: &mut Ctx<'_, '_>, front: &[&[u8]], ids: &[Id]) {
    for some in ids.chunks(IDS_PER_EFFECT) {
        let texts: Vec<_> = some.iter().map(|id| id.text()).collect();
        let args: Vec<&[u8]> = front.iter().copied().chain(texts.iter().map(|text| &**text)).collect();
        ctx.propagate(&args);
    }
}

/// Propagates the acknowledgements that a deletion with DELREF comes to.
pub fn propagate_released(ctx: &mut Ctx<'_, '_>, key: &[u8], released: &[(Vec<u8>, Vec<Id>)]) {
    released.iter().for_each(|(group, ids)| propagate_ids(ctx, &[b"XACK", key, group], ids));
}

/// What a stream is after it was trimmed.
#[derive(Clone, Copy)]
pub struct Left {
    len: u64,
    first: Id,
}

impl Left {
    pub fn of(stream: &Stream) -> Self {
        Self { len: stream.len(), first: stream.first_id() }
    }

    /// As the argument of an exact strategy.
    pub fn threshold(self, keep: Keep) -> Vec<u8> {
        match keep {
            Keep::Newest(_) => self.len.to_string().into_bytes(),
            Keep::From(_) if self.len == 0 => Id::MAX.text().to_vec(),
            Keep::From(_) => self.first.text().to_vec(),
        }
    }
}

/// Propagates trimming as a command of its own, in words without a condition.
pub fn propagate_trimmed(ctx: &mut Ctx<'_, '_>, key: &[u8], keep: Keep, trimmed: &Trimmed, left: Left) {
    propagate_released(ctx, key, &trimmed.released);
    if trimmed.singly.last().is_none_or(|last| left.len == 0 || *last < left.first) {
        let threshold = left.threshold(keep);
        let strategy: &[u8] = if let Keep::Newest(_) = keep { b"MAXLEN" } else { b"MINID" };
        return ctx.propagate(&[b"XTRIM", key, strategy, b"=", &threshold]);
    }
    // Deleting moves the greatest id deleted, which trimming leaves alone.
    propagate_ids(ctx, &[b"XDEL", key], &trimmed.singly);
    ctx.propagate_counters(key, false);
}

fn xtrim(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let node_entries = ctx.config.stream_node_max_entries;
    let Ctx { args, db, out, session, .. } = ctx;
    let mut options = Options::default();
    args.skip_to(2);
    while !args.is_done() {
        if !options.take(args)? {
            return Err(SYNTAX);
        }
    }
    options.finish(true, session.is_replayed(), node_entries)?;
    let (key, Some(wanted)) = (args.key(1), options.trim) else { return Err(NO_STRATEGY) };
    let Some(mut stream) = db.edit::<Stream>(key)? else { return out.int(0) };
    let trimmed = trim(&mut stream, &wanted, options.pending);
    let left = Left::of(&stream);
    if trimmed.count > 0 {
        stream.changed_by("xtrim", trimmed.count as usize);
    }
    drop(stream);
    out.count(trimmed.count as usize)?;
    if trimmed.count > 0 && (wanted.about || options.has_condition()) {
        propagate_trimmed(ctx, key, wanted.keep, &trimmed, left);
    }
    Ok(())
}

const TWO_STRATEGIES: Error =
    Error::new("ERR syntax error, MAXLEN and MINID options at the same time are not compatible");
const NEGATIVE_MAXLEN: Error = Error::new("ERR The MAXLEN argument must be >= 0.");
const NEGATIVE_LIMIT: Error = Error::new("ERR The LIMIT argument must be >= 0.");
const LIMIT_ALONE: Error = Error::new("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy");
const LIMIT_EXACT: Error = Error::new("ERR syntax error, LIMIT cannot be used without the special ~ option");
const NO_STRATEGY: Error = Error::new("ERR syntax error, XTRIM must be called with a trimming strategy");
/// Redis's default for LIMIT: this many full listpacks, within bounds.
const NODES_PER_CALL: usize = 100;
const LIMIT_DEFAULT: u64 = 10_000;
const LIMIT_MAX: u64 = 1_000_000;
/// Ids in one command of the log.
const IDS_PER_EFFECT: usize = 512;
