//! Consumes messages, and drains them on shutdown.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use miniapp_broker::{Broker, Consumer, Queue};
use miniapp_telemetry::trace::{CorrelationIds, in_trace};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::attempt::Stop;
use crate::observer::Observer;
use crate::runner::Runner;

/// How long a message waits for a free slot before it is released to other workers.
const SLOT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long stopped attempts may take to release their tasks.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs up to `concurrency` tasks concurrently until shutdown. Then waits for running ones during
/// the grace period, and releases the rest.
pub(crate) async fn run(runner: &Arc<Runner>, broker: &dyn Broker, concurrency: u16) {
    let attempts = TaskTracker::new();
    // The prefetch limits messages per connection. After a reconnect, attempts of the old
    // connection may still run.
    let slots = Arc::new(Semaphore::new(usize::from(concurrency)));
    let abort = runner.shutdown.hard_token().child_token();
    let mut retry = runner.retry("consuming tasks");
    let mut consumer = None;
    while !runner.shutdown.has_begun() {
        // Other processes get the messages while a task runs alone in this one.
        runner.shutdown.token().run_until_cancelled(runner.isolation.ended()).await;
        let ended = match broker.consume(Queue::Tasks, concurrency).await {
            Ok(subscribed) => {
                retry.recovered();
                let consumer = consumer.insert(subscribed);
                let consuming = consume(runner, consumer.as_mut(), |delivery| {
                    let (runner, abort) = (runner.clone(), abort.clone());
                    let slots = slots.clone();
                    let trace = CorrelationIds::from_context(&delivery.message.trace);
                    let mut observer = Observer::start(broker, &runner.tasks, &delivery);
                    let processing = async move {
                        let waiting =
                            async { (slots.acquire().await, runner.isolation.share().await) };
                        if let Ok((_slot, turn)) = timeout(SLOT_TIMEOUT, waiting).await {
                            observer.slot_acquired();
                            runner.process(delivery, turn, observer).await;
                        } else {
                            observer.release(delivery).await;
                        }
                    };
                    // Boxed, because each wrapper and the spawning would copy the large future.
                    let processing = in_trace(trace, Box::pin(processing));
                    attempts.spawn(async move { abort.run_until_cancelled(processing).await });
                });
                match consuming.await {
                    Ended::Interrupted => continue,
                    Ended::Failed => "the consumer ended".to_owned(),
                }
            }
            Err(error) => error.to_string(),
        };
        if !runner.shutdown.has_begun() {
            let pause = sleep(retry.failed(&ended));
            runner.shutdown.token().run_until_cancelled(pause).await;
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
    // Last, because dropping the consumer releases its deliveries.
    drop(consumer);
}

/// Why a consumer ended.
enum Ended {
    /// At the shutdown, or because a task runs alone in this process.
    Interrupted,
    Failed,
}

/// Consumes messages until shutdown, isolation or the end of the consumer.
async fn consume(
    runner: &Runner,
    consumer: &mut dyn Consumer,
    mut handle: impl FnMut(miniapp_broker::Delivery),
) -> Ended {
    let mut isolated = pin!(runner.isolation.begun());
    loop {
        tokio::select! {
            biased;
            () = runner.shutdown.begun() => break,
            () = &mut isolated => break,
            delivery = consumer.next() => match delivery {
                Some(delivery) => handle(delivery),
                None => return Ended::Failed,
            }
        }
    }
    consumer.stop().await;
    Ended::Interrupted
}
