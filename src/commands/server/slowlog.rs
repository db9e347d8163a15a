//! SLOWLOG: the commands that took longest to execute; and COMMANDLOG, Valkey's name for it and for two logs more: of the
//! largest requests and of the largest replies.

use crate::command::*;
use crate::observe::{Observatory, Slowlog};

pub const SLOWLOG: Command = Command {
    name: "SLOWLOG",
    args: "",
    arity: -2,
    since: "2.2.12",
    group: Group::Server,
    flags: CONTAINER,
    keys: Keys::NONE,
    doc: "A container for commands on the slow log.",
    examples: "> SLOWLOG\n(error) ERR wrong number of arguments for 'slowlog' command",
    run: container,
};

pub const GET: Command = Command {
    name: "SLOWLOG GET",
    args: "[count]",
    arity: -2,
    since: "2.2.12",
    group: Group::Server,
    flags: ADMIN | LOADING | STALE,
    keys: Keys::NONE,
    doc: "The newest entries: id, time, microseconds, arguments, client. O(N) in their number.",
    examples: "> SLOWLOG GET -2\n(error) ERR count should be greater than or equal to -1",
    run: get,
};

fn get(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let args = &ctx.args;
    let count = match args.len() {
        2 => SHOWN_BY_DEFAULT,
        3 => args.int_in(2, -1..=i64::MAX, BAD_COUNT).map_err(|_| BAD_COUNT)?,
        _ => return Err(error::subcommand_syntax("SLOWLOG", args.get(1))),
    };
    show(ctx, &ctx.node.observatory.slowlog, count)
}

/// The newest entries of a log, all for a negative number.
fn show(ctx: &mut Ctx<'_, '_>, log: &Slowlog, count: i64) -> Outcome {
    let out = &mut ctx.out;
    let entries = log.get(usize::try_from(count).unwrap_or(usize::MAX));
    out.array(entries.len());
    for entry in entries {
        out.array(6);
        out.0.int(i64::try_from(entry.id).unwrap_or(i64::MAX));
        out.0.int(entry.unix_s);
        out.0.int(i64::try_from(entry.cost).unwrap_or(i64::MAX));
        out.bulks(entry.argv.iter());
        out.0.bulk(entry.client_addr.as_bytes());
        out.0.bulk(&entry.client_name);
    }
    Ok(())
}

pub const HELP: Command = Command {
    name: "SLOWLOG HELP",
    args: "",
    arity: 2,
    since: "6.2.0",
    group: Group::Server,
    flags: LOADING | STALE,
    keys: Keys::NONE,
    doc: "Says what subcommands there are. O(1).",
    examples: "> SLOWLOG HELP too many\n(error) ERR wrong number of arguments for 'slowlog|help' command",
    run: |ctx| ctx.out.help("SLOWLOG", HELP_LINES),
};

pub const LEN: Command = Command {
    name: "SLOWLOG LEN",
    args: "",
    arity: 2,
    since: "2.2.12",
    group: Group::Server,
    flags: ADMIN | LOADING | STALE,
    keys: Keys::NONE,
    doc: "How many entries the slow log has. O(1).",
    examples: "> SLOWLOG RESET\nOK\n> SLOWLOG LEN\n(integer) 0",
    run: |ctx| ctx.out.count(ctx.node.observatory.slowlog.len()),
};

pub const RESET: Command = Command {
    name: "SLOWLOG RESET",
    args: "",
    arity: 2,
    since: "2.2.12",
    group: Group::Server,
    flags: ADMIN | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Empties the slow log. O(N) in its length.",
    examples: "> SLOWLOG RESET\nOK",
    run: |ctx| {
        ctx.node.observatory.slowlog.reset();
        ctx.out.ok()
    },
};

pub const COMMANDLOG: Command = Command {
    name: "COMMANDLOG",
    since: "8.1.0",
    doc: "A container for commands on the logs of slow commands, large requests and large replies (of Valkey).",
    examples: "> COMMANDLOG\n(error) ERR wrong number of arguments for 'commandlog' command",
    ..SLOWLOG
};

