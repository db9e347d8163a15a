//! Connecting to another server, as a replica, for MIGRATE: from `bind-source-addr`, and over TLS where that is wanted.

use crate::config::Config;
use crate::tls;
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};

/// A connection, encrypted or not.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// Why there is no connection.
#[derive(Debug)]
pub enum Failed {
    /// The name has no address.
    Name(io::Error),
    /// What the last of its addresses said.
    Connecting(io::Error),
}

impl Failed {
    pub fn cause(&self) -> &io::Error {
        let (Self::Name(e) | Self::Connecting(e)) = self;
        e
    }
}

/// Connects to the first address of a host that answers, from an address of ours if `bind-source-addr` names one.
pub async fn connect(host: &str, port: u16, config: &Config) -> Result<TcpStream, Failed> {
    let from: Option<IpAddr> = config.bind_source_addr.parse().ok();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for to in tokio::net::lookup_host((host, port)).await.map_err(Failed::Name)? {
        match connect_to(to, from).await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(e) => last = e,
        }
    }
    Err(Failed::Connecting(last))
}

async fn connect_to(to: SocketAddr, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    socket.connect(to).await
}

/// Speaks TLS over a connection. The certificate need not bear the host's name, as in Redis. The error is a text for the
/// log.
pub async fn over_tls(stream: TcpStream, host: &str, config: &Config) -> Result<Box<dyn Duplex>, String> {
    let (connector, name) = tls::connector(config, host)?;
    let stream = connector.connect(name, stream).await.map_err(|e| e.to_string())?;
    Ok(Box::new(stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    #[test]
    fn it_comes_from_the_address_that_is_configured() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for from in ["127.0.0.2", ""] {
            let config = Config { bind_source_addr: from.to_owned(), ..Config::default() };
            let stream = block_on(connect("127.0.0.1", port, &config)).unwrap();
            let expected = if from.is_empty() { "127.0.0.1" } else { from };
            assert_eq!(stream.local_addr().unwrap().ip().to_string(), expected);
        }
    }

    #[test]
    fn a_name_without_an_address_is_told_from_a_port_without_a_server() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = Config::default();
        assert!(matches!(block_on(connect("name.invalid", 1, &config)), Err(Failed::Name(_))));
        let refused = block_on(connect("127.0.0.1", free, &config)).unwrap_err();
        assert_eq!(
            (matches!(refused, Failed::Connecting(_)), refused.cause().kind()),
            (true, io::ErrorKind::ConnectionRefused)
        );
    }
}
