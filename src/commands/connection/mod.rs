//! A connection's own affairs: greeting, password, protocol, database. CLIENT is beside, in `client.rs`.
//!
//! Passwords are compared in constant time. They never show in the slow log.

mod client;
pub mod evict;
mod filter;
pub mod kill;
mod tracking;

use super::transactions::forget_watches;
use crate::acl::{Context, Incident, Reason};
use crate::command::line::Viewer;
use crate::command::session::{ReplyMode, Then};
use crate::command::*;
use crate::resp::Proto;
use client::set_name;
use std::sync::atomic::Ordering::Relaxed;

pub const COMMANDS: &[Command] = &[
    AUTH,
    client::CLIENT,
    tracking::CACHING,
    client::CAPA,
    client::GETNAME,
    tracking::GETREDIR,
    client::HELP,
    client::ID,
    client::IMPORT_SOURCE,
    client::INFO,
    kill::KILL,
    client::LIST,
    client::NO_EVICT,
    client::NO_TOUCH,
    client::PAUSE,
    client::REPLY,
    client::SETINFO,
    client::SETNAME,
    tracking::TRACKING,
    tracking::TRACKINGINFO,
    client::UNBLOCK,
    client::UNPAUSE,
    ECHO,
    HELLO,
    PING,
    QUIT,
    RESET,
    SELECT,
];

const AUTH: Command = Command {
    name: "AUTH",
    args: "[username@6.0.0] password",
    arity: -2,
    since: "1.0.0",
    group: Group::Connection,
    flags: NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY,
    keys: Keys::NONE,
    doc: "Proves who the connection is. O(N) in the number of the user's passwords.",
    examples: "> AUTH default whatever\nOK\n> AUTH nobody secret\n(error) WRONGPASS invalid username-password pair or user is disabled.",
    run: auth,
};

fn auth(ctx: &mut Ctx<'_, '_>) -> Outcome {
    (1..ctx.args.len()).for_each(|i| ctx.redact(i));
    match ctx.args.len() {
        2 if ctx.node.acl.default_user().rules().nopass => return Err(NO_PASSWORD_CONFIGURED),
        2 => authenticate(ctx, b"default", ctx.args.get(1))?,
        3 => authenticate(ctx, ctx.args.get(1), ctx.args.get(2))?,
        _ => return Err(error::SYNTAX),
    }
    ctx.out.ok()
}

/// Makes the session the user's, or refuses.
fn authenticate(ctx: &mut Ctx<'_, '_>, user: &[u8], password: &[u8]) -> Outcome {
    match ctx.node.acl.authenticate(user, password) {
        Some(user) => {
            ctx.session.become_user(user, true);
            Ok(())
        }
        None => {
            note_failure(ctx, user);
            Err(WRONG_PASSWORD)
        }
    }
}

/// ACL LOG hears of it.
#[cold]
fn note_failure(ctx: &Ctx<'_, '_>, user: &[u8]) {
    ctx.stats.counters.acl_access_denied_auth.add(1);
    let context = if ctx.is_in_exec() { Context::Multi } else { Context::TopLevel };
    let (reason, object) = (Reason::Auth, ctx.args.get(0));
    let client_info = Viewer::of(ctx).line(&ctx.session.client);
    let incident = Incident { reason, context, object, user, client_info };
    ctx.node.acl.log(incident, ctx.db.now(), ctx.config.acllog_max_len);
}

const ECHO: Command = Command {
    name: "ECHO",
    args: "message",
    arity: 2,
    since: "1.0.0",
    group: Group::Connection,
    flags: LOADING | STALE | FAST,
    keys: Keys::NONE,
    doc: "Answers the message. O(1).",
    examples: "> ECHO hello\n\"hello\"",
    run: echo,
};

fn echo(ctx: &mut Ctx<'_, '_>) -> Outcome {
    ctx.out.bulk(ctx.args.get(1))
}

