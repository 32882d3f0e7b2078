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
    QUIET, expect_nothing, message, messages, next, publish, wait_for, wait_for_depth, within,
};

pub async fn message_round_trips(broker: Arc<dyn Broker>) -> Result<()> {
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
    ensure!(received.id == sent.id, "unexpected id");
    ensure!(received.conversation == sent.conversation, "unexpected conversation");
    ensure!(received.body == sent.body, "unexpected body");
    ensure!(received.trace == sent.trace, "unexpected trace: {:?}", received.trace);
    ensure!(!delivery.redelivered, "flagged as redelivered");
    delivery.ack().await;
    Ok(())
}

pub async fn large_message_round_trips(broker: Arc<dyn Broker>) -> Result<()> {
    let text = "x".repeat(512 * 1024);
    publish(&*broker, &[Message::new(Uuid::new_v4(), &json!(text))]).await?;
    let mut consumer = broker.consume(Queue::Tasks, 1).await?;
    let delivery = next(&mut *consumer).await?;
    ensure!(delivery.message.decode::<Value>()? == json!(text), "unexpected body");
    delivery.ack().await;
    Ok(())
}

pub async fn publish_accepts_an_empty_batch(broker: Arc<dyn Broker>) -> Result<()> {
    ensure!(
        broker.publish(Queue::Tasks, Vec::new()).await.is_empty(),
        "a result without a message"
    );
    Ok(())
}

pub async fn messages_wait_for_a_consumer(broker: Arc<dyn Broker>) -> Result<()> {
    publish(&*broker, &messages(5)).await?;
    wait_for_depth(&*broker, 5).await?;
    let mut consumer = broker.consume(Queue::Tasks, 5).await?;
    for _ in 0..5 {
        next(&mut *consumer).await?.ack().await;
    }
    wait_for_depth(&*broker, 0).await
}

pub async fn queues_are_separate(broker: Arc<dyn Broker>) -> Result<()> {
    let mut other = broker.consume(Queue::AccountDeletions, 10).await?;
    publish(&*broker, &messages(1)).await?;
    expect_nothing(&mut *other).await?;
    let mut consumer = broker.consume(Queue::Tasks, 10).await?;
    next(&mut *consumer).await?.ack().await;
    Ok(())
}

pub async fn every_queue_delivers(broker: Arc<dyn Broker>) -> Result<()> {
    for queue in [Queue::Tasks, Queue::AccountDeletions, Queue::DeadLetters, Queue::Parked] {
        let sent = message(1);
        for result in broker.publish(queue, vec![sent.clone()]).await {
            result?;
        }
        let mut consumer = broker.consume(queue, 1).await?;
        let delivery = next(&mut *consumer).await?;
        ensure!(delivery.message.id == sent.id, "unexpected message in {queue:?}");
        delivery.ack().await;
    }
    Ok(())
}

pub async fn work_queues_are_created_on_first_use(broker: Arc<dyn Broker>) -> Result<()> {
    let queue = |name: &str, kind| Ok::<_, anyhow::Error>(Queue::of_tasks(&name.parse()?, kind));
    let published = queue("published", None)?;
    let other = queue("other", None)?;
    let of_kind = queue("published", Some("echo"))?;
    ensure!(broker.depth(published).await? == 0, "a queue that does not exist is empty");
    let mut consumer = broker.consume(other, 1).await?;
    for (queue, number) in [(published, 1), (other, 2), (of_kind, 3)] {
        for result in broker.publish(queue, vec![message(number)]).await {
            result?;
        }
    }
    ensure!(next(&mut *consumer).await?.message.body == message(2).body);
    for (queue, number) in [(of_kind, 3), (published, 1)] {
        let mut consumer = broker.consume(queue, 1).await?;
        let delivery = next(&mut *consumer).await?;
        ensure!(delivery.message.body == message(number).body, "{queue:?}");
        delivery.ack().await;
    }
    ensure!(broker.depth(Queue::Tasks).await? == 0);
    Ok(())
}

