//! The open loop: requests are due at a fixed rate, whatever the server does, and latency counts from when they were due.
//!
//! A closed loop asks a stalled server nothing and so hardly notices the stall; here every request that should have been
//! sent meanwhile shows it (the correction of "coordinated omission"). Requests go round the connections one by one; a
//! connection may have several under way. The loop spins, so that the core is its own; how late requests left is told,
//! because a generator that is late has measured itself.
//!
//! A run has stages that somebody else switches ([`Stage`]): calm, then a rewrite. A request belongs to the stage in
//! which it was due.

use crate::generator::{PATIENCE, Peer, READ_BYTES, histogram};
use crate::request::Pool;
use hdrhistogram::Histogram;
use mio::{Events, Poll};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// When requests are due, in nanoseconds from the beginning.
#[derive(Debug)]
struct Schedule {
    interval_ns: f64,
    next: u64,
}

impl Schedule {
    fn new(rate: f64) -> Self {
        Self { interval_ns: 1e9 / rate, next: 0 }
    }

    /// When the next request was due, if that is over.
    fn take(&mut self, now_ns: u64) -> Option<u64> {
        let due = (self.next as f64 * self.interval_ns) as u64;
        (due <= now_ns).then(|| {
            self.next += 1;
            due
        })
    }
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Asked {
    due_ns: u64,
    kind: u8,
    stage: usize,
}

/// Latencies by stage and kind of request.
pub struct Latencies(Vec<Vec<Histogram<u64>>>);

impl Latencies {
    fn new(stages: usize, kinds: usize) -> Self {
        Self(vec![vec![histogram(); kinds]; stages])
    }

    fn answered(&mut self, asked: Asked, now_ns: u64) {
        self.0[asked.stage][asked.kind as usize].saturating_record(now_ns.saturating_sub(asked.due_ns).max(1));
    }

    pub fn of(&self, stage: usize, kind: usize) -> &Histogram<u64> {
        &self.0[stage][kind]
    }

    /// All kinds of one stage together.
    pub fn all(&self, stage: usize) -> Histogram<u64> {
        let mut sum = histogram();
        // Histograms of equal bounds always add up.
        self.0[stage].iter().for_each(|one| sum += one);
        sum
    }
}

/// Which stage a run is in. The loop ends when it is behind the last.
pub struct Stage {
    now: AtomicUsize,
    count: usize,
}

impl Stage {
    fn of(count: usize) -> Self {
        Self { now: AtomicUsize::new(0), count }
    }

    pub fn next(&self) {
        self.now.fetch_add(1, Relaxed);
    }

    fn end(&self) {
        self.now.store(self.count, Relaxed);
    }
}

pub struct Load<'a> {
    pub port: u16,
    pub pool: &'a Pool,
    /// How many kinds of requests are in the pool.
    pub kinds: usize,
    pub connections: usize,
    /// Requests per second.
    pub rate: f64,
}

pub struct Measured {
    pub latencies: Latencies,
    /// Nanoseconds between due and sent: the generator's own delay.
    pub late: Histogram<u64>,
    /// Requests sent in each stage, and how long it was.
    pub sent: Vec<(u64, Duration)>,
}

impl Measured {
    /// Replies per second that a stage's requests got.
    pub fn rate(&self, stage: usize) -> f64 {
        let (sent, time) = self.sent[stage];
        sent as f64 / time.as_secs_f64().max(1e-9)
    }
}

struct Connection {
    peer: Peer,
    asked: VecDeque<Asked>,
    /// Bytes that the socket did not take.
    unsent: Vec<u8>,
    counted: u64,
}

impl Connection {
    fn send(&mut self, bytes: &[u8], asked: Asked) -> io::Result<()> {
        self.asked.push_back(asked);
        let taken = if self.unsent.is_empty() { self.peer.write(bytes)? } else { 0 };
        self.unsent.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.unsent.is_empty() {
            let taken = self.peer.write(&self.unsent)?;
            self.unsent.drain(..taken);
        }
        Ok(())
    }
}

/// An open loop beside a director, who switches the stages on a thread of its own; the run ends with it.
pub fn directed<T: Send>(
    load: &Load<'_>,
    stages: usize,
    direct: impl FnOnce(&Stage) -> io::Result<T> + Send,
) -> io::Result<(Measured, T)> {
    let stage = Stage::of(stages);
    std::thread::scope(|scope| {
        let director = scope.spawn(|| {
            let said = direct(&stage);
            stage.end();
            said
        });
        let measured = open(load, &stage)?;
        let said = director.join().map_err(|_| io::Error::other("the director panicked"))??;
        Ok((measured, said))
    })
}

