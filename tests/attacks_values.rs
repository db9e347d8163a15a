//! Attacks with values: integers at their limits, counts and patterns that ask for too much, damaged payloads, secrets.
//!
//! The promise is always the same: an error, never a crash, a hang, a wrap or unbounded memory. After the attack
//! [`Server::is_well`] asks whether others are still served.

mod common;

use common::{Server, request, wait_until};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

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

/// A list that is searched for every new key would take days.
#[test]
fn watching_a_million_keys_is_bounded_and_is_given_back() {
    let mut server = Server::start(&[]);
    let before = server.resident_mb();
    let mut stream = server.connect();
    // One hash tag: they all meet in one stripe. Each comes twice.
    for part in [0, 1, 2, 3, 4, 0, 1, 2, 3, 4] {
        let names: Vec<Vec<u8>> =
            (0..200_000).map(|i| format!("{{tag}}:{}", part * 200_000 + i).into_bytes()).collect();
        let words: Vec<&[u8]> = std::iter::once(b"WATCH".as_slice()).chain(names.iter().map(Vec::as_slice)).collect();
        stream.write_all(&request(&words)).unwrap();
        stream.read_exact(&mut [0; 5]).unwrap();
    }
    assert!(server.ask(&[b"INFO", b"clients"]).contains("total_watched_keys:1000000\r"));
    assert!(server.resident_mb() < before + 600, "{before} MB became {} MB", server.resident_mb());
    server.is_well();
    drop(stream);
    wait_until("nothing is watched", || server.ask(&[b"INFO", b"clients"]).contains("total_watched_keys:0\r"));
    server.is_well();
}

