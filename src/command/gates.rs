//! The gates: small checks between a request and its handler, one row each, in Redis's order.
//!
//! The first of [`REFUSALS`] that refuses wins; what passed them all may still be held back or queued ([`DEFERRALS`]). Each
//! row says besides when it is *quiet*: when it cannot stop any plain command (one without [`super::PLAIN_WITHOUT`]) of a
//! session for the rest of a batch. The fast path is derived from that: while all gates are quiet, plain commands are not
//! shown to them one by one. A test holds the two against each other. A command of the log passes unseen: it was let
//! through when it first ran.

use super::error::PRIMARY_IS_DOWN;
use super::permission;
use super::registry::Row;
use super::slots;
use super::turn::Turn;
use super::{
    ALLOW_BUSY, DENYOOM, Error, LOADING, MAY_REPLICATE, NO_ASYNC_LOADING, NO_AUTH, NO_MULTI, NO_QUEUE, PROTECTED,
    RUNS_QUEUE, RUNS_SCRIPT, Registry, STALE, Session, TELLS_HEALTH, WALK, WHILE_SUBSCRIBED, WORLD, WRITE,
};
use crate::clients::{Client, Pause};
use crate::clock::Millis;
use crate::config::Config;
use crate::config::choices::ProtectedAction;
use crate::node::{Loads, Node};
use crate::observe::WorkerStats;
use crate::resp::ArgvView;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// What the gates look at, but for the request.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    pub node: &'a Node,
    pub config: &'a Config,
    pub session: &'a Session,
    pub stats: &'a WorkerStats,
    pub registry: &'static Registry,
    pub now: Millis,
}

impl<'a> Look<'a> {
    pub(super) fn of(turn: &'a Turn<'_>, session: &'a Session) -> Self {
        let Turn { node, stats, registry, now, .. } = *turn;
        Self { node, config: &turn.config, session, stats, registry, now }
    }
}

/// A request at the gates.
pub struct Request<'a> {
    pub look: Look<'a>,
    pub row: Row,
    pub argv: ArgvView<'a>,
    /// The command that it runs inside of: EXEC or a script.
    pub within: Option<Row>,
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
    Gate { name: "acl", check: permission::gate, quiet: |l| l.session.user.is_unrestricted() },
    // It stops no command with one key, and others pass all gates.
    Gate { name: "slots", check: slots::gate, quiet: |_| true },
    Gate { name: "snapshots", check: snapshots, quiet: |l| l.node.rdb.last_ok.0.load(Relaxed) },
    Gate { name: "disk", check: disk, quiet: |l| !l.node.journal.has_failed() },
    Gate { name: "replicas", check: replicas, quiet: |l| l.config.min_replicas_to_write == 0 },
    Gate { name: "read-only replica", check: read_only, quiet: |l| !l.node.replication.is_replica() },
    Gate { name: "subscribed", check: subscribed, quiet: |l| !l.session.only_listens() },
    Gate { name: "stale", check: stale, quiet: |l| !l.node.replication.is_stale() },
    Gate { name: "loading", check: loading, quiet: |l| l.node.life.loads() == Loads::Nothing },
    Gate { name: "busy", check: busy, quiet: |l| !l.node.scripts.runs.any() },
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
    Deferral { name: "migrated", applies: is_migrated, to: Deferred::Held, quiet: |l| !l.node.migrations.any() },
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
    let is_open = || r.node.acl.default_user().rules().is_open();
    if r.session.authenticated || r.row.command.has(NO_AUTH) || is_open() { Ok(()) } else { Err(NO_AUTHENTICATION) }
}

fn outside_multi(r: &Request<'_>) -> Result<(), Error> {
    if r.session.queue.is_some() && r.row.command.has(NO_MULTI) { Err(NOT_IN_MULTI) } else { Ok(()) }
}

