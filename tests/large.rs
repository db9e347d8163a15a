//! Long strings: received into blocks of their own, kept as they are, sent from where they lie. Whatever their length, and
//! however their bytes come, they are the bytes that were sent.

mod common;

use common::{Client, Dice, Server, request, wait_until};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

#[derive(Debug, PartialEq)]
enum Reply {
    Line(String),
    Bulk(Vec<u8>),
    Nil,
    Array(Vec<Reply>),
}

fn bulk(bytes: &[u8]) -> Reply {
    Reply::Bulk(bytes.to_vec())
}

fn ok() -> Reply {
    Reply::Line("+OK".into())
}

fn int(n: usize) -> Reply {
    Reply::Line(format!(":{n}"))
}

/// A connection whose requests and replies are bytes.
struct Binary(BufReader<TcpStream>);

impl Binary {
    fn of(server: &Server) -> Self {
        Self(BufReader::with_capacity(1 << 20, server.connect()))
    }

    fn ask(&mut self, words: &[&[u8]]) -> Reply {
        self.0.get_mut().write_all(&request(words)).unwrap();
        self.reply()
    }

    fn reply(&mut self) -> Reply {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a reply comes in time");
        let text = line.trim_end();
        match text.as_bytes().first() {
            Some(b'*') => Reply::Array((0..text[1..].parse::<usize>().unwrap()).map(|_| self.reply()).collect()),
            Some(b'$') if text == "$-1" => Reply::Nil,
            Some(b'$') => {
                let mut bytes = vec![0; text[1..].parse::<usize>().unwrap() + 2];
                self.0.read_exact(&mut bytes).unwrap();
                assert_eq!(bytes.split_off(bytes.len() - 2), b"\r\n");
                Reply::Bulk(bytes)
            }
            _ => Reply::Line(text.to_owned()),
        }
    }
}

/// Every command that stores or reads a whole string, with one of this length.
fn speaks_of(server: &Server, dice: &mut Dice, len: usize) {
    let mut client = Binary::of(server);
    let (v, w) = (dice.bytes(len), dice.bytes(len));
    let both = [v.as_slice(), &w].concat();
    let mut changed = w.clone();
    changed[..2].copy_from_slice(b"zz");
    let cases: &[(&[&[u8]], Reply)] = &[
        (&[b"SET", b"k", &v], ok()),
        (&[b"GET", b"k"], bulk(&v)),
        (&[b"STRLEN", b"k"], int(len)),
        (&[b"GETRANGE", b"k", b"1", b"-2"], bulk(&v[1..len - 1])),
        (&[b"MSET", b"a", &v, b"b", &w, b"c", b"1"], ok()),
        (&[b"MGET", b"a", b"missing", b"b", b"c"], Reply::Array(vec![bulk(&v), Reply::Nil, bulk(&w), bulk(b"1")])),
        (&[b"APPEND", b"a", &w], int(2 * len)),
        (&[b"GET", b"a"], bulk(&both)),
        (&[b"SETRANGE", b"b", b"0", b"zz"], int(len)),
        (&[b"GET", b"b"], bulk(&changed)),
        (&[b"GETSET", b"k", &w], bulk(&v)),
        (&[b"SET", b"k", &v, b"GET", b"EX", b"100"], bulk(&w)),
        (&[b"GETEX", b"k", b"PERSIST"], bulk(&v)),
        (&[b"GETEX", b"k", b"EX", b"0"], Reply::Line("-ERR invalid expire time in 'getex' command".into())),
        (&[b"COPY", b"k", b"copy", b"REPLACE"], int(1)),
        (&[b"SETEX", b"k", b"100", &w], ok()),
        (&[b"MGET", b"copy", b"k"], Reply::Array(vec![bulk(&v), bulk(&w)])),
        (&[b"MULTI"], ok()),
        (&[b"SET", b"m", &v], Reply::Line("+QUEUED".into())),
        (&[b"MGET", b"m", b"k"], Reply::Line("+QUEUED".into())),
        (&[b"EXEC"], Reply::Array(vec![ok(), Reply::Array(vec![bulk(&v), bulk(&w)])])),
        (
            &[b"EVAL", b"redis.call('set', KEYS[1], ARGV[1]) return redis.call('get', KEYS[1])", b"1", b"s", &w],
            bulk(&w),
        ),
        (&[b"RPUSH", b"list", &v], int(1)),
        (&[b"LPOP", b"list"], bulk(&v)),
        (&[b"GETDEL", b"k"], bulk(&w)),
        (&[b"EXISTS", b"k"], int(0)),
    ];
    for (words, expected) in cases {
        let name = String::from_utf8_lossy(words[0]).into_owned();
        assert!(client.ask(words) == *expected, "{name} of {len} bytes");
    }
    let Reply::Bulk(payload) = client.ask(&[b"DUMP", b"m"]) else { panic!("DUMP answers a bulk") };
    assert_eq!(client.ask(&[b"RESTORE", b"r", b"0", &payload, b"REPLACE"]), ok());
    assert!(client.ask(&[b"GET", b"r"]) == bulk(&v), "RESTORE of {len} bytes");
}

