//! Receives cancellations of running tasks.

use miniapp_broker::{Broker, Received, Subscription, Topic};
use miniapp_types::message::TaskCancels;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::runner::Runner;

/// Stops canceled attempts. After a gap it notifies `renew`, because the renewal of leases
/// returns cancellations, too.
pub(crate) async fn run(runner: &Runner, broker: &dyn Broker, renew: &Notify) {
    let mut retry = runner.retry("subscribing to cancellations");
    loop {
        let ended = match broker.subscribe(Topic::TaskCancels).await {
            Ok(mut subscription) => {
                retry.recovered();
                renew.notify_one();
                receive(runner, subscription.as_mut(), renew).await;
                "the subscription ended".to_owned()
            }
            Err(error) => error.to_string(),
        };
        sleep(retry.failed(&ended)).await;
    }
}

async fn receive(runner: &Runner, subscription: &mut dyn Subscription, renew: &Notify) {
    while let Some(received) = subscription.next().await {
        match received {
            Received::Gap => renew.notify_one(),
            Received::Probe(_) => {}
            Received::Message(message) => match message.decode() {
                Ok(TaskCancels::V1 { task_ids }) => runner.running.cancel(&task_ids),
                Err(error) => {
                    tracing::warn!(message.id = %message.id, %error, "could not decode a cancellation");
                    renew.notify_one();
                }
            },
        }
    }
}
