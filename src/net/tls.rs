//! A socket that speaks TLS: rustls's state machine over a socket that does not block.
//!
//! It has the surface of a plain socket. *Reading* gives what is decrypted already before it asks the socket: the socket
//! may have nothing more while a whole request lies here. *Writing* says that bytes are written when their records are
//! with the kernel, not when they are encrypted, so that what a slow peer has not taken counts as unsent; until then the
//! caller comes back with the same bytes.
//!
//! A peer's close_notify is the end of what it says, and [`TlsStream::end`] says the same to the peer. Renegotiation is refused by rustls. Bounds: one record that is not whole yet, one read of decrypted
//! bytes, and the records of one write of 64 KiB; while the handshake lasts, 64 KiB of it.

use rustls::{ServerConfig, ServerConnection};
use std::future::poll_fn;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

pub struct TlsStream {
    socket: TcpStream,
    tls: ServerConnection,
    /// Bytes of the present write that are encrypted, and not all with the kernel.
    taken: usize,
}

/// A connection whose handshake is done, on its way to another runtime.
pub struct Established {
    pub socket: std::net::TcpStream,
    tls: ServerConnection,
}

impl TlsStream {
    /// The server's side of a connection that has just come.
    pub fn accept(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = ServerConnection::new(config).map_err(io::Error::other)?;
        Ok(Self { socket, tls, taken: 0 })
    }

    /// Registers the socket with the present thread's runtime.
    pub fn adopt(Established { socket, tls }: Established) -> io::Result<Self> {
        Ok(Self { socket: TcpStream::from_std(socket)?, tls, taken: 0 })
    }

    /// Takes the socket from the present thread's runtime.
    pub fn leave(self) -> io::Result<Established> {
        let Self { socket, tls, .. } = self;
        Ok(Established { socket: socket.into_std()?, tls })
    }

    /// Agrees on keys with the peer.
    pub async fn handshake(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_handshake(cx)).await
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.is_handshaking() {
            ready!(self.poll_send(cx))?;
            if self.tls.is_handshaking() && ready!(self.poll_receive(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        self.poll_send(cx)
    }

    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The certificate that the client has shown and an authority vouches for.
    pub fn client_certificate(&self) -> Option<&rustls::pki_types::CertificateDer<'static>> {
        self.tls.peer_certificates()?.first()
    }

    /// `Ready` with nothing read at the end of what the peer says.
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let before = buf.filled().len();
            let end = self.take_decrypted(buf)?;
            if end || buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(cx))?;
        }
    }

    /// Moves what is decrypted to the buffer. Whether the peer has said that nothing follows.
    fn take_decrypted(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<bool> {
        let mut reader = self.tls.reader();
        while buf.remaining() > 0 {
            let taken = match reader.fill_buf() {
                Ok([]) => return Ok(true),
                Ok(decrypted) => {
                    let n = decrypted.len().min(buf.remaining());
                    buf.put_slice(&decrypted[..n]);
                    n
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // The end came without a word: what was decrypted before it is still good.
                Err(_) if !buf.filled().is_empty() => break,
                Err(e) => return Err(e),
            };
            reader.consume(taken);
        }
        Ok(false)
    }

    /// Reads from the socket once and decrypts what is whole. `Ready(0)` at the socket's end.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let n = match self.tls.read_tls(&mut Wire { socket: &mut self.socket, cx }) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            read => read?,
        };
        let processed = self.tls.process_new_packets();
        // An alert that says why it ends, or the answer to a change of keys. No caller waits for it. A peer that does not
        // speak TLS would not understand.
        if !matches!(processed, Err(rustls::Error::InvalidMessage(_)))
            && let Poll::Ready(Err(e)) = self.poll_send(cx)
        {
            return Poll::Ready(Err(e));
        }
        Poll::Ready(processed.map(|_| n).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e)))
    }

    /// Tells the peer that nothing follows, if the kernel takes it at once.
    pub fn end(&mut self) {
        self.tls.send_close_notify();
        let _ = self.poll_send(&mut Context::from_waker(Waker::noop()));
    }

    /// Writes what is encrypted. `Ready` when nothing is left.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut Wire { socket: &mut self.socket, cx }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// `Ready` when the kernel has the records of those bytes. After `Pending` the same bytes must come again, with or
    /// without more behind them.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            if self.taken == 0 {
                self.taken = self.tls.writer().write(bytes)?;
            }
            ready!(self.poll_send(cx))?;
            let written = std::mem::take(&mut self.taken);
            // Records from before may have left no room.
            if written > 0 || bytes.is_empty() {
                return Poll::Ready(Ok(written));
            }
        }
    }
}

/// The socket as rustls reads and writes it: what would have to wait wakes the task.
struct Wire<'a, 'b> {
    socket: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

impl Wire<'_, '_> {
    fn now<T>(polled: Poll<io::Result<T>>) -> io::Result<T> {
        match polled {
            Poll::Ready(done) => done,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Read for Wire<'_, '_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut buf = ReadBuf::new(bytes);
        Self::now(Pin::new(&mut *self.socket).poll_read(self.cx, &mut buf))?;
        Ok(buf.filled().len())
    }
}

impl Write for Wire<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::now(Pin::new(&mut *self.socket).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Self::now(Pin::new(&mut *self.socket).poll_write_vectored(self.cx, slices))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
