//! Commands that wait, served across threads: nothing is lost, nothing is served twice, nobody is forgotten.
//!
//! Many clients on both workers push, move and pop the same lists at once. A wake-up that is lost leaves an element in a
//! list while somebody waits for it, and shows as a reply that never comes. Streams: who is woken, who hears of the end,
//! and that an entry reaches one consumer of a group.

mod common;

use common::{Client, PATIENCE, Server};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn every_element_reaches_one_waiter() {
    let server = Server::start(&["--appendonly", "yes"]);
    let pushers: Vec<_> = (0..CLIENTS)
        .map(|p| {
            let mut client = Client::of(&server);
            thread::spawn(move || {
                for i in 0..ELEMENTS {
                    let (list, side) = ((p + i) % LISTS, if i % 3 == 0 { "LPUSH" } else { "RPUSH" });
                    client.ask(&format!("{side} list{list} {p}:{i}"));
                }
            })
        })
        .collect();
    // Half of the clients pop from the lists; the others move from them to one more, from which yet others pop.
    let sources: String = (0..LISTS).map(|n| format!("list{n} ")).collect();
    let poppers = (0..CLIENTS).map(|_| format!("BLPOP {sources}0"));
    let takers = (0..CLIENTS).map(|_| "BLPOP moved 0".to_owned());
    let popping: Vec<_> = poppers
        .chain(takers)
        .map(|command| {
            let mut client = Client::of(&server);
            thread::spawn(move || {
                let mut popped = vec![];
                loop {
                    let element = client.ask(&command).pop().expect("a key and an element");
                    if element == "stop" {
                        return popped;
                    }
                    popped.push(element);
                }
            })
        })
        .collect();
    for n in 0..CLIENTS {
        let mut client = Client::of(&server);
        let command = format!("BLMOVE list{} moved LEFT RIGHT 0", n % LISTS);
        // Moves until the server is gone.
        thread::spawn(move || while client.moves(&command) {});
    }
    pushers.into_iter().for_each(|thread| thread.join().unwrap());
    let mut client = Client::of(&server);
    wait_until_empty(&mut client);
    let popped: BTreeSet<String> = send_home(&mut client, popping);
    let expected: BTreeSet<String> =
        (0..CLIENTS).flat_map(|p| (0..ELEMENTS).map(move |i| format!("{p}:{i}"))).collect();
    assert_eq!(popped.len(), expected.len());
    assert_eq!(popped, expected);
}

/// Ends the poppers; what they popped. An element popped twice fails.
fn send_home(client: &mut Client, popping: Vec<thread::JoinHandle<Vec<String>>>) -> BTreeSet<String> {
    let mut popped = BTreeSet::new();
    // More words than clients: those who move take some of them along.
    for _ in 0..2 * CLIENTS {
        client.ask("RPUSH moved stop");
    }
    for _ in 0..CLIENTS * 4 {
        (0..LISTS).for_each(|n| _ = client.ask(&format!("RPUSH list{n} stop")));
    }
    for thread in popping {
        for element in thread.join().unwrap() {
            assert!(popped.insert(element.clone()), "{element} was popped twice");
        }
    }
    popped
}

/// Until every list is empty: with somebody waiting on each, an element that stays was forgotten.
fn wait_until_empty(client: &mut Client) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left: usize = (0..LISTS)
            .map(|n| format!("LLEN list{n}"))
            .chain(["LLEN moved".to_owned()])
            .map(|command| client.ask(&command)[0].parse::<usize>().unwrap())
            .sum();
        if left == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{left} elements are left although clients wait for them");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_thousand_waiters_are_served_in_order() {
    let server = Server::start(&["--appendonly", "yes"]);
    let mut waiters: Vec<Client> = (0..1000).map(|_| Client::of(&server)).collect();
    let mut client = Client::of(&server);
    for (n, waiter) in waiters.iter_mut().enumerate() {
        waiter.send("BLPOP queue 0");
        // The next one comes when this one is known to wait.
        let deadline = Instant::now() + PATIENCE;
        while !client.ask("INFO clients")[0].contains(&format!("blocked_clients:{}\r\n", n + 1)) {
            assert!(Instant::now() < deadline);
        }
    }
    for n in 0..waiters.len() {
        client.ask(&format!("RPUSH queue {n}"));
    }
    for (n, waiter) in waiters.iter_mut().enumerate() {
        assert_eq!(waiter.reply(), ["queue".to_owned(), n.to_string()]);
    }
    assert!(client.ask("INFO clients")[0].contains("blocked_clients:0\r\n"));
}

