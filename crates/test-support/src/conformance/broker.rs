//! What every [`Broker`] has to do.
//!
//! Only what the port promises is assumed: duplicates may come, order may change, and
//! redelivery may take a moment. So the tests wait for conditions, with a generous
//! limit.

mod queues;
mod topics;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use miniapp_broker::{Broker, Consumer, Delivery, Message, Queue};
use serde_json::json;
use uuid::Uuid;

/// How long a condition may take to come true before it counts as never.
const LIMIT: Duration = Duration::from_secs(20);
/// How long nothing has to come before it counts as nothing coming.
const QUIET: Duration = Duration::from_millis(100);

type Outcome = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// One thing that an engine has to do.
pub struct Case {
    /// What it has to do.
    pub name: &'static str,
    test: fn(Arc<dyn Broker>) -> Outcome,
}

impl Case {
    /// Tries it on a broker whose queues are empty and that nobody else uses.
    pub async fn check(&self, broker: Arc<dyn Broker>) -> Result<()> {
        (self.test)(broker).await.with_context(|| self.name)
    }
}

macro_rules! cases {
    ($($module:ident :: $test:ident),* $(,)?) => {
        &[$(Case {
            name: stringify!($test),
            test: |broker| Box::pin($module::$test(broker)),
        }),*]
    };
}

/// All of it.
pub const CASES: &[Case] = cases![
    queues::carries_a_message_unchanged,
    queues::carries_a_large_message,
    queues::publishes_nothing,
    queues::keeps_messages_until_a_consumer_comes,
    queues::keeps_queues_apart,
    queues::carries_by_every_queue,
    queues::takes_many_publishes_at_a_time,
    queues::forgets_what_is_acked,
    queues::redelivers_what_a_dropped_consumer_held,
    queues::redelivers_what_is_released,
    queues::redelivers_what_is_dropped,
    queues::takes_a_late_word_calmly,
    queues::respects_the_prefetch,
    queues::shares_between_consumers,
    queues::passes_a_busy_consumer_by,
    queues::stops_a_consumer,
    queues::settles_after_a_stop,
    queues::loses_nothing_when_a_wait_is_given_up,
    queues::delivers_everything_to_many,
    queues::brings_the_rejected_to_the_dead_letters,
    queues::takes_a_panic_for_a_rejection,
    topics::answers_a_ping,
    topics::tells_every_subscriber,
    topics::tells_only_news,
    topics::keeps_topics_apart,
    topics::tells_of_a_gap,
    topics::echoes_a_call,
];

/// Tries every case on a broker of its own and panics with the list of those that
/// failed.
pub async fn check<F>(make: impl Fn() -> F)
where
    F: Future<Output = Arc<dyn Broker>>,
{
    let mut failures = Vec::new();
    for case in CASES {
        if let Err(error) = case.check(make().await).await {
            failures.push(format!("{error:#}"));
        }
    }
    assert!(failures.is_empty(), "the broker fails:\n{}", failures.join("\n"));
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
