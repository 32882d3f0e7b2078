//! How long to wait before trying again.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::Instant;

const SHORTEST: Duration = Duration::from_millis(50);
pub(super) const LONGEST: Duration = Duration::from_secs(5);

/// Waits that double up to some seconds, spread so that all processes don't come back at
/// once.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub fn next(&mut self) -> Duration {
        let full = (SHORTEST * 2_u32.pow(self.failures.min(10))).min(LONGEST);
        self.failures += 1;
        spread(full)
    }

    /// Forgives what was before if it worked from `since` until now: what ends as soon as
    /// it begins doesn't work.
    pub fn worked(&mut self, since: Instant) {
        if since.elapsed() >= LONGEST {
            self.failures = 0;
        }
    }
}

/// Between half of `full` and all of it.
pub(super) fn spread(full: Duration) -> Duration {
    full.mul_f64(rand::rng().random_range(0.5..=1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_grow_until_it_worked_for_a_while() {
        let mut backoff = Backoff::default();
        for full in [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let wait = backoff.next().as_millis();
            assert!((full / 2..=full).contains(&wait), "{wait} of {full}");
        }
        let since = Instant::now();
        backoff.worked(since);
        assert!(backoff.next() >= LONGEST / 2);
        tokio::time::advance(LONGEST).await;
        backoff.worked(since);
        assert!(backoff.next() <= SHORTEST);
    }
}
