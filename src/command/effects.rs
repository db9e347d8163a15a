//! What a unit did, as the commands that repeat it: the bytes of the log and of the replication stream.
//!
//! A unit's effects are appended to the journal as one contiguous record, wrapped in MULTI/EXEC if they are more than
//! one. The database is part of each effect; SELECTs are put in where it changes. The log and the replicas get the same,
//! unless a script says otherwise (`redis.set_repl`), and but for commands that real replicas may not know: a transaction
//! with one of these they refuse as a whole, so that to replicas it goes behind the unit.

use crate::persist::journal::Record;
use crate::resp::{ArgvView, encode_request, encode_select};

/// Effects in the order they happened.
#[derive(Default)]
pub struct Effects {
    log: Run,
    /// What replicas get, once that is not what the log gets.
    replicas: Option<Box<ForReplicas>>,
}

#[derive(Clone, Default)]
struct Run {
    bytes: Vec<u8>,
    count: usize,
    first_db: usize,
    last_db: usize,
}

/// What replicas get where it differs: a run of commands, and those behind it that they may not know.
#[derive(Default)]
struct ForReplicas {
    run: Run,
    /// Each behind a SELECT of its own. [`ForReplicas::close`] puts the run's EXEC in front.
    behind: Vec<u8>,
    behind_db: Option<usize>,
}

/// Who gets an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audience {
    pub log: bool,
    pub replicas: bool,
}

impl Audience {
    pub const ALL: Self = Self { log: true, replicas: true };
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.log.count == 0 && self.replicas.is_none()
    }

    pub fn clear(&mut self) {
        self.log.bytes.clear();
        if self.log.bytes.capacity() > KEPT_BYTES_MAX {
            self.log.bytes = Vec::new();
        }
        self.log.count = 0;
        self.replicas = None;
    }

    /// All that another has.
    pub fn append(&mut self, other: &Self) {
        self.append_for(other, Audience::ALL);
    }

    /// The same for some only.
    pub fn append_for(&mut self, other: &Self, audience: Audience) {
        if other.is_empty() {
            return;
        }
        if audience != Audience::ALL || other.replicas.is_some() {
            self.replicas();
        }
        if let Some(replicas) = self.replicas.as_mut().filter(|_| audience.replicas) {
            match &other.replicas {
                Some(other) => replicas.append(other),
                None => replicas.run.append(&other.log),
            }
        }
        if audience.log {
            self.log.append(&other.log);
        }
    }

    /// A command given by its arguments.
    pub fn add<'a>(&mut self, db: usize, args: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.log.enter(db);
        let from = self.log.bytes.len();
        encode_request(&mut self.log.bytes, args);
        self.also_for_replicas(db, from);
    }

    /// The same for a command that a replica may not know.
    pub fn add_newer(&mut self, db: usize, args: &[&[u8]]) {
        let replicas = self.replicas();
        encode_select(&mut replicas.behind, db);
        encode_request(&mut replicas.behind, args.iter().copied());
        replicas.behind_db = Some(db);
        self.log.enter(db);
        encode_request(&mut self.log.bytes, args.iter().copied());
    }

    /// A request whose own bytes are the canonical form already.
    pub fn add_canonical(&mut self, db: usize, request: ArgvView<'_>) {
        self.log.enter(db);
        let from = self.log.bytes.len();
        self.log.bytes.extend_from_slice(request.bytes());
        self.also_for_replicas(db, from);
    }

    fn also_for_replicas(&mut self, db: usize, from: usize) {
        if let Some(replicas) = &mut self.replicas {
            replicas.run.enter(db);
            replicas.run.bytes.extend_from_slice(&self.log.bytes[from..]);
        }
    }

    /// What replicas get from here on differs from what the log gets.
    fn replicas(&mut self) -> &mut ForReplicas {
        self.replicas.get_or_insert_with(|| Box::new(ForReplicas { run: self.log.clone(), ..ForReplicas::default() }))
    }

    /// What the log gets, and what replicas get: the end of the unit.
    #[inline]
    pub fn records(&mut self) -> (Record<'_>, Record<'_>) {
        let log = self.log.record();
        (log, self.replicas.as_deref_mut().map_or(log, ForReplicas::close))
    }
}

