//! Tells live streams and workers what was committed.
//!
//! News are a convenience, the store is the truth: whoever may have missed some reads it.
//! So news are never waited for, may be dropped under pressure, and say so then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use broker::{Broker, Message, Topic};
use contracts::message::{OwnedEvent, TaskCancels, TaskEvents};
use kit::clock::{Clock, new_id};
use tokio::sync::mpsc;
use uuid::Uuid;

/// How many transactions may wait to be told.
const QUEUE: usize = 4096;
/// How many transactions share a message at most.
const TOGETHER: usize = 64;
/// How long to wait after the broker failed.
const PAUSE: Duration = Duration::from_millis(200);

/// What others want to hear of a transaction.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    /// The events, in the order of their commit.
    pub events: Vec<OwnedEvent>,
    /// Tasks whose running attempts are to be stopped.
    pub cancels: Vec<Uuid>,
}

/// Takes news without ever waiting.
#[derive(Debug)]
pub(crate) struct NewsSender {
    queue: mpsc::Sender<Committed>,
    dropped: Arc<AtomicBool>,
}

impl NewsSender {
    pub fn tell(&self, committed: Committed) {
        if !committed.events.is_empty() && self.queue.try_send(committed).is_err() {
            self.dropped.store(true, Ordering::Relaxed);
        }
    }
}

/// Where news wait to be told.
#[derive(Debug)]
pub(crate) struct NewsReceiver {
    queue: mpsc::Receiver<Committed>,
    dropped: Arc<AtomicBool>,
}

pub(crate) fn channel() -> (NewsSender, NewsReceiver) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let dropped = Arc::new(AtomicBool::new(false));
    (
        NewsSender { queue: sender, dropped: dropped.clone() },
        NewsReceiver { queue: receiver, dropped },
    )
}

/// Broadcasts what was committed until every sender is gone. While the broker is away it
/// keeps trying with what it holds; what had to be dropped meanwhile is told as an empty
/// list of events, on which streams read the store.
pub(crate) async fn run(mut news: NewsReceiver, broker: Arc<dyn Broker>, clock: Arc<dyn Clock>) {
    let mut gathered = Vec::with_capacity(TOGETHER);
    while news.queue.recv_many(&mut gathered, TOGETHER).await > 0 {
        let mut events = Vec::new();
        let mut cancels = Vec::new();
        for committed in gathered.drain(..) {
            events.extend(committed.events);
            cancels.extend(committed.cancels);
        }
        if !cancels.is_empty() {
            let message = message(clock.as_ref(), &TaskCancels::V1 { task_ids: cancels });
            broadcast(broker.as_ref(), Topic::TaskCancels, message).await;
        }
        let message = message(clock.as_ref(), &TaskEvents::V1 { events });
        broadcast(broker.as_ref(), Topic::TaskEvents, message).await;
        if news.dropped.swap(false, Ordering::Relaxed) {
            tracing::warn!("more happened than could be told; live streams read the store");
            let gap = self::message(clock.as_ref(), &TaskEvents::V1 { events: Vec::new() });
            broadcast(broker.as_ref(), Topic::TaskEvents, gap).await;
        }
    }
}

fn message<T: serde::Serialize>(clock: &dyn Clock, body: &T) -> Message {
    Message::new(new_id(clock), body)
}

/// Tries until the broker takes it. What is committed meanwhile waits in the queue and is
/// dropped when that is full, so memory stays bounded.
async fn broadcast(broker: &dyn Broker, topic: Topic, message: Message) {
    let mut told = false;
    while let Err(error) = broker.broadcast(topic, message.clone()).await {
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(%error, ?topic, "news wait for the broker");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
