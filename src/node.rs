//! The server as its commands see it: a list of services, and no scalar of its own.

use crate::clients::{Client, Clients};
use crate::clock::{self, Millis};
use crate::config::Config;
use crate::keyspace::Keyspace;
use crate::keyspace::walk::Garbage;
use crate::observe::{ErrorStats, Slowlog, WorkerStats};
use crate::persist::Journal;
use crate::resp::ArgvView;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::mpsc;

pub struct Node {
    pub config: ArcSwap<Config>,
    pub keyspace: Keyspace,
    pub journal: Journal,
    pub clients: Clients,
    pub workers: Vec<Arc<WorkerStats>>,
    pub errors: ErrorStats,
    pub slowlog: Mutex<Slowlog>,
    pub reaper: Reaper,
    pub life: Life,
}

/// The server's stages of life.
pub struct Life {
    pub run_id: String,
    pub started_ms: Millis,
    loading: AtomicBool,
    shutdown: AtomicU8,
    /// Wakes the main task when a shutdown is asked for.
    pub shutdown_asked: tokio::sync::Notify,
}

impl Life {
    pub fn new() -> Self {
        let mut bytes = [0u8; 20];
        getrandom::fill(&mut bytes).expect("the system's random source answers");
        Self {
            run_id: bytes.iter().map(|b| format!("{b:02x}")).collect(),
            started_ms: clock::now_ms(),
            loading: AtomicBool::new(false),
            shutdown: AtomicU8::new(0),
            shutdown_asked: tokio::sync::Notify::new(),
        }
    }

    #[inline]
    pub fn is_loading(&self) -> bool {
        self.loading.load(Relaxed)
    }

    pub fn set_loading(&self, yes: bool) {
        self.loading.store(yes, Relaxed);
    }

    pub fn ask_shutdown(&self) {
        self.shutdown.store(1, Relaxed);
        self.shutdown_asked.notify_one();
    }
}

impl Default for Life {
    fn default() -> Self {
        Self::new()
    }
}

/// Frees big values on a thread of its own.
pub struct Reaper {
    send: mpsc::Sender<Garbage>,
}

impl Reaper {
    pub fn start() -> std::io::Result<Self> {
        let (send, receive) = mpsc::channel::<Garbage>();
        std::thread::Builder::new().name("reaper".into()).spawn(move || receive.into_iter().for_each(drop))?;
        Ok(Self { send })
    }

    /// Hands over what is to be freed; if the thread is gone (at exit), it is freed here.
    pub fn send(&self, garbage: Garbage) {
        let _ = self.send.send(garbage);
    }
}

impl Node {
    pub fn is_out_of_memory(&self) -> bool {
        false
    }

    #[cold]
    pub fn log_slow(&self, argv: ArgvView<'_>, elapsed_ns: u64, client: &Client, len_max: usize) {
        let name = client.facts.names.lock().name.clone();
        self.slowlog.lock().push(argv.iter(), elapsed_ns / 1000, &client.address, &name, len_max);
    }
}
