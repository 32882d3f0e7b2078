//! Storing how far attempts are, without a write for every word they say.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep_until};

use crate::runner::Runner;

/// The shortest time between two stored progresses of an attempt.
const PAUSE: Duration = Duration::from_secs(1);
/// How many of an attempt are stored at most, since each is an event of the task.
const MOST: u32 = 5_000;

/// Stores the newest progress of each attempt, at most once a second each, and seldomer where
/// it may run for hours; those that are due at the same time together.
pub(crate) async fn run(runner: &Runner) {
    loop {
        runner.progressed.notified().await;
        while let Some(next) = store(runner).await {
            sleep_until(next).await;
        }
    }
}

/// Stores what is due; gives when more will be.
async fn store(runner: &Runner) -> Option<Instant> {
    let now = Instant::now();
    let mut next: Option<Instant> = None;
    let mut writes = Vec::new();
    for attempt in runner.running.all() {
        match attempt.due_progress(now, PAUSE.max(attempt.ttl / MOST)) {
            Ok((progress, message)) => {
                writes.push(runner.tasks.progress(attempt.claim, progress, Some(message)));
            }
            Err(Some(at)) => next = Some(next.map_or(at, |next| next.min(at))),
            Err(None) => {}
        }
    }
    for error in join_all(writes).await.into_iter().filter_map(Result::err) {
        // Nothing is lost: the next progress says more, and so does the outcome.
        tracing::debug!(%error, "could not store progress");
    }
    next
}
