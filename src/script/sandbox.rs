//! The globals that scripts find: those of Redis 8.2, every table of them read-only.
//!
//! Not there: `io`, `package`, `debug`, `print`, `dofile`, `loadfile`; `getfenv`, `setfenv` and `newproxy` only with
//! `lua-enable-deprecated-api`. `os` has `clock` alone. `server` is Valkey's name for `redis`; `pairs(_G)` does not show it.

#![allow(unsafe_code)]

use super::ffi::{self, lua_State};
use super::state::{Environment, Options};
use super::vm::{Lua, enter, fault};
use super::{bit, cjson, cmsgpack, library, random, redis, structs};
use std::ffi::{CStr, c_int};

/// Pushes a library's table.
type Open = fn(Lua);

/// Fills a fresh state.
pub fn furnish(lua: Lua, options: &Options) {
    let libraries: [(&CStr, ffi::Function); 4] =
        [(c"", base), (c"table", table_library), (c"string", string_library), (c"math", math_library)];
    for (name, open) in libraries {
        lua.push_function(open);
        lua.push(name.to_bytes());
        lua.protected_call(1, 0, 0);
    }
    let ours: [(&CStr, Open); 4] =
        [(c"cjson", cjson::open), (c"struct", structs::open), (c"cmsgpack", cmsgpack::open), (c"bit", bit::open)];
    for (name, open) in ours {
        open(lua);
        lua.set_field(ffi::GLOBALS, name);
    }
    lua.push_table(0, 1);
    lua.set_function(c"clock", os_clock);
    lua.set_field(ffi::GLOBALS, c"os");
    lua.get_field(ffi::GLOBALS, c"math");
    random::open(lua);
    lua.pop(1);
    lua.push_function(pcall);
    lua.set_field(ffi::GLOBALS, c"pcall");
    redis::open(lua, options);
    lua.set_field(ffi::GLOBALS, c"redis");
    let deprecated: &[&CStr] = &[c"getfenv", c"setfenv", c"newproxy"];
    let removed = [c"print", c"dofile", c"loadfile"];
    for name in removed.into_iter().chain(deprecated.iter().copied().filter(|_| !options.deprecated_api)) {
        lua.push_nil();
        lua.set_field(ffi::GLOBALS, name);
    }
    if options.kind == Environment::Eval {
        lua.push_function(error_handler);
        lua.set_field(ffi::GLOBALS, c"__redis__err__handler");
    }
    lua.push_copy(ffi::GLOBALS);
    set_error_metatable(lua, missing_global);
    protect(lua);
    if options.kind == Environment::Functions {
        library::prepare(lua, options);
    }
    lua.pop(1);
    protect_basic_types(lua);
    lua.set_top(0);
}

extern "C-unwind" fn base(l: *mut lua_State) -> c_int {
    // SAFETY: called by Lua with its own state, as the libraries below.
    unsafe { ffi::luaopen_base(l) }
}

extern "C-unwind" fn table_library(l: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { ffi::luaopen_table(l) }
}

extern "C-unwind" fn string_library(l: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { ffi::luaopen_string(l) }
}

extern "C-unwind" fn math_library(l: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { ffi::luaopen_math(l) }
}

/// Gives the table on top a metatable that raises when something absent is read.
pub fn set_error_metatable(lua: Lua, missing: ffi::Function) {
    lua.push_table(0, 1);
    lua.set_function(c"__index", missing);
    lua.set_metatable(-2);
}

/// Makes the table on top read-only, and all that is reached from it.
pub fn protect(lua: Lua) {
    if lua.is_read_only(-1) {
        return;
    }
    lua.set_read_only(-1, true);
    lua.has_room(4);
    lua.push_nil();
    while lua.next(-2) {
        if lua.kind(-1) == ffi::TABLE {
            protect(lua);
        }
        lua.pop(1);
    }
    if lua.push_metatable(-1) {
        protect(lua);
        lua.pop(1);
    }
}

/// Of the basic types only strings have a metatable.
fn protect_basic_types(lua: Lua) {
    lua.push(b"");
    if lua.push_metatable(-1) {
        protect(lua);
        lua.pop(1);
    }
    lua.pop(1);
}

extern "C-unwind" fn missing_global(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        if lua.top() == 2 && lua.kind(2) == ffi::STRING && lua.bytes(2) == Some(b"server") {
            lua.raw_get_name(1, b"redis");
            if lua.kind(-1) == ffi::TABLE {
                return Ok(1);
            }
        }
        no_such_global(lua)
    })
}

/// For tables that have no other names than they show.
pub extern "C-unwind" fn missing_field(l: *mut lua_State) -> c_int {
    enter(l, no_such_global)
}

fn no_such_global(lua: Lua) -> super::vm::Results {
    if lua.top() != 2 {
        return Err(fault(lua, format_args!("Wrong number of arguments to luaProtectedTableError")));
    }
    if !lua.is_string(2) {
        return Err(fault(lua, format_args!("Second argument to luaProtectedTableError must be a string or number")));
    }
    let name = super::reply::c_string(lua.bytes(2).unwrap_or_default());
    let shown = &name[..name.len().min(NAME_SHOWN_MAX)];
    match std::str::from_utf8(shown) {
        Ok(name) => Err(fault(lua, format_args!("Script attempted to access nonexistent global variable '{name}'"))),
        Err(_) => {
            let name = shown.escape_ascii();
            Err(fault(lua, format_args!("Script attempted to access nonexistent global variable '{name}'")))
        }
    }
}

/// What errors that reach the top go through: they become tables that know their place. A function of C is not a place;
/// its caller is.
pub extern "C-unwind" fn error_handler(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        lua.set_top(1);
        if lua.kind(1) != ffi::TABLE {
            // As Lua's own tostring writes it.
            lua.get_field(ffi::GLOBALS, c"tostring");
            lua.push_copy(1);
            if lua.protected_call(1, 1, 0) != 0 {
                return Ok(1);
            }
            lua.push_table(0, 3);
            lua.push(b"ERR ");
            lua.push_copy(2);
            lua.concat(2);
            lua.set_field(-2, c"err");
            lua.replace(1);
            lua.set_top(1);
        }
        if lua.push_place(1) {
            lua.set_field(1, c"line");
            lua.set_field(1, c"source");
        }
        Ok(1)
    })
}

/// The `pcall` of scripts: the error of a command comes back as its text, as it did before errors were tables.
extern "C-unwind" fn pcall(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        let arguments = lua.top();
        if arguments == 0 {
            return Ok(lua.argument_error(1, c"value expected"));
        }
        lua.push_boolean(true);
        lua.insert(1);
        if lua.protected_call(arguments - 1, ffi::MULTIPLE, 0) != 0 {
            if lua.is_killed() {
                return Ok(lua.throw());
            }
            lua.remove(1);
            if lua.kind(-1) == ffi::TABLE {
                lua.get_field(-1, c"err");
                if lua.is_string(-1) {
                    lua.replace(-2);
                }
            }
            lua.push_boolean(false);
            lua.insert(1);
        }
        Ok(lua.top())
    })
}

/// Seconds of processor time that the process has used.
extern "C-unwind" fn os_clock(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the kernel fills the struct that we own.
        unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut used) };
        // As C's clock() tells it: in whole microseconds.
        let micros = used.tv_sec as f64 * 1e6 + (used.tv_nsec / 1000) as f64;
        lua.push_number(micros / 1e6);
        Ok(1)
    })
}

/// An error does not repeat more of a name than this.
const NAME_SHOWN_MAX: usize = 512;
