//! The library `bit`: operations on the low 32 bits of numbers, as in Redis (BitOp 1.0.2).
//!
//! A number's bits are those of its sum with 2^52 + 2^51, rounded half to even; results are signed. Shifts count modulo
//! 32. `tohex` gives up to eight digits, in upper case for a negative count.

use super::ffi::{self, lua_State};
use super::vm::{Lua, Results, enter};
use std::ffi::c_int;

/// Pushes the library's table.
pub fn open(lua: Lua) {
    lua.push_table(0, 12);
    lua.set_function(c"tobit", tobit);
    lua.set_function(c"bnot", bnot);
    lua.set_function(c"band", band);
    lua.set_function(c"bor", bor);
    lua.set_function(c"bxor", bxor);
    lua.set_function(c"lshift", lshift);
    lua.set_function(c"rshift", rshift);
    lua.set_function(c"arshift", arshift);
    lua.set_function(c"rol", rol);
    lua.set_function(c"ror", ror);
    lua.set_function(c"bswap", bswap);
    lua.set_function(c"tohex", tohex);
}

fn bits(x: f64) -> u32 {
    (x + TO_BITS).to_bits() as u32
}

fn argument(lua: Lua, i: c_int) -> u32 {
    bits(lua.check_number(i))
}

fn answer(lua: Lua, bits: u32) -> Results {
    lua.push_number(f64::from(bits as i32));
    Ok(1)
}

fn fold(lua: Lua, op: fn(u32, u32) -> u32) -> Results {
    let mut all = argument(lua, 1);
    for i in (2..=lua.top()).rev() {
        all = op(all, argument(lua, i));
    }
    answer(lua, all)
}

fn shift(lua: Lua, op: fn(u32, u32) -> u32) -> Results {
    let value = argument(lua, 1);
    let by = argument(lua, 2) & 31;
    answer(lua, op(value, by))
}

extern "C-unwind" fn tobit(l: *mut lua_State) -> c_int {
    enter(l, |lua| answer(lua, argument(lua, 1)))
}

extern "C-unwind" fn bnot(l: *mut lua_State) -> c_int {
    enter(l, |lua| answer(lua, !argument(lua, 1)))
}

extern "C-unwind" fn band(l: *mut lua_State) -> c_int {
    enter(l, |lua| fold(lua, |a, b| a & b))
}

extern "C-unwind" fn bor(l: *mut lua_State) -> c_int {
    enter(l, |lua| fold(lua, |a, b| a | b))
}

extern "C-unwind" fn bxor(l: *mut lua_State) -> c_int {
    enter(l, |lua| fold(lua, |a, b| a ^ b))
}

extern "C-unwind" fn lshift(l: *mut lua_State) -> c_int {
    enter(l, |lua| shift(lua, |value, by| value << by))
}

extern "C-unwind" fn rshift(l: *mut lua_State) -> c_int {
    enter(l, |lua| shift(lua, |value, by| value >> by))
}

extern "C-unwind" fn arshift(l: *mut lua_State) -> c_int {
    enter(l, |lua| shift(lua, |value, by| (value as i32 >> by) as u32))
}

extern "C-unwind" fn rol(l: *mut lua_State) -> c_int {
    enter(l, |lua| shift(lua, u32::rotate_left))
}

extern "C-unwind" fn ror(l: *mut lua_State) -> c_int {
    enter(l, |lua| shift(lua, u32::rotate_right))
}

extern "C-unwind" fn bswap(l: *mut lua_State) -> c_int {
    enter(l, |lua| answer(lua, argument(lua, 1).swap_bytes()))
}

extern "C-unwind" fn tohex(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        let value = argument(lua, 1);
        let wanted = if lua.kind(2) == ffi::NONE { 8 } else { argument(lua, 2) as i32 };
        let digits = if wanted < 0 { b"0123456789ABCDEF" } else { b"0123456789abcdef" };
        let n = wanted.unsigned_abs().min(8) as usize;
        let mut text = [0; 8];
        for (i, digit) in text[..n].iter_mut().rev().enumerate() {
            *digit = digits[(value >> (4 * i)) as usize & 15];
        }
        lua.push(&text[..n]);
        Ok(1)
    })
}

/// 2^52 + 2^51: in the sum the low bits of a whole number stand in the low bits of the double.
const TO_BITS: f64 = 6_755_399_441_055_744.0;

#[cfg(test)]
mod tests {
    use super::bits;

    #[test]
    fn a_number_has_the_bits_of_its_nearest_even() {
        assert_eq!([bits(0.5), bits(1.5), bits(2.5)], [0, 2, 2]);
        assert_eq!([bits(-1.0), bits(4294967296.0), bits(4294967297.0)], [u32::MAX, 0, 1]);
    }
}
