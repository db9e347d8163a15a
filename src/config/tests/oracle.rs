//! The comparison with a real redis-server 7.0, where one is on the PATH: values, refusals, start-up errors and the
//! rewritten file. Without one the tests say so and pass.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Lonely;
use crate::config::cli::{Action, parse};
use crate::config::file::{Host, load};
use crate::config::live::{Caller, set_many};
use crate::config::rewrite::{Rewrite, rewrite};
use crate::config::*;

/// Values good and bad for every kind of directive.
#[rustfmt::skip]
pub(super) const VALUES: &[&str] = &[
    "", " ", "yes", "NO", "no ", "maybe", "0", "-0", "00", "-1", "1", "+1", "7", "99", "100", "101", "0x10", "010",
    " 1", "1 ", "1.5",
    "511", "777", "888", "-777", "65535", "65536", "1048575", "1048576", "2147483647", "2147483648", "-2147483648",
    "-2147483649",
    "4294967295", "4294967296", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
    "18446744073709551615", "1k", "1Kb", "10MB", "1gB", "1g", "k", "kb", "1kk", "-5kb", "0%", "5%", "100%", "101%",
    "%", "-5%", "5 %",
    "a b", "abc", "a.b-c", "a_b", "a/b", "..", "{title}", "{title} x", "{bad}", "{", "{{", "}", "x{port}",
    "default", "save", "nosave now", "force save", "save nosave", "default now", "now  force",
    "3600 1", "3600 1 60", "0 1", "1 0", "1 -1", "3600  1", "1 2 3", "0 200 800", "-2000 0 2000", "-2001 0 0",
    "1 2 3 4",
    "normal 0 0 0", "replica 1mb 2kb 10", "slave 1 2 -3", "pubsub 1g 1 1 replica 0 0 0", "master 1 1 1",
    "nobody 1 1 1", "replica 1 2",
    "replica 1x 2 3", "50", "50 99.99", "0.0 100.0", "100.1", "1e1 50", "nan", "inf", "99.9999999", "AKE", "Elx",
    "An", "g$lshzxetdnm", "Kq", "no one",
    "everysec", "ALWAYS", "allkeys-lru", "debug", "notice", "warning", "swapdb", "relative", "clients",
    "allchannels", "hostname",
    "unknown-endpoint", "panic-on-replicas", "optional", "local", "on-empty-db",
];

/// A process that ends with the test, however that ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Server {
    wire: BufReader<UnixStream>,
    _process: Process,
    dir: tempfile::TempDir,
}

/// Whether there is a redis-server of the right version; says why a test is skipped.
fn redis() -> bool {
    let version = Command::new("redis-server").arg("--version").output();
    let found = version.is_ok_and(|v| String::from_utf8_lossy(&v.stdout).contains(" v=7.0."));
    if !found {
        eprintln!("skipped: no redis-server 7.0 on the PATH");
    }
    found
}

impl Server {
    fn start(conf: &str) -> Server {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("redis.conf"), conf).unwrap();
        let mut command = Command::new("redis-server");
        command.arg("redis.conf").args(["--port", "0", "--unixsocket", "s"]);
        let process = command.current_dir(dir.path()).stdout(Stdio::null()).spawn().map(Process).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let socket = dir.path().join("s");
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(e) if Instant::now() > deadline => panic!("redis-server does not answer: {e}"),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        Server { wire: BufReader::new(stream), _process: process, dir }
    }

    /// The reply, flattened: an error or status as one text, an array as its elements.
    fn call(&mut self, args: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut request = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            request.extend(format!("${}\r\n", arg.len()).bytes());
            request.extend([arg, b"\r\n".as_slice()].concat());
        }
        self.wire.get_mut().write_all(&request).unwrap();
        let mut reply = Vec::new();
        self.read_into(&mut reply);
        reply
    }

    fn read_into(&mut self, reply: &mut Vec<Vec<u8>>) {
        let mut line = Vec::new();
        self.wire.read_until(b'\n', &mut line).unwrap();
        let (kind, text) = line.trim_ascii_end().split_first().expect("the server closed the connection");
        let number = || String::from_utf8_lossy(text).parse::<usize>().unwrap();
        match kind {
            b'$' => {
                let mut bytes = vec![0; number() + 2];
                self.wire.read_exact(&mut bytes).unwrap();
                bytes.truncate(bytes.len() - 2);
                reply.push(bytes);
            }
            b'*' => (0..number()).for_each(|_| self.read_into(reply)),
            _ => reply.push(text.to_vec()),
        }
    }

    fn get(&mut self, name: &str) -> Vec<u8> {
        self.call(&[b"CONFIG", b"GET", name.as_bytes()]).pop().unwrap()
    }
}

