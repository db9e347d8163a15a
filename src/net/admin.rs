//! The admin listener: figures and health over HTTP, for operators and monitoring and not for clients.
//!
//! `GET /` a page to look at · `/figures.json` what it shows: now, and over the last five minutes · `/metrics`
//! OpenMetrics, or Prometheus's text, as asked for · `/latency.json` the latency section as LATENCY JSON gives it ·
//! `/healthz` 200 while the workers' loops turn, 503 when one is stuck · `/readyz` 200 once data is loaded,
//! 503 before. Anything else is 404; other methods are 405.
//!
//! It has a thread and a runtime of its own: it must answer while the main thread is busy loading, and a scrape must not
//! delay anybody's accept. It is off unless `admin-port` is set, and on the loopback unless `admin-bind` says otherwise.
//! Nothing can be changed through it. With `admin-token` the figures are for who shows it (`Authorization: Bearer`), and
//! health, and the page without its figures, are for everybody; with `admin-tls` all of it is encrypted, by the
//! certificates that clients see.
//!
//! Bounds, so that a hostile peer costs nothing: connections, header bytes and count, time for a handshake and for a
//! header, time for a connection. A request's body is never read. Not here: what the figures are (`metrics`, `figures`,
//! `observe`).

use super::exposition::Format;
use super::figures::Board;
use super::{health, metrics, page};
use crate::clock;
use crate::config::Config;
use crate::node::Node;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Listens where the configuration says; does nothing if it says nowhere.
pub fn start(node: &'static Node, config: &Config) -> io::Result<()> {
    if config.admin_port == 0 {
        return Ok(());
    }
    let listener = TcpListener::bind((config.admin_bind.as_str(), config.admin_port)).map_err(|e| {
        let (host, port) = (&config.admin_bind, config.admin_port);
        crate::log::warning!("Warning: Could not create the admin listener {host}:{port}: {e}");
        e
    })?;
    let address = serve(node, listener)?;
    let scheme = if config.admin_tls { "https" } else { "http" };
    crate::log::notice!("Admin listener at {scheme}://{address}/");
    if !address.ip().is_loopback() && (!config.admin_tls || config.admin_token.is_empty()) {
        crate::log::warning!(
            "The admin listener is not on the loopback: admin-tls and admin-token keep its figures from others."
        );
    }
    Ok(())
}

/// Serves a listener on a thread of its own until the process ends; returns its address.
pub fn serve(node: &'static Node, listener: TcpListener) -> io::Result<SocketAddr> {
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("admin".into()).spawn(move || {
        runtime.block_on(async {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    // As long as the process, like the node.
                    let board: &'static Board = Box::leak(Box::new(Board::new(node)));
                    tokio::spawn(board.keep_history());
                    accept(node, board, listener).await;
                }
                Err(e) => crate::log::warning!("The admin listener cannot be served: {e}"),
            }
        });
    })?;
    Ok(address)
}

async fn accept(node: &'static Node, board: &'static Board, listener: tokio::net::TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // A connection that comes when all places are taken is closed at once.
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        tokio::spawn(async move {
            // How a monitor's connection ends is its own business.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, converse(node, board, stream)).await;
            drop(place);
        });
    }
}

async fn converse(node: &'static Node, board: &'static Board, stream: TcpStream) {
    if !node.config.load().admin_tls {
        return speak(node, board, stream).await;
    }
    // Read anew for each: certificates may have changed.
    let Some(settings) = node.tls.settings() else { return };
    let handshake = TlsAcceptor::from(settings.server.clone()).accept(stream);
    if let Ok(Ok(stream)) = tokio::time::timeout(HEADER_TIMEOUT, handshake).await {
        speak(node, board, stream).await;
    }
}

async fn speak(node: &'static Node, board: &'static Board, stream: impl AsyncRead + AsyncWrite + Unpin) {
    let answer = service_fn(move |request| async move { Ok::<_, Infallible>(answer(node, board, &request)) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .max_headers(HEADERS_MAX)
        .max_buf_size(REQUEST_BYTES_MAX)
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answer);
    let _ = connection.await;
}

fn answer(node: &Node, board: &Board, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/metrics" | "/latency.json" | "/figures.json" if !shows_token(node, request) => {
            let mut refused = text(StatusCode::UNAUTHORIZED, "the token is missing or wrong\n");
            refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            refused
        }
        "/" => for_people(),
        "/figures.json" => response(StatusCode::OK, "application/json", board.json(request.uri().query()).to_string()),
        "/metrics" => {
            let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
            let format = Format::accepted(accept.unwrap_or_default());
            response(StatusCode::OK, format.content_type(), metrics::render(node, format))
        }
        "/latency.json" => {
            let report = node.observatory.latency(clock::now_ms());
            response(StatusCode::OK, "application/json", report.json().to_string())
        }
        "/healthz" => match health::stuck(node) {
            None => text(StatusCode::OK, "ok\n"),
            Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, why),
        },
        "/readyz" if node.life.is_loading() => text(StatusCode::SERVICE_UNAVAILABLE, "loading\n"),
        "/readyz" => text(StatusCode::OK, "ready\n"),
        _ => text(StatusCode::NOT_FOUND, "there is /, /figures.json, /metrics, /latency.json, /healthz and /readyz\n"),
    }
}

/// Whether the request bears `admin-token`, if there is one.
fn shows_token(node: &Node, request: &Request<Incoming>) -> bool {
    let config = node.config.load();
    if config.admin_token.is_empty() {
        return true;
    }
    let shown = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let Some((scheme, token)) = shown.split_at_checked(BEARER.len()) else { return false };
    scheme.eq_ignore_ascii_case(BEARER) && token.ct_eq(&config.admin_token).into()
}

/// The page, with what a browser may do.
fn for_people() -> Response<Full<Bytes>> {
    let mut page = response(StatusCode::OK, "text/html; charset=utf-8", page::HTML);
    let policy = HeaderValue::from_static(page::POLICY.as_str());
    page.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    page.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    page
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", body)
}

fn response(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

const BEARER: &[u8] = b"Bearer ";
/// A monitoring system needs one or two, a browser with the page as many.
const CONNECTIONS_MAX: usize = 32;
/// A scraper sends about ten headers in some hundred bytes; 8 KiB is the least buffer hyper takes.
const HEADERS_MAX: usize = 64;
const REQUEST_BYTES_MAX: usize = 8 << 10;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// However slowly the peer reads or asks, its place is free again after this.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
