//! The library `cmsgpack` 0.4.0: MessagePack, as in Redis.
//!
//! A number that equals its 64-bit integer is one, in its smallest form; else a float if that is exact, else a double.
//! A table whose keys are exactly 1..n is an array, any other a map; below [`NESTING_MAX`] tables it is nil, as are
//! functions. Binary and extension types are refused. Reading, tables nest as deeply as the Lua stack allows.

use super::ffi::{self, lua_State};
use super::vm::{Fault, Lua, Results, enter, fault};
use std::ffi::c_int;

/// Pushes the library's table.
pub fn open(lua: Lua) {
    lua.push_table(0, 8);
    lua.set_function(c"pack", pack);
    lua.set_function(c"unpack", unpack);
    lua.set_function(c"unpack_one", unpack_one);
    lua.set_function(c"unpack_limit", unpack_limit);
    lua.set_text(c"_NAME", b"cmsgpack");
    lua.set_text(c"_VERSION", b"lua-cmsgpack 0.4.0");
    lua.set_text(c"_COPYRIGHT", b"Copyright (C) 2012, Salvatore Sanfilippo");
    lua.set_text(c"_DESCRIPTION", b"MessagePack C implementation for Lua");
}

extern "C-unwind" fn pack(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        let arguments = lua.top();
        if arguments == 0 {
            return Ok(lua.argument_error(0, c"MessagePack pack needs input."));
        }
        if !lua.has_room(arguments) {
            return Ok(lua.argument_error(0, c"Too many arguments for MessagePack pack."));
        }
        lua.shared().buffer.clear();
        for i in 1..=arguments {
            lua.push_copy(i);
            write(lua, 0);
            lua.pop(1);
        }
        lua.push(&lua.shared().buffer);
        Ok(1)
    })
}

/// Writes the value on top.
fn write(lua: Lua, depth: usize) {
    match lua.kind(-1) {
        ffi::STRING => {
            let bytes = lua.bytes(-1).unwrap_or_default();
            let buffer = &mut lua.shared().buffer;
            head(buffer, bytes.len(), [(0xa0, 31), (0xd9, 0xff), (0xda, 0xffff), (0xdb, usize::MAX)]);
            buffer.extend_from_slice(bytes);
        }
        ffi::BOOLEAN => lua.shared().buffer.push(if lua.boolean(-1) { 0xc3 } else { 0xc2 }),
        ffi::NUMBER => write_number(&mut lua.shared().buffer, lua.number(-1)),
        ffi::TABLE if depth < NESTING_MAX => match array_len(lua) {
            Some(len) => write_array(lua, len, depth),
            None => write_map(lua, depth),
        },
        _ => lua.shared().buffer.push(0xc0),
    }
}

/// The head of a string, array or map: the first form whose limit the length keeps. A form with a single-byte head has
/// the length in it; no form with one byte behind the head is marked by a limit of 0.
fn head(buffer: &mut Vec<u8>, len: usize, [short, one, two, four]: [(u8, usize); 4]) {
    if len <= short.1 {
        buffer.push(short.0 | len as u8);
    } else if len <= one.1 {
        buffer.extend([one.0, len as u8]);
    } else if len <= two.1 {
        buffer.push(two.0);
        buffer.extend((len as u16).to_be_bytes());
    } else {
        buffer.push(four.0);
        buffer.extend((len as u32).to_be_bytes());
    }
}

fn write_number(buffer: &mut Vec<u8>, n: f64) {
    // A double of 2^63 or more has no 64-bit integer; the cast of the others is exact or changes them.
    let whole = if (-TWO_63..TWO_63).contains(&n) && n as i64 as f64 == n { Some(n as i64) } else { None };
    match whole {
        Some(n) => write_integer(buffer, n),
        None if f64::from(n as f32) == n => {
            buffer.push(0xca);
            buffer.extend((n as f32).to_be_bytes());
        }
        None => {
            buffer.push(0xcb);
            buffer.extend(n.to_be_bytes());
        }
    }
}

fn write_integer(buffer: &mut Vec<u8>, n: i64) {
    let (mark, bytes) = match n {
        -32..=127 => return buffer.push(n as u8),
        128..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        0x1_0000_0000.. => (0xcf, 8),
        -0x80..=-33 => (0xd0, 1),
        -0x8000..=-0x81 => (0xd1, 2),
        -0x8000_0000..=-0x8001 => (0xd2, 4),
        _ => (0xd3, 8),
    };
    buffer.push(mark);
    buffer.extend_from_slice(&n.to_be_bytes()[8 - bytes..]);
}

