//! How many span trees are shown: those that people can follow.

use std::time::Duration;

use tokio::time::Instant;

/// This many at once, after a quiet time.
const BURST: u32 = 4;
/// One more after each of these.
const PACE: Duration = Duration::from_millis(500);

/// Decides which of the ended tasks are shown, and counts the others.
#[derive(Debug)]
pub struct Budget {
    left: u32,
    filled_at: Instant,
    passed_over: u64,
}

impl Budget {
    /// Full.
    pub fn new(now: Instant) -> Self {
        Self { left: BURST, filled_at: now, passed_over: 0 }
    }

    /// Whether one more may be shown; otherwise it is counted.
    pub fn take(&mut self, now: Instant) -> bool {
        while self.left < BURST && now.duration_since(self.filled_at) >= PACE {
            self.left += 1;
            self.filled_at += PACE;
        }
        if self.left == BURST {
            self.filled_at = now;
        }
        let shown = self.left > 0;
        if shown {
            self.left -= 1;
        } else {
            self.passed_over += 1;
        }
        shown
    }

    /// How many were passed over since this was asked last.
    pub fn passed_over(&mut self) -> u64 {
        std::mem::take(&mut self.passed_over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_shown_and_the_others_counted() {
        let begin = Instant::now();
        let mut budget = Budget::new(begin);
        let shown = |budget: &mut Budget, now| (0..100).filter(|_| budget.take(now)).count();
        assert_eq!(shown(&mut budget, begin), 4);
        assert_eq!(budget.passed_over(), 96);
        assert_eq!(budget.passed_over(), 0);
        assert_eq!(shown(&mut budget, begin + PACE * 3 / 2), 1);
        assert_eq!(shown(&mut budget, begin + PACE * 2), 1);
        assert_eq!(shown(&mut budget, begin + PACE * 100), 4);
        assert_eq!(budget.passed_over(), 99 + 99 + 96);
    }
}
