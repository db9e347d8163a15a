//! The library `cjson` 2.1.0: JSON, as in Redis. `cjson.new` makes another table of it, with settings of its own; those of
//! the global one belong to the state and outlive scripts, as they do there.
//!
//! A table is an array if all its keys are integers from 1 on, holes being null; an empty one is an object. `null` is a
//! light userdata. Decoding takes a little more than JSON: `nan`, `inf`, hexadecimal, zeros in front.

use super::decimal::{self, push_g};
use super::ffi::{self, lua_State};
use super::reply::c_string;
use super::vm::{Fault, Lua, Results, enter, fault};
use std::ffi::{CStr, c_int};

/// What the library's functions change. Each table of the library has its own.
#[derive(Clone, Copy)]
pub struct Settings {
    sparse_convert: bool,
    sparse_ratio: i32,
    sparse_safe: i32,
    encode_max_depth: i32,
    decode_max_depth: i32,
    /// 0: an error, 1: as they are, 2: null.
    encode_invalid: usize,
    decode_invalid: bool,
    keep_buffer: bool,
    precision: i32,
}

const DEFAULTS: Settings = Settings {
    sparse_convert: false,
    sparse_ratio: 2,
    sparse_safe: 10,
    encode_max_depth: 1000,
    decode_max_depth: 1000,
    encode_invalid: 0,
    decode_invalid: true,
    keep_buffer: true,
    precision: 14,
};

/// Pushes a table of the library, with settings of its own.
pub fn open(lua: Lua) {
    let functions: [(&CStr, ffi::Function); 10] = [
        (c"encode", encode),
        (c"decode", decode),
        (c"encode_sparse_array", encode_sparse_array),
        (c"encode_max_depth", encode_max_depth),
        (c"decode_max_depth", decode_max_depth),
        (c"encode_number_precision", encode_number_precision),
        (c"encode_keep_buffer", encode_keep_buffer),
        (c"encode_invalid_numbers", encode_invalid_numbers),
        (c"decode_invalid_numbers", decode_invalid_numbers),
        (c"new", new),
    ];
    lua.push_table(0, 13);
    lua.push_settings(DEFAULTS);
    for (name, function) in functions {
        lua.push_function_with_settings(function, -1);
        lua.set_field(-3, name);
    }
    lua.pop(1);
    lua.push_null();
    lua.set_field(-2, c"null");
    lua.set_text(c"_NAME", b"cjson");
    lua.set_text(c"_VERSION", b"2.1.0");
}

extern "C-unwind" fn new(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        open(lua);
        Ok(1)
    })
}

/// Exactly `n` arguments; those left out are nil.
fn arguments(lua: Lua, n: c_int) {
    if lua.top() > n {
        lua.argument_error(n + 1, c"found too many arguments");
    }
    lua.set_top(n);
}

/// A number is cut to 32 bits.
fn integer_option(lua: Lua, i: c_int, setting: fn(&mut Settings) -> &mut i32, least: i32, most: i32) {
    if lua.kind(i) != ffi::NIL {
        let value = lua.check_integer(i) as i32;
        if value < least || value > most {
            let fault = fault(lua, format_args!("expected integer between {least} and {most}"));
            lua.argument_error_of(1, &[fault.text(lua)]);
        }
        *setting(lua.settings()) = value;
    }
    lua.push_number(f64::from(*setting(lua.settings())));
}

/// A boolean, or one of the words, the first two of which stand for booleans. Pushes what is chosen.
fn choice(lua: Lua, i: c_int, words: &[&CStr], now: usize) -> usize {
    let chosen = match lua.kind(i) {
        ffi::NIL => now,
        ffi::BOOLEAN => usize::from(lua.boolean(i)),
        _ => {
            let word = c_string(lua.check_bytes(i));
            words.iter().position(|known| known.to_bytes() == word).unwrap_or_else(|| {
                lua.argument_error_of(i, &[b"invalid option '", word, b"'"]);
                now
            })
        }
    };
    if chosen <= 1 {
        lua.push_boolean(chosen == 1)
    } else {
        lua.push(words[chosen].to_bytes())
    }
    chosen
}

fn switch(lua: Lua, i: c_int, setting: fn(&mut Settings) -> &mut bool) {
    let now = usize::from(*setting(lua.settings()));
    *setting(lua.settings()) = choice(lua, i, &[c"off", c"on"], now) == 1;
}

