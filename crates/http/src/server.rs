//! Accepting connections, so many and no more, until told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use miniapp_types::problem::{self, Code};
use opentelemetry::trace::TraceId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::LimitConfig;
use super::connection::{Connection, Timeouts};
use super::places::Places;
use miniapp_runtime::shutdown::Shutdown;

/// Connections that are told at a time that there are too many; above that they are
/// closed without a word.
const TURNED_AWAY_AT_A_TIME: usize = 256;
/// How long one of them may take to hear it.
const PATIENCE_TO_TURN_AWAY: Duration = Duration::from_secs(2);
/// How long to wait when the system can't give another connection.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// What a listener puts up with.
#[derive(Clone, Copy, Debug)]
pub struct ServerOptions {
    /// Connections served at once; where one more comes, the one that has waited the
    /// longest for a request makes room.
    pub connections: usize,
    /// How long the head of a request may take, and a connection may idle.
    pub header_timeout: Duration,
    /// How long a client may take no byte of an answer.
    pub write_timeout: Duration,
    /// How long open requests may take to end after a request to stop.
    pub drain: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            connections: 4096,
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
            header_timeout: limits.header_timeout,
            write_timeout: limits.write_timeout,
            ..Self::default()
        }
    }
}

/// Serves `router` on `listener` until `shutdown`: then nothing new is accepted, event
/// streams end, open requests are finished within the time to drain, and what is left is
/// cut off.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: ServerOptions,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    tracing::debug!(%address, "listening");
    let cut_off = CancellationToken::new();
    let server = Server {
        router,
        timeouts: Timeouts { header: options.header_timeout, write: options.write_timeout },
        stop: shutdown.token(),
        cut_off: cut_off.clone(),
        places: Places::new(options.connections),
        turned_away: Arc::new(Semaphore::new(TURNED_AWAY_AT_A_TIME)),
        tasks: TaskTracker::new(),
    };
    loop {
        tokio::select! {
            biased;
            () = shutdown.begun() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => server.take(stream, peer),
                Err(error) => not_accepted(&error).await,
            },
        }
    }
    drop(listener);
    server.tasks.close();
    tokio::select! {
        () = server.tasks.wait() => {}
        () = tokio::time::sleep(options.drain) => {
            tracing::warn!(%address, open = server.tasks.len(), "cutting off open connections");
        }
        () = shutdown.aborted() => {}
    }
    cut_off.cancel();
    server.tasks.wait().await;
    Ok(())
}

struct Server {
    router: Router,
    timeouts: Timeouts,
    stop: CancellationToken,
    cut_off: CancellationToken,
    places: Arc<Places>,
    turned_away: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Server {
    fn take(&self, stream: TcpStream, peer: SocketAddr) {
        // Answers are written whole; waiting for more only delays them. Where it can't be
        // set the connection is gone already, which is noticed soon enough.
        let _ = stream.set_nodelay(true);
        if let Some(place) = self.places.take() {
            let connection = Connection {
                router: self.router.clone(),
                timeouts: self.timeouts,
                peer,
                stop: self.stop.clone(),
                place,
            };
            let cut_off = self.cut_off.clone();
            self.tasks.spawn(async move {
                cut_off.run_until_cancelled(connection.serve(stream)).await;
            });
        } else if let Ok(permit) = self.turned_away.clone().try_acquire_owned() {
            tracing::debug!(%peer, "too many connections");
            self.tasks.spawn(async move {
                let _permit = permit;
                let _ = tokio::time::timeout(PATIENCE_TO_TURN_AWAY, turn_away(stream)).await;
            });
        }
    }
}

/// Says in a word that there are too many. The client's request is read and dropped: to
/// close with bytes unread would reset the connection, and the word be lost.
async fn turn_away(mut stream: TcpStream) -> std::io::Result<()> {
    stream.write_all(too_many_connections().as_bytes()).await?;
    stream.shutdown().await?;
    let mut dropped = [0; 4096];
    while stream.read(&mut dropped).await? > 0 {}
    Ok(())
}

fn too_many_connections() -> String {
    let code = Code::Unavailable;
    // No request has been read; there is an id all the same, as in every problem.
    let trace_id = TraceId::from(rand::random::<u128>()).to_string();
    let document = problem::Problem {
        kind: format!("urn:miniapp:problem:{code}"),
        title: code.title().to_owned(),
        status: code.status(),
        detail: Some("too many connections".to_owned()),
        code,
        trace_id: trace_id.clone(),
        errors: Vec::new(),
    };
    let body = serde_json::to_string(&document).unwrap_or_default();
    let length = body.len();
    format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
         x-trace-id: {trace_id}\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

async fn not_accepted(error: &std::io::Error) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    // The client left before its turn.
    if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        return;
    }
    // Out of file descriptors or memory: trying again at once would only burn time.
    tracing::error!(error = error.to_string(), "can't accept a connection");
    tokio::time::sleep(EXHAUSTED).await;
}
