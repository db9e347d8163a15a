//! CLIENT: what a connection is called and how it is treated, and a look at all the others.
//!
//! What concerns only the connection is in its session; what others may see is in the shared facts. Tracking is not
//! here, so CLIENT TRACKING and its like are no commands.

use super::filter::Filter;
use crate::clients::{Client, ClientClass, Names, Pause, Unblock};
use crate::command::line::Viewer;
use crate::command::session::ReplyMode;
use crate::command::*;
use crate::num;
use std::sync::atomic::Ordering::Relaxed;

pub const CLIENT: Command = Command {
    name: "CLIENT",
    args: "",
    arity: -2,
    since: "2.4.0",
    group: Group::Connection,
    flags: CONTAINER,
    keys: Keys::NONE,
    doc: "A container for commands on connections.",
    examples: "> CLIENT\n(error) ERR wrong number of arguments for 'client' command",
    run: container,
};

pub const CAPA: Command = Command {
    name: "CLIENT CAPA",
    args: "capability [capability ...]",
    arity: -3,
    since: "8.0.0",
    group: Group::Connection,
    flags: NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Notes what the client can do: REDIRECT, it follows a redirection to the primary (of Valkey). What is not known is passed over. O(1).",
    examples: "> CLIENT CAPA redirect unheard-of\nOK\n> CLIENT LIST CAPA r NOT-CAPA r\n\"\"",
    run: |ctx| {
        if ctx.args.from(2).any(|word| word.eq_ignore_ascii_case(b"redirect")) {
            ctx.session.client.facts.redirects.store(true, Relaxed);
        }
        ctx.out.ok()
    },
};

pub const GETNAME: Command = Command {
    name: "CLIENT GETNAME",
    args: "",
    arity: 2,
    since: "2.6.9",
    group: Group::Connection,
    flags: NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "The name the connection gave itself. O(1).",
    examples: "> CLIENT GETNAME\n(nil)",
    run: |ctx| {
        let name = ctx.session.client.facts.names.lock().name.clone();
        if name.is_empty() { ctx.out.null() } else { ctx.out.bulk(&name) }
    },
};

pub const HELP: Command = Command {
    name: "CLIENT HELP",
    args: "",
    arity: 2,
    since: "5.0.0",
    group: Group::Connection,
    flags: LOADING | STALE,
    keys: Keys::NONE,
    doc: "Says what subcommands there are. O(1).",
    examples: "> CLIENT HELP too many\n(error) ERR wrong number of arguments for 'client|help' command",
    run: |ctx| ctx.out.help("CLIENT", HELP_LINES),
};

pub const ID: Command = Command {
    name: "CLIENT ID",
    args: "",
    arity: 2,
    since: "5.0.0",
    group: Group::Connection,
    flags: NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "The connection's number; numbers only grow. O(1).",
    examples: "> CLIENT ID too many\n(error) ERR wrong number of arguments for 'client|id' command",
    run: |ctx| ctx.out.int(i64::try_from(ctx.session.client.id).unwrap_or(i64::MAX)),
};

pub const INFO: Command = Command {
    name: "CLIENT INFO",
    args: "",
    arity: 2,
    since: "6.2.0",
    group: Group::Connection,
    flags: NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "The connection's own line of CLIENT LIST. O(1).",
    examples: "> CLIENT INFO too many\n(error) ERR wrong number of arguments for 'client|info' command",
    run: info,
};

fn info(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let line = Viewer::of(ctx).line(&ctx.session.client) + "\n";
    ctx.out.verbatim("txt", line.as_bytes());
    Ok(())
}

pub const LIST: Command = Command {
    name: "CLIENT LIST",
    args: "[client-type@5.0.0: TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID@6.2.0 client-id [client-id ...]]",
    arity: -2,
    since: "2.4.0",
    group: Group::Connection,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "One line about each connection, or about those that match all filters of CLIENT KILL. O(N) in the number of connections.",
    examples: "> CLIENT LIST TYPE pubsub\n\"\"\n> CLIENT LIST ID 999999\n\"\"\n> CLIENT LIST WHAT\n(error) ERR syntax error",
    run: list,
};