/// Until so many clients wait.
fn wait_for_waiters(client: &mut Client, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    while !client.ask("INFO clients")[0].contains(&format!("blocked_clients:{count}\r\n")) {
        assert!(Instant::now() < deadline, "not {count} clients wait");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_move_of_exactly_so_many_waits_for_the_last_of_them() {
    let server = Server::start(&[]);
    let (mut client, mut exact, mut any) = (Client::of(&server), Client::of(&server), Client::of(&server));
    exact.send("BLMOVEM l m LEFT RIGHT 0 EXACTLY 3 BULK");
    wait_for_waiters(&mut client, 1);
    client.ask("RPUSH l 1 2");
    wait_for_waiters(&mut client, 1);
    client.ask("RPUSH l 3 4");
    assert_eq!(exact.reply(), ["1", "2", "3"]);
    assert_eq!(client.ask("LRANGE m 0 -1"), ["1", "2", "3"]);
    // Who waits for less is not held up by who came first.
    exact.send("BLMOVEM l m LEFT RIGHT 0 EXACTLY 3 OBO");
    wait_for_waiters(&mut client, 1);
    any.send("BLMOVEM none m LEFT LEFT 0 COUNT 5 OBO");
    wait_for_waiters(&mut client, 2);
    client.ask("RPUSH none a b");
    assert_eq!(any.reply(), ["b", "a"]);
    client.ask("LPUSH l 2 1");
    assert_eq!(exact.reply(), ["1", "2", "4"]);
}

#[test]
fn an_entry_wakes_all_readers_and_one_consumer_of_each_group() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    client.ask("XGROUP CREATE s g $ MKSTREAM");
    client.ask("XGROUP CREATE s h $");
    let waiting = |command: String| {
        let mut waiter = Client::of(&server);
        waiter.send(&command);
        waiter
    };
    let mut readers: Vec<Client> = (0..20).map(|_| waiting("XREAD BLOCK 0 STREAMS other s $ $".into())).collect();
    wait_for_waiters(&mut client, 20);
    let mut consumers = Vec::new();
    for n in 0..6 {
        let group = if n % 2 == 0 { "g" } else { "h" };
        consumers.push(waiting(format!("XREADGROUP GROUP {group} c{n} BLOCK 0 STREAMS s >")));
        wait_for_waiters(&mut client, 21 + n);
    }
    for n in 0..3 {
        let id = client.ask(&format!("XADD s * n {n}")).remove(0);
        readers.drain(..).for_each(|mut reader| assert_eq!(reader.reply(), ["s", &id, "n", &n.to_string()]));
        wait_for_waiters(&mut client, 4 - 2 * n);
        // First come, first served, in each group.
        for mut consumer in consumers.drain(..2) {
            assert_eq!(consumer.reply(), ["s", &id, "n", &n.to_string()]);
        }
    }
    assert_eq!(client.ask("XPENDING s g")[0], "3");
}

#[test]
fn a_consumer_that_waits_hears_of_the_end() {
    let server = Server::start(&[]);
    let mut client = Client::of(&server);
    let gone = "UNBLOCKED the stream key no longer exists";
    let ends = [
        (vec!["DEL s"], gone),
        (vec!["SET s text"], gone),
        (vec!["FLUSHALL"], gone),
        (vec!["PEXPIRE s 1"], gone),
        (vec!["RENAME s t"], gone),
        (vec!["XGROUP DESTROY s g"], "NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option"),
        (
            vec!["MULTI", "DEL s", "XADD s * f v", "EXEC"],
            "NOGROUP No such key 's' or consumer group 'g' in XREADGROUP with GROUP option",
        ),
    ];
    for (commands, error) in ends {
        client.ask("FLUSHALL");
        client.ask("XGROUP CREATE s g $ MKSTREAM");
        let mut consumer = Client::of(&server);
        consumer.send("XREADGROUP GROUP g c BLOCK 0 STREAMS s >");
        wait_for_waiters(&mut client, 1);
        commands.iter().for_each(|command| _ = client.ask(command));
        assert_eq!(consumer.reply(), [error], "{commands:?}");
    }
    // A reader without a group waits on.
    let mut reader = Client::of(&server);
    ["FLUSHALL", "XADD s 5-0 f v"].iter().for_each(|command| _ = client.ask(command));
    reader.send("XREAD BLOCK 0 STREAMS s $");
    wait_for_waiters(&mut client, 1);
    ["DEL s", "SET s text", "DEL s", "XADD s 6-0 f v"].iter().for_each(|command| _ = client.ask(command));
    assert_eq!(reader.reply(), ["s", "6-0", "f", "v"]);
}

#[test]
fn every_entry_reaches_one_consumer() {
    let server = Server::start(&["--appendonly", "yes"]);
    let mut client = Client::of(&server);
    (0..LISTS).for_each(|n| _ = client.ask(&format!("XGROUP CREATE s{n} g $ MKSTREAM")));
    let (names, ids) = ((0..LISTS).map(|n| format!("s{n} ")).collect::<String>(), "> ".repeat(LISTS));
    let consumers: Vec<_> = (0..CLIENTS)
        .map(|c| {
            let (mut client, command) =
                (Client::of(&server), format!("XREADGROUP GROUP g c{c} COUNT 3 BLOCK 0 STREAMS {names}{ids}"));
            thread::spawn(move || {
                let mut values = Vec::new();
                loop {
                    let reply = client.ask(&command);
                    let mut key = String::new();
                    let mut words = reply.into_iter().peekable();
                    while let Some(word) = words.next() {
                        if word.starts_with('s') {
                            key = word;
                            continue;
                        }
                        let (_, value) = (words.next(), words.next().expect("an entry has a field and a value"));
                        assert_eq!(client.ask(&format!("XACK {key} g {word}")), ["1"]);
                        values.push(value);
                    }
                    if values.iter().any(|value| value == "stop") {
                        return values;
                    }
                }
            })
        })
        .collect();
    let producers: Vec<_> = (0..CLIENTS)
        .map(|p| {
            let mut client = Client::of(&server);
            thread::spawn(move || {
                (0..ELEMENTS).for_each(|i| _ = client.ask(&format!("XADD s{} * f {p}:{i}", (p + i) % LISTS)));
            })
        })
        .collect();
    producers.into_iter().for_each(|thread| thread.join().unwrap());
    while consumers.iter().any(|thread| !thread.is_finished()) {
        client.ask("XADD s0 * f stop");
        thread::sleep(Duration::from_millis(5));
    }
    let mut seen = BTreeSet::new();
    for value in consumers.into_iter().flat_map(|thread| thread.join().unwrap()).filter(|value| value != "stop") {
        assert!(seen.insert(value.clone()), "{value} was delivered twice");
    }
    assert_eq!(seen.len(), CLIENTS * ELEMENTS);
    (0..LISTS).for_each(|n| assert_eq!(client.ask(&format!("XPENDING s{n} g"))[0], "0"));
}

const CLIENTS: usize = 8;
const LISTS: usize = 3;
const ELEMENTS: usize = 500;

/// `k1` comes and goes, as another type than is waited for, while elements come to `k2`: a thread that finds a waiter
/// claimed by the other must not leave it asleep beside its element.
#[test]
fn a_waiter_of_two_keys_is_not_forgotten_between_two_threads() {
    const WAITERS: usize = 8;
    const ELEMENTS: usize = 2000;
    let server = Server::start(&[]);
    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..WAITERS {
            scope.spawn(|| {
                let mut client = Client::of(&server);
                loop {
                    // While `k1` is a string the answer may be that it is, as in 8.2.
                    match client.ask("BLPOP k1 k2 0").last().map(String::as_str) {
                        Some("end") => return,
                        Some(answer) if answer.starts_with("WRONGTYPE") => {}
                        _ => _ = served.fetch_add(1, Relaxed),
                    }
                }
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let mut client = Client::of(&server);
                while !done.load(Relaxed) {
                    client.send(&"SET k1 x\r\nDEL k1\r\n".repeat(20));
                    client.heard();
                }
            });
        }
        let mut pusher = Client::of(&server);
        (0..ELEMENTS).for_each(|i| _ = pusher.ask(&format!("RPUSH k2 {i}")));
        let mut looks = 0;
        while served.load(Relaxed) < ELEMENTS && looks < 300 {
            thread::sleep(Duration::from_millis(50));
            looks += 1;
        }
        done.store(true, Relaxed);
        let (served, left) = (served.load(Relaxed), pusher.ask("LLEN k2").concat());
        // Whatever happened, nothing waits on.
        (0..WAITERS).for_each(|_| _ = pusher.ask("DEL k1 k2"));
        (0..WAITERS).for_each(|_| {
            thread::sleep(Duration::from_millis(5));
            pusher.ask("RPUSH k2 end");
        });
        while !pusher.ask("INFO clients").concat().contains("blocked_clients:0") {
            pusher.ask("DEL k2");
            pusher.ask("RPUSH k2 end");
        }
        assert_eq!((served, left.as_str()), (ELEMENTS, "0"), "all are served, and none lies beside a waiter");
    });
}

