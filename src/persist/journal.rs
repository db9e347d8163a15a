//! The journal: the total order of effects, and how far it has reached the kernel and the device.
//!
//! A unit appends its record while it holds its locks ([`Journal::append`]: one short lock, one memcpy). At the end of a
//! worker's turn [`Journal::flush`] hands everybody's pending bytes to the kernel in one write; other workers find theirs
//! already written. Replies leave once their offset is reached ([`Journal::reply_offset`]): durable under `always`,
//! written otherwise, at once under `aof-reply-after memory`.
//!
//! The batcher thread does every fsync, everything under `always`, and **takes over the writing while the device is
//! slow**: a write above [`SLOW_WRITE`] stalls one turn; from then on workers only queue and wait, until
//! [`CALM_WRITES`] writes in a row were quick.
//!
//! Errors: a failed or short write is cut back to the last whole record and tried again by the batcher; meanwhile writes
//! are refused and the waiting replies wait. Unless it is space that is missing, a rewrite may go on in another file: its
//! base holds what could not be written, and until that is in force nothing is written behind the gap, so that the log
//! is a prefix at every moment. A failed fsync is final for its file, because the kernel marks pages clean that never
//! reached the device, and tells of it once: fsyncs wait for each other, and the journal stays refused until a rewrite
//! has begun a new file. Under `always` either ends the process, as Redis does.
//! Invariant: `durable <= written <= appended`; bytes are written in the order of `append`.

use super::storage::{Directory, StoredFile};
use super::stream::Stream;
use crate::clock::Millis;
use crate::observe::{Histogram, Snapshot};
use crate::resp::encode_select;
use parking_lot::lock_api::{Mutex as LockOf, RawMutex as Lock};
use parking_lot::{Condvar, Mutex, RawMutex};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::task::Waker;
use std::time::{Duration, Instant};

/// When the device must have the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fsync {
    Always,
    EverySec,
    No,
}

/// What a reply waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReplyAfter {
    Durable,
    Written,
    Memory,
}

/// One unit's effects: a contiguous run of commands that begins in the first and ends in the second of `databases`, in up
/// to three pieces.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub databases: (usize, usize),
    pub commands: usize,
    pub pieces: [&'a [u8]; 3],
}

/// `L` is the kind of its locks, which model tests choose.
pub struct Journal<L: Lock = RawMutex> {
    on: AtomicBool,
    pending: LockOf<L, Pending>,
    sink: LockOf<L, Sink>,
    /// Held over an fsync. Before the sink's lock.
    syncing: LockOf<L, ()>,
    appended: AtomicU64,
    written: AtomicU64,
    durable: AtomicU64,
    fsync: AtomicU8,
    reply_after: AtomicU8,
    timestamps: AtomicBool,
    /// Under `memory`: commands that wait before the batcher is rung.
    batch_commands: AtomicU64,
    /// The batcher writes, workers wait.
    slow: AtomicBool,
    error: Mutex<Option<String>>,
    failed: AtomicBool,
    /// Workers waiting for the batcher.
    waiting: LockOf<L, Vec<Waker>>,
    pub(super) bell: Bell,
    /// The same order as replicas get it.
    pub stream: Stream,
    /// DEBUG AOF-FLUSH-SLEEP: every write takes this much longer.
    pub write_delay_us: AtomicU64,
    pub stats: Stats,
}

/// Records not yet handed to the kernel.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    end: u64,
    commands: u64,
    /// The database the log is in; `None` in a new file.
    db: Option<usize>,
    last_timestamp: i64,
}

/// The open file, under the writer's lock.
#[derive(Default)]
struct Sink {
    file: Option<StoredFile>,
    /// Bytes of whole records in the file.
    len: u64,
    /// Taken from pending, not yet written: the batch in progress, or what an error left.
    batch: Vec<u8>,
    batch_end: u64,
    calm: u32,
    last_attempt: Option<Instant>,
    /// The file may end in a part of the batch, which must be cut off before anything is written.
    torn: bool,
    /// The last write failed, and not for want of space: another file may take it.
    stuck: bool,
    fsync_failed: bool,
    /// The file before failed; until a new base is in force, a crash may lose what lies between the two.
    awaits_base: bool,
    /// What the file before could not take, up to this offset, is in the base that begins with the present one. Nothing
    /// is written here before that is in force.
    owed: Option<u64>,
    left_behind: Option<LeftBehind>,
}

