//! The process as the operating system sees it: working directory, descriptors, background, pid file.

use crate::config::Config;
use std::io::{self, Write};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

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
/// Descriptors for everything that is no client (Redis's CONFIG_MIN_RESERVED_FDS).
const RESERVED_FILES: u64 = 32;
