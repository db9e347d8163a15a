//! What a unit may do to the keys it locked; all bookkeeping of a change happens here, once.
//!
//! A [`Db`] is a selected database seen through held stripes. Reading finds, expires, counts hits and touches the access
//! clock; [`Db::changed`] is the one place where a change is stated: dirty count, watches, keyspace event, key ready for
//! the blocked. What a command did comes out in [`Changes`], for the caller to propagate, count and free.
//!
//! An expired key is absent to everyone; the command that meets it removes it, and the removal propagates as a DEL before the
//! unit's own effects. Fields of a hash likewise, a few at a time: see `edit.rs`, where collections are. Strings:
//! `strings.rs`. The whole keyspace: `walk.rs`.

#![allow(unsafe_code)]

use super::databases::Share;
use super::entry::{Body, Entry, EntryRef, INLINE_BYTES_MAX, New};
use super::generic::BROADCAST;
use super::stripe::{Held, Keyspace, Place};
use super::tracking::Noted;
use super::walk::Flushed;
use crate::clock::Millis;
use crate::resp::block::block_of;
use crate::table::Found;
use crate::types::{Kind, Value, as_int};
use smallvec::SmallVec;
use std::cell::Cell;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// The key holds another type than the command works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongType;

/// What becomes of a key's expiry when its value is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    Clear,
    Keep,
    At(Millis),
}

/// What a unit tells others when it is over, in this order.
pub enum Notice {
    Event(Event),
    /// PUBLISH inside a transaction or script; SPUBLISH if `shard`.
    Message {
        shard: bool,
        channel: Box<[u8]>,
        payload: Box<[u8]>,
    },
    /// CLIENT TRACKING: these clients' copies of a key are no longer valid; `changed` unless it was only forgotten.
    Stale {
        key: Box<[u8]>,
        noted: Noted,
        changed: bool,
    },
    /// No client's copy of anything is valid.
    AllStale,
}

/// A keyspace event of a class that is wanted.
pub struct Event {
    pub name: &'static str,
    pub db: usize,
    pub key: Box<[u8]>,
}

/// A key, or fields of a hash, found due and removed.
pub struct Expired {
    pub db: usize,
    pub key: Box<[u8]>,
    pub what: Lapsed,
}

/// What of a key was due.
pub enum Lapsed {
    Key,
    Fields(Vec<Box<[u8]>>),
    /// All fields that a hash had left, and their number: it went as a whole.
    Hash(usize),
}

/// What a unit did. Small, because every command makes and drops one: what few of them do is behind a pointer.
#[derive(Default)]
pub struct Changes {
    /// Changes stated; 0 means nothing to propagate.
    pub dirty: u64,
    pub hits: u64,
    pub misses: u64,
    side_effects: Option<Box<SideEffects>>,
}

/// What few units do.
#[derive(Default)]
pub struct SideEffects {
    /// Found due and removed, to propagate as DEL or HDEL before the unit's own effects.
    pub expired: Vec<Expired>,
    /// Keys that a walk met due, in stripes it no longer holds: to be looked at once more, each in a unit of its own.
    pub met_due: Vec<(usize, Box<[u8]>)>,
    /// Keys that changed while clients wait for them.
    pub ready: Vec<(usize, Box<[u8]>)>,
    pub notices: Vec<Notice>,
    /// Values too big to free here.
    pub garbage: Vec<Value>,
    /// Emptied databases that are to be freed before the reply leaves, but not while the world stands still.
    pub flushed: Vec<Flushed>,
    /// Keys that got an expiry which is this server's own to see to; see [`AccessMode::owns`].
    pub owned: Vec<(usize, Box<[u8]>, Millis)>,
    /// Streams whose counters are to be propagated behind all that the unit did, with those of their groups if `true`.
    pub counted: Vec<(usize, Box<[u8]>, bool)>,
}

impl Changes {
    pub fn side_effects(&mut self) -> &mut SideEffects {
        self.side_effects.get_or_insert_default()
    }

