//! Consuming a queue, across reconnects.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::Channel;
use lapin::message::Delivery as Raw;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use miniapp_runtime::retry::RetryLogger;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::acks::AckBatcher;
use super::connection::LiveConnection;
use super::error::{describe, unavailable};
use super::reconnect::ReconnectDelay;
use super::supervisor::Supervisor;
use super::{REQUEST_TIMEOUT, envelope, timed_out};
use crate::{BrokerError, Consumer, Delivery, Queue, Settle};

/// What the owner of a consumer wants. The sender is dropped with the owner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DesiredState {
    Run,
    Stop,
}

pub(super) struct RabbitConsumer {
    /// `None` once stopped.
    incoming: Option<mpsc::UnboundedReceiver<Incoming>>,
    desired: watch::Sender<DesiredState>,
    _permit: Arc<AckPermit>,
}

/// Allows deliveries to be settled while it exists. Dropping a consumer releases its
/// deliveries; acknowledging one of them afterwards must have no effect, even if the server
/// has not processed the end of the consumer yet.
struct AckPermit;

impl RabbitConsumer {
    pub async fn start(
        supervisor: Arc<Supervisor>,
        queue: Queue,
        prefetch: u16,
    ) -> Result<Self, BrokerError> {
        // To the server, 0 means no limit.
        let prefetch = prefetch.max(1);
        let starting = async {
            let live = supervisor.connection().await?;
            ChannelConsumer::open(live, queue, prefetch).await.map_err(|error| unavailable(&error))
        };
        let consumer = timeout(REQUEST_TIMEOUT, starting).await.map_err(|_| timed_out())??;
        // Unbounded in type, but never longer than the prefetch.
        let (sender, incoming) = mpsc::unbounded_channel();
        let (desired, wanted) = watch::channel(DesiredState::Run);
        let permit = Arc::new(AckPermit);
        let task = ConsumerTask {
            supervisor,
            queue,
            prefetch,
            incoming: Some(sender),
            wanted,
            permit: Arc::downgrade(&permit),
        };
        tokio::spawn(task.run(consumer));
        Ok(Self { incoming: Some(incoming), desired, _permit: permit })
    }
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        let incoming = self.incoming.as_mut()?;
        loop {
            let next = incoming.recv().await?;
            // The server redelivers what a lost connection had delivered.
            if next.handle.acks.is_open() {
                return Some(next.into());
            }
        }
    }

    async fn stop(&mut self) {
        self.desired.send_replace(DesiredState::Stop);
        if let Some(mut incoming) = self.incoming.take() {
            // Drops, and thereby releases, what was prefetched. More may still arrive; the
            // caller does not wait for it.
            tokio::spawn(async move { while incoming.recv().await.is_some() {} });
        }
    }
}

/// A consumer on a channel of one connection.
struct ChannelConsumer {
    live: Arc<LiveConnection>,
    channel: Channel,
    acks: Arc<AckBatcher>,
    deliveries: lapin::Consumer,
}

impl ChannelConsumer {
    async fn open(live: Arc<LiveConnection>, queue: Queue, prefetch: u16) -> lapin::Result<Self> {
        if let Queue::Work(work) = queue {
            live.ensure_work_queue(work).await?;
        }
        let channel = live.open_channel().await?;
        channel.basic_qos(prefetch, BasicQosOptions { global: false }).await?;
        let (name, options) = (queue.name(), BasicConsumeOptions::default());
        let deliveries = channel
            .basic_consume((&*name).into(), "".into(), options, FieldTable::default())
            .await?;
        let acks = Arc::new(AckBatcher::new(channel.clone()));
        Ok(Self { live, channel, acks, deliveries })
    }

    /// Closes the channel, so that the server redelivers what was not settled.
    async fn close(self) {
        self.acks.flush();
        // Fails if the channel is already closed.
        let _ = timeout(REQUEST_TIMEOUT, self.channel.close(200, "done".into())).await;
    }
}

/// Feeds a [`RabbitConsumer`] and resubscribes after a lost connection.
struct ConsumerTask {
    supervisor: Arc<Supervisor>,
    queue: Queue,
    prefetch: u16,
    /// `None` once stopped.
    incoming: Option<mpsc::UnboundedSender<Incoming>>,
    wanted: watch::Receiver<DesiredState>,
    permit: Weak<AckPermit>,
}

