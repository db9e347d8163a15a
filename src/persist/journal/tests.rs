//! The journal on disks that fail as told, and under every interleaving of its threads that chance finds.

use super::*;
use crate::keyspace::{Gate, ModelLock};
use crate::persist::Storage;
use crate::persist::storage::{Operation, Watch};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, mpsc};

fn create(path: &Path) -> StoredFile {
    Storage::default().create(path).unwrap()
}

#[test]
fn bytes_reach_the_file_in_order_with_their_databases() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("incr");
    let journal = Journal::default();
    assert_eq!(journal.append_command(0, &[b"SET"]), 0, "nothing is recorded while off");
    journal.attach(create(&path), 0);
    journal.append_command(0, &[b"A"]);
    journal.append_command(0, &[b"B"]);
    let end = journal.append_command(3, &[b"C"]);
    assert!(journal.reply_offset() < end);
    journal.flush();
    assert_eq!(journal.reply_offset(), end);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(
        text,
        "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*1\r\n$1\r\nA\r\n*1\r\n$1\r\nB\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*1\r\n$1\r\nC\r\n"
    );
}

#[test]
fn always_waits_for_the_device() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::default();
    journal.set_policy(Fsync::Always, ReplyAfter::Durable, false, 50);
    journal.attach(create(&dir.path().join("incr")), 0);
    let end = journal.append_command(0, &[b"A"]);
    journal.flush();
    assert!(journal.reply_offset() < end, "a worker's turn does not make it durable");
    journal.batch();
    assert!(journal.reply_offset() < end);
    journal.sync();
    assert_eq!(journal.reply_offset(), end);
}

#[test]
fn a_write_error_refuses_writes_until_it_is_gone() {
    let journal = Journal::default();
    journal.attach(Storage::default().append(Path::new("/dev/full")).unwrap(), 0);
    let end = journal.append_command(0, &[b"A"]);
    journal.flush();
    assert!(journal.write_error().is_some() && journal.reply_offset() < end);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("next");
    journal.sink.lock().file = Some(create(&path));
    std::thread::sleep(RETRY_INTERVAL);
    journal.batch();
    assert!(journal.write_error().is_none() && journal.reply_offset() == end);
    assert!(std::fs::read_to_string(&path).unwrap().ends_with("A\r\n"));
}

/// A disk that fails as told: half of a write arrives, a cut does nothing, the first fsync tells of an error.
#[derive(Default)]
struct Broken {
    path: std::path::PathBuf,
    writes: AtomicBool,
    /// It is not space that a write lacks.
    bad: AtomicBool,
    cuts: AtomicBool,
    /// Told when an fsync has begun, which then waits for the second before it fails. Others succeed.
    fsync: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

impl Watch for Broken {
    fn before(&self, operation: Operation<'_>) -> io::Result<bool> {
        match operation {
            Operation::Write { bytes, .. } if self.writes.load(Relaxed) => {
                let mut file = std::fs::OpenOptions::new().append(true).open(&self.path)?;
                file.write_all(&bytes[..bytes.len() / 2])?;
                let bad = self.bad.load(Relaxed);
                Err(if bad { io::Error::other("bad sector") } else { io::ErrorKind::StorageFull.into() })
            }
            Operation::SetLen { .. } if self.cuts.load(Relaxed) => Err(io::ErrorKind::StorageFull.into()),
            Operation::Sync { .. } => match self.fsync.lock().take() {
                Some((begun, go)) => {
                    begun.send(()).expect("the test listens");
                    let _ = go.recv();
                    Err(io::ErrorKind::Other.into())
                }
                None => Ok(true),
            },
            _ => Ok(true),
        }
    }
}

/// A journal on a broken disk, which works until it is told to fail.
fn on_broken(dir: &Path) -> (Journal, Arc<Broken>) {
    let broken = Arc::new(Broken { path: dir.join("incr"), ..Broken::default() });
    let journal = Journal::default();
    journal.attach(Storage::watched(broken.clone()).create(&broken.path).unwrap(), 0);
    (journal, broken)
}

#[test]
fn nothing_is_written_behind_a_part_of_a_record() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, broken) = on_broken(dir.path());
    journal.append_command(0, &[b"A"]);
    journal.flush();
    let whole = std::fs::read(&broken.path).unwrap();
    broken.writes.store(true, Relaxed);
    broken.cuts.store(true, Relaxed);
    let end = journal.append_command(0, &[b"B"]);
    journal.flush();
    assert!(std::fs::read(&broken.path).unwrap().len() > whole.len(), "a part has arrived");
    broken.writes.store(false, Relaxed);
    std::thread::sleep(RETRY_INTERVAL);
    journal.batch();
    assert!(journal.reply_offset() < end && journal.has_failed(), "it cannot be cut off yet");
    broken.cuts.store(false, Relaxed);
    std::thread::sleep(RETRY_INTERVAL);
    journal.batch();
    assert!(journal.reply_offset() == end && !journal.has_failed());
    assert_eq!(std::fs::read(&broken.path).unwrap(), [&whole[..], b"*1\r\n$1\r\nB\r\n"].concat());
}

