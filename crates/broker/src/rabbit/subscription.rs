//! Subscribing to a topic, across reconnects.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use lapin::message::Delivery as Raw;
use lapin::options::BasicConsumeOptions;
use lapin::types::{FieldTable, ShortString};
use miniapp_runtime::retry::RetryLogger;
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::connection::LiveConnection;
use super::error::{describe, unavailable};
use super::publisher::Publisher;
use super::reconnect::ReconnectDelay;
use super::supervisor::Supervisor;
use super::topology::{self, PROBES, Route};
use super::{REQUEST_TIMEOUT, envelope, timed_out};
use crate::{BrokerError, Message, Received, Subscription, Topic};

/// How many messages a slow subscriber may lag behind before it misses some. They are
/// buffered here, because the server would buffer without a limit.
const BACKLOG: usize = 1024;

pub(super) struct RabbitSubscription {
    received: broadcast::Receiver<Received>,
    /// The name of the current queue; `None` while disconnected.
    queue_name: Arc<Mutex<Option<ShortString>>>,
    publisher: Arc<Publisher>,
    /// Allows one probe in flight.
    probing: Arc<Semaphore>,
    _listener: AbortOnDropHandle<()>,
}

impl RabbitSubscription {
    pub async fn start(
        supervisor: Arc<Supervisor>,
        publisher: Arc<Publisher>,
        topic: Topic,
    ) -> Result<Self, BrokerError> {
        let starting = async {
            let live = supervisor.connection().await?;
            TopicQueue::open(live, topic).await.map_err(|error| unavailable(&error))
        };
        let queue = timeout(REQUEST_TIMEOUT, starting).await.map_err(|_| timed_out())??;
        let (sender, received) = broadcast::channel(BACKLOG);
        let queue_name = Arc::new(Mutex::new(Some(queue.name.clone())));
        let listener =
            ListenerTask { supervisor, topic, queue_name: Arc::clone(&queue_name), sender };
        Ok(Self {
            received,
            queue_name,
            publisher,
            probing: Arc::new(Semaphore::new(1)),
            _listener: AbortOnDropHandle::new(tokio::spawn(listener.run(queue))),
        })
    }
}

#[async_trait]
impl Subscription for RabbitSubscription {
    async fn next(&mut self) -> Option<Received> {
        match self.received.recv().await {
            Ok(received) => Some(received),
            Err(RecvError::Lagged(_)) => Some(Received::Gap),
            Err(RecvError::Closed) => None,
        }
    }

    fn send_probe(&self, sequence: u64) {
        let queue = self.queue_name.lock().clone();
        let probing = Arc::clone(&self.probing).try_acquire_owned();
        let (Some(queue), Ok(probing)) = (queue, probing) else { return };
        let (publisher, route) =
            (Arc::clone(&self.publisher), Route::to_subscriber(queue.to_string()));
        tokio::spawn(async move {
            // An undeliverable probe does not return.
            let _ = publisher.publish(route, vec![Message::new(Uuid::nil(), &sequence)]).await;
            drop(probing);
        });
    }
}

/// An exclusive queue on one connection, bound to the topic.
struct TopicQueue {
    name: ShortString,
    live: Arc<LiveConnection>,
    deliveries: lapin::Consumer,
}

impl TopicQueue {
    /// Declares the queue and consumes it. The queue ends with its channel.
    async fn open(live: Arc<LiveConnection>, topic: Topic) -> lapin::Result<Self> {
        let channel = live.open_channel().await?;
        let queue = topology::declare_subscription_queue(&channel, topic).await?;
        let (name, options) = (queue.name().clone(), BasicConsumeOptions::default());
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..options };
        let deliveries =
            channel.basic_consume(name.clone(), "".into(), options, FieldTable::default());
        Ok(Self { deliveries: deliveries.await?, name, live })
    }
}

/// Feeds a [`RabbitSubscription`] and resubscribes after a lost connection.
struct ListenerTask {
    supervisor: Arc<Supervisor>,
    topic: Topic,
    queue_name: Arc<Mutex<Option<ShortString>>>,
    sender: broadcast::Sender<Received>,
}

impl ListenerTask {
    /// Forwards messages, and reports a gap after every interruption.
    async fn run(self, mut queue: TopicQueue) {
        let mut delay = ReconnectDelay::default();
        loop {
            let connected_at = Instant::now();
            let ended = self.forward(&mut queue).await;
            *self.queue_name.lock() = None;
            delay.reset_if_stable(connected_at);
            queue.live.log_end_of(Route::to_topic(self.topic).exchange, &ended);
            let Some(reopened) = self.reopen(&mut delay).await else { return };
            queue = reopened;
            *self.queue_name.lock() = Some(queue.name.clone());
            let _ = self.sender.send(Received::Gap);
        }
    }

    /// Forwards messages until the server ends the subscription. Returns the reason.
    async fn forward(&self, queue: &mut TopicQueue) -> String {
        loop {
            match queue.deliveries.next().await {
                Some(Ok(raw)) => {
                    // Fails if the subscription was dropped; this task is aborted then.
                    let _ = self.sender.send(received(raw));
                }
                Some(Err(error)) => return describe(&error),
                None => return "the server ended it".to_owned(),
            }
        }
    }

    /// Resubscribes. Returns `None` when the runtime shuts down.
    async fn reopen(&self, delay: &mut ReconnectDelay) -> Option<TopicQueue> {
        let mut log = RetryLogger::new("resubscribing to RabbitMQ");
        loop {
            sleep(delay.next()).await;
            let live = self.supervisor.wait_connected().await.ok()?;
            let opening = async {
                // The exchange itself may have been deleted.
                live.declare().await.map_err(|error| error.text)?;
                TopicQueue::open(live, self.topic).await.map_err(|error| describe(&error))
            };
            let opened = timeout(REQUEST_TIMEOUT, opening).await;
            match opened.unwrap_or_else(|_| Err(timed_out().to_string())) {
                Ok(opened) => {
                    log.recovered();
                    return Some(opened);
                }
                Err(reason) => log.failed(&reason),
            }
        }
    }
}

/// Messages arrive through the topic's exchange, probes through their own.
fn received(raw: Raw) -> Received {
    let is_broadcast = raw.exchange.as_str() != PROBES;
    let message = envelope::message(&raw.properties, raw.data);
    if is_broadcast {
        return Received::Message(message);
    }
    // A foreign message in the queue counts as probe 0, which proves nothing.
    Received::Probe(message.decode().unwrap_or_default())
}