/// What must be durable before anything is written to the present file.
struct LeftBehind {
    /// The file before it, unless it failed.
    file: Option<StoredFile>,
    /// Where the present one got its name.
    dir: Option<Directory>,
}

/// What wakes the batcher.
#[derive(Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    condvar: Condvar,
}

impl Bell {
    pub fn ring(&self) {
        *self.rung.lock() = true;
        self.condvar.notify_one();
    }

    /// Waits until rung or the time is over.
    pub fn wait(&self, at_most: Duration) {
        let mut rung = self.rung.lock();
        if !*rung {
            self.condvar.wait_for(&mut rung, at_most);
        }
        *rung = false;
    }
}

/// What INFO persistence tells of the batching.
#[derive(Default)]
pub struct Stats {
    pub batches: AtomicU64,
    pub commands: AtomicU64,
    pub bytes: AtomicU64,
    /// Times of the fsyncs that succeeded. The batcher's, but for a switch or the end: the lock is all but free.
    fsyncs: Mutex<Histogram>,
    /// Writes the batcher made for the workers because the device was slow.
    pub delayed: AtomicU64,
    /// Bytes in the file being written.
    pub file_bytes: AtomicU64,
    /// Bytes in the files before it.
    pub behind_bytes: AtomicU64,
    /// The log's size after the last rewrite.
    pub base_bytes: AtomicU64,
}

impl Stats {
    /// CONFIG RESETSTAT: counts and times begin anew; sizes are no statistics.
    pub fn reset(&self) {
        [&self.batches, &self.commands, &self.bytes, &self.delayed].iter().for_each(|count| count.store(0, Relaxed));
        *self.fsyncs.lock() = Histogram::new();
    }

    /// How long fsyncs took, since start or RESETSTAT.
    pub fn fsync_times(&self) -> Snapshot {
        let mut times = Snapshot::default();
        self.fsyncs.lock().merge_into(&mut times);
        times
    }

    fn synced(&self, took: Duration) {
        self.fsyncs.lock().record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
}

impl Default for Journal {
    fn default() -> Self {
        Self::new()
    }
}

impl<L: Lock> Journal<L> {
    pub fn new() -> Self {
        Self {
            on: AtomicBool::new(false),
            pending: LockOf::default(),
            sink: LockOf::default(),
            syncing: LockOf::default(),
            appended: AtomicU64::new(0),
            written: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            fsync: AtomicU8::new(Fsync::EverySec as u8),
            reply_after: AtomicU8::new(ReplyAfter::Written as u8),
            timestamps: AtomicBool::new(false),
            batch_commands: AtomicU64::new(1),
            slow: AtomicBool::new(false),
            error: Mutex::default(),
            failed: AtomicBool::new(false),
            waiting: LockOf::default(),
            bell: Bell::default(),
            stream: Stream::default(),
            write_delay_us: AtomicU64::new(0),
            stats: Stats::default(),
        }
    }

    /// Whether there is a log.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Acquire)
    }

    /// Whether effects are recorded at all: for the log, or for replicas.
    #[inline]
    pub fn records(&self) -> bool {
        self.is_on() || self.stream.is_on()
    }

    pub fn set_policy(&self, fsync: Fsync, reply_after: ReplyAfter, timestamps: bool, batch_commands: u64) {
        self.batch_commands.store(batch_commands, Relaxed);
        self.fsync.store(fsync as u8, Relaxed);
        self.reply_after.store(reply_after as u8, Relaxed);
        self.timestamps.store(timestamps, Relaxed);
        self.bell.ring();
    }

