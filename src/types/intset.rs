//! Intsets: sets of integers in one block, in Redis's own bytes.

use super::blob::Blob;

/// A sorted set of integers.
#[derive(Clone)]
pub struct Intset(Blob);

impl Default for Intset {
    fn default() -> Self {
        Self::new()
    }
}

impl Intset {
    pub fn new() -> Self {
        Self(Blob::of(&[2, 0, 0, 0, 0, 0, 0, 0]))
    }

    pub fn len(&self) -> usize {
        u32::from_le_bytes(self.0.bytes()[4..8].try_into().expect("four bytes")) as usize
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }
}
