//! The consumer of dead letters.
//!
//! A message is dead-lettered when a consumer rejects it, or when RabbitMQ has delivered it
//! too often: its consumers crashed, or lost their connections while they held it. Neither
//! means that the work must not be done. Poison tasks are detected elsewhere and much
//! earlier, from the leases they cost. So a dead letter that can be decoded returns to its
//! queue a limited number of times. The message carries the count, because not every
//! version of RabbitMQ counts every delivery. All other dead letters are parked and logged:
//! they are foreign, or of a newer version. Every start re-reads the parked messages once.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::Duration;

use miniapp_telemetry::metrics::{self, Counter, Family};
use miniapp_types::message::{AccountDeleted, TaskReady};
use prometheus_client::encoding::EncodeLabelSet;
use tokio::time::{sleep, timeout};

use crate::{Broker, BrokerError, Delivery, Message, Queue};

/// How often a message returns to its queue before it is parked.
const MAX_REDRIVES: u32 = 3;
const PREFETCH: u16 = 32;
/// The delay after an error, and before a message returns to its queue again.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Ends the re-reading of parked messages early when another process consumes them, too.
const PARKED_TIMEOUT: Duration = Duration::from_secs(2);

static DEAD_LETTERS: LazyLock<Family<Outcome, Counter>> = LazyLock::new(|| {
    let help = "Dead letters consumed, by outcome";
    let known = ["returned", "parked"].map(|outcome| Outcome { outcome });
    metrics::counters("miniapp_broker_dead_letters", help, known)
});

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Consumes dead letters until it is dropped. Any number of processes may run it.
pub async fn run_dead_letter_consumer(broker: &dyn Broker) -> Infallible {
    LazyLock::force(&DEAD_LETTERS);
    let mut parked_is_done = false;
    let mut is_failing = false;
    loop {
        let consumed = async {
            if !parked_is_done {
                reread_parked(broker).await?;
                parked_is_done = true;
            }
            let mut consumer = broker.consume(Queue::DeadLetters, PREFETCH).await?;
            is_failing = false;
            while let Some(dead_letter) = consumer.next().await {
                process(broker, dead_letter).await;
            }
            Ok::<_, BrokerError>(())
        };
        if let Err(error) = consumed.await
            && !std::mem::replace(&mut is_failing, true)
        {
            tracing::warn!(%error, "could not consume dead letters; retrying");
        }
        sleep(RETRY_DELAY).await;
    }
}

/// Returns parked messages to their queues if this version can decode them.
async fn reread_parked(broker: &dyn Broker) -> Result<(), BrokerError> {
    let parked = broker.depth(Queue::Parked).await?;
    if parked == 0 {
        return Ok(());
    }
    let mut consumer = broker.consume(Queue::Parked, PREFETCH).await?;
    let (mut returned, mut kept) = (0, 0);
    for _ in 0..parked {
        let Ok(Some(delivery)) = timeout(PARKED_TIMEOUT, consumer.next()).await else { break };
        let message = Message { redrive_count: 0, ..delivery.message.clone() };
        let queue = queue_of(&message);
        publish(broker, queue.unwrap_or(Queue::Parked), message).await?;
        delivery.ack().await;
        *(if queue.is_some() { &mut returned } else { &mut kept }) += 1;
    }
    tracing::warn!(returned, kept, "re-read parked messages");
    Ok(())
}

/// Returns a dead letter to its queue, or parks it.
async fn process(broker: &dyn Broker, dead_letter: Delivery) {
    let Message { id, conversation, redrive_count, .. } = dead_letter.message;
    let conversation = conversation.unwrap_or_default();
    let decoded = queue_of(&dead_letter.message);
    let (outcome, queue) = match decoded {
        Some(queue) if redrive_count < MAX_REDRIVES => ("returned", queue),
        _ => ("parked", Queue::Parked),
    };
    if redrive_count > 0 {
        sleep(RETRY_DELAY).await;
    }
    let message =
        Message { redrive_count: redrive_count.saturating_add(1), ..dead_letter.message.clone() };
    if let Err(error) = publish(broker, queue, message).await {
        tracing::warn!(%error, message.id = %id, "could not move a dead letter; retrying");
        sleep(RETRY_DELAY).await;
        return dead_letter.release().await;
    }
    dead_letter.ack().await;
    DEAD_LETTERS.get_or_create(&Outcome { outcome }).inc();
    match (decoded, queue) {
        (None, _) => tracing::error!(
            message.id = %id,
            message.conversation_id = %conversation,
            "parked a message that is foreign or of an unknown version"
        ),
        (Some(_), Queue::Parked) => tracing::error!(
            message.id = %id,
            message.conversation_id = %conversation,
            "parked a message that was dead-lettered too often"
        ),
        (Some(queue), _) => tracing::warn!(
            message.id = %id,
            message.conversation_id = %conversation,
            ?queue,
            "returned a dead letter to its queue"
        ),
    }
}

