//! What a session's user may run and touch: for the gate of ACL rules, and all others that ask the same.
//!
//! What is checked is what is touched: keys come from the row's one extractor, with the access that each needs. Commands
//! of a transaction and of a script are checked again when they run, and parked ones when they are served. Each refusal
//! is counted and kept for ACL LOG.

use super::gates::Request;
use super::line::Viewer;
use super::registry::Row;
use super::{
    Command, Ctx, Error, FROM_CHANNELS, FROM_PATTERNS, NO_AUTH, RUNS_QUEUE, Registry, TO_CHANNEL, categories, keys,
};
use crate::acl::{Access, Attempt, Catalog, Channels, Context, Denied, Incident, READ, Reason, Rules, User, WRITE};
use crate::config::choices::CompatibilityLevel;
use crate::resp::ArgvView;
use std::sync::atomic::Ordering::Relaxed;

/// The server's commands as rules see them.
pub fn catalog(registry: &Registry) -> Catalog {
    let known = |row: &&Command| (row.full_name(), row.category_bits());
    Catalog::new(categories::names(), registry.rows().iter().map(known))
}

/// The gate. What a script calls is asked for apart ([`Ctx::permit_called`]): no script outlives a right by having written.
pub(super) fn gate(r: &Request<'_>) -> Result<(), Error> {
    if is_in_script(r) { Ok(()) } else { check(r) }
}

fn is_in_script(r: &Request<'_>) -> bool {
    r.within.is_some_and(|outer| !outer.command.has(RUNS_QUEUE))
}

/// Also for commands that were let in once and run later.
pub(super) fn check(r: &Request<'_>) -> Result<(), Error> {
    if r.session.user.is_unrestricted() {
        return Ok(());
    }
    judge(&r.session.user.rules(), r.row, r.argv).map_err(|denied| refuse(r, denied))
}

/// Whether rules allow a request.
pub fn judge(rules: &Rules, row: Row, argv: ArgvView<'_>) -> Result<(), Denied> {
    with_attempt(row, argv, |attempt| rules.check(attempt))
}

/// Whether the running command's user may read every key: of SORT BY and GET, which find their keys in data.
pub fn may_read_all(ctx: &Ctx<'_, '_>) -> bool {
    let user = &ctx.session.user;
    user.is_unrestricted() || with_attempt(ctx.row, ctx.args.view(), |attempt| user.rules().check_reading_all(attempt))
}

fn with_attempt<R>(row: Row, argv: ArgvView<'_>, judge: impl FnOnce(&Attempt<'_>) -> R) -> R {
    let command = row.command;
    let channels = match () {
        () if command.has(TO_CHANNEL) => Channels::First,
        () if command.has(FROM_CHANNELS) => Channels::Names,
        () if command.has(FROM_PATTERNS) => Channels::Patterns,
        () => Channels::None,
    };
    let keys =
        |visit: &mut dyn FnMut(usize, Access)| command.keys.for_each(argv, &mut |i, flags| visit(i, access(flags)));
    let first_argument = if command.name.contains(' ') { 2 } else { 1 };
    judge(&Attempt { command: row.id, free: command.has(NO_AUTH), first_argument, argv, keys: &keys, channels })
}

/// What a use of a key asks of rules; nothing where only its being there or its length is told.
fn access(flags: u16) -> Access {
    let read = if flags & keys::ACCESS != 0 { READ } else { 0 };
    let write = if flags & (keys::INSERT | keys::DELETE | keys::UPDATE) != 0 { WRITE } else { 0 };
    read | write
}

