//! What commands on keys of any type ask of a database: looking without touching, touching without reading, events
//! that accompany a change, and numbers that must stay text.

#![allow(unsafe_code)]

use super::access::{lfu_word, lru_clock};
use super::db::{Db, Event, Notice, raw_body};
use super::entry::{Entry, EntryRef};
use std::sync::atomic::Ordering::Relaxed;

impl Db<'_> {
    /// A living entry for a command that looks at the key, not the value (EXISTS, TTL, TYPE): counts a hit or miss and
    /// leaves the access clock alone.
    pub fn peek(&mut self, key: &[u8]) -> Option<EntryRef<'_>> {
        let place = self.place(key);
        let entry = self.live(place, key).map(|(_, entry)| entry);
        match entry {
            Some(_) => self.changes.hits += 1,
            None => self.missed(key),
        }
        entry.map(|entry| entry.lent(self))
    }

    /// A living entry for a command that reads a value of any type.
    pub fn read_any(&mut self, key: &[u8]) -> Option<EntryRef<'_>> {
        self.read_entry(key).map(|entry| entry.lent(self))
    }

    /// Makes a key look unused for so long; without effect under an LFU policy.
    pub fn set_idle(&mut self, key: &[u8], seconds: i64) {
        let (place, now) = (self.place(key), self.now);
        if let Some((_, mut entry)) = self.live(place, key)
            && !self.keyspace().settings.is_lfu()
        {
            entry.set_access(lru_clock(now.saturating_sub(seconds.saturating_mul(1000)).max(0)));
        }
    }

    /// Sets a key's counter of uses, 0 to 255; without effect unless the policy is LFU.
    pub fn set_frequency(&mut self, key: &[u8], frequency: i64) {
        let (place, now) = (self.place(key), self.now);
        if let Some((_, mut entry)) = self.live(place, key)
            && self.keyspace().settings.is_lfu()
        {
            entry.set_access(lfu_word(now, frequency.clamp(0, 255) as u32));
        }
    }

    /// Sets a key's access clock to now, also for a client that asked not to touch; says whether the key is there.
    pub fn touch(&mut self, key: &[u8]) -> bool {
        let no_touch = std::mem::take(&mut self.mode.no_touch);
        let found = self.read_entry(key).is_some();
        self.mode.no_touch = no_touch;
        found
    }

    /// A second keyspace event of one change: SET with an expiry is a `set` and an `expire`.
    #[inline]
    pub fn notify(&mut self, class: u8, name: &'static str, key: &[u8]) {
        if self.keyspace().settings.events.load(Relaxed) & event_class(class) != 0 {
            self.note_event(name, key);
        }
    }

    #[cold]
    fn note_event(&mut self, name: &'static str, key: &[u8]) {
        self.changes.side_effects().notices.push(Notice::Event(Event { name, db: self.index, key: key.into() }));
    }

    /// Puts a string that is kept as text even if it reads as an integer, keeping the expiry: INCRBYFLOAT's result.
    pub fn set_text(&mut self, key: &[u8], bytes: &[u8], event: &'static str) {
        let place = self.place(key);
        match self.live(place, key) {
            Some((found, entry)) => {
                self.before_change(entry);
                let new = entry.rebuilt(raw_body(bytes), entry.expiry());
                self.swap_entry(place, found, entry.expiry(), new);
                self.dispose(entry);
            }
            None => {
                self.create(place, key, raw_body(bytes), None);
            }
        }
        self.changed(place, key, b'$', event, true);
    }

    /// A living key by its exact name, for KEYS with a pattern that matches only itself. Visits its stripe if the unit
    /// does not hold it; a due key stays, marked absent.
    pub fn contains(&mut self, key: &[u8]) -> bool {
        let (place, index, now) = (self.keyspace().place(key), self.index, self.now);
        self.held.visit(place.stripe as usize, |held| {
            let Some(share) = held.share_there(place.stripe as usize, index) else { return false };
            // SAFETY: words in a keyspace table are live entries, and their stripe is held.
            let entry = |word| unsafe { Entry::from_word(word) };
            share
                .table
                .find(place.hash, |word| entry(word).is_of(key))
                .is_some_and(|found| !entry(share.table.word(found)).is_due(now))
        })
    }
}

/// The bit of a class of keyspace events, by its letter in `notify-keyspace-events`, in [`super::stripe::Settings::events`].
pub const fn event_class(letter: u8) -> u32 {
    1 << (letter & 31)
}

/// Some client tracks in broadcasting mode and wants to hear of every change. No class has this bit.
pub const BROADCAST: u32 = 1 << 31;
