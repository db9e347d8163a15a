//! ACL: the users and their rights. What rules mean is `crate::acl`'s; here are the commands, the file, and what a change
//! means for connections.
//!
//! What changes rights owns the world: no command of any connection is in between, and what runs next runs with the new
//! rights. A deleted user's connections are closed, and so are those that listen to channels which their user lost. As
//! since 7.2, ACL LOAD lets the connections of users that are still there go on, with the rules of the file.
//! Differs: `requirepass` holds after ACL LOAD of a file without the user `default`; in Redis it is lost.

use super::config::replace_file;
use super::connection::kill;
use crate::acl::{Declared, Entry, Grammar, Rules, Selector, User, parse_file, render_file};
use crate::clients::Client;
use crate::command::permission::{judge, verdict};
use crate::command::*;
use crate::config::Config;
use crate::config::choices::AclPubsubDefault;
use crate::node::Node;
use crate::pubsub::ChannelKind;
use crate::resp::Argv;
use crate::{acl, log};
use std::path::Path;
use std::sync::Arc;

pub const COMMANDS: &[Command] =
    &[ACL, CAT, DELUSER, DRYRUN, GENPASS, GETUSER, HELP, LIST, LOAD, LOG, SAVE, SETUSER, USERS, WHOAMI];

const ACL: Command = Command {
    name: "ACL",
    args: "",
    arity: -2,
    since: "6.0.0",
    group: Group::Server,
    flags: CONTAINER,
    keys: Keys::NONE,
    doc: "A container for commands on users and their rights.",
    examples: "> ACL\n(error) ERR wrong number of arguments for 'acl' command",
    run: container,
};

const CAT: Command = Command {
    name: "ACL CAT",
    args: "[categoryname]",
    arity: -2,
    since: "6.0.0",
    group: Group::Server,
    flags: NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "The categories of commands, or the commands of one. O(N) in the number of commands.",
    examples: "> ACL CAT nosuch\n(error) ERR Unknown category 'nosuch'\n> ACL CAT a b\n(error) ERR unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP.",
    run: cat,
};

fn cat(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, out, node, registry, .. } = ctx;
    let catalog = node.acl.catalog();
    match args.len() {
        2 => out.bulks(catalog.categories().iter()),
        3 => {
            let name = args.get(2);
            let category = catalog.category(name).ok_or_else(|| unknown_category(name))?;
            let shown = |id: &usize| !registry.row(*id).command.has(HIDDEN);
            let ids: Vec<usize> = catalog.in_category(category).filter(shown).collect();
            out.bulks(ids.iter().map(|id| catalog.name(*id)));
        }
        _ => return Err(error::subcommand_syntax("ACL", args.get(1))),
    }
    Ok(())
}

fn unknown_category(name: &[u8]) -> Error {
    Error::owned([b"ERR Unknown category '", &name[..name.len().min(NAME_SHOWN_MAX)], b"'"].concat())
}

const DELUSER: Command = Command {
    name: "ACL DELUSER",
    args: "username [username ...]",
    arity: -3,
    since: "6.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE | WORLD,
    keys: Keys::NONE,
    doc: "Deletes users and closes their connections. O(N) in the number of connections.",
    examples: "> ACL SETUSER bob\nOK\n> ACL DELUSER bob nobody\n(integer) 1\n> ACL DELUSER default\n(error) ERR The 'default' user cannot be removed",
    run: deluser,
};

fn deluser(ctx: &mut Ctx<'_, '_>) -> Outcome {
    if ctx.args.from(2).any(|name| name == acl::DEFAULT) {
        return Err(DEFAULT_STAYS);
    }
    let gone: Vec<Arc<User>> = ctx.args.from(2).filter_map(|name| ctx.node.acl.remove(name)).collect();
    close_connections(ctx, &gone);
    ctx.out.count(gone.len())
}

const DRYRUN: Command = Command {
    name: "ACL DRYRUN",
    args: "username command [arg ...]",
    arity: -4,
    since: "7.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Whether a user might run a command, without running it. O(N) in its arguments.",
    examples: "> ACL DRYRUN default GET k\nOK\n> ACL DRYRUN nobody GET k\n(error) ERR User 'nobody' not found\n> ACL DRYRUN default NOSUCH\n(error) ERR Command 'NOSUCH' not found\n> ACL SETUSER bob +get\nOK\n> ACL DRYRUN bob GET k\n\"This user has no permissions to access the 'k' key\"\n> ACL DELUSER bob\n(integer) 1",
    run: dryrun,
};

