//! MIGRATE, with a target that the test is itself: what is held back while keys are on their way, and what becomes of them.

mod common;

use common::{Client, PATIENCE, Server, wait_until};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// A target that answers when the test says so.
struct Target(TcpListener);

impl Target {
    fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn command(&self, rest: &str) -> String {
        format!("MIGRATE 127.0.0.1 {} {rest}", self.0.local_addr().unwrap().port())
    }

    /// The connection, once `last` has come over it.
    fn heard(&self, last: &str) -> TcpStream {
        let (mut stream, _) = self.0.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (mut all, mut some) = (String::new(), [0; 4096]);
        while !all.contains(last) {
            let n = stream.read(&mut some).unwrap();
            assert!(n > 0, "closed after {all:?}");
            all.push_str(&String::from_utf8_lossy(&some[..n]));
        }
        stream
    }
}

#[test]
fn a_write_that_names_a_key_on_its_way_comes_after_it() {
    let (server, target) = (Server::start(&["--appendonly", "yes"]), Target::new());
    let (mut mover, mut writer, mut other) = (Client::of(&server), Client::of(&server), Client::of(&server));
    other.ask("MSET k old apart 1");
    mover.send(&target.command("k 0 20000"));
    let mut wire = target.heard("RESTORE");
    writer.send("APPEND k new");
    assert_eq!(other.ask("GET k"), ["old"]);
    assert_eq!(other.ask("INCR apart"), ["2"]);
    // Held back, in a transaction too.
    wait_until("the write is held back", || other.ask("INFO clients").join("").contains("blocked_clients:1"));
    let mut transaction = Client::of(&server);
    ["MULTI", "SET k 1", "INCR apart"].iter().for_each(|line| _ = transaction.ask(line));
    transaction.send("EXEC");
    wait_until("EXEC is held back", || other.ask("INFO clients").join("").contains("blocked_clients:2"));
    wire.write_all(b"+OK\r\n+OK\r\n").unwrap();
    assert_eq!(mover.reply(), ["OK"]);
    assert_eq!(writer.reply().len(), 1);
    assert_eq!(transaction.reply(), ["OK", "3"]);
    // The log has the removal between the two values.
    let files = std::fs::read_dir(server.dir.path().join("appendonlydir")).unwrap();
    let log: String =
        files.map(|file| String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap()).into_owned()).collect();
    assert!(log.find("DEL\r\n$1\r\nk").unwrap() < log.find("APPEND").unwrap(), "{log}");
}

#[test]
fn a_key_that_changed_all_the_same_stays() {
    let (server, target) = (Server::start(&[]), Target::new());
    let (mut mover, mut other) = (Client::of(&server), Client::of(&server));
    other.ask("MSET a 1 b 1 c 1");
    mover.send(&target.command("'' 0 20000 KEYS a b c missing"));
    let mut wire = target.heard("\r\nc\r\n");
    // A script's undeclared key passes no gate.
    other.ask("EVAL \"return redis.call('SET','b','2')\" 0");
    // SELECT, then the three; the last is refused.
    wire.write_all(b"+OK\r\n+OK\r\n+OK\r\n-BUSYKEY there\r\n").unwrap();
    assert_eq!(mover.reply(), ["ERR Target instance replied with error: BUSYKEY there"]);
    assert_eq!(other.ask("MGET a b c"), ["2", "1"]);
    mover.send(&target.command("b 0 20000"));
    // Kept from before unless it ended badly, which it did.
    let mut wire = target.heard("RESTORE");
    other.ask("FLUSHALL");
    other.ask("EVAL \"return redis.call('SET','b','3')\" 0");
    wire.write_all(b"+OK\r\n+OK\r\n").unwrap();
    assert!(mover.reply()[0].starts_with("ERR A key was changed"));
    assert_eq!(other.ask("GET b"), ["3"]);
}

#[test]
fn a_silent_target_costs_only_the_time_that_was_given_it() {
    let (server, target) = (Server::start(&[]), Target::new());
    let (mut mover, mut other) = (Client::of(&server), Client::of(&server));
    other.ask("SET k 1");
    assert_eq!(mover.ask(&target.command("k 0 50")), ["IOERR error or timeout reading from target instance"]);
    assert_eq!(other.ask("INCR k"), ["2"]);
    assert_eq!(mover.ask("EVAL \"return redis.pcall('MIGRATE','127.0.0.1','1','k','0','10')\" 0").len(), 1);
    // Its client may leave: what it asked for comes to its end.
    let mut target = Target::new();
    mover.send(&target.command("k 0 20000"));
    let mut wire = target.heard("RESTORE");
    drop(mover);
    wire.write_all(b"+OK\r\n+OK\r\n").unwrap();
    wait_until("the key is gone", || other.ask("EXISTS k") == ["0"]);
    // More at a time than the service works on.
    target = Target::new();
    let movers: Vec<Client> = (0..40)
        .map(|n| {
            let mut mover = Client::of(&server);
            other.ask(&format!("SET k{n} 1"));
            mover.send(&target.command(&format!("k{n} 0 100")));
            mover
        })
        .collect();
    for mut mover in movers {
        assert_eq!(mover.reply(), ["IOERR error or timeout reading from target instance"]);
    }
    assert_eq!(other.ask("DBSIZE"), ["40"]);
}

#[test]
fn a_kept_connection_that_the_target_closed_is_replaced() {
    let (server, target) = (Server::start(&[]), Target::new());
    let mut client = Client::of(&server);
    client.ask("MSET a 1 b 1");
    client.send(&target.command("a 0 5000"));
    let mut wire = target.heard("RESTORE");
    wire.write_all(b"+OK\r\n+OK\r\n").unwrap();
    assert_eq!(client.reply(), ["OK"]);
    assert!(client.ask("INFO stats").join("").contains("migrate_cached_sockets:1"));
    drop(wire);
    client.send(&target.command("b 0 5000"));
    let mut wire = target.heard("RESTORE");
    wire.write_all(b"+OK\r\n+OK\r\n").unwrap();
    assert_eq!(client.reply(), ["OK"]);
    assert_eq!(client.ask("DBSIZE"), ["0"]);
}
