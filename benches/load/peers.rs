//! Servers under test: which there are, and one running, pinned to the server's core, in a directory of its own.
//!
//! Invariant: no [`Server`] outlives its value; dropping it kills the process and removes its directory.
//! Peers are found where `scripts/oracles.sh` puts them; one that is missing is reported and left out.

use crate::cpu;
use crate::replies::Replies;
use crate::request::{Dialect, Recipe};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a server is, as far as starting and comparing it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The one that is held against the others.
    Memkv,
    /// Redis or Valkey: a peer in the sense of the targets.
    Redis,
    Memcached,
    /// Parses and answers +OK: the physical limit.
    Null,
}

/// A server that can be started.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: String,
    pub family: Family,
    pub binary: PathBuf,
    /// 1: the main thread alone.
    pub io_threads: usize,
}

impl Spec {
    /// `8.2`, `valkey`, `7.0`, `memcached`, `null`, `memkv`, each Redis or Valkey also as `8.2:io=2`; else the cause.
    pub fn find(name: &str, memkv: &Path) -> Result<Self, String> {
        let (base, io_threads) = match name.split_once(":io=") {
            Some((base, n)) => (base, n.parse().map_err(|e| format!("{name}: {e}"))?),
            None => (name, 1),
        };
        let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat/work/bin");
        let (family, binary) = match base {
            "memkv" => (Family::Memkv, memkv.to_owned()),
            "null" => (Family::Null, std::env::current_exe().map_err(|e| format!("null: {e}"))?),
            "7.0" => (Family::Redis, PathBuf::from("/usr/bin/redis-server")),
            "8.2" => (Family::Redis, fetched.join("redis-8.2")),
            "valkey" => (Family::Redis, fetched.join("valkey-9.1")),
            "memcached" => (Family::Memcached, PathBuf::from("/usr/bin/memcached")),
            _ => return Err(format!("{name}: no such server; there are memkv 7.0 8.2 valkey memcached null")),
        };
        if !binary.exists() {
            return Err(format!("{name}: {} is not there (`make oracles` fetches peers)", binary.display()));
        }
        Ok(Self { name: name.to_owned(), family, binary, io_threads })
    }

    pub fn dialect(&self) -> Dialect {
        if self.family == Family::Memcached { Dialect::Memcached } else { Dialect::Resp }
    }

    /// What the binary says of its version.
    pub fn version(&self) -> String {
        let flag = match self.family {
            Family::Memcached => "-V",
            Family::Null => return env!("CARGO_PKG_VERSION").to_owned(),
            _ => "--version",
        };
        let said = Command::new(&self.binary).arg(flag).output();
        said.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default()
    }

    fn command(&self, port: u16, dir: &Path, directives: &[(&str, &str)]) -> Command {
        let (mut command, port) = (Command::new(&self.binary), port.to_string());
        match self.family {
            Family::Null => {
                command.args(["null", "--port", &port]);
            }
            Family::Memcached => {
                // -u counts only where root starts it; the memory limit is far above what the work stores.
                command.args(["-l", "127.0.0.1", "-p", &port, "-U", "0", "-t", "1", "-m", "8192", "-u", "nobody"]);
            }
            Family::Memkv | Family::Redis => {
                command.args(["--port", &port, "--bind", "127.0.0.1", "--dir"]).arg(dir).args(["--save", ""]);
                directives.iter().for_each(|(name, value)| {
                    command.args([&format!("--{name}"), *value]);
                });
                match self.family {
                    Family::Memkv => command.args(["--threads", "1"]),
                    _ => command.args(["--io-threads", &self.io_threads.to_string()]),
                };
            }
        }
        command
    }
}

/// A running server.
pub struct Server {
    pub spec: Spec,
    pub port: u16,
    child: Child,
    dir: PathBuf,
    keep_dir: bool,
}

/// Where servers run and from which port on.
#[derive(Clone, Debug)]
pub struct Place {
    pub core: usize,
    pub first_port: u16,
    /// Directories of servers are made in it.
    pub scratch: PathBuf,
}

impl Server {
    /// Starts in a new directory and waits until it answers.
    pub fn start(spec: &Spec, place: &Place, directives: &[(&str, &str)]) -> io::Result<Self> {
        let port = free_port(place.first_port)?;
        let dir = place.scratch.join(format!("memkv-load-{}-{port}", std::process::id()));
        let mut server = Self::launch(spec, place, directives, &dir, port)?;
        server.keep_dir = false;
        Ok(server)
    }

    /// Starts in a directory that stays, with the files that are in it.
    pub fn start_in(spec: &Spec, place: &Place, directives: &[(&str, &str)], dir: &Path) -> io::Result<Self> {
        Self::launch(spec, place, directives, dir, free_port(place.first_port)?)
    }

