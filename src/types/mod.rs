//! Data types: what a key can hold, each with its encodings. Pure: no keys, no expiry, no replies, no locks.
//!
//! Small collections are one block in Redis's own format ([`listpack`], [`intset`]), big ones [`items`] found by name; hashes of
//! one layout share their field names ([`template`]).

pub mod big;
pub mod bits;
mod blob;
pub mod cut;
mod encoding;
pub mod fields;
pub mod geo;
pub mod hash;
pub mod hll;
pub mod intset;
pub mod items;
pub mod legacy;
pub mod list;
pub mod listpack;
mod lookup;
mod nodes;
pub mod piece;
mod rank;
mod ranked;
mod row;
pub mod set;
pub mod stream;
pub mod template;
#[cfg(test)]
mod tests;
mod text;
pub mod value;
pub mod zset;

/// Bytes of the longest member, field, value of a field, or element, and of the longest key. What the 32 bits in front of
/// them can tell, less what a listpack of one element has around it. A request is shorter; a file need not be.
pub const MEMBER_BYTES_MAX: usize = blob::BYTES_MAX - 64;

pub use text::{Text, as_int};
pub use value::{Collection, Kind, Value, View};

/// Up to where a collection is a listpack: the `*-max-listpack-entries` and `*-max-listpack-value` directives.
#[derive(Clone, Copy, Debug)]
pub struct ListpackMax {
    /// Members (pairs count as one).
    pub entries: usize,
    /// Bytes of the longest string.
    pub bytes: usize,
}
