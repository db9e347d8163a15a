//! What a key holds when it is more than a short string: one word that says which type and encoding, one that points
//! to it.
//!
//! Short strings and integers never get here: they live inside the keyspace's entry. A type with several encodings has
//! a variant for each, so that a small value costs no indirection, and a view over them ([`Collection`]): `Hash` *is* a
//! `Value` that is known to be one of the hash variants.

use super::encoding::Encoding;
use super::fields::Fields;
use super::hash::{self, Hash};
use super::intset::Intset;
use super::list::List;
use super::listpack::Listpack;
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
    HashListpack(Listpack),
    /// A field's value is at the position of its name in the template.
    HashRow(Template, Row),
    /// Fields, values and times: see [`super::hash`].
    HashTimed(Listpack),
    HashTable(Box<Fields>),
    SetInts(Intset),
    SetListpack(Listpack),
    SetTable(Box<Members>),
    ZsetListpack(Listpack),
    ZsetTree(Box<Ranked>),
    Stream(Box<Stream>),
}

/// A value by its type, whatever its encoding.
pub enum View<'a> {
    Str(&'a [u8]),
    List(&'a List),
    Hash(&'a Hash),
    Set(&'a Set),
    Zset(&'a Zset),
    Stream(&'a Stream),
}

impl Value {
    /// The value by its type.
    #[inline]
    pub fn view(&self) -> View<'_> {
        match self {
            Self::Str(bytes) => View::Str(bytes),
            Self::List(list) => View::List(list),
            Self::HashListpack(_) | Self::HashRow(..) | Self::HashTimed(_) | Self::HashTable(_) => {
                View::Hash(Hash::ref_cast(self))
            }
            Self::SetInts(_) | Self::SetListpack(_) | Self::SetTable(_) => View::Set(Set::ref_cast(self)),
            Self::ZsetListpack(_) | Self::ZsetTree(_) => View::Zset(Zset::ref_cast(self)),
            Self::Stream(stream) => View::Stream(stream),
        }
    }

    #[inline]
    pub fn kind(&self) -> Kind {
        match self.view() {
            View::Str(_) => Kind::String,
            View::List(_) => Kind::List,
            View::Hash(_) => Kind::Hash,
            View::Set(_) => Kind::Set,
            View::Zset(_) => Kind::Zset,
            View::Stream(_) => Kind::Stream,
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
            Self::HashListpack(_) | Self::HashRow(..) | Self::SetListpack(_) | Self::ZsetListpack(_) => "listpack",
            Self::SetInts(_) => "intset",
            Self::ZsetTree(_) => "skiplist",
            Self::Stream(_) => "stream",
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

    /// Takes fields that are due out of a hash, at most `max` of a big one; their names. The others are gone for every
    /// command, but still to be removed: [`Self::fields_gone`].
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
}

/// Runs an expression on a value's content, which is an [`Encoding`] in each variant.
macro_rules! on_content {
    ($value:expr, $content:ident => $run:expr) => {
        match $value {
            Value::Str($content) => $run,
            Value::List($content) => $run,
            Value::HashListpack($content) | Value::HashTimed($content) => $run,
            Value::HashRow(_, $content) => $run,
            Value::HashTable($content) => $run,
            Value::SetInts($content) => $run,
            Value::SetListpack($content) | Value::ZsetListpack($content) => $run,
            Value::SetTable($content) => $run,
            Value::ZsetTree($content) => $run,
            Value::Stream($content) => $run,
        }
    };
}

impl Value {
    /// Bytes on the heap behind the value's own two words.
    pub fn heap_bytes(&self) -> usize {
        on_content!(self, content => Encoding::heap_bytes(content))
    }

    /// Where its memory begins, for prefetching: nothing behind the pointer is read.
    #[inline]
    pub fn address(&self) -> *const u8 {
        on_content!(self, content => Encoding::address(content))
    }

    /// Moves what is worth it of a piece of the value, which begins at `place`, 0 for the first. Where the next piece
    /// begins, 0 behind the last. Small values are one piece; of a big one a piece ends soon after the mover is tired. What a
    /// snapshot reads stays where it is.
    pub fn relocate(&mut self, place: u64, mover: &mut Mover) -> u64 {
        on_content!(self, content => Encoding::relocate(content, place, mover))
    }

    /// About how many allocations dropping it frees: decides whether to free it off the serving path.
    pub fn free_effort(&self) -> usize {
        on_content!(self, content => Encoding::free_effort(content))
    }

    /// True for a collection without members, which must not stay in the keyspace. A stream may.
    pub fn is_empty_collection(&self) -> bool {
        on_content!(self, content => Encoding::is_emptied(content))
    }

    /// Too big to be copied or written under a lock.
    pub fn is_big(&self) -> bool {
        on_content!(self, content => Encoding::is_big(content))
    }
}

/// Of a collection in one allocation. `$is_emptied` says whether one without members is there.
macro_rules! encoding_of_block {
    ($block:ty, $is_emptied:expr) => {
        impl Encoding for $block {
            fn heap_bytes(&self) -> usize {
                self.heap_bytes()
            }

            #[inline]
            fn address(&self) -> *const u8 {
                self.address()
            }

            fn relocate(&mut self, _: u64, mover: &mut Mover) -> u64 {
                Movable::relocate(self, mover);
                0
            }

            fn free_effort(&self) -> usize {
                1
            }

            fn is_emptied(&self) -> bool {
                $is_emptied(self)
            }

            fn is_big(&self) -> bool {
                false
            }
        }
    };
}

encoding_of_block!(Listpack, Listpack::is_empty);
encoding_of_block!(Intset, Intset::is_empty);
// A hash that loses a field leaves its row for a listpack.
encoding_of_block!(Row, |_: &Row| false);

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
        Value::HashListpack(Listpack::new())
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
        Value::ZsetListpack(Listpack::new())
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
