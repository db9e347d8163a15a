//! Hashes: fields with values, each field possibly with an expiry of its own.

use super::items::Items;
use super::piece::Piece;
use super::value::Value;
use crate::clock::Millis;
use ref_cast::RefCast;

/// A value that is a hash.
#[derive(RefCast)]
#[repr(transparent)]
pub struct Hash(#[allow(dead_code)] Value);

/// A big hash.
#[derive(Clone, Default)]
pub struct Fields {
    items: Items<Piece<(), true>>,
}

impl Fields {
    pub fn encoding(&self) -> &'static str {
        "hashtable"
    }

    /// When the first field expires.
    pub fn next_due(&self) -> Option<Millis> {
        None
    }

    /// Takes out the fields that are due at `now`; their names.
    pub fn remove_due(&mut self, _now: Millis) -> Vec<Box<[u8]>> {
        Vec::new()
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub fn heap_bytes(&self) -> usize {
        self.items.heap_bytes()
    }
}
