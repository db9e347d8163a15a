//! What INFO counts, and what CONFIG RESETSTAT makes begin anew: asked of Redis 7.0 and 8.2, where they know the figure.

mod common;

use common::{Client, Server, wait_until};
use std::collections::BTreeSet;

fn figure(server: &Server, name: &str) -> String {
    let text = server.ask(&[b"INFO", b"everything"]);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("INFO has {name}")).to_owned()
}

#[test]
fn the_mean_of_times_to_live_is_told_while_there_are_any() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    (0..100).for_each(|i| drop(client.ask(&format!("SET k{i} v EX {}", if i % 2 == 0 { 100 } else { 300 }))));
    client.ask("SET always v");
    let ttl_ms = |client: &mut Client| -> u64 {
        let line = client.ask("INFO keyspace").concat();
        line.split("avg_ttl=").nth(1).and_then(|text| text.trim_end().parse().ok()).expect("INFO tells avg_ttl")
    };
    // One pass over all stripes sees each key once.
    wait_until("the mean is near", || (150_000..=250_000).contains(&ttl_ms(&mut client)));
    (0..100).for_each(|i| drop(client.ask(&format!("PERSIST k{i}"))));
    assert_eq!(ttl_ms(&mut client), 0);
    let peak = client.ask("INFO memory").concat();
    let seconds = peak.split("used_memory_peak_time:").nth(1).and_then(|text| text.lines().next()).unwrap();
    assert!(seconds.parse::<u64>().unwrap() > 1_600_000_000, "{seconds}");
}

#[test]
fn info_tells_what_each_worker_does() {
    let server = Server::start(&["--threads", "3"]);
    let mut clients: Vec<_> = (0..6).map(|_| Client::of(&server)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.ask("PING"), ["PONG"]));
    let info = clients[0].ask("INFO threads").concat();
    let lines: Vec<&str> = info.lines().filter(|line| line.starts_with("io_thread_")).collect();
    assert_eq!(lines.len(), 3, "{info}");
    let figures = |name: &str| -> Vec<u64> {
        let figure = |line: &&str| line.split([':', ',']).find_map(|word| word.strip_prefix(name)?.parse().ok());
        lines.iter().filter_map(figure).collect()
    };
    assert_eq!(figures("clients="), [2, 2, 2], "{info}");
    // A write is counted when the kernel has taken it, which the client may see first.
    assert!((5..=6).contains(&figures("writes=").iter().sum::<u64>()), "{info}");
    assert!(figures("reads=").iter().all(|reads| *reads >= 2), "{info}");
}

#[test]
fn a_flush_frees_in_the_background_only_where_it_is_asked_to() {
    let server = Server::start(&[]);
    let cases: [(&str, &[&[u8]], &str); 8] = [
        ("no", &[b"FLUSHALL"], "0"),
        ("no", &[b"FLUSHDB"], "0"),
        ("no", &[b"FLUSHALL", b"SYNC"], "0"),
        ("no", &[b"FLUSHALL", b"ASYNC"], "300"),
        ("no", &[b"FLUSHDB", b"ASYNC"], "300"),
        ("yes", &[b"FLUSHALL"], "300"),
        ("yes", &[b"FLUSHDB"], "300"),
        ("yes", &[b"FLUSHDB", b"SYNC"], "0"),
    ];
    let keys: Vec<String> = (0..300).map(|i| format!("key{i}")).collect();
    let set: Vec<&[u8]> = keys.iter().flat_map(|key| [key.as_bytes(), b"v"]).collect();
    for (mode, flush, freed) in cases {
        server.ask(&[b"CONFIG", b"SET", b"lazyfree-lazy-user-flush", mode.as_bytes()]);
        server.ask(&[b"CONFIG", b"RESETSTAT"]);
        server.ask(&[&[b"MSET".as_slice()], set.as_slice()].concat());
        assert_eq!(server.ask(flush), "+OK\r\n");
        assert_eq!(server.ask(&[b"DBSIZE"]), ":0\r\n");
        wait_until("nothing waits to be freed", || figure(&server, "lazyfree_pending_objects") == "0");
        assert_eq!(figure(&server, "lazyfreed_objects"), freed, "{mode} {flush:?}");
    }
}

#[test]
fn what_is_freed_before_the_reply_is_no_longer_used_after_it() {
    let server = Server::start(&[]);
    let used = || figure(&server, "used_memory").parse::<u64>().unwrap();
    let before = used();
    for i in 0..20 {
        server.ask(&[b"SETRANGE", format!("key{i}").as_bytes(), b"1000000", b"v"]);
    }
    assert!(used() > before + 19_000_000);
    server.ask(&[b"FLUSHALL", b"SYNC"]);
    assert!(used() < before + 1_000_000);
}

#[test]
fn resetstat_begins_the_logs_counts_anew_and_leaves_its_state() {
    let server = Server::start(&["--appendonly", "yes", "--appendfsync", "always", "--save", "3600 100000"]);
    for i in 0..10 {
        server.ask(&[b"SET", format!("key{i}").as_bytes(), b"v"]);
    }
    server.ask(&[b"BGREWRITEAOF"]);
    wait_until("the log is rewritten", || {
        figure(&server, "aof_rewrite_in_progress") == "0" && figure(&server, "aof_rewrites") != "0"
    });
    assert_eq!(server.ask(&[b"SAVE"]), "+OK\r\n");
    server.ask(&[b"SET", b"key", b"v"]);
    let counts = ["aof_rewrites", "rdb_saves", "aof_batches", "aof_written_bytes", "aof_fsyncs", "aof_fsync_usec_max"];
    for count in counts {
        assert_ne!(figure(&server, count), "0", "{count} before");
    }
    let state = ["aof_current_size", "aof_base_size", "aof_last_rewrite_time_sec", "rdb_last_save_time"];
    let before = state.map(|name| figure(&server, name));
    server.ask(&[b"CONFIG", b"RESETSTAT"]);
    for count in counts.into_iter().chain(["aof_delayed_fsync", "aof_batch_commands_avg", "aof_fsync_usec_p99"]) {
        assert!(["0", "0.00"].contains(&figure(&server, count).as_str()), "{count} after");
    }
    assert_eq!(state.map(|name| figure(&server, name)), before);
    assert_eq!(figure(&server, "aof_last_bgrewrite_status"), "ok");
}

