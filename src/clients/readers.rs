//! Clients that do not read their replies. When memory is short they are closed before keys are evicted for what they hold,
//! where Redis evicts every key. Left alone are clients that still take some of their output, and all of them while their
//! bytes are fewer than those that are to be freed.

use super::{Client, Clients};
use crate::clock::Millis;
use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// How the clients were found when they were last looked at.
#[derive(Default)]
pub(super) struct Readers {
    looked_ms: AtomicI64,
    /// What all clients held then.
    told_bytes: AtomicUsize,
    wait: AtomicBool,
}

/// How a client's output was found when it was last looked at.
#[derive(Default)]
pub struct Progress {
    /// Since when much of it is unread; 0 when little was.
    unread_ms: AtomicI64,
    /// When some of it was last seen to have left, and how much had left in all.
    left_ms: AtomicI64,
    left_bytes: AtomicU64,
}

/// What is to be done about unread replies before a key goes.
pub enum Unread {
    /// Nothing: other things take the memory.
    Little,
    /// Their readers have some time left.
    Wait,
    /// These are off the list; the caller closes them.
    Taken(Vec<Arc<Client>>),
}

impl Clients {
    /// Looks at all clients when `to_free` bytes are to be freed: once in [`LOOK_INTERVAL_MS`], and when they hold a quarter
    /// more than at the last look, which a server that is always at its limit seldom sees.
    pub fn take_unread(&self, to_free: usize, now: Millis) -> Unread {
        let looked = self.readers.looked_ms.load(Relaxed);
        let told = self.told_bytes();
        let before = self.readers.told_bytes.load(Relaxed);
        let grew = told.saturating_sub(before) >= before / 4 + UNREAD_BYTES_MIN;
        let is_soon = (0..LOOK_INTERVAL_MS).contains(&now.saturating_sub(looked)) && !grew;
        if is_soon || self.readers.looked_ms.compare_exchange(looked, now, Relaxed, Relaxed).is_err() {
            return if self.readers.wait.load(Relaxed) { Unread::Wait } else { Unread::Little };
        }
        self.readers.told_bytes.store(told, Relaxed);
        let mut all = self.all.lock();
        let mut still: Vec<_> = all.values().filter_map(|client| stands_still(client, now)).collect();
        let is_cause = still.iter().map(|(bytes, ..)| bytes).sum::<usize>() >= to_free;
        self.readers.wait.store(is_cause, Relaxed);
        if !is_cause {
            return Unread::Little;
        }
        still.sort_unstable();
        let (mut taken, mut freed) = (Vec::new(), 0);
        for (bytes, Reverse(id), for_ms) in still.into_iter().rev() {
            if for_ms >= PATIENCE_MS && freed < to_free {
                freed += bytes;
                taken.extend(self.take(&mut all, id));
            }
        }
        drop(all);
        self.forget_taken(&taken);
        if taken.is_empty() { Unread::Wait } else { Unread::Taken(taken) }
    }
}

/// The bytes of output that wait for a client, and for how long it has taken none of them, in ms; `None` of one that has
/// little, that may not be closed, or that reads, if slowly.
fn stands_still(client: &Client, now: Millis) -> Option<(usize, Reverse<u64>, Millis)> {
    let (facts, memory) = (&client.facts, &client.facts.memory);
    let (bytes, progress) = (memory.output.load(Relaxed) + memory.outbox.load(Relaxed), &memory.progress);
    let waits = memory.unsent.load(Relaxed) + memory.outbox.load(Relaxed) > 0;
    if bytes < UNREAD_BYTES_MIN || !waits || !facts.may_be_evicted() {
        progress.unread_ms.store(0, Relaxed);
        return None;
    }
    if progress.unread_ms.load(Relaxed) == 0 {
        progress.unread_ms.store(now, Relaxed);
        progress.left_ms.store(now, Relaxed);
    }
    let left = facts.net_output_bytes.load(Relaxed);
    if progress.left_bytes.swap(left, Relaxed) != left {
        progress.left_ms.store(now, Relaxed);
    }
    let (unread_for, still_for) = (now - progress.unread_ms.load(Relaxed), now - progress.left_ms.load(Relaxed));
    (unread_for < 2 * PATIENCE_MS || still_for >= PATIENCE_MS).then_some((bytes, Reverse(client.id), still_for))
}

const LOOK_INTERVAL_MS: Millis = 100;
/// A client that has taken nothing for so long is not about to read. The socket's buffers make steps of some megabytes of
/// what a slow client takes.
const PATIENCE_MS: Millis = 3000;
/// Less than this is no cause of anything.
const UNREAD_BYTES_MIN: usize = 64 << 10;
