//! The walks over the keyspace, one at a time: saves, rewrites and full syncs are asked for here, and one thread runs them.
//!
//! A job that is asked for while nothing runs counts as running from that moment, and begins as soon as the thread has
//! the gate. A job asked for behind another, or inside a transaction, is scheduled; a full sync goes before a rewrite,
//! and that before a save.
//! Cancelling a job makes it leave at its next step and remove its temporary file. A shutdown closes the desk: the job
//! in progress is told to leave, and no other begins until the desk opens again.
//! Not here: what a job does (`save`, `rewrite`, `replication::sync`), and when the clock asks for one (`cron`).

use crate::keyspace::Gate;
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What a walk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    Save,
    Rewrite,
    /// A full sync for the replicas that wait for one.
    Sync,
}

/// The answer to a job that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Started,
    Scheduled,
    /// This job is running, and the one asked for may not wait behind it.
    Busy(Job),
}

#[derive(Default)]
pub struct Walks {
    desk: Mutex<Desk>,
    /// Rung when a job is asked for or ends, and when the desk opens.
    bell: Condvar,
    /// The running job is to leave.
    cancelled: AtomicBool,
}

#[derive(Default)]
struct Desk {
    running: Option<Job>,
    /// `running` was not taken up by the thread yet.
    is_new: bool,
    save_waits: bool,
    rewrite_waits: bool,
    sync_waits: bool,
    closed: bool,
}

impl Desk {
    fn waits(&mut self, job: Job) -> &mut bool {
        match job {
            Job::Save => &mut self.save_waits,
            Job::Rewrite => &mut self.rewrite_waits,
            Job::Sync => &mut self.sync_waits,
        }
    }

    fn is_awaited(&self) -> bool {
        self.save_waits || self.rewrite_waits || self.sync_waits
    }

    fn take_waiting(&mut self) -> Option<Job> {
        [Job::Sync, Job::Rewrite, Job::Save].into_iter().find(|&job| std::mem::take(self.waits(job)))
    }
}

impl Walks {
    /// Asks for a job. `may_wait`: it may be scheduled behind the other job. `in_exec`: the caller is a transaction,
    /// whose end every job waits for; only the same job already running refuses it.
    pub fn ask(&self, job: Job, may_wait: bool, in_exec: bool) -> Asked {
        let mut desk = self.desk.lock();
        match desk.running {
            Some(running) if running == job || !(may_wait || in_exec) => return Asked::Busy(running),
            None if !in_exec && !desk.closed => {
                (desk.running, desk.is_new) = (Some(job), true);
                self.cancelled.store(false, Relaxed);
                self.bell.notify_all();
                return Asked::Started;
            }
            _ => *desk.waits(job) = true,
        }
        self.bell.notify_all();
        Asked::Scheduled
    }

    pub fn is_running(&self, job: Job) -> bool {
        self.desk.lock().running == Some(job)
    }

    /// The job is scheduled and has not begun.
    pub fn is_waiting(&self, job: Job) -> bool {
        *self.desk.lock().waits(job)
    }

    pub fn is_idle(&self) -> bool {
        let desk = self.desk.lock();
        desk.running.is_none() && !desk.is_awaited()
    }

    /// Forgets a job that waits and makes a running one leave. True if there was one of either kind.
    pub fn cancel(&self, job: Job) -> bool {
        let mut desk = self.desk.lock();
        let runs = desk.running == Some(job);
        if runs {
            self.cancelled.store(true, Relaxed);
        }
        std::mem::take(desk.waits(job)) || runs
    }

