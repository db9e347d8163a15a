//! A turn: one thread's stay inside the keyspace's gate, a batch long, and what the batch found out ahead of time.

use super::Registry;
use super::effects::Effects;
use super::gates;
use super::registry::Row;
use super::session::Session;
use crate::clients::Pause;
use crate::clock::{self, Millis};
use crate::config::Config;
use crate::keyspace::{AccessMode, Db, Hint, Inside, Keyspace, Place};
use crate::node::Node;
use crate::observe::WorkerStats;
use crate::resp::ArgvView;
use arc_swap::Guard;
use smallvec::smallvec;
use std::sync::Arc;
use std::time::Duration;

/// A thread inside the gate, running one batch.
pub struct Turn<'n> {
    pub node: &'n Node,
    pub stats: &'n WorkerStats,
    pub registry: &'static Registry,
    /// Held as a guard: counting references would make the workers contend for the counter, batch by batch.
    pub config: Guard<Arc<Config>>,
    /// Wall-clock time of the batch.
    pub now: Millis,
    /// Monotonic ticks at the end of the last command.
    pub tick: u64,
    pub(super) thread: usize,
    /// Where a script goes on that leaves its worker; none if it may not.
    pub(super) home: Option<&'static Node>,
    pub(super) inside: Option<Inside<'n>>,
    pub(super) effects: Effects,
    /// All gates are quiet for the session whose batch this is: a plain command takes the fast path.
    pub(super) quiet: bool,
    /// This server is a replica, as of the last look.
    pub(super) is_replica: bool,
    /// Due keys are absent, but stay: a replica waits for its primary to remove them, an import for its source, and while
    /// writes are paused nothing may be removed. As of the last look.
    pub(super) hides_expired: bool,
    /// A unit has sent something to clients since this was last asked.
    pub(super) pushed: bool,
    /// What the primary sent for the present unit: it goes to the stream with the unit, where that leaves the gate on its
    /// way.
    pub raw: Option<Vec<u8>>,
    /// Journal offset behind the last effects of this turn; replies wait for it.
    pub journal_end: u64,
}

/// A request with what the batch found out about it ahead of time.
#[derive(Clone, Copy)]
pub struct Prepared<'a> {
    pub argv: ArgvView<'a>,
    pub canonical: bool,
    pub looked_up: LookedUp,
}

/// What a request's bytes tell before it runs.
#[derive(Clone, Copy)]
pub struct LookedUp {
    /// None where the name or the number of arguments is wrong.
    pub row: Option<Row>,
    /// Where the key lives, of a command with one key.
    pub place: Option<Place>,
}

/// How a request begins whose one key is its first argument: the number of its arguments, and its name.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    pub bytes: &'a [u8],
    pub row: Row,
}

impl LookedUp {
    /// `head`: of a request before it, which in most batches is of the same kind.
    #[inline]
    pub fn of(registry: &Registry, keyspace: &Keyspace, argv: ArgvView<'_>, head: Option<Head<'_>>) -> Self {
        match head {
            Some(Head { bytes, row }) if argv.bytes().starts_with(bytes) => {
                Self { row: Some(row), place: Some(keyspace.place(argv.get(1))) }
            }
            _ => Self::of_any(registry, keyspace, argv),
        }
    }

    #[inline(never)]
    fn of_any(registry: &Registry, keyspace: &Keyspace, argv: ArgvView<'_>) -> Self {
        let row = registry.lookup(argv);
        let key_at = row.map_or(0, |row| row.key_at(argv.len()));
        Self { row, place: (key_at > 0).then(|| keyspace.place(argv.get(key_at))) }
    }

    /// What the next request may be compared with. Of a request in multi-bulk form, whose first bytes tell where its name
    /// ends.
    #[inline]
    pub fn head<'a>(&self, argv: ArgvView<'a>) -> Option<Head<'a>> {
        let row = self.row.filter(|row| row.key_at(argv.len()) == 1)?;
        let bytes = argv.head().filter(|bytes| bytes.starts_with(b"*"))?;
        Some(Head { bytes, row })
    }
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    Done,
    /// CLIENT PAUSE holds it back; nothing happened.
    Paused,
    /// It waits for its keys: `session.waiting`.
    Waits,
}

impl<'n> Turn<'n> {
    /// Enters the gate with the thread's own lock.
    pub fn begin(node: &'n Node, stats: &'n WorkerStats, registry: &'static Registry, thread: usize) -> Self {
        let inside = Some(node.keyspace.gate.enter(thread));
        Self::new(node, stats, registry, thread, inside)
    }

    /// A worker's: while a long script owns the world, outside the gate; then only what may run beside it does. Scripts may
    /// leave it.
    pub fn try_begin(node: &'static Node, stats: &'n WorkerStats, registry: &'static Registry, thread: usize) -> Self {
        let inside = node.keyspace.gate.enter_unless(thread, || node.scripts.runs.own_world());
        Self { home: Some(node), ..Self::new(node, stats, registry, thread, inside) }
    }

    /// One that owns the world, or works for one that is inside.
    pub(super) fn outside(node: &'n Node, stats: &'n WorkerStats, registry: &'static Registry, thread: usize) -> Self {
        Self::new(node, stats, registry, thread, None)
    }