const HELLO: Command = Command {
    name: "HELLO",
    args: "[arguments: protover [AUTH username password] [SETNAME clientname]]",
    arity: -1,
    since: "6.0.0",
    group: Group::Connection,
    flags: NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY,
    keys: Keys::NONE,
    doc: "Chooses the protocol, proves who the connection is, names it, and answers who the server is. O(1).",
    examples: "> HELLO 4\n(error) NOPROTO unsupported protocol version\n> HELLO 3 WHAT\n(error) ERR Syntax error in HELLO option 'WHAT'",
    run: hello,
};

fn hello(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let proto = match ctx.args.len() {
        1 => None,
        _ => match ctx.args.int_in(1, i64::MIN..=i64::MAX, BAD_PROTOCOL)? {
            2 => Some(Proto::Resp2),
            3 => Some(Proto::Resp3),
            _ => return Err(NO_PROTOCOL),
        },
    };
    let mut i = 2;
    while i < ctx.args.len() {
        let left = ctx.args.len() - i - 1;
        match &*ctx.args.word_at(i) {
            b"AUTH" if left >= 2 => {
                ctx.redact(i + 1);
                ctx.redact(i + 2);
                authenticate(ctx, ctx.args.get(i + 1), ctx.args.get(i + 2))?;
                i += 3;
            }
            b"SETNAME" if left >= 1 => {
                set_name(ctx, ctx.args.get(i + 1))?;
                i += 2;
            }
            word => {
                if word == b"AUTH" {
                    // Half of a name and a password is as secret.
                    (i + 1..ctx.args.len()).for_each(|secret| ctx.redact(secret));
                }
                let option = ctx.args.get(i);
                return Err(Error::owned([b"ERR Syntax error in HELLO option '", option, b"'"].concat()));
            }
        }
    }
    if !ctx.session.authenticated && !ctx.node.acl.default_user().rules().is_open() {
        return Err(HELLO_NEEDS_AUTH);
    }
    if let Some(proto) = proto {
        speak(ctx, proto);
    }
    introduce(ctx)
}

/// Changes the protocol, of this very reply too.
fn speak(ctx: &mut Ctx<'_, '_>, proto: Proto) {
    ctx.write_pushes();
    ctx.session.proto = proto;
    ctx.out.proto = proto;
    ctx.session.client.facts.resp3.store(proto == Proto::Resp3, Relaxed);
}

/// The server's answer to HELLO.
fn introduce(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let Ctx { out, session, config, node, .. } = ctx;
    out.map(7);
    out.0.bulk(b"server");
    out.0.bulk(b"redis");
    out.0.bulk(b"version");
    out.0.bulk(config.compatibility_level.redis_version().as_bytes());
    out.0.bulk(b"proto");
    out.0.int(if session.proto == Proto::Resp3 { 3 } else { 2 });
    out.0.bulk(b"id");
    out.0.int(i64::try_from(session.client.id).unwrap_or(i64::MAX));
    out.0.bulk(b"mode");
    out.0.bulk(if config.cluster_enabled { b"cluster" } else { b"standalone" });
    out.0.bulk(b"role");
    out.0.bulk(if node.replication.is_replica() { b"replica" } else { b"master" });
    out.0.bulk(b"modules");
    out.array(0);
    Ok(())
}

const PING: Command = Command {
    name: "PING",
    args: "[message]",
    arity: -1,
    since: "1.0.0",
    group: Group::Connection,
    flags: FAST | TELLS_HEALTH | WHILE_SUBSCRIBED,
    keys: Keys::NONE,
    doc: "Answers PONG, or the message. O(1).",
    examples: "> PING\nPONG\n> PING hello\n\"hello\"",
    run: ping,
};

fn ping(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let message = match ctx.args.len() {
        1 => b"",
        2 => ctx.args.get(1),
        _ => return Err(error::wrong_arity("ping")),
    };
    if ctx.session.only_listens() {
        ctx.out.array(2);
        ctx.out.0.bulk(b"pong");
        return ctx.out.bulk(message);
    }
    match ctx.args.len() {
        1 => ctx.out.simple("PONG"),
        _ => ctx.out.bulk(message),
    }
}

