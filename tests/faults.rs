//! Faults that other projects' tests and public bug reports found here, one test each, with the values of real servers.
//!
//! What a transcript can say is in `compat/differential/found.txt`; here is what needs a server of its own.

#![allow(unsafe_code)]

mod common;

use common::{Server, wait_until};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn field(server: &Server, section: &str, name: &str) -> String {
    let info = server.ask(&[b"INFO", section.as_bytes()]);
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().to_owned()
}

/// Evictions went on while writes were paused.
#[test]
fn nothing_is_evicted_while_writes_are_paused() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru"]);
    let fill: String = (0..20_000).map(|n| format!("SET key:{n} {}\r\n", "v".repeat(200))).collect();
    server.tell(fill.as_bytes());
    server.tell(b"CLIENT PAUSE 1500 WRITE\r\nCONFIG SET maxmemory 3mb\r\nGET key:1\r\nGET key:2\r\n");
    std::thread::sleep(Duration::from_millis(300));
    server.tell("GET key:3\r\n".repeat(100).as_bytes());
    assert_eq!(server.ask(&[b"DBSIZE"]), ":20000\r\n");
    wait_until("evictions go on after the pause", || {
        server.tell("GET key:3\r\n".repeat(100).as_bytes());
        server.ask(&[b"DBSIZE"]) != ":20000\r\n"
    });
}

/// Replies that nobody read evicted every key (as in Redis). A reader that goes on reading is not closed for it.
#[test]
fn a_reader_that_stands_still_goes_before_the_keys() {
    for reads in [false, true] {
        let server = Server::start(&["--threads", "1", "--maxmemory-policy", "allkeys-lru"]);
        let fill: String = (0..20_000).map(|n| format!("SET key:{n} {}\r\n", "v".repeat(200))).collect();
        server.tell(fill.as_bytes());
        let push: Vec<&[u8]> = [&b"RPUSH"[..], b"l"].into_iter().chain([&[b'e'; 1000][..]; 1000]).collect();
        assert_eq!(server.ask(&push), ":1000\r\n");
        let used: u64 = field(&server, "memory", "used_memory").parse().unwrap();
        let limit = (used + (4 << 20)).to_string();
        assert_eq!(server.ask(&[b"CONFIG", b"SET", b"maxmemory", limit.as_bytes()]), "+OK\r\n");
        let mut reader = server.connect();
        reader.write_all(format!("MULTI\r\n{}EXEC\r\n", "LRANGE l 0 -1\r\n".repeat(30)).as_bytes()).unwrap();
        if reads {
            let mut buffer = vec![0; 32 << 10];
            wait_until("its keys go meanwhile", || {
                reader.read_exact(&mut buffer).expect("a client that reads is not closed");
                std::thread::sleep(Duration::from_millis(10));
                server.tell(b"GET key:1\r\n");
                server.ask(&[b"DBSIZE"]) != ":20001\r\n"
            });
            assert_eq!(field(&server, "stats", "evicted_clients"), "0");
        } else {
            wait_until("the reader is closed", || {
                server.tell(b"SET key:1 v\r\n");
                field(&server, "stats", "evicted_clients") == "1"
            });
            server.tell("SET key:1 v\r\n".repeat(50).as_bytes());
            // While EXEC builds its replies other threads cannot know whose memory it is, and may evict some.
            let keys: u32 = server.ask(&[b"DBSIZE"])[1..].trim().parse().unwrap();
            assert!(keys > 15_000, "{keys} keys are left");
        }
    }
}

/// Two megabytes due soon, two megabytes due late: the policy means the one that is due soon.
#[test]
fn of_two_keys_the_one_goes_that_the_policy_means() {
    for (policy, first, second) in
        [("volatile-ttl", ["EX", "10"], ["EX", "100000"]), ("volatile-ttl", ["EX", "100000"], ["EX", "10"])]
    {
        let server = Server::start(&["--maxmemory-policy", policy]);
        let value = vec![b'v'; 2 << 20];
        let set = |key: &[u8], ex: [&str; 2]| server.ask(&[b"SET", key, &value, ex[0].as_bytes(), ex[1].as_bytes()]);
        assert_eq!((set(b"a", first), set(b"b", second)), ("+OK\r\n".to_owned(), "+OK\r\n".to_owned()));
        let used: u64 = field(&server, "memory", "used_memory").parse().unwrap();
        let limit = (used - (1 << 20)).to_string();
        assert_eq!(server.ask(&[b"CONFIG", b"SET", b"maxmemory", limit.as_bytes()]), "+OK\r\n");
        assert_eq!(server.ask(&[b"SET", b"new", b"v"]), "+OK\r\n");
        let stays = if first[1] == "10" { "b" } else { "a" };
        assert_eq!(server.ask(&[b"KEYS", b"?"]), format!("*1\r\n$1\r\n{stays}\r\n"));
    }
}

