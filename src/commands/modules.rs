//! MODULE, as a server answers that has no modules. Clients and tools ask this of every server they meet.

use crate::command::*;

pub const COMMANDS: &[Command] = &[MODULE, MODULE_HELP, MODULE_LIST];

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