/// A save point counts the changes since the last snapshot, whatever the statistics have been made to forget.
#[test]
fn resetstat_does_not_forget_what_is_not_saved() {
    let server = Server::start(&["--save", "3600 100000"]);
    let set = |n: usize| (0..n).for_each(|i| drop(server.ask(&[b"SET", format!("key{i}").as_bytes(), b"v"])));
    set(5);
    server.ask(&[b"CONFIG", b"RESETSTAT"]);
    assert_eq!(figure(&server, "rdb_changes_since_last_save"), "5");
    server.ask(&[b"SAVE"]);
    server.ask(&[b"CONFIG", b"RESETSTAT"]);
    set(3);
    assert_eq!(figure(&server, "rdb_changes_since_last_save"), "3");
}

/// What Redis 8.2 answers for the same keys.
#[test]
fn keysizes_are_counted_by_type_in_powers_of_two() {
    let server = Server::start(&["--enable-debug-command", "yes"]);
    let mut client = Client::of(&server);
    for line in ["SET b x", "SET c 12345", "SET d abc", "RPUSH l a b c", "SADD s 1 2", "ZADD z 1 a", "XADD x * a 1"] {
        client.ask(line);
    }
    client.send("SET a \"\"");
    client.reply();
    client.ask("HSET h a 1 b 2 c 3 d 4 e 5");
    client.ask("SETRANGE big 1100000 x");
    let told = client.ask("INFO keysizes").concat();
    let expected = "# Keysizes\r\ndb0_distrib_strings_sizes:0=1,1=1,2=1,4=1,1M=1\r\ndb0_distrib_lists_items:2=1\r\n\
        db0_distrib_sets_items:2=1\r\ndb0_distrib_zsets_items:1=1\r\ndb0_distrib_hashes_items:4=1\r\n";
    assert_eq!(told, expected);
    client.ask("CONFIG SET key-memory-histograms yes");
    let told = client.ask("INFO keysizes").concat();
    assert!(told.contains("db0_distrib_hashes_items:4=1\r\ndb0_distrib_hashes_sizes:64=1\r\n"), "{told}");
    // Of many keys a sample is read, and stands for all.
    client.ask("DEBUG POPULATE 60000");
    let told = client.ask("INFO keysizes").concat();
    let strings = told.lines().find_map(|line| line.strip_prefix("db0_distrib_strings_sizes:")).unwrap();
    let counts = strings.split(',').map(|class| class.split('=').nth(1).unwrap().parse::<usize>().unwrap());
    assert!((59_000..61_000).contains(&counts.sum::<usize>()), "{told}");
}

#[test]
fn a_session_of_hotkeys_names_the_keys_that_cost_the_most() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    client.ask("SET small x");
    client.ask(&format!("SET large {}", "x".repeat(1000)));
    assert_eq!(client.ask("HOTKEYS GET"), [] as [&str; 0]);
    assert_eq!(client.ask("HOTKEYS START METRICS 2 CPU NET COUNT 2"), ["OK"]);
    assert_eq!(client.ask("HOTKEYS START METRICS 1 CPU"), ["ERR hotkey tracking session already in progress"]);
    assert_eq!(client.ask("HOTKEYS RESET"), ["ERR hotkey tracking session in progress, stop tracking first"]);
    for n in 0..100 {
        client.ask("GET small");
        client.ask("GET large");
        client.ask(&format!("SET rare:{n} x"));
    }
    client.ask("MGET small large");
    assert_eq!(client.ask("HOTKEYS STOP"), ["OK"]);
    assert_eq!(client.ask("HOTKEYS STOP"), [] as [&str; 0]);
    client.ask("GET late");
    let told = client.ask("HOTKEYS GET");
    let after = |name: &str| told.iter().position(|word| word == name).unwrap() + 1;
    assert_eq!(told[..6], ["tracking-active", "0", "sample-ratio", "1", "selected-slots", "all-commands-all-slots-us"]);
    let bytes = &told[after("by-net-bytes")..];
    assert_eq!((bytes.len(), &*bytes[0], &*bytes[2]), (4, "large", "small"));
    assert!(bytes[1].parse::<u64>().unwrap() > 100_000);
    let times = &told[after("by-cpu-time-us")..];
    assert_eq!(BTreeSet::from([&*times[0], &*times[2]]), BTreeSet::from(["small", "large"]));
    assert_eq!(client.ask("HOTKEYS RESET"), ["OK"]);
    assert_eq!(
        client.ask("HOTKEYS START METRICS 1 CPU SLOTS 1 5"),
        ["ERR SLOTS parameter cannot be used in non-cluster mode"]
    );
    client.ask("HOTKEYS START METRICS 1 NET DURATION 1 SAMPLE 100000");
    wait_until("the session is over", || client.ask("HOTKEYS GET")[1] == "0");
}
