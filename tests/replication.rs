//! Replication between servers of ours: what a replica has, how a link goes on, and how roles change. Real servers on the
//! other side are `compat/replication`'s subject.

mod common;

use common::{Client, Server, request, wait_until};
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// No pings: they would move a primary's offset past that of a replica that is being promoted.
const OPTIONS: &[&str] =
    &["--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "3600"];

fn server() -> Server {
    Server::start(OPTIONS)
}

fn follow(replica: &Server, primary: &Server) {
    assert_eq!(replica.ask(&[b"REPLICAOF", b"127.0.0.1", primary.address.port().to_string().as_bytes()]), "+OK\r\n");
    wait_until("the link is up", || field(replica, "replication", "master_link_status") == "up");
}

fn field(server: &Server, section: &str, name: &str) -> String {
    let info = server.ask(&[b"INFO", section.as_bytes()]);
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned));
    line.unwrap_or_default().trim_end().to_owned()
}

fn number(server: &Server, section: &str, name: &str) -> u64 {
    field(server, section, name).parse().unwrap()
}

/// Waits until the primary has nothing left that expires and the replica has everything, and says that their data is equal.
fn are_equal(primary: &Server, replica: &Server) {
    let info = || primary.ask(&[b"INFO", b"keyspace"]);
    wait_until("what expires has expired", || {
        info().matches("expires=").count() == info().matches("expires=0").count()
    });
    let offset = |server: &Server| number(server, "replication", "master_repl_offset");
    wait_until("the replica has everything", || offset(primary) == offset(replica));
    assert_eq!(primary.ask(&[b"DEBUG", b"DIGEST"]), replica.ask(&[b"DEBUG", b"DIGEST"]));
}

/// Writes of several clients at once, over few keys, of several types, databases and transactions.
fn write_much(primary: &Server) {
    std::thread::scope(|scope| {
        for writer in 0..3u8 {
            scope.spawn(move || {
                let mut client = Client::of(primary);
                for i in 0..300u32 {
                    let key = format!("{}", i % 7);
                    let lines = [
                        format!("SET s{key} {i}"),
                        format!("RPUSH l{key} {i}"),
                        format!("LPOP l{key}"),
                        format!("HSET h{key} f{writer} {i}"),
                        format!("SADD set{key} {i}"),
                        format!("SPOP set{key}"),
                        format!("ZINCRBY z{key} 1.5 m{}", i % 5),
                        format!("SET t{key} v PX {}", 1 + i % 50),
                        format!("XADD x{key} * n {i}"),
                        format!("SELECT {}", i % 3),
                        "MULTI".to_owned(),
                        format!("INCR c{key}"),
                        format!("APPEND a{key} {writer}"),
                        "EXEC".to_owned(),
                        format!("EVAL return(redis.call([[incr]],KEYS[1])) 1 e{key}"),
                    ];
                    lines.iter().for_each(|line| _ = client.ask(line));
                }
            });
        }
    });
}

#[test]
fn a_chain_of_replicas_has_what_the_primary_has() {
    let (primary, middle, last) = (server(), server(), server());
    write_much(&primary);
    primary.ask(&[b"FUNCTION", b"LOAD", b"#!lua name=lib\nredis.register_function{function_name='f', callback=function() return 1 end, flags={'no-writes'}}"]);
    follow(&middle, &primary);
    std::thread::scope(|scope| {
        scope.spawn(|| write_much(&primary));
        follow(&last, &middle);
    });
    are_equal(&primary, &middle);
    are_equal(&primary, &last);
    assert_eq!(last.ask(&[b"FCALL_RO", b"f", b"0"]), ":1\r\n");
    assert_eq!(last.ask(&[b"SET", b"k", b"v"]), "-READONLY You can't write against a read only replica.\r\n");
}