    pub fn fsync_policy(&self) -> Fsync {
        match self.fsync.load(Relaxed) {
            0 => Fsync::Always,
            1 => Fsync::EverySec,
            _ => Fsync::No,
        }
    }

    /// Whether each batch is to be synced: under `always`, and where replies wait for an fsync that no clock brings.
    pub fn syncs_at_once(&self) -> bool {
        match self.fsync_policy() {
            Fsync::Always => true,
            Fsync::EverySec => false,
            Fsync::No => self.reply_after.load(Relaxed) == ReplyAfter::Durable as u8,
        }
    }

    /// Appends one unit's effects, which are mostly the same for both. Returns the offset behind them in the log, 0
    /// without one. Called under the unit's locks.
    #[inline]
    pub fn append(&self, log: Record<'_>, replicas: Record<'_>, now: Millis) -> u64 {
        if !self.records() {
            return 0;
        }
        let mut p = self.pending.lock();
        if self.stream.is_on() && replicas.commands > 0 {
            self.stream.append(replicas.databases, replicas.pieces);
        }
        // Looked at under the lock: what came behind the end of recording would wait for ever.
        if !self.is_on() {
            return 0;
        }
        if log.commands == 0 {
            return p.end;
        }
        let Record { databases, commands, pieces: record } = log;
        let before = p.bytes.len();
        if self.timestamps.load(Relaxed) && p.last_timestamp != now / 1000 {
            p.last_timestamp = now / 1000;
            let line = format!("#TS:{}\r\n", now / 1000);
            p.bytes.extend_from_slice(line.as_bytes());
        }
        if p.db != Some(databases.0) {
            encode_select(&mut p.bytes, databases.0);
        }
        p.db = Some(databases.1);
        for piece in record {
            p.bytes.extend_from_slice(piece);
        }
        p.commands += commands as u64;
        p.end += (p.bytes.len() - before) as u64;
        self.appended.store(p.end, Release);
        let (end, full) = (p.end, p.commands >= self.batch_commands.load(Relaxed));
        drop(p);
        if full && self.reply_after.load(Relaxed) == ReplyAfter::Memory as u8 {
            self.bell.ring();
        }
        end
    }

    pub fn appended(&self) -> u64 {
        self.appended.load(Acquire)
    }

    /// Bytes waiting to be written.
    pub fn pending_bytes(&self) -> u64 {
        self.appended().saturating_sub(self.written.load(Acquire))
    }

    /// Replies whose effects end at or below this offset may leave.
    #[inline]
    pub fn reply_offset(&self) -> u64 {
        match self.reply_after.load(Relaxed) {
            0 => self.durable.load(Acquire),
            1 => self.written.load(Acquire),
            _ => u64::MAX,
        }
    }

    /// End of a worker's turn: hands pending bytes to the kernel, or leaves them to the batcher where that is its work.
    pub fn flush(&self) {
        if self.appended() == self.written.load(Acquire) {
            return;
        }
        let memory = self.reply_after.load(Relaxed) == ReplyAfter::Memory as u8;
        if memory {
            return;
        }
        if self.syncs_at_once() || self.slow.load(Relaxed) || self.failed.load(Relaxed) {
            self.bell.ring();
            return;
        }
        self.write_pending(&mut self.sink.lock());
    }

    /// Registers for the next progress the batcher makes.
    pub fn wake_on_progress(&self, waker: &Waker) {
        self.waiting.lock().push(waker.clone());
    }

    fn announce(&self) {
        let woken = std::mem::take(&mut *self.waiting.lock());
        woken.into_iter().for_each(Waker::wake);
    }

    /// Writes are refused: [`Self::write_error`] says why.
    #[inline]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// Why writes are refused, if they are, in the system's words.
    pub fn write_error(&self) -> Option<String> {
        if !self.failed.load(Acquire) {
            return None;
        }
        self.error.lock().clone()
    }

    /// Refuses writes. The cause is for clients, the story for the log: once, until it is over.
    fn fail(&self, cause: &io::Error, story: &str) {
        *self.error.lock() = Some(crate::log::cause(cause));
        if !self.failed.swap(true, Release) {
            crate::log::warning!("{story}");
        }
    }