    #[inline]
    pub fn did_seldom(&self) -> bool {
        self.side_effects.is_some()
    }

    /// What few units do, if this one did any of it.
    #[inline]
    pub fn take_side_effects(&mut self) -> Option<Box<SideEffects>> {
        self.side_effects.take()
    }

    /// What was found due since this was last asked.
    #[inline]
    pub fn take_expired(&mut self) -> Vec<Expired> {
        self.side_effects.as_mut().map_or_else(Vec::new, |side_effects| std::mem::take(&mut side_effects.expired))
    }
}

/// How a unit looks at keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessMode {
    /// CLIENT NO-TOUCH: reading leaves the access clock alone.
    pub no_touch: bool,
    /// Loading and replicas: nothing expires by itself.
    pub keep_expired: bool,
    /// While writes are paused nothing may be removed: due keys are absent, but stay.
    pub hide_expired: bool,
    /// A client of a writable replica: a due key that it writes goes, whatever the primary says, and what it gives an
    /// expiry its primary does not know.
    pub owns: bool,
    /// Big values removed go to [`Changes::garbage`] in place of being freed on the spot.
    pub lazy_free: bool,
}

impl AccessMode {
    /// Whether a key found due may be removed.
    pub fn removes_due(&self) -> bool {
        !self.keep_expired && !self.hide_expired
    }
}

/// A database as a unit sees it.
pub struct Db<'k> {
    pub(super) held: Held<'k>,
    pub(super) index: usize,
    pub(super) now: Millis,
    hints: Hints,
    /// The hint that was right last.
    at_hint: Cell<usize>,
    pub mode: AccessMode,
    pub changes: Changes,
}

/// The place of a command's key as it was computed beforehand, found again by the argument's address.
#[derive(Clone, Copy)]
pub struct Hint {
    pub key: *const u8,
    pub place: Place,
}

/// Those of a unit's keys, in the order it touches them.
pub type Hints = SmallVec<[Hint; 1]>;

impl<'k> Db<'k> {
    pub fn new(held: Held<'k>, index: usize, now: Millis, mode: AccessMode) -> Self {
        Self { held, index, now, hints: Hints::new(), at_hint: Cell::new(0), mode, changes: Changes::default() }
    }

    /// Tells where keys live whose place is known already; the addresses must be the very arguments handed in later.
    #[inline]
    pub fn hint(&mut self, hints: Hints) {
        self.hints = hints;
    }

    pub fn index(&self) -> usize {
        self.index
    }

    /// Another database over the same locks.
    pub fn select(&mut self, index: usize) {
        self.index = index;
    }

    pub fn now(&self) -> Millis {
        self.now
    }

