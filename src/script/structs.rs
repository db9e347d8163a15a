//! The library `struct`: packing numbers and strings by a format, as in Redis.
//!
//! `< > ![n]` byte order and greatest alignment, `b B h H l L T i[n] I[n]` integers, `f d` floats, `x` padding, `c[n]`
//! `s` strings. Native order and no alignment at first. Integers wrap to their size; `c0` takes the number before it as
//! its length; `unpack` gives the next position behind the values. Doubles become integers, lengths and positions as C
//! casts them, so that a negative length is a great one.

use super::decimal::to_u64;
use super::ffi::lua_State;
use super::vm::{Fault, Lua, Results, enter, fault};
use std::ffi::c_int;

/// Pushes the library's table.
pub fn open(lua: Lua) {
    lua.push_table(0, 3);
    lua.set_function(c"pack", pack);
    lua.set_function(c"unpack", unpack);
    lua.set_function(c"size", size);
}

/// A format while it is read.
struct Format<'a> {
    text: &'a [u8],
    little: bool,
    align: usize,
}

impl<'a> Format<'a> {
    fn of(lua: Lua) -> Self {
        let text: &'a [u8] = lua.check_bytes(1);
        let end = memchr::memchr(0, text).unwrap_or(text.len());
        Self { text: &text[..end], little: cfg!(target_endian = "little"), align: 1 }
    }

    /// The next option and the size of its item.
    fn next(&mut self, lua: Lua) -> Result<Option<(u8, usize)>, Fault> {
        let Some((&option, rest)) = self.text.split_first() else { return Ok(None) };
        self.text = rest;
        let size = match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number(lua, 1)?,
            b'i' | b'I' => {
                let size = self.number(lua, 4)?;
                if size > INTEGER_BYTES_MAX {
                    return Err(fault(
                        lua,
                        format_args!("integral size {size} is larger than limit of {INTEGER_BYTES_MAX}"),
                    ));
                }
                size
            }
            _ => 0,
        };
        Ok(Some((option, size)))
    }

    fn number(&mut self, lua: Lua, otherwise: usize) -> Result<usize, Fault> {
        let digits = self.text.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return Ok(otherwise);
        }
        let (number, rest) = self.text.split_at(digits);
        self.text = rest;
        let number = std::str::from_utf8(number).ok().and_then(|n| n.parse::<i32>().ok());
        match number {
            Some(n) => Ok(n as usize),
            None => Err(fault(lua, format_args!("integral size overflow"))),
        }
    }

    /// An option that stands for no item.
    fn control(&mut self, lua: Lua, option: u8) -> Result<(), Fault> {
        match option {
            b' ' => {}
            b'<' => self.little = true,
            b'>' => self.little = false,
            b'!' => {
                let align = self.number(lua, ALIGNMENT_MAX)?;
                if !align.is_power_of_two() {
                    return Err(fault(lua, format_args!("alignment {align} is not a power of 2")));
                }
                self.align = align;
            }
            _ => {
                lua.argument_error_of(1, &[b"invalid format option '", &[option], b"'"]);
            }
        }
        Ok(())
    }

    /// Bytes to skip so that an item of this size is aligned at `at`.
    fn padding(&self, at: usize, option: u8, size: usize) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        let size = size.min(self.align);
        size.wrapping_sub(at & (size - 1)) & (size - 1)
    }
}

extern "C-unwind" fn pack(l: *mut lua_State) -> c_int {
    enter(l, pack_all)
}

fn pack_all(lua: Lua) -> Results {
    let mut format = Format::of(lua);
    // What an option finds behind the last argument.
    lua.push_nil();
    lua.shared().buffer.clear();
    let mut argument = 2;
    while let Some((option, size)) = format.next(lua)? {
        let at = lua.shared().buffer.len();
        let padding = format.padding(at, option, size);
        lua.shared().buffer.resize(at + padding, 0);
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let n = lua.check_number(argument);
                argument += 1;
                put_integer(&mut lua.shared().buffer, n, size, format.little);
            }
            b'x' => lua.shared().buffer.push(0),
            b'f' => {
                let bits = (lua.check_number(argument) as f32).to_bits();
                argument += 1;
                put(&mut lua.shared().buffer, u64::from(bits), 4, format.little);
            }
            b'd' => {
                let bits = lua.check_number(argument).to_bits();
                argument += 1;
                put(&mut lua.shared().buffer, bits, 8, format.little);
            }
            b'c' | b's' => {
                let text = lua.check_bytes(argument);
                argument += 1;
                let size = if size == 0 { text.len() } else { size };
                if text.len() < size {
                    lua.argument_error(argument, c"string too short");
                }
                room(lua, lua.shared().buffer.len(), size)?;
                let buffer = &mut lua.shared().buffer;
                buffer.extend_from_slice(&text[..size]);
                if option == b's' {
                    buffer.push(0);
                }
            }
            _ => format.control(lua, option)?,
        }
    }
    lua.push(&lua.shared().buffer);
    Ok(1)
}

