//! The log, in Redis's line format, so that everything which reads Redis's log reads ours.
//!
//! ```text
//! 4242:M 22 Nov 2026 23:41:48.123 * Ready to accept connections tcp
//! pid:role  local time             level
//! ```
//!
//! Roles: `X` a Sentinel, `C` a process that is starting or a helper, `S` a replica, `M` a primary. Levels: `.` debug,
//! `-` verbose, `*` notice, `#` warning. They ride on tracing's DEBUG, INFO, WARN and ERROR, because there are four of
//! each; say [`debug!`], [`verbose!`], [`notice!`] or [`warning!`] and never tracing's own words, whose meaning is one
//! step off. What libraries log comes through the same subscriber.
//!
//! The level can change while the server runs ([`Log::set_level`]), the role through [`set_role`]. Where lines go is
//! the caller's: anything that is a `MakeWriter`. A line is written with one call, so lines of threads never mix.
//!
//! Cost: a message below the level costs one load of a static; one that is printed costs a `localtime_r` and a write.

#![allow(unsafe_code)]

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tracing::{Event, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;

pub use tracing::{debug, error as warning, info as verbose, warn as notice};

/// The least important kind of message that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Debug,
    Verbose,
    Notice,
    Warning,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> LevelFilter {
        match level {
            Level::Debug => LevelFilter::DEBUG,
            Level::Verbose => LevelFilter::INFO,
            Level::Notice => LevelFilter::WARN,
            Level::Warning => LevelFilter::ERROR,
        }
    }
}

/// What this process is, as a letter of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Starting,
    Primary,
    Replica,
    Sentinel,
}

/// The system's own words for an error, without Rust's addition.
pub fn cause(e: &std::io::Error) -> String {
    let text = e.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

static ROLE: AtomicU8 = AtomicU8::new(b'C');

/// Sets the role that lines show from now on. Until the first call it is [`Role::Starting`].
pub fn set_role(role: Role) {
    let letter = match role {
        Role::Starting => b'C',
        Role::Primary => b'M',
        Role::Replica => b'S',
        Role::Sentinel => b'X',
    };
    ROLE.store(letter, Ordering::Relaxed);
}

/// The running log.
pub struct Log {
    level: reload::Handle<LevelFilter, Registry>,
}

impl Log {
    /// Changes the level for all threads.
    pub fn set_level(&self, level: Level) {
        // Fails only when the subscriber is gone, and then there is nothing to change.
        let _ = self.level.reload(LevelFilter::from(level));
    }
}

static RUNNING: std::sync::OnceLock<Log> = std::sync::OnceLock::new();

/// Keeps the process's log, so that its level can be changed from anywhere.
pub fn keep(log: Log) {
    let _ = RUNNING.set(log);
}

/// The process's log, once it runs.
pub fn running() -> Option<&'static Log> {
    RUNNING.get()
}

/// A subscriber that writes lines to `writer`, and the handle on its level. Install it once with
/// `tracing::subscriber::set_global_default`.
pub fn subscriber<W>(level: Level, writer: W) -> (impl Subscriber + Send + Sync, Log)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(LevelFilter::from(level));
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).event_format(RedisLine).with_writer(writer);
    (Registry::default().with(filter).with(lines), Log { level: handle })
}

/// The line format.
#[derive(Clone, Copy, Debug, Default)]
pub struct RedisLine;

impl<S, N> FormatEvent<S, N> for RedisLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let role = char::from(ROLE.load(Ordering::Relaxed));
        let mark = match *event.metadata().level() {
            tracing::Level::ERROR => '#',
            tracing::Level::WARN => '*',
            tracing::Level::INFO => '-',
            tracing::Level::DEBUG | tracing::Level::TRACE => '.',
        };
        write!(line, "{}:{role} {} {mark} ", std::process::id(), LocalTime::of(SystemTime::now()))?;
        ctx.format_fields(line.by_ref(), event)?;
        writeln!(line)
    }
}

/// A line taken apart, for loggers with a format of their own.
pub struct Line<'a> {
    /// The number of syslog: 7 debug, 6 info, 5 notice, 4 warning.
    pub severity: u8,
    pub day: &'a str,
    pub month: &'a str,
    /// Without the milliseconds.
    pub time: &'a str,
    pub text: &'a str,
}

