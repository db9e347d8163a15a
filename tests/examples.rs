//! Every row's examples, run in-process on an empty database each: what our documentation shows is what happens.
//!
//! A transcript is what redis-cli shows on a terminal. `*` as a whole reply or a whole element, and `...` anywhere, stand
//! for anything; of clocks and ids the digits are left out, of replies without an order the order. The same examples run
//! against real servers in `compat/differential/examples.py`, by the same rules.

use memkv::boot;
use memkv::clients::Client;
use memkv::command::call::call;
use memkv::command::session::Session;
use memkv::command::turn::{Called, Turn};
use memkv::command::waiting::{give_up, timed_out};
use memkv::command::{Command, HIDDEN};
use memkv::config::{Config, split_args};
use memkv::resp::Argv;

#[test]
fn examples_of_all_rows_are_true() {
    let rows: Vec<&Command> = memkv::commands::FAMILIES.iter().copied().flatten().filter(|c| !c.has(HIDDEN)).collect();
    let problems: Vec<String> = rows.iter().filter_map(|row| check(row.name, row.examples)).collect();
    assert!(problems.is_empty(), "{} of {}:\n{}", problems.len(), rows.len(), problems.join("\n"));
}

#[test]
fn printed_examples_are_blocks_that_a_tool_can_read() {
    let text = memkv::commands::examples();
    assert!(text.starts_with("# ") && text.contains("\n# GET\n> "));
    for block in text.split("\n\n# ") {
        let (_, transcript) = block.split_once('\n').unwrap();
        assert!(transcript.starts_with("> "), "{block}");
    }
}

/// Runs one transcript; tells the first difference.
fn check(name: &str, transcript: &str) -> Option<String> {
    let config = Config { stripes: 16, ..Config::default() };
    let (node, registry) = boot::offline(config).unwrap();
    let client = Client::new(1, "127.0.0.1:50000".into(), "127.0.0.1:6379".into(), false, memkv::clock::now_ms());
    node.clients.add(&client);
    let (mut session, stats) = (Session::new(client, true), node.observatory.worker(0));
    let mut steps: Vec<(&str, String)> = Vec::new();
    for line in transcript.lines() {
        match (line.strip_prefix("> "), steps.last_mut()) {
            (Some(command), _) => steps.push((command, String::new())),
            (None, Some((_, reply))) => {
                reply.push_str(if reply.is_empty() { "" } else { "\n" });
                reply.push_str(line);
            }
            (None, None) => return Some(format!("{name}: not a transcript: {line:?}")),
        }
    }
    for (command, promised) in steps {
        let words = split_args(command.as_bytes()).unwrap_or_default();
        let (argv, mut out) = (Argv::of(&words), Vec::new());
        let mut turn = Turn::begin(node, &stats, registry, 0);
        let request = turn.prepare(argv.view(), false);
        let called = call(&mut turn, &mut session, request, &mut out);
        let answer = match called {
            Called::Done => shown(&out),
            Called::Waits => {
                // Nobody else is here to serve it: its time will be over.
                let waiting = session.waiting.take().expect("a command that waits is in its session");
                assert!(give_up(&turn, &session.client, &waiting.waiter), "nobody serves it");
                timed_out(node, &waiting.waiter, &mut out);
                shown(&out)
            }
            _ => "(held back)".to_owned(),
        };
        if !agree(&words, &promised, &answer) {
            return Some(format!("{name}:\n  > {command}\n  promised: {promised:?}\n  answered: {answer:?}"));
        }
    }
    None
}

/// Bytes of replies as redis-cli shows them.
fn shown(mut bytes: &[u8]) -> String {
    let mut replies = Vec::new();
    while !bytes.is_empty() {
        replies.push(reply(&mut bytes, 0));
    }
    replies.join("\n")
}

fn line<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let end = bytes.windows(2).position(|w| w == b"\r\n").expect("a whole line");
    let line = &bytes[..end];
    *bytes = &bytes[end + 2..];
    line
}

fn reply(bytes: &mut &[u8], indent: usize) -> String {
    let head = line(bytes);
    let (kind, rest) = (head[0], String::from_utf8_lossy(&head[1..]).into_owned());
    match kind {
        b'+' | b'(' => rest,
        b'-' => format!("(error) {rest}"),
        b':' => format!("(integer) {rest}"),
        b',' => format!("(double) {rest}"),
        b'#' => if rest == "t" { "(true)" } else { "(false)" }.to_owned(),
        b'_' => "(nil)".to_owned(),
        _ if rest == "-1" => "(nil)".to_owned(),
        b'$' | b'=' => {
            let len: usize = rest.parse().unwrap();
            let payload = &bytes[..len];
            *bytes = &bytes[len + 2..];
            if kind == b'=' { String::from_utf8_lossy(&payload[4..]).into_owned() } else { quoted(payload) }
        }
        _ => aggregate(kind, rest.parse().unwrap(), bytes, indent),
    }
}

