//! Connections are lost in every way, and nothing else is.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use miniapp_broker::{
    Broker, BrokerError, Consumer, Queue, RabbitBroker, Received, Subscription, Topic,
};
use miniapp_config::EngineUrl;
use miniapp_test_support::eventually;
use miniapp_test_support::rabbit::Server;
use uuid::Uuid;

use crate::rabbit::{alone, message, messages, next, open, publish, shared, within, works};

/// How long an answer may take, with some time to spare.
const ANSWER: Duration = Duration::from_secs(8);

/// Someone who was there before the outage.
struct Witness {
    broker: RabbitBroker,
    consumer: Box<dyn Consumer>,
    subscription: Box<dyn Subscription>,
    waiting: HashSet<Uuid>,
}

impl Witness {
    /// Publishes a hundred messages and holds some of them.
    async fn new(url: &EngineUrl) -> Self {
        let broker = open(url);
        let sent = messages(100);
        let waiting = sent.iter().map(|message| message.id).collect();
        publish(&broker, sent).await.unwrap();
        let consumer = broker.consume(Queue::Tasks, 10).await.unwrap();
        let subscription = broker.subscribe(Topic::Sessions).await.unwrap();
        Self { broker, consumer, subscription, waiting }
    }

    async fn has_lost_the_broker(&self) {
        let asked = Instant::now();
        eventually("the broker is lost", async || self.broker.ping().await.err()).await;
        let answer = publish(&self.broker, messages(2)).await;
        assert!(matches!(answer, Err(BrokerError::Unavailable(_))), "{answer:?}");
        assert!(asked.elapsed() < 2 * ANSWER, "took {:?}", asked.elapsed());
    }

    /// All goes on as if nothing had been, with what was there before.
    async fn goes_on(mut self) {
        works(&self.broker).await;
        while !self.waiting.is_empty() {
            let delivery = next(&mut *self.consumer).await;
            self.waiting.remove(&delivery.message.id);
            delivery.ack().await;
        }
        let heard = within("the gap", self.subscription.next()).await.unwrap();
        assert!(matches!(heard, Received::Gap), "{heard:?}");
        let news = message(1);
        self.broker.broadcast(Topic::Sessions, news.clone()).await.unwrap();
        loop {
            match within("news", self.subscription.next()).await.unwrap() {
                Received::Gap | Received::Probe(_) => {}
                Received::Message(heard) => break assert_eq!(heard.id, news.id),
            }
        }
        publish(&self.broker, messages(1)).await.unwrap();
        next(&mut *self.consumer).await.ack().await;
    }
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn a_crash_of_the_server() {
    let (server, _access) = alone().await;
    let mut witness = Witness::new(&server.host().await.unwrap()).await;
    let held = next(&mut *witness.consumer).await;
    let done = next(&mut *witness.consumer).await;
    witness.waiting.remove(&done.message.id);
    done.ack().await;

    server.crash().await.unwrap();
    witness.has_lost_the_broker().await;
    // Too late: it comes again, or else this would wait in vain.
    held.ack().await;
    server.resume().await.unwrap();
    witness.goes_on().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn an_orderly_restart_of_the_server() {
    let (server, _access) = alone().await;
    let witness = Witness::new(&server.host().await.unwrap()).await;
    server.stop().await.unwrap();
    witness.has_lost_the_broker().await;
    server.resume().await.unwrap();
    witness.goes_on().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn connections_closed_by_an_operator() {
    let (server, _access) = shared().await;
    let url = server.host().await.unwrap();
    let witness = Witness::new(&url).await;
    server.close_connections(&url).await.unwrap();
    witness.goes_on().await;
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn a_server_that_falls_silent() {
    let (server, _access) = alone().await;
    let url = with_short_heartbeats(server).await;
    let mut witness = Witness::new(&url).await;
    let held = next(&mut *witness.consumer).await;
    server.freeze().unwrap();
    witness.has_lost_the_broker().await;
    // Nothing is said on a connection that died of silence.
    eventually("the connection is given up", async || {
        let error = witness.broker.ping().await.unwrap_err().to_string();
        error.contains("doesn't answer").then_some(())
    })
    .await;
    server.thaw().unwrap();
    witness.goes_on().await;
    drop(held);
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn a_stop_while_the_server_is_silent() {
    let (server, _access) = alone().await;
    let mut witness = Witness::new(&with_short_heartbeats(server).await).await;
    let held = next(&mut *witness.consumer).await;
    server.freeze().unwrap();
    let began = Instant::now();
    witness.consumer.stop().await;
    assert!(witness.consumer.next().await.is_none());
    held.ack().await;
    assert!(began.elapsed() < Duration::from_secs(1), "took {:?}", began.elapsed());
    server.thaw().unwrap();
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn a_start_before_the_server() {
    let (server, _access) = alone().await;
    let url = server.host().await.unwrap();
    server.stop().await.unwrap();
    let broker = open(&url);
    assert!(broker.ping().await.is_err());
    assert!(broker.subscribe(Topic::Sessions).await.is_err());
    server.resume().await.unwrap();
    works(&broker).await;
    publish(&broker, messages(1)).await.unwrap();
}

#[tokio::test]
#[ignore = "needs RabbitMQ"]
async fn the_end_of_a_broker_leaves_no_connection() {
    let (server, _access) = shared().await;
    let url = server.host().await.unwrap();
    let (_, host) = url.rest().rsplit_once('/').unwrap();
    let list = async || {
        let list = server.ctl(&["list_connections", "vhost", "client_properties"]).await.unwrap();
        list.lines().filter(|line| line.split('\t').next() == Some(host)).count()
    };
    let witness = Witness::new(&url).await;
    assert_eq!(list().await, 2, "one to publish, one to consume");
    drop(witness);
    eventually("both are closed", async || (list().await == 0).then_some(())).await;
}

async fn with_short_heartbeats(server: &Server) -> EngineUrl {
    let url = server.host().await.unwrap();
    EngineUrl::new(format!("{}?heartbeat=1", url.expose()))
}
