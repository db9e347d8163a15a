//! A connected peer's socket, whatever its family, with TLS or without.

use super::tls::{Established, TlsStream};
use crate::listeners;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

/// An accepted socket on its way to a worker's runtime.
pub enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
    Tls(Box<Established>),
}

impl Accepted {
    pub fn fd(&self) -> RawFd {
        match self {
            Self::Tcp(s) => s.as_raw_fd(),
            Self::Unix(s) => s.as_raw_fd(),
            Self::Tls(s) => s.socket.as_raw_fd(),
        }
    }
}

impl Stream {
    /// Registers the socket with the present thread's runtime.
    pub fn adopt(accepted: Accepted) -> io::Result<Self> {
        Ok(match accepted {
            Accepted::Tcp(s) => Self::Tcp(TcpStream::from_std(s)?),
            Accepted::Unix(s) => Self::Unix(UnixStream::from_std(s)?),
            Accepted::Tls(s) => Self::Tls(Box::new(TlsStream::adopt(*s)?)),
        })
    }

    /// What it takes beside its own size, in bytes.
    pub fn heap_bytes(&self) -> usize {
        if matches!(self, Self::Tls(_)) { TLS_BYTES } else { 0 }
    }

    /// Nothing follows: a peer that speaks TLS is told so.
    pub fn end(&mut self) {
        if let Self::Tls(s) = self {
            s.end();
        }
    }

    /// How long ago the peer's last segment came, in steps of the kernel's clock. None for a Unix socket.
    pub fn last_segment_age(&self) -> Option<Duration> {
        match self {
            Self::Tcp(s) => listeners::last_segment_age(s),
            Self::Unix(_) => None,
            Self::Tls(s) => listeners::last_segment_age(s.socket()),
        }
    }

    #[inline]
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(s) => Pin::new(s).poll_read(cx, buf),
            Self::Unix(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => s.poll_read(cx, buf),
        }
    }

    /// Writes several pieces with one call, where the socket can; else some of them.
    pub fn poll_write_all_of(&mut self, cx: &mut Context<'_>, pieces: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(s) => Pin::new(s).poll_write_vectored(cx, pieces),
            Self::Unix(s) => Pin::new(s).poll_write_vectored(cx, pieces),
            Self::Tls(s) => s.poll_write(cx, pieces.first().map_or(&[], |piece| piece)),
        }
    }

    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(s) => Pin::new(s).poll_write(cx, bytes),
            Self::Unix(s) => Pin::new(s).poll_write(cx, bytes),
            Self::Tls(s) => s.poll_write(cx, bytes),
        }
    }
}

/// Keys and state of a session at rest, and rustls's read buffer of 4 KiB.
const TLS_BYTES: usize = size_of::<TlsStream>() + (8 << 10);
