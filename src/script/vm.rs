//! A thin, typed face over the raw interface, for code that runs inside a protected call.
//!
//! Contract of this module: a [`Lua`] is made from a live state on the thread that runs it, and lives no longer than the
//! call it was made for. Whatever allocates may leave by `longjmp` to the nearest protected call; so code that uses it
//! owns nothing on its stack that wants dropping (scratch buffers live in [`Shared`]), and bytes borrowed from Lua are
//! used only while their value is on the Lua stack.

#![allow(unsafe_code)]

use super::cjson::Settings;
use super::ffi::{self, lua_State};
use super::state::Shared;
use std::ffi::{CStr, c_char, c_int};

/// A running Lua thread.
#[derive(Clone, Copy)]
pub struct Lua(*mut lua_State);

/// An error to raise: its text is in [`Shared::text`].
pub struct Fault {
    /// The place in the script is put in front, as `luaL_error` does.
    located: bool,
}

impl Fault {
    /// What it says, without a place.
    pub fn text<'a>(&self, lua: Lua) -> &'a [u8] {
        lua.shared().text.as_bytes()
    }
}

pub type Results = Result<c_int, Fault>;

/// The shell of a callback: runs the body, and raises its error once nothing is owned any more.
pub fn enter(l: *mut lua_State, body: fn(Lua) -> Results) -> c_int {
    let lua = Lua(l);
    match body(lua) {
        Ok(results) => results,
        Err(fault) => lua.raise(fault.located),
    }
}

/// An error with the script's place in front.
#[cold]
pub fn fault(lua: Lua, text: std::fmt::Arguments<'_>) -> Fault {
    use std::fmt::Write;
    let shared = lua.shared();
    shared.text.clear();
    let _ = shared.text.write_fmt(text);
    Fault { located: true }
}

impl Lua {
    /// # Safety
    /// The module's contract.
    pub unsafe fn new(l: *mut lua_State) -> Self {
        Self(l)
    }

    /// What the state and its callbacks have in common.
    #[inline]
    pub fn shared<'a>(self) -> &'a mut Shared {
        let mut data = std::ptr::null_mut();
        // SAFETY: the allocator's data is the `Shared` that the state owns and that outlives it. References to it are
        // taken for single steps; none is held over a call that may come back here.
        unsafe {
            ffi::lua_getallocf(self.0, &raw mut data);
            &mut *data.cast::<Shared>()
        }
    }

    fn raise(self, located: bool) -> c_int {
        let text = &self.shared().text;
        let (at, len) = (text.as_ptr(), text.len());
        // SAFETY: the contract; the text lives in `Shared`, so nothing is owned here.
        unsafe {
            if located {
                ffi::luaL_where(self.0, 1);
            }
            ffi::lua_pushlstring(self.0, at.cast(), len);
            if located {
                ffi::lua_concat(self.0, 2);
            }
            ffi::lua_error(self.0)
        }
    }

    /// Raises the value on top of the stack.
    pub fn throw(self) -> c_int {
        // SAFETY: the contract.
        unsafe { ffi::lua_error(self.0) }
    }

    #[inline]
    pub fn top(self) -> c_int {
        // SAFETY: the contract.
        unsafe { ffi::lua_gettop(self.0) }
    }

    #[inline]
    pub fn set_top(self, top: c_int) {
        // SAFETY: the contract.
        unsafe { ffi::lua_settop(self.0, top) }
    }

    #[inline]
    pub fn pop(self, n: c_int) {
        self.set_top(-n - 1);
    }

    #[inline]
    pub fn kind(self, i: c_int) -> c_int {
        // SAFETY: the contract.
        unsafe { ffi::lua_type(self.0, i) }
    }

    pub fn kind_name<'a>(self, i: c_int) -> &'a str {
        // SAFETY: the contract; the names are constants of the VM.
        let name = unsafe { CStr::from_ptr(ffi::lua_typename(self.0, ffi::lua_type(self.0, i))) };
        name.to_str().unwrap_or_default()
    }

    #[inline]
    pub fn number(self, i: c_int) -> f64 {
        // SAFETY: the contract.
        unsafe { ffi::lua_tonumber(self.0, i) }
    }

    pub fn boolean(self, i: c_int) -> bool {
        // SAFETY: the contract.
        unsafe { ffi::lua_toboolean(self.0, i) != 0 }
    }

