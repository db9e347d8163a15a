//! lzf.
