//! Accepting: who is let in, and which worker gets it.

use super::handshakes::{Handshakes, Newcomer};
use super::stream::Accepted;
use super::worker::{Arrival, Handle};
use crate::clients::Client;
use crate::clock;
use crate::config::Config;
use crate::listeners::Door;
use crate::node::Node;
use crate::observe::WorkerStats;
use socket2::TcpKeepalive;
use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Accepts on the TCP listeners; when others come, they take the place of the present ones.
pub async fn doorkeeper(
    first: Vec<Door>,
    mut doors: mpsc::UnboundedReceiver<Vec<Door>>,
    node: &'static Node,
    stats: Arc<WorkerStats>,
    workers: Arc<Vec<Handle>>,
) {
    let mut next = Some(first);
    let mut handshakes = None;
    while let Some(doors_now) = next {
        let mut tasks = tokio::task::JoinSet::new();
        for Door { socket, tls } in doors_now {
            let way = match handshakes_for(tls, &mut handshakes, node, &workers) {
                Ok(handshakes) => Way { node, stats: stats.clone(), workers: workers.clone(), handshakes },
                Err(e) => {
                    crate::log::warning!("Starting the thread for TLS handshakes failed: {e}");
                    continue;
                }
            };
            match TcpListener::from_std(socket) {
                Ok(listener) => drop(tasks.spawn(accept_tcp(listener, way))),
                Err(e) => crate::log::warning!("Registering a listener failed: {e}"),
            }
        }
        // The old tasks end with the set.
        next = doors.recv().await;
    }
}

/// Who makes the handshakes of a listener's connections, if they speak TLS; starts them with the first such listener.
fn handshakes_for(
    tls: bool,
    started: &mut Option<Handshakes>,
    node: &'static Node,
    workers: &Arc<Vec<Handle>>,
) -> io::Result<Option<Handshakes>> {
    if !tls {
        return Ok(None);
    }
    if started.is_none() {
        *started = Some(Handshakes::start(node, workers.clone())?);
    }
    Ok(started.clone())
}

/// Where those who come in at a listener go.
struct Way {
    node: &'static Node,
    stats: Arc<WorkerStats>,
    workers: Arc<Vec<Handle>>,
    /// None without TLS.
    handshakes: Option<Handshakes>,
}

/// Accepts until the task is dropped.
async fn accept_tcp(listener: TcpListener, way: Way) {
    let local = listener.local_addr().map(|a| a.to_string()).unwrap_or_default();
    let mut spare = Spare::default();
    loop {
        spare.keep();
        match listener.accept().await {
            Ok((stream, peer)) => {
                let _ = stream.set_nodelay(true);
                let keepalive = Duration::from_secs(u64::from(way.node.config.load().tcp_keepalive));
                let Ok(stream) = stream.into_std() else { continue };
                if !keepalive.is_zero() {
                    let settings =
                        TcpKeepalive::new().with_time(keepalive).with_interval(keepalive / 3).with_retries(3);
                    let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&settings);
                }
                let local = stream.local_addr().map_or_else(|_| local.clone(), |a| a.to_string());
                let peer = Peer { address: peer.to_string(), local, ip: Some(peer.ip()) };
                match &way.handshakes {
                    None => admit(way.node, &way.stats, &way.workers, Accepted::Tcp(stream), peer),
                    Some(handshakes) => shake_hands(&way, handshakes, stream, peer),
                }
            }
            Err(e) if spare.helps_after(&e) => {
                if let Ok(Ok((stream, _))) = timeout(ACCEPT_PAUSE, listener.accept()).await
                    && let Ok(stream) = stream.into_std()
                {
                    way.stats.counters.rejected_connections.add(1);
                    if way.handshakes.is_none() {
                        turn_away(Accepted::Tcp(stream), TOO_MANY_CLIENTS);
                    }
                }
            }
            Err(e) => pause_after(&e).await,
        }
    }
}

/// A descriptor that is given up when no other is left, so that a peer that cannot be let in is told so in place of being
/// left to wait.
#[derive(Default)]
struct Spare(Option<File>);

impl Spare {
    fn keep(&mut self) {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
    }

    /// Gives the descriptor up if it was the lack of one that the error tells of.
    fn helps_after(&mut self, e: &io::Error) -> bool {
        matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) && self.0.take().is_some()
    }
}

