//! RDB files: Redis's snapshot format.

pub mod read;
