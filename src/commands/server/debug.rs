//! DEBUG: what tests ask of a server. Allowed only as `enable-debug-command` says.
//!
//! One row, as in Redis: subcommands are no commands of their own, and all run owning the world, so that SLEEP holds
//! everyone and DIGEST sees one instant. What concerns files (RELOAD, LOADAOF) is not here.

use super::digest::Digest;
use super::{allocator, faults, reload};
use crate::command::*;
use crate::config::Config;
use crate::glob;
use crate::keyspace::Expiry;
use crate::keyspace::access::{CLOCK, idle_seconds};
use crate::keyspace::entry::Entry;
use crate::log;
use crate::num;
use crate::persist::rdb::{Version, value};
use crate::process::crash::Purpose;
use crate::resp::Proto;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub const DEBUG: Command = Command {
    name: "DEBUG",
    args: "subcommand [arg [arg ...]]",
    arity: -2,
    since: "1.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE | PROTECTED | WORLD,
    keys: Keys::NONE,
    doc: "Commands for tests of the server.",
    examples: "> DEBUG\n(error) ERR wrong number of arguments for 'debug' command",
    run: debug,
};

/// A subcommand, by name and number of arguments (`DEBUG` and its own name included).
struct Sub {
    name: &'static [u8],
    argc: RangeInclusive<usize>,
    run: Handler,
}

const SUBCOMMANDS: &[Sub] = &[
    Sub { name: b"AOF-FLUSH-SLEEP", argc: 3..=3, run: faults::aof_flush_sleep },
    Sub { name: b"ASSERT", argc: 2..=3, run: |_| faults::crash(Purpose::Assert) },
    Sub { name: b"CHANGE-REPL-ID", argc: 2..=2, run: change_repl_id },
    Sub { name: b"CONFIG-REWRITE-FORCE-ALL", argc: 2..=2, run: rewrite_all },
    Sub { name: b"CRASH-AND-RECOVER", argc: 2..=3, run: faults::crash_and_recover },
    Sub { name: b"DIGEST", argc: 2..=2, run: digest },
    Sub { name: b"DIGEST-VALUE", argc: 2..=usize::MAX, run: digest_value },
    Sub { name: b"ERROR", argc: 3..=3, run: answer_error },
    Sub { name: b"HELP", argc: 2..=2, run: help },
    Sub { name: b"HTSTATS", argc: 3..=3, run: htstats },
    Sub { name: b"HTSTATS-KEY", argc: 3..=3, run: htstats_key },
    Sub { name: b"LOADAOF", argc: 2..=2, run: reload::load_log },
    Sub { name: b"LOG", argc: 3..=3, run: write_log },
    Sub { name: b"MALLCTL", argc: 3..=usize::MAX, run: allocator::number },
    Sub { name: b"MALLCTL-STR", argc: 3..=usize::MAX, run: allocator::text },
    Sub { name: b"OBJECT", argc: 3..=3, run: object },
    Sub { name: b"OOM", argc: 2..=2, run: |_| faults::crash(Purpose::OutOfMemory) },
    Sub { name: b"PANIC", argc: 2..=2, run: |_| faults::crash(Purpose::Panic) },
    Sub { name: b"PAUSE-CRON", argc: 3..=3, run: pause_cron },
    Sub { name: b"POPULATE", argc: 3..=5, run: populate },
    Sub { name: b"PROTOCOL", argc: 3..=3, run: protocol },
    Sub { name: b"QUICKLIST-PACKED-THRESHOLD", argc: 3..=3, run: packed_threshold },
    Sub { name: b"RELOAD", argc: 2..=5, run: reload::reload },
    Sub { name: b"REPLICATE", argc: 3..=usize::MAX, run: replicate },
    Sub { name: b"REPLYBUFFER", argc: 4..=4, run: reply_buffer },
    Sub { name: b"RESTART", argc: 2..=3, run: faults::restart },
    Sub { name: b"SEGFAULT", argc: 2..=2, run: |_| faults::crash(Purpose::Segfault) },
    Sub { name: b"SET-ACTIVE-EXPIRE", argc: 3..=3, run: set_active_expire },
    Sub { name: b"SET-DISABLE-DENY-SCRIPTS", argc: 3..=3, run: allow_all_in_scripts },
    Sub { name: b"SET-SKIP-CHECKSUM-VALIDATION", argc: 3..=3, run: skip_checksums },
    Sub { name: b"SLEEP", argc: 3..=3, run: sleep },
    Sub { name: b"STACK-OVERFLOW", argc: 2..=2, run: |_| faults::crash(Purpose::StackOverflow) },
    Sub { name: b"STRINGMATCH-LEN", argc: 4..=4, run: stringmatch_len },
    Sub { name: b"STRINGMATCH-TEST", argc: 2..=2, run: stringmatch_test },
];

