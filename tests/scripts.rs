//! Scripts from outside: isolated whatever keys they declare, durable as a whole, and never in others' way for long.

mod common;

use common::{Server, request, wait_until};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A reply, as far as these tests read one.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reply {
    Text(Vec<u8>),
    Int(i64),
    Null,
    List(Vec<Reply>),
    Error(String),
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn of(server: &Server) -> Self {
        Self(BufReader::new(server.connect()))
    }

    fn send(&mut self, words: &[&[u8]]) {
        self.0.get_mut().write_all(&request(words)).unwrap();
    }

    fn ask(&mut self, words: &[&[u8]]) -> Reply {
        self.send(words);
        self.read()
    }

    fn say(&mut self, line: &str) -> Reply {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        self.ask(&words)
    }

    fn read(&mut self) -> Reply {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "the server closed the connection");
        let (mark, rest) = line.trim_end().split_at(1);
        match mark {
            "+" => Reply::Text(rest.into()),
            "-" => Reply::Error(rest.into()),
            ":" => Reply::Int(rest.parse().unwrap()),
            "$" if rest == "-1" => Reply::Null,
            "$" => {
                let mut text = vec![0; rest.parse::<usize>().unwrap() + 2];
                self.0.read_exact(&mut text).unwrap();
                text.truncate(text.len() - 2);
                Reply::Text(text)
            }
            "*" if rest == "-1" => Reply::Null,
            "*" => Reply::List((0..rest.parse().unwrap()).map(|_| self.read()).collect()),
            _ => panic!("{line}"),
        }
    }
}

/// One step of a script.
#[derive(Clone, Debug)]
enum Step {
    Add(u8, i8),
    Get(u8),
    Set(u8, u8),
    Del(u8),
    Push(u8, u8),
    Pop(u8),
    Count(u8),
    /// Takes the next number of the global sequence: the order in which the scripts happened.
    Number,
}

impl Step {
    fn key(&self) -> String {
        match self {
            Self::Add(k, _) | Self::Get(k) | Self::Set(k, _) | Self::Del(k) => format!("c{k}"),
            Self::Push(k, _) | Self::Pop(k) | Self::Count(k) => format!("l{k}"),
            Self::Number => "seq".into(),
        }
    }

    fn words(&self) -> Vec<String> {
        let key = self.key();
        match self {
            Self::Add(_, n) => vec!["INCRBY".into(), key, n.to_string()],
            Self::Get(_) => vec!["GET".into(), key],
            Self::Set(_, n) => vec!["SET".into(), key, n.to_string()],
            Self::Del(_) => vec!["DEL".into(), key],
            Self::Push(_, n) => vec!["RPUSH".into(), key, n.to_string()],
            Self::Pop(_) => vec!["LPOP".into(), key],
            Self::Count(_) => vec!["LLEN".into(), key],
            Self::Number => vec!["INCR".into(), key],
        }
    }
}

/// A naive server: counters, lists, and the number of scripts.
#[derive(Default)]
struct Model {
    counters: BTreeMap<u8, i64>,
    lists: BTreeMap<u8, VecDeque<i64>>,
    scripts: i64,
}

impl Model {
    fn run(&mut self, step: &Step) -> Reply {
        let digits = |n: i64| Reply::Text(n.to_string().into_bytes());
        match *step {
            Step::Add(k, n) => {
                let counter = self.counters.entry(k).or_default();
                *counter += i64::from(n);
                Reply::Int(*counter)
            }
            Step::Get(k) => self.counters.get(&k).map_or(Reply::Null, |n| digits(*n)),
            Step::Set(k, n) => {
                self.counters.insert(k, n.into());
                Reply::Text(b"OK".to_vec())
            }
            Step::Del(k) => Reply::Int(i64::from(self.counters.remove(&k).is_some())),
            Step::Push(k, n) => {
                let list = self.lists.entry(k).or_default();
                list.push_back(n.into());
                Reply::Int(list.len() as i64)
            }
            Step::Pop(k) => self.lists.entry(k).or_default().pop_front().map_or(Reply::Null, digits),
            Step::Count(k) => Reply::Int(self.lists.get(&k).map_or(0, VecDeque::len) as i64),
            Step::Number => {
                self.scripts += 1;
                Reply::Int(self.scripts)
            }
        }
    }
}