    fn heal(&self) {
        if self.failed.swap(false, Relaxed) {
            crate::log::warning!("AOF write error looks solved. The server can write again.");
        }
    }

    /// Writes everything appended so far. True when nothing is left.
    fn write_pending(&self, sink: &mut Sink) -> bool {
        if sink.left_behind.is_some() {
            // A worker that was on its way while the files changed: the batcher syncs first.
            self.bell.ring();
            return false;
        }
        if sink.owed.is_some() {
            return false;
        }
        if sink.batch.is_empty() {
            let mut p = self.pending.lock();
            std::mem::swap(&mut p.bytes, &mut sink.batch);
            sink.batch_end = p.end;
            self.stats.commands.fetch_add(std::mem::take(&mut p.commands), Relaxed);
        }
        if sink.batch.is_empty() {
            return true;
        }
        let started = Instant::now();
        let Some(file) = sink.file.as_mut() else { return false };
        let delay_us = self.write_delay_us.load(Relaxed);
        if delay_us > 0 {
            std::thread::sleep(Duration::from_micros(delay_us));
        }
        let whole = if sink.torn { file.cut(sink.len) } else { Ok(()) };
        if let Err(e) = whole.and_then(|()| file.write_all(&sink.batch)) {
            self.cut_back(sink, &e);
            return false;
        }
        (sink.torn, sink.stuck) = (false, false);
        self.judge(sink, started.elapsed());
        sink.len += sink.batch.len() as u64;
        self.stats.bytes.fetch_add(sink.batch.len() as u64, Relaxed);
        self.stats.batches.fetch_add(1, Relaxed);
        self.stats.file_bytes.store(sink.len, Relaxed);
        sink.batch.clear();
        if sink.batch.capacity() > BATCH_KEPT_MAX {
            sink.batch = Vec::new();
        }
        if !sink.fsync_failed && !sink.awaits_base {
            self.heal();
        }
        self.written.store(sink.batch_end, Release);
        true
    }

    /// What an earlier error left, and what came since.
    fn write_everything(&self, sink: &mut Sink) -> bool {
        self.settle(sink);
        while self.appended() != self.written.load(Acquire) {
            if !self.write_pending(sink) {
                return false;
            }
        }
        true
    }

    /// Makes the file left behind durable, before anything is written or called durable in the present one.
    fn settle(&self, sink: &mut Sink) {
        let Some(LeftBehind { file, dir }) = sink.left_behind.take() else { return };
        if let Some(old) = file {
            let started = Instant::now();
            match old.sync() {
                Ok(()) => self.stats.synced(started.elapsed()),
                Err(e) => self.fsync_failed(sink, &old, &e),
            }
        }
        if let (Some(present), Some(Err(e))) = (sink.file.clone(), dir.map(|dir| dir.sync())) {
            self.fsync_failed(sink, &present, &e);
        }
    }

    /// A failed fsync is final: the kernel may have thrown away what it could not write.
    fn fsync_failed(&self, sink: &mut Sink, file: &StoredFile, cause: &io::Error) {
        let (path, text) = (file.path().display(), crate::log::cause(cause));
        if self.fsync_policy() == Fsync::Always {
            crate::log::warning!(
                "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {path}: {text}. Exiting..."
            );
            std::process::exit(1);
        }
        sink.fsync_failed = true;
        let story = format!("Fail to fsync the AOF file: {path}: {text}. A rewrite must begin a new file.");
        self.fail(cause, &story);
    }