#[test]
fn a_link_that_is_cut_goes_on_where_it_was() {
    let (primary, replica) = (server(), server());
    follow(&replica, &primary);
    let (stop, primary_ref) = (AtomicBool::new(false), &primary);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                write_much(primary_ref)
            }
        });
        for cut in 1..4 {
            primary.ask(&[b"CLIENT", b"KILL", b"TYPE", b"replica"]);
            wait_until("the replica came back", || number(&primary, "stats", "sync_partial_ok") >= cut);
        }
        stop.store(true, Relaxed);
    });
    are_equal(&primary, &replica);
    assert_eq!(number(&primary, "stats", "sync_full"), 1);
}

#[test]
fn after_a_promotion_the_brother_and_the_old_primary_go_on_with_the_new_one() {
    let (old, new, brother) = (server(), server(), server());
    follow(&new, &old);
    follow(&brother, &old);
    write_much(&old);
    are_equal(&old, &new);
    are_equal(&old, &brother);
    assert_eq!(new.ask(&[b"REPLICAOF", b"NO", b"ONE"]), "+OK\r\n");
    assert_eq!(field(&new, "replication", "role"), "master");
    follow(&brother, &new);
    follow(&old, &new);
    write_much(&new);
    are_equal(&new, &brother);
    are_equal(&new, &old);
    assert_eq!(number(&new, "stats", "sync_full"), 0, "nobody needed a snapshot");
}

#[test]
fn a_failover_loses_and_doubles_nothing_and_goes_back() {
    let (first, second) = (server(), server());
    follow(&second, &first);
    for (from, to) in [(&first, &second), (&second, &first)] {
        let before = counter(from);
        let stop = AtomicBool::new(false);
        let answered = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let (mut client, mut answered) = (Client::of(from), 0);
                while !stop.load(Relaxed) {
                    answered +=
                        u64::from(client.ask("INCR counter").first().is_some_and(|line| line.parse::<u64>().is_ok()));
                }
                answered
            });
            wait_until("some writes were answered", || counter(from) > before + 20);
            let port = to.address.port().to_string();
            assert_eq!(from.ask(&[b"FAILOVER", b"TO", b"127.0.0.1", port.as_bytes(), b"TIMEOUT", b"20000"]), "+OK\r\n");
            wait_until("the other is the primary", || field(to, "replication", "role") == "master");
            wait_until("it is over", || field(from, "replication", "master_failover_state") == "no-failover");
            stop.store(true, Relaxed);
            writer.join().unwrap()
        });
        assert_eq!(counter(to), before + answered);
        wait_until("the link is up", || field(from, "replication", "master_link_status") == "up");
        are_equal(to, from);
    }
    assert_eq!(number(&first, "stats", "sync_full") + number(&second, "stats", "sync_full"), 1);
}

fn counter(server: &Server) -> u64 {
    let reply = server.ask(&[b"GET", b"counter"]);
    reply.lines().nth(1).map_or(0, |n| n.trim_end().parse().unwrap())
}

#[test]
fn wait_counts_who_has_it_and_gives_up_in_time() {
    let (primary, replica) = (server(), server());
    let mut client = Client::of(&primary);
    assert_eq!(client.ask("WAIT 1 1"), ["0"]);
    follow(&replica, &primary);
    client.ask("SET k v");
    assert_eq!(client.ask("WAIT 1 0"), ["1"], "no time, no end");
    assert_eq!(client.ask("WAIT 2 50"), ["1"], "one of two");
    assert_eq!(client.ask("WAITAOF 0 1 50"), ["0", "0"], "neither has a log");
    client.send("MULTI");
    client.reply();
    client.ask("INCR n");
    client.ask("WAIT 5 0");
    assert_eq!(client.ask("EXEC").len(), 2, "inside EXEC nobody waits");
    assert!(replica.ask(&[b"WAIT", b"0", b"0"]).starts_with("-ERR WAIT cannot be used with replica instances."));
}