/// 2^53 draws wrote 512 MB for seconds before they were refused.
#[test]
fn a_draw_beyond_all_bounds_is_refused_at_once() {
    let mut server = Server::start(&[]);
    server.tell(b"HSET h f v\r\nSADD s m\r\nZADD z 1 m\r\n");
    let before = server.resident_mb();
    for (command, key) in [(&b"HRANDFIELD"[..], &b"h"[..]), (b"SRANDMEMBER", b"s"), (b"ZRANDMEMBER", b"z")] {
        for count in [&b"-9007199254740991"[..], b"-9223372036854775807", b"-80000000"] {
            let answer = server.ask(&[command, key, count]);
            assert_eq!(answer, "-ERR value is out of range\r\n");
        }
        assert!(server.ask(&[command, key, b"-3"]).starts_with("*3\r\n"));
    }
    assert!(server.resident_mb() < before + 64, "from {before} to {} MB", server.resident_mb());
    server.is_well();
}

/// `bind` could not keep an address that the server listened on.
#[test]
fn bind_keeps_an_address() {
    let server = Server::start(&[]);
    let mut before = server.connect();
    let set = |words: &[&[u8]]| server.ask(&[&[&b"CONFIG"[..], b"SET"], words].concat());
    assert_eq!(set(&[b"bind", b"127.0.0.1 127.0.0.2"]), "+OK\r\n");
    let other = |host: &str| TcpStream::connect((host, server.address.port())).is_ok();
    wait_until("both are listened on", || other("127.0.0.1") && other("127.0.0.2"));
    assert!(
        set(&[b"bind", b"127.0.0.1 192.0.2.1"])
            .starts_with("-ERR CONFIG SET failed (possibly related to argument 'bind')")
    );
    assert!(other("127.0.0.1") && other("127.0.0.2"), "a refusal changes nothing");
    let port = server.address.port().to_string();
    assert_eq!(set(&[b"bind", b"127.0.0.1", b"port", port.as_bytes()]), "+OK\r\n");
    wait_until("the other is given up", || other("127.0.0.1") && !other("127.0.0.2"));
    before.write_all(b"PING\r\n").unwrap();
    let mut answer = [0; 7];
    before.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+PONG\r\n", "who was there stays");
    assert_eq!(field(&server, "server", "listener0"), format!("name=tcp,bind=127.0.0.1,port={port}"));
}

/// Beyond the system's limit of descriptors connections hung without a word.
#[test]
fn a_connection_without_a_descriptor_is_told_so() {
    let mut server = Server::start(&[]);
    let limit = |files: u64| {
        let limit = libc::rlimit { rlim_cur: files, rlim_max: 4096 };
        // SAFETY: the kernel reads the struct we own; nothing is written back.
        let set = unsafe {
            libc::prlimit(server.child.id() as i32, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut())
        };
        assert_eq!(set, 0);
    };
    limit(server.descriptors() as u64 + 4);
    let mut all: Vec<TcpStream> = (0..12).map(|_| server.connect()).collect();
    let last = all.last_mut().unwrap();
    let mut said = String::new();
    let _ = last.read_to_string(&mut said);
    assert_eq!(said, "-ERR max number of clients reached\r\n");
    drop(all);
    limit(1024);
    wait_until("others are let in again", || server.ask(&[b"PING"]) == "+PONG\r\n");
    assert!(field(&server, "stats", "rejected_connections").parse::<u64>().unwrap() > 0);
    server.is_well();
}

