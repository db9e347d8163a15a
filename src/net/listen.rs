//! Accepting: who is let in, and which worker gets it.

use super::stream::Accepted;
use super::worker::{Arrival, Handle};
use crate::clients::Client;
use crate::clock;
use crate::config::Config;
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
    first: Vec<std::net::TcpListener>,
    mut doors: mpsc::UnboundedReceiver<Vec<std::net::TcpListener>>,
    node: &'static Node,
    stats: Arc<WorkerStats>,
    workers: Arc<Vec<Handle>>,
) {
    let mut next = Some(first);
    while let Some(listeners) = next {
        let mut tasks = tokio::task::JoinSet::new();
        for listener in listeners {
            match TcpListener::from_std(listener) {
                Ok(listener) => {
                    tasks.spawn(accept_tcp(listener, node, stats.clone(), workers.clone()));
                }
                Err(e) => crate::log::warning!("Registering a listener failed: {e}"),
            }
        }
        // The old tasks end with the set.
        next = doors.recv().await;
    }
}

/// Accepts until the task is dropped.
async fn accept_tcp(listener: TcpListener, node: &'static Node, stats: Arc<WorkerStats>, workers: Arc<Vec<Handle>>) {
    let local = listener.local_addr().map(|a| a.to_string()).unwrap_or_default();
    let mut spare = Spare::default();
    loop {
        spare.keep();
        match listener.accept().await {
            Ok((stream, peer)) => {
                let config = node.config.load();
                let _ = stream.set_nodelay(true);
                let keepalive = Duration::from_secs(u64::from(config.tcp_keepalive));
                let Ok(stream) = stream.into_std() else { continue };
                if !keepalive.is_zero() {
                    let settings =
                        TcpKeepalive::new().with_time(keepalive).with_interval(keepalive / 3).with_retries(3);
                    let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&settings);
                }
                let local = stream.local_addr().map_or_else(|_| local.clone(), |a| a.to_string());
                admit(node, &stats, &workers, Accepted::Tcp(stream), peer.to_string(), local, Some(peer.ip()));
            }
            Err(e) if spare.helps_after(&e) => {
                if let Ok(Ok((stream, _))) = timeout(ACCEPT_PAUSE, listener.accept()).await
                    && let Ok(stream) = stream.into_std()
                {
                    stats.counters.rejected_connections.add(1);
                    turn_away(Accepted::Tcp(stream), TOO_MANY_CLIENTS);
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
                admit(node, &stats, &workers, Accepted::Unix(stream), format!("{path}:0"), format!("{path}:0"), None);
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

/// Lets a peer in, or tells it why not.
fn admit(
    node: &Node,
    stats: &WorkerStats,
    workers: &[Handle],
    socket: Accepted,
    address: String,
    local: String,
    ip: Option<IpAddr>,
) {
    let config = node.config.load();
    if node.clients.len() >= config.maxclients as usize {
        stats.counters.rejected_connections.add(1);
        return turn_away(socket, TOO_MANY_CLIENTS);
    }
    if is_protected_from(&config, node.acl.default_user().rules().nopass, ip) {
        stats.counters.rejected_connections.add(1);
        return turn_away(socket, PROTECTED_MODE.as_bytes());
    }
    let client = Client::new(node.clients.next_id(), address, local, ip.is_none(), clock::now_ms());
    client.facts.fd.store(socket.fd(), Relaxed);
    let least = workers.iter().min_by_key(|w| w.connections.load(Relaxed)).expect("at least one worker");
    node.clients.add(&client);
    stats.counters.connections_received.add(1);
    least.connections.fetch_add(1, Relaxed);
    if let Err(refused) = least.arrivals.send(Arrival { socket, client }) {
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