#[test]
fn config_get_prints_what_redis_prints() {
    if !redis() {
        return;
    }
    let conf = include_str!("debian-redis.conf");
    for conf in ["", &without_places(conf)] {
        let mut server = Server::start(conf);
        let mut config = Config::default();
        load(&mut config, format!("{conf}port 0\nunixsocket s\n").as_bytes(), &mut Lonely).unwrap();
        config.dir = server.dir.path().canonicalize().unwrap().to_str().unwrap().to_owned();
        let all = server.call(&[b"CONFIG", b"GET", b"*"]);
        assert!(all.len() > 380);
        for pair in all.chunks(2) {
            let (param, _) = lookup(&pair[0]).unwrap();
            let name = String::from_utf8_lossy(&pair[0]);
            assert_eq!(String::from_utf8_lossy(&param.get(&config)), String::from_utf8_lossy(&pair[1]), "{name}");
        }
    }
}

/// Choices of Redis 8.6, and of Valkey.
const NEWER_CHOICES: [&str; 2] = ["volatile-lrm, allkeys-lrm, ", ", flush-before-load"];
/// Directives whose change is tried on the machine at once, or would end the connection of the test.
#[rustfmt::skip]
const NOT_TRIED: &[&str] = &[
    "appendonly", "bind", "maxclients", "maxmemory-clients", "oom-score-adj", "oom-score-adj-values", "port",
    "timeout", "tls-port",
    "tls-replication", "tls-cluster", "watchdog-period", "loading-process-events-interval-bytes",
];

#[test]
fn config_set_takes_and_refuses_what_redis_does() {
    if !redis() {
        return;
    }
    let mut server = Server::start("");
    let mut config = Config::default();
    let (mut tried, mut taken) = (0, 0);
    let known = |p: &&Param| !p.has(param::EXTENSION) && !NOT_TRIED.contains(&p.name);
    for param in PARAMS.iter().filter(known) {
        // C reads hexadecimal floating point numbers.
        let floats = param.name == "latency-tracking-info-percentiles";
        for value in VALUES.iter().filter(|v| !floats || !v.starts_with("0x")) {
            let name = param.name.as_bytes();
            let theirs = server.call(&[b"CONFIG", b"SET", name, value.as_bytes()]).concat();
            let ours = match set_many(&config, &[(name, value.as_bytes())], Caller::default()) {
                Ok((new, _)) => {
                    config = new;
                    b"OK".to_vec()
                }
                Err(error) => error.text(),
            };
            let case = format!("CONFIG SET {} {value:?}", param.name);
            // An error names what may be said, which is more than the real server knows.
            let told = NEWER_CHOICES
                .iter()
                .fold(String::from_utf8_lossy(&ours).into_owned(), |told, newer| told.replace(newer, ""));
            assert_eq!(told, String::from_utf8_lossy(&theirs), "{case}");
            if ours == b"OK" {
                taken += 1;
                let (ours, theirs) = (param.get(&config), server.get(param.name));
                assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs), "{case}");
            }
            tried += 1;
        }
        if param.has(param::IMMUTABLE) {
            continue;
        }
        let default = param.default.as_bytes();
        server.call(&[b"CONFIG", b"SET", param.name.as_bytes(), default]);
        param.set(&mut config, default).unwrap();
    }
    eprintln!("{tried} values tried, {taken} taken");
}

