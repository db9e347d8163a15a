//! types.
