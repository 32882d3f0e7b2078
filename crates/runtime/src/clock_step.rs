//! Detects that the clock was set.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Compares a clock with the monotonic clock, which is never set.
#[derive(Debug, Default)]
pub struct StepDetector(Option<(Instant, Timestamp)>);

/// What has happened between two observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed {
    /// The time that passed on the monotonic clock.
    pub time: Duration,
    /// What the clock gained on the monotonic one: positive if it was set forward, or if the
    /// machine was suspended.
    pub step: SignedDuration,
}

impl StepDetector {
    /// Observes the time `now` of the clock. Returns what has happened since the previous
    /// observation.
    pub fn observe(&mut self, now: Timestamp) -> Option<Elapsed> {
        let at = Instant::now();
        let (last_at, last) = self.0.replace((at, now))?;
        let time = at.duration_since(last_at);
        let signed = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
        Some(Elapsed { time, step: now.duration_since(last).saturating_sub(signed) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn step_is_the_difference_to_the_monotonic_clock() {
        let (mut detector, start) = (StepDetector::default(), Timestamp::UNIX_EPOCH);
        let second = Duration::from_secs(1);
        assert_eq!(detector.observe(start), None);
        tokio::time::advance(second).await;
        let steady = Elapsed { time: second, step: SignedDuration::ZERO };
        assert_eq!(detector.observe(start + second), Some(steady));
        tokio::time::advance(second).await;
        let back = Elapsed { time: second, step: SignedDuration::from_secs(-3601) };
        assert_eq!(detector.observe(start + second - 3600 * second), Some(back));
    }
}