/// A replica counted as one that has it on disk while the first base of its log was still being written: by what its memory
/// had, and, where the write was older than the stream, without a word of it.
#[test]
fn waitaof_counts_a_replica_once_its_log_has_a_base() {
    let primary = server();
    let replica = Server::start(&[OPTIONS, &["--appendonly", "yes", "--rdb-key-save-delay", "100000"]].concat());
    let (mut before, mut after) = (Client::of(&primary), Client::of(&primary));
    (0..10).for_each(|n| drop(before.ask(&format!("SET key{n} v"))));
    before.send("WAITAOF 0 1 0");
    follow(&replica, &primary);
    after.ask("SET later v");
    after.send("WAITAOF 0 1 0");
    for client in [&mut after, &mut before] {
        assert_eq!(client.reply(), ["0", "1"]);
        // The first is that of its start.
        let manifest = replica.dir.path().join("appendonlydir/appendonly.aof.manifest");
        let text = std::fs::read_to_string(manifest).unwrap();
        assert!(text.contains(".2.base."), "{text}");
    }
}

/// The data was gone when the snapshot that was to replace it could not be put in its place.
#[test]
fn a_replica_keeps_its_data_while_the_snapshot_cannot_have_its_name() {
    let (primary, replica) = (server(), server());
    primary.ask(&[b"SET", b"theirs", b"v"]);
    replica.ask(&[b"SET", b"own", b"v"]);
    let snapshot = replica.dir.path().join("dump.rdb");
    std::fs::create_dir(&snapshot).unwrap();
    replica.ask(&[b"REPLICAOF", b"127.0.0.1", primary.address.port().to_string().as_bytes()]);
    wait_until("it is told", || replica.log().contains("Failed trying to rename the temp DB into dump.rdb"));
    assert_eq!(replica.ask(&[b"MGET", b"own", b"theirs"]), "*2\r\n$1\r\nv\r\n$-1\r\n");
    std::fs::remove_dir(&snapshot).unwrap();
    wait_until("it has the other data", || replica.ask(&[b"MGET", b"own", b"theirs"]) == "*2\r\n$-1\r\n$1\r\nv\r\n");
}

#[test]
fn a_replica_hides_what_expired_and_waits_for_its_primary_to_remove_it() {
    let (primary, replica) = (server(), server());
    follow(&replica, &primary);
    primary.ask(&[b"DEBUG", b"SET-ACTIVE-EXPIRE", b"0"]);
    primary.ask(&[b"SET", b"k", b"v", b"PX", b"30"]);
    wait_until("it came", || replica.ask(&[b"DBSIZE"]) == ":1\r\n");
    wait_until("it is hidden", || replica.ask(&[b"GET", b"k"]) == "$-1\r\n");
    assert_eq!(replica.ask(&[b"DBSIZE"]), ":1\r\n", "and still there");
    assert_eq!(primary.ask(&[b"GET", b"k"]), "$-1\r\n");
    wait_until("the primary's removal came", || replica.ask(&[b"DBSIZE"]) == ":0\r\n");
}

#[test]
fn a_writable_replica_removes_its_own_keys_in_time_and_replaces_due_ones() {
    let (primary, replica, third) = (server(), server(), server());
    follow(&replica, &primary);
    follow(&third, &replica);
    replica.ask(&[b"CONFIG", b"SET", b"replica-read-only", b"no"]);
    primary.ask(&[b"DEBUG", b"SET-ACTIVE-EXPIRE", b"0"]);
    primary.ask(&[b"SET", b"k", b"5", b"PX", b"30"]);
    wait_until("it came", || replica.ask(&[b"DBSIZE"]) == ":1\r\n" && third.ask(&[b"DBSIZE"]) == ":1\r\n");
    wait_until("it is hidden", || replica.ask(&[b"GET", b"k"]) == "$-1\r\n");
    assert!(replica.ask(&[b"DEBUG", b"OBJECT", b"k"]).starts_with("+Value at:"), "it is there still, as in Redis");
    assert_eq!(replica.ask(&[b"INCR", b"k"]), ":1\r\n");
    assert_eq!((replica.ask(&[b"TTL", b"k"]), replica.ask(&[b"DBSIZE"])), (":-1\r\n".into(), ":1\r\n".into()));
    replica.ask(&[b"MSET", b"own", b"1", b"later", b"1", b"gone", b"1"]);
    [b"own".as_slice(), b"gone"].iter().for_each(|key| drop(replica.ask(&[b"PEXPIRE", key, b"30"])));
    replica.ask(&[b"EXPIRE", b"later", b"1000"]);
    replica.ask(&[b"DEL", b"gone"]);
    wait_until("it went", || replica.ask(&[b"DBSIZE"]) == ":2\r\n");
    wait_until("one is left to watch", || field(&replica, "stats", "slave_expires_tracked_keys") == "1");
    assert_eq!(field(&replica, "stats", "expired_keys"), "2");
    assert_eq!(third.ask(&[b"DBSIZE"]), ":1\r\n", "nobody else hears of it");
}

