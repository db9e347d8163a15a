//! A batch: the whole requests that one wake-up of a connection finds in its read buffer, and the memory they will need.

use crate::command::registry::Row;
use crate::command::turn::LookedUp;
use crate::keyspace::Keyspace;
use crate::resp::{ArgvView, Span};
use smallvec::SmallVec;

/// A whole request in the read buffer, and what it names.
pub struct Request {
    pub at: usize,
    pub len: usize,
    pub first_span: usize,
    pub argc: usize,
    pub canonical: bool,
    pub looked_up: LookedUp,
}

pub type Requests = SmallVec<[Request; BATCH_COMMANDS_MAX]>;

impl Request {
    #[inline]
    pub fn argv<'a>(&self, input: &'a [u8], spans: &'a [Span]) -> ArgvView<'a> {
        ArgvView::new(&input[self.at..self.at + self.len], &spans[self.first_span..self.first_span + self.argc])
    }
}

/// Asks the memory for what the requests of a batch will need, [`AHEAD`] of them before their turn: their stripes'
/// headers are on their way since the parsing; then their buckets, their entries, and what these point to. Neither so
/// early that the first cache has dropped it again, nor all at once, which it could not take. Buckets and entries are
/// asked for in groups: a request for memory holds the core up until its page is found, and of a group those waits overlap
/// (5 % of a GET and a SET at pipeline 64).
pub struct Ahead<'a> {
    pub keyspace: &'a Keyspace,
    pub db: usize,
    pub requests: &'a [Request],
}

impl Ahead<'_> {
    pub fn begin(&self) {
        if self.requests.len() > 1 {
            (0..2 * AHEAD).for_each(|i| self.bucket(i));
            (0..AHEAD).for_each(|i| self.entry(i));
            (0..AHEAD / 2).for_each(|i| self.value(i));
        }
    }

    /// Request `i` is about to run.
    #[inline]
    pub fn of(&self, i: usize) {
        if i.is_multiple_of(AHEAD) {
            (i..i + AHEAD).for_each(|i| self.bucket(i + 2 * AHEAD));
            (i..i + AHEAD).for_each(|i| self.entry(i + AHEAD));
        }
        self.value(i + AHEAD / 2);
    }

    #[inline]
    fn bucket(&self, i: usize) {
        if let Some(place) = self.requests.get(i).and_then(|r| r.looked_up.place) {
            self.keyspace.prefetch_bucket(self.db, place);
        }
    }

    #[inline]
    fn entry(&self, i: usize) {
        if let Some(place) = self.requests.get(i).and_then(|r| r.looked_up.place) {
            self.keyspace.prefetch_entry(self.db, place);
        }
    }

    /// Of commands on one and the same key the first has brought it.
    #[inline]
    fn value(&self, i: usize) {
        let Some(request) = self.requests.get(i) else { return };
        let LookedUp { row: Some(Row { is_of_collections: true, .. }), place: Some(place) } = &request.looked_up else {
            return;
        };
        let before = i.checked_sub(1).and_then(|i| self.requests[i].looked_up.place);
        if before.is_none_or(|before| before.hash != place.hash) {
            self.keyspace.prefetch_value(self.db, *place);
        }
    }
}

/// Requests run before other connections get their turn: what a pipeline of 64 brings is one batch.
pub const BATCH_COMMANDS_MAX: usize = 64;
/// A miss takes as long as one or two requests; the more of them overlap, the better, up to what a core has in flight.
const AHEAD: usize = 8;