fn list(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let clients = ctx.node.clients.list();
    let (viewer, mut text) = (Viewer::of(ctx), String::new());
    let mut write = |client: &Client| {
        text.push_str(&viewer.line(client));
        text.push('\n');
    };
    match (&*ctx.args.word_at(2), ctx.args.len()) {
        (_, 2) => clients.iter().for_each(|client| write(client)),
        (b"TYPE", 4) => {
            let wanted = client_type(ctx.args.get(3))?;
            clients.iter().filter(|client| ClientType::of(client) == wanted).for_each(|client| write(client));
        }
        (b"ID", 4..) if ctx.args.from(3).all(|id| !is_option(id)) => {
            for id in ctx.args.from(3) {
                let id = num::parse_i64(id).ok_or(BAD_CLIENT_ID)?;
                let client = u64::try_from(id).ok().and_then(|id| ctx.node.clients.get(id));
                client.iter().for_each(|client| write(client));
            }
        }
        _ => {
            let filter = Filter::for_list(&mut ctx.args, ctx.node)?;
            let (me, now) = (ctx.session.client.id, ctx.db.now());
            clients.iter().filter(|client| filter.matches(client, me, now)).for_each(|client| write(client));
        }
    }
    ctx.out.verbatim("txt", text.as_bytes());
    Ok(())
}

/// Behind the ids come other filters.
fn is_option(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_alphabetic) && text.len() > 1
}

/// What a connection is used for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ClientType {
    Normal,
    Master,
    Replica,
    PubSub,
}

impl ClientType {
    pub fn of(client: &Client) -> Self {
        match client.facts.class() {
            _ if client.facts.is_primary.load(Relaxed) => Self::Master,
            ClientClass::Normal => Self::Normal,
            ClientClass::Replica => Self::Replica,
            ClientClass::PubSub => Self::PubSub,
        }
    }
}

pub fn client_type(word: &[u8]) -> Result<ClientType, Error> {
    match &*args::Word::of(word) {
        b"NORMAL" => Ok(ClientType::Normal),
        b"MASTER" => Ok(ClientType::Master),
        b"REPLICA" | b"SLAVE" => Ok(ClientType::Replica),
        b"PUBSUB" => Ok(ClientType::PubSub),
        _ => Err(Error::owned([b"ERR Unknown client type '", word, b"'"].concat())),
    }
}

pub const NO_EVICT: Command = Command {
    name: "CLIENT NO-EVICT",
    args: "<ON | OFF>",
    arity: 3,
    since: "7.0.0",
    group: Group::Connection,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Keeps the connection when others are closed to save memory. O(1).",
    examples: "> CLIENT NO-EVICT ON\nOK\n> CLIENT NO-EVICT MAYBE\n(error) ERR syntax error",
    run: |ctx| {
        let on = on_or_off(ctx)?;
        ctx.session.client.facts.no_evict.store(on, Relaxed);
        ctx.out.ok()
    },
};

pub const IMPORT_SOURCE: Command = Command {
    name: "CLIENT IMPORT-SOURCE",
    args: "<ON | OFF>",
    arity: 3,
    since: "8.1.0",
    group: Group::Connection,
    flags: NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "While `import-mode` is on, lets the connection see and keep keys that have expired: who imports data removes them itself. O(1).",
    examples: "> CLIENT IMPORT-SOURCE ON\n(error) ERR Server is not in import mode",
    run: |ctx| {
        let on = on_or_off(ctx)?;
        if on && !ctx.config.import_mode {
            return Err(NOT_IMPORTING);
        }
        ctx.session.import_source = on;
        ctx.session.client.facts.import_source.store(on, Relaxed);
        ctx.out.ok()
    },
};

pub const NO_TOUCH: Command = Command {
    name: "CLIENT NO-TOUCH",
    args: "<ON | OFF>",
    arity: 3,
    since: "7.2.0",
    group: Group::Connection,
    flags: NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Lets the connection's reads leave the keys' access clocks alone. O(1).",
    examples: "> CLIENT NO-TOUCH ON\nOK\n> CLIENT NO-TOUCH OFF\nOK",
    run: |ctx| {
        let on = on_or_off(ctx)?;
        ctx.session.no_touch = on;
        ctx.session.client.facts.no_touch.store(on, Relaxed);
        ctx.out.ok()
    },
};

