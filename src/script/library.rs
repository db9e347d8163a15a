//! Libraries of functions: running their code, in which `redis.register_function` tells what they hold.
//!
//! A library loads in an environment with little in it: while it loads, the globals are `redis` with a few fields, as in
//! Redis; its functions see all of them when they run. All chunks have one empty, read-only table as their globals, whose
//! metatable's `__index` is switched.

use super::ffi::{self, lua_State};
use super::state::{Compiled, Options, State, hook};
use super::text::{self, Flags};
use super::vm::{Lua, Results, enter};
use super::{redis, reply, sandbox};
use std::ffi::c_int;

/// A function of a library, as its state knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub name: Vec<u8>,
    pub description: Option<Vec<u8>>,
    pub flags: Flags,
    pub compiled: Compiled,
}

/// A library's functions in the order of their registration.
pub type Loaded = Vec<Function>;

/// What has been registered so far.
#[derive(Default)]
pub(super) struct Loading {
    functions: Loaded,
    /// The one being read.
    name: Option<Vec<u8>>,
    description: Option<Vec<u8>>,
}

/// Puts the switchable globals in the place of those on top, which stay reachable in the registry.
pub fn prepare(lua: Lua, options: &Options) {
    // While loading.
    lua.push_table(0, 2);
    redis::open_for_loading(lua, options);
    sandbox::set_error_metatable(lua, sandbox::missing_field);
    lua.push_copy(-1);
    lua.set_field(-3, c"redis");
    lua.set_field(-2, c"server");
    sandbox::set_error_metatable(lua, sandbox::missing_field);
    sandbox::protect(lua);
    lua.set_field(ffi::REGISTRY, LOADING_GLOBALS);
    // While running.
    lua.push_copy(-1);
    lua.set_field(ffi::REGISTRY, RUNNING_GLOBALS);
    lua.push_table(0, 0);
    lua.push_table(0, 1);
    lua.push_copy(-3);
    lua.set_field(-2, c"__index");
    lua.set_read_only(-1, true);
    lua.set_metatable(-2);
    lua.set_read_only(-1, true);
    lua.replace(ffi::GLOBALS);
}

/// Chooses what is behind the globals.
fn switch(lua: Lua, to: &std::ffi::CStr) {
    if lua.push_metatable(ffi::GLOBALS) {
        lua.set_read_only(-1, false);
        lua.get_field(ffi::REGISTRY, to);
        lua.set_field(-2, c"__index");
        lua.set_read_only(-1, true);
        lua.pop(1);
    }
}

/// Runs a library's code.
pub(super) fn load(state: &mut State, code: &[u8]) -> Result<Loaded, Vec<u8>> {
    state.collect_if_short();
    state.unlimited(|lua| switch(lua, LOADING_GLOBALS));
    let lua = state.vm();
    lua.set_hook(Some(hook), ffi::MASK_COUNT, super::state::INSTRUCTIONS_PER_TICK);
    state.shared.loading = Some(Box::default());
    let what: &[u8] = if lua.load(code, c"@user_function") != 0 {
        b"ERR Error compiling function: "
    } else if lua.protected_call(0, 0, 0) != 0 {
        b"ERR Error registering functions: "
    } else {
        b""
    };
    let failed = (!what.is_empty()).then(|| {
        state.unlimited(|lua| {
            let text = lua.error_text();
            let code =
                if what.starts_with(b"ERR Error reg") && lua.kind(-1) != ffi::TABLE { &b"ERR "[..] } else { b"" };
            [what, code, text].concat()
        })
    });
    lua.set_hook(None, 0, 0);
    lua.set_killed(false);
    lua.set_top(0);
    state.unlimited(|lua| switch(lua, RUNNING_GLOBALS));
    let functions = state.shared.loading.take().map_or_else(Vec::new, |loading| loading.functions);
    state.shared.report();
    match failed {
        None => Ok(functions),
        Some(text) => {
            functions.iter().for_each(|function| state.forget(function.compiled));
            Err(text)
        }
    }
}

impl Lua {
    /// The text of the error on top: its own, or that of its field `err`.
    pub(super) fn error_text<'a>(self) -> &'a [u8] {
        if self.kind(-1) == ffi::TABLE && self.has_room(2) {
            // Stays on the stack below the error, so that the text lives.
            self.raw_get_name(-1, b"err");
            self.insert(-2);
            return reply::c_string(self.bytes(-2).unwrap_or_default());
        }
        self.bytes(-1).unwrap_or(b"(error object is not a string)")
    }
}

