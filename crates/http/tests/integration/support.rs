//! Helpers for tests of HTTP servers.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use miniapp_http::{RouterOptions, ServerOptions, finish, serve};
use miniapp_runtime::shutdown::Shutdown;
use miniapp_types::fields::{Fields, FromFields};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A body with a number and an optional text.
#[derive(Debug)]
pub struct Note {
    pub count: u32,
}

impl FromFields for Note {
    fn read(fields: &mut Fields) -> Option<Self> {
        let count = fields.integer("count", 1..=10);
        let _ = fields.optional(|fields| fields.text("text", 1..=5), "text");
        Some(Self { count: count? })
    }
}

/// A server on a free port.
pub struct Running {
    pub address: SocketAddr,
    pub shutdown: Shutdown,
    pub served: JoinHandle<std::io::Result<()>>,
}

impl Running {
    pub async fn start(router: Router, options: ServerOptions) -> Self {
        let router = finish(router, &RouterOptions::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shutdown = Shutdown::new();
        let served = tokio::spawn(serve(listener, router, options, shutdown.clone()));
        Self { address, shutdown, served }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    /// Sends `request` on a connection of its own and reads until the server closes it.
    pub async fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.expect("written");
        read_to_end(&mut stream).await
    }

    /// Waits until the server has ended by itself.
    pub async fn ended(self) {
        within(self.served).await.expect("no panic").expect("no fault");
    }
}

/// Options with which nothing times out.
pub fn patient() -> ServerOptions {
    let long = Duration::from_hours(1);
    ServerOptions {
        connections: 16,
        header_timeout: long,
        write_timeout: long,
        drain: long,
        ..ServerOptions::default()
    }
}

/// What a client reads until the connection ends, however it does.
pub async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until `end` has been seen.
pub async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = String::new();
    let mut piece = [0; 4096];
    while !answer.contains(end) {
        let read = within(stream.read(&mut piece)).await.expect("open");
        assert_ne!(read, 0, "ended after {answer:?}");
        answer.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    answer
}

/// What never happens fails the test instead of hanging it.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_mins(1), future).await.expect("it happens")
}
