//! The commands that make an entry: a base of the append-only log without the RDB preamble.

use crate::clock::Millis;
use crate::keyspace::entry::Body;
use crate::resp::encode_request;
use crate::types::{Text, Value};

/// Appends the commands that make a key as it is.
pub fn encode_entry(out: &mut Vec<u8>, key: &[u8], expiry: Option<Millis>, body: &Body<'_>) {
    let mut digits = itoa::Buffer::new();
    match body {
        Body::Bytes(bytes) => request(out, &[b"SET", key, bytes]),
        Body::Int(n) => request(out, &[b"SET", key, digits.format(*n).as_bytes()]),
        Body::Value(Value::Str(bytes)) => request(out, &[b"SET", key, bytes]),
        Body::Value(Value::List(list)) => several(out, &[b"RPUSH", key], list.iter_from(0)),
        Body::Value(_) => unreachable!("no command makes this type yet"),
    }
    if let Some(at) = expiry {
        request(out, &[b"PEXPIREAT", key, itoa::Buffer::new().format(at).as_bytes()]);
    }
}

fn request(out: &mut Vec<u8>, args: &[&[u8]]) {
    encode_request(out, args.iter().copied());
}

/// A command for every so many members.
fn several<'a>(out: &mut Vec<u8>, head: &[&[u8]], members: impl Iterator<Item = Text<'a>>) {
    let mut members = members.peekable();
    while members.peek().is_some() {
        let some: Vec<Vec<u8>> = members.by_ref().take(MEMBERS_PER_COMMAND).map(Text::to_vec).collect();
        let args: Vec<&[u8]> = head.iter().copied().chain(some.iter().map(|m| &m[..])).collect();
        request(out, &args);
    }
}

/// Redis's AOF_REWRITE_ITEMS_PER_CMD.
const MEMBERS_PER_COMMAND: usize = 64;
