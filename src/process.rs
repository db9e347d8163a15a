//! The process as the operating system sees it: working directory, descriptors, background, pid file.

use crate::config::Config;
use crate::config::choices::OomScoreAdj;
use crate::config::expand_title;
use parking_lot::Mutex;
use rustix::process::{getpriority_process, setpriority_process};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Detaches from the terminal. Before any thread exists.
pub fn daemonize() -> io::Result<()> {
    // SAFETY: no other thread runs yet, so the child of fork may do anything.
    match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        _ => std::process::exit(0),
    }
    // SAFETY: plain calls of the C library on descriptors of our own.
    unsafe {
        libc::setsid();
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
        if null >= 0 {
            for fd in 0..3 {
                libc::dup2(null, fd);
            }
            if null > 2 {
                libc::close(null);
            }
        }
    }
    Ok(())
}

/// Raises the descriptor limit to what `maxclients` needs; returns how many clients are possible.
pub fn adjust_open_files(maxclients: u32) -> u32 {
    let wanted = u64::from(maxclients) + RESERVED_FILES;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the struct we own.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 || limit.rlim_cur >= wanted {
        return maxclients;
    }
    let raised = libc::rlimit { rlim_cur: wanted, rlim_max: limit.rlim_max.max(wanted) };
    let allowed = libc::rlimit { rlim_cur: wanted.min(limit.rlim_max), rlim_max: limit.rlim_max };
    // SAFETY: as above.
    let set = |l: &libc::rlimit| unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const *l) } == 0;
    if set(&raised) {
        return maxclients;
    }
    let files = if set(&allowed) { allowed.rlim_cur } else { limit.rlim_cur };
    let possible = files.saturating_sub(RESERVED_FILES).clamp(1, u64::from(maxclients)) as u32;
    crate::log::warning!(
        "Current maximum open files is {files}. maxclients has been reduced to {possible} to compensate for low ulimit."
    );
    possible
}

/// Lets other threads go first from here on: work in the background shares a core with a worker where cores are few. To
/// be followed by work with [`Courtesy`].
pub fn step_back() {
    take_small_slices(BACKGROUND_NICE);
}

/// Makes this thread nicer by so much, and lets it lose little when it gives way ([`Courtesy`]).
pub fn take_small_slices(nicer: i32) {
    let nice = (getpriority_process(None).unwrap_or_default() + nicer).min(NICEST);
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: 0,
        sched_flags: libc::SCHED_FLAG_KEEP_POLICY as u64,
        sched_nice: nice,
        sched_priority: 0,
        sched_runtime: SMALL_SLICE_NS,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the kernel reads a structure of the size that it tells.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if done != 0 {
        // A kernel, or a sandbox, that knows only the older call; a policy without slices. Being refused changes nothing.
        let _ = setpriority_process(None, nice);
    }
}

/// Work that shares its core politely. Weight says how much of a core a thread gets, not when: from Linux 6.6 on one of
/// small weight runs to the end of its slice, some milliseconds, though a worker wakes meanwhile. At 60 % load the p99 of
/// GET beside saves without end was 3.3 ms so, and 0.6 ms when the saver offers the core each 100 us; offers each 50 us
/// gain nothing more and let a save beside a worker that is never idle take four times as long.
pub struct Courtesy {
    since: Instant,
}

impl Courtesy {
    pub fn begin() -> Self {
        Self { since: Instant::now() }
    }

    /// Offers the core to who waits for it, if that is due. To be called every some tens of microseconds.
    pub fn give_way(&mut self) {
        if self.since.elapsed() >= GIVE_WAY_EACH {
            std::thread::yield_now();
            self.since = Instant::now();
        }
    }
}

/// What the process, its children or this thread took (`RUSAGE_*`); nothing where that cannot be read.
pub fn rusage(who: libc::c_int) -> libc::rusage {
    // SAFETY: the structure is made of numbers, for which zero is a value, and the kernel writes to this one only.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(who, &raw mut usage);
        usage
    }
}

