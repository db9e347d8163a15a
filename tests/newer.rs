//! Commands newer than the servers that read our files: what they write is in the log as commands that those know, and a
//! move of several elements is what moves of single ones make of it.

mod common;

use common::{Client, Dice, Server};

#[test]
fn what_newer_commands_write_is_read_from_the_log() {
    let server = Server::start(&["--appendonly", "yes", "--enable-debug-command", "yes"]);
    let (mut client, mut dice) = (Client::of(&server), Dice(7));
    for round in 0..ROUNDS {
        let (a, b) = (dice.below(3), dice.below(3));
        let (from, to) = (dice.one_of(&ENDS), dice.one_of(&ENDS));
        let (count, order) = (1 + dice.below(4), dice.one_of(&["OBO", "BULK"]));
        let command = match dice.below(6) {
            0 | 1 => format!("RPUSH list{a} {round} {}", round + 1),
            2 => format!("LMOVEM list{a} list{b} {from} {to} COUNT {count} {order}"),
            3 => format!("LMOVEM list{a} list{b} {from} {to} EXACTLY {count} {order}"),
            4 => format!("INCREX n{a} BYINT {count} UBOUND {} EX 1000 ENX {}", round, dice.one_of(&["", "SATURATE"])),
            _ => format!("INCREX x{a} BYFLOAT 0.{count} LBOUND -1 {}", dice.one_of(&["PERSIST", "PX 900000"])),
        };
        client.ask(command.trim_end());
    }
    client.ask("HIMPORT PREPARE u name email");
    client.ask("HSET user:1 age 30");
    client.ask("EXPIRE user:1 1000");
    client.ask("HIMPORT SET user:1 u alice a@example.com");
    client.ask("HIMPORT SET user:2 u bob b@example.com");
    let before = client.ask("DEBUG DIGEST");
    client.ask("DEBUG LOADAOF");
    assert_eq!(client.ask("DEBUG DIGEST"), before);
    let log = std::fs::read_dir(server.dir.path().join("appendonlydir")).unwrap();
    let text: String =
        log.map(|file| String::from_utf8_lossy(&std::fs::read(file.unwrap().path()).unwrap()).into_owned()).collect();
    assert!(
        text.contains("LMOVE") && !text.contains("LMOVEM") && !text.contains("INCREX") && !text.contains("HIMPORT")
    );
}

#[test]
fn a_move_one_by_one_is_so_many_moves() {
    let server = Server::start(&[]);
    let (mut client, mut dice) = (Client::of(&server), Dice(11));
    for _ in 0..ROUNDS {
        client.ask("DEL a b c d");
        for n in 0..dice.below(5) {
            client.ask(&format!("RPUSH a {n}"));
            client.ask(&format!("RPUSH c {n}"));
        }
        let (from, to, count) = (dice.one_of(&ENDS), dice.one_of(&ENDS), 1 + dice.below(6));
        let (target, model) = [("b", "d"), ("a", "c")][dice.below(2) as usize];
        if target == "a" && from == to {
            // All are taken out before the first is put back: that turns them round.
            continue;
        }
        let wanted = client.ask("LLEN a")[0].parse::<u64>().unwrap().min(count);
        (0..wanted).for_each(|_| _ = client.ask(&format!("LMOVE c {model} {from} {to}")));
        let moved = client.ask(&format!("LMOVEM a {target} {from} {to} COUNT {count} OBO"));
        for (ours, models) in [("a", "c"), ("b", "d")] {
            assert_eq!(client.ask(&format!("LRANGE {ours} 0 -1")), client.ask(&format!("LRANGE {models} 0 -1")));
        }
        let range = if to == "LEFT" { format!("0 {}", wanted as i64 - 1) } else { format!("-{wanted} -1") };
        if wanted > 0 {
            assert_eq!(moved, client.ask(&format!("LRANGE {target} {range}")), "what was moved, as it stands there");
        }
    }
}

