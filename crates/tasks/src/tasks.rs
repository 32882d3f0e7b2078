//! What the services do with tasks.

mod attempts;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use miniapp_runtime::clock::{Clock, new_id};
use miniapp_runtime::health::Condition;
use miniapp_types::task::{Event, Kind, Stats, Worker};
use miniapp_types::trace::TraceContext;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::batcher::{BatchHandler, Batcher};
use crate::domain::{Command, Refusal, Spec, Task};
use crate::engine::{Engine, Filter, IdempotencyKey, StoreError};
use crate::event_publisher;
use crate::maintenance::Maintenance;
use crate::spans::{Committing, note_batch, reading};
use crate::writer::{Applied, CommitListeners, LastWriteError, Write, Writer};

/// How many changes share a transaction at most.
const WRITE_BATCH_SIZE: usize = 256;
/// How many reads share a query at most.
const READ_BATCH_SIZE: usize = 64;
/// A worker that hasn't reported for this long is taken for gone.
const WORKER_TIMEOUT: SignedDuration = SignedDuration::from_secs(15);
/// How many dues may wait for the relay before it has to find them in the store.
const DUE_QUEUE_CAPACITY: usize = 32 * 1024;

/// Why a task can't be had or changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no such task, or it is someone else's.
    #[error("no such task")]
    NotFound,
    /// The idempotency key came before with another body.
    #[error("the idempotency key was used with another body")]
    KeyReused,
    /// Its state doesn't allow it.
    #[error(transparent)]
    Refused(Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// Its name in traces.
    fn name(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::KeyReused => "key_reused",
            Self::Refused(_) => "refused",
            Self::Store(_) => "store",
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Deleted => Self::NotFound,
            other => Self::Refused(other),
        }
    }
}

/// A task that is to be accepted.
#[derive(Clone, Debug)]
pub struct NewTask {
    /// Whose it is.
    pub owner: Uuid,
    /// What is to be run.
    pub kind: String,
    /// What it is about.
    pub description: String,
    /// The kind's input.
    pub data: Box<RawValue>,
    /// Seconds one execution may take.
    pub ttl: u32,
    /// How many attempts may fail.
    pub max_attempts: u32,
    /// Not before this time.
    pub run_at: Option<Timestamp>,
    /// The client's key against doubles.
    pub key: Option<IdempotencyKey>,
    /// The trace of the request.
    pub trace: TraceContext,
}

/// An accepted task.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// The task.
    pub task: Task,
    /// `false`: the key was known, this is the task of the first time.
    pub is_new: bool,
}

/// Accepts, finds and changes tasks. Cheap to clone.
///
/// Every change is durable when its call returns. Changes that arrive together share a
/// transaction; reads that arrive together share a query.
#[derive(Clone)]
pub struct Tasks {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    writes: Batcher<Write, Result<Applied, Error>>,
    reads: Batcher<Uuid, Result<Option<Task>, StoreError>>,
    last_write_error: LastWriteError,
}

impl Tasks {
    /// Begins with what `engine` holds. The [`Maintenance`] has to run once in this process, or
    /// nothing is dispatched from here.
    pub fn new(engine: Arc<dyn Engine>, clock: Arc<dyn Clock>) -> (Self, Maintenance) {
        let (dues, due) = mpsc::channel(DUE_QUEUE_CAPACITY);
        let (news, heard) = event_publisher::channel();
        let writer = Writer::new(
            engine.clone(),
            clock.clone(),
            CommitListeners { due_tasks: dues, events: news },
        );
        let tasks = Self {
            last_write_error: writer.last_write_error(),
            writes: Batcher::start(WRITE_BATCH_SIZE, writer),
            reads: Batcher::start(READ_BATCH_SIZE, Reader(engine.clone())),
            engine,
            clock,
        };
        let upkeep = Maintenance::new(tasks.clone(), due, heard);
        (tasks, upkeep)
    }

    /// Accepts a task.
    pub async fn submit(&self, new: NewTask) -> Result<Submitted, Error> {
        let NewTask { owner, kind, description, data, ttl, max_attempts, run_at, key, trace } = new;
        let created_at = self.clock.now();
        let spec = Spec { kind, description, data, ttl, max_attempts, created_at, trace };
        let task = Task::new(new_id(self.clock.as_ref()), owner, spec, run_at);
        let Applied { task, is_new } = self.write(Write::Submit(Box::new(task), key)).await?;
        Ok(Submitted { task, is_new })
    }

    /// A task, if `owner` has it.
    pub async fn get(&self, owner: Uuid, id: Uuid) -> Result<Option<Task>, StoreError> {
        let read = self.read(id).await?;
        Ok(read.filter(|task| task.owner == owner && !task.state.deleted))
    }

