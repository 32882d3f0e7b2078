//! Tests of the RabbitMQ engine on a real server.

mod conformance;
mod errors;
mod outages;
mod permissions;
mod queues;
mod silence;

use lapin::{Channel, Connection, ConnectionProperties};
use miniapp_broker::{Broker, BrokerError, Consumer, Delivery, Message, Queue, RabbitBroker};
use miniapp_config::EngineUrl;
use miniapp_test_support::rabbit::Server;
use miniapp_test_support::{TIMEOUT, eventually};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::timeout;
use uuid::Uuid;

static ACCESS: RwLock<()> = RwLock::const_new(());

/// Returns the server, which other tests use at the same time.
async fn shared() -> (&'static Server, RwLockReadGuard<'static, ()>) {
    (Server::shared().await, ACCESS.read().await)
}

/// Returns the server while no other test uses it, for faults that affect all clients.
async fn exclusive() -> (&'static Server, RwLockWriteGuard<'static, ()>) {
    (Server::shared().await, ACCESS.write().await)
}

fn open(url: &EngineUrl) -> RabbitBroker {
    RabbitBroker::open(url).unwrap()
}

fn message(number: usize) -> Message {
    Message::new(Uuid::new_v4(), &number)
}

fn messages(count: usize) -> Vec<Message> {
    (0..count).map(message).collect()
}

async fn publish(broker: &RabbitBroker, messages: Vec<Message>) -> Result<(), BrokerError> {
    broker.publish(Queue::Tasks, messages).await.into_iter().collect()
}

async fn next(consumer: &mut dyn Consumer) -> Delivery {
    within("a delivery", consumer.next()).await.unwrap()
}

async fn within<T>(what: &str, wait: impl Future<Output = T>) -> T {
    timeout(TIMEOUT, wait).await.unwrap_or_else(|_| panic!("timed out waiting for {what}"))
}

/// Waits until the broker is available.
async fn wait_available(broker: &RabbitBroker) {
    eventually("the broker is available", async || broker.ping().await.ok()).await;
}

/// Returns why the broker is unavailable.
async fn unavailable_reason(broker: &RabbitBroker) -> String {
    within("a response", broker.ping()).await.unwrap_err().to_string()
}

/// A plain connection, without the engine.
async fn raw(url: &EngineUrl) -> (Connection, Channel) {
    let connection = Connection::connect(url.expose(), ConnectionProperties::default());
    let connection = connection.await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}
