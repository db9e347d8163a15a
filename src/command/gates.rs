//! What stands between a request and its handler: small checks, in Redis's order. The first that refuses wins.

use super::session::Origin;
use super::table::Row;
use super::{Error, LOADING, NO_AUTH, NO_MULTI, PROTECTED, RUNS_QUEUE, Session, TELLS_HEALTH, WRITE};
use crate::clients::{Client, Pause};
use crate::clock::Millis;
use crate::config::Config;
use crate::config::choices::ProtectedAction;
use crate::node::Node;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// What a gate may look at.
pub struct Request<'a> {
    pub node: &'a Node,
    pub config: &'a Config,
    pub session: &'a Session,
    pub row: Row,
}

pub type Gate = fn(&Request<'_>) -> Result<(), Error>;

/// In order. A command from the log passes unseen: it was let through when it was first run.
pub const GATES: &[Gate] = &[protected, authenticated, outside_multi, loading, snapshots, disk, replicas];

#[inline]
pub fn pass(request: &Request<'_>) -> Result<(), Error> {
    if request.session.origin == Origin::Log {
        return Ok(());
    }
    GATES.iter().try_for_each(|gate| gate(request))
}

/// Whether no gate would refuse a command without any of [`super::PLAIN_WITHOUT`], nor a pause hold it back.
#[inline]
pub fn is_calm(node: &Node, config: &Config, session: &Session, now: Millis) -> bool {
    if session.origin == Origin::Log {
        return session.queue.is_none();
    }
    session.authenticated
        && session.queue.is_none()
        && !node.life.is_loading()
        && !node.journal.has_failed()
        && node.rdb.last_ok.0.load(Relaxed)
        && config.min_replicas_to_write == 0
        && node.clients.paused(now) == Pause::None
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

/// A write, or the question whether all is well.
fn needs_disk(r: &Request<'_>) -> bool {
    writes(r) || r.row.command.has(TELLS_HEALTH)
}

/// The command writes, or runs queued ones that do.
fn writes(r: &Request<'_>) -> bool {
    let queued = || r.session.queue.iter().flat_map(|queue| &queue.commands).any(|(row, _)| row.command.has(WRITE));
    r.row.command.has(WRITE) || (r.row.command.has(RUNS_QUEUE) && queued())
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
