//! Collections in the keyspace: reading one, and changing one through a guard that does the bookkeeping.
//!
//! An [`Edit`] lends a key's collection for changing. The handler states what it did ([`Edit::changed`]); when the guard
//! is dropped, an emptied collection leaves the keyspace, and the expiry index learns of fields that expire.
//! No command sees a field that is due. A command that meets the hash removes the first few of those, as the expiry cycle does, and
//! the rest is gone already for all who ask ([`crate::types::fields`]). For the log a field is there until it is removed:
//! that propagates as an HDEL, or, of all that a hash has left, as a DEL of the key, in front of the unit's own effects. So
//! does the removal of a gone field that is written again. One visit costs O(log n) and [`FIELDS_PER_VISIT`]
//! removals; at the same time there is one visit only, so that a hash does not change under its reader.

use super::db::{Db, Expired, FIELDS_PER_VISIT, Lapsed, WrongType};
use super::entry::{Body, Entry, New};
use super::stripe::Place;
use crate::clock::Millis;
use crate::table::Found;
use crate::types::{Collection, Value};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

/// A collection being changed. The key's stripe is held.
pub struct Edit<'d, 'k, T: Collection> {
    db: &'d mut Db<'k>,
    key: &'d [u8],
    place: Place,
    entry: Entry,
    /// When the first of the fields expired, before the change.
    fields_due: Option<Millis>,
    changed: bool,
    of: PhantomData<T>,
}

impl Db<'_> {
    /// A collection for reading: counts a hit or miss.
    #[inline]
    pub fn read<T: Collection>(&mut self, key: &[u8]) -> Result<Option<&T>, WrongType> {
        self.read_entry(key).map(view::<T>).transpose()
    }

    /// Several values at once, for reading, where the type is not known yet; none where there is no such key. A string
    /// is of the wrong type.
    pub fn read_values<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Option<&Value>>, WrongType> {
        self.read_each(keys, |entry| if let Body::Value(value) = entry.body() { Ok(value) } else { Err(WrongType) })
    }

    /// Several collections at once, for reading; none where there is no such key.
    pub fn read_all<'a, T: Collection>(
        &mut self,
        keys: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Vec<Option<&T>>, WrongType> {
        self.read_each(keys, view::<T>)
    }

    fn read_each<'a, V>(
        &mut self,
        keys: impl Iterator<Item = &'a [u8]>,
        view: impl Fn(Entry) -> Result<V, WrongType>,
    ) -> Result<Vec<Option<V>>, WrongType> {
        keys.map(|key| self.read_entry(key).map(&view).transpose()).collect()
    }

    /// A collection that the command may change later, or that it only compares with: no statistics.
    #[inline]
    pub fn look<T: Collection>(&mut self, key: &[u8]) -> Result<Option<&T>, WrongType> {
        self.write_entry(key).map(|(_, _, entry)| view::<T>(entry)).transpose()
    }
}

impl<'k> Db<'k> {
    /// A collection for changing, if the key is there.
    #[inline]
    pub fn edit<'d, T: Collection>(&'d mut self, key: &'d [u8]) -> Result<Option<Edit<'d, 'k, T>>, WrongType> {
        match self.write_entry(key) {
            Some((place, _, entry)) => Edit::begin(self, key, place, entry).map(Some),
            None => Ok(None),
        }
    }

    /// A collection for changing; an absent key gets an empty one, which vanishes again if it stays empty.
    #[inline]
    pub fn upsert<'d, T: Collection>(&'d mut self, key: &'d [u8]) -> Result<Edit<'d, 'k, T>, WrongType> {
        let (place, entry) = match self.write_entry(key) {
            Some((place, _, entry)) => (place, entry),
            None => {
                let place = self.place(key);
                (place, self.create(place, key, New::Value(T::empty()), None))
            }
        };
        Edit::begin(self, key, place, entry)
    }

    /// Removes the first of a hash's fields that are due; the others are gone. Says whether the key is still there.
    #[cold]
    pub(super) fn expire_fields(&mut self, place: Place, found: Found, entry: Entry) -> bool {
        self.before_change(entry);
        let Some(value) = entry.value_mut() else { return true };
        let fields = value.remove_due_fields(self.now, FIELDS_PER_VISIT);
        let (emptied, gone) = (value.is_empty_collection(), value.fields_gone());
        if fields.is_empty() {
            return true;
        }
        let key: Box<[u8]> = entry.key().into();
        // The rest goes at once with the key.
        let what = if emptied && gone > 0 { Lapsed::Hash(fields.len() + gone) } else { Lapsed::Fields(fields) };
        self.fields_expired(place, &key, what, !emptied);
        if emptied {
            let entry = self.extract(place, found);
            self.notify(b'g', "del", &key);
            self.dispose(entry);
        }
        !emptied
    }

    /// States that fields of a hash were removed because they were due.
    fn fields_expired(&mut self, place: Place, key: &[u8], what: Lapsed, exists: bool) {
        self.changed(place, key, b'h', "hexpired", exists);
        // What stands for the expiry is not the command's own change.
        self.changes.dirty -= 1;
        self.changes.side_effects().expired.push(Expired { db: self.index, key: key.into(), what });
    }
}