pub async fn concurrent_publishes_succeed(broker: Arc<dyn Broker>) -> Result<()> {
    const PUBLISHES: usize = 40;
    let mut publishes = JoinSet::new();
    for _ in 0..PUBLISHES {
        let broker = Arc::clone(&broker);
        publishes.spawn(async move { publish(&*broker, &messages(25)).await });
    }
    for published in within("the publishes", publishes.join_all()).await? {
        published?;
    }
    wait_for_depth(&*broker, 25 * PUBLISHES as u64).await
}

pub async fn acked_message_is_removed(broker: Arc<dyn Broker>) -> Result<()> {
    publish(&*broker, &messages(1)).await?;
    let mut consumer = broker.consume(Queue::Tasks, 1).await?;
    next(&mut *consumer).await?.ack().await;
    // The second delivery proves that the broker has processed the ack.
    publish(&*broker, &messages(1)).await?;
    next(&mut *consumer).await?.ack().await;
    drop(consumer);

    let mut consumer = broker.consume(Queue::Tasks, 1).await?;
    expect_nothing(&mut *consumer).await
}

pub async fn dropped_consumer_releases_its_messages(broker: Arc<dyn Broker>) -> Result<()> {
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
        ensure!(delivery.redelivered || !was_held, "redelivered without the flag");
        seen.insert(delivery.message.id);
        delivery.ack().await;
    }
    Ok(())
}

pub async fn released_message_is_redelivered(broker: Arc<dyn Broker>) -> Result<()> {
    let sent = message(1);
    publish(&*broker, std::slice::from_ref(&sent)).await?;
    let mut consumer = broker.consume(Queue::Tasks, 1).await?;
    next(&mut *consumer).await?.release().await;
    let again = wait_for(&mut *consumer, &sent).await?;
    ensure!(again.redelivered, "redelivered without the flag");
    again.ack().await;
    Ok(())
}

pub async fn dropped_delivery_is_redelivered(broker: Arc<dyn Broker>) -> Result<()> {
    let sent = message(1);
    publish(&*broker, std::slice::from_ref(&sent)).await?;
    let mut consumer = broker.consume(Queue::Tasks, 1).await?;
    drop(next(&mut *consumer).await?);
    let again = wait_for(&mut *consumer, &sent).await?;
    ensure!(again.redelivered, "redelivered without the flag");
    again.ack().await;
    Ok(())
}

pub async fn settling_after_the_consumer_has_no_effect(broker: Arc<dyn Broker>) -> Result<()> {
    let sent = messages(2);
    publish(&*broker, &sent).await?;
    let mut first = broker.consume(Queue::Tasks, 2).await?;
    let unsettled = [next(&mut *first).await?, next(&mut *first).await?];
    drop(first);
    let [acked, released] = unsettled;
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

pub async fn prefetch_limits_unsettled_messages(broker: Arc<dyn Broker>) -> Result<()> {
    publish(&*broker, &messages(10)).await?;
    let mut consumer = broker.consume(Queue::Tasks, 3).await?;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(next(&mut *consumer).await?);
    }
    expect_nothing(&mut *consumer).await?;
    wait_for_depth(&*broker, 7).await?;
    for delivery in held {
        delivery.ack().await;
        drop(next(&mut *consumer).await?);
    }
    Ok(())
}

pub async fn consumers_share_messages(broker: Arc<dyn Broker>) -> Result<()> {
    let mut first = broker.consume(Queue::Tasks, 1).await?;
    let mut second = broker.consume(Queue::Tasks, 1).await?;
    publish(&*broker, &messages(2)).await?;
    let held = [next(&mut *first).await?, next(&mut *second).await?];
    ensure!(held[0].message.id != held[1].message.id, "both received the same message");
    Ok(())
}

