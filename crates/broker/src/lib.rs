//! Messages between the services: queues for work, topics for news.
//!
//! A [`Broker`] promises what the rest of the platform builds on:
//! - **Queues** hold a message until one consumer has acknowledged it. What was
//!   delivered and neither acknowledged nor released when its consumer goes away is
//!   delivered again, marked as redelivered. A consumer holds at most `prefetch`
//!   unsettled messages.
//! - **Publishing** answers once the broker is responsible for the message.
//! - **Topics** copy a message to everyone who is subscribed at that moment. A
//!   subscriber that may have missed something is told so ([`Received::Gap`]), and can
//!   verify that it still receives ([`Subscription::send_probe`]).
//! - **Dead letters** are messages that no consumer could use. Somebody has to
//!   [consume](run_dead_letter_consumer) them.
//!
//! Duplicates are possible and order isn't promised; receivers must cope with both.

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

use async_trait::async_trait;
use miniapp_config::EngineUrl;

use crate::metered::Metered;

pub use config::BrokerConfig;
pub use dead_letters::run_dead_letter_consumer;
pub use destination::Destination;
pub use memory::MemoryBroker;
pub use message::Message;
pub use rabbit::RabbitBroker;

/// Where work waits for one of many takers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::EnumIter)]
pub enum Queue {
    /// Tasks that are to be run, for the workers.
    Tasks,
    /// Accounts that are gone, for whoever keeps something of theirs.
    AccountDeletions,
    /// Messages of the queues above that were rejected, or delivered too often without
    /// ever being settled. They mean what they meant there.
    DeadLetters,
    /// Dead letters that nobody could make use of, for people and for newer versions.
    Parked,
}

/// News for everyone who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Running tasks to be stopped, for the workers.
    TaskCancels,
    /// What happened to tasks, for the API's live streams.
    TaskEvents,
    /// Sessions that began, changed or ended, for the API's token check.
    Sessions,
}

/// Why the broker didn't do as told.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BrokerError {
    /// It can't be reached or didn't answer in time; the message may or may not be
    /// there, and publishing it again is right.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
    /// It answered that it won't take the message.
    #[error("the broker refused the message: {0}")]
    Refused(String),
}

/// Opens the broker that `url` names by its scheme.
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
    /// Gives messages into `queue` and waits until the broker is responsible for each;
    /// one answer a message, in their order.
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Vec<Result<(), BrokerError>>;

    /// Starts taking messages from `queue`, at most `prefetch` unsettled at a time.
    async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError>;

    /// Copies a message to every current subscriber of `topic`.
    async fn broadcast(&self, topic: Topic, message: Message) -> Result<(), BrokerError>;

    /// Listens to `topic` from now on.
    async fn subscribe(&self, topic: Topic) -> Result<Box<dyn Subscription>, BrokerError>;

    /// How many messages wait in `queue`, those in consumers' hands not counted.
    async fn depth(&self, queue: Queue) -> Result<u64, BrokerError>;

    /// Whether the broker answers and takes messages.
    async fn ping(&self) -> Result<(), BrokerError>;

    /// Whether queues outlive this process. Where they don't, whoever owes a message
    /// has to send it again after a start.
    fn is_durable(&self) -> bool;

    /// What it calls itself in traces.
    fn system(&self) -> &'static str {
        "miniapp_memory"
    }
}

/// A running consumer of a queue. Dropping it gives its unsettled messages back.
#[async_trait]
pub trait Consumer: Send {
    /// The next message; waits for one. `None` only after [`Consumer::stop`].
    async fn next(&mut self) -> Option<Delivery>;

    /// Takes no more messages; those delivered can still be settled.
    async fn stop(&mut self);
}

/// A message in a consumer's hands. Dropped unsettled, it is delivered again.
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
    /// The server's number for it, where there is a server.
    pub tag: Option<u64>,
    settle: Box<dyn Settle>,
}

impl Delivery {
    /// Puts a delivery together; for engines.
    pub fn new(message: Message, redelivered: bool, settle: Box<dyn Settle>) -> Self {
        Self { message, redelivered, tag: None, settle }
    }

    /// The same with the server's number for it.
    #[must_use]
    pub fn with_tag(self, tag: u64) -> Self {
        Self { tag: Some(tag), ..self }
    }

    /// The message has done its duty and is forgotten. Should the word get lost, the
    /// message comes again, which receivers cope with; so this can't fail.
    pub async fn ack(self) {
        self.settle.ack().await;
    }

    /// Another consumer, or this one later, shall have it.
    pub async fn release(self) {
        self.settle.release().await;
    }

    /// It is of no use here and goes to the dead letters; a dead letter is forgotten.
    pub async fn reject(self) {
        self.settle.reject().await;
    }
}

/// How an engine hears what became of a delivery. Dropping it means release, but reject
/// where a panic drops it: what made one consumer panic shall not go on to the next.
#[async_trait]
pub trait Settle: Send + Sync {
    /// See [`Delivery::ack`].
    async fn ack(self: Box<Self>);
    /// See [`Delivery::release`].
    async fn release(self: Box<Self>);
    /// See [`Delivery::reject`].
    async fn reject(self: Box<Self>);
}

/// What a subscription hears.
#[derive(Clone, Debug)]
pub enum Received {
    /// A message of the topic.
    Message(Message),
    /// Messages may have been missed between the last one and the next.
    Gap,
    /// A [probe](Subscription::send_probe) came back, after everything that was broadcast
    /// before it.
    Probe(u64),
}

/// A running subscription to a topic.
#[async_trait]
pub trait Subscription: Send {
    /// The next news; waits for some. `None` when the broker is closing for good.
    async fn next(&mut self) -> Option<Received>;

    /// Sends a probe to this subscription alone, over the path that its messages take. Its
    /// [return](Received::Probe) proves that everything broadcast before was received. Does
    /// not wait. A probe is dropped while the subscription is disconnected or another probe
    /// is still being sent.
    fn send_probe(&self, sequence: u64);
}
