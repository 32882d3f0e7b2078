//! Concurrent clients and the latencies of their requests.

mod bare_server;
mod http;
mod latencies;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use uuid::Uuid;

pub use bare_server::measure_bare_server;
pub use http::{Connection, Endpoint};
pub use latencies::Latencies;

/// The outcome of a load.
#[derive(Debug)]
pub struct Load {
    /// From the first request to the last response.
    pub elapsed: Duration,
    pub latencies: Latencies,
    /// The ids that were extracted from responses, in no order.
    pub ids: Vec<Uuid>,
}

impl Load {
    /// Returns the requests per second.
    pub fn rate(&self) -> f64 {
        per_second(self.latencies.count(), self.elapsed)
    }
}

/// Sends `total` requests by `clients` concurrent clients, each of them one at a time.
/// `request` builds the request with a given number, `id` extracts an id from a response.
pub async fn run(
    endpoint: &Endpoint,
    clients: u16,
    total: u64,
    request: impl Fn(u64) -> Request<Full<Bytes>> + Send + Sync + 'static,
    id: impl Fn(&[u8]) -> Option<Uuid> + Send + Sync + 'static,
) -> anyhow::Result<Load> {
    let endpoint = endpoint.clone();
    on_own_thread(move || async move {
        let mut connections = Vec::with_capacity(clients.into());
        for _ in 0..clients {
            connections.push(Connection::open(&endpoint).await?);
        }
        let shared = Arc::new((AtomicU64::new(0), request, id));
        let start = Instant::now();
        let running: Vec<_> = connections
            .into_iter()
            .map(|mut connection| {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let (next, request, id) = &*shared;
                    let (mut latencies, mut ids) = (Latencies::default(), Vec::new());
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= total {
                            return anyhow::Ok((latencies, ids));
                        }
                        let request = request(number);
                        let sent = Instant::now();
                        let body = connection.fetch(request).await?;
                        latencies.record(sent.elapsed());
                        ids.extend(id(&body));
                    }
                })
            })
            .collect();
        let mut load =
            Load { elapsed: Duration::ZERO, latencies: Latencies::default(), ids: Vec::new() };
        for client in running {
            let (latencies, ids) = client.await??;
            load.latencies.merge(&latencies);
            load.ids.extend(ids);
        }
        load.elapsed = start.elapsed();
        Ok(load)
    })
    .await
}

/// Runs `work` on a thread and a runtime of its own. The load must not share threads with
/// the code that measures, nor lose time by moving between threads.
pub async fn on_own_thread<T, F>(work: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<T>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>>,
{
    tokio::task::spawn_blocking(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work())
    })
    .await
    .context("the load generator panicked")?
}

/// Waits between two phases, so that the work left by one does not count for the next.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}
