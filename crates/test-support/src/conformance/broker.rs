//! The conformance suite of [`Broker`] engines.
//!
//! The cases assume only what the port guarantees: duplicates are possible, order is not
//! guaranteed, and redelivery may take a moment. So they wait for conditions, with a
//! generous timeout.

pub mod queues;
pub mod topics;

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use miniapp_broker::{Broker, Consumer, Delivery, Message, Queue};
use serde_json::json;
use uuid::Uuid;

const TIMEOUT: Duration = Duration::from_secs(20);
/// How long a consumer is watched to conclude that it receives nothing.
const QUIET: Duration = Duration::from_millis(100);

/// Defines one test per case. `$fixture` is an async function in scope that calls its argument
/// with a broker whose queues are empty and that no other test uses.
#[macro_export]
macro_rules! broker_tests {
    ($(#[$attribute:meta])* $fixture:ident) => {
        $crate::conformance_tests! {
            broker, $fixture, [$(#[$attribute])*],
            queues {
                message_round_trips,
                large_message_round_trips,
                publish_accepts_an_empty_batch,
                messages_wait_for_a_consumer,
                queues_are_separate,
                every_queue_delivers,
                work_queues_are_created_on_first_use,
                concurrent_publishes_succeed,
                acked_message_is_removed,
                dropped_consumer_releases_its_messages,
                released_message_is_redelivered,
                dropped_delivery_is_redelivered,
                settling_after_the_consumer_has_no_effect,
                prefetch_limits_unsettled_messages,
                consumers_share_messages,
                busy_consumer_does_not_block_others,
                stopped_consumer_releases_prefetched_messages,
                deliveries_settle_after_stop,
                next_is_cancel_safe,
                many_consumers_receive_every_message,
                rejected_message_is_dead_lettered,
                panic_rejects_the_delivery,
            }
            topics {
                ping_succeeds,
                every_subscriber_receives_a_broadcast,
                subscription_starts_with_new_messages,
                topics_are_separate,
                slow_subscriber_receives_a_gap,
                probe_returns_after_earlier_messages,
            }
        }
    };
}

/// A message with a unique id.
fn message(number: usize) -> Message {
    Message::new(Uuid::new_v4(), &json!({ "number": number }))
}

fn messages(count: usize) -> Vec<Message> {
    (0..count).map(message).collect()
}

async fn publish(broker: &dyn Broker, messages: &[Message]) -> Result<()> {
    for (result, message) in
        broker.publish(Queue::Tasks, messages.to_vec()).await.into_iter().zip(messages)
    {
        result.with_context(|| format!("publishing {}", message.id))?;
    }
    Ok(())
}

async fn next(consumer: &mut dyn Consumer) -> Result<Delivery> {
    within("a delivery", consumer.next()).await?.context("the consumer ended")
}

/// Acknowledges other messages until `message` is delivered.
async fn wait_for(consumer: &mut dyn Consumer, message: &Message) -> Result<Delivery> {
    loop {
        let delivery = next(consumer).await?;
        if delivery.message.id == message.id {
            return Ok(delivery);
        }
        delivery.ack().await;
    }
}

async fn wait_for_depth(broker: &dyn Broker, expected: u64) -> Result<()> {
    let reached = async {
        while broker.depth(Queue::Tasks).await? != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::Ok(())
    };
    within(&format!("a depth of {expected}"), reached).await?
}

async fn expect_nothing(consumer: &mut dyn Consumer) -> Result<()> {
    let unexpected = tokio::time::timeout(QUIET, consumer.next()).await;
    ensure!(unexpected.is_err(), "unexpected delivery");
    Ok(())
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(TIMEOUT, wait).await.map_err(|_| anyhow!("timed out waiting for {what}"))
}
