//! The closed loop: every connection sends a pipeline, waits for all its replies and sends the next.
//!
//! One thread, epoll, requests ready-made in memory; a batch costs one read, one write and the share of a wait. Latency
//! is from the write of a batch to its last reply. The generator's own share of its core is measured too: at its limit
//! the throughput is the generator's and not the server's (CPU per command stays the server's).

use crate::cpu::Clock;
use crate::replies::Replies;
use crate::request::Pool;
use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// When a part of a run is over.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    Replies(u64),
    Time(Duration),
}

/// Who asks what of whom.
pub struct Load<'a> {
    pub port: u16,
    /// The server's process, where it is known.
    pub pid: Option<u32>,
    pub pool: &'a Pool,
    pub connections: usize,
    pub pipeline: usize,
    pub warm_up: Until,
    pub until: Until,
}

/// What a run found.
pub struct Measured {
    pub replies: u64,
    pub elapsed: Duration,
    pub server_cpu_ns: Option<u64>,
    pub generator_cpu_ns: u64,
    /// Nanoseconds: of a batch in the closed loop, of a request in the open one.
    pub latency: Histogram<u64>,
}

impl Measured {
    pub fn rate(&self) -> f64 {
        self.replies as f64 / self.elapsed.as_secs_f64()
    }

    pub fn server_ns_per_reply(&self) -> Option<f64> {
        self.server_cpu_ns.map(|ns| ns as f64 / self.replies.max(1) as f64)
    }

    /// The part of its core that the generator used.
    pub fn generator_share(&self) -> f64 {
        self.generator_cpu_ns as f64 / self.elapsed.as_nanos() as f64
    }

    pub fn server_share(&self) -> Option<f64> {
        self.server_cpu_ns.map(|ns| ns as f64 / self.elapsed.as_nanos() as f64)
    }
}

/// A histogram of nanoseconds up to a minute, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are in order")
}

/// One connection as far as both loops need it.
pub struct Peer {
    pub socket: TcpStream,
    pub replies: Replies,
    /// A reply's beginning that was not taken yet.
    held: Vec<u8>,
}

impl Peer {
    pub fn connect(port: u16, pool: &Pool, poll: &Poll, token: usize) -> io::Result<Self> {
        let socket = std::net::TcpStream::connect(("127.0.0.1", port))?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        poll.registry().register(&mut socket, Token(token), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { socket, replies: Replies::new(pool.dialect), held: Vec::new() })
    }

    /// Reads all there is and counts the replies in it. `buffer` is everybody's.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        loop {
            let held = self.held.len();
            buffer[..held].copy_from_slice(&self.held);
            self.held.clear();
            let read = match self.socket.read(&mut buffer[held..]) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed a connection")),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
                Err(e) => return Err(e),
            };
            let filled = held + read;
            let done = self.replies.feed(&buffer[..filled])?;
            self.held.extend_from_slice(&buffer[done..filled]);
            // A read that did not fill the buffer has emptied the socket: the edge comes again with the next bytes.
            if read == 0 || filled < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Writes what the socket takes; tells how much.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.socket.write(bytes) {
            Ok(n) => Ok(n),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(e) => Err(e),
        }
    }
}

/// A connection of the closed loop.
struct Loop {
    peer: Peer,
    /// The next request in the pool.
    next: usize,
    /// What is left to write of the batch under way.
    unsent: usize,
    /// The reply that ends the batch.
    last: u64,
    sent_at: Instant,
}

impl Loop {
    fn send_batch(&mut self, pool: &Pool, pipeline: usize, now: Instant) -> io::Result<()> {
        let batch = pool.slice(self.next..self.next + pipeline);
        self.next = (self.next + pipeline) % pool.len();
        self.last += pipeline as u64;
        self.sent_at = now;
        self.unsent = batch.len() - self.peer.write(batch)?;
        Ok(())
    }

    fn send_rest(&mut self, pool: &Pool, pipeline: usize) -> io::Result<()> {
        let from = (self.next + pool.len() - pipeline) % pool.len();
        let batch = pool.slice(from..from + pipeline);
        let rest = &batch[batch.len() - self.unsent..];
        self.unsent -= self.peer.write(rest)?;
        Ok(())
    }
}

/// The counters at the beginning of a part of a run.
struct Mark {
    at: Instant,
    replies: u64,
    server_ns: Option<u64>,
    generator_ns: u64,
}

impl Mark {
    fn now(clock: Clock, pid: Option<u32>, replies: u64) -> io::Result<Self> {
        let server_ns = pid.map(|pid| clock.process_ns(pid)).transpose()?;
        Ok(Self { at: Instant::now(), replies, server_ns, generator_ns: clock.thread_ns() })
    }

    fn reached(&self, until: Until, now: Instant, replies: u64) -> bool {
        match until {
            Until::Replies(n) => replies - self.replies >= n,
            Until::Time(time) => now - self.at >= time,
        }
    }
}

/// Runs a closed loop.
pub fn closed(load: &Load<'_>, clock: Clock) -> io::Result<Measured> {
    let Load { pool, pipeline, .. } = *load;
    let mut poll = Poll::new()?;
    let (mut events, mut buffer) = (Events::with_capacity(EVENTS), vec![0u8; READ_BYTES]);
    let batches = pool.len() / pipeline;
    let mut loops = Vec::with_capacity(load.connections);
    for token in 0..load.connections {
        let peer = Peer::connect(load.port, pool, &poll, token)?;
        // Everyone begins elsewhere in the circle, at the start of a batch.
        let next = token * batches / load.connections * pipeline;
        loops.push(Loop { peer, next, unsent: 0, last: 0, sent_at: Instant::now() });
    }
    let (mut replies, mut latency, mut warm) = (0, histogram(), false);
    let mut mark = Mark::now(clock, load.pid, 0)?;
    for one in &mut loops {
        one.send_batch(pool, pipeline, Instant::now())?;
    }
    loop {
        poll.poll(&mut events, Some(PATIENCE))?;
        if events.is_empty() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("no reply within {PATIENCE:?}")));
        }
        for event in &events {
            let one = &mut loops[event.token().0];
            if one.unsent > 0 {
                one.send_rest(pool, pipeline)?;
            }
            if !event.is_readable() {
                continue;
            }
            let before = one.peer.replies.count;
            one.peer.read(&mut buffer)?;
            replies += one.peer.replies.count - before;
            if one.peer.replies.count == one.last {
                let now = Instant::now();
                latency.saturating_record((now - one.sent_at).as_nanos() as u64);
                one.send_batch(pool, pipeline, now)?;
            }
        }
        let part = if warm { load.until } else { load.warm_up };
        let now = Instant::now();
        if !mark.reached(part, now, replies) {
            continue;
        }
        let end = Mark::now(clock, load.pid, replies)?;
        if warm {
            return Ok(Measured {
                replies: end.replies - mark.replies,
                elapsed: end.at - mark.at,
                server_cpu_ns: end.server_ns.zip(mark.server_ns).map(|(end, start)| end.saturating_sub(start)),
                generator_cpu_ns: end.generator_ns.saturating_sub(mark.generator_ns),
                latency,
            });
        }
        (mark, warm) = (end, true);
        latency.reset();
    }
}

/// Connections looked at after one wait.
const EVENTS: usize = 1024;
/// One read's worth: longer than the longest line of a reply, by far.
pub const READ_BYTES: usize = 256 << 10;
/// A server that says nothing for so long is broken.
pub const PATIENCE: Duration = Duration::from_secs(60);
