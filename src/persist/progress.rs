//! How far a load has come, for INFO: bytes there are and bytes read, and what the file says of itself.

use super::rdb::write::History;
use crate::clock::{self, Millis};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// The load in progress, or the last one.
#[derive(Default)]
pub struct Loading {
    started_ms: AtomicI64,
    total_bytes: AtomicU64,
    loaded_bytes: AtomicU64,
    /// Of the files before the present one.
    passed_bytes: AtomicU64,
    /// The memory in use when the file was written.
    pub used_mem: AtomicU64,
    /// The replication history in a file's fields, as far as it was read.
    history: Mutex<Option<History>>,
}

impl Loading {
    pub fn begin(&self, total_bytes: u64) {
        self.started_ms.store(clock::now_ms(), Relaxed);
        self.total_bytes.store(total_bytes, Relaxed);
        self.loaded_bytes.store(0, Relaxed);
        self.passed_bytes.store(0, Relaxed);
        self.used_mem.store(0, Relaxed);
        *self.history.lock() = None;
    }

    /// The replication history that the file loaded last stands in, if it tells one whole.
    pub fn take_history(&self) -> Option<History> {
        self.history.lock().take().filter(|history| history.id.len() == 40)
    }

    /// Whether the file in progress stands in a replication history.
    pub fn tells_history(&self) -> bool {
        self.history.lock().is_some()
    }

    /// What the end of a log tells of it.
    pub fn set_history(&self, history: Option<History>) {
        *self.history.lock() = history;
    }

    /// So much of the present file is loaded.
    pub fn reached(&self, offset: u64) {
        self.loaded_bytes.store(self.passed_bytes.load(Relaxed) + offset, Relaxed);
    }

    /// A file of this length is loaded.
    pub fn passed(&self, len: u64) {
        let passed = self.passed_bytes.fetch_add(len, Relaxed) + len;
        self.loaded_bytes.store(passed, Relaxed);
    }

    pub fn started_seconds(&self) -> i64 {
        self.started_ms.load(Relaxed) / 1000
    }

    pub fn total_bytes(&self) -> u64 {
        self.total_bytes.load(Relaxed)
    }

    /// Never more than there are, where that is known: a file may have grown since it was measured.
    pub fn loaded_bytes(&self) -> u64 {
        let (loaded, total) = (self.loaded_bytes.load(Relaxed), self.total_bytes());
        if total == 0 { loaded } else { loaded.min(total) }
    }

    /// Bytes there will be. If that is not known, about as many as memory was in use when the file was written.
    fn expected_bytes(&self) -> u64 {
        match self.total_bytes() {
            0 => self.used_mem.load(Relaxed),
            total => total,
        }
    }

    /// How much is loaded, in percent.
    pub fn percent(&self) -> f64 {
        let percent = 100.0 * self.loaded_bytes() as f64 / self.expected_bytes().max(1) as f64;
        percent.min(if self.total_bytes() == 0 { 99.99 } else { 100.0 })
    }

    /// Seconds to go at the speed so far; 1 while none is known.
    pub fn eta_seconds(&self, now: Millis) -> i64 {
        let (total, loaded) = (self.expected_bytes(), self.loaded_bytes());
        let elapsed = now.saturating_sub(self.started_ms.load(Relaxed)).max(0) / 1000;
        match (elapsed, loaded) {
            (0, _) | (_, 0) => 1,
            _ => (elapsed as f64 * total.saturating_sub(loaded) as f64 / loaded as f64) as i64,
        }
    }

    /// Takes note of a file's auxiliary field, and tells the operator what Redis would.
    pub fn auxiliary(&self, name: &[u8], value: &[u8]) {
        let (text, number) = (String::from_utf8_lossy(value), crate::num::parse_i64(value));
        match (name, number) {
            (b"redis-ver" | b"valkey-ver", _) => crate::log::notice!("Loading RDB produced by version {text}"),
            (b"ctime", Some(at)) => {
                let age = (clock::now_ms() / 1000).saturating_sub(at).max(0);
                crate::log::notice!("RDB age {age} seconds");
            }
            (b"used-mem", Some(bytes @ 0..)) => {
                self.used_mem.store(bytes as u64, Relaxed);
                crate::log::notice!("RDB memory usage when created {:.2} Mb", bytes as f64 / f64::from(1 << 20));
            }
            (b"repl-id", _) => self.history.lock().get_or_insert_default().id = text.into_owned(),
            (b"repl-offset", Some(offset @ 0..)) => self.history.lock().get_or_insert_default().offset = offset as u64,
            (b"repl-stream-db", Some(db @ 0..)) => self.history.lock().get_or_insert_default().db = db as usize,
            (b"aof-base", Some(1..)) => crate::log::notice!("RDB is base AOF"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_counts_over_all_files_and_the_rest_takes_as_long() {
        let loading = Loading::default();
        loading.begin(100);
        assert_eq!(loading.eta_seconds(clock::now_ms()), 1);
        loading.reached(10);
        loading.passed(20);
        loading.reached(5);
        assert_eq!(loading.loaded_bytes(), 25);
        let later = loading.started_ms.load(Relaxed) + 2_000;
        assert_eq!(loading.eta_seconds(later), 6);
        loading.reached(500);
        assert_eq!((loading.loaded_bytes(), loading.percent(), loading.eta_seconds(later)), (100, 100.0, 0));
    }

    #[test]
    fn what_comes_without_a_length_is_measured_by_the_memory_it_took() {
        let loading = Loading::default();
        loading.begin(0);
        loading.used_mem.store(400, Relaxed);
        loading.reached(100);
        let later = loading.started_ms.load(Relaxed) + 2_000;
        assert_eq!((loading.loaded_bytes(), loading.percent(), loading.eta_seconds(later)), (100, 25.0, 6));
        loading.reached(1_000);
        assert_eq!((loading.loaded_bytes(), loading.percent(), loading.eta_seconds(later)), (1_000, 99.99, 0));
    }
}
