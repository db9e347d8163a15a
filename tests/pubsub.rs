//! Messages, keyspace events and invalidations: who hears what, and in which order. The words are those of 7.0.15 and
//! 8.2.3, asked by hand; where the two differ (a push behind the reply that it belongs to) 8.2.3's.

mod common;

use common::{Client, Server, wait_until};
use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

fn id(client: &mut Client) -> String {
    client.ask("CLIENT ID").concat()
}

#[test]
fn a_message_reaches_each_subscription_once() {
    let server = Server::start(&[]);
    let (mut a, mut b, mut c) = (Client::of(&server), Client::of(&server), Client::of(&server));
    assert_eq!(a.ask("SUBSCRIBE news other").join(" "), "subscribe news 1");
    assert_eq!(a.reply().join(" "), "subscribe other 2");
    assert_eq!(a.ask("PSUBSCRIBE n*").join(" "), "psubscribe n* 3");
    assert_eq!(b.ask("SSUBSCRIBE news").join(" "), "ssubscribe news 1");
    assert_eq!(c.ask("PUBLISH news 1").concat(), "2");
    assert_eq!(c.ask("SPUBLISH news 2").concat(), "1");
    assert_eq!(a.heard(), ["message news 1", "pmessage n* news 1"]);
    assert_eq!(b.heard(), ["smessage news 2"]);
    assert_eq!(c.ask("PUBSUB NUMSUB news other none").join(" "), "news 1 other 1 none 0");
    assert_eq!(c.ask("PUBSUB SHARDNUMSUB news").join(" "), "news 1");
    assert_eq!(c.ask("PUBSUB NUMPAT").concat(), "1");
    let mut channels = c.ask("PUBSUB CHANNELS");
    channels.sort();
    assert_eq!(channels.join(" "), "news other");
    assert!(c.ask("CLIENT LIST TYPE pubsub").concat().contains("flags=P db=0 sub=2 psub=1 ssub=0"));
    drop((a, b));
    wait_until("a client that left is forgotten", || c.ask("PUBSUB CHANNELS").is_empty());
    assert_eq!(c.ask("PUBLISH news 3").concat(), "0");
}

#[test]
fn in_resp2_a_subscriber_only_listens_and_in_resp3_it_does_both() {
    let server = Server::start(&[]);
    let mut two = Client::of(&server);
    two.ask("SUBSCRIBE a");
    let refused = "ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";
    assert_eq!(two.ask("GET x").concat(), refused);
    assert_eq!(two.ask("PING").join("|"), "pong|");
    assert_eq!(two.ask("PING x").join("|"), "pong|x");
    assert_eq!(two.ask("UNSUBSCRIBE").join(" "), "unsubscribe a 0");
    assert_eq!(two.ask("UNSUBSCRIBE").join(" "), "unsubscribe 0");
    assert_eq!(two.ask("PING").concat(), "PONG");
    let mut three = Client::of(&server);
    three.ask("HELLO 3");
    three.ask("SUBSCRIBE a");
    assert_eq!(three.ask("SET x 1").concat(), "OK");
    // Its own message comes behind the reply, of one command and of a transaction.
    three.send("PUBLISH a 1\r\nMULTI\r\nPUBLISH a 2\r\nGET x\r\nPUBLISH a 3\r\nEXEC");
    let expected = ["1", "message a 1", "OK", "QUEUED", "QUEUED", "QUEUED", "1 1 1", "message a 2", "message a 3"];
    assert_eq!(three.heard(), expected);
    assert_eq!(three.ask("RESET").concat(), "RESET");
    assert_eq!(two.ask("PUBLISH a 4").concat(), "0");
}

#[test]
fn no_message_follows_the_end_of_its_subscription() {
    let server = Server::start(&[]);
    thread::scope(|scope| {
        for publisher in 0..2 {
            let server = &server;
            scope.spawn(move || {
                let mut c = Client::of(server);
                (0..2000).for_each(|i| _ = c.ask(&format!("PUBLISH a {publisher}:{i}")));
            });
        }
        let mut s = Client::of(&server);
        for _ in 0..200 {
            let (mut last, mut said) = ([-1i64; 2], s.ask("SUBSCRIBE a"));
            assert_eq!(said.join(" "), "subscribe a 1");
            s.send("UNSUBSCRIBE a");
            loop {
                said = s.reply();
                if said[0] == "unsubscribe" {
                    break;
                }
                let (publisher, number) = said[2].split_once(':').unwrap();
                let (publisher, number): (usize, i64) = (publisher.parse().unwrap(), number.parse().unwrap());
                assert!(number > last[publisher], "in the order of its publisher");
                last[publisher] = number;
            }
            assert!(s.heard().is_empty(), "a message behind the confirmation");
        }
    });
}

