//! A big hash: its fields by name, and those that expire also by time.
//!
//! A field is a [`Piece`]; one that expires has its time in front and the lowest bit of its word set, so that the others
//! pay nothing. `alarms` holds time and word of exactly the fields that expire, hence the next one due is its first.
//!
//! Fields fall due in crowds and are removed a few at a time ([`Fields::remove_due`]). Those that wait for it are *gone*:
//! the first of `alarms`, counted in O(log n), and absent to every command. One that is written again is removed first, and
//! named in [`Fields::take_replaced`], because for the log it was there until then.
//! Cost: a field that expires takes 8 bytes more and about 24 in `alarms`; setting a time is O(log n) in their number.
//! Walking and scanning pass over what is gone, and drawing does while no more than half is.

#![allow(unsafe_code)]

use super::cut::TableCut;
use super::encoding::Large;
use super::items::{Item, Items, Lent};
use super::piece::Piece;
use super::rank::Tree;
use super::text::Text;
use crate::clock::Millis;
use crate::mover::{Movable, Mover};
use crate::table::Word;
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
    fn alarm(&self) -> Option<Alarm> {
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

/// A field that expires, by its time.
type Alarm = (Millis, Word);

/// The fields of a big hash.
#[derive(Default)]
pub struct Fields {
    items: Items<Field>,
    alarms: Tree<Alarm>,
    /// How many are gone: those that were due at `gone_by`, which means nothing while there are none.
    gone: usize,
    gone_by: Millis,
    /// Names of those that were gone and then written again.
    replaced: Vec<Box<[u8]>>,
}

impl Large for Fields {
    fn heap_bytes(&self) -> usize {
        self.items.heap_bytes() + self.alarms.len() * ALARM_BYTES
    }

    fn allocations(&self) -> usize {
        self.len() + self.gone
    }

    fn is_emptied(&self) -> bool {
        self.is_empty()
    }

    fn is_read(&mut self) -> bool {
        self.items.is_read()
    }

    /// What `alarms` is made of stays where it is.
    fn relocate_from(&mut self, place: u64, mover: &mut Mover) -> u64 {
        let alarms = &mut self.alarms;
        self.items.relocate_from(place, mover, |before, field| {
            if let Some((at, after)) = field.alarm() {
                alarms.remove(|other| other.cmp(&(at, before)));
                alarms.insert((at, after), |other| other.cmp(&(at, after)));
            }
        })
    }
}

impl Fields {
    /// The fields as they are now, those gone too, to be read in pieces while they change.
    pub fn cut(&mut self) -> Arc<TableCut<Field>> {
        self.items.cut()
    }

    /// How many a command sees.
    #[inline]
    pub fn len(&self) -> usize {
        self.items.len() - self.gone
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many are gone and still to be removed.
    pub fn gone(&self) -> usize {
        self.gone
    }

    /// Names of fields that were gone when they were written, since this was last asked.
    pub fn take_replaced(&mut self) -> Vec<Box<[u8]>> {
        std::mem::take(&mut self.replaced)
    }

    /// When the first field to be removed expires, or did.
    #[inline]
    pub fn next_due(&self) -> Option<Millis> {
        self.alarms.range(0..1).next().map(|(at, _)| at)
    }

    /// When the first field expires that is not gone.
    pub fn first_due(&self) -> Option<Millis> {
        self.alarms.range(self.gone..self.gone + 1).next().map(|(at, _)| at)
    }

    /// Whether [`Self::remove_due`] was not asked at this time while fields are due.
    pub fn shows_due(&self, now: Millis) -> bool {
        (self.gone == 0 || self.gone_by < now) && self.next_due().is_some_and(|at| at <= now)
    }

    /// Takes out up to `max` of the fields that are due at `now`; their names, the earliest first. The others are gone.
    pub fn remove_due(&mut self, now: Millis, max: usize) -> Vec<Box<[u8]>> {
        // A clock that was set back brings nothing back.
        self.gone_by = if self.gone > 0 { self.gone_by.max(now) } else { now };
        self.gone = self.alarms.rank(|(at, _)| *at <= self.gone_by);
        let mut names = Vec::with_capacity(self.gone.min(max));
        while names.len() < max
            && self.gone > 0
            && let Some((_, word)) = self.alarms.range(0..1).next()
        {
            // SAFETY: alarms hold the words of members only.
            let name: Box<[u8]> = unsafe { self.items.by_word(word) }.name().into();
            self.take(&name);
            names.push(name);
        }
        names
    }

    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<Lent<'_, Field>> {
        self.items.get(name).filter(|field| !self.is_gone(field))
    }

    /// Writes a value; says whether the field is new.
    pub fn set(&mut self, name: &[u8], value: &[u8], due: Due) -> bool {
        if self.has_gone(name) {
            self.take(name);
            self.replaced.push(name.into());
        }
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
        !self.has_gone(name) && self.change(name, |field| field.set_due(due))
    }

    pub fn remove(&mut self, name: &[u8]) -> bool {
        !self.has_gone(name) && self.take(name)
    }

    /// Every field, in no particular order.
    pub fn for_each(&self, mut visit: impl FnMut(&Field)) {
        self.items.for_each(|field| {
            if !self.is_gone(field) {
                visit(field);
            }
        });
    }

    /// One step of a scan; the next cursor, 0 at the end.
    pub fn scan(&self, cursor: u64, mut emit: impl FnMut(&Field)) -> u64 {
        self.items.scan(cursor, |field| {
            if !self.is_gone(field) {
                emit(field);
            }
        })
    }

    /// `count` times a field, each time any with the same chance; ends early when `visit` says so by false.
    pub fn sample(&self, count: usize, mut visit: impl FnMut(&Lent<'_, Field>) -> bool) {
        if self.gone > self.len() {
            let few = self.items.filtered(|field| !self.is_gone(field));
            let mut drawn = (0..count).map_while(|_| fastrand::choice(&few));
            while drawn.next().is_some_and(&mut visit) {}
            return;
        }
        // Two draws on average for one that is not gone, at most.
        let draw = |_| std::iter::from_fn(|| self.items.sample()).find(|field| !self.is_gone(field));
        let mut drawn = (0..count).map_while(draw);
        while drawn.next().is_some_and(|field| visit(&field)) {}
    }

    #[inline]
    fn is_gone(&self, field: &Field) -> bool {
        self.gone > 0 && field.due().is_some_and(|at| at <= self.gone_by)
    }

    /// A field of this name is gone and not removed.
    #[inline]
    fn has_gone(&self, name: &[u8]) -> bool {
        self.gone > 0 && self.items.get(name).is_some_and(|field| self.is_gone(&field))
    }

    /// Adds a field whose name is not there.
    fn insert(&mut self, field: Field) {
        if let Some(alarm) = field.alarm() {
            self.set_alarm(alarm);
        }
        self.items.insert(field);
    }

    /// Takes a field out, gone or not.
    fn take(&mut self, name: &[u8]) -> bool {
        let Some(field) = self.items.remove(name) else { return false };
        if let Some(alarm) = field.alarm() {
            self.clear_alarm(alarm);
        }
        true
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
            before.into_iter().for_each(|alarm| self.clear_alarm(alarm));
            after.into_iter().for_each(|alarm| self.set_alarm(alarm));
        }
        true
    }

    fn set_alarm(&mut self, alarm: Alarm) {
        self.alarms.insert(alarm, |other| other.cmp(&alarm));
        self.gone += usize::from(self.gone > 0 && alarm.0 <= self.gone_by);
    }

    fn clear_alarm(&mut self, alarm: Alarm) {
        self.alarms.remove(|other| other.cmp(&alarm));
        self.gone -= usize::from(self.gone > 0 && alarm.0 <= self.gone_by);
    }
}

impl Clone for Fields {
    /// With those that are gone: for the log they are in the copy too.
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        self.items.for_each(|field| copy.insert(field.clone()));
        (copy.gone, copy.gone_by) = (self.gone, self.gone_by);
        copy
    }
}

/// A share of a B-tree node that is two thirds full.
const ALARM_BYTES: usize = 24;