/// Runs the steps in its arguments and answers all replies, `false` as nil, statuses as their text.
const RUN_STEPS: &str = "local out, i = {}, 1
while i <= #ARGV do
  local n = tonumber(ARGV[i])
  local reply = redis.call(unpack(ARGV, i + 1, i + n))
  if type(reply) == 'table' and reply.ok then reply = reply.ok end
  out[#out + 1] = reply
  i = i + n + 1
end
return out";

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..4u8, any::<i8>()).prop_map(|(k, n)| Step::Add(k, n)),
        (0..4u8).prop_map(Step::Get),
        (0..4u8, any::<u8>()).prop_map(|(k, n)| Step::Set(k, n)),
        (0..4u8).prop_map(Step::Del),
        (0..3u8, any::<u8>()).prop_map(|(k, n)| Step::Push(k, n)),
        (0..3u8).prop_map(Step::Pop),
        (0..3u8).prop_map(Step::Count),
    ]
}

/// A script's steps, where among them it takes its number, and which of its keys it declares.
fn script() -> impl Strategy<Value = (Vec<Step>, usize, u16)> {
    (prop::collection::vec(step(), 1..7), any::<prop::sample::Index>(), any::<u16>()).prop_map(
        |(steps, at, declared)| {
            let at = at.index(steps.len() + 1);
            (steps, at, declared)
        },
    )
}

/// Runs scripts and returns each with its replies.
fn run_scripts(server: &Server, runner: &mut TestRunner, count: usize) -> Vec<(Vec<Step>, Vec<Reply>)> {
    let mut client = Client::of(server);
    let strategy = script();
    (0..count)
        .map(|_| {
            let (mut steps, at, declared) = strategy.new_tree(runner).unwrap().current();
            steps.insert(at, Step::Number);
            let keys: Vec<String> =
                steps.iter().enumerate().filter(|(i, _)| declared >> i & 1 == 1).map(|(_, step)| step.key()).collect();
            let mut words: Vec<String> = vec!["EVAL".into(), RUN_STEPS.into(), keys.len().to_string()];
            words.extend(keys);
            for step in &steps {
                let step = step.words();
                words.push(step.len().to_string());
                words.extend(step);
            }
            let words: Vec<&[u8]> = words.iter().map(String::as_bytes).collect();
            match client.ask(&words) {
                Reply::List(replies) => (steps, replies),
                other => panic!("{steps:?}: {other:?}"),
            }
        })
        .collect()
}

