//! What every [`Broker`] has to do.
//!
//! Only what the port promises is assumed: duplicates may come, order may change, and
//! redelivery may take a moment. So the tests wait for conditions, with a generous
//! limit.

pub mod queues;
pub mod topics;

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use miniapp_broker::{Broker, Consumer, Delivery, Message, Queue};
use serde_json::json;
use uuid::Uuid;

/// How long a condition may take to come true before it counts as never.
const LIMIT: Duration = Duration::from_secs(20);
/// How long nothing has to come before it counts as nothing coming.
const QUIET: Duration = Duration::from_millis(100);

/// Defines one test per case. `$fixture` is an async function in scope that calls its argument
/// with a broker whose queues are empty and that no other test uses.
#[macro_export]
macro_rules! broker_tests {
    ($(#[$attribute:meta])* $fixture:ident) => {
        $crate::conformance_tests! {
            broker, $fixture, [$(#[$attribute])*],
            queues {
                carries_a_message_unchanged,
                carries_a_large_message,
                publishes_nothing,
                keeps_messages_until_a_consumer_comes,
                keeps_queues_apart,
                carries_by_every_queue,
                takes_many_publishes_at_a_time,
                forgets_what_is_acked,
                redelivers_what_a_dropped_consumer_held,
                redelivers_what_is_released,
                redelivers_what_is_dropped,
                takes_a_late_word_calmly,
                respects_the_prefetch,
                shares_between_consumers,
                passes_a_busy_consumer_by,
                stops_a_consumer,
                settles_after_a_stop,
                loses_nothing_when_a_wait_is_given_up,
                delivers_everything_to_many,
                brings_the_rejected_to_the_dead_letters,
                takes_a_panic_for_a_rejection,
            }
            topics {
                answers_a_ping,
                tells_every_subscriber,
                tells_only_news,
                keeps_topics_apart,
                tells_of_a_gap,
                echoes_a_call,
            }
        }
    };
}

/// A message of its own, recognizable by its number.
fn message(number: usize) -> Message {
    Message::new(Uuid::new_v4(), &json!({ "number": number }))
}

fn messages(count: usize) -> Vec<Message> {
    (0..count).map(message).collect()
}

async fn publish(broker: &dyn Broker, messages: &[Message]) -> Result<()> {
    for (answer, message) in
        broker.publish(Queue::Tasks, messages.to_vec()).await.into_iter().zip(messages)
    {
        answer.with_context(|| format!("publishing {}", message.id))?;
    }
    Ok(())
}

async fn next(consumer: &mut dyn Consumer) -> Result<Delivery> {
    within("a delivery", consumer.next()).await?.context("the consumer ended")
}

/// Takes deliveries, acking those of other messages, until `message` comes.
async fn wait_for(consumer: &mut dyn Consumer, message: &Message) -> Result<Delivery> {
    loop {
        let delivery = next(consumer).await?;
        if delivery.message.id == message.id {
            return Ok(delivery);
        }
        delivery.ack().await;
    }
}

async fn depth_becomes(broker: &dyn Broker, expected: u64) -> Result<()> {
    let reached = async {
        while broker.depth(Queue::Tasks).await? != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::Ok(())
    };
    within(&format!("a depth of {expected}"), reached).await?
}

async fn nothing_comes(consumer: &mut dyn Consumer) -> Result<()> {
    let surprise = tokio::time::timeout(QUIET, consumer.next()).await;
    ensure!(surprise.is_err(), "something came where nothing should");
    Ok(())
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(LIMIT, wait).await.map_err(|_| anyhow!("waited in vain for {what}"))
}
