//! A running attempt.

use std::sync::OnceLock;
use std::time::Duration;

use miniapp_tasks::Claim;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// A timer that fires this late belongs to a process that was suspended.
const SUSPENDED: Duration = Duration::from_millis(500);
/// Time that a resumed process has to renew its leases.
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Why an attempt has to stop. The first reason is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Canceled,
    /// The attempt exceeded its ttl.
    Expired,
    /// The lease has expired. Another worker may have the task.
    LeaseLost,
    /// The worker shuts down.
    Shutdown,
    /// Another task has to run alone in this process.
    Displaced,
}

/// The state of a running attempt.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub claim: Claim,
    /// Starts with 1.
    pub number: u32,
    pub ttl: Duration,
    /// The seed of [`Context::seed`](miniapp_kind::Context::seed).
    pub seed: u64,
    stop: OnceLock<Stop>,
    stopped: CancellationToken,
    lease_until: Mutex<Instant>,
    progress: Mutex<Progress>,
}

/// The latest progress report that is not stored, and when one was last stored.
#[derive(Debug, Default)]
struct Progress {
    newest: Option<(f64, String)>,
    stored_at: Option<Instant>,
}

impl Attempt {
    pub fn new(claim: Claim, number: u32, ttl: Duration, seed: u64, lease_until: Instant) -> Self {
        Self {
            claim,
            number,
            ttl,
            seed,
            stop: OnceLock::new(),
            stopped: CancellationToken::new(),
            lease_until: Mutex::new(lease_until),
            progress: Mutex::default(),
        }
    }

    pub fn stop(&self, reason: Stop) {
        if self.stop.set(reason).is_ok() {
            self.stopped.cancel();
        }
    }

    pub fn stop_reason(&self) -> Option<Stop> {
        self.stop.get().copied()
    }

    pub async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// Returns a token that is canceled when the attempt has to stop.
    pub fn stop_token(&self) -> CancellationToken {
        self.stopped.clone()
    }

    /// Returns when the lease expires, by a conservative estimate.
    pub fn lease_until(&self) -> Instant {
        *self.lease_until.lock()
    }

    /// Extends the lease.
    pub fn renew(&self, until: Instant) {
        *self.lease_until.lock() = until;
    }

    /// Replaces the progress report that is not stored yet.
    pub fn set_progress(&self, progress: f64, message: String) {
        self.progress.lock().newest = Some((progress, message));
    }

    /// Waits until the lease has expired without being renewed. A process that was suspended
    /// until then first tries to renew it, because nobody else may have taken the task.
    pub async fn lease_expired(&self) {
        loop {
            let until = self.lease_until();
            sleep_until(until).await;
            if self.lease_until() <= until && until.elapsed() > SUSPENDED {
                sleep(RENEWAL_TIMEOUT).await;
            }
            if self.lease_until() <= until {
                return;
            }
        }
    }

    /// Takes the progress report to store at `now`, or returns when one is due.
    pub fn due_progress(
        &self,
        now: Instant,
        interval: Duration,
    ) -> Result<(f64, String), Option<Instant>> {
        let mut progress = self.progress.lock();
        let due_at = progress.stored_at.map_or(now, |at| at + interval);
        if due_at > now {
            return Err(progress.newest.as_ref().map(|_| due_at));
        }
        let newest = progress.newest.take().ok_or(None)?;
        progress.stored_at = Some(now);
        Ok(newest)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn progress_is_throttled_to_the_latest_report() {
        const INTERVAL: Duration = Duration::from_secs(1);
        let (claim, start) = (Claim { task_id: Uuid::nil(), token: 1 }, Instant::now());
        let attempt = Attempt::new(claim, 1, INTERVAL, 0, start);
        let report = |progress, message: &str| attempt.set_progress(progress, message.into());
        assert_eq!(attempt.due_progress(start, INTERVAL), Err(None));
        report(0.1, "a");
        report(0.2, "b");
        assert_eq!(attempt.due_progress(start, INTERVAL), Ok((0.2, "b".into())));
        assert_eq!(attempt.due_progress(start, INTERVAL), Err(None));
        report(0.3, "c");
        assert_eq!(attempt.due_progress(start, INTERVAL), Err(Some(start + INTERVAL)));
        report(0.4, "d");
        assert_eq!(attempt.due_progress(start + INTERVAL, INTERVAL), Ok((0.4, "d".into())));
    }

    #[tokio::test(start_paused = true)]
    async fn lease_expires_unless_renewed() {
        let seconds = Duration::from_secs;
        let began = Instant::now();
        let claim = Claim { task_id: Uuid::nil(), token: 1 };
        let attempt = Attempt::new(claim, 1, seconds(60), 0, began + seconds(10));
        tokio::join!(attempt.lease_expired(), async {
            tokio::time::sleep(seconds(5)).await;
            attempt.renew(began + seconds(15));
        });
        assert_eq!(began.elapsed(), seconds(15));
    }

    #[tokio::test(start_paused = true)]
    async fn resumed_process_may_renew_an_expired_lease() {
        let seconds = Duration::from_secs;
        let began = Instant::now();
        let claim = Claim { task_id: Uuid::nil(), token: 1 };
        let attempt = Attempt::new(claim, 1, seconds(600), 0, began + seconds(10));
        tokio::join!(attempt.lease_expired(), async {
            // All timers that were due meanwhile fire at once.
            tokio::time::advance(seconds(60)).await;
            sleep(seconds(1)).await;
            attempt.renew(began + seconds(75));
        });
        assert_eq!(began.elapsed(), seconds(75));
    }
}