    fn new(
        node: &'n Node,
        stats: &'n WorkerStats,
        registry: &'static Registry,
        thread: usize,
        inside: Option<Inside<'n>>,
    ) -> Self {
        let effects = Effects::default();
        let mut turn = Self {
            node,
            stats,
            registry,
            config: node.config.load(),
            now: clock::now_ms(),
            tick: clock::ticks(),
            thread,
            home: None,
            inside,
            effects,
            quiet: false,
            is_replica: false,
            hides_expired: false,
            pushed: false,
            raw: None,
            journal_end: 0,
        };
        turn.look_at_role();
        turn
    }

    /// Behind a command that may have changed it.
    #[inline]
    pub(super) fn look_at_role(&mut self) {
        self.is_replica = self.node.replication.is_replica();
        let is_paused = self.node.clients.paused(self.now) != Pause::None;
        self.hides_expired = self.is_replica || is_paused || self.config.import_mode;
    }

    /// A long script owns the world: nothing may touch a key.
    pub fn is_outside(&self) -> bool {
        self.inside.is_none()
    }

    /// Enters again behind a unit that owned the world; not while a long script does.
    pub(super) fn enter_again(&mut self) {
        let (node, home) = (self.node, self.home);
        self.inside = node.keyspace.gate.enter_unless(self.thread, || home.is_some() && node.scripts.runs.own_world());
    }

    /// Leaves the gate for a while, in which others may own the world.
    pub fn rest(&mut self, how_long: Duration) {
        self.inside = None;
        std::thread::sleep(how_long);
        self.step_out_and_in();
    }

    /// Leaves the gate and enters it again, so that a thread that waits to own the world gets it in between.
    pub fn step_out_and_in(&mut self) {
        self.inside = None;
        self.now = clock::now_ms();
        self.look_at_role();
        self.inside = Some(self.node.keyspace.gate.enter(self.thread));
    }

    /// Appends what a unit did to the journal. Under the unit's locks.
    pub(super) fn append_effects(&mut self) {
        let (log, replicas) = self.effects.records();
        self.journal_end = self.node.journal.append(log, replicas, self.now);
        self.effects.clear();
    }

    /// Runs `work` on one key outside any command: loading.
    pub fn with_db<R>(&mut self, db: usize, key: Hint, work: impl FnOnce(&mut Db<'_>) -> R) -> R {
        let held = self.node.keyspace.lock_one(key.place.stripe as usize);
        let mode = AccessMode { keep_expired: true, ..AccessMode::default() };
        let mut db = Db::new(held, db, self.now, mode);
        db.hint(smallvec![key]);
        work(&mut db)
    }

    /// A request that did not come in a batch.
    pub fn prepare<'a>(&self, argv: ArgvView<'a>, canonical: bool) -> Prepared<'a> {
        Prepared { argv, canonical, looked_up: LookedUp::of(self.registry, &self.node.keyspace, argv, None) }
    }

    /// Asks the gates once for the plain commands that follow.
    #[inline]
    pub fn ask_gates(&mut self, session: &Session) {
        self.quiet = self.inside.is_some() && gates::are_quiet(&gates::Look::of(self, session));
    }

    /// Whether a unit has sent something to clients since this was last asked.
    #[inline]
    pub fn has_pushed(&mut self) -> bool {
        std::mem::take(&mut self.pushed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::{Limits, Parser, Span, Step, encode_request};

    #[test]
    fn a_request_like_the_one_before_it_is_the_same_command_only_if_its_subcommand_is() {
        let (registry, keyspace) = (Registry::new(crate::commands::FAMILIES), Keyspace::new(1, 16, 1, 0));
        let lines = [
            ("XGROUP CREATE s g $", Some("XGROUP CREATE")),
            ("XGROUP CREATECONSUMER s g c", Some("XGROUP CREATECONSUMER")),
            ("GET a", Some("GET")),
            ("GET b", Some("GET")),
            ("GETEX b", Some("GETEX")),
            ("DEL b", Some("DEL")),
            ("DEL b c", Some("DEL")),
            ("GET b c", None),
            ("OBJECT FREQ k", Some("OBJECT FREQ")),
            ("OBJECT HELP k", None),
        ];
        let mut input = Vec::new();
        for (line, _) in lines {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            encode_request(&mut input, words.into_iter());
        }
        input.extend_from_slice(b"get b\r\nget b\r\ngetex b\r\n");
        let names = lines.iter().map(|(_, name)| *name).chain([Some("GET"), Some("GET"), Some("GETEX")]);
        let limits = Limits { bulk_bytes_max: 100, authenticated: true };
        let (mut parser, mut at, mut before) = (Parser::default(), 0, None::<(usize, Vec<Span>, LookedUp)>);
        for name in names {
            let mut spans = Vec::new();
            let Step::Request { len, .. } = parser.next(&mut input[at..], &mut spans, &limits) else {
                panic!("{name:?}")
            };
            let head = before.as_ref().and_then(|(at, spans, last)| last.head(ArgvView::new(&input[*at..], spans)));
            let argv = ArgvView::new(&input[at..at + len], &spans);
            let looked_up = LookedUp::of(&registry, &keyspace, argv, head);
            assert_eq!(looked_up.row.map(|row| row.command.name), name);
            let has_one_key = name.is_some_and(|name| name != "DEL" || argv.len() == 2);
            assert_eq!(looked_up.place.is_some(), has_one_key, "{name:?}");
            before = Some((at, spans, looked_up));
            at += len;
        }
    }
}
