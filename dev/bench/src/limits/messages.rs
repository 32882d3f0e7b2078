//! What RabbitMQ does alone for messages like those about tasks: published with
//! confirmation, delivered and acknowledged.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use miniapp::bench::per_second;
use miniapp_broker::{Broker, Message, Queue};
use miniapp_types::message::TaskReady;
use rustix::process::Pid;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Cost;
use crate::processes::taken_with_children;

/// Who publish at once, and how many messages together, as the platform does at most.
const PUBLISHERS: u32 = 8;
const TOGETHER: u32 = 256;
/// How many may be in the consumer's hands.
const PREFETCH: u16 = 300;

/// Passes `count` messages through `broker`, whose process is `pid`.
pub async fn run(broker: &Arc<dyn Broker>, count: u32, pid: Pid) -> anyhow::Result<Cost> {
    let mut consumer = broker.consume(Queue::Tasks, PREFETCH).await?;
    let before = taken_with_children(pid)?;
    let begin = Instant::now();
    let mut publishing = JoinSet::new();
    for _ in 0..PUBLISHERS {
        publishing.spawn(publish(Arc::clone(broker), count / PUBLISHERS));
    }
    for _ in 0..count / PUBLISHERS * PUBLISHERS {
        consumer.next().await.context("the consumer ended")?.ack().await;
    }
    let elapsed = begin.elapsed();
    for published in publishing.join_all().await {
        published?;
    }
    let processor = (taken_with_children(pid)? - before) / f64::from(count);
    Ok(Cost { per_second: per_second(count.into(), elapsed), processor })
}

async fn publish(broker: Arc<dyn Broker>, count: u32) -> anyhow::Result<()> {
    let mut left = count;
    while left > 0 {
        let messages: Vec<Message> = (0..TOGETHER.min(left)).map(|_| message()).collect();
        left -= TOGETHER.min(left);
        for confirmed in broker.publish(Queue::Tasks, messages).await {
            confirmed?;
        }
    }
    Ok(())
}

/// A message as the relay makes them.
pub fn message() -> Message {
    let id = Uuid::new_v4();
    Message::new(id, &TaskReady::V1 { task_id: id, generation: 1, version: 1 })
        .with_conversation(id)
}
