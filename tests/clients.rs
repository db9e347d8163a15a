//! What clients hold: counted alike wherever it is shown, and bounded by `maxmemory-clients`. The rules were asked of
//! Redis 7.0 and 8.2: the largest go first, until the sum is below the limit; a client under NO-EVICT stays, but counts.

mod common;

use common::{Server, request, wait_until};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

struct Client(BufReader<TcpStream>);

impl Client {
    fn new(server: &Server, name: &str) -> Self {
        let mut client = Self(BufReader::new(server.connect()));
        assert_eq!(client.ask(&["CLIENT", "SETNAME", name]), "OK");
        client
    }

    /// One that is never closed for others' sake.
    fn control(server: &Server) -> Self {
        let mut client = Self::new(server, "control");
        assert_eq!(client.ask(&["CLIENT", "NO-EVICT", "ON"]), "OK");
        client
    }

    fn send(&mut self, bytes: &[u8]) {
        // Whoever is closed in the middle of it hears of it.
        let _ = self.0.get_mut().write_all(bytes);
    }

    fn ask(&mut self, words: &[&str]) -> String {
        self.send(&request(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>()));
        self.reply().unwrap_or_else(|| panic!("{words:?} is answered"))
    }

    /// The scalars of a reply, one a line. None when the server has closed the connection.
    fn reply(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line);
        if !read.is_ok_and(|n| n > 0) {
            return None;
        }
        let (kind, text) = (line.as_bytes()[0], line[1..].trim_end());
        match kind {
            b'*' => {
                let parts: Option<Vec<String>> = (0..text.parse::<usize>().unwrap()).map(|_| self.reply()).collect();
                parts.map(|parts| parts.join("\n"))
            }
            b'$' => {
                let mut bytes = vec![0; text.parse::<usize>().unwrap() + 2];
                self.0.read_exact(&mut bytes).ok()?;
                Some(String::from_utf8_lossy(&bytes[..bytes.len() - 2]).into_owned())
            }
            _ => Some(text.to_owned()),
        }
    }

    /// Sends a request without its end: so many bytes stay in the server's read buffer.
    fn send_half(&mut self, bytes: usize) {
        self.send(format!("*2\r\n${bytes}\r\n{}", "x".repeat(bytes)).as_bytes());
    }

    fn is_closed(&mut self) -> bool {
        self.reply().is_none()
    }

    /// The names of all that are connected, sorted.
    fn names(&mut self) -> Vec<String> {
        let list = self.ask(&["CLIENT", "LIST"]);
        let mut names: Vec<String> = list.lines().map(|line| field(line, "name").to_owned()).collect();
        names.sort();
        names
    }

    fn line_of(&mut self, name: &str) -> String {
        let list = self.ask(&["CLIENT", "LIST"]);
        let line = list.lines().find(|line| field(line, "name") == name);
        line.unwrap_or_else(|| panic!("{name} is connected")).to_owned()
    }

    fn figure(&mut self, name: &str, figure: &str) -> usize {
        number(&self.line_of(name), figure)
    }

    fn wait_for(&mut self, name: &str, figure: &str, wanted: usize) {
        wait_until(&format!("{name}: {figure}={wanted}"), || self.figure(name, figure) == wanted);
    }

    fn info(&mut self, figure: &str) -> String {
        let text = self.ask(&["INFO", "everything"]);
        let value = text.lines().find_map(|line| line.strip_prefix(figure)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("INFO has {figure}")).to_owned()
    }
}

/// A field of a line of CLIENT LIST.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let value = line.split(' ').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("{line} has {name}"))
}

fn number(line: &str, name: &str) -> usize {
    field(line, name).parse().unwrap()
}

/// With one thread and with several: eviction reaches across them.
fn on_one_and_on_several_threads(test: impl Fn(&Server)) {
    for threads in ["1", "3"] {
        test(&Server::start(&["--threads", threads]));
    }
}

