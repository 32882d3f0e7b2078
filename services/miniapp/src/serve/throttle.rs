//! Limits how many ended tasks are shown, so that people can follow the output.

use std::time::Duration;

use tokio::time::Instant;

/// Tasks shown at once after a pause.
const BURST: u32 = 4;
/// Time until one more task may be shown.
const INTERVAL: Duration = Duration::from_millis(500);

/// A token bucket that counts what it rejects.
#[derive(Debug)]
pub struct Throttle {
    tokens: u32,
    refilled_at: Instant,
    skipped: u64,
}

impl Throttle {
    pub fn new(now: Instant) -> Self {
        Self { tokens: BURST, refilled_at: now, skipped: 0 }
    }

    /// Returns whether one more task may be shown; otherwise counts it as skipped.
    pub fn acquire(&mut self, now: Instant) -> bool {
        while self.tokens < BURST && now.duration_since(self.refilled_at) >= INTERVAL {
            self.tokens += 1;
            self.refilled_at += INTERVAL;
        }
        if self.tokens == BURST {
            self.refilled_at = now;
        }
        let is_shown = self.tokens > 0;
        if is_shown {
            self.tokens -= 1;
        } else {
            self.skipped += 1;
        }
        is_shown
    }

    /// Returns how many tasks were skipped since the last call.
    pub fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttle_shows_a_burst_and_counts_the_others() {
        let start = Instant::now();
        let mut throttle = Throttle::new(start);
        let shown =
            |throttle: &mut Throttle, now| (0..100).filter(|_| throttle.acquire(now)).count();
        assert_eq!(shown(&mut throttle, start), 4);
        assert_eq!(throttle.take_skipped(), 96);
        assert_eq!(throttle.take_skipped(), 0);
        assert_eq!(shown(&mut throttle, start + INTERVAL * 3 / 2), 1);
        assert_eq!(shown(&mut throttle, start + INTERVAL * 2), 1);
        assert_eq!(shown(&mut throttle, start + INTERVAL * 100), 4);
        assert_eq!(throttle.take_skipped(), 99 + 99 + 96);
    }
}
