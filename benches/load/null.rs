//! The null server: the bare event loop that parses requests and answers `+OK`. Nobody can be faster on this machine.
//!
//! It is what memkv is made of, less everything that memkv does: a tokio current-thread loop, memkv's own parser, one
//! read, one write.

use memkv::resp::{Limits, Parser, Step};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Serves until the process is killed.
pub fn serve(port: u16) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        loop {
            let (peer, _) = listener.accept().await?;
            peer.set_nodelay(true)?;
            // A peer that goes away or breaks the protocol ends its own task.
            tokio::task::spawn_local(answer(peer));
        }
    })
}

async fn answer(mut peer: TcpStream) -> io::Result<()> {
    let limits = Limits { bulk_bytes_max: 512 << 20, authenticated: true };
    let (mut parser, mut spans) = (Parser::default(), Vec::new());
    let (mut input, mut output) = (Vec::with_capacity(READ_BYTES), Vec::new());
    loop {
        input.reserve(READ_BYTES);
        if peer.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let mut consumed = 0;
        loop {
            spans.clear();
            match parser.next(&mut input[consumed..], &mut spans, &limits) {
                Step::Request { len, .. } => {
                    consumed += len;
                    output.extend_from_slice(b"+OK\r\n");
                }
                Step::Incomplete => break,
                Step::Error(error) => {
                    return Err(io::Error::other(String::from_utf8_lossy(&error.text()).into_owned()));
                }
            }
        }
        input.drain(..consumed);
        if !output.is_empty() {
            peer.write_all(&output).await?;
            output.clear();
        }
    }
}

/// memkv's own.
const READ_BYTES: usize = 16 << 10;
