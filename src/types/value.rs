//! What a key holds when it is more than a short string: one word that says which type and encoding, one that points
//! to it.
//!
//! Short strings and integers never get here: they live inside the keyspace's entry. A type with several encodings has
//! a variant for each, so that a small value costs no indirection, and a view over them ([`Collection`]): `Hash` *is* a
//! `Value` that is known to be one of the hash variants.

use super::fields::Fields;
use super::hash::{self, Hash};
use super::intset::Intset;
use super::list::List;
use super::packed::Packed;
use super::row::Row;
use super::set::{Members, Set};
use super::stream::Stream;
use super::template::Template;
use super::zset::{Ranked, Zset};
use crate::clock::Millis;
use crate::mover::{Movable, Mover};
use ref_cast::RefCast;
use std::sync::Arc;

/// A key's type, by the names TYPE answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    String,
    List,
    Set,
    Zset,
    Hash,
    Stream,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::Zset => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
        }
    }

    /// The class letter of its events in `notify-keyspace-events`.
    pub fn event_class(self) -> u8 {
        match self {
            Self::String => b'$',
            Self::List => b'l',
            Self::Set => b's',
            Self::Zset => b'z',
            Self::Hash => b'h',
            Self::Stream => b't',
        }
    }
}

/// A value with an allocation of its own.
#[derive(Clone)]
pub enum Value {
    /// A string too long to live in its entry.
    /// Shared with a snapshot that is still to write it, and copied before it changes then.
    Str(Arc<Vec<u8>>),
    List(Box<List>),
    HashPacked(Packed),
    /// A field's value is at the position of its name in the template.
    HashRow(Template, Row),
    /// Fields, values and times: see [`super::hash`].
    HashTimed(Packed),
    HashTable(Box<Fields>),
    SetInts(Intset),
    SetPacked(Packed),
    SetTable(Box<Members>),
    ZsetPacked(Packed),
    ZsetTree(Box<Ranked>),
    Stream(Box<Stream>),
}

impl Value {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Str(_) => Kind::String,
            Self::List(_) => Kind::List,
            Self::HashPacked(_) | Self::HashRow(..) | Self::HashTimed(_) | Self::HashTable(_) => Kind::Hash,
            Self::SetInts(_) | Self::SetPacked(_) | Self::SetTable(_) => Kind::Set,
            Self::ZsetPacked(_) | Self::ZsetTree(_) => Kind::Zset,
            Self::Stream(_) => Kind::Stream,
        }
    }

    /// The name OBJECT ENCODING answers.
    pub fn encoding(&self) -> &'static str {
        match self {
            Self::Str(_) => "raw",
            Self::List(list) if list.nodes() == 1 => "listpack",
            Self::List(_) => "quicklist",
            Self::HashTable(_) | Self::SetTable(_) => "hashtable",
            Self::HashTimed(_) => "listpackex",
            Self::HashPacked(_) | Self::HashRow(..) | Self::SetPacked(_) | Self::ZsetPacked(_) => "listpack",
            Self::SetInts(_) => "intset",
            Self::ZsetTree(_) => "skiplist",
            Self::Stream(_) => "stream",
        }
    }

    /// Bytes on the heap behind the value's own two words.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Str(s) => s.capacity() + size_of::<Vec<u8>>(),
            Self::List(list) => list.heap_bytes() + size_of::<List>(),
            Self::HashPacked(p) | Self::HashTimed(p) | Self::SetPacked(p) | Self::ZsetPacked(p) => p.heap_bytes(),
            Self::HashRow(_, row) => row.heap_bytes(),
            Self::HashTable(fields) => fields.heap_bytes() + size_of::<Fields>(),
            Self::SetInts(ints) => ints.heap_bytes(),
            Self::SetTable(members) => members.heap_bytes() + size_of::<Members>(),
            Self::ZsetTree(ranked) => ranked.heap_bytes() + size_of::<Ranked>(),
            Self::Stream(stream) => stream.heap_bytes() + size_of::<Stream>(),
        }
    }

    /// Where its memory begins, for prefetching: nothing behind the pointer is read.
    #[inline]
    pub fn address(&self) -> *const u8 {
        match self {
            Self::Str(text) => Arc::as_ptr(text).cast(),
            Self::List(list) => (&raw const **list).cast(),
            Self::HashPacked(p) | Self::HashTimed(p) | Self::SetPacked(p) | Self::ZsetPacked(p) => p.address(),
            Self::HashRow(_, row) => row.address(),
            Self::HashTable(fields) => (&raw const **fields).cast(),
            Self::SetInts(ints) => ints.address(),
            Self::SetTable(members) => (&raw const **members).cast(),
            Self::ZsetTree(ranked) => (&raw const **ranked).cast(),
            Self::Stream(stream) => (&raw const **stream).cast(),
        }
    }

    /// Moves what is worth it of a piece of the value, which begins at `place`, 0 for the first. Where the next piece
    /// begins, 0 behind the last. Small values are one piece; of a big one a piece ends soon after the mover is tired. What a
    /// snapshot reads stays where it is.
    pub fn relocate(&mut self, place: u64, mover: &mut Mover) -> u64 {
        macro_rules! big {
            ($value:ident) => {{
                if $value.is_read() {
                    return 0;
                }
                if place == 0 {
                    mover.boxed($value);
                }
                return $value.relocate_from(place, mover);
            }};
        }
        match self {
            // Of a string the header of what is shared stays; an unshared one's bytes are all but that.
            Self::Str(s) => Arc::get_mut(s).into_iter().for_each(|bytes| mover.vec(bytes)),
            Self::HashPacked(p) | Self::HashTimed(p) | Self::SetPacked(p) | Self::ZsetPacked(p) => p.relocate(mover),
            Self::HashRow(_, row) => row.relocate(mover),
            Self::SetInts(ints) => ints.relocate(mover),
            Self::List(list) => big!(list),
            Self::HashTable(fields) => big!(fields),
            Self::SetTable(members) => big!(members),
            Self::ZsetTree(ranked) => big!(ranked),
            // What a snapshot reads is shared, and known to be.
            Self::Stream(stream) => {
                if place == 0 {
                    mover.boxed(stream);
                }
                return stream.relocate_from(place, mover);
            }
        }
        0
    }

    /// How many allocations dropping it frees, about: decides whether to free it off the serving path.
    pub fn free_effort(&self) -> usize {
        match self {
            // Unmapping a large block costs like many small ones.
            Self::Str(s) => 1 + s.capacity() / (256 << 10),
            Self::List(list) => list.nodes(),
            Self::HashTable(fields) => fields.len() + fields.gone(),
            Self::SetTable(members) => members.len(),
            Self::ZsetTree(ranked) => ranked.len(),
            Self::Stream(stream) => stream.allocations(),
            Self::HashPacked(_) | Self::HashRow(..) | Self::HashTimed(_) => 1,
            Self::SetInts(_) | Self::SetPacked(_) | Self::ZsetPacked(_) => 1,
        }
    }

    /// When the first field of a hash expires that is not gone; `None` if none does.
    pub fn first_due(&self) -> Option<Millis> {
        if let Self::HashTable(fields) = self { fields.first_due() } else { self.fields_due() }
    }

    /// When the first field of a hash expires, or did; `None` if none does.
    pub fn fields_due(&self) -> Option<Millis> {
        match self {
            Self::HashTimed(packed) => hash::first_due(packed),
            Self::HashTable(fields) => fields.next_due(),
            _ => None,
        }
    }

    /// Takes fields that are due out of a hash, at most `max` of a big one; their names. The others are gone for whoever
    /// asks, but still to be removed: [`Self::fields_gone`].
    pub fn remove_due_fields(&mut self, now: Millis, max: usize) -> Vec<Box<[u8]>> {
        match self {
            Self::HashTimed(packed) => hash::remove_due(packed, now),
            Self::HashTable(fields) => fields.remove_due(now, max),
            _ => Vec::new(),
        }
    }

    /// Whether [`Self::remove_due_fields`] was not asked at this time while fields are due.
    pub fn shows_due(&self, now: Millis) -> bool {
        match self {
            Self::HashTable(fields) => fields.shows_due(now),
            _ => self.fields_due().is_some_and(|at| at <= now),
        }
    }

    /// How many fields of a hash are due, and not removed.
    pub fn fields_gone(&self) -> usize {
        if let Self::HashTable(fields) = self { fields.gone() } else { 0 }
    }

    /// Names of fields that were due and not removed when they were written, since this was last asked.
    pub fn take_replaced_fields(&mut self) -> Vec<Box<[u8]>> {
        if let Self::HashTable(fields) = self { fields.take_replaced() } else { Vec::new() }
    }

    /// True for a collection without members, which must not stay in the keyspace. A stream may.
    pub fn is_empty_collection(&self) -> bool {
        match self {
            Self::Str(_) | Self::Stream(_) | Self::HashRow(..) => false,
            Self::List(list) => list.is_empty(),
            Self::HashPacked(p) | Self::HashTimed(p) | Self::SetPacked(p) | Self::ZsetPacked(p) => p.is_empty(),
            Self::HashTable(fields) => fields.is_empty(),
            Self::SetInts(ints) => ints.is_empty(),
            Self::SetTable(members) => members.is_empty(),
            Self::ZsetTree(ranked) => ranked.is_empty(),
        }
    }
}

