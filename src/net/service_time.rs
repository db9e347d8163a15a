//! Service time: from the arrival of a request's bytes to the moment its reply is handed to the kernel, and where that
//! time went.
//!
//! A [`Timeline`] is a ledger: each tick between its beginning and its end is booked under exactly one cause, so the causes
//! sum to the time. All requests of one wake-up share a beginning and an end; each is counted once.
//!
//! *Where it begins.* Bytes lie in the kernel while the worker is busy with other connections, and nothing tells a server
//! when they came. A worker asks the kernel for ready sockets once a turn of its loop ([`Loop`]), so bytes read in this turn
//! came after the turn before it began, unless there was a queue of connections already. While turns are short that is
//! exact enough: time counts from the beginning of the turn. Behind a longer one (a long command, a closed gate) the
//! kernel is asked for the age of the connection's last segment (`TCP_INFO`), in steps of its clock (1 to 4 ms); a Unix
//! socket, which has no such figure, counts from the beginning of the longer turn.
//! *Not seen*: time on the network and in the client, and the wait of bytes for which the server's receive buffer had no
//! room.
//! Cost: two clock reads a turn, one a batch and one a write; the kernel is asked only behind a turn of [`LATE`] and more.

use super::stream::Stream;
use crate::clock;
use crate::observe::{CAUSES, Cause, ServiceTime, WorkerStats};
use smallvec::SmallVec;
use std::cell::Cell;
use std::time::Duration;

/// The time of the requests in flight, by cause.
#[derive(Default)]
pub struct Timeline {
    began: u64,
    /// Everything before this tick is booked.
    at: u64,
    spent: [u64; CAUSES.len()],
    commands: SmallVec<[(usize, u64); 4]>,
}

impl Timeline {
    /// Bytes came, or a reply that was waited for: time counts from here.
    pub fn begin(&mut self, arrived: u64) {
        (self.began, self.at, self.spent) = (arrived, arrived, [0; CAUSES.len()]);
    }

    /// The time until `now` went to one cause.
    pub fn until(&mut self, now: u64, cause: Cause) {
        self.spent[cause as usize] += now.saturating_sub(self.at);
        self.at = self.at.max(now);
    }

    /// A batch ran until `now`; its commands waited this long for their locks.
    pub fn ran(&mut self, now: u64, waited: u64) {
        let waited = waited.min(now.saturating_sub(self.at));
        self.until(now - waited, Cause::Execution);
        self.until(now, Cause::Lock);
    }

    #[inline]
    pub fn count(&mut self, row: usize) {
        match self.commands.iter_mut().find(|(id, _)| *id == row) {
            Some((_, n)) => *n += 1,
            None if row != usize::MAX => self.commands.push((row, 1)),
            None => {}
        }
    }

    /// The tick up to which time is booked.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The replies are with the kernel.
    pub fn report(&mut self, stats: &WorkerStats) {
        self.until(clock::ticks(), Cause::Write);
        let time = ServiceTime {
            total_ns: clock::ticks_to_ns(self.at.saturating_sub(self.began)),
            by_cause_ns: self.spent.map(clock::ticks_to_ns),
        };
        for (row, calls) in self.commands.drain(..) {
            stats.service(row, calls, &time);
        }
        // What came along and is not answered yet has waited all the while.
        self.spent = [0; CAUSES.len()];
        self.spent[Cause::Queue as usize] = self.at.saturating_sub(self.began);
    }
}

/// The turns of a worker's loop: in each it asks the kernel once which sockets are ready, and serves some of them.
#[derive(Default)]
pub struct Loop {
    /// When the present turn began.
    began: Cell<u64>,
    /// A turn at whose beginning no connection was waiting since before.
    clear: Cell<u64>,
    /// Connections served in the present turn.
    served: Cell<u32>,
}

impl Loop {
    /// A turn begins, after the kernel was asked. `served_max`: how many connections a turn serves at most.
    pub fn turn(&self, now: u64, served_max: u32) {
        // The turn before this one came to the end of its queue, so that nothing waits since before it began.
        if self.served.replace(0) < served_max {
            self.clear.set(self.began.get());
        }
        self.began.set(now);
    }

    pub fn serve(&self) {
        self.served.set(self.served.get() + 1);
    }

    /// When bytes came that are read now. They were not there at `empty`, when this connection was last looked at.
    pub fn arrival(&self, stream: &Stream, empty: u64) -> u64 {
        let (began, earliest) = (self.began.get().max(empty), self.clear.get().max(empty));
        if began.saturating_sub(earliest) < clock::ns_to_ticks(LATE.as_nanos() as u64) {
            return began;
        }
        match stream.last_segment_age() {
            Some(age) => {
                clock::ticks().saturating_sub(clock::ns_to_ticks(age.as_nanos() as u64)).clamp(earliest, began)
            }
            None => earliest,
        }
    }
}

/// Turns shorter than this tell well enough when bytes came. As long as the band of a good reply.
const LATE: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever happens in whatever order, the causes sum to the time.
        #[test]
        fn causes_sum_to_the_time(steps in proptest::collection::vec((0usize..CAUSES.len() + 1, 0u64..1000, 0u64..2000), 1..40)) {
            let mut timeline = Timeline::default();
            timeline.begin(1000);
            let (mut now, mut model) = (1000, [0; CAUSES.len()]);
            for (step, took, waited) in steps {
                now += took;
                if step == CAUSES.len() {
                    timeline.ran(now, waited);
                    model[Cause::Lock as usize] += waited.min(took);
                    model[Cause::Execution as usize] += took - waited.min(took);
                } else {
                    timeline.until(now, Cause::ALL[step]);
                    model[step] += took;
                }
            }
            prop_assert_eq!(timeline.spent, model, "each under its own cause");
            prop_assert_eq!(timeline.spent.iter().sum::<u64>(), now - timeline.began);
        }
    }

    #[test]
    fn bytes_came_in_the_last_turn_unless_a_queue_stood_before_it() {
        clock::init();
        let ms = |n: u64| clock::ns_to_ticks(n * 1_000_000);
        let (turns, socket) = (Loop::default(), std::os::unix::net::UnixStream::pair().unwrap().0);
        socket.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _inside = runtime.enter();
        let stream = Stream::adopt(super::super::stream::Accepted::Unix(socket)).unwrap();
        turns.turn(ms(100), 2);
        turns.turn(ms(100) + 5, 2);
        assert_eq!(turns.arrival(&stream, 0), ms(100) + 5, "short turns: from the beginning of this one");
        turns.turn(ms(350), 2);
        assert_eq!(turns.arrival(&stream, 0), ms(100) + 5, "a long turn before it: somewhere in that");
        assert_eq!(turns.arrival(&stream, ms(200)), ms(200), "not before the connection was found empty");
        // Two connections are all that a turn serves: others may be waiting since the turn before.
        turns.serve();
        turns.serve();
        turns.turn(ms(351), 2);
        assert_eq!(turns.arrival(&stream, 0), ms(100) + 5);
        turns.turn(ms(352), 2);
        turns.turn(ms(352) + 1, 2);
        assert_eq!(turns.arrival(&stream, 0), ms(352) + 1);
    }
}
