//! Listening to a topic, over as many connections as it takes.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use lapin::message::Delivery as Raw;
use lapin::options::BasicConsumeOptions;
use lapin::types::{FieldTable, ShortString};
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Semaphore, broadcast};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::backoff::Backoff;
use super::fault::{describe, unavailable};
use super::link::Link;
use super::live::Live;
use super::publisher::Publisher;
use super::topology::{self, DIRECT, Route};
use super::{LIMIT, envelope, timed_out};
use crate::{BrokerError, Message, Received, Subscription, Topic};

/// How many messages a subscriber may be behind before it misses some. They wait here
/// rather than in the server, which would keep them for a listener that never listens.
const BACKLOG: usize = 1024;

pub(super) struct RabbitSubscription {
    news: broadcast::Receiver<Received>,
    /// The queue that is heard now.
    ear: Arc<Mutex<Option<ShortString>>>,
    publisher: Arc<Publisher>,
    /// Allows one probe in flight.
    probing: Arc<Semaphore>,
    _listener: AbortOnDropHandle<()>,
}

impl RabbitSubscription {
    pub async fn start(
        link: Arc<Link>,
        publisher: Arc<Publisher>,
        topic: Topic,
    ) -> Result<Self, BrokerError> {
        let starting = async {
            let live = link.live().await?;
            Ear::open(live, topic).await.map_err(|error| unavailable(&error))
        };
        let ear = timeout(LIMIT, starting).await.map_err(|_| timed_out())??;
        let (sender, news) = broadcast::channel(BACKLOG);
        let name = Arc::new(Mutex::new(Some(ear.name.clone())));
        let listener = Listener { link, topic, name: Arc::clone(&name), news: sender };
        Ok(Self {
            news,
            ear: name,
            publisher,
            probing: Arc::new(Semaphore::new(1)),
            _listener: AbortOnDropHandle::new(tokio::spawn(listener.run(ear))),
        })
    }
}

#[async_trait]
impl Subscription for RabbitSubscription {
    async fn next(&mut self) -> Option<Received> {
        match self.news.recv().await {
            Ok(received) => Some(received),
            Err(RecvError::Lagged(_)) => Some(Received::Gap),
            Err(RecvError::Closed) => None,
        }
    }

    fn send_probe(&self, sequence: u64) {
        let ear = self.ear.lock().clone();
        let probing = Arc::clone(&self.probing).try_acquire_owned();
        let (Some(ear), Ok(probing)) = (ear, probing) else { return };
        let (publisher, route) = (Arc::clone(&self.publisher), Route::to_ear(ear.to_string()));
        tokio::spawn(async move {
            // An undeliverable probe does not return.
            let _ = publisher.publish(route, vec![Message::new(Uuid::nil(), &sequence)]).await;
            drop(probing);
        });
    }
}

/// A subscription on one connection.
struct Ear {
    name: ShortString,
    live: Arc<Live>,
    heard: lapin::Consumer,
}

impl Ear {
    /// Starts hearing `topic`. The queue goes with the channel, and that with this.
    async fn open(live: Arc<Live>, topic: Topic) -> lapin::Result<Self> {
        let channel = live.fresh_channel().await?;
        let queue = topology::declare_ear(&channel, topic).await?;
        let (name, options) = (queue.name().clone(), BasicConsumeOptions::default());
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..options };
        let heard = channel.basic_consume(name.clone(), "".into(), options, FieldTable::default());
        Ok(Self { heard: heard.await?, name, live })
    }
}

/// Listens for a subscriber.
struct Listener {
    link: Arc<Link>,
    topic: Topic,
    name: Arc<Mutex<Option<ShortString>>>,
    news: broadcast::Sender<Received>,
}

impl Listener {
    /// Passes on what is heard, and tells of a gap after each time when nothing could be.
    async fn run(self, mut ear: Ear) {
        let mut backoff = Backoff::default();
        loop {
            let since = Instant::now();
            let ended = self.pass_on(&mut ear).await;
            *self.name.lock() = None;
            backoff.worked(since);
            ear.live.tell_end_of(Route::to_topic(self.topic).exchange, &ended);
            let Some(reopened) = self.reopen(&mut backoff).await else { return };
            ear = reopened;
            *self.name.lock() = Some(ear.name.clone());
            let _ = self.news.send(Received::Gap);
        }
    }

    /// Why nothing more is heard.
    async fn pass_on(&self, ear: &mut Ear) -> String {
        loop {
            match ear.heard.next().await {
                Some(Ok(raw)) => {
                    // It fails where nobody listens any more, and then this is aborted.
                    let _ = self.news.send(received(raw));
                }
                Some(Err(error)) => return describe(&error),
                None => return "the server ended it".to_owned(),
            }
        }
    }

    /// `None` when there won't be another connection.
    async fn reopen(&self, backoff: &mut Backoff) -> Option<Ear> {
        loop {
            sleep(backoff.next()).await;
            let live = self.link.up().await.ok()?;
            let opening = async {
                // The exchange may be what went away.
                live.declare().await.ok()?;
                Ear::open(live, self.topic).await.ok()
            };
            if let Ok(Some(ear)) = timeout(LIMIT, opening).await {
                return Some(ear);
            }
        }
    }
}

/// Messages arrive through the topic's exchange, probes through the default exchange.
fn received(raw: Raw) -> Received {
    let is_news = raw.exchange.as_str() != DIRECT;
    let message = envelope::message(&raw.properties, raw.data);
    if is_news {
        return Received::Message(message);
    }
    // What isn't a number is a stranger's, and means nothing to anyone here.
    Received::Probe(message.decode().unwrap_or_default())
}
