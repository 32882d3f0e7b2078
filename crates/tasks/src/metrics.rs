//! Metrics of commits and of the background loops.

use std::sync::LazyLock;

use jiff::Timestamp;
use miniapp_telemetry::metrics::{
    self, Counter, Exemplar, Family, Histogram, Histograms, LONG_BUCKETS, SHORT_BUCKETS,
};
use miniapp_types::task::EventType;
use prometheus_client::encoding::EncodeLabelSet;
use strum::IntoEnumIterator as _;

use crate::domain::Task;

pub(crate) struct Counters {
    events: Family<EventLabels, Counter>,
    start_delay: Histogram,
    lease_losses: Family<OutcomeLabels, Counter>,
    /// Duration of batch writes.
    pub writes: Histogram,
}

pub(crate) static COUNTERS: LazyLock<Counters> = LazyLock::new(|| {
    let help = "Task events committed by this process";
    let known = EventType::iter().map(EventLabels::from);
    let events = metrics::counters("miniapp_task_events", help, known);
    let help = "Expired task leases, by outcome";
    let known = [OutcomeLabels::RETRIED, OutcomeLabels::ENDED];
    let lease_losses = metrics::counters("miniapp_task_lease_losses", help, known);
    let help = "Time from a task being ready to the start of its attempt";
    let start_delay = metrics::histogram("miniapp_task_start_delay", help, LONG_BUCKETS);
    let help = "Duration of database operations on hot paths";
    let operations: Histograms<OperationLabels> =
        metrics::histograms("db_client_operation_duration", help, SHORT_BUCKETS);
    let writes = operations.with(&OperationLabels { db_operation_name: "write_tasks" });
    Counters { events, start_delay, lease_losses, writes }
});

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    event: &'static str,
}

impl From<EventType> for EventLabels {
    fn from(event: EventType) -> Self {
        Self { event: event.into() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl OutcomeLabels {
    const RETRIED: Self = Self { outcome: "retried" };
    const ENDED: Self = Self { outcome: "ended" };
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    db_operation_name: &'static str,
}

impl Counters {
    /// Counts a committed event.
    pub fn event_committed(&self, event: EventType) {
        self.events.get_or_create(&event.into()).inc();
    }

    /// Records the start delay of `task`, in its state before the claim.
    pub fn claimed(&self, task: &Task, at: Timestamp) {
        let Some(ready_at) = task.state.ready_at else { return };
        let waited = at.duration_since(ready_at).try_into().unwrap_or_default();
        self.start_delay.observe(waited, Exemplar::from_trace_context(&task.spec.trace));
    }

    /// Counts an expired lease. `task` is in its state after the expiry.
    pub fn lease_lost(&self, task: &Task) {
        let has_ended = task.state.status.is_terminal();
        self.lease_losses
            .get_or_create(if has_ended { &OutcomeLabels::ENDED } else { &OutcomeLabels::RETRIED })
            .inc();
    }
}
