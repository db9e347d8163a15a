//! Sets: members without order.

use super::items::Items;
use super::piece::Piece;
use super::value::Value;
use ref_cast::RefCast;

/// A value that is a set.
#[derive(RefCast)]
#[repr(transparent)]
pub struct Set(#[allow(dead_code)] Value);

/// A big set.
#[derive(Clone, Default)]
pub struct Members {
    items: Items<Piece<(), false>>,
}

impl Members {
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
