//! Finding a row by name: one probe of a small open-addressed table, no allocation, any case.
//!
//! `rename-command` changes the name that requests use; a row keeps its own for everything that is said about it. What
//! the log holds are requests, so a log is read under the names it was written with, as in Redis.

use super::{CONTAINER, Command, Error, Group, error};
use crate::resp::ArgvView;

/// A row and its number, which statistics index by.
#[derive(Clone, Copy)]
pub struct Row {
    pub id: usize,
    pub command: &'static Command,
    /// The argument that is the command's one key; 0 if it has none, or several.
    key_at: u8,
    /// The same for a request of as many keys as one likes, when all there is behind the name is one.
    lone_key_at: u8,
    /// What it works on lies behind a pointer in the key's entry.
    pub is_of_collections: bool,
}

impl Row {
    fn new(id: usize, command: &'static Command) -> Self {
        let key_at = command.keys.single().and_then(|at| u8::try_from(at).ok()).unwrap_or(0);
        let is_of_collections =
            matches!(command.group, Group::List | Group::Set | Group::SortedSet | Group::Hash | Group::Geo);
        let lone_key_at = if command.keys.is_any_number() { 1 } else { key_at };
        Self { id, command, key_at, lone_key_at, is_of_collections }
    }

    /// The argument that is the one key of a request of `argc` arguments; 0 if it has none, or several.
    #[inline]
    pub fn key_at(self, argc: usize) -> usize {
        usize::from(if argc == 2 { self.lone_key_at } else { self.key_at })
    }
}

/// All rows, sorted by name; built once at start.
pub struct Registry {
    rows: Vec<&'static Command>,
    found: Vec<Row>,
    /// What requests call a row; empty if they cannot.
    names: Vec<Box<[u8]>>,
    /// Row number + 1 by hash of the name; 0 is empty. Top-level names only.
    buckets: Box<[u16]>,
}

impl Registry {
    /// Collects the families' tables. Panics on a name given twice: a bug of ours, at start.
    pub fn new(families: &[&'static [Command]]) -> Self {
        let mut rows: Vec<&'static Command> = families.iter().flat_map(|f| f.iter()).collect();
        rows.sort_by_key(|c| c.name);
        for pair in rows.windows(2) {
            assert!(pair[0].name != pair[1].name, "two rows named {}", pair[0].name);
        }
        let called = |command: &&Command| if command.name.contains(' ') { "" } else { command.name };
        let names = rows.iter().map(|command| called(command).as_bytes().into()).collect();
        let found = rows.iter().enumerate().map(|(id, command)| Row::new(id, command)).collect();
        let mut registry = Self { rows, found, names, buckets: Box::default() };
        registry.index();
        registry
    }

    fn index(&mut self) {
        self.buckets = vec![0u16; BUCKETS].into_boxed_slice();
        for (id, name) in self.names.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
            let mut bucket = hash(name);
            while self.buckets[bucket] != 0 {
                bucket = (bucket + 1) % BUCKETS;
            }
            self.buckets[bucket] = id as u16 + 1;
        }
    }

