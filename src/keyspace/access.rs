//! The access clock of a key: 24 bits of LRU seconds, or LFU minutes and a logarithmic counter, as in Redis. Under an LRM
//! policy (least recently modified) the seconds are those of the last write.

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
        if self.is_lfu() { lfu_minutes(now) << 8 | LFU_INIT } else { lru_clock(now) }
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
        lfu_minutes(now) << 8 | self.lfu_incremented(counter)
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
    (now / 1000) as u32 & 0x00ff_ffff
}

/// The LFU counter when it loses one for every so many minutes without use.
pub fn lfu_decayed(access: u32, now: Millis, decay_minutes: u32) -> u32 {
    let (then, counter) = (access >> 8 & 0xffff, access & 0xff);
    let elapsed = lfu_minutes(now).wrapping_sub(then) & 0xffff;
    counter.saturating_sub(elapsed.checked_div(decay_minutes).unwrap_or(0))
}

/// An access word with this counter, as of now.
pub fn lfu_word(now: Millis, counter: u32) -> u32 {
    lfu_minutes(now) << 8 | counter
}

fn lfu_minutes(now: Millis) -> u32 {
    (now / 60_000) as u32 & 0xffff
}

/// Seconds since a key was used, from its LRU word.
pub fn idle_seconds(access: u32, now: Millis) -> u64 {
    u64::from(lru_clock(now).wrapping_sub(access) & 0x00ff_ffff)
}

/// New keys start here, so that they are not the first to go.
const LFU_INIT: u32 = 5;