    pub fn keyspace(&self) -> &'k Keyspace {
        self.held.keyspace()
    }

    /// Whether a key was touched, since this was last asked, whose stripe is not held: it was absent, and stays as it was.
    #[inline]
    pub fn take_stray(&mut self) -> bool {
        self.held.take_stray()
    }

    /// The locks, when the unit is over.
    pub fn into_held(self) -> Held<'k> {
        self.held
    }

    #[inline]
    pub(super) fn place(&self, key: &[u8]) -> Place {
        let at = self.at_hint.get();
        // The key that was asked for last, the one behind it, or the first again.
        for i in [at, at + 1, 0] {
            if let Some(hint) = self.hints.get(i)
                && std::ptr::eq(hint.key, key.as_ptr())
            {
                self.at_hint.set(i);
                return hint.place;
            }
        }
        self.keyspace().place(key)
    }

    #[inline]
    pub(super) fn share(&mut self, place: Place) -> &mut Share {
        self.held.share(place.stripe as usize, self.index)
    }

    /// The entry of a key, due or not. No side effects.
    #[inline(always)]
    pub(super) fn find(&mut self, place: Place, key: &[u8]) -> Option<(Found, Entry)> {
        let table = &self.held.share_there(place.stripe as usize, self.index)?.table;
        // SAFETY: words in a keyspace table are live entries, and their stripe is held.
        let found = table.find(place.hash, |word| unsafe { Entry::from_word(word) }.is_of(key))?;
        // SAFETY: as above.
        Some((found, unsafe { Entry::from_word(table.word(found)) }))
    }

    /// The living entry of a key; one found due is removed.
    #[inline]
    pub(super) fn live(&mut self, place: Place, key: &[u8]) -> Option<(Found, Entry)> {
        let (found, entry) = self.find(place, key)?;
        if entry.is_due(self.now) && !self.mode.keep_expired {
            if self.mode.hide_expired {
                return None;
            }
            self.expire_found(place, found);
            return None;
        }
        if entry.has_expiring_fields()
            && self.mode.removes_due()
            && entry.shows_due(self.now)
            && !self.expire_fields(place, found, entry)
        {
            return None;
        }
        Some((found, entry))
    }

    /// A living entry for a command that reads: counts the hit or miss and touches the access clock.
    #[inline]
    pub(super) fn read_entry(&mut self, key: &[u8]) -> Option<Entry> {
        let place = self.place(key);
        match self.live(place, key) {
            Some((_, mut entry)) => {
                self.changes.hits += 1;
                if !self.mode.no_touch {
                    entry.set_access(self.keyspace().settings.read(entry.access(), self.now));
                }
                Some(entry)
            }
            None => {
                self.missed(key);
                None
            }
        }
    }

    /// Counts a miss, which is an event too (`m`).
    pub(super) fn missed(&mut self, key: &[u8]) {
        self.changes.misses += 1;
        self.notify(b'm', "keymiss", key);
    }

    /// A living entry for a command that writes: no statistics, as in Redis.
    #[inline]
    pub(super) fn write_entry(&mut self, key: &[u8]) -> Option<(Place, Found, Entry)> {
        let place = self.place(key);
        let (found, mut entry) = self.live(place, key)?;
        if !self.mode.no_touch {
            entry.set_access(self.keyspace().settings.written(entry.access(), self.now));
        }
        Some((place, found, entry))
    }

    /// Hands the entry to a running snapshot if its cut has not seen it. Before every change and removal.
    #[inline]
    pub(super) fn before_change(&self, mut entry: Entry) {
        let keyspace = self.keyspace();
        let parity = keyspace.parity.load(Relaxed);
        if entry.snapshot_parity() != parity {
            keyspace.capture(keyspace.numbers.at_cut(self.index), entry);
            entry.set_snapshot_parity(parity);
        }
    }

    /// A new entry into the table; the key is absent.
    pub(super) fn create(&mut self, place: Place, key: &[u8], body: New<'_>, expiry: Option<Millis>) -> Entry {
        let keyspace = self.keyspace();
        let mut entry = Entry::new(key, body, expiry, keyspace.settings.created(self.now));
        entry.set_snapshot_parity(keyspace.parity.load(Relaxed));
        let share = self.share(place);
        share.table.insert(place.hash, entry.word(), rehash(keyspace));
        if let Some(at) = expiry {
            self.count_volatile(place, 1);
            self.expiry_moved(place, key, None, at);
        }
        if let Some(at) = entry.fields_due() {
            self.index_fields(place, entry, at);
        }
        self.publish(place);
        self.notify(b'n', "new", key);
        entry
    }

    /// Puts a rebuilt entry in the place of one that had this expiry, whose memory the caller frees.
    pub(super) fn swap_entry(&mut self, place: Place, found: Found, had: Option<Millis>, new: Entry) {
        self.share(place).table.replace(found, new.word());
        match (had, new.expiry()) {
            (None, Some(at)) => {
                self.count_volatile(place, 1);
                self.expiry_moved(place, new.key(), None, at);
            }
            (Some(_), None) => self.count_volatile(place, -1),
            (Some(was), Some(at)) => self.expiry_moved(place, new.key(), Some(was), at),
            (None, None) => {}
        }
    }

    /// Takes a found entry out of the table; the caller frees it.
    pub(super) fn extract(&mut self, place: Place, found: Found) -> Entry {
        let share = self.share(place);
        // SAFETY: it was just found under the held stripe.
        let entry = unsafe { Entry::from_word(share.table.word(found)) };
        self.before_change(entry);
        self.share(place).table.remove(found);
        if entry.expiry().is_some() {
            self.count_volatile(place, -1);
        }
        self.publish(place);
        entry
    }

    fn count_volatile(&mut self, place: Place, by: isize) {
        let epoch = self.keyspace().epoch;
        let share = self.share(place);
        share.volatile = share.volatile.wrapping_add_signed(by);
        let volatile = share.volatile;
        if share.due.is_bloated(volatile) {
            share.rebuild_due(epoch);
        }
        if self.held.holds(place.stripe as usize) {
            self.keyspace().obtain_shared(place.stripe as usize, self.index).volatile.store(volatile, Relaxed);
        }
    }

    #[inline]
    pub(super) fn publish(&mut self, place: Place) {
        if !self.held.holds(place.stripe as usize) {
            return;
        }
        let index = self.index;
        let shared = self.keyspace().obtain_shared(place.stripe as usize, index);
        let keyspace = self.keyspace();
        let table = &mut self.share(place).table;
        shared.probe.publish(table);
        shared.len.store(table.len(), Relaxed);
        if table.has_retired() {
            keyspace.bury(table.take_retired());
        }
    }

    /// Frees an entry's memory, or sends a big value to be freed elsewhere.
    pub(super) fn dispose(&mut self, entry: Entry) {
        if let Some(value) = entry.into_value() {
            self.discard(value);
        }
    }

    /// Frees a value that is no longer anybody's, or sends it to be freed elsewhere if it is big.
    pub fn discard(&mut self, value: Value) {
        if self.mode.lazy_free && value.free_effort() > LAZY_FREE_EFFORT {
            self.changes.side_effects().garbage.push(value);
        }
    }

    fn expire_found(&mut self, place: Place, found: Found) {
        let entry = self.extract(place, found);
        let key: Box<[u8]> = entry.key().into();
        self.changed(place, &key, b'x', "expired", false);
        // The DEL that stands for the expiry is not the command's own change.
        self.changes.dirty -= 1;
        self.changes.side_effects().expired.push(Expired { db: self.index, key, what: Lapsed::Key });
        self.dispose(entry);
    }

    /// Removes a key that is due, or due fields of a hash, as the expiry cycle does: a bounded piece of a big one.
    pub fn expire_now(&mut self, key: &[u8]) {
        let place = self.keyspace().place(key);
        match self.find(place, key) {
            Some((found, entry)) if entry.is_due(self.now) => self.expire_found(place, found),
            Some((found, entry)) => _ = self.expire_fields(place, found, entry),
            None => {}
        }
    }

    /// Removes a key that is due as a whole; answers the expiry of one that is not.
    pub fn expire_whole(&mut self, key: &[u8]) -> Option<Millis> {
        let place = self.keyspace().place(key);
        let (found, entry) = self.find(place, key)?;
        if entry.is_due(self.now) {
            self.expire_found(place, found);
            return None;
        }
        entry.expiry()
    }

    /// **The** statement of change: every mutation ends here, after the fact.
    #[inline]
    pub(super) fn changed(&mut self, place: Place, key: &[u8], class: u8, event: &'static str, exists: bool) {
        self.changes.dirty += 1;
        let is_observed = self.held.data(place.stripe as usize).is_observed();
        if is_observed || self.keyspace().settings.events.load(Relaxed) & BROADCAST != 0 {
            self.observed(place, key, class, event, exists);
        }
        if !event.is_empty() {
            self.notify(class, event, key);
        }
    }

    /// Tells a change to whatever waits for it: transactions, blocked commands, clients that cache.
    #[cold]
    fn observed(&mut self, place: Place, key: &[u8], class: u8, event: &'static str, exists: bool) {
        let (index, keyspace) = (self.index, self.keyspace());
        let data = self.held.data(place.stripe as usize);
        if !data.watchers.is_empty() {
            data.watchers.touch(index, key, exists);
        }
        let ready = !data.waiters.is_empty() && wakes(class, event) && data.waiters.has(index, key);
        let noted = data.tracked.take(place.hash, key, &keyspace.tracked);
        if ready {
            self.changes.side_effects().ready.push((index, key.into()));
        }
        if !noted.is_empty() || keyspace.settings.events.load(Relaxed) & BROADCAST != 0 {
            self.changes.side_effects().notices.push(Notice::Stale { key: key.into(), noted, changed: true });
        }
    }

    /// States that a key may be what commands wait for.
    pub(super) fn wake(&mut self, place: Place, key: &[u8]) {
        let index = self.index;
        if self.held.data(place.stripe as usize).waiters.has(index, key) {
            self.changes.side_effects().ready.push((index, key.into()));
        }
    }

    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.peek(key).is_some()
    }

    /// The type of a living key; nothing is counted, touched or removed.
    pub fn kind_present(&mut self, key: &[u8]) -> Option<Kind> {
        let place = self.place(key);
        self.find(place, key).filter(|(_, entry)| !entry.is_due(self.now)).map(|(_, entry)| entry.kind())
    }

    /// A key's type, without touching it.
    pub fn kind(&mut self, key: &[u8]) -> Option<Kind> {
        let place = self.place(key);
        self.live(place, key).map(|(_, entry)| entry.kind())
    }

    /// The living entry for introspection, without touching it: OBJECT, MEMORY USAGE.
    pub fn inspect(&mut self, key: &[u8]) -> Option<EntryRef<'_>> {
        let place = self.place(key);
        self.live(place, key).map(|(_, entry)| entry.lent(self))
    }

    /// The entry as it lies there, though it may be due: DEBUG OBJECT.
    pub fn inspect_even_due(&mut self, key: &[u8]) -> Option<EntryRef<'_>> {
        let place = self.place(key);
        self.find(place, key).map(|(_, entry)| entry.lent(self))
    }

    /// Removes a key; says whether it was there.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.remove_as(key, b'g', "del")
    }

    pub fn remove_as(&mut self, key: &[u8], class: u8, event: &'static str) -> bool {
        let place = self.place(key);
        let Some((found, _)) = self.live(place, key) else { return false };
        let entry = self.extract(place, found);
        self.changed(place, entry.key(), class, event, false);
        self.dispose(entry);
        true
    }

    /// A key's expiry: `None` if there is no such key.
    pub fn expiry(&mut self, key: &[u8]) -> Option<Option<Millis>> {
        Some(self.peek(key)?.expiry())
    }

    /// Sets or clears the expiry of an existing key. A time that has passed is the caller's to turn into a removal.
    pub fn set_expiry(&mut self, key: &[u8], at: Option<Millis>, event: &'static str) -> bool {
        let Some((place, found, entry)) = self.write_entry(key) else { return false };
        self.before_change(entry);
        match (entry.expiry(), at) {
            (None, None) => return true,
            (Some(was), Some(at)) => {
                entry.write_expiry(at);
                self.expiry_moved(place, key, Some(was), at);
            }
            _ => self.reshape(place, found, entry, at),
        }
        self.changed(place, key, b'g', event, true);
        true
    }

    /// Moves an entry to an allocation with or without room for an expiry.
    fn reshape(&mut self, place: Place, found: Found, entry: Entry, expiry: Option<Millis>) {
        let raw = entry.encoding() == "raw";
        match entry.body() {
            Body::Value(_) => {
                let (key, access, parity) = (entry.key().to_vec(), entry.access(), entry.snapshot_parity());
                let (had, fields_expire) = (entry.expiry(), entry.has_expiring_fields());
                let value = entry.into_value().expect("a boxed body has a value");
                let mut new = Entry::new(&key, New::Value(value), expiry, access);
                new.set_snapshot_parity(parity);
                if fields_expire {
                    new.set_expiring_fields();
                }
                self.swap_entry(place, found, had, new);
            }
            body => {
                let mut new = match body {
                    Body::Bytes(bytes) => entry.rebuilt(New::Bytes { bytes, room: 0 }, expiry),
                    Body::Int(n) => entry.rebuilt(New::Int(n), expiry),
                    Body::Value(_) => unreachable!("handled above"),
                };
                new.set_raw(raw);
                self.swap_entry(place, found, entry.expiry(), new);
                entry.free();
            }
        }
    }

    /// Puts a value under a key, whatever was there.
    pub fn put_value(&mut self, key: &[u8], value: Value, expiry: Expiry, class: u8, event: &'static str) {
        let place = self.place(key);
        let mut at = if let Expiry::At(at) = expiry { Some(at) } else { None };
        if let Some((found, entry)) = self.live(place, key) {
            if expiry == Expiry::Keep {
                at = entry.expiry();
            }
            let old = self.extract(place, found);
            self.dispose(old);
            self.create(place, key, New::Value(value), at);
        } else {
            self.create(place, key, New::Value(value), at);
        }
        self.changed(place, key, class, event, true);
    }

    /// Copies a key's value and expiry to a key of a database, replacing what is there. Both stripes are held.
    pub fn copy_to(&mut self, from: &[u8], to_db: usize, to: &[u8], event: &'static str) -> bool {
        let Some((_, _, source)) = self.write_entry(from) else { return false };
        let raw = source.encoding() == "raw";
        let from_db = self.index;
        self.select(to_db);
        let place = self.keyspace().place(to);
        if let Some((found, _)) = self.live(place, to) {
            let old = self.extract(place, found);
            self.dispose(old);
        }
        let body = match source.body() {
            Body::Bytes(bytes) => New::Bytes { bytes, room: 0 },
            Body::Int(n) => New::Int(n),
            Body::Value(v) => New::Value(v.clone()),
        };
        let mut entry = self.create(place, to, body, source.expiry());
        entry.set_access(source.access());
        entry.set_raw(raw);
        self.changed(place, to, b'g', event, true);
        self.select(from_db);
        true
    }

    /// Moves a key, expiry and all, to another name or database, replacing what is there. Both stripes are held.
    pub fn move_to(&mut self, from: &[u8], to_db: usize, to: &[u8], events: (&'static str, &'static str)) -> bool {
        let from_place = self.place(from);
        let Some((found, _)) = self.live(from_place, from) else { return false };
        let old = self.extract(from_place, found);
        self.changed(from_place, from, b'g', events.0, false);
        // One change in all, which the new name's is.
        self.changes.dirty -= 1;
        let from_db = self.index;
        self.select(to_db);
        let place = self.keyspace().place(to);
        if let Some((found, _)) = self.live(place, to) {
            let replaced = self.extract(place, found);
            self.dispose(replaced);
        }
        let (expiry, access, raw) = (old.expiry(), old.access(), old.encoding() == "raw");
        let mut entry = match old.body() {
            Body::Bytes(bytes) => self.create(place, to, New::Bytes { bytes, room: 0 }, expiry),
            Body::Int(n) => self.create(place, to, New::Int(n), expiry),
            Body::Value(_) => {
                let value = old.into_value().expect("a boxed body has a value");
                let mut entry = self.create(place, to, New::Value(value), expiry);
                entry.set_access(access);
                self.changed(place, to, b'g', events.1, true);
                self.select(from_db);
                return true;
            }
        };
        entry.set_access(access);
        entry.set_raw(raw);
        old.free();
        self.changed(place, to, b'g', events.1, true);
        self.select(from_db);
        true
    }
}