#[test]
fn an_fsync_does_not_hide_the_failure_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, broken) = on_broken(dir.path());
    let end = journal.append_command(0, &[b"A"]);
    journal.flush();
    let ((begun, has_begun), (go, may_go)) = (mpsc::channel(), mpsc::channel());
    *broken.fsync.lock() = Some((begun, may_go));
    std::thread::scope(|threads| {
        threads.spawn(|| journal.sync());
        has_begun.recv().unwrap();
        let (second, is_there) = mpsc::channel();
        let journal = &journal;
        threads.spawn(move || {
            second.send(()).unwrap();
            journal.sync();
        });
        is_there.recv().unwrap();
        drop(go);
    });
    assert!(journal.has_failed() && journal.needs_new_file());
    assert_eq!(journal.durable_lag_bytes(), end, "the kernel tells of an error once");
}

#[test]
fn a_log_turned_off_refuses_nothing_and_keeps_nobody_waiting() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, broken) = on_broken(dir.path());
    broken.writes.store(true, Relaxed);
    let end = journal.append_command(0, &[b"A"]);
    journal.flush();
    assert!(journal.has_failed() && journal.reply_offset() < end);
    journal.detach();
    assert!(!journal.has_failed() && journal.reply_offset() == end);
    assert_eq!(journal.append_command(0, &[b"B"]), 0);
}

#[test]
fn whoever_waits_is_woken_although_another_worker_wrote() {
    struct Woken(AtomicBool);
    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = on_broken(dir.path());
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    journal.append_command(0, &[b"A"]);
    journal.wake_on_progress(&woken.clone().into());
    journal.flush();
    journal.batch();
    assert!(woken.0.load(Relaxed));
}

#[test]
fn a_base_does_not_heal_a_write_that_still_fails() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, broken) = on_broken(dir.path());
    broken.writes.store(true, Relaxed);
    journal.append_command(0, &[b"A"]);
    journal.flush();
    journal.base_is_in_force();
    assert!(journal.has_failed());
}

#[test]
fn what_a_file_cannot_take_is_left_to_the_next_base() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, broken) = on_broken(dir.path());
    let next = |name: &str| create(&dir.path().join(name));
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    journal.append_command(0, &[b"A"]);
    journal.flush();
    let before = read("incr");
    broken.writes.store(true, Relaxed);
    let lost = journal.append_command(0, &[b"B"]);
    journal.flush();
    assert!(journal.has_failed() && !journal.needs_new_file(), "a full disk has no room for a base either");
    assert!(journal.switch(next("2"), || Ok(None)).is_err());
    broken.bad.store(true, Relaxed);
    std::thread::sleep(RETRY_INTERVAL);
    journal.batch();
    assert!(journal.needs_new_file());
    journal.append_command(0, &[b"C"]);
    journal.switch(next("2"), || Ok(None)).unwrap();
    // That base fails, and a second one begins.
    journal.append_command(0, &[b"D"]);
    journal.batch();
    assert!(journal.needs_new_file() && journal.reply_offset() < lost);
    journal.switch(next("3"), || Ok(None)).unwrap();
    let behind = journal.append_command(0, &[b"E"]);
    journal.batch();
    journal.sync();
    assert!(!journal.finish() && journal.reply_offset() < lost && journal.durable_lag_bytes() == before.len() as u64);
    assert_eq!((read("incr"), read("2"), read("3")), (before, String::new(), String::new()), "a prefix all the time");
    journal.base_is_in_force();
    assert!(!journal.has_failed() && journal.reply_offset() >= lost && journal.reply_offset() < behind);
    assert!(journal.finish() && journal.reply_offset() == behind && journal.durable_lag_bytes() == 0);
    assert!(read("3").ends_with("*1\r\n$1\r\nE\r\n") && !read("3").contains('D'));
}