#[test]
fn the_largest_go_first_and_only_until_the_rest_keeps_below_the_limit() {
    on_one_and_on_several_threads(|server| {
        let mut control = Client::control(server);
        let mut held = Vec::new();
        let sizes = [("small", 128 << 10), ("middle", 1 << 20), ("large", 3 << 20)];
        for (size, bytes) in sizes.iter().flat_map(|size| [size; 3]) {
            let mut client = Client::new(server, &format!("{size}{}", held.len()));
            client.send_half(*bytes);
            control.wait_for(&format!("{size}{}", held.len()), "qbuf", *bytes);
            held.push(client);
        }
        // Of equals the oldest goes first.
        let by_turn = ["large6", "large7", "large8", "middle3", "middle4", "middle5", "small0", "small1", "small2"];
        for (limit, gone) in [(7 << 20, 2), (4 << 20, 3), (1 << 20, 6)] {
            assert_eq!(control.ask(&["CONFIG", "SET", "maxmemory-clients", &limit.to_string()]), "OK");
            // At once: the next command of the same client sees them gone.
            let left = [&["control"], &by_turn[gone..]].concat();
            assert_eq!(control.names(), left, "below {limit}");
        }
        assert_eq!(control.info("evicted_clients"), "6");
        let closed = held.split_off(3);
        assert!(closed.into_iter().all(|mut client| client.is_closed()));
        let log = server.log();
        assert_eq!(log.matches("Evicting client: id=").count(), 6, "{log}");
        assert!(log.contains("name=large6 ") && !log.contains("name=small"), "{log}");
    });
}

#[test]
fn a_client_under_no_evict_stays_but_counts() {
    on_one_and_on_several_threads(|server| {
        let mut control = Client::control(server);
        control.ask(&["CONFIG", "SET", "maxmemory-clients", "1000000"]);
        let mut idle = Client::new(server, "idle");
        let mut protected = Client::new(server, "protected");
        protected.ask(&["CLIENT", "NO-EVICT", "ON"]);
        protected.send_half(2_000_000);
        control.wait_for("protected", "qbuf", 2_000_000);
        // As Redis has it: the limit is exceeded, whoever it was, and those go who may.
        assert!(idle.is_closed());
        assert_eq!(control.names(), ["control", "protected"]);
        assert!(server.log().contains("Over client maxmemory after evicting all evictable clients"));
        // The protected one gives up its privilege and is the first to go. The rest of its request is that command.
        protected.send(b"\r\n$1\r\nx\r\n");
        assert_eq!(protected.reply().as_deref().map(|reply| &reply[..11]), Some("ERR unknown"));
        protected.send(b"*3\r\n$6\r\nCLIENT\r\n$8\r\nNO-EVICT\r\n$3\r\nOFF\r\n");
        assert_eq!(protected.reply().as_deref(), Some("OK"));
        protected.send_half(2_000_000);
        assert!(protected.is_closed());
    });
}

#[test]
fn a_client_that_may_go_again_goes_without_another_byte_from_it() {
    let server = Server::start(&[]);
    let mut control = Client::control(&server);
    control.ask(&["SETRANGE", "big", "1000000", "x"]);
    let mut reader = Client::new(&server, "reader");
    reader.ask(&["CLIENT", "NO-EVICT", "ON"]);
    control.ask(&["CONFIG", "SET", "maxmemory-clients", "1mb"]);
    // It reads nothing, so what the kernel does not take is held for it.
    (0..30).for_each(|_| reader.send(&request(&[b"GET", b"big"])));
    wait_until("much is held for the reader", || control.figure("reader", "omem") > 5 << 20);
    assert!(control.figure("reader", "tot-mem") >= control.figure("reader", "omem"));
    reader.send(&request(&[b"CLIENT", b"NO-EVICT", b"OFF"]));
    wait_until("the reader is gone", || control.names() == ["control"]);
    assert_eq!(control.info("evicted_clients"), "1");
}

#[test]
fn the_limit_may_be_a_share_of_maxmemory() {
    let server = Server::start(&["--maxmemory", "100mb", "--maxmemory-clients", "3%"]);
    let mut control = Client::control(&server);
    let mut below = Client::new(&server, "below");
    below.send_half(1_000_000);
    control.wait_for("below", "qbuf", 1_000_000);
    let mut above = Client::new(&server, "above");
    above.send_half(3_145_728);
    assert!(above.is_closed());
    assert_eq!(control.names(), ["below", "control"]);
    // The same share of less, and of no bound at all.
    control.ask(&["CONFIG", "SET", "maxmemory", "30mb"]);
    assert_eq!(control.names(), ["control"]);
    control.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    let mut above = Client::new(&server, "above");
    above.send_half(4_000_000);
    control.wait_for("above", "qbuf", 4_000_000);
}