fn debug(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let name = ctx.args.get(1);
    let sub = SUBCOMMANDS.iter().find(|sub| sub.name.eq_ignore_ascii_case(name));
    match sub.filter(|sub| sub.argc.contains(&ctx.args.len())) {
        Some(sub) => (sub.run)(ctx),
        None => Err(unknown(name)),
    }
}

fn unknown(name: &[u8]) -> Error {
    let shown = &name[..name.len().min(NAME_SHOWN_MAX)];
    let parts: [&[u8]; 3] =
        [b"ERR unknown subcommand or wrong number of arguments for '", shown, b"'. Try DEBUG HELP."];
    Error::owned(parts.concat())
}

fn skip_checksums(ctx: &mut Ctx<'_, '_>) -> Outcome {
    ctx.node.rdb.skips_checksums.store(ctx.args.int(2)? != 0, Relaxed);
    ctx.out.ok()
}

/// A shutdown asked for by a signal waits while the cron is paused.
fn pause_cron(ctx: &mut Ctx<'_, '_>) -> Outcome {
    ctx.node.life.hold_shutdown(ctx.args.int(2)? != 0);
    ctx.out.ok()
}

fn change_repl_id(ctx: &mut Ctx<'_, '_>) -> Outcome {
    log::warning!("Changing replication IDs after receiving DEBUG change-repl-id");
    ctx.node.journal.stream.change_id();
    ctx.out.ok()
}

/// To the log and to replicas as it is, whatever it is.
fn replicate(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let said: Vec<&[u8]> = ctx.args.from(2).collect();
    ctx.propagate(&said);
    ctx.out.ok()
}

fn rewrite_all(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let failed = |cause: String| Error::owned(format!("ERR CONFIG-REWRITE-FORCE-ALL failed: {cause}"));
    let path = ctx.node.life.config_file.get().ok_or_else(|| failed("no configuration file".into()))?;
    crate::commands::config::rewrite_file(path, ctx.node, ctx.config, true).map_err(|e| failed(e.to_string()))?;
    ctx.out.ok()
}

fn digest(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let digest = Digest::of_everything(ctx.db);
    ctx.out.simple(&digest.hex())
}

fn digest_value(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, .. } = ctx;
    out.array(args.len() - 2);
    for key in args.from(2) {
        let digest = db.inspect(key).map(Digest::of_value).unwrap_or_default();
        out.0.simple(&digest.hex());
    }
    Ok(())
}

/// The reply is the client's own text, not an error of ours, and is not counted as one.
fn answer_error(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let text = ctx.args.get(2);
    ctx.out.error(text);
    Ok(())
}