#[test]
fn a_key_that_has_expired_serves_no_waiter() {
    let server = Server::start(&["--enable-debug-command", "yes"]);
    let (mut waiter, mut other) = (Client::of(&server), Client::of(&server));
    waiter.send("BLPOP k 1");
    std::thread::sleep(Duration::from_millis(50));
    other.send("MULTI\r\nRPUSH k a\r\nPEXPIRE k 100\r\nDEBUG SLEEP 0.2\r\nEXEC");
    other.heard();
    assert!(waiter.reply().is_empty(), "nothing until the timeout");
    assert_eq!(other.ask("EXISTS k").concat(), "0");
}

#[test]
fn a_consumer_that_waits_claims_what_another_leaves_idle() {
    let server = Server::start(&[]);
    let [mut idle, mut waiting, mut late] = [0; 3].map(|_| Client::of(&server));
    idle.ask("XADD s 1-1 f v");
    idle.ask("XGROUP CREATE s g 0");
    idle.ask("XREADGROUP GROUP g idle STREAMS s >");
    // Pending already when the wait begins, and delivered later.
    waiting.send("XREADGROUP GROUP g waiting BLOCK 0 CLAIM 100 STREAMS s >");
    let reply = waiting.reply();
    assert_eq!((&reply[..4], &*reply[5]), (&["s", "1-1", "f", "v"].map(String::from)[..], "1"));
    assert!(reply[4].parse::<u64>().unwrap() >= 100);
    waiting.send("XREADGROUP GROUP g waiting BLOCK 0 CLAIM 100 STREAMS s >");
    assert_eq!(waiting.reply()[5], "2");
    waiting.ask("XACK s g 1-1");
    late.send("XREADGROUP GROUP g late BLOCK 0 CLAIM 50 STREAMS s >");
    common::wait_until("it waits", || idle.ask("INFO clients").concat().contains("blocked_clients:1"));
    for line in ["MULTI", "XADD s 2-1 f v", "XREADGROUP GROUP g idle STREAMS s >", "EXEC"] {
        idle.ask(line);
    }
    assert_eq!(late.reply()[..2], ["s", "2-1"]);
    // Its time is over when nothing is due by then.
    late.send("XREADGROUP GROUP g other BLOCK 60 CLAIM 100000 STREAMS s >");
    assert_eq!(late.reply(), [] as [&str; 0]);
    waiting.send("XREADGROUP GROUP g waiting BLOCK 0 CLAIM 100000 STREAMS s >");
    common::wait_until("it waits", || idle.ask("INFO clients").concat().contains("blocked_clients:1"));
    idle.ask("XADD s 3-1 f v");
    assert_eq!(waiting.reply()[..2], ["s", "3-1"]);
}
