//! Attacks on connections and the protocol that the server must survive: drawn from the CVE history of Redis and
//! Valkey, each against the real binary. Those on values and arithmetic are in `attacks_values.rs`.
//!
//! The promise is always the same: an error or a closed connection, never a crash, a hang, unbounded memory or somebody
//! else's data. After the attack [`Server::is_well`] asks whether others are still served.

mod common;

use common::{PATIENCE, Server, request, wait_until};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const LOCKED: &[&str] = &["--requirepass", "secret"];

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
    assert!(server.ask(&[b"INFO", b"stats"]).contains("client_output_buffer_limit_disconnections:1\r"));
    server.is_well();
}

#[test]
fn a_client_over_its_query_limit_is_closed() {
    let mut server = Server::start(&["--client-query-buffer-limit", "1mb"]);
    let before = server.resident_mb();
    assert_eq!(server.ask(&[b"SET", b"k", &vec![b'x'; 20 << 20]]), "");
    assert!(server.ask(&[b"INFO", b"stats"]).contains("client_query_buffer_limit_disconnections:1\r"));
    assert!(server.resident_mb() < before + 10);
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

/// Ten thousand peers that begin a request and never end it; each names a bulk of half a gigabyte.
#[test]
fn ten_thousand_half_requests_cost_little_memory() {
    const PEERS: usize = 10_000;
    let mut server = Server::start(&["--maxclients", "12000"]);
    let before = server.resident_mb();
    let half = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\nthe rest never comes";
    let crowd: Vec<TcpStream> = (0..PEERS)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(half).unwrap();
            stream
        })
        .collect();
    wait_until("all are accepted", || server.descriptors() >= PEERS);
    server.is_well();
    let grown = server.resident_mb().saturating_sub(before);
    assert!(grown < 500, "{PEERS} half requests cost {grown} MB");
    drop(crowd);
    wait_until("descriptors are given back", || server.descriptors() < 100);
    server.is_well();
}

/// Peers that are gone with RST while requests of theirs are half read, or their replies half written.
#[test]
fn connections_reset_in_the_middle_leave_nothing_behind() {
    let mut server = Server::start(&[]);
    server.ask(&[b"SET", b"big", &[b'x'; 100_000]]);
    let before = server.descriptors();
    let endings: [Vec<u8>; 4] = [
        b"*2\r\n$3\r\nGET\r\n$3\r\nbi".to_vec(),
        request(&[b"GET", b"big"]).repeat(50),
        [request(&[b"MULTI"]), request(&[b"WATCH", b"big"]), request(&[b"GET", b"big"])].concat(),
        request(&[b"BLPOP", b"never", b"0"]),
    ];
    for i in 0..800 {
        let mut stream = server.connect();
        stream.write_all(&endings[i % endings.len()]).unwrap();
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    server.is_well();
    wait_until("descriptors are given back", || server.descriptors() <= before + 1);
    // Nobody waits any more: a push stays.
    assert_eq!(server.ask(&[b"RPUSH", b"never", b"a"]), ":1\r\n");
    assert_eq!(server.ask(&[b"LLEN", b"never"]), ":1\r\n");
    server.is_well();
}

/// Without a password only this machine may come in: whoever calls one of its other addresses is told so and closed.
#[test]
fn protected_mode_refuses_who_comes_by_another_address() {
    // The address that would be used towards a documentation network; nothing is sent.
    let own = UdpSocket::bind("0.0.0.0:0").and_then(|probe| {
        probe.connect("198.51.100.1:9")?;
        probe.local_addr()
    });
    // A machine with no network but itself has no such address; what is decided is tested beside the decision.
    let Some(own) = own.ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback()) else { return };
    let mut server = Server::start(&["--bind", &format!("127.0.0.1 {own}")]);
    let ask = |bytes: &[u8]| {
        let mut stream = TcpStream::connect((own, server.address.port())).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    for attack in [&b""[..], b"PING\r\n", b"CONFIG SET protected-mode no\r\n"] {
        let answer = ask(attack);
        assert!(
            answer.is_empty() && !attack.is_empty() || answer.starts_with("-DENIED Redis is running in protected"),
            "{answer}"
        );
    }
    assert!(server.ask(&[b"CONFIG", b"GET", b"protected-mode"]).contains("yes"));
    server.is_well();
}

/// What administers the server is out of reach until its configuration file says otherwise.
#[test]
fn dangerous_settings_are_refused_by_default() {
    let mut server = Server::start(&[]);
    for name in [b"dir".as_slice(), b"dbfilename", b"appenddirname", b"appendfilename"] {
        let answer = server.ask(&[b"CONFIG", b"SET", name, b"/tmp"]);
        assert!(answer.starts_with("-ERR CONFIG SET failed"), "{answer}");
    }
    assert!(server.ask(&[b"DEBUG", b"SLEEP", b"0"]).starts_with("-ERR DEBUG command not allowed."));
    assert!(server.ask(&[b"MODULE", b"LOAD", b"x"]).starts_with("-ERR "));
    server.is_well();
}

#[test]
fn secrets_are_not_shown() {
    let mut server = Server::start(&["--slowlog-log-slower-than", "0"]);
    let mut monitor = server.connect();
    monitor.write_all(&request(&[b"MONITOR"])).unwrap();
    monitor.read_exact(&mut [0; 5]).unwrap();
    server.ask(&[b"AUTH", b"default", b"hush-1"]);
    server.ask(&[b"HELLO", b"2", b"AUTH", b"default", b"hush-2"]);
    server.ask(&[b"CONFIG", b"SET", b"masterauth", b"hush-3"]);
    server.ask(&[b"ECHO", b"the end"]);
    let mut shown = String::new();
    while !shown.contains("the end") {
        let mut piece = [0; 4096];
        let n = monitor.read(&mut piece).unwrap();
        assert!(n > 0, "the monitor was closed: {shown}");
        shown.push_str(&String::from_utf8_lossy(&piece[..n]));
    }
    assert!(shown.contains("\"AUTH\" \"(redacted)\" \"(redacted)\""), "{shown}");
    let slow = server.ask(&[b"SLOWLOG", b"GET", b"-1"]);
    assert!(slow.contains("masterauth"), "{slow}");
    assert!(!shown.contains("hush") && !slow.contains("hush") && !server.log().contains("hush"), "{shown}\n{slow}");
    server.is_well();
}

/// Redis lets a monitor that does not read grow until the machine has no memory left.
#[test]
fn a_monitor_that_does_not_read_is_closed() {
    let mut server = Server::start(&[]);
    let before = server.resident_mb();
    let mut monitor = server.connect();
    monitor.write_all(&request(&[b"MONITOR"])).unwrap();
    monitor.read_exact(&mut [0; 5]).unwrap();
    let word = vec![b'x'; 100_000];
    let mut stream = server.connect();
    for _ in 0..1000 {
        stream.write_all(&request(&[b"ECHO", &word])).unwrap();
        stream.read_exact(&mut vec![0; word.len() + 11]).unwrap();
    }
    wait_until("the monitor is closed", || server.log().contains("closed for overcoming of output"));
    assert!(server.resident_mb() < before + 200);
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
