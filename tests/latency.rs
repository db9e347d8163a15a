//! What the server says of its latency, against what a client measured of the same requests.
//!
//! Nothing here is a stopwatch: of every request the server's time lies within the client's, and a request that sleeps
//! takes at least that long. So do their percentiles, to within a cell of the histogram, however busy the machine is.

mod common;

use common::{Server, request, wait_until};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const DEBUG: &[&str] = &["--enable-debug-command", "yes"];

/// A histogram knows a value to so much of it.
const CELL: f64 = 1.0 / 128.0;

struct Client(BufReader<TcpStream>);

impl Client {
    fn new(server: &Server) -> Client {
        Client(BufReader::new(server.connect()))
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn bulk(&mut self) -> String {
        let len: usize = self.line().strip_prefix('$').unwrap().parse().unwrap();
        let mut bytes = vec![0; len + 2];
        self.0.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    fn command(&mut self, words: &[&[u8]]) -> String {
        self.send(&request(words));
        self.line()
    }

    /// Everything since start; asked on the connection whose requests count, so that they are all recorded.
    fn latency(&mut self) -> Value {
        self.send(&request(&[b"LATENCY", b"JSON"]));
        serde_json::from_str(&self.bulk()).unwrap()
    }
}

fn us(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

/// The value at a percentile by the server's own rule, of sorted times.
fn percentile(times: &[f64], percentile: f64) -> f64 {
    let rank = ((percentile / 100.0 * times.len() as f64 + 0.5) as usize).max(1);
    times[rank - 1]
}

/// `told` are the server's figures of requests that a client measured, and that slept at least so long.
fn check_figures(what: &str, told: &Value, mut measured: Vec<f64>, mut slept: Vec<f64>) {
    measured.sort_by(f64::total_cmp);
    slept.sort_by(f64::total_cmp);
    assert_eq!(told["count"], measured.len(), "{what}: {told}");
    for (key, p) in [("p50", 50.0), ("p95", 95.0), ("p99", 99.0), ("p99_9", 99.9), ("max", 100.0)] {
        let told = told[format!("{key}_latency_us")].as_f64().unwrap();
        let (most, least) = (percentile(&measured, p), percentile(&slept, p));
        assert!(told <= most * (1.0 + CELL), "{what} {key}: {told} us, a client measured {most}");
        assert!(told >= least * (1.0 - CELL), "{what} {key}: {told} us, of requests that slept {least}");
    }
    let count = |times: &[f64], from_ms: f64| times.iter().filter(|us| **us >= from_ms * 1e3).count() as u64;
    let tail = told["p99_tail_events"].as_u64().unwrap();
    assert!((count(&slept, 100.0)..=count(&measured, 100.0)).contains(&tail), "{what}: {tail} tail events");
    let mut below = 0;
    for (name, ms) in [("<1ms", 1.0), ("<5ms", 5.0), ("<10ms", 10.0), ("<50ms", 50.0), ("<100ms", 100.0)] {
        below += told["histogram"][name].as_u64().unwrap();
        let slower = measured.len() as u64 - below;
        assert!((count(&slept, ms)..=count(&measured, ms)).contains(&slower), "{what}: {slower} not {name}");
    }
}

/// Clients that share a busy machine's processors measure its scheduler as well, which no server sees. One of several
/// attempts, each on a server of its own, must find the two sides agreed.
fn in_some_attempt(attempt: fn()) {
    let agreed = (0..ATTEMPTS).any(|_| std::panic::catch_unwind(attempt).is_ok());
    if !agreed {
        attempt();
    }
}

const ATTEMPTS: usize = 4;

#[test]
fn percentiles_are_those_of_a_known_distribution() {
    in_some_attempt(|| {
        let server = Server::start(DEBUG);
        let mut client = Client::new(&server);
        // Of 400 requests 340 are quick; 40 sleep 2 ms, 16 sleep 20 ms, 4 sleep 120 ms, spread over them all.
        let (mut quick, mut slow) = (Vec::new(), Vec::new());
        for i in 0..400 {
            let slept_ms = match i % 100 {
                7 => 120.0,
                13 | 37 | 61 | 89 => 20.0,
                n if n % 10 == 0 => 2.0,
                _ => 0.0,
            };
            let started = Instant::now();
            if slept_ms > 0.0 {
                let seconds = (slept_ms / 1e3).to_string();
                assert_eq!(client.command(&[b"DEBUG", b"SLEEP", seconds.as_bytes()]), "+OK");
            } else {
                assert_eq!(client.command(&[b"PING"]), "+PONG");
            }
            let kind = if slept_ms > 0.0 { &mut slow } else { &mut quick };
            kind.push((us(started.elapsed()), slept_ms * 1e3));
        }
        let told = client.latency();
        let (quick_measured, quick_slept): (Vec<f64>, Vec<f64>) = quick.into_iter().unzip();
        let (slow_measured, slow_slept): (Vec<f64>, Vec<f64>) = slow.into_iter().unzip();
        check_figures("ping", &told["commands"]["ping"], quick_measured.clone(), quick_slept.clone());
        check_figures("debug", &told["commands"]["debug"], slow_measured.clone(), slow_slept.clone());
        check_figures("all", &told, [quick_measured, slow_measured].concat(), [quick_slept, slow_slept].concat());
        // What slept, slept in its handler.
        let debug = &told["commands"]["debug"];
        let executed_us =
            debug["causes"]["execution"].as_f64().unwrap() * debug["mean_latency_us"].as_f64().unwrap() * 60.0;
        assert!(executed_us >= (40.0 * 2.0 + 16.0 * 20.0 + 4.0 * 120.0) * 1e3 * 0.99, "{debug}");
    });
}

#[test]
fn time_in_which_a_request_was_not_whole_is_the_clients() {
    in_some_attempt(|| {
        let server = Server::start(&[]);
        let mut client = Client::new(&server);
        client.send(b"*1\r\n$4\r\nPI");
        std::thread::sleep(Duration::from_millis(300));
        let started = Instant::now();
        client.send(b"NG\r\n");
        assert_eq!(client.line(), "+PONG");
        let measured = us(started.elapsed());
        check_figures("ping", &client.latency()["commands"]["ping"], vec![measured], vec![0.0]);
    });
}

#[test]
fn a_pipeline_whose_replies_leave_in_parts_is_measured_from_its_arrival() {
    in_some_attempt(|| {
        let server = Server::start(&[]);
        let mut client = Client::new(&server);
        assert_eq!(client.command(&[b"SET", b"k", &[b'x'; 4000]]), "+OK");
        let started = Instant::now();
        client.send(&request(&[b"GET", b"k"]).repeat(500));
        (0..500).for_each(|_| assert_eq!(client.bulk().len(), 4000));
        let measured = us(started.elapsed());
        check_figures("get", &client.latency()["commands"]["get"], vec![measured; 500], vec![0.0; 500]);
    });
}

#[test]
fn waiting_for_who_owns_the_world_is_told_as_lock() {
    let server = Server::start(DEBUG);
    let share = || {
        let report = Client::new(&server).latency();
        report["commands"]["get"]["causes"]["lock"].as_f64().unwrap_or(0.0)
    };
    assert_eq!(Client::new(&server).command(&[b"GET", b"k"]), "$-1");
    assert_eq!(share(), 0.0, "nobody was in the way");
    // Who shares the sleeper's thread waits in its queue, the others at the gate.
    let (mut sleeper, mut others) = (Client::new(&server), (0..8).map(|_| Client::new(&server)).collect::<Vec<_>>());
    wait_until("somebody waited for the gate", || {
        sleeper.send(&request(&[b"DEBUG", b"SLEEP", b"0.1"]));
        std::thread::sleep(Duration::from_millis(20));
        others.iter_mut().for_each(|other| other.send(&request(&[b"GET", b"k"])));
        others.iter_mut().for_each(|other| assert_eq!(other.line(), "$-1"));
        assert_eq!(sleeper.line(), "+OK");
        share() > 0.0
    });
}

#[test]
fn replies_that_wait_for_the_log_and_the_times_of_its_fsyncs_are_told() {
    let server = Server::start(&["--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "yes"]);
    let field = |name: &str| -> u64 {
        let info = server.ask(&[b"INFO", b"persistence"]);
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.trim_end().parse().unwrap()
    };
    assert_eq!(field("aof_waiting_clients"), 0);
    server.ask(&[b"SET", b"k", b"v"]);
    // On a file system in memory an fsync takes less than a microsecond.
    let ascending = ["p50", "p99", "p99.9", "max"].map(|p| field(&format!("aof_fsync_usec_{p}")));
    assert!(field("aof_fsyncs") > 0 && ascending.is_sorted(), "{ascending:?}");
    // Each write to the file takes half a second more: while it does, three replies wait.
    server.ask(&[b"DEBUG", b"AOF-FLUSH-SLEEP", b"500000"]);
    let mut writers = [(); 3].map(|()| Client::new(&server));
    wait_until("three replies were seen waiting", || {
        writers.iter_mut().for_each(|writer| writer.send(&request(&[b"SET", b"k", b"v"])));
        let seen = (0..50).any(|_| field("aof_waiting_clients") == 3);
        writers.iter_mut().for_each(|writer| assert_eq!(writer.line(), "+OK"));
        seen
    });
    server.ask(&[b"DEBUG", b"AOF-FLUSH-SLEEP", b"0"]);
    wait_until("nobody waits", || field("aof_waiting_clients") == 0);
}

/// What twenty clients measured, each of which asks every ten milliseconds, while `stall` happens on other connections.
fn beside(server: &Server, words: &[&[u8]], stall: impl FnOnce()) -> Vec<f64> {
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, mut times) = (Client::new(server), Vec::new());
                    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                        let started = Instant::now();
                        client.send(&request(words));
                        client.line();
                        times.push(us(started.elapsed()));
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    times
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(100));
        stall();
        std::thread::sleep(Duration::from_millis(100));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// The server's figures are the clients': p99, p99.9, maximum and the count of tail events within a fifth, and so the median
/// where it is no short time, of which the way to the server and back is the most.
fn check_tail(what: &str, told: &Value, mut measured: Vec<f64>) {
    measured.sort_by(f64::total_cmp);
    let close = |name: &str, told: f64, measured: f64| {
        assert!((told - measured).abs() <= measured / 5.0, "{what} {name}: {told}, clients measured {measured}");
    };
    for (key, p) in [("p99", 99.0), ("p99_9", 99.9), ("max", 100.0)] {
        close(key, told[format!("{key}_latency_us")].as_f64().unwrap(), percentile(&measured, p));
    }
    let (told_p50, p50) = (told["p50_latency_us"].as_f64().unwrap(), percentile(&measured, 50.0));
    if p50 >= 10_000.0 {
        close("p50", told_p50, p50);
    }
    assert!(told_p50 <= p50 * 1.2, "{what} p50: {told_p50}, clients measured {p50}");
    let tail = measured.iter().filter(|us| **us >= 100_000.0).count();
    assert!(tail >= 20, "{what}: the clients waited, {tail} times");
    close("tail events", told["p99_tail_events"].as_f64().unwrap(), tail as f64);
}

#[test]
fn a_stall_is_in_the_figures_of_all_who_waited_for_it() {
    in_some_attempt(stalls_beside_gets);
}

fn stalls_beside_gets() {
    for threads in ["1", "2"] {
        let server = Server::start(&["--threads", threads, "--enable-debug-command", "yes"]);
        let measured = beside(&server, &[b"GET", b"k"], || {
            for _ in 0..3 {
                assert_eq!(Client::new(&server).command(&[b"DEBUG", b"SLEEP", b"0.25"]), "+OK");
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let told = Client::new(&server).latency();
        let get = &told["commands"]["get"];
        check_tail(&format!("{threads} threads"), get, measured);
        let causes = &get["causes"];
        let waited = causes["queue"].as_f64().unwrap() + causes["lock"].as_f64().unwrap();
        assert!(waited > 0.9, "behind the sleeper, in its thread's queue or at the gate: {get}");
    }
}

#[test]
fn a_long_command_is_in_the_figures_of_those_behind_it() {
    in_some_attempt(gets_beside_long_commands);
}

fn gets_beside_long_commands() {
    for threads in ["1", "2"] {
        let server = Server::start(&["--threads", threads]);
        // Each key keeps the pattern busy until the work for one match is used up; as many as make the command long here.
        let (long, pattern) = ("a".repeat(20_000), format!("*{}b", "[^b]".repeat(2000)));
        let mut keys = 0;
        let lasts = || {
            let started = Instant::now();
            server.ask(&[b"KEYS", pattern.as_bytes()]);
            started.elapsed()
        };
        while keys < 1024 && [lasts(), lasts(), lasts()].into_iter().min().unwrap() < Duration::from_millis(250) {
            (0..16).for_each(|n| _ = server.ask(&[b"SET", format!("{long}{}", keys + n).as_bytes(), b"v"]));
            keys += 16;
        }
        server.ask(&[b"SET", b"k", b"v"]);
        let measured = beside(&server, &[b"EXISTS", b"k"], || {
            for _ in 0..2 {
                assert_eq!(Client::new(&server).command(&[b"KEYS", pattern.as_bytes()]), "*0");
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let told = &Client::new(&server).latency()["commands"]["exists"];
        check_tail(&format!("a long command, {threads} threads"), told, measured);
        // Its own worker's clients are in the queue. Of the other's the first waits for the locks that the walk holds, and the
        // others queue behind it.
        let causes = |cause: &str| told["causes"][cause].as_f64().unwrap();
        assert!(causes("queue") + causes("lock") > 0.9, "behind the long command: {told}");
        assert_eq!(causes("lock") > 0.001, threads == "2", "on the other worker: {told}");
    }
}

#[test]
fn each_stall_stands_under_its_own_cause() {
    in_some_attempt(stalls_of_each_cause);
}

fn stalls_of_each_cause() {
    let options = ["--threads", "1", "--enable-debug-command", "yes", "--appendonly", "yes", "--appendfsync", "always"];
    let server = Server::start(&options);
    let causes = |command: &str| Client::new(&server).latency()["commands"][command]["causes"].clone();
    let share = |command: &str, cause: &str| causes(command)[cause].as_f64().unwrap();
    // A slow device: each write to the log takes a fifth of a second.
    server.ask(&[b"DEBUG", b"AOF-FLUSH-SLEEP", b"200000"]);
    let measured = beside(&server, &[b"SET", b"k", b"v"], || std::thread::sleep(Duration::from_millis(600)));
    check_tail("a slow device", &Client::new(&server).latency()["commands"]["set"], measured);
    assert!(share("set", "journal") > 0.8, "{}", causes("set"));
    server.ask(&[b"DEBUG", b"AOF-FLUSH-SLEEP", b"0"]);
    // CLIENT PAUSE, three times.
    let measured = beside(&server, &[b"EXISTS", b"k"], || {
        for _ in 0..3 {
            assert_eq!(Client::new(&server).command(&[b"CLIENT", b"PAUSE", b"200"]), "+OK");
            std::thread::sleep(Duration::from_millis(250));
        }
    });
    check_tail("a pause", &Client::new(&server).latency()["commands"]["exists"], measured);
    assert!(share("exists", "pause") > 0.8, "{}", causes("exists"));
    // A reader that does not read: more than the sockets hold.
    server.ask(&[b"SET", b"big", &vec![b'x'; 30 << 20]]);
    let mut slow = Client::new(&server);
    let started = Instant::now();
    slow.send(&request(&[b"GETRANGE", b"big", b"0", b"-1"]));
    std::thread::sleep(Duration::from_millis(300));
    slow.bulk();
    let (measured, told) = (us(started.elapsed()), Client::new(&server).latency());
    let told = told["commands"]["getrange"]["max_latency_us"].as_f64().unwrap();
    assert!((told - measured).abs() <= measured / 5.0, "a slow reader: {told}, it measured {measured}");
    assert!(share("getrange", "peer") > 0.7, "{}", causes("getrange"));
    for command in ["set", "exists", "getrange"] {
        let sum: f64 = causes(command).as_object().unwrap().values().map(|share| share.as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 0.01, "the causes are all the time: {}", causes(command));
    }
}