fn loading(r: &Request<'_>) -> Result<(), Error> {
    match r.node.life.loads() {
        Loads::Data if !r.row.command.has(LOADING) => Err(LOADING_DATASET),
        Loads::Aside if r.row.command.has(NO_ASYNC_LOADING) => Err(LOADING_DATASET),
        _ => Ok(()),
    }
}

/// A script has been running for long. What needs none of its keys goes on; a command without keys might need anything.
fn busy(r: &Request<'_>) -> Result<(), Error> {
    let Some(run) = r.node.scripts.runs.busy() else { return Ok(()) };
    if r.within.is_some() || r.row.command.has(ALLOW_BUSY) {
        return Ok(());
    }
    let mut keys = 0;
    r.row.command.keys.for_each(r.argv, &mut |_, _| keys += 1);
    let is_apart = keys > 0 && !r.row.command.has(WORLD | WALK) && !r.node.scripts.runs.own_world();
    if is_apart { Ok(()) } else { Err(super::scripts::busy(run.is_function).clone()) }
}

/// Writes stop while the log cannot be written.
fn disk(r: &Request<'_>) -> Result<(), Error> {
    if !r.node.journal.has_failed() || !needs_disk(r) {
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

/// `min-replicas-to-write`, which binds a primary.
fn replicas(r: &Request<'_>) -> Result<(), Error> {
    let wanted = r.config.min_replicas_to_write as usize;
    let binds = wanted > 0 && r.config.min_replicas_max_lag > 0 && !r.node.replication.is_replica();
    if binds && r.node.replication.good() < wanted && writes(r) { Err(TOO_FEW_REPLICAS) } else { Ok(()) }
}

/// `replica-read-only`.
fn read_only(r: &Request<'_>) -> Result<(), Error> {
    let replication = &r.node.replication;
    // A transaction is judged as a whole, by the role that it begins in.
    if r.within.is_some_and(|row| row.command.has(RUNS_QUEUE)) {
        return Ok(());
    }
    let is_read_only = replication.is_replica() && r.config.replica_read_only;
    // What a failover holds back is judged when that has ended, one way or the other.
    if is_read_only && writes(r) && replication.failover.lock().is_none() { Err(READ_ONLY) } else { Ok(()) }
}

const STALE_IN_SCRIPT: Error = Error::new("ERR Can not execute the command on a stale replica");

/// `replica-serve-stale-data no`: what the primary has by now is not known.
fn stale(r: &Request<'_>) -> Result<(), Error> {
    let is_stale = r.node.replication.is_stale() && !r.config.replica_serve_stale_data;
    if !is_stale || r.within.is_some_and(|row| row.command.has(RUNS_QUEUE)) {
        return Ok(());
    }
    let queued = || r.session.queue.iter().flat_map(|queue| &queue.commands).all(|(row, _)| row.command.has(STALE));
    let may_run = r.row.command.has(STALE) && (!r.row.command.has(RUNS_QUEUE) || queued());
    match may_run {
        true => Ok(()),
        false if r.within.is_some() => Err(STALE_IN_SCRIPT),
        false => Err(PRIMARY_IS_DOWN),
    }
}

fn subscribed(r: &Request<'_>) -> Result<(), Error> {
    // What EXEC runs was let in when it was queued.
    if !r.session.only_listens() || r.within.is_some() || r.row.command.has(WHILE_SUBSCRIBED) {
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
        Pause::Write => {
            may_write(r, WRITE | MAY_REPLICATE)(r.row, r.argv)
                || queue_has(r, may_write(r, WRITE | MAY_REPLICATE | DENYOOM))
        }
    }
}

/// It writes to a key that MIGRATE sends to another server.
fn is_migrated(r: &Request<'_>) -> bool {
    if !r.node.migrations.any() || r.session.is_replayed() {
        return false;
    }
    let may_write = may_write(r, WRITE | MAY_REPLICATE | RUNS_SCRIPT);
    let touches = |row: Row, argv: ArgvView<'_>| {
        let mut any = false;
        if may_write(row, argv) {
            row.command.keys.for_each(argv, &mut |i, _| any |= r.node.migrations.holds(r.session.db, argv.get(i)));
        }
        any
    };
    touches(r.row, r.argv) || queue_has(r, touches)
}

/// The question whether a command has one of these flags and is no script that only reads.
fn may_write(r: &Request<'_>, flags: super::Flags) -> impl Fn(Row, ArgvView<'_>) -> bool {
    let node = r.node;
    move |row, argv| row.command.has(flags) && !super::scripts::only_reads(node, row, argv)
}

/// The command runs the queue, and the answer is yes for one that is queued.
fn queue_has(r: &Request<'_>, question: impl Fn(Row, ArgvView<'_>) -> bool) -> bool {
    let queued = || r.session.queue.iter().flat_map(|queue| &queue.commands);
    r.row.command.has(RUNS_QUEUE) && queued().any(|(row, argv)| question(*row, argv.view()))
}

