//! Lua 5.1 as Redis's scripts know it: the VM, its sandbox, its libraries, and running one script on a stack of its own.
//!
//! [`Engine`] is one state with what a run needs; each worker has one for EVAL and one for functions. What a script asks
//! of the server goes through [`Host`]: this module knows no command, no key and no reply but their bytes.
//!
//! The VM is PUC Lua 5.1.5 from the crate `lua-src`, patched and compiled by `build.rs` (`hunks.rs` says with what), and
//! called through `ffi.rs`; `vm.rs` is a typed face over it. `sandbox.rs` makes the globals of Redis 8.2, `redis.rs` the
//! table `redis`, `reply.rs` turns replies into values and back, `library.rs` loads libraries of functions; `cjson.rs`,
//! `cmsgpack.rs`, `structs.rs`, `bit.rs` and `random.rs` are the libraries, `text.rs` reads a script's first line.
//!
//! What holds: no script reaches another script's data through the VM (tables, metatables and globals are read-only, there
//! is no `io`, `package`, `debug` or bytecode); memory is bounded and its end is a clean error; whatever a script does,
//! the count hook comes by within a millisecond or so, and there a script may be stopped or leave its thread.

mod bit;
pub mod cache;
mod cjson;
mod cmsgpack;
pub mod decimal;
mod engine;
mod ffi;
pub mod functions;
pub mod library;
pub mod local;
mod random;
mod redis;
mod reply;
pub mod running;
mod sandbox;
mod state;
mod structs;
#[cfg(test)]
mod tests;
pub mod text;
mod vm;

pub use cache::{Script, Scripts};
pub use engine::{Engine, Ran, Start};
pub use redis::hex_digest;
pub use state::{Compiled, Environment, Options};

use crate::resp::ArgvView;

/// What a running script may ask of the server.
pub trait Host {
    /// Runs a command. Its reply, or the error that refuses it, is appended to `reply` in the version asked for.
    fn call(&mut self, request: ArgvView<'_>, resp3: bool, reply: &mut Vec<u8>) -> Called;

    /// `redis.set_repl`: what of [`REPL_AOF`] and [`REPL_REPLICA`] the effects from now on go to.
    fn set_repl(&mut self, flags: u8);

    /// `redis.acl_check_cmd`: whether the user may run this; `None` if it is no command.
    fn may_run(&mut self, request: ArgvView<'_>) -> Option<bool>;

    /// `redis.log`: a level from 0 (debug) to 3 (warning).
    fn log(&mut self, level: u8, text: &[u8]);

    /// Asked by the count hook, each millisecond or so.
    fn tick(&mut self) -> Tick;
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    Replied,
    /// The script cannot go on: the whole run is to be thrown away.
    Abandon,
}

/// How a script goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    GoOn,
    /// It leaves its thread: [`Engine::resume`] returns [`Ran::Suspended`].
    Suspend,
    /// It ends with this error.
    Kill(&'static str),
}

pub const REPL_AOF: u8 = 1;
pub const REPL_REPLICA: u8 = 2;

/// What `redis.REDIS_VERSION` and its kin tell, chosen by who opens the states.
#[derive(Clone, Copy, Debug)]
pub struct Version {
    pub text: &'static str,
    pub number: u32,
}
