//! Metrics of attempts.

use std::sync::LazyLock;

use miniapp_telemetry::metrics::{
    self, Counter, Exemplar, Family, Gauge, Histogram, Histograms, LONG_BUCKETS, SHORT_BUCKETS,
};
use prometheus_client::encoding::EncodeLabelSet;
use tokio::time::Instant;

use crate::kinds::Kinds;

static EXECUTIONS: LazyLock<Histograms<ExecutionLabels>> = LazyLock::new(|| {
    let help = "Duration of task attempts, by kind and outcome";
    metrics::histograms("miniapp_task_execution_duration", help, LONG_BUCKETS)
});

static CLAIMS: LazyLock<Histogram> = LazyLock::new(|| {
    let help = "Time from receiving a message to starting the task's code";
    metrics::histogram("miniapp_task_claim_to_start", help, SHORT_BUCKETS)
});

static RETRIES: LazyLock<Family<KindLabel, Counter>> = LazyLock::new(|| {
    metrics::counters("miniapp_task_retries", "Failed attempts that are retried", [])
});

static RUNNING: LazyLock<Gauge> =
    LazyLock::new(|| metrics::gauge("miniapp_task_attempts_running", "Attempts running now"));

static SLOTS: LazyLock<Gauge> = LazyLock::new(|| {
    metrics::gauge(
        "miniapp_worker_slots",
        "Attempts that the workers of this process can run concurrently",
    )
});

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExecutionLabels {
    kind: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: String,
}

/// The slots of a worker, counted until this is dropped.
pub(crate) struct SlotsGuard(u16);

impl SlotsGuard {
    /// Counts the slots of a worker that starts. Creates the counters of its kinds, so that
    /// their first increment is visible as an increase.
    pub fn new(count: u16, kinds: &Kinds) -> Self {
        LazyLock::force(&CLAIMS);
        SLOTS.inc_by(count.into());
        for kind in kinds.names() {
            drop(RETRIES.get_or_create(&KindLabel { kind }));
        }
        Self(count)
    }
}

impl Drop for SlotsGuard {
    fn drop(&mut self) {
        SLOTS.dec_by(self.0.into());
    }
}

/// Counts a running attempt and measures its duration.
pub(crate) struct AttemptTimer {
    started_at: Instant,
}

impl AttemptTimer {
    /// Starts an attempt whose claim was requested at `requested_at`.
    pub fn start(requested_at: Instant, exemplar: Option<Exemplar>) -> Self {
        RUNNING.inc();
        let started_at = Instant::now();
        CLAIMS.observe(started_at.duration_since(requested_at), exemplar);
        Self { started_at }
    }

    /// Records the end of the attempt. `kind` must be bounded: a registered kind or a constant.
    pub fn stop(self, kind: &str, outcome: &'static str, exemplar: Option<Exemplar>) {
        let labels = ExecutionLabels { kind: kind.to_owned(), outcome };
        EXECUTIONS.observe(&labels, self.started_at.elapsed(), exemplar);
    }
}

impl Drop for AttemptTimer {
    fn drop(&mut self) {
        RUNNING.dec();
    }
}

/// Counts a failed attempt that is retried. `kind` must be registered.
pub(crate) fn record_retry(kind: &str) {
    RETRIES.get_or_create(&KindLabel { kind: kind.to_owned() }).inc();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use miniapp_telemetry::metrics::{Format, encode};

    use super::*;

    #[tokio::test]
    async fn attempt_timer_records_metrics() {
        let requested_at = Instant::now().checked_sub(Duration::from_secs(1)).expect("a time");
        let timer = AttemptTimer::start(requested_at, None);
        timer.stop("metrics_test", "finished", None);
        let written = encode(Format::Prometheus).await.expect("written");
        for line in [
            "miniapp_task_execution_duration_seconds_count{kind=\"metrics_test\",\
             outcome=\"finished\"} 1",
            "miniapp_task_claim_to_start_seconds_bucket{le=\"0.5\"} 0",
            "miniapp_task_claim_to_start_seconds_bucket{le=\"2.5\"} 1",
            "miniapp_task_attempts_running 0",
        ] {
            assert!(written.lines().any(|one| one == line), "{line}: {written}");
        }
    }
}
