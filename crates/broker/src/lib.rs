//! Messages between services: queues for work, topics for broadcasts.
//!
//! [`open`] returns the engine for a URL: RabbitMQ (`amqp://`, `amqps://`) or an in-process
//! broker (`memory://`). Every [`Broker`] guarantees:
//! - **Queues** keep a message until a consumer acknowledges it. A message that was
//!   delivered but not settled when its consumer ends is delivered again, marked as
//!   redelivered. A consumer holds at most `prefetch` unsettled messages.
//! - **Publishing** returns once the broker has taken responsibility for the message.
//! - **Topics** copy a message to all current subscribers. A subscriber that may have
//!   missed messages receives [`Received::Gap`], and can verify that it still receives
//!   messages with [`Subscription::send_probe`].
//! - **Dead letters** are messages that were rejected or delivered too often. Some process
//!   has to run [`run_dead_letter_consumer`].
//!
//! Duplicates are possible and order is not guaranteed; receivers must tolerate both.

mod config;
mod dead_letters;
mod destination;
pub mod health;
mod memory;
mod message;
mod metered;
mod rabbit;
pub mod spans;

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use miniapp_config::EngineUrl;
use miniapp_telemetry::trace::now;

use crate::metered::Metered;

pub use config::BrokerConfig;
pub use dead_letters::run_dead_letter_consumer;
pub use destination::{Destination, WorkQueue};
pub use memory::MemoryBroker;
pub use message::Message;
pub use rabbit::RabbitBroker;

/// A queue of work. Each message goes to one consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, strum::EnumIter)]
pub enum Queue {
    /// Tasks of the queue `default`, for the workers.
    Tasks,
    /// Tasks of another queue, or of one kind, for the workers. Created on first use.
    #[strum(disabled)]
    Work(WorkQueue),
    /// Deleted accounts, for services that store data of accounts.
    AccountDeletions,
    /// Messages of the other queues that were rejected, or delivered too often without
    /// being settled. Their content is unchanged.
    DeadLetters,
    /// Dead letters that cannot be processed, for operators and newer versions.
    Parked,
}

/// A topic of broadcasts. Each message goes to all current subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Cancellations of running tasks, for the workers.
    TaskCancels,
    /// Events of tasks, for live streams.
    TaskEvents,
    /// Sessions that started, changed or ended, for token verification.
    Sessions,
}

/// Why a call to the broker failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BrokerError {
    /// The broker is unreachable or did not respond in time. The message may have been
    /// accepted; publishing it again is correct.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
    /// The broker rejected the message.
    #[error("the broker refused the message: {0}")]
    Refused(String),
}

/// Opens the broker at `url`. The scheme selects the engine.
pub fn open(url: &EngineUrl) -> Result<Arc<dyn Broker>, BrokerError> {
    match url.scheme() {
        "memory" => Ok(Arc::new(Metered(MemoryBroker::new()))),
        "amqp" | "amqps" => Ok(Arc::new(Metered(RabbitBroker::open(url)?))),
        _ => Err(BrokerError::Unavailable(format!("no engine for {url}"))),
    }
}

/// A message broker.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Publishes messages to `queue` and waits until the broker has confirmed each. Returns
    /// one result per message, in their order.
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Vec<Result<(), BrokerError>>;

    /// Starts consuming `queue`, with at most `prefetch` unsettled messages.
    async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError>;

    /// Copies a message to all current subscribers of `topic`.
    async fn broadcast(&self, topic: Topic, message: Message) -> Result<(), BrokerError>;

    /// Subscribes to `topic` from now on.
    async fn subscribe(&self, topic: Topic) -> Result<Box<dyn Subscription>, BrokerError>;

    /// Returns the number of messages that wait in `queue`, without unsettled ones.
    async fn depth(&self, queue: Queue) -> Result<u64, BrokerError>;

    /// Checks that the broker responds and accepts messages.
    async fn ping(&self) -> Result<(), BrokerError>;

    /// Whether queues outlive this process. If not, publishers must publish pending messages
    /// again after a start.
    fn is_durable(&self) -> bool;

    /// The `messaging.system` of spans.
    fn system(&self) -> &'static str {
        "miniapp_memory"
    }
}

/// A consumer of a queue. Dropping it releases its unsettled messages.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for the next message. `None` only after [`Consumer::stop`].
    async fn next(&mut self) -> Option<Delivery>;

    /// Stops consuming. Delivered messages can still be settled.
    async fn stop(&mut self);
}

/// A delivered message. It must be settled; dropping it releases it.
pub struct Delivery {
    pub message: Message,
    /// Whether the message may have been delivered before.
    pub redelivered: bool,
    /// When the consumer received it.
    pub delivered_at: SystemTime,
    /// The server's delivery tag, for engines with a server.
    pub tag: Option<u64>,
    settle: Box<dyn Settle>,
}

impl Delivery {
    /// Creates a delivery. For engines.
    pub fn new(message: Message, redelivered: bool, settle: Box<dyn Settle>) -> Self {
        Self { message, redelivered, delivered_at: now(), tag: None, settle }
    }

    /// Sets the delivery tag.
    #[must_use]
    pub fn with_tag(self, tag: u64) -> Self {
        Self { tag: Some(tag), ..self }
    }

    /// Acknowledges the message, which removes it from the queue. Infallible: if the
    /// acknowledgement is lost, the message is delivered again, which receivers tolerate.
    pub async fn ack(self) {
        self.settle.ack().await;
    }

    /// Returns the message to its queue for another delivery.
    pub async fn release(self) {
        self.settle.release().await;
    }

    /// Rejects the message: it is dead-lettered, or removed if it is a dead letter already.
    pub async fn reject(self) {
        self.settle.reject().await;
    }
}

/// Settles a delivery, implemented by engines. Dropping it releases the delivery. If it is
/// dropped by a panic, it rejects the delivery, so that a message that makes a consumer
/// panic does not reach the next one.
#[async_trait]
pub trait Settle: Send + Sync {
    /// See [`Delivery::ack`].
    async fn ack(self: Box<Self>);
    /// See [`Delivery::release`].
    async fn release(self: Box<Self>);
    /// See [`Delivery::reject`].
    async fn reject(self: Box<Self>);
}

/// An item of a subscription.
#[derive(Clone, Debug)]
pub enum Received {
    Message(Message),
    /// Messages may have been missed before the next one.
    Gap,
    /// A [probe](Subscription::send_probe) came back, after everything that was broadcast
    /// before it.
    Probe(u64),
}

/// A subscription to a topic.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for the next item. `None` when the broker has shut down.
    async fn next(&mut self) -> Option<Received>;

    /// Sends a probe to this subscription alone, over the path that its messages take. Its
    /// [return](Received::Probe) proves that everything broadcast before was received. Does
    /// not wait. A probe is dropped while the subscription is disconnected or another probe
    /// is still being sent.
    fn send_probe(&self, sequence: u64);
}
