//! The one way in which tasks change: requests that arrive together are decided by the
//! state machine and written in one transaction.

mod batch;
mod cache;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use miniapp_runtime::clock::Clock;
use miniapp_types::message::OwnedEvent;
use miniapp_types::task::{Event, EventType};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use self::batch::{Answer, Batch};
use self::cache::TaskCache;
use crate::batcher::BatchHandler;
use crate::domain::{Command, Task, Transition};
use crate::engine::{DueTask, Engine, IdempotencyKey, InsertOutcome, StoreError, WriteOutcome};
use crate::event_publisher::{CommittedEvents, EventPublisher};
use crate::metrics::COUNTERS;
use crate::spans::event_trace;
use crate::tasks::Error;

/// How often a change is tried again after another process changed the task first.
const MAX_ATTEMPTS: usize = 8;

/// A request for a change.
#[derive(Clone, Debug)]
pub enum Write {
    /// Accept a task, unless its key is known.
    Submit(Box<Task>, Option<IdempotencyKey>),
    /// Apply a command to a task, of this owner if one is given.
    Apply { id: Uuid, owner: Option<Uuid>, command: Command },
}

/// What a change made of the task.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The task as it is now.
    pub task: Task,
    /// Whether this request made it so; `false`: it was so already.
    pub is_new: bool,
}

/// Where commits are announced. Both are hints: the relay finds in the store what it
/// wasn't told, and streams read it from there.
#[derive(Debug)]
pub struct CommitListeners {
    /// To the relay.
    pub due_tasks: mpsc::Sender<DueTask>,
    /// To streams and workers.
    pub events: EventPublisher,
}

/// Why the newest write failed, if it did.
pub type LastWriteError = Arc<Mutex<Option<StoreError>>>;