const QUIT: Command = Command {
    name: "QUIT",
    args: "",
    arity: -1,
    since: "1.0.0",
    group: Group::Connection,
    flags: NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY | NO_QUEUE | WHILE_SUBSCRIBED,
    keys: Keys::NONE,
    doc: "Answers OK and closes the connection. O(1).",
    examples: "> QUIT\nOK",
    run: quit,
};

fn quit(ctx: &mut Ctx<'_, '_>) -> Outcome {
    ctx.session.then = Then::Close;
    // A client that reads the reply and tells another connection of it finds this one gone.
    ctx.session.client.facts.gone.store(true, Relaxed);
    ctx.out.ok()
}

const RESET: Command = Command {
    name: "RESET",
    args: "",
    arity: 1,
    since: "6.2.0",
    group: Group::Connection,
    flags: NOSCRIPT | LOADING | STALE | FAST | NO_AUTH | ALLOW_BUSY | NO_QUEUE | WHILE_SUBSCRIBED,
    keys: Keys::NONE,
    doc: "Makes the connection what a new one is: RESP2, database 0, no name, no transaction. O(1).",
    examples: "> CLIENT SETNAME bob\nOK\n> RESET\nRESET\n> CLIENT GETNAME\n(nil)",
    run: reset,
};

fn reset(ctx: &mut Ctx<'_, '_>) -> Outcome {
    forget_watches(ctx);
    ctx.node.clients.monitors.remove(&ctx.session.client);
    ctx.session.unsubscribe_all(&ctx.node.pubsub);
    ctx.session.stop_tracking(ctx.node);
    ctx.write_pushes();
    let user = ctx.node.acl.default_user().clone();
    let authenticated = user.rules().is_open();
    let session = &mut *ctx.session;
    session.queue = None;
    session.reply = ReplyMode::On;
    session.no_touch = false;
    session.import_source = false;
    session.fieldsets = None;
    session.become_user(user, authenticated);
    session.select(0);
    let facts = &session.client.facts;
    facts.queue_is_gone();
    facts.memory.fieldsets.store(0, Relaxed);
    facts.no_touch.store(false, Relaxed);
    facts.import_source.store(false, Relaxed);
    facts.redirects.store(false, Relaxed);
    facts.no_evict.store(false, Relaxed);
    facts.names.lock().name.clear();
    ctx.db.select(0);
    speak(ctx, Proto::Resp2);
    ctx.out.simple("RESET")
}

const SELECT: Command = Command {
    name: "SELECT",
    args: "index",
    arity: 2,
    since: "1.0.0",
    group: Group::Connection,
    flags: LOADING | STALE | FAST,
    keys: Keys::NONE,
    doc: "Chooses the database for the connection's next commands. O(1).",
    examples: "> SELECT 1\nOK\n> SELECT 99\n(error) ERR DB index is out of range\n> SELECT 0\nOK",
    run: select,
};

fn select(ctx: &mut Ctx<'_, '_>) -> Outcome {
    let index = ctx.args.int(1)?;
    if i32::try_from(index).is_err() {
        return Err(NOT_INT32);
    }
    if index != 0 && ctx.config.cluster_enabled && !ctx.session.is_replayed() {
        return Err(Error::new("ERR SELECT is not allowed in cluster mode"));
    }
    let index = usize::try_from(index).ok().filter(|&i| i < ctx.node.keyspace.databases()).ok_or(error::DB_INDEX)?;
    ctx.session.select(index);
    ctx.db.select(index);
    ctx.out.ok()
}

const NO_PASSWORD_CONFIGURED: Error = Error::new(
    "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?",
);
const WRONG_PASSWORD: Error = Error::new("WRONGPASS invalid username-password pair or user is disabled.");
const BAD_PROTOCOL: Error = Error::new("ERR Protocol version is not an integer or out of range");
const NO_PROTOCOL: Error = Error::new("NOPROTO unsupported protocol version");
const HELLO_NEEDS_AUTH: Error = Error::new(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
);
const NOT_INT32: Error = Error::new("ERR value is out of range, value must between -2147483648 and 2147483647");