/// A key that stands twice in a snapshot was loaded, the last value winning; a wrong checksum was refused in any case.
#[test]
fn a_snapshot_is_judged_as_real_servers_do() {
    let entry = b"\x00\x01k\x01v";
    let file = |entries: &[u8]| {
        let mut bytes = [b"REDIS0010\xfe\x00".as_slice(), entries, b"\xff"].concat();
        let sum = memkv::checksum::crc64(0, &bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes
    };
    let twice = file(&[entry, entry.as_slice()].concat());
    let log = ends_at_start(&twice, &[]).expect("it does not start");
    assert!(log.contains("RDB has duplicated key 'k' in DB 0"), "{log}");
    let mut damaged = file(entry);
    *damaged.last_mut().unwrap() ^= 1;
    let log = ends_at_start(&damaged, &[]).expect("it does not start");
    assert!(log.contains("Wrong RDB checksum"), "{log}");
    assert!(ends_at_start(&damaged, &["--rdbchecksum", "no"]).is_none());
}

/// What a server says that ends while it starts on this snapshot; none if it starts.
fn ends_at_start(snapshot: &[u8], options: &[&str]) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dump.rdb"), snapshot).unwrap();
    let log = dir.path().join("log");
    let mut child = Command::new(env!("CARGO_BIN_EXE_memkv-server"))
        .args(["--port", "0", "--save", "", "--unixsocket", dir.path().join("socket").to_str().unwrap()])
        .args(["--dir", dir.path().to_str().unwrap(), "--logfile", log.to_str().unwrap()])
        .args(options)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    while Instant::now() < deadline && child.try_wait().unwrap().is_none() && !said().contains("eady to accept") {
        std::thread::sleep(Duration::from_millis(20));
    }
    let ended = child.try_wait().unwrap().is_some();
    let _ = child.kill();
    let _ = child.wait();
    ended.then(said)
}

/// Clients and tools read a version of Redis, in Redis's form, in all places the same.
#[test]
fn one_directive_decides_what_the_server_introduces_itself_as() {
    let printed = Command::new(env!("CARGO_BIN_EXE_memkv-server")).arg("--version").output().unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(printed.starts_with("Redis server v=7.0.15 sha="), "{printed}");
    assert!(printed.contains(" malloc=jemalloc-") && printed.contains(" bits=64 build="), "{printed}");
    for (level, version, encoding) in [("7.0", "7.0.15", "$9\r\nquicklist\r\n"), ("8.2", "8.2.3", "$8\r\nlistpack\r\n")]
    {
        let server = Server::start(&["--compatibility-level", level]);
        assert_eq!(field(&server, "server", "redis_version"), version);
        assert!(
            server
                .ask(&[b"HELLO", b"2"])
                .contains(&format!("\r\n$7\r\nversion\r\n${}\r\n{version}\r\n", version.len()))
        );
        server.ask(&[b"RPUSH", b"list", b"a"]);
        assert_eq!(server.ask(&[b"OBJECT", b"ENCODING", b"list"]), encoding);
    }
}

/// A subcommand that does not exist is nobody's; a threshold is judged by its new value; half of AUTH is secret too.
#[test]
fn statistics_and_logs_tell_what_real_servers_tell() {
    let server = Server::start(&[]);
    assert!(server.ask(&[b"CLIENT", b"nosuch"]).starts_with("-ERR unknown subcommand 'nosuch'"));
    assert!(!server.ask(&[b"INFO", b"commandstats"]).contains("cmdstat_client"), "no row for it");
    server.ask(&[b"CLIENT", b"ID", b"x"]);
    assert!(field(&server, "commandstats", "cmdstat_client|id").contains("rejected_calls=1"));
    assert_eq!(server.ask(&[b"CONFIG", b"SET", b"slowlog-log-slower-than", b"0"]), "+OK\r\n");
    assert!(server.ask(&[b"SLOWLOG", b"GET"]).contains("slowlog-log-slower-than"));
    assert!(server.ask(&[b"HELLO", b"2", b"AUTH", b"secret"]).starts_with("-ERR Syntax error in HELLO option 'AUTH'"));
    assert!(!server.ask(&[b"SLOWLOG", b"GET"]).contains("secret"));
}

/// What Valkey's own suite found: a command that waits was counted at once, keys whose end is waited for never.
#[test]
fn commands_that_wait_are_told_as_real_servers_tell_them() {
    let server = Server::start(&[]);
    server.ask(&[b"XGROUP", b"CREATE", b"s", b"g", b"$", b"MKSTREAM"]);
    let mut waits = server.connect();
    waits.write_all(b"PING\r\nXREADGROUP GROUP g c BLOCK 0 STREAMS s >\r\n").unwrap();
    wait_until("it waits", || field(&server, "clients", "total_blocking_keys_on_nokey") == "1");
    let commands =
        || server.ask(&[b"CLIENT", b"LIST"]).lines().any(|l| l.contains("cmd=xreadgroup") && l.contains("tot-cmds=1"));
    assert!(commands(), "{}", server.ask(&[b"CLIENT", b"LIST"]));
    server.ask(&[b"DEL", b"s"]);
    wait_until("it is answered", || {
        server.ask(&[b"CLIENT", b"LIST"]).lines().any(|l| l.contains("cmd=xreadgroup") && l.contains("tot-cmds=2"))
    });
    assert_eq!(field(&server, "clients", "total_blocking_keys_on_nokey"), "0");
    assert_eq!(field(&server, "clients", "total_blocking_keys"), "0");
}