impl ConsumerTask {
    async fn run(mut self, mut consumer: ChannelConsumer) {
        let mut delay = ReconnectDelay::default();
        loop {
            let connected_at = Instant::now();
            let Some(ended) = self.forward(&mut consumer).await else {
                return consumer.close().await;
            };
            delay.reset_if_stable(connected_at);
            consumer.live.log_end_of(&self.queue.name(), &ended);
            if let Queue::Work(work) = self.queue {
                consumer.live.forget_work_queue(work);
            }
            consumer.close().await;
            let mut wanted = self.wanted.clone();
            tokio::select! {
                reopened = self.reopen(&mut delay) => match reopened {
                    Some(reopened) => consumer = reopened,
                    None => return,
                },
                _ = wanted.wait_for(|desired| *desired == DesiredState::Stop) => return,
            }
        }
    }

    /// Forwards deliveries. Returns why the server ended them, or `None` when the owner
    /// dropped the consumer.
    async fn forward(&mut self, consumer: &mut ChannelConsumer) -> Option<String> {
        // Flushed well before the prefetch window is exhausted.
        let flush_at = usize::from(self.prefetch).div_ceil(4);
        loop {
            tokio::select! {
                biased;
                changed = self.wanted.changed() => match changed {
                    Ok(()) => self.cancel(consumer).await,
                    Err(_) => return None,
                },
                raw = consumer.deliveries.next(), if self.incoming.is_some() => match raw {
                    Some(Ok(raw)) => {
                        self.pass_on(consumer, raw);
                        if consumer.acks.pending() >= flush_at {
                            consumer.acks.flush();
                        }
                    }
                    Some(Err(error)) => return Some(describe(&error)),
                    None => return Some("the server ended it".to_owned()),
                },
                // Last, so that acknowledgements are batched while deliveries keep coming.
                () = consumer.acks.acked() => consumer.acks.flush(),
            }
        }
    }

    fn pass_on(&self, consumer: &ChannelConsumer, raw: Raw) {
        consumer.acks.delivered(raw.delivery_tag);
        let (acks, permit) = (Arc::clone(&consumer.acks), self.permit.clone());
        let handle = DeliveryHandle { acks, tag: raw.delivery_tag, permit };
        if let Some(incoming) = &self.incoming {
            // If the reader is gone, the delivery is dropped and thereby released.
            let _ = incoming.send(Incoming { raw, handle });
        }
    }

    /// Cancels the subscription and releases what was in flight. The channel stays open for
    /// deliveries that are still to be settled.
    async fn cancel(&mut self, consumer: &mut ChannelConsumer) {
        let tag = consumer.deliveries.tag();
        // Fails if the channel is already closed.
        let canceling = consumer.channel.basic_cancel(tag, BasicCancelOptions::default());
        let _ = timeout(REQUEST_TIMEOUT, canceling).await;
        while let Some(Some(Ok(raw))) = consumer.deliveries.next().now_or_never() {
            self.pass_on(consumer, raw);
        }
        self.incoming = None;
    }

    /// Resubscribes. Returns `None` when the runtime shuts down.
    async fn reopen(&self, delay: &mut ReconnectDelay) -> Option<ChannelConsumer> {
        let mut log = RetryLogger::new("resubscribing to RabbitMQ");
        loop {
            sleep(delay.next()).await;
            let live = self.supervisor.wait_connected().await.ok()?;
            let opening = async {
                // The queue itself may have been deleted.
                live.declare().await.map_err(|error| error.text)?;
                ChannelConsumer::open(live, self.queue, self.prefetch)
                    .await
                    .map_err(|error| describe(&error))
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

/// A message that waits for [`Consumer::next`].
struct Incoming {
    raw: Raw,
    handle: DeliveryHandle,
}

impl From<Incoming> for Delivery {
    fn from(incoming: Incoming) -> Self {
        let Incoming { raw, handle } = incoming;
        let message = envelope::message(&raw.properties, raw.data);
        let tag = raw.delivery_tag;
        Self::new(message, raw.redelivered, Box::new(handle)).with_tag(tag)
    }
}

/// Settles one delivery. Dropping it releases the delivery.
struct DeliveryHandle {
    acks: Arc<AckBatcher>,
    tag: u64,
    /// Empty once settled.
    permit: Weak<AckPermit>,
}

impl DeliveryHandle {
    fn settle(&mut self, settle: impl FnOnce(&AckBatcher, u64)) {
        if std::mem::take(&mut self.permit).strong_count() > 0 {
            settle(&self.acks, self.tag);
        }
    }
}

#[async_trait]
impl Settle for DeliveryHandle {
    async fn ack(mut self: Box<Self>) {
        self.settle(AckBatcher::ack);
    }

    async fn release(mut self: Box<Self>) {
        self.settle(AckBatcher::release);
    }

    async fn reject(mut self: Box<Self>) {
        self.settle(AckBatcher::reject);
    }
}

impl Drop for DeliveryHandle {
    fn drop(&mut self) {
        self.settle(if std::thread::panicking() {
            AckBatcher::reject
        } else {
            AckBatcher::release
        });
    }
}
