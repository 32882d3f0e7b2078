//! Consumes offers, and drains running tasks on shutdown.

use std::sync::Arc;
use std::time::Duration;

use miniapp_broker::{Broker, Queue};
use miniapp_tasks::{Offer, OfferConsumer};
use miniapp_telemetry::trace::{CorrelationIds, in_trace};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::attempt::Stop;
use crate::observer::Observer;
use crate::runner::Runner;

/// How long an offer waits while a task runs alone in this process before it is returned.
const TURN_TIMEOUT: Duration = Duration::from_millis(250);
/// How long stopped attempts may take to release their tasks.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs up to `concurrency` tasks concurrently until shutdown. Then waits for running ones during
/// the grace period, and releases the rest.
pub(crate) async fn run(runner: &Arc<Runner>, broker: &dyn Broker, concurrency: u16) {
    let attempts = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(usize::from(concurrency)));
    let abort = runner.shutdown.hard_token().child_token();
    let mut retry = runner.retry("consuming tasks");
    let mut offers = OfferConsumer::new(Queue::Tasks, slots);
    while !runner.shutdown.has_begun() {
        // Other processes get the messages while a task runs alone in this one.
        runner.shutdown.token().run_until_cancelled(runner.isolation.ended()).await;
        let interrupted = async {
            tokio::select! {
                biased;
                () = runner.shutdown.begun() => {}
                () = runner.isolation.begun() => {}
            }
        };
        let start = |offer: Offer, slot: OwnedSemaphorePermit| {
            let (runner, abort) = (runner.clone(), abort.clone());
            let trace = CorrelationIds::from_context(&offer.message().trace);
            let mut observer = Observer::start(broker, &runner.tasks, &offer);
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
            attempts.spawn(async move { abort.run_until_cancelled(processing).await });
        };
        match offers.take(broker, interrupted, start).await {
            Ok(()) => retry.recovered(),
            Err(error) => {
                let pause = sleep(retry.failed(&error));
                runner.shutdown.token().run_until_cancelled(pause).await;
            }
        }
    }

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
}
