//! A Lua state: its memory, what its callbacks share, and running one function in it under protection.
//!
//! All memory comes through an allocator that counts and has a limit; at the limit Lua raises `not enough memory`, which
//! a script may catch. Everything that can raise runs inside a protected call: outside of one an error would end the
//! process.

#![allow(unsafe_code)]

use super::ffi::{self, lua_State};
use super::library::Loading;
use super::vm::{Lua, Results, enter};
use super::{Host, Tick, cmsgpack, reply, sandbox};
use crate::resp::{Argv, Proto};
use corosensei::Yielder;
use std::alloc::{Layout, alloc, dealloc, realloc};
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Which environment a state has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// EVAL: keys and arguments are globals.
    Eval,
    /// Functions: keys and arguments are the function's own, and libraries load with less around them.
    Functions,
}

/// What a state is opened with.
#[derive(Clone, Debug)]
pub struct Options {
    pub kind: Environment,
    pub version: super::Version,
    /// `lua-enable-deprecated-api`: getfenv, setfenv and newproxy exist.
    pub deprecated_api: bool,
    /// Bytes; beyond them a script hears `not enough memory`.
    pub memory_max: usize,
    /// Bytes of all states of the kind, this one's included.
    pub used: Arc<AtomicUsize>,
}

/// A function in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compiled(pub(super) c_int);

/// What callbacks reach: see [`Lua::shared`].
pub struct Shared {
    used: usize,
    limit: usize,
    used_by_all: Arc<AtomicUsize>,
    /// The text of an error about to be raised.
    pub(super) text: String,
    /// What an encoder or decoder writes into.
    pub(super) buffer: Vec<u8>,
    /// The command that is being called, and its reply.
    pub(super) request: Argv,
    pub(super) reply: Vec<u8>,
    /// The tables that a decoder is within.
    pub(super) begun: Vec<cmsgpack::Begun>,
    /// Who serves the running script; there is one only while it runs.
    pub(super) host: Option<NonNull<dyn Host>>,
    pub(super) yielder: *const Yielder<(), ()>,
    /// `redis.setresp(3)`.
    pub(super) resp3: bool,
    /// A library is being loaded.
    pub(super) loading: Option<Box<Loading>>,
    pub(super) job: Invocation,
    /// The reply, or an error's text.
    pub(super) out: Vec<u8>,
    pub(super) kind: Environment,
    /// The error handler, in the registry.
    pub(super) handler: c_int,
    /// The strings `KEYS` and `ARGV`, there as well.
    names: [c_int; 2],
    /// What of `used` is in the sum of all states.
    reported: usize,
}

/// What is to be run, and how it ended.
pub(super) struct Invocation {
    pub function: c_int,
    /// Keys and arguments; read before the script begins.
    pub keys: *const [&'static [u8]],
    pub arguments: *const [&'static [u8]],
    pub name: Vec<u8>,
    pub proto: Proto,
    pub end: End,
}

/// How a script ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The reply is written.
    Reply,
    /// The text of an error is written. `counted`: a command that it comes from has counted it already.
    Error { counted: bool },
    /// The host wanted it abandoned; there is no reply.
    Abandoned,
}

impl Shared {
    /// Inside a script, and not while a library loads.
    pub(super) fn is_running(&self) -> bool {
        self.host.is_some() && self.loading.is_none()
    }

    /// The host, for one call of it.
    pub(super) fn host(&mut self) -> Option<&mut dyn Host> {
        // SAFETY: set by `Engine::resume` for as long as it runs, from a reference that lives as long; callbacks do not
        // nest, so this is the only one in use.
        self.host.map(|mut host| unsafe { host.as_mut() })
    }
}

/// An open state.
pub(super) struct State {
    lua: *mut lua_State,
    pub shared: Box<Shared>,
    main: c_int,
}

impl State {
    /// Opens a state with its sandbox. `None` if there is no memory for it.
    pub fn open(options: &Options) -> Option<Self> {
        let mut shared = Box::new(Shared {
            used: 0,
            limit: usize::MAX,
            used_by_all: options.used.clone(),
            text: String::new(),
            buffer: Vec::new(),
            request: Argv::new(),
            reply: Vec::new(),
            begun: Vec::new(),
            host: None,
            yielder: std::ptr::null(),
            resp3: false,
            loading: None,
            job: Invocation {
                function: 0,
                keys: NO_WORDS,
                arguments: NO_WORDS,
                name: Vec::new(),
                proto: Proto::Resp2,
                end: End::Reply,
            },
            out: Vec::new(),
            kind: options.kind,
            handler: 0,
            names: [0; 2],
            reported: 0,
        });
        let data: *mut Shared = &raw mut *shared;
        // SAFETY: the allocator's data is boxed beside the state and outlives it.
        let lua = unsafe { ffi::lua_newstate(allocate, data.cast()) };
        if lua.is_null() {
            return None;
        }
        let mut state = Self { lua, shared, main: 0 };
        // SAFETY: the state is live and this thread's. Its memory has no limit while it is furnished, so that nothing in
        // here raises.
        let vm = unsafe { Lua::new(lua) };
        sandbox::furnish(vm, options);
        vm.push_function(sandbox::error_handler);
        state.shared.handler = vm.keep();
        state.shared.names = [&b"KEYS"[..], b"ARGV"].map(|name| {
            vm.push(name);
            vm.keep()
        });
        vm.push_function(main);
        state.main = vm.keep();
        state.shared.limit = options.memory_max;
        state.shared.report();
        Some(state)
    }

