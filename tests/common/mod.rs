//! The server as a process, for tests that look at it from outside: started on a free loopback port, ended by its
//! process id, asked over sockets.

#![allow(unsafe_code)]
#![allow(dead_code)] // every test binary uses its own part

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server.
pub struct Server {
    pub child: Child,
    pub address: SocketAddr,
    pub dir: tempfile::TempDir,
}

impl Server {
    pub fn start(options: &[&str]) -> Server {
        Server::start_as(options, |_| {})
    }

    /// `prepare`: what is peculiar to the process that becomes the server.
    pub fn start_as(options: &[&str], prepare: impl Fn(&mut Command)) -> Server {
        raise_descriptor_limit();
        // The port may be taken between finding and using it.
        (0..5).find_map(|_| Server::try_start(options, &prepare)).expect("the server starts")
    }

    fn try_start(options: &[&str], prepare: &impl Fn(&mut Command)) -> Option<Server> {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_memkv-server"));
        command
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1", "--save", "", "--threads", "2"])
            .args(["--dir", dir.path().to_str().unwrap(), "--logfile", dir.path().join("log").to_str().unwrap()])
            .args(options)
            .stdout(Stdio::null());
        prepare(&mut command);
        let mut child = command.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
            // Its own word, not a connection: another server may have been first at the port.
            if fs::read_to_string(dir.path().join("log")).is_ok_and(|log| log.contains(READY)) {
                return Some(Server { child, address, dir });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        None
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes on a new connection, says that nothing follows, and reads until the other side closes.
    pub fn tell(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// One command and its reply.
    pub fn ask(&self, words: &[&[u8]]) -> String {
        self.tell(&request(words))
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    pub fn resident_mb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }

    /// The process lives and answers others, soon.
    pub fn is_well(&mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "the server died:\n{}", self.log());
        let started = Instant::now();
        let answer = self.ask(&[b"PING"]);
        assert!(answer == "+PONG\r\n" || answer.starts_with("-NOAUTH"), "{answer}");
        assert!(started.elapsed() < Duration::from_secs(5), "others wait {:?}", started.elapsed());
        assert!(!self.log().contains("panicked"), "{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A connection that speaks in lines and hears replies of both protocols.
pub struct Client<S: Read = TcpStream>(BufReader<S>);

impl Client {
    pub fn of(server: &Server) -> Self {
        Client::over(server.connect())
    }
}

impl<S: Read + Write> Client<S> {
    pub fn over(stream: S) -> Self {
        Client(BufReader::new(stream))
    }

    pub fn stream(&mut self) -> &mut S {
        self.0.get_mut()
    }

    pub fn ask(&mut self, line: &str) -> Vec<String> {
        self.send(line);
        self.reply()
    }

    pub fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
    }

    /// Runs a command that answers an element. False when the server is gone.
    pub fn moves(&mut self, line: &str) -> bool {
        let (mut length, mut element) = (String::new(), String::new());
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).is_ok()
            && self.0.read_line(&mut length).is_ok_and(|n| n > 0)
            && self.0.read_line(&mut element).is_ok_and(|n| n > 0)
    }

    /// The scalars of a reply or push, aggregates flattened; a null is nothing.
    pub fn reply(&mut self) -> Vec<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a reply comes in time");
        assert!(!line.is_empty(), "the connection was closed");
        let (kind, text) = (line.as_bytes()[0], line[1..].trim_end());
        let mut several = |n: i64| (0..n).flat_map(|_| self.reply()).collect();
        match kind {
            b'*' | b'>' | b'~' => several(text.parse().unwrap()),
            b'%' => several(2 * text.parse::<i64>().unwrap()),
            b'_' => vec![],
            b'$' | b'=' => {
                let Ok(len) = text.parse::<usize>() else { return vec![] };
                let mut bytes = vec![0; len + 2];
                self.0.read_exact(&mut bytes).unwrap();
                vec![String::from_utf8_lossy(&bytes[..len]).into_owned()]
            }
            _ => vec![text.to_owned()],
        }
    }

    /// Everything up to the reply of a PING, one line for each reply or push.
    pub fn heard(&mut self) -> Vec<String> {
        self.send("PING");
        let mut heard = Vec::new();
        loop {
            let said = self.reply().join(" ");
            if said == "PONG" || said.trim_end() == "pong" {
                return heard;
            }
            heard.push(said);
        }
    }
}

/// A small generator of numbers, the same in every run.
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = (0..len.div_ceil(8)).flat_map(|_| (self.next() ^ self.next() << 31).to_le_bytes());
        words.take(len).collect()
    }
}

pub fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// Thousands of connections are this process's descriptors too.
fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel reads and fills the struct we own.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not after twenty seconds: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const READY: &str = "Ready to accept connections";
pub const PATIENCE: Duration = Duration::from_secs(60);
