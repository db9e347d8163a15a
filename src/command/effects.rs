//! What a unit did, as the commands that repeat it: the bytes of the log and of the replication stream.
//!
//! A unit's effects are appended to the journal as one contiguous record, wrapped in MULTI/EXEC if they are more than
//! one. The database is part of each effect; SELECTs are put in where it changes.

use crate::resp::{ArgvView, encode_request, encode_select};

/// Effects in the order they happened.
#[derive(Default)]
pub struct Effects {
    bytes: Vec<u8>,
    count: usize,
    first_db: usize,
    last_db: usize,
}

impl Effects {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        if self.bytes.capacity() > KEPT_BYTES_MAX {
            self.bytes = Vec::new();
        }
        self.count = 0;
    }

    /// All that another has.
    pub fn append(&mut self, other: &Self) {
        if other.count > 0 {
            self.enter(other.first_db);
            self.bytes.extend_from_slice(&other.bytes);
            (self.count, self.last_db) = (self.count + other.count - 1, other.last_db);
        }
    }

    /// A command given by its arguments.
    pub fn add<'a>(&mut self, db: usize, args: impl ExactSizeIterator<Item = &'a [u8]>) {
        self.enter(db);
        encode_request(&mut self.bytes, args);
    }

    /// A request whose own bytes are the canonical form already.
    pub fn add_canonical(&mut self, db: usize, request: ArgvView<'_>) {
        self.enter(db);
        self.bytes.extend_from_slice(request.bytes());
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

    /// The database the record begins in, and the one it ends in.
    pub fn databases(&self) -> (usize, usize) {
        (self.first_db, self.last_db)
    }

    /// The record in up to three pieces: MULTI, the commands, EXEC.
    pub fn record(&self) -> [&[u8]; 3] {
        if self.count > 1 { [MULTI, &self.bytes, EXEC] } else { [b"", &self.bytes, b""] }
    }
}

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
/// A huge unit's buffer is given back.
const KEPT_BYTES_MAX: usize = 1 << 20;