/// The length of the table on top if its keys are exactly 1 to that.
fn array_len(lua: Lua) -> Option<usize> {
    lua.need_room(2, c"in function table_is_an_array");
    let (mut count, mut greatest) = (0usize, 0.0f64);
    lua.push_nil();
    while lua.next(-2) {
        lua.pop(1);
        let n = if lua.kind(-1) == ffi::NUMBER { lua.number(-1) } else { 0.0 };
        if n < 1.0 || n.floor() != n || n > KEY_MAX {
            lua.pop(1);
            return None;
        }
        greatest = greatest.max(n);
        count += 1;
    }
    (greatest as usize == count).then_some(count)
}

fn write_array(lua: Lua, len: usize, depth: usize) {
    head(&mut lua.shared().buffer, len, [(0x90, 15), (0, 0), (0xdc, 0xffff), (0xdd, usize::MAX)]);
    lua.need_room(1, c"in function mp_encode_lua_table_as_array");
    for i in 1..=len {
        lua.raw_get_at(-1, i as c_int);
        write(lua, depth + 1);
        lua.pop(1);
        lua.tick(1);
    }
}

fn write_map(lua: Lua, depth: usize) {
    lua.need_room(3, c"in function mp_encode_lua_table_as_map");
    let mut len = 0;
    lua.push_nil();
    while lua.next(-2) {
        lua.pop(1);
        len += 1;
    }
    head(&mut lua.shared().buffer, len, [(0x80, 15), (0, 0), (0xde, 0xffff), (0xdf, usize::MAX)]);
    lua.push_nil();
    while lua.next(-2) {
        lua.push_copy(-2);
        write(lua, depth + 1);
        lua.pop(1);
        write(lua, depth + 1);
        lua.pop(1);
        lua.tick(1);
    }
}

extern "C-unwind" fn unpack(l: *mut lua_State) -> c_int {
    enter(l, |lua| unpack_some(lua, 0, 0))
}

extern "C-unwind" fn unpack_one(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        let offset = optional_integer(lua, 2);
        lua.set_top(1);
        unpack_some(lua, 1, offset)
    })
}

extern "C-unwind" fn unpack_limit(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        let (limit, offset) = (lua.check_integer(2), optional_integer(lua, 3));
        lua.set_top(1);
        unpack_some(lua, limit, offset)
    })
}

fn optional_integer(lua: Lua, i: c_int) -> i64 {
    if matches!(lua.kind(i), ffi::NONE | ffi::NIL) { 0 } else { lua.check_integer(i) }
}

fn unpack_some(lua: Lua, limit: i64, offset: i64) -> Results {
    let data = lua.check_bytes(1);
    if offset < 0 || limit < 0 {
        let len = data.len();
        return Err(fault(
            lua,
            format_args!("Invalid request to unpack with offset of {} and limit of {len}.", offset as i32),
        ));
    }
    let Some(mut rest) = data.get(offset as usize..) else {
        let len = data.len();
        return Err(fault(lua, format_args!("Start offset {} greater than input length {len}.", offset as i32)));
    };
    let all = limit == 0 && offset == 0;
    let mut values = 0;
    while !rest.is_empty() && (all || values < limit) {
        read(lua, &mut rest)?;
        values += 1;
    }
    if !all {
        lua.need_room(1, c"in function mp_unpack_full");
        let next = if rest.is_empty() { -1.0 } else { (data.len() - rest.len()) as f64 };
        lua.push_number(next);
        lua.insert(2);
        values += 1;
    }
    Ok(values as c_int)
}

/// A table that is being read. It stands on the Lua stack, and on it what is to come before the next of its values: an
/// index, or a key.
pub struct Begun {
    /// Values to come; keys are values too.
    missing: u64,
    /// Of an array, the index of the value to come; 0 of a map.
    index: u32,
}

/// Reads one value and pushes it. No recursion: the tables around it are listed, and the Lua stack has its limit.
fn read(lua: Lua, rest: &mut &[u8]) -> Result<(), Fault> {
    lua.shared().begun.clear();
    loop {
        let mut whole = begin(lua, rest)?;
        while whole {
            let Some(table) = lua.shared().begun.pop() else { return Ok(()) };
            whole = put(lua, table);
        }
    }
}

