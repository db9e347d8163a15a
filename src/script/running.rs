//! Scripts that have been running for a while, and how others end them.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// All runs that have lasted a few milliseconds.
#[derive(Default)]
pub struct Runs {
    long: Mutex<Vec<Arc<Run>>>,
    count: AtomicUsize,
    /// One of them owns the world.
    own_world: AtomicBool,
    /// Threads for those that leave their workers, a bit each.
    threads: AtomicU32,
    /// The process ends.
    ending: AtomicBool,
    /// Keys that became ready for waiters that need what a long script has.
    postponed: Mutex<Vec<(usize, Box<[u8]>)>>,
}

/// One of them.
pub struct Run {
    /// SHA or function.
    pub name: Vec<u8>,
    /// The command that began it.
    pub command: Vec<Vec<u8>>,
    pub is_function: bool,
    /// Monotonic milliseconds.
    pub began_ms: u64,
    /// It has called a command that writes.
    pub wrote: AtomicBool,
    /// The log's own: it may not be killed.
    pub obeyed: bool,
    /// It has lasted longer than `busy-reply-threshold`.
    pub is_busy: AtomicBool,
    /// It owns the world; else a bit for each stripe that it holds.
    owns_world: bool,
    stripes: Box<[AtomicU64]>,
    kill: AtomicU8,
}

/// What is told of a run from its beginning on.
pub struct Told {
    pub name: Vec<u8>,
    pub command: Vec<Vec<u8>>,
    pub is_function: bool,
    pub began_ms: u64,
    pub obeyed: bool,
    pub owns_world: bool,
    /// How many stripes there are.
    pub stripes: usize,
}

/// Why a script is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    No,
    /// SCRIPT KILL or FUNCTION KILL.
    Asked,
}

/// What became of SCRIPT KILL or FUNCTION KILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Killed {
    Yes,
    NothingRuns,
    Obeyed,
    Wrote,
    /// A function runs where a script was meant, or the other way round.
    OtherKind,
}

impl Run {
    pub fn new(told: Told) -> Arc<Self> {
        let Told { name, command, is_function, began_ms, obeyed, owns_world, stripes } = told;
        let stripes = (0..stripes.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let (wrote, is_busy, kill) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU8::new(0));
        Arc::new(Self { name, command, is_function, began_ms, wrote, obeyed, is_busy, owns_world, stripes, kill })
    }

    /// It holds one more stripe.
    pub fn holds_too(&self, stripe: u32) {
        if let Some(word) = self.stripes.get(stripe as usize / 64) {
            word.fetch_or(1 << (stripe % 64), Relaxed);
        }
    }

    fn holds(&self, stripe: usize) -> bool {
        self.owns_world
            || self.stripes.get(stripe / 64).is_some_and(|word| word.load(Relaxed) >> (stripe % 64) & 1 == 1)
    }

    pub fn killed(&self) -> Kill {
        if self.kill.load(Relaxed) == 0 { Kill::No } else { Kill::Asked }
    }
}

impl Runs {
    /// Whether anything has been running for long.
    #[inline]
    pub fn any(&self) -> bool {
        self.count.load(Relaxed) > 0
    }

    pub fn add(&self, run: &Arc<Run>) {
        let mut long = self.long.lock();
        long.push(run.clone());
        self.show(&long);
    }

    pub fn remove(&self, run: &Arc<Run>) {
        let mut long = self.long.lock();
        long.retain(|other| !Arc::ptr_eq(other, run));
        self.show(&long);
    }

    fn show(&self, long: &[Arc<Run>]) {
        self.own_world.store(long.iter().any(|run| run.owns_world), Relaxed);
        self.count.store(long.len(), Relaxed);
    }

    /// Whether a script that owns the world has been running for long: nothing else runs meanwhile.
    pub fn own_world(&self) -> bool {
        self.own_world.load(Relaxed)
    }

    /// Whether one of them has lasted longer than `busy-reply-threshold`.
    pub fn any_busy(&self) -> bool {
        self.any() && self.long.lock().iter().any(|run| run.is_busy.load(Relaxed))
    }

