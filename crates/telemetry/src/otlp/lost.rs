//! How many spans never got to a collector.

use std::sync::LazyLock;

use prometheus_client::encoding::EncodeLabelSet;

use crate::metrics::{self, Counter, Family};

static DROPPED: LazyLock<Family<Lost, Counter>> = LazyLock::new(|| {
    let help = "Spans that were recorded and never got to the collector, by the reason";
    metrics::counters("telemetry_spans_dropped", help, REASONS.map(|reason| Lost { reason }))
});

/// There was no room in the queue; the collector wasn't there, or not in time; it said no.
const REASONS: [&str; 3] = ["queue_full", "unreachable", "refused"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Lost {
    reason: &'static str,
}

/// Counts lost spans.
pub(super) fn count(reason: &'static str, count: u64) {
    DROPPED.get_or_create(&Lost { reason }).inc_by(count);
}

/// All that were lost in the life of this process.
pub(super) fn so_far() -> u64 {
    REASONS.iter().map(|reason| DROPPED.get_or_create(&Lost { reason }).get()).sum()
}
