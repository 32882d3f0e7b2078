//! The context of an attempt.

use std::fmt::{self, Debug, Display};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::steps::Steps;
use crate::{AttemptInfo, Host, KindError};

/// Characters of a progress message. Longer ones are cut off.
const MAX_MESSAGE: usize = 500;
/// Characters of a log line. Longer ones are cut off.
const MAX_LINE: usize = 2_000;
/// Log lines of an attempt. Further ones are dropped.
const MAX_LINES: u32 = 1_000;

/// The context of an attempt. Cheap to clone.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    info: AttemptInfo,
    stopped: CancellationToken,
    host: Box<dyn Host>,
    lines: AtomicU32,
    steps: Steps,
}

impl Context {
    /// Creates the context of an attempt that has to stop when `stopped` is canceled. Workers do
    /// this; tests use [`testing::TestAttempt`](crate::testing::TestAttempt).
    pub fn new(info: AttemptInfo, stopped: CancellationToken, host: impl Host) -> Self {
        let (host, lines, steps) = (Box::new(host), AtomicU32::new(0), Steps::default());
        Self(Arc::new(Inner { info, stopped, host, lines, steps }))
    }

    pub fn task_id(&self) -> Uuid {
        self.0.info.task_id
    }

    /// Returns the id of this attempt. Every attempt has another one, so it is no idempotency key.
    pub fn attempt_id(&self) -> &str {
        &self.0.info.attempt_id
    }

    /// Returns the idempotency key of the task's side effects: the same for all attempts, until the
    /// task is restarted. A receiver that knows the key has had the request before.
    pub fn idempotency_key(&self) -> &str {
        &self.0.info.idempotency_key
    }

    /// Returns the idempotency key of one of several side effects of the task.
    pub fn step_key(&self, step: &str) -> String {
        format!("{}.{step}", self.0.info.idempotency_key)
    }

    /// Returns the number of the attempt, starting with 1.
    pub fn attempt(&self) -> u32 {
        self.0.info.attempt
    }

    pub fn max_attempts(&self) -> u32 {
        self.0.info.max_attempts
    }

    /// Returns the time limit of the attempt.
    pub fn ttl(&self) -> Duration {
        self.0.info.ttl
    }

    /// Returns a seed for random numbers, which differs per attempt.
    pub fn seed(&self) -> u64 {
        self.0.info.seed
    }

    /// Reports progress from 0 to 1 with a message, which the owner of the task sees. Can be called
    /// frequently: only the latest report is stored, at most once per second.
    pub fn progress(&self, progress: f64, message: impl Into<String>) {
        let mut message: String = message.into();
        truncate(&mut message, MAX_MESSAGE);
        self.0.host.progress(progress, message);
    }

    /// Writes a line to the log of the worker, with the task, the attempt and their trace. The
    /// owner of the task does not see it. An attempt can write 1,000 lines of 2,000 characters.
    pub fn log(&self, line: impl Display) {
        match self.0.lines.fetch_add(1, Ordering::Relaxed) {
            0..MAX_LINES => {
                let mut line = line.to_string();
                truncate(&mut line, MAX_LINE);
                self.0.host.log(&line);
            }
            MAX_LINES => self.0.host.log("further lines of this attempt are dropped"),
            // Not counted up to an overflow.
            _ => {
                self.0.lines.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Runs `work` once and remembers its result: later attempts of the task get the result without
    /// running it. A restart of the task begins anew.
    ///
    /// A worker can crash between the effect of the work and the moment when it is remembered, so
    /// a request carries the [`step_key`](Self::step_key) as its idempotency key. An error is not
    /// remembered. Each step of a task needs a `name` of its own. Names and results of all steps
    /// have at most 256 KiB of JSON.
    pub async fn step<T, F>(&self, name: &str, work: impl FnOnce() -> F) -> Result<T, KindError>
    where
        T: Serialize + DeserializeOwned,
        F: Future<Output = Result<T, KindError>>,
    {
        self.0.steps.run(self.0.host.as_ref(), name, work).await
    }

    /// Whether the attempt has to stop: it was canceled, exceeded its ttl, lost its lease, or
    /// the worker shuts down. Blocking code must poll this.
    pub fn is_stopped(&self) -> bool {
        self.0.stopped.is_cancelled()
    }

    /// Waits until the attempt has to stop. Code that ignores it is dropped at an `await`
    /// shortly after.
    pub async fn stopped(&self) {
        self.0.stopped.cancelled().await;
    }

    /// Waits for `work`, until the attempt has to stop.
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, KindError> {
        tokio::select! {
            biased;
            () = self.stopped() => Err(KindError::Stopped),
            done = work => Ok(done),
        }
    }

    /// Sleeps, until the attempt has to stop.
    pub async fn sleep(&self, duration: Duration) -> Result<(), KindError> {
        self.unless_stopped(tokio::time::sleep(duration)).await
    }
}

impl Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Context").field(&self.0.info).finish()
    }
}

fn truncate(text: &mut String, max_chars: usize) {
    if let Some((end, _)) = text.char_indices().nth(max_chars) {
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestAttempt;

    #[test]
    fn keys_of_steps_differ() {
        let cx = TestAttempt::new().context();
        assert_ne!(cx.step_key("charge"), cx.step_key("refund"));
        assert!(cx.step_key("charge").starts_with(cx.idempotency_key()));
    }

    #[test]
    fn messages_and_lines_are_bounded() {
        let test = TestAttempt::new();
        let cx = test.context();
        cx.progress(0.5, "ä".repeat(1000));
        let (progress, message) = test.progress().expect("a report");
        assert_eq!((progress, message.chars().count()), (0.5, MAX_MESSAGE));
        for number in 0..5_000 {
            cx.log(format_args!("{number} {}", "x".repeat(3000)));
        }
        let lines = test.lines();
        assert_eq!(lines.len(), 1001);
        assert_eq!(lines[999].len(), MAX_LINE);
        assert_eq!(lines[1000], "further lines of this attempt are dropped");
    }

    #[tokio::test]
    async fn stop_ends_waits() {
        let test = TestAttempt::new();
        let cx = test.context();
        assert_eq!(cx.unless_stopped(async { 7 }).await, Ok(7));
        test.stop();
        assert!(cx.is_stopped());
        assert_eq!(cx.sleep(Duration::from_hours(1)).await, Err(KindError::Stopped));
    }
}
