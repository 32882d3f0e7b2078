//! Numbers about attempts.

use std::sync::LazyLock;

use miniapp_telemetry::metrics::{
    self, Counter, Exemplar, Family, Gauge, Histogram, Histograms, LONG_BUCKETS, SHORT_BUCKETS,
};
use prometheus_client::encoding::EncodeLabelSet;
use tokio::time::Instant;

use crate::kinds::Kinds;

static EXECUTIONS: LazyLock<Histograms<Execution>> = LazyLock::new(|| {
    let help = "Duration of task attempts, by kind and outcome";
    metrics::histograms("miniapp_task_execution_duration", help, LONG_BUCKETS)
});

static CLAIMS: LazyLock<Histogram> = LazyLock::new(|| {
    let help = "Time from receiving a message to starting the task's code";
    metrics::histogram("miniapp_task_claim_to_start", help, SHORT_BUCKETS)
});

static RETRIES: LazyLock<Family<Kind, Counter>> = LazyLock::new(|| {
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
struct Execution {
    kind: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: String,
}

/// What a worker can run at a time, for as long as it lives.
pub(crate) struct Slots(u16);

impl Slots {
    /// A worker with `count` of them begins. What it may have to count is there from now on,
    /// so that the first of each is seen as an increase.
    pub fn open(count: u16, kinds: &Kinds) -> Self {
        LazyLock::force(&CLAIMS);
        SLOTS.inc_by(count.into());
        for kind in kinds.names() {
            drop(RETRIES.get_or_create(&Kind { kind }));
        }
        Self(count)
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        SLOTS.dec_by(self.0.into());
    }
}

/// Counts an attempt while it lives.
pub(crate) struct Counted {
    began: Instant,
}

impl Counted {
    /// One more attempt runs, for which a message was in hand since `asked_at`.
    pub fn begin(asked_at: Instant, exemplar: Option<Exemplar>) -> Self {
        RUNNING.inc();
        let began = Instant::now();
        CLAIMS.observe(began.duration_since(asked_at), exemplar);
        Self { began }
    }

    /// It has ended; `kind` must be one that is registered, or the numbers grow with
    /// whatever clients think of.
    pub fn end(self, kind: &str, outcome: &'static str, exemplar: Option<Exemplar>) {
        let labels = Execution { kind: kind.to_owned(), outcome };
        EXECUTIONS.observe(&labels, self.began.elapsed(), exemplar);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        RUNNING.dec();
    }
}

/// An attempt at a task of a registered `kind` failed, and another one follows.
pub(crate) fn retried(kind: &str) {
    RETRIES.get_or_create(&Kind { kind: kind.to_owned() }).inc();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use miniapp_telemetry::metrics::{Format, encode};

    use super::*;

    #[tokio::test]
    async fn attempts_are_counted() {
        let asked_at = Instant::now().checked_sub(Duration::from_secs(1)).expect("a time");
        let counted = Counted::begin(asked_at, None);
        counted.end("metrics_test", "finished", None);
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
