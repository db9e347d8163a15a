//! What a handler works with: its arguments, its keys, its reply, the session and the server's services.

use super::args::Args;
use super::effects::Effects;
use super::registry::Row;
use super::scripts::{Anew, Leaving};
use super::waiting::Wait;
use super::{Outcome, Registry};
use crate::command::Session;
use crate::config::Config;
use crate::keyspace::{Db, Stored};
use crate::node::Node;
use crate::observe::WorkerStats;
use crate::resp::{ArgvView, Hole, Out};

/// A command in execution. `'k` is how long its locks live.
pub struct Ctx<'a, 'k> {
    pub args: Args<'a>,
    pub db: &'a mut Db<'k>,
    pub out: Reply<'a>,
    pub session: &'a mut Session,
    pub node: &'k Node,
    pub config: &'a Config,
    pub stats: &'a WorkerStats,
    pub registry: &'static Registry,
    pub row: Row,
    /// Arguments that must not show in logs, one bit each; see [`Ctx::redact`].
    pub(super) secrets: u64,
    pub(super) effects: &'a mut Effects,
    /// The handler said itself what happened; its argv is then not propagated.
    pub(super) spoke: bool,
    pub(super) canonical: bool,
    pub(super) may_wait: bool,
    /// The command waited, and is tried again.
    pub again: bool,
    /// A command inside this one may have changed the configuration.
    pub(super) reconfigures: bool,
    /// A script may leave its worker.
    pub(super) may_leave: bool,
    /// The handler returned before the command's end. A pointer, because every command makes a context.
    pub(super) unfinished: Option<Box<Unfinished>>,
}

/// How a command goes on that is not at its end.
pub(super) enum Unfinished {
    /// It found nothing and waits.
    Waits(Wait),
    /// The unit was taken back and is to begin anew.
    Anew(Anew),
    /// The script leaves its worker.
    Leaves(Box<dyn Leaving>),
}

/// The server as a command sees it.
#[derive(Clone, Copy)]
pub struct Surroundings<'a, 'k> {
    pub node: &'k Node,
    pub config: &'a Config,
    pub stats: &'a WorkerStats,
    pub registry: &'static Registry,
}

impl<'a, 'k> Ctx<'a, 'k> {
    /// A command that may not wait, as inside EXEC; [`super::unit`] lets those wait that came by themselves.
    #[inline]
    pub(super) fn new(
        around: Surroundings<'a, 'k>,
        (row, argv): (Row, ArgvView<'a>),
        db: &'a mut Db<'k>,
        out: Reply<'a>,
        session: &'a mut Session,
        effects: &'a mut Effects,
    ) -> Self {
        let Surroundings { node, config, stats, registry } = around;
        Self {
            args: Args::new(argv),
            db,
            out,
            session,
            node,
            config,
            stats,
            registry,
            row,
            secrets: 0,
            effects,
            spoke: false,
            canonical: false,
            may_wait: false,
            again: false,
            reconfigures: false,
            may_leave: false,
            unfinished: None,
        }
    }

    pub(super) fn surroundings(&self) -> Surroundings<'a, 'k> {
        Surroundings { node: self.node, config: self.config, stats: self.stats, registry: self.registry }
    }
}

impl<'k> Ctx<'_, 'k> {
    /// Propagates this in place of the command as it came: what happened, not what was asked. May be called repeatedly.
    pub fn propagate(&mut self, args: &[&[u8]]) {
        self.spoke = true;
        if self.node.journal.records() {
            self.flush_expired();
            self.effects.add(self.db.index(), args.iter().copied());
        }
    }

    /// The same for a command that replicas of another kind may not know, which must not cost them what else the unit did.
    pub fn propagate_newer(&mut self, args: &[&[u8]]) {
        self.spoke = true;
        if self.node.journal.records() {
            self.flush_expired();
            self.effects.add_newer(self.db.index(), args);
        }
    }

    /// Propagates a stream's counters, and those of its groups if asked for, as they are when the unit is over. Redis 6.2
    /// cannot set them, and refuses a transaction in which that is said.
    pub fn propagate_counters(&mut self, key: &[u8], of_groups: bool) {
        if self.node.journal.records() {
            let counted = (self.db.index(), key.into(), of_groups);
            self.db.changes.side_effects().counted.push(counted);
        }
    }

    /// Propagates that a key is gone: as UNLINK where the configuration (`lazyfree-lazy-*`) says so, as Redis does.
    pub fn propagate_removal(&mut self, key: &[u8], lazy: bool) {
        self.propagate(&[super::unit::removal(lazy), key]);
    }

    /// Nothing to propagate although something changed.
    pub fn propagate_nothing(&mut self) {
        self.spoke = true;
    }