    /// After a failed write: the file ends behind the last whole record again, the batch is kept.
    fn cut_back(&self, sink: &mut Sink, cause: &io::Error) {
        let Some(file) = sink.file.as_mut() else { return };
        let story = format!("{}: {}", file.path().display(), crate::log::cause(cause));
        if self.fsync_policy() == Fsync::Always {
            crate::log::warning!(
                "Can't recover from AOF write error when the AOF fsync policy is 'always': {story}. Exiting..."
            );
            std::process::exit(1);
        }
        sink.last_attempt = Some(Instant::now());
        // Now, for a crash may come before the next attempt; if it cannot be done, then before that.
        sink.torn = file.cut(sink.len).is_err();
        let no_space = matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        sink.stuck = !sink.torn && !no_space;
        let rest = if sink.torn { " A short write could not be removed yet." } else { "" };
        self.fail(cause, &format!("Error writing to the AOF file: {story}.{rest}"));
    }

    /// Decides whether the device is slow: then the batcher writes.
    fn judge(&self, sink: &mut Sink, took: Duration) {
        if took > SLOW_WRITE {
            sink.calm = 0;
            if !self.slow.swap(true, Relaxed) {
                self.stats.delayed.fetch_add(1, Relaxed);
            }
        } else if self.slow.load(Relaxed) {
            sink.calm += 1;
            if sink.calm >= CALM_WRITES {
                self.slow.store(false, Relaxed);
            }
        }
    }

    /// The batcher's part: writes what workers left to it.
    pub fn batch(&self) {
        let mut sink = self.sink.lock();
        self.settle(&mut sink);
        let too_soon = sink.last_attempt.is_some_and(|at| at.elapsed() < RETRY_INTERVAL) && !sink.batch.is_empty();
        if too_soon {
            return;
        }
        self.write_pending(&mut sink);
        drop(sink);
        // Also with nothing to write: a worker may have written for others, or the policy may have changed.
        self.announce();
    }

    /// Makes what is written durable. The sink's lock is not held over the fsync: writes go on meanwhile.
    pub fn sync(&self) {
        let _alone = self.syncing.lock();
        let (target, file) = {
            let mut sink = self.sink.lock();
            self.settle(&mut sink);
            let Some(file) = &sink.file else { return };
            if sink.fsync_failed || sink.awaits_base {
                return;
            }
            (self.written.load(Acquire), file.clone())
        };
        if target == self.durable.load(Acquire) {
            return;
        }
        let started = Instant::now();
        match file.sync() {
            Ok(()) => {
                self.stats.synced(started.elapsed());
                self.durable.fetch_max(target, Release);
            }
            Err(e) => self.fsync_failed(&mut self.sink.lock(), &file, &e),
        }
        self.announce();
    }

    /// The size of the whole log, as of the last write.
    pub fn size(&self) -> u64 {
        self.stats.behind_bytes.load(Relaxed) + self.stats.file_bytes.load(Relaxed)
    }

    /// Offset up to which the device has the log.
    pub fn durable(&self) -> u64 {
        self.durable.load(Acquire)
    }

    pub fn durable_lag_bytes(&self) -> u64 {
        self.written.load(Acquire).saturating_sub(self.durable.load(Acquire))
    }

    /// The present file cannot go on, or has no base yet.
    pub fn needs_new_file(&self) -> bool {
        self.failed.load(Relaxed) && {
            let sink = self.sink.lock();
            sink.fsync_failed || sink.awaits_base || sink.stuck
        }
    }

    /// Begins or goes on with a file that holds `len` bytes; recording is on from here.
    pub fn attach(&self, file: StoredFile, len: u64) {
        let mut sink = self.sink.lock();
        self.pending.lock().db = None;
        *sink = Sink { file: Some(file), len, batch_end: self.appended(), ..Sink::default() };
        self.stats.file_bytes.store(len, Relaxed);
        self.on.store(true, Release);
    }

