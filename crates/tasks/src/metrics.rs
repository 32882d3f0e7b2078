//! Numbers about tasks.

use std::sync::{Arc, LazyLock};

use jiff::Timestamp;
use miniapp_broker::{Broker, Queue};
use miniapp_telemetry::metrics::{
    self, CollectorGuard, Counter, Exemplar, Family, FloatGauge, Gauge,
};
use miniapp_telemetry::metrics::{Histogram, Histograms, LONG_BUCKETS, SHORT_BUCKETS};
use miniapp_types::task::EventType;
use prometheus_client::encoding::EncodeLabelSet;
use strum::IntoEnumIterator as _;

use crate::domain::Task;
use crate::engine::{Backlog, StoreError};
use crate::{Tasks, relay};

/// Up to how many tasks are counted in each state: enough for every alarm.
const MAX_COUNTED: u32 = 100_000;

/// What commits and upkeep count.
pub(crate) struct Counters {
    events: Family<EventLabels, Counter>,
    start_delay: Histogram,
    lease_losses: Family<OutcomeLabels, Counter>,
    /// How long batches take to be written.
    pub writes: Histogram,
}

/// See [`Counters`].
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
    /// Something was committed.
    pub fn event_committed(&self, event: EventType) {
        self.events.get_or_create(&event.into()).inc();
    }

    /// `task`, as it waited, was claimed at `at`.
    pub fn claimed(&self, task: &Task, at: Timestamp) {
        let Some(ready_at) = task.state.ready_at else { return };
        let waited = at.duration_since(ready_at).try_into().unwrap_or_default();
        self.start_delay.observe(waited, Exemplar::from_trace_context(&task.spec.trace));
    }

    /// The lease of what is `task` now ran out.
    pub fn lease_lost(&self, task: &Task) {
        let is_over = task.state.status.is_terminal();
        self.lease_losses
            .get_or_create(if is_over { &OutcomeLabels::ENDED } else { &OutcomeLabels::RETRIED })
            .inc();
    }
}

/// What the store and the broker have to be asked for.
struct Gauges {
    tasks: Family<StateLabels, Gauge>,
    ages: Family<StateLabels, FloatGauge>,
    workers: Family<[(&'static str, &'static str); 0], Gauge>,
    messages: Family<QueueLabels, Gauge>,
}

static GAUGES: LazyLock<Gauges> = LazyLock::new(|| Gauges {
    tasks: metrics::gauges("miniapp_tasks", "Unfinished tasks by state, counted up to 100000"),
    ages: metrics::duration_gauges("miniapp_tasks_oldest_age", "Age of the oldest task in a state"),
    workers: metrics::gauges("miniapp_workers", "Workers with a recent report"),
    messages: metrics::gauges("miniapp_broker_queue_messages", "Messages waiting in a queue"),
});

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    queue: &'static str,
}

/// Tells of all tasks of the store and all queues of the broker whenever the metrics are
/// read. Everybody who does that tells the same, so it is for one kind of process.
pub fn register_gauges(tasks: &Tasks, broker: &Arc<dyn Broker>) -> CollectorGuard {
    let (tasks, broker) = (tasks.clone(), broker.clone());
    metrics::register_collector(move || {
        let (tasks, broker) = (tasks.clone(), broker.clone());
        async move { tokio::join!(ask_store(&tasks), ask_broker(&*broker)).0 }
    })
}

async fn ask_store(tasks: &Tasks) {
    let Gauges { tasks: counts, ages, workers, .. } = &*GAUGES;
    let now = tasks.clock().now();
    let asked = async {
        let backlog =
            tasks.engine().backlog(now, relay::visibility_deadline(now), MAX_COUNTED).await?;
        Ok::<_, StoreError>((backlog, tasks.workers().await?.len()))
    };
    let Ok((backlog, live)) = asked.await else {
        counts.clear();
        ages.clear();
        return workers.clear();
    };
    let Backlog { delayed, outbox, queued, running, outbox_since, queued_since } = backlog;
    for (state, count) in
        [("delayed", delayed), ("outbox", outbox), ("queued", queued), ("running", running)]
    {
        counts.get_or_create(&StateLabels { state }).set(count.cast_signed());
    }
    for (state, since) in [("outbox", outbox_since), ("queued", queued_since)] {
        let age = since.map_or(0.0, |since| now.duration_since(since).as_secs_f64());
        ages.get_or_create(&StateLabels { state }).set(age.max(0.0));
    }
    workers.get_or_create(&[]).set(i64::try_from(live).unwrap_or(i64::MAX));
}

async fn ask_broker(broker: &dyn Broker) {
    for queue in Queue::iter() {
        let queue_name = QueueLabels { queue: queue.name() };
        match broker.depth(queue).await {
            Ok(count) => {
                GAUGES.messages.get_or_create(&queue_name).set(count.cast_signed());
            }
            Err(_) => {
                GAUGES.messages.remove(&queue_name);
            }
        }
    }
}
