//! The limit of the machine for HTTP: a server that does nothing.

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;

use super::{Endpoint, Load};

/// Sends the load to a bare axum server in this process.
pub async fn measure_bare_server(clients: u16, requests: u64) -> anyhow::Result<Load> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = Endpoint::new(listener.local_addr()?, None)?;
    let router = Router::new().route("/", get(|| async { "hello, world" }));
    let server = tokio::spawn(axum::serve(listener, router).into_future());
    let requester = endpoint.clone();
    let load =
        super::run(&endpoint, clients, requests, move |_| requester.get("/"), |_| None).await;
    server.abort();
    load
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn load_counts_every_response() {
        let load = measure_bare_server(4, 200).await.expect("responses");
        assert_eq!(load.latencies.count(), 200);
        assert!(load.rate() > 0.0);
    }
}
