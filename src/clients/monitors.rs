//! The connections in MONITOR: who is shown every command.
//!
//! Cost while there are none: one relaxed load a command. A monitor that reads more slowly than the server works is
//! closed at [`BACKLOG_BYTES_MAX`]: Redis lets it grow until the machine has no memory left.

use super::Client;
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
    pub fn show(&self, line: &[u8]) {
        for monitor in self.all.lock().iter() {
            if monitor.push_within(line, BACKLOG_BYTES_MAX) || monitor.facts.close_asap.load(Relaxed) {
                continue;
            }
            crate::log::warning!("Client {} closed: it reads MONITOR too slowly.", monitor.address);
            monitor.close();
        }
    }
}

/// As much as a client in pub/sub may leave unread by default.
const BACKLOG_BYTES_MAX: usize = 32 << 20;