/// A walk hid expired keys from the connection that imports them, and OFF was refused when the import was over.
#[test]
fn an_import_source_sees_expired_keys_on_every_walk() {
    let server = Server::start(&["--import-mode", "yes", "--enable-debug-command", "yes"]);
    let walks = "CLIENT IMPORT-SOURCE ON\r\nRANDOMKEY\r\nKEYS *\r\nSCAN 0\r\nCONFIG SET import-mode no\r\nCLIENT IMPORT-SOURCE OFF\r\n";
    server.tell(b"SET k v PX 1\r\n");
    std::thread::sleep(Duration::from_millis(20));
    let said = server.tell(walks.as_bytes());
    assert_eq!(said, "+OK\r\n$1\r\nk\r\n*1\r\n$1\r\nk\r\n*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n+OK\r\n+OK\r\n");
    assert_eq!(server.ask(&[b"KEYS", b"*"]), "*0\r\n");
}

/// Writes were taken beyond the limit, because nothing is evicted.
#[test]
fn import_mode_evicts_nothing_and_refuses_what_has_no_room() {
    let server = Server::start(&["--import-mode", "yes", "--maxmemory-policy", "allkeys-lru"]);
    server.ask(&[b"SET", b"k", b"v"]);
    server.ask(&[b"CONFIG", b"SET", b"maxmemory", b"1"]);
    let said = server.tell(b"CLIENT IMPORT-SOURCE ON\r\nSET other v\r\nGET k\r\n");
    assert_eq!(said, "+OK\r\n-OOM command not allowed when used memory > 'maxmemory'.\r\n$1\r\nv\r\n");
    assert!(server.ask(&[b"SET", b"other", b"v"]).starts_with("-OOM "));
    server.ask(&[b"CONFIG", b"SET", b"import-mode", b"no"]);
    wait_until("it is evicted", || server.ask(&[b"DBSIZE"]) == ":0\r\n");
}

/// Another thread sent an invalidation to a client that had its reply to QUIT, and who redirected to it heard nothing.
#[test]
fn a_redirection_is_broken_once_its_target_has_quit() {
    let server = Server::start(&["--threads", "3"]);
    let mut writer = common::Client::of(&server);
    for _ in 0..50 {
        let (mut target, mut reader) = (common::Client::of(&server), common::Client::of(&server));
        let id = target.ask("CLIENT ID").concat();
        target.ask("SUBSCRIBE __redis__:invalidate");
        reader.ask("HELLO 3");
        reader.ask(&format!("CLIENT TRACKING ON REDIRECT {id}"));
        reader.ask("GET k");
        assert_eq!(target.ask("QUIT"), ["OK"]);
        writer.ask("SET k v");
        assert_eq!(reader.reply(), ["tracking-redir-broken".to_owned(), id]);
    }
}

/// Commands that a script called were in no count but that of their own kind.
#[test]
fn commands_of_scripts_are_counted() {
    let server = Server::start(&[]);
    let mut client = common::Client::of(&server);
    let mut counts = || {
        let processed = field(&server, "stats", "total_commands_processed").parse::<u64>().unwrap();
        let line = client.ask("CLIENT INFO").concat();
        let own = line.split(' ').find_map(|pair| pair.trim_end().strip_prefix("tot-cmds=")).unwrap().parse::<u64>();
        let script = b"redis.call('ping') redis.call('get','k') redis.pcall('lpop','k','x') redis.pcall('nope')";
        client.stream().write_all(&common::request(&[b"EVAL", script, b"0"])).unwrap();
        client.reply();
        (processed, own.unwrap())
    };
    let (before, after) = (counts(), counts());
    // INFO, CLIENT INFO, EVAL and what it called; what is unknown did not run.
    assert_eq!((after.0 - before.0, after.1 - before.1), (6, 5));
}