/// Runs until the last stage is over and everything is answered.
fn open(load: &Load<'_>, stage: &Stage) -> io::Result<Measured> {
    let mut poll = Poll::new()?;
    let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0u8; READ_BYTES]);
    let connect = |token| {
        let peer = Peer::connect(load.port, load.pool, &poll, token)?;
        Ok(Connection { peer, asked: VecDeque::new(), unsent: Vec::new(), counted: 0 })
    };
    let mut connections = (0..load.connections).map(connect).collect::<io::Result<Vec<_>>>()?;
    let mut schedule = Schedule::new(load.rate);
    let (mut latencies, mut late) = (Latencies::new(stage.count, load.kinds), histogram());
    let mut sent = vec![(0, Duration::ZERO); stage.count];
    let (began, mut stage_began, mut in_stage, mut request) = (Instant::now(), Instant::now(), 0, 0);
    loop {
        let now_stage = stage.now.load(Relaxed).min(stage.count);
        if now_stage != in_stage {
            sent[in_stage].1 = stage_began.elapsed();
            (in_stage, stage_began) = (now_stage, Instant::now());
        }
        let open = in_stage < stage.count;
        let now_ns = began.elapsed().as_nanos() as u64;
        while let Some(due_ns) = if open { schedule.take(now_ns) } else { None } {
            let at = request % load.pool.len();
            let asked = Asked { due_ns, kind: load.pool.kind(at), stage: in_stage };
            let connection = &mut connections[request % load.connections];
            connection.send(load.pool.slice(at..at + 1), asked)?;
            late.saturating_record(now_ns - due_ns);
            sent[in_stage].0 += 1;
            request += 1;
        }
        poll.poll(&mut events, Some(Duration::ZERO))?;
        for event in &events {
            let one = &mut connections[event.token().0];
            one.flush()?;
            if event.is_readable() {
                one.peer.read(&mut buffer)?;
                let now_ns = began.elapsed().as_nanos() as u64;
                let answered = one.peer.replies.count - std::mem::replace(&mut one.counted, one.peer.replies.count);
                one.asked.drain(..answered as usize).for_each(|asked| latencies.answered(asked, now_ns));
            }
        }
        if !open && connections.iter().all(|one| one.asked.is_empty()) {
            return Ok(Measured { latencies, late, sent });
        }
        if !open && stage_began.elapsed() > PATIENCE {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("unanswered after {PATIENCE:?}")));
        }
    }
}

#[cfg(test)]
#[allow(unused)] // A bench without a test runner sees them too.
mod tests {
    use super::*;

    /// A server that answers at once but for one pause, on a clock of our own: one request per millisecond.
    #[test]
    fn a_pause_shows_in_every_request_that_was_due_in_it() {
        const MS: u64 = 1_000_000;
        let (mut schedule, mut latencies) = (Schedule::new(1000.0), Latencies::new(1, 1));
        let mut under_way = VecDeque::new();
        for now in 0..1000 * MS / (MS / 10) {
            let now_ns = now * (MS / 10);
            while let Some(due_ns) = schedule.take(now_ns) {
                under_way.push_back(Asked { due_ns, kind: 0, stage: 0 });
            }
            let pauses = (500 * MS..600 * MS).contains(&now_ns);
            while let Some(asked) = (!pauses).then(|| under_way.pop_front()).flatten() {
                latencies.answered(asked, now_ns);
            }
        }
        let all = latencies.all(0);
        assert_eq!(all.len(), 1000);
        // The hundred requests of the pause waited 100, 99, … 1 ms; a closed loop would have seen one of 100.
        let waited = all.count_between(MS - MS / 100, u64::MAX);
        assert_eq!(waited, 100);
        let p95 = all.value_at_quantile(0.95) / MS;
        assert!((45..=55).contains(&p95), "half of the hundred waited more than 50 ms: {p95}");
        assert!((99..=101).contains(&(all.max() / MS)));
    }

    #[test]
    fn the_rate_is_kept_without_drift() {
        let mut schedule = Schedule::new(30_000.0);
        let mut due = 0;
        for second in 1..=100u64 {
            while schedule.take(second * 1_000_000_000 - 1).is_some() {
                due += 1;
            }
            assert_eq!(due, second * 30_000);
        }
    }

    #[test]
    fn stages_keep_their_latencies_apart() {
        let mut latencies = Latencies::new(2, 2);
        latencies.answered(Asked { due_ns: 0, kind: 1, stage: 1 }, 500);
        assert_eq!((latencies.of(1, 1).len(), latencies.of(1, 0).len(), latencies.all(0).len()), (1, 0, 0));
    }
}
