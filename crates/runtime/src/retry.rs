//! Retries without a flood of calls or of log lines.

use std::fmt::Display;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

use crate::backoff::Backoff;

const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// Logs the failures of an operation that is repeated until it succeeds: the first one,
/// each change of the reason, and the recovery.
#[derive(Debug)]
pub struct RetryLogger {
    operation: &'static str,
    failures: u32,
    logged_reason: String,
}

impl RetryLogger {
    /// `operation` is the subject of the log lines: "opening the database failed".
    pub fn new(operation: &'static str) -> Self {
        Self { operation, failures: 0, logged_reason: String::new() }
    }

    pub fn failed(&mut self, error: &impl Display) {
        let reason = error.to_string();
        if self.logged_reason != reason {
            tracing::warn!(error = reason, "{} failed; trying again", self.operation);
            self.logged_reason = reason;
        }
        self.failures = self.failures.saturating_add(1);
    }

    pub fn recovered(&mut self) {
        if self.failures > 0 {
            tracing::info!(failures = self.failures, "{} works again", self.operation);
        }
        self.failures = 0;
        self.logged_reason.clear();
    }
}

/// A [`RetryLogger`] with exponential backoff.
#[derive(Debug)]
pub struct Retry {
    log: RetryLogger,
    jitter: Xoshiro256PlusPlus,
}

impl Retry {
    /// Jitter comes from `seed`, so that simulations are repeatable.
    pub fn new(operation: &'static str, seed: u64) -> Self {
        Self { log: RetryLogger::new(operation), jitter: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    /// Logs the failure and returns the delay before the next attempt.
    pub fn failed(&mut self, error: &impl Display) -> Duration {
        let delay = BACKOFF.delay(self.log.failures, self.jitter.random());
        self.log.failed(error);
        delay
    }

    pub fn recovered(&mut self) {
        self.log.recovered();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_delay_grows_to_a_limit_and_resets_on_recovery() {
        let mut retry = Retry::new("a test", 7);
        for full in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let delay = retry.failed(&"no").as_millis();
            assert!((full / 2..=full).contains(&delay), "{delay} of {full}");
        }
        retry.recovered();
        assert!(retry.failed(&"no").as_millis() <= 100);
    }
}
