//! Commands that wait, served across threads: nothing is lost, nothing is served twice, nobody is forgotten.
//!
//! Many clients on both workers push, move and pop the same lists at once. A wake-up that is lost leaves an element in a
//! list while somebody waits for it, and shows as a reply that never comes.

mod common;

use common::{Client, PATIENCE, Server};
use std::collections::BTreeSet;
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

const CLIENTS: usize = 8;
const LISTS: usize = 3;
const ELEMENTS: usize = 500;
