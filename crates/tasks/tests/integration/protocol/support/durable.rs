//! A broker that survives the processes of a test.

use std::sync::Arc;

use async_trait::async_trait;
use miniapp_broker::{
    Broker, BrokerError, Consumer, MemoryBroker, Message, Queue, Subscription, Topic,
};

/// The in-process broker, reported as durable, so that a starting process does not assume an
/// empty queue.
pub struct Durable(pub Arc<MemoryBroker>);

#[async_trait]
impl Broker for Durable {
    async fn publish(&self, queue: Queue, messages: Vec<Message>) -> Vec<Result<(), BrokerError>> {
        self.0.publish(queue, messages).await
    }

    async fn consume(&self, queue: Queue, prefetch: u16) -> Result<Box<dyn Consumer>, BrokerError> {
        self.0.consume(queue, prefetch).await
    }

    async fn broadcast(&self, topic: Topic, message: Message) -> Result<(), BrokerError> {
        self.0.broadcast(topic, message).await
    }

    async fn subscribe(&self, topic: Topic) -> Result<Box<dyn Subscription>, BrokerError> {
        self.0.subscribe(topic).await
    }

    async fn depth(&self, queue: Queue) -> Result<u64, BrokerError> {
        self.0.depth(queue).await
    }

    async fn ping(&self) -> Result<(), BrokerError> {
        self.0.ping().await
    }

    fn is_durable(&self) -> bool {
        true
    }
}
