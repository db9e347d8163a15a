//! Attacks that the server must survive: drawn from the CVE history of Redis and Valkey, each against the real binary.
//!
//! The promise is always the same: an error or a closed connection, never a crash, a hang, unbounded memory or somebody
//! else's data. Every test starts its own server on a free loopback port and ends it by its process id; after the
//! attack [`Server::is_well`] asks whether others are still served.

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server under attack.
struct Server {
    child: Child,
    address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Server {
    fn start(options: &[&str]) -> Server {
        raise_descriptor_limit();
        // The port may be taken between finding and using it.
        (0..5).find_map(|_| Server::try_start(options)).expect("the server starts")
    }

    fn try_start(options: &[&str]) -> Option<Server> {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_memkv-server"))
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1", "--save", "", "--threads", "2"])
            .args(["--dir", dir.path().to_str().unwrap(), "--logfile", dir.path().join("log").to_str().unwrap()])
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
            if TcpStream::connect(address).is_ok() {
                return Some(Server { child, address, dir });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        None
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends bytes on a new connection, says that nothing follows, and reads until the other side closes.
    fn tell(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// One command and its reply.
    fn ask(&self, words: &[&[u8]]) -> String {
        self.tell(&request(words))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    fn resident_mb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }

    /// The process lives and answers others, soon.
    fn is_well(&mut self) {
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

fn request(words: &[&[u8]]) -> Vec<u8> {
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

const PATIENCE: Duration = Duration::from_secs(60);
const LOCKED: &[&str] = &["--requirepass", "secret"];

// Before AUTH, and the protocol

#[test]
fn big_requests_are_refused_before_auth() {
    let mut server = Server::start(LOCKED);
    for (attack, error) in [
        (&b"*1000000\r\n"[..], "unauthenticated multibulk length"),
        (b"*11\r\n", "unauthenticated multibulk length"),
        (b"*1\r\n$536870912\r\n", "unauthenticated bulk length"),
        (b"*1\r\n$16385\r\n", "unauthenticated bulk length"),
    ] {
        assert_eq!(server.tell(attack), format!("-ERR Protocol error: {error}\r\n"));
    }
    let largest = [request(&[&[b'a'; 16384]]), request(&[b"PING"])].concat();
    assert!(server.tell(&largest).ends_with("-NOAUTH Authentication required.\r\n"));
    server.is_well();
}

#[test]
fn a_peer_that_never_reads_is_closed_at_a_small_cost_before_auth() {
    let mut server = Server::start(LOCKED);
    let before = server.resident_mb();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    // The kernel's own buffers shall not hold the flood.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.address.into()).unwrap();
    let mut stream: TcpStream = socket.into();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let flood = request(&[b"PING"]).repeat(1000);
    let mut sent = 0;
    let closed = (0..20_000).any(|_| {
        sent += flood.len();
        stream.write_all(&flood).is_err()
    });
    assert!(closed, "still open after {sent} bytes");
    assert!(server.log().contains("closed for overcoming of output"), "it was closed for another reason");
    assert!(server.resident_mb() < before + 20, "{before} MB became {} MB", server.resident_mb());
    server.is_well();
}

#[test]
fn a_client_over_its_output_limit_is_closed() {
    let mut server = Server::start(&["--client-output-buffer-limit", "normal 1mb 0 0"]);
    server.ask(&[b"SET", b"big", &[b'x'; 100_000]]);
    let mut stream = server.connect();
    let flood = request(&[b"GET", b"big"]).repeat(100);
    assert!((0..20_000).any(|_| stream.write_all(&flood).is_err()), "it is still open");
    server.is_well();
}

#[test]
fn thousands_of_connections_reset_at_once_do_not_stop_the_accept_loop() {
    let mut server = Server::start(&[]);
    let before = server.descriptors();
    for _ in 0..1000 {
        let stream = TcpStream::connect(server.address).unwrap();
        // Closing sends RST, often before the server has accepted.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    server.is_well();
    wait_until("descriptors are given back", || server.descriptors() <= before + 1);
}

#[test]
fn empty_requests_are_skipped_before_and_after_auth() {
    for options in [LOCKED, &[]] {
        let mut server = Server::start(options);
        let answer = server.tell(b"*0\r\n*-1\r\n\r\n\n*-2147483648\r\n  \r\nPING\r\n*1\r\n$4\r\nPING\r\n*0\r\n");
        let one = if options.is_empty() { "+PONG\r\n" } else { "-NOAUTH Authentication required.\r\n" };
        assert_eq!(answer, one.repeat(2));
        server.is_well();
    }
}

#[test]
fn a_bulk_that_does_not_end_in_crlf_is_a_protocol_error() {
    let mut server = Server::start(&[]);
    for smuggled in [&b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n"[..], b"*1\r\n$4\r\nPING\rx", b"*1\r\n$4\r\nPINGx\n"] {
        let answer = server.tell(smuggled);
        assert!(answer.starts_with("-ERR Protocol error:") && answer.lines().count() == 1, "{answer}");
    }
    server.is_well();
}

#[test]
fn malformed_lengths_are_protocol_errors() {
    let mut server = Server::start(&[]);
    for (attack, error) in [
        (&b"*2147483648\r\n"[..], "invalid multibulk length"),
        (b"*99999999999999999999\r\n", "invalid multibulk length"),
        (b"*1x\r\n", "invalid multibulk length"),
        (b"*1\r\n$-1\r\n", "invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "invalid bulk length"),
        (b"*1\r\n$9223372036854775807\r\n", "invalid bulk length"),
        (b"*1\r\n*1\r\n*1\r\n", "expected '$', got '*'"),
        (b"GET \"open\r\n", "unbalanced quotes in request"),
    ] {
        assert_eq!(server.tell(attack), format!("-ERR Protocol error: {error}\r\n"));
    }
    for (endless, error) in [(b'a', "too big inline request"), (b'*', "too big mbulk count string")] {
        assert_eq!(server.tell(&[endless; 100_000]), format!("-ERR Protocol error: {error}\r\n"));
    }
    // A deep nest is refused at its second header, however deep.
    assert!(server.tell(&b"*1\r\n".repeat(100_000)).starts_with("-ERR Protocol error: expected '$'"));
    server.is_well();
}

#[test]
fn limits_set_to_the_largest_numbers_do_not_wrap() {
    let mut server = Server::start(&[
        "--proto-max-bulk-len",
        "9223372036854775807",
        "--client-query-buffer-limit",
        "9223372036854775807",
    ]);
    let before = server.resident_mb();
    for len in ["9223372036854775807", "9223372036854775806", "4294967295", "4294967296"] {
        let answer = server.tell(format!("*2\r\n$3\r\nGET\r\n${len}\r\nabc").as_bytes());
        assert!(answer.is_empty() || answer.starts_with("-ERR Protocol error"), "{len}: {answer}");
    }
    for offset in [b"9223372036854775806".as_slice(), b"4294967295", b"2147483648"] {
        let answer = server.ask(&[b"SETRANGE", b"k", offset, b"x"]);
        assert_eq!(answer, "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n");
    }
    assert!(server.resident_mb() < before + 50);
    server.is_well();
}

#[test]
fn web_requests_are_closed_without_an_answer() {
    let mut server = Server::start(&[]);
    for attack in [
        &b"POST / HTTP/1.1\r\nSET stolen 1\r\n"[..],
        b"Host: 127.0.0.1:6379\r\nSET stolen 1\r\n",
        b"post x\r\n",
        b"*1\r\n$5\r\nhoST:\r\n",
    ] {
        assert_eq!(server.tell(attack), "");
    }
    assert_eq!(server.ask(&[b"GET", b"stolen"]), "$-1\r\n");
    let log = server.log();
    let warnings = log.matches("Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host:");
    assert_eq!(warnings.count(), 1, "once a minute: {log}");
    server.is_well();
    let locked = Server::start(LOCKED);
    assert_eq!(locked.tell(b"POST / HTTP/1.1\r\n"), "");
}

#[test]
fn large_arguments_in_any_pieces_are_the_same_request() {
    let mut server = Server::start(&[]);
    let mut dice = fastrand::Rng::with_seed(7);
    for size in [16_383, 16_384, 32_767, 32_768, 32_769, 49_152, 65_535, 65_536, 65_537, 1 << 20] {
        let value: Vec<u8> = (0..size).map(|_| dice.u8(..)).collect();
        let whole = [request(&[b"SET", b"k", &value]), request(&[b"GET", b"k"]), b"PING\r\n".to_vec()].concat();
        let wanted = [b"+OK\r\n", &request(&[&value])[4..], b"+PONG\r\n"].concat();
        for _ in 0..5 {
            let mut stream = server.connect();
            let mut cuts: Vec<usize> = (0..dice.usize(1..6)).map(|_| dice.usize(..whole.len())).collect();
            cuts.extend([0, whole.len()]);
            cuts.sort_unstable();
            for piece in cuts.windows(2) {
                stream.write_all(&whole[piece[0]..piece[1]]).unwrap();
                std::thread::sleep(Duration::from_millis(dice.u64(..4)));
            }
            let mut answer = vec![0; wanted.len()];
            stream.read_exact(&mut answer).unwrap();
            assert!(answer == wanted, "{size} bytes cut at {cuts:?}");
        }
    }
    server.is_well();
}

#[test]
fn thousands_of_half_requests_cost_little_memory() {
    let mut server = Server::start(&[]);
    let before = server.resident_mb();
    let half = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nthe rest never comes";
    let crowd: Vec<TcpStream> = (0..2000)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(half).unwrap();
            stream
        })
        .collect();
    wait_until("all are accepted", || server.descriptors() >= 2000);
    server.is_well();
    let grown = server.resident_mb().saturating_sub(before);
    assert!(grown < 100, "2000 half requests cost {grown} MB");
    drop(crowd);
    wait_until("descriptors are given back", || server.descriptors() < 100);
    server.is_well();
}

#[test]
fn clients_beyond_maxclients_get_an_error_and_leak_nothing() {
    let mut server = Server::start(&["--maxclients", "10"]);
    std::thread::sleep(Duration::from_millis(200));
    let mut inside: Vec<TcpStream> = (0..10).map(|_| server.connect()).collect();
    for stream in &mut inside {
        stream.write_all(b"PING\r\n").unwrap();
        stream.read_exact(&mut [0; 7]).unwrap();
    }
    let full = server.descriptors();
    for _ in 0..300 {
        let mut answer = String::new();
        let _ = server.connect().read_to_string(&mut answer);
        assert_eq!(answer, "-ERR max number of clients reached\r\n");
    }
    wait_until("descriptors are given back", || server.descriptors() <= full);
    drop(inside);
    wait_until("there is room again", || server.ask(&[b"PING"]) == "+PONG\r\n");
    server.is_well();
}

#[test]
fn a_megabyte_password_is_only_a_wrong_password() {
    let mut server = Server::start(LOCKED);
    let huge = vec![b'p'; 1 << 20];
    assert_eq!(server.ask(&[b"AUTH", &huge]), "-ERR Protocol error: unauthenticated bulk length\r\n");
    let answer = server.tell(&[request(&[b"AUTH", b"secret"]), request(&[b"AUTH", &huge])].concat());
    assert!(answer.starts_with("+OK\r\n-WRONGPASS "), "{answer}");
    let near = [b"secre".as_slice(), b"secrett", b"", b"SECRET", b"secret\0"];
    near.iter().for_each(|word| assert!(server.ask(&[b"AUTH", word]).starts_with("-WRONGPASS ")));
    assert!(!server.log().contains("pppp") && !server.log().contains("secret"), "the log knows passwords");
    server.is_well();
}

#[test]
fn a_unix_socket_has_its_permissions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("memkv.sock");
    let server = Server::start(&["--unixsocket", path.to_str().unwrap(), "--unixsocketperm", "700"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    drop(server);
}

#[test]
fn error_texts_cannot_forge_a_reply() {
    let mut server = Server::start(&[]);
    for words in [
        [b"NO\r\n+OK".as_slice(), b"a\r\n$-1"].as_slice(),
        &[b"GET", b"a", b"\r\n+OK"],
        &[b"CONFIG", b"x\r\n+OK"],
        &[b"SET", b"k", b"v", b"\r\n+OK\r\n"],
        &[b"NO\0", b"\xff\xfe"],
    ] {
        let answer = server.ask(words);
        assert!(answer.starts_with('-') && answer.matches("\r\n").count() == 1, "{answer:?}");
    }
    server.is_well();
}

// Integers, memory, complexity

#[test]
fn numbers_at_their_limits_are_errors_and_not_wraps() {
    let mut server = Server::start(&[]);
    let (max, min) = (b"9223372036854775807".as_slice(), b"-9223372036854775808".as_slice());
    let before = server.resident_mb();
    for (words, answer) in [
        (
            [b"SETRANGE".as_slice(), b"k", max, b"x"].as_slice(),
            "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n",
        ),
        (&[b"SETRANGE", b"k", b"536870912", b"x"], "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"),
        (&[b"SETRANGE", b"k", b"-1", b"x"], "-ERR offset is out of range\r\n"),
        (&[b"SETRANGE", b"k", b"9223372036854775808", b"x"], "-ERR value is not an integer or out of range\r\n"),
        (&[b"SETRANGE", b"k", max, b""], ":0\r\n"),
        (&[b"SET", b"n", max], "+OK\r\n"),
        (&[b"INCR", b"n"], "-ERR increment or decrement would overflow\r\n"),
        (&[b"INCRBY", b"n", max], "-ERR increment or decrement would overflow\r\n"),
        (&[b"DECRBY", b"n", min], "-ERR decrement would overflow\r\n"),
        (&[b"GET", b"n"], "$19\r\n9223372036854775807\r\n"),
        (&[b"SET", b"f", b"1"], "+OK\r\n"),
        (&[b"INCRBYFLOAT", b"f", b"nan"], "-ERR value is not a valid float\r\n"),
        (&[b"INCRBYFLOAT", b"f", b"inf"], "-ERR increment would produce NaN or Infinity\r\n"),
        (&[b"GET", b"f"], "$1\r\n1\r\n"),
        (&[b"GETRANGE", b"n", min, max], "$19\r\n9223372036854775807\r\n"),
        (&[b"GETRANGE", b"n", max, min], "$0\r\n\r\n"),
        (&[b"SET", b"k", b"v", b"EX", max], "-ERR invalid expire time in 'set' command\r\n"),
        (&[b"SET", b"k", b"v", b"PX", b"-1"], "-ERR invalid expire time in 'set' command\r\n"),
        (&[b"EXPIRE", b"n", max], "-ERR invalid expire time in 'expire' command\r\n"),
        (&[b"PEXPIRE", b"n", max], "-ERR invalid expire time in 'pexpire' command\r\n"),
        (&[b"GETEX", b"n", b"EXAT", max], "-ERR invalid expire time in 'getex' command\r\n"),
        (&[b"SELECT", b"2147483648"], "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n"),
        (&[b"SELECT", b"-1"], "-ERR DB index is out of range\r\n"),
        (&[b"MOVE", b"n", max], "-ERR value is out of range, value must between -2147483648 and 2147483647\r\n"),
        (&[b"SCAN", b"99999999999999999999"], "-ERR invalid cursor\r\n"),
        (&[b"SCAN", b"0", b"COUNT", b"0"], "-ERR syntax error\r\n"),
        (&[b"TTL", b"n"], ":-1\r\n"),
    ] {
        let shown: Vec<_> = words.iter().map(|w| String::from_utf8_lossy(w)).collect();
        assert_eq!(server.ask(words), answer, "{shown:?}");
    }
    assert!(server.resident_mb() < before + 50);
    server.is_well();
}

#[test]
fn msetnx_of_one_key_twice_is_one_key() {
    let mut server = Server::start(&[]);
    assert_eq!(server.ask(&[b"MSETNX", b"k", b"1", b"k", b"2"]), ":1\r\n");
    assert_eq!(server.ask(&[b"GET", b"k"]), "$1\r\n2\r\n");
    assert_eq!(server.ask(&[b"DBSIZE"]), ":1\r\n");
    server.is_well();
}

#[test]
fn a_scan_with_a_huge_count_does_not_reserve_it() {
    let mut server = Server::start(&[]);
    server.ask(&[b"SET", b"only", b"1"]);
    let before = server.resident_mb();
    let answer = server.ask(&[b"SCAN", b"0", b"COUNT", b"9223372036854775807"]);
    assert_eq!(answer, "*2\r\n$1\r\n0\r\n*1\r\n$4\r\nonly\r\n");
    for cursor in [b"18446744073709551615".as_slice(), b"9223372036854775808"] {
        assert!(server.ask(&[b"SCAN", cursor]).starts_with("*2\r\n"));
    }
    assert!(server.resident_mb() < before + 20);
    server.is_well();
}

#[test]
fn glob_bombs_end_soon_and_do_not_recurse() {
    let mut server = Server::start(&[]);
    server.ask(&[b"SET", &[b'a'; 10_000], b"1"]);
    let star_bomb = [b"a*".repeat(50), b"b".to_vec()].concat();
    let bombs: [Vec<u8>; 6] = [
        star_bomb,
        vec![b'*'; 1 << 20],
        vec![b'['; 1 << 20],
        b"[a-".repeat(300_000),
        b"\\".repeat(1 << 20),
        [b"*a".repeat(5_000), b"b".to_vec()].concat(),
    ];
    for bomb in &bombs {
        for words in [[b"KEYS".as_slice(), bomb].as_slice(), &[b"SCAN", b"0", b"MATCH", bomb, b"COUNT", b"1000"]] {
            let started = Instant::now();
            let answer = server.ask(words);
            assert!(answer.starts_with('*'), "{answer:.100}");
            let took = started.elapsed();
            assert!(took < Duration::from_secs(10), "{:.20?}… took {took:?}", String::from_utf8_lossy(bomb));
        }
    }
    server.is_well();
}

#[test]
fn watching_very_many_keys_takes_no_time_worth_mentioning() {
    let mut server = Server::start(&[]);
    // One hash tag: they all meet in one stripe.
    let names: Vec<Vec<u8>> = (0..100_000).map(|i| format!("{{tag}}:{i}").into_bytes()).collect();
    let words: Vec<&[u8]> = std::iter::once(b"WATCH".as_slice()).chain(names.iter().map(Vec::as_slice)).collect();
    let started = Instant::now();
    assert_eq!(server.tell(&request(&words).repeat(2)), "+OK\r\n+OK\r\n");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    server.is_well();
}

#[test]
fn the_longest_common_subsequence_of_huge_strings_is_refused() {
    let mut server = Server::start(&[]);
    let before = server.resident_mb();
    for key in [b"a".as_slice(), b"b"] {
        assert_eq!(server.ask(&[b"SET", key, &vec![key[0]; 8 << 20]]), "+OK\r\n");
    }
    assert!(server.ask(&[b"LCS", b"a", b"b"]).starts_with("-ERR "));
    assert!(server.resident_mb() < before + 200);
    server.is_well();
}

#[test]
fn many_arguments_are_only_many_arguments() {
    let mut server = Server::start(&[]);
    let keys: Vec<Vec<u8>> = (0..200_000).map(|i| format!("k{i}").into_bytes()).collect();
    for command in [b"DEL".as_slice(), b"EXISTS", b"MGET"] {
        let words: Vec<&[u8]> = std::iter::once(command).chain(keys.iter().map(Vec::as_slice)).collect();
        let answer = server.ask(&words);
        assert!(answer.starts_with(":0\r\n") || answer.starts_with("*200000\r\n"), "{answer:.100}");
    }
    // Unknown, and long: the error repeats a little of it.
    assert!(server.ask(&[&[b'x'; 100_000], &[b'y'; 100_000]]).len() < 600);
    server.is_well();
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "not after twenty seconds: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