fn dryrun(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, out, node, registry, config, .. } = ctx;
    let not_found =
        |what: &str, name: &[u8]| Error::owned([b"ERR ", what.as_bytes(), b" '", name, b"' not found"].concat());
    let name = args.get(2);
    let user = node.acl.get(name).ok_or_else(|| not_found("User", name))?;
    let argv = Argv::of(args.from(3));
    let row = registry.named(argv.view()).ok_or_else(|| not_found("Command", args.get(3)))?;
    if !row.command.accepts(argv.view().len()) {
        return Err(error::wrong_arity(&row.command.full_name()));
    }
    match judge(&user.rules(), row, argv.view()) {
        Ok(()) => out.ok(),
        Err(denied) => out.bulk(&verdict(config.compatibility_level, name, denied, row, argv.view())),
    }
}

const GENPASS: Command = Command {
    name: "ACL GENPASS",
    args: "[bits=integer]",
    arity: -2,
    since: "6.0.0",
    group: Group::Server,
    flags: NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "A password that cannot be guessed, in hexadecimal digits. O(N) in its length.",
    examples: "> ACL GENPASS 5000\n(error) ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
    run: genpass,
};

fn genpass(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let bits = match ctx.args.len() {
        2 => 256,
        3 => ctx.args.int(2)?,
        _ => return Err(error::subcommand_syntax("ACL", ctx.args.get(1))),
    };
    if !(1..=PASSWORD_BITS_MAX).contains(&bits) {
        return Err(BAD_BITS);
    }
    let digits = (bits as usize).div_ceil(4);
    let mut random = vec![0u8; digits.div_ceil(2)];
    getrandom::fill(&mut random).map_err(|_| NO_RANDOMNESS)?;
    let text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    ctx.out.bulk(&text.as_bytes()[..digits])
}

const GETUSER: Command = Command {
    name: "ACL GETUSER",
    args: "username",
    arity: 3,
    since: "6.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "A user's rules, part by part. O(N) in the rules.",
    examples: "> ACL GETUSER nobody\n(nil)\n> ACL SETUSER bob on ~k &c +@read\nOK\n> ACL GETUSER bob\n 1) \"flags\"\n 2) 1) \"on\"\n 3) \"passwords\"\n 4) (empty array)\n 5) \"commands\"\n 6) \"-@all +@read\"\n 7) \"keys\"\n 8) \"~k\"\n 9) \"channels\"\n10) \"&c\"\n11) \"selectors\"\n12) (empty array)\n> ACL DELUSER bob\n(integer) 1",
    run: getuser,
};

fn getuser(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { args, out, node, .. } = ctx;
    let Some(user) = node.acl.get(args.get(2)) else { return out.null() };
    let rules = user.rules();
    out.map(6);
    out.0.bulk(b"flags");
    let flags = rules.flags();
    out.set(flags.len());
    flags.iter().for_each(|flag| out.0.bulk(flag.as_bytes()));
    out.0.bulk(b"passwords");
    out.bulks(rules.passwords().iter());
    put_selector(out, rules.root());
    out.0.bulk(b"selectors");
    out.array(rules.selectors().len());
    for selector in rules.selectors() {
        out.map(3);
        put_selector(out, selector);
    }
    Ok(())
}

/// Three pairs of a map.
fn put_selector(out: &mut ctx::Reply<'_>, selector: &Selector) {
    let parts: [(&[u8], Vec<u8>); 3] = [
        (b"commands", selector.commands_text()),
        (b"keys", selector.keys_text()),
        (b"channels", selector.channels_text()),
    ];
    for (name, text) in parts {
        out.0.bulk(name);
        out.0.bulk(&text);
    }
}

const HELP: Command = Command {
    name: "ACL HELP",
    args: "",
    arity: 2,
    since: "6.0.0",
    group: Group::Server,
    flags: LOADING | STALE,
    keys: Keys::NONE,
    doc: "Says what subcommands there are. O(1).",
    examples: "> ACL HELP too many\n(error) ERR wrong number of arguments for 'acl|help' command",
    run: |ctx| ctx.out.help("ACL", HELP_LINES),
};

const LIST: Command = Command {
    name: "ACL LIST",
    args: "",
    arity: 2,
    since: "6.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "All users, as a file has them. O(N) in their number.",
    examples: "> ACL LIST\n1) \"user default on nopass ~* &* +@all\"",
    run: |ctx| {
        ctx.out.bulks(ctx.node.acl.lines().iter());
        Ok(())
    },
};

const LOAD: Command = Command {
    name: "ACL LOAD",
    args: "",
    arity: 2,
    since: "6.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE | WORLD,
    keys: Keys::NONE,
    doc: "Takes the users of the ACL file in place of all, or none if a line is wrong. O(N) in the number of users.",
    examples: "> ACL LOAD too many\n(error) ERR wrong number of arguments for 'acl|load' command",
    run: load,
};

fn load(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let file = file_of(ctx.config)?;
    let declared = read_file(ctx.node, ctx.config, file).map_err(|text| Error::owned([b"ERR ", &*text].concat()))?;
    let replaced = put_in_place(ctx.node, ctx.config, declared);
    close_connections(ctx, &replaced.gone);
    for (user, before) in &replaced.changed {
        close_deaf(ctx, user, before);
    }
    ctx.out.ok()
}