/// The expiry index, for `expire.rs`.
impl Db<'_> {
    /// Databases of which a stripe has a share, but those aside.
    pub(super) fn databases_in(&mut self, stripe: usize) -> SmallVec<[usize; 4]> {
        let databases = self.keyspace().databases();
        self.held.data(stripe).shares.iter().map(|(db, _)| db).take_while(|db| *db < databases).collect()
    }

    pub(super) fn pop_due(&mut self, stripe: usize, now: Millis) -> Option<u32> {
        let epoch = self.keyspace().epoch;
        self.held.share(stripe, self.index).due.pop(epoch, now)
    }

    pub(super) fn index_expiry(&mut self, stripe: usize, at: Millis, hash: u64) {
        let epoch = self.keyspace().epoch;
        let share = self.held.share(stripe, self.index);
        share.due.add(epoch, at, hash);
        if share.due.is_bloated(share.volatile) {
            share.rebuild_due(epoch);
        }
        if at < self.keyspace().stripe(stripe).next_due.load(Relaxed) {
            self.keyspace().set_next_due(stripe, at);
        }
    }

    /// A key has an expiry, which `was` another before.
    #[inline]
    pub(super) fn expiry_moved(&mut self, place: Place, key: &[u8], was: Option<Millis>, at: Millis) {
        if was.is_none_or(|was| at < was) {
            self.index_expiry(place.stripe as usize, at, place.hash);
        }
        if self.mode.owns && was != Some(at) {
            let index = self.index;
            self.changes.side_effects().owned.push((index, key.into(), at));
        }
    }

    /// A hash has a field that expires earlier than any before.
    pub(super) fn index_fields(&mut self, place: Place, mut entry: Entry, at: Millis) {
        entry.set_expiring_fields();
        self.keyspace().timed_marks.fetch_add(1, SeqCst);
        self.keyspace().timed_fields.store(true, SeqCst);
        self.index_expiry(place.stripe as usize, at, place.hash);
    }

    /// How many records the expiry index has.
    #[cfg(test)]
    pub(super) fn due_records(&mut self, stripe: usize) -> usize {
        self.held.share(stripe, self.index).due.len()
    }

    pub(super) fn refresh_next_due(&mut self, stripe: usize) -> Millis {
        let (epoch, databases) = (self.keyspace().epoch, self.keyspace().databases());
        // What stands aside does not expire.
        let shares = self.held.data(stripe).shares.iter().take_while(|(db, _)| *db < databases);
        let next = shares.filter_map(|(_, share)| share.due.next(epoch)).min().unwrap_or(i64::MAX);
        self.keyspace().set_next_due(stripe, next);
        next
    }

    pub(super) fn for_each_like(&mut self, stripe: usize, bits: u32, mut visit: impl FnMut(Entry, u64)) {
        let keyspace = self.keyspace();
        let share = self.held.share(stripe, self.index);
        share.for_each_like(bits, |entry| visit(entry, keyspace.hash(entry.key())));
    }
}

