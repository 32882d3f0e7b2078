//! The background loops of a process: relay, event publisher, lease reaper and sweeper.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use miniapp_broker::{Broker, Queue};
use miniapp_runtime::retry::{Retry, RetryLogger};
use miniapp_runtime::shutdown::Shutdown;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use crate::config::RetentionConfig;
use crate::engine::{DueTask, StoreError, TaskGroup};
use crate::error::Error;
use crate::event_publisher::{self, EventQueue};
use crate::metrics::COUNTERS;
use crate::reaper::{self, Reaper};
use crate::relay::Relay;
use crate::tasks::Tasks;

/// Number of leases of an earlier run that are expired together.
const RESTORE_BATCH_SIZE: u32 = 500;
/// Interval of the search for lost messages and old tasks.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// A message counts as lost if the queue is empty this long after it was published.
const LOST_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// Maximum number of old tasks deleted per transaction.
const PURGE_BATCH_SIZE: u32 = 500;
/// Time the broker has to accept the remaining messages at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// How long tasks are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// After they reached a final state.
    pub ended: SignedDuration,
    /// After they were deleted, so that streams can still report the deletion.
    pub removed: SignedDuration,
}

impl From<&RetentionConfig> for Retention {
    fn from(config: &RetentionConfig) -> Self {
        // A value out of range means forever.
        let signed = |time: Duration| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
        Self { ended: signed(config.retention), removed: signed(config.deleted_retention) }
    }
}

/// What the loops receive from commits of this process.
pub(crate) struct Queues {
    pub due_tasks: mpsc::Receiver<DueTask>,
    pub events: EventQueue,
}

/// Runs the loops until `stop`. What was committed before is still dispatched and published
/// if the broker accepts it within [`DRAIN_TIMEOUT`].
pub(crate) async fn run(
    tasks: &Tasks,
    broker: &Arc<dyn Broker>,
    retention: Retention,
    lease: Duration,
    queues: Queues,
    stop: &Shutdown,
) {
    LazyLock::force(&COUNTERS);
    if !broker.is_durable() {
        // The queue starts empty, and the workers of this process have ended with its earlier run.
        stop.token().run_until_cancelled(restore(tasks)).await;
    }
    let stopped = stop.token();
    let relay = Relay::new(tasks.clone(), broker.clone()).run(queues.due_tasks, stop);
    let events = event_publisher::run(queues.events, broker.clone(), tasks.shared_clock(), stop);
    let reap = stopped.run_until_cancelled(Reaper::new(tasks.clone(), lease).run());
    let sweep = repeat(SWEEP_INTERVAL, "sweeping lost messages and old tasks", || {
        sweep(tasks, broker.as_ref(), retention)
    });
    let sweep = stopped.run_until_cancelled(sweep);
    let timed_out = async {
        stop.begun().await;
        sleep(DRAIN_TIMEOUT).await;
    };
    tokio::select! {
        biased;
        _ = async { tokio::join!(relay, events, reap, sweep) } => {}
        () = timed_out => tracing::info!(
            "the broker is unavailable; other processes dispatch the remaining tasks"
        ),
    }
}

/// Repeats `work` at an interval. Failures are logged and retried at the next tick.
async fn repeat<F>(period: Duration, operation: &'static str, mut work: impl FnMut() -> F)
where
    F: Future<Output = Result<(), Error>>,
{
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut retry_log = RetryLogger::new(operation);
    loop {
        ticks.tick().await;
        match work().await {
            Ok(()) => retry_log.recovered(),
            Err(error) => retry_log.failed(&error),
        }
    }
}

/// Dispatches the waiting tasks of an earlier run of this process again and expires the leases of
/// its workers, as soon as the store is available.
async fn restore(tasks: &Tasks) {
    // Only one process has this store, so there are no others to spread retries from.
    let mut retry = Retry::new("restoring waiting tasks", 0);
    loop {
        let now = tasks.clock().now();
        let restored = async {
            expire_all(tasks).await?;
            tasks.engine().redispatch(None, now, now).await.map_err(Error::from)
        };
        match restored.await {
            Ok(0) => return,
            Ok(count) => return tracing::info!(count, "redispatching waiting tasks"),
            Err(error) => sleep(retry.failed(&error)).await,
        }
    }
}

/// Expires the leases of an earlier run, except those of workers over HTTP: these may be alive, and
/// renew their leases.
async fn expire_all(tasks: &Tasks) -> Result<(), Error> {
    let end = Timestamp::MAX;
    let reports = tasks.engine().workers(Timestamp::MIN).await?;
    let remote: HashSet<String> = reports
        .into_iter()
        .filter(|report| report.is_remote)
        .map(|report| report.worker.name)
        .collect();
    let mut limit = RESTORE_BATCH_SIZE;
    loop {
        let leases = tasks.engine().expired_leases(end, end, limit).await?;
        let ids: Vec<Uuid> = leases.iter().map(|lease| lease.task_id).collect();
        let mut kept = HashSet::new();
        for task in tasks.engine().load(&ids).await? {
            if task.state.worker.as_deref().is_some_and(|worker| remote.contains(worker)) {
                kept.insert(task.id);
            }
        }
        let is_complete = leases.len() < limit as usize;
        let mut expired = leases;
        expired.retain(|lease| !kept.contains(&lease.task_id));
        reaper::expire(tasks, &expired).await?;
        if is_complete {
            return Ok(());
        }
        // The kept ones are found again.
        limit = RESTORE_BATCH_SIZE.saturating_add(u32::try_from(kept.len()).unwrap_or(u32::MAX));
    }
}

/// Redispatches tasks whose message the broker lost: they were dispatched at `before` or earlier,
/// and their queue is empty. While messages are queued, lost ones cannot be detected.
async fn redispatch_lost(
    tasks: &Tasks,
    broker: &dyn Broker,
    before: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut lost = tasks.engine().dispatched_groups(before).await?;
    if lost.is_empty() {
        return Ok(());
    }
    let able = tasks.capabilities().await?;
    // Tasks that no worker can run any more are read again, too, and parked.
    let route = |group: &TaskGroup| able.route(&group.queue, &group.kind);
    let mut empty: BTreeMap<Queue, bool> = BTreeMap::new();
    for queue in lost.iter().filter_map(route) {
        if let Entry::Vacant(entry) = empty.entry(queue) {
            entry.insert(broker.depth(queue).await.is_ok_and(|depth| depth == 0));
        }
    }
    lost.retain(|group| route(group).is_none_or(|queue| empty[&queue]));
    if lost.is_empty() {
        return Ok(());
    }
    let lost = tasks.engine().redispatch(Some(&lost), before, now).await?;
    if lost > 0 {
        tracing::warn!(lost, "the broker lost messages; redispatching their tasks");
    }
    Ok(())
}

/// Redispatches tasks whose message the broker lost, and purges old tasks.
async fn sweep(tasks: &Tasks, broker: &dyn Broker, retention: Retention) -> Result<(), Error> {
    let now = tasks.clock().now();
    let ago = |time: SignedDuration| now.saturating_sub(time).unwrap_or(Timestamp::MIN);
    redispatch_lost(tasks, broker, ago(LOST_AFTER), now).await?;
    let (ended, removed) = (ago(retention.ended), ago(retention.removed));
    while tasks.engine().purge(ended, removed, PURGE_BATCH_SIZE).await? > 0 {}
    Ok(())
}
