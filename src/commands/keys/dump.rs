//! DUMP and RESTORE: one value out and in, in the bytes that any Redis or Valkey reads.

use crate::command::error::SYNTAX;
use crate::command::*;
use crate::keyspace::Stored;
use crate::keyspace::entry::{Body, EntryRef};
use crate::persist::rdb::dump::{self, Refused};
use crate::types::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub const DUMP: Command = Command {
    name: "DUMP",
    args: "key",
    arity: 2,
    since: "2.6.0",
    group: Group::Generic,
    flags: READONLY,
    keys: Keys::read(1),
    doc: "A value in serialized form, for RESTORE. O(N) in its size.",
    examples: "> SET k 10\nOK\n> DUMP k\n\"\\x00\\xc0\\n\\n\\x00n\\x9fWE\\x0e\\xaec\\xbb\"\n> DUMP missing\n(nil)",
    run: |ctx| {
        let Ctx { args, db, out, config, .. } = ctx;
        match db.read_any(args.key(1)) {
            Some(entry) => out.stored(Stored::Block(&Arc::new(dump::dump(&entry.body(), config.rdbcompression)))),
            None => out.null(),
        }
    },
};

pub const RESTORE: Command = Command {
    name: "RESTORE",
    args: "key ttl serialized-value [REPLACE@3.0.0] [ABSTTL@5.0.0] [IDLETIME@5.0.0 seconds] [FREQ@5.0.0 frequency]",
    arity: -4,
    since: "2.6.0",
    group: Group::Generic,
    flags: WRITE | DENYOOM | DANGEROUS,
    keys: Keys::one(1, keys::OW | keys::UPDATE),
    doc: "Makes a key of a value that DUMP gave; `ttl` in milliseconds, 0 for none. O(N) in its size.",
    examples: "> RESTORE k 0 \"\\x00\\xc0\\n\\n\\x00n\\x9fWE\\x0e\\xaec\\xbb\"\nOK\n> GET k\n\"10\"\n> RESTORE k 0 x\n(error) BUSYKEY Target key name already exists.",
    run: restore,
};

pub const RESTORE_ASKING: Command = Command {
    name: "RESTORE-ASKING",
    since: "3.0.0",
    flags: WRITE | DENYOOM | ASKING | DANGEROUS,
    doc: "RESTORE of a key whose slot is on its way to this server: what MIGRATE sends in a cluster. O(N) in its size.",
    examples: "> RESTORE-ASKING k 0 \"\\x00\\xc0\\n\\n\\x00n\\x9fWE\\x0e\\xaec\\xbb\"\nOK\n> GET k\n\"10\"",
    ..RESTORE
};

#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_seconds: Option<i64>,
    frequency: Option<i64>,
}

fn restore(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let options = parse(&mut ctx.args)?;
    let Ctx { args, db, out, config, node, .. } = ctx;
    let key = args.key(1);
    if !options.replace && db.kind(key).is_some() {
        return Err(BUSY_KEY);
    }
    let ttl = args.int_in(2, i64::MIN..=i64::MAX, error::NOT_INT)?;
    if ttl < 0 {
        return Err(BAD_TTL);
    }
    let checked = !node.rdb.skips_checksums.load(Relaxed);
    let content = dump::restore(args.get(3), config, checked).map_err(|refused| match refused {
        Refused::Footer => BAD_FOOTER,
        Refused::Format(cause) => {
            crate::log::warning!("Bad data format in RESTORE: {cause}");
            BAD_FORMAT
        }
    })?;
    let expiry = match (ttl, options.absolute) {
        (0, _) => None,
        (at, true) => Some(at),
        (ttl, false) => Some(db.now().checked_add(ttl).ok_or(BAD_TTL)?),
    };
    let had = options.replace && db.remove(key);
    if expiry.is_some_and(|at| at <= db.now() && db.mode.removes_due()) {
        if had {
            let lazy = ctx.config.lazyfree_lazy_server_del;
            ctx.propagate_removal(key, lazy);
        }
        return ctx.out.ok();
    }
    if !content.put(db, key, expiry, "restore") {
        return Err(BAD_FORMAT);
    }
    if had {
        // Two statements of one change.
        db.changes.dirty -= 1;
    }
    if let Some(seconds) = options.idle_seconds {
        db.set_idle(key, seconds);
    }
    if let Some(frequency) = options.frequency {
        db.set_frequency(key, frequency);
    }
    out.ok()?;
    propagate(ctx, expiry, options.absolute);
    Ok(())
}

fn parse(args: &mut Args<'_>) -> Result<Options, Error> {
    let mut options = Options::default();
    args.skip_to(4);
    while let Some(word) = args.word() {
        match &*word {
            b"REPLACE" => options.replace = true,
            b"ABSTTL" => options.absolute = true,
            b"IDLETIME" if !args.is_done() && options.frequency.is_none() => {
                options.idle_seconds = Some(args.required_int()?).filter(|&n| n >= 0);
                options.idle_seconds.ok_or(BAD_IDLETIME)?;
            }
            b"FREQ" if !args.is_done() && options.idle_seconds.is_none() => {
                options.frequency = Some(args.required_int()?).filter(|n| (0..=255).contains(n));
                options.frequency.ok_or(BAD_FREQUENCY)?;
            }
            _ => return Err(SYNTAX),
        }
    }
    Ok(options)
}

/// A time to live becomes a time, and the payload one that every replica reads, behind which come a stream's counters.
fn propagate(ctx: &mut Ctx<'_, '_>, expiry: Option<i64>, absolute: bool) {
    if !ctx.node.journal.records() {
        return;
    }
    let (mut digits, view, compress) = (itoa::Buffer::new(), ctx.args.view(), ctx.config.rdbcompression);
    let mut args: Vec<&[u8]> = view.iter().collect();
    let entry = ctx.db.inspect(args[1]);
    let is_stream = |entry: &EntryRef<'_>| matches!(entry.body(), Body::Value(Value::Stream(_)));
    let counts = entry.as_ref().is_some_and(is_stream);
    let payload = entry.and_then(|entry| dump::lowered(args[3], &entry.body(), compress));
    let at = expiry.filter(|_| !absolute);
    if payload.is_none() && at.is_none() {
        return;
    }
    if let Some(payload) = &payload {
        args[3] = payload;
    }
    if let Some(at) = at {
        args[2] = digits.format(at).as_bytes();
        args.push(b"ABSTTL");
    }
    ctx.propagate(&args);
    if payload.is_some() && counts {
        ctx.propagate_counters(args[1], true);
    }
}

const BUSY_KEY: Error = Error::new("BUSYKEY Target key name already exists.");
const BAD_TTL: Error = Error::new("ERR Invalid TTL value, must be >= 0");
const BAD_IDLETIME: Error = Error::new("ERR Invalid IDLETIME value, must be >= 0");
const BAD_FREQUENCY: Error = Error::new("ERR Invalid FREQ value, must be >= 0 and <= 255");
const BAD_FOOTER: Error = Error::new("ERR DUMP payload version or checksum are wrong");
const BAD_FORMAT: Error = Error::new("ERR Bad data format");