impl<'a> Line<'a> {
    /// Reads what [`RedisLine`] wrote.
    pub fn read(line: &'a str) -> Option<Self> {
        let mut words = line.splitn(7, ' ').skip(1);
        let [day, month, _year, time, mark, text] = std::array::from_fn(|_| words.next().unwrap_or_default());
        let severity = match mark {
            "." => 7,
            "-" => 6,
            "*" => 5,
            "#" => 4,
            _ => return None,
        };
        let (time, _millis) = time.split_once('.')?;
        Some(Self { severity, day: day.trim_start_matches('0'), month, time, text: text.trim_end() })
    }
}

/// A moment on the wall clock of this machine.
struct LocalTime {
    day: i32,
    /// From 0.
    month: usize,
    year: i32,
    hour: i32,
    minute: i32,
    second: i32,
    millis: u32,
}

impl LocalTime {
    fn of(time: SystemTime) -> LocalTime {
        // A clock before 1970 is broken; its lines show 1970.
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = libc::time_t::try_from(since.as_secs()).unwrap_or_default();
        let tm = local(seconds);
        LocalTime {
            day: tm.tm_mday,
            month: usize::try_from(tm.tm_mon).unwrap_or_default(),
            year: tm.tm_year.saturating_add(1900),
            hour: tm.tm_hour,
            minute: tm.tm_min,
            second: tm.tm_sec,
            millis: since.subsec_millis(),
        }
    }
}

fn local(seconds: libc::time_t) -> libc::tm {
    // SAFETY: `tm` is a plain C struct of integers and a pointer, for which all zeros is a valid value.
    let mut tm: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals of the right types; localtime_r writes only through the second. On
    // failure it leaves the zeros, and nothing reads `tm_zone`.
    unsafe { libc::localtime_r(&raw const seconds, &raw mut tm) };
    tm
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LocalTime { day, month, year, hour, minute, second, millis } = self;
        let month = MONTHS.get(*month).copied().unwrap_or("???");
        write!(f, "{day:02} {month} {year} {hour:02}:{minute:02}:{second:02}.{millis:03}")
    }
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    /// A place for lines that a test can read.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// `pid:role dd Mon yyyy hh:mm:ss.mmm mark message`, with figures as `9`.
    fn shape(line: &str) -> String {
        let (head, tail) = line.split_at(line.find(['.', '\n']).map_or(0, |i| i + 4));
        head.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).chain(tail.chars()).collect()
    }

    #[test]
    fn lines_levels_and_roles_look_like_redis() {
        let page = Page::default();
        let (subscriber, log) = {
            let page = page.clone();
            subscriber(Level::Notice, move || page.clone())
        };
        tracing::subscriber::with_default(subscriber, || {
            verbose!("not shown");
            notice!("Ready to accept connections {}", "tcp");
            let line = page.take();
            assert!(line.starts_with(&format!("{}:C ", std::process::id())), "{line}");
            let month = line.split(' ').nth(2).unwrap().to_owned();
            let shown = shape(&line).trim_start_matches('9').replace(&month, "Mon");
            assert_eq!(shown, ":C 99 Mon 9999 99:99:99.999 * Ready to accept connections tcp\n");

            set_role(Role::Replica);
            warning!("low");
            assert!(page.take().contains(":S "));
            log.set_level(Level::Debug);
            debug!("detail");
            verbose!("more");
            let marks: Vec<String> = page.take().lines().map(|l| l.split(' ').nth(5).unwrap().to_owned()).collect();
            assert_eq!(marks, [".", "-"]);
            log.set_level(Level::Warning);
            notice!("not shown");
            assert_eq!(page.take(), "");
            set_role(Role::Starting);
        });
    }

    #[test]
    fn time_is_local() {
        let time = UNIX_EPOCH + Duration::from_millis(1_795_390_908_123);
        let text = LocalTime::of(time).to_string();
        let mut date = std::process::Command::new("date");
        date.args(["-d", "@1795390908", "+%d %b %Y %H:%M:%S"]).env("LC_ALL", "C");
        let date = String::from_utf8(date.output().unwrap().stdout).unwrap();
        assert_eq!(text, format!("{}.123", date.trim_end()));
    }
}