/// The reason was a client's, and not the script's.
#[test]
fn a_script_is_told_in_its_words_that_a_command_may_not_run_on_stale_data() {
    let server = Server::start(&["--replica-serve-stale-data", "no", "--replicaof", "127.0.0.1 1"]);
    let script = b"#!lua flags=allow-stale,no-writes\nreturn redis.call('get','x')";
    let said = server.ask(&[b"EVAL", script, b"1", b"x"]);
    assert!(said.starts_with("-ERR Can not execute the command on a stale replica script: "), "{said}");
    assert!(server.ask(&[b"GET", b"x"]).starts_with("-MASTERDOWN "));
}

/// The choice had no effect.
#[test]
fn snapshots_and_payloads_of_unknown_versions_are_read_where_the_version_check_is_relaxed() {
    let relaxed = ["--rdb-version-check", "relaxed"];
    let file = |head: &str, kind: u8| [head.as_bytes(), &[0xfe, 0, kind], b"\x01k\x01v\xff", &[0; 8]].concat();
    let said = |head, kind, options: &[&str]| ends_at_start(&file(head, kind), options);
    for head in ["REDIS0013", "REDIS0079", "VALKEY081"] {
        assert!(said(head, 0, &relaxed).is_none(), "{head} is read");
        let text = said(head, 0, &[]).expect("no server starts on that");
        assert!(text.contains("Can't handle RDB format version "), "{head}: {text}");
    }
    // The name and the number belong together.
    for head in ["REDIS0080", "REDIS0000", "VALKEY079"] {
        assert!(
            said(head, 0, &relaxed).is_some_and(|text| text.contains("Can't handle RDB format version ")),
            "{head}"
        );
    }
    let text = said("REDIS0075", 150, &relaxed).expect("no server starts on that");
    assert!(text.contains("Can't handle foreign type or opcode 150 in RDB with version 75"), "{text}");
    let text = said("VALKEY987", 150, &relaxed).expect("no server starts on that");
    assert!(text.contains("Unknown type or opcode when loading DB. Unrecoverable error, aborting now."), "{text}");

    let server = Server::start(&[]);
    let payload = b"\x00\x03\x62\x61\x72\xde\x00\x0fYUza\xd3\xec\xe0";
    let restore = || server.ask(&[b"RESTORE", b"k", b"0", payload]);
    assert_eq!(restore(), "-ERR DUMP payload version or checksum are wrong\r\n");
    server.ask(&[b"CONFIG", b"SET", b"rdb-version-check", b"relaxed"]);
    assert_eq!(restore() + &server.ask(&[b"GET", b"k"]), "+OK\r\n$3\r\nbar\r\n");
}

/// A key that is due and still there was hidden.
#[test]
fn debug_object_sees_a_key_that_is_due() {
    let server = Server::start(&["--enable-debug-command", "yes"]);
    server.ask(&[b"DEBUG", b"SET-ACTIVE-EXPIRE", b"0"]);
    server.ask(&[b"SET", b"k", b"v", b"PX", b"1"]);
    std::thread::sleep(Duration::from_millis(20));
    assert!(server.ask(&[b"DEBUG", b"OBJECT", b"k"]).starts_with("+Value at:"));
    assert_eq!(server.ask(&[b"GET", b"k"]), "$-1\r\n");
    assert_eq!(server.ask(&[b"DEBUG", b"OBJECT", b"k"]), "-ERR no such key\r\n");
}

/// The log had words of the server's own, in capitals.
#[test]
fn a_blocking_move_is_logged_in_the_words_of_its_client() {
    let server = Server::start(&["--appendonly", "yes"]);
    server.ask(&[b"RPUSH", b"l", b"a"]);
    assert_eq!(server.ask(&[b"BLMOVE", b"l", b"m", b"left", b"RIGHT", b"0"]), "$1\r\na\r\n");
    let told = common::request(&[b"LMOVE", b"l", b"m", b"left", b"RIGHT"]);
    let log = server.dir.path().join("appendonlydir/appendonly.aof.1.incr.aof");
    wait_until("it is in the log", || std::fs::read(&log).unwrap().ends_with(&told));
}

/// The data was gone before the version of the file was looked at.
#[test]
fn debug_reload_keeps_the_data_where_the_file_is_of_an_unknown_version() {
    let server = Server::start(&["--enable-debug-command", "yes"]);
    server.ask(&[b"SET", b"k", b"v"]);
    std::fs::write(server.dir.path().join("dump.rdb"), b"REDIS9999").unwrap();
    let said = server.ask(&[b"DEBUG", b"RELOAD", b"NOSAVE"]);
    assert_eq!(said, "-ERR Error trying to load the RDB dump, check server logs\r\n");
    assert_eq!(server.ask(&[b"GET", b"k"]), "$1\r\nv\r\n");
}

