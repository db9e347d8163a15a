//! The replication stream: the effects as replicas get them, their offsets, and the recent past.
//!
//! A primary appends its own effects ([`Stream::append`]); a replica appends the bytes of its primary as they came
//! ([`Stream::append_raw`]), so that offsets and history are the same on the whole chain. Each connected replica is a
//! [`Cursor`]. Bytes are kept as long as a cursor needs them, and [`Stream::set_backlog`] bytes for replicas that come back.
//!
//! Offsets count bytes as Redis does: `end` is the number of bytes so far, and `PSYNC id n` asks for the byte behind `n - 1`.
//! A history has an id; on promotion the old id stays valid as the *second* one up to the offset of the promotion.
//! Without a reader the stream is off, and costs a write one relaxed load.

use super::rdb::write::History;
use crate::resp::encode_select;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Waker;

/// See the module's page.
pub struct Stream {
    on: AtomicBool,
    /// `inner.end`, to be read without the lock.
    end: AtomicU64,
    /// A cursor further behind than this is dropped; 0 for no limit.
    lag_max: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    id: String,
    second: Option<Second>,
    /// Consecutive bytes from `start` to `end`; every block but the last is [`BLOCK_BYTES`] long.
    blocks: VecDeque<Vec<u8>>,
    start: u64,
    end: u64,
    backlog: u64,
    /// The database that the stream is in; `None` makes the next record begin with SELECT.
    db: Option<usize>,
    /// The bytes are another server's.
    follows: bool,
    cursors: Vec<Arc<Cursor>>,
}

/// The id of the history before the last promotion, valid for bytes below `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Second {
    pub id: String,
    pub until: u64,
}

/// A replica's place in the stream.
#[derive(Default)]
pub struct Cursor {
    at: AtomicU64,
    /// Memory of the buffer that its bytes are sent from.
    buffer: AtomicU64,
    dropped: AtomicBool,
    /// Of a reader that has everything.
    waker: Mutex<Option<Waker>>,
}

impl Cursor {
    /// Offset up to which the reader has taken the stream.
    pub fn at(&self) -> u64 {
        self.at.load(Relaxed)
    }

    /// It fell too far behind, or the history it belongs to is over: its connection is to be closed.
    pub fn is_dropped(&self) -> bool {
        self.dropped.load(Relaxed)
    }

    /// The reader tells the size of the buffer that it sends from.
    pub fn show_buffer(&self, bytes: usize) {
        self.buffer.store(bytes as u64, Relaxed);
    }

    fn drop_it(&self) {
        self.dropped.store(true, Relaxed);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.lock().take() {
            waker.wake();
        }
    }
}

/// What INFO replication tells of the stream.
pub struct Figures {
    pub id: String,
    pub second: Option<Second>,
    pub is_on: bool,
    pub end: u64,
    /// Offset before the first byte that is kept.
    pub start: u64,
    pub backlog_bytes: u64,
    /// Memory of everything that is kept.
    pub held_bytes: u64,
    /// Of that, what is kept for connected replicas, beside the backlog.
    pub for_replicas: u64,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            on: AtomicBool::new(false),
            end: AtomicU64::new(0),
            lag_max: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                id: random_id(),
                second: None,
                blocks: VecDeque::new(),
                start: 0,
                end: 0,
                backlog: 1 << 20,
                db: None,
                follows: false,
                cursors: Vec::new(),
            }),
        }
    }
}

