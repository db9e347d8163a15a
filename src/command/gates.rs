//! The gates: small checks between a request and its handler, one row each, in Redis's order.
//!
//! The first of [`REFUSALS`] that refuses wins; what passed them all may still be held back or queued ([`DEFERRALS`]). Each
//! row says besides when it is *quiet*: when it cannot stop any plain command (one without [`super::PLAIN_WITHOUT`]) of a
//! session for the rest of a batch. The fast path is derived from that: while all gates are quiet, plain commands are not
//! shown to them one by one. A test holds the two against each other. A command of the log passes unseen: it was let
//! through when it first ran.

use super::table::Row;
use super::{
    DENYOOM, Error, LOADING, MAY_REPLICATE, NO_AUTH, NO_MULTI, NO_QUEUE, PROTECTED, RUNS_QUEUE, Session, TELLS_HEALTH,
    WHILE_SUBSCRIBED, WRITE,
};
use crate::clients::{Client, Pause};
use crate::clock::Millis;
use crate::config::Config;
use crate::config::choices::ProtectedAction;
use crate::node::Node;
use crate::resp::ArgvView;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// What the gates look at, but for the request.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    pub node: &'a Node,
    pub config: &'a Config,
    pub session: &'a Session,
    pub now: Millis,
}

/// A request at the gates.
pub struct Request<'a> {
    pub look: Look<'a>,
    pub row: Row,
    pub argv: ArgvView<'a>,
    /// It runs inside another: EXEC or a script.
    pub inner: bool,
}

impl<'a> std::ops::Deref for Request<'a> {
    type Target = Look<'a>;

    fn deref(&self) -> &Look<'a> {
        &self.look
    }
}

