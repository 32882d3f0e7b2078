use std::collections::HashSet;
use std::sync::Arc;

use anyhow::{Result, ensure};
use miniapp_broker::{Broker, Message, Queue};
use miniapp_types::trace::TraceContext;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{
    QUIET, depth_becomes, message, messages, next, nothing_comes, publish, wait_for, within,
};

pub async fn carries_a_message_unchanged(broker: Arc<dyn Broker>) -> Result<()> {
    let trace = TraceContext {
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        tracestate: Some("vendor=1".into()),
        baggage: Some("key=value".into()),
    };
    let sent = message(1).with_conversation(Uuid::new_v4()).with_trace(trace);
    publish(&*broker, std::slice::from_ref(&sent)).await?;

    let mut consumer = broker.consume(Queue::Tasks, 1).await?;
    let delivery = next(&mut *consumer).await?;
    let received = &delivery.message;
    ensure!(received.id == sent.id, "another id");
    ensure!(received.conversation == sent.conversation, "another conversation");
    ensure!(received.body == sent.body, "another body");
    ensure!(received.trace == sent.trace, "another trace: {:?}", received.trace);
    ensure!(!delivery.redelivered, "flagged as redelivered");
    delivery.ack().await;
    Ok(())
}

pub async fn carries_a_large_message(broker: Arc<dyn Broker>) -> Result<()> {
    let text = "x".repeat(512 * 1024);
    publish(&*broker, &[Message::new(Uuid::new_v4(), &json!(text))]).await?;
    let mut consumer = broker.consume(Queue::Tasks, 1).await?;
    let delivery = next(&mut *consumer).await?;
    ensure!(delivery.message.decode::<Value>()? == json!(text), "another body");
    delivery.ack().await;
    Ok(())
}

pub async fn publishes_nothing(broker: Arc<dyn Broker>) -> Result<()> {
    ensure!(broker.publish(Queue::Tasks, Vec::new()).await.is_empty(), "an answer to nothing");
    Ok(())
}

pub async fn keeps_messages_until_a_consumer_comes(broker: Arc<dyn Broker>) -> Result<()> {
    publish(&*broker, &messages(5)).await?;
    depth_becomes(&*broker, 5).await?;
    let mut consumer = broker.consume(Queue::Tasks, 5).await?;
    for _ in 0..5 {
        next(&mut *consumer).await?.ack().await;
    }
    depth_becomes(&*broker, 0).await
}

pub async fn keeps_queues_apart(broker: Arc<dyn Broker>) -> Result<()> {
    let mut other = broker.consume(Queue::AccountDeletions, 10).await?;
    publish(&*broker, &messages(1)).await?;
    nothing_comes(&mut *other).await?;
    let mut consumer = broker.consume(Queue::Tasks, 10).await?;
    next(&mut *consumer).await?.ack().await;
    Ok(())
}

pub async fn carries_by_every_queue(broker: Arc<dyn Broker>) -> Result<()> {
    for queue in [Queue::Tasks, Queue::AccountDeletions, Queue::DeadLetters, Queue::Parked] {
        let sent = message(1);
        for answer in broker.publish(queue, vec![sent.clone()]).await {
            answer?;
        }
        let mut consumer = broker.consume(queue, 1).await?;
        let delivery = next(&mut *consumer).await?;
        ensure!(delivery.message.id == sent.id, "another message in {queue:?}");
        delivery.ack().await;
    }
    Ok(())
}

pub async fn takes_many_publishes_at_a_time(broker: Arc<dyn Broker>) -> Result<()> {
    const PUBLISHES: usize = 40;
    let mut publishes = JoinSet::new();
    for _ in 0..PUBLISHES {
        let broker = Arc::clone(&broker);
        publishes.spawn(async move { publish(&*broker, &messages(25)).await });
    }
    for published in within("the publishes", publishes.join_all()).await? {
        published?;
    }
    depth_becomes(&*broker, 25 * PUBLISHES as u64).await
}

pub async fn forgets_what_is_acked(broker: Arc<dyn Broker>) -> Result<()> {
    publish(&*broker, &messages(1)).await?;
    let mut consumer = broker.consume(Queue::Tasks, 1).await?;
    next(&mut *consumer).await?.ack().await;
    // The room for another one shows that the ack has arrived.
    publish(&*broker, &messages(1)).await?;
    next(&mut *consumer).await?.ack().await;
    drop(consumer);

    let mut consumer = broker.consume(Queue::Tasks, 1).await?;
    nothing_comes(&mut *consumer).await
}

