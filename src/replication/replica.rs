//! A connected replica, as the rest of the server sees it.

use super::Primary;
use crate::clients::Client;
use crate::clock::Millis;
use crate::persist::rdb::Version;
use crate::persist::stream::Cursor;
use bytes::Bytes;
use parking_lot::Mutex;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed};
use tokio::sync::mpsc;

/// What a replica has said of itself with REPLCONF.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offered {
    pub port: u16,
    /// The address it announces, if not the one it comes from.
    pub ip: String,
    /// It can load a snapshot of unknown length, which ends in a mark.
    pub eof: bool,
    pub psync2: bool,
    /// The newest version of a snapshot that it shows to read; see [`super::sync`].
    pub reads: Version,
    /// It wants a snapshot and no stream.
    pub rdb_only: bool,
    /// Of the snapshot only the functions.
    pub functions_only: bool,
}

impl Offered {
    /// Whether it loads the snapshot; a tool only keeps it.
    pub fn loads(&self) -> bool {
        !self.rdb_only && !self.functions_only
    }
}

/// How far a replica's connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// Waits for a full sync to begin.
    Waits,
    /// The snapshot is made, and sent if no file is between.
    Snapshot,
    /// The snapshot is sent from a file.
    Bulk,
    /// It gets the stream.
    Online,
}

impl Stage {
    /// Its name in INFO.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waits | Self::Snapshot => "wait_bgsave",
            Self::Bulk => "send_bulk",
            Self::Online => "online",
        }
    }
}

/// What a full sync hands over in order, from the walk to the replica's connection.
pub enum Transfer {
    /// The snapshot's place in the stream.
    Begin(Arc<Cursor>),
    /// The snapshot in a file.
    File(File, u64),
    Bytes(Bytes),
    /// There will be none, and why: an error's line.
    Refusal(&'static str),
    /// The snapshot is complete.
    End,
}

/// A replica, and the receiving end of what its full sync hands over.
pub type Joined = (Arc<Replica>, mpsc::Receiver<Transfer>);

pub struct Replica {
    pub client: Arc<Client>,
    pub offered: Offered,
    /// It asked with SYNC, from the time before PSYNC: it acknowledges nothing.
    pub is_silent: bool,
    /// When it asked for a full sync.
    pub asked_ms: Millis,
    stage: AtomicU8,
    cursor: Mutex<Option<Arc<Cursor>>>,
    transfers: mpsc::Sender<Transfer>,
    acked: AtomicU64,
    acked_on_disk: AtomicU64,
    acked_ms: AtomicI64,
    /// It was sent a snapshot that it does not show to read, and has acknowledged nothing yet.
    on_trust: AtomicBool,
}

impl Replica {
    pub fn new(client: Arc<Client>, offered: Offered, is_silent: bool, now: Millis) -> Joined {
        let (transfers, receive) = mpsc::channel(TRANSFERS_MAX);
        let replica = Self {
            client,
            offered,
            is_silent,
            asked_ms: now,
            stage: AtomicU8::new(Stage::Waits as u8),
            cursor: Mutex::new(None),
            transfers,
            acked: AtomicU64::new(0),
            acked_on_disk: AtomicU64::new(0),
            acked_ms: AtomicI64::new(now),
            on_trust: AtomicBool::new(false),
        };
        (Arc::new(replica), receive)
    }

    pub fn stage(&self) -> Stage {
        match self.stage.load(Relaxed) {
            0 => Stage::Waits,
            1 => Stage::Snapshot,
            2 => Stage::Bulk,
            _ => Stage::Online,
        }
    }

    pub fn go_to(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
    }

    pub fn is_online(&self) -> bool {
        self.stage() == Stage::Online
    }

    pub fn cursor(&self) -> Option<Arc<Cursor>> {
        self.cursor.lock().clone()
    }

    pub fn set_cursor(&self, cursor: Arc<Cursor>) {
        *self.cursor.lock() = Some(cursor);
    }

    /// Hands a transfer to its connection. The transfer comes back if the connection has no room for it, and is lost if it has
    /// ended: `Err(None)`.
    pub fn send(&self, transfer: Transfer) -> Result<(), Option<Transfer>> {
        self.transfers.try_send(transfer).map_err(|error| match error {
            mpsc::error::TrySendError::Full(transfer) => Some(transfer),
            mpsc::error::TrySendError::Closed(_) => None,
        })
    }

    /// REPLCONF ACK.
    pub fn acknowledge(&self, offset: u64, on_disk: Option<u64>, now: Millis) {
        self.acked.fetch_max(offset, Relaxed);
        if let Some(on_disk) = on_disk {
            self.acked_on_disk.fetch_max(on_disk, Relaxed);
        }
        self.acked_ms.store(now, Relaxed);
    }

    /// It may be unable to read its snapshot; its first acknowledgement says otherwise.
    pub fn trust(&self, yes: bool) {
        self.on_trust.store(yes, Relaxed);
    }

    pub fn is_on_trust(&self) -> bool {
        self.on_trust.load(Relaxed)
    }

    pub fn acked(&self) -> u64 {
        self.acked.load(Relaxed)
    }

    pub fn acked_on_disk(&self) -> u64 {
        self.acked_on_disk.load(Relaxed)
    }

    pub fn acked_ms(&self) -> Millis {
        self.acked_ms.load(Relaxed)
    }

    /// Where it listens.
    pub fn place(&self) -> Primary {
        Primary { host: self.ip(), port: self.offered.port }
    }

    /// The address under which it is known: announced, or the one it comes from.
    pub fn ip(&self) -> String {
        if !self.offered.ip.is_empty() {
            return self.offered.ip.clone();
        }
        let address = self.client.address.rsplit_once(':').map_or(&*self.client.address, |(ip, _)| ip);
        address.trim_matches(['[', ']']).to_owned()
    }
}

/// Transfers that wait for one connection, 64 KiB each: a slow one holds up the walk, not the memory.
const TRANSFERS_MAX: usize = 16;
