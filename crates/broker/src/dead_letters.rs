//! What becomes of messages that no consumer could use.
//!
//! A consumer rejects what it can't read, and RabbitMQ takes out what comes back to it too
//! often: because each consumer of it dies, or because it was held by consumers whose
//! connections kept breaking. Neither says that the work is not to be done. Which task is
//! poison, the database decides, far sooner, by the leases that it cost. So a dead letter
//! that can be read goes back to where it came from, some times; it says itself how often
//! it did, as not every version of RabbitMQ counts every delivery. What can't be read, or
//! comes back even so, is parked, with a line in the log: it may be anybody's, or of a
//! version that is newer than this one. Whoever starts looks through what is parked.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::Duration;

use miniapp_telemetry::metrics::{self, Counter, Family};
use miniapp_types::message::{AccountDeleted, TaskReady};
use prometheus_client::encoding::EncodeLabelSet;
use tokio::time::{sleep, timeout};

use crate::{Broker, BrokerError, Delivery, Message, Queue};

/// How often a message may come back before it is parked.
const MAX_REDRIVES: u32 = 3;
/// How many are looked at together.
const PREFETCH: u16 = 32;
/// How long to wait after something failed, and before what came back before goes again.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Parked messages that others look through at the same time don't come here.
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

/// Reads the dead letters until it is dropped. Any number of processes may.
pub async fn run_dead_letter_consumer(broker: &dyn Broker) -> Infallible {
    LazyLock::force(&DEAD_LETTERS);
    let mut has_looked = false;
    let mut is_failing = false;
    loop {
        let attended = async {
            if !has_looked {
                look_through(broker).await?;
                has_looked = true;
            }
            let mut consumer = broker.consume(Queue::DeadLetters, PREFETCH).await?;
            is_failing = false;
            while let Some(letter) = consumer.next().await {
                settle(broker, letter).await;
            }
            Ok::<_, BrokerError>(())
        };
        if let Err(error) = attended.await
            && !std::mem::replace(&mut is_failing, true)
        {
            tracing::warn!(%error, "could not consume dead letters; retrying");
        }
        sleep(RETRY_DELAY).await;
    }
}

/// Sends on what was parked and can be read by now.
async fn look_through(broker: &dyn Broker) -> Result<(), BrokerError> {
    let parked = broker.depth(Queue::Parked).await?;
    if parked == 0 {
        return Ok(());
    }
    let mut consumer = broker.consume(Queue::Parked, PREFETCH).await?;
    let (mut sent, mut kept) = (0, 0);
    for _ in 0..parked {
        let Ok(Some(letter)) = timeout(PARKED_TIMEOUT, consumer.next()).await else { break };
        let message = Message { redrive_count: 0, ..letter.message.clone() };
        let to = meant_for(&message);
        publish(broker, to.unwrap_or(Queue::Parked), message).await?;
        letter.ack().await;
        *(if to.is_some() { &mut sent } else { &mut kept }) += 1;
    }
    tracing::warn!(
        sent,
        kept,
        "re-read parked messages and requeued those that can be decoded now"
    );
    Ok(())
}

/// Sends a dead letter to where it belongs.
async fn settle(broker: &dyn Broker, letter: Delivery) {
    let Message { id, conversation, redrive_count, .. } = letter.message;
    let about = conversation.unwrap_or_default();
    let to = meant_for(&letter.message);
    let (outcome, queue) = match to {
        Some(queue) if redrive_count < MAX_REDRIVES => ("returned", queue),
        _ => ("parked", Queue::Parked),
    };
    if redrive_count > 0 {
        sleep(RETRY_DELAY).await;
    }
    let message = Message { redrive_count: redrive_count + 1, ..letter.message.clone() };
    if let Err(error) = publish(broker, queue, message).await {
        tracing::warn!(%error, message.id = %id, "could not move a dead letter; retrying");
        sleep(RETRY_DELAY).await;
        return letter.release().await;
    }
    letter.ack().await;
    DEAD_LETTERS.get_or_create(&Outcome { outcome }).inc();
    match (to, queue) {
        (None, _) => tracing::error!(
            message.id = %id,
            message.conversation_id = %about,
            "parked a message that is foreign or of an unknown version"
        ),
        (Some(_), Queue::Parked) => tracing::error!(
            message.id = %id,
            message.conversation_id = %about,
            "parked a message that was dead-lettered too often"
        ),
        (Some(queue), _) => tracing::warn!(
            message.id = %id,
            message.conversation_id = %about,
            ?queue,
            "returned a dead letter to its queue"
        ),
    }
}

async fn publish(broker: &dyn Broker, queue: Queue, message: Message) -> Result<(), BrokerError> {
    broker.publish(queue, vec![message]).await.into_iter().collect()
}

/// The queue whose consumers know what to do with the message.
fn meant_for(message: &Message) -> Option<Queue> {
    if message.decode::<TaskReady>().is_ok() {
        Some(Queue::Tasks)
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
    use tokio::task::JoinSet;
    use uuid::Uuid;

    use super::*;
    use crate::MemoryBroker;

    fn ready() -> Message {
        let ready = TaskReady::V1 { task_id: Uuid::new_v4(), generation: 1, version: 1 };
        Message::new(Uuid::new_v4(), &ready)
    }

    fn attended(broker: &Arc<MemoryBroker>) -> JoinSet<Infallible> {
        let broker = Arc::clone(broker);
        let mut attending = JoinSet::new();
        attending.spawn(async move { run_dead_letter_consumer(&*broker).await });
        attending
    }

    async fn take(broker: &MemoryBroker, queue: Queue) -> Delivery {
        broker.consume(queue, 1).await.unwrap().next().await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_can_be_read_goes_back_some_times_and_is_parked_then() {
        let broker = Arc::new(MemoryBroker::new());
        let _attending = attended(&broker);
        let message = ready();
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
    async fn each_goes_back_to_its_own_queue_and_strangers_are_parked() {
        let broker = Arc::new(MemoryBroker::new());
        let gone = Message::new(Uuid::new_v4(), &AccountDeleted::V1 { user_id: Uuid::new_v4() });
        let newer = Bytes::from_static(br#"{"v":"2","task":7}"#);
        let newer = Message { body: newer, ..ready() };
        let _attending = attended(&broker);
        for letter in [&gone, &newer] {
            publish(&*broker, Queue::DeadLetters, letter.clone()).await.unwrap();
        }
        assert_eq!(take(&broker, Queue::AccountDeletions).await.message.id, gone.id);
        assert_eq!(take(&broker, Queue::Parked).await.message.id, newer.id);
    }

    #[tokio::test(start_paused = true)]
    async fn who_starts_looks_through_what_is_parked() {
        let broker = Arc::new(MemoryBroker::new());
        let (known, unknown) = (ready(), Message { body: Bytes::from_static(b"?"), ..ready() });
        for letter in [&unknown, &known] {
            publish(&*broker, Queue::Parked, letter.clone()).await.unwrap();
        }
        let _attending = attended(&broker);
        assert_eq!(take(&broker, Queue::Tasks).await.message.id, known.id);
        assert_eq!(take(&broker, Queue::Parked).await.message.id, unknown.id);
    }

    #[tokio::test(start_paused = true)]
    async fn a_letter_waits_for_the_broker() {
        let broker = Arc::new(MemoryBroker::new());
        let _attending = attended(&broker);
        let message = ready();
        publish(&*broker, Queue::DeadLetters, message.clone()).await.unwrap();
        broker.pause();
        sleep(10 * RETRY_DELAY).await;
        broker.resume();
        assert_eq!(take(&broker, Queue::Tasks).await.message.id, message.id);
    }
}
