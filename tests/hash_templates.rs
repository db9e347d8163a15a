//! Hashes that share their field names answer as those that do not: the same commands on both, and the same bytes in
//! DUMP, snapshot and log.

mod common;

use common::{Client, Dice, Server};

/// How many hashes share their names.
fn sharing_keys(client: &mut Client) -> usize {
    let info = client.ask("INFO memory").concat();
    let figure = info.lines().find_map(|line| line.strip_prefix("hash_template_keys:"));
    figure.unwrap().parse().unwrap()
}

/// A write or a question about one of a few hashes.
fn command(dice: &mut Dice) -> String {
    let (h, g) = (dice.below(6), dice.below(6));
    let (field, value) = (dice.one_of(&FIELDS), dice.one_of(&VALUES));
    let layout: Vec<&str> = LAYOUTS[dice.below(LAYOUTS.len() as u64) as usize].split(' ').collect();
    let pairs: Vec<String> = layout.iter().map(|field| format!("{field} {}", dice.one_of(&VALUES))).collect();
    let pairs = pairs.join(" ");
    match dice.below(32) {
        0..=5 => format!("HSET h{h} {pairs}"),
        6 => format!("HMSET h{h} {pairs}"),
        7 => format!("DEL h{h}"),
        8 => format!("HSET h{h} {field} {value}"),
        9 => format!("HDEL h{h} {field}"),
        10 => format!("HSETNX h{h} {field} {value}"),
        11 => format!("HINCRBY h{h} {field} 3"),
        12 => format!("HINCRBYFLOAT h{h} {field} 0.5"),
        13 => format!("HEXPIREAT h{h} 33177117420 FIELDS 1 {field}"),
        14 => format!("HPERSIST h{h} FIELDS 1 {field}"),
        15 => format!("HSETEX h{h} {} FIELDS 1 {field} {value}", dice.one_of(&["FXX", "KEEPTTL", "EXAT 33177117420"])),
        16 => format!("HGETEX h{h} PERSIST FIELDS 1 {field}"),
        17 => format!("HGETDEL h{h} FIELDS 1 {field}"),
        18 => format!("COPY h{h} h{g} REPLACE"),
        19 => format!("RENAME h{h} h{g}"),
        20 => format!("HIMPORT SET h{h} set {value} {value} x y"),
        21 => format!("HGET h{h} {field}"),
        22 => format!("HMGET h{h} {field} {} none {}", dice.one_of(&FIELDS), dice.one_of(&FIELDS)),
        23 => format!("HSTRLEN h{h} {field}"),
        24 => format!("HEXISTS h{h} {field}"),
        25 => format!("HKEYS h{h}"),
        26 => format!("HVALS h{h}"),
        27 => format!("HSCAN h{h} 0 MATCH *e*"),
        28 => format!("HEXPIRETIME h{h} FIELDS 1 {field}"),
        29 => format!("SORT l BY h*->{field} GET h*->{field} ALPHA"),
        30 => format!("HRANDFIELD h{h} 100 WITHVALUES"),
        _ => format!("HLEN h{h}"),
    }
}

#[test]
fn a_hash_that_shares_its_names_answers_as_one_that_does_not() {
    let common = ["--appendonly", "yes", "--enable-debug-command", "yes", "--hash-max-listpack-entries", "6"];
    let off = ["--hash-max-template-entries", "0", "--hash-rdb-load-max-template-entries", "0"];
    let servers = [Server::start(&common), Server::start(&[&common[..], &off].concat())];
    let [mut sharing, mut plain] = [Client::of(&servers[0]), Client::of(&servers[1])];
    let (mut dice, mut shared) = (Dice(5), 0);
    for client in [&mut sharing, &mut plain] {
        client.ask("RPUSH l 0 1 2 3 4 5");
        client.ask("HIMPORT PREPARE set id name price stock");
    }
    for round in 0..ROUNDS {
        let asked = command(&mut dice);
        let key = format!("h{}", dice.below(6));
        let encoding = format!("OBJECT ENCODING {key}");
        for question in [&asked, &encoding, &format!("DEBUG DIGEST-VALUE {key}")] {
            let mut answers = [sharing.ask(question), plain.ask(question)];
            // A table's fields are in an order of its own.
            answers.iter_mut().for_each(|answer| answer.sort_unstable());
            assert_eq!(answers[0], answers[1], "{question} for {asked} in round {round}");
        }
        if plain.ask(&encoding) != ["hashtable"] {
            for question in [format!("DUMP {key}"), format!("HGETALL {key}")] {
                assert_eq!(sharing.ask(&question), plain.ask(&question), "{question} for {asked} in round {round}");
            }
        }
        shared += usize::from(sharing_keys(&mut sharing) > 0);
        if round % 200 == 199 {
            // What a file makes a listpack of, in a table's order, would differ.
            for key in (0..6).map(|n| format!("h{n}")) {
                if plain.ask(&format!("OBJECT ENCODING {key}")) == ["hashtable"] {
                    for client in [&mut sharing, &mut plain] {
                        client.ask(&format!("DEL {key}"));
                    }
                }
            }
            let before = plain.ask("DEBUG DIGEST");
            let again = dice.one_of(&["DEBUG RELOAD", "DEBUG LOADAOF", "BGREWRITEAOF"]);
            for client in [&mut sharing, &mut plain] {
                client.ask(again);
                // What the log holds then is the same on both.
                common::wait_until("the log is written", || {
                    client.ask("INFO persistence").concat().contains("aof_rewrite_in_progress:0")
                });
            }
            assert_eq!(sharing.ask("DEBUG DIGEST"), before, "after {again}");
        }
    }
    assert!(shared > ROUNDS / 2, "only {shared} rounds found hashes that share");
    assert_eq!(sharing_keys(&mut plain), 0);
    for client in [&mut sharing, &mut plain] {
        client.ask("FLUSHALL");
    }
    common::wait_until("the last hashes are freed", || sharing_keys(&mut sharing) == 0);
}

