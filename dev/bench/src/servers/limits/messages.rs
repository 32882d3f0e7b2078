//! RabbitMQ on its own: messages like the platform's, published with confirms, delivered
//! and acknowledged.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use miniapp_broker::{Broker, Message, Queue};
use miniapp_types::message::TaskReady;
use rustix::process::Pid;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Rate;
use crate::load::per_second;
use crate::processes::cpu_seconds_with_children;

const PUBLISHERS: u32 = 8;
/// The platform's largest batch.
const BATCH_SIZE: u32 = 256;
const PREFETCH: u16 = 300;

/// Sends `count` messages through `broker`, whose process is `pid`.
pub async fn run(broker: &Arc<dyn Broker>, count: u32, pid: Pid) -> anyhow::Result<Rate> {
    let mut consumer = broker.consume(Queue::Tasks, PREFETCH).await?;
    let before = cpu_seconds_with_children(pid)?;
    let start = Instant::now();
    let mut publishing = JoinSet::new();
    for _ in 0..PUBLISHERS {
        publishing.spawn(publish(Arc::clone(broker), count / PUBLISHERS));
    }
    for _ in 0..count / PUBLISHERS * PUBLISHERS {
        consumer.next().await.context("the consumer ended")?.ack().await;
    }
    let elapsed = start.elapsed();
    for published in publishing.join_all().await {
        published?;
    }
    let cpu_seconds = (cpu_seconds_with_children(pid)? - before) / f64::from(count);
    Ok(Rate { per_second: per_second(count.into(), elapsed), cpu_seconds })
}

async fn publish(broker: Arc<dyn Broker>, count: u32) -> anyhow::Result<()> {
    let mut left = count;
    while left > 0 {
        let messages: Vec<Message> = (0..BATCH_SIZE.min(left)).map(|_| message()).collect();
        left -= BATCH_SIZE.min(left);
        for confirmed in broker.publish(Queue::Tasks, messages).await {
            confirmed?;
        }
    }
    Ok(())
}

/// A message like those of the task relay.
pub fn message() -> Message {
    let id = Uuid::new_v4();
    Message::new(id, &TaskReady::V1 { task_id: id, generation: 1, version: 1, queue: None })
        .with_conversation(id)
}
