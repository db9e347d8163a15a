//! Where log lines go: standard output or a file, and the system's log besides.
//!
//! Before each line the path is looked at; if another file is there, or none, the log is opened anew. A log rotation
//! that moves the file away needs no signal, and one that copies and truncates finds every line appended. The
//! descriptor keeps its number through all this, because the crash report knows it. Not here: the shape of a line
//! (`log`). Cost: one `stat` a line.

use crate::config::Config;
use crate::config::choices::SyslogFacility;
use crate::log;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// The log's writer. It is given whole lines.
pub struct Output {
    /// None for standard output.
    file: Option<LogFile>,
    system: Option<SystemLog>,
}

impl Output {
    /// As `logfile`, `syslog-enabled` and the two directives beside it say.
    pub fn open(config: &Config) -> io::Result<Self> {
        let file = if config.logfile.is_empty() { None } else { Some(LogFile::open(&config.logfile)?) };
        Ok(Self { file, system: config.syslog_enabled.then(|| SystemLog::of(config)) })
    }

    /// The descriptor that lines go to, as long as the process lives.
    pub fn fd(&self) -> i32 {
        self.file.as_ref().map_or(1, |file| file.file.as_raw_fd())
    }
}

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(system) = &mut self.system {
            system.send(line);
        }
        match &mut self.file {
            Some(file) => file.write(line),
            None => io::stdout().write_all(line).and_then(|()| io::stdout().flush()),
        }?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct LogFile {
    /// Absolute: the server may change its directory.
    path: PathBuf,
    file: OwnedFd,
    /// Device and inode.
    identity: (u64, u64),
}

impl LogFile {
    fn open(path: &str) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let file = append(&path)?;
        let identity = identity(&file.metadata()?);
        Ok(Self { path, file: file.into(), identity })
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if std::fs::metadata(&self.path).ok().as_ref().map(identity) != Some(self.identity) {
            // Where it cannot be opened anew, lines still go to the old file.
            let _ = self.reopen();
        }
        let mut rest = line;
        while !rest.is_empty() {
            let written = rustix::io::write(&self.file, rest)?;
            rest = &rest[written..];
        }
        Ok(())
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = append(&self.path)?;
        self.identity = identity(&file.metadata()?);
        rustix::io::dup3(file, &mut self.file, rustix::io::DupFlags::CLOEXEC)?;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn identity(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The system's logger, spoken to over its socket as `syslog(3)` does.
struct SystemLog {
    /// None until a line is sent, and after a failure.
    socket: Option<UnixDatagram>,
    path: &'static str,
    ident: String,
    facility: u8,
}

impl SystemLog {
    fn of(config: &Config) -> Self {
        let ident = config.syslog_ident.clone();
        Self { socket: None, path: SYSTEM_LOG, ident, facility: facility(config.syslog_facility) }
    }

    /// A logger that is not there, or does not read, costs the line and no client's time.
    fn send(&mut self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let Some(log::Line { severity, day, month, time, text }) = log::Line::read(&line) else { return };
        let (priority, ident) = (self.facility * 8 + severity, &self.ident);
        let message = format!("<{priority}>{month} {day:>2} {time} {ident}[{}]: {text}", std::process::id());
        if self.socket.is_none() {
            self.socket = connect(self.path).ok();
        }
        if self.socket.as_ref().is_some_and(|socket| socket.send(message.as_bytes()).is_err()) {
            self.socket = None;
        }
    }
}

fn connect(path: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The numbers of RFC 3164: user 1, local0 to local7 16 to 23.
fn facility(facility: SyslogFacility) -> u8 {
    if facility == SyslogFacility::User {
        return 1;
    }
    let place = SyslogFacility::ALL.iter().filter(|f| **f != SyslogFacility::User).position(|f| *f == facility);
    16 + place.unwrap_or_default() as u8
}

const SYSTEM_LOG: &str = "/dev/log";

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_log_that_was_moved_away_goes_on_under_its_own_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut output =
            Output::open(&Config { logfile: path.to_str().unwrap().to_owned(), ..Config::default() }).unwrap();
        let fd = output.fd();
        output.write_all(b"one\n").unwrap();
        fs::rename(&path, dir.path().join("log.1")).unwrap();
        output.write_all(b"two\n").unwrap();
        fs::remove_file(&path).unwrap();
        output.write_all(b"three\n").unwrap();
        fs::write(&path, "").unwrap();
        output.write_all(b"four\n").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("log.1")).unwrap(), "one\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "four\n");
        assert_eq!(output.fd(), fd, "the crash report knows the number");
    }

    #[test]
    fn a_log_that_cannot_be_opened_anew_keeps_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).unwrap();
        let config = Config { logfile: inner.join("log").to_str().unwrap().to_owned(), ..Config::default() };
        let mut output = Output::open(&config).unwrap();
        fs::rename(&inner, dir.path().join("moved")).unwrap();
        output.write_all(b"kept\n").unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("moved/log")).unwrap(), "kept\n");
    }

    #[test]
    fn the_system_log_gets_the_text_with_facility_and_severity() {
        let dir = tempfile::tempdir().unwrap();
        let path: &'static str = Box::leak(dir.path().join("dev-log").to_str().unwrap().into());
        let logger = UnixDatagram::bind(path).unwrap();
        let mut system = SystemLog { socket: None, path, ident: "redis".into(), facility: 16 };
        system.send(b"42:M 02 Nov 2026 23:41:48.123 # Out of room: a b\n");
        let mut buffer = [0; 256];
        let n = logger.recv(&mut buffer).unwrap();
        let expected = format!("<132>Nov  2 23:41:48 redis[{}]: Out of room: a b", std::process::id());
        assert_eq!(String::from_utf8_lossy(&buffer[..n]), expected);
        assert_eq!((facility(SyslogFacility::User), facility(SyslogFacility::Local7)), (1, 23));
    }
}