#[test]
fn hashes_share_their_names_from_the_second_of_a_layout_on() {
    let server = Server::start(&["--enable-debug-command", "yes", "--threads", "1"]);
    let mut client = Client::of(&server);
    // A worker forgets a layout that it met once when it meets another at the same of 64 places, so the two first
    // hashes of the layout follow each other.
    for user in 0..100 {
        client.ask(&format!("HSET user:{user} name n{user} mail m{user} age 30"));
        if user > 0 {
            client.ask(&format!("HSET one:{user} field{user} 1 other{user} 2 third{user} 3"));
        }
    }
    assert_eq!(sharing_keys(&mut client), 99);
    // Too few fields, and values that are no part of a compact hash.
    client.ask("HSET few:1 a 1 b 2");
    client.ask("HSET few:2 a 1 b 2");
    client.ask(&format!("HSET long name {} mail m age 30", "x".repeat(100)));
    assert_eq!(sharing_keys(&mut client), 99);
    // Values of any length stay; a field more, or less, or with a time ends it.
    client.ask("HSET user:1 age 31 name a-longer-name");
    assert_eq!(sharing_keys(&mut client), 99);
    for change in ["HSET user:2 new 1", "HDEL user:3 age", "HEXPIRE user:4 100 FIELDS 1 age", "DEL user:5"] {
        client.ask(change);
    }
    assert_eq!(sharing_keys(&mut client), 95);
    assert!(client.ask("MEMORY USAGE user:1")[0].parse::<usize>().unwrap() < 100);
    // What a file brings shares as well. A reload meets single layouts again, so they go first; what was there before it
    // is freed in the background.
    (1..100).for_each(|user| drop(client.ask(&format!("DEL one:{user}"))));
    client.ask("DEBUG RELOAD");
    common::wait_until("the old hashes are freed", || sharing_keys(&mut client) == 96);
    client.ask("CONFIG SET hash-max-template-entries 0");
    client.ask("HSET user:1000 name n mail m age 30");
    let before = sharing_keys(&mut client);
    client.ask("HIMPORT PREPARE set name mail age");
    client.ask("HIMPORT SET user:1001 set n m 30");
    assert_eq!(sharing_keys(&mut client), before);
    client.ask("CONFIG SET hash-max-template-entries 100");
    client.ask("HIMPORT SET user:1001 set n m 30");
    assert_eq!(sharing_keys(&mut client), before + 1);
    client.ask("FLUSHALL");
    common::wait_until("the last hashes are freed", || sharing_keys(&mut client) == 0);
}

const ROUNDS: usize = 1500;
const FIELDS: [&str; 6] = ["id", "name", "price", "stock", "7", "extra"];
const LAYOUTS: [&str; 4] = ["id name price stock", "name 7 id", "id name price stock 7 extra", "stock price name id"];
const VALUES: [&str; 8] = [
    "v",
    "12",
    "-7",
    "007",
    "3.25",
    "a-value-of-some-length",
    "a-value-that-is-longer-than-what-a-compact-hash-may-have-which-is-64-bytes",
    "9223372036854775807",
];