pub const COMMANDLOG_GET: Command = Command {
    name: "COMMANDLOG GET",
    args: "count <type: SLOW | LARGE-REQUEST | LARGE-REPLY>",
    arity: 4,
    since: "8.1.0",
    doc: "The newest entries of a log, as SLOWLOG GET; the third field is microseconds or bytes; -1 for all. O(N) in their number.",
    examples: "> CONFIG SET commandlog-reply-larger-than 20\nOK\n> ECHO \"more than twenty bytes\"\n\"more than twenty bytes\"\n> COMMANDLOG GET 1 large-reply\n1) 1) (integer) 0\n   2) (integer) ...\n   3) (integer) 29\n   4) 1) \"ECHO\"\n      2) \"more than twenty bytes\"\n   5) ...\n   6) \"\"\n> COMMANDLOG GET -2 slow\n(error) ERR count should be greater than or equal to -1\n> COMMANDLOG GET 1 other\n(error) ERR type should be one of the following: slow, large-request, large-reply",
    run: |ctx| {
        let count = ctx.args.int_in(2, -1..=i64::MAX, BAD_COUNT).map_err(|_| BAD_COUNT)?;
        let log = named(&ctx.node.observatory, &ctx.args.word_at(3))?;
        show(ctx, log, count)
    },
    ..GET
};

pub const COMMANDLOG_HELP: Command = Command {
    name: "COMMANDLOG HELP",
    since: "8.1.0",
    examples: "> COMMANDLOG HELP too many\n(error) ERR wrong number of arguments for 'commandlog|help' command",
    run: |ctx| ctx.out.help("COMMANDLOG", COMMANDLOG_HELP_LINES),
    ..HELP
};

pub const COMMANDLOG_LEN: Command = Command {
    name: "COMMANDLOG LEN",
    args: "<type: SLOW | LARGE-REQUEST | LARGE-REPLY>",
    arity: 3,
    since: "8.1.0",
    doc: "How many entries a log has. O(1).",
    examples: "> COMMANDLOG LEN large-request\n(integer) 0",
    run: |ctx| {
        let len = named(&ctx.node.observatory, &ctx.args.word_at(2))?.len();
        ctx.out.count(len)
    },
    ..LEN
};

pub const COMMANDLOG_RESET: Command = Command {
    name: "COMMANDLOG RESET",
    args: "<type: SLOW | LARGE-REQUEST | LARGE-REPLY>",
    arity: 3,
    since: "8.1.0",
    doc: "Empties a log. O(N) in its length.",
    examples: "> COMMANDLOG RESET slow\nOK",
    run: |ctx| {
        named(&ctx.node.observatory, &ctx.args.word_at(2))?.reset();
        ctx.out.ok()
    },
    ..RESET
};

fn named<'o>(logs: &'o Observatory, name: &[u8]) -> Result<&'o Slowlog, Error> {
    match name {
        b"SLOW" => Ok(&logs.slowlog),
        b"LARGE-REQUEST" => Ok(&logs.large_requests),
        b"LARGE-REPLY" => Ok(&logs.large_replies),
        _ => Err(BAD_TYPE),
    }
}

const SHOWN_BY_DEFAULT: i64 = 10;
const HELP_LINES: &[&str] = &[
    "GET [<count>]",
    "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
    "    Entries are made of:",
    "    id, timestamp, time in microseconds, arguments array, client IP and port,",
    "    client name",
    "LEN",
    "    Return the length of the slowlog.",
    "RESET",
    "    Reset the slowlog.",
];
const BAD_COUNT: Error = Error::new("ERR count should be greater than or equal to -1");
const COMMANDLOG_HELP_LINES: &[&str] = &[
    "GET <count> <type>",
    "    Return top <count> entries of the specified <type> from the commandlog (-1 mean all).",
    "    Entries are made of:",
    "    id, timestamp,",
    "        time in microseconds for type of slow,",
    "        or size in bytes for type of large-request,",
    "        or size in bytes for type of large-reply",
    "    arguments array, client IP and port,",
    "    client name",
    "LEN <type>",
    "    Return the length of the specified type of commandlog.",
    "RESET <type>",
    "    Reset the specified type of commandlog.",
];
const BAD_TYPE: Error = Error::new("ERR type should be one of the following: slow, large-request, large-reply");
