//! Fans task events out from one broker subscription to SSE streams.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use miniapp_broker::{Broker, Message, Received, Topic};
use miniapp_runtime::retry::RetryLogger;
use miniapp_telemetry::trace::{CompletedSpan, SpanHandle, SpanKind, now};
use miniapp_types::message::{EventHead, EventTrace, RawTaskEvents};
use miniapp_types::trace::TraceContext;
use parking_lot::RwLock;
use tokio::time::sleep;
use uuid::Uuid;

use super::sse::{SseChunk, SseEncoder};
use super::subscriber::{self, Subscriber};
use crate::PROGRAM;

const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The subscribers of this process, by owner.
#[derive(Debug, Default)]
pub struct Hub {
    owners: RwLock<HashMap<Uuid, OwnerSubscribers>>,
}

#[derive(Debug, Default)]
struct OwnerSubscribers {
    /// Subscribers of all tasks of the owner.
    all: Vec<Arc<Subscriber>>,
    /// Subscribers of single tasks.
    tasks: HashMap<Uuid, Vec<Arc<Subscriber>>>,
}

/// A subscription to events. Dropping it unsubscribes.
#[derive(Debug)]
pub(super) struct Subscription {
    hub: Arc<Hub>,
    owner: Uuid,
    task: Option<Uuid>,
    subscriber: Arc<Subscriber>,
}

impl Hub {
    /// Receives task events until it is dropped.
    pub async fn run(&self, broker: &dyn Broker) -> Infallible {
        let mut retry_log = RetryLogger::new("subscribing to task events");
        loop {
            match broker.subscribe(Topic::TaskEvents).await {
                Ok(mut subscription) => {
                    retry_log.recovered();
                    self.mark_gap();
                    while let Some(received) = subscription.next().await {
                        match received {
                            Received::Message(message) => self.on_message(&message),
                            Received::Gap => self.mark_gap(),
                            Received::Probe(_) => {}
                        }
                    }
                }
                Err(error) => retry_log.failed(&error),
            }
            sleep(RETRY_DELAY).await;
        }
    }

    /// Subscribes to the events of one task, or of all tasks of `owner`.
    pub(super) fn subscribe(self: &Arc<Self>, owner: Uuid, task: Option<Uuid>) -> Subscription {
        let subscriber = Arc::new(Subscriber::default());
        self.owners.write().entry(owner).or_default().list(task).push(subscriber.clone());
        Subscription { hub: self.clone(), owner, task, subscriber }
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.owners.read().is_empty()
    }

    /// Forwards a batch of events. Without subscribers it is not even decoded.
    pub(super) fn on_message(&self, message: &Message) {
        let owners = self.owners.read();
        if owners.is_empty() {
            return;
        }
        let batch = match RawTaskEvents::read(&message.body) {
            Ok(batch) if !batch.events.is_empty() => batch,
            // An empty batch is the sentinel for dropped events.
            Ok(_) => return owners.values().for_each(OwnerSubscribers::mark_gap),
            Err(error) => {
                tracing::warn!(
                    %error,
                    message.id = %message.id,
                    "could not decode a batch of task events"
                );
                return owners.values().for_each(OwnerSubscribers::mark_gap);
            }
        };
        let mut encoded: HashMap<Uuid, EncodedEvents> = HashMap::new();
        for owned in &batch.events {
            let Some(subscribers) = owners.get(&owned.user_id) else { continue };
            let head = match owned.head() {
                Ok(head) => head,
                Err(error) => {
                    tracing::warn!(
                        %error,
                        message.id = %message.id,
                        "could not decode a task event"
                    );
                    subscribers.mark_gap();
                    continue;
                }
            };
            let has_task_subscribers = subscribers.tasks.contains_key(&head.task_id);
            if has_task_subscribers || !subscribers.all.is_empty() {
                let encoded = encoded.entry(owned.user_id).or_default();
                if has_task_subscribers {
                    encoded.of_tasks.push((head.task_id, encoded.sse.len()));
                }
                encoded.sse.push_json(&head, owned.event.get());
                if let Some(trace) = &owned.trace {
                    record_delivery(&head, trace);
                }
            }
        }
        for (owner, encoded) in encoded {
            if let Some(subscribers) = owners.get(&owner) {
                subscribers.send(encoded);
            }
        }
    }

    fn mark_gap(&self) {
        self.owners.read().values().for_each(OwnerSubscribers::mark_gap);
    }
}

/// Records the span from the commit of an event to its arrival at a subscriber.
fn record_delivery(head: &EventHead, trace: &EventTrace) {
    let context =
        TraceContext { traceparent: Some(trace.traceparent.clone()), ..TraceContext::default() };
    let Some(task) = SpanHandle::from_context(&context) else { return };
    let now = now();
    // The clocks of two machines may disagree.
    let committed_at = SystemTime::from(trace.committed_at).min(now);
    let kind: &'static str = head.kind.into();
    CompletedSpan::new("publish task-events", SpanKind::Producer, &task, committed_at, now)
        .with_service(PROGRAM.name)
        .with_attribute("messaging.operation.name", "publish")
        .with_attribute("messaging.operation.type", "send")
        .with_attribute("messaging.destination.name", "task-events")
        .with_attribute("event.type", kind)
        .with_attribute("task.id", head.task_id.to_string())
        .with_attribute("event.id", head.id.to_string())
        .record();
}

/// The events of a batch for one owner.
#[derive(Debug, Default)]
struct EncodedEvents {
    sse: SseEncoder,
    /// The tasks with subscribers of their own, and the indexes of their events.
    of_tasks: Vec<(Uuid, usize)>,
}

impl OwnerSubscribers {
    fn list(&mut self, task: Option<Uuid>) -> &mut Vec<Arc<Subscriber>> {
        match task {
            Some(task) => self.tasks.entry(task).or_default(),
            None => &mut self.all,
        }
    }

    fn send(&self, encoded: EncodedEvents) {
        let batch: Arc<SseChunk> = Arc::new(encoded.sse.finish());
        for (task, index) in encoded.of_tasks {
            let event = Arc::new(batch.event(index));
            for subscriber in self.tasks.get(&task).into_iter().flatten() {
                subscriber.send(&event);
            }
        }
        for subscriber in &self.all {
            subscriber.send(&batch);
        }
    }

    fn mark_gap(&self) {
        self.all
            .iter()
            .chain(self.tasks.values().flatten())
            .for_each(|subscriber| subscriber.mark_gap());
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.tasks.is_empty()
    }
}

impl Subscription {
    /// See [`Subscriber::receive`].
    pub async fn receive(&self, max_bytes: usize) -> subscriber::Received {
        self.subscriber.receive(max_bytes).await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut owners = self.hub.owners.write();
        let Some(subscribers) = owners.get_mut(&self.owner) else { return };
        let list = subscribers.list(self.task);
        list.retain(|subscriber| !Arc::ptr_eq(subscriber, &self.subscriber));
        if let (Some(task), true) = (self.task, list.is_empty()) {
            subscribers.tasks.remove(&task);
        }
        if subscribers.is_empty() {
            owners.remove(&self.owner);
        }
    }
}
