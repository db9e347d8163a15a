//! The null server: the bare event loop that parses requests and answers `+OK`. Nobody can be faster on this machine.
//!
//! It is what memkv is made of, less everything that memkv does: a tokio current-thread loop, memkv's own parser, one
//! read, one write. A long value is received into one buffer and forgotten; GET answers as many bytes as the last one had,
//! from that buffer.

use memkv::resp::{ArgvView, LONG_BYTES, Limits, Parser, Step};
use std::cell::Cell;
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
    let mut long = Vec::new();
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
                    let name = ArgvView::new(&input[consumed..consumed + len], &spans).get(0);
                    let length = LENGTH.get();
                    if name == b"GET" && length > 0 {
                        long.resize(length, 0);
                        peer.write_all(format!("${length}\r\n").as_bytes()).await?;
                        peer.write_all(&long[..length]).await?;
                        output.extend_from_slice(b"\r\n");
                    } else {
                        output.extend_from_slice(b"+OK\r\n");
                    }
                    consumed += len;
                }
                Step::Incomplete => {
                    let half = parser.half_read();
                    if half.bulk_len >= LONG_BYTES {
                        LENGTH.set(half.bulk_len);
                        long.resize(half.bulk_len + 2, 0);
                        let there = input.len() - consumed - half.bytes;
                        peer.read_exact(&mut long[there..half.bulk_len + 2]).await?;
                        (parser, consumed) = (Parser::default(), input.len());
                        output.extend_from_slice(b"+OK\r\n");
                    }
                    break;
                }
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

thread_local! {
    /// Of the long value that came last.
    static LENGTH: Cell<usize> = const { Cell::new(0) };
}

/// memkv's own.
const READ_BYTES: usize = 16 << 10;