    /// Whether one of them has the stripe.
    pub fn hold(&self, stripe: usize) -> bool {
        self.any() && self.long.lock().iter().any(|run| run.holds(stripe))
    }

    /// A key of a database is ready for a waiter that is served once a long script has ended.
    pub fn postpone(&self, db: usize, key: &[u8]) {
        self.postponed.lock().push((db, key.into()));
    }

    pub fn take_postponed(&self) -> Vec<(usize, Box<[u8]>)> {
        std::mem::take(&mut self.postponed.lock())
    }

    /// A thread for a script that leaves its worker, by number, of `max`; `None` if all are taken.
    #[allow(deprecated)] // the new name of fetch_update is younger than our rust-version
    pub fn take_thread(&self, max: usize) -> Option<usize> {
        let taken = self.threads.fetch_update(Relaxed, Relaxed, |taken| {
            let free = taken.trailing_ones();
            ((free as usize) < max.min(32)).then(|| taken | 1 << free)
        });
        taken.ok().map(|taken| taken.trailing_ones() as usize)
    }

    pub fn give_thread(&self, number: usize) {
        self.threads.fetch_and(!(1 << number), Relaxed);
    }

    /// The run that has lasted longest, of those that others hear BUSY for.
    pub fn busy(&self) -> Option<Arc<Run>> {
        if !self.any() {
            return None;
        }
        self.long.lock().iter().find(|run| run.is_busy.load(Relaxed)).cloned()
    }

    pub fn first(&self) -> Option<Arc<Run>> {
        self.long.lock().first().cloned()
    }

    /// Asks every busy script of a kind to end; the first that may not be asked decides what is answered, if none may.
    pub fn kill(&self, functions: bool) -> Killed {
        let mut answer = Killed::NothingRuns;
        for run in self.long.lock().iter().filter(|run| run.is_busy.load(Relaxed)) {
            let this = if run.obeyed {
                Killed::Obeyed
            } else if run.wrote.load(Relaxed) {
                Killed::Wrote
            } else if run.is_function != functions {
                Killed::OtherKind
            } else {
                run.kill.store(1, Relaxed);
                Killed::Yes
            };
            if answer == Killed::NothingRuns || this == Killed::Yes {
                answer = this;
            }
        }
        answer
    }

    /// Ends all scripts, however young, as long as the process is about to end.
    pub fn set_ending(&self, yes: bool) {
        self.ending.store(yes, Relaxed);
    }

    pub fn are_ending(&self) -> bool {
        self.ending.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(owns_world: bool) -> Told {
        let (command, began_ms) = (Vec::new(), 0);
        Told { name: b"sha".to_vec(), command, is_function: false, began_ms, obeyed: false, owns_world, stripes: 128 }
    }

    #[test]
    fn a_run_tells_what_it_holds() {
        let runs = Runs::default();
        let run = Run::new(told(false));
        runs.add(&run);
        run.holds_too(65);
        assert_eq!((runs.hold(65), runs.hold(1), runs.own_world()), (true, false, false));
        runs.add(&Run::new(told(true)));
        assert!(runs.hold(1) && runs.own_world());
    }

    #[test]
    fn threads_are_given_once() {
        let runs = Runs::default();
        assert_eq!([runs.take_thread(2), runs.take_thread(2), runs.take_thread(2)], [Some(0), Some(1), None]);
        runs.give_thread(0);
        assert_eq!(runs.take_thread(2), Some(0));
    }

    #[test]
    fn a_script_that_wrote_is_not_killed() {
        let runs = Runs::default();
        assert_eq!(runs.kill(false), Killed::NothingRuns);
        let run = Run::new(told(false));
        runs.add(&run);
        assert_eq!(runs.kill(false), Killed::NothingRuns, "it has not lasted long enough");
        run.is_busy.store(true, Relaxed);
        assert_eq!(runs.kill(true), Killed::OtherKind);
        run.wrote.store(true, Relaxed);
        assert_eq!((runs.kill(false), run.killed()), (Killed::Wrote, Kill::No));
        run.wrote.store(false, Relaxed);
        assert_eq!((runs.kill(false), run.killed()), (Killed::Yes, Kill::Asked));
        runs.remove(&run);
        assert!(!runs.any());
    }
}