    fn launch(spec: &Spec, place: &Place, directives: &[(&str, &str)], dir: &Path, port: u16) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let log = File::options().append(true).create(true).open(dir.join("server.log"))?;
        let mut command = spec.command(port, dir, directives);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = cpu::on_core(place.core, || command.spawn())?;
        RUNNING.lock().push((child.id(), dir.to_owned()));
        let mut server = Self { spec: spec.clone(), port, child, dir: dir.to_owned(), keep_dir: true };
        server.wait_ready()?;
        Ok(server)
    }

    /// Until PING is answered with PONG: a server that loads says so instead.
    fn wait_ready(&mut self) -> io::Result<()> {
        let began = Instant::now();
        let (ask, ready): (&[u8], &[u8]) = match self.spec.family {
            Family::Memcached => (b"version\r\n", b"VERSION"),
            Family::Null => (b"PING\r\n", b"+OK"),
            _ => (b"PING\r\n", b"+PONG"),
        };
        while began.elapsed() < READY_WAIT_MAX {
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(self.dir.join("server.log")).unwrap_or_default();
                let end: Vec<&str> = log.lines().rev().take(5).collect();
                return Err(io::Error::other(format!("{} ended at start, {status}: {end:?}", self.spec.name)));
            }
            if let Ok(mut peer) = TcpStream::connect(("127.0.0.1", self.port)) {
                let mut answer = [0u8; 64];
                peer.set_read_timeout(Some(READY_WAIT_MAX))?;
                peer.write_all(ask)?;
                let n = peer.read(&mut answer).unwrap_or(0);
                if answer[..n].starts_with(ready) {
                    return Ok(());
                }
            }
            std::thread::sleep(READY_STEP);
        }
        Err(io::Error::other(format!("{} is not ready after {READY_WAIT_MAX:?}", self.spec.name)))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// One command, and what it answered; not for memcached.
    pub fn ask<T: redis::FromRedisValue>(&self, line: &str) -> io::Result<T> {
        let mut command = redis::Cmd::new();
        for word in line.split_whitespace() {
            command.arg(word);
        }
        let client = redis::Client::open(("127.0.0.1", self.port)).map_err(io::Error::other)?;
        let answer = client.get_connection().and_then(|mut connection| command.query(&mut connection));
        answer.map_err(|e| io::Error::other(format!("{} to {line:?}: {e}", self.spec.name)))
    }

    /// A field of a section of INFO.
    pub fn info(&self, section: &str, field: &str) -> io::Result<String> {
        let text: String = self.ask(&format!("INFO {section}"))?;
        let found = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(found.ok_or_else(|| io::Error::other(format!("{} has no INFO field {field}", self.spec.name)))?.to_owned())
    }

    /// Sends `count` requests of a recipe, deeply pipelined, and reads all replies.
    pub fn fill(&self, recipe: &Recipe, count: u64) -> io::Result<()> {
        let mut peer = TcpStream::connect(("127.0.0.1", self.port))?;
        let mut write = recipe.writer(self.spec.dialect());
        let mut replies = Replies::new(self.spec.dialect());
        let (mut out, mut input, mut held, mut sent) = (Vec::new(), vec![0; FILL_READ_BYTES], 0, 0);
        while sent < count {
            out.clear();
            while sent < count && out.len() < FILL_BATCH_BYTES {
                write(&mut out);
                sent += 1;
            }
            peer.write_all(&out)?;
            while replies.count < sent {
                let n = peer.read(&mut input[held..])?;
                if n == 0 {
                    return Err(io::Error::other(format!("{} closed the connection of a fill", self.spec.name)));
                }
                let done = replies.feed(&input[..held + n])?;
                input.copy_within(done..held + n, 0);
                held = held + n - done;
            }
        }
        Ok(())
    }

    /// Ends it without a farewell; its directory stays if it was given one.
    pub fn stop(self) {}
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        RUNNING.lock().retain(|(pid, _)| *pid != self.child.id());
        let _ = self.child.wait();
        if !self.keep_dir {
            let _ = std::fs::remove_dir_all(&self.dir);
        }
    }
}

/// The processes and directories of servers that run.
static RUNNING: Mutex<Vec<(u32, PathBuf)>> = Mutex::new(Vec::new());

/// Ctrl-C ends the servers, removes what they wrote, and ends this process in one line.
pub fn end_with_ctrl_c() {
    std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        if runtime.block_on(tokio::signal::ctrl_c()).is_err() {
            return;
        }
        // Held until the end: no server is started any more.
        let running = RUNNING.lock();
        for (pid, dir) in running.iter() {
            let pid = i32::try_from(*pid).ok().and_then(Pid::from_raw);
            let _ = pid.map(|pid| kill_process(pid, Signal::KILL));
            let _ = std::fs::remove_dir_all(dir);
        }
        eprintln!("\nload: interrupted");
        std::process::exit(INTERRUPTED);
    });
}

/// As a shell says of a process that SIGINT has ended.
const INTERRUPTED: i32 = 130;

/// A port from `first` on that nobody listens on.
fn free_port(first: u16) -> io::Result<u16> {
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (first..first.saturating_add(PORTS)).find(free).ok_or_else(|| {
        io::Error::new(io::ErrorKind::AddrInUse, format!("no free port in {first}-{}", first.saturating_add(PORTS)))
    })
}

/// A server may load gigabytes before it is ready.
const READY_WAIT_MAX: Duration = Duration::from_secs(600);
/// How finely a start-up time is measured.
const READY_STEP: Duration = Duration::from_millis(2);
const FILL_BATCH_BYTES: usize = 64 << 10;
/// Longer than any line or number of a reply.
const FILL_READ_BYTES: usize = 256 << 10;
const PORTS: u16 = 200;
