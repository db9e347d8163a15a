//! What a command answers when it refuses: the client's mistake, in Redis's exact words.
//!
//! Texts begin with their code (`ERR`, `WRONGTYPE` …). Errors of other causes (a disk, our own bugs) are not here.

use crate::keyspace::WrongType;
use std::borrow::Cow;

/// An error reply: its text without the leading `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Cow<'static, [u8]>);

impl Error {
    pub const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }

    pub fn owned(text: impl Into<Vec<u8>>) -> Self {
        Self(Cow::Owned(text.into()))
    }

    pub fn text(&self) -> &[u8] {
        &self.0
    }

    /// The code in front: what `INFO errorstats` counts by.
    pub fn code(&self) -> &[u8] {
        self.0.split(|&b| b == b' ').next().unwrap_or_default()
    }
}

impl From<WrongType> for Error {
    fn from(_: WrongType) -> Self {
        WRONG_TYPE
    }
}

/// `ERR wrong number of arguments for 'name' command`; subcommands are written `config|get`.
pub fn wrong_arity(full_name: &str) -> Error {
    Error::owned(format!("ERR wrong number of arguments for '{full_name}' command"))
}

/// What a container answers when a subcommand's arguments make no sense; `sub` as the client wrote it.
pub fn subcommand_syntax(container: &str, sub: &[u8]) -> Error {
    let shown = &sub[..sub.len().min(SUBCOMMAND_SHOWN_MAX)];
    let what: &[u8] = b"ERR unknown subcommand or wrong number of arguments for '";
    Error::owned([what, shown, b"'. Try ", container.as_bytes(), b" HELP."].concat())
}

/// Redis cuts what it repeats of a request in an error.
const SUBCOMMAND_SHOWN_MAX: usize = 128;

pub const WRONG_TYPE: Error = Error::new("WRONGTYPE Operation against a key holding the wrong kind of value");
pub const SYNTAX: Error = Error::new("ERR syntax error");
pub const NOT_INT: Error = Error::new("ERR value is not an integer or out of range");
pub const NOT_FLOAT: Error = Error::new("ERR value is not a valid float");
pub const OUT_OF_RANGE: Error = Error::new("ERR value is out of range");
/// Any integer would do but the one without a counterpart.
pub const NOT_NEGATABLE: Error =
    Error::new("ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807");
pub const NOT_POSITIVE: Error = Error::new("ERR value is out of range, must be positive");
pub const OVERFLOW: Error = Error::new("ERR increment or decrement would overflow");
pub const NO_SUCH_KEY: Error = Error::new("ERR no such key");
pub const INDEX_OUT_OF_RANGE: Error = Error::new("ERR index out of range");
pub const DB_INDEX: Error = Error::new("ERR DB index is out of range");
pub const STRING_TOO_LONG: Error = Error::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)");

pub const CANNOT_EXIT: Error = Error::new("ERR Errors trying to SHUTDOWN. Check logs.");
pub const PRIMARY_IS_DOWN: Error =
    Error::new("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.");
