//! The C interface of the patched Lua 5.1.5: what is used of `lua.h`, `lauxlib.h` and `lualib.h`, and our own additions
//! (`memkv_*`, see `hunks.rs`). Nothing but declarations; [`super::vm`] wraps them.
//!
//! Any function that allocates or runs code may raise a Lua error, which is a `longjmp` to the nearest protected call:
//! frames in between must not own anything that wants to be dropped.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};

/// A Lua thread; opaque.
#[repr(C)]
pub struct lua_State {
    _opaque: [u8; 0],
}

pub type Function = extern "C-unwind" fn(*mut lua_State) -> c_int;
pub type Hook = extern "C-unwind" fn(*mut lua_State, *mut Activation);
/// # Safety
/// As `lua_Alloc`.
pub type Alloc = unsafe extern "C" fn(*mut c_void, *mut c_void, usize, usize) -> *mut c_void;

/// `lua_Debug`: an activation record.
#[repr(C)]
pub struct Activation {
    pub event: c_int,
    pub name: *const c_char,
    pub namewhat: *const c_char,
    pub what: *const c_char,
    pub source: *const c_char,
    pub currentline: c_int,
    pub nups: c_int,
    pub linedefined: c_int,
    pub lastlinedefined: c_int,
    pub short_src: [c_char; 60],
    pub i_ci: c_int,
}

pub const REGISTRY: c_int = -10000;
pub const GLOBALS: c_int = -10002;
/// The running function's first upvalue.
pub const UPVALUE: c_int = GLOBALS - 1;
pub const MULTIPLE: c_int = -1;

pub const NONE: c_int = -1;
pub const NIL: c_int = 0;
pub const BOOLEAN: c_int = 1;
pub const LIGHT: c_int = 2;
pub const NUMBER: c_int = 3;
pub const STRING: c_int = 4;
pub const TABLE: c_int = 5;
pub const FUNCTION: c_int = 6;

pub const GC_COLLECT: c_int = 2;
pub const MASK_LINE: c_int = 4;
pub const MASK_COUNT: c_int = 8;