    pub fn vm(&self) -> Lua {
        // SAFETY: live until drop, and only used by the thread that has it.
        unsafe { Lua::new(self.lua) }
    }

    /// Runs the job. On a fiber.
    pub fn run(&mut self) {
        let vm = self.vm();
        self.collect_if_short();
        self.shared.resp3 = false;
        self.shared.out.clear();
        vm.raw_get_at(ffi::REGISTRY, self.main);
        if vm.protected_call(0, 0, 0) != 0 {
            // Outside the script itself only memory is a reason.
            let text = vm.bytes(-1).unwrap_or(b"not enough memory");
            let shared = &mut self.shared;
            shared.out.clear();
            shared.out.extend_from_slice(b"ERR ");
            shared.out.extend_from_slice(text);
            shared.job.end = End::Error { counted: false };
        }
        vm.set_hook(None, 0, 0);
        vm.set_killed(false);
        vm.set_top(0);
        self.shared.report();
    }

    /// 5.1 does not collect by itself when memory is short.
    pub fn collect_if_short(&mut self) {
        if self.shared.used > self.shared.limit / 10 * 8 {
            // A collection may itself need memory, for smaller tables of its own.
            self.unlimited(Lua::collect);
        }
    }

    /// What runs outside a protected call must not raise: for a few small allocations there is no limit.
    pub fn unlimited<R>(&mut self, work: impl FnOnce(Lua) -> R) -> R {
        let limit = std::mem::replace(&mut self.shared.limit, usize::MAX);
        let result = work(self.vm());
        self.shared.limit = limit;
        result
    }

