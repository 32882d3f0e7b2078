//! Consumes offers, and drains running tasks on shutdown.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use miniapp_broker::{Broker, Queue};
use miniapp_tasks::{Offer, OfferConsumer};
use miniapp_telemetry::trace::{CorrelationIds, in_trace};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::Stop;
use crate::observer::Observer;
use crate::runner::Runner;
use crate::subscriptions::{REFRESH_INTERVAL, Subscriptions};

/// How long an offer waits while a task runs alone in this process before it is returned.
const TURN_TIMEOUT: Duration = Duration::from_millis(250);
/// How long stopped attempts may take to release their tasks.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs up to `concurrency` tasks concurrently until shutdown. Then waits for running ones during
/// the grace period, and releases the rest.
pub(crate) async fn run(runner: &Arc<Runner>, broker: Arc<dyn Broker>, concurrency: u16) {
    let consumer = Arc::new(Consumer {
        runner: runner.clone(),
        broker,
        slots: Arc::new(Semaphore::new(usize::from(concurrency))),
        attempts: TaskTracker::new(),
        abort: runner.shutdown.hard_token().child_token(),
    });
    let consuming = consumer.consume_all().await;

    let Consumer { attempts, abort, .. } = &*consumer;
    attempts.close();
    if timeout(runner.grace, attempts.wait()).await.is_err() {
        tracing::info!(
            count = attempts.len(),
            "releasing tasks that did not finish within the grace period"
        );
        runner.running.stop(Stop::Shutdown);
        if timeout(RELEASE_TIMEOUT, attempts.wait()).await.is_err() {
            tracing::warn!(
                count = attempts.len(),
                "abandoned tasks; other workers take them over when their leases expire"
            );
            abort.cancel();
            attempts.wait().await;
        }
    }
    // Last, because the end of a consumer returns its unsettled offers.
    drop(consuming);
}

/// What the consumers of all queues share.
struct Consumer {
    runner: Arc<Runner>,
    broker: Arc<dyn Broker>,
    slots: Arc<Semaphore>,
    attempts: TaskTracker,
    abort: CancellationToken,
}

impl Consumer {
    /// Consumes all queues of the worker until shutdown. New ones appear meanwhile. Returns the
    /// consumers, which have stopped or are about to.
    async fn consume_all(self: &Arc<Self>) -> JoinSet<()> {
        let shutdown = &self.runner.shutdown;
        let mut subscriptions = Subscriptions::new(self.runner.runs.clone());
        let mut consumed: BTreeMap<Queue, CancellationToken> = BTreeMap::new();
        let mut consuming = JoinSet::new();
        let mut retry = self.runner.retry("looking for queues");
        while !shutdown.has_begun() {
            let queues = subscriptions.queues();
            consumed.retain(|queue, stop| {
                let is_kept = queues.contains(queue);
                if !is_kept {
                    stop.cancel();
                }
                is_kept
            });
            for queue in queues {
                if let Entry::Vacant(entry) = consumed.entry(queue) {
                    let stop = entry.insert(shutdown.token().child_token()).clone();
                    let this = self.clone();
                    consuming.spawn(async move { this.consume(queue, stop).await });
                }
            }
            while let Some(ended) = consuming.try_join_next() {
                if let Err(panicked) = ended {
                    resume_unwind(panicked.into_panic());
                }
            }
            let refresh = async {
                match subscriptions.refresh(&self.runner.tasks).await {
                    Ok(()) => {
                        retry.recovered();
                        sleep(REFRESH_INTERVAL).await;
                    }
                    Err(error) => sleep(retry.failed(&error)).await,
                }
            };
            shutdown.token().run_until_cancelled(refresh).await;
        }
        consuming
    }

    /// Consumes a queue until `stop`.
    async fn consume(&self, queue: Queue, stop: CancellationToken) {
        let mut retry = self.runner.retry("consuming tasks");
        let mut offers = OfferConsumer::new(queue, self.slots.clone());
        while !stop.is_cancelled() {
            // Other processes get the messages while a task runs alone in this one.
            stop.run_until_cancelled(self.runner.isolation.ended()).await;
            let interrupted = async {
                stop.run_until_cancelled(self.runner.isolation.begun()).await;
            };
            let start = |offer, slot| self.start(queue, offer, slot);
            match offers.take(&*self.broker, interrupted, start).await {
                Ok(()) => retry.recovered(),
                Err(error) => {
                    stop.run_until_cancelled(sleep(retry.failed(&error))).await;
                }
            }
        }
        offers.settled().await;
    }

    /// Processes an offer.
    fn start(&self, queue: Queue, offer: Offer, slot: OwnedSemaphorePermit) {
        let (runner, abort) = (self.runner.clone(), self.abort.clone());
        let trace = CorrelationIds::from_context(&offer.message().trace);
        let mut observer = Observer::start(&*self.broker, queue, &runner.tasks, &offer);
        let processing = async move {
            let _slot = slot;
            if let Ok(turn) = timeout(TURN_TIMEOUT, runner.isolation.share()).await {
                observer.slot_acquired();
                runner.process(offer, turn, observer).await;
            } else {
                observer.release(offer).await;
            }
        };
        // Boxed, because each wrapper and the spawning would copy the large future.
        let processing = in_trace(trace, Box::pin(processing));
        self.attempts.spawn(async move { abort.run_until_cancelled(processing).await });
    }
}
