//! COMMAND: the table of commands as clients read it, made from the rows and nothing else.
//!
//! Flags, categories and key specifications are Redis's for every command it has too. What a row leaves out, because
//! it follows from the rest (`movablekeys`, the old first/last/step triple, the complexity at the end of the
//! documentation), is derived here.

use crate::command::keys::{Begin, FLAG_NAMES, Find, INCOMPLETE, Spec};
use crate::command::registry::Row;
use crate::command::syntax::{Argument, arguments};
use crate::command::*;
use crate::glob;
use crate::resp::{Argv, Out};

pub const COMMANDS: &[Command] = &[COMMAND, COUNT, DOCS, GETKEYS, GETKEYSANDFLAGS, HELP, INFO, LIST];

const COMMAND: Command = Command {
    name: "COMMAND",
    args: "",
    arity: -1,
    since: "2.8.13",
    group: Group::Server,
    flags: LOADING | STALE | CONTAINER | IN_CONNECTION,
    keys: Keys::NONE,
    doc: "Describes all commands. O(N) in the number of commands.",
    examples: "",
    run: |ctx| {
        info_of_all(ctx);
        Ok(())
    },
};

const COUNT: Command = Command {
    name: "COMMAND COUNT",
    args: "",
    arity: 2,
    since: "2.8.13",
    group: Group::Server,
    flags: LOADING | STALE | IN_CONNECTION,
    keys: Keys::NONE,
    doc: "How many commands there are. O(1).",
    examples: "> COMMAND COUNT too many\n(error) ERR wrong number of arguments for 'command|count' command",
    run: |ctx| {
        let count = top_level(ctx.registry).count();
        ctx.out.count(count)
    },
};

const DOCS: Command = Command {
    name: "COMMAND DOCS",
    args: "[command-name [command-name ...]]",
    arity: -2,
    since: "7.0.0",
    group: Group::Server,
    flags: LOADING | STALE | IN_CONNECTION,
    keys: Keys::NONE,
    doc: "The documentation of commands. O(N) in the number of commands.",
    examples: "> COMMAND DOCS nosuchcommand\n(empty array)",
    run: docs,
};

fn docs(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, out, registry, .. } = ctx;
    let named = |name| registry.find_full(name).filter(|row| !row.command.has(HIDDEN));
    let rows: Vec<Row> =
        if args.len() == 2 { top_level(registry).collect() } else { args.from(2).filter_map(named).collect() };
    out.map(rows.len());
    for row in rows {
        out.0.bulk(row.command.full_name().as_bytes());
        write_docs(&mut out.0, registry, row);
    }
    Ok(())
}

const GETKEYS: Command = Command {
    name: "COMMAND GETKEYS",
    args: "command [arg [arg ...]]",
    arity: -3,
    since: "2.8.13",
    group: Group::Server,
    flags: LOADING | STALE | IN_CONNECTION,
    keys: Keys::NONE,
    doc: "The keys in a whole command. O(N) in its arguments.",
    examples: "> COMMAND GETKEYS GET k\n1) \"k\"\n> COMMAND GETKEYS PING x\n(error) ERR The command has no key arguments\n> COMMAND GETKEYS nosuch x\n(error) ERR Invalid command specified",
    run: |ctx| get_keys(ctx, false),
};

const GETKEYSANDFLAGS: Command = Command {
    name: "COMMAND GETKEYSANDFLAGS",
    args: "command [arg [arg ...]]",
    arity: -3,
    since: "7.0.0",
    group: Group::Server,
    flags: LOADING | STALE | IN_CONNECTION,
    keys: Keys::NONE,
    doc: "The keys in a whole command, with what it does to them. O(N) in its arguments.",
    examples: "> COMMAND GETKEYSANDFLAGS GET k\n1) 1) \"k\"\n   2) 1) RO\n      2) access",
    run: |ctx| get_keys(ctx, true),
};