/// Runs batches of [`Write`]s.
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

    /// Where it keeps how the newest write went.
    pub fn last_write_error(&self) -> LastWriteError {
        self.last_write_error.clone()
    }

    /// One transaction over what of `open` can be decided now. Answers what is done, and
    /// keeps in `open` what another process was faster with or what needs a fresh look.
    async fn round(
        &mut self,
        requests: &[Write],
        open: &mut Vec<usize>,
        answers: &mut [Option<Answer>],
    ) -> Result<(), StoreError> {
        let loaded = self.load(requests, open).await?;
        let now = self.clock.now();
        let mut batch = Batch::new(now);
        let mut again = Vec::new();
        for index in open.drain(..) {
            let (id, owner, command) = match &requests[index] {
                Write::Submit(task, key) => {
                    batch.submit(index, task, key.as_ref());
                    continue;
                }
                Write::Apply { id, owner, command } => (id, owner, command),
            };
            let fresh = batch.changed(id).or_else(|| loaded.get(id));
            let is_remembered = fresh.is_none();
            let known = fresh.or_else(|| self.cache.get(id));
            let Some(task) = known.filter(|task| owner.is_none_or(|owner| owner == task.owner))
            else {
                batch.answer(index, id, Err(Error::NotFound));
                continue;
            };
            match task.apply(command.clone(), now) {
                Ok(Transition { at, state, event: Some(event) }) => {
                    if event == EventType::Started {
                        COUNTERS.claimed(task, at);
                    }
                    let from = task.state.version;
                    let task = Task { state, ..task.clone() };
                    batch.change(index, task, from, event, at);
                }
                // What was remembered may be old, and no guard of a write would tell.
                _ if is_remembered => again.push(index),
                Ok(_) => {
                    let task = task.clone();
                    batch.answer(index, id, Ok(Applied { task, is_new: false }));
                }
                Err(refusal) => batch.answer(index, id, Err(refusal.into())),
            }
        }
        for &index in &again {
            if let Write::Apply { id, .. } = &requests[index] {
                self.cache.forget(id);
            }
        }
        *open = again;
        self.commit(batch, open, answers).await
    }

    /// The tasks that `open` asks for and that aren't remembered.
    async fn load(
        &self,
        requests: &[Write],
        open: &[usize],
    ) -> Result<HashMap<Uuid, Task>, StoreError> {
        let unknown: HashSet<Uuid> = open
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
        open: &mut Vec<usize>,
        answers: &mut [Option<Answer>],
    ) -> Result<(), StoreError> {
        let Batch {
            inserts, insert_requests, mut copies, changes, change_requests, decided, ..
        } = batch;
        for (index, answer) in decided {
            answers[index] = Some(answer);
        }
        let written = if inserts.is_empty() && changes.is_empty() {
            WriteOutcome::default()
        } else {
            let began = Instant::now();
            let written = self.engine.write(&inserts, &changes).await;
            COUNTERS.writes.observe(began.elapsed(), None);
            self.last_write_error.lock().clone_from(&written.as_ref().err().cloned());
            match written {
                Ok(written) => written,
                Err(error) => {
                    // Whether it was written is unknown, so what was remembered may be old
                    // and there may be events that nobody is told.
                    for change in &changes {
                        self.cache.forget(&change.task.id);
                    }
                    self.listeners.events.mark_gap();
                    return Err(error);
                }
            }
        };
        let committed_at = self.clock.now();
        let mut committed = CommittedEvents::default();
        let outcomes = inserts.into_iter().zip(insert_requests).zip(written.inserts);
        for (place, ((insert, index), outcome)) in outcomes.enumerate() {
            let own = insert.key.map(|key| key.digest);
            let (task, first) = match outcome {
                InsertOutcome::New => {
                    self.tell(&mut committed, &insert.task, vec![insert.event], committed_at);
                    self.cache.keep(&insert.task);
                    (insert.task, None)
                }
                InsertOutcome::DuplicateKey { task, digest } => (*task, Some(digest)),
            };
            for (index, digest) in copies.remove(&place).unwrap_or_default() {
                answers[index] = Some(repeated(task.clone(), first.or(own) == Some(digest)));
            }
            answers[index] = Some(match first {
                None => Ok(Applied { task, is_new: true }),
                Some(_) => repeated(task, first == own),
            });
        }
        for ((change, requests), stored) in
            changes.into_iter().zip(change_requests).zip(written.changes)
        {
            if !stored {
                self.cache.forget(&change.task.id);
                open.extend(requests.into_iter().map(|(index, _)| index));
                continue;
            }
            for (index, answer) in requests {
                answers[index] = Some(answer);
            }
            self.tell(&mut committed, &change.task, change.events, committed_at);
            self.cache.keep(&change.task);
        }
        self.listeners.events.publish(committed);
        Ok(())
    }

    /// Notes what others want to hear of `task` after `events`.
    fn tell(
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
                at,
                since: committed_at,
                attempt: task.state.attempt,
                trace: task.spec.trace.clone(),
            };
            // Full: the relay will find it in the store.
            let _ = self.listeners.due_tasks.try_send(due);
        }
        let stops = |event: &Event| {
            matches!(event.kind, EventType::CancelRequested | EventType::Deleted)
                && task.state.worker.is_some()
        };
        if events.iter().any(stops) {
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

/// The answer to a request with a key that has its task already.
fn repeated(task: Task, is_same: bool) -> Answer {
    if is_same { Ok(Applied { task, is_new: false }) } else { Err(Error::KeyReused) }
}

impl BatchHandler<Write, Answer> for Writer {
    async fn handle(&mut self, requests: Vec<Write>) -> Vec<Answer> {
        let mut answers: Vec<Option<Answer>> = vec![None; requests.len()];
        let mut open: Vec<usize> = (0..requests.len()).collect();
        let mut failed = Error::Store(StoreError::Unavailable("too much contention".into()));
        for _ in 0..MAX_ATTEMPTS {
            if open.is_empty() {
                break;
            }
            if let Err(error) = self.round(&requests, &mut open, &mut answers).await {
                failed = error.into();
                break;
            }
        }
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(failed.clone()))).collect()
    }
}
