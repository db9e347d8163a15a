//! Limits of what clients may hold: `maxmemory-clients`, `client-output-buffer-limit` by class, `client-query-buffer-limit`.

use super::{Config, MemoryShare};

pub use crate::clients::{ClientClass, OutputLimit, OutputLimits};

impl Config {
    /// `maxmemory-clients` in bytes; `None` for no bound. Never so small that no client could ask for a larger one.
    pub fn clients_bytes_max(&self) -> Option<usize> {
        if self.maxmemory_clients == MemoryShare::default() {
            return None;
        }
        let bytes = self.maxmemory_clients.bytes(self.maxmemory)?.max(CLIENTS_BYTES_LEAST);
        Some(usize::try_from(bytes).unwrap_or(usize::MAX))
    }
}

/// The least `client-query-buffer-limit`: what no limit forbids needs no look at the configuration.
pub const QUERY_BUFFER_LIMIT_MIN: u64 = 1 << 20;
/// As in Redis: a few connections at rest.
const CLIENTS_BYTES_LEAST: u64 = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_on_clients_is_bytes_or_a_share_and_never_too_small_to_talk() {
        let mut config = Config::default();
        let mut bound = |share, maxmemory| {
            (config.maxmemory_clients, config.maxmemory) = (share, maxmemory);
            config.clients_bytes_max()
        };
        assert_eq!(bound(MemoryShare::Bytes(0), 1 << 30), None);
        assert_eq!(bound(MemoryShare::Bytes(3_000_000), 0), Some(3_000_000));
        assert_eq!(bound(MemoryShare::Bytes(1), 0), Some(128 << 10));
        assert_eq!(bound(MemoryShare::Percent(7), 6 << 20), Some(440_401));
        assert_eq!(bound(MemoryShare::Percent(100), u64::MAX), Some(usize::MAX));
        assert_eq!(bound(MemoryShare::Percent(5), 0), None, "a share of no bound is no bound");
    }
}