#[test]
fn effects_go_where_a_script_says() {
    let primary = Server::start(&[OPTIONS, &["--appendonly", "yes"]].concat());
    let replica = server();
    follow(&replica, &primary);
    let script = "redis.call('set', 'a', 1) redis.set_repl(redis.REPL_NONE) redis.call('set', 'b', 2) \
        redis.set_repl(redis.REPL_AOF) redis.call('set', 'c', 3) redis.set_repl(redis.REPL_REPLICA) redis.call('set', 'd', 4) \
        redis.set_repl(redis.REPL_ALL) redis.call('set', 'e', 5)";
    primary.ask(&[b"EVAL", script.as_bytes(), b"0"]);
    assert_eq!(Client::of(&primary).ask("WAIT 1 10000"), ["1"]);
    let there = |server: &Server| -> String {
        let has = |key: &&str| server.ask(&[b"EXISTS", key.as_bytes()]) == ":1\r\n";
        ["a", "b", "c", "d", "e"].iter().filter(|key| has(key)).copied().collect()
    };
    assert_eq!((there(&primary), there(&replica)), ("abcde".into(), "ade".into()));
    assert_eq!(primary.ask(&[b"DEBUG", b"LOADAOF"]), "+OK\r\n");
    assert_eq!(there(&primary), "ace");
}

#[test]
fn a_pause_of_a_replica_holds_the_primarys_writes_back() {
    let (primary, replica) = (server(), server());
    follow(&replica, &primary);
    assert_eq!(replica.ask(&[b"CLIENT", b"PAUSE", b"60000", b"WRITE"]), "+OK\r\n");
    primary.ask(&[b"SET", b"k", b"v"]);
    let offset = |name: &str| number(&replica, "replication", name);
    wait_until("it has come", || {
        offset("slave_read_repl_offset") == number(&primary, "replication", "master_repl_offset")
    });
    assert!(offset("slave_repl_offset") < offset("slave_read_repl_offset"));
    assert_eq!(replica.ask(&[b"GET", b"k"]), "$-1\r\n");
    replica.ask(&[b"CLIENT", b"UNPAUSE"]);
    wait_until("it runs", || replica.ask(&[b"GET", b"k"]) == "$1\r\nv\r\n");
    assert_eq!(offset("slave_repl_offset"), offset("slave_read_repl_offset"));
}

/// Each REPLICAOF left the link before it in the list of clients, with the memory that it had.
#[test]
fn a_link_that_is_given_up_is_no_client_any_more() {
    let (primary, replica) = (server(), server());
    let links = || replica.ask(&[b"CLIENT", b"LIST", b"TYPE", b"master"]).matches("id=").count();
    for _ in 0..3 {
        follow(&replica, &primary);
        wait_until("there is one link", || links() == 1);
        assert_eq!(replica.ask(&[b"REPLICAOF", b"NO", b"ONE"]), "+OK\r\n");
        wait_until("there is none", || links() == 0);
    }
}

