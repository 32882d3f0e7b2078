//! The time of spans.

use std::time::SystemTime;

use jiff::Timestamp;
use miniapp_runtime::clock::Clock;

/// Returns the machine's time, which the spans of all its processes share.
pub fn now() -> SystemTime {
    opentelemetry::time::now()
}

/// Converts the times of another clock to the time of spans.
#[derive(Clone, Copy, Debug)]
pub struct SpanClock {
    other: Timestamp,
    now: SystemTime,
}

impl SpanClock {
    /// Compares `clock` with the time of spans.
    pub fn new(clock: &dyn Clock) -> Self {
        Self { other: clock.now(), now: now() }
    }

    /// Returns the time of the comparison.
    pub fn now(&self) -> SystemTime {
        self.now
    }

    /// Converts a time of the other clock.
    pub fn to_span_time(&self, at: Timestamp) -> SystemTime {
        let ago = self.other.duration_since(at);
        let span = ago.unsigned_abs();
        let moved =
            if ago.is_negative() { self.now.checked_add(span) } else { self.now.checked_sub(span) };
        moved.unwrap_or(self.now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;
    use miniapp_runtime::clock::ManualClock;

    use super::*;

    #[test]
    fn span_clock_keeps_distances() {
        let clock = ManualClock::default();
        let times = SpanClock::new(&clock);
        let second = SignedDuration::from_secs(1);
        assert_eq!(times.to_span_time(clock.now()), times.now());
        assert_eq!(times.to_span_time(clock.now() + second), times.now() + Duration::from_secs(1));
        assert_eq!(times.to_span_time(clock.now() - second), times.now() - Duration::from_secs(1));
    }
}