pub async fn busy_consumer_does_not_block_others(broker: Arc<dyn Broker>) -> Result<()> {
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

pub async fn stopped_consumer_releases_prefetched_messages(broker: Arc<dyn Broker>) -> Result<()> {
    let sent = messages(5);
    publish(&*broker, &sent).await?;
    let mut first = broker.consume(Queue::Tasks, 5).await?;
    let held = next(&mut *first).await?;
    first.stop().await;
    // Prefetched messages may still be delivered here, or to another consumer.
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
    expect_nothing(&mut *second).await
}

pub async fn deliveries_settle_after_stop(broker: Arc<dyn Broker>) -> Result<()> {
    publish(&*broker, &messages(2)).await?;
    let mut first = broker.consume(Queue::Tasks, 2).await?;
    let (acked, released) = (next(&mut *first).await?, next(&mut *first).await?);
    first.stop().await;
    let expected = released.message.id;
    acked.ack().await;
    released.release().await;
    let mut second = broker.consume(Queue::Tasks, 2).await?;
    let again = next(&mut *second).await?;
    ensure!(again.message.id == expected, "the acked message was redelivered");
    again.ack().await;
    drop(first);
    expect_nothing(&mut *second).await
}

pub async fn next_is_cancel_safe(broker: Arc<dyn Broker>) -> Result<()> {
    let mut consumer = broker.consume(Queue::Tasks, 1).await?;
    let waited = tokio::time::timeout(QUIET, consumer.next()).await;
    ensure!(waited.is_err(), "unexpected delivery");
    for number in 0..20 {
        publish(&*broker, &[message(number)]).await?;
        let polling = async {
            loop {
                if let Ok(delivery) = tokio::time::timeout(QUIET / 100, consumer.next()).await {
                    break delivery;
                }
            }
        };
        if let Some(delivery) = within("a delivery", polling).await? {
            delivery.ack().await;
        }
    }
    Ok(())
}

pub async fn many_consumers_receive_every_message(broker: Arc<dyn Broker>) -> Result<()> {
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
    wait_for_depth(&*broker, 0).await
}

pub async fn rejected_message_is_dead_lettered(broker: Arc<dyn Broker>) -> Result<()> {
    let mut dead_letters = broker.consume(Queue::DeadLetters, 2).await?;
    let mut consumer = broker.consume(Queue::Tasks, 3).await?;
    let sent = messages(3);
    publish(&*broker, &sent).await?;
    let mut held = Vec::new();
    for _ in &sent {
        held.push(next(&mut *consumer).await?);
    }
    // The middle one, so that tags before and after it are acknowledged.
    let rejected = held.remove(1);
    let expected = rejected.message.clone();
    rejected.reject().await;
    for delivery in held {
        delivery.ack().await;
    }
    let dead_letter = next(&mut *dead_letters).await?;
    ensure!(dead_letter.message.id == expected.id, "unexpected message");
    ensure!(dead_letter.message.body == expected.body, "unexpected body");
    dead_letter.ack().await;
    wait_for_depth(&*broker, 0).await?;
    expect_nothing(&mut *consumer).await?;
    expect_nothing(&mut *dead_letters).await
}

/// A message that makes a consumer panic must not reach the next consumer.
pub async fn panic_rejects_the_delivery(broker: Arc<dyn Broker>) -> Result<()> {
    let mut dead_letters = broker.consume(Queue::DeadLetters, 1).await?;
    let mut consumer = broker.consume(Queue::Tasks, 1).await?;
    let sent = message(1);
    publish(&*broker, std::slice::from_ref(&sent)).await?;
    let delivery = next(&mut *consumer).await?;
    let panicking = tokio::spawn(async move {
        let _held = delivery;
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    ensure!(panicking.await.is_err(), "there was no panic");
    let dead_letter = next(&mut *dead_letters).await?;
    ensure!(dead_letter.message.id == sent.id, "unexpected message");
    dead_letter.ack().await;
    expect_nothing(&mut *consumer).await
}
