//! The exchanges and queues, and their names. Every connection declares them before its
//! first use, so start-up order does not matter and deleted entities come back. A user without
//! the permission to do so only checks that they exist.
//!
//! Uses no feature that RabbitMQ 4 deprecates: durable queues are quorum queues, temporary
//! ones are exclusive, and prefetch is set per consumer.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ExchangeKind, Queue as DeclaredQueue};

use super::error;
use crate::{Queue, Topic, WorkQueue};

/// How often a message is delivered without being settled before it is dead-lettered. High,
/// because a crashing consumer also costs the other messages it had prefetched a delivery;
/// poison tasks are detected much earlier, from their leases. RabbitMQ 4 defaults to 20.
const DELIVERY_LIMIT: i32 = 100;
/// A work queue that nobody consumes or declares for this time is deleted by the server, in
/// milliseconds. What waited in it is published again, because it waits in the store.
const UNUSED_TIMEOUT: i32 = 24 * 60 * 60 * 1000;
/// Dead letters are never dropped, however often they are delivered.
const NO_LIMIT: i32 = i32::MAX;

/// Routes probes to the queue of a subscription. The default exchange would also do, but a user
/// that may publish to it reaches every queue.
pub(super) const PROBES: &str = "probes";
const TOPICS: [Topic; 3] = [Topic::TaskCancels, Topic::TaskEvents, Topic::Sessions];
/// In this order, because the others refer to the dead letters.
const QUEUES: [Queue; 4] =
    [Queue::DeadLetters, Queue::Parked, Queue::Tasks, Queue::AccountDeletions];

/// The exchange and routing key of a message.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub exchange: &'static str,
    pub key: Cow<'static, str>,
    /// The queue, if it is created on first use.
    pub work_queue: Option<WorkQueue>,
    /// Whether the message must reach a queue and survive a server restart. Broadcasts are
    /// neither mandatory nor persistent.
    pub is_durable: bool,
}

impl Route {
    pub fn to_queue(queue: Queue) -> Self {
        let (exchange, key) = queue.route();
        let work_queue = if let Queue::Work(work) = queue { Some(work) } else { None };
        Self { exchange, key, work_queue, is_durable: true }
    }

    pub fn to_topic(topic: Topic) -> Self {
        Self { exchange: topic.exchange(), key: "".into(), work_queue: None, is_durable: false }
    }

    /// To the one subscriber that consumes `queue`.
    pub fn to_subscriber(queue: String) -> Self {
        Self { exchange: PROBES, key: queue.into(), work_queue: None, is_durable: false }
    }
}

/// How this process ensures that everything exists.
#[derive(Default)]
pub(super) struct Topology {
    /// The user may not declare anything: an operator does.
    is_managed: AtomicBool,
}

impl Topology {
    /// Declares everything, or checks that it exists if the user may not declare it. Fails if an
    /// entity of a name exists with different arguments.
    pub async fn ensure(&self, connection: &Connection) -> lapin::Result<()> {
        if !self.is_managed.load(Ordering::Relaxed) {
            match declare(&connection.create_channel().await?).await {
                Err(error) if error::is_access_refused(&error) => {
                    // The server logs each refusal, so it is not provoked again.
                    self.is_managed.store(true, Ordering::Relaxed);
                }
                declared => return declared,
            }
        }
        let checked = check(&connection.create_channel().await?).await;
        if checked.is_err() {
            // The user may have got the permission.
            self.is_managed.store(false, Ordering::Relaxed);
        }
        checked
    }
}

/// Declares a work queue, or checks that it exists if the user may not declare it.
pub(super) async fn ensure_work_queue(
    connection: &Connection,
    work: WorkQueue,
) -> lapin::Result<()> {
    let queue = Queue::Work(work);
    let mut arguments = work_arguments();
    arguments.push(("x-expires", UNUSED_TIMEOUT.into()));
    match declare_queue(&connection.create_channel().await?, queue, &arguments).await {
        Err(error) if error::is_access_refused(&error) => {
            inspect(&connection.create_channel().await?, queue).await.map(drop)
        }
        declared => declared,
    }
}

async fn declare(channel: &Channel) -> lapin::Result<()> {
    for topic in TOPICS {
        declare_exchange(channel, Route::to_topic(topic).exchange, ExchangeKind::Fanout).await?;
    }
    declare_exchange(channel, PROBES, ExchangeKind::Direct).await?;
    for queue in [Queue::DeadLetters, Queue::Parked] {
        declare_exchange(channel, Route::to_queue(queue).exchange, ExchangeKind::Fanout).await?;
        declare_queue(channel, queue, &[("x-delivery-limit", NO_LIMIT.into())]).await?;
    }
    for queue in [Queue::Tasks, Queue::AccountDeletions] {
        declare_exchange(channel, Route::to_queue(queue).exchange, ExchangeKind::Direct).await?;
        declare_queue(channel, queue, &work_arguments()).await?;
    }
    Ok(())
}

/// Returns the arguments of queues whose messages may become dead letters.
fn work_arguments() -> Vec<(&'static str, AMQPValue)> {
    vec![
        ("x-delivery-limit", DELIVERY_LIMIT.into()),
        ("x-dead-letter-exchange", text(&Queue::DeadLetters.name())),
        // A message leaves its queue only after the dead-letter queue has confirmed it.
        // RabbitMQ requires `reject-publish` for that.
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ]
}

/// Checks that everything exists, which needs no permission.
async fn check(channel: &Channel) -> lapin::Result<()> {
    let exchanges = TOPICS.map(|topic| Route::to_topic(topic).exchange);
    let exchanges = exchanges.into_iter().chain([PROBES]);
    for exchange in exchanges.chain(QUEUES.map(|queue| Route::to_queue(queue).exchange)) {
        let options = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        let kind = ExchangeKind::default();
        channel.exchange_declare(exchange.into(), kind, options, FieldTable::default()).await?;
    }
    for queue in QUEUES {
        inspect(channel, queue).await?;
    }
    Ok(())
}

/// Declares an exclusive queue that is bound to `topic` and to its probes.
pub(super) async fn declare_subscription_queue(
    channel: &Channel,
    topic: Topic,
) -> lapin::Result<DeclaredQueue> {
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel.queue_declare("".into(), options, FieldTable::default()).await?;
    let Route { exchange, key, .. } = Route::to_topic(topic);
    bind(channel, queue.name().as_str(), exchange, &key).await?;
    bind(channel, queue.name().as_str(), PROBES, queue.name().as_str()).await?;
    Ok(queue)
}

/// Returns the state of `queue` without declaring it. Fails if it does not exist.
pub(super) async fn inspect(channel: &Channel, queue: Queue) -> lapin::Result<DeclaredQueue> {
    let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare((&*queue.name()).into(), options, FieldTable::default()).await
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
    channel.queue_declare((&*queue.name()).into(), options, table).await?;
    let Route { exchange, key, .. } = Route::to_queue(queue);
    bind(channel, &queue.name(), exchange, &key).await
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