extern "C-unwind" fn encode_sparse_array(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        arguments(lua, 3);
        switch(lua, 1, |s| &mut s.sparse_convert);
        integer_option(lua, 2, |s| &mut s.sparse_ratio, 0, i32::MAX);
        integer_option(lua, 3, |s| &mut s.sparse_safe, 0, i32::MAX);
        Ok(3)
    })
}

extern "C-unwind" fn encode_max_depth(l: *mut lua_State) -> c_int {
    enter(l, |lua| one_integer(lua, |s| &mut s.encode_max_depth, i32::MAX))
}

extern "C-unwind" fn decode_max_depth(l: *mut lua_State) -> c_int {
    enter(l, |lua| one_integer(lua, |s| &mut s.decode_max_depth, i32::MAX))
}

extern "C-unwind" fn encode_number_precision(l: *mut lua_State) -> c_int {
    enter(l, |lua| one_integer(lua, |s| &mut s.precision, 14))
}

fn one_integer(lua: Lua, setting: fn(&mut Settings) -> &mut i32, most: i32) -> Results {
    arguments(lua, 1);
    integer_option(lua, 1, setting, 1, most);
    Ok(1)
}

extern "C-unwind" fn encode_keep_buffer(l: *mut lua_State) -> c_int {
    enter(l, |lua| one_switch(lua, |s| &mut s.keep_buffer))
}

extern "C-unwind" fn decode_invalid_numbers(l: *mut lua_State) -> c_int {
    enter(l, |lua| one_switch(lua, |s| &mut s.decode_invalid))
}

fn one_switch(lua: Lua, setting: fn(&mut Settings) -> &mut bool) -> Results {
    arguments(lua, 1);
    switch(lua, 1, setting);
    Ok(1)
}

extern "C-unwind" fn encode_invalid_numbers(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        arguments(lua, 1);
        let now = lua.settings().encode_invalid;
        lua.settings().encode_invalid = choice(lua, 1, &[c"off", c"on", c"null"], now);
        Ok(1)
    })
}

extern "C-unwind" fn encode(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        if lua.top() != 1 {
            lua.argument_error(1, c"expected 1 argument");
        }
        lua.shared().buffer.clear();
        write(lua, 0)?;
        lua.push(&lua.shared().buffer);
        let buffer = &mut lua.shared().buffer;
        if buffer.capacity() > KEPT_BYTES_MAX {
            *buffer = Vec::new();
        }
        Ok(1)
    })
}

#[cold]
fn cannot(lua: Lua, i: c_int, why: &str) -> Fault {
    fault(lua, format_args!("Cannot serialise {}: {why}", lua.kind_name(i)))
}

/// Writes the value on top.
fn write(lua: Lua, depth: i32) -> Result<(), Fault> {
    match lua.kind(-1) {
        ffi::STRING => write_text(&mut lua.shared().buffer, lua.bytes(-1).unwrap_or_default()),
        ffi::NUMBER => write_number(lua, -1)?,
        ffi::BOOLEAN => {
            let word: &[u8] = if lua.boolean(-1) { b"true" } else { b"false" };
            lua.shared().buffer.extend_from_slice(word);
        }
        ffi::TABLE => {
            let depth = depth + 1;
            if depth > lua.settings().encode_max_depth || !lua.has_room(3) {
                return Err(fault(lua, format_args!("Cannot serialise, excessive nesting ({depth})")));
            }
            match array_len(lua)? {
                0 => write_object(lua, depth)?,
                len => write_array(lua, len, depth)?,
            }
        }
        ffi::NIL => lua.shared().buffer.extend_from_slice(b"null"),
        _ if lua.is_null(-1) => lua.shared().buffer.extend_from_slice(b"null"),
        _ => return Err(cannot(lua, -1, "type not supported")),
    }
    Ok(())
}

