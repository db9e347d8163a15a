//! Setting what a stream keeps count of.

use super::ids;
use crate::command::error::{NO_SUCH_KEY, SYNTAX};
use crate::command::*;
use crate::types::stream::{Id, Stream};

pub const XSETID: Command = Command {
    name: "XSETID",
    args: "key last-id:string [ENTRIESADDED@7.0.0 entries-added:integer] [MAXDELETEDID@7.0.0 max-deleted-id:string]",
    arity: -3,
    since: "5.0.0",
    group: Group::Stream,
    flags: WRITE | DENYOOM | FAST,
    keys: Keys::write(1),
    doc: "Sets a stream's last id, how many entries it was ever added, and the greatest id deleted: what a log needs to make it again. O(1).",
    examples: "> XADD s 1-1 f v\n\"1-1\"\n> XSETID s 5-0\nOK\n> XADD s 4-0 f v\n(error) ERR The ID specified in XADD is equal or smaller than the target stream top item",
    run: set_id,
};

fn set_id(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    let last = ids::exact(args.get(2), 0)?;
    let (mut added, mut max_deleted) = (None, Id::ZERO);
    args.skip_to(3);
    while let Some(word) = args.word() {
        match &*word {
            b"ENTRIESADDED" if !args.is_done() => {
                added = Some(u64::try_from(args.required_int()?).map_err(|_| NEGATIVE)?);
            }
            b"MAXDELETEDID" if !args.is_done() => {
                max_deleted = ids::exact(args.required()?, 0)?;
                if last < max_deleted {
                    return Err(BELOW_GIVEN);
                }
            }
            _ => return Err(SYNTAX),
        }
    }
    let Some(mut stream) = db.edit::<Stream>(args.key(1))? else { return Err(NO_SUCH_KEY) };
    if stream.top().is_some_and(|top| last < top) {
        return Err(BELOW_TOP);
    }
    if last < stream.max_deleted() {
        return Err(BELOW_DELETED);
    }
    if added.is_some_and(|added| stream.len() > added) {
        return Err(FEWER);
    }
    stream.set_counters(last, added, Some(max_deleted).filter(|id| !id.is_zero()));
    stream.changed_aside("xsetid", 1);
    drop(stream);
    out.ok()?;
    if args.len() > 3 {
        let (key, id) = (args.get(1), args.get(2));
        ctx.propagate(&[b"XSETID", key, id]);
        ctx.propagate_counters(key, true);
    }
    Ok(())
}

const NEGATIVE: Error = Error::new("ERR entries_added must be positive");
const BELOW_GIVEN: Error =
    Error::new("ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id");
const BELOW_TOP: Error = Error::new("ERR The ID specified in XSETID is smaller than the target stream top item");
const BELOW_DELETED: Error = Error::new("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id");
const FEWER: Error = Error::new("ERR The entries_added specified in XSETID is smaller than the target stream length");