/// How gladly the kernel ends this process when memory runs out (`oom-score-adj`).
#[derive(Default)]
pub struct OomScore {
    /// The score before it was changed for the first time: what relative ones count from, and what is put back.
    before: Mutex<Option<i32>>,
}

impl OomScore {
    /// `is_replica`: the second of `oom-score-adj-values` holds.
    pub fn apply(&self, config: &Config, is_replica: bool) -> io::Result<()> {
        let mut before = self.before.lock();
        let base = match (*before, config.oom_score_adj) {
            (None, OomScoreAdj::No) => return Ok(()),
            (Some(score), _) => score,
            (None, _) => std::fs::read_to_string(OOM_SCORE)?.trim().parse().map_err(io::Error::other)?,
        };
        let [primary, replica, _] = config.oom_score_adj_values;
        let value = if is_replica { replica } else { primary };
        let wanted = match config.oom_score_adj {
            OomScoreAdj::No => base,
            OomScoreAdj::Relative => base.saturating_add(value),
            OomScoreAdj::Absolute => value,
        };
        std::fs::write(OOM_SCORE, wanted.clamp(-OOM_SCORE_MAX, OOM_SCORE_MAX).to_string())?;
        *before = (config.oom_score_adj != OomScoreAdj::No).then_some(base);
        Ok(())
    }
}

/// What `ps` shows in place of the command line: the template of `proc-title-template`, filled in.
#[derive(Default)]
pub struct Title {
    /// The memory that the command line is read from; `None` if it is left alone.
    area: Mutex<Option<&'static mut [u8]>>,
    program: String,
}

impl Title {
    /// Takes over the memory of the command line and of the environment behind it, whose variables move elsewhere. Before
    /// any thread of ours exists, and when the arguments have been read: they are gone then.
    pub fn take() -> Self {
        let program = std::env::args_os().next().unwrap_or_default().to_string_lossy().into_owned();
        for (name, value) in std::env::vars_os() {
            if !name.is_empty() && !name.as_bytes().contains(&b'=') {
                // SAFETY: no thread exists but this and the allocator's, which asks for no variable. The C library
                // copies what it is given.
                unsafe { std::env::set_var(name, value) };
            }
        }
        let area = title_area().map(|Range { start, end }| {
            // SAFETY: the kernel put the arguments and the variables there, one behind the other, in writable memory. The
            // variables have moved, and nobody reads the arguments any more.
            unsafe { std::slice::from_raw_parts_mut(start as *mut u8, end - start) }
        });
        Self { area: Mutex::new(area), program }
    }

    pub fn show(&self, config: &Config, config_file: Option<&Path>) {
        let mut area = self.area.lock();
        let Some(area) = area.as_mut() else { return };
        let (port, tls_port) = (config.port.to_string(), config.tls_port.to_string());
        let shown = config.main_port();
        let address = match config.bind.first() {
            _ if shown == 0 => config.unixsocket.clone(),
            Some(first) => format!("{}:{shown}", first.trim_start_matches('-')),
            None => format!("*:{shown}"),
        };
        let file = config_file.map_or("".into(), Path::to_string_lossy);
        let text = expand_title(&config.proc_title_template, |variable| {
            Some(match variable {
                "title" => &self.program,
                "listen-addr" => &address,
                "port" => &port,
                "tls-port" => &tls_port,
                "unixsocket" => &config.unixsocket,
                "config-file" => &file,
                "server-mode" => "",
                _ => return None,
            })
        });
        let text = text.unwrap_or_default();
        let shown = text.len().min(area.len().saturating_sub(1));
        area[..shown].copy_from_slice(&text.as_bytes()[..shown]);
        area[shown..].fill(0);
    }
}