#[test]
fn a_move_at_once_keeps_the_order() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    for (from, to, moved, left) in [
        ("LEFT", "LEFT", ["1", "2"], ["1", "2", "x"]),
        ("LEFT", "RIGHT", ["1", "2"], ["x", "1", "2"]),
        ("RIGHT", "LEFT", ["2", "3"], ["2", "3", "x"]),
        ("RIGHT", "RIGHT", ["2", "3"], ["x", "2", "3"]),
    ] {
        client.ask("DEL a b");
        client.ask("RPUSH a 1 2 3");
        client.ask("RPUSH b x");
        assert_eq!(client.ask(&format!("LMOVEM a b {from} {to} EXACTLY 2 BULK")), moved);
        assert_eq!(client.ask("LRANGE b 0 -1"), left);
    }
    client.ask("LMOVEM b b LEFT LEFT COUNT 2 BULK");
    assert_eq!(client.ask("LRANGE b 0 -1"), ["x", "2", "3"]);
    assert_eq!(client.ask("LMOVEM b b RIGHT RIGHT COUNT 2 OBO"), ["3", "2"]);
    assert_eq!(client.ask("LRANGE b 0 -1"), ["x", "3", "2"]);
}

#[test]
fn prepared_fields_are_the_connections_own() {
    let server = Server::start(&[]);
    let (mut client, mut other) = (Client::of(&server), Client::of(&server));
    client.ask("HIMPORT PREPARE u name email");
    assert_eq!(other.ask("HIMPORT SET k u a b"), ["ERR no such fieldset"]);
    // A transaction and a script see them; what a script prepares is gone with it.
    client.ask("MULTI");
    client.ask("HIMPORT PREPARE v x");
    client.ask("HIMPORT SET a v 1");
    client.ask(
        "EVAL \"redis.call('HIMPORT', 'SET', KEYS[1], 'u', '1', '2') redis.call('HIMPORT', 'PREPARE', 'w', 'x')\" 1 b",
    );
    assert_eq!(client.ask("EXEC"), ["OK", "OK"]);
    assert_eq!(client.ask("HGETALL b"), ["name", "1", "email", "2"]);
    assert_eq!(client.ask("HIMPORT SET c w 1"), ["ERR no such fieldset"]);
    let before = client.ask("CLIENT LIST")[0].clone();
    // Sixteen megabytes of names are enough.
    let long = "n".repeat(1 << 16);
    let answers: Vec<String> = (0..256).flat_map(|n| client.ask(&format!("HIMPORT PREPARE big{n} {long}"))).collect();
    assert!(answers.last().unwrap().starts_with("ERR too many fieldsets"), "{:?}", answers.last());
    assert!(memory_of(&client.ask("CLIENT LIST")[0]) > memory_of(&before) + (15 << 20));
    client.ask("RESET");
    assert_eq!(client.ask("HIMPORT DISCARDALL"), ["0"]);
}