#[test]
fn what_is_queued_and_watched_counts_until_it_is_gone() {
    let server = Server::start(&[]);
    let (mut control, mut client) = (Client::control(&server), Client::new(&server, "client"));
    let at_rest = control.figure("client", "tot-mem");
    client.ask(&["MULTI"]);
    client.ask(&["SET", "k", &"v".repeat(100_000)]);
    assert!(control.figure("client", "multi-mem") > 100_000);
    assert!(control.figure("client", "tot-mem") > at_rest + 100_000);
    client.ask(&["DISCARD"]);
    assert_eq!((control.figure("client", "multi-mem"), control.figure("client", "tot-mem")), (0, at_rest));
    for i in 0..100 {
        client.ask(&["WATCH", &format!("key{i}"), "key0"]);
    }
    let watching = control.figure("client", "tot-mem");
    assert!((at_rest + 5_000..at_rest + 50_000).contains(&watching), "{at_rest} {watching}");
    client.ask(&["UNWATCH"]);
    assert_eq!(control.figure("client", "tot-mem"), at_rest);
    client.send(&request(&[b"BLPOP", "q".repeat(10_000).as_bytes(), b"0"]));
    control.wait_for("client", "argv-mem", 5 + 10_000 + 1);
    assert!(control.figure("client", "tot-mem") > at_rest + 10_000);
    // Enough of either closes it.
    control.ask(&["CONFIG", "SET", "maxmemory-clients", "200000"]);
    let mut watcher = Client::new(&server, "watcher");
    let closed = (0..10_000).find(|i| {
        watcher.send(&request(&[b"WATCH", format!("key{i}").as_bytes()]));
        watcher.is_closed()
    });
    assert!(closed.is_some_and(|i| i > 100), "{closed:?}");
    let mut queuer = Client::new(&server, "queuer");
    queuer.ask(&["MULTI"]);
    queuer.send(&request(&[b"SET", b"k", "v".repeat(150_000).as_bytes()]));
    assert_eq!(queuer.reply().as_deref(), Some("QUEUED"));
    queuer.send(&request(&[b"SET", b"k", "v".repeat(150_000).as_bytes()]));
    while !queuer.is_closed() {}
}

#[test]
fn a_half_read_request_is_told_apart_as_redis_tells_it() {
    let server = Server::start(&[]);
    let (mut control, mut half) = (Client::control(&server), Client::new(&server, "half"));
    half.send(b"*4\r\n$3\r\nSET\r\n$5\r\nabcde\r\n$100\r\nxxxx");
    control.wait_for("half", "qbuf", 4);
    let line = control.line_of("half");
    assert_eq!((number(&line, "argv-mem"), field(&line, "cmd")), (8, "client|setname"));
    // A connection at rest holds no buffers at all.
    half.send(&[b"x".repeat(96).as_slice(), b"\r\n$2\r\nNX\r\n"].concat());
    assert_eq!(half.reply().as_deref(), Some("OK"));
    let line = control.line_of("half");
    for figure in ["qbuf", "qbuf-free", "argv-mem", "rbs", "obl", "oll", "omem"] {
        assert_eq!(number(&line, figure), 0, "{figure} in {line}");
    }
}

#[test]
fn one_long_argument_takes_no_more_than_its_length() {
    let server = Server::start(&[]);
    let (mut control, mut half) = (Client::control(&server), Client::new(&server, "half"));
    let at_rest = control.figure("half", "tot-mem");
    half.send_half(5_000_000);
    control.wait_for("half", "qbuf", 5_000_000);
    assert!(control.figure("half", "tot-mem") < at_rest + 5_000_100);
}