pub async fn redelivers_what_a_dropped_consumer_held(broker: Arc<dyn Broker>) -> Result<()> {
    let sent = messages(3);
    publish(&*broker, &sent).await?;
    let mut first = broker.consume(Queue::Tasks, 2).await?;
    let held = [next(&mut *first).await?, next(&mut *first).await?];
    drop(first);

    let mut second = broker.consume(Queue::Tasks, 3).await?;
    let mut seen = HashSet::new();
    while seen.len() < sent.len() {
        let delivery = next(&mut *second).await?;
        let was_held = held.iter().any(|held| held.message.id == delivery.message.id);
        ensure!(delivery.redelivered || !was_held, "redelivered, but not flagged");
        seen.insert(delivery.message.id);
        delivery.ack().await;
    }
    Ok(())
}

pub async fn redelivers_what_is_released(broker: Arc<dyn Broker>) -> Result<()> {
    let sent = message(1);
    publish(&*broker, std::slice::from_ref(&sent)).await?;
    let mut consumer = broker.consume(Queue::Tasks, 1).await?;
    next(&mut *consumer).await?.release().await;
    let again = wait_for(&mut *consumer, &sent).await?;
    ensure!(again.redelivered, "not flagged");
    again.ack().await;
    Ok(())
}

pub async fn redelivers_what_is_dropped(broker: Arc<dyn Broker>) -> Result<()> {
    let sent = message(1);
    publish(&*broker, std::slice::from_ref(&sent)).await?;
    let mut consumer = broker.consume(Queue::Tasks, 1).await?;
    drop(next(&mut *consumer).await?);
    let again = wait_for(&mut *consumer, &sent).await?;
    ensure!(again.redelivered, "not flagged");
    again.ack().await;
    Ok(())
}

pub async fn takes_a_late_word_calmly(broker: Arc<dyn Broker>) -> Result<()> {
    let sent = messages(2);
    publish(&*broker, &sent).await?;
    let mut first = broker.consume(Queue::Tasks, 2).await?;
    let late = [next(&mut *first).await?, next(&mut *first).await?];
    drop(first);
    let [acked, released] = late;
    acked.ack().await;
    released.release().await;

    let mut second = broker.consume(Queue::Tasks, 2).await?;
    let mut seen = HashSet::new();
    while seen.len() < 2 {
        let delivery = next(&mut *second).await?;
        seen.insert(delivery.message.id);
        delivery.ack().await;
    }
    Ok(())
}

pub async fn respects_the_prefetch(broker: Arc<dyn Broker>) -> Result<()> {
    publish(&*broker, &messages(10)).await?;
    let mut consumer = broker.consume(Queue::Tasks, 3).await?;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut *consumer).await?);
    }
    nothing_comes(&mut *consumer).await?;
    depth_becomes(&*broker, 7).await?;
    for delivery in held {
        delivery.ack().await;
        drop(next(&mut *consumer).await?);
    }
    Ok(())
}

pub async fn shares_between_consumers(broker: Arc<dyn Broker>) -> Result<()> {
    let mut first = broker.consume(Queue::Tasks, 1).await?;
    let mut second = broker.consume(Queue::Tasks, 1).await?;
    publish(&*broker, &messages(2)).await?;
    let held = [next(&mut *first).await?, next(&mut *second).await?];
    ensure!(held[0].message.id != held[1].message.id, "both got the same one");
    Ok(())
}

pub async fn passes_a_busy_consumer_by(broker: Arc<dyn Broker>) -> Result<()> {
    let mut busy = broker.consume(Queue::Tasks, 1).await?;
    let mut free = broker.consume(Queue::Tasks, 1).await?;
    publish(&*broker, &messages(2)).await?;
    let _held = next(&mut *busy).await?;
    next(&mut *free).await?.ack().await;
    publish(&*broker, &messages(20)).await?;
    for _ in 0..20 {
        next(&mut *free).await?.ack().await;
    }
    Ok(())
}