fn get_keys(ctx: &mut Ctx<'_, '_>, with_flags: bool) -> Outcome {
    let Ctx { args, out, registry, .. } = ctx;
    let argv = Argv::of(args.from(2));
    let row = named_by(registry, args).ok_or(NO_SUCH_COMMAND)?;
    if row.command.keys.is_none() {
        return Err(NO_KEYS);
    }
    if !row.command.accepts(args.len() - 2) {
        return Err(BAD_COUNT);
    }
    if !row.command.has(NO_MANDATORY_KEYS) && !row.command.keys.fit(argv.view()) {
        return Err(BAD_ARGUMENTS);
    }
    let mut found: Vec<(usize, u16)> = Vec::new();
    row.command.keys.for_each(argv.view(), &mut |i, flags| found.push((i, flags)));
    if found.is_empty() && !row.command.has(NO_MANDATORY_KEYS) {
        return Err(BAD_ARGUMENTS);
    }
    out.array(found.len());
    for (i, flags) in found {
        if with_flags {
            out.array(2);
        }
        out.0.bulk(argv.view().get(i));
        if with_flags {
            write_key_flags(&mut out.0, flags & !keys::VARIABLE);
        }
    }
    Ok(())
}

/// The row that arguments from the third on name; a container counts if no subcommand follows.
fn named_by(registry: &Registry, args: &Args<'_>) -> Option<Row> {
    let row = registry.find(args.get(2))?;
    if row.command.has(CONTAINER) && args.len() > 3 {
        return registry.find_full(&[args.get(2), b"|", args.get(3)].concat());
    }
    Some(row)
}

const HELP: Command = Command {
    name: "COMMAND HELP",
    args: "",
    arity: 2,
    since: "5.0.0",
    group: Group::Server,
    flags: LOADING | STALE | IN_CONNECTION,
    keys: Keys::NONE,
    doc: "Says what subcommands there are. O(1).",
    examples: "> COMMAND HELP too many\n(error) ERR wrong number of arguments for 'command|help' command",
    run: |ctx| ctx.out.help("COMMAND", HELP_LINES),
};

const INFO: Command = Command {
    name: "COMMAND INFO",
    args: "[command-name [command-name ...]]",
    arity: -2,
    since: "2.8.13",
    group: Group::Server,
    flags: LOADING | STALE | IN_CONNECTION,
    keys: Keys::NONE,
    doc: "Describes commands: arity, flags, keys, categories. O(N) in the number of commands.",
    examples: "> COMMAND INFO nosuchcommand\n1) (nil)",
    run: info,
};

fn info(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if ctx.args.len() == 2 {
        info_of_all(ctx);
        return Ok(());
    }
    let Ctx { args, out, registry, .. } = ctx;
    out.array(args.len() - 2);
    for name in args.from(2) {
        match registry.find_full(name).filter(|row| !row.command.has(HIDDEN)) {
            Some(row) => write_info(&mut out.0, registry, row),
            None => out.0.null(),
        }
    }
    Ok(())
}

const LIST: Command = Command {
    name: "COMMAND LIST",
    args: "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
    arity: -2,
    since: "7.0.0",
    group: Group::Server,
    flags: LOADING | STALE | IN_CONNECTION,
    keys: Keys::NONE,
    doc: "The names of commands. O(N) in the number of commands.",
    examples: "> COMMAND LIST FILTERBY PATTERN ech*\n1) \"echo\"\n> COMMAND LIST FILTERBY MODULE none\n(empty array)\n> COMMAND LIST WHAT\n(error) ERR syntax error",
    run: list,
};

fn list(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, out, registry, .. } = ctx;
    let (filter, wanted) = match args.len() {
        2 => (Filter::None, &b""[..]),
        5 if &*args.word_at(2) == b"FILTERBY" => match &*args.word_at(3) {
            b"MODULE" => (Filter::Module, args.get(4)),
            b"ACLCAT" => (Filter::Category, args.get(4)),
            b"PATTERN" => (Filter::Pattern, args.get(4)),
            _ => return Err(error::SYNTAX),
        },
        _ => return Err(error::SYNTAX),
    };
    let shown = registry.rows().iter().filter(|row| !row.has(HIDDEN)).filter(|row| match filter {
        Filter::None => true,
        Filter::Module => false,
        Filter::Category => row.categories().any(|name| name.as_bytes().eq_ignore_ascii_case(wanted)),
        Filter::Pattern => glob::matches(wanted, row.full_name().as_bytes(), true),
    });
    let names: Vec<String> = shown.map(|row| row.full_name()).collect();
    out.bulks(names.iter());
    Ok(())
}

enum Filter {
    None,
    /// There are no modules, so this holds for none.
    Module,
    Category,
    Pattern,
}

fn top_level(registry: &'static Registry) -> impl Iterator<Item = Row> {
    let rows = (0..registry.rows().len()).map(|id| registry.row(id));
    rows.filter(|row| !row.command.name.contains(' ') && !row.command.has(HIDDEN))
}

