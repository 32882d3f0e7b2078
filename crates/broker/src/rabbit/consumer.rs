//! Taking messages from a queue, over as many connections as it takes.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::Channel;
use lapin::message::Delivery as Raw;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::backoff::Backoff;
use super::fault::{describe, unavailable};
use super::ledger::Ledger;
use super::link::Link;
use super::live::Live;
use super::{LIMIT, envelope, timed_out};
use crate::{BrokerError, Consumer, Delivery, Queue, Settle};

/// What the owner of a consumer wants of it; gone with its owner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Run,
    Stop,
}

pub(super) struct RabbitConsumer {
    /// Gone once stopped.
    arrivals: Option<mpsc::UnboundedReceiver<Arrival>>,
    wish: watch::Sender<Wish>,
    /// What its deliveries can be settled with, for as long as it is there.
    _right: Arc<Right>,
}

/// The right to settle deliveries. Who drops a consumer gives them back, and what is said
/// of them later must not count, although the server hears of the end in its time only.
struct Right;

impl RabbitConsumer {
    pub async fn start(link: Arc<Link>, queue: Queue, prefetch: u16) -> Result<Self, BrokerError> {
        // None at all would mean any number to the server.
        let prefetch = prefetch.max(1);
        let starting = async {
            let live = link.live().await?;
            Feed::open(live, queue, prefetch).await.map_err(|error| unavailable(&error))
        };
        let feed = timeout(LIMIT, starting).await.map_err(|_| timed_out())??;
        // Unbounded, and yet never longer than the prefetch.
        let (sender, arrivals) = mpsc::unbounded_channel();
        let (wish, wished) = watch::channel(Wish::Run);
        let right = Arc::new(Right);
        let worker = Worker {
            link,
            queue,
            prefetch,
            arrivals: Some(sender),
            wished,
            right: Arc::downgrade(&right),
        };
        tokio::spawn(worker.run(feed));
        Ok(Self { arrivals: Some(arrivals), wish, _right: right })
    }
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        let arrivals = self.arrivals.as_mut()?;
        loop {
            let arrival = arrivals.recv().await?;
            // What came over a connection that is gone comes again over the next.
            if arrival.unsettled.ledger.is_open() {
                return Some(arrival.into());
            }
        }
    }

    async fn stop(&mut self) {
        self.wish.send_replace(Wish::Stop);
        if let Some(mut arrivals) = self.arrivals.take() {
            // What nobody asked for goes back. It may still be arriving, and who stops
            // doesn't want to wait for that.
            tokio::spawn(async move { while arrivals.recv().await.is_some() {} });
        }
    }
}

/// A subscription to the queue on one connection.
struct Feed {
    live: Arc<Live>,
    channel: Channel,
    ledger: Arc<Ledger>,
    deliveries: lapin::Consumer,
}

impl Feed {
    async fn open(live: Arc<Live>, queue: Queue, prefetch: u16) -> lapin::Result<Self> {
        let channel = live.fresh_channel().await?;
        channel.basic_qos(prefetch, BasicQosOptions { global: false }).await?;
        let (name, options) = (queue.name(), BasicConsumeOptions::default());
        let deliveries =
            channel.basic_consume(name.into(), "".into(), options, FieldTable::default()).await?;
        let ledger = Arc::new(Ledger::new(channel.clone()));
        Ok(Self { live, channel, ledger, deliveries })
    }

    /// Gives back what was delivered over it, lest that doesn't come again.
    async fn close(self) {
        self.ledger.flush();
        // It fails where the channel is gone already.
        let _ = timeout(LIMIT, self.channel.close(200, "done".into())).await;
    }
}

/// Keeps a consumer supplied.
struct Worker {
    link: Arc<Link>,
    queue: Queue,
    prefetch: u16,
    /// Gone once stopped.
    arrivals: Option<mpsc::UnboundedSender<Arrival>>,
    wished: watch::Receiver<Wish>,
    right: Weak<Right>,
}

