//! Lost connections lose no messages.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use miniapp_broker::{
    Broker, BrokerError, Consumer, Queue, RabbitBroker, Received, Subscription, Topic,
};
use miniapp_config::EngineUrl;
use miniapp_test_support::eventually;
use miniapp_test_support::rabbit::Server;
use uuid::Uuid;

use crate::rabbit::{
    exclusive, message, messages, next, open, publish, shared, wait_available, within,
};

/// The request timeout of the engine, with a margin.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(8);

/// A client that was connected before the outage.
struct Client {
    broker: RabbitBroker,
    consumer: Box<dyn Consumer>,
    subscription: Box<dyn Subscription>,
    unconsumed: HashSet<Uuid>,
}

impl Client {
    /// Publishes a hundred messages and prefetches some of them.
    async fn new(url: &EngineUrl) -> Self {
        let broker = open(url);
        let sent = messages(100);
        let unconsumed = sent.iter().map(|message| message.id).collect();
        publish(&broker, sent).await.unwrap();
        let consumer = broker.consume(Queue::Tasks, 10).await.unwrap();
        let subscription = broker.subscribe(Topic::Sessions).await.unwrap();
        Self { broker, consumer, subscription, unconsumed }
    }

    async fn expect_outage(&self) {
        let began = Instant::now();
        eventually("the broker is unavailable", async || self.broker.ping().await.err()).await;
        let answer = publish(&self.broker, messages(2)).await;
        assert!(matches!(answer, Err(BrokerError::Unavailable(_))), "{answer:?}");
        assert!(began.elapsed() < 2 * RESPONSE_TIMEOUT, "took {:?}", began.elapsed());
    }

    /// Checks that the existing consumer and subscription resume and nothing is lost.
    async fn expect_recovery(mut self) {
        wait_available(&self.broker).await;
        while !self.unconsumed.is_empty() {
            let delivery = next(&mut *self.consumer).await;
            self.unconsumed.remove(&delivery.message.id);
            delivery.ack().await;
        }
        let received = within("the gap", self.subscription.next()).await.unwrap();
        assert!(matches!(received, Received::Gap), "{received:?}");
        let broadcast = message(1);
        self.broker.broadcast(Topic::Sessions, broadcast.clone()).await.unwrap();
        loop {
            match within("the broadcast", self.subscription.next()).await.unwrap() {
                Received::Gap | Received::Probe(_) => {}
                Received::Message(received) => break assert_eq!(received.id, broadcast.id),
            }
        }
        publish(&self.broker, messages(1)).await.unwrap();
        next(&mut *self.consumer).await.ack().await;
    }
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn clients_survive_a_server_crash() {
    let (server, _access) = exclusive().await;
    let mut client = Client::new(&server.host().await.unwrap()).await;
    let held = next(&mut *client.consumer).await;
    let done = next(&mut *client.consumer).await;
    client.unconsumed.remove(&done.message.id);
    done.ack().await;

    server.crash().await.unwrap();
    client.expect_outage().await;
    // Too late: the message is redelivered, or this would time out.
    held.ack().await;
    server.resume().await.unwrap();
    client.expect_recovery().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn clients_survive_a_server_restart() {
    let (server, _access) = exclusive().await;
    let client = Client::new(&server.host().await.unwrap()).await;
    server.stop().await.unwrap();
    client.expect_outage().await;
    server.resume().await.unwrap();
    client.expect_recovery().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn clients_survive_connections_closed_by_an_operator() {
    let (server, _access) = shared().await;
    let url = server.host().await.unwrap();
    let client = Client::new(&url).await;
    server.close_connections(&url).await.unwrap();
    client.expect_recovery().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn clients_survive_a_frozen_server() {
    let (server, _access) = exclusive().await;
    let url = with_short_heartbeats(server).await;
    let mut client = Client::new(&url).await;
    let held = next(&mut *client.consumer).await;
    server.freeze().unwrap();
    client.expect_outage().await;
    // Heartbeats detect the dead connection.
    eventually("the connection is closed", async || {
        let error = client.broker.ping().await.unwrap_err().to_string();
        error.contains("doesn't respond").then_some(())
    })
    .await;
    server.thaw().unwrap();
    client.expect_recovery().await;
    drop(held);
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn consumer_stops_while_the_server_is_frozen() {
    let (server, _access) = exclusive().await;
    let mut client = Client::new(&with_short_heartbeats(server).await).await;
    let held = next(&mut *client.consumer).await;
    server.freeze().unwrap();
    let began = Instant::now();
    client.consumer.stop().await;
    assert!(client.consumer.next().await.is_none());
    held.ack().await;
    assert!(began.elapsed() < Duration::from_secs(1), "took {:?}", began.elapsed());
    server.thaw().unwrap();
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn broker_can_be_opened_before_the_server_starts() {
    let (server, _access) = exclusive().await;
    let url = server.host().await.unwrap();
    server.stop().await.unwrap();
    let broker = open(&url);
    assert!(broker.ping().await.is_err());
    assert!(broker.subscribe(Topic::Sessions).await.is_err());
    server.resume().await.unwrap();
    wait_available(&broker).await;
    publish(&broker, messages(1)).await.unwrap();
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn dropped_broker_closes_its_connections() {
    let (server, _access) = shared().await;
    let url = server.host().await.unwrap();
    let (_, host) = url.rest().rsplit_once('/').unwrap();
    let list = async || {
        let list = server.ctl(&["list_connections", "vhost", "client_properties"]).await.unwrap();
        list.lines().filter(|line| line.split('\t').next() == Some(host)).count()
    };
    let client = Client::new(&url).await;
    assert_eq!(list().await, 2, "one to publish, one to consume");
    drop(client);
    eventually("both are closed", async || (list().await == 0).then_some(())).await;
}

async fn with_short_heartbeats(server: &Server) -> EngineUrl {
    let url = server.host().await.unwrap();
    EngineUrl::new(format!("{}?heartbeat=1", url.expose()))
}