fn info_of_all(ctx: &mut Ctx<'_, '_>) {
    let Ctx { out, registry, .. } = ctx;
    out.array(top_level(registry).count());
    top_level(registry).for_each(|row| write_info(&mut out.0, registry, row));
}

fn write_info(out: &mut Out<'_>, registry: &Registry, row: Row) {
    let command = row.command;
    let (first, last, step, movable) = old_range(command);
    let flags = command.flags | if movable { MOVABLE_KEYS } else { 0 };
    out.array(10);
    out.bulk(command.full_name().as_bytes());
    out.int(i64::from(command.arity));
    write_words(out, SHOWN_FLAGS.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| (*name).to_owned()));
    out.int(first);
    out.int(last);
    out.int(step);
    write_words(out, command.categories().map(|name| format!("@{name}")));
    let hints = hints::of(&command.full_name());
    out.set(hints.len());
    hints.iter().for_each(|hint| out.bulk(hint.as_bytes()));
    out.set(command.keys.specs().count());
    command.keys.specs().for_each(|spec| write_spec(out, spec));
    if command.has(CONTAINER) {
        out.array(registry.subcommands(command.name).count());
        registry.subcommands(command.name).for_each(|sub| write_info(out, registry, sub));
    } else {
        out.set(0);
    }
}

/// A set of status lines.
fn write_words(out: &mut Out<'_>, words: impl Iterator<Item = String>) {
    let hole = out.later();
    let count = words.inspect(|word| out.simple(word)).count();
    out.fill_set(hole, count);
}

fn write_key_flags(out: &mut Out<'_>, flags: u16) {
    write_words(out, FLAG_NAMES.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| (*name).to_owned()));
}

/// First key, last key and step as clients before key specifications read them, and whether they do not tell all.
fn old_range(command: &Command) -> (i64, i64, i64, bool) {
    let specs: Vec<&Spec> = command.keys.specs().collect();
    let plain = |spec: &Spec| match (spec.begin, spec.find) {
        (Begin::Index(first), Find::Range { last, step, .. }) => {
            let first = first as i64;
            let last = i64::from(last);
            Some((first, if last >= 0 { first + last } else { last }, step as i64))
        }
        _ => None,
    };
    if let [only] = specs[..]
        && let Some((first, last, step)) = plain(only)
    {
        return (first, last, step, only.flags & INCOMPLETE != 0);
    }
    let (mut range, mut movable) = (None::<(i64, i64)>, false);
    for spec in specs {
        let follows = |first: i64| range.is_none_or(|(_, last)| last == first - 1);
        match plain(spec) {
            Some((first, last, 1)) if follows(first) => {
                let begin = range.map_or(first, |(begin, _)| begin.min(first));
                range = Some((begin, if last < 0 { last } else { range.map_or(last, |(_, end)| end.max(last)) }));
                movable |= spec.flags & INCOMPLETE != 0;
            }
            _ => movable = true,
        }
    }
    let (first, last) = range.unwrap_or_default();
    (first, last, i64::from(range.is_some()), movable)
}

fn write_spec(out: &mut Out<'_>, spec: &Spec) {
    out.map(3 + usize::from(spec.notes.is_some()));
    if let Some(notes) = spec.notes {
        out.bulk(b"notes");
        out.bulk(notes.as_bytes());
    }
    out.bulk(b"flags");
    write_key_flags(out, spec.flags);
    out.bulk(b"begin_search");
    match spec.begin {
        Begin::Unknown => write_part(out, "unknown", &[]),
        Begin::Index(index) => write_part(out, "index", &[("index", index as i64)]),
        Begin::Keyword(word, from) => {
            write_part_head(out, "keyword", 2);
            out.bulk(b"keyword");
            out.bulk(word.as_bytes());
            out.bulk(b"startfrom");
            out.int(i64::from(from));
        }
    }
    out.bulk(b"find_keys");
    match spec.find {
        Find::Unknown => write_part(out, "unknown", &[]),
        Find::Range { last, step, limit } => {
            let fields = [("lastkey", i64::from(last)), ("keystep", step as i64), ("limit", limit as i64)];
            write_part(out, "range", &fields);
        }
        Find::Counted { at, first, step } => {
            let fields = [("keynumidx", at as i64), ("firstkey", first as i64), ("keystep", step as i64)];
            write_part(out, "keynum", &fields);
        }
    }
}