async fn publish(broker: &dyn Broker, queue: Queue, message: Message) -> Result<(), BrokerError> {
    broker.publish(queue, vec![message]).await.into_iter().collect()
}

/// Returns the queue for the message's type, or `None` if no known type matches.
fn queue_of(message: &Message) -> Option<Queue> {
    if let Ok(TaskReady::V1 { queue, .. }) = message.decode() {
        Some(Queue::of_tasks(&queue.unwrap_or_default(), None))
    } else if message.decode::<AccountDeleted>().is_ok() {
        Some(Queue::AccountDeletions)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::prelude::*;
    use tokio::task::JoinSet;
    use uuid::Uuid;

    use super::*;
    use crate::MemoryBroker;

    fn task_ready() -> Message {
        let ready =
            TaskReady::V1 { task_id: Uuid::new_v4(), generation: 1, version: 1, queue: None };
        Message::new(Uuid::new_v4(), &ready)
    }

    fn start_consumer(broker: &Arc<MemoryBroker>) -> JoinSet<Infallible> {
        let broker = Arc::clone(broker);
        let mut consumer_task = JoinSet::new();
        consumer_task.spawn(async move { run_dead_letter_consumer(&*broker).await });
        consumer_task
    }

    async fn take(broker: &MemoryBroker, queue: Queue) -> Delivery {
        broker.consume(queue, 1).await.unwrap().next().await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn decodable_message_returns_up_to_the_limit_and_is_parked() {
        let broker = Arc::new(MemoryBroker::new());
        let _consumer = start_consumer(&broker);
        let message = task_ready();
        publish(&*broker, Queue::Tasks, message.clone()).await.unwrap();
        let mut consumer = broker.consume(Queue::Tasks, 1).await.unwrap();
        for redrive_count in 0..=MAX_REDRIVES {
            let delivery = consumer.next().await.unwrap();
            assert_eq!(
                (delivery.message.id, delivery.message.redrive_count),
                (message.id, redrive_count)
            );
            delivery.reject().await;
        }
        let parked = take(&broker, Queue::Parked).await;
        assert_eq!((parked.message.id, &parked.message.body), (message.id, &message.body));
    }

    #[tokio::test(start_paused = true)]
    async fn messages_return_to_their_own_queue_and_foreign_ones_are_parked() {
        let broker = Arc::new(MemoryBroker::new());
        let deleted = AccountDeleted::V1 { user_id: Uuid::new_v4(), signature: None };
        let deleted = Message::new(Uuid::new_v4(), &deleted);
        let newer = Bytes::from_static(br#"{"v":"2","task":7}"#);
        let newer = Message { body: newer, ..task_ready() };
        let _consumer = start_consumer(&broker);
        for dead_letter in [&deleted, &newer] {
            publish(&*broker, Queue::DeadLetters, dead_letter.clone()).await.unwrap();
        }
        assert_eq!(take(&broker, Queue::AccountDeletions).await.message.id, deleted.id);
        assert_eq!(take(&broker, Queue::Parked).await.message.id, newer.id);
    }

    #[tokio::test(start_paused = true)]
    async fn start_rereads_parked_messages() {
        let broker = Arc::new(MemoryBroker::new());
        let (known, unknown) =
            (task_ready(), Message { body: Bytes::from_static(b"?"), ..task_ready() });
        for dead_letter in [&unknown, &known] {
            publish(&*broker, Queue::Parked, dead_letter.clone()).await.unwrap();
        }
        let _consumer = start_consumer(&broker);
        assert_eq!(take(&broker, Queue::Tasks).await.message.id, known.id);
        assert_eq!(take(&broker, Queue::Parked).await.message.id, unknown.id);
    }

    #[tokio::test(start_paused = true)]
    async fn dead_letter_is_kept_during_an_outage() {
        let broker = Arc::new(MemoryBroker::new());
        let _consumer = start_consumer(&broker);
        let message = task_ready();
        publish(&*broker, Queue::DeadLetters, message.clone()).await.unwrap();
        broker.pause();
        sleep(10 * RETRY_DELAY).await;
        broker.resume();
        assert_eq!(take(&broker, Queue::Tasks).await.message.id, message.id);
    }

    proptest! {
        #[test]
        fn arbitrary_bodies_have_no_queue(body in any::<Vec<u8>>()) {
            let message = Message { body: body.into(), ..task_ready() };
            prop_assert_eq!(queue_of(&message), None);
        }

        #[test]
        fn mutated_bodies_do_not_panic(index in 0_usize..100, byte in any::<u8>()) {
            let message = task_ready();
            let mut body = message.body.to_vec();
            let index = index % body.len();
            body[index] = byte;
            queue_of(&Message { body: body.into(), ..message });
        }
    }
}
