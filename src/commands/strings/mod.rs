//! Strings: one value under a key, or a part of it, or several keys at once; numbers; comparing.
//!
//! Relative times and results of arithmetic in floats are propagated as what happened (`PXAT`, the new value), so that
//! the log says the same whenever it is read. Not here: bits, HyperLogLog and other uses of strings.

mod bounded;
mod bytes;
mod lcs;
mod many;
mod number;
pub(super) mod options;
mod whole;

use crate::command::Command;

pub const COMMANDS: &[Command] = &[
    bytes::APPEND,
    number::DECR,
    number::DECRBY,
    whole::DELEX,
    whole::DELIFEQ,
    whole::DIGEST,
    whole::GET,
    whole::GETDEL,
    whole::GETEX,
    bytes::GETRANGE,
    whole::GETSET,
    number::INCR,
    number::INCRBY,
    number::INCRBYFLOAT,
    bounded::INCREX,
    lcs::LCS,
    many::MGET,
    many::MSET,
    many::MSETEX,
    many::MSETNX,
    whole::PSETEX,
    whole::SET,
    whole::SETEX,
    whole::SETNX,
    bytes::SETRANGE,
    bytes::STRLEN,
    bytes::SUBSTR,
];