fn write_part(out: &mut Out<'_>, kind: &str, fields: &[(&str, i64)]) {
    write_part_head(out, kind, fields.len());
    for (name, value) in fields {
        out.bulk(name.as_bytes());
        out.int(*value);
    }
}

fn write_part_head(out: &mut Out<'_>, kind: &str, fields: usize) {
    out.map(2);
    out.bulk(b"type");
    out.bulk(kind.as_bytes());
    out.bulk(b"spec");
    out.map(fields);
}

fn write_arguments(out: &mut Out<'_>, arguments: &[Argument]) {
    out.bulk(b"arguments");
    out.array(arguments.len());
    arguments.iter().for_each(|argument| write_argument(out, argument));
}

fn write_argument(out: &mut Out<'_>, argument: &Argument) {
    let Argument { name, shown, kind, token, key_spec, since, deprecated_since, parts, .. } = argument;
    // A choice and a block show what is in them.
    let shown = shown.or(Some(name.as_str())).filter(|_| parts.is_empty());
    let texts = [
        ("name", Some(name.as_str())),
        ("type", Some(kind.name())),
        ("display_text", shown),
        ("token", *token),
        ("since", *since),
        ("deprecated_since", *deprecated_since),
    ];
    let present = texts.iter().filter_map(|(field, value)| Some((field, (*value)?)));
    let flags =
        [(argument.optional, "optional"), (argument.multiple, "multiple"), (argument.multiple_token, "multiple_token")];
    let flags: Vec<&str> = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
    let others = usize::from(key_spec.is_some()) + usize::from(!flags.is_empty()) + usize::from(!parts.is_empty());
    out.map(present.clone().count() + others);
    for (field, value) in present {
        out.bulk(field.as_bytes());
        out.bulk(value.as_bytes());
    }
    if let Some(spec) = key_spec {
        out.bulk(b"key_spec_index");
        out.int(*spec as i64);
    }
    if !flags.is_empty() {
        out.bulk(b"flags");
        out.set(flags.len());
        flags.iter().for_each(|flag| out.simple(flag));
    }
    if !parts.is_empty() {
        write_arguments(out, parts);
    }
}

fn write_docs(out: &mut Out<'_>, registry: &Registry, row: Row) {
    let command = row.command;
    // The sentence that ends the documentation tells the complexity.
    let (summary, complexity) = match command.doc.find(" O(") {
        Some(at) => (&command.doc[..at], Some(command.doc[at + 1..].trim_end_matches('.'))),
        None => (command.doc, None),
    };
    let fields = [
        ("summary", Some(summary.trim_end_matches('.'))),
        ("since", Some(command.since)),
        ("group", Some(command.group.name())),
        ("complexity", complexity),
    ];
    let present = fields.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    let arguments = if command.has(CONTAINER) { Vec::new() } else { arguments(command.args) };
    out.map(present.clone().count() + usize::from(command.has(CONTAINER)) + usize::from(!arguments.is_empty()));
    for (name, value) in present {
        out.bulk(name.as_bytes());
        out.bulk(value.as_bytes());
    }
    if !arguments.is_empty() {
        write_arguments(out, &arguments);
    }
    if command.has(CONTAINER) {
        out.bulk(b"subcommands");
        out.map(registry.subcommands(command.name).count());
        for sub in registry.subcommands(command.name) {
            out.bulk(sub.command.full_name().as_bytes());
            write_docs(out, registry, sub);
        }
    }
}

const HELP_LINES: &[&str] = &[
    "(no subcommand)",
    "    Return details about all Redis commands.",
    "COUNT",
    "    Return the total number of commands in this Redis server.",
    "LIST",
    "    Return a list of all commands in this Redis server.",
    "INFO [<command-name> ...]",
    "    Return details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "DOCS [<command-name> ...]",
    "    Return documentation details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "GETKEYS <full-command>",
    "    Return the keys from a full Redis command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys and the access flags from a full Redis command.",
];

const NO_SUCH_COMMAND: Error = Error::new("ERR Invalid command specified");
const NO_KEYS: Error = Error::new("ERR The command has no key arguments");
const BAD_COUNT: Error = Error::new("ERR Invalid number of arguments specified for command");
const BAD_ARGUMENTS: Error = Error::new("ERR Invalid arguments specified for command");