/// The greatest key of the table on top if it is an array, else 0. In 32 bits: a key that has more counts as the least
/// number, so that the one after it is the greatest again.
fn array_len(lua: Lua) -> Result<i32, Fault> {
    let (mut greatest, mut items) = (0i32, 0i32);
    lua.push_nil();
    while lua.next(-2) {
        let n = if lua.kind(-2) == ffi::NUMBER { lua.number(-2) } else { 0.0 };
        if n < 1.0 || n.floor() != n || n.is_nan() {
            lua.pop(2);
            return Ok(0);
        }
        if n > f64::from(greatest) {
            greatest = decimal::to_i32(n);
        }
        items += 1;
        lua.pop(1);
    }
    let settings = lua.settings();
    let sparse = settings.sparse_ratio > 0
        && greatest > items.wrapping_mul(settings.sparse_ratio)
        && greatest > settings.sparse_safe;
    match sparse {
        false => Ok(greatest.max(0)),
        true if settings.sparse_convert => Ok(0),
        true => Err(cannot(lua, -1, "excessively sparse array")),
    }
}

fn write_array(lua: Lua, len: i32, depth: i32) -> Result<(), Fault> {
    lua.shared().buffer.push(b'[');
    for i in 1..=len {
        if i > 1 {
            lua.shared().buffer.push(b',');
        }
        lua.raw_get_at(-1, i);
        write(lua, depth)?;
        lua.pop(1);
        lua.tick(1);
    }
    lua.shared().buffer.push(b']');
    Ok(())
}

fn write_object(lua: Lua, depth: i32) -> Result<(), Fault> {
    lua.shared().buffer.push(b'{');
    let mut first = true;
    lua.push_nil();
    while lua.next(-2) {
        if !std::mem::take(&mut first) {
            lua.shared().buffer.push(b',');
        }
        match lua.kind(-2) {
            ffi::NUMBER => {
                lua.shared().buffer.push(b'"');
                write_number(lua, -2)?;
                lua.shared().buffer.push(b'"');
            }
            ffi::STRING => write_text(&mut lua.shared().buffer, lua.bytes(-2).unwrap_or_default()),
            _ => return Err(cannot(lua, -2, "table key must be a number or string")),
        }
        lua.shared().buffer.push(b':');
        write(lua, depth)?;
        lua.pop(1);
        lua.tick(1);
    }
    lua.shared().buffer.push(b'}');
    Ok(())
}

fn write_number(lua: Lua, i: c_int) -> Result<(), Fault> {
    let n = lua.number(i);
    let settings = lua.settings();
    let buffer = &mut lua.shared().buffer;
    let word: &[u8] = match settings.encode_invalid {
        0 if !n.is_finite() => return Err(cannot(lua, i, "must not be NaN or Inf")),
        1 if n.is_nan() => b"nan",
        2 if !n.is_finite() => b"null",
        _ => {
            push_g(buffer, n, settings.precision as u8);
            return Ok(());
        }
    };
    buffer.extend_from_slice(word);
    Ok(())
}

fn write_text(buffer: &mut Vec<u8>, text: &[u8]) {
    buffer.reserve(text.len() + 2);
    buffer.push(b'"');
    for &byte in text {
        let short = match byte {
            b'"' | b'\\' | b'/' => byte,
            8 => b'b',
            9 => b't',
            10 => b'n',
            12 => b'f',
            13 => b'r',
            0..32 | 127 => {
                let digit = |n: u8| b"0123456789abcdef"[usize::from(n)];
                buffer.extend([b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15)]);
                continue;
            }
            _ => {
                buffer.push(byte);
                continue;
            }
        };
        buffer.extend([b'\\', short]);
    }
    buffer.push(b'"');
}

extern "C-unwind" fn decode(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        if lua.top() != 1 {
            lua.argument_error(1, c"expected 1 argument");
        }
        let text = lua.check_bytes(1);
        if text.len() >= 2 && text[..2].contains(&0) {
            return Err(fault(lua, format_args!("JSON parser does not support UTF-16 or UTF-32")));
        }
        let mut json = Json { lua, text, at: 0, depth: 0 };
        let token = json.token();
        json.value(token)?;
        let token = json.token();
        if !matches!(token.what, What::End) {
            return Err(json.unexpected("the end", &token));
        }
        Ok(1)
    })
}

/// A text while it is read. Behind its end stands a zero, at which reading stops wherever one stands.
struct Json<'a> {
    lua: Lua,
    text: &'a [u8],
    at: usize,
    depth: i32,
}

struct Token {
    what: What,
    at: usize,
}