#[test]
fn a_link_gives_the_room_of_a_big_command_back() {
    let (primary, replica) = (server(), server());
    follow(&replica, &primary);
    let value = vec![b'x'; 16 << 20];
    primary.ask(&[b"SET", b"k", &value]);
    primary.ask(&[b"SET", b"other", b"v"]);
    let other = || replica.ask(&[b"EXISTS", b"k", b"other"]) == ":2\r\n";
    wait_until("both came", other);
    let line = || {
        let list = replica.ask(&[b"CLIENT", b"LIST", b"TYPE", b"master"]);
        let word = list.split(' ').find_map(|word| word.strip_prefix("tot-mem=").map(str::to_owned));
        word.and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or(u64::MAX)
    };
    wait_until("the link is small again", || line() < 1 << 20);
    wait_until("the server too", || {
        number(&replica, "memory", "used_memory") < number(&primary, "memory", "used_memory") + (4 << 20)
    });
}

#[test]
fn what_expired_while_a_primary_was_down_goes_at_its_replica_too() {
    let dir = tempfile::tempdir().unwrap();
    let options = [OPTIONS, &["--save", "3600 100000", "--dir", dir.path().to_str().unwrap()]].concat();
    let (mut primary, replica) = (Server::start(&options), server());
    follow(&replica, &primary);
    primary.ask(&[b"DEBUG", b"SET-ACTIVE-EXPIRE", b"0"]);
    for i in 0..40 {
        primary.ask(&[b"SET", format!("k{i}").as_bytes(), b"v", b"PX", b"100"]);
    }
    primary.ask(&[b"SET", b"stays", b"v"]);
    wait_until("all came", || replica.ask(&[b"DBSIZE"]) == ":41\r\n");
    primary.tell(&request(&[b"SHUTDOWN"]));
    primary.child.wait().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    let primary = Server::start(&options);
    follow(&replica, &primary);
    are_equal(&primary, &replica);
    assert_eq!(replica.ask(&[b"DBSIZE"]), ":1\r\n");
    assert_eq!(number(&primary, "stats", "sync_full"), 0);
    assert_eq!(number(&primary, "stats", "sync_partial_ok"), 1);
}

/// A script that declares what it does is a write as a whole, where a transaction is judged as well.
#[test]
fn a_script_that_may_write_is_refused_before_a_read_only_transaction_begins() {
    let server = server();
    let mut client = Client::of(&server);
    assert_eq!(client.ask("MULTI").concat(), "OK");
    assert_eq!(client.ask("EVAL \"#!lua\\nreturn 1\" 0").concat(), "QUEUED");
    assert_eq!(server.ask(&[b"REPLICAOF", b"127.0.0.1", b"1"]), "+OK\r\n");
    let refused = "READONLY You can't write against a read only replica.";
    assert_eq!(client.ask("EXEC").concat(), format!("EXECABORT Transaction discarded because of: {refused}"));
    assert_eq!(client.ask("MULTI").concat(), "OK");
    assert_eq!(client.ask("EVAL \"#!lua\\nreturn 1\" 0").concat(), refused);
    assert_eq!(client.ask("EXEC").concat(), "EXECABORT Transaction discarded because of previous errors.");
    assert_eq!(client.ask("EVAL \"#!lua flags=no-writes\\nreturn 1\" 0").concat(), "1");
}

/// One that was killed had not "left when it was sent that": the next from its address was refused for a minute.
#[test]
fn a_replica_that_was_closed_here_is_not_doubted_for_it() {
    let primary = server();
    let library = b"#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    assert_eq!(primary.ask(&[b"FUNCTION", b"LOAD", library]), "$3\r\nlib\r\n");
    for _ in 0..3 {
        let mut replica = Client::of(&primary);
        replica.send("SYNC");
        wait_until("the snapshot comes", || primary.ask(&[b"INFO", b"replication"]).contains("state=online"));
        assert_eq!(primary.ask(&[b"CLIENT", b"KILL", b"TYPE", b"replica"]), ":1\r\n");
        wait_until("it is gone", || number(&primary, "replication", "connected_slaves") == 0);
    }
    assert!(!primary.log().contains("is refused"), "{}", primary.log());
}

