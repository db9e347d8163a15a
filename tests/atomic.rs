//! What one command says is of one instant, however many stripes it reads and whatever others do meanwhile.

mod common;

use common::{Server, request};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// One key changes its name, and so its stripe, all the time: there is always exactly one.
#[test]
fn keys_sees_a_key_that_is_being_renamed_exactly_once() {
    while_a_key_is_renamed(&[b"KEYS", b"name:*"], |reader| {
        let count = number(reader);
        let mut line = String::new();
        (0..2 * count).for_each(|_| assert!(reader.read_line(&mut line).unwrap() > 0));
        count
    });
}

#[test]
fn dbsize_counts_a_key_that_is_being_renamed_exactly_once() {
    while_a_key_is_renamed(&[b"DBSIZE"], number);
}

/// The number at the head of a reply.
fn number(reader: &mut BufReader<TcpStream>) -> usize {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line.trim_end()[1..].parse().unwrap()
}

fn while_a_key_is_renamed(question: &[&[u8]], answer: impl Fn(&mut BufReader<TcpStream>) -> usize) {
    let server = Server::start(&["--threads", "2"]);
    server.ask(&[b"SET", b"name:0", b"v"]);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let renamer = scope.spawn(|| {
            let mut stream = BufReader::new(server.connect());
            let mut renamed = 0u64;
            while !done.load(Relaxed) {
                let (from, to) = (format!("name:{renamed}"), format!("name:{}", renamed + 1));
                stream.get_mut().write_all(&request(&[b"RENAME", from.as_bytes(), to.as_bytes()])).unwrap();
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                assert_eq!(line, "+OK\r\n");
                renamed += 1;
            }
            renamed
        });
        // Several connections: some of them are served by the other thread.
        let mut readers: Vec<_> = (0..4).map(|_| BufReader::new(server.connect())).collect();
        let mut counts = Vec::new();
        for i in 0..4000 {
            let reader = &mut readers[i % 4];
            reader.get_mut().write_all(&request(question)).unwrap();
            counts.push(answer(reader));
        }
        done.store(true, Relaxed);
        assert!(renamer.join().unwrap() > 0);
        assert!(counts.iter().all(|count| *count == 1), "{:?}", counts.iter().position(|count| *count != 1));
    });
}
