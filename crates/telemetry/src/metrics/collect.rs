//! Gauges whose values have to be fetched, such as those of a database.

use std::fmt::{self, Debug};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

/// Values are fetched again only after this time, however many clients read the metrics.
const MAX_AGE: Duration = Duration::from_secs(5);
/// A slow collector must not delay the other metrics for longer.
const TIMEOUT: Duration = Duration::from_secs(2);

static COLLECTORS: Mutex<Vec<Weak<Collector>>> = Mutex::new(Vec::new());

struct Collector {
    collect: Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
    /// Locked while collecting, so that concurrent readers share the result.
    collected_at: tokio::sync::Mutex<Option<Instant>>,
}

/// Guard: the collector runs until this is dropped.
pub struct CollectorGuard(
    #[expect(dead_code, reason = "keeps the collector alive")] Arc<Collector>,
);

impl Debug for CollectorGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectorGuard").finish_non_exhaustive()
    }
}

/// Registers a function that sets gauges when the metrics are read, at most every few seconds.
/// If it cannot fetch a value, it must remove the gauge, so that no stale value is reported.
pub fn register_collector<F>(collect: impl Fn() -> F + Send + Sync + 'static) -> CollectorGuard
where
    F: Future<Output = ()> + Send + 'static,
{
    let collect = Box::new(move || -> BoxFuture<'static, ()> { Box::pin(collect()) });
    let collector = Arc::new(Collector { collect, collected_at: tokio::sync::Mutex::default() });
    COLLECTORS.lock().push(Arc::downgrade(&collector));
    CollectorGuard(collector)
}

/// Runs all collectors whose values are too old.
pub(super) async fn refresh() {
    let collectors: Vec<Arc<Collector>> = {
        let mut collectors = COLLECTORS.lock();
        collectors.retain(|collector| collector.strong_count() > 0);
        collectors.iter().filter_map(Weak::upgrade).collect()
    };
    join_all(collectors.iter().map(|collector| collector.refresh())).await;
}

impl Collector {
    async fn refresh(&self) {
        let mut collected_at = self.collected_at.lock().await;
        if collected_at.is_some_and(|at| at.elapsed() < MAX_AGE) {
            return;
        }
        if timeout(TIMEOUT, (self.collect)()).await.is_err() {
            tracing::debug!("timed out while collecting metrics");
        }
        *collected_at = Some(Instant::now());
    }
}