#[test]
fn clients_are_listed_and_killed_by_all_that_is_given() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (Client::of(&server), Client::of(&server));
    let ids = [a.ask("CLIENT ID")[0].clone(), b.ask("CLIENT ID")[0].clone()];
    a.ask("CLIENT SETNAME a");
    b.ask("CLIENT SETINFO LIB-NAME lib");
    b.ask("SELECT 2");
    b.ask("CLIENT CAPA redirect");
    b.ask("SUBSCRIBE news");
    let mut listed = |filter: String| {
        let list = a.ask(&format!("CLIENT LIST {filter}")).concat();
        ids.iter()
            .map(|id| u8::from(list.lines().any(|line| line.starts_with(&format!("id={id} ")))))
            .collect::<Vec<_>>()
    };
    for (filter, expected) in [
        ("NAME a", [1, 0]),
        ("NOT-NAME a", [0, 1]),
        ("LIB-NAME lib", [0, 1]),
        ("NOT-LIB-NAME lib", [1, 0]),
        ("DB 2", [0, 1]),
        ("NOT-DB 2", [1, 0]),
        ("FLAGS P", [0, 1]),
        ("FLAGS N", [1, 0]),
        ("NOT-FLAGS P", [1, 0]),
        ("CAPA r", [0, 1]),
        ("NOT-CAPA r", [1, 0]),
        ("IP 127.0.0.1", [1, 1]),
        ("NOT-IP 127.0.0.1", [0, 0]),
        ("TYPE pubsub DB 2", [0, 1]),
        ("TYPE normal DB 2", [0, 0]),
        ("NOT-TYPE normal", [0, 1]),
        ("USER default SKIPME yes", [0, 1]),
        ("NOT-USER default", [0, 0]),
        ("MAXAGE 1000", [0, 0]),
        ("IDLE 1000", [0, 0]),
        ("DB 2 DB 0", [1, 0]),
    ] {
        assert_eq!(listed(filter.into()), expected, "{filter}");
    }
    assert_eq!(listed(format!("ID {} {}", ids[0], ids[1])), [1, 1]);
    assert_eq!(listed(format!("ID {} {} SKIPME yes", ids[0], ids[1])), [0, 1]);
    assert_eq!(listed(format!("NOT-ID {}", ids[1])), [1, 0]);
    assert_eq!(a.ask("CLIENT LIST IDLE 0"), ["ERR idle should be greater than 0"]);
    assert_eq!(a.ask("CLIENT LIST NOT-IDLE 5"), ["ERR syntax error"]);
    assert_eq!(a.ask("CLIENT KILL DB 2 NOT-LIB-NAME lib"), ["0"]);
    assert_eq!(a.ask("CLIENT KILL DB 2 LIB-NAME lib"), ["1"]);
    assert!(a.ask("CLIENT MAINT_NOTIFICATIONS ON")[0].starts_with("ERR unknown subcommand 'MAINT_NOTIFICATIONS'"));
}

#[test]
fn large_requests_and_replies_are_logged() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let lengths = |client: &mut Client| {
        ["large-request", "large-reply"]
            .map(|log| client.ask(&format!("COMMANDLOG LEN {log}"))[0].parse::<u8>().unwrap())
    };
    client.ask(&format!("SET k {}", "x".repeat(5000)));
    client.ask("GET k");
    assert_eq!(lengths(&mut client), [0, 0]);
    client.ask("CONFIG SET commandlog-request-larger-than 1000 commandlog-reply-larger-than 1000");
    client.ask(&format!("SET k {}", "x".repeat(5000)));
    client.ask("GET k");
    assert_eq!(lengths(&mut client), [1, 1]);
    assert_eq!(client.ask("COMMANDLOG GET -1 large-reply")[2..5], ["5009", "GET", "k"]);
    client.ask("CONFIG SET commandlog-request-larger-than -1 commandlog-large-reply-max-len 0");
    client.ask(&format!("SET k {}", "x".repeat(5000)));
    assert_eq!(lengths(&mut client), [1, 0]);
    client.ask("COMMANDLOG RESET large-request");
    assert_eq!(lengths(&mut client), [0, 0]);
}

/// What the first client of a list takes.
fn memory_of(list: &str) -> usize {
    let field = list.lines().next().unwrap().split(' ').find_map(|field| field.strip_prefix("tot-mem=")).unwrap();
    field.parse().unwrap()
}

const ROUNDS: usize = 400;
const ENDS: [&str; 2] = ["LEFT", "RIGHT"];