    /// Writes what is pending to the present file and goes on in another, at this very point of the order. What the present
    /// one cannot take is left to the base that begins here. The gate's owner calls it, so that no record is split. `name`
    /// makes the other file part of the log, quickly and without syncing: when it is called the present one is whole, so
    /// that a log read after a kill has no part of a record but in the last file, which is all that Redis
    /// would mend.
    pub fn switch(&self, file: StoredFile, name: impl FnOnce() -> io::Result<Option<Directory>>) -> io::Result<()> {
        let mut sink = self.sink.lock();
        // Also to a file whose fsync failed: a kernel that goes on has the bytes, so their replies may leave.
        let gap = self.is_on() && !self.write_everything(&mut sink);
        if gap && !sink.stuck && sink.owed.is_none() {
            return Err(io::Error::other(self.write_error().unwrap_or_default()));
        }
        let dir = name()?;
        let awaits_base = gap || sink.fsync_failed || sink.awaits_base;
        let left = sink.file.take().filter(|_| !awaits_base);
        let left_behind = (left.is_some() || dir.is_some()).then_some(LeftBehind { file: left, dir });
        let end = self.appended();
        // The batcher syncs what is left behind and writes until then; no worker waits for that.
        self.slow.store(left_behind.is_some(), Relaxed);
        let owed = gap.then_some(end);
        *sink = Sink { file: Some(file), batch_end: end, awaits_base, owed, left_behind, ..Sink::default() };
        let mut p = self.pending.lock();
        // Empty but for a gap.
        p.bytes.clear();
        (p.commands, p.db) = (0, None);
        drop(p);
        let left = self.stats.file_bytes.swap(0, Relaxed);
        self.stats.behind_bytes.fetch_add(left, Relaxed);
        self.on.store(true, Release);
        drop(sink);
        self.announce();
        self.bell.ring();
        Ok(())
    }

    /// The base that begins with the present file is in force: what a file before it lost no longer matters, and what it
    /// could not take is durable.
    pub fn base_is_in_force(&self) {
        let mut sink = self.sink.lock();
        sink.awaits_base = false;
        if let Some(end) = sink.owed.take() {
            self.written.store(end, Release);
            self.durable.fetch_max(end, Release);
        }
        if !sink.fsync_failed && sink.batch.is_empty() {
            self.heal();
        }
        drop(sink);
        // For those who wait, and for what came since.
        self.announce();
        self.bell.ring();
    }

    /// Stops recording: what is pending is written and synced first, if that is possible. No client waits for it any more.
    pub fn detach(&self) {
        self.finish();
        let mut sink = self.sink.lock();
        let mut p = self.pending.lock();
        self.on.store(false, Release);
        *sink = Sink::default();
        *p = Pending { end: p.end, ..Pending::default() };
        self.failed.store(false, Relaxed);
        self.written.store(p.end, Release);
        self.durable.store(p.end, Release);
        drop((p, sink));
        self.announce();
    }

    /// Notes at the end of the log where in the replication history it stands: an orderly end. The caller owns the world.
    pub fn note_history(&self) {
        let Some(history) = self.stream.history().filter(|_| self.is_on()) else { return };
        let (line, mut p) = (history.line(), self.pending.lock());
        p.bytes.extend_from_slice(line.as_bytes());
        p.end += line.len() as u64;
        self.appended.store(p.end, Release);
    }

    /// Writes and syncs everything, for shutdown. An error here has been logged.
    pub fn finish(&self) -> bool {
        if !self.is_on() {
            return true;
        }
        let written = self.write_everything(&mut self.sink.lock());
        self.sync();
        written
    }
}

#[cfg(test)]
impl<L: Lock> Journal<L> {
    /// The same record for both.
    pub(super) fn append_record(&self, databases: (usize, usize), bytes: &[u8]) -> u64 {
        let record = Record { databases, commands: 1, pieces: [b"", bytes, b""] };
        self.append(record, record, 0)
    }

    /// The effects of a single command, outside any unit.
    fn append_command(&self, db: usize, args: &[&[u8]]) -> u64 {
        let mut bytes = Vec::new();
        crate::resp::encode_request(&mut bytes, args.iter().copied());
        self.append_record((db, db), &bytes)
    }
}

/// One write(2) above this makes the batcher take over: the tail stall of a log is the write itself.
const SLOW_WRITE: Duration = Duration::from_millis(1);
/// Quick writes in a row before workers write again.
const CALM_WRITES: u32 = 50;
/// A failed write is tried again this often.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// A batch buffer larger than this is given back.
const BATCH_KEPT_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests;
