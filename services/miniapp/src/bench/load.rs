//! Many clients at once, and how long their requests took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::Full;
use hyper::Request;

use super::http::{Connection, Target};

/// How a load went.
#[derive(Debug)]
pub struct Loaded {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// How long each request took.
    pub times: Times,
    /// What the answers were reduced to, in no order.
    pub kept: Vec<Kept>,
}

/// What a client keeps of an answer.
pub type Kept = uuid::Uuid;

/// Runs `work` on a thread and a runtime of its own, so that the load disturbs neither
/// what measures nor itself by moving between threads.
pub async fn apart<T, F>(work: impl FnOnce() -> F + Send + 'static) -> anyhow::Result<T>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>>,
{
    tokio::task::spawn_blocking(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work())
    })
    .await
    .context("the load generator broke")?
}

/// Sends `total` requests by `clients` at once, each of them one at a time. `request`
/// makes the one with a given number; `keep` reduces an answer to what is needed later.
pub async fn run(
    target: &Target,
    clients: u16,
    total: u64,
    request: impl Fn(u64) -> Request<Full<Bytes>> + Send + Sync + 'static,
    keep: impl Fn(&[u8]) -> Option<Kept> + Send + Sync + 'static,
) -> anyhow::Result<Loaded> {
    let target = target.clone();
    apart(move || async move {
        let mut connections = Vec::with_capacity(clients.into());
        for _ in 0..clients {
            connections.push(Connection::open(&target).await?);
        }
        let shared = Arc::new((AtomicU64::new(0), request, keep));
        let begin = Instant::now();
        let running: Vec<_> = connections
            .into_iter()
            .map(|mut connection| {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let (next, request, keep) = &*shared;
                    let (mut times, mut kept) = (Times::default(), Vec::new());
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= total {
                            return anyhow::Ok((times, kept));
                        }
                        let request = request(number);
                        let sent = Instant::now();
                        let body = connection.ask(request).await?;
                        times.record(sent.elapsed());
                        kept.extend(keep(&body));
                    }
                })
            })
            .collect();
        let mut loaded =
            Loaded { elapsed: Duration::ZERO, times: Times::default(), kept: Vec::new() };
        for client in running {
            let (times, kept) = client.await??;
            loaded.times.add(&times);
            loaded.kept.extend(kept);
        }
        loaded.elapsed = begin.elapsed();
        Ok(loaded)
    })
    .await
}

/// Waits a moment between two phases, so that what one left behind doesn't count for the
/// next.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

impl Loaded {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        per_second(self.times.count(), self.elapsed)
    }
}

/// How many of something there were a second.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
pub fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64()
}

/// Lengths of time, kept to a thousandth of themselves.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        // From a nanosecond to ten minutes. Fails only for limits that make no sense.
        Self(Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("sound bounds"))
    }
}

impl Times {
    /// Adds one.
    pub fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds those of another.
    pub fn add(&mut self, other: &Self) {
        // Fails only where the bounds differ.
        let _ = self.0.add(&other.0);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The time that so many in a hundred stay within.
    pub fn percentile(&self, percentile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_percentile(percentile))
    }

    /// Half of them stay within.
    pub fn p50(&self) -> Duration {
        self.percentile(50.0)
    }

    /// 99 in a hundred stay within.
    pub fn p99(&self) -> Duration {
        self.percentile(99.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_told() {
        let mut times = Times::default();
        for millis in 1..=100 {
            times.record(Duration::from_millis(millis));
        }
        let mut all = Times::default();
        all.add(&times);
        assert_eq!(all.count(), 100);
        assert_eq!(all.p50().as_millis(), 50);
        assert_eq!(all.p99().as_millis(), 99);
    }
}