/// Counts and logs a refusal, and puts it in words.
#[cold]
fn refuse(r: &Request<'_>, denied: Denied) -> Error {
    let (session, counters) = (r.session, &r.stats.counters);
    let name = r.row.command.full_name();
    let (reason, object, count) = match denied {
        Denied::Command => (Reason::Command, name.as_bytes(), &counters.acl_access_denied_cmd),
        Denied::Key(i) => (Reason::Key, r.argv.get(i), &counters.acl_access_denied_key),
        Denied::Channel(i) => (Reason::Channel, r.argv.get(i), &counters.acl_access_denied_channel),
    };
    count.add(1);
    let context = match r.within {
        Some(_) if is_in_script(r) => Context::Script,
        Some(_) => Context::Multi,
        None if session.queue.is_some() => Context::Multi,
        None => Context::TopLevel,
    };
    if r.within.is_none() {
        session.client.facts.last_command.store(r.row.id + 1, Relaxed);
    }
    let client_info = Viewer::server(r.registry, r.now).line(&session.client);
    let incident = Incident { reason, context, object, user: session.user.name(), client_info };
    r.node.acl.log(incident, r.now, r.config.acllog_max_len);
    let level = r.config.compatibility_level;
    match (r.within, context) {
        (None, _) => Error::owned([b"NOPERM ".as_slice(), &text(level, &session.user, denied, &name)].concat()),
        (Some(_), Context::Multi) => Error::owned(format!("{RULES_CHANGED}{}", reason_in_exec(denied))),
        (Some(_), _) => in_script(level, &session.user, denied, &name),
    }
}

/// `NOPERM`'s text behind the code, with a small letter where 7.0 has one.
fn text(level: CompatibilityLevel, user: &User, denied: Denied, command: &str) -> Vec<u8> {
    match (level, denied) {
        (CompatibilityLevel::Redis7, Denied::Command) => {
            format!("this user has no permissions to run the '{command}' command").into_bytes()
        }
        (CompatibilityLevel::Redis7, Denied::Key(_)) => {
            b"this user has no permissions to access one of the keys used as arguments".to_vec()
        }
        (CompatibilityLevel::Redis7, Denied::Channel(_)) => {
            b"this user has no permissions to access one of the channels used as arguments".to_vec()
        }
        (CompatibilityLevel::Redis8, Denied::Command) => {
            [b"User ", user.name(), format!(" has no permissions to run the '{command}' command").as_bytes()].concat()
        }
        (CompatibilityLevel::Redis8, Denied::Key(_)) => b"No permissions to access a key".to_vec(),
        (CompatibilityLevel::Redis8, Denied::Channel(_)) => b"No permissions to access a channel".to_vec(),
    }
}

/// What ACL DRYRUN answers.
pub fn verdict(level: CompatibilityLevel, user: &[u8], denied: Denied, row: Row, argv: ArgvView<'_>) -> Vec<u8> {
    let who = match level {
        CompatibilityLevel::Redis7 => b"This user".to_vec(),
        CompatibilityLevel::Redis8 => [b"User ", user].concat(),
    };
    let (verb, object, noun): (&[u8], _, &[u8]) = match denied {
        Denied::Command => (b"run", row.command.full_name().into_bytes(), b"command"),
        Denied::Key(i) => (b"access", argv.get(i).to_vec(), b"key"),
        Denied::Channel(i) => (b"access", argv.get(i).to_vec(), b"channel"),
    };
    [&who, b" has no permissions to ".as_slice(), verb, b" the '", &object, b"' ", noun].concat()
}

fn reason_in_exec(denied: Denied) -> &'static str {
    match denied {
        Denied::Command => "no permission to execute the command or subcommand",
        Denied::Key(_) => "no permission to touch the specified keys",
        Denied::Channel(_) => "no permission to access one of the channels used as arguments",
    }
}

fn in_script(level: CompatibilityLevel, user: &User, denied: Denied, command: &str) -> Error {
    match (level, denied) {
        (CompatibilityLevel::Redis8, _) => {
            Error::owned([b"ERR ACL failure in script: ".as_slice(), &text(level, user, denied, command)].concat())
        }
        (_, Denied::Command) => Error::new("ERR The user executing the script can't run this command or subcommand"),
        (_, Denied::Key(_)) => Error::new(
            "ERR The user executing the script can't access at least one of the keys mentioned in the command arguments",
        ),
        (_, Denied::Channel(_)) => {
            Error::new("ERR The user executing the script can't publish to the channel mentioned in the command")
        }
    }
}

const RULES_CHANGED: &str = "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: ";