    /// Whether the running job is to leave.
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Relaxed)
    }

    /// Makes the running job leave and waits until it has; no other begins before [`Walks::open`]. The caller is
    /// outside the gate, which the job needs to leave.
    pub fn close(&self) {
        let mut desk = self.desk.lock();
        desk.closed = true;
        self.cancelled.store(true, Relaxed);
        if std::mem::take(&mut desk.is_new) {
            desk.running = None;
        }
        while desk.running.is_some() {
            self.bell.wait(&mut desk);
        }
    }

    /// Jobs may begin again: the shutdown failed.
    pub fn open(&self) {
        self.desk.lock().closed = false;
        self.bell.notify_all();
    }

    /// The thread that runs the jobs; it never returns. A job that waited begins once the batches that were in progress
    /// when it was found have ended: a transaction that asked for it is over then.
    pub fn serve(&self, gate: &Gate, mut run: impl FnMut(Job)) -> ! {
        loop {
            let job = self.next(gate);
            run(job);
            self.ended();
        }
    }

    fn next(&self, gate: &Gate) -> Job {
        let mut desk = self.desk.lock();
        loop {
            if let (Some(job), true) = (desk.running, desk.is_new) {
                desk.is_new = false;
                return job;
            }
            if desk.closed || !desk.is_awaited() {
                self.bell.wait(&mut desk);
                continue;
            }
            parking_lot::MutexGuard::unlocked(&mut desk, || gate.grace());
            if desk.running.is_none() && !desk.closed {
                desk.running = desk.take_waiting();
                desk.is_new = desk.running.is_some();
                self.cancelled.store(false, Relaxed);
            }
        }
    }

    /// The job that was taken up is over.
    fn ended(&self) {
        let mut desk = self.desk.lock();
        (desk.running, desk.is_new) = (None, false);
        drop(desk);
        self.bell.notify_all();
    }

    /// Runs one job here and now, for a server without the thread.
    pub fn run_here<R>(&self, job: Job, run: impl FnOnce() -> R) -> R {
        assert_eq!(self.ask(job, false, false), Asked::Started);
        self.desk.lock().is_new = false;
        let result = run();
        self.ended();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn served() -> (&'static Walks, mpsc::Receiver<Job>, mpsc::Sender<()>) {
        let (walks, gate): (&'static Walks, &'static Gate) =
            (Box::leak(Box::default()), Box::leak(Box::new(Gate::new(1))));
        let (begun, told) = mpsc::channel();
        let (end, wait) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            walks.serve(gate, |job| {
                begun.send(job).unwrap();
                // A job leaves when it is told to, or at its own end.
                while !walks.is_cancelled() && wait.recv_timeout(std::time::Duration::from_millis(1)).is_err() {}
            })
        });
        (walks, told, end)
    }

    #[test]
    fn one_job_at_a_time_and_those_behind_it_in_their_order() {
        let (walks, told, end) = served();
        assert_eq!(walks.ask(Job::Save, false, false), Asked::Started);
        assert!(walks.is_running(Job::Save), "from the moment it is asked for");
        assert_eq!(told.recv().unwrap(), Job::Save);
        assert_eq!(walks.ask(Job::Save, true, false), Asked::Busy(Job::Save));
        assert_eq!(walks.ask(Job::Rewrite, false, false), Asked::Busy(Job::Save));
        assert_eq!(walks.ask(Job::Rewrite, true, false), Asked::Scheduled);
        assert_eq!(walks.ask(Job::Rewrite, true, false), Asked::Scheduled, "again");
        assert!(walks.is_waiting(Job::Rewrite) && !walks.is_running(Job::Rewrite));
        end.send(()).unwrap();
        assert_eq!(told.recv().unwrap(), Job::Rewrite);
        assert_eq!(walks.ask(Job::Save, true, false), Asked::Scheduled);
        end.send(()).unwrap();
        assert_eq!(told.recv().unwrap(), Job::Save);
    }

    #[test]
    fn cancelling_one_job_leaves_the_other_alone() {
        let (walks, told, end) = served();
        walks.ask(Job::Save, false, false);
        assert_eq!(told.recv().unwrap(), Job::Save);
        walks.ask(Job::Rewrite, true, false);
        assert!(walks.cancel(Job::Rewrite) && !walks.cancel(Job::Rewrite));
        assert!(walks.is_running(Job::Save) && !walks.is_cancelled() && !walks.is_waiting(Job::Rewrite));
        end.send(()).unwrap();
    }

    #[test]
    fn a_closed_desk_is_empty_and_begins_nothing_until_it_opens() {
        let (walks, told, end) = served();
        walks.ask(Job::Save, false, false);
        assert_eq!(told.recv().unwrap(), Job::Save);
        walks.close();
        assert!(!walks.is_running(Job::Save));
        assert_eq!(walks.ask(Job::Rewrite, false, false), Asked::Scheduled);
        assert!(told.try_recv().is_err());
        walks.open();
        assert_eq!(told.recv().unwrap(), Job::Rewrite);
        end.send(()).unwrap();
    }

    #[test]
    fn inside_a_transaction_a_job_is_scheduled_and_begins_behind_it() {
        let (walks, gate): (&'static Walks, &'static Gate) =
            (Box::leak(Box::default()), Box::leak(Box::new(Gate::new(1))));
        let (begun, told) = mpsc::channel();
        let inside = gate.enter(0);
        std::thread::spawn(move || walks.serve(gate, |job| begun.send(job).unwrap()));
        assert_eq!(walks.ask(Job::Save, false, true), Asked::Scheduled);
        assert_eq!(walks.ask(Job::Save, false, true), Asked::Scheduled);
        assert!(walks.is_waiting(Job::Save) && told.try_recv().is_err());
        drop(inside);
        assert_eq!(told.recv().unwrap(), Job::Save);
    }
}
