//! WAIT, WAITAOF and MODULE, as a server answers that has neither replicas nor modules.
//!
//! Nobody waits here: no replica can come to acknowledge anything, so that what is true at the end of the time is true at
//! once. Clients and tools ask this of every server they meet.

use crate::command::error::NOT_POSITIVE;
use crate::command::*;
use crate::num;

pub const COMMANDS: &[Command] = &[MODULE, MODULE_HELP, MODULE_LIST, WAIT, WAITAOF];

const MODULE: Command = Command {
    name: "MODULE",
    args: "",
    arity: -2,
    since: "4.0.0",
    group: Group::Server,
    flags: CONTAINER,
    keys: Keys::NONE,
    doc: "A container for commands on modules, of which there are none.",
    examples: "> MODULE\n(error) ERR wrong number of arguments for 'module' command",
    run: container,
};

const MODULE_HELP: Command = Command {
    name: "MODULE HELP",
    args: "",
    arity: 2,
    since: "5.0.0",
    group: Group::Server,
    flags: LOADING | STALE,
    keys: Keys::NONE,
    doc: "Says what subcommands there are. O(1).",
    examples: "> MODULE HELP too many\n(error) ERR wrong number of arguments for 'module|help' command",
    run: |ctx| ctx.out.help("MODULE", &["LIST", "    Return a list of loaded modules."]),
};

const MODULE_LIST: Command = Command {
    name: "MODULE LIST",
    args: "",
    arity: 2,
    since: "4.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT,
    keys: Keys::NONE,
    doc: "The modules that are loaded: none. O(1).",
    examples: "> MODULE LIST\n(empty array)",
    run: |ctx| ctx.out.empty_array(),
};

const WAIT: Command = Command {
    name: "WAIT",
    args: "numreplicas=integer timeout=integer",
    arity: 3,
    since: "3.0.0",
    group: Group::Generic,
    flags: NOSCRIPT | IN_CONNECTION,
    keys: Keys::NONE,
    doc: "How many replicas have what this connection wrote: none, said at once. O(1).",
    examples: "> WAIT 0 10\n(integer) 0\n> WAIT 1 -1\n(error) ERR timeout is negative",
    run: wait,
};

fn wait(ctx: &mut Ctx<'_, '_>) -> Outcome {
    ctx.args.int(1)?;
    check_timeout(ctx.args.get(2))?;
    ctx.out.int(0)
}

const WAITAOF: Command = Command {
    name: "WAITAOF",
    args: "numlocal=integer numreplicas=integer timeout=integer",
    arity: 4,
    since: "7.2.0",
    group: Group::Generic,
    flags: BLOCKING | IN_CONNECTION,
    keys: Keys::NONE,
    doc: "Whether the log on disk has what was written (1 or 0), and how many replicas have it there: none. O(1).",
    examples: "> WAITAOF 0 0 10\n1) (integer) 0\n2) (integer) 0\n> WAITAOF 1 0 10\n(error) ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
    run: wait_aof,
};

fn wait_aof(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, out, node, .. } = ctx;
    let wanted = args.int_in(1, 0..=1, BAD_LOCAL)?;
    args.int_in(2, 0..=i64::MAX, NOT_POSITIVE)?;
    check_timeout(args.get(3))?;
    if wanted == 1 && !node.journal.is_on() {
        return Err(NO_LOG);
    }
    let durable = i64::from(node.journal.is_on() && node.journal.durable_lag_bytes() == 0);
    if durable < wanted {
        return Err(NOT_DURABLE);
    }
    out.array(2);
    out.0.int(durable);
    out.int(0)
}

fn check_timeout(text: &[u8]) -> Result<(), Error> {
    match num::parse_i64(text) {
        None => Err(BAD_TIMEOUT),
        Some(..0) => Err(NEGATIVE_TIMEOUT),
        Some(_) => Ok(()),
    }
}

const BAD_LOCAL: Error = Error::new("ERR value is out of range, value must between 0 and 1");
const BAD_TIMEOUT: Error = Error::new("ERR timeout is not an integer or out of range");
const NEGATIVE_TIMEOUT: Error = Error::new("ERR timeout is negative");
const NO_LOG: Error = Error::new("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
/// Ours: better no answer than one that reads as if it had been waited for.
const NOT_DURABLE: Error = Error::new("ERR the log is not on disk yet, and this server cannot wait for it; ask again");