    /// Whether the value is a number or a string that reads as one.
    pub fn is_number(self, i: c_int) -> bool {
        // SAFETY: the contract.
        unsafe { ffi::lua_isnumber(self.0, i) != 0 }
    }

    /// Whether the value is a string or a number.
    pub fn is_string(self, i: c_int) -> bool {
        // SAFETY: the contract.
        unsafe { ffi::lua_isstring(self.0, i) != 0 }
    }

    /// A string's bytes, or a number's, which becomes a string where it is. Valid while the value is on the stack.
    #[inline]
    pub fn bytes<'a>(self, i: c_int) -> Option<&'a [u8]> {
        let mut len = 0;
        // SAFETY: the contract; a string that is referenced does not move.
        unsafe {
            let at = ffi::lua_tolstring(self.0, i, &raw mut len);
            (!at.is_null()).then(|| std::slice::from_raw_parts(at.cast::<u8>(), len))
        }
    }

    pub fn is_null(self, i: c_int) -> bool {
        // SAFETY: the contract.
        self.kind(i) == ffi::LIGHT && unsafe { ffi::lua_touserdata(self.0, i).is_null() }
    }

    #[inline]
    pub fn push_nil(self) {
        // SAFETY: the contract; callers keep room on the stack.
        unsafe { ffi::lua_pushnil(self.0) }
    }

