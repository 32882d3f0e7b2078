//! Counts of spans that did not reach the collector.

use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelSet;

use crate::metrics::{self, Counter, Family};

static DROPPED: LazyLock<Family<Dropped, Counter>> = LazyLock::new(|| {
    let help = "Recorded spans that did not reach the collector, by reason";
    let known = Reason::ALL.map(|reason| Dropped { reason: reason.into() });
    metrics::counters("telemetry_spans_dropped", help, known)
});

/// Why spans were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Reason {
    QueueFull,
    Unreachable,
    Refused,
}

impl Reason {
    const ALL: [Self; 3] = [Self::QueueFull, Self::Unreachable, Self::Refused];
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Dropped {
    reason: &'static str,
}

/// Counts dropped spans. With a count of 0 it only makes the metric visible.
pub(super) fn count(reason: Reason, count: u64) {
    DROPPED.get_or_create(&Dropped { reason: reason.into() }).inc_by(count);
}

/// Returns the number of spans that this process has dropped.
pub(super) fn total() -> u64 {
    let count = |reason: Reason| DROPPED.get_or_create(&Dropped { reason: reason.into() }).get();
    Reason::ALL.into_iter().map(count).sum()
}
