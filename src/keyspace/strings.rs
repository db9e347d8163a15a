//! Strings in the keyspace: integers as integers, short ones in their entry, long ones boxed.

use super::db::{Db, Expiry, WrongType, string_body};
use super::entry::{Body, Entry, INLINE_BYTES_MAX, New};
use super::stripe::Place;
use crate::clock::Millis;
use crate::resp::Block;
use crate::table::Found;
use crate::types::{Text, Value};
use std::sync::Arc;

#[inline]
fn text<'a>(entry: Entry) -> Result<Text<'a>, WrongType> {
    match entry.body() {
        Body::Bytes(b) => Ok(Text::Bytes(b)),
        Body::Int(n) => Ok(Text::Int(n)),
        Body::Value(Value::Str(s)) => Ok(Text::Bytes(s)),
        Body::Value(_) => Err(WrongType),
    }
}

/// A string as a reply sends it.
#[derive(Clone, Copy)]
pub enum Stored<'a> {
    Text(Text<'a>),
    Block(&'a Block),
}

impl Db<'_> {
    /// A string for reading: counts a hit or miss.
    #[inline]
    pub fn string(&mut self, key: &[u8]) -> Result<Option<Text<'_>>, WrongType> {
        self.read_entry(key).map(text).transpose()
    }

    /// The same for a reply, which may send a block from where it lies.
    #[inline]
    pub fn stored(&mut self, key: &[u8]) -> Result<Option<Stored<'_>>, WrongType> {
        let stored = |entry: Entry| match entry.body() {
            Body::Value(Value::Str(block)) => Ok(Stored::Block(block)),
            _ => text(entry).map(Stored::Text),
        };
        self.read_entry(key).map(stored).transpose()
    }

    /// Computes a string from others, among which it may be itself, into the memory that it has. `compute` gets what was
    /// under the target as bytes to replace, nothing if it was no string, and the sources; if the target is one of them,
    /// its bytes are to be had from the former only. An empty result removes the key. Answers the result's length.
    pub fn compute_string<'a>(
        &mut self,
        target: &[u8],
        sources: impl Iterator<Item = &'a [u8]>,
        event: &'static str,
        compute: impl FnOnce(&mut Vec<u8>, &[Option<Text<'_>>]),
    ) -> Result<usize, WrongType> {
        let sources: Vec<Option<Entry>> = sources.map(|key| self.read_entry(key)).collect();
        // Types first: on an error nothing has changed.
        sources.iter().flatten().try_for_each(|&entry| text(entry).map(drop))?;
        let place = self.place(target);
        let mut bytes = match self.live(place, target) {
            Some((_, entry)) => {
                self.before_change(entry);
                match entry.value_mut() {
                    Some(Value::Str(bytes)) => std::mem::take(Arc::make_mut(bytes)),
                    _ => text(entry).map_or_else(|WrongType| Vec::new(), Text::to_vec),
                }
            }
            None => Vec::new(),
        };
        let texts: Vec<_> = sources.into_iter().map(|entry| entry.and_then(|entry| text(entry).ok())).collect();
        compute(&mut bytes, &texts);
        let len = bytes.len();
        if len > 0 {
            self.put_raw(target, bytes, Expiry::Clear, event, 1);
        } else {
            self.remove(target);
        }
        Ok(len)
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
            Some((found, entry)) => self.overwrite(place, found, entry, bytes, expiry),
            None => {
                let at = if let Expiry::At(at) = expiry { Some(at) } else { None };
                self.create(place, key, string_body(bytes), at);
            }
        }
        self.changed(place, key, b'$', event, true);
    }

    #[inline]
    fn overwrite(&mut self, place: Place, found: Found, mut entry: Entry, bytes: &[u8], expiry: Expiry) {
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
                    (bytes.len()..=bytes.len() * 2 + ROOM_SLACK).contains(&entry.room())
                }
                (New::Int(_), Body::Int(_)) => true,
                _ => false,
            };
        if !in_place {
            let mut new = entry.rebuilt(body, at);
            new.set_access(self.keyspace().settings.written(entry.access(), self.now));
            self.swap_entry(place, found, entry.expiry(), new);
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
        entry.set_access(self.keyspace().settings.written(entry.access(), self.now));
        if let (Some(was), Some(at)) = (had, at) {
            entry.write_expiry(at);
            self.expiry_moved(place, entry.key(), Some(was), at);
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
            Some((found, entry)) => {
                self.before_change(entry);
                let new = entry.rebuilt(New::Int(n), entry.expiry());
                self.swap_entry(place, found, entry.expiry(), new);
                self.dispose(entry);
            }
            None => {
                self.create(place, key, New::Int(n), None);
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
        let result = change(self.raw_bytes(place, key, min_len)?);
        self.changed(place, key, b'$', event, true);
        Ok(result)
    }

    /// As [`Self::modify_string`], for a change that may turn out to be none: `change` says how many it made.
    pub fn modify_string_if(
        &mut self,
        key: &[u8],
        min_len: usize,
        event: &'static str,
        change: impl FnOnce(&mut [u8]) -> u64,
    ) -> Result<u64, WrongType> {
        let place = self.place(key);
        let changes = change(self.raw_bytes(place, key, min_len)?);
        self.changed_often(place, key, event, changes);
        Ok(changes)
    }

    /// Puts a string that stays `raw`, whatever was there; stated as `changes`. A long one is not copied.
    pub fn put_raw(&mut self, key: &[u8], bytes: Vec<u8>, expiry: Expiry, event: &'static str, changes: u64) {
        let place = self.place(key);
        let mut entry = match self.live(place, key) {
            Some((found, entry)) => {
                self.before_change(entry);
                let at = match expiry {
                    Expiry::Clear => None,
                    Expiry::Keep => entry.expiry(),
                    Expiry::At(at) => Some(at),
                };
                let new = owned_body(bytes, |body| entry.rebuilt(body, at));
                self.swap_entry(place, found, entry.expiry(), new);
                self.dispose(entry);
                new
            }
            None => {
                let at = if let Expiry::At(at) = expiry { Some(at) } else { None };
                owned_body(bytes, |body| self.create(place, key, body, at))
            }
        };
        entry.set_raw(true);
        self.changed_often(place, key, event, changes);
    }

    /// States a number of changes of one key; 0 is no change at all.
    fn changed_often(&mut self, place: Place, key: &[u8], event: &'static str, changes: u64) {
        if changes > 0 {
            self.changed(place, key, b'$', event, true);
            self.changes.dirty += changes - 1;
        }
    }

    /// The bytes of a raw string at least `min_len` long, made so if need be, about to be changed.
    fn raw_bytes<'a>(&mut self, place: Place, key: &[u8], min_len: usize) -> Result<&'a mut [u8], WrongType> {
        let entry = match self.live(place, key) {
            Some((found, entry)) => {
                text(entry)?;
                self.before_change(entry);
                self.ensure_len(place, found, entry, min_len)
            }
            None => {
                let mut entry = owned_body(vec![0; min_len], |body| self.create(place, key, body, None));
                entry.set_raw(true);
                entry
            }
        };
        Ok(string_bytes_mut(entry))
    }

    /// Makes a string raw and at least `min_len` long, padded with zeros; returns its entry, which may have moved.
    fn ensure_len(&mut self, place: Place, found: Found, mut entry: Entry, min_len: usize) -> Entry {
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
                    Arc::make_mut(s).resize(min_len, 0);
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
        self.swap_entry(place, found, entry.expiry(), new);
        entry.free();
        new
    }

    /// A raw string with room to grow: appending n bytes one by one costs O(n).
    fn grown(&self, entry: Entry, bytes: &[u8], expiry: Option<Millis>) -> Entry {
        let room = bytes.len() * 2;
        let body = if room > INLINE_BYTES_MAX {
            let mut boxed = Vec::with_capacity(room.min(bytes.len() + GROW_MAX));
            boxed.extend_from_slice(bytes);
            New::Value(Value::Str(Arc::new(boxed)))
        } else {
            New::Bytes { bytes, room }
        };
        let mut new = entry.rebuilt(body, expiry);
        new.set_raw(true);
        new
    }
}

/// Makes an entry of a string of one's own: a long one is moved, not copied.
fn owned_body<R>(mut bytes: Vec<u8>, make: impl FnOnce(New<'_>) -> R) -> R {
    if bytes.len() > INLINE_BYTES_MAX {
        if bytes.capacity() > 2 * bytes.len() {
            bytes.shrink_to_fit();
        }
        make(New::Value(Value::Str(Arc::new(bytes))))
    } else {
        make(New::Bytes { bytes: &bytes, room: 0 })
    }
}

fn string_bytes_mut<'a>(entry: Entry) -> &'a mut [u8] {
    match entry.inline_mut() {
        Some(bytes) => bytes,
        None => match entry.value_mut() {
            Some(Value::Str(s)) => Arc::make_mut(s).as_mut_slice(),
            _ => unreachable!("a raw string is inline or boxed"),
        },
    }
}

/// An overwritten string may leave this much room unused beyond its own length.
const ROOM_SLACK: usize = 32;
/// Room given in advance to a growing string (Redis's SDS_MAX_PREALLOC).
const GROW_MAX: usize = 1 << 20;