    #[inline]
    pub fn push_number(self, n: f64) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushnumber(self.0, n) }
    }

    pub fn push_boolean(self, b: bool) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushboolean(self.0, c_int::from(b)) }
    }

    #[inline]
    pub fn push(self, bytes: &[u8]) {
        // SAFETY: as above; the bytes are copied.
        unsafe { ffi::lua_pushlstring(self.0, bytes.as_ptr().cast(), bytes.len()) }
    }

    /// cjson's null.
    pub fn push_null(self) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushlightuserdata(self.0, std::ptr::null_mut()) }
    }

    pub fn push_function(self, f: ffi::Function) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushcclosure(self.0, f, 0) }
    }

    /// Pushes settings of cjson, in Lua's own memory: they are collected, not dropped.
    pub fn push_settings(self, settings: Settings) {
        // SAFETY: as above; the block is as long as the settings, aligned as a double is, and collected as plain bytes.
        unsafe { ffi::lua_newuserdata(self.0, size_of::<Settings>()).cast::<Settings>().write(settings) }
    }

    /// Pushes a function that has the settings at `i` as its own.
    pub fn push_function_with_settings(self, f: ffi::Function, i: c_int) {
        self.push_copy(i);
        // SAFETY: as above.
        unsafe { ffi::lua_pushcclosure(self.0, f, 1) }
    }

    /// The settings of the running function, which was pushed with some.
    pub fn settings<'a>(self) -> &'a mut Settings {
        // SAFETY: the contract; no function but those with settings has an upvalue, and that lives while it runs.
        // References to it are taken for single steps.
        let settings = unsafe { ffi::lua_touserdata(self.0, ffi::UPVALUE).cast::<Settings>().as_mut() };
        settings.expect("a function of cjson is pushed with settings")
    }

    #[inline]
    pub fn push_copy(self, i: c_int) {
        // SAFETY: as above.
        unsafe { ffi::lua_pushvalue(self.0, i) }
    }

    #[inline]
    pub fn push_table(self, array: usize, records: usize) {
        let small = |n: usize| c_int::try_from(n.min(TABLE_HINT_MAX)).unwrap_or(0);
        // SAFETY: as above.
        unsafe { ffi::lua_createtable(self.0, small(array), small(records)) }
    }

    /// Joins the `n` values on top, strings and numbers.
    pub fn concat(self, n: c_int) {
        // SAFETY: the contract.
        unsafe { ffi::lua_concat(self.0, n) }
    }

    pub fn insert(self, i: c_int) {
        // SAFETY: the contract.
        unsafe { ffi::lua_insert(self.0, i) }
    }

    pub fn remove(self, i: c_int) {
        // SAFETY: the contract.
        unsafe { ffi::lua_remove(self.0, i) }
    }

    pub fn replace(self, i: c_int) {
        // SAFETY: the contract.
        unsafe { ffi::lua_replace(self.0, i) }
    }

    /// `t[k]` without metamethods; the key on top gives way to the value.
    pub fn raw_get(self, table: c_int) {
        // SAFETY: the contract; `table` is one.
        unsafe { ffi::lua_rawget(self.0, table) }
    }

    pub fn raw_get_name(self, table: c_int, name: &[u8]) {
        self.push(name);
        self.raw_get(if table < 0 && table > ffi::REGISTRY { table - 1 } else { table });
    }

    #[inline]
    pub fn raw_get_at(self, table: c_int, n: c_int) {
        // SAFETY: the contract; `table` is one.
        unsafe { ffi::lua_rawgeti(self.0, table, n) }
    }

    pub fn raw_set(self, table: c_int) {
        // SAFETY: the contract; `table` is one.
        unsafe { ffi::lua_rawset(self.0, table) }
    }

    #[inline]
    pub fn raw_set_at(self, table: c_int, n: c_int) {
        // SAFETY: the contract; `table` is one.
        unsafe { ffi::lua_rawseti(self.0, table, n) }
    }

    pub fn get_field(self, table: c_int, name: &CStr) {
        // SAFETY: the contract.
        unsafe { ffi::lua_getfield(self.0, table, name.as_ptr()) }
    }

    pub fn set_field(self, table: c_int, name: &CStr) {
        // SAFETY: the contract.
        unsafe { ffi::lua_setfield(self.0, table, name.as_ptr()) }
    }

    /// `t[k]` with metamethods; the key on top gives way to the value.
    pub fn get(self, table: c_int) {
        // SAFETY: the contract.
        unsafe { ffi::lua_gettable(self.0, table) }
    }

    pub fn set_function(self, name: &CStr, f: ffi::Function) {
        self.push_function(f);
        self.set_field(-2, name);
    }

    pub fn set_number(self, name: &CStr, n: f64) {
        self.push_number(n);
        self.set_field(-2, name);
    }

    pub fn set_text(self, name: &CStr, text: &[u8]) {
        self.push(text);
        self.set_field(-2, name);
    }

    /// Pushes the metatable, if there is one.
    pub fn push_metatable(self, i: c_int) -> bool {
        // SAFETY: the contract.
        unsafe { ffi::lua_getmetatable(self.0, i) != 0 }
    }

    pub fn set_metatable(self, i: c_int) {
        // SAFETY: the contract; a table or nil is on top.
        unsafe { ffi::lua_setmetatable(self.0, i) };
    }

    pub fn set_read_only(self, table: c_int, on: bool) {
        // SAFETY: the contract; `table` is one.
        unsafe { ffi::memkv_readonly(self.0, table, c_int::from(on)) }
    }

    pub fn is_read_only(self, table: c_int) -> bool {
        // SAFETY: the contract; `table` is one.
        unsafe { ffi::memkv_is_readonly(self.0, table) != 0 }
    }

    /// The next pair behind the key on top, which gives way to it.
    pub fn next(self, table: c_int) -> bool {
        // SAFETY: the contract; `table` is one.
        unsafe { ffi::lua_next(self.0, table) != 0 }
    }

    /// Room for `n` more values; false if the stack has reached its limit.
    pub fn has_room(self, n: c_int) -> bool {
        // SAFETY: the contract.
        unsafe { ffi::lua_checkstack(self.0, n) != 0 }
    }

    pub fn need_room(self, n: c_int, what: &CStr) {
        // SAFETY: the contract.
        unsafe { ffi::luaL_checkstack(self.0, n, what.as_ptr()) }
    }

    /// Calls the function below `args` arguments. 0, or the error's class with the error on top.
    pub fn protected_call(self, args: c_int, results: c_int, handler: c_int) -> c_int {
        // SAFETY: the contract; function and arguments are on the stack.
        unsafe { ffi::lua_pcall(self.0, args, results, handler) }
    }

    /// Argument `i` as a number, or an error about it.
    pub fn check_number(self, i: c_int) -> f64 {
        // SAFETY: the contract.
        unsafe { ffi::luaL_checknumber(self.0, i) }
    }

    pub fn check_integer(self, i: c_int) -> i64 {
        // SAFETY: the contract.
        unsafe { ffi::luaL_checkinteger(self.0, i) as i64 }
    }

    pub fn check_bytes<'a>(self, i: c_int) -> &'a [u8] {
        let mut len = 0;
        // SAFETY: the contract; it raises rather than returning null.
        unsafe { std::slice::from_raw_parts(ffi::luaL_checklstring(self.0, i, &raw mut len).cast::<u8>(), len) }
    }

    /// Raises `bad argument #i to 'f' (text)`.
    pub fn argument_error(self, i: c_int, text: &CStr) -> c_int {
        // SAFETY: the contract.
        unsafe { ffi::luaL_argerror(self.0, i, text.as_ptr()) }
    }

    /// As [`Lua::argument_error`], with a text of several pieces.
    pub fn argument_error_of(self, i: c_int, pieces: &[&[u8]]) -> c_int {
        let buffer = &mut self.shared().buffer;
        buffer.clear();
        pieces.iter().for_each(|piece| buffer.extend_from_slice(piece));
        self.push(&self.shared().buffer);
        // SAFETY: the contract; the text on top of the stack ends in a zero.
        unsafe { ffi::luaL_argerror(self.0, i, ffi::lua_tolstring(self.0, -1, std::ptr::null_mut())) }
    }

    pub fn collect(self) {
        // SAFETY: the contract.
        unsafe { ffi::lua_gc(self.0, ffi::GC_COLLECT, 0) };
    }

    /// Counts work of our own loops towards the count hook, which may raise or suspend.
    pub fn tick(self, n: usize) {
        // SAFETY: the contract.
        unsafe { ffi::memkv_ticks(self.0, n.min(1 << 20) as c_int) }
    }

    /// A protected call that counts as if it stood in the place of the callback that makes it: so the limits of nesting
    /// that a script meets are those of Lua.
    pub fn protected_call_in_place(self, args: c_int, results: c_int, handler: c_int) -> c_int {
        // SAFETY: the contract; the running callback has been counted.
        unsafe { ffi::memkv_nest(self.0, -1) };
        let status = self.protected_call(args, results, handler);
        // SAFETY: as above; the protected call, however it ended, has left the count as it was.
        unsafe { ffi::memkv_nest(self.0, 1) };
        status
    }

    pub fn is_killed(self) -> bool {
        // SAFETY: the contract.
        unsafe { ffi::memkv_killed(self.0) != 0 }
    }

    pub fn set_killed(self, on: bool) {
        // SAFETY: the contract.
        unsafe { ffi::memkv_kill(self.0, c_int::from(on)) }
    }

    pub fn set_hook(self, hook: Option<ffi::Hook>, mask: c_int, count: c_int) {
        // SAFETY: the contract.
        unsafe { ffi::lua_sethook(self.0, hook, mask, count) };
    }

    /// Compiles a chunk and pushes it, or the error; 0 if it compiled.
    pub fn load(self, code: &[u8], name: &CStr) -> c_int {
        // SAFETY: the contract; the code is read during the call.
        unsafe { ffi::luaL_loadbuffer(self.0, code.as_ptr().cast(), code.len(), name.as_ptr()) }
    }

    /// Keeps the value on top in the registry, under a number.
    pub fn keep(self) -> c_int {
        // SAFETY: the contract.
        unsafe { ffi::luaL_ref(self.0, ffi::REGISTRY) }
    }

    pub fn forget(self, reference: c_int) {
        // SAFETY: the contract.
        unsafe { ffi::luaL_unref(self.0, ffi::REGISTRY, reference) }
    }

    /// Pushes source and line of the function that runs at `level` (0: this callback): of its caller where it is of C.
    /// Pushes nothing and says false if there is no such level.
    pub fn push_place(self, level: c_int) -> bool {
        let mut record = std::mem::MaybeUninit::<ffi::Activation>::zeroed();
        let at = record.as_mut_ptr();
        // SAFETY: the contract; the VM fills the record, whose texts it owns.
        unsafe {
            if ffi::lua_getstack(self.0, level, at) == 0 || ffi::lua_getinfo(self.0, c"nSl".as_ptr(), at) == 0 {
                return false;
            }
            let is_c = CStr::from_ptr((*at).what).to_bytes() == b"C";
            if is_c
                && (ffi::lua_getstack(self.0, level + 1, at) == 0 || ffi::lua_getinfo(self.0, c"nSl".as_ptr(), at) == 0)
            {
                return false;
            }
            let source: *const c_char = (*at).source;
            self.push(CStr::from_ptr(source).to_bytes());
            self.push_number(f64::from((*at).currentline));
            true
        }
    }
}

/// A table is made for at most this many items at once: what a reply declares is not yet what it brings.
const TABLE_HINT_MAX: usize = 1 << 20;
