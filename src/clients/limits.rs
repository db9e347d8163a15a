//! `client-output-buffer-limit`: how much output may wait for one client, by what the client is used for.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

/// The hard limits, for threads that push to clients of others; written by CONFIG SET.
#[derive(Default)]
pub(super) struct HardLimits([AtomicU64; ClientClass::ALL.len()]);

impl HardLimits {
    pub fn set(&self, limits: &OutputLimits) {
        ClientClass::ALL.iter().for_each(|&class| self.0[class as usize].store(limits.of(class).hard_bytes, Relaxed));
    }

    /// In bytes; `usize::MAX` for no limit.
    pub fn of(&self, class: ClientClass) -> usize {
        match self.0[class as usize].load(Relaxed) {
            0 => usize::MAX,
            bytes => usize::try_from(bytes).unwrap_or(usize::MAX),
        }
    }
}
