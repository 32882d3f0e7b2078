//! The RabbitMQ engine, for RabbitMQ 3.10 and later.
//!
//! Messages are published over one connection and consumed over another: a server with a
//! memory or disk alarm stops reading from publishing connections, and must still receive
//! acknowledgements.

mod acks;
mod address;
mod connection;
mod consumer;
mod envelope;
mod error;
mod publisher;
mod reconnect;
mod subscription;
mod supervisor;
mod topology;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use miniapp_config::EngineUrl;
use tokio::time::timeout;

use self::address::Address;
use self::connection::LiveConnection;
use self::consumer::RabbitConsumer;
use self::publisher::Publisher;
use self::subscription::RabbitSubscription;
use self::supervisor::Supervisor;
use self::topology::{Route, Topology};
use crate::spans::RABBITMQ;
use crate::{Broker, BrokerError, Consumer, Message, Queue, Subscription, Topic};

/// How long the server may take to respond.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Queues and topics in RabbitMQ.
///
/// Connects and reconnects in the background, so it can be opened while the server is
/// down. Until then every call returns [`BrokerError::Unavailable`]. Existing consumers
/// and subscriptions resume after a reconnect.
pub struct RabbitBroker {
    address: Address,
    topology: Arc<Topology>,
    publishing: Arc<Supervisor>,
    /// Opened by the first consumer or subscription.
    consuming: OnceLock<Arc<Supervisor>>,
    publisher: Arc<Publisher>,
}

impl RabbitBroker {
    /// Starts connecting to the server at `url` (`amqp://`, or `amqps://` for TLS). Must be
    /// called within a Tokio runtime.
    pub fn open(url: &EngineUrl) -> Result<Self, BrokerError> {
        let address = Address::parse(url)?;
        let topology = Arc::new(Topology::default());
        let publishing = Supervisor::new(address.clone(), topology.clone(), "publishing");
        let publishing = Arc::new(publishing);
        let publisher = Arc::new(Publisher::new(Arc::clone(&publishing)));
        Ok(Self { address, topology, publishing, consuming: OnceLock::new(), publisher })
    }

    fn consuming(&self) -> Arc<Supervisor> {
        let (address, topology) = (&self.address, &self.topology);
        let start = || Supervisor::new(address.clone(), topology.clone(), "consuming");
        Arc::clone(self.consuming.get_or_init(|| Arc::new(start())))
    }

    async fn count(&self, queue: Queue) -> Result<u64, BrokerError> {
        let live = self.publishing.connection().await?;
        tokio::select! {
            biased;
            // The server reads nothing from a blocked connection, so it would not respond.
            error = live.wait_blocked() => Err(error),
            counted = Self::inspect(&live, queue) => counted,
        }
    }

    async fn inspect(live: &LiveConnection, queue: Queue) -> Result<u64, BrokerError> {
        let unavailable = |error| error::unavailable(&error);
        let channel = live.confirm_channel().await.map_err(unavailable)?;
        match topology::inspect(&channel, queue).await {
            Ok(declared) => {
                live.return_channel(channel);
                Ok(declared.message_count().into())
            }
            // Not created yet, or expired.
            Err(error) if error::is_missing(&error) && matches!(queue, Queue::Work(_)) => Ok(0),
            Err(error) => {
                if error::is_missing(&error) {
                    live.redeclare().await;
                }
                Err(unavailable(error))
            }
        }
    }
}

#[async_trait]
impl Broker for RabbitBroker {
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Vec<Result<(), BrokerError>> {
        self.publisher.publish(Route::to_queue(queue), messages).await
    }

    async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        Ok(Box::new(RabbitConsumer::start(self.consuming(), queue, prefetch).await?))
    }

    async fn broadcast(&self, topic: Topic, message: Message) -> Result<(), BrokerError> {
        let answers = self.publisher.publish(Route::to_topic(topic), vec![message]).await;
        answers.into_iter().collect()
    }

    async fn subscribe(&self, topic: Topic) -> Result<Box<dyn Subscription>, BrokerError> {
        let publisher = Arc::clone(&self.publisher);
        Ok(Box::new(RabbitSubscription::start(self.consuming(), publisher, topic).await?))
    }

    async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
        timeout(REQUEST_TIMEOUT, self.count(queue)).await.map_err(|_| timed_out())?
    }

    async fn ping(&self) -> Result<(), BrokerError> {
        self.depth(Queue::Tasks).await.map(drop)
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn system(&self) -> &'static str {
        RABBITMQ
    }
}

fn timed_out() -> BrokerError {
    BrokerError::Unavailable("RabbitMQ didn't answer in time".into())
}
