//! What a kind's code gets to work with.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use miniapp_runtime::clock::Clock;
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::attempt::Attempt;
use crate::kinds::KindError;

/// An attempt as the code that makes it sees it. Cheap to clone, for code that goes on
/// elsewhere.
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

    /// The task.
    pub fn task_id(&self) -> Uuid {
        self.attempt.claim.task_id
    }

    /// Names this attempt and no other: the idempotency key for its side effects.
    pub fn attempt_id(&self) -> String {
        format!("{}-{}", self.attempt.claim.task_id, self.attempt.claim.token)
    }

    /// Which attempt this is, beginning with 1.
    pub fn attempt(&self) -> u32 {
        self.attempt.number
    }

    /// How long the attempt may take; it is stopped then.
    pub fn ttl(&self) -> Duration {
        self.attempt.ttl
    }

    /// The time of day.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The attempt's own randomness, each time from its beginning.
    pub fn rng(&self) -> Xoshiro256PlusPlus {
        Xoshiro256PlusPlus::seed_from_u64(self.attempt.seed)
    }

    /// Says how far the attempt is, from 0 to 1, and in words. May be called as often as
    /// one likes: the newest is stored, at most once a second.
    pub fn progress(&self, progress: f64, message: impl Into<String>) {
        self.attempt.note_progress(progress, message.into());
        self.progressed.notify_one();
    }

    /// Whether the attempt is to stop: its owner asked for it, its ttl is over, or the
    /// worker shuts down. Code that blocks a thread has to look now and then.
    pub fn is_stopped(&self) -> bool {
        self.attempt.stop_reason().is_some()
    }

    /// Waits until the attempt is to stop. Code that doesn't is dropped at its next
    /// `await` a moment after that.
    pub async fn stopped(&self) {
        self.attempt.stopped().await;
    }

    /// Waits for `work`, but not longer than until the attempt is to stop.
    pub async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, KindError> {
        tokio::select! {
            biased;
            () = self.stopped() => Err(KindError::Stopped),
            done = work => Ok(done),
        }
    }

    /// Lets time pass, until the attempt is to stop.
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

    /// An attempt of its own, for tests of kinds.
    pub(crate) fn alone(number: u32, ttl: Duration, seed: u64) -> (Context, Arc<Attempt>) {
        let claim = Claim { task_id: Uuid::from_u128(7), token: 3 };
        let attempt = Arc::new(Attempt::new(claim, number, ttl, seed, Instant::now() + ttl));
        let context =
            Context::new(attempt.clone(), Arc::new(ManualClock::default()), Arc::default());
        (context, attempt)
    }

    #[test]
    fn attempts_of_a_task_have_names_of_their_own() {
        let (context, _) = alone(1, Duration::from_secs(1), 0);
        assert_eq!(context.attempt_id(), "00000000-0000-0000-0000-000000000007-3");
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_progress_counts_and_not_more_than_once_a_second() {
        const PAUSE: Duration = Duration::from_secs(1);
        let (context, attempt) = alone(1, Duration::from_secs(1), 0);
        let start = Instant::now();
        assert_eq!(attempt.due_progress(start, PAUSE), Err(None));
        context.progress(0.1, "a");
        context.progress(0.2, "b");
        assert_eq!(attempt.due_progress(start, PAUSE), Ok((0.2, "b".into())));
        assert_eq!(attempt.due_progress(start, PAUSE), Err(None));
        context.progress(0.3, "c");
        assert_eq!(attempt.due_progress(start, PAUSE), Err(Some(start + PAUSE)));
        context.progress(0.4, "d");
        assert_eq!(attempt.due_progress(start + PAUSE, PAUSE), Ok((0.4, "d".into())));
    }
}
