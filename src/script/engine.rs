//! One state and the stack that its scripts run on.
//!
//! A script runs on a stack of its own (a fiber), so that the count hook can suspend it wherever it is: in a metamethod,
//! a comparator, the middle of `string.find`. [`Engine::start`] and [`Engine::resume`] return when it has ended or asked
//! to be suspended; a suspended engine may go on in any other thread.

#![allow(unsafe_code)]

use super::library::{self, Loaded};
use super::state::{Compiled, End, Options, State};
use super::{Host, ffi};
use crate::resp::Proto;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult};
use std::ptr::NonNull;

pub struct Engine {
    state: State,
    fiber: Option<Coroutine<(), (), ()>>,
    stack: Option<DefaultStack>,
}

// SAFETY: a state has no ties to a thread, and one thread at a time has the engine. A suspended script's frames, on the
// fiber's stack, hold no reference to thread-locals nor to the host that served them before: suspension happens in the
// count hook alone, outside of any call of the host, and each resumption brings its own host.
unsafe impl Send for Engine {}

/// What to run.
pub struct Start<'a> {
    pub function: Compiled,
    /// The SHA or the function's name, for error texts.
    pub name: &'a [u8],
    pub keys: &'a [&'a [u8]],
    pub arguments: &'a [&'a [u8]],
    /// What the client speaks.
    pub proto: Proto,
}

/// How far a script got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// [`Engine::output`] is the reply.
    Reply,
    /// [`Engine::output`] is an error's text. `counted`: the command that it comes from has been counted.
    Error {
        counted: bool,
    },
    /// The host abandoned the run.
    Abandoned,
    Suspended,
}

impl Engine {
    /// `None` if there is no memory for a state or a stack.
    pub fn open(options: &Options) -> Option<Box<Self>> {
        let stack = DefaultStack::new(STACK_BYTES).ok()?;
        let mut engine = Box::new(Self { state: State::open(options)?, fiber: None, stack: Some(stack) });
        engine.is_patched().then_some(engine)
    }

    /// A VM without our hunks must not run anybody's script.
    fn is_patched(&mut self) -> bool {
        let tests = [
            "return loadstring(string.dump(function() end)) == nil",
            "return not pcall(rawset, string, 'x', 1)",
            "return not pcall(unpack, {}, 0, 2147483647)",
        ];
        tests.iter().all(|test| self.state.says_yes(test))
    }

    /// Compiles a script. Errors: the text for the client.
    pub fn compile(&mut self, code: &[u8], host: &mut dyn Host) -> Result<Compiled, Vec<u8>> {
        let (state, _serving) = self.serve(host);
        state.compile(code)
    }

    pub fn forget(&mut self, function: Compiled) {
        self.state.forget(function);
    }

    /// Runs a library's code, which registers its functions. Errors: the text for the client.
    pub fn load_library(&mut self, code: &[u8], host: &mut dyn Host) -> Result<Loaded, Vec<u8>> {
        let (state, _serving) = self.serve(host);
        library::load(state, code)
    }

    /// Runs a script until it ends or is suspended.
    pub fn start(&mut self, start: &Start<'_>, host: &mut dyn Host) -> Ran {
        let job = &mut self.state.shared.job;
        job.function = start.function.0;
        // The lists are read before the script can be suspended, and so while the caller lends them.
        #[allow(clippy::unnecessary_cast)] // It changes the lifetime.
        let lent = |list: &[&[u8]]| std::ptr::from_ref(list) as *const [&'static [u8]];
        (job.keys, job.arguments) = (lent(start.keys), lent(start.arguments));
        job.name.clear();
        job.name.extend_from_slice(start.name);
        (job.proto, job.end) = (start.proto, End::Reply);
        let stack = match self.stack.take() {
            Some(stack) => stack,
            None => DefaultStack::new(STACK_BYTES).expect("address space for a script's stack"),
        };
        let state: *mut State = &raw mut self.state;
        self.fiber = Some(Coroutine::with_stack(stack, move |yielder, ()| {
            // SAFETY: the fiber belongs to the engine beside the state, which is boxed, and runs only inside `resume`.
            let state = unsafe { &mut *state };
            state.shared.yielder = yielder;
            state.run();
        }));
        self.resume(host)
    }

    /// Goes on with a suspended script.
    pub fn resume(&mut self, host: &mut dyn Host) -> Ran {
        let Some(mut fiber) = self.fiber.take() else { return Ran::Abandoned };
        let result = {
            let (_, _serving) = self.serve(host);
            fiber.resume(())
        };
        match result {
            CoroutineResult::Yield(()) => {
                self.fiber = Some(fiber);
                Ran::Suspended
            }
            CoroutineResult::Return(()) => {
                self.stack = Some(fiber.into_stack());
                match self.state.shared.job.end {
                    End::Reply => Ran::Reply,
                    End::Error { counted } => Ran::Error { counted },
                    End::Abandoned => Ran::Abandoned,
                }
            }
        }
    }

    /// The reply in the client's protocol, or an error's text without the dash in front.
    pub fn output(&self) -> &[u8] {
        &self.state.shared.out
    }

    /// Has callbacks find the host for as long as the guard lives.
    fn serve<'a>(&'a mut self, host: &'a mut dyn Host) -> (&'a mut State, Serving) {
        let host: *mut (dyn Host + '_) = host;
        // SAFETY: only the lifetime changes; the guard takes the pointer back before the borrow ends.
        let host: *mut (dyn Host + 'static) = unsafe { std::mem::transmute(host) };
        let shared: *mut _ = &raw mut *self.state.shared;
        self.state.shared.host = NonNull::new(host);
        (&mut self.state, Serving(shared))
    }
}

struct Serving(*mut super::state::Shared);

impl Drop for Serving {
    fn drop(&mut self) {
        // SAFETY: the state that this points into is borrowed for as long as the guard lives.
        unsafe { (*self.0).host = None };
    }
}

impl State {
    fn says_yes(&mut self, test: &str) -> bool {
        let vm = self.vm();
        let ok = vm.load(test.as_bytes(), c"=test") == 0 && vm.protected_call(0, 1, 0) == 0 && vm.boolean(-1);
        vm.set_top(0);
        ok
    }

    fn compile(&mut self, code: &[u8]) -> Result<Compiled, Vec<u8>> {
        self.collect_if_short();
        let vm = self.vm();
        vm.set_hook(Some(super::state::hook), ffi::MASK_COUNT, super::state::INSTRUCTIONS_PER_TICK);
        let status = vm.load(code, c"@user_script");
        vm.set_hook(None, 0, 0);
        vm.set_killed(false);
        let result = if status == 0 {
            Ok(Compiled(self.unlimited(super::vm::Lua::keep)))
        } else {
            Err(self.unlimited(|vm| vm.error_text().to_vec()))
        };
        vm.set_top(0);
        self.shared.report();
        result
    }
}

/// Address space; pages count once they are touched. The deepest nest of 200 C calls takes half a megabyte; a table nested as
/// deeply as the Lua stack allows (8,000 values), on its way into a reply, a few.
const STACK_BYTES: usize = 16 << 20;