impl Inner {
    fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.blocks.back().map_or(0, |last| BLOCK_BYTES - last.len());
            if room == 0 {
                self.blocks.push_back(Vec::with_capacity(BLOCK_BYTES));
                continue;
            }
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            if let Some(last) = self.blocks.back_mut() {
                last.extend_from_slice(now);
            }
            self.end += now.len() as u64;
            bytes = rest;
        }
    }

    fn held_bytes(&self) -> u64 {
        (self.blocks.len() * BLOCK_BYTES) as u64
    }

    fn beyond_backlog(&self) -> u64 {
        self.held_bytes().saturating_sub(self.backlog)
    }

    /// Forgets what neither the backlog nor a cursor needs.
    fn trim(&mut self) {
        let slowest = self.cursors.iter().map(|cursor| cursor.at()).min().unwrap_or(u64::MAX);
        let kept_from = self.end.saturating_sub(self.backlog).min(slowest);
        while self.blocks.len() > 1 && self.start + BLOCK_BYTES as u64 <= kept_from {
            self.blocks.pop_front();
            self.start += BLOCK_BYTES as u64;
        }
    }

    /// Begins anew at an offset: what is kept is forgotten, and its readers are dropped.
    fn restart(&mut self, at: u64) {
        self.blocks.clear();
        (self.start, self.end, self.db) = (at, at, None);
        self.drop_cursors();
    }

    fn drop_cursors(&mut self) {
        self.cursors.drain(..).for_each(|cursor| cursor.drop_it());
    }
}

impl Stream {
    /// Whether records are taken: a replica is there, or may come back.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Bytes so far.
    pub fn end(&self) -> u64 {
        self.end.load(Relaxed)
    }

    pub fn id(&self) -> String {
        self.inner.lock().id.clone()
    }

    /// `repl-backlog-size`, and the hard limit of `client-output-buffer-limit replica`; 0 for none.
    pub fn set_limits(&self, backlog: u64, lag_max: u64) {
        self.lag_max.store(lag_max, Relaxed);
        let mut inner = self.inner.lock();
        inner.backlog = backlog;
        inner.trim();
    }

    /// What the stream takes beside the backlog, with what is on its way to replicas. Under `maxmemory` each command asks.
    pub fn beyond_backlog(&self) -> u64 {
        if !self.is_on() {
            return 0;
        }
        let inner = self.inner.lock();
        inner.beyond_backlog() + inner.cursors.iter().map(|cursor| cursor.buffer.load(Relaxed)).sum::<u64>()
    }

    pub fn figures(&self) -> Figures {
        let inner = self.inner.lock();
        Figures {
            id: inner.id.clone(),
            second: inner.second.clone(),
            is_on: self.is_on(),
            end: inner.end,
            start: inner.start,
            backlog_bytes: inner.backlog,
            held_bytes: inner.held_bytes(),
            for_replicas: if inner.cursors.is_empty() { 0 } else { inner.beyond_backlog() },
        }
    }

    /// Appends one unit's effects; see [`super::Journal::append`]. A replica's own effects are not for its replicas.
    pub(super) fn append(&self, databases: (usize, usize), record: [&[u8]; 3]) {
        self.write(|inner| {
            if inner.follows {
                return;
            }
            if inner.db != Some(databases.0) {
                let mut select = Vec::new();
                encode_select(&mut select, databases.0);
                inner.push(&select);
            }
            inner.db = Some(databases.1);
            record.iter().for_each(|piece| inner.push(piece));
        });
    }

    /// Appends a command that only replicas get: PING, REPLCONF GETACK. Nothing while this server follows another.
    pub fn append_for_replicas(&self, command: &[u8]) {
        if self.is_on() {
            self.write(|inner| {
                if !inner.follows {
                    inner.push(command);
                }
            });
        }
    }

    /// The same for a message, in front of which Redis has the stream in some database.
    pub fn append_message(&self, command: &[u8]) {
        let db = self.inner.lock().db.unwrap_or(0);
        self.append((db, db), [b"", command, b""]);
    }

    /// Appends what the primary sent, up to the end of a unit, behind which the stream is in database `db`. Nothing if this
    /// server follows no longer.
    pub fn append_raw(&self, bytes: &[u8], db: usize) {
        self.write(|inner| {
            if inner.follows {
                inner.push(bytes);
                inner.db = Some(db);
            }
        });
    }

    /// The history and the place in it, for data that is written now; none while nothing is recorded.
    pub fn history(&self) -> Option<History> {
        let inner = self.inner.lock();
        let (id, db) = (inner.id.clone(), inner.db.unwrap_or(0));
        self.is_on().then_some(History { id, offset: inner.end, db })
    }

