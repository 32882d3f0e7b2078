//! Accepts a limited number of connections until the server is shut down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::response::IntoResponse as _;
use axum::{Extension, Router};
use http::HeaderValue;
use http::header::CONNECTION;
use miniapp_runtime::shutdown::Shutdown;
use miniapp_types::problem::{self, Code};
use opentelemetry::trace::TraceId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::LimitConfig;
use crate::connection::{Connection, Timeouts};
use crate::memory::RequestMemory;
use crate::problem::Problem;
use crate::router::{RouterOptions, with_layers};
use crate::slots::ConnectionSlots;
use crate::trusted_proxies::TrustedProxies;
use miniapp_runtime::network::client_network;

/// Connections that get a 503 at a time; more are closed without a response.
const MAX_REJECTIONS: usize = 256;
const REJECTION_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause after the system could not accept a connection.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Connections at a time. For one more, the one that has been idle the longest is closed.
    pub connections: usize,
    /// Connections from one IPv4 address or IPv6 /64; 0 is no limit.
    pub connections_per_client: usize,
    /// Bytes for the heads and bodies of requests in progress.
    pub request_memory: usize,
    /// Their connections are those of many clients.
    pub proxies: TrustedProxies,
    /// How long the head of a request may take, and a connection may be idle.
    pub header_timeout: Duration,
    /// How long a client may accept no byte of a response.
    pub write_timeout: Duration,
    /// How long open requests may take after a shutdown has begun.
    pub drain: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            connections: 4096,
            connections_per_client: 0,
            request_memory: 32 << 20,
            proxies: TrustedProxies::default(),
            header_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

impl From<&LimitConfig> for ServerOptions {
    fn from(limits: &LimitConfig) -> Self {
        Self {
            connections: limits.connections as usize,
            connections_per_client: limits.connections_per_client as usize,
            // One client can use a quarter, and send the largest body.
            request_memory: limits.request_memory.max(limits.body.saturating_mul(4)),
            proxies: TrustedProxies::new(&limits.trusted_proxies, limits.trusted_hops.into()),
            header_timeout: limits.header_timeout,
            write_timeout: limits.write_timeout,
            ..Self::default()
        }
    }
}

/// Serves `router` on `listener` until `shutdown`. Then it accepts no connections, ends event
/// streams, finishes open requests within the drain timeout, and closes the rest.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServerOptions,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    tracing::debug!(%address, "listening");
    let abort = CancellationToken::new();
    let server = Server {
        router,
        bad_host: with_layers(Router::new().fallback(reject_bad_host), &RouterOptions::default()),
        overloaded: with_layers(Router::new().fallback(reject_overload), &RouterOptions::default()),
        timeouts: Timeouts { header: options.header_timeout, write: options.write_timeout },
        stop: shutdown.token(),
        abort: abort.clone(),
        slots: ConnectionSlots::new(options.connections, options.connections_per_client),
        memory: RequestMemory::new(options.request_memory),
        proxies: options.proxies,
        rejections: Arc::new(Semaphore::new(MAX_REJECTIONS)),
        tasks: TaskTracker::new(),
    };
    loop {
        tokio::select! {
            biased;
            () = shutdown.begun() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => server.handle(stream, peer),
                Err(error) => handle_accept_error(&error).await,
            },
        }
    }
    drop(listener);
    server.tasks.close();
    tokio::select! {
        () = server.tasks.wait() => {}
        () = tokio::time::sleep(options.drain) => {
            tracing::warn!(%address, open = server.tasks.len(), "closing connections that did not drain");
        }
        () = shutdown.aborted() => {}
    }
    abort.cancel();
    server.tasks.wait().await;
    Ok(())
}

struct Server {
    router: Router,
    bad_host: Router,
    overloaded: Router,
    timeouts: Timeouts,
    stop: CancellationToken,
    abort: CancellationToken,
    slots: Arc<ConnectionSlots>,
    memory: Arc<RequestMemory>,
    proxies: TrustedProxies,
    rejections: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Server {
    fn handle(&self, stream: TcpStream, peer: SocketAddr) {
        // Responses are written at once; Nagle's algorithm would only delay them. It fails if
        // the connection is gone, which the first read reports, too.
        let _ = stream.set_nodelay(true);
        let is_proxy = self.proxies.is_proxy(peer.ip());
        let limited = (!is_proxy).then(|| client_network(peer.ip()));
        if let Some(slot) = self.slots.acquire(limited) {
            let connection = Connection {
                router: self.router.clone(),
                bad_host: self.bad_host.clone(),
                overloaded: self.overloaded.clone(),
                memory: self.memory.clone(),
                proxies: self.proxies.clone(),
                timeouts: self.timeouts,
                peer,
                stop: self.stop.clone(),
                slot,
            };
            let abort = self.abort.clone();
            self.tasks.spawn(async move {
                abort.run_until_cancelled(connection.serve(stream)).await;
            });
        } else if let Ok(permit) = self.rejections.clone().try_acquire_owned() {
            tracing::debug!(%peer, "too many connections");
            self.tasks.spawn(async move {
                let _permit = permit;
                let _ = tokio::time::timeout(REJECTION_TIMEOUT, reject(stream)).await;
            });
        }
    }
}

async fn reject_bad_host() -> axum::response::Response {
    let problem = Problem::new(Code::MalformedRequest).detail("one Host header is needed");
    // Further requests of this client may be meant for another host, too.
    problem.header(CONNECTION, HeaderValue::from_static("close")).into_response()
}

/// Rejects a request whose head alone is too much. The extension has the reason.
async fn reject_overload(Extension(code): Extension<Code>) -> Problem {
    let problem = Problem::new(code).detail("too many unfinished requests");
    problem.retry_after(Duration::from_secs(1))
}

/// Responds 503. The request is drained: closing with unread data sends RST, and the client
/// would lose the response.
async fn reject(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(too_many_connections().as_bytes()).await?;
    stream.shutdown().await?;
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

fn too_many_connections() -> String {
    // No request has been read, but every problem has a trace id.
    let trace_id = TraceId::from(rand::random::<u128>()).to_string();
    let document = problem::Problem {
        detail: Some("too many connections".to_owned()),
        ..problem::Problem::new(Code::Unavailable, &trace_id)
    };
    let body = serde_json::to_string(&document).unwrap_or_default();
    let length = body.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
         x-trace-id: {trace_id}\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

async fn handle_accept_error(error: &std::io::Error) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    // The client left before it was accepted.
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return;
    }
    // Out of file descriptors or memory: an immediate retry would only use up the processor.
    tracing::error!(error = error.to_string(), "can't accept a connection");
    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
}