/// A write, or the question whether all is well.
fn needs_disk(r: &Request<'_>) -> bool {
    writes(r) || r.row.command.has(TELLS_HEALTH)
}

/// The command writes, or runs queued ones that do. What declares that it may is a write, as a whole.
fn writes(r: &Request<'_>) -> bool {
    let writes =
        |row: Row, argv: ArgvView<'_>| row.command.has(WRITE) || super::scripts::declares_writes(r.node, row, argv);
    writes(r.row, r.argv) || queue_has(r, writes)
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
const READ_ONLY: Error = Error::new("READONLY You can't write against a read only replica.");
const LOADING_DATASET: Error = Error::new("LOADING Redis is loading the dataset in memory");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::{Rules, User};
    use crate::command::session::Queue;
    use crate::command::{PLAIN_WITHOUT, Registry};
    use crate::pubsub::ChannelKind;
    use crate::replication::Primary;
    use crate::resp::Argv;
    use std::sync::Arc;

    /// A server, a session and a time, each of which a case changes so that some gate stops something.
    struct World {
        node: &'static Node,
        registry: &'static Registry,
        config: Config,
        session: Session,
        stats: Arc<WorkerStats>,
        now: Millis,
    }

    impl World {
        fn new() -> Self {
            let (node, registry) = crate::boot::offline(Config::default()).unwrap();
            let client = Client::new(1, "192.0.2.1:5".into(), String::new(), false, 0);
            let (session, stats) = (Session::new(client, true), node.observatory.worker(0));
            Self { node, registry, config: Config::default(), session, stats, now: 1_000 }
        }

        /// It is a replica whose link is down.
        fn follow(&self) {
            self.node.replication.follow(Primary { host: "192.0.2.2".into(), port: 1 });
        }

        fn look(&self) -> Look<'_> {
            let Self { node, registry, config, session, stats, now } = self;
            Look { node, config, session, stats, registry, now: *now }
        }

        /// What happens to a command given by its words.
        fn try_out(&self, words: &[&str]) -> Result<Option<Deferred>, String> {
            let argv = Argv::of(words.iter().map(|word| word.as_bytes()));
            let row = self.registry.resolve(argv.view()).unwrap();
            let request = Request { look: self.look(), row, argv: argv.view(), within: None };
            pass(&request).map_err(|error| String::from_utf8_lossy(error.text()).into_owned())?;
            Ok(deferred(&request))
        }

        /// Whether any plain command would be stopped.
        fn stops_a_plain_one(&self) -> bool {
            (0..self.registry.rows().len()).map(|id| self.registry.row(id)).any(|row| {
                let argv = Argv::of([row.command.name.as_bytes()]);
                let request = Request { look: self.look(), row, argv: argv.view(), within: None };
                !row.command.has(PLAIN_WITHOUT) && (pass(&request).is_err() || deferred(&request).is_some())
            })
        }
    }

    type Case = (&'static str, fn(&mut World));

    /// What makes some gate stop something, by name.
    fn cases() -> Vec<Case> {
        vec![
            ("unauthenticated", |w| {
                w.node.acl.set_default_password(b"x");
                w.session.authenticated = false;
            }),
            ("acl", |w| w.session.user = User::new(b"bob", Rules::new(w.node.acl.catalog(), false))),
            ("loading", |w| w.node.life.set_loads(Loads::Data)),
            ("snapshots", |w| {
                w.node.rdb.last_ok.0.store(false, Relaxed);
                w.config.save = Config::default().save;
            }),
            ("replicas", |w| (w.config.min_replicas_to_write, w.config.min_replicas_max_lag) = (1, 10)),
            ("read-only replica", |w| w.follow()),
            ("stale", |w| {
                w.follow();
                w.config.replica_serve_stale_data = false;
            }),
            ("subscribed", |w| _ = w.session.subscriptions.of(ChannelKind::Pattern).insert(b"x".as_slice().into())),
            ("paused", |w| w.node.clients.pause(Pause::All, 2_000, w.now)),
            ("paused for writes", |w| w.node.clients.pause(Pause::Write, 2_000, w.now)),
            ("queued", |w| w.session.queue = Some(Queue::default())),
        ]
    }

    #[test]
    fn a_gate_that_stops_a_plain_command_is_not_quiet() {
        assert!(are_quiet(&World::new().look()) && !World::new().stops_a_plain_one());
        for (name, make) in cases() {
            let mut world = World::new();
            make(&mut world);
            assert!(world.stops_a_plain_one(), "{name}: nothing is stopped");
            assert!(!are_quiet(&world.look()), "{name}: stopped, but quiet");
        }
    }

    #[test]
    fn what_each_gate_says() {
        let said = |make: fn(&mut World), words: &[&str]| {
            let mut world = World::new();
            make(&mut world);
            world.try_out(words)
        };
        let case = |name: &str| cases().into_iter().find(|(case, _)| *case == name).unwrap().1;
        let text = |result: Result<Option<Deferred>, String>| result.unwrap_err();
        assert_eq!(text(said(case("unauthenticated"), &["GET", "k"])), "NOAUTH Authentication required.");
        assert_eq!(said(case("unauthenticated"), &["AUTH", "x"]), Ok(None));
        let denied = "NOPERM this user has no permissions to run the 'get' command";
        assert_eq!(text(said(case("acl"), &["GET", "k"])), denied);
        assert_eq!(said(case("acl"), &["AUTH", "x"]), Ok(None));
        assert!(text(said(case("loading"), &["GET", "k"])).starts_with("LOADING "));
        assert_eq!(said(case("loading"), &["INFO"]), Ok(None));
        assert!(text(said(case("snapshots"), &["SET", "k", "v"])).starts_with("MISCONF Redis is configured to save"));
        assert!(text(said(case("snapshots"), &["PING"])).starts_with("MISCONF "));
        assert_eq!(said(case("snapshots"), &["GET", "k"]), Ok(None));
        assert_eq!(text(said(case("replicas"), &["SET", "k", "v"])), "NOREPLICAS Not enough good replicas to write.");
        assert_eq!(
            text(said(case("read-only replica"), &["SET", "k", "v"])),
            "READONLY You can't write against a read only replica."
        );
        assert_eq!(said(case("read-only replica"), &["GET", "k"]), Ok(None));
        assert!(text(said(case("stale"), &["GET", "k"])).starts_with("MASTERDOWN "));
        assert_eq!(said(case("stale"), &["INFO"]), Ok(None));
        let listens = "ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";
        assert_eq!(text(said(case("subscribed"), &["GET", "k"])), listens);
        assert_eq!(said(case("subscribed"), &["PING"]), Ok(None));
        assert!(text(said(|_| {}, &["DEBUG", "SLEEP", "0"])).starts_with("ERR DEBUG command not allowed."));
        assert_eq!(text(said(case("queued"), &["SAVE"])), "ERR Command not allowed inside a transaction");
        assert_eq!(said(case("queued"), &["GET", "k"]), Ok(Some(Deferred::Queued)));
        assert_eq!(said(case("queued"), &["EXEC"]), Ok(None));
        assert_eq!(said(case("paused"), &["GET", "k"]), Ok(Some(Deferred::Held)));
        assert_eq!(said(case("paused for writes"), &["GET", "k"]), Ok(None));
        assert_eq!(said(case("paused for writes"), &["PUBLISH", "c", "m"]), Ok(Some(Deferred::Held)));
    }

    #[test]
    fn in_a_cluster_a_request_keeps_to_one_slot() {
        let mut world = World::new();
        assert_eq!(world.try_out(&["MGET", "a", "b"]), Ok(None));
        world.config.cluster_enabled = true;
        let refused = Err("CROSSSLOT Keys in request don't hash to the same slot".to_owned());
        for apart in ["MGET a b", "SSUBSCRIBE a b", "EVAL x 2 a b", "SORT a STORE b", "RENAME a b", "WATCH a b"] {
            assert_eq!(world.try_out(&apart.split(' ').collect::<Vec<_>>()), refused, "{apart}");
        }
        for together in ["MGET a {a}b", "SUBSCRIBE a b", "EVAL x 1 a b", "SORT a", "EXEC", "GET a"] {
            assert_eq!(world.try_out(&together.split(' ').collect::<Vec<_>>()), Ok(None), "{together}");
        }
        let queued = ["a", "b"].map(|key| Argv::of(["GET", key]));
        let commands = queued.map(|argv| (world.registry.resolve(argv.view()).unwrap(), argv));
        world.session.queue = Some(Queue { commands: commands.into(), ..Queue::default() });
        assert_eq!(world.try_out(&["EXEC"]), refused);
        assert_eq!(world.try_out(&["GET", "c"]), Ok(Some(Deferred::Queued)));
    }

    #[test]
    fn the_first_refusal_wins_and_a_refusal_goes_before_a_pause() {
        let mut world = World::new();
        // A replica's demand for replicas of its own binds no client.
        let apart = ["queued", "read-only replica", "stale"];
        cases().iter().filter(|(name, _)| !apart.contains(name)).for_each(|(_, make)| make(&mut world));
        assert_eq!(world.try_out(&["SET", "k", "v"]), Err("NOAUTH Authentication required.".into()));
        world.session.authenticated = true;
        assert!(world.try_out(&["SET", "k", "v"]).unwrap_err().starts_with("NOPERM "));
        world.session.user = world.node.acl.default_user().clone();
        assert!(world.try_out(&["SET", "k", "v"]).unwrap_err().starts_with("MISCONF "));
        world.node.rdb.last_ok.0.store(true, Relaxed);
        assert!(world.try_out(&["SET", "k", "v"]).unwrap_err().starts_with("NOREPLICAS "));
        world.follow();
        assert!(world.try_out(&["SET", "k", "v"]).unwrap_err().starts_with("READONLY "));
        world.config.replica_read_only = false;
        assert!(world.try_out(&["SET", "k", "v"]).unwrap_err().starts_with("ERR Can't execute 'set'"));
        world.session.subscriptions = Default::default();
        world.config.replica_serve_stale_data = false;
        assert!(world.try_out(&["SET", "k", "v"]).unwrap_err().starts_with("MASTERDOWN "));
        world.config.replica_serve_stale_data = true;
        assert!(world.try_out(&["SET", "k", "v"]).unwrap_err().starts_with("LOADING "));
        world.node.life.set_loads(Loads::Nothing);
        assert_eq!(world.try_out(&["SET", "k", "v"]), Ok(Some(Deferred::Held)));
    }
}
