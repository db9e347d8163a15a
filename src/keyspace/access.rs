//! The access clock of a key: 24 bits of LRU seconds, or LFU minutes and a logarithmic counter, as in Redis. Under an LRM
//! policy (least recently modified) the seconds are those of the last write. A 25th bit tells which of the two a word is,
//! so that a word from before a change of policy is converted when it is read: Redis takes one for the other.

use super::stripe::Settings;
use crate::clock::Millis;
use std::sync::atomic::Ordering::Relaxed;

/// What the access clock tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracks {
    Use,
    Frequency,
    Writes,
}

impl Settings {
    #[inline]
    fn tracks(&self, what: Tracks) -> bool {
        self.tracks.load(Relaxed) == what as u8
    }

    pub fn is_lfu(&self) -> bool {
        self.tracks(Tracks::Frequency)
    }

    /// The access word of a new key.
    #[inline]
    pub fn created(&self, now: Millis) -> u32 {
        if self.is_lfu() { lfu_word(now, LFU_INIT) } else { lru_clock(now) }
    }

    /// The access word of a key that is read now.
    #[inline]
    pub fn read(&self, access: u32, now: Millis) -> u32 {
        if self.tracks(Tracks::Use) {
            return lru_clock(now);
        }
        if self.tracks(Tracks::Writes) { access } else { self.counted(access, now) }
    }

    /// The access word of a key that is written now.
    #[inline]
    pub fn written(&self, access: u32, now: Millis) -> u32 {
        if self.is_lfu() { self.counted(access, now) } else { lru_clock(now) }
    }

    fn counted(&self, access: u32, now: Millis) -> u32 {
        let counter = self.lfu_decayed(access, now);
        lfu_word(now, self.lfu_incremented(counter))
    }

    /// The LFU counter after the decay for the minutes it was not used.
    pub fn lfu_decayed(&self, access: u32, now: Millis) -> u32 {
        lfu_decayed(access, now, self.lfu_decay_minutes.load(Relaxed) as u32)
    }

    fn lfu_incremented(&self, counter: u32) -> u32 {
        if counter >= 255 {
            return 255;
        }
        let base = f64::from(counter.saturating_sub(LFU_INIT));
        let chance = 1.0 / (base * self.lfu_log_factor.load(Relaxed) as f64 + 1.0);
        counter + u32::from(fastrand::f64() < chance)
    }
}

/// Seconds, modulo 24 bits.
#[inline]
pub fn lru_clock(now: Millis) -> u32 {
    (now / 1000) as u32 & CLOCK
}

/// The LFU counter, which loses one for every `decay_minutes` without use. A key that no LFU policy counted begins as a new
/// one did, at the time of its last use.
pub fn lfu_decayed(access: u32, now: Millis, decay_minutes: u32) -> u32 {
    let (elapsed, counter) = if access & COUNTED == 0 {
        ((idle_seconds(access, now) / 60) as u32, LFU_INIT)
    } else {
        (minutes_since(access, now), access & 0xff)
    };
    counter.saturating_sub(elapsed.checked_div(decay_minutes).unwrap_or(0))
}

/// An access word with this counter, as of now.
pub fn lfu_word(now: Millis, counter: u32) -> u32 {
    COUNTED | lfu_minutes(now) << 8 | counter
}

fn lfu_minutes(now: Millis) -> u32 {
    (now / 60_000) as u32 & 0xffff
}

fn minutes_since(counted: u32, now: Millis) -> u32 {
    lfu_minutes(now).wrapping_sub(counted >> 8) & 0xffff
}

/// Seconds since a key was used; to the minute, if an LFU policy counted the last use.
pub fn idle_seconds(access: u32, now: Millis) -> u64 {
    if access & COUNTED != 0 {
        return u64::from(minutes_since(access, now)) * 60;
    }
    u64::from(lru_clock(now).wrapping_sub(access) & CLOCK)
}

/// What Redis keeps of an access word.
pub const CLOCK: u32 = (1 << 24) - 1;
/// The word holds LFU minutes and a counter.
const COUNTED: u32 = 1 << 24;
/// New keys start here, so that they are not the first to go.
const LFU_INIT: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_from_before_a_change_of_policy_is_converted() {
        let (then, settings) = (1_700_000_000_000, Settings::default());
        settings.lfu_decay_minutes.store(1, Relaxed);
        let used = settings.created(then);
        settings.tracks.store(Tracks::Frequency as u8, Relaxed);
        for (minutes, counter) in [(0, 5), (3, 2), (90, 0)] {
            assert_eq!(settings.lfu_decayed(used, then + minutes * 60_000), counter);
        }
        let counted = lfu_word(then, 200);
        settings.tracks.store(Tracks::Use as u8, Relaxed);
        assert_eq!(idle_seconds(counted, then + 7 * 60_000), 420);
        assert_eq!(idle_seconds(settings.read(counted, then), then + 9_000), 9);
    }
}