/// A string's bytes are in the state's buffer.
enum What {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Text,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl What {
    fn name(&self) -> &'static str {
        match self {
            Self::ObjectBegin => "T_OBJ_BEGIN",
            Self::ObjectEnd => "T_OBJ_END",
            Self::ArrayBegin => "T_ARR_BEGIN",
            Self::ArrayEnd => "T_ARR_END",
            Self::Text => "T_STRING",
            Self::Number(_) => "T_NUMBER",
            Self::Boolean(_) => "T_BOOLEAN",
            Self::Null => "T_NULL",
            Self::Colon => "T_COLON",
            Self::Comma => "T_COMMA",
            Self::End => "T_END",
            Self::Error(text) => text,
        }
    }
}

impl Json<'_> {
    #[cold]
    fn unexpected(&self, wanted: &str, token: &Token) -> Fault {
        let (found, at) = (token.what.name(), token.at + 1);
        fault(self.lua, format_args!("Expected {wanted} but found {found} at character {at}"))
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn token(&mut self) -> Token {
        while matches!(self.peek(0), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let at = self.at;
        let one = |what| (what, 1);
        let rest = self.text.get(at..).unwrap_or_default();
        let (what, len) = match self.peek(0) {
            b'{' => one(What::ObjectBegin),
            b'}' => one(What::ObjectEnd),
            b'[' => one(What::ArrayBegin),
            b']' => one(What::ArrayEnd),
            b':' => one(What::Colon),
            b',' => one(What::Comma),
            0 => (What::End, 0),
            b'"' => return self.string(at),
            b'-' | b'0'..=b'9' => return self.number(at, true),
            _ if rest.starts_with(b"true") => (What::Boolean(true), 4),
            _ if rest.starts_with(b"false") => (What::Boolean(false), 5),
            _ if rest.starts_with(b"null") => (What::Null, 4),
            _ => return self.number(at, false),
        };
        self.at += len;
        Token { what, at }
    }

    /// `plain`: it begins like any number; else it is one only if it is one that JSON does not know.
    fn number(&mut self, at: usize, plain: bool) -> Token {
        let rest = &self.text[at..];
        let allowed = self.lua.settings().decode_invalid;
        let invalid = is_invalid_number(rest);
        let is_number = plain || allowed && invalid;
        if !is_number {
            return Token { what: What::Error("invalid token"), at };
        }
        if plain && invalid && !allowed {
            return Token { what: What::Error("invalid number"), at };
        }
        match decimal::parse_prefix(rest) {
            Some((number, len)) => {
                self.at += len;
                Token { what: What::Number(number), at }
            }
            None => Token { what: What::Error("invalid number"), at },
        }
    }

    fn string(&mut self, begin: usize) -> Token {
        let buffer = &mut self.lua.shared().buffer;
        buffer.clear();
        self.at += 1;
        loop {
            let plain = self.text.get(self.at..).unwrap_or_default();
            let run = plain.iter().take_while(|b| !matches!(b, b'"' | b'\\' | 0)).count();
            buffer.extend_from_slice(&plain[..run]);
            self.at += run;
            match self.peek(0) {
                b'"' => break,
                b'\\' => {
                    let (byte, error) = match self.peek(1) {
                        byte @ (b'"' | b'\\' | b'/') => (byte, ""),
                        b'b' => (8, ""),
                        b't' => (9, ""),
                        b'n' => (10, ""),
                        b'f' => (12, ""),
                        b'r' => (13, ""),
                        b'u' => match self.unicode(buffer) {
                            Some(len) => {
                                self.at += len;
                                continue;
                            }
                            None => (0, "invalid unicode escape code"),
                        },
                        _ => (0, "invalid escape code"),
                    };
                    if !error.is_empty() {
                        return Token { what: What::Error(error), at: self.at };
                    }
                    buffer.push(byte);
                    self.at += 2;
                }
                _ => return Token { what: What::Error("unexpected end of string"), at: self.at },
            }
        }
        self.at += 1;
        Token { what: What::Text, at: begin }
    }

    /// Appends the character of an escape, or of a pair of them, and says how long they are.
    fn unicode(&self, buffer: &mut Vec<u8>) -> Option<usize> {
        let hex = |ahead: usize| {
            let digits = self.text.get(self.at + ahead..self.at + ahead + 4)?;
            digits.iter().try_fold(0, |all, &d| Some(all << 4 | char::from(d).to_digit(16)?))
        };
        let first = hex(2)?;
        let (code, len) = if first & 0xF800 == 0xD800 {
            if first & 0x400 != 0 || self.peek(6) != b'\\' || self.peek(7) != b'u' {
                return None;
            }
            let second = hex(8)?;
            if second & 0xFC00 != 0xDC00 {
                return None;
            }
            (((first & 0x3FF) << 10 | second & 0x3FF) + 0x10000, 12)
        } else {
            (first, 6)
        };
        let mut utf8 = [0; 4];
        buffer.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut utf8).as_bytes());
        Some(len)
    }

    /// Pushes the value that the token begins.
    fn value(&mut self, token: Token) -> Result<(), Fault> {
        let lua = self.lua;
        match token.what {
            What::Text => lua.push(&lua.shared().buffer),
            What::Number(n) => lua.push_number(n),
            What::Boolean(b) => lua.push_boolean(b),
            What::Null => lua.push_null(),
            What::ObjectBegin => self.object()?,
            What::ArrayBegin => self.array()?,
            _ => return Err(self.unexpected("value", &token)),
        }
        Ok(())
    }

    fn descend(&mut self, places: c_int) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth <= self.lua.settings().decode_max_depth && self.lua.has_room(places) {
            return Ok(());
        }
        let (depth, at) = (self.depth, self.at);
        Err(fault(self.lua, format_args!("Found too many nested data structures ({depth}) at character {at}")))
    }

    fn object(&mut self) -> Result<(), Fault> {
        self.descend(3)?;
        let lua = self.lua;
        lua.push_table(0, 0);
        let mut token = self.token();
        if !matches!(token.what, What::ObjectEnd) {
            loop {
                if !matches!(token.what, What::Text) {
                    return Err(self.unexpected("object key string", &token));
                }
                lua.push(&lua.shared().buffer);
                token = self.token();
                if !matches!(token.what, What::Colon) {
                    return Err(self.unexpected("colon", &token));
                }
                token = self.token();
                self.value(token)?;
                lua.raw_set(-3);
                lua.tick(1);
                token = self.token();
                match token.what {
                    What::ObjectEnd => break,
                    What::Comma => token = self.token(),
                    _ => return Err(self.unexpected("comma or object end", &token)),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn array(&mut self) -> Result<(), Fault> {
        self.descend(2)?;
        let lua = self.lua;
        lua.push_table(0, 0);
        let mut token = self.token();
        if !matches!(token.what, What::ArrayEnd) {
            for i in 1.. {
                self.value(token)?;
                lua.raw_set_at(-2, i);
                lua.tick(1);
                token = self.token();
                match token.what {
                    What::ArrayEnd => break,
                    What::Comma => token = self.token(),
                    _ => return Err(self.unexpected("comma or array end", &token)),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }
}

/// A number as `strtod` knows it and JSON does not: a sign or zeros in front, hexadecimal, infinite or none.
fn is_invalid_number(text: &[u8]) -> bool {
    let byte = |i: usize| text.get(i).copied().unwrap_or(0);
    if byte(0) == b'+' {
        return true;
    }
    let digits = &text[usize::from(byte(0) == b'-').min(text.len())..];
    let byte = |i: usize| digits.get(i).copied().unwrap_or(0);
    match byte(0) {
        b'0' => byte(1) | 0x20 == b'x' || byte(1).is_ascii_digit(),
        first if first <= b'9' => false,
        _ => digits.get(..3).is_some_and(|w| w.eq_ignore_ascii_case(b"inf") || w.eq_ignore_ascii_case(b"nan")),
    }
}

const KEPT_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_as_cjson_does() {
        let mut buffer = Vec::new();
        write_text(&mut buffer, b"a\"/\x01\x7f\xc8\n");
        assert_eq!(buffer, b"\"a\\\"\\/\\u0001\\u007f\xc8\\n\"");
    }

    #[test]
    fn numbers_that_json_does_not_know_are_told_apart() {
        assert!([&b"01"[..], b"0x1", b"-inf", b"NaN", b"+1"].into_iter().all(is_invalid_number));
        assert!(![&b"0"[..], b"-1", b"1e5", b"0.5", b"true"].into_iter().any(is_invalid_number));
    }
}
