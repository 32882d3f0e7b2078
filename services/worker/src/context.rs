//! The context of an attempt, for the code of kinds.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use miniapp_runtime::clock::Clock;
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::attempt::Attempt;
use crate::kind_error::KindError;

/// Characters of a progress message. Longer ones are cut off.
const MAX_MESSAGE: usize = 500;

/// The context of an attempt. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    attempt: Arc<Attempt>,
    clock: Arc<dyn Clock>,
    progressed: Arc<Notify>,
}

impl Context {
    pub(crate) fn new(
        attempt: Arc<Attempt>,
        clock: Arc<dyn Clock>,
        progressed: Arc<Notify>,
    ) -> Self {
        Self { attempt, clock, progressed }
    }

    pub fn task_id(&self) -> Uuid {
        self.attempt.claim.task_id
    }

    /// Returns a unique id of this attempt, the idempotency key for its side effects.
    pub fn attempt_id(&self) -> String {
        format!("{}-{}", self.attempt.claim.task_id, self.attempt.claim.token)
    }

    /// Returns the number of the attempt, starting with 1.
    pub fn attempt(&self) -> u32 {
        self.attempt.number
    }

    /// Returns the time limit of the attempt.
    pub fn ttl(&self) -> Duration {
        self.attempt.ttl
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns a random number generator that is seeded per attempt. Every call returns the
    /// same sequence.
    pub fn rng(&self) -> Xoshiro256PlusPlus {
        Xoshiro256PlusPlus::seed_from_u64(self.attempt.seed)
    }

    /// Reports progress from 0 to 1 with a message. Can be called frequently: only the latest
    /// report is stored, at most once per second.
    pub fn progress(&self, progress: f64, message: impl Into<String>) {
        let mut message: String = message.into();
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(end);
        }
        self.attempt.set_progress(progress, message);
        self.progressed.notify_one();
    }

    /// Whether the attempt has to stop: it was canceled, exceeded its ttl, lost its lease, or
    /// the worker shuts down. Blocking code must poll this.
    pub fn is_stopped(&self) -> bool {
        self.attempt.stop_reason().is_some()
    }

    /// Waits until the attempt has to stop. Code that ignores it is dropped at an `await`
    /// shortly after.
    pub async fn stopped(&self) {
        self.attempt.stopped().await;
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

#[cfg(test)]
pub(crate) mod tests {
    use miniapp_runtime::clock::ManualClock;
    use miniapp_tasks::Claim;
    use tokio::time::Instant;

    use super::*;

    /// Returns the context of a single attempt, for tests of kinds.
    pub(crate) fn test_context(number: u32, ttl: Duration, seed: u64) -> (Context, Arc<Attempt>) {
        let claim = Claim { task_id: Uuid::from_u128(7), token: 3 };
        let attempt = Arc::new(Attempt::new(claim, number, ttl, seed, Instant::now() + ttl));
        let context =
            Context::new(attempt.clone(), Arc::new(ManualClock::default()), Arc::default());
        (context, attempt)
    }

    #[test]
    fn attempt_id_contains_task_and_claim() {
        let (context, _) = test_context(1, Duration::from_secs(1), 0);
        assert_eq!(context.attempt_id(), "00000000-0000-0000-0000-000000000007-3");
    }

    #[tokio::test(start_paused = true)]
    async fn progress_is_throttled_to_the_latest_report() {
        const INTERVAL: Duration = Duration::from_secs(1);
        let (context, attempt) = test_context(1, Duration::from_secs(1), 0);
        let start = Instant::now();
        assert_eq!(attempt.due_progress(start, INTERVAL), Err(None));
        context.progress(0.1, "a");
        context.progress(0.2, "b");
        assert_eq!(attempt.due_progress(start, INTERVAL), Ok((0.2, "b".into())));
        assert_eq!(attempt.due_progress(start, INTERVAL), Err(None));
        context.progress(0.3, "c");
        assert_eq!(attempt.due_progress(start, INTERVAL), Err(Some(start + INTERVAL)));
        context.progress(0.4, "d");
        assert_eq!(attempt.due_progress(start + INTERVAL, INTERVAL), Ok((0.4, "d".into())));
    }
}
