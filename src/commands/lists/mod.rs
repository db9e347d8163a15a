//! Lists: pushing and popping at both ends, looking inside, moving between lists, and waiting for an element.
//!
//! What a blocking command did propagates as the plain command that does the same.

mod blocking;
mod inside;
mod moving;
mod pop;
mod push;
mod several;

use crate::command::{Command, Error, error::SYNTAX};
use crate::types::list::End;

pub const COMMANDS: &[Command] = &[
    blocking::BLMOVE,
    several::BLMOVEM,
    blocking::BLMPOP,
    blocking::BLPOP,
    blocking::BRPOP,
    blocking::BRPOPLPUSH,
    inside::LINDEX,
    inside::LINSERT,
    inside::LLEN,
    moving::LMOVE,
    several::LMOVEM,
    pop::LMPOP,
    pop::LPOP,
    inside::LPOS,
    push::LPUSH,
    push::LPUSHX,
    inside::LRANGE,
    inside::LREM,
    inside::LSET,
    inside::LTRIM,
    pop::RPOP,
    moving::RPOPLPUSH,
    push::RPUSH,
    push::RPUSHX,
];

/// `LEFT` or `RIGHT`.
fn end(word: &[u8]) -> Result<End, Error> {
    match word {
        b"LEFT" => Ok(End::Left),
        b"RIGHT" => Ok(End::Right),
        _ => Err(SYNTAX),
    }
}

fn end_name(end: End) -> &'static [u8] {
    match end {
        End::Left => b"LEFT",
        End::Right => b"RIGHT",
    }
}