fn htstats(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let index = usize::try_from(ctx.args.int(2)?).ok().filter(|&i| i < ctx.node.keyspace.databases());
    let index = index.ok_or(BAD_DATABASE)?;
    let (keys, volatile) = ctx.node.keyspace.counts(index);
    let selected = ctx.db.index();
    ctx.db.select(index);
    let size = ctx.db.table_slots();
    ctx.db.select(selected);
    let mut text = String::from("[Dictionary HT]\n");
    if keys > 0 {
        text.push_str(&table_stats(size, keys));
    }
    text.push_str("[Expires HT]\n");
    if volatile > 0 {
        // The index of expiries is a heap: its size is its number of elements.
        text.push_str(&table_stats(volatile, volatile));
    }
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

fn table_stats(size: usize, elements: usize) -> String {
    format!("Hash table 0 stats (main hash table):\n table size: {size}\n number of elements: {elements}\n")
}

fn htstats_key(ctx: &mut Ctx<'_, '_>) -> Outcome {
    match ctx.db.inspect(ctx.args.get(2)) {
        None => Err(error::NO_SUCH_KEY),
        Some(_) => Err(NO_HASH_TABLE),
    }
}

fn write_log(ctx: &mut Ctx<'_, '_>) -> Outcome {
    log::warning!("DEBUG LOG: {}", String::from_utf8_lossy(ctx.args.get(2)));
    ctx.out.ok()
}

fn object(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let entry = ctx.db.inspect_stored(ctx.args.get(2)).ok_or(error::NO_SUCH_KEY)?;
    let text = format!(
        "Value at:0x{:x} refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
        entry.word(),
        ctx.config.shown_encoding(entry.kind(), entry.encoding()),
        serialized_len(entry, ctx.config),
        entry.access() & CLOCK,
        idle_seconds(entry.access(), ctx.db.now()),
    );
    ctx.out.simple(&text)
}

/// Bytes the value takes in a snapshot, without type and key.
fn serialized_len(entry: Entry, config: &Config) -> usize {
    let mut out = Vec::new();
    value::encode(&mut out, &entry.body(), Version::V10, config.rdbcompression);
    out.len()
}

/// The keys are not propagated.
fn populate(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, db, out, config, .. } = ctx;
    let count = args.int_in(2, 0..=i64::MAX, error::NOT_POSITIVE)?;
    let prefix = if args.len() > 3 { args.get(3) } else { b"key" };
    let size = match args.len() {
        5 => args.int_in(4, 0..=i64::MAX, error::NOT_POSITIVE)?.unsigned_abs(),
        _ => 0,
    };
    if size > config.proto_max_bulk_len {
        return Err(error::STRING_TOO_LONG);
    }
    for i in 0..count {
        let key = [prefix, b":", i.to_string().as_bytes()].concat();
        if db.inspect(&key).is_none() {
            let mut value = format!("value:{i}").into_bytes();
            if size > 0 {
                value.resize(usize::try_from(size).unwrap_or(0), 0);
            }
            db.set_string_as(&key, &value, Expiry::Clear, "");
        }
    }
    out.ok()
}

fn protocol(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let word = ctx.args.word_at(2);
    let out = &mut ctx.out.0;
    let three = |out: &mut crate::resp::Out<'_>| (0..3).for_each(|i| out.int(i));
    match &*word {
        b"STRING" => out.bulk(b"Hello World"),
        b"INTEGER" => out.int(12345),
        b"DOUBLE" => out.double(3141.0 / 1000.0),
        b"NULL" => out.null(),
        b"ARRAY" => {
            out.array(3);
            three(out);
        }
        b"SET" => {
            out.set(3);
            three(out);
        }
        b"MAP" => {
            out.map(3);
            for i in 0..3 {
                out.int(i);
                out.bool(i == 1);
            }
        }
        b"ATTRIB" => {
            if out.proto == Proto::Resp3 {
                out.attribute(1);
                out.bulk(b"key-popularity");
                out.array(2);
                out.bulk(b"key:123");
                out.int(90);
            }
            out.bulk(b"Some real reply following the attribute");
        }
        b"PUSH" => {
            if out.proto == Proto::Resp2 {
                return Err(NOT_IN_RESP2);
            }
            out.push(2);
            out.bulk(b"server-cpu-usage");
            out.int(42);
        }
        b"VERBATIM" => out.verbatim("txt", b"This is a verbatim\nstring"),
        b"TRUE" => out.bool(true),
        b"FALSE" => out.bool(false),
        b"BIGNUM" => out.big_number(b"1234567999999999999999999999999999999"),
        _ => return Err(BAD_PROTOCOL),
    }
    Ok(())
}

/// Checked and accepted: lists split by size alone here.
fn packed_threshold(ctx: &mut Ctx<'_, '_>) -> Outcome {
    match num::parse_memory(ctx.args.get(2)) {
        Some(bytes) if bytes <= PACKED_THRESHOLD_MAX => ctx.out.ok(),
        _ => Err(BAD_THRESHOLD),
    }
}

