//! What has to exist in the server, and under which names. Declared by every connection
//! before its first use, so that start-up order doesn't matter and what was deleted
//! comes back.
//!
//! Nothing here is deprecated in RabbitMQ 4: queues that outlive a connection are quorum
//! queues, those that don't are exclusive, and prefetch is set for each consumer.

use std::borrow::Cow;

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind, Queue as Declared};

use crate::{Queue, Topic};

/// After so many deliveries that nobody settled, a message goes to the dead letters.
/// Consumers that keep dying take innocent neighbours with them, hence the patience; the
/// database decides far sooner which task is poison. Stated, because RabbitMQ 4 would
/// otherwise drop messages after 20.
const DELIVERY_LIMIT: i32 = 100;
/// Dead letters have nowhere else to go, however often somebody looks at them.
const NO_LIMIT: i32 = i32::MAX;

/// The exchange that brings a message to the queue whose name is its key.
pub(super) const DIRECT: &str = "";

/// Where a message goes.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub exchange: &'static str,
    pub key: Cow<'static, str>,
    /// Whether it has to reach a queue and to survive the server, or is news for those
    /// who happen to listen.
    pub is_work: bool,
}

impl Route {
    pub fn to_queue(queue: Queue) -> Self {
        let (exchange, key) = queue.route();
        Self { exchange, key: key.into(), is_work: true }
    }

    pub fn to_topic(topic: Topic) -> Self {
        Self { exchange: topic.exchange(), key: "".into(), is_work: false }
    }

    /// To the subscriber alone whose queue is called `ear`.
    pub fn to_ear(ear: String) -> Self {
        Self { exchange: DIRECT, key: ear.into(), is_work: false }
    }
}

/// Declares everything. Fails where something of a name exists and is otherwise.
pub(super) async fn declare(channel: &Channel) -> lapin::Result<()> {
    for topic in [Topic::TaskCancels, Topic::TaskEvents, Topic::Sessions] {
        declare_exchange(channel, Route::to_topic(topic).exchange, ExchangeKind::Fanout).await?;
    }
    for queue in [Queue::DeadLetters, Queue::Parked] {
        declare_exchange(channel, Route::to_queue(queue).exchange, ExchangeKind::Fanout).await?;
        declare_queue(channel, queue, &[("x-delivery-limit", NO_LIMIT.into())]).await?;
    }
    for queue in [Queue::Tasks, Queue::AccountDeletions] {
        declare_exchange(channel, Route::to_queue(queue).exchange, ExchangeKind::Direct).await?;
        let arguments = [
            ("x-delivery-limit", DELIVERY_LIMIT.into()),
            ("x-dead-letter-exchange", text(Queue::DeadLetters.name())),
            // A dead letter leaves its queue when the other one has it, which the server
            // does only where the queue refuses rather than drops what is too much.
            ("x-dead-letter-strategy", text("at-least-once")),
            ("x-overflow", text("reject-publish")),
        ];
        declare_queue(channel, queue, &arguments).await?;
    }
    Ok(())
}

/// A queue of this connection's own that hears `topic`.
pub(super) async fn declare_ear(channel: &Channel, topic: Topic) -> lapin::Result<Declared> {
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel.queue_declare("".into(), options, FieldTable::default()).await?;
    let Route { exchange, key, .. } = Route::to_topic(topic);
    bind(channel, queue.name().as_str(), exchange, &key).await?;
    Ok(queue)
}

/// How `queue` is, without declaring it. Fails where it isn't.
pub(super) async fn inspect(channel: &Channel, queue: Queue) -> lapin::Result<Declared> {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.name().into(), options, FieldTable::default()).await
}

async fn declare_exchange(channel: &Channel, name: &str, kind: ExchangeKind) -> lapin::Result<()> {
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(name.into(), kind, options, FieldTable::default()).await
}

async fn declare_queue(
    channel: &Channel,
    queue: Queue,
    arguments: &[(&str, AMQPValue)],
) -> lapin::Result<()> {
    let mut table = FieldTable::default();
    table.insert("x-queue-type".into(), text("quorum"));
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.name().into(), options, table).await?;
    let Route { exchange, key, .. } = Route::to_queue(queue);
    bind(channel, queue.name(), exchange, &key).await
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> lapin::Result<()> {
    let options = QueueBindOptions::default();
    channel
        .queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default())
        .await
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
