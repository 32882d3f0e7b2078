//! The loops that keep tasks moving; one set of them runs in every process with a store.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use miniapp_broker::{Broker, Queue};
use miniapp_runtime::retry::{Retry, RetryLogger};
use miniapp_runtime::shutdown::Shutdown;
use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::config::RetentionConfig;
use crate::domain::Command;
use crate::engine::DueTask;
use crate::event_publisher::{self, EventQueue};
use crate::metrics::COUNTERS;
use crate::relay::Relay;
use crate::spans::attempt_lost;
use crate::{Error, Tasks};

/// How often to look for leases that ran out.
const REAP_INTERVAL: Duration = Duration::from_secs(1);
/// How many of them are brought back together.
const REAP_BATCH_SIZE: u32 = 500;
/// How often to look for messages that the broker lost, and to forget old tasks.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);
/// A message that went out longer ago than this and isn't in the queue is lost.
const LOST_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// How many old tasks are forgotten in a transaction.
const PURGE_BATCH_SIZE: u32 = 500;

/// How long the broker may take for what is left at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// How long tasks are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// After they ended.
    pub ended: SignedDuration,
    /// After they were removed, for the streams.
    pub removed: SignedDuration,
}

impl From<&RetentionConfig> for Retention {
    fn from(settings: &RetentionConfig) -> Self {
        // What is too long to be counted is for ever.
        let kept = |time: Duration| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
        Self { ended: kept(settings.retention), removed: kept(settings.deleted_retention) }
    }
}

/// What has to run so that tasks move.
pub struct Maintenance {
    tasks: Tasks,
    due: mpsc::Receiver<DueTask>,
    news: EventQueue,
}

impl Maintenance {
    pub(crate) fn new(tasks: Tasks, due: mpsc::Receiver<DueTask>, news: EventQueue) -> Self {
        Self { tasks, due, news }
    }

    /// Runs as long as `work`, and a little longer: what it did last is still dispatched.
    ///
    /// # Errors
    ///
    /// It broke, and `work` was given up: a process in which tasks don't move is of no use.
    pub async fn during<T>(
        self,
        broker: Arc<dyn Broker>,
        retention: Retention,
        work: impl Future<Output = T>,
    ) -> Result<T, JoinError> {
        let drained = Shutdown::new();
        let mut upkeep = tokio::spawn(self.run(broker, retention, drained.clone()));
        tokio::pin!(work);
        let done = tokio::select! {
            done = &mut work => done,
            // Nobody has told it to end.
            Err(fault) = &mut upkeep => return Err(fault),
        };
        drained.begin();
        upkeep.await?;
        Ok(done)
    }

    /// Dispatches, reaps, tells, forgets and reads the dead letters until the shutdown is
    /// complete: services drain while this still runs, so it ends on `stop`, not on the
    /// first signal. What was committed before is still dispatched and told then, if the
    /// broker takes it at once.
    pub async fn run(self, broker: Arc<dyn Broker>, retention: Retention, stop: Shutdown) {
        let Self { tasks, due, news } = self;
        LazyLock::force(&COUNTERS);
        if !broker.is_durable() {
            // Nothing of an earlier life is in the queue, nor is any of its workers alive.
            stop.token().run_until_cancelled(restore(&tasks)).await;
        }
        let stopped = stop.token();
        let relay = Relay::new(tasks.clone(), broker.clone()).run(due, &stop);
        let news = event_publisher::run(news, broker.clone(), tasks.shared_clock(), &stop);
        let reap =
            every(REAP_INTERVAL, "looking for lost leases", || reap(&tasks, tasks.clock().now()));
        let reap = stopped.run_until_cancelled(reap);
        let sweep = every(SWEEP_INTERVAL, "looking for lost messages and old tasks", || {
            sweep(&tasks, broker.as_ref(), retention)
        });
        let sweep = stopped.run_until_cancelled(sweep);
        let letters =
            stopped.run_until_cancelled(miniapp_broker::run_dead_letter_consumer(broker.as_ref()));
        let too_late = async {
            stop.begun().await;
            sleep(DRAIN_TIMEOUT).await;
        };
        tokio::select! {
            biased;
            _ = async { tokio::join!(relay, news, reap, sweep, letters) } => {}
            () = too_late => tracing::info!("the broker is away; others dispatch what is left"),
        }
    }
}

/// Runs `work` again and again; what fails is tried again next time.
async fn every<F>(pause: Duration, what: &'static str, mut work: impl FnMut() -> F)
where
    F: Future<Output = Result<(), Error>>,
{
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut retry_log = RetryLogger::new(what);
    loop {
        ticks.tick().await;
        match work().await {
            Ok(()) => retry_log.recovered(),
            Err(error) => retry_log.failed(&error),
        }
    }
}

/// Brings back what an earlier life of this process left behind, as soon as the store can
/// be used.
async fn restore(tasks: &Tasks) {
    // Nobody else does it, so there is nobody to be out of step with.
    let mut retry = Retry::new("bringing back waiting tasks", 0);
    loop {
        let now = tasks.clock().now();
        let restored = async {
            reap(tasks, Timestamp::MAX).await?;
            tasks.engine().redispatch(now, now).await.map_err(Error::from)
        };
        match restored.await {
            Ok(0) => return,
            Ok(count) => return tracing::info!(count, "waiting tasks are dispatched again"),
            Err(error) => sleep(retry.failed(&error)).await,
        }
    }
}

/// Brings back tasks whose lease ran out before `until`.
async fn reap(tasks: &Tasks, until: Timestamp) -> Result<(), Error> {
    loop {
        let expired = tasks.engine().expired_leases(until, REAP_BATCH_SIZE).await?;
        let count = expired.len();
        let reaped = join_all(
            expired.into_iter().map(|id| tasks.apply(None, id, Command::ExpireLease { until })),
        );
        for result in reaped.await {
            match result {
                Ok(task) => {
                    COUNTERS.lease_lost(&task);
                    attempt_lost(&task, tasks.clock());
                    tracing::warn!(
                        task.id = %task.id,
                        worker = task.state.worker.as_deref(),
                        status = %task.state.status,
                        "a lease ran out"
                    );
                }
                // RenewedLease, ended or brought back by another process meanwhile.
                Err(Error::Refused(_) | Error::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        if count < REAP_BATCH_SIZE as usize {
            return Ok(());
        }
    }
}

/// Dispatches again what the broker lost, and forgets what is old enough.
async fn sweep(tasks: &Tasks, broker: &dyn Broker, retention: Retention) -> Result<(), Error> {
    let now = tasks.clock().now();
    let ago = |time: SignedDuration| now.saturating_sub(time).unwrap_or(Timestamp::MIN);
    // With messages in the queue nothing can be told lost; an empty queue tells.
    if let Ok(0) = broker.depth(Queue::Tasks).await {
        let lost = tasks.engine().redispatch(ago(LOST_AFTER), now).await?;
        if lost > 0 {
            tracing::warn!(lost, "messages got lost in the broker; dispatched again");
        }
    }
    let (ended, removed) = (ago(retention.ended), ago(retention.removed));
    while tasks.engine().purge(ended, removed, PURGE_BATCH_SIZE).await?
        == u64::from(PURGE_BATCH_SIZE)
    {}
    Ok(())
}
