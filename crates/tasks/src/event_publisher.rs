//! Tells live streams and workers what was committed.
//!
//! News are a convenience, the store is the truth: whoever may have missed some reads it.
//! So news are never waited for, may be dropped under pressure, and say so then.

use std::sync::Arc;
use std::time::Duration;

use miniapp_broker::{Broker, Message, Topic};
use miniapp_runtime::clock::{Clock, new_id};
use miniapp_runtime::shutdown::Shutdown;
use miniapp_types::message::{OwnedEvent, TaskCancels, TaskEvents};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

/// How many transactions may wait to be told.
const QUEUE_CAPACITY: usize = 4096;
/// How many transactions share a message at most.
const BATCH_SIZE: usize = 64;
/// How long to wait after the broker failed.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// How long to wait after a gap was told: every stream reads the store then.
const GAP_INTERVAL: Duration = Duration::from_secs(1);

/// What others want to hear of a transaction.
#[derive(Debug, Default)]
pub(crate) struct CommittedEvents {
    /// The events, in the order of their commit.
    pub events: Vec<OwnedEvent>,
    /// Tasks whose running attempts are to be stopped.
    pub cancels: Vec<Uuid>,
}

/// Takes news without ever waiting.
#[derive(Debug)]
pub(crate) struct EventPublisher {
    queue: mpsc::Sender<CommittedEvents>,
    missed: Arc<Notify>,
}

impl EventPublisher {
    /// Something happened.
    pub fn publish(&self, committed: CommittedEvents) {
        if !committed.events.is_empty() && self.queue.try_send(committed).is_err() {
            self.mark_gap();
        }
    }

    /// Something may have happened that can't be told.
    pub fn mark_gap(&self) {
        self.missed.notify_one();
    }
}

/// Where news wait to be told.
#[derive(Debug)]
pub(crate) struct EventQueue {
    queue: mpsc::Receiver<CommittedEvents>,
    missed: Arc<Notify>,
}

pub(crate) fn channel() -> (EventPublisher, EventQueue) {
    let (sender, receiver) = mpsc::channel(QUEUE_CAPACITY);
    let missed = Arc::new(Notify::new());
    (
        EventPublisher { queue: sender, missed: missed.clone() },
        EventQueue { queue: receiver, missed },
    )
}

/// Broadcasts what was committed until `stop`, and then what waits. While the broker is
/// away it keeps trying with what it holds; what can't be told is told as an empty list of
/// events, on which streams read the store.
pub(crate) async fn run(
    mut news: EventQueue,
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
    stop: &Shutdown,
) {
    let teller = Broadcaster { broker, clock };
    let mut gathered = Vec::with_capacity(BATCH_SIZE);
    let mut gap_after = Instant::now();
    loop {
        tokio::select! {
            biased;
            // From here on nothing comes in; what came in before is still told.
            () = stop.begun(), if !news.queue.is_closed() => news.queue.close(),
            told = news.queue.recv_many(&mut gathered, BATCH_SIZE) => {
                if told == 0 {
                    return;
                }
                teller.tell(gathered.drain(..)).await;
            }
            () = async { sleep_until(gap_after).await; news.missed.notified().await } => {
                tracing::warn!("more happened than could be told; live streams read the store");
                teller.broadcast(Topic::TaskEvents, &TaskEvents::V1 { events: Vec::new() }).await;
                gap_after = Instant::now() + GAP_INTERVAL;
            }
        }
    }
}

struct Broadcaster {
    broker: Arc<dyn Broker>,
    clock: Arc<dyn Clock>,
}

impl Broadcaster {
    async fn tell(&self, news: impl Iterator<Item = CommittedEvents>) {
        let mut events = Vec::new();
        let mut cancels = Vec::new();
        for committed in news {
            events.extend(committed.events);
            cancels.extend(committed.cancels);
        }
        if !cancels.is_empty() {
            self.broadcast(Topic::TaskCancels, &TaskCancels::V1 { task_ids: cancels }).await;
        }
        self.broadcast(Topic::TaskEvents, &TaskEvents::V1 { events }).await;
    }

    /// Tries until the broker takes it. What is committed meanwhile waits in the queue and
    /// is dropped when that is full, so memory stays bounded.
    async fn broadcast<T: serde::Serialize>(&self, topic: Topic, body: &T) {
        let message = Message::new(new_id(self.clock.as_ref()), body);
        let mut told = false;
        while let Err(error) = self.broker.broadcast(topic, message.clone()).await {
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(%error, ?topic, "news wait for the broker");
            }
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }
}
