//! Publishes committed events to live streams and cancel requests to workers.
//!
//! These messages are best effort: the store is the source of truth. Publishing never blocks
//! a commit. Events may be dropped under pressure; a gap marker then makes subscribers read
//! the store.

use std::sync::Arc;
use std::time::Duration;

use miniapp_broker::{Broker, Message, Topic};
use miniapp_runtime::clock::{Clock, new_id};
use miniapp_runtime::shutdown::Shutdown;
use miniapp_types::message::{OwnedEvent, TaskCancels, TaskEvents};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

/// Maximum number of transactions waiting to be published.
const QUEUE_CAPACITY: usize = 4096;
/// Maximum number of transactions per message.
const BATCH_SIZE: usize = 64;
/// Delay after the broker failed.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// Minimum time between two gap markers, because each makes every stream read the store.
const GAP_INTERVAL: Duration = Duration::from_secs(1);

/// What one transaction has to publish.
#[derive(Debug, Default)]
pub(crate) struct CommittedEvents {
    /// The events in commit order.
    pub events: Vec<OwnedEvent>,
    /// Tasks whose running attempts have to stop.
    pub cancels: Vec<Uuid>,
}

/// Accepts events without blocking.
#[derive(Debug)]
pub(crate) struct EventPublisher {
    queue: mpsc::Sender<CommittedEvents>,
    gap: Arc<Notify>,
}

impl EventPublisher {
    /// Enqueues the events of a transaction, or marks a gap if the queue is full.
    pub fn publish(&self, committed: CommittedEvents) {
        if !committed.events.is_empty() && self.queue.try_send(committed).is_err() {
            self.mark_gap();
        }
    }

    /// Records that events were lost or may have been.
    pub fn mark_gap(&self) {
        self.gap.notify_one();
    }
}

/// The receiving end of an [`EventPublisher`].
#[derive(Debug)]
pub(crate) struct EventQueue {
    queue: mpsc::Receiver<CommittedEvents>,
    gap: Arc<Notify>,
}

pub(crate) fn channel() -> (EventPublisher, EventQueue) {
    let (sender, receiver) = mpsc::channel(QUEUE_CAPACITY);
    let gap = Arc::new(Notify::new());
    (EventPublisher { queue: sender, gap: gap.clone() }, EventQueue { queue: receiver, gap })
}

/// Broadcasts committed events until `stop`, then drains the queue.
///
/// While the broker is unavailable it retries the current batch. A gap is published as an
/// empty list of events, the sentinel for dropped events.
pub(crate) async fn run(
    mut events: EventQueue,
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    stop: &Shutdown,
) {
    let broadcaster = Broadcaster { broker, clock };
    let mut batch = Vec::with_capacity(BATCH_SIZE);
    let mut next_gap = Instant::now();
    loop {
        tokio::select! {
            biased;
            // Closing rejects new events; queued ones are still published.
            () = stop.begun(), if !events.queue.is_closed() => events.queue.close(),
            received = events.queue.recv_many(&mut batch, BATCH_SIZE) => {
                if received == 0 {
                    return;
                }
                broadcaster.publish(batch.drain(..)).await;
            }
            () = async { sleep_until(next_gap).await; events.gap.notified().await } => {
                tracing::warn!("task events were dropped; live streams read the store");
                broadcaster.broadcast(Topic::TaskEvents, &TaskEvents::V1 { events: Vec::new() }).await;
                next_gap = Instant::now() + GAP_INTERVAL;
            }
        }
    }
}

struct Broadcaster {
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
}

impl Broadcaster {
    async fn publish(&self, transactions: impl Iterator<Item = CommittedEvents>) {
        let mut events = Vec::new();
        let mut cancels = Vec::new();
        for committed in transactions {
            events.extend(committed.events);
            cancels.extend(committed.cancels);
        }
        if !cancels.is_empty() {
            self.broadcast(Topic::TaskCancels, &TaskCancels::V1 { task_ids: cancels }).await;
        }
        self.broadcast(Topic::TaskEvents, &TaskEvents::V1 { events }).await;
    }

    /// Retries until the broker accepts the message. New events wait in the bounded queue
    /// meanwhile and are dropped when it is full.
    async fn broadcast<T: serde::Serialize>(&self, topic: Topic, body: &T) {
        let message = Message::new(new_id(self.clock.as_ref()), body);
        let mut logged = false;
        while let Err(error) = self.broker.broadcast(topic, message.clone()).await {
            if !std::mem::replace(&mut logged, true) {
                tracing::warn!(%error, ?topic, "publishing task events failed; retrying");
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }
}
