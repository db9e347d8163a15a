//! Handshakes of TLS, on a thread of their own.
//!
//! A handshake takes half a millisecond of signing, and a peer may take as long as it likes for its part. So neither the
//! acceptor nor a worker makes them: a new connection goes from the acceptor to this thread and from here to its worker.
//! The thread is started with the first listener that speaks TLS.
//!
//! Bounds: together with the clients, these connections are no more than `maxclients`. A peer that says nothing takes a
//! descriptor, for [`SILENCE_MAX`]. Of those that have begun, [`IN_PROGRESS_MAX`] handshakes go on at the same time, and the
//! others wait in line. One that is not done after [`TIME_MAX`] is given up; while others stand in line, [`TIME_IN_CROWD`]
//! is all it gets, so that peers who begin and do not go on cannot keep the others out.

use super::listen::{Peer, enter};
use super::stream::Accepted;
use super::tls::TlsStream;
use super::worker::Handle;
use crate::config::choices::TlsAuthClientsUser;
use crate::node::Node;
use crate::tls::{common_name, uris};
use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

/// A connection that has just been accepted.
pub struct Newcomer {
    pub socket: TcpStream,
    pub peer: Peer,
    /// What it is told behind the handshake, in place of being let in.
    pub refusal: Option<&'static [u8]>,
}

/// The thread as the acceptor sees it.
#[derive(Clone)]
pub struct Handshakes {
    node: &'static Node,
    line: mpsc::UnboundedSender<Newcomer>,
}

impl Handshakes {
    pub fn start(node: &'static Node, workers: Arc<Vec<Handle>>) -> io::Result<Self> {
        let (line, mut newcomers) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("handshakes".into()).spawn(move || {
            let desk = Rc::new(Desk { node, workers, places: Semaphore::new(IN_PROGRESS_MAX), waiting: Cell::new(0) });
            let local = tokio::task::LocalSet::new();
            runtime.block_on(local.run_until(async move {
                while let Some(newcomer) = newcomers.recv().await {
                    tokio::task::spawn_local(desk.clone().receive(newcomer));
                }
            }));
        })?;
        Ok(Self { node, line })
    }

    pub fn begin(&self, newcomer: Newcomer) {
        self.node.tls.handshake_begins();
        if self.line.send(newcomer).is_err() {
            self.node.tls.handshake_ends();
        }
    }
}

/// What the handshakes share.
struct Desk {
    node: &'static Node,
    workers: Arc<Vec<Handle>>,
    places: Semaphore,
    /// How many stand in line for a place.
    waiting: Cell<usize>,
}

impl Desk {
    /// Makes one handshake and lets the peer in.
    async fn receive(self: Rc<Self>, newcomer: Newcomer) {
        let Newcomer { socket, peer, refusal } = newcomer;
        match self.establish(socket, refusal).await {
            // From here on it counts as a client.
            Ok(Some(stream)) => self.let_in(stream, peer),
            Ok(None) => {}
            Err(e) => crate::log::verbose!("Error accepting a client connection: {e} (addr={})", peer.address()),
        }
        self.node.tls.handshake_ends();
    }

    /// None for a peer that was told why it is not let in.
    async fn establish(&self, socket: TcpStream, refusal: Option<&[u8]>) -> io::Result<Option<TlsStream>> {
        let socket = tokio::net::TcpStream::from_std(socket)?;
        timeout(SILENCE_MAX, socket.readable()).await??;
        self.waiting.set(self.waiting.get() + 1);
        let _place = self.places.acquire().await;
        self.waiting.set(self.waiting.get() - 1);
        let settings = self.node.tls.settings().ok_or_else(|| io::Error::other("TLS is not configured"))?;
        let mut stream = TlsStream::accept(socket, settings.server.clone())?;
        let mut whole = std::pin::pin!(async move {
            stream.handshake().await?;
            let Some(text) = refusal else { return Ok(Some(stream)) };
            poll_fn(|cx| stream.poll_write(cx, text)).await?;
            stream.end();
            Ok(None)
        });
        let mut left = TIME_MAX;
        while !left.is_zero() {
            if let Ok(done) = timeout(TIME_IN_CROWD, &mut whole).await {
                return done;
            }
            left = left.saturating_sub(TIME_IN_CROWD);
            if self.waiting.get() > 0 {
                break;
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn let_in(&self, stream: TlsStream, peer: Peer) {
        let config = self.node.config.load();
        let certificate = stream.client_certificate();
        let names = match (config.tls_auth_clients_user, certificate) {
            (TlsAuthClientsUser::Off, _) | (_, None) => Vec::new(),
            (TlsAuthClientsUser::Cn, Some(certificate)) => common_name(certificate).into_iter().collect(),
            (TlsAuthClientsUser::Uri, Some(certificate)) => uris(certificate),
        };
        match stream.leave() {
            Ok(established) => enter(self.node, &self.workers, Accepted::Tls(Box::new(established)), peer, names),
            Err(e) => crate::log::warning!("Handing a client connection over failed: {e}"),
        }
    }
}

/// A program may connect thousands of times before it begins to speak.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Each takes a few kilobytes while it lasts, and up to 64 KiB of a peer's making.
const IN_PROGRESS_MAX: usize = 4096;
const TIME_MAX: Duration = Duration::from_secs(10);
const TIME_IN_CROWD: Duration = Duration::from_secs(2);