/// Checked and accepted: reply buffers are borrowed from the worker and shrink by themselves.
fn reply_buffer(ctx: &mut Ctx<'_, '_>) -> Outcome {
    match (&*ctx.args.word_at(2), &*ctx.args.word_at(3)) {
        (b"RESIZING", _) | (b"PEAK-RESET-TIME", b"NEVER" | b"RESET") => ctx.out.ok(),
        (b"PEAK-RESET-TIME", _) => {
            ctx.args.int(3)?;
            ctx.out.ok()
        }
        _ => Err(unknown(ctx.args.get(1))),
    }
}

fn allow_all_in_scripts(ctx: &mut Ctx<'_, '_>) -> Outcome {
    ctx.node.scripts.allow_all.store(ctx.args.int(2)? != 0, Relaxed);
    ctx.out.ok()
}

fn set_active_expire(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let off = leading_number(ctx.args.get(2)) == 0.0;
    ctx.node.keyspace.settings.active_expire_off.store(off, Relaxed);
    ctx.out.ok()
}

/// Holds everyone: the unit owns the world.
fn sleep(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let seconds = leading_number(ctx.args.get(2)).clamp(0.0, SLEEP_SECONDS_MAX);
    std::thread::sleep(Duration::from_secs_f64(seconds));
    ctx.out.ok()
}

