//! observe (placeholder until the real one lands).
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
#[derive(Default)]
pub struct Counter(AtomicU64);
impl Counter {
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed) + n, Relaxed);
    }
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
#[derive(Default)]
pub struct WorkerStats {
    pub net_input_bytes: Counter,
    pub net_output_bytes: Counter,
    pub commands_processed: Counter,
    pub keyspace_hits: Counter,
    pub keyspace_misses: Counter,
    pub dirty: Counter,
    pub total_reads_processed: Counter,
    pub total_writes_processed: Counter,
    pub rejected_connections: Counter,
    pub connections_received: Counter,
    pub expired_keys: Counter,
}
impl WorkerStats {
    pub fn call(&self, _c: usize, _ns: u64) {}
    pub fn failed(&self, _c: usize) {}
    pub fn rejected(&self, _c: usize) {}
}
#[derive(Default)]
pub struct ErrorStats;
impl ErrorStats {
    pub fn count(&self, _code: &[u8]) {}
}
#[derive(Default)]
pub struct Slowlog;
impl Slowlog {
    pub fn push<'a>(&mut self, _a: impl Iterator<Item = &'a [u8]>, _us: u64, _addr: &str, _name: &[u8], _max: usize) {}
}