fn on_or_off(ctx: &Ctx<'_, '_>) -> Result<bool, Error> {
    match &*ctx.args.word_at(2) {
        b"ON" => Ok(true),
        b"OFF" => Ok(false),
        _ => Err(error::SYNTAX),
    }
}

pub const PAUSE: Command = Command {
    name: "CLIENT PAUSE",
    args: "timeout:integer [mode@6.2.0: WRITE | ALL]",
    arity: -3,
    since: "2.9.50",
    group: Group::Connection,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Holds back all commands, or only those that write, for so many milliseconds. O(1).",
    examples: "> CLIENT PAUSE 1 NEVER\n(error) ERR CLIENT PAUSE mode must be WRITE or ALL\n> CLIENT PAUSE -1\n(error) ERR timeout is negative\n> CLIENT PAUSE x\n(error) ERR timeout is not an integer or out of range",
    run: pause,
};

fn pause(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let mode = match (&*ctx.args.word_at(3), ctx.args.len()) {
        (_, 3) | (b"ALL", 4) => Pause::All,
        (b"WRITE", 4) => Pause::Write,
        (_, 4) => return Err(BAD_PAUSE_MODE),
        _ => return Err(error::subcommand_syntax("CLIENT", ctx.args.get(1))),
    };
    let timeout_ms = num::parse_i64(ctx.args.get(2)).ok_or(TIMEOUT_NOT_INT)?;
    if timeout_ms < 0 {
        return Err(TIMEOUT_NEGATIVE);
    }
    let now = ctx.db.now();
    let until = now.checked_add(timeout_ms).ok_or(TIMEOUT_TOO_LARGE)?;
    ctx.node.clients.pause(mode, until, now);
    ctx.out.ok()
}

pub const REPLY: Command = Command {
    name: "CLIENT REPLY",
    args: "<action: ON | OFF | SKIP>",
    arity: 3,
    since: "3.2.0",
    group: Group::Connection,
    flags: NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Turns replies on or off, or leaves out the next one. O(1).",
    examples: "> CLIENT REPLY ON\nOK\n> CLIENT REPLY LATER\n(error) ERR syntax error",
    run: reply,
};

fn reply(ctx: &mut Ctx<'_, '_>) -> Outcome {
    match &*ctx.args.word_at(2) {
        b"ON" => {
            ctx.session.reply = ReplyMode::On;
            return ctx.out.ok();
        }
        b"OFF" => ctx.session.reply = ReplyMode::Off,
        b"SKIP" if ctx.session.reply != ReplyMode::Off => ctx.session.reply = ReplyMode::SkipNext,
        b"SKIP" => {}
        _ => return Err(error::SYNTAX),
    }
    Ok(())
}

pub const SETINFO: Command = Command {
    name: "CLIENT SETINFO",
    args: "<attr: LIB-NAME libname | LIB-VER libver>",
    arity: 4,
    since: "7.2.0",
    group: Group::Connection,
    flags: NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Notes which client library the connection uses. O(1).",
    examples: "> CLIENT SETINFO LIB-NAME mylib\nOK\n> CLIENT SETINFO lib-ver 1.2\nOK\n> CLIENT SETINFO what 1\n(error) ERR Unrecognized option 'what'",
    run: setinfo,
};

fn setinfo(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let (option, value) = (ctx.args.get(2), ctx.args.get(3));
    let field: fn(&mut Names) -> &mut Vec<u8> = match &*ctx.args.word_at(2) {
        b"LIB-NAME" => |names| &mut names.lib_name,
        b"LIB-VER" => |names| &mut names.lib_version,
        _ => return Err(Error::owned([b"ERR Unrecognized option '", option, b"'"].concat())),
    };
    if !is_plain(value) {
        let text = b" cannot contain spaces, newlines or special characters.";
        return Err(Error::owned([b"ERR ", option, text].concat()));
    }
    *field(&mut ctx.session.client.facts.names.lock()) = value.to_vec();
    ctx.out.ok()
}