// SAFETY: the declarations repeat the headers of Lua 5.1.5, whose sources build.rs compiles into this crate.
unsafe extern "C-unwind" {
    pub fn lua_newstate(alloc: Alloc, data: *mut c_void) -> *mut lua_State;
    pub fn lua_close(l: *mut lua_State);
    pub fn lua_getallocf(l: *mut lua_State, data: *mut *mut c_void) -> Option<Alloc>;
    pub fn lua_gettop(l: *mut lua_State) -> c_int;
    pub fn lua_settop(l: *mut lua_State, top: c_int);
    pub fn lua_pushvalue(l: *mut lua_State, i: c_int);
    pub fn lua_remove(l: *mut lua_State, i: c_int);
    pub fn lua_insert(l: *mut lua_State, i: c_int);
    pub fn lua_replace(l: *mut lua_State, i: c_int);
    pub fn lua_checkstack(l: *mut lua_State, n: c_int) -> c_int;
    pub fn lua_isnumber(l: *mut lua_State, i: c_int) -> c_int;
    pub fn lua_isstring(l: *mut lua_State, i: c_int) -> c_int;
    pub fn lua_type(l: *mut lua_State, i: c_int) -> c_int;
    pub fn lua_typename(l: *mut lua_State, kind: c_int) -> *const c_char;
    pub fn lua_tonumber(l: *mut lua_State, i: c_int) -> f64;
    pub fn lua_toboolean(l: *mut lua_State, i: c_int) -> c_int;
    pub fn lua_tolstring(l: *mut lua_State, i: c_int, len: *mut usize) -> *const c_char;
    pub fn lua_touserdata(l: *mut lua_State, i: c_int) -> *mut c_void;
    pub fn lua_pushnil(l: *mut lua_State);
    pub fn lua_pushnumber(l: *mut lua_State, n: f64);
    pub fn lua_pushlstring(l: *mut lua_State, bytes: *const c_char, len: usize);
    pub fn lua_pushcclosure(l: *mut lua_State, f: Function, upvalues: c_int);
    pub fn lua_pushboolean(l: *mut lua_State, b: c_int);
    pub fn lua_newuserdata(l: *mut lua_State, size: usize) -> *mut c_void;
    pub fn lua_pushlightuserdata(l: *mut lua_State, p: *mut c_void);
    pub fn lua_getfield(l: *mut lua_State, i: c_int, name: *const c_char);
    pub fn lua_gettable(l: *mut lua_State, i: c_int);
    pub fn lua_rawget(l: *mut lua_State, i: c_int);
    pub fn lua_rawgeti(l: *mut lua_State, i: c_int, n: c_int);
    pub fn lua_createtable(l: *mut lua_State, array: c_int, records: c_int);
    pub fn lua_getmetatable(l: *mut lua_State, i: c_int) -> c_int;
    pub fn lua_setfield(l: *mut lua_State, i: c_int, name: *const c_char);
    pub fn lua_rawset(l: *mut lua_State, i: c_int);
    pub fn lua_rawseti(l: *mut lua_State, i: c_int, n: c_int);
    pub fn lua_setmetatable(l: *mut lua_State, i: c_int) -> c_int;
    pub fn lua_pcall(l: *mut lua_State, args: c_int, results: c_int, handler: c_int) -> c_int;
    pub fn lua_gc(l: *mut lua_State, what: c_int, data: c_int) -> c_int;
    pub fn lua_error(l: *mut lua_State) -> !;
    pub fn lua_next(l: *mut lua_State, i: c_int) -> c_int;
    pub fn lua_concat(l: *mut lua_State, n: c_int);
    pub fn lua_sethook(l: *mut lua_State, hook: Option<Hook>, mask: c_int, count: c_int) -> c_int;
    pub fn lua_getstack(l: *mut lua_State, level: c_int, record: *mut Activation) -> c_int;
    pub fn lua_getinfo(l: *mut lua_State, what: *const c_char, record: *mut Activation) -> c_int;
    pub fn luaL_loadbuffer(l: *mut lua_State, code: *const c_char, len: usize, name: *const c_char) -> c_int;
    pub fn luaL_ref(l: *mut lua_State, table: c_int) -> c_int;
    pub fn luaL_unref(l: *mut lua_State, table: c_int, reference: c_int);
    pub fn luaL_where(l: *mut lua_State, level: c_int);
    pub fn luaL_argerror(l: *mut lua_State, arg: c_int, text: *const c_char) -> c_int;
    pub fn luaL_checknumber(l: *mut lua_State, arg: c_int) -> f64;
    pub fn luaL_checkinteger(l: *mut lua_State, arg: c_int) -> isize;
    pub fn luaL_checklstring(l: *mut lua_State, arg: c_int, len: *mut usize) -> *const c_char;
    pub fn luaL_checkstack(l: *mut lua_State, n: c_int, text: *const c_char);
    pub fn luaopen_base(l: *mut lua_State) -> c_int;
    pub fn luaopen_table(l: *mut lua_State) -> c_int;
    pub fn luaopen_string(l: *mut lua_State) -> c_int;
    pub fn luaopen_math(l: *mut lua_State) -> c_int;
    /// Turns a table's read-only flag on or off.
    pub fn memkv_readonly(l: *mut lua_State, i: c_int, on: c_int);
    pub fn memkv_is_readonly(l: *mut lua_State, i: c_int) -> c_int;
    /// The script is to end: protected calls pass errors on, and no error handler runs.
    pub fn memkv_kill(l: *mut lua_State, on: c_int);
    pub fn memkv_killed(l: *mut lua_State) -> c_int;
    /// Adds to the number of nested C calls that the running call counts as.
    pub fn memkv_nest(l: *mut lua_State, n: c_int);
    pub fn memkv_ticks(l: *mut lua_State, n: c_int);
}
