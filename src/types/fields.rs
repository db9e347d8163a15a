//! A big hash: its fields by name, and those that expire also by time.
//!
//! A field is a [`Piece`]; one that expires has its time in front and the lowest bit of its word set, so that the others
//! pay nothing. `alarms` holds time and word of exactly the fields that expire, hence the next one due is its first.
//! Cost: a field that expires takes 8 bytes more and about 24 in `alarms`; setting a time is O(log n) in their number.

use super::cut::TableCut;
use super::items::{Item, Items, Lent};
use super::piece::Piece;
use super::text::Text;
use crate::clock::Millis;
use crate::mover::{Movable, Mover};
use crate::table::Word;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What becomes of a field's expiry when its value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Clear,
    Keep,
    At(Millis),
}

/// A field with its value.
#[derive(Clone)]
pub enum Field {
    Lasting(Piece<(), true>),
    Timed(Piece<Millis, true>),
}

impl Field {
    fn new(name: &[u8], value: &[u8], due: Option<Millis>) -> Self {
        match due {
            None => Self::Lasting(Piece::new((), name, value)),
            Some(at) => Self::Timed(Piece::new(at, name, value)),
        }
    }

    #[inline]
    pub fn name(&self) -> &[u8] {
        match self {
            Self::Lasting(piece) => piece.name(),
            Self::Timed(piece) => piece.name(),
        }
    }

    #[inline]
    pub fn value(&self) -> &[u8] {
        match self {
            Self::Lasting(piece) => piece.value(),
            Self::Timed(piece) => piece.value(),
        }
    }

    /// When it expires.
    #[inline]
    pub fn due(&self) -> Option<Millis> {
        match self {
            Self::Lasting(_) => None,
            Self::Timed(piece) => Some(piece.header()),
        }
    }

    fn set_due(&mut self, due: Option<Millis>) {
        match (&mut *self, due) {
            (Self::Lasting(_), None) => {}
            (Self::Timed(piece), Some(at)) => piece.set_header(at),
            _ => *self = Self::new(self.name(), self.value(), due),
        }
    }

    fn set_value(&mut self, value: &[u8]) {
        match self {
            Self::Lasting(piece) => piece.set_value(value),
            Self::Timed(piece) => piece.set_value(value),
        }
    }

    /// Its time and word, if it expires.
    fn alarm(&self) -> Option<(Millis, Word)> {
        match self {
            Self::Lasting(_) => None,
            Self::Timed(piece) => Some((piece.header(), timed_word(piece.address()))),
        }
    }
}

impl Movable for Field {
    fn relocate(&mut self, mover: &mut Mover) {
        match self {
            Self::Lasting(piece) => piece.relocate(mover),
            Self::Timed(piece) => piece.relocate(mover),
        }
    }
}

fn timed_word(address: usize) -> Word {
    Word::new(address as u64 | TIMED).expect("a pointer is not null")
}

/// Allocations are aligned to 8 bytes: their addresses leave this bit free.
const TIMED: u64 = 1;

// SAFETY: the word is the piece's own, which owns the allocation, with one bit that says which kind of piece it is.
unsafe impl Item for Field {
    #[inline]
    fn into_word(self) -> Word {
        match self {
            Self::Lasting(piece) => piece.into_word(),
            Self::Timed(piece) => piece.into_word() | TIMED,
        }
    }

    /// # Safety
    /// As the trait says.
    #[inline]
    unsafe fn from_word(word: Word) -> Self {
        // SAFETY: the caller's promise: the word came from `into_word`, whose bit is taken off again here.
        unsafe {
            match word.get() & TIMED {
                0 => Self::Lasting(Piece::from_word(word)),
                _ => Self::Timed(Piece::from_word(Word::new_unchecked(word.get() - TIMED))),
            }
        }
    }

    #[inline]
    fn name(&self) -> &[u8] {
        self.name()
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Lasting(piece) => piece.heap_bytes(),
            Self::Timed(piece) => piece.heap_bytes(),
        }
    }
}

impl<'a> Lent<'a, Field> {
    /// The value, for as long as the collection is borrowed.
    #[inline]
    pub fn text(&self) -> Text<'a> {
        let value: *const [u8] = self.value();
        // SAFETY: the bytes belong to the collection, which is borrowed for 'a; the loan only points to them.
        Text::Bytes(unsafe { &*value })
    }
}