/// Reads the ACL file. The error's text is for the client, or the log.
pub fn read_file(node: &Node, config: &Config, file: &str) -> Result<Declared, Vec<u8>> {
    let text = std::fs::read(file)
        .map_err(|e| format!("Error loading ACLs, opening file '{file}': {}", log::cause(&e)).into_bytes())?;
    parse_file(grammar(node, config), file, &text)
}

/// Makes the users of a file the server's.
pub fn put_in_place(node: &Node, config: &Config, declared: Declared) -> acl::Replaced {
    node.acl.replace(declared, |catalog| {
        let mut rules = Rules::unrestricted(catalog);
        rules.require(&config.requirepass);
        rules
    })
}

fn file_of(config: &Config) -> Result<&str, Error> {
    if config.aclfile.is_empty() { Err(NO_FILE) } else { Ok(&config.aclfile) }
}

const LOG: Command = Command {
    name: "ACL LOG",
    args: "[operation: <count=integer | RESET>]",
    arity: -2,
    since: "6.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "What was denied of late, the newest first; or forgets it. O(N) in the entries shown.",
    examples: "> ACL LOG RESET\nOK\n> ACL LOG 5\n(empty array)\n> ACL LOG x\n(error) ERR value is not an integer or out of range",
    run: show_log,
};

fn show_log(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let count = match ctx.args.len() {
        2 => LOG_SHOWN,
        3 if ctx.args.get(2).eq_ignore_ascii_case(b"reset") => {
            ctx.node.acl.reset_log();
            return ctx.out.ok();
        }
        3 => usize::try_from(ctx.args.int(2)?.max(0)).unwrap_or(usize::MAX),
        _ => return Err(error::subcommand_syntax("ACL", ctx.args.get(1))),
    };
    let now = ctx.db.now();
    let entries = ctx.node.acl.log_entries(count);
    ctx.out.array(entries.len());
    entries.iter().for_each(|entry| put_entry(&mut ctx.out, entry, now));
    Ok(())
}

fn put_entry(out: &mut ctx::Reply<'_>, entry: &Entry, now: i64) {
    out.map(10);
    out.0.bulk(b"count");
    out.0.int(entry.count as i64);
    let texts: [(&[u8], &[u8]); 4] = [
        (b"reason", entry.reason.name().as_bytes()),
        (b"context", entry.context.name().as_bytes()),
        (b"object", &entry.object),
        (b"username", &entry.user),
    ];
    for (name, text) in texts {
        out.0.bulk(name);
        out.0.bulk(text);
    }
    out.0.bulk(b"age-seconds");
    out.0.double((now - entry.updated_ms).max(0) as f64 / 1000.0);
    out.0.bulk(b"client-info");
    out.0.bulk(entry.client_info.as_bytes());
    let figures: [(&[u8], i64); 3] = [
        (b"entry-id", entry.id as i64),
        (b"timestamp-created", entry.created_ms),
        (b"timestamp-last-updated", entry.updated_ms),
    ];
    for (name, figure) in figures {
        out.0.bulk(name);
        out.0.int(figure);
    }
}

const SAVE: Command = Command {
    name: "ACL SAVE",
    args: "",
    arity: 2,
    since: "6.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Writes all users into the ACL file. O(N) in their number.",
    examples: "> ACL SAVE too many\n(error) ERR wrong number of arguments for 'acl|save' command",
    run: save,
};

fn save(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let file = file_of(ctx.config)?;
    let users: Vec<_> = ctx.node.acl.all().iter().map(|user| (user.clone(), user.rules())).collect();
    let text = render_file(users.iter().map(|(user, rules)| (user.name(), &***rules)));
    replace_file(Path::new(file), &text).map_err(|e| {
        log::warning!("Writing ACL file for ACL SAVE: {}", log::cause(&e));
        NOT_SAVED
    })?;
    ctx.out.ok()
}

const SETUSER: Command = Command {
    name: "ACL SETUSER",
    args: "username [rule ...]",
    arity: -3,
    since: "6.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE | WORLD,
    keys: Keys::NONE,
    doc: "Changes a user's rules, or creates the user; all words or none. O(N) in their number.",
    examples: "> ACL SETUSER bob on nopass ~cache:* +@read -keys\nOK\n> ACL LIST\n1) \"user bob on nopass ~cache:* resetchannels -@all +@read -keys\"\n2) \"user default on nopass ~* &* +@all\"\n> ACL SETUSER bob +nosuch\n(error) ERR Error in ACL SETUSER modifier '+nosuch': Unknown command or category name in ACL\n> ACL DELUSER bob\n(integer) 1",
    run: setuser,
};