pub async fn accept_unix(
    listener: UnixListener,
    path: String,
    node: &'static Node,
    stats: Arc<WorkerStats>,
    workers: Arc<Vec<Handle>>,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(stream) = stream.into_std() else { continue };
                let peer = Peer { address: format!("{path}:0"), local: format!("{path}:0"), ip: None };
                admit(node, &stats, &workers, Accepted::Unix(stream), peer);
            }
            Err(e) => pause_after(&e).await,
        }
    }
}

/// A peer that vanished between SYN and accept is no reason to stop; being out of descriptors is one to wait.
async fn pause_after(e: &io::Error) {
    if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) {
        crate::log::warning!("Error accepting a client connection: {e}");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Who has come, and to which of our addresses.
pub struct Peer {
    address: String,
    local: String,
    ip: Option<IpAddr>,
}

impl Peer {
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// Lets a peer in, or tells it why not.
fn admit(node: &Node, stats: &WorkerStats, workers: &[Handle], socket: Accepted, peer: Peer) {
    match refusal(node, stats, &peer) {
        Some(text) => turn_away(socket, text),
        None => enter(node, workers, socket, peer, Vec::new()),
    }
}

/// The same for one that speaks TLS. One too many hears nothing, as nothing can be said before a handshake; what protected
/// mode has to say comes behind it.
fn shake_hands(way: &Way, handshakes: &Handshakes, socket: std::net::TcpStream, peer: Peer) {
    let refusal = refusal(way.node, &way.stats, &peer);
    if refusal != Some(TOO_MANY_CLIENTS) {
        handshakes.begin(Newcomer { socket, peer, refusal });
    }
}

/// What a peer is told in place of being let in. Counts it, either way.
fn refusal(node: &Node, stats: &WorkerStats, peer: &Peer) -> Option<&'static [u8]> {
    let config = node.config.load();
    let refusal = if node.clients.len() + node.tls.half_open() >= config.maxclients as usize {
        Some(TOO_MANY_CLIENTS)
    } else if is_protected_from(&config, node.acl.default_user().rules().nopass, peer.ip) {
        Some(PROTECTED_MODE.as_bytes())
    } else {
        None
    };
    let counters = &stats.counters;
    if refusal.is_some() {
        counters.rejected_connections.add(1)
    } else {
        counters.connections_received.add(1)
    }
    refusal
}

/// Gives a connection to the worker with the fewest. `users`: whom its certificate names.
pub fn enter(node: &Node, workers: &[Handle], socket: Accepted, peer: Peer, users: Vec<Vec<u8>>) {
    let Peer { address, local, ip } = peer;
    let client = Client::new(node.clients.next_id(), address, local, ip.is_none(), clock::now_ms());
    client.facts.fd.store(socket.fd(), Relaxed);
    let least = workers.iter().min_by_key(|w| w.connections.load(Relaxed)).expect("at least one worker");
    node.clients.add(&client);
    least.connections.fetch_add(1, Relaxed);
    if let Err(refused) = least.arrivals.send(Arrival { socket, client, users }) {
        node.clients.remove(&refused.0.client);
    }
}

/// Protected mode lets only this machine in; a Unix socket, which has no address, is of this machine.
/// `open`: the default user needs no password.
fn is_protected_from(config: &Config, open: bool, peer: Option<IpAddr>) -> bool {
    config.protected_mode && open && peer.is_some_and(|ip| !is_local(ip))
}

fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()),
    }
}

const TOO_MANY_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";

/// Best effort: the socket does not block, and a peer that does not read gets nothing.
fn turn_away(socket: Accepted, text: &[u8]) {
    let _ = match socket {
        Accepted::Tcp(mut s) => s.write(text),
        Accepted::Unix(mut s) => s.write(text),
        Accepted::Tls(_) => return,
    };
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const PROTECTED_MODE: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis configuration file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password for the default user. NOTE: You only need to do one of the above things in order for the server to start accepting connections from the outside.\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protected_mode_lets_only_this_machine_in() {
        let refuses = |config: &Config, open, ip: &str| is_protected_from(config, open, Some(ip.parse().unwrap()));
        let refused = |config: &Config, ip: &str| refuses(config, true, ip);
        let open = Config::default();
        for local in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(!refused(&open, local), "{local}");
        }
        for foreign in ["192.0.2.1", "10.0.0.1", "0.0.0.0", "2001:db8::1", "::ffff:192.0.2.1", "::7f00:1", "fe80::1"] {
            assert!(refused(&open, foreign), "{foreign}");
        }
        assert!(!is_protected_from(&open, true, None), "a Unix socket");
        let unprotected = Config { protected_mode: false, ..Config::default() };
        assert!(!refuses(&open, false, "192.0.2.1") && !refused(&unprotected, "192.0.2.1"));
    }
}