/// The buffer is not Lua's memory, so that it has a limit of its own.
fn room(lua: Lua, at: usize, more: usize) -> Result<(), Fault> {
    if at.saturating_add(more) > PACKED_BYTES_MAX {
        Err(fault(lua, format_args!("format result too large")))
    } else {
        Ok(())
    }
}

fn put_integer(buffer: &mut Vec<u8>, n: f64, size: usize, little: bool) {
    put(buffer, to_u64(n), size, little);
}

fn put(buffer: &mut Vec<u8>, value: u64, size: usize, little: bool) {
    let byte = |i: usize| value.checked_shr(8 * i as u32).unwrap_or(0) as u8;
    match little {
        true => buffer.extend((0..size).map(byte)),
        false => buffer.extend((0..size).rev().map(byte)),
    }
}

extern "C-unwind" fn unpack(l: *mut lua_State) -> c_int {
    enter(l, unpack_all)
}

fn unpack_all(lua: Lua) -> Results {
    let mut format = Format::of(lua);
    let data = lua.check_bytes(2);
    let from = if lua.top() < 3 || lua.kind(3) == super::ffi::NIL { 1 } else { lua.check_integer(3) };
    if from == 0 {
        lua.argument_error(3, c"offset must be 1 or greater");
    }
    // A negative one is behind every text.
    let mut at = (from as usize).wrapping_sub(1);
    let mut values = 0;
    while let Some((option, mut size)) = format.next(lua)? {
        at = at.wrapping_add(format.padding(at, option, size));
        if size > data.len() || at > data.len() - size {
            lua.argument_error(2, c"data string too short");
        }
        lua.need_room(2, c"too many results");
        values += 1;
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                let signed = option.is_ascii_lowercase();
                lua.push_number(get_integer(&data[at..at + size], format.little, signed));
            }
            b'f' => lua.push_number(f64::from(f32::from_bits(get(&data[at..at + 4], format.little) as u32))),
            b'd' => lua.push_number(f64::from_bits(get(&data[at..at + 8], format.little))),
            b'c' => {
                if size == 0 {
                    if values == 1 || !lua.is_number(-1) {
                        return Err(fault(lua, format_args!("format 'c0' needs a previous size")));
                    }
                    size = to_u64(lua.number(-1)) as usize;
                    lua.pop(1);
                    values -= 1;
                    if size > data.len() || at > data.len() - size {
                        lua.argument_error(2, c"data string too short");
                    }
                }
                lua.push(&data[at..at + size]);
            }
            b's' => {
                let Some(len) = memchr::memchr(0, &data[at..]) else {
                    return Err(fault(lua, format_args!("unfinished string in data")));
                };
                lua.push(&data[at..at + len]);
                size = len + 1;
            }
            _ => {
                values -= 1;
                if option != b'x' {
                    format.control(lua, option)?;
                }
            }
        }
        at += size;
    }
    lua.push_number(at.wrapping_add(1) as isize as f64);
    Ok(values + 1)
}

fn get(bytes: &[u8], little: bool) -> u64 {
    let add = |all: u64, &byte: &u8| all << 8 | u64::from(byte);
    if little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) }
}

fn get_integer(bytes: &[u8], little: bool, signed: bool) -> f64 {
    let value = get(bytes, little);
    if !signed {
        return value as f64;
    }
    let mask = u64::MAX.wrapping_shl((8 * bytes.len() as u32).wrapping_sub(1));
    let value = if value & mask != 0 { value | mask } else { value };
    value as i64 as f64
}

extern "C-unwind" fn size(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        let mut format = Format::of(lua);
        let mut at: usize = 0;
        while let Some((option, size)) = format.next(lua)? {
            at = at.saturating_add(format.padding(at, option, size));
            if option == b's' {
                lua.argument_error(1, c"option 's' has no fixed size");
            } else if option == b'c' && size == 0 {
                lua.argument_error(1, c"option 'c0' has no fixed size");
            }
            if !option.is_ascii_alphanumeric() {
                format.control(lua, option)?;
            }
            at = at.saturating_add(size);
        }
        lua.push_number(at as f64);
        Ok(1)
    })
}

const INTEGER_BYTES_MAX: usize = 32;
const ALIGNMENT_MAX: usize = 8;
/// As long as a value may be.
const PACKED_BYTES_MAX: usize = 512 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_wrap_to_their_size_and_keep_their_sign() {
        let mut buffer = Vec::new();
        put_integer(&mut buffer, -2.0, 2, false);
        put_integer(&mut buffer, 65_537.0, 2, true);
        assert_eq!(buffer, [0xff, 0xfe, 1, 0]);
        assert_eq!([get_integer(&buffer[..2], false, true), get_integer(&buffer[..2], false, false)], [-2.0, 65_534.0]);
    }
}