pub const SETNAME: Command = Command {
    name: "CLIENT SETNAME",
    args: "connection-name",
    arity: 3,
    since: "2.6.9",
    group: Group::Connection,
    flags: NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Gives the connection a name; an empty one takes it away. O(1).",
    examples: "> CLIENT SETNAME bob\nOK\n> CLIENT GETNAME\n\"bob\"\n> CLIENT SETNAME \"a b\"\n(error) ERR Client names cannot contain spaces, newlines or special characters.",
    run: |ctx| {
        set_name(ctx, ctx.args.get(2))?;
        ctx.out.ok()
    },
};

pub fn set_name(ctx: &Ctx<'_, '_>, name: &[u8]) -> Outcome {
    if !is_plain(name) {
        return Err(BAD_NAME);
    }
    ctx.session.client.facts.names.lock().name = name.to_vec();
    Ok(())
}

/// CLIENT LIST separates its fields with blanks, so names must have none.
fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|b| (b'!'..=b'~').contains(b))
}

pub const UNBLOCK: Command = Command {
    name: "CLIENT UNBLOCK",
    args: "client-id [unblock-type: TIMEOUT | ERROR]",
    arity: -3,
    since: "5.0.0",
    group: Group::Connection,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Ends the blocking command another connection waits in, as a timeout or as an error. O(log N).",
    examples: "> CLIENT UNBLOCK 999999\n(integer) 0\n> CLIENT UNBLOCK 1 GENTLY\n(error) ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
    run: unblock,
};

fn unblock(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let how = match (&*ctx.args.word_at(3), ctx.args.len()) {
        (_, 3) | (b"TIMEOUT", 4) => Unblock::Timeout,
        (b"ERROR", 4) => Unblock::Error,
        (_, 4) => return Err(BAD_UNBLOCK_REASON),
        _ => return Err(error::subcommand_syntax("CLIENT", ctx.args.get(1))),
    };
    let id = ctx.args.int(2)?;
    let client = u64::try_from(id).ok().and_then(|id| ctx.node.clients.get(id));
    // Of two that unblock at once, one does.
    let blocked = client.filter(|client| client.facts.blocked.swap(false, Relaxed));
    if let Some(client) = &blocked {
        client.unblock(how);
    }
    ctx.out.int(i64::from(blocked.is_some()))
}

pub const UNPAUSE: Command = Command {
    name: "CLIENT UNPAUSE",
    args: "",
    arity: 2,
    since: "6.2.0",
    group: Group::Connection,
    flags: ADMIN | NOSCRIPT | LOADING | STALE,
    keys: Keys::NONE,
    doc: "Ends CLIENT PAUSE. O(N) in the number of connections held back.",
    examples: "> CLIENT UNPAUSE\nOK",
    run: |ctx| {
        ctx.node.clients.unpause();
        ctx.out.ok()
    },
};

const HELP_LINES: &[&str] = &[
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made from the specified address",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made to specified local address",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Kill connections by type.",
    "    * USER <username>",
    "      Kill connections authenticated by <username>.",
    "    * SKIPME (YES|NO)",
    "      Skip killing current connection (default: yes).",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Return clients of specified type.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Read without touching the keys' access clocks.",
    "IMPORT-SOURCE (ON|OFF)",
    "    See keys that have expired while import-mode is on.",
    "SETINFO (LIB-NAME|LIB-VER) <value>",
    "    Note the client library.",
];

const NOT_IMPORTING: Error = Error::new("ERR Server is not in import mode");
const BAD_CLIENT_ID: Error = Error::new("ERR Invalid client ID");
const BAD_NAME: Error = Error::new("ERR Client names cannot contain spaces, newlines or special characters.");
const BAD_PAUSE_MODE: Error = Error::new("ERR CLIENT PAUSE mode must be WRITE or ALL");
const TIMEOUT_NOT_INT: Error = Error::new("ERR timeout is not an integer or out of range");
const TIMEOUT_NEGATIVE: Error = Error::new("ERR timeout is negative");
const TIMEOUT_TOO_LARGE: Error = Error::new("ERR timeout is out of range");
const BAD_UNBLOCK_REASON: Error = Error::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
