//! The engine on RabbitMQ, 3.10 and later.
//!
//! Messages are published over one connection and consumed over another, because a server
//! that is short of memory or disk stops reading from those that publish, and must still
//! hear what consumers settle.

mod address;
mod backoff;
mod consumer;
mod envelope;
mod fault;
mod ledger;
mod link;
mod live;
mod publisher;
mod subscription;
mod topology;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use miniapp_config::EngineUrl;
use tokio::time::timeout;

use self::address::Address;
use self::consumer::RabbitConsumer;
use self::link::Link;
use self::live::Live;
use self::publisher::Publisher;
use self::subscription::RabbitSubscription;
use self::topology::Route;
use crate::spans::RABBITMQ;
use crate::{Broker, BrokerError, Consumer, Message, Queue, Subscription, Topic};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Queues and topics in RabbitMQ.
///
/// Connections are made in the background and made again when they are lost, so this can
/// be opened while the server is down. Meanwhile everything answers
/// [`BrokerError::Unavailable`]; consumers and subscriptions that were started before
/// carry on by themselves afterwards.
pub struct RabbitBroker {
    address: Address,
    /// For all that asks something of the server.
    asking: Arc<Link>,
    /// For all that waits for something from it; made when the first one does.
    hearing: OnceLock<Arc<Link>>,
    publisher: Arc<Publisher>,
}

impl RabbitBroker {
    /// Begins to connect to the server that `url` names: `amqp://` or, over TLS,
    /// `amqps://`. Has to be called within a runtime.
    pub fn open(url: &EngineUrl) -> Result<Self, BrokerError> {
        let address = Address::parse(url)?;
        let asking = Arc::new(Link::new(address.clone(), "publishing"));
        let publisher = Arc::new(Publisher::new(Arc::clone(&asking)));
        Ok(Self { address, asking, hearing: OnceLock::new(), publisher })
    }

    fn hearing(&self) -> Arc<Link> {
        let link = || Arc::new(Link::new(self.address.clone(), "consuming"));
        Arc::clone(self.hearing.get_or_init(link))
    }

    /// How many messages wait in `queue`, unless the server isn't to be asked.
    async fn count(&self, queue: Queue) -> Result<u64, BrokerError> {
        let live = self.asking.live().await?;
        tokio::select! {
            biased;
            // Whom the server doesn't read it doesn't answer either.
            error = live.takes_no_messages() => Err(error),
            counted = Self::inspect(&live, queue) => counted,
        }
    }

    async fn inspect(live: &Live, queue: Queue) -> Result<u64, BrokerError> {
        let unavailable = |error| fault::unavailable(&error);
        let channel = live.channel().await.map_err(unavailable)?;
        match topology::inspect(&channel, queue).await {
            Ok(declared) => {
                live.give_back(channel);
                Ok(declared.message_count().into())
            }
            Err(error) => {
                if fault::is_missing(&error) {
                    live.restore().await;
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
        Ok(Box::new(RabbitConsumer::start(self.hearing(), queue, prefetch).await?))
    }

    async fn broadcast(&self, topic: Topic, message: Message) -> Result<(), BrokerError> {
        let answers = self.publisher.publish(Route::to_topic(topic), vec![message]).await;
        answers.into_iter().collect()
    }

    async fn subscribe(&self, topic: Topic) -> Result<Box<dyn Subscription>, BrokerError> {
        let publisher = Arc::clone(&self.publisher);
        Ok(Box::new(RabbitSubscription::start(self.hearing(), publisher, topic).await?))
    }

    async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
        timeout(LIMIT, self.count(queue)).await.map_err(|_| timed_out())?
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
