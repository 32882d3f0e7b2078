//! The single path of changes: concurrent requests are decided by the state machine and
//! written in one transaction.

mod batch;
mod cache;
mod request;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use miniapp_runtime::clock::Clock;
use miniapp_types::json::canonical;
use miniapp_types::message::OwnedEvent;
use miniapp_types::task::{Event, EventType};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use self::batch::Batch;
use self::cache::TaskCache;
use self::request::Response;
pub use self::request::{Applied, Write};
use crate::batcher::BatchHandler;
use crate::domain::{Task, Transition};
use crate::engine::{DueTask, Engine, InsertOutcome, StoreError, WriteOutcome};
use crate::error::Error;
use crate::event_publisher::{CommittedEvents, EventPublisher};
use crate::metrics::COUNTERS;
use crate::spans::event_trace;

/// Maximum number of attempts to write a change while other processes change the same task.
const MAX_ATTEMPTS: usize = 8;

/// Receivers of committed changes. Both are optimizations: the relay and the streams find
/// everything in the store, too.
#[derive(Debug)]
pub struct CommitListeners {
    /// Due tasks, for the relay.
    pub due_tasks: mpsc::Sender<DueTask>,
    /// Events, for streams and workers.
    pub events: EventPublisher,
}

/// The error of the last write, or `None` if it succeeded.
pub type LastWriteError = Arc<Mutex<Option<StoreError>>>;

/// Handles batches of [`Write`]s.
pub struct Writer {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    listeners: CommitListeners,
    cache: TaskCache,
    last_write_error: LastWriteError,
}

impl Writer {
    pub fn new(engine: Arc<dyn Engine>, clock: Arc<dyn Clock>, listeners: CommitListeners) -> Self {
        Self {
            engine,
            clock,
            listeners,
            cache: TaskCache::default(),
            last_write_error: LastWriteError::default(),
        }
    }

    pub fn last_write_error(&self) -> LastWriteError {
        self.last_write_error.clone()
    }

    /// Runs one transaction for the requests in `pending`. Requests that lost against another
    /// process or need a fresh read stay in `pending`.
    async fn attempt(
        &mut self,
        requests: &[Write],
        pending: &mut Vec<usize>,
        responses: &mut [Option<Response>],
    ) -> Result<(), StoreError> {
        let loaded = self.load(requests, pending).await?;
        let now = self.clock.now();
        let mut batch = Batch::new(now);
        let mut reread = Vec::new();
        for index in pending.drain(..) {
            let (id, owner, versions, command) = match &requests[index] {
                Write::Submit(task, key) => {
                    batch.submit(index, task, key.as_ref());
                    continue;
                }
                Write::Apply { id, owner, versions, command } => (id, owner, versions, command),
            };
            let current = batch.changed(id).or_else(|| loaded.get(id));
            let is_cached = current.is_none();
            let known = current.or_else(|| self.cache.get(id));
            let Some(task) = known.filter(|task| owner.is_none_or(|owner| owner == task.owner))
            else {
                batch.respond(index, id, Err(Error::NotFound));
                continue;
            };
            let is_expected =
                versions.as_ref().is_none_or(|versions| versions.contains(&task.state.version));
            // A refusal takes precedence over a wrong version (RFC 9110, section 13.2.1).
            let applied = task.apply(command.clone(), now).map_err(Error::from);
            let applied = applied
                .and_then(|it| if is_expected { Ok(it) } else { Err(Error::VersionConflict) });
            match applied {
                Ok(Transition { at, state, event: Some(event) }) => {
                    if event == EventType::Started {
                        COUNTERS.claimed(task, at);
                    }
                    let from = task.state.version;
                    let task = Task { state, ..task.clone() };
                    batch.change(index, task, from, event, at);
                }
                // A cached task may be stale, and without a write no version guard detects it.
                _ if is_cached => reread.push(index),
                Ok(_) => {
                    let task = task.clone();
                    batch.respond(index, id, Ok(Applied::unchanged(task)));
                }
                Err(error) => batch.respond(index, id, Err(error)),
            }
        }
        for &index in &reread {
            if let Write::Apply { id, .. } = &requests[index] {
                self.cache.remove(id);
            }
        }
        *pending = reread;
        self.commit(batch, requests, pending, responses).await
    }

    /// Loads the tasks of `pending` requests that are not cached.
    async fn load(
        &self,
        requests: &[Write],
        pending: &[usize],
    ) -> Result<HashMap<Uuid, Task>, StoreError> {
        let unknown: HashSet<Uuid> = pending
            .iter()
            .filter_map(|&index| match &requests[index] {
                Write::Apply { id, .. } => Some(*id),
                Write::Submit(..) => None,
            })
            .filter(|id| self.cache.get(id).is_none())
            .collect();
        if unknown.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<Uuid> = unknown.into_iter().collect();
        let tasks = self.engine.load(&ids).await?;
        Ok(tasks.into_iter().map(|task| (task.id, task)).collect())
    }

