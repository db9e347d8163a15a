//! The crash report: what a fatal signal or a panic leaves in the log before the process dies of it.
//!
//! In this order, so that what needs least comes first: signal and address, the build, an allocation that failed,
//! registers, the stack; then what the server knows ([`describe_with`]): who was served, the configuration, INFO; then
//! where to send it. Names of commands are shown, their arguments and passwords are not.
//!
//! A handler runs on its thread's small alternate stack, so that an overflow of the stack can report itself, and moves
//! to a large one made at start for everything that formats. The server may be in any state: what the report reads may
//! be locked by the thread that crashed, so an alarm ends a report that hangs. A second fault inside the report ends
//! the process too. As process 1 of a container, which default actions of signals do not end, the process exits with
//! 128 + signal.

#![allow(unsafe_code)]

use crate::config::Config;
use crate::config::cli;
use crate::memory;
use corosensei::stack::DefaultStack;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::fmt::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

/// Makes fatal signals and panics report to a descriptor that stays open.
pub fn install(log_fd: i32) {
    LOG_FD.store(log_fd, Relaxed);
    *STACK.lock() = DefaultStack::new(STACK_BYTES).ok();
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT] {
        handle(signal, report_crash as *const () as usize, libc::SA_NODEFER | libc::SA_RESETHAND | libc::SA_SIGINFO);
    }
    handle(libc::SIGALRM, give_up as *const () as usize, 0);
    std::panic::set_hook(Box::new(|panic| {
        say(format_args!("\n\n=== MEMKV BUG REPORT START: Cut & paste starting from here ===\n{panic}\n"));
        std::process::abort();
    }));
}

/// `crash-log-enabled` and `use-exit-on-panic`.
pub fn apply(config: &Config) {
    ENABLED.store(config.crash_log_enabled, Relaxed);
    EXITS.store(config.use_exit_on_panic, Relaxed);
}

/// Who adds to the report what the server knows. It is given the text so far, and may hang or fault.
pub fn describe_with(describe: fn(&mut String)) {
    let _ = DESCRIBE.set(describe);
}

/// DEBUG SEGFAULT, PANIC, OOM and ASSERT.
pub fn on_purpose(how: Purpose) {
    match how {
        // SAFETY: raising a signal is always allowed.
        Purpose::Segfault => drop(unsafe { libc::raise(libc::SIGSEGV) }),
        Purpose::Panic => panic!("DEBUG PANIC"),
        Purpose::Assert => panic!("=== ASSERTION FAILED === DEBUG ASSERT: '1 == 2' is not true"),
        Purpose::OutOfMemory => drop(Vec::<u8>::with_capacity(OOM_BYTES)),
        Purpose::StackOverflow => drop(dig(u64::MAX)),
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    Segfault,
    Panic,
    Assert,
    OutOfMemory,
    StackOverflow,
}

/// Uses up the stack.
#[inline(never)]
fn dig(depth: u64) -> u64 {
    let page = std::hint::black_box([depth; 512]);
    if depth == 0 { 0 } else { dig(depth - 1).wrapping_add(page[(depth % 512) as usize]) }
}

/// What the process was started with, for a start anew.
pub fn remember_start() {
    if let Ok(program) = std::env::current_exe() {
        let _ = START.set((program, std::env::args_os().collect(), std::env::current_dir().unwrap_or_default()));
    }
}

/// Once the process has ended in order it starts anew: DEBUG RESTART.
pub fn restart_at_the_end(delay: Duration) {
    RESTART_MS.store(delay.as_millis().min(u128::from(NEVER - 1)) as u64, SeqCst);
}

/// The end that was asked for does not take place.
pub fn forget_restart() {
    RESTART_MS.store(NEVER, SeqCst);
}

/// Starts anew if that was asked for. Returns if it was not, or if it cannot be done.
pub fn restart_if_asked() {
    let delay_ms = RESTART_MS.load(SeqCst);
    if delay_ms != NEVER {
        restart(Duration::from_millis(delay_ms));
    }
}

/// Puts a new process in the place of this one, with the same program, arguments and directory. Returns if it cannot.
pub fn restart(delay: Duration) {
    let Some((program, args, dir)) = START.get() else { return };
    std::thread::sleep(delay);
    let [name, rest @ ..] = args.as_slice() else { return };
    let failed = std::process::Command::new(program).arg0(name).args(rest).current_dir(dir).exec();
    crate::log::warning!("Failed to restart the server: {}: {failed}", program.display());
}

fn handle(signal: i32, handler: usize, flags: i32) {
    // SAFETY: the handlers have the type that their flags ask for, and live as long as the process.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags | libc::SA_ONSTACK;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut());
    }
}

