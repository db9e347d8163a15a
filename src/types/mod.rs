//! Data types: what a key can hold, each with its encodings. Pure: no keys, no expiry, no replies, no locks.

pub mod value;

pub use value::{Collection, Kind, Value};
