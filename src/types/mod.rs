//! Data types: what a key can hold, each with its encodings. Pure: no keys, no expiry, no replies, no locks.
//!
//! Small collections are one block in Redis's own format ([`packed`], [`intset`]), big ones [`items`] found by name.

pub mod big;
pub mod bits;
mod blob;
pub mod cut;
pub mod fields;
pub mod geo;
pub mod hash;
pub mod hll;
pub mod intset;
pub mod items;
pub mod legacy;
pub mod list;
mod lookup;
mod nodes;
pub mod packed;
pub mod piece;
mod rank;
mod ranked;
pub mod set;
#[cfg(test)]
mod tests;
mod text;
pub mod value;
pub mod zset;

pub use text::{Text, as_int};
pub use value::{Collection, Kind, Value};

/// Up to where a collection is a listpack: the `*-max-listpack-entries` and `*-max-listpack-value` directives.
#[derive(Clone, Copy, Debug)]
pub struct PackedMax {
    /// Members (pairs count as one).
    pub entries: usize,
    /// Bytes of the longest string.
    pub bytes: usize,
}