    /// `rename-command`: from now on requests say `to`, or with an empty one cannot run the command at all.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), RenameError> {
        let row = self.find(from).ok_or(RenameError::NoSuchCommand)?;
        if self.find(to).is_some_and(|taken| taken.id != row.id) {
            return Err(RenameError::Exists);
        }
        self.names[row.id] = to.into();
        self.index();
        Ok(())
    }

    pub fn rows(&self) -> &[&'static Command] {
        &self.rows
    }

    /// The row of a number.
    pub fn row(&self, id: usize) -> Row {
        self.found[id]
    }

    /// A top-level command.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<Row> {
        let mut bucket = hash(name);
        loop {
            let id = (self.buckets[bucket] as usize).checked_sub(1)?;
            if self.names[id].eq_ignore_ascii_case(name) {
                return Some(self.found[id]);
            }
            bucket = (bucket + 1) % BUCKETS;
        }
    }

    /// The subcommands of a container, sorted.
    pub fn subcommands(&self, container: &str) -> impl Iterator<Item = Row> {
        let prefix = format!("{container} ");
        let first = self.rows.partition_point(|c| c.name < prefix.as_str());
        self.rows[first..]
            .iter()
            .enumerate()
            .map(move |(i, _)| self.found[first + i])
            .take_while(move |row| row.command.name.starts_with(&prefix))
    }

    /// A row by full name, with `|` or a blank between container and subcommand.
    pub fn find_full(&self, name: &[u8]) -> Option<Row> {
        let mut words = name.splitn(2, |&b| b == b'|' || b == b' ');
        let row = self.find(words.next()?)?;
        match words.next() {
            None => Some(row),
            Some(sub) => self.subcommand(row, sub),
        }
    }

    fn subcommand(&self, container: Row, sub: &[u8]) -> Option<Row> {
        self.subcommands(container.command.name)
            .find(|row| row.command.name.as_bytes()[container.command.name.len() + 1..].eq_ignore_ascii_case(sub))
    }

    /// The row a request names, arity checked; where there is none, [`Self::why_not`] says why.
    #[inline]
    pub fn lookup(&self, argv: ArgvView<'_>) -> Option<Row> {
        let mut row = self.find(argv.get(0))?;
        if row.command.has(CONTAINER) && argv.len() > 1 {
            row = self.subcommand(row, argv.get(1))?;
        }
        row.command.accepts(argv.len()).then_some(row)
    }

    /// The exact error for a request that [`Self::lookup`] finds no row for.
    #[cold]
    pub fn why_not(&self, argv: ArgvView<'_>) -> Error {
        let Some(row) = self.find(argv.get(0)) else { return unknown(argv) };
        let sub = (row.command.has(CONTAINER) && argv.len() > 1).then(|| self.subcommand(row, argv.get(1)));
        match sub {
            Some(None) => unknown_subcommand(row.command, argv.get(1)),
            Some(Some(sub)) => error::wrong_arity(&sub.command.full_name()),
            None => error::wrong_arity(&row.command.full_name()),
        }
    }

    /// The row a request names, whatever its arity: none for an unknown subcommand.
    #[cold]
    pub fn named(&self, argv: ArgvView<'_>) -> Option<Row> {
        let row = self.find(argv.get(0))?;
        if row.command.has(CONTAINER) && argv.len() > 1 { self.subcommand(row, argv.get(1)) } else { Some(row) }
    }

    /// The row a request names, arity checked; or the exact error.
    pub fn resolve(&self, argv: ArgvView<'_>) -> Result<Row, Error> {
        self.lookup(argv).ok_or_else(|| self.why_not(argv))
    }
}

/// Why a command cannot be renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenameError {
    NoSuchCommand,
    Exists,
}

#[cold]
fn unknown(argv: ArgvView<'_>) -> Error {
    let mut text = [b"ERR unknown command '".as_slice(), shown(argv.get(0), NAME_SHOWN_MAX)].concat();
    text.extend_from_slice(b"', with args beginning with: ");
    let begin = text.len();
    for arg in argv.iter().skip(1) {
        let used = text.len() - begin;
        if used >= ARGS_SHOWN_MAX {
            break;
        }
        text.push(b'\'');
        text.extend_from_slice(shown(arg, ARGS_SHOWN_MAX - used));
        text.extend_from_slice(b"' ");
    }
    Error::owned(text)
}

/// As much of an argument as an error repeats: up to a zero byte, where C's strings end.
fn shown(arg: &[u8], max: usize) -> &[u8] {
    let arg = &arg[..arg.len().min(max)];
    &arg[..memchr::memchr(0, arg).unwrap_or(arg.len())]
}

#[cold]
fn unknown_subcommand(container: &Command, sub: &[u8]) -> Error {
    let name = container.name.as_bytes();
    Error::owned(
        [b"ERR unknown subcommand '".as_slice(), shown(sub, NAME_SHOWN_MAX), b"'. Try ", name, b" HELP."].concat(),
    )
}

/// Length and first and last bytes tell Redis's names apart well; letters are folded to one case.
#[inline]
fn hash(name: &[u8]) -> usize {
    let mut h = name.len() as u64;
    for &b in name.iter().take(NAME_HASHED_MAX) {
        h = (h ^ u64::from(b | 0x20)).wrapping_mul(0x0100_0000_01b3);
    }
    (h ^ h >> 15) as usize % BUCKETS
}

/// Four times the number of commands: nearly every name in its own bucket.
const BUCKETS: usize = 2048;
const NAME_HASHED_MAX: usize = 24;
/// Redis cuts what it repeats of a request in an error.
const NAME_SHOWN_MAX: usize = 128;
const ARGS_SHOWN_MAX: usize = 128;