/// The number a text begins with, 0 if with none: the C library's idea of a number, which scripts rely on.
fn leading_number(text: &[u8]) -> f64 {
    let numeric = text.iter().take_while(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+')).count();
    num::parse_f64(&text[..numeric]).unwrap_or(0.0)
}

fn stringmatch_len(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let len = ctx.args.int_in(2, 0..=STRINGMATCH_LEN_MAX, error::OUT_OF_RANGE)?;
    let text = vec![b'a'; usize::try_from(len).unwrap_or(0)];
    ctx.out.int(i64::from(glob::matches(ctx.args.get(3), &text, false)))
}

fn stringmatch_test(ctx: &mut Ctx<'_, '_>) -> Outcome {
    for _ in 0..STRINGMATCH_ROUNDS {
        let random = |len_max| -> Vec<u8> { (0..fastrand::usize(..=len_max)).map(|_| fastrand::u8(..128)).collect() };
        let (pattern, text) = (random(32), random(32));
        glob::matches(&pattern, &text, false);
    }
    ctx.out.simple("Apparently Redis did not crash: test passed")
}

fn help(ctx: &mut Ctx<'_, '_>) -> Outcome {
    ctx.out.help("DEBUG", HELP_LINES)
}

const HELP_LINES: &[&str] = &[
    "AOF-FLUSH-SLEEP <microsec>",
    "    Server will sleep before flushing the AOF, this is used for testing.",
    "ASSERT",
    "    Crash by assertion failed.",
    "CHANGE-REPL-ID",
    "    Change the replication IDs of the instance.",
    "    Dangerous: should be used only for testing the replication subsystem.",
    "CONFIG-REWRITE-FORCE-ALL",
    "    Like CONFIG REWRITE but writes all configuration options, including",
    "    keywords not listed in original configuration file or default values.",
    "CRASH-AND-RECOVER [<milliseconds>]",
    "    Hard crash and restart after a <milliseconds> delay (default 0).",
    "DIGEST",
    "    Output a hex signature representing the current DB content.",
    "DIGEST-VALUE <key> [<key> ...]",
    "    Output a hex signature of the values of all the specified keys.",
    "ERROR <string>",
    "    Return a Redis protocol error with <string> as message. Useful for clients",
    "    unit tests to simulate Redis errors.",
    "LOG <message>",
    "    Write <message> to the server log.",
    "HTSTATS <dbid>",
    "    Return hash table statistics of the specified Redis database.",
    "HTSTATS-KEY <key>",
    "    Like HTSTATS but for the hash table stored at <key>'s value.",
    "LOADAOF",
    "    Flush the AOF buffers on disk and reload the AOF in memory.",
    "REPLICATE <string>",
    "    Replicates the provided string to replicas, allowing data divergence.",
    "MALLCTL <key> [<val>]",
    "    Get or set a malloc tuning integer.",
    "MALLCTL-STR <key> [<val>]",
    "    Get or set a malloc tuning string.",
    "OBJECT <key>",
    "    Show low level info about `key` and associated value.",
    "OOM",
    "    Crash the server simulating an out-of-memory error.",
    "PANIC",
    "    Crash the server simulating a panic.",
    "POPULATE <count> [<prefix>] [<size>]",
    "    Create <count> string keys named key:<num>. If <prefix> is specified then",
    "    it is used instead of the 'key' prefix. These are not propagated to",
    "    replicas. Cluster slots are not respected so keys not belonging to the",
    "    current node can be created in cluster mode.",
    "PROTOCOL <type>",
    "    Reply with a test value of the specified type. <type> can be: string,",
    "    integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
    "    true, false.",
    "RELOAD [option ...]",
    "    Save the RDB on disk and reload it back to memory. Valid <option> values:",
    "    * MERGE: conflicting keys will be loaded from RDB.",
    "    * NOFLUSH: the existing database will not be removed before load, but",
    "      conflicting keys will generate an exception and kill the server.",
    "    * NOSAVE: the database will be loaded from an existing RDB file.",
    "    Examples:",
    "    * DEBUG RELOAD: verify that the server is able to persist, flush and reload",
    "      the database.",
    "    * DEBUG RELOAD NOSAVE: replace the current database with the contents of an",
    "      existing RDB file.",
    "    * DEBUG RELOAD NOSAVE NOFLUSH MERGE: add the contents of an existing RDB",
    "      file to the database.",
    "RESTART [<milliseconds>]",
    "    Graceful restart: save config, db, restart after a <milliseconds> delay (default 0).",
    "SEGFAULT",
    "    Crash the server with sigsegv.",
    "SET-ACTIVE-EXPIRE <0|1>",
    "    Setting it to 0 disables expiring keys in background when they are not",
    "    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the",
    "    default.",
    "QUICKLIST-PACKED-THRESHOLD <size>",
    "    Sets the threshold for elements to be inserted as plain vs packed nodes",
    "    Default value is 1GB, allows values up to 4GB. Setting to 0 restores to default.",
    "SET-DISABLE-DENY-SCRIPTS <0|1>",
    "    Setting it to 1 lets scripts run commands that are not for scripts.",
    "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
    "    Enables or disables checksum checks for RDB files and RESTORE's payload.",
    "SLEEP <seconds>",
    "    Stop the server for <seconds>. Decimals allowed.",
    "STACK-OVERFLOW",
    "    Crash the server by using up its stack.",
    "STRINGMATCH-TEST",
    "    Run a fuzz tester against the stringmatchlen() function.",
    "PAUSE-CRON <0|1>",
    "    Stop periodic cron job processing.",
    "REPLYBUFFER PEAK-RESET-TIME <NEVER||RESET|time>",
    "    Sets the time (in milliseconds) to wait between client reply buffer peak resets.",
    "    In case NEVER is provided the last observed peak will never be reset",
    "    In case RESET is provided the peak reset time will be restored to the default value",
    "REPLYBUFFER RESIZING <0|1>",
    "    Enable or disable the reply buffer resize cron job",
    "STRINGMATCH-LEN <len> <pattern>",
    "    Whether so many letters 'a' match a pattern.",
];

const BAD_DATABASE: Error = Error::new("ERR Out of range database");
const NO_HASH_TABLE: Error =
    Error::new("ERR The value stored at the specified key is not represented using an hash table");
const NOT_IN_RESP2: Error = Error::new("ERR RESP2 is not supported by this command");
const BAD_PROTOCOL: Error = Error::new(
    "ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
);
const BAD_THRESHOLD: Error = Error::new("ERR argument must be a memory value bigger than 1 and smaller than 4gb");
/// What is repeated of an unknown subcommand.
const NAME_SHOWN_MAX: usize = 128;
const PACKED_THRESHOLD_MAX: u64 = 4 << 30;
/// A day: a test that sleeps longer is a mistake.
const SLEEP_SECONDS_MAX: f64 = 86_400.0;
const STRINGMATCH_LEN_MAX: i64 = 512 << 20;
const STRINGMATCH_ROUNDS: usize = 100_000;
