//! Sorted sets: members ordered by (score, member), found by either.

use super::items::Items;
use super::piece::Piece;
use super::value::Value;
use ref_cast::RefCast;

/// A value that is a sorted set.
#[derive(RefCast)]
#[repr(transparent)]
pub struct Zset(#[allow(dead_code)] Value);

/// A big sorted set.
#[derive(Clone, Default)]
pub struct Ranked {
    items: Items<Piece<f64, false>>,
}

impl Ranked {
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