#[test]
fn all_that_tell_of_clients_memory_tell_the_same() {
    let server = Server::start(&[]);
    let mut control = Client::control(&server);
    let mut others: Vec<Client> = (0..5).map(|i| Client::new(&server, &format!("c{i}"))).collect();
    for (i, client) in others.iter_mut().enumerate() {
        client.send_half(i * 100_000);
        control.wait_for(&format!("c{i}"), "qbuf", i * 100_000);
    }
    let of_the_others: usize = (0..5).map(|i| control.figure(&format!("c{i}"), "tot-mem")).sum();
    let mine = control.figure("control", "tot-mem");
    // What the one that asks uses while it asks is the only difference there may be.
    let told = control.info("mem_clients_normal").parse::<usize>().unwrap();
    assert!(told.abs_diff(of_the_others + mine) < 200_000, "{told} {of_the_others} {mine}");
    let stats = control.ask(&["MEMORY", "STATS"]);
    let mut stats = stats.lines().skip_while(|line| *line != "clients.normal").skip(1);
    let told: usize = stats.next().unwrap().parse().unwrap();
    assert!(told.abs_diff(of_the_others + mine) < 200_000, "{told} {of_the_others} {mine}");
    let line = control.line_of("c4");
    let parts: usize =
        ["qbuf", "qbuf-free", "argv-mem", "multi-mem", "rbs", "omem"].map(|p| number(&line, p)).iter().sum();
    let base = control.figure("c0", "tot-mem") - control.figure("c0", "qbuf-free");
    // The rest is the request's head, which is understood already.
    assert!(number(&line, "tot-mem").abs_diff(base + parts) < 100, "{base} {line}");
}

/// Requests for large values that come together are answered in order, but not into memory all at once.
#[test]
fn a_pipeline_for_large_values_meets_its_limit_on_the_way() {
    let server = Server::start(&["--client-output-buffer-limit", "normal 20mb 0 0"]);
    let mut control = Client::control(&server);
    control.ask(&["SETRANGE", "big", "4999999", "x"]);
    let mut greedy = Client::new(&server, "greedy");
    greedy.send(&request(&[b"GET", b"big"]).repeat(60));
    wait_until("the greedy one is gone", || control.names() == ["control"]);
    assert_eq!(control.info("client_output_buffer_limit_disconnections"), "1");
    let peak: u64 = control.info("used_memory_peak").parse().unwrap();
    assert!(peak < 120 << 20, "{peak}");
    // Whatever was put off keeps its place, inline requests too, and each counts once.
    let mut client = Client::new(&server, "client");
    control.ask(&["SETRANGE", "large", "299999", "x"]);
    let before: u64 = control.info("total_commands_processed").parse().unwrap();
    client.send(b"INCR n\r\nGET large\r\nINCR n\r\nGET \"large\"\r\nECHO \"a b\"\r\n*2\r\n$3\r\nGET\r\n$5\r\nlarge\r\nINCR n\r\n");
    let lengths: Vec<String> = (0..7).map(|_| client.reply().unwrap()).collect();
    let short = |reply: &String| if reply.len() > 10 { reply.len().to_string() } else { reply.clone() };
    assert_eq!(lengths.iter().map(short).collect::<Vec<_>>(), ["1", "300000", "2", "300000", "a b", "300000", "3"]);
    let after: u64 = control.info("total_commands_processed").parse().unwrap();
    assert_eq!(after - before, 8);
}

#[test]
fn subscriptions_and_prefixes_are_what_a_client_holds() {
    // With the lines of a reply.
    for (command, lines) in [("SUBSCRIBE", 6), ("PSUBSCRIBE", 6), ("CLIENT TRACKING ON BCAST PREFIX", 1)] {
        let server = Server::start(&["--maxmemory-clients", "200000"]);
        let mut stream = BufReader::new(server.connect());
        let mut is_closed = |i: u32| {
            let sent = stream.get_mut().write_all(format!("{command} {i:040}\r\n").as_bytes());
            let mut answered = || (0..lines).all(|_| stream.read_line(&mut String::new()).is_ok_and(|n| n > 0));
            sent.is_err() || !answered()
        };
        assert!((0..20_000).any(&mut is_closed), "{command}: it is closed");
    }
}
