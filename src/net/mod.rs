//! Serving: sockets, worker threads, and the loop of a connection.
//!
//! [`listen`] accepts on the main thread and hands each connection to the worker with the fewest; from then on it lives
//! on that worker's own tokio runtime and no command crosses a thread. [`connection`] is the loop, [`batch`] what one
//! wake-up brings, [`service_time`] where the time of its requests went, [`worker`] what the
//! connections of a thread share: buffers, statistics, and the flush of the journal at the end of a turn. [`admin`] is
//! a listener of its own that tells monitoring systems how the server does: [`metrics`] in the form of [`exposition`], and
//! [`health`]; and people, by [`page`], with the [`figures`] of the last minutes from [`history`].
//! A TLS connection passes through [`handshakes`] on its way to its worker, where [`tls`] is one more kind of socket.

pub mod admin;
pub mod batch;
pub mod connection;
pub mod exposition;
mod feed;
pub mod figures;
pub mod handshakes;
pub mod health;
pub mod history;
mod incoming;
pub mod listen;
pub mod metrics;
mod outgoing;
pub mod page;
pub mod service_time;
pub mod stream;
pub mod tls;
pub mod worker;
