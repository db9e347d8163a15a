//! Persistence: one journal for log, replication and recovery; files in Redis's layout. First floor to touch a disk.
//!
//! [`journal`] orders effects and says how far they are written and durable; [`stream`] is the same order for replicas; [`batcher`] is the thread behind it;
//! [`manifest`] and [`aof`] are the directory of files, [`storage`] the disk below; [`load`] reads them back; [`rewrite`]
//! makes a new base from one instant of the keyspace, [`save`] a snapshot file.

pub mod aof;
pub mod batcher;
pub mod journal;
pub mod load;
pub mod manifest;
pub mod progress;
pub mod rdb;
pub mod replay;
pub mod rewrite;
pub mod save;
pub mod snapshot_writer;
pub mod storage;
pub mod stream;
pub mod walks;

pub use aof::Aof;
pub use journal::Journal;
pub use save::Rdb;
pub use storage::Storage;
pub use walks::Walks;