/// A check that may refuse a request.
pub struct Gate {
    pub name: &'static str,
    pub check: fn(&Request<'_>) -> Result<(), Error>,
    pub quiet: fn(&Look<'_>) -> bool,
}

/// What becomes of a request that is neither refused nor run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deferred {
    /// CLIENT PAUSE holds it back.
    Held,
    /// MULTI queues it.
    Queued,
}

/// A reason to run a request later.
pub struct Deferral {
    pub name: &'static str,
    pub applies: fn(&Request<'_>) -> bool,
    pub to: Deferred,
    pub quiet: fn(&Look<'_>) -> bool,
}

pub const REFUSALS: &[Gate] = &[
    // What it refuses, DEBUG, is not plain.
    Gate { name: "protected", check: protected, quiet: |_| true },
    Gate { name: "authenticated", check: authenticated, quiet: |l| l.session.authenticated },
    // Nor is what may not be queued.
    Gate { name: "outside MULTI", check: outside_multi, quiet: |_| true },
    Gate { name: "snapshots", check: snapshots, quiet: |l| l.node.rdb.last_ok.0.load(Relaxed) },
    Gate { name: "disk", check: disk, quiet: |l| !l.node.journal.has_failed() },
    Gate { name: "replicas", check: replicas, quiet: |l| l.config.min_replicas_to_write == 0 },
    Gate { name: "subscribed", check: subscribed, quiet: |l| !l.session.only_listens() },
    Gate { name: "loading", check: loading, quiet: |l| !l.node.life.is_loading() },
];

pub const DEFERRALS: &[Deferral] = &[
    Deferral {
        name: "paused",
        applies: is_paused,
        to: Deferred::Held,
        quiet: |l| l.node.clients.paused(l.now) == Pause::None,
    },
    Deferral {
        name: "queued",
        applies: |r| r.session.queue.is_some() && !r.row.command.has(NO_QUEUE),
        to: Deferred::Queued,
        quiet: |l| l.session.queue.is_none(),
    },
];

/// Whether a request may run at all.
#[inline]
pub fn pass(request: &Request<'_>) -> Result<(), Error> {
    if request.session.is_replayed() {
        return Ok(());
    }
    REFUSALS.iter().try_for_each(|gate| (gate.check)(request))
}

/// Whether a request that passed is to run later.
#[inline]
pub fn deferred(request: &Request<'_>) -> Option<Deferred> {
    DEFERRALS.iter().find(|deferral| (deferral.applies)(request)).map(|deferral| deferral.to)
}

/// Whether no gate can stop a plain command.
#[inline]
pub fn are_quiet(look: &Look<'_>) -> bool {
    (look.session.is_replayed() || REFUSALS.iter().all(|gate| (gate.quiet)(look)))
        && DEFERRALS.iter().all(|deferral| (deferral.quiet)(look))
}

/// `enable-debug-command`.
fn protected(r: &Request<'_>) -> Result<(), Error> {
    if !r.row.command.has(PROTECTED) {
        return Ok(());
    }
    let allowed = match r.config.enable_debug_command {
        ProtectedAction::Yes => true,
        ProtectedAction::Local => is_local(&r.session.client),
        ProtectedAction::No => false,
    };
    if allowed { Ok(()) } else { Err(DEBUG_NOT_ALLOWED) }
}

/// The client is on this machine.
pub fn is_local(client: &Client) -> bool {
    client.is_unix || is_loopback(&client.address)
}

fn is_loopback(address: &str) -> bool {
    address.starts_with("127.") || address.starts_with("[::1]") || address.starts_with("::1")
}

fn authenticated(r: &Request<'_>) -> Result<(), Error> {
    if r.session.authenticated || r.row.command.has(NO_AUTH) { Ok(()) } else { Err(NO_AUTHENTICATION) }
}

fn outside_multi(r: &Request<'_>) -> Result<(), Error> {
    if r.session.queue.is_some() && r.row.command.has(NO_MULTI) { Err(NOT_IN_MULTI) } else { Ok(()) }
}

fn loading(r: &Request<'_>) -> Result<(), Error> {
    if r.node.life.is_loading() && !r.row.command.has(LOADING) { Err(LOADING_DATASET) } else { Ok(()) }
}

/// Writes stop while the log cannot be written.
fn disk(r: &Request<'_>) -> Result<(), Error> {
    if !needs_disk(r) {
        return Ok(());
    }
    match r.node.journal.write_error() {
        None => Ok(()),
        Some(cause) => Err(Error::owned(format!("MISCONF Errors writing to the AOF file: {cause}"))),
    }
}

/// `stop-writes-on-bgsave-error`.
fn snapshots(r: &Request<'_>) -> Result<(), Error> {
    let failed = !r.node.rdb.last_ok.0.load(Relaxed) && r.config.stop_writes_on_bgsave_error;
    if failed && !r.config.save.is_empty() && needs_disk(r) { Err(SNAPSHOTS_FAIL) } else { Ok(()) }
}

/// `min-replicas-to-write`: this server has no replicas, so any demand for some stops writes.
fn replicas(r: &Request<'_>) -> Result<(), Error> {
    let wanted = r.config.min_replicas_to_write > 0 && r.config.min_replicas_max_lag > 0;
    if wanted && writes(r) { Err(TOO_FEW_REPLICAS) } else { Ok(()) }
}

fn subscribed(r: &Request<'_>) -> Result<(), Error> {
    // What EXEC runs was let in when it was queued.
    if !r.session.only_listens() || r.inner || r.row.command.has(WHILE_SUBSCRIBED) {
        return Ok(());
    }
    let name = r.row.command.full_name();
    Err(Error::owned(format!(
        "ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
    )))
}

/// `CLIENT PAUSE`.
fn is_paused(r: &Request<'_>) -> bool {
    if r.session.is_replayed() {
        return false;
    }
    match r.node.clients.paused(r.now) {
        Pause::None => false,
        Pause::All => true,
        Pause::Write => r.row.command.has(WRITE | MAY_REPLICATE) || runs_queued(r, WRITE | MAY_REPLICATE | DENYOOM),
    }
}

/// The command runs queued ones, of which some have one of these flags.
fn runs_queued(r: &Request<'_>, flags: super::Flags) -> bool {
    let queued = || r.session.queue.iter().flat_map(|queue| &queue.commands).any(|(row, _)| row.command.has(flags));
    r.row.command.has(RUNS_QUEUE) && queued()
}

/// A write, or the question whether all is well.
fn needs_disk(r: &Request<'_>) -> bool {
    writes(r) || r.row.command.has(TELLS_HEALTH)
}

/// The command writes, or runs queued ones that do.
fn writes(r: &Request<'_>) -> bool {
    r.row.command.has(WRITE) || runs_queued(r, WRITE)
}

/// A browser that was made to send us a web request (cross-protocol scripting): its request line, or its first header.
/// Neither is a command, so only names that no row has are asked.
#[cold]
pub(super) fn is_cross_protocol(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// Logs the attack, at most once a minute: the log must not become the attack's target.
#[cold]
pub(super) fn warn_of_attack(now: Millis) {
    let before = LAST_ATTACK_MS.load(Relaxed);
    let due = before == 0 || now.abs_diff(before) > ATTACK_LOG_INTERVAL_MS;
    if due && LAST_ATTACK_MS.compare_exchange(before, now, Relaxed, Relaxed).is_ok() {
        crate::log::warning!(
            "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Redis. This is likely due to an attacker attempting to use Cross Protocol Scripting to compromise your Redis instance. Connection aborted."
        );
    }
}

static LAST_ATTACK_MS: AtomicI64 = AtomicI64::new(0);
const ATTACK_LOG_INTERVAL_MS: u64 = 60_000;
const DEBUG_NOT_ALLOWED: Error = Error::new(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.",
);
const NO_AUTHENTICATION: Error = Error::new("NOAUTH Authentication required.");
const SNAPSHOTS_FAIL: Error = Error::new(
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may modify the data set are disabled, because this instance is configured to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error.",
);
const NOT_IN_MULTI: Error = Error::new("ERR Command not allowed inside a transaction");
const TOO_FEW_REPLICAS: Error = Error::new("NOREPLICAS Not enough good replicas to write.");
const LOADING_DATASET: Error = Error::new("LOADING Redis is loading the dataset in memory");