    fn write(&self, put: impl FnOnce(&mut Inner)) {
        let mut inner = self.inner.lock();
        let (before, blocks) = (inner.end, inner.blocks.len());
        put(&mut inner);
        if inner.end == before {
            return;
        }
        self.end.store(inner.end, Relaxed);
        if inner.blocks.len() != blocks {
            self.drop_the_slow(&mut inner);
            inner.trim();
        }
        inner.cursors.iter().for_each(|cursor| cursor.wake());
    }

    fn drop_the_slow(&self, inner: &mut Inner) {
        let (end, limit) = (inner.end, self.lag_max.load(Relaxed));
        inner.cursors.retain(|cursor| {
            let keeps = limit == 0 || end - cursor.at().min(end) <= limit;
            if !keeps {
                cursor.drop_it();
            }
            keeps
        });
    }

    /// Copies the bytes behind a cursor, `at_most` of them, and moves it. False if there are none: the waker is woken when
    /// some come, or when the cursor is dropped.
    pub fn read(&self, cursor: &Cursor, out: &mut Vec<u8>, at_most: usize, waker: &Waker) -> bool {
        let inner = self.inner.lock();
        let from = cursor.at();
        if cursor.is_dropped() || from >= inner.end || from < inner.start {
            *cursor.waker.lock() = Some(waker.clone());
            return false;
        }
        let until = inner.end.min(from + at_most as u64);
        let mut at = from;
        while at < until {
            let behind = (at - inner.start) as usize;
            let block = &inner.blocks[behind / BLOCK_BYTES][behind % BLOCK_BYTES..];
            let piece = &block[..block.len().min((until - at) as usize)];
            out.extend_from_slice(piece);
            at += piece.len() as u64;
        }
        cursor.at.store(until, Relaxed);
        true
    }

    /// PSYNC: a cursor for a replica that has the history `id` up to the byte before `next`; none if it cannot go on.
    pub fn resume(&self, id: &[u8], next: u64) -> Option<Arc<Cursor>> {
        let mut inner = self.inner.lock();
        let from = next.checked_sub(1)?;
        let known = id == inner.id.as_bytes()
            || inner.second.as_ref().is_some_and(|second| id == second.id.as_bytes() && next <= second.until);
        if !self.is_on() || !known || from < inner.start || from > inner.end {
            return None;
        }
        let cursor = Arc::new(Cursor { at: AtomicU64::new(from), ..Cursor::default() });
        inner.cursors.push(cursor.clone());
        Some(cursor)
    }

    /// A full sync begins: its replicas get what follows the present end. Turns the stream on. The gate's owner calls it.
    /// Returns the place in the history that the snapshot stands at.
    pub fn begin_sync(&self, count: usize) -> (History, Vec<Arc<Cursor>>) {
        let mut inner = self.inner.lock();
        self.on.store(true, Relaxed);
        if !inner.follows {
            inner.db = None;
        }
        let new = || Arc::new(Cursor { at: AtomicU64::new(inner.end), ..Cursor::default() });
        let cursors: Vec<_> = (0..count).map(|_| new()).collect();
        inner.cursors.extend(cursors.iter().cloned());
        let history = History { id: inner.id.clone(), offset: inner.end, db: inner.db.unwrap_or(0) };
        (history, cursors)
    }

    /// A replica has left.
    pub fn leave(&self, cursor: &Arc<Cursor>) {
        let mut inner = self.inner.lock();
        inner.cursors.retain(|other| !Arc::ptr_eq(other, cursor));
        inner.trim();
    }

    pub fn has_cursors(&self) -> bool {
        !self.inner.lock().cursors.is_empty()
    }

    /// Follows another server's history from an offset, behind a full sync. Our own replicas must sync anew.
    pub fn follow(&self, history: &History) {
        let History { id, offset: at, db } = history;
        let (mut inner, at) = (self.inner.lock(), *at);
        inner.restart(at);
        inner.db = Some(*db);
        (inner.id, inner.second, inner.follows) = (id.to_owned(), None, true);
        self.on.store(true, Relaxed);
        self.end.store(at, Relaxed);
    }

