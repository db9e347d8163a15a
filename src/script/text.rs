//! The first line of a script or library: `#!lua name=lib flags=no-writes,allow-oom`.

use crate::quote::split_args;

/// What a script may do and needs; one bit each.
pub type Flags = u8;

pub const NO_WRITES: Flags = 1;
pub const ALLOW_OOM: Flags = 1 << 1;
pub const ALLOW_STALE: Flags = 1 << 2;
pub const NO_CLUSTER: Flags = 1 << 3;
pub const ALLOW_CROSS_SLOT_KEYS: Flags = 1 << 4;
/// EVAL of a text without such a line: its commands are judged one by one.
pub const UNDECLARED: Flags = 1 << 5;

/// Flags and their names, in the order that FUNCTION LIST shows them.
pub const NAMES: [(Flags, &str); 5] = [
    (NO_WRITES, "no-writes"),
    (ALLOW_OOM, "allow-oom"),
    (ALLOW_STALE, "allow-stale"),
    (NO_CLUSTER, "no-cluster"),
    (ALLOW_CROSS_SLOT_KEYS, "allow-cross-slot-keys"),
];

pub fn flag(name: &[u8]) -> Option<Flags> {
    NAMES.iter().find(|(_, known)| known.as_bytes() == name).map(|(flag, _)| *flag)
}

/// The flags of a script, and the code behind its first line's text (the line's end stays, so that lines keep their
/// numbers). Errors: the text for the client.
pub fn script(text: &[u8]) -> Result<(Flags, &[u8]), Vec<u8>> {
    if !text.starts_with(b"#!") {
        return Ok((UNDECLARED, text));
    }
    let Some(end) = line_end(text) else { return Err(b"ERR Invalid script shebang".to_vec()) };
    let (line, code) = text.split_at(end);
    let words = split_args(line).ok().filter(|words| !words.is_empty());
    let Some(words) = words else { return Err(b"ERR Invalid engine in script shebang".to_vec()) };
    if words[0] != b"#!lua" {
        return Err([b"ERR Unexpected engine in script shebang: ", &words[0][..]].concat());
    }
    let mut flags = 0;
    for word in &words[1..] {
        let Some(names) = word.strip_prefix(b"flags=") else {
            return Err([b"ERR Unknown lua shebang option: ", &word[..]].concat());
        };
        for name in names.split(|&b| b == b',').filter(|_| !names.is_empty()) {
            match flag(name) {
                Some(flag) => flags |= flag,
                None => return Err([b"ERR Unexpected flag in script shebang: ", name].concat()),
            }
        }
    }
    Ok((flags, code))
}

/// A library's name and code. Errors: the text for the client.
pub fn library(text: &[u8]) -> Result<(Vec<u8>, &[u8]), Vec<u8>> {
    if !text.starts_with(b"#!") {
        return Err(b"ERR Missing library metadata".to_vec());
    }
    let Some(end) = line_end(text) else { return Err(b"ERR Invalid library metadata".to_vec()) };
    let (line, code) = text.split_at(end);
    let words = split_args(line).ok().filter(|words| !words.is_empty());
    let Some(words) = words else { return Err(b"ERR Invalid library metadata".to_vec()) };
    let mut name = None;
    for word in &words[1..] {
        match word.get(..5) {
            Some(front) if front.eq_ignore_ascii_case(b"name=") => {
                if name.replace(word[5..].to_vec()).is_some() {
                    return Err(b"ERR Invalid metadata value, name argument was given multiple times".to_vec());
                }
            }
            _ => return Err([b"ERR Invalid metadata value given: ", &word[..]].concat()),
        }
    }
    let Some(name) = name else { return Err(b"ERR Library name was not given".to_vec()) };
    if !is_name(&name) {
        return Err([b"ERR ", NAME_RULE].concat());
    }
    let engine = &words[0][2..];
    if !engine.eq_ignore_ascii_case(b"lua") {
        return Err([b"ERR Engine '", engine, b"' not found"].concat());
    }
    Ok((name, code))
}

fn line_end(text: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', text)
}

/// Whether a library or function may be called so.
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

pub const NAME_RULE: &[u8] =
    b"Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_declares_its_flags() {
        assert_eq!(script(b"return 1"), Ok((UNDECLARED, &b"return 1"[..])));
        assert_eq!(script(b"#!lua\nreturn 1"), Ok((0, &b"\nreturn 1"[..])));
        assert_eq!(script(b"#!lua flags=no-writes,allow-oom\nx"), Ok((NO_WRITES | ALLOW_OOM, &b"\nx"[..])));
        assert_eq!(script(b"#!lua flags=bad\nx"), Err(b"ERR Unexpected flag in script shebang: bad".to_vec()));
        assert_eq!(script(b"#!not-lua\nx"), Err(b"ERR Unexpected engine in script shebang: #!not-lua".to_vec()));
        assert_eq!(script(b"#!lua"), Err(b"ERR Invalid script shebang".to_vec()));
    }

    #[test]
    fn a_library_has_a_name() {
        assert_eq!(library(b"#!LUA name=lib\ncode"), Ok((b"lib".to_vec(), &b"\ncode"[..])));
        assert_eq!(library(b"#!lua\ncode"), Err(b"ERR Library name was not given".to_vec()));
        assert_eq!(library(b"code"), Err(b"ERR Missing library metadata".to_vec()));
        assert_eq!(library(b"#!foo name=x\nc"), Err(b"ERR Engine 'foo' not found".to_vec()));
    }
}