impl ForReplicas {
    fn append(&mut self, other: &Self) {
        self.run.append(&other.run);
        self.behind.extend_from_slice(&other.behind);
        self.behind_db = other.behind_db.or(self.behind_db);
    }

    fn close(&mut self) -> Record<'_> {
        let mut record = self.run.record();
        if let Some(db) = self.behind_db {
            self.behind.splice(..0, record.pieces[2].iter().copied());
            record.pieces[2] = &self.behind;
            record.databases = (if record.commands > 0 { record.databases.0 } else { db }, db);
            record.commands += 1;
        }
        record
    }
}

impl Run {
    fn append(&mut self, other: &Self) {
        if other.count > 0 {
            self.enter(other.first_db);
            self.bytes.extend_from_slice(&other.bytes);
            (self.count, self.last_db) = (self.count + other.count - 1, other.last_db);
        }
    }

    fn enter(&mut self, db: usize) {
        if self.count == 0 {
            self.first_db = db;
        } else if db != self.last_db {
            encode_select(&mut self.bytes, db);
        }
        self.last_db = db;
        self.count += 1;
    }

    /// In up to three pieces: MULTI, the commands, EXEC.
    fn record(&self) -> Record<'_> {
        let pieces: [&[u8]; 3] = if self.count > 1 { [MULTI, &self.bytes, EXEC] } else { [b"", &self.bytes, b""] };
        Record { databases: (self.first_db, self.last_db), commands: self.count, pieces }
    }
}

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
/// A huge unit's buffer is given back.
const KEPT_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str], db: usize) -> Effects {
        let mut effects = Effects::default();
        effects.add(db, words.iter().map(|word| word.as_bytes()));
        effects
    }

    fn text(record: Record<'_>) -> String {
        record.pieces.iter().map(|piece| String::from_utf8_lossy(piece).replace("\r\n", " ")).collect()
    }

    #[test]
    fn each_gets_what_is_for_it_with_the_databases_it_needs() {
        let mut effects = of(&["A"], 0);
        effects.append_for(&of(&["L"], 1), Audience { log: true, replicas: false });
        effects.append_for(&of(&["R"], 2), Audience { log: false, replicas: true });
        effects.append_for(&of(&["N"], 3), Audience { log: false, replicas: false });
        effects.add(2, [b"Z".as_slice()].into_iter());
        let (log, replicas) = effects.records();
        assert_eq!((log.databases, log.commands, replicas.databases, replicas.commands), ((0, 2), 3, (0, 2), 3));
        assert_eq!(text(log), "*1 $5 MULTI *1 $1 A *2 $6 SELECT $1 1 *1 $1 L *2 $6 SELECT $1 2 *1 $1 Z *1 $4 EXEC ");
        assert_eq!(text(replicas), "*1 $5 MULTI *1 $1 A *2 $6 SELECT $1 2 *1 $1 R *1 $1 Z *1 $4 EXEC ");
    }

    #[test]
    fn what_a_replica_may_not_know_goes_behind_the_transaction() {
        let mut inner = of(&["A"], 1);
        inner.add_newer(1, &[b"N"]);
        let mut effects = Effects::default();
        effects.append(&inner);
        effects.append(&of(&["Z"], 1));
        let (log, replicas) = effects.records();
        assert_eq!((log.databases, replicas.databases), ((1, 1), (1, 1)));
        assert_eq!(text(log), "*1 $5 MULTI *1 $1 A *1 $1 N *1 $1 Z *1 $4 EXEC ");
        assert_eq!(text(replicas), "*1 $5 MULTI *1 $1 A *1 $1 Z *1 $4 EXEC *2 $6 SELECT $1 1 *1 $1 N ");
        let mut alone = Effects::default();
        alone.add_newer(2, &[b"N"]);
        let (log, replicas) = alone.records();
        assert_eq!((log.commands, replicas.commands, replicas.databases), (1, 1, (2, 2)));
        assert_eq!(text(replicas), "*2 $6 SELECT $1 2 *1 $1 N ");
    }

    #[test]
    fn what_is_for_one_alone_leaves_the_other_nothing() {
        let mut effects = Effects::default();
        effects.append_for(&of(&["R"], 5), Audience { log: false, replicas: true });
        assert!(!effects.is_empty());
        let (log, replicas) = effects.records();
        assert_eq!((log.commands, replicas.commands), (0, 1));
        effects.clear();
        assert!(effects.is_empty());
    }
}
