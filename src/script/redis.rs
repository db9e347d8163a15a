//! The table `redis`: what a script asks of the server. Every function here ends in a value or in an error of the form
//! that scripts see: a table with the field `err`.

#![allow(unsafe_code)]

use super::decimal::{push_g, to_i32};
use super::ffi::{self, lua_State};
use super::state::{End, Environment, Options};
use super::vm::{Lua, Results, enter};
use super::{Called, REPL_AOF, REPL_REPLICA, library, reply};
use sha1::{Digest, Sha1};
use std::ffi::c_int;

/// Pushes the table that scripts see.
pub fn open(lua: Lua, options: &Options) {
    lua.push_table(0, 26);
    lua.set_function(c"call", call);
    lua.set_function(c"pcall", pcall);
    lua.set_function(c"setresp", setresp);
    lua.set_function(c"sha1hex", sha1hex);
    lua.set_function(c"error_reply", error_reply);
    lua.set_function(c"status_reply", status_reply);
    lua.set_function(c"set_repl", set_repl);
    lua.set_function(c"acl_check_cmd", acl_check_cmd);
    for (name, flags) in [
        (c"REPL_NONE", 0),
        (c"REPL_AOF", REPL_AOF),
        (c"REPL_SLAVE", REPL_REPLICA),
        (c"REPL_REPLICA", REPL_REPLICA),
        (c"REPL_ALL", REPL_AOF | REPL_REPLICA),
    ] {
        lua.set_number(name, f64::from(flags));
    }
    if options.kind == Environment::Eval {
        lua.set_function(c"breakpoint", breakpoint);
        lua.set_function(c"debug", debug);
        lua.set_function(c"replicate_commands", replicate_commands);
    }
    add_common(lua, options);
}

/// Pushes the table that a library sees while it loads.
pub fn open_for_loading(lua: Lua, options: &Options) {
    lua.push_table(0, 8);
    lua.set_function(c"register_function", library::register_function);
    add_common(lua, options);
}

fn add_common(lua: Lua, options: &Options) {
    lua.set_function(c"log", log);
    for (name, level) in [(c"LOG_DEBUG", 0), (c"LOG_VERBOSE", 1), (c"LOG_NOTICE", 2), (c"LOG_WARNING", 3)] {
        lua.set_number(name, f64::from(level));
    }
    lua.set_text(c"REDIS_VERSION", options.version.text.as_bytes());
    lua.set_number(c"REDIS_VERSION_NUM", f64::from(options.version.number));
}

extern "C-unwind" fn call(l: *mut lua_State) -> c_int {
    enter(l, |lua| run(lua, true))
}

extern "C-unwind" fn pcall(l: *mut lua_State) -> c_int {
    enter(l, |lua| run(lua, false))
}

/// Runs a command and pushes what it answers.
fn run(lua: Lua, raises: bool) -> Results {
    if !lua.shared().is_running() {
        return throw(lua, "redis.call/pcall can only be called inside a script invocation");
    }
    if let Err(text) = read_request(lua) {
        reply::push_error(lua, text.as_bytes(), false);
        return if raises { Ok(lua.throw()) } else { Ok(1) };
    }
    lua.set_top(0);
    let shared = lua.shared();
    shared.reply.clear();
    let resp3 = shared.resp3;
    let (request, answer): (*const _, *mut _) = (&raw const shared.request, &raw mut shared.reply);
    // SAFETY: request and reply are fields that nothing but this callback uses until the host returns.
    let called = shared.host().map(|host| unsafe { host.call((*request).view(), resp3, &mut *answer) });
    if called != Some(Called::Replied) {
        let shared = lua.shared();
        shared.job.end = End::Abandoned;
        shared.text.clear();
        return Ok(lua.kill());
    }
    let is_error = lua.shared().reply.first() == Some(&b'-');
    reply::push(lua);
    let reply = &mut lua.shared().reply;
    if reply.capacity() > KEPT_BYTES_MAX {
        *reply = Vec::new();
    }
    if is_error && raises { Ok(lua.throw()) } else { Ok(1) }
}

/// Reads the arguments into the state's request: strings as they are, numbers with all their digits.
fn read_request(lua: Lua) -> Result<(), &'static str> {
    let arguments = lua.top();
    if arguments == 0 {
        return Err("Please specify at least one argument for this redis lib call");
    }
    let request = &mut lua.shared().request;
    request.clear();
    for i in 1..=arguments {
        match lua.kind(i) {
            ffi::STRING => {
                let bytes = lua.bytes(i).unwrap_or_default();
                if !request.has_room(bytes.len()) {
                    return Err("the command's arguments are too long");
                }
                request.push(bytes);
            }
            ffi::NUMBER => request.push_with(|out| push_g(out, lua.number(i), 17)),
            _ => return Err("Lua redis lib command arguments must be strings or integers"),
        }
    }
    Ok(())
}

