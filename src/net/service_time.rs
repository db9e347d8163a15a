//! Service time: from bytes readable to the reply handed to the kernel, and where that time went.

use crate::clock;
use crate::observe::{ServiceTime, WorkerStats};
use smallvec::SmallVec;

/// Where the time of the requests in flight went, from bytes readable to replies handed to the kernel. All of a
/// wake-up's requests share its beginning and its end; each command is counted once with how often it came.
#[derive(Default)]
pub struct Timeline {
    readable: u64,
    /// The first batch asked for the gate.
    began: u64,
    /// The last batch was done.
    ended: u64,
    /// Replies were free to leave: the journal had what they wait for.
    pub released: u64,
    /// From the end of each command to that of the next: in handlers, and waiting for locks in front of them.
    exec: u64,
    /// For the gate and for stripes.
    lock: u64,
    /// The part of it that `exec` holds too.
    lock_in_exec: u64,
    commands: SmallVec<[(usize, u64); 4]>,
}

impl Timeline {
    /// Bytes came, or a reply that was waited for: time counts from here.
    pub fn begin_anew(&mut self) {
        self.readable = clock::ticks();
        (self.began, self.ended) = (0, self.readable);
        (self.exec, self.lock, self.lock_in_exec) = (0, 0, 0);
    }

    /// A batch is inside the gate, after a wait.
    pub fn entered(&mut self, now: u64, waited: u64) {
        if self.began == 0 {
            self.began = now.wrapping_sub(waited);
        }
        self.lock += waited;
    }

    /// A batch is done; in it, its commands waited for their locks.
    pub fn ran(&mut self, now: u64, waited: u64) {
        self.ended = now;
        self.lock += waited;
        self.lock_in_exec += waited;
    }

    #[inline]
    pub fn count(&mut self, row: usize, exec_ticks: u64) {
        self.exec += exec_ticks;
        match self.commands.iter_mut().find(|(id, _)| *id == row) {
            Some((_, n)) => *n += 1,
            None if row != usize::MAX => self.commands.push((row, 1)),
            None => {}
        }
    }

    pub fn report(&mut self, stats: &WorkerStats) {
        let now = clock::ticks();
        let ns = |from: u64, to: u64| clock::ticks_to_ns(to.saturating_sub(from));
        let time = ServiceTime {
            total_ns: ns(self.readable, now),
            queue_ns: ns(self.readable, self.began),
            lock_ns: clock::ticks_to_ns(self.lock),
            exec_ns: ns(self.lock_in_exec, self.exec),
            journal_ns: ns(self.ended, self.released),
            write_ns: ns(self.released, now),
        };
        for (row, calls) in self.commands.drain(..) {
            stats.service(row, calls, &time);
        }
        // What is read already and not answered yet has waited since then.
        self.began = 0;
        (self.exec, self.lock, self.lock_in_exec) = (0, 0, 0);
    }
}