extern "C" fn report_crash(signal: i32, info: *const libc::siginfo_t, context: *const libc::c_void) {
    if !ENABLED.load(Relaxed) {
        die(signal);
    }
    // A thread may crash while another reports; the report ends the process, and the alarm ends the report.
    if REPORTING.swap(signal, SeqCst) != 0 {
        // SAFETY: a number of this thread.
        let me = unsafe { libc::gettid() };
        if REPORTER.load(SeqCst) == me {
            die(signal);
        }
        loop {
            std::thread::sleep(REPORT_TIME);
        }
    }
    // SAFETY: plain calls; the kernel gives the handler a valid structure, of which this signal has an address.
    let (address, code) = unsafe {
        REPORTER.store(libc::gettid(), SeqCst);
        libc::alarm(REPORT_TIME.as_secs() as u32);
        ((*info).si_addr() as usize, (*info).si_code)
    };
    let registers = registers(context);
    let stack = STACK.try_lock().and_then(|mut stack| stack.take());
    match stack {
        Some(stack) => corosensei::on_stack(stack, || report(signal, code, address, &registers)),
        None => report(signal, code, address, &registers),
    }
    die(signal);
}

fn report(signal: i32, code: i32, address: usize, registers: &[(&str, u64)]) {
    say(format_args!(
        "\n=== MEMKV BUG REPORT START: Cut & paste starting from here ===\nmemkv {} crashed by signal: {signal}, si_code: {code}\n\
         Build: commit={} build={:016x} {}-{}\n",
        cli::VERSION,
        cli::COMMIT,
        cli::build_id(),
        std::env::consts::ARCH,
        std::env::consts::OS
    ));
    if matches!(signal, libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL) && code > 0 {
        say(format_args!("Accessing address: 0x{address:x}\n"));
        let stack_pointer =
            registers.iter().find(|(name, _)| matches!(*name, "RSP" | "SP")).map_or(0, |(_, value)| *value);
        if signal == libc::SIGSEGV && (address as u64).abs_diff(stack_pointer) < NEAR_STACK {
            say(format_args!("The address is at the stack pointer: the stack has overflowed\n"));
        }
    }
    if let Some(bytes) = memory::failed_allocation() {
        say(format_args!("Out Of Memory allocating {bytes} bytes!\n"));
    }
    let thread = std::thread::current();
    say(format_args!("Thread: {}\n\n------ REGISTERS ------\n", thread.name().unwrap_or("?")));
    for row in registers.chunks(4) {
        row.iter().for_each(|(name, value)| say(format_args!("{name}:{value:016x} ")));
        say(format_args!("\n"));
    }
    say(format_args!("\n------ STACK TRACE ------\n"));
    say(format_args!("{}\n", std::backtrace::Backtrace::force_capture()));
    if let Some(describe) = DESCRIBE.get() {
        let mut text = String::new();
        describe(&mut text);
        say(format_args!("{text}"));
    }
    say(format_args!(
        "\n=== MEMKV BUG REPORT END. Make sure to include from START to END. ===\n\n\
         Please report this crash with the whole text above; SECURITY.md of the source says where.\n\
         If the memory of this machine may be faulty, test it first: memkv-server --test-memory <megabytes>\n\n"
    ));
}