/// Puts the value on top into the table around it, and says whether that has become whole by it.
fn put(lua: Lua, mut table: Begun) -> bool {
    table.missing -= 1;
    let is_key = table.index == 0 && table.missing % 2 == 1;
    if !is_key {
        // A key that is nil or NaN raises Lua's own error.
        lua.raw_set(-3);
        lua.tick(1);
    }
    if table.missing == 0 {
        return true;
    }
    if table.index > 0 {
        table.index += 1;
        lua.push_number(f64::from(table.index));
    }
    lua.shared().begun.push(table);
    false
}

/// Pushes a table that grows as Redis's does, for `pairs` shows that, and says whether it is whole.
fn begin_table(lua: Lua, missing: u64, is_array: bool) -> bool {
    lua.push_table(0, 0);
    if is_array {
        lua.need_room(1, c"in function mp_decode_to_lua_array");
    }
    if missing == 0 {
        return true;
    }
    if is_array {
        lua.push_number(1.0);
    }
    lua.shared().begun.push(Begun { missing, index: u32::from(is_array) });
    false
}

/// Reads a value, or the beginning of a table, and says whether what it pushes is whole.
fn begin(lua: Lua, rest: &mut &[u8]) -> Result<bool, Fault> {
    lua.need_room(1, c"too many return values at once; use unpack_one or unpack_limit instead.");
    let mark = take(lua, rest, 1)?[0];
    match mark {
        0x00..=0x7f => lua.push_number(f64::from(mark)),
        0xe0..=0xff => lua.push_number(f64::from(mark as i8)),
        0xc0 => lua.push_nil(),
        0xc2 | 0xc3 => lua.push_boolean(mark == 0xc3),
        0xcc => lua.push_number(unsigned(lua, rest, 1)? as f64),
        0xcd => lua.push_number(unsigned(lua, rest, 2)? as f64),
        0xce => lua.push_number(unsigned(lua, rest, 4)? as f64),
        0xcf | 0xd3 => lua.push_number(unsigned(lua, rest, 8)? as i64 as f64),
        0xd0 => lua.push_number(f64::from(unsigned(lua, rest, 1)? as i8)),
        0xd1 => lua.push_number(f64::from(unsigned(lua, rest, 2)? as i16)),
        0xd2 => lua.push_number(f64::from(unsigned(lua, rest, 4)? as i32)),
        0xca => lua.push_number(f64::from(f32::from_bits(unsigned(lua, rest, 4)? as u32))),
        0xcb => lua.push_number(f64::from_bits(unsigned(lua, rest, 8)?)),
        0xa0..=0xbf => lua.push(take(lua, rest, usize::from(mark & 0x1f))?),
        0xd9..=0xdb => {
            let len = unsigned(lua, rest, 1 << (mark - 0xd9))? as usize;
            lua.push(take(lua, rest, len)?);
        }
        0x90..=0x9f => return Ok(begin_table(lua, u64::from(mark & 0xf), true)),
        0xdc | 0xdd => {
            let len = unsigned(lua, rest, 2 << (mark - 0xdc))?;
            return Ok(begin_table(lua, len, true));
        }
        0x80..=0x8f => return Ok(begin_table(lua, 2 * u64::from(mark & 0xf), false)),
        0xde | 0xdf => {
            let len = unsigned(lua, rest, 2 << (mark - 0xde))?;
            return Ok(begin_table(lua, 2 * len, false));
        }
        _ => return Err(fault(lua, format_args!("Bad data format in input."))),
    }
    Ok(true)
}

fn take<'a>(lua: Lua, rest: &mut &'a [u8], n: usize) -> Result<&'a [u8], Fault> {
    match rest.split_at_checked(n) {
        Some((taken, behind)) => {
            *rest = behind;
            Ok(taken)
        }
        None => Err(fault(lua, format_args!("Missing bytes in input."))),
    }
}

fn unsigned(lua: Lua, rest: &mut &[u8], n: usize) -> Result<u64, Fault> {
    Ok(take(lua, rest, n)?.iter().fold(0, |all, &byte| all << 8 | u64::from(byte)))
}

const NESTING_MAX: usize = 16;
const TWO_63: f64 = 9_223_372_036_854_775_808.0;
const KEY_MAX: f64 = 2_147_483_647.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_their_smallest_form() {
        let written = |n| {
            let mut buffer = Vec::new();
            write_number(&mut buffer, n);
            buffer
        };
        assert_eq!(written(127.0), [127]);
        assert_eq!(written(-33.0), [0xd0, 0xdf]);
        assert_eq!(written(65_536.0), [0xce, 0, 1, 0, 0]);
        assert_eq!(written(TWO_63), [0xca, 0x5f, 0, 0, 0]);
        assert_eq!(written(0.1)[0], 0xcb);
    }
}
