//! [`Latencies`]: a histogram of durations.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Durations with a precision of a thousandth.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        // From a nanosecond to ten minutes.
        Self(Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("valid bounds"))
    }
}

impl Latencies {
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn merge(&mut self, other: &Self) {
        // Fails only for different bounds.
        let _ = self.0.add(&other.0);
    }

    pub fn count(&self) -> u64 {
        self.0.len()
    }

    pub fn percentile(&self, percentile: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_percentile(percentile))
    }

    pub fn p50(&self) -> Duration {
        self.percentile(50.0)
    }

    pub fn p99(&self) -> Duration {
        self.percentile(99.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_keeps_percentiles() {
        let mut latencies = Latencies::default();
        for millis in 1..=100 {
            latencies.record(Duration::from_millis(millis));
        }
        let mut all = Latencies::default();
        all.merge(&latencies);
        assert_eq!(all.count(), 100);
        assert_eq!(all.p50().as_millis(), 50);
        assert_eq!(all.p99().as_millis(), 99);
    }
}