#[test]
fn a_string_of_any_length_is_what_was_sent() {
    let server = Server::start(&["--appendonly", "yes", "--appendfsync", "no", "--enable-debug-command", "yes"]);
    let mut dice = Dice(1);
    for len in [100, 32_767, 32_768, 32_769, 100_000, 1 << 20, (4 << 20) + 7] {
        speaks_of(&server, &mut dice, len);
    }
    let mut client = Client::of(&server);
    let before = client.ask("DEBUG DIGEST");
    client.ask("DEBUG LOADAOF");
    assert_eq!(client.ask("DEBUG DIGEST"), before);
}

#[test]
fn pipelines_of_short_and_long_requests_may_be_cut_anywhere() {
    let (server, mut dice) = (Server::start(&[]), Dice(2));
    for _ in 0..20 {
        let mut client = Binary::of(&server);
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        for i in 0..12 {
            let lengths = [3, 1000, 32_766, 32_768, 40_000, 70_000, 400_000];
            let (key, value) = (format!("key:{i}"), {
                let len = dice.one_of(&lengths);
                dice.bytes(len)
            });
            sent.extend(request(&[b"SET", key.as_bytes(), &value]));
            sent.extend(request(&[b"GET", key.as_bytes()]));
            expected.extend([ok(), Reply::Bulk(value)]);
        }
        let mut stream = client.0.get_ref().try_clone().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut rest = &sent[..];
                while !rest.is_empty() {
                    let len = dice.one_of(&[1, 2, 7, 1000, 16_384, 50_000, 300_000]).min(rest.len());
                    stream.write_all(&rest[..len]).unwrap();
                    rest = &rest[len..];
                }
            });
            expected.iter().for_each(|reply| assert!(client.reply() == *reply));
        });
        dice = Dice(expected.len() as u64 + client.0.get_ref().local_addr().unwrap().port() as u64);
    }
}

#[test]
fn a_long_argument_ends_in_a_line_s_end() {
    let server = Server::start(&[]);
    let header = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$40000\r\n";
    let long = vec![b'x'; 40_000];
    for end in ["xy", "\rx", "\n\r"] {
        let answer = server.tell(&[header.as_slice(), &long, end.as_bytes()].concat());
        assert_eq!(answer, "-ERR Protocol error: bulk string is not terminated by CRLF\r\n");
    }
    assert_eq!(server.ask(&[b"EXISTS", b"k"]), ":0\r\n");
}

#[test]
fn what_is_sent_is_what_was_read_whatever_becomes_of_the_key() {
    let server = Server::start(&[]);
    let (mut reader, mut writer, value) = (Binary::of(&server), Client::of(&server), Dice(3).bytes(40 << 20));
    assert_eq!(reader.ask(&[b"SET", b"k", &value]), ok());
    reader.0.get_mut().write_all(&request(&[b"GET", b"k"])).unwrap();
    // Its reply is more than sockets hold: it is under way while the key changes.
    wait_until("the reply waits for its reader", || writer.ask("CLIENT LIST")[0].contains("cmd=get"));
    assert_eq!(writer.ask("SETRANGE k 0 changed"), [value.len().to_string()]);
    assert_eq!(writer.ask("APPEND k more"), [(value.len() + 4).to_string()]);
    assert_eq!(writer.ask("DEL k"), ["1"]);
    assert!(reader.reply() == Reply::Bulk(value));
}

#[test]
fn half_of_a_long_argument_counts_and_is_given_back() {
    let server = Server::start(&[]);
    let (mut client, mut half) = (Client::of(&server), server.connect());
    let held = |client: &mut Client| -> Vec<usize> {
        let list = client.ask("CLIENT LIST")[0].clone();
        let totals = list.split_whitespace().filter_map(|field| field.strip_prefix("tot-mem="));
        totals.map(|total| total.parse().unwrap()).collect()
    };
    half.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8388608\r\n").unwrap();
    half.write_all(&vec![0; 4 << 20]).unwrap();
    wait_until("what it sent is counted", || held(&mut client).iter().any(|&bytes| bytes > 8 << 20));
    drop(half);
    wait_until("it is gone", || held(&mut client).len() == 1);
    let mut used = || {
        let info = client.ask("INFO memory")[0].clone();
        info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().parse::<usize>().unwrap()
    };
    wait_until("its memory is free", || used() < 8 << 20);
    assert_eq!(server.ask(&[b"EXISTS", b"k"]), ":0\r\n");
}