/// A type that can be reached through [`Value`]; strings are not, they have their own road.
pub trait Collection: Sized {
    const KIND: Kind;
    fn of(value: &Value) -> Option<&Self>;
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    /// An empty value in the smallest encoding.
    fn empty() -> Value;
}

impl Collection for List {
    const KIND: Kind = Kind::List;

    fn of(value: &Value) -> Option<&Self> {
        if let Value::List(list) = value { Some(list) } else { None }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        if let Value::List(list) = value { Some(list) } else { None }
    }

    fn empty() -> Value {
        Value::List(Box::default())
    }
}

impl Collection for Hash {
    const KIND: Kind = Kind::Hash;

    fn of(value: &Value) -> Option<&Self> {
        (value.kind() == Kind::Hash).then(|| Self::ref_cast(value))
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        (value.kind() == Kind::Hash).then(|| Self::ref_cast_mut(value))
    }

    fn empty() -> Value {
        Value::HashPacked(Packed::new())
    }
}

impl Collection for Set {
    const KIND: Kind = Kind::Set;

    fn of(value: &Value) -> Option<&Self> {
        (value.kind() == Kind::Set).then(|| Self::ref_cast(value))
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        (value.kind() == Kind::Set).then(|| Self::ref_cast_mut(value))
    }

    fn empty() -> Value {
        Value::SetInts(Intset::new())
    }
}

impl Collection for Zset {
    const KIND: Kind = Kind::Zset;

    fn of(value: &Value) -> Option<&Self> {
        (value.kind() == Kind::Zset).then(|| Self::ref_cast(value))
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        (value.kind() == Kind::Zset).then(|| Self::ref_cast_mut(value))
    }

    fn empty() -> Value {
        Value::ZsetPacked(Packed::new())
    }
}

impl Collection for Stream {
    const KIND: Kind = Kind::Stream;

    fn of(value: &Value) -> Option<&Self> {
        if let Value::Stream(stream) = value { Some(stream) } else { None }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        if let Value::Stream(stream) = value { Some(stream) } else { None }
    }

    fn empty() -> Value {
        Value::Stream(Box::default())
    }
}
