//! SLOWLOG: the commands that took longest to execute.

use crate::command::*;

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
    let Ctx { args, out, node, .. } = ctx;
    let count = match args.len() {
        2 => SHOWN_BY_DEFAULT,
        3 => args.int_in(2, -1..=i64::MAX, BAD_COUNT)?,
        _ => return Err(error::subcommand_syntax("SLOWLOG", args.get(1))),
    };
    let entries = node.observatory.slowlog.get(usize::try_from(count).unwrap_or(usize::MAX));
    out.array(entries.len());
    for entry in entries {
        out.array(6);
        out.0.int(i64::try_from(entry.id).unwrap_or(i64::MAX));
        out.0.int(entry.unix_s);
        out.0.int(i64::try_from(entry.duration_us).unwrap_or(i64::MAX));
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
