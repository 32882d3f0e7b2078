//! One connection: HTTP/2 if the client begins with its preface, HTTP/1.1 otherwise.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use futures_util::StreamExt as _;
use http::Version;
use http::header::{CONTENT_TYPE, HOST};
use http::uri::Authority;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::client::Peer;
use crate::lingering_close::LingeringClose;
use crate::memory::RequestMemory;
use crate::slots::{Slot, TrackedBody};
use crate::trusted_proxies::TrustedProxies;
use miniapp_runtime::network::client_network;

/// The largest head of a request; a larger one gets 431.
const MAX_HEAD_SIZE: usize = 32 * 1024;
const MAX_HEADERS: usize = 100;
/// Requests of a connection at a time.
const MAX_HTTP2_STREAMS: u32 = 64;
/// What a client may send before it is read: of one body, and on one connection.
const HTTP2_STREAM_WINDOW: u32 = 64 * 1024;
const HTTP2_CONNECTION_WINDOW: u32 = 128 * 1024;
/// The memory of a header besides its name and value.
const HEADER_OVERHEAD: usize = 64;
const HTTP2_KEEP_ALIVE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub header: Duration,
    pub write: Duration,
}

pub(crate) struct Connection {
    pub router: Router,
    /// Rejects requests without a valid host.
    pub bad_host: Router,
    /// Rejects requests for which there is no memory.
    pub overloaded: Router,
    pub memory: Arc<RequestMemory>,
    pub proxies: TrustedProxies,
    pub timeouts: Timeouts,
    pub peer: SocketAddr,
    pub stop: CancellationToken,
    pub slot: Slot,
}

impl Connection {
    /// Serves until the client disconnects, violates the protocol or is evicted.
    pub(crate) async fn serve(self, stream: TcpStream) {
        tokio::select! {
            () = self.serve_http(stream) => {}
            () = self.slot.evicted() => {
                tracing::debug!(peer = %self.peer, "evicted an idle connection");
            }
        }
    }

    async fn serve_http(&self, stream: TcpStream) {
        let Some(is_http2) = self.has_http2_preface(&stream).await else { return };
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.timeouts.write));
        let io = TokioIo::new(Box::pin(LingeringClose::new(stream)));
        let service = service_fn(|request| self.respond(request));
        let served = if is_http2 {
            self.until_stopped(http2().serve_connection(io, service)).await
        } else {
            self.until_stopped(self.http1().serve_connection(io, service)).await
        };
        // Clients disconnect at any time; that is no error of ours.
        if let Err(error) = served {
            tracing::debug!(peer = %self.peer, error = error.to_string(), "connection ended");
        }
    }

    /// Drives a connection, which ends after its open requests once the server stops.
    async fn until_stopped<C>(&self, connection: C) -> C::Output
    where
        C: GracefulConnection,
    {
        let mut connection = pin!(connection);
        tokio::select! {
            served = connection.as_mut() => served,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    }

    /// Waits for the first bytes, which have the same timeout as a head.
    async fn has_http2_preface(&self, stream: &TcpStream) -> Option<bool> {
        // "PRI * HTTP/2.0": no method of HTTP/1 begins like that.
        const PREFACE: &[u8; 3] = b"PRI";
        let mut first = [0; PREFACE.len()];
        tokio::select! {
            // Data that has arrived counts, even if this process was late to look.
            biased;
            peeked = stream.peek(&mut first) => match peeked {
                Ok(0) | Err(_) => None,
                Ok(_) => Some(first == *PREFACE),
            },
            () = tokio::time::sleep(self.timeouts.header) => None,
            () = self.stop.cancelled() => None,
        }
    }

    fn http1(&self) -> http1::Builder {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            // Also applies between requests.
            .header_read_timeout(self.timeouts.header)
            .max_buf_size(MAX_HEAD_SIZE)
            .max_headers(MAX_HEADERS);
        http1
    }

    fn respond(
        &self,
        request: hyper::Request<Incoming>,
    ) -> impl Future<Output = Result<http::Response<TrackedBody<Body>>, Infallible>> + use<> {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(self.peer));
        let client = self.proxies.client(self.peer.ip(), request.headers());
        let network = client_network(client.unwrap_or(self.peer.ip()));
        let memory = self.memory.request(network);
        let begun = self.slot.begin_request().map(|busy| {
            let router = match memory.add(head_size(&request)) {
                Ok(()) if has_valid_host(&request) => &self.router,
                Ok(()) => &self.bad_host,
                Err(problem) => {
                    request.extensions_mut().insert(problem.code());
                    &self.overloaded
                }
            };
            request.extensions_mut().insert(memory.clone());
            (router.clone().call(request), busy)
        });
        let stop = self.stop.clone();
        async move {
            let Some((response, busy)) = begun else {
                // The connection is being closed. The request was not begun, so the client
                // can send it again.
                return pending().await;
            };
            let response = end_streams_on_stop(stop, response.await?);
            // Held until here: a handler keeps what it has read.
            drop(memory);
            Ok(response.map(|body| TrackedBody::new(body, busy)))
        }
    }
}

/// Returns about how much memory the head of a request takes.
fn head_size(request: &http::Request<Body>) -> usize {
    let headers = request.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + HEADER_OVERHEAD);
    headers.sum::<usize>() + request.uri().path_and_query().map_or(0, |it| it.as_str().len())
}

/// Whether a request has exactly one host, as HTTP/1.1 demands (RFC 9112, section 3.2).
fn has_valid_host(request: &http::Request<Body>) -> bool {
    if request.version() != Version::HTTP_11 {
        return true;
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    // It is empty if the target has no authority.
    host.is_empty()
        || host.to_str().is_ok_and(|host| !host.contains('@') && host.parse::<Authority>().is_ok())
}

fn http2() -> http2::Builder<TokioExecutor> {
    let mut http2 = http2::Builder::new(TokioExecutor::new());
    http2
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_KEEP_ALIVE)
        .max_concurrent_streams(MAX_HTTP2_STREAMS)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .max_header_list_size(u32::try_from(MAX_HEAD_SIZE).unwrap_or(u32::MAX));
    http2
}

/// Ends event streams when the server stops: they would delay the shutdown.
fn end_streams_on_stop(stop: CancellationToken, response: Response) -> Response {
    let is_stream = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    if !is_stream {
        return response;
    }
    response
        .map(|body| Body::from_stream(body.into_data_stream().take_until(stop.cancelled_owned())))
}