/// CVE-2021-29478: a set of very many integers, in the encoding that is one block of memory.
#[test]
fn a_huge_set_of_integers_is_copied_whole() {
    let mut server = Server::start(&["--set-max-intset-entries", "1073741824"]);
    for from in (0..1_000_000).step_by(100_000) {
        let members: Vec<Vec<u8>> = (from..from + 100_000).map(|i: i64| (i << 40).to_string().into_bytes()).collect();
        let words: Vec<&[u8]> =
            [b"SADD".as_slice(), b"s"].into_iter().chain(members.iter().map(Vec::as_slice)).collect();
        assert_eq!(server.ask(&words), ":100000\r\n");
    }
    assert_eq!(server.ask(&[b"OBJECT", b"ENCODING", b"s"]), "$6\r\nintset\r\n");
    assert_eq!(server.ask(&[b"COPY", b"s", b"copy"]), ":1\r\n");
    assert_eq!(server.ask(&[b"SINTERCARD", b"2", b"s", b"copy"]), ":1000000\r\n");
    assert_eq!(server.ask(&[b"SISMEMBER", b"copy", (999_999i64 << 40).to_string().as_bytes()]), ":1\r\n");
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

/// Whether a reply is one error line.
fn is_error(answer: &str) -> bool {
    answer.starts_with('-') && answer.matches("\r\n").count() == 1
}

#[test]
fn counts_offsets_and_ranges_at_their_limits_are_errors_or_clamped() {
    let mut server = Server::start(&[]);
    let (max, min) = (b"9223372036854775807".as_slice(), b"-9223372036854775808".as_slice());
    for words in [
        [b"HSET".as_slice(), b"h", b"f", b"1"].as_slice(),
        &[b"SADD", b"s", b"a"],
        &[b"ZADD", b"z", b"1", b"a"],
        &[b"RPUSH", b"l", b"3", b"1", b"2"],
        &[b"SET", b"t", b"abc"],
    ] {
        server.ask(words);
    }
    let before = server.resident_mb();
    for refused in [
        [b"HRANDFIELD".as_slice(), b"h", min].as_slice(),
        &[b"HRANDFIELD", b"h", b"-4611686018427387904", b"WITHVALUES"],
        &[b"ZRANDMEMBER", b"z", min],
        &[b"ZRANDMEMBER", b"z", b"-9223372036854775807", b"WITHSCORES"],
        &[b"SRANDMEMBER", b"s", min],
        &[b"HINCRBYFLOAT", b"h", b"f", b"nan"],
        &[b"HINCRBYFLOAT", b"h", b"f", b"-inf"],
        &[b"HINCRBY", b"h", b"f", max],
        &[b"ZADD", b"z", b"nan", b"b"],
        &[b"SETBIT", b"b", b"4294967296", b"1"],
        &[b"SETBIT", b"b", b"-1", b"1"],
        &[b"BITFIELD", b"b", b"SET", b"u64", b"0", b"1"],
        &[b"BITFIELD", b"b", b"GET", b"u8", b"99999999999999999999"],
        &[b"LPOS", b"l", b"1", b"RANK", min],
        &[b"CONFIG", b"SET", b"list-max-listpack-size", max],
        &[b"CONFIG", b"SET", b"hash-max-listpack-value", b"18446744073709551615"],
    ] {
        let shown: Vec<_> = refused.iter().map(|w| String::from_utf8_lossy(w)).collect();
        assert!(is_error(&server.ask(refused)), "{shown:?}");
    }
    for (clamped, answer) in [
        ([b"BITCOUNT".as_slice(), b"t", min, max, b"BIT"].as_slice(), ":10\r\n"),
        (&[b"BITCOUNT", b"t", max, min], ":0\r\n"),
        (&[b"BITPOS", b"t", b"1", max], ":-1\r\n"),
        (&[b"SORT", b"l", b"LIMIT", max, max], "*0\r\n"),
        (&[b"LRANGE", b"l", min, b"0"], "*1\r\n$1\r\n3\r\n"),
        // As Redis 8.2: the one count without a counterpart is refused.
        (
            &[b"LREM", b"l", min, b"9"],
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807\r\n",
        ),
        (&[b"LINDEX", b"l", min], "$-1\r\n"),
        (&[b"ZRANGEBYSCORE", b"z", b"-inf", b"+inf", b"LIMIT", max, max], "*0\r\n"),
        (&[b"SPOP", b"s", max], "*1\r\n$1\r\na\r\n"),
        (&[b"CONFIG", b"SET", b"set-max-intset-entries", max], "+OK\r\n"),
        // What was refused left nothing behind.
        (&[b"HGET", b"h", b"f"], "$1\r\n1\r\n"),
        (&[b"ZSCORE", b"z", b"b"], "$-1\r\n"),
        (&[b"EXISTS", b"b"], ":0\r\n"),
    ] {
        let shown: Vec<_> = clamped.iter().map(|w| String::from_utf8_lossy(w)).collect();
        assert_eq!(server.ask(clamped), answer, "{shown:?}");
    }
    assert!(server.resident_mb() < before + 50);
    server.is_well();
}

/// A sparse HyperLogLog whose runs reach past its registers.
#[test]
fn a_forged_hyperloglog_is_refused() {
    let mut server = Server::start(&[]);
    let runs = [0x7f, 0xff].repeat(3);
    let forged = [b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80".as_slice(), &runs].concat();
    server.ask(&[b"SET", b"forged", &forged]);
    server.ask(&[b"PFADD", b"good", b"a"]);
    for words in [
        [b"PFCOUNT".as_slice(), b"forged"].as_slice(),
        &[b"PFCOUNT", b"good", b"forged"],
        &[b"PFMERGE", b"good", b"forged"],
    ] {
        let answer = server.ask(words);
        assert!(answer.starts_with("-INVALIDOBJ ") || answer.starts_with("-WRONGTYPE "), "{answer}");
    }
    // Adding looks at one register only, on a real server too; counting goes on refusing.
    assert_eq!(server.ask(&[b"PFADD", b"forged", b"x"]), ":1\r\n");
    assert!(server.ask(&[b"PFCOUNT", b"forged"]).starts_with("-INVALIDOBJ "));
    assert_eq!(server.ask(&[b"PFCOUNT", b"good"]), ":1\r\n");
    server.is_well();
}

/// Payloads under a right checksum that declare far more than they hold.
#[test]
fn payloads_that_promise_too_much_are_refused_before_anything_is_reserved() {
    let mut server = Server::start(&[]);
    let before = server.resident_mb();
    let length = |n: u64| [&[0x81], n.to_be_bytes().as_slice()].concat();
    let (huge, half) = (length(1 << 60), length(1 << 29));
    let lzf = [&[0xc3, 0x04], half.as_slice(), b"abcd"].concat();
    for (kind, body) in
        [(0u8, huge.clone()), (0, half), (0, lzf), (1, huge.clone()), (2, huge.clone()), (4, huge.clone()), (5, huge)]
    {
        let mut payload = [&[kind], body.as_slice(), &11u16.to_le_bytes()].concat();
        let crc = memkv::checksum::crc64(0, &payload);
        payload.extend(crc.to_le_bytes());
        let answer = server.ask(&[b"RESTORE", b"k", b"0", &payload]);
        assert_eq!(answer, "-ERR Bad data format\r\n", "kind {kind}");
    }
    assert!(server.resident_mb() < before + 50);
    server.is_well();
}

#[test]
fn patterns_of_a_megabyte_end_soon_in_collections_too() {
    let mut server = Server::start(&[]);
    let long = vec![b'a'; 5_000];
    server.ask(&[b"HSET", b"h", &long, b"1"]);
    server.ask(&[b"SADD", b"s", &long]);
    server.ask(&[b"ZADD", b"z", b"1", &long]);
    let bomb = [b"*a".repeat(2_000), b"[".repeat(1 << 20)].concat();
    for (scan, key) in [(b"HSCAN", b"h"), (b"SSCAN", b"s"), (b"ZSCAN", b"z")] {
        let answer = server.ask(&[scan, key, b"0", b"MATCH", &bomb]);
        assert_eq!(answer, "*2\r\n$1\r\n0\r\n*0\r\n");
    }
    server.is_well();
}

#[test]
fn very_many_keys_in_introspection_and_waiting_are_only_many_keys() {
    let mut server = Server::start(&[]);
    let names: Vec<Vec<u8>> = (0..10_000).map(|i| format!("k{i}").into_bytes()).collect();
    let keys = || names.iter().map(Vec::as_slice);
    let words: Vec<&[u8]> = [b"COMMAND".as_slice(), b"GETKEYS", b"MGET"].into_iter().chain(keys()).collect();
    assert!(server.ask(&words).starts_with("*10000\r\n"));
    let words: Vec<&[u8]> = [b"BLPOP".as_slice()].into_iter().chain(keys()).chain([b"0.05".as_slice()]).collect();
    // Wait for the answer before the connection is closed: a client that leaves is not answered.
    let mut stream = server.connect();
    std::io::Write::write_all(&mut stream, &request(&words)).unwrap();
    let mut answer = [0; 5];
    std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
    assert_eq!(&answer, b"*-1\r\n");
    server.is_well();
}

/// A list element of more than 1 GiB, which LZF makes of 12 MB: Redis keeps it, and so do we, in the file too.
#[test]
fn an_element_of_more_than_a_gigabyte_is_stored() {
    let mut server = Server::start(&["--enable-debug-command", "yes"]);
    for (kind, behind) in [(1, &b"\x01x"[..]), (18, b"")] {
        let payload = payload_of_a_giant(kind, behind);
        assert!(payload.len() < 13 << 20);
        assert_eq!(server.ask(&[b"RESTORE", b"list", b"0", &payload, b"REPLACE"]), "+OK\r\n", "type {kind}");
        assert_eq!(server.ask(&[b"LPUSH", b"list", b"front"]), if kind == 1 { ":3\r\n" } else { ":2\r\n" });
        assert_eq!(server.ask(&[b"DEBUG", b"RELOAD"]), "+OK\r\n");
        assert_eq!(server.ask(&[b"LPOS", b"list", b"front"]), ":0\r\n");
        server.is_well();
    }
}

/// A DUMP payload of a list (`kind` 1) or quicklist (18) that begins with one element of 1 GiB and a little.
fn payload_of_a_giant(kind: u8, behind: &[u8]) -> Vec<u8> {
    let copies = (1u32 << 30) / 264 + 1;
    let mut lzf = b"\x00a".to_vec();
    (0..copies).for_each(|_| lzf.extend_from_slice(b"\xe0\xff\x00"));
    let length = |n: u32| [&[0x80][..], &n.to_be_bytes()].concat();
    let element = [b"\xc3".to_vec(), length(lzf.len() as u32), length(1 + 264 * copies), lzf].concat();
    let front: &[u8] = if kind == 1 { &[1, 2] } else { &[18, 1, 1] };
    let mut payload = [front, &element, behind, b"\x0a\x00"].concat();
    let sum = memkv::checksum::crc64(0, &payload);
    payload.extend_from_slice(&sum.to_le_bytes());
    payload
}

#[test]
fn streams_bear_ids_counts_and_lists_that_ask_for_too_much() {
    let mut server = Server::start(&[]);
    let before = server.resident_mb();
    for n in 1..=3 {
        server.ask(&[b"XADD", b"s", format!("{n}-0").as_bytes(), b"f", b"v"]);
    }
    server.ask(&[b"XGROUP", b"CREATE", b"s", b"g", b"0"]);
    server.ask(&[b"XREADGROUP", b"GROUP", b"g", b"c", b"STREAMS", b"s", b">"]);
    server.ask(&[b"XDEL", b"s", b"1-0", b"3-0"]);
    // CVE-2022-31144 and 35951: gone entries beside a huge count.
    let answer = server.ask(&[b"XAUTOCLAIM", b"s", b"g", b"d", b"0", b"0", b"COUNT", b"576460752303423487", b"JUSTID"]);
    assert_eq!(answer, "*3\r\n$3\r\n0-0\r\n*1\r\n$3\r\n2-0\r\n*2\r\n$3\r\n1-0\r\n$3\r\n3-0\r\n");
    let too_large = [b"XAUTOCLAIM", b"s".as_slice(), b"g", b"d", b"0", b"0", b"COUNT", b"4611686018427387904"];
    assert_eq!(server.ask(&too_large), "-ERR COUNT must be > 0\r\n");
    // CVE-2025-62507: more ids than any array on a stack has room for.
    let ids: Vec<String> = (0..100_000).map(|n| format!("{n}-7")).collect();
    let count = ids.len().to_string();
    for front in [[b"XACKDEL".as_slice(), b"s", b"g", b"IDS"], [b"XDELEX", b"s", b"DELREF", b"IDS"]] {
        let words: Vec<&[u8]> =
            front.into_iter().chain([count.as_bytes()]).chain(ids.iter().map(String::as_bytes)).collect();
        let answer = server.ask(&words);
        assert!(answer.starts_with("*100000\r\n:-1\r\n"), "{}", &answer[..40.min(answer.len())]);
    }
    for count in ["0", "-1", "2", "9223372036854775807", "18446744073709551616", "x"] {
        assert!(is_error(&server.ask(&[b"XDELEX", b"s", b"IDS", count.as_bytes(), b"1-0"])), "{count}");
    }
    for id in ["18446744073709551616", "-1", "1-1-1", "0-0", ""] {
        assert!(is_error(&server.ask(&[b"XADD", b"new", id.as_bytes(), b"f", b"v"])), "{id}");
    }
    assert_eq!(server.ask(&[b"EXISTS", b"new"]), ":0\r\n");
    let max = b"18446744073709551615-18446744073709551615";
    assert!(server.ask(&[b"XADD", b"full", max, b"f", b"v"]).starts_with('$'));
    assert!(is_error(&server.ask(&[b"XADD", b"full", b"*", b"f", b"v"])));
    assert_eq!(server.ask(&[b"XREAD", b"STREAMS", b"full", max]), "*-1\r\n");
    assert!(server.resident_mb() < before + 60);
    server.is_well();
}
