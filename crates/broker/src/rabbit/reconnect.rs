//! Delays between attempts to connect or to resubscribe.

use std::time::Duration;

use miniapp_runtime::backoff::Backoff;
use tokio::time::Instant;

const MAX_DELAY: Duration = Duration::from_secs(5);
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), MAX_DELAY);

#[derive(Debug, Default)]
pub(super) struct ReconnectDelay {
    failures: u32,
}

impl ReconnectDelay {
    /// Counts a failure and returns the delay before the next attempt.
    pub fn next(&mut self) -> Duration {
        let delay = BACKOFF.random_delay(self.failures);
        self.failures = self.failures.saturating_add(1);
        delay
    }

    /// Resets the backoff if the connection was up for a while. A connection that ends as
    /// soon as it begins still counts as a failure.
    pub fn reset_if_stable(&mut self, connected_at: Instant) {
        if connected_at.elapsed() >= MAX_DELAY {
            self.failures = 0;
        }
    }

    /// Returns the delay for failures that only an operator can fix.
    pub fn longest() -> Duration {
        BACKOFF.random_delay(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn delay_grows_until_a_connection_is_stable() {
        let mut delay = ReconnectDelay::default();
        for full in [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let next = delay.next().as_millis();
            assert!((full / 2..=full).contains(&next), "{next} of {full}");
        }
        let connected_at = Instant::now();
        delay.reset_if_stable(connected_at);
        assert!(delay.next() >= MAX_DELAY / 2);
        tokio::time::advance(MAX_DELAY).await;
        delay.reset_if_stable(connected_at);
        assert!(delay.next() <= Duration::from_millis(50));
    }
}
