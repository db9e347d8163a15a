//! The process as the operating system sees it: descriptors, background, pid file, priorities, title; and, each in a
//! file, the log's file, the service manager, the crash report, and what the machine can do.

#![allow(unsafe_code)]

pub mod crash;
pub mod logfile;
pub mod machine;
pub mod supervisor;

use crate::config::Config;
use crate::config::choices::OomScoreAdj;
use crate::config::expand_title;
use parking_lot::Mutex;
use rustix::process::{Resource, Rlimit, getpriority_process, getrlimit, setpriority_process, setrlimit};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
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

/// How many workers the configuration asks for: one for each core unless it says.
pub fn worker_threads(config: &Config) -> usize {
    match config.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads as usize,
    }
}

/// Raises the descriptor limit to what `maxclients` needs; returns how many clients are possible. `workers`: threads
/// that have descriptors of their own. An error says what is missing.
pub fn adjust_open_files(maxclients: u32, workers: usize) -> Result<u32, String> {
    let reserved = RESERVED_FILES + FILES_OF_WORKER * workers as u64;
    let wanted = u64::from(maxclients) + reserved;
    let limit = getrlimit(Resource::Nofile);
    // No limit at all is None.
    let (current, highest) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    if current >= wanted {
        return Ok(maxclients);
    }
    let set = |current: u64, maximum: u64| {
        setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum: Some(maximum) }).is_ok()
    };
    if set(wanted, highest.max(wanted)) {
        return Ok(maxclients);
    }
    let allowed = wanted.min(highest);
    let files = if set(allowed, highest) { allowed } else { current };
    if files <= reserved {
        return Err(format!(
            "Your current 'ulimit -n' of {files} is not enough for the server to start. Please increase your open file limit to at least {}. Exiting.",
            reserved + 1
        ));
    }
    let possible = (files - reserved).min(u64::from(maxclients)) as u32;
    crate::log::warning!(
        "You requested maxclients of {maxclients} requiring at least {wanted} max file descriptors. Current maximum open files is {files}. maxclients has been reduced to {possible} to compensate for low ulimit. If you need higher maxclients increase 'ulimit -n'."
    );
    Ok(possible)
}

/// Lets other threads go first from here on: work in the background shares a core with a worker where cores are few. To
/// be followed by work with [`Courtesy`].
pub fn step_back() {
    take_small_slices(BACKGROUND_NICE);
}

/// Makes this thread nicer by so much, and lets it lose little when it gives way ([`Courtesy`]). Nothing is changed
/// where a filter of system calls would end the process for it.
pub fn take_small_slices(nicer: i32) {
    if may_reschedule() {
        reschedule((getpriority_process(None).unwrap_or_default() + nicer).min(NICEST));
    }
}

/// A kernel, or a sandbox, that refuses changes nothing.
fn reschedule(nice: i32) {
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
        // A kernel that knows only the older call; a policy without slices.
        let _ = setpriority_process(None, nice);
    }
}

/// Whether the calls of [`reschedule`] may be made. Hardened services kill who makes one
/// (`SystemCallFilter=~@resources`), so where there is a filter a child tries them first.
fn may_reschedule() -> bool {
    static MAY: OnceLock<bool> = OnceLock::new();
    *MAY.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let unfiltered = status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "0"]));
        let may = unfiltered || survives_rescheduling();
        if !may {
            crate::log::notice!("Work in the background cannot step back: this service may not call sched_setattr");
        }
        may
    })
}

fn survives_rescheduling() -> bool {
    // SAFETY: the child makes only system calls, allocates nothing and ends by `_exit`; the parent waits for it.
    unsafe {
        match libc::fork() {
            -1 => false,
            0 => {
                // Its death leaves no core file.
                libc::prctl(libc::PR_SET_DUMPABLE, 0);
                let nice = getpriority_process(None).unwrap_or_default();
                reschedule(nice);
                let _ = setpriority_process(None, nice);
                libc::_exit(0)
            }
            child => {
                let mut status = -1;
                while libc::waitpid(child, &raw mut status, 0) < 0
                    && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
                {}
                status == 0
            }
        }
    }
}

/// Work that shares its core politely. Weight says how much of a core a thread gets, not when: from Linux 6.6 on one of
/// small weight runs to the end of its slice, some milliseconds, though a worker wakes meanwhile. At 60 % load the p99
/// of GET beside saves without end was 3.3 ms so, and 0.6 ms when the saver offers the core each 100 us; offers each 50
/// us gain nothing more and let a save beside a worker that is never idle take four times as long.
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
    /// Takes over the memory of the command line and of the environment behind it, whose variables move elsewhere.
    /// Before any thread of ours exists, and when the arguments have been read: they are gone then.
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
            // SAFETY: the kernel put the arguments and the variables there, one behind the other, in writable memory.
            // The variables have moved, and the arguments are not read again.
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

/// Writes the pid file, if one is wanted: `pidfile` names it, or the process is in the background. Redis warns and goes
/// on when it cannot.
pub fn write_pid_file(config: &Config, background: bool) {
    let path = match config.pidfile.as_str() {
        "" if !background => return,
        "" => DEFAULT_PID_FILE,
        path => path,
    };
    // The directory may change until the file is removed.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let written = std::fs::File::create(&path).and_then(|mut f| writeln!(f, "{}", std::process::id()));
    match written {
        Ok(()) => drop(PID_FILE.set(path)),
        Err(e) => crate::log::warning!("Failed to write PID file {}: {}", path.display(), crate::log::cause(&e)),
    }
}

/// Removes the pid file, if this process wrote one.
pub fn remove_pid_file() {
    if let Some(path) = PID_FILE.get() {
        crate::log::notice!("Removing the pid file.");
        let _ = std::fs::remove_file(path);
    }
}

static PID_FILE: OnceLock<PathBuf> = OnceLock::new();
const DEFAULT_PID_FILE: &str = "/var/run/redis.pid";
const NICEST: i32 = 19;
/// A tenth of a worker's share where both always want the core; all that the worker leaves otherwise.
const BACKGROUND_NICE: i32 = 10;
/// What a thread forgoes when it gives way; the least that Linux (from 6.12 on) lets one ask for. With the usual 1.4 to
/// 3 ms it would hardly get on beside a worker that always wants the core.
const SMALL_SLICE_NS: u64 = 100_000;
const GIVE_WAY_EACH: Duration = Duration::from_micros(100);
/// The field of /proc/PID/stat with the address of the first argument; its end and the environment's ends follow.
const ARG_START: usize = 48;
const OOM_SCORE: &str = "/proc/self/oom_score_adj";
const OOM_SCORE_MAX: i32 = 1000;
/// Descriptors for everything that is no client (Redis's CONFIG_MIN_RESERVED_FDS).
const RESERVED_FILES: u64 = 32;
/// A runtime's: what it polls with, what wakes it, and its part of the signals.
const FILES_OF_WORKER: u64 = 4;
