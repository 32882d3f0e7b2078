//! One ear for the news of tasks, and who wants to hear of what.

use crate::PROGRAM;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use miniapp_broker::{Broker, Message, Received, Topic};
use miniapp_runtime::retry::RetryLogger;
use miniapp_telemetry::trace::{CompletedSpan, SpanHandle, now};
use miniapp_types::message::{EventHead, EventTrace, RawTaskEvents};
use miniapp_types::trace::TraceContext;
use parking_lot::RwLock;
use tokio::time::sleep;
use uuid::Uuid;

use super::chunk::{Chunk, Writer};
use super::mailbox::{Mailbox, Post};

/// How long to wait after the broker refused.
const PAUSE: Duration = Duration::from_millis(200);

/// Hands events to the streams that watch for them.
#[derive(Debug, Default)]
pub struct Hub {
    owners: RwLock<HashMap<Uuid, Watchers>>,
}

/// Who watches the tasks of one owner.
#[derive(Debug, Default)]
struct Watchers {
    /// All of them.
    all: Vec<Arc<Mailbox>>,
    /// One of them.
    tasks: HashMap<Uuid, Vec<Arc<Mailbox>>>,
}

/// A place where events arrive, until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    hub: Arc<Hub>,
    owner: Uuid,
    task: Option<Uuid>,
    mailbox: Arc<Mailbox>,
}

impl Hub {
    /// Listens to the broker until it is dropped.
    pub async fn run(&self, broker: &dyn Broker) -> Infallible {
        let mut retry_log = RetryLogger::new("subscribing to task events");
        loop {
            match broker.subscribe(Topic::TaskEvents).await {
                Ok(mut subscription) => {
                    retry_log.recovered();
                    self.miss();
                    while let Some(received) = subscription.next().await {
                        match received {
                            Received::Message(message) => self.hear(&message),
                            Received::Gap => self.miss(),
                            Received::Probe(_) => {}
                        }
                    }
                }
                Err(error) => retry_log.failed(&error),
            }
            sleep(PAUSE).await;
        }
    }

    /// From here on, whatever happens to the owner's tasks, or to one of them, arrives.
    pub(super) fn watch(self: &Arc<Self>, owner: Uuid, task: Option<Uuid>) -> Watch {
        let mailbox = Arc::new(Mailbox::default());
        self.owners.write().entry(owner).or_default().of(task).push(mailbox.clone());
        Watch { hub: self.clone(), owner, task, mailbox }
    }

    /// Whether nobody watches.
    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.owners.read().is_empty()
    }

    /// Hands on what a message tells. Without anyone watching it isn't even read.
    pub(super) fn hear(&self, message: &Message) {
        let owners = self.owners.read();
        if owners.is_empty() {
            return;
        }
        let told = match RawTaskEvents::read(&message.body) {
            Ok(told) if !told.events.is_empty() => told,
            // Nobody tells nothing: something had to be left out.
            Ok(_) => return owners.values().for_each(Watchers::miss),
            Err(error) => {
                tracing::warn!(%error, message.id = %message.id, "could not decode a batch of task events");
                return owners.values().for_each(Watchers::miss);
            }
        };
        let mut written: HashMap<Uuid, Written> = HashMap::new();
        for owned in &told.events {
            let Some(watchers) = owners.get(&owned.user_id) else { continue };
            let head = match owned.head() {
                Ok(head) => head,
                Err(error) => {
                    tracing::warn!(%error, message.id = %message.id, "could not decode a task event");
                    watchers.miss();
                    continue;
                }
            };
            let of_task = watchers.tasks.contains_key(&head.task_id);
            if of_task || !watchers.all.is_empty() {
                let written = written.entry(owned.user_id).or_default();
                if of_task {
                    written.of_tasks.push((head.task_id, written.text.len()));
                }
                written.text.push(&head, owned.event.get());
                if let Some(trace) = &owned.trace {
                    note_arrival(&head, trace);
                }
            }
        }
        for (owner, written) in written {
            if let Some(watchers) = owners.get(&owner) {
                watchers.tell(written);
            }
        }
    }

    fn miss(&self) {
        self.owners.read().values().for_each(Watchers::miss);
    }
}

/// An event has got to those who watch: records how long that took since its commit.
fn note_arrival(head: &EventHead, trace: &EventTrace) {
    let context =
        TraceContext { traceparent: Some(trace.traceparent.clone()), ..TraceContext::default() };
    let Some(task) = SpanHandle::from_context(&context) else { return };
    let now = now();
    // By the clocks of two machines it may be heard of before it happens.
    let committed_at = SystemTime::from(trace.committed_at).min(now);
    let kind: &'static str = head.kind.into();
    CompletedSpan::internal(&format!("tell of {kind}"), &task, committed_at, now)
        .with_service(PROGRAM.name)
        .with_attribute("task.id", head.task_id)
        .with_attribute("event.id", head.id)
        .record();
}

/// The news for one owner's streams.
#[derive(Debug, Default)]
struct Written {
    text: Writer,
    /// Which events are about tasks that are watched by themselves.
    of_tasks: Vec<(Uuid, usize)>,
}

impl Watchers {
    fn of(&mut self, task: Option<Uuid>) -> &mut Vec<Arc<Mailbox>> {
        match task {
            Some(task) => self.tasks.entry(task).or_default(),
            None => &mut self.all,
        }
    }

    fn tell(&self, written: Written) {
        let whole: Arc<Chunk> = Arc::new(written.text.finish());
        for (task, index) in written.of_tasks {
            let event = Arc::new(whole.event(index));
            for mailbox in self.tasks.get(&task).into_iter().flatten() {
                mailbox.put(&event);
            }
        }
        for mailbox in &self.all {
            mailbox.put(&whole);
        }
    }

    fn miss(&self) {
        self.all.iter().chain(self.tasks.values().flatten()).for_each(|mailbox| mailbox.miss());
    }

    fn is_empty(&self) -> bool {
        self.all.is_empty() && self.tasks.is_empty()
    }
}

impl Watch {
    /// See [`Mailbox::take`].
    pub async fn take(&self, bytes: usize) -> Post {
        self.mailbox.take(bytes).await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut owners = self.hub.owners.write();
        let Some(watchers) = owners.get_mut(&self.owner) else { return };
        let mailboxes = watchers.of(self.task);
        mailboxes.retain(|mailbox| !Arc::ptr_eq(mailbox, &self.mailbox));
        if let (Some(task), true) = (self.task, mailboxes.is_empty()) {
            watchers.tasks.remove(&task);
        }
        if watchers.is_empty() {
            owners.remove(&self.owner);
        }
    }
}