/// From the first argument to the end of the last variable, if they follow each other as usual.
fn title_area() -> Option<Range<usize>> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in parentheses, may hold anything; the first field behind it is the third.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut addresses = fields.split_whitespace().skip(ARG_START - 3).map(|field| field.parse::<usize>().ok());
    let [arg_start, arg_end, env_start, env_end] = std::array::from_fn(|_| addresses.next().flatten());
    let area = arg_start?..env_end?;
    (area.start > 0 && area.start < arg_end? && arg_end == env_start && env_start? <= area.end).then_some(area)
}

/// Writes the pid file, if one is wanted. Redis warns and goes on when it cannot.
pub fn write_pid_file(config: &Config) {
    let Some(path) = pid_file(config) else { return };
    let written = std::fs::File::create(&path).and_then(|mut f| writeln!(f, "{}", std::process::id()));
    if let Err(e) = written {
        crate::log::warning!("Failed to write PID file: {path}: {e}");
    }
}

pub fn remove_pid_file(config: &Config) {
    if let Some(path) = pid_file(config) {
        crate::log::notice!("Removing the pid file.");
        let _ = std::fs::remove_file(path);
    }
}

fn pid_file(config: &Config) -> Option<String> {
    match (config.daemonize, config.pidfile.as_str()) {
        (_, path) if !path.is_empty() => Some(path.to_owned()),
        (true, _) => Some("/var/run/redis.pid".to_owned()),
        _ => None,
    }
}

/// Makes a fatal signal and a panic leave a report in the log before the process dies of it.
pub fn install_crash_report(log_fd: i32) {
    LOG_FD.store(log_fd, Relaxed);
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGABRT] {
        // SAFETY: the handler has the right type; SA_RESETHAND lets a second fault end the process.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = report_crash as *const () as usize;
            action.sa_flags = libc::SA_NODEFER | libc::SA_RESETHAND;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
    std::panic::set_hook(Box::new(|info| {
        report(&format!("\n\n=== MEMKV BUG REPORT START ===\nmemkv {}: {info}\n", env!("CARGO_PKG_VERSION")));
        std::process::abort();
    }));
}

/// The signal handler. Taking the stack's trace allocates, which a crashed allocator may not survive; by then the signal
/// is in the log.
extern "C" fn report_crash(signal: i32) {
    report(&format!("\n=== MEMKV BUG REPORT ===\nmemkv {} crashed by signal: {signal}\n", env!("CARGO_PKG_VERSION")));
    report("\n------ STACK TRACE ------\n");
    report(&format!("{}\n=== END OF BUG REPORT ===\n", std::backtrace::Backtrace::force_capture()));
    // SAFETY: the default action is in force again; raising ends the process with this signal.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

fn report(text: &str) {
    // SAFETY: write(2) on a descriptor that stays open; a failure changes nothing.
    unsafe {
        libc::write(LOG_FD.load(Relaxed), text.as_ptr().cast(), text.len());
    }
}

/// Crashes on purpose: DEBUG SEGFAULT.
pub fn crash() {
    // SAFETY: raising a signal is always allowed.
    unsafe {
        libc::raise(libc::SIGSEGV);
    }
}

static LOG_FD: AtomicI32 = AtomicI32::new(2);
const NICEST: i32 = 19;
/// A tenth of a worker's share where both always want the core; all that the worker leaves otherwise.
const BACKGROUND_NICE: i32 = 10;
/// What a thread forgoes when it gives way; the least that Linux (from 6.12 on) lets one ask for. With the usual 1.4 to 3 ms
/// it would hardly get on beside a worker that always wants the core.
const SMALL_SLICE_NS: u64 = 100_000;
const GIVE_WAY_EACH: Duration = Duration::from_micros(100);
/// The field of /proc/PID/stat with the address of the first argument; its end and the environment's ends follow.
const ARG_START: usize = 48;
const OOM_SCORE: &str = "/proc/self/oom_score_adj";
const OOM_SCORE_MAX: i32 = 1000;
/// Descriptors for everything that is no client (Redis's CONFIG_MIN_RESERVED_FDS).
const RESERVED_FILES: u64 = 32;
