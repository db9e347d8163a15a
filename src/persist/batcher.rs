//! The journal's thread: fsyncs by policy, writes under `always`, on a slow device and after errors.
//!
//! It sleeps until rung or until the next fsync is due. While it syncs, workers go on appending and writing; under
//! `always` they pile up the next batch, which is how one fsync serves many clients.

use super::journal::{Fsync, Journal};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What the batcher reads each round; written by CONFIG SET.
#[derive(Default)]
pub struct Pace {
    /// `no-appendfsync-on-rewrite` and a rewrite is running.
    pub hold_fsync: AtomicBool,
    /// `aof-batch-interval-ms`, for `aof-reply-after memory`.
    pub interval_ms: AtomicU64,
    pub stop: AtomicBool,
}

/// Runs until [`Pace::stop`]. `journal` outlives the thread because the server's node is never freed.
pub fn start(journal: &'static Journal, pace: &'static Pace) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("aof-batcher".into()).spawn(move || run(journal, pace))
}

fn run(journal: &Journal, pace: &Pace) {
    let mut last_sync = Instant::now();
    while !pace.stop.load(Relaxed) {
        let interval = Duration::from_millis(pace.interval_ms.load(Relaxed).clamp(1, INTERVAL_MS_MAX));
        journal.bell.wait(if journal.pending_bytes() > 0 { interval } else { IDLE_INTERVAL });
        journal.batch();
        let due = journal.fsync_policy() == Fsync::EverySec && last_sync.elapsed() >= SYNC_INTERVAL;
        if due && !pace.hold_fsync.load(Relaxed) {
            last_sync = Instant::now();
            journal.sync();
        } else if journal.syncs_at_once() {
            journal.sync();
        }
    }
}

const IDLE_INTERVAL: Duration = Duration::from_millis(100);
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
const INTERVAL_MS_MAX: u64 = 100;

#[cfg(test)]
mod tests {
    use super::super::journal::ReplyAfter;
    use super::*;
    use crate::persist::Storage;

    #[test]
    fn replies_that_wait_for_the_device_get_it_without_a_clock() {
        let dir = tempfile::tempdir().unwrap();
        let (journal, pace) = (Journal::default(), Pace::default());
        journal.set_policy(Fsync::No, ReplyAfter::Durable, false, 1);
        journal.attach(Storage::default().create(&dir.path().join("incr")).unwrap(), 0);
        let end = journal.append_record((0, 0), b"*1\r\n$1\r\nA\r\n");
        journal.flush();
        std::thread::scope(|threads| {
            threads.spawn(|| run(&journal, &pace));
            let mut looks = 0;
            while journal.reply_offset() < end && looks < 1_000 {
                std::thread::sleep(Duration::from_millis(5));
                looks += 1;
            }
            pace.stop.store(true, Relaxed);
        });
        assert_eq!(journal.reply_offset(), end);
    }
}
