//! Listening: TCP on every `bind` address, a Unix socket, and who gets an accepted connection.

use super::stream::Accepted;
use super::worker::{Arrival, Handle};
use crate::clients::Client;
use crate::clock;
use crate::config::Config;
use crate::node::Node;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};

/// Opens the listeners that `bind` and `port` ask for. An address with a leading `-` may be missing on this machine.
pub fn tcp(config: &Config) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    if config.port == 0 {
        return Ok(listeners);
    }
    for spec in &config.bind {
        let (optional, host) = match spec.strip_prefix('-') {
            Some(host) => (true, host),
            None => (false, spec.as_str()),
        };
        match tcp_one(host, config) {
            Ok(listener) => listeners.push(listener),
            Err(e) if optional && matches!(e.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported) => {}
            Err(e) if optional && e.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
            Err(e) => {
                tracing::warn!(
                    "Warning: Could not create server TCP listening socket {host}:{}: {}",
                    config.port,
                    bind_cause(&e)
                );
                return Err(e);
            }
        }
    }
    Ok(listeners)
}

fn bind_cause(e: &io::Error) -> String {
    let text = e.to_string();
    let cause = text.split(" (os error").next().unwrap_or_default();
    format!("bind: {cause}")
}

fn tcp_one(host: &str, config: &Config) -> io::Result<TcpListener> {
    let address = match host {
        "*" => SocketAddr::new(IpAddr::from([0, 0, 0, 0]), config.port),
        "::*" => SocketAddr::new(IpAddr::from([0u16; 8]), config.port),
        _ => (host, config.port).to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?,
    };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(config.tcp_backlog).unwrap_or(i32::MAX))?;
    TcpListener::from_std(socket.into())
}

/// Opens the Unix socket. Its permissions are set before anyone can connect (CVE-2023-45145): the socket is bound
/// under a closed umask and opened up afterwards.
pub fn unix(config: &Config) -> io::Result<Option<UnixListener>> {
    if config.unixsocket.is_empty() {
        return Ok(None);
    }
    if let Err(e) = std::fs::remove_file(&config.unixsocket)
        && e.kind() != io::ErrorKind::NotFound
    {
        return Err(e);
    }
    // SAFETY: umask only swaps a number of this process; listeners are opened by one thread.
    let before = unsafe { libc::umask(0o777) };
    let listener = UnixListener::bind(&config.unixsocket);
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    let listener = listener?;
    let mode = if config.unixsocketperm == 0 { 0o777 & !before } else { config.unixsocketperm };
    std::fs::set_permissions(&config.unixsocket, std::fs::Permissions::from_mode(mode))?;
    Ok(Some(listener))
}

/// Accepts until the task is dropped.
pub async fn accept_tcp(listener: TcpListener, node: &'static Node, workers: Arc<Vec<Handle>>) {
    let local = listener.local_addr().map(|a| a.to_string()).unwrap_or_default();
    loop {
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
                admit(node, &workers, Accepted::Tcp(stream), peer.to_string(), local, Some(peer.ip()));
            }
            Err(e) => pause_after(&e).await,
        }
    }
}

pub async fn accept_unix(listener: UnixListener, path: String, node: &'static Node, workers: Arc<Vec<Handle>>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(stream) = stream.into_std() else { continue };
                admit(node, &workers, Accepted::Unix(stream), format!("{path}:0"), format!("{path}:0"), None);
            }
            Err(e) => pause_after(&e).await,
        }
    }
}

/// A peer that vanished between SYN and accept is no reason to stop; being out of descriptors is one to wait.
async fn pause_after(e: &io::Error) {
    if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)) {
        tracing::warn!("Error accepting a client connection: {e}");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Lets a peer in, or tells it why not.
fn admit(node: &Node, workers: &[Handle], socket: Accepted, address: String, local: String, ip: Option<IpAddr>) {
    let config = node.config.load();
    if node.clients.len() >= config.maxclients as usize {
        node.workers[0].rejected_connections.add(1);
        return turn_away(socket, b"-ERR max number of clients reached\r\n");
    }
    if config.protected_mode && config.requirepass.is_empty() && ip.is_some_and(|ip| !is_local(ip)) {
        node.workers[0].rejected_connections.add(1);
        return turn_away(socket, PROTECTED_MODE.as_bytes());
    }
    let client = Client::new(node.clients.next_id(), address, local, ip.is_none(), clock::now_ms());
    let least = workers.iter().min_by_key(|w| w.connections.load(Relaxed)).expect("at least one worker");
    node.clients.add(&client);
    node.workers[0].connections_received.add(1);
    least.connections.fetch_add(1, Relaxed);
    if let Err(refused) = least.arrivals.send(Arrival { socket, client }) {
        node.clients.remove(refused.0.client.id);
    }
}

fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()),
    }
}

/// Best effort: the socket does not block, and a peer that does not read gets nothing.
fn turn_away(socket: Accepted, text: &[u8]) {
    let _ = match socket {
        Accepted::Tcp(mut s) => s.write(text),
        Accepted::Unix(mut s) => s.write(text),
    };
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const PROTECTED_MODE: &str = "-DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis configuration file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password for the default user. NOTE: You only need to do one of the above things in order for the server to start accepting connections from the outside.\r\n";