    pub fn forget(&mut self, function: Compiled) {
        self.unlimited(|vm| vm.forget(function.0));
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // SAFETY: live, and owned here alone. Nothing in it has finalizers that raise: its userdata has none.
        unsafe { ffi::lua_close(self.lua) };
        self.shared.used_by_all.fetch_sub(self.shared.reported, Relaxed);
    }
}

/// The body of a run: handler, function, keys and arguments onto the stack, the call, its result into `out`.
extern "C-unwind" fn main(l: *mut lua_State) -> c_int {
    enter(l, |lua| {
        lua.raw_get_at(ffi::REGISTRY, lua.shared().handler);
        lua.raw_get_at(ffi::REGISTRY, lua.shared().job.function);
        push_list(lua, lua.shared().job.keys);
        push_list(lua, lua.shared().job.arguments);
        let arguments = if lua.shared().kind == Environment::Eval {
            lua.set_read_only(ffi::GLOBALS, false);
            set_global(lua, lua.shared().names[1]);
            set_global(lua, lua.shared().names[0]);
            lua.set_read_only(ffi::GLOBALS, true);
            0
        } else {
            2
        };
        lua.set_hook(Some(hook), ffi::MASK_COUNT, INSTRUCTIONS_PER_TICK);
        let status = lua.protected_call_in_place(arguments, 1, 1);
        lua.set_hook(None, 0, 0);
        if lua.is_killed() && lua.shared().job.end == End::Abandoned {
            return Ok(0);
        }
        finish(lua, status)
    })
}

/// The value on top becomes the global whose name the registry holds.
fn set_global(lua: Lua, name: c_int) {
    lua.raw_get_at(ffi::REGISTRY, name);
    lua.insert(-2);
    lua.raw_set(ffi::GLOBALS);
}

fn finish(lua: Lua, status: c_int) -> Results {
    let end = if lua.is_killed() && status == 0 {
        // The script's last act was to catch the end of what it had loaded.
        error_text(lua, lua.shared().text.clone().as_bytes());
        End::Error { counted: false }
    } else if status != 0 {
        End::Error { counted: reply::write_error(lua) }
    } else {
        reply::write(lua)
    };
    lua.shared().job.end = end;
    Ok(0)
}

fn error_text(lua: Lua, text: &[u8]) {
    let out = &mut lua.shared().out;
    out.clear();
    out.extend_from_slice(text);
}

fn push_list(lua: Lua, list: *const [&'static [u8]]) {
    // SAFETY: the caller that starts the run lends the lists until its first suspension, which comes after this.
    let list = unsafe { &*list };
    lua.push_table(list.len(), 0);
    for (i, item) in list.iter().enumerate() {
        lua.push(item);
        lua.raw_set_at(-2, i as c_int + 1);
    }
}

/// The count hook: a script may end here, or leave its thread.
pub(super) extern "C-unwind" fn hook(l: *mut lua_State, _: *mut ffi::Activation) {
    enter(l, |lua| {
        if lua.is_killed() {
            return Ok(lua.throw_kill());
        }
        loop {
            let shared = lua.shared();
            match shared.host().map_or(Tick::GoOn, |host| host.tick()) {
                Tick::GoOn => return Ok(0),
                // SAFETY: the yielder of the fiber that this code runs on; it lives as long as the run.
                Tick::Suspend => unsafe { (*shared.yielder).suspend(()) },
                Tick::Kill(text) => {
                    shared.text.clear();
                    shared.text.push_str(text);
                    return Ok(lua.kill());
                }
            }
        }
    });
}

impl Lua {
    /// Ends the script with the error in [`Shared::text`]: no protected call of it holds the error up.
    pub(super) fn kill(self) -> c_int {
        self.set_killed(true);
        // Should it go on all the same, in a coroutine's place, it hears it again at its next line.
        self.set_hook(Some(hook), ffi::MASK_LINE, 0);
        self.throw_kill()
    }

    fn throw_kill(self) -> c_int {
        if !self.has_room(4) {
            return self.throw();
        }
        self.push_table(0, 3);
        let text = self.shared().text.as_str();
        let (at, len) = (text.as_ptr(), text.len());
        // SAFETY: the text lives in `Shared` and does not change meanwhile.
        self.push(unsafe { std::slice::from_raw_parts(at, len) });
        self.set_field(-2, c"err");
        if self.push_place(0) {
            self.set_field(-3, c"line");
            self.set_field(-2, c"source");
        }
        self.throw()
    }
}

/// Lua's allocator: exact sizes both ways, so that plain layouts do.
///
/// # Safety
/// For Lua alone, with a [`Shared`] as its data.
unsafe extern "C" fn allocate(data: *mut c_void, at: *mut c_void, old: usize, new: usize) -> *mut c_void {
    // SAFETY: Lua hands back what it got, with the size it asked for, and runs in one thread at a time.
    unsafe {
        let shared = &mut *data.cast::<Shared>();
        let old = if at.is_null() { 0 } else { old };
        if new == 0 {
            if old != 0 {
                dealloc(at.cast(), Layout::from_size_align_unchecked(old, ALIGNMENT));
                shared.count(old, 0);
            }
            return std::ptr::null_mut();
        }
        if new > old && shared.used + (new - old) > shared.limit {
            return std::ptr::null_mut();
        }
        let made = if old == 0 {
            alloc(Layout::from_size_align_unchecked(new, ALIGNMENT))
        } else {
            realloc(at.cast(), Layout::from_size_align_unchecked(old, ALIGNMENT), new)
        };
        if !made.is_null() {
            shared.count(old, new);
        }
        made.cast()
    }
}

impl Shared {
    #[inline]
    fn count(&mut self, old: usize, new: usize) {
        self.used = self.used + new - old;
    }

    /// Tells the sum of all states what this one holds.
    pub(super) fn report(&mut self) {
        let told = std::mem::replace(&mut self.reported, self.used);
        self.used_by_all.fetch_add(self.used.wrapping_sub(told), Relaxed);
    }
}

const NO_WORDS: &[&[u8]] = &[];
/// As strict as a double or a pointer.
const ALIGNMENT: usize = 8;
/// As in Redis.
pub(super) const INSTRUCTIONS_PER_TICK: c_int = 100_000;
