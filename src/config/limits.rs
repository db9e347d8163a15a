//! Limits of what clients may hold: `client-output-buffer-limit`, one for each class, and `maxmemory-clients`.
//!
//! A client names its [`ClientClass`]; the table of limits is indexed by it, and nobody else counts classes.

use super::{Config, MemoryShare};

/// How much output may wait for one client; 0 for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    pub hard_bytes: u64,
    pub soft_bytes: u64,
    /// How long `soft_bytes` may be exceeded.
    pub soft_seconds: u32,
}

/// What a connection is used for, as far as limits go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientClass {
    Normal,
    Replica,
    PubSub,
}

impl ClientClass {
    /// In the order in which CONFIG shows them.
    pub const ALL: [ClientClass; 3] = [Self::Normal, Self::Replica, Self::PubSub];

    /// The class that a directive names.
    pub fn named(word: &[u8]) -> Option<Self> {
        match word.to_ascii_lowercase().as_slice() {
            b"normal" => Some(Self::Normal),
            b"slave" | b"replica" => Some(Self::Replica),
            b"pubsub" => Some(Self::PubSub),
            _ => None,
        }
    }

    /// Its name in a configuration file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Replica => "replica",
            Self::PubSub => "pubsub",
        }
    }

    /// Its name in CONFIG GET, which keeps to the older word.
    pub fn old_name(self) -> &'static str {
        if self == Self::Replica { "slave" } else { self.name() }
    }
}

/// The limits of all classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimits([OutputLimit; ClientClass::ALL.len()]);

impl OutputLimits {
    pub fn of(&self, class: ClientClass) -> OutputLimit {
        self.0[class as usize]
    }

    pub fn set(&mut self, class: ClientClass, limit: OutputLimit) {
        self.0[class as usize] = limit;
    }
}

impl Config {
    /// `maxmemory-clients` in bytes; `None` for no bound. Never so small that nobody could ask for a larger one.
    pub fn clients_bytes_max(&self) -> Option<usize> {
        if self.maxmemory_clients == MemoryShare::default() {
            return None;
        }
        let bytes = self.maxmemory_clients.bytes(self.maxmemory)?.max(CLIENTS_BYTES_LEAST);
        Some(usize::try_from(bytes).unwrap_or(usize::MAX))
    }
}

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