/// The registers at the fault, by name.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn registers(context: *const libc::c_void) -> Registers {
    const NAMES: [&str; 18] = [
        "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15", "RDI", "RSI", "RBP", "RBX", "RDX", "RAX", "RCX", "RSP",
        "RIP", "EFL",
    ];
    if context.is_null() {
        return Registers::new();
    }
    // SAFETY: the kernel gives a handler with SA_SIGINFO the context of its thread.
    let registers = unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs };
    NAMES.into_iter().zip(registers.into_iter().map(|value| value as u64)).collect()
}

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
fn registers(context: *const libc::c_void) -> Registers {
    const NAMES: [&str; 31] = [
        "X0", "X1", "X2", "X3", "X4", "X5", "X6", "X7", "X8", "X9", "X10", "X11", "X12", "X13", "X14", "X15", "X16",
        "X17", "X18", "X19", "X20", "X21", "X22", "X23", "X24", "X25", "X26", "X27", "X28", "X29", "X30",
    ];
    if context.is_null() {
        return Registers::new();
    }
    // SAFETY: the kernel gives a handler with SA_SIGINFO the context of its thread.
    let machine = unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext };
    let named = NAMES.into_iter().zip(machine.regs);
    named.chain([("SP", machine.sp), ("PC", machine.pc)]).collect()
}

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
fn registers(_: *const libc::c_void) -> Registers {
    Registers::new()
}

/// The report takes too long. An alarm that another process sends ends nothing.
extern "C" fn give_up(_: i32) {
    let signal = REPORTING.load(SeqCst);
    if signal != 0 {
        say(format_args!("\n(The report hung and ends here.)\n=== MEMKV BUG REPORT END. ===\n"));
        die(signal)
    }
}

/// Ends the process by the signal that it crashed of.
fn die(signal: i32) -> ! {
    // SAFETY: plain calls; the default action is in force before the signal is raised.
    unsafe {
        if EXITS.load(Relaxed) {
            libc::_exit(1);
        }
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
        libc::_exit(128 + signal)
    }
}

/// Writes to the log. What fits into [`LINE_BYTES`] is not allocated: the allocator may be what crashed.
fn say(text: std::fmt::Arguments<'_>) {
    let mut line = Line::default();
    let _ = line.write_fmt(text);
    // SAFETY: write(2) on a descriptor that stays open; a failure changes nothing.
    unsafe {
        libc::write(LOG_FD.load(Relaxed), line.0.as_ptr().cast(), line.0.len());
    }
}

#[derive(Default)]
struct Line(SmallVec<[u8; LINE_BYTES]>);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// The registers at the fault, by name.
type Registers = SmallVec<[(&'static str, u64); 33]>;

static LOG_FD: AtomicI32 = AtomicI32::new(2);
static ENABLED: AtomicBool = AtomicBool::new(true);
static EXITS: AtomicBool = AtomicBool::new(false);
/// The signal that is being reported, and the thread that does it.
static REPORTING: AtomicI32 = AtomicI32::new(0);
static REPORTER: AtomicI32 = AtomicI32::new(0);
static STACK: Mutex<Option<DefaultStack>> = Mutex::new(None);
static DESCRIBE: OnceLock<fn(&mut String)> = OnceLock::new();
/// Program, arguments and directory.
static START: OnceLock<(PathBuf, Vec<std::ffi::OsString>, PathBuf)> = OnceLock::new();
static RESTART_MS: AtomicU64 = AtomicU64::new(NEVER);
const NEVER: u64 = u64::MAX;
const LINE_BYTES: usize = 1024;
/// Resolving the names of a trace takes some hundred kilobytes; pages that are not touched cost nothing.
const STACK_BYTES: usize = 4 << 20;
/// A report takes a fraction of a second, and a few on a machine that swaps.
const REPORT_TIME: Duration = Duration::from_secs(10);
/// A function's frame is rarely larger than the guard behind a stack.
const NEAR_STACK: u64 = 64 << 10;
/// More than any machine has.
const OOM_BYTES: usize = (isize::MAX / 2) as usize;
