//! Who started this process and wants to hear how it gets on: systemd through its socket, Upstart through a stop.
//!
//! Redis's rules: `supervised` says whom to look for, the environment says who is there, and under a supervisor the
//! process stays in the foreground whatever `daemonize` says.

use crate::config::choices::Supervised;
use crate::log::notice;
use rustix::process::{Signal, getpid, kill_process};
use sd_notify::NotifyState;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Who is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supervisor {
    None,
    Systemd,
    Upstart,
}

impl Supervisor {
    /// As INFO names it.
    pub fn name(self) -> &'static str {
        match self {
            Supervisor::None => "no",
            Supervisor::Systemd => "systemd",
            Supervisor::Upstart => "upstart",
        }
    }
}

/// Looks whether the supervisor that is asked for has started this process. Before any thread exists.
pub fn find(wanted: Supervised) -> Supervisor {
    let has = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let found = match wanted {
        Supervised::Systemd | Supervised::Auto if has("NOTIFY_SOCKET") => Supervisor::Systemd,
        Supervised::Upstart | Supervised::Auto if has("UPSTART_JOB") => Supervisor::Upstart,
        _ => Supervisor::None,
    };
    PRESENT.store(found as u8, Relaxed);
    found
}

/// Says in the log what was found, or not; Upstart gets its stop.
pub fn greet(wanted: Supervised) {
    match (present(), wanted) {
        (Supervisor::Systemd, _) => {
            notice!(
                "supervised by systemd. Please make sure you set appropriate values for TimeoutStartSec and TimeoutStopSec in your service unit."
            );
            tell(&[NotifyState::Status("memkv is loading...")]);
        }
        (Supervisor::Upstart, _) => {
            notice!("supervised by upstart, will stop to signal readiness");
            let _ = kill_process(getpid(), Signal::STOP);
        }
        (Supervisor::None, Supervised::Systemd) => {
            notice!("systemd supervision requested, but NOTIFY_SOCKET not found");
        }
        (Supervisor::None, Supervised::Upstart) => {
            notice!("upstart supervision requested, but UPSTART_JOB not found");
        }
        (Supervisor::None, Supervised::No | Supervised::Auto) => {}
    }
}

/// Who is there, once [`find`] has looked.
pub fn present() -> Supervisor {
    [Supervisor::None, Supervisor::Systemd, Supervisor::Upstart][usize::from(PRESENT.load(Relaxed)).min(2)]
}

/// Tells systemd, if it is there.
pub fn tell(states: &[NotifyState<'_>]) {
    if present() == Supervisor::Systemd {
        // A service manager that does not listen is no reason to stop.
        let _ = sd_notify::notify(states);
    }
}

/// The data is there and clients are answered.
pub fn ready(status: &str) {
    tell(&[NotifyState::Status(status), NotifyState::Ready]);
}

/// The configuration of the process is being looked at again; [`ready`] ends it.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

static PRESENT: AtomicU8 = AtomicU8::new(Supervisor::None as u8);
