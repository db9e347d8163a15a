//! Replies of commands as Lua values, and a script's value as a reply.
//!
//! RESP2: an integer is a number, a bulk string a string, an absent one `false`, a status `{ok=}`, an error `{err=}`, an
//! array a table. RESP3, after `redis.setresp(3)`: maps and sets are `{map=}` and `{set=}`, a null is nil, doubles are
//! `{double=}`, big numbers `{big_number=}`, verbatim strings `{verbatim_string={format=,string=}}`.
//! Back: numbers are cut to integers, `true` is 1, `false` and nil are null, a table is what one of those fields says, or
//! an array up to its first hole. Reading a table is raw: no metamethod runs.

use super::decimal;
use super::ffi;
use super::state::End;
use super::vm::Lua;
use crate::num;
use crate::resp::Out;
use std::ffi::c_int;

/// Pushes the value of the reply in the state's buffer.
pub fn push(lua: Lua) {
    let reply = &lua.shared().reply;
    let mut parser = Parser { lua, rest: reply };
    parser.value();
}

/// Reads a reply of our own making: its form is not in doubt.
struct Parser<'a> {
    lua: Lua,
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    fn line(&mut self) -> &'a [u8] {
        let end = memchr::memchr(b'\r', self.rest).unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        self.rest = self.rest.get(end + 2..).unwrap_or_default();
        line
    }

    fn bulk(&mut self, len: usize) -> &'a [u8] {
        let bytes = self.rest.get(..len).unwrap_or_default();
        self.rest = self.rest.get(len + 2..).unwrap_or_default();
        bytes
    }

    /// A length, or -1 for none.
    fn count(&mut self) -> Option<usize> {
        num::parse_i64(self.line()).and_then(|n| usize::try_from(n).ok())
    }

    fn value(&mut self) {
        let lua = self.lua;
        lua.need_room(6, c"a reply is nested too deeply");
        let Some((&mark, rest)) = self.rest.split_first() else { return lua.push_nil() };
        self.rest = rest;
        match mark {
            b':' => lua.push_number(num::parse_i64(self.line()).unwrap_or(0) as f64),
            b'$' => match self.count() {
                Some(len) => lua.push(self.bulk(len)),
                None => lua.push_boolean(false),
            },
            b'*' | b'>' => match self.count() {
                Some(len) => self.array(len),
                None => lua.push_boolean(false),
            },
            b'+' => self.text_field(c"ok"),
            b'-' => push_error_with_origin(lua, self.line()),
            b'%' => self.map(),
            b'~' => self.set(),
            b'_' => {
                self.line();
                lua.push_nil();
            }
            b'#' => lua.push_boolean(self.line() == b"t"),
            b',' => {
                let number = num::parse_f64(self.line()).unwrap_or(f64::NAN);
                lua.push_table(0, 1);
                lua.push_number(number);
                lua.set_field(-2, c"double");
            }
            b'(' => self.text_field(c"big_number"),
            b'=' => self.verbatim(),
            b'|' => {
                // Attributes are not for scripts.
                for _ in 0..2 * self.count().unwrap_or(0) {
                    self.value();
                    lua.pop(1);
                }
                self.value();
            }
            _ => lua.push_nil(),
        }
    }

    fn text_field(&mut self, name: &std::ffi::CStr) {
        let text = self.line();
        self.lua.push_table(0, 1);
        self.lua.push(text);
        self.lua.set_field(-2, name);
    }

    fn array(&mut self, len: usize) {
        self.lua.push_table(len, 0);
        for i in 1..=len {
            self.value();
            self.lua.raw_set_at(-2, i as c_int);
        }
    }

    fn map(&mut self) {
        let pairs = self.count().unwrap_or(0);
        self.lua.push_table(0, 1);
        self.lua.push_table(0, pairs);
        for _ in 0..pairs {
            self.value();
            self.value();
            self.lua.raw_set(-3);
        }
        self.lua.set_field(-2, c"map");
    }

    fn set(&mut self) {
        let len = self.count().unwrap_or(0);
        self.lua.push_table(0, 1);
        self.lua.push_table(0, len);
        for _ in 0..len {
            self.value();
            self.lua.push_boolean(true);
            self.lua.raw_set(-3);
        }
        self.lua.set_field(-2, c"set");
    }

    fn verbatim(&mut self) {
        let len = self.count().unwrap_or(0);
        let text = self.bulk(len);
        let lua = self.lua;
        lua.push_table(0, 1);
        lua.push_table(0, 2);
        lua.push(text.get(4..).unwrap_or_default());
        lua.set_field(-2, c"string");
        lua.push(text.get(..3).unwrap_or_default());
        lua.set_field(-2, c"format");
        lua.set_field(-2, c"verbatim_string");
    }
}

