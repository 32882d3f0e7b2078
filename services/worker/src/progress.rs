//! Stores the progress of attempts, throttled.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep_until};

use crate::runner::Runner;

/// The minimum interval between stored reports of an attempt.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum number of stored reports per attempt; each is an event of the task.
const MAX_REPORTS: u32 = 5_000;

/// Stores the latest progress of each attempt, at most once per second, and less often for
/// attempts that may run for hours. Writes that are due together are batched.
pub(crate) async fn run(runner: &Runner) {
    loop {
        runner.progressed.notified().await;
        while let Some(next) = store(runner).await {
            sleep_until(next).await;
        }
    }
}

/// Stores the reports that are due. Returns when the next one is.
async fn store(runner: &Runner) -> Option<Instant> {
    let now = Instant::now();
    let mut next: Option<Instant> = None;
    let mut writes = Vec::new();
    for attempt in runner.running.all() {
        match attempt.due_progress(now, MIN_INTERVAL.max(attempt.ttl / MAX_REPORTS)) {
            Ok((progress, message)) => {
                writes.push(runner.tasks.progress(attempt.claim, progress, Some(message)));
            }
            Err(Some(at)) => next = Some(next.map_or(at, |next| next.min(at))),
            Err(None) => {}
        }
    }
    for error in join_all(writes).await.into_iter().filter_map(Result::err) {
        // Harmless: the next report or the outcome replaces it.
        tracing::debug!(%error, "could not store progress");
    }
    next
}