/// Of ids given in several places only the last were listed; CLIENT KILL goes on to take the last, as Redis does.
#[test]
fn ids_given_in_several_places_are_all_listed() {
    let server = Server::start(&[]);
    let mut clients: Vec<_> = (0..4).map(|_| common::Client::of(&server)).collect();
    let ids: Vec<_> = clients.iter_mut().map(|client| client.ask("CLIENT ID").concat()).collect();
    let [a, b, c, _] = &ids[..] else { unreachable!() };
    let listed = |client: &mut common::Client<_>, filters: &str| {
        let text = client.ask(&format!("CLIENT LIST {filters}")).concat();
        ids.iter().map(|id| text.lines().any(|line| line.starts_with(&format!("id={id} ")))).collect::<Vec<_>>()
    };
    let asker = &mut clients[3];
    assert_eq!(listed(asker, &format!("ID {a} ID {c}")), [true, false, true, false]);
    assert_eq!(listed(asker, &format!("ID {a} {b} DB 0 ID {c}")), [true, true, true, false]);
    assert_eq!(listed(asker, &format!("NOT-ID {a} NOT-ID {b}")), [false, false, true, true]);
    assert_eq!(listed(asker, &format!("ID {a} {b} NOT-ID {b}")), [true, false, false, false]);
    assert_eq!(asker.ask(&format!("CLIENT KILL ID {a} ID {b}")), ["1"]);
    assert_eq!(listed(asker, ""), [true, false, true, true]);
}

/// A reason for not starting was logged twice.
#[test]
fn why_the_server_does_not_start_is_logged_once() {
    let said = ends_at_start(b"REDIS9999", &[]).expect("no server starts on that");
    assert_eq!(said.matches("Can't handle RDB format version 9999").count(), 1, "{said}");
    assert_eq!(said.matches("Fatal error loading the DB").count(), 1, "{said}");
}

/// A string longer than the hard limit was left out of the reply, and the next reply was taken for it.
#[test]
fn a_reply_beyond_the_output_limit_ends_the_connection() {
    let server = Server::start(&["--client-output-buffer-limit", "normal 200000 0 0"]);
    server.ask(&[b"SET", b"big", &vec![b'x'; 300_000]]);
    server.ask(&[b"HSET", b"h", b"f", &vec![b'x'; 300_000]]);
    for command in ["GET big", "MGET big", "GETRANGE big 0 -1", "HGET h f", "HGETALL h", "GETEX big"] {
        let mut client = server.connect();
        client.write_all(format!("{command}\r\nPING\r\n").as_bytes()).unwrap();
        let mut said = Vec::new();
        // Ends by EOF, or by a reset if something was still to be read.
        let _ = client.read_to_end(&mut said);
        assert!(!said.windows(5).any(|bytes| bytes == b"+PONG"), "{command}: {:?}", String::from_utf8_lossy(&said));
    }
    assert_eq!(field(&server, "stats", "client_output_buffer_limit_disconnections"), "6");
    assert_eq!(server.ask(&[b"PING"]), "+PONG\r\n");
}

/// Everything counted as on disk while the first base of a log that was switched on was still being written.
#[test]
fn waitaof_waits_for_the_first_base_of_a_log() {
    let server = Server::start(&["--rdb-key-save-delay", "100000"]);
    let mut client = common::Client::of(&server);
    (0..10).for_each(|n| drop(client.ask(&format!("SET key{n} v"))));
    client.ask("CONFIG SET appendonly yes");
    wait_until("there is a log", || client.ask("WAITAOF 1 0 0") == ["1", "0"]);
    let manifest = server.dir.path().join("appendonlydir/appendonly.aof.manifest");
    assert!(std::fs::read_to_string(manifest).is_ok_and(|text| text.contains(".base.")));
}

/// Who waited for the log was told that nothing is written, when there was no log any more.
#[test]
fn waitaof_hears_that_the_log_was_switched_off() {
    // No thread syncs it.
    let server = Server::start(&["--appendonly", "yes", "--appendfsync", "no"]);
    let mut client = common::Client::of(&server);
    client.ask("SET k v");
    client.send("WAITAOF 1 0 0");
    wait_until("it waits", || field(&server, "clients", "blocked_clients") == "1");
    assert_eq!(server.ask(&[b"CONFIG", b"SET", b"appendonly", b"no"]), "+OK\r\n");
    let said = client.reply().concat();
    assert!(said.contains("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."), "{said}");
}
