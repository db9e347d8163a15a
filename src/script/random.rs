//! `math.random` as Redis has it: `lrand48` over one sequence of the process, so that a server gives the numbers that
//! Redis gives after its start, and after `math.randomseed`.

use super::ffi::lua_State;
use super::vm::{Lua, Results, enter, fault};
use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Puts the functions into the table on top of the stack, `math`.
pub fn open(lua: Lua) {
    lua.set_function(c"random", random);
    lua.set_function(c"randomseed", randomseed);
}

/// 48 bits.
static SEQUENCE: AtomicU64 = AtomicU64::new(0x1234_ABCD_330E);

fn after(x: u64) -> u64 {
    x.wrapping_mul(0x5_DEEC_E66D).wrapping_add(0xB) & 0xFFFF_FFFF_FFFF
}

/// The sequence's next 31 bits.
#[allow(deprecated)] // the new name of fetch_update is younger than our rust-version
fn lrand48() -> i32 {
    let before = SEQUENCE.fetch_update(Relaxed, Relaxed, |x| Some(after(x))).unwrap_or_default();
    (after(before) >> 17) as i32
}

extern "C-unwind" fn random(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        if !lua.shared().is_running() {
            return Err(fault(lua, format_args!("math.random can only be called inside a script invocation")));
        }
        let r = f64::from(lrand48() % i32::MAX) / f64::from(i32::MAX);
        let drawn = match lua.top() {
            0 => r,
            1 => {
                let upper = lua.check_integer(1) as i32;
                if upper < 1 {
                    lua.argument_error(1, c"interval is empty");
                }
                (r * f64::from(upper)).floor() + 1.0
            }
            2 => {
                let (lower, upper) = (lua.check_integer(1) as i32, lua.check_integer(2) as i32);
                if lower > upper {
                    lua.argument_error(2, c"interval is empty");
                }
                (r * f64::from(upper.wrapping_sub(lower).wrapping_add(1))).floor() + f64::from(lower)
            }
            _ => return Err(fault(lua, format_args!("wrong number of arguments"))),
        };
        lua.push_number(drawn);
        Ok(1)
    })
}

extern "C-unwind" fn randomseed(l: *mut lua_State) -> c_int {
    enter(l, seed)
}

fn seed(lua: Lua) -> Results {
    if !lua.shared().is_running() {
        return Err(fault(lua, format_args!("math.randomseed can only be called inside a script invocation")));
    }
    let seed = lua.check_integer(1) as i32;
    SEQUENCE.store(0x330E | u64::from(seed as u32) << 16, Relaxed);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::after;

    #[test]
    fn the_sequence_is_that_of_drand48() {
        // drand48(3) seeded with 0x1234ABCD330E: the first value of lrand48 is this.
        assert_eq!(after(0x1234_ABCD_330E) >> 17, 851_401_618);
    }
}