#[test]
fn a_replica_that_shows_nothing_gets_a_snapshot_of_the_old_version_with_the_same_data() {
    let primary = server();
    let numbers = |n: usize, each: &dyn Fn(usize) -> String| (0..n).map(each).collect::<Vec<_>>().join(" ");
    for line in [
        "MSET s text n 17".to_owned(),
        "RPUSH list a 17 b".to_owned(),
        format!("RPUSH long {}", numbers(300, &|i| format!("{i:0500}"))),
        "HSET hash f v g 12".to_owned(),
        format!("HSET wide {}", numbers(600, &|i| format!("f{i} {i}"))),
        "SADD ints 1 2 70000".to_owned(),
        "SADD words a b 7".to_owned(),
        format!("SADD many {}", numbers(600, &|i| format!("m{i}"))),
        "ZADD zset 1 a 2.5 b -inf c".to_owned(),
        format!("ZADD tree {}", numbers(600, &|i| format!("{i} m{i}"))),
        "XADD stream 1-1 f v".to_owned(),
        "XADD stream 2-1 f w".to_owned(),
        "XGROUP CREATE stream g 0".to_owned(),
        "XREADGROUP GROUP g c COUNT 1 STREAMS stream >".to_owned(),
        "PEXPIREAT words 99999999999999".to_owned(),
    ] {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let reply = primary.ask(&words);
        assert!(!reply.starts_with('-'), "{line:.40}: {reply}");
    }
    let mut link = primary.connect();
    link.write_all(b"SYNC\r\n").unwrap();
    let mut link = BufReader::new(link);
    let mut head = String::new();
    while !head.starts_with('$') {
        head.clear();
        link.read_line(&mut head).unwrap();
    }
    let mut snapshot = vec![0; head[1..].trim_end().parse().unwrap()];
    link.read_exact(&mut snapshot).unwrap();
    assert!(snapshot.starts_with(b"REDIS0009"), "{:?}", &snapshot[..9]);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("dump.rdb"), &snapshot).unwrap();
    let loaded = Server::start(&[OPTIONS, &["--dir", dir.path().to_str().unwrap()]].concat());
    assert_eq!(loaded.ask(&[b"DEBUG", b"DIGEST"]), primary.ask(&[b"DEBUG", b"DIGEST"]));
    assert_eq!(loaded.ask(&[b"XPENDING", b"stream", b"g"]), primary.ask(&[b"XPENDING", b"stream", b"g"]));
}

#[test]
fn messages_go_down_the_chain() {
    let (primary, replica) = (server(), server());
    follow(&replica, &primary);
    let mut listener = Client::of(&replica);
    listener.ask("SUBSCRIBE news");
    assert_eq!(primary.ask(&[b"PUBLISH", b"news", b"hello"]), ":0\r\n");
    wait_until("the message came", || listener.heard().contains(&"message news hello".to_owned()));
}

#[test]
fn what_a_transaction_configures_holds_for_its_next_command() {
    let server = server();
    let mut client = Client::of(&server);
    let lines = [
        "MULTI",
        "CONFIG SET hash-max-listpack-entries 1",
        "CONFIG GET hash-max-listpack-entries",
        "HSET h a 1 b 2",
        "OBJECT ENCODING h",
    ];
    lines.iter().for_each(|line| _ = client.ask(line));
    let reply = client.ask("EXEC");
    assert!(reply.contains(&"1".to_owned()) && reply.contains(&"hashtable".to_owned()), "{reply:?}");
    // Sentinel's way to promote: the file is written in the same transaction.
    ["MULTI", "SLAVEOF 127.0.0.1 1", "CONFIG GET replicaof"].iter().for_each(|line| _ = client.ask(line));
    assert!(client.ask("EXEC").contains(&"127.0.0.1 1".to_owned()));
    assert_eq!(server.tell(&request(&[b"SLAVEOF", b"NO", b"ONE"])), "+OK\r\n");
}
