//! Numbers about attempts.

use std::sync::LazyLock;

use kit::metrics::registry;
use prometheus::{HistogramOpts, HistogramVec, IntGauge};
use tokio::time::Instant;

/// From a millisecond to an hour.
const SECONDS: [f64; 13] =
    [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

static ATTEMPTS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let options =
        HistogramOpts::new("worker_attempt_duration_seconds", "How long attempts at tasks took.");
    #[expect(clippy::expect_used, reason = "names and buckets are constants; a test makes it")]
    let attempts = HistogramVec::new(options.buckets(SECONDS.to_vec()), &["kind", "outcome"])
        .expect("constant options are valid");
    // It fails where the name is taken, and nobody else takes it.
    let _ = registry().register(Box::new(attempts.clone()));
    attempts
});

static RUNNING: LazyLock<IntGauge> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the name is a constant; a test makes it")]
    let running = IntGauge::new("worker_attempts_running", "Attempts that run now.")
        .expect("constant options are valid");
    let _ = registry().register(Box::new(running.clone()));
    running
});

/// Counts an attempt while it lives.
pub(crate) struct Counted {
    began: Instant,
}

impl Counted {
    /// One more attempt runs.
    pub fn begin() -> Self {
        RUNNING.inc();
        Self { began: Instant::now() }
    }

    /// It has ended; `kind` must be one that is registered, or the numbers grow with
    /// whatever clients think of.
    pub fn end(self, kind: &str, outcome: &str) {
        ATTEMPTS.with_label_values(&[kind, outcome]).observe(self.began.elapsed().as_secs_f64());
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        RUNNING.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted() {
        let counted = Counted::begin();
        counted.end("metrics_test", "finished");
        let text = kit::metrics::text().expect("encodable");
        let text = String::from_utf8(text).expect("UTF-8");
        let line = "worker_attempt_duration_seconds_count\
                    {kind=\"metrics_test\",outcome=\"finished\"} 1";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("worker_attempts_running "), "{text}");
    }
}