/// `redis.register_function(name, callback)`, or with one table of named arguments.
pub extern "C-unwind" fn register_function(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        let Some(loading) = lua.shared().loading.as_mut() else {
            return throw(lua, "redis.register_function can only be called on FUNCTION LOAD command");
        };
        (loading.name, loading.description) = (None, None);
        let read = match lua.top() {
            1 => read_named(lua),
            2 => read_positional(lua),
            _ => Err("wrong number of arguments to redis.register_function"),
        };
        match read.and_then(|flags| register(lua, flags)) {
            Ok(()) => Ok(0),
            Err(text) => throw(lua, text),
        }
    })
}

#[cold]
fn throw(lua: Lua, text: &str) -> Results {
    reply::push_error(lua, text.as_bytes(), false);
    Ok(lua.throw())
}

fn loading<'a>(lua: Lua) -> &'a mut Loading {
    lua.shared().loading.get_or_insert_default()
}

/// Keeps the callback, which is on top, with what was read about it.
fn register(lua: Lua, flags: Flags) -> Result<(), &'static str> {
    let loading = loading(lua);
    let (name, description) = (loading.name.take().unwrap_or_default(), loading.description.take());
    if !text::is_name(&name) {
        return Err(std::str::from_utf8(text::NAME_RULE).unwrap_or_default());
    }
    if loading.functions.iter().any(|known| known.name.eq_ignore_ascii_case(&name)) {
        return Err("Function already exists in the library");
    }
    if loading.functions.len() >= FUNCTIONS_MAX {
        return Err("too many functions in one library");
    }
    loading.functions.push(Function { name, description, flags, compiled: Compiled(0) });
    // It may raise for want of memory: nothing is owned here by now, and a library that fails is forgotten as a whole.
    let kept = lua.keep();
    if let Some(function) = lua.shared().loading.as_mut().and_then(|loading| loading.functions.last_mut()) {
        function.compiled = Compiled(kept);
    }
    Ok(())
}

fn read_positional(lua: Lua) -> Result<Flags, &'static str> {
    let Some(name) = lua.bytes(1) else { return Err("first argument to redis.register_function must be a string") };
    if lua.kind(2) != ffi::FUNCTION {
        return Err("second argument to redis.register_function must be a function");
    }
    loading(lua).name = Some(name.to_vec());
    Ok(0)
}

fn read_named(lua: Lua) -> Result<Flags, &'static str> {
    if lua.kind(1) != ffi::TABLE {
        return Err(
            "calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).",
        );
    }
    let mut flags = 0;
    // Below the pairs, where the callback is to stand.
    lua.push_nil();
    lua.push_nil();
    while lua.next(1) {
        if lua.kind(-2) != ffi::STRING {
            return Err("named argument key given to redis.register_function is not a string");
        }
        let key = lua.bytes(-2).unwrap_or_default();
        let is = |name: &str| key.eq_ignore_ascii_case(name.as_bytes());
        if is("function_name") {
            match lua.bytes(-1) {
                Some(name) => loading(lua).name = Some(name.to_vec()),
                None => return Err("function_name argument given to redis.register_function must be a string"),
            }
        } else if is("description") {
            match lua.bytes(-1) {
                Some(text) => loading(lua).description = Some(text.to_vec()),
                None => return Err("description argument given to redis.register_function must be a string"),
            }
        } else if is("callback") {
            if lua.kind(-1) != ffi::FUNCTION {
                return Err("callback argument given to redis.register_function must be a function");
            }
            lua.push_copy(-1);
            lua.replace(2);
        } else if is("flags") {
            if lua.kind(-1) != ffi::TABLE {
                return Err("flags argument to redis.register_function must be a table representing function flags");
            }
            flags = read_flags(lua).ok_or("unknown flag given")?;
        } else {
            return Err("unknown argument given to redis.register_function");
        }
        lua.pop(1);
    }
    if loading(lua).name.is_none() {
        return Err("redis.register_function must get a function name argument");
    }
    if lua.kind(2) != ffi::FUNCTION {
        return Err("redis.register_function must get a callback argument");
    }
    Ok(flags)
}

/// Reads the list of names on top.
fn read_flags(lua: Lua) -> Option<Flags> {
    let mut flags = 0;
    for i in 1.. {
        lua.push_number(f64::from(i));
        lua.get(-2);
        if lua.kind(-1) == ffi::NIL {
            lua.pop(1);
            break;
        }
        flags |= text::flag(&lua.bytes(-1)?.to_ascii_lowercase())?;
        lua.pop(1);
    }
    Some(flags)
}

const LOADING_GLOBALS: &std::ffi::CStr = c"memkv loading globals";
const RUNNING_GLOBALS: &std::ffi::CStr = c"memkv running globals";
/// A new state could not be made.
pub const NO_STATE: &[u8] = b"ERR not enough memory for a script";
/// Each takes memory that is not Lua's.
const FUNCTIONS_MAX: usize = 10_000;