/// The fields of a big hash.
#[derive(Default)]
pub struct Fields {
    items: Items<Field>,
    alarms: BTreeSet<(Millis, Word)>,
}

impl Fields {
    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn heap_bytes(&self) -> usize {
        self.items.heap_bytes() + self.alarms.len() * ALARM_BYTES
    }

    /// The fields as they are now, to be read in pieces while they change.
    pub fn cut(&mut self) -> Arc<TableCut<Field>> {
        self.items.cut()
    }

    /// Somebody reads the fields as they were.
    pub fn is_read(&mut self) -> bool {
        self.items.is_read()
    }

    /// See [`Items::relocate_from`]. What `alarms` is made of stays where it is.
    pub fn relocate_from(&mut self, place: u64, mover: &mut Mover) -> u64 {
        let alarms = &mut self.alarms;
        self.items.relocate_from(place, mover, |before, field| {
            if let Some((at, after)) = field.alarm() {
                alarms.remove(&(at, before));
                alarms.insert((at, after));
            }
        })
    }

    /// When the first field expires.
    #[inline]
    pub fn next_due(&self) -> Option<Millis> {
        self.alarms.first().map(|(at, _)| *at)
    }

    /// Takes out up to `max` of the fields that are due at `now`; their names, the earliest first.
    pub fn remove_due(&mut self, now: Millis, max: usize) -> Vec<Box<[u8]>> {
        let mut names = Vec::new();
        while names.len() < max
            && let Some(&(at, word)) = self.alarms.first()
            && at <= now
        {
            // SAFETY: alarms hold the words of members only.
            let name: Box<[u8]> = unsafe { self.items.by_word(word) }.name().into();
            self.remove(&name);
            names.push(name);
        }
        names
    }

    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<Lent<'_, Field>> {
        self.items.get(name)
    }

    /// Writes a value; says whether the field is new.
    pub fn set(&mut self, name: &[u8], value: &[u8], due: Due) -> bool {
        let known = self.change(name, |field| {
            match due {
                Due::Keep => {}
                Due::Clear => field.set_due(None),
                Due::At(at) => field.set_due(Some(at)),
            }
            field.set_value(value);
        });
        if !known {
            self.insert(Field::new(name, value, if let Due::At(at) = due { Some(at) } else { None }));
        }
        !known
    }

    /// Sets or clears a field's expiry; says whether there is such a field.
    pub fn set_due(&mut self, name: &[u8], due: Option<Millis>) -> bool {
        self.change(name, |field| field.set_due(due))
    }

    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Some(field) = self.items.remove(name) else { return false };
        if let Some(alarm) = field.alarm() {
            self.alarms.remove(&alarm);
        }
        true
    }

    /// Every field, in no particular order.
    pub fn for_each(&self, visit: impl FnMut(&Field)) {
        self.items.for_each(visit);
    }

    /// One step of a scan; the next cursor, 0 at the end.
    pub fn scan(&self, cursor: u64, emit: impl FnMut(&Field)) -> u64 {
        self.items.scan(cursor, emit)
    }

    /// A field, each with the same chance.
    pub fn sample(&self) -> Option<Lent<'_, Field>> {
        self.items.sample()
    }

    /// Adds a field whose name is not there.
    fn insert(&mut self, field: Field) {
        self.alarms.extend(field.alarm());
        self.items.insert(field);
    }

    /// Changes a field and lets its alarm follow.
    fn change(&mut self, name: &[u8], change: impl FnOnce(&mut Field)) -> bool {
        let alarms = self.items.update(name, |field| {
            let before = field.alarm();
            change(field);
            (before, field.alarm())
        });
        let Some((before, after)) = alarms else { return false };
        if before != after {
            if let Some(alarm) = before {
                self.alarms.remove(&alarm);
            }
            self.alarms.extend(after);
        }
        true
    }
}

impl Clone for Fields {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        self.for_each(|field| copy.insert(field.clone()));
        copy
    }
}

/// A share of a B-tree node that is two thirds full.
const ALARM_BYTES: usize = 24;