#[test]
fn a_subscriber_that_does_not_read_costs_bounded_memory() {
    let server = Server::start(&["--client-output-buffer-limit", "pubsub 2mb 200kb 1"]);
    let (mut fast, mut slow, mut publisher) = (Client::of(&server), Client::of(&server), Client::of(&server));
    fast.ask("SUBSCRIBE a");
    slow.ask("SUBSCRIBE a");
    let payload = "x".repeat(20_000);
    let mut closed_at = 0;
    for i in 1..2000 {
        let heard: usize = publisher.ask(&format!("PUBLISH a {payload}")).concat().parse().unwrap();
        assert_eq!(fast.reply()[0], "message");
        if heard == 1 {
            closed_at = i;
            break;
        }
    }
    assert!((100..1000).contains(&closed_at), "at the limit and what the sockets hold: {closed_at} messages");
    // The connection's own worker closes and counts it.
    wait_until("it is counted", || {
        publisher.ask("INFO stats").concat().contains("client_output_buffer_limit_disconnections:1")
    });
}

#[test]
fn the_soft_limit_ends_a_client_that_stands_still() {
    let server = Server::start(&["--client-output-buffer-limit", "normal 0 150000 1"]);
    let mut c = Client::of(&server);
    server.ask(&[b"SET", b"k", &[b'v'; 500_000]]);
    let mut still = server.connect();
    still.write_all("GET k\r\n".repeat(20).as_bytes()).unwrap();
    wait_until("it is closed though nothing happens on it", || {
        c.ask("INFO stats").concat().contains("client_output_buffer_limit_disconnections:1")
    });
    assert!(c.ask("INFO clients").concat().contains("connected_clients:1"));
}

#[test]
fn the_hard_limit_holds_inside_one_command_and_one_transaction() {
    let server = Server::start(&["--client-output-buffer-limit", "normal 20mb 0 0"]);
    let mut c = Client::of(&server);
    server.ask(&[b"SET", b"k", &vec![b'v'; 1 << 20]]);
    let before = server.resident_mb();
    for request in [format!("MGET {}\r\n", "k ".repeat(200)), format!("MULTI\r\n{}EXEC\r\n", "GET k\r\n".repeat(200))] {
        let mut greedy = server.connect();
        greedy.write_all(request.as_bytes()).unwrap();
        let mut reply = Vec::new();
        let _ = greedy.read_to_end(&mut reply);
        assert!(reply.len() < 40 << 20, "{}", reply.len());
    }
    assert!(server.resident_mb() < before + 100, "{} MB, {before} before", server.resident_mb());
    assert_eq!(c.ask("PING").concat(), "PONG");
}

#[test]
fn requests_before_authentication_are_answered_as_they_come() {
    let server = Server::start(&["--requirepass", "secret"]);
    let mut c = Client::of(&server);
    c.send(&format!("{}AUTH secret\r\nPING", "PING\r\n".repeat(400)));
    for _ in 0..400 {
        assert_eq!(c.reply().concat(), "NOAUTH Authentication required.");
    }
    assert_eq!((c.reply().concat(), c.reply().concat()), ("OK".into(), "PONG".into()));
}

#[test]
fn keyspace_events_come_in_their_order_and_their_classes() {
    let server = Server::start(&["--notify-keyspace-events", "KEAnm"]);
    let (mut listener, mut c) = (Client::of(&server), Client::of(&server));
    listener.ask("PSUBSCRIBE __key*");
    c.ask("SET k v EX 100");
    let heard = |listener: &mut Client| -> Vec<String> {
        listener.heard().iter().map(|line| line.strip_prefix("pmessage __key* ").unwrap().to_owned()).collect()
    };
    let keyspace = |event: &str| format!("__keyspace@0__:k {event}");
    let keyevent = |event: &str| format!("__keyevent@0__:{event} k");
    let both = |events: &[&str]| events.iter().flat_map(|event| [keyspace(event), keyevent(event)]).collect::<Vec<_>>();
    assert_eq!(heard(&mut listener), both(&["new", "set", "expire"]));
    c.ask("GET missing");
    assert_eq!(heard(&mut listener), ["__keyspace@0__:missing keymiss", "__keyevent@0__:keymiss missing"]);
    c.send("MULTI\r\nAPPEND k x\r\nDEL k\r\nEXEC");
    c.heard();
    assert_eq!(heard(&mut listener), both(&["append", "del"]));
    c.ask("CONFIG SET notify-keyspace-events Ex");
    c.ask("SET k v PX 20");
    wait_until("it expires by itself", || c.ask("EXISTS k").concat() == "0");
    thread::sleep(Duration::from_millis(20));
    assert_eq!(heard(&mut listener), [keyevent("expired")]);
    c.ask("CONFIG SET notify-keyspace-events \"\"");
    c.ask("SET k v");
    assert!(heard(&mut listener).is_empty());
}

/// A client that has read the reply to QUIT may tell another worker before its own worker ends the connection; invalidations
/// sent to it in between reached no client.
#[test]
fn who_has_quit_is_no_target_of_invalidations_any_more() {
    let server = Server::start(&[]);
    let (mut tracker, mut writer) = (Client::of(&server), Client::of(&server));
    tracker.ask("HELLO 3");
    for _ in 0..200 {
        let mut target = Client::of(&server);
        let id = target.ask("CLIENT ID").concat();
        assert_eq!(tracker.ask(&format!("CLIENT TRACKING ON REDIRECT {id}")).concat(), "OK");
        tracker.ask("GET k");
        target.ask("QUIT");
        writer.ask("SET k v");
        assert_eq!(tracker.heard(), [format!("tracking-redir-broken {id}")]);
        tracker.ask("CLIENT TRACKING OFF");
    }
}

