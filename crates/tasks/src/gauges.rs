//! Gauges of the store and the broker, collected on each scrape.

use std::sync::{Arc, LazyLock};

use miniapp_broker::{Broker, Queue};
use miniapp_telemetry::metrics::{self, CollectorGuard, Family, FloatGauge, Gauge};
use prometheus_client::encoding::EncodeLabelSet;
use strum::IntoEnumIterator as _;

use crate::engine::{Backlog, StoreError};
use crate::relay;
use crate::tasks::Tasks;

/// Tasks are counted up to this number per state, which is enough for every alert.
const MAX_COUNTED: u32 = 100_000;

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
    queue: String,
}

/// Collects the gauges on each scrape until the guard is dropped.
///
/// The values describe the whole platform and are the same in every process, so one kind of
/// process reports them.
pub fn register(tasks: &Tasks, broker: &Arc<dyn Broker>) -> CollectorGuard {
    let (tasks, broker) = (tasks.clone(), broker.clone());
    metrics::register_collector(move || {
        let (tasks, broker) = (tasks.clone(), broker.clone());
        async move { tokio::join!(collect_tasks(&tasks), collect_queues(&*broker)).0 }
    })
}

async fn collect_tasks(tasks: &Tasks) {
    let Gauges { tasks: counts, ages, workers, .. } = &*GAUGES;
    let now = tasks.clock().now();
    let query = async {
        let deadline = relay::visibility_deadline(now);
        let backlog = tasks.engine().backlog(now, deadline, MAX_COUNTED).await?;
        Ok::<_, StoreError>((backlog, tasks.workers().await?.len()))
    };
    let Ok((backlog, live)) = query.await else {
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

async fn collect_queues(broker: &dyn Broker) {
    for queue in Queue::iter() {
        let labels = QueueLabels { queue: queue.name().into_owned() };
        match broker.depth(queue).await {
            Ok(count) => {
                GAUGES.messages.get_or_create(&labels).set(count.cast_signed());
            }
            Err(_) => {
                GAUGES.messages.remove(&labels);
            }
        }
    }
}