    /// Goes on in the history that is here, as another server has it: perhaps under a new id, which our replicas must hear.
    pub fn follow_on(&self, id: Option<&str>) {
        let mut inner = self.inner.lock();
        inner.follows = true;
        self.on.store(true, Relaxed);
        if let Some(id) = id.filter(|id| *id != inner.id) {
            let old = std::mem::replace(&mut inner.id, id.to_owned());
            inner.second = Some(Second { id: old, until: inner.end + 1 });
            inner.drop_cursors();
        }
    }

    /// Begins a history of its own where the present one ends: a promotion. Replicas come back with the old id.
    pub fn promote(&self) {
        let mut inner = self.inner.lock();
        let old = std::mem::replace(&mut inner.id, random_id());
        inner.second = Some(Second { id: old, until: inner.end + 1 });
        (inner.follows, inner.db) = (false, None);
        inner.drop_cursors();
    }

    /// A start: data files say that the data is that of a history up to an offset. A replica goes on there; a primary has a
    /// new id, and its replicas may come back with the old one.
    pub fn restore(&self, history: &History, follows: bool) {
        let History { id, offset: at, db } = history;
        let (mut inner, at) = (self.inner.lock(), *at);
        inner.restart(at);
        if follows {
            (inner.id, inner.second, inner.db) = (id.to_owned(), None, Some(*db));
        } else {
            inner.second = Some(Second { id: id.to_owned(), until: at + 1 });
        }
        self.on.store(true, Relaxed);
        self.end.store(at, Relaxed);
    }

    /// A new history, unknown to all replicas: DEBUG CHANGE-REPL-ID.
    pub fn change_id(&self) {
        let mut inner = self.inner.lock();
        (inner.id, inner.second) = (random_id(), None);
    }

    /// Ends recording after `repl-backlog-ttl` without replicas. What is written from here on is in no replica's history, so
    /// the id changes. False if a replica is there.
    pub fn stop(&self) -> bool {
        let mut inner = self.inner.lock();
        if !inner.cursors.is_empty() || inner.follows {
            return false;
        }
        self.on.store(false, Relaxed);
        let end = inner.end;
        inner.restart(end);
        (inner.id, inner.second) = (random_id(), None);
        true
    }
}

