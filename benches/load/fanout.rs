//! Publish and subscribe: what a message costs the server until all its subscribers have it.
//!
//! One connection publishes, others listen and throw away what they hear. A reading is over when the last byte of the last
//! message came, so that what is counted is the whole way. Each shape gets a server of its own.

use crate::compare::Plan;
use crate::peers::{Family, Server, Spec};
use crate::presets::{VALUE_BYTES, scaled};
use crate::report::{Against, Bound, Measure, Row, Target};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

struct Shape {
    name: &'static str,
    listeners: usize,
    /// Subscriptions of each listener; each names a channel or pattern of its own unless `shared`.
    each: usize,
    shared: bool,
    patterns: bool,
    messages: u64,
    /// Of memkv to the better peer.
    ratio_max: f64,
}

const SHAPES: &[Shape] = &[
    Shape {
        name: "1 subscriber",
        listeners: 1,
        each: 1,
        shared: true,
        patterns: false,
        messages: 200_000,
        ratio_max: 0.9,
    },
    Shape {
        name: "10 subscribers",
        listeners: 10,
        each: 1,
        shared: true,
        patterns: false,
        messages: 60_000,
        ratio_max: 0.6,
    },
    Shape {
        name: "1,000 subscribers",
        listeners: 1000,
        each: 1,
        shared: true,
        patterns: false,
        messages: 1_500,
        ratio_max: 0.6,
    },
    Shape {
        name: "1,000 patterns",
        listeners: 10,
        each: 100,
        shared: false,
        patterns: true,
        messages: 20_000,
        ratio_max: 0.6,
    },
    Shape {
        name: "10,000 channels",
        listeners: 100,
        each: 100,
        shared: false,
        patterns: false,
        messages: 200_000,
        ratio_max: 0.6,
    },
];
const PIPELINES: [usize; 2] = [1, 16];

impl Shape {
    fn name_of(&self, i: usize) -> String {
        let channel = if self.shared { "channel:0".to_owned() } else { format!("channel:{i}") };
        if self.patterns { format!("{channel}:*") } else { channel }
    }

    /// The channel of a message, which exactly the wanted listeners hear.
    fn channel(&self, message: u64) -> String {
        let i = if self.shared { 0 } else { message % (self.listeners * self.each) as u64 };
        if self.patterns { format!("channel:{i}:x") } else { format!("channel:{i}") }
    }
}

pub fn run(plan: &Plan) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for shape in SHAPES {
        for pipeline in PIPELINES {
            let name = format!("PUBLISH to {} P{pipeline}", shape.name);
            if !plan.wants(&name) {
                continue;
            }
            let target =
                Target { measure: Measure::CpuUs, against: Against::BetterPeer, bound: Bound::AtMost(shape.ratio_max) };
            let mut row = Row::new(&name, &plan.specs, &[target]);
            for round in 0..=plan.rounds {
                for spec in plan.specs.iter().filter(|s| matches!(s.family, Family::Memkv | Family::Redis)) {
                    let reading = measure(spec, plan, shape, pipeline)?;
                    if round > 0 {
                        row.push(&spec.name, reading);
                    }
                }
            }
            row.print();
            rows.push(row);
        }
    }
    Ok(rows)
}

fn measure(spec: &Spec, plan: &Plan, shape: &Shape, pipeline: usize) -> io::Result<Vec<(Measure, f64)>> {
    let server = Server::start(spec, &plan.place, &[("appendonly", "no")])?;
    let mut listeners = Vec::with_capacity(shape.listeners);
    for listener in 0..shape.listeners {
        listeners.push(listen(&server, shape, listener)?);
    }
    let messages = scaled(shape.messages, plan.scale);
    let (mut requests, mut expected) = (Vec::new(), 0);
    for message in 0..messages {
        let channel = shape.channel(message);
        requests.push(request(&["PUBLISH", &channel, &"x".repeat(VALUE_BYTES)]));
        expected += heard_bytes(shape, &channel, message) * if shape.shared { shape.listeners as u64 } else { 1 };
    }
    let heard = AtomicU64::new(0);
    let mut publisher = TcpStream::connect(("127.0.0.1", server.port))?;
    publisher.set_nodelay(true)?;
    let (before, began) = (plan.clock.process_ns(server.pid())?, Instant::now());
    std::thread::scope(|scope| -> io::Result<()> {
        let drain = scope.spawn(|| drain(&mut listeners, expected, &heard));
        for some in requests.chunks(pipeline) {
            publisher.write_all(&some.concat())?;
            read_replies(&mut publisher, some.len())?;
        }
        drain.join().map_err(|_| io::Error::other("a listener failed"))?
    })?;
    let used = plan.clock.process_ns(server.pid())? - before;
    let rate = messages as f64 / began.elapsed().as_secs_f64() / 1000.0;
    Ok(vec![(Measure::CpuUs, used as f64 / messages as f64 / 1000.0), (Measure::RateK, rate)])
}

fn listen(server: &Server, shape: &Shape, listener: usize) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port))?;
    let command = if shape.patterns { "PSUBSCRIBE" } else { "SUBSCRIBE" };
    let names: Vec<String> = (0..shape.each).map(|i| shape.name_of(listener * shape.each + i)).collect();
    let words: Vec<&str> = std::iter::once(command).chain(names.iter().map(String::as_str)).collect();
    stream.write_all(&request(&words))?;
    // Each confirmation ends with its count.
    let last = format!(":{}\r\n", shape.each);
    let (mut said, mut some) = (Vec::new(), [0; 4096]);
    while !said.ends_with(last.as_bytes()) {
        match stream.read(&mut some)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => said.extend_from_slice(&some[..n]),
        }
    }
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Bytes of one message on its way to one listener.
fn heard_bytes(shape: &Shape, channel: &str, message: u64) -> u64 {
    let payload = "x".repeat(VALUE_BYTES);
    let pattern = shape.name_of((message % (shape.listeners * shape.each) as u64) as usize);
    let words: Vec<&str> =
        if shape.patterns { vec!["pmessage", &pattern, channel, &payload] } else { vec!["message", channel, &payload] };
    request(&words).len() as u64
}

/// Reads until all has come.
fn drain(listeners: &mut [TcpStream], expected: u64, heard: &AtomicU64) -> io::Result<()> {
    let mut poll = mio::Poll::new()?;
    for (i, listener) in listeners.iter().enumerate() {
        let fd = std::os::fd::AsRawFd::as_raw_fd(listener);
        poll.registry().register(&mut mio::unix::SourceFd(&fd), mio::Token(i), mio::Interest::READABLE)?;
    }
    let (mut events, mut buffer) = (mio::Events::with_capacity(1024), vec![0; 256 << 10]);
    while heard.load(Relaxed) < expected {
        poll.poll(&mut events, None)?;
        for event in &events {
            loop {
                match listeners[event.token().0].read(&mut buffer) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(n) => _ = heard.fetch_add(n as u64, Relaxed),
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                    Err(e) => return Err(e),
                }
            }
        }
    }
    Ok(())
}

/// Integer replies end in one line each.
fn read_replies(publisher: &mut TcpStream, mut replies: usize) -> io::Result<()> {
    let mut some = [0; 4096];
    while replies > 0 {
        match publisher.read(&mut some)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => replies -= some[..n].iter().filter(|&&b| b == b'\n').count(),
        }
    }
    Ok(())
}

fn request(words: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    memkv::resp::encode_request(&mut bytes, words.iter().map(|word| word.as_bytes()));
    bytes
}