/// A world that is the machine's.
struct Machine;

impl Host for Machine {
    fn include(&mut self, path: &str) -> Result<Vec<Vec<u8>>, String> {
        std::fs::read(path).map(|text| vec![text]).map_err(|e| without_code(&e))
    }

    fn enter(&mut self, dir: &str) -> Result<(), String> {
        if Path::new(dir).is_dir() { Ok(()) } else { Err("No such file or directory".into()) }
    }

    fn try_log(&mut self, path: &str) -> Result<(), String> {
        std::fs::File::options().append(true).create(true).open(path).map(drop).map_err(|e| without_code(&e))
    }

    fn rename_command(&mut self, _: &[u8], _: &[u8]) -> Result<(), String> {
        Err(crate::config::file::NO_SUCH_COMMAND.into())
    }
}

fn without_code(error: &std::io::Error) -> String {
    error.to_string().split(" (os").next().unwrap_or_default().to_owned()
}

#[test]
fn start_up_errors_are_those_of_redis() {
    if !redis() {
        return;
    }
    let cases: &[&[&str]] = &[
        &["--port"],
        &["--port", "6380", "--loglevel"],
        &["--port", "6379", "6380"],
        &["--port", "--loglevel", "verbose"],
        &["--port", "--bla", "--loglevel", "verbose"],
        &["--logfile", "--my--log--file", "--loglevel", "--bla"],
        &["--shutdown-on-sigint"],
        &["--shutdown-on-sigint", "now force", "--shutdown-on-sigterm"],
        &["--replicaof", "127.0.0.1", "abc"],
        &["--replicaof", "--127.0.0.1", "abc"],
        &["--replicaof", "--127.0.0.1", "--abc"],
        &["--nope", "1"],
        &["loglevel", "verbose"],
        &["--maxmemory", "1x"],
        &["--dir", "/no/such"],
        &["--logfile", "/no/such/x"],
        &["--rename-command", "NOPE", "x"],
        &["--cluster-enabled", "yes", "--replicaof", "a", "1"],
        &["--port \"1", "--hz", "2"],
        &["--a.b"],
        &["--sentinel-x", "y"],
        &["--client-output-buffer-limit", "normal", "1", "2"],
        &["--save", "1"],
        &["--hz", "1", "--save", "x", "y"],
        &["--unixsocketperm", "999"],
        &["--bind", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17"],
        &["--latency-tracking-info-percentiles", "101"],
        &["--notify-keyspace-events", "KQ"],
        &["--appenddirname", ""],
        &["--dbfilename", "a/b"],
    ];
    for args in cases {
        let dir = tempfile::tempdir().unwrap();
        let theirs = Command::new("redis-server").args(*args).current_dir(dir.path()).output().unwrap();
        let bytes: Vec<Vec<u8>> = args.iter().map(|a| a.as_bytes().to_vec()).collect();
        let Action::Serve(startup) = parse(&bytes) else { panic!("{args:?}") };
        let file = startup.file.is_some();
        let ours = load(&mut Config::default(), &startup.text(b"", b""), &mut Machine);
        let ours = ours.map_err(|e| e.to_string()).err().unwrap_or_default();
        // A first word without dashes is a file, and one that is missing is a line of the log.
        if !file {
            assert_eq!(ours, String::from_utf8_lossy(&theirs.stderr), "{args:?}");
        }
        assert_eq!(theirs.status.code(), Some(1), "{args:?}");
    }
}

/// Changes made before a rewrite.
#[rustfmt::skip]
const CHANGES: &[(&str, &str)] = &[
    ("maxmemory", "100mb"), ("maxmemory-policy", "allkeys-lru"), ("save", "900 1 300 10"), ("requirepass", ""),
    ("masterauth", "p\"w \n\x01"), ("replica-announce-ip", "10.0.0.1"), ("notify-keyspace-events", "KEA"),
    ("client-output-buffer-limit", "replica 512mb 1kb 7"), ("shutdown-on-sigterm", "nosave now"),
    ("maxmemory-clients", "5%"),
    ("latency-tracking-info-percentiles", "50 99.5"), ("appendfsync", "always"), ("slowlog-max-len", "128"),
    ("hash-max-ziplist-entries", "100"), ("proc-title-template", "x {title}"),
];

const SMALL_FILE: &str = "# The head\n\nport 0\n\n\n  loglevel   warning\nsave 1 1\nsave 2 2\n# between\nsave 3 3\n\
    slowlog-max-len 5\nhz 50\nSLAVE-READ-ONLY yes\nhash-max-listpack-entries 7\nunixsocketperm 700\nhz 20\n\
    proc-title-template \"{title} x\"\nmasteruser \"\"\n\
    client-output-buffer-limit normal 0 0 0\nlogfile \"\"\n\n# tail\n";

#[test]
fn a_rewritten_file_is_the_one_redis_writes_and_means_the_same() {
    if !redis() {
        return;
    }
    rewrites_as_redis(SMALL_FILE);
    rewrites_as_redis(&without_places(include_str!("debian-redis.conf")));
    // The file that the package installs, comments and all, where this test may read it.
    if let Ok(installed) = std::fs::read_to_string("/etc/redis/redis.conf") {
        rewrites_as_redis(&without_places(&installed));
    }
}

/// The file without the lines that name places only the real service may use.
fn without_places(conf: &str) -> String {
    let places = ["dir ", "logfile ", "pidfile ", "daemonize ", "port ", "bind "];
    let kept = conf.lines().filter(|line| !places.iter().any(|place| line.starts_with(place)));
    kept.flat_map(|line| [line, "\n"]).collect()
}

fn rewrites_as_redis(conf: &str) {
    let mut server = Server::start(conf);
    let mut config = Config::default();
    load(&mut config, format!("{conf}\nport 0\nunixsocket s\n").as_bytes(), &mut Lonely).unwrap();
    config.dir = String::from_utf8(server.get("dir")).unwrap();
    for (name, value) in CHANGES {
        let reply = server.call(&[b"CONFIG", b"SET", name.as_bytes(), value.as_bytes()]).concat();
        assert_eq!(reply, b"OK", "{name}");
        config = set_many(&config, &[(name.as_bytes(), value.as_bytes())], Caller::default()).unwrap().0;
    }
    let users = server.call(&[b"ACL", b"LIST"]);
    let users: Vec<Vec<u8>> = users.iter().map(|u| u.strip_prefix(b"user ").unwrap().to_vec()).collect();
    let how = Rewrite { all: false, users: Some(&users) };
    assert_eq!(server.call(&[b"CONFIG", b"REWRITE"]).concat(), b"OK");
    let theirs = std::fs::read_to_string(server.dir.path().join("redis.conf")).unwrap();
    let ours = String::from_utf8(rewrite(conf.as_bytes(), &config, how)).unwrap();
    // What is appended comes in the order of a hash table there.
    let parts = |text: &str| {
        let (head, tail) = text.split_once("# Generated by CONFIG REWRITE\n").unwrap();
        let mut tail: Vec<String> = tail.lines().map(str::to_owned).collect();
        tail.sort_unstable();
        (head.to_owned(), tail)
    };
    assert_eq!(parts(&ours), parts(&theirs));

    let again = rewrite(theirs.as_bytes(), &config, how);
    assert_eq!(server.call(&[b"CONFIG", b"REWRITE"]).concat(), b"OK");
    assert_eq!(std::fs::read(server.dir.path().join("redis.conf")).unwrap(), again);

    let before = sorted_pairs(&mut server);
    let mut second = Server::start(&without_places(&ours));
    assert_eq!(sorted_pairs(&mut second), before, "redis-server reads our file");
}

/// All directives and their values, but the directory, which differs from start to start.
fn sorted_pairs(server: &mut Server) -> Vec<(String, String)> {
    let all = server.call(&[b"CONFIG", b"GET", b"*"]);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut pairs: Vec<_> = all.chunks(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
    pairs.retain(|(name, _)| name != "dir");
    pairs.sort_unstable();
    pairs
}
