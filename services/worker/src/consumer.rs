//! Taking messages for as long as the worker lives, and the way out.

use std::sync::Arc;
use std::time::Duration;

use miniapp_broker::{Broker, Consumer, Queue};
use miniapp_telemetry::trace::{CorrelationIds, in_trace};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::attempt::Stop;
use crate::runner::Runner;
use crate::spans::Traced;

/// How long a message may wait here for its turn before others get it.
const TURN: Duration = Duration::from_secs(5);
/// How long attempts that were stopped may take to be handed back.
const HAND_BACK: Duration = Duration::from_secs(5);

/// Runs up to `concurrency` tasks at a time until the shutdown begins, then lets running
/// ones end within `grace` and hands back the others.
pub(crate) async fn run(
    runner: &Arc<Runner>,
    broker: &dyn Broker,
    concurrency: u16,
    grace: Duration,
) {
    let attempts = TaskTracker::new();
    // The broker gives us no more than that, but over a new connection it gives as much
    // again, while what came over the old one still runs.
    let turns = Arc::new(Semaphore::new(usize::from(concurrency)));
    let abandoned = runner.shutdown.hard_token().child_token();
    let mut retry = runner.retries("consuming tasks");
    let mut consumer = None;
    while !runner.shutdown.has_begun() {
        let ended = match broker.consume(Queue::Tasks, concurrency).await {
            Ok(subscribed) => {
                retry.recovered();
                let consumer = consumer.insert(subscribed);
                let taking = take(runner, consumer.as_mut(), |delivery| {
                    let (runner, abandoned) = (runner.clone(), abandoned.clone());
                    let turns = turns.clone();
                    let cause = CorrelationIds::from_context(&delivery.message.trace);
                    let mut traced = Traced::begin(broker, &runner.tasks, &delivery);
                    let handling = async move {
                        if let Ok(_turn) = timeout(TURN, turns.acquire()).await {
                            traced.has_slot();
                            runner.handle(delivery, traced).await;
                        } else {
                            delivery.release().await;
                            traced.settled("nack");
                        }
                    };
                    let handling = in_trace(cause, handling);
                    attempts.spawn(async move { abandoned.run_until_cancelled(handling).await });
                });
                taking.await;
                "the consumer ended".to_owned()
            }
            Err(error) => error.to_string(),
        };
        if !runner.shutdown.has_begun() {
            let pause = sleep(retry.failed(&ended));
            runner.shutdown.token().run_until_cancelled(pause).await;
        }
    }

    attempts.close();
    if timeout(grace, attempts.wait()).await.is_err() {
        tracing::info!(
            count = attempts.len(),
            "releasing tasks that did not finish within the grace period"
        );
        runner.running.stop(Stop::Shutdown);
        if timeout(HAND_BACK, attempts.wait()).await.is_err() {
            tracing::warn!(
                count = attempts.len(),
                "abandoned tasks; other workers take them over when their leases expire"
            );
            abandoned.cancel();
            attempts.wait().await;
        }
    }
    // Only now: what a consumer has delivered is delivered again when it goes.
    drop(consumer);
}

/// Takes messages until the shutdown begins or there are no more.
async fn take(
    runner: &Runner,
    consumer: &mut dyn Consumer,
    mut handle: impl FnMut(miniapp_broker::Delivery),
) {
    loop {
        tokio::select! {
            biased;
            () = runner.shutdown.begun() => return consumer.stop().await,
            delivery = consumer.next() => match delivery {
                Some(delivery) => handle(delivery),
                None => return,
            }
        }
    }
}
