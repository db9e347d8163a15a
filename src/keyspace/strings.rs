//! Strings in the keyspace: integers as integers, short ones in their entry, long ones boxed.

use super::db::{Db, Expiry, WrongType, raw_body, string_body};
use super::entry::{Body, Entry, INLINE_BYTES_MAX, New};
use super::stripe::Place;
use crate::clock::Millis;
use crate::table::Slot;
use crate::types::{Text, Value};

#[inline]
fn text<'a>(entry: Entry) -> Result<Text<'a>, WrongType> {
    match entry.body() {
        Body::Bytes(b) => Ok(Text::Bytes(b)),
        Body::Int(n) => Ok(Text::Int(n)),
        Body::Value(Value::Str(s)) => Ok(Text::Bytes(s)),
        Body::Value(_) => Err(WrongType),
    }
}

impl Db<'_> {
    /// A string for reading: counts a hit or miss.
    #[inline]
    pub fn string(&mut self, key: &[u8]) -> Result<Option<Text<'_>>, WrongType> {
        self.read_entry(key).map(text).transpose()
    }

    /// A string about to be changed: no statistics.
    pub fn string_for_write(&mut self, key: &[u8]) -> Result<Option<Text<'_>>, WrongType> {
        self.write_entry(key).map(|(_, _, entry)| text(entry)).transpose()
    }

    /// Puts a string under a key, whatever was there.
    #[inline]
    pub fn set_string(&mut self, key: &[u8], bytes: &[u8], expiry: Expiry) {
        self.set_string_as(key, bytes, expiry, "set");
    }

    pub fn set_string_as(&mut self, key: &[u8], bytes: &[u8], expiry: Expiry, event: &'static str) {
        let place = self.place(key);
        match self.live(place, key) {
            Some((slot, entry)) => self.overwrite(place, slot, entry, bytes, expiry),
            None => {
                let at = if let Expiry::At(at) = expiry { Some(at) } else { None };
                self.insert(place, key, string_body(bytes), at);
            }
        }
        self.changed(place, key, b'$', event, true);
    }

    #[inline]
    fn overwrite(&mut self, place: Place, slot: Slot, mut entry: Entry, bytes: &[u8], expiry: Expiry) {
        self.before_change(entry);
        let had = entry.expiry();
        let at = match expiry {
            Expiry::Clear => None,
            Expiry::Keep => had,
            Expiry::At(at) => Some(at),
        };
        let body = string_body(bytes);
        let in_place = had.is_some() == at.is_some()
            && match (&body, entry.body()) {
                (New::Bytes { bytes, .. }, Body::Bytes(_)) => {
                    bytes.len() <= entry.room() && entry.room() <= bytes.len() * 2 + ROOM_SLACK
                }
                (New::Int(_), Body::Int(_)) => true,
                _ => false,
            };
        if !in_place {
            let mut new = entry.rebuilt(body, at);
            new.set_access(self.keyspace().settings.touched(entry.access(), self.now));
            self.swap_entry(place, slot, entry.expiry(), new);
            return self.dispose(entry);
        }
        match body {
            New::Bytes { bytes, .. } => {
                entry.write_inline(bytes);
                entry.set_raw(false);
            }
            New::Int(n) => entry.write_int(n),
            New::Value(_) => unreachable!("boxed strings are not overwritten in place"),
        }
        entry.set_access(self.keyspace().settings.touched(entry.access(), self.now));
        if let (Some(was), Some(at)) = (had, at) {
            entry.write_expiry(at);
            if at < was {
                self.index_expiry(place.stripe as usize, at, place.hash);
            }
        }
    }

    /// Sets a number, keeping the expiry: INCR and its family.
    pub fn set_int(&mut self, key: &[u8], n: i64, event: &'static str) {
        let place = self.place(key);
        match self.live(place, key) {
            Some((_, entry)) if entry.is_int() => {
                self.before_change(entry);
                entry.write_int(n);
            }
            Some((slot, entry)) => {
                self.before_change(entry);
                let new = entry.rebuilt(New::Int(n), entry.expiry());
                self.swap_entry(place, slot, entry.expiry(), new);
                self.dispose(entry);
            }
            None => {
                self.insert(place, key, New::Int(n), None);
            }
        }
        self.changed(place, key, b'$', event, true);
    }

    /// Sets a string that stays `raw`, keeping the expiry: INCRBYFLOAT's results read as embstr, APPEND's do not.
    pub fn modify_string<R>(
        &mut self,
        key: &[u8],
        min_len: usize,
        event: &'static str,
        change: impl FnOnce(&mut [u8]) -> R,
    ) -> Result<R, WrongType> {
        let place = self.place(key);
        let result = match self.live(place, key) {
            Some((slot, entry)) => {
                text(entry)?;
                self.before_change(entry);
                let entry = self.ensure_len(place, slot, entry, min_len);
                change(string_bytes_mut(entry))
            }
            None => {
                let zeros = vec![0; min_len];
                let mut entry = self.insert(place, key, raw_body(&zeros), None);
                entry.set_raw(true);
                change(string_bytes_mut(entry))
            }
        };
        self.changed(place, key, b'$', event, true);
        Ok(result)
    }

    /// Makes a string raw and at least `min_len` long, padded with zeros; returns its entry, which may have moved.
    fn ensure_len(&mut self, place: Place, slot: Slot, mut entry: Entry, min_len: usize) -> Entry {
        match entry.body() {
            Body::Bytes(b) if min_len <= entry.room() => {
                let len = b.len().max(min_len);
                entry.extend_inline(len);
                entry.set_raw(true);
                return entry;
            }
            Body::Value(Value::Str(_)) => {
                if let Some(Value::Str(s)) = entry.value_mut()
                    && s.len() < min_len
                {
                    s.resize(min_len, 0);
                }
                return entry;
            }
            _ => {}
        }
        let mut bytes = text(entry).expect("checked to be a string").to_vec();
        if bytes.len() < min_len {
            bytes.resize(min_len, 0);
        }
        let new = self.grown(entry, &bytes, entry.expiry());
        self.swap_entry(place, slot, entry.expiry(), new);
        entry.free();
        new
    }

    /// A raw string with room to grow: appending n bytes one by one costs O(n).
    fn grown(&self, entry: Entry, bytes: &[u8], expiry: Option<Millis>) -> Entry {
        let room = bytes.len() * 2;
        let body = if room > INLINE_BYTES_MAX {
            let mut boxed = Vec::with_capacity(room.min(bytes.len() + GROW_MAX));
            boxed.extend_from_slice(bytes);
            New::Value(Value::Str(Box::new(boxed)))
        } else {
            New::Bytes { bytes, room }
        };
        let mut new = entry.rebuilt(body, expiry);
        new.set_raw(true);
        new
    }
}

fn string_bytes_mut<'a>(entry: Entry) -> &'a mut [u8] {
    match entry.inline_mut() {
        Some(bytes) => bytes,
        None => match entry.value_mut() {
            Some(Value::Str(s)) => s,
            _ => unreachable!("a raw string is inline or boxed"),
        },
    }
}

/// An overwritten string may leave this much room unused beyond its own length.
const ROOM_SLACK: usize = 32;
/// Room given in advance to a growing string (Redis's SDS_MAX_PREALLOC).
const GROW_MAX: usize = 1 << 20;