/// 40 random hexadecimal digits: the id of a history, or of a run of the server.
pub fn random_id() -> String {
    let mut bytes = [0u8; 20];
    getrandom::fill(&mut bytes).expect("the system's random source answers");
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Bytes of the stream kept in one allocation: as many as Redis keeps in one, so that a backlog holds as much as there.
const BLOCK_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn on(backlog: u64) -> Stream {
        let stream = Stream::default();
        stream.set_limits(backlog, 0);
        stream.begin_sync(0);
        stream
    }

    fn append(stream: &Stream, bytes: &[u8]) {
        stream.append_for_replicas(bytes);
    }

    fn rest(stream: &Stream, cursor: &Cursor) -> Vec<u8> {
        let mut out = Vec::new();
        while stream.read(cursor, &mut out, 1000, Waker::noop()) {}
        out
    }

    #[test]
    fn what_is_kept_beside_the_backlog_is_no_reason_to_evict() {
        let stream = Stream::default();
        stream.set_limits(1000, 0);
        let (_, cursors) = stream.begin_sync(1);
        let kept = || (stream.beyond_backlog(), stream.figures().for_replicas);
        assert_eq!(kept(), (0, 0));
        append(&stream, b"x");
        let beyond = BLOCK_BYTES as u64 - 1000;
        assert_eq!(kept(), (beyond, beyond), "the first byte takes a block");
        cursors[0].show_buffer(300);
        assert_eq!(kept(), (beyond + 300, beyond));
        stream.leave(&cursors[0]);
        assert_eq!(kept(), (beyond, 0));
    }

    proptest! {
        #[test]
        fn a_cursor_reads_what_was_appended_from_where_it_began(
            sizes in prop::collection::vec(1usize..40_000, 1..30),
            backlog in 1u64..300_000,
            at in 0usize..30,
        ) {
            let stream = on(backlog);
            let (mut all, mut cursor) = (Vec::new(), None);
            for (i, size) in sizes.iter().enumerate() {
                if i == at.min(sizes.len() - 1) {
                    let next = all.len() as u64 + 1;
                    cursor = stream.resume(stream.id().as_bytes(), next).map(|cursor| (cursor, all.len()));
                }
                let bytes: Vec<u8> = (0..*size).map(|k| (k * 7 + i) as u8).collect();
                append(&stream, &bytes);
                all.extend_from_slice(&bytes);
            }
            prop_assert_eq!(stream.end(), all.len() as u64);
            let (cursor, from) = cursor.unwrap();
            prop_assert_eq!(rest(&stream, &cursor), all[from..].to_vec());
            // What the backlog promises is there, and what it does not keep is refused.
            for next in 1..=all.len() as u64 + 2 {
                let kept = all.len() as u64 - backlog.min(all.len() as u64);
                let resumed = stream.resume(stream.id().as_bytes(), next);
                if next > kept && next <= all.len() as u64 + 1 {
                    let resumed = resumed.unwrap();
                    if next % 997 == 0 {
                        prop_assert_eq!(rest(&stream, &resumed), all[next as usize - 1..].to_vec());
                    }
                    stream.leave(&resumed);
                } else if next > all.len() as u64 + 1 {
                    prop_assert!(resumed.is_none());
                } else if let Some(resumed) = resumed {
                    stream.leave(&resumed);
                }
            }
        }
    }

    #[test]
    fn a_slow_cursor_keeps_what_it_needs_until_it_is_too_slow() {
        let stream = on(1);
        stream.set_limits(1, 200_000);
        let cursor = stream.resume(stream.id().as_bytes(), 1).unwrap();
        append(&stream, &[1; 190_000]);
        assert!(!cursor.is_dropped());
        append(&stream, &[2; 150_000]);
        assert!(cursor.is_dropped() && !stream.has_cursors());
        assert!(stream.figures().held_bytes < 200_000, "what it held is free");
    }

    #[test]
    fn after_a_promotion_the_old_id_is_good_up_to_the_offset_of_the_promotion() {
        let stream = on(1000);
        append(&stream, b"abc");
        let old = stream.id();
        stream.promote();
        append(&stream, b"def");
        assert_ne!(stream.id(), old);
        assert_eq!(rest(&stream, &stream.resume(old.as_bytes(), 4).unwrap()), b"def");
        assert_eq!(rest(&stream, &stream.resume(old.as_bytes(), 2).unwrap()), b"bcdef");
        assert!(stream.resume(old.as_bytes(), 5).is_none(), "what the old primary wrote later is not ours");
        assert!(stream.resume(stream.id().as_bytes(), 5).is_some());
    }

    #[test]
    fn a_follower_passes_on_its_primary_s_bytes_and_nothing_of_its_own() {
        let stream = on(1000);
        stream.follow(&History { id: "p".into(), offset: 100, db: 3 });
        stream.append((0, 0), [b"", b"own", b""]);
        stream.append_raw(b"theirs", 4);
        assert_eq!(stream.history(), Some(History { id: "p".into(), offset: 106, db: 4 }));
        assert_eq!(rest(&stream, &stream.resume(b"p", 101).unwrap()), b"theirs");
        stream.promote();
        stream.append_raw(b"late", 0);
        assert_eq!(stream.end(), 106);
    }

    #[test]
    fn a_stream_that_stopped_is_unowned_s_history() {
        let stream = on(1000);
        append(&stream, b"abc");
        let (id, cursor) = (stream.id(), stream.resume(stream.id().as_bytes(), 1).unwrap());
        assert!(!stream.stop());
        stream.leave(&cursor);
        assert!(stream.stop() && !stream.is_on());
        assert!(stream.resume(id.as_bytes(), 4).is_none());
    }
}
