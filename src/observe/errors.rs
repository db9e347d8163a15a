//! Error statistics: how often each kind of error was answered, as INFO errorstats shows.
//!
//! A kind is the first word of the error (`WRONGTYPE`, `ERR`). Scripts can invent kinds, so their number is bounded as
//! in Redis 7.2 and later: the 129th distinct kind drops all and leaves one, `ERRORSTATS_DISABLED`, until RESETSTAT.
//! (7.0 has no bound.) Cost: one short lock and a map lookup per error; errors are answers, not the hot path.

use parking_lot::Mutex;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct ErrorStats(Mutex<Kinds>);

#[derive(Default)]
struct Kinds {
    counts: BTreeMap<Vec<u8>, u64>,
    disabled: bool,
}

impl ErrorStats {
    /// Counts an error reply, given its text with the leading `-`. Without one, or without a word of fewer than 31
    /// bytes to begin with, it is an `ERR`.
    pub fn record(&self, reply: &[u8]) {
        let kind = match reply {
            [b'-', rest @ ..] => rest.iter().take(KIND_BYTES_MAX).position(|b| *b == b' ').map(|end| &rest[..end]),
            _ => None,
        };
        let kind = kind.unwrap_or(b"ERR");
        let mut kinds = self.0.lock();
        if kinds.disabled {
            return;
        }
        if let Some(count) = kinds.counts.get_mut(kind) {
            *count += 1;
            return;
        }
        if kinds.counts.len() < KINDS_MAX {
            kinds.counts.insert(kind.to_vec(), 1);
        } else {
            kinds.counts = BTreeMap::from([(b"ERRORSTATS_DISABLED".to_vec(), 1)]);
            kinds.disabled = true;
        }
    }

    /// Kinds in byte order with their counts.
    pub fn counts(&self) -> Vec<(Vec<u8>, u64)> {
        self.0.lock().counts.iter().map(|(kind, count)| (kind.clone(), *count)).collect()
    }

    pub fn reset(&self) {
        *self.0.lock() = Kinds::default();
    }
}

/// Redis looks for the space in the first 32 bytes, the `-` included.
const KIND_BYTES_MAX: usize = 31;
const KINDS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_the_first_word() {
        let stats = ErrorStats::default();
        let long = [b"-".to_vec(), vec![b'X'; 31], b" y".to_vec()].concat();
        let fits = [b"-".to_vec(), vec![b'X'; 30], b" y".to_vec()].concat();
        for reply in [&b"-WRONGTYPE Operation"[..], b"-ERR x", b"no dash", b"-NOSPACE", &long, &fits, b"-UP\tx y"] {
            stats.record(reply);
        }
        let want = [(b"ERR".to_vec(), 4), (b"UP\tx".to_vec(), 1), (b"WRONGTYPE".to_vec(), 1), (vec![b'X'; 30], 1)];
        assert_eq!(stats.counts(), want);
    }

    #[test]
    fn the_129th_kind_turns_them_all_off_until_reset() {
        let stats = ErrorStats::default();
        for kind in 0..128 {
            stats.record(format!("-E{kind} boom").as_bytes());
        }
        stats.record(b"-E0 again");
        assert_eq!(stats.counts().len(), 128);
        stats.record(b"-E128 boom");
        stats.record(b"-E0 again");
        assert_eq!(stats.counts(), [(b"ERRORSTATS_DISABLED".to_vec(), 1)]);
        stats.reset();
        stats.record(b"-E0 again");
        assert_eq!(stats.counts(), [(b"E0".to_vec(), 1)]);
    }
}