/// Raises an error of our own.
#[cold]
fn throw(lua: Lua, text: &str) -> Results {
    reply::push_error(lua, text.as_bytes(), false);
    Ok(lua.throw())
}

extern "C-unwind" fn setresp(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        if !lua.shared().is_running() {
            return throw(lua, "redis.setresp can only be called inside a script invocation");
        }
        if lua.top() != 1 {
            return throw(lua, "redis.setresp() requires one argument.");
        }
        match to_i32(lua.number(1)) {
            2 => lua.shared().resp3 = false,
            3 => lua.shared().resp3 = true,
            _ => return throw(lua, "RESP version must be 2 or 3."),
        }
        Ok(0)
    })
}

extern "C-unwind" fn sha1hex(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        if lua.top() != 1 {
            return throw(lua, "wrong number of arguments");
        }
        let digest = hex_digest(lua.bytes(1).unwrap_or_default());
        lua.push(&digest);
        Ok(1)
    })
}

/// The SHA-1 of a text in 40 hexadecimal digits: a script's name.
pub fn hex_digest(text: &[u8]) -> [u8; 40] {
    let digest = Sha1::digest(text);
    let mut hex = [0; 40];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(digest) {
        let digit = |n: u8| b"0123456789abcdef"[usize::from(n)];
        (pair[0], pair[1]) = (digit(byte >> 4), digit(byte & 15));
    }
    hex
}

extern "C-unwind" fn error_reply(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        if lua.top() != 1 || lua.kind(1) != ffi::STRING {
            reply::push_error(lua, b"wrong number or type of arguments", false);
            return Ok(1);
        }
        let text = reply::c_string(lua.bytes(1).unwrap_or_default());
        reply::push_error_line(lua, text.strip_prefix(b"-").unwrap_or(text));
        Ok(1)
    })
}

extern "C-unwind" fn status_reply(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        if lua.top() != 1 || lua.kind(1) != ffi::STRING {
            reply::push_error(lua, b"wrong number or type of arguments", false);
            return Ok(1);
        }
        lua.push_table(0, 1);
        lua.push_copy(1);
        lua.set_field(-2, c"ok");
        Ok(1)
    })
}

extern "C-unwind" fn set_repl(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        if !lua.shared().is_running() {
            return throw(lua, "redis.set_repl can only be called inside a script invocation");
        }
        if lua.top() != 1 {
            return throw(lua, "redis.set_repl() requires two arguments.");
        }
        let flags = to_i32(lua.number(1));
        match u8::try_from(flags) {
            Ok(flags) if flags & !(REPL_AOF | REPL_REPLICA) == 0 => {
                lua.shared().host().into_iter().for_each(|host| host.set_repl(flags));
                Ok(0)
            }
            _ => throw(lua, "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE."),
        }
    })
}

extern "C-unwind" fn acl_check_cmd(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        if !lua.shared().is_running() {
            return throw(lua, "redis.acl_check_cmd can only be called inside a script invocation");
        }
        if let Err(text) = read_request(lua) {
            return throw(lua, text);
        }
        let shared = lua.shared();
        let request: *const _ = &raw const shared.request;
        // SAFETY: the request is a field that the host does not reach.
        let may = shared.host().and_then(|host| unsafe { host.may_run((*request).view()) });
        match may {
            Some(may) => lua.push_boolean(may),
            None => return throw(lua, "Invalid command passed to redis.acl_check_cmd()"),
        }
        Ok(1)
    })
}

extern "C-unwind" fn log(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        let arguments = lua.top();
        if arguments < 2 {
            return throw(lua, "redis.log() requires two arguments or more.");
        }
        if !lua.is_number(1) {
            return throw(lua, "First argument must be a number (log level).");
        }
        let level = match to_i32(lua.number(1)) {
            level @ 0..=3 => level as u8,
            _ => return throw(lua, "Invalid debug level."),
        };
        lua.shared().buffer.clear();
        for i in 2..=arguments {
            if let Some(bytes) = lua.bytes(i) {
                let buffer = &mut lua.shared().buffer;
                if i > 2 {
                    buffer.push(b' ');
                }
                buffer.extend_from_slice(bytes);
            }
        }
        let shared = lua.shared();
        let text: *const Vec<u8> = &raw const shared.buffer;
        // SAFETY: the buffer is a field that the host does not reach.
        shared.host().into_iter().for_each(|host| unsafe { host.log(level, &*text) });
        Ok(0)
    })
}

/// The debugger is not there: no script stops.
extern "C-unwind" fn breakpoint(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        lua.push_boolean(false);
        Ok(1)
    })
}

extern "C-unwind" fn debug(l: *mut lua_State) -> c_int {
    enter(l, |_| Ok(0))
}

/// Effects are replicated one by one since Redis 7 whether asked for or not.
extern "C-unwind" fn replicate_commands(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        lua.push_boolean(true);
        Ok(1)
    })
}

const KEPT_BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    #[test]
    fn a_script_is_named_by_its_sha() {
        assert_eq!(&super::hex_digest(b"return 1"), b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }
}
