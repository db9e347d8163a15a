//! The connections in MONITOR, which are shown every command.
//!
//! Cost while there are none: one relaxed load a command. A monitor that reads more slowly than the server works is
//! closed at [`UNREAD_BYTES_MAX`]: Redis lets it grow until the machine has no memory left.

use super::{Client, Push};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

#[derive(Default)]
pub struct Monitors {
    all: Mutex<Vec<Arc<Client>>>,
    count: AtomicUsize,
}

impl Monitors {
    #[inline]
    pub fn any(&self) -> bool {
        self.count.load(Relaxed) > 0
    }

    pub fn add(&self, client: &Arc<Client>) {
        let mut all = self.all.lock();
        if !client.facts.monitor.swap(true, Relaxed) {
            all.push(client.clone());
            self.count.store(all.len(), Relaxed);
        }
    }

    pub fn remove(&self, client: &Client) {
        let mut all = self.all.lock();
        if client.facts.monitor.swap(false, Relaxed) {
            all.retain(|monitor| monitor.id != client.id);
            self.count.store(all.len(), Relaxed);
        }
    }

    /// Sends a line to all of them.
    pub fn show(&self, line: Vec<u8>) {
        let push = Push::Line(line.into());
        self.all.lock().iter().for_each(|monitor| monitor.push(&push, UNREAD_BYTES_MAX, 0));
    }
}

/// As much as a client in pub/sub may leave unread by default.
const UNREAD_BYTES_MAX: usize = 32 << 20;