    /// Tasks by `filter`, newest first.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<Task>, StoreError> {
        reading(self.system(), self.engine.list(filter)).await
    }

    /// The events of a task, if `owner` has it, oldest first. A removed task still tells
    /// its events for a while, the last being that it was removed.
    pub async fn timeline(&self, owner: Uuid, id: Uuid) -> Result<Option<Vec<Event>>, StoreError> {
        match self.read(id).await? {
            Some(task) if task.owner == owner => {
                reading(self.system(), self.engine.timeline(id)).await
            }
            _ => Ok(None),
        }
    }

    /// The events of an owner's tasks after the event `after`, oldest first.
    pub async fn events_after(
        &self,
        owner: Uuid,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError> {
        self.engine.events_after(owner, after, limit).await
    }

    /// Ends a waiting task, or asks the worker that runs it to stop.
    pub async fn cancel(&self, owner: Uuid, id: Uuid) -> Result<Task, Error> {
        self.apply(Some(owner), id, Command::Cancel).await
    }

    /// Runs a task that has ended again, as a new generation.
    pub async fn restart(&self, owner: Uuid, id: Uuid) -> Result<Task, Error> {
        self.apply(Some(owner), id, Command::Restart).await
    }

    /// Restarts anybody's failed task.
    pub async fn requeue(&self, id: Uuid) -> Result<Task, Error> {
        self.apply(None, id, Command::Requeue).await
    }

    /// Removes a task, stopping it first.
    pub async fn delete(&self, owner: Uuid, id: Uuid) -> Result<(), Error> {
        self.apply(Some(owner), id, Command::Delete).await.map(drop)
    }

    /// Removes all tasks of an owner.
    pub async fn delete_all(&self, owner: Uuid) -> Result<(), Error> {
        loop {
            let ids = self.engine.ids_by_owner(owner, 256).await?;
            if ids.is_empty() {
                return Ok(());
            }
            let deletes = ids.into_iter().map(|id| self.delete(owner, id));
            for deleted in futures_util::future::join_all(deletes).await {
                match deleted {
                    Ok(()) | Err(Error::NotFound) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// How many tasks stand where: an owner's, or all.
    pub async fn stats(&self, owner: Option<Uuid>) -> Result<Stats, StoreError> {
        reading(self.system(), self.engine.stats(owner, self.clock.now())).await
    }

    /// Keeps a worker's report; it counts as live for 15 seconds.
    pub async fn report_worker(&self, worker: &Worker) -> Result<(), StoreError> {
        self.engine.report_worker(worker).await
    }

    /// Forgets a worker that stops.
    pub async fn forget_worker(&self, name: &str) -> Result<(), StoreError> {
        self.engine.forget_worker(name).await
    }

    /// The live workers.
    pub async fn workers(&self) -> Result<Vec<Worker>, StoreError> {
        let since = self.clock.now().saturating_sub(WORKER_TIMEOUT).unwrap_or(Timestamp::MIN);
        self.engine.workers(since).await
    }

    /// Keeps what a worker says about the kinds that it runs.
    pub async fn announce_kinds(&self, kinds: &[Kind]) -> Result<(), StoreError> {
        self.engine.announce_kinds(kinds).await
    }

    /// The kinds that any worker ever announced.
    pub async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        self.engine.kinds().await
    }

    /// Whether the store answers, and takes what is written: where the newest write
    /// failed, as on a full disk, nothing new is accepted but everything can be read.
    pub async fn condition(&self) -> Result<Condition, StoreError> {
        self.engine.ping().await?;
        if !self.writes.is_running() {
            return Err(stopped());
        }
        let error = self.last_write_error.lock().as_ref().map(ToString::to_string);
        Ok(error.map_or(Condition::Healthy, Condition::Degraded))
    }

    /// What OpenTelemetry calls the database behind it.
    pub fn system(&self) -> &'static str {
        self.engine.system()
    }

    pub(crate) fn engine(&self) -> &dyn Engine {
        self.engine.as_ref()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    pub(crate) fn shared_clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    pub(crate) async fn apply(
        &self,
        owner: Option<Uuid>,
        id: Uuid,
        command: Command,
    ) -> Result<Task, Error> {
        self.write(Write::Apply { id, owner, command }).await.map(|done| done.task)
    }

    async fn read(&self, id: Uuid) -> Result<Option<Task>, StoreError> {
        let answer = async { self.reads.call(id).await.unwrap_or_else(|| Err(stopped())) };
        reading(self.system(), answer).await
    }

    async fn write(&self, write: Write) -> Result<Applied, Error> {
        let committing = Committing::begin(&write);
        let answered = self.writes.call_with_batch_size(write).await;
        let (answer, together) = answered.unwrap_or_else(|| (Err(stopped().into()), 0));
        note_batch(together);
        if let Some(committing) = committing {
            let error = answer.as_ref().err().map(Error::name);
            committing.end(self.system(), together, error);
        }
        answer
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the process is stopping".into())
}

/// Runs batches of reads.
struct Reader(Arc<dyn Engine>);

impl BatchHandler<Uuid, Result<Option<Task>, StoreError>> for Reader {
    async fn handle(&mut self, ids: Vec<Uuid>) -> Vec<Result<Option<Task>, StoreError>> {
        match self.0.load(&ids).await {
            Ok(tasks) => {
                ids.iter().map(|id| Ok(tasks.iter().find(|task| task.id == *id).cloned())).collect()
            }
            Err(error) => ids.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}
