//! Exponential backoff.

use std::time::Duration;

/// Delays that double from `min` to `max`.
///
/// Each delay is spread over its upper half, so that processes that failed together do
/// not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
}

/// The delays between the attempts of a task: from 1 second to 10 minutes.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_mins(10))
    }
}

impl Backoff {
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self { min, max }
    }

    /// Returns the delay before retry number `retry`, counted from 0. A `jitter` of 1
    /// gives the full delay, one of 0 half of it.
    pub fn delay(self, retry: u32, jitter: f64) -> Duration {
        let factor = 1_u32.checked_shl(retry).unwrap_or(u32::MAX);
        let full = self.min.saturating_mul(factor).min(self.max);
        full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
    }

    /// Returns the delay before retry number `retry`, with random jitter.
    pub fn random_delay(self, retry: u32) -> Duration {
        self.delay(retry, rand::random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delay_doubles_up_to_max() {
        let full =
            [0, 1, 2, 9, 10, 31, 32, u32::MAX].map(|retry| Backoff::default().delay(retry, 1.0));
        assert_eq!(full.map(|delay| delay.as_secs()), [1, 2, 4, 512, 600, 600, 600, 600]);
    }

    #[test]
    fn jitter_removes_at_most_half() {
        let backoff = Backoff::default();
        assert_eq!(backoff.delay(0, 0.0), Duration::from_millis(500));
        assert_eq!(backoff.delay(0, -7.0), backoff.delay(0, 0.0));
        let delay = backoff.random_delay(3);
        assert!((4.0..=8.0).contains(&delay.as_secs_f64()), "{delay:?}");
    }
}