#[test]
fn an_entry_that_a_producer_sends_again_is_added_once() {
    let server = Server::start(&["--appendonly", "yes", "--enable-debug-command", "yes", "--stream-idmp-maxsize", "3"]);
    let mut client = Client::of(&server);
    let first = client.ask("XADD s IDMP shop one * f v");
    assert_eq!(client.ask("XADD s IDMP shop one * f other"), first);
    assert_ne!(client.ask("XADD s IDMP other one * f v"), first);
    let auto = client.ask("XADD s NOMKSTREAM IDMPAUTO shop MAXLEN 100 * f v g w");
    assert_eq!(client.ask("XADD s IDMPAUTO shop * f v g w"), auto);
    assert_ne!(client.ask("XADD s IDMPAUTO shop * f v g x"), auto);
    assert_eq!(client.ask("XLEN s"), ["4"]);
    for malformed in ["XADD s IDMP shop one 9-9 f v", "XADD s IDMPAUTO shop 9-* f v"] {
        assert_eq!(client.ask(malformed), ["ERR IDMP and IDMPAUTO can only be used with an auto-generated ID"]);
    }
    let known = |client: &mut Client| {
        let info = client.ask("XINFO STREAM s");
        ["idmp-duration", "idmp-maxsize", "pids-tracked", "iids-tracked"].map(|name| {
            let at = info.iter().position(|field| field == name).unwrap();
            info[at + 1].parse::<u32>().unwrap()
        })
    };
    assert_eq!(known(&mut client), [100, 3, 2, 4]);
    // A file and a log keep it, whichever form the log's base has.
    let reloads = ["DEBUG RELOAD", "DEBUG LOADAOF", "CONFIG SET aof-use-rdb-preamble no", "DEBUG LOADAOF", "COPY s t"];
    for reload in reloads {
        client.ask(reload);
        assert_eq!(client.ask("XADD s IDMP shop one * f other"), first, "after {reload}");
        assert_eq!(known(&mut client), [100, 3, 2, 4], "after {reload}");
        client.ask("BGREWRITEAOF");
        common::wait_until("the log is written anew", || {
            client.ask("INFO persistence").concat().contains("aof_rewrite_in_progress:0")
        });
    }
    // The fourth name of a producer takes the place of the first.
    client.ask("XADD s IDMP shop four * f v");
    assert_ne!(client.ask("XADD s IDMP shop one * f v"), first);
    assert_eq!(client.ask("XADD s IDMPAUTO shop * f v g x").len(), 1);
    client.ask("XCFGSET s IDMP-MAXSIZE 3");
    assert_eq!(known(&mut client)[3], 4);
    client.ask("XCFGSET s IDMP-MAXSIZE 4 IDMP-DURATION 1");
    assert_eq!(known(&mut client), [1, 4, 0, 0]);
    let brief = client.ask("XADD s IDMP shop brief * f v");
    assert_eq!(client.ask("XADD s IDMP shop brief * f v"), brief);
    common::wait_until("the name is forgotten", || client.ask("XADD s IDMP shop brief * f v") != brief);
}

#[test]
fn an_import_sees_what_has_expired_and_nothing_is_removed() {
    let server = Server::start(&[]);
    let (mut source, mut other) = (Client::of(&server), Client::of(&server));
    assert_eq!(source.ask("CLIENT IMPORT-SOURCE ON"), ["ERR Server is not in import mode"]);
    source.ask("CONFIG SET import-mode yes");
    assert_eq!(source.ask("CLIENT IMPORT-SOURCE ON"), ["OK"]);
    assert_eq!(source.ask("CLIENT IMPORT-SOURCE maybe"), ["ERR syntax error"]);
    source.ask("SET k v PX 1");
    source.ask("INCR n");
    assert_eq!(source.ask("EXPIRE n -1"), ["1"]);
    common::wait_until("the key is gone for others", || other.ask("EXISTS k n") == ["0"]);
    assert_eq!((source.ask("GET k"), source.ask("GET n")), (vec!["v".to_owned()], vec!["1".to_owned()]));
    assert_eq!(other.ask("GET k"), [] as [&str; 0]);
    assert_eq!(other.ask("DBSIZE"), ["2"]);
    assert!(source.ask("CLIENT LIST").concat().contains(" flags=I "));
    source.ask("CLIENT IMPORT-SOURCE OFF");
    assert_eq!(source.ask("GET k"), [] as [&str; 0]);
    source.ask("CONFIG SET import-mode no");
    common::wait_until("what has expired is removed", || other.ask("DBSIZE") == ["0"]);
}