/// The hash of an entry already in a table.
pub(super) fn rehash(keyspace: &Keyspace) -> impl Fn(crate::table::Word) -> u64 + '_ {
    // SAFETY: words in a keyspace table are live entries.
    move |word| keyspace.hash(unsafe { Entry::from_word(word) }.key())
}

/// A string as a new body: an integer if it reads as one, inline if short, else boxed.
#[inline]
pub(super) fn string_body(bytes: &[u8]) -> New<'_> {
    match as_int(bytes) {
        Some(n) => New::Int(n),
        None => raw_body(bytes),
    }
}

pub(super) fn raw_body(bytes: &[u8]) -> New<'_> {
    if bytes.len() > INLINE_BYTES_MAX { New::Value(Value::Str(block_of(bytes))) } else { New::Bytes { bytes, room: 0 } }
}

/// Whether a change can be what a command waits for. Of a stream's changes that is a new entry; what else a reader waits for
/// is stated on its own ([`Db::wake`]).
fn wakes(class: u8, event: &str) -> bool {
    class != STREAM_EVENTS || event == "xadd"
}

/// The class letter of stream events in `notify-keyspace-events`.
const STREAM_EVENTS: u8 = b't';
/// Freeing more allocations than this is work for another thread (Redis's LAZYFREE_THRESHOLD).
const LAZY_FREE_EFFORT: usize = 64;
/// Due fields that the expiry cycle takes out of a hash before it looks at another key.
pub(super) const FIELDS_PER_VISIT: usize = 32;