#[test]
fn random_scripts_happen_one_after_the_other_whatever_keys_they_declare() {
    let mut server = Server::start(&["--appendonly", "yes"]);
    let mut all: Vec<(Vec<Step>, Vec<Reply>)> = std::thread::scope(|scope| {
        let server = &server;
        let run = |_| scope.spawn(move || run_scripts(server, &mut TestRunner::default(), SCRIPTS_EACH));
        let threads: Vec<_> = (0..CLIENTS).map(run).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let number = |(steps, replies): &(Vec<Step>, Vec<Reply>)| {
        let at = steps.iter().position(|step| matches!(step, Step::Number)).unwrap();
        if let Reply::Int(number) = replies[at] { number } else { panic!("{replies:?}") }
    };
    all.sort_by_key(number);
    let mut model = Model::default();
    for (steps, replies) in &all {
        let expected: Vec<Reply> = steps.iter().map(|step| model.run(step)).collect();
        assert_eq!(&expected, replies, "{steps:?}");
    }
    // The log has all of it: the data is the same after a kill.
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let files = server.dir.path().to_str().unwrap().to_owned();
    let again = Server::start(&["--appendonly", "yes", "--dir", &files]);
    let mut client = Client::of(&again);
    for k in 0..4 {
        assert_eq!(client.say(&format!("GET c{k}")), model.run(&Step::Get(k)), "c{k}");
    }
    for k in 0..3 {
        assert_eq!(client.say(&format!("LLEN l{k}")), model.run(&Step::Count(k)), "l{k}");
    }
}

/// A loop without end on declared keys, on a server with one thread.
#[test]
fn an_endless_script_stops_only_who_needs_its_keys_and_can_be_killed() {
    let server = Server::start(&["--threads", "1", "--busy-reply-threshold", "200"]);
    let mut runner = Client::of(&server);
    let mut other = Client::of(&server);
    runner.ask(&[b"SET", b"mine", b"1"]);
    runner.send(&[b"EVAL", b"while true do redis.call('GET', KEYS[1]) end", b"1", b"mine"]);
    let busy = |reply: Reply| matches!(reply, Reply::Error(text) if text.starts_with("BUSY "));
    wait_until("others hear BUSY", || busy(other.say("PING")));
    assert_eq!(other.say("SET yours 1"), Reply::Text(b"OK".to_vec()));
    assert!(busy(other.say("GET mine")) && busy(other.say("FLUSHALL")) && busy(other.say("KEYS *")));
    assert_eq!(other.ask(&[b"EVAL", b"return redis.call('INCR', KEYS[1])", b"1", b"yours"]), Reply::Int(2));
    assert_eq!(other.say("SCRIPT KILL"), Reply::Text(b"OK".to_vec()));
    assert!(matches!(runner.read(), Reply::Error(text) if text.starts_with("ERR Script killed by user")));
    assert_eq!(other.say("PING"), Reply::Text(b"PONG".to_vec()));
    assert_eq!(other.say("GET mine"), Reply::Text(b"1".to_vec()));
    assert_eq!(other.say("SCRIPT KILL"), Reply::Error("NOTBUSY No scripts in execution right now.".into()));
}

#[test]
fn an_endless_script_that_owns_the_world_can_be_killed_and_one_that_wrote_cannot() {
    let mut server = Server::start(&["--threads", "1", "--busy-reply-threshold", "100", "--appendonly", "yes"]);
    let mut runner = Client::of(&server);
    let mut other = Client::of(&server);
    runner.send(&[b"EVAL", b"redis.call('KEYS', '*') while true do end", b"0"]);
    let busy = |reply: Reply| matches!(reply, Reply::Error(text) if text.starts_with("BUSY "));
    wait_until("others hear BUSY", || busy(other.say("GET anything")));
    assert_eq!(other.say("SCRIPT KILL"), Reply::Text(b"OK".to_vec()));
    assert!(matches!(runner.read(), Reply::Error(_)));
    assert_eq!(other.say("GET anything"), Reply::Null);
    runner.send(&[b"EVAL", b"redis.call('SET', KEYS[1], 'half') while true do end", b"1", b"k"]);
    wait_until("others hear BUSY", || busy(other.say("GET k")));
    assert!(matches!(other.say("SCRIPT KILL"), Reply::Error(text) if text.starts_with("UNKILLABLE ")));
    assert!(busy(other.say("SHUTDOWN")));
    other.send(&[b"SHUTDOWN", b"NOSAVE"]);
    wait_until("it ends", || server.child.try_wait().unwrap().is_some());
    let files = server.dir.path().to_str().unwrap().to_owned();
    let again = Server::start(&["--appendonly", "yes", "--dir", &files]);
    assert_eq!(Client::of(&again).say("GET k"), Reply::Null, "nothing of a unit without an end");
}

#[test]
fn a_long_script_does_not_hold_up_its_worker_and_its_client_gets_its_reply() {
    let server = Server::start(&["--threads", "1"]);
    let mut runner = Client::of(&server);
    let mut other = Client::of(&server);
    let code = b"local s = 0 for i = 1, 3e7 do s = s + i % 7 end redis.call('SET', KEYS[1], s) return s";
    runner.send(&[b"EVAL", code, b"1", b"sum"]);
    runner.send(&[b"GET", b"sum"]);
    let started = Instant::now();
    assert_eq!(other.say("PING"), Reply::Text(b"PONG".to_vec()));
    let waited = started.elapsed();
    let Reply::Int(sum) = runner.read() else { panic!("a number") };
    assert_eq!(runner.read(), Reply::Text(sum.to_string().into_bytes()), "one request after the other");
    assert!(waited < Duration::from_secs(5).min(started.elapsed()), "PING waited for the script");
}

#[test]
fn waiters_are_served_behind_the_script_that_fills_their_list() {
    let server = Server::start(&[]);
    let (mut waiter, mut runner) = (Client::of(&server), Client::of(&server));
    waiter.send(&[b"BLPOP", b"list", b"0"]);
    wait_until("it waits", || server.ask(&[b"INFO", b"clients"]).contains("blocked_clients:1"));
    let code = b"redis.call('RPUSH', 'list', 'a') redis.call('RPUSH', 'list', 'b') return redis.call('LLEN', 'list')";
    assert_eq!(runner.ask(&[b"EVAL", code, b"0"]), Reply::Int(2));
    assert_eq!(waiter.read(), Reply::List(vec![Reply::Text(b"list".to_vec()), Reply::Text(b"a".to_vec())]));
}

#[test]
fn functions_outlive_a_restart_in_both_files() {
    let library = b"#!lua name=lib\nredis.register_function('f', function(keys, args) return args[1] end)";
    for options in [&["--appendonly", "yes"][..], &["--appendonly", "yes", "--aof-use-rdb-preamble", "no"], &[]] {
        let mut server = Server::start(options);
        let mut client = Client::of(&server);
        assert_eq!(client.ask(&[b"FUNCTION", b"LOAD", library]), Reply::Text(b"lib".to_vec()));
        if options.is_empty() {
            assert_eq!(client.say("SAVE"), Reply::Text(b"OK".to_vec()));
        } else {
            client.say("BGREWRITEAOF");
            let is_done = || server.ask(&[b"INFO", b"persistence"]).contains("aof_rewrites:1");
            wait_until("the log is rewritten", is_done);
        }
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        let files = server.dir.path().to_str().unwrap().to_owned();
        let again = Server::start(&[options, &["--dir", &files]].concat());
        assert_eq!(Client::of(&again).say("FCALL f 0 hello"), Reply::Text(b"hello".to_vec()), "{options:?}");
    }
}

#[test]
fn a_transaction_with_an_endless_script_can_be_killed_on_a_server_with_one_thread() {
    let server = Server::start(&["--threads", "1", "--busy-reply-threshold", "100"]);
    let (mut runner, mut other) = (Client::of(&server), Client::of(&server));
    runner.say("MULTI");
    runner.say("SET k 1");
    runner.ask(&[b"EVAL", b"while true do end", b"0"]);
    runner.say("INCR k");
    runner.send(&[b"EXEC"]);
    let busy = |reply: Reply| matches!(reply, Reply::Error(text) if text.starts_with("BUSY "));
    wait_until("others hear BUSY", || busy(other.say("GET k")));
    assert_eq!(other.say("SCRIPT KILL"), Reply::Text(b"OK".to_vec()));
    let Reply::List(replies) = runner.read() else { panic!("an array") };
    assert_eq!((&replies[0], &replies[2]), (&Reply::Text(b"OK".to_vec()), &Reply::Int(2)));
    assert!(matches!(&replies[1], Reply::Error(text) if text.starts_with("ERR Script killed by user")));
    assert_eq!(other.say("GET k"), Reply::Text(b"2".to_vec()));
}

#[test]
fn a_watched_key_stops_a_transaction_with_a_script() {
    let server = Server::start(&[]);
    let (mut runner, mut other) = (Client::of(&server), Client::of(&server));
    for changes in [false, true] {
        runner.say("WATCH k");
        if changes {
            other.say("SET k other");
        }
        runner.say("MULTI");
        runner.ask(&[b"EVAL", b"return redis.call('SET', KEYS[1], 'mine')", b"1", b"k"]);
        let expected = if changes { Reply::Null } else { Reply::List(vec![Reply::Text(b"OK".to_vec())]) };
        assert_eq!(runner.say("EXEC"), expected);
        assert_eq!(runner.say("PING"), Reply::Text(b"PONG".to_vec()));
    }
    assert_eq!(other.say("GET k"), Reply::Text(b"other".to_vec()));
}

/// Such a transaction runs in a thread of its own, and its session comes back from there.
#[test]
fn what_a_transaction_with_a_script_changes_of_its_session_stays() {
    let server = Server::start(&[]);
    let (mut client, mut other) = (Client::of(&server), Client::of(&server));
    let script = |client: &mut Client| client.ask(&[b"EVAL", b"return redis.call('SET', KEYS[1], 'x')", b"1", b"k"]);
    client.say("MULTI");
    client.say("SELECT 3");
    script(&mut client);
    assert!(matches!(client.say("EXEC"), Reply::List(replies) if replies.len() == 2));
    client.say("SET there yes");
    other.say("SELECT 3");
    assert_eq!(other.say("MGET k there"), Reply::List(["x", "yes"].map(|text| Reply::Text(text.into())).into()));
    client.say("MULTI");
    script(&mut client);
    client.say("SUBSCRIBE news");
    client.send(&[b"EXEC"]);
    let subscribed = Reply::List(vec![Reply::Text("subscribe".into()), Reply::Text("news".into()), Reply::Int(1)]);
    assert_eq!(client.read(), Reply::List(vec![Reply::Text("OK".into()), subscribed]));
    assert!(matches!(client.say("GET k"), Reply::Error(text) if text.starts_with("ERR Can't execute 'get'")));
    drop(client);
    wait_until("its subscription is gone", || other.say("PUBLISH news x") == Reply::Int(0));
}

const CLIENTS: usize = 4;
const SCRIPTS_EACH: usize = 400;

/// The pause may come when the transaction has left its worker already; it must not stay inside the gate then.
#[test]
fn a_transaction_with_a_script_that_a_pause_holds_back_keeps_nobody_out() {
    let server = Server::start(&["--enable-debug-command", "yes"]);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = Client::of(&server);
                while !stop.load(Relaxed) {
                    client.say("MULTI");
                    client.ask(&[b"EVAL", b"return redis.call('INCR', KEYS[1])", b"1", b"k"]);
                    assert!(matches!(client.say("EXEC"), Reply::List(replies) if replies.len() == 1));
                }
            });
        }
        let mut client = Client::of(&server);
        for _ in 0..20 {
            client.say("CLIENT PAUSE 600000 WRITE");
            // It owns the world.
            assert!(matches!(client.say("DEBUG DIGEST"), Reply::Text(_)));
            client.say("CLIENT UNPAUSE");
        }
        stop.store(true, Relaxed);
    });
}