fn aggregate(kind: u8, len: usize, bytes: &mut &[u8], indent: usize) -> String {
    let (empty, mark) = match kind {
        b'*' => ("(empty array)", ')'),
        b'~' => ("(empty set)", '~'),
        b'%' => ("(empty hash)", '#'),
        b'>' => ("(empty push)", ')'),
        other => panic!("unknown kind of reply {:?}", other as char),
    };
    if len == 0 {
        return empty.to_owned();
    }
    let width = len.to_string().len();
    let inner = indent + width + 2;
    let elements = (1..=len).map(|n| {
        let before = if n == 1 { 0 } else { indent };
        let mut text = format!("{:before$}{n:>width$}{mark} {}", "", reply(bytes, inner));
        if kind == b'%' {
            text.push_str(&format!(" => {}", reply(bytes, inner)));
        }
        text
    });
    elements.collect::<Vec<_>>().join("\n")
}

fn quoted(payload: &[u8]) -> String {
    let mut text = String::from("\"");
    for &b in payload {
        match b {
            b'\\' | b'"' => text.extend(['\\', b as char]),
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            7 => text.push_str("\\a"),
            8 => text.push_str("\\b"),
            32..127 => text.push(b as char),
            _ => text.push_str(&format!("\\x{b:02x}")),
        }
    }
    text + "\""
}

/// Whether a reply is what was promised, as far as it can be known.
fn agree(words: &[Vec<u8>], promised: &str, answer: &str) -> bool {
    let word = |i: usize| words.get(i).map(|w| String::from_utf8_lossy(w).to_uppercase()).unwrap_or_default();
    let (name, full) = (word(0), format!("{} {}", word(0), word(1)));
    let listed = |list: &[&str]| list.contains(&name.as_str()) || list.contains(&full.as_str());
    if listed(&CLOCKS_AND_IDS) {
        return fits(&digits_out(promised), &digits_out(answer));
    }
    if listed(&UNORDERED) {
        return sorted(promised) == sorted(answer);
    }
    fits(promised, answer)
}

/// `*` stands for a whole reply or element, `...` for any text.
fn fits(promised: &str, answer: &str) -> bool {
    if promised == answer || promised == "*" {
        return true;
    }
    let lines: Vec<String> = promised
        .lines()
        .map(|line| match line.strip_suffix(") *") {
            Some(head) => format!("{head}) ..."),
            None => line.to_owned(),
        })
        .collect();
    let promised = lines.join("\n");
    let mut pieces = promised.split("...");
    let Some(mut left) = pieces.next().and_then(|first| answer.strip_prefix(first)) else { return false };
    let pieces: Vec<&str> = pieces.collect();
    let Some((last, between)) = pieces.split_last() else { return left.is_empty() };
    for piece in between {
        match left.find(piece) {
            Some(at) => left = &left[at + piece.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

/// Numbers and quoted words become one letter.
fn digits_out(text: &str) -> String {
    let (mut out, mut chars) = (String::new(), text.chars().peekable());
    while let Some(c) = chars.next() {
        if c == '"' {
            while chars.next().is_some_and(|c| c != '"') {}
            out.push('N');
        } else if c.is_ascii_digit() {
            while chars.next_if(char::is_ascii_digit).is_some() {}
            out.push('N');
        } else {
            out.push(c);
        }
    }
    out
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text
        .lines()
        .map(|line| match line.trim_start().split_once([')', '~', '#']) {
            Some((number, rest)) if number.bytes().all(|b| b.is_ascii_digit()) => rest,
            _ => line,
        })
        .collect();
    lines.sort_unstable();
    lines
}

/// Commands whose replies are times, ids, sizes in this allocator or random picks.
const CLOCKS_AND_IDS: [&str; 18] = [
    "TTL",
    "EXPIRETIME",
    "PTTL",
    "PEXPIRETIME",
    "TIME",
    "LASTSAVE",
    "LOLWUT",
    "RANDOMKEY",
    "ROLE",
    "CLIENT ID",
    "MEMORY USAGE",
    "OBJECT IDLETIME",
    "COMMAND COUNT",
    "SLOWLOG GET",
    "SLOWLOG LEN",
    "MEMORY STATS",
    "MEMORY DOCTOR",
    "CLIENT INFO",
];
/// Commands whose replies have no order.
const UNORDERED: [&str; 10] =
    ["KEYS", "SMEMBERS", "SINTER", "SUNION", "SDIFF", "HKEYS", "HVALS", "SPOP", "HGETALL", "CONFIG GET"];