/// A disk that remembers what was written to which file, and how much of it was synced.
#[derive(Default)]
struct Remembered {
    files: Mutex<Vec<(u64, Vec<u8>)>>,
    synced: Mutex<usize>,
}

impl Remembered {
    fn stream(&self) -> Vec<u8> {
        self.files.lock().iter().flat_map(|(_, bytes)| bytes.clone()).collect()
    }
}

impl Watch for Remembered {
    fn before(&self, operation: Operation<'_>) -> io::Result<bool> {
        match operation {
            Operation::Write { file, bytes } => {
                let mut files = self.files.lock();
                match files.last_mut() {
                    Some((last, all)) if *last == file => all.extend_from_slice(bytes),
                    _ => files.push((file, bytes.to_vec())),
                }
                Ok(false)
            }
            Operation::Sync { .. } => {
                *self.synced.lock() = self.stream().len();
                Ok(false)
            }
            _ => Ok(true),
        }
    }
}

/// Wakes a thread of the model.
struct Flag(shuttle::sync::atomic::AtomicBool);

impl std::task::Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// What a worker's flusher does until replies up to `end` may leave.
fn flush_and_wait(journal: &Journal<ModelLock>, end: u64) {
    loop {
        let flag = Arc::new(Flag(false.into()));
        journal.flush();
        if journal.reply_offset() >= end {
            return;
        }
        journal.wake_on_progress(&flag.clone().into());
        if journal.reply_offset() >= end {
            return;
        }
        while !flag.0.load(Relaxed) {
            shuttle::thread::yield_now();
        }
    }
}

/// Two workers append and wait for their replies, the batcher works, and a rewrite changes the file meanwhile.
fn model(fsync: Fsync, reply_after: ReplyAfter) {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_owned();
    let iteration = move || {
        let disk = Arc::new(Remembered::default());
        let storage = Storage::watched(disk.clone());
        let journal = Arc::new(Journal::<ModelLock>::new());
        journal.set_policy(fsync, reply_after, false, 50);
        journal.attach(storage.append(&dir.join("1")).unwrap(), 0);
        let (gate, done) = (Arc::new(Gate::<ModelLock>::new(3)), Arc::new(AtomicBool::new(false)));
        let workers: Vec<_> = [b"aa", b"bbbb".as_slice()]
            .into_iter()
            .enumerate()
            .map(|(slot, text)| {
                let (journal, gate, disk) = (journal.clone(), gate.clone(), disk.clone());
                shuttle::thread::spawn(move || {
                    (0..3usize)
                        .map(|n| {
                            let record = text.repeat(n + 1);
                            let inside = gate.enter(slot);
                            let end = journal.append_record((0, 0), &record);
                            drop(inside);
                            flush_and_wait(&journal, end);
                            let reached = match reply_after {
                                ReplyAfter::Durable => *disk.synced.lock(),
                                _ => disk.stream().len(),
                            };
                            assert!(reached as u64 >= end, "a reply left before its effects were where they must be");
                            (end, record)
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let batcher = {
            let (journal, done) = (journal.clone(), done.clone());
            shuttle::thread::spawn(move || {
                while !done.load(Relaxed) {
                    journal.batch();
                    journal.sync();
                    shuttle::thread::yield_now();
                }
            })
        };
        let rewrite = {
            let (journal, next) = (journal.clone(), storage.append(&dir.join("2")).unwrap());
            shuttle::thread::spawn(move || {
                let exclusive = gate.exclusive();
                let cut = journal.appended();
                journal.switch(next, || Ok(None)).unwrap();
                drop(exclusive);
                cut
            })
        };
        let records: Vec<_> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
        let cut = rewrite.join().unwrap();
        done.store(true, Relaxed);
        batcher.join().unwrap();
        let stream = disk.stream();
        for (end, record) in records {
            let end = end as usize;
            assert_eq!(stream[end - record.len()..end], record, "whole, and where its offset says");
        }
        let first = disk.files.lock().first().map_or(0, |(_, bytes)| bytes.len() as u64);
        assert!(cut == 0 || cut == first, "the file changed at the cut: {cut}, {first}");
    };
    shuttle::check_random(iteration, MODEL_RUNS);
}

const MODEL_RUNS: usize = 300;

#[test]
fn model_replies_leave_when_their_effects_are_with_the_kernel() {
    model(Fsync::EverySec, ReplyAfter::Written);
}

#[test]
fn model_replies_leave_when_their_effects_are_with_the_device() {
    model(Fsync::Always, ReplyAfter::Durable);
}