    /// Keeps an argument, a password, out of the slow log.
    pub fn redact(&mut self, i: usize) {
        self.secrets |= 1u64.checked_shl(i as u32).unwrap_or(0);
    }

    /// Whether a handler kept this argument out of the logs.
    pub(super) fn is_secret(&self, i: usize) -> bool {
        1u64.checked_shl(i as u32).is_some_and(|bit| self.secrets & bit != 0)
    }

    /// Whether a transaction runs this command.
    pub fn is_in_exec(&self) -> bool {
        !self.may_wait
    }

    /// Writes what was pushed to this connection so far: what the command writes next must not overtake it.
    pub fn write_pushes(&mut self) {
        for push in self.session.client.take_pushes() {
            push.render(self.out.0.buf, self.session.proto);
        }
    }

    /// False inside EXEC and scripts, where no command may wait.
    pub fn may_wait(&self) -> bool {
        self.may_wait
    }

    /// What was found due is counted, and goes to the log before whatever the command itself did.
    #[inline]
    pub(super) fn flush_expired(&mut self) {
        if self.db.changes.did_seldom() {
            let expired = self.db.changes.take_expired();
            super::unit::note_expired(expired, self.effects, self.stats, self.config.lazyfree_lazy_expire);
        }
    }

    /// Runs a command of the log inside this unit: as another session, without reply and without effects.
    pub fn replay(&mut self, row: Row, argv: ArgvView<'_>, session: &mut Session) {
        super::run::replay(self, row, argv, session);
    }

    /// Runs one more command inside this unit: EXEC and scripts. Its keys are locked already.
    pub fn run_inner(&mut self, row: Row, argv: ArgvView<'_>) -> bool {
        super::run::run_inner(self, row, argv)
    }
}

/// The reply: [`Out`] with results that a handler can end in.
pub struct Reply<'a>(pub Out<'a>);

impl<'a> std::ops::Deref for Reply<'a> {
    type Target = Out<'a>;

    fn deref(&self) -> &Out<'a> {
        &self.0
    }
}

impl std::ops::DerefMut for Reply<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// The same words as [`Out`], as a handler's last expression.
impl Reply<'_> {
    #[inline]
    pub fn ok(&mut self) -> Outcome {
        self.0.ok();
        Ok(())
    }

    #[inline]
    pub fn int(&mut self, n: i64) -> Outcome {
        self.0.int(n);
        Ok(())
    }

    pub fn count(&mut self, n: usize) -> Outcome {
        self.int(i64::try_from(n).map_err(|_| super::error::OUT_OF_RANGE)?)
    }

    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) -> Outcome {
        self.0.bulk(bytes);
        Ok(())
    }

    #[inline]
    pub fn null(&mut self) -> Outcome {
        self.0.null();
        Ok(())
    }

    pub fn null_array(&mut self) -> Outcome {
        self.0.null_array();
        Ok(())
    }

    pub fn simple(&mut self, text: &str) -> Outcome {
        self.0.simple(text);
        Ok(())
    }

    pub fn double(&mut self, x: f64) -> Outcome {
        self.0.double(x);
        Ok(())
    }

    /// A string value: its bytes, or an integer's digits.
    #[inline]
    pub fn text(&mut self, text: crate::keyspace::Text<'_>) -> Outcome {
        self.put(text);
        Ok(())
    }

    /// The same, for one of many.
    #[inline]
    pub fn put(&mut self, text: crate::keyspace::Text<'_>) {
        match text {
            crate::keyspace::Text::Bytes(b) => self.0.bulk(b),
            crate::keyspace::Text::Int(n) => self.0.bulk_int(n),
        }
    }

    /// A key's string.
    #[inline]
    pub fn stored(&mut self, stored: Stored<'_>) -> Outcome {
        match stored {
            Stored::Text(text) => self.put(text),
            Stored::Block(block) => self.0.block(block, 0..block.len()),
        }
        Ok(())
    }

    pub fn empty_array(&mut self) -> Outcome {
        self.0.array(0);
        Ok(())
    }

    pub fn fill_array(&mut self, hole: Hole, len: usize) -> Outcome {
        self.0.fill_array(hole, len);
        Ok(())
    }

    /// HELP: the lines Redis wraps its subcommand help in.
    pub fn help(&mut self, container: &str, lines: &[&str]) -> Outcome {
        let first = format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
        self.0.array(lines.len() + 3);
        self.0.simple(&first);
        lines.iter().for_each(|line| self.0.simple(line));
        self.0.simple("HELP");
        self.0.simple("    Prints this help.");
        Ok(())
    }
}