fn setuser(ctx: &mut Ctx<'_, '_>) -> Outcome {
    (2..ctx.args.len()).for_each(|i| ctx.redact(i));
    let name = ctx.args.get(2);
    if !acl::is_name(name) {
        return Err(BAD_NAME);
    }
    let words: Vec<&[u8]> = ctx.args.from(3).collect();
    let grammar = grammar(ctx.node, ctx.config);
    let change = |rules: &Rules| grammar.change(rules, &words);
    let changed = ctx.node.acl.change(name, &grammar.new_user(), change);
    let changed = changed.map_err(|text| Error::owned([b"ERR ", &*text].concat()))?;
    if let Some((user, before)) = changed {
        close_deaf(ctx, &user, &before);
    }
    ctx.out.ok()
}

fn grammar<'n>(node: &'n Node, config: &Config) -> Grammar<'n> {
    node.acl.grammar(config.acl_pubsub_default == AclPubsubDefault::Allchannels)
}

const USERS: Command = Command {
    name: "ACL USERS",
    args: "",
    arity: 2,
    since: "6.0.0",
    group: Group::Server,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "The names of all users. O(N) in their number.",
    examples: "> ACL USERS\n1) \"default\"",
    run: |ctx| {
        ctx.out.bulks(ctx.node.acl.all().iter().map(|user| user.name()));
        Ok(())
    },
};

const WHOAMI: Command = Command {
    name: "ACL WHOAMI",
    args: "",
    arity: 2,
    since: "6.0.0",
    group: Group::Server,
    flags: NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "The name of the connection's user. O(1).",
    examples: "> ACL WHOAMI\n\"default\"",
    run: |ctx| ctx.out.bulk(ctx.session.user.name()),
};

/// Closes the connections of users that are no more.
fn close_connections(ctx: &mut Ctx<'_, '_>, gone: &[Arc<User>]) {
    for client in ctx.node.clients.list() {
        if gone.iter().any(|user| kill::is_user(&client, user.name())) {
            kill::close(ctx, &client);
        }
    }
}

/// Closes a user's connections that listen to what the user may not hear any more. None is closed that could hear it
/// only by luck before: where the new rules name all that the old ones did, all may stay.
fn close_deaf(ctx: &mut Ctx<'_, '_>, user: &User, before: &Rules) {
    let rules = user.rules();
    let Some(now) = rules.channels() else { return };
    if before.channels().is_some_and(|before| before.iter().all(|glob| now.contains(glob))) {
        return;
    }
    let mut deaf: Vec<Arc<Client>> = Vec::new();
    ctx.node.pubsub.for_each(|kind, name, client| {
        if kill::is_user(client, user.name()) && !rules.may_hear(name, kind == ChannelKind::Pattern) {
            deaf.push(client.clone());
        }
    });
    deaf.sort_by_key(|client| client.id);
    deaf.dedup_by_key(|client| client.id);
    deaf.iter().for_each(|client| kill::close(ctx, client));
}

const HELP_LINES: &[&str] = &[
    "CAT [<category>]",
    "    List all commands that belong to <category>, or all command categories",
    "    when no category is specified.",
    "DELUSER <username> [<username> ...]",
    "    Delete a list of users.",
    "DRYRUN <username> <command> [<arg> ...]",
    "    Returns whether the user can execute the given command without executing the command.",
    "GETUSER <username>",
    "    Get the user's details.",
    "GENPASS [<bits>]",
    "    Generate a secure 256-bit user password. The optional `bits` argument can",
    "    be used to specify a different size.",
    "LIST",
    "    Show users details in config file format.",
    "LOAD",
    "    Reload users from the ACL file.",
    "LOG [<count> | RESET]",
    "    Show the ACL log entries.",
    "SAVE",
    "    Save the current config to the ACL file.",
    "SETUSER <username> <attribute> [<attribute> ...]",
    "    Create or modify a user with the specified attributes.",
    "USERS",
    "    List all the registered usernames.",
    "WHOAMI",
    "    Return the current connection username.",
];

/// Entries that ACL LOG shows when no number is given.
const LOG_SHOWN: usize = 10;
const PASSWORD_BITS_MAX: i64 = 4096;
/// Redis cuts what it repeats of a request in an error.
const NAME_SHOWN_MAX: usize = 128;
const DEFAULT_STAYS: Error = Error::new("ERR The 'default' user cannot be removed");
const BAD_NAME: Error = Error::new("ERR Usernames can't contain spaces or null characters");
const BAD_BITS: Error = Error::new(
    "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
);
const NO_RANDOMNESS: Error = Error::new("ERR the system's random source does not answer");
const NO_FILE: Error = Error::new(
    "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store users in the Redis configuration.",
);
const NOT_SAVED: Error =
    Error::new("ERR There was an error trying to save the ACLs. Please check the server logs for more information");
