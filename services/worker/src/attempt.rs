//! An attempt in this worker's hands.

use std::sync::OnceLock;
use std::time::Duration;

use miniapp_tasks::Claim;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Why an attempt is to stop. The first reason stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Its owner asked for it.
    Canceled,
    /// It ran past its ttl.
    Expired,
    /// Another worker may have it by now; nothing that it does counts any more.
    LeaseLost,
    /// The worker shuts down.
    Shutdown,
}

/// What the worker's loops know of a running attempt.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub claim: Claim,
    /// 1 for the first.
    pub number: u32,
    pub ttl: Duration,
    /// Where its randomness begins.
    pub seed: u64,
    stop: OnceLock<Stop>,
    stopped: CancellationToken,
    lease_until: Mutex<Instant>,
    progress: Mutex<Progress>,
}

/// How far the attempt says it is, and when that was last stored.
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

    /// Tells it to stop.
    pub fn stop(&self, reason: Stop) {
        if self.stop.set(reason).is_ok() {
            self.stopped.cancel();
        }
    }

    /// Why it is to stop, if it is.
    pub fn stop_reason(&self) -> Option<Stop> {
        self.stop.get().copied()
    }

    /// Waits until it is to stop.
    pub async fn stopped(&self) {
        self.stopped.cancelled().await;
    }

    /// Until when the task is certainly this worker's.
    pub fn lease_until(&self) -> Instant {
        *self.lease_until.lock()
    }

    /// The store renewed the lease.
    pub fn renewed(&self, until: Instant) {
        *self.lease_until.lock() = until;
    }

    /// Notes how far it is; what was noted before and not stored is forgotten.
    pub fn note_progress(&self, progress: f64, message: String) {
        self.progress.lock().newest = Some((progress, message));
    }

    /// Waits until the lease has run out, which it doesn't while it is renewed.
    pub async fn forfeited(&self) {
        loop {
            let until = self.lease_until();
            sleep_until(until).await;
            if self.lease_until() <= until {
                return;
            }
        }
    }

    /// The progress to be stored at `now`; if it is too early for that, when it is time.
    pub fn due_progress(
        &self,
        now: Instant,
        pause: Duration,
    ) -> Result<(f64, String), Option<Instant>> {
        let mut progress = self.progress.lock();
        let due_at = progress.stored_at.map_or(now, |at| at + pause);
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
    async fn a_lease_ends_when_it_is_not_renewed() {
        let seconds = Duration::from_secs;
        let began = Instant::now();
        let claim = Claim { task_id: Uuid::nil(), token: 1 };
        let attempt = Attempt::new(claim, 1, seconds(60), 0, began + seconds(10));
        tokio::join!(attempt.forfeited(), async {
            tokio::time::sleep(seconds(5)).await;
            attempt.renewed(began + seconds(15));
        });
        assert_eq!(began.elapsed(), seconds(15));
    }
}