pub async fn stops_a_consumer(broker: Arc<dyn Broker>) -> Result<()> {
    let sent = messages(5);
    publish(&*broker, &sent).await?;
    let mut first = broker.consume(Queue::Tasks, 5).await?;
    let held = next(&mut *first).await?;
    first.stop().await;
    // What was on its way may still come, or go to another consumer.
    let mut seen = HashSet::from([held.message.id]);
    while let Some(delivery) = within("the end", first.next()).await? {
        seen.insert(delivery.message.id);
        delivery.ack().await;
    }
    held.ack().await;
    let mut second = broker.consume(Queue::Tasks, 5).await?;
    while seen.len() < sent.len() {
        let delivery = next(&mut *second).await?;
        seen.insert(delivery.message.id);
        delivery.ack().await;
    }
    drop(first);
    nothing_comes(&mut *second).await
}

pub async fn settles_after_a_stop(broker: Arc<dyn Broker>) -> Result<()> {
    publish(&*broker, &messages(2)).await?;
    let mut first = broker.consume(Queue::Tasks, 2).await?;
    let (acked, released) = (next(&mut *first).await?, next(&mut *first).await?);
    first.stop().await;
    let expected = released.message.id;
    acked.ack().await;
    released.release().await;
    let mut second = broker.consume(Queue::Tasks, 2).await?;
    let again = next(&mut *second).await?;
    ensure!(again.message.id == expected, "the acked one came again");
    again.ack().await;
    drop(first);
    nothing_comes(&mut *second).await
}

pub async fn loses_nothing_when_a_wait_is_given_up(broker: Arc<dyn Broker>) -> Result<()> {
    let mut consumer = broker.consume(Queue::Tasks, 1).await?;
    let waited = tokio::time::timeout(QUIET, consumer.next()).await;
    ensure!(waited.is_err(), "something came from an empty queue");
    for number in 0..20 {
        publish(&*broker, &[message(number)]).await?;
        let impatient = async {
            loop {
                if let Ok(delivery) = tokio::time::timeout(QUIET / 100, consumer.next()).await {
                    break delivery;
                }
            }
        };
        if let Some(delivery) = within("a delivery", impatient).await? {
            delivery.ack().await;
        }
    }
    Ok(())
}

pub async fn delivers_everything_to_many(broker: Arc<dyn Broker>) -> Result<()> {
    const COUNT: usize = 2_000;
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let mut consumers = JoinSet::new();
    for _ in 0..4 {
        let mut consumer = broker.consume(Queue::Tasks, 16).await?;
        let seen = Arc::clone(&seen);
        consumers.spawn(async move {
            while let Some(delivery) = consumer.next().await {
                seen.lock().insert(delivery.message.id);
                delivery.ack().await;
            }
        });
    }
    for batch in messages(COUNT).chunks(100) {
        publish(&*broker, batch).await?;
    }
    let complete = async {
        while seen.lock().len() < COUNT {
            tokio::time::sleep(QUIET / 20).await;
        }
    };
    within("every message", complete).await?;
    depth_becomes(&*broker, 0).await
}

pub async fn brings_the_rejected_to_the_dead_letters(broker: Arc<dyn Broker>) -> Result<()> {
    let mut dead = broker.consume(Queue::DeadLetters, 2).await?;
    let mut consumer = broker.consume(Queue::Tasks, 3).await?;
    let sent = messages(3);
    publish(&*broker, &sent).await?;
    let mut held = Vec::new();
    for _ in &sent {
        held.push(next(&mut *consumer).await?);
    }
    // One in the middle, so that others are settled before and after it.
    let rejected = held.remove(1);
    let expected = rejected.message.clone();
    rejected.reject().await;
    for delivery in held {
        delivery.ack().await;
    }
    let letter = next(&mut *dead).await?;
    ensure!(letter.message.id == expected.id, "another message");
    ensure!(letter.message.body == expected.body, "another body");
    letter.ack().await;
    depth_becomes(&*broker, 0).await?;
    nothing_comes(&mut *consumer).await?;
    nothing_comes(&mut *dead).await
}

/// What makes one consumer panic shall not do so to the next one, and the next.
pub async fn takes_a_panic_for_a_rejection(broker: Arc<dyn Broker>) -> Result<()> {
    let mut dead = broker.consume(Queue::DeadLetters, 1).await?;
    let mut consumer = broker.consume(Queue::Tasks, 1).await?;
    let sent = message(1);
    publish(&*broker, std::slice::from_ref(&sent)).await?;
    let delivery = next(&mut *consumer).await?;
    let panicking = tokio::spawn(async move {
        let _held = delivery;
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    ensure!(panicking.await.is_err(), "there was no panic");
    let letter = next(&mut *dead).await?;
    ensure!(letter.message.id == sent.id, "another message");
    letter.ack().await;
    nothing_comes(&mut *consumer).await
}