impl Worker {
    async fn run(mut self, mut feed: Feed) {
        let mut backoff = Backoff::default();
        loop {
            let since = Instant::now();
            let Some(ended) = self.forward(&mut feed).await else {
                return feed.close().await;
            };
            backoff.worked(since);
            feed.live.tell_end_of(self.queue.name(), &ended);
            feed.close().await;
            let mut wished = self.wished.clone();
            tokio::select! {
                reopened = self.reopen(&mut backoff) => match reopened {
                    Some(reopened) => feed = reopened,
                    None => return,
                },
                _ = wished.wait_for(|wish| *wish == Wish::Stop) => return,
            }
        }
    }

    /// Passes deliveries on until the feed ends, which is told, or the consumer goes.
    async fn forward(&mut self, feed: &mut Feed) -> Option<String> {
        // Well before the server has nothing more to send.
        let enough = usize::from(self.prefetch).div_ceil(4);
        loop {
            tokio::select! {
                biased;
                changed = self.wished.changed() => match changed {
                    Ok(()) => self.cancel(feed).await,
                    Err(_) => return None,
                },
                raw = feed.deliveries.next(), if self.arrivals.is_some() => match raw {
                    Some(Ok(raw)) => {
                        self.pass_on(feed, raw);
                        if feed.ledger.gathered() >= enough {
                            feed.ledger.flush();
                        }
                    }
                    Some(Err(error)) => return Some(describe(&error)),
                    None => return Some("the server ended it".to_owned()),
                },
                // Last: while there is more to pass on, there is more to come.
                () = feed.ledger.acked() => feed.ledger.flush(),
            }
        }
    }

    fn pass_on(&self, feed: &Feed, raw: Raw) {
        feed.ledger.delivered(raw.delivery_tag);
        let (ledger, right) = (Arc::clone(&feed.ledger), self.right.clone());
        let unsettled = Unsettled { ledger, tag: raw.delivery_tag, right };
        if let Some(arrivals) = &self.arrivals {
            // Where its reader is gone, it goes back.
            let _ = arrivals.send(Arrival { raw, unsettled });
        }
    }

    /// Has no more messages sent, and gives back what was on its way. The channel stays,
    /// for those delivered before.
    async fn cancel(&mut self, feed: &mut Feed) {
        let tag = feed.deliveries.tag();
        // It fails where the channel is gone, and everything with it.
        let _ = feed.channel.basic_cancel(tag, BasicCancelOptions::default()).await;
        while let Some(Some(Ok(raw))) = feed.deliveries.next().now_or_never() {
            self.pass_on(feed, raw);
        }
        self.arrivals = None;
    }

    /// `None` when there won't be another connection.
    async fn reopen(&self, backoff: &mut Backoff) -> Option<Feed> {
        loop {
            sleep(backoff.next()).await;
            let live = self.link.up().await.ok()?;
            let opening = async {
                // The queue may be what went away.
                live.declare().await.ok()?;
                Feed::open(live, self.queue, self.prefetch).await.ok()
            };
            if let Ok(Some(feed)) = timeout(LIMIT, opening).await {
                return Some(feed);
            }
        }
    }
}

/// A message on its way to whoever asks for the next one.
struct Arrival {
    raw: Raw,
    unsettled: Unsettled,
}

impl From<Arrival> for Delivery {
    fn from(arrival: Arrival) -> Self {
        let Arrival { raw, unsettled } = arrival;
        let message = envelope::message(&raw.properties, raw.data);
        let tag = raw.delivery_tag;
        Self::new(message, raw.redelivered, Box::new(unsettled)).with_tag(tag)
    }
}

/// The server's number of a delivery that it waits to hear of. Dropped, it goes back.
struct Unsettled {
    ledger: Arc<Ledger>,
    tag: u64,
    /// Empty once used.
    right: Weak<Right>,
}

impl Unsettled {
    fn settle(&mut self, settle: impl FnOnce(&Ledger, u64)) {
        if std::mem::take(&mut self.right).strong_count() > 0 {
            settle(&self.ledger, self.tag);
        }
    }
}

#[async_trait]
impl Settle for Unsettled {
    async fn ack(mut self: Box<Self>) {
        self.settle(Ledger::ack);
    }

    async fn release(mut self: Box<Self>) {
        self.settle(Ledger::release);
    }

    async fn reject(mut self: Box<Self>) {
        self.settle(Ledger::reject);
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        self.settle(if std::thread::panicking() { Ledger::reject } else { Ledger::release });
    }
}