fn view<'a, T: Collection>(entry: Entry) -> Result<&'a T, WrongType> {
    match entry.body() {
        Body::Value(value) => T::of(value).ok_or(WrongType),
        _ => Err(WrongType),
    }
}

impl<'d, 'k, T: Collection> Edit<'d, 'k, T> {
    #[inline]
    fn begin(db: &'d mut Db<'k>, key: &'d [u8], place: Place, entry: Entry) -> Result<Self, WrongType> {
        view::<T>(entry)?;
        db.before_change(entry);
        Ok(Self { db, key, place, entry, fields_due: entry.fields_due(), changed: false, of: PhantomData })
    }

    /// **The** statement of change, once per command and key.
    #[inline]
    pub fn changed(&mut self, event: &'static str) {
        self.changed_by(event, 1);
    }

    /// The same for a change of several members at once, as `rdb_changes_since_last_save` counts them; 0 if another
    /// statement of the same command counts.
    #[inline]
    pub fn changed_by(&mut self, event: &'static str, members: usize) {
        self.expire_replaced();
        self.changed = true;
        self.db.changed(self.place, self.key, T::KIND.event_class(), event, true);
        self.db.changes.dirty = self.db.changes.dirty + members as u64 - 1;
    }

    /// States a change that leaves transactions alone which watch the key: of a stream's groups, as in Redis.
    pub fn changed_aside(&mut self, event: &'static str, times: usize) {
        self.changed = true;
        self.db.changes.dirty += times as u64;
        if !event.is_empty() {
            self.notify(event);
        }
    }

    /// Commands that wait for the key are to be tried again.
    pub fn wake(&mut self) {
        self.db.wake(self.place, self.key);
    }

    /// Frees what was taken out of the collection, or sends it to be freed elsewhere if it is big.
    pub fn discard(&mut self, taken: Value) {
        self.db.discard(taken);
    }

    /// A second keyspace event of one change.
    pub fn notify(&mut self, event: &'static str) {
        self.expire_replaced();
        self.db.notify(T::KIND.event_class(), event, self.key);
    }

    /// States that those fields were removed which were gone and then written.
    #[inline]
    fn expire_replaced(&mut self) {
        if self.entry.has_expiring_fields() {
            let fields = self.value().take_replaced_fields();
            if !fields.is_empty() {
                self.db.fields_expired(self.place, self.key, Lapsed::Fields(fields), true);
            }
        }
    }

    /// The log is being read: what is due stays.
    pub fn keeps_expired(&self) -> bool {
        self.db.mode.keep_expired
    }

    pub fn key(&self) -> &'d [u8] {
        self.key
    }

    /// Wall-clock time of the unit.
    pub fn now(&self) -> Millis {
        self.db.now()
    }

    fn value(&self) -> &'d mut Value {
        self.entry.value_mut().expect("checked at the beginning: the entry holds a collection")
    }
}

impl<T: Collection> Deref for Edit<'_, '_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        T::of(self.value()).expect("checked at the beginning: the type is T")
    }
}

impl<T: Collection> DerefMut for Edit<'_, '_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        T::of_mut(self.value()).expect("checked at the beginning: the type is T")
    }
}

impl<T: Collection> Drop for Edit<'_, '_, T> {
    #[inline]
    fn drop(&mut self) {
        self.expire_replaced();
        if self.value().is_empty_collection() {
            let gone = self.value().fields_gone();
            if gone > 0 {
                self.db.fields_expired(self.place, self.key, Lapsed::Hash(gone), false);
            }
            if let Some((found, _)) = self.db.find(self.place, self.key) {
                let entry = self.db.extract(self.place, found);
                self.db.dispose(entry);
            }
            if self.changed {
                self.db.notify(b'g', "del", self.key);
            }
            return;
        }
        if let Some(at) = self.value().fields_due()
            && self.fields_due.is_none_or(|was| at < was)
        {
            self.db.index_fields(self.place, self.entry, at);
        }
    }
}
