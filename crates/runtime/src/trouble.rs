//! Trying again, without a flood of calls or of log lines.

use std::fmt::Display;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt as _, SeedableRng as _};

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Tells of something that is tried again until it works.
#[derive(Debug)]
pub struct Trouble {
    what: &'static str,
    failures: u32,
    /// What was said of it last.
    said: String,
}

impl Trouble {
    /// `what` is said when it begins and when it is over.
    pub fn with(what: &'static str) -> Self {
        Self { what, failures: 0, said: String::new() }
    }

    /// It failed: says so the first time and whenever the reason changes.
    pub fn tell(&mut self, error: &impl Display) {
        let reason = error.to_string();
        if self.said != reason {
            tracing::warn!(error = reason, "{} failed; trying again", self.what);
            self.said = reason;
        }
        self.failures += 1;
    }

    /// It worked.
    pub fn over(&mut self) {
        if self.failures > 0 {
            tracing::info!(failures = self.failures, "{} works again", self.what);
        }
        self.failures = 0;
        self.said.clear();
    }
}

/// [`Trouble`], and how long to wait until it is tried again.
#[derive(Debug)]
pub struct Retries {
    trouble: Trouble,
    jitter: Xoshiro256PlusPlus,
}

impl Retries {
    /// Tells of `what`; waits are spread by `seed`.
    pub fn of(what: &'static str, seed: u64) -> Self {
        Self { trouble: Trouble::with(what), jitter: Xoshiro256PlusPlus::seed_from_u64(seed) }
    }

    /// It failed: tells that, and gives how long to wait. Waits double up to some seconds
    /// and are spread, so that all processes don't come back at once.
    pub fn failed(&mut self, error: &impl Display) -> Duration {
        let full = (SHORTEST * 2_u32.pow(self.trouble.failures.min(10))).min(LONGEST);
        self.trouble.tell(error);
        full.mul_f64(self.jitter.random_range(0.5..=1.0))
    }

    /// It worked.
    pub fn over(&mut self) {
        self.trouble.over();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_begin_anew() {
        let mut retries = Retries::of("a test", 7);
        for full in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            let wait = retries.failed(&"no").as_millis();
            assert!((full / 2..=full).contains(&wait), "{wait} of {full}");
        }
        retries.over();
        assert!(retries.failed(&"no").as_millis() <= 100);
    }
}
