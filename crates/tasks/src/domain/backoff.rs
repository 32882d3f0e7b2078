//! How long to wait before the next attempt.

use jiff::SignedDuration;

/// The wait after the first failure, before jitter.
const BASE_DELAY: SignedDuration = SignedDuration::from_secs(1);
/// The longest wait, before jitter.
const MAX_DELAY: SignedDuration = SignedDuration::from_mins(10);

/// The wait after `attempt` failed: doubled each time up to ten minutes, then spread
/// over its upper half by `jitter` (from 0 to 1), so that tasks that failed together
/// don't come back together.
pub fn backoff(attempt: u32, jitter: f64) -> SignedDuration {
    let doublings = attempt.saturating_sub(1).min(16);
    let full = (BASE_DELAY * 2_i32.pow(doublings)).min(MAX_DELAY);
    full.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit() {
        let full: Vec<i64> =
            [1, 2, 3, 10, 11, 4_000_000_000].map(|attempt| backoff(attempt, 1.0).as_secs()).into();
        assert_eq!(full, [1, 2, 4, 512, 600, 600]);
    }

    #[test]
    fn jitter_takes_at_most_half_away() {
        assert_eq!(backoff(1, 0.0), SignedDuration::from_millis(500));
        assert_eq!(backoff(1, -7.0), backoff(1, 0.0));
    }
}
