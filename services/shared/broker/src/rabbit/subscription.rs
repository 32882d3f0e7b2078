//! Listening to a topic, over as many connections as it takes.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::backoff::Backoff;
use super::fault::{describe, unavailable};
use super::link::Link;
use super::live::Live;
use super::topology::{self, Route};
use super::{LIMIT, envelope, timed_out};
use crate::{BrokerError, Received, Subscription, Topic};

/// How many messages a subscriber may be behind before it misses some. They wait here
/// rather than in the server, which would keep them for a listener that never listens.
const BACKLOG: usize = 1024;

pub(super) struct RabbitSubscription {
    news: broadcast::Receiver<Received>,
    _listener: AbortOnDropHandle<()>,
}

impl RabbitSubscription {
    pub async fn start(link: Arc<Link>, topic: Topic) -> Result<Self, BrokerError> {
        let starting = async {
            let live = link.live().await?;
            Ear::open(live, topic).await.map_err(|error| unavailable(&error))
        };
        let ear = timeout(LIMIT, starting).await.map_err(|_| timed_out())??;
        let (sender, news) = broadcast::channel(BACKLOG);
        let listener = tokio::spawn(listen(link, topic, ear, sender));
        Ok(Self { news, _listener: AbortOnDropHandle::new(listener) })
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
}

/// A subscription on one connection.
struct Ear {
    live: Arc<Live>,
    heard: lapin::Consumer,
}

impl Ear {
    /// Starts hearing `topic`. The queue goes with the channel, and that with this.
    async fn open(live: Arc<Live>, topic: Topic) -> lapin::Result<Self> {
        let channel = live.fresh_channel().await?;
        let queue = topology::declare_ear(&channel, topic).await?;
        let (queue, options) = (queue.name().clone(), BasicConsumeOptions::default());
        let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..options };
        let heard = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
        Ok(Self { live, heard })
    }
}

/// Passes on what is heard, and tells of a gap after each time when nothing could be.
async fn listen(link: Arc<Link>, topic: Topic, mut ear: Ear, news: broadcast::Sender<Received>) {
    let mut backoff = Backoff::default();
    loop {
        let since = Instant::now();
        let ended = loop {
            match ear.heard.next().await {
                Some(Ok(raw)) => {
                    let message = envelope::message(&raw.properties, raw.data);
                    // It fails where nobody listens any more, and then this is aborted.
                    let _ = news.send(Received::Message(message));
                }
                Some(Err(error)) => break describe(&error),
                None => break "the server ended it".to_owned(),
            }
        };
        backoff.worked(since);
        ear.live.tell_end_of(Route::to_topic(topic).exchange, &ended);
        ear = loop {
            sleep(backoff.next()).await;
            let Ok(live) = link.up().await else { return };
            let opening = async {
                // The exchange may be what went away.
                live.declare().await.ok()?;
                Ear::open(live, topic).await.ok()
            };
            if let Ok(Some(ear)) = timeout(LIMIT, opening).await {
                break ear;
            }
        };
        let _ = news.send(Received::Gap);
    }
}
