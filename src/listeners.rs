//! Opening sockets to listen on, as `bind`, `port` and `unixsocket` ask; and the way to exchange them live.
//!
//! CONFIG SET of `port` or `bind` opens the new listeners first, so that a failure is the client's error and the old
//! ones go on; then [`Doors`] hands them to whoever accepts. An address that stays keeps its socket, and who waits there.

use crate::config::Config;
use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

/// Where new listeners go, and the sockets of the present ones.
#[derive(Default)]
pub struct Doors(Mutex<Option<Open>>);

struct Open {
    acceptor: UnboundedSender<Vec<TcpListener>>,
    present: Vec<TcpListener>,
}

impl Doors {
    /// `present`: what the acceptor has already.
    pub fn connect(&self, acceptor: UnboundedSender<Vec<TcpListener>>, present: &[TcpListener]) -> io::Result<()> {
        let present = present.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
        *self.0.lock() = Some(Open { acceptor, present });
        Ok(())
    }

    /// Opens what the configuration asks for and puts it in the place of the present TCP listeners.
    pub fn reopen(&self, config: &Config) -> io::Result<()> {
        let mut open = self.0.lock();
        let Some(Open { acceptor, present }) = &mut *open else { return tcp(config, &[]).map(drop) };
        let listeners = tcp(config, present)?;
        *present = listeners.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
        // The acceptor is gone only while the process ends.
        let _ = acceptor.send(listeners);
        Ok(())
    }
}

/// Opens the listeners that `bind` and `port` ask for, or shares those that are there already. An address with a leading
/// `-` may be missing on this machine.
pub fn tcp(config: &Config, present: &[TcpListener]) -> io::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    if config.port == 0 {
        return Ok(listeners);
    }
    for spec in &config.bind {
        let (optional, host) = match spec.strip_prefix('-') {
            Some(host) => (true, host),
            None => (false, spec.as_str()),
        };
        match tcp_one(host, config, present) {
            Ok(listener) => listeners.push(listener),
            Err(e) if optional && matches!(e.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported) => {}
            Err(e) if optional && e.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
            Err(e) => {
                crate::log::warning!(
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

fn tcp_one(host: &str, config: &Config, present: &[TcpListener]) -> io::Result<TcpListener> {
    let address = match host {
        "*" => SocketAddr::new(IpAddr::from([0, 0, 0, 0]), config.port),
        "::*" => SocketAddr::new(IpAddr::from([0u16; 8]), config.port),
        _ => (host, config.port).to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?,
    };
    if let Some(same) = present.iter().find(|listener| listener.local_addr().is_ok_and(|local| local == address)) {
        return same.try_clone();
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(config.tcp_backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
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
    listener.set_nonblocking(true)?;
    let mode = if config.unixsocketperm == 0 { 0o777 & !before } else { config.unixsocketperm };
    std::fs::set_permissions(&config.unixsocket, std::fs::Permissions::from_mode(mode))?;
    Ok(Some(listener))
}

/// How long ago the peer's last segment with data came, in steps of the kernel's clock (1 to 4 ms).
pub fn last_segment_age(socket: &impl AsRawFd) -> Option<Duration> {
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    // SAFETY: the kernel writes at most `len` bytes into a struct of that size.
    let failed = unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, info.as_mut_ptr().cast(), &raw mut len)
    };
    // SAFETY: all its fields are integers, zero until the kernel has written them.
    let info = unsafe { info.assume_init() };
    (failed == 0).then(|| Duration::from_millis(info.tcpi_last_data_recv.into()))
}
