//! Opening sockets to listen on, as `bind`, `port`, `tls-port` and `unixsocket` ask; and the way to exchange them live.
//!
//! CONFIG SET of a port or `bind` opens the new listeners first, so that a failure is the client's error and the old
//! ones go on; then [`Doors`] hands them to the accepting task. An address that stays keeps its socket, and the connections that wait there.

#![allow(unsafe_code)]

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

/// A TCP socket to listen on.
pub struct Door {
    pub socket: TcpListener,
    /// Who comes in here speaks TLS.
    pub tls: bool,
}

impl Door {
    fn try_clone(&self) -> io::Result<Door> {
        Ok(Door { socket: self.socket.try_clone()?, tls: self.tls })
    }
}

/// Where new listeners go, and the sockets of the present ones.
#[derive(Default)]
pub struct Doors(Mutex<Option<Open>>);

struct Open {
    acceptor: UnboundedSender<Vec<Door>>,
    present: Vec<Door>,
}

impl Doors {
    /// `present`: what the acceptor has already.
    pub fn connect(&self, acceptor: UnboundedSender<Vec<Door>>, present: &[Door]) -> io::Result<()> {
        let present = present.iter().map(Door::try_clone).collect::<io::Result<_>>()?;
        *self.0.lock() = Some(Open { acceptor, present });
        Ok(())
    }

    /// No client is let in any more.
    pub fn close(&self) {
        *self.0.lock() = None;
    }

    /// Opens what the configuration asks for and puts it in the place of the present TCP listeners.
    pub fn reopen(&self, config: &Config) -> io::Result<()> {
        let mut open = self.0.lock();
        let Some(Open { acceptor, present }) = &mut *open else { return tcp(config, &[]).map(drop) };
        let doors = tcp(config, present)?;
        *present = doors.iter().map(Door::try_clone).collect::<io::Result<_>>()?;
        // The acceptor is gone only while the process ends.
        let _ = acceptor.send(doors);
        Ok(())
    }
}

/// Opens the listeners that `bind`, `port` and `tls-port` ask for, or shares those that are there already. An address with
/// a leading `-` may be missing on this machine.
pub fn tcp(config: &Config, present: &[Door]) -> io::Result<Vec<Door>> {
    let mut doors = Vec::new();
    for (port, tls) in [(config.port, false), (config.tls_port, true)].into_iter().filter(|(port, _)| *port != 0) {
        for spec in &config.bind {
            let (optional, host) = match spec.strip_prefix('-') {
                Some(host) => (true, host),
                None => (false, spec.as_str()),
            };
            match address(host, port).and_then(|address| tcp_one(address, config, &doors, present)) {
                Ok(socket) => doors.push(Door { socket, tls }),
                Err(e) if optional && is_missing(&e) => {}
                Err(e) => {
                    let cause = bind_cause(&e);
                    crate::log::warning!(
                        "Warning: Could not create server TCP listening socket {host}:{port}: {cause}"
                    );
                    let kind = if tls { "TLS" } else { "TCP" };
                    return Err(io::Error::new(
                        e.kind(),
                        format!("Failed listening on port {port} ({kind}), aborting."),
                    ));
                }
            }
        }
    }
    Ok(doors)
}

fn is_missing(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported)
        || e.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn bind_cause(e: &io::Error) -> String {
    let text = e.to_string();
    let cause = text.split(" (os error").next().unwrap_or_default();
    format!("bind: {cause}")
}

fn address(host: &str, port: u16) -> io::Result<SocketAddr> {
    Ok(match host {
        "*" => SocketAddr::new(IpAddr::from([0, 0, 0, 0]), port),
        "::*" => SocketAddr::new(IpAddr::from([0u16; 8]), port),
        _ => (host, port).to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?,
    })
}

/// `opened`: those that are to listen beside this one.
fn tcp_one(address: SocketAddr, config: &Config, opened: &[Door], present: &[Door]) -> io::Result<TcpListener> {
    let is_here = |door: &&Door| door.socket.local_addr().is_ok_and(|local| local == address);
    if opened.iter().any(|door| is_here(&door)) {
        return Err(io::Error::from_raw_os_error(libc::EADDRINUSE));
    }
    if let Some(same) = present.iter().find(is_here) {
        return same.socket.try_clone();
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
    let failed = |e: io::Error| {
        let (path, cause) = (&config.unixsocket, crate::log::cause(&e));
        io::Error::new(e.kind(), format!("Failed opening Unix socket: bind: {path}: {cause}"))
    };
    open_unix(config).map(Some).map_err(failed)
}

fn open_unix(config: &Config) -> io::Result<UnixListener> {
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
    Ok(listener)
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
