//! The slow log: the last commands whose execution took longer than `slowlog-log-slower-than`; and, of the same kind, the
//! logs of the commands with the largest requests and replies.
//!
//! What SLOWLOG and COMMANDLOG need, with Redis's way of shortening arguments. Invariants: ids never repeat, not
//! even across RESET; an entry is at most 32 arguments of some 150 bytes, so the log's memory is bounded by its
//! length. Not here: the threshold, and hiding secrets (callers log a redacted command line).
//! Cost: one lock per command logged; others never come here.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// A command that was slow, or large.
#[derive(Debug, PartialEq)]
pub struct SlowlogEntry {
    pub id: u64,
    pub unix_s: i64,
    /// Microseconds, or bytes.
    pub cost: u64,
    /// Shortened: at most 32 arguments, each of at most 128 bytes and a note on what is missing.
    pub argv: Vec<Vec<u8>>,
    /// The client's address and port.
    pub client_addr: String,
    pub client_name: Vec<u8>,
}

/// The last slow commands, the newest first.
pub struct Slowlog(Mutex<Log>);

struct Log {
    entries: VecDeque<Arc<SlowlogEntry>>,
    next_id: u64,
    max_len: usize,
}

impl Slowlog {
    /// `max_len` is `slowlog-max-len`.
    pub fn new(max_len: usize) -> Slowlog {
        Slowlog(Mutex::new(Log { entries: VecDeque::new(), next_id: 0, max_len }))
    }

    /// Logs a command that ended at `unix_s` and took `amount` microseconds, or bytes.
    pub fn push<'a>(
        &self,
        unix_s: i64,
        cost: u64,
        argv: impl ExactSizeIterator<Item = &'a [u8]>,
        client_addr: String,
        client_name: &[u8],
    ) {
        let (argv, client_name) = (shorten(argv), client_name.to_vec());
        let mut log = self.0.lock();
        let id = log.next_id;
        log.next_id += 1;
        log.entries.push_front(Arc::new(SlowlogEntry { id, unix_s, cost, argv, client_addr, client_name }));
        log.trim();
    }

    /// Up to `count` entries, the newest first.
    pub fn get(&self, count: usize) -> Vec<Arc<SlowlogEntry>> {
        self.0.lock().entries.iter().take(count).cloned().collect()
    }

    #[allow(clippy::len_without_is_empty)] // SLOWLOG LEN asks; emptiness is not asked for.
    pub fn len(&self) -> usize {
        self.0.lock().entries.len()
    }

    pub fn reset(&self) {
        self.0.lock().entries.clear();
    }

    /// Changes how many entries are kept, dropping the oldest at once.
    pub fn set_max_len(&self, max_len: usize) {
        let mut log = self.0.lock();
        log.max_len = max_len;
        log.trim();
    }
}

impl Log {
    fn trim(&mut self) {
        self.entries.truncate(self.max_len);
    }
}

fn shorten<'a>(argv: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let total = argv.len();
    let shown = if total > ARGS_MAX { ARGS_MAX - 1 } else { total };
    let mut short: Vec<Vec<u8>> = argv.take(shown).map(shorten_arg).collect();
    if total > shown {
        short.push(format!("... ({} more arguments)", total - shown).into_bytes());
    }
    short
}

fn shorten_arg(arg: &[u8]) -> Vec<u8> {
    match arg.split_at_checked(ARG_BYTES_MAX) {
        Some((head, rest)) if !rest.is_empty() => {
            [head, format!("... ({} more bytes)", rest.len()).as_bytes()].concat()
        }
        _ => arg.to_vec(),
    }
}

/// Redis's limits: the 32nd place then says how many arguments are missing.
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn push(log: &Slowlog, argv: &[Vec<u8>]) {
        log.push(1_700_000_000, 15_000, argv.iter().map(Vec::as_slice), "127.0.0.1:5000".into(), b"joe");
    }

    #[test]
    fn long_commands_are_shortened_as_redis_does() {
        let log = Slowlog::new(10);
        let x = |n| vec![b'x'; n];
        push(&log, &[x(128), x(129), x(5000)]);
        let entry = &log.get(1)[0];
        assert_eq!(entry.argv[0], x(128));
        assert_eq!(entry.argv[1], [x(128), b"... (1 more bytes)".to_vec()].concat());
        assert_eq!(entry.argv[2], [x(128), b"... (4872 more bytes)".to_vec()].concat());
        push(&log, &vec![x(1); 32]);
        assert_eq!(log.get(1)[0].argv, vec![x(1); 32]);
        push(&log, &vec![x(1); 41]);
        let argv = &log.get(1)[0].argv;
        assert_eq!((argv.len(), argv[31].as_slice()), (32, &b"... (10 more arguments)"[..]));
    }

    #[test]
    fn the_log_is_bounded_and_ids_go_on() {
        let log = Slowlog::new(3);
        (0..5).for_each(|_| push(&log, &[b"GET".to_vec()]));
        assert_eq!(log.get(10).iter().map(|e| e.id).collect::<Vec<_>>(), [4, 3, 2]);
        assert_eq!(log.get(2).len(), 2);
        log.set_max_len(1);
        assert_eq!(log.len(), 1);
        log.reset();
        assert_eq!(log.len(), 0);
        push(&log, &[b"GET".to_vec()]);
        assert_eq!(log.get(1)[0].id, 5);
        log.set_max_len(0);
        push(&log, &[b"GET".to_vec()]);
        assert_eq!(log.len(), 0);
    }
}