/// Pushes an error from its text without a code in front: `{err='ERR …'}`. `counted`: the statistics know it.
#[cold]
pub fn push_error(lua: Lua, text: &[u8], counted: bool) {
    lua.need_room(4, c"no room for an error");
    lua.push_table(0, 4);
    lua.push(b"ERR ");
    lua.push(text);
    lua.concat(2);
    lua.set_field(-2, c"err");
    if counted {
        lua.push_boolean(true);
        lua.set_field(-2, c"ignore_error_stats_update");
    }
}

/// Pushes an error from its text with its code: `CODE message`; of a single word that is the message.
#[cold]
pub fn push_error_line(lua: Lua, line: &[u8]) {
    if !line.contains(&b' ') {
        return push_error(lua, trimmed(line), false);
    }
    lua.push_table(0, 4);
    lua.push(trimmed(line));
    lua.set_field(-2, c"err");
}

/// A command's own error: the statistics have it already.
#[cold]
fn push_error_with_origin(lua: Lua, line: &[u8]) {
    push_error_line(lua, line);
    lua.push_boolean(true);
    lua.set_field(-2, c"ignore_error_stats_update");
}

fn trimmed(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r' | b'\n'] = text {
        text = rest;
    }
    text
}

/// Up to a zero, where C's strings end.
pub fn c_string(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

/// Writes the error on top, which ended a script, with its place. Whether the statistics have it already.
pub fn write_error(lua: Lua) -> bool {
    let shared = lua.shared();
    let out = &mut shared.out;
    out.clear();
    if lua.kind(-1) != ffi::TABLE {
        let text = if lua.is_string(-1) { c_string(lua.bytes(-1).unwrap_or_default()) } else { b"execution failure" };
        out.extend_from_slice(b"ERR Error running script ");
        out.extend_from_slice(&shared.job.name);
        out.extend_from_slice(b", ");
        out.extend_from_slice(&text[..text.len().min(ERROR_SHOWN_MAX)]);
        return false;
    }
    lua.need_room(4, c"no room for an error");
    lua.raw_get_name(-1, b"err");
    let text = if lua.is_string(-1) { c_string(lua.bytes(-1).unwrap_or_default()) } else { b"ERR unknown error" };
    lua.shared().out.extend_from_slice(text);
    lua.pop(1);
    lua.raw_get_name(-1, b"source");
    lua.raw_get_name(-2, b"line");
    if lua.is_string(-1) && lua.is_string(-2) {
        let (line, source) = (lua.bytes(-1).unwrap_or_default(), lua.bytes(-2).unwrap_or_default());
        let shared = lua.shared();
        let out = &mut shared.out;
        out.extend_from_slice(b" script: ");
        out.extend_from_slice(&shared.job.name);
        for piece in [b", on ", source, b":", line, b"."] {
            out.extend_from_slice(piece);
        }
    }
    lua.pop(2);
    is_counted(lua)
}

fn is_counted(lua: Lua) -> bool {
    lua.raw_get_name(-1, b"ignore_error_stats_update");
    let counted = lua.kind(-1) == ffi::BOOLEAN && lua.boolean(-1);
    lua.pop(1);
    counted
}

/// Writes the value on top, a script's result.
pub fn write(lua: Lua) -> End {
    lua.shared().out.clear();
    if lua.kind(-1) == ffi::TABLE {
        lua.need_room(4, c"no room for a reply");
        lua.raw_get_name(-1, b"err");
        if lua.kind(-1) == ffi::STRING {
            lua.shared().out.extend_from_slice(c_string(lua.bytes(-1).unwrap_or_default()));
            lua.pop(1);
            return End::Error { counted: is_counted(lua) };
        }
        lua.pop(1);
    }
    write_value(lua);
    End::Reply
}

fn out<'a>(lua: Lua) -> Out<'a> {
    let shared = lua.shared();
    let proto = shared.job.proto;
    Out::new(&mut shared.out, proto)
}

/// Writes the value on top and takes it away.
fn write_value(lua: Lua) {
    if !lua.has_room(4) {
        out(lua).error(b"ERR reached lua stack limit");
        return lua.pop(1);
    }
    match lua.kind(-1) {
        ffi::STRING => out(lua).bulk(lua.bytes(-1).unwrap_or_default()),
        ffi::BOOLEAN if lua.shared().resp3 => out(lua).bool(lua.boolean(-1)),
        ffi::BOOLEAN if lua.boolean(-1) => out(lua).int(1),
        ffi::NUMBER => out(lua).int(decimal::to_i64(lua.number(-1))),
        ffi::TABLE => write_table(lua),
        _ => out(lua).null(),
    }
    lua.pop(1);
}

/// Writes the table on top by what one of its fields says, else as an array; leaves it there.
fn write_table(lua: Lua) {
    lua.raw_get_name(-1, b"err");
    if lua.kind(-1) == ffi::STRING {
        out(lua).error(c_string(lua.bytes(-1).unwrap_or_default()));
        return lua.pop(1);
    }
    lua.pop(1);
    lua.raw_get_name(-1, b"ok");
    if lua.kind(-1) == ffi::STRING {
        out(lua).status(c_string(lua.bytes(-1).unwrap_or_default()));
        return lua.pop(1);
    }
    lua.pop(1);
    lua.raw_get_name(-1, b"double");
    if lua.kind(-1) == ffi::NUMBER {
        out(lua).double(lua.number(-1));
        return lua.pop(1);
    }
    lua.pop(1);
    lua.raw_get_name(-1, b"big_number");
    if lua.kind(-1) == ffi::STRING {
        let is_end = |b: u8| b == b'\r' || b == b'\n';
        let digits = lua.bytes(-1).unwrap_or_default().iter().map(|&b| if is_end(b) { b' ' } else { b });
        out(lua).big_number(&digits.collect::<Vec<u8>>());
        return lua.pop(1);
    }
    lua.pop(1);
    if write_verbatim(lua) || write_map(lua) || write_set(lua) {
        return;
    }
    write_array(lua);
}

fn write_verbatim(lua: Lua) -> bool {
    lua.raw_get_name(-1, b"verbatim_string");
    let mut written = false;
    if lua.kind(-1) == ffi::TABLE {
        lua.raw_get_name(-1, b"format");
        lua.raw_get_name(-2, b"string");
        if lua.kind(-1) == ffi::STRING && lua.kind(-2) == ffi::STRING {
            let (text, format) = (lua.bytes(-1).unwrap_or_default(), lua.bytes(-2).unwrap_or_default());
            // Three characters, filled up where there are fewer.
            let mut three = [b' '; 3];
            three.iter_mut().zip(c_string(format)).for_each(|(to, from)| *to = *from);
            out(lua).verbatim(std::str::from_utf8(&three).unwrap_or("txt"), text);
            written = true;
        }
        lua.pop(2);
    }
    lua.pop(1);
    written
}

fn write_map(lua: Lua) -> bool {
    lua.raw_get_name(-1, b"map");
    let is_map = lua.kind(-1) == ffi::TABLE;
    if is_map {
        let hole = out(lua).later();
        let mut pairs = 0;
        lua.push_nil();
        while lua.next(-2) {
            lua.push_copy(-2);
            write_value(lua);
            write_value(lua);
            pairs += 1;
        }
        out(lua).fill_map(hole, pairs);
    }
    lua.pop(1);
    is_map
}

fn write_set(lua: Lua) -> bool {
    lua.raw_get_name(-1, b"set");
    let is_set = lua.kind(-1) == ffi::TABLE;
    if is_set {
        let hole = out(lua).later();
        let mut len = 0;
        lua.push_nil();
        while lua.next(-2) {
            lua.pop(1);
            lua.push_copy(-1);
            write_value(lua);
            len += 1;
        }
        out(lua).fill_set(hole, len);
    }
    lua.pop(1);
    is_set
}

fn write_array(lua: Lua) {
    // An array is as long as it is up to its first hole; counted first, so that its items need not be moved.
    let mut len = 0;
    loop {
        lua.raw_get_at(-1, len + 1);
        let is_end = lua.kind(-1) == ffi::NIL;
        lua.pop(1);
        if is_end {
            break;
        }
        len += 1;
    }
    out(lua).array(len as usize);
    for i in 1..=len {
        lua.raw_get_at(-1, i);
        write_value(lua);
    }
}

const ERROR_SHOWN_MAX: usize = 100;