    async fn commit(
        &mut self,
        batch: Batch,
        requests: &[Write],
        pending: &mut Vec<usize>,
        responses: &mut [Option<Response>],
    ) -> Result<(), StoreError> {
        let Batch {
            inserts,
            insert_requests,
            mut duplicates,
            changes,
            change_responses,
            decided,
            ..
        } = batch;
        for (request, response) in decided {
            responses[request] = Some(response);
        }
        let written = if inserts.is_empty() && changes.is_empty() {
            WriteOutcome::default()
        } else {
            let started_at = Instant::now();
            let written = self.engine.write(&inserts, &changes).await;
            COUNTERS.writes.observe(started_at.elapsed(), None);
            self.last_write_error.lock().clone_from(&written.as_ref().err().cloned());
            match written {
                Ok(written) => written,
                Err(error) => {
                    // The write may have been committed: cached tasks may be stale, and there
                    // may be events that are never published.
                    for change in &changes {
                        self.cache.remove(&change.task.id);
                    }
                    self.listeners.events.mark_gap();
                    return Err(error);
                }
            }
        };
        let committed_at = self.clock.now();
        let mut committed = CommittedEvents::default();
        let outcomes = inserts.into_iter().zip(insert_requests).zip(written.inserts);
        for (position, ((insert, request), outcome)) in outcomes.enumerate() {
            let (task, first_digest) = match outcome {
                InsertOutcome::New => {
                    self.notify(&mut committed, &insert.task, vec![insert.event], committed_at);
                    self.cache.insert(&insert.task);
                    (insert.task, insert.key.map(|key| key.digest))
                }
                InsertOutcome::DuplicateKey { task, digest } => {
                    responses[request] = Some(duplicate(&requests[request], &task, Some(digest)));
                    (*task, Some(digest))
                }
            };
            for request in duplicates.remove(&position).unwrap_or_default() {
                responses[request] = Some(duplicate(&requests[request], &task, first_digest));
            }
            responses[request].get_or_insert_with(|| Ok(Applied::changed(task)));
        }
        for ((change, change_responses), stored) in
            changes.into_iter().zip(change_responses).zip(written.changes)
        {
            if !stored {
                self.cache.remove(&change.task.id);
                pending.extend(change_responses.into_iter().map(|(request, _)| request));
                continue;
            }
            for (request, response) in change_responses {
                responses[request] = Some(response);
            }
            self.notify(&mut committed, &change.task, change.events, committed_at);
            self.cache.insert(&change.task);
        }
        self.listeners.events.publish(committed);
        Ok(())
    }

    /// Passes `task` to the relay if it is due, and adds its events to `committed`.
    fn notify(
        &self,
        committed: &mut CommittedEvents,
        task: &Task,
        events: Vec<Event>,
        committed_at: Timestamp,
    ) {
        if let Some(at) = task.state.ready_at {
            let due = DueTask {
                id: task.id,
                generation: task.state.generation,
                version: task.state.version,
                kind: task.spec.kind.clone(),
                queue: task.spec.queue,
                at,
                since: committed_at,
                attempt: task.state.attempt,
                trace: task.spec.trace.clone(),
            };
            // If the queue is full, the relay finds the task in the store.
            let _ = self.listeners.due_tasks.try_send(due);
        }
        let stops_attempt = |event: &Event| {
            matches!(event.kind, EventType::CancelRequested | EventType::Deleted)
                && task.state.worker.is_some()
        };
        if events.iter().any(stops_attempt) {
            committed.cancels.push(task.id);
        }
        for event in &events {
            COUNTERS.event_committed(event.kind);
        }
        let user_id = task.owner;
        let trace = event_trace(task);
        committed.events.extend(events.into_iter().map(|event| OwnedEvent {
            user_id,
            event,
            trace: trace.clone(),
        }));
    }
}

/// Returns the response to a submit whose idempotency key belongs to `first`.
fn duplicate(request: &Write, first: &Task, first_digest: Option<[u8; 32]>) -> Response {
    let is_same = matches!(request, Write::Submit(task, Some(key))
        if key.matches(first_digest) && has_same_data(task, first));
    if is_same { Ok(Applied::unchanged(first.clone())) } else { Err(Error::KeyReused) }
}

/// Digests of the previous release do not distinguish all numbers, so the data is compared.
fn has_same_data(task: &Task, first: &Task) -> bool {
    let (one, other) = (&task.spec.data, &first.spec.data);
    one.get() == other.get()
        || canonical(one).is_some_and(|form| canonical(other).as_deref() == Some(&form))
}

impl BatchHandler<Write, Response> for Writer {
    fn size(request: &Write) -> usize {
        request.size()
    }

    async fn handle(&mut self, requests: Vec<Write>) -> Vec<Response> {
        let mut responses: Vec<Option<Response>> = vec![None; requests.len()];
        let mut pending: Vec<usize> = (0..requests.len()).collect();
        let mut failure = Error::Store(StoreError::Unavailable("too much contention".into()));
        for _ in 0..MAX_ATTEMPTS {
            if pending.is_empty() {
                break;
            }
            if let Err(error) = self.attempt(&requests, &mut pending, &mut responses).await {
                failure = error.into();
                break;
            }
        }
        responses
            .into_iter()
            .map(|response| response.unwrap_or_else(|| Err(failure.clone())))
            .collect()
    }
}
