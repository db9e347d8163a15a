//! Active defragmentation of the real binary, whose allocator is the one that knows how: what many deletions leave
//! scattered is moved together, data of every type with it, and nothing of it can be seen but in INFO.

mod common;

use common::{Server, request, wait_until};

const DEBUG: &[&str] = &["--enable-debug-command", "yes"];

/// A number of INFO, ratios in hundredths.
fn told(server: &Server, field: &str) -> i64 {
    let info = server.ask(&[b"INFO", b"everything"]);
    let line = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).expect("a field of INFO");
    line.replace('.', "").parse().expect("a number")
}

fn set(server: &Server, directive: &str, value: &str) {
    let reply = server.ask(&[b"CONFIG", b"SET", directive.as_bytes(), value.as_bytes()]);
    assert_eq!(reply, "+OK\r\n", "{directive}");
}

/// Keys of every type, most of whose neighbours in memory are gone again.
fn scatter(server: &Server) {
    let words = |line: String| request(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    let text = "x".repeat(100);
    for (round, keep) in [(0, 1), (1, 4)] {
        let mut commands = Vec::new();
        for n in (0..40_000).filter(|n| n % 4 > 0 || keep == 1) {
            let lines = match round {
                0 => [
                    format!("SET string:{n} {text}"),
                    format!("HSET hash:{} field:{n} {text}", n % 8),
                    format!("SADD set:{} a-member:{n}", n % 8),
                    format!("ZADD zset:{} {n} a-member:{n}", n % 8),
                    format!("RPUSH list:{} {text}", n / 4),
                ],
                _ => [
                    format!("DEL string:{n}"),
                    format!("HDEL hash:{} field:{n}", n % 8),
                    format!("SREM set:{} a-member:{n}", n % 8),
                    format!("ZREM zset:{} a-member:{n}", n % 8),
                    format!("DEL list:{n}"),
                ],
            };
            commands.extend(lines.into_iter().flat_map(words));
        }
        let replies = server.tell(&commands);
        assert!(!replies.contains('-'), "{}", &replies[..200]);
    }
}

#[test]
fn scattered_memory_is_moved_together_and_data_stays() {
    let server = Server::start(DEBUG);
    scatter(&server);
    let (digest, scattered) = (server.ask(&[b"DEBUG", b"DIGEST"]), told(&server, "allocator_frag_ratio"));
    assert!(scattered > 150, "{scattered}% of what is used");
    assert_eq!((told(&server, "active_defrag_running"), told(&server, "active_defrag_hits")), (0, 0));
    set(&server, "active-defrag-ignore-bytes", "1mb");
    set(&server, "active-defrag-threshold-lower", "25");
    set(&server, "active-defrag-max-scan-fields", "50");
    set(&server, "activedefrag", "yes");
    wait_until("the waste is gone and the run over", || {
        told(&server, "active_defrag_running") == 0 && told(&server, "allocator_frag_ratio") <= 125
    });
    assert_eq!(server.ask(&[b"DEBUG", b"DIGEST"]), digest);
    assert!(told(&server, "active_defrag_hits") > 10_000 && told(&server, "active_defrag_key_hits") > 1000);
    assert!(told(&server, "total_active_defrag_time") > 0);
    set(&server, "activedefrag", "no");
    assert_eq!(server.ask(&[b"DEBUG", b"RELOAD"]), "+OK\r\n");
    assert_eq!(server.ask(&[b"DEBUG", b"DIGEST"]), digest, "a snapshot reads what was moved");
}

#[test]
fn the_allocators_controls_are_asked_but_not_broken() {
    let mut server = Server::start(DEBUG);
    let ask = |server: &Server, words: &str| {
        server
            .ask(&[b"DEBUG"].into_iter().map(|w| &w[..]).chain(words.split(' ').map(str::as_bytes)).collect::<Vec<_>>())
    };
    for (words, reply) in [
        ("MALLCTL arenas.page", ":4096\r\n"),
        ("MALLCTL no.such", "-ERR No such file or directory\r\n"),
        ("MALLCTL-STR no.such", "-ERR No such file or directory\r\n"),
        ("MALLCTL arenas.page 3", "-ERR Operation not permitted\r\n"),
        ("MALLCTL arenas.page x", "-ERR value is not an integer or out of range\r\n"),
        ("MALLCTL-STR opt.dss", "$9\r\nsecondary\r\n"),
        ("MALLCTL-STR arena.0.dss", "$9\r\nsecondary\r\n"),
        ("MALLCTL-STR thread.tcache.flush VOID", "+OK\r\n"),
        ("MALLCTL-STR thread.tcache.flush", "-ERR Operation not permitted\r\n"),
        ("MALLCTL thread.tcache.flush 1", "-ERR Operation not permitted\r\n"),
        ("MALLCTL", "-ERR unknown subcommand or wrong number of arguments for 'MALLCTL'. Try DEBUG HELP.\r\n"),
    ] {
        assert_eq!(ask(&server, words), reply, "{words}");
    }
    assert!(ask(&server, "MALLCTL arenas.dirty_decay_ms 5000").starts_with(':'));
    assert_eq!(ask(&server, "MALLCTL arenas.dirty_decay_ms"), ":5000\r\n");
    for attack in [
        "MALLCTL arena.0.extent_hooks 4096",
        "MALLCTL arena.0.destroy 1",
        "MALLCTL-STR arena.0.reset VOID",
        "MALLCTL-STR arenas.page",
        "MALLCTL arena.0.extent_hooks",
        "MALLCTL thread.allocatedp",
    ] {
        assert_eq!(ask(&server, attack), "-ERR Operation not permitted\r\n", "{attack}");
    }
    server.is_well();
    let locked = Server::start(&[]);
    assert!(ask(&locked, "MALLCTL arenas.page").starts_with("-ERR DEBUG command not allowed."));
}