#[test]
fn a_read_is_tracked_until_its_key_changes_once() {
    let server = Server::start(&[]);
    let (mut a, mut b) = (Client::of(&server), Client::of(&server));
    a.ask("HELLO 3");
    assert_eq!(a.ask("CLIENT TRACKING ON").concat(), "OK");
    a.ask("MGET k1 k2");
    assert!(b.ask("INFO stats").concat().contains("tracking_total_keys:2\r\ntracking_total_items:2"));
    a.send("SET k1 a\r\nSET k1 b\r\nGET k1\r\nMULTI\r\nSET k1 c\r\nGET k1\r\nEXEC");
    let expected = ["OK", "invalidate k1", "OK", "b", "OK", "QUEUED", "QUEUED", "OK c", "invalidate k1"];
    assert_eq!(a.heard(), expected);
    b.ask("SET k2 x");
    b.ask("SET k2 y");
    assert_eq!(a.heard(), ["invalidate k2"]);
    a.ask("GET k1");
    b.ask("FLUSHALL");
    assert_eq!(a.heard(), ["invalidate"]);
    a.ask("GET k1");
    b.ask("SWAPDB 0 1");
    assert_eq!(a.heard(), ["invalidate"], "what it read is another database's now");
    a.ask("CLIENT TRACKING OFF");
    a.ask("CLIENT TRACKING ON NOLOOP");
    a.send("GET z\r\nSET z 1");
    assert_eq!(a.heard(), ["", "OK"]);
    a.ask("GET z");
    b.ask("PEXPIRE z 1");
    wait_until("it expires", || b.ask("EXISTS z").concat() == "0");
    assert_eq!(a.heard(), ["invalidate z"]);
    assert!(b.ask("INFO stats").concat().contains("tracking_total_keys:0\r\ntracking_total_items:0"));
}

#[test]
fn tracking_modes_prefixes_and_redirection() {
    let server = Server::start(&[]);
    let (mut a, mut b, mut c) = (Client::of(&server), Client::of(&server), Client::of(&server));
    a.ask("HELLO 3");
    a.ask("CLIENT TRACKING ON OPTIN");
    a.ask("GET one");
    a.ask("CLIENT CACHING YES");
    assert_eq!(a.ask("CLIENT TRACKINGINFO").join(" "), "flags on optin caching-yes redirect 0 prefixes");
    a.ask("GET two");
    a.ask("GET three");
    b.ask("MSET one 1 two 2 three 3");
    assert_eq!(a.heard(), ["invalidate two"]);
    a.ask("CLIENT TRACKING OFF");
    assert_eq!(a.ask("CLIENT TRACKING ON BCAST PREFIX u: PREFIX v").concat(), "OK");
    let overlap =
        "ERR Prefix 'u:x' overlaps with an existing prefix 'u:'. Prefixes for a single client must not overlap.";
    assert_eq!(a.ask("CLIENT TRACKING ON BCAST PREFIX u:x").concat(), overlap);
    b.send("MULTI\r\nSET u:1 a\r\nSET u:2 b\r\nSET v a\r\nSET u:1 c\r\nSET w 1\r\nEXEC");
    b.heard();
    assert_eq!(a.heard(), ["invalidate u:1 u:2", "invalidate v"]);
    a.ask("CLIENT TRACKING OFF");
    b.ask("SET u:1 again");
    assert!(a.heard().is_empty());
    // To a RESP2 connection that listens, and then to none.
    let target = id(&mut c);
    c.ask("SUBSCRIBE __redis__:invalidate");
    a.ask(&format!("CLIENT TRACKING ON REDIRECT {target}"));
    assert_eq!(a.ask("CLIENT GETREDIR").concat(), target);
    a.ask("GET q");
    b.ask("SET q 1");
    assert_eq!(c.heard(), ["message __redis__:invalidate q"]);
    a.ask("GET q");
    drop(c);
    wait_until("it has left", || !b.ask("CLIENT LIST").concat().contains(&format!("id={target} ")));
    b.ask("SET q 2");
    assert_eq!(a.heard(), [format!("tracking-redir-broken {target}")]);
    assert!(a.ask("CLIENT TRACKINGINFO").join(" ").contains("broken_redirect"));
}

#[test]
fn the_table_of_tracked_keys_is_bounded() {
    let server = Server::start(&["--tracking-table-max-keys", "100"]);
    let (mut a, mut b) = (Client::of(&server), Client::of(&server));
    a.ask("HELLO 3");
    a.ask("CLIENT TRACKING ON");
    (0..5000).for_each(|i| a.send(&format!("EXISTS key:{i}")));
    let heard = a.heard();
    wait_until("the rest is trimmed", || b.ask("INFO stats").concat().contains("tracking_total_keys:100\r\n"));
    let invalid = heard.iter().chain(&a.heard()).filter(|line| line.starts_with("invalidate")).count();
    assert_eq!(invalid, 4900, "each forgotten key is told");
}
