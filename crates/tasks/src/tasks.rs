//! The operations on tasks that services use.

mod attempts;
mod outcomes;
mod restore;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use miniapp_runtime::clock::{Clock, new_id};
use miniapp_runtime::health::Condition;
use miniapp_types::name::QueueName;
use miniapp_types::task::{Kind, QueueStatus, Stats, Worker};
use miniapp_types::trace::TraceContext;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::batcher::{BatchHandler, Batcher};
use crate::capabilities::Capabilities;
use crate::domain::{Capability, Command, Spec, Task};
use crate::engine::{
    Claim, Engine, EventPage, Filter, IdempotencyKey, StoreError, TimelinePart, WorkerReport,
};
use crate::error::Error;
use crate::spans::{WriteSpan, traced_read};
use crate::writer::{Applied, LastWriteError, Write, Writer};

pub use outcomes::{Outcome, check_result, task_error, truncated};

/// Maximum number of changes per transaction.
const WRITE_BATCH_SIZE: usize = 256;
/// Maximum number of reads per query.
const READ_BATCH_SIZE: usize = 64;
/// A worker without a report for this long counts as gone.
const WORKER_TIMEOUT: SignedDuration = SignedDuration::from_secs(15);

/// The arguments of [`Tasks::submit`].
#[derive(Clone, Debug)]
pub struct NewTask {
    pub owner: Uuid,
    pub kind: String,
    pub queue: QueueName,
    pub description: String,
    /// The input of the kind, as JSON.
    pub data: Box<RawValue>,
    /// Time limit of one attempt, in seconds.
    pub ttl: u32,
    /// Maximum number of attempts.
    pub max_attempts: u32,
    /// Earliest start; `None` starts immediately.
    pub run_at: Option<Timestamp>,
    /// Makes retries of the same request safe.
    pub key: Option<IdempotencyKey>,
    /// Trace context of the request.
    pub trace: TraceContext,
}

/// The result of [`Tasks::submit`].
#[derive(Clone, Debug)]
pub struct Submitted {
    pub task: Task,
    /// `false` if the idempotency key was known; `task` is then the task of the first
    /// request.
    pub is_new: bool,
}

/// A task claimed by a worker.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub claim: Claim,
    pub task: Task,
    /// Number of requests in the transaction; `None` if the claim was read back later.
    pub batch_size: Option<usize>,
}

/// Who claims tasks.
#[derive(Clone, Debug)]
pub struct Claimant {
    pub worker: Arc<str>,
    /// The duration of a lease.
    pub lease: SignedDuration,
    /// The tasks that it runs; `None`: all.
    pub runs: Option<Arc<Capability>>,
}

/// The result of [`Tasks::claim`].
#[derive(Clone, Debug)]
pub enum Claimable {
    Claimed(Box<Claimed>),
    /// The task may only be claimed by a worker whose process runs nothing else.
    RunsAlone,
    /// The worker does not run tasks of this kind or of this queue.
    NotRun,
    /// There is nothing to claim: the message is a duplicate or the task has changed since.
    Stale,
}

impl From<Claimed> for Claimable {
    fn from(claimed: Claimed) -> Self {
        Self::Claimed(Box::new(claimed))
    }
}

impl Claimable {
    /// Returns the claim, if the task was claimed.
    pub fn claimed(self) -> Option<Claimed> {
        match self {
            Self::Claimed(claimed) => Some(*claimed),
            Self::RunsAlone | Self::NotRun | Self::Stale => None,
        }
    }
}

/// A committed change of an attempt.
#[derive(Clone, Debug)]
pub struct Committed {
    pub task: Task,
    /// Number of requests in the transaction.
    pub batch_size: usize,
}

/// Submits, reads and changes tasks. Cheap to clone.
///
/// Every change is durable when its call returns. Concurrent changes share a transaction,
/// concurrent reads share a query.
#[derive(Clone)]
pub struct Tasks {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    writes: Batcher<Write, Result<Applied, Error>>,
    reads: Batcher<Uuid, Result<Option<Task>, StoreError>>,
    last_write_error: LastWriteError,
}

impl Tasks {
    pub(crate) fn new(engine: Arc<dyn Engine>, clock: Arc<dyn Clock>, writer: Writer) -> Self {
        Self {
            last_write_error: writer.last_write_error(),
            writes: Batcher::start(WRITE_BATCH_SIZE, writer),
            reads: Batcher::start(READ_BATCH_SIZE, Reader(engine.clone())),
            engine,
            clock,
        }
    }

    /// Stores a new task and queues it for dispatch.
    pub async fn submit(&self, new: NewTask) -> Result<Submitted, Error> {
        let NewTask {
            owner,
            kind,
            queue,
            description,
            data,
            ttl,
            max_attempts,
            run_at,
            key,
            trace,
        } = new;
        let created_at = self.clock.now();
        let spec = Spec { kind, queue, description, data, ttl, max_attempts, created_at, trace };
        let task = Task::new(new_id(self.clock.as_ref()), owner, spec, run_at);
        let Applied { task, is_new, .. } = self.write(Write::Submit(Box::new(task), key)).await?;
        Ok(Submitted { task, is_new })
    }

    /// Returns a task of `owner`.
    pub async fn get(&self, owner: Uuid, id: Uuid) -> Result<Option<Task>, StoreError> {
        let read = self.read(id).await?;
        Ok(read.filter(|task| task.owner == owner && !task.state.deleted))
    }

    /// Returns the tasks matching `filter`, newest first.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<Task>, StoreError> {
        traced_read(self.system(), self.engine.list(filter)).await
    }

    /// Returns the part of the timeline of a task of `owner` that begins with the page `page`. A
    /// deleted task keeps its timeline until it is purged; the deletion is the last event.
    pub async fn timeline(
        &self,
        owner: Uuid,
        id: Uuid,
        page: u32,
    ) -> Result<Option<TimelinePart>, StoreError> {
        let part = traced_read(self.system(), self.engine.timeline(id, page)).await?;
        Ok(part.filter(|part| part.owner == owner))
    }

    /// See [`Engine::page_before`].
    pub async fn page_before(&self, id: Uuid, event: Uuid) -> Result<u32, StoreError> {
        self.engine.page_before(id, event).await
    }

    /// Returns the first events of an owner's tasks after the event `after`, at most `limit`.
    pub async fn events_after(
        &self,
        owner: Uuid,
        after: Uuid,
        limit: u32,
    ) -> Result<EventPage, StoreError> {
        self.engine.events_after(owner, after, limit).await
    }

    /// Cancels a waiting task, or requests the running attempt to stop.
    pub async fn cancel(&self, owner: Uuid, id: Uuid) -> Result<Task, Error> {
        self.change(owner, id, None, Command::Cancel).await
    }

    /// Restarts a task in a final state as a new generation.
    pub async fn restart(&self, owner: Uuid, id: Uuid) -> Result<Task, Error> {
        self.change(owner, id, None, Command::Restart).await
    }

    /// Applies a command of the owner, only if the task has one of `versions`.
    pub async fn change(
        &self,
        owner: Uuid,
        id: Uuid,
        versions: Option<Vec<u64>>,
        command: Command,
    ) -> Result<Task, Error> {
        let write = Write::Apply { id, owner: Some(owner), versions, command };
        self.write(write).await.map(|applied| applied.task)
    }

    /// Restarts a failed task of any owner.
    pub async fn requeue(&self, id: Uuid) -> Result<Task, Error> {
        self.apply(None, id, Command::Requeue).await.map(|applied| applied.task)
    }

    /// Deletes a task; a running attempt is stopped.
    pub async fn delete(&self, owner: Uuid, id: Uuid) -> Result<(), Error> {
        self.change(owner, id, None, Command::Delete).await.map(drop)
    }

    /// Deletes all tasks of an owner.
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

    /// Returns task counts by status, of one owner or of all.
    pub async fn stats(&self, owner: Option<Uuid>) -> Result<Stats, StoreError> {
        traced_read(self.system(), self.engine.stats(owner, self.clock.now())).await
    }

    /// Returns the queues with waiting tasks besides the default one, those that wait for the
    /// longest time first.
    pub async fn waiting_queues(&self, limit: u32) -> Result<Vec<QueueName>, StoreError> {
        self.engine.waiting_queues(limit).await
    }

    /// Returns the default queue and those with unfinished tasks, of one owner or of all, by name.
    pub async fn queues(&self, owner: Option<Uuid>) -> Result<Vec<QueueStatus>, StoreError> {
        let queues = self.engine.queues(owner, self.clock.now());
        let mut queues = traced_read(self.system(), queues).await?;
        let name = QueueName::default();
        if let Err(place) = queues.binary_search_by_key(&name, |queue| queue.name) {
            let empty = QueueStatus { name, waiting: 0, running: 0, oldest_wait_seconds: 0.0 };
            queues.insert(place, empty);
        }
        Ok(queues)
    }

    /// Stores a worker's report. The worker counts as live for [`WORKER_TIMEOUT`].
    pub async fn report_worker(&self, report: &WorkerReport) -> Result<(), StoreError> {
        self.engine.report_worker(report).await
    }

    /// Removes the report of a worker that stops.
    pub async fn forget_worker(&self, name: &str) -> Result<(), StoreError> {
        self.engine.forget_worker(name).await
    }

    /// Returns the live workers.
    pub async fn workers(&self) -> Result<Vec<Worker>, StoreError> {
        let reports = self.worker_reports().await?;
        Ok(reports.into_iter().map(|report| report.worker).collect())
    }

    /// Returns the reports of the live workers.
    pub async fn worker_reports(&self) -> Result<Vec<WorkerReport>, StoreError> {
        let since = self.clock.now().saturating_sub(WORKER_TIMEOUT).unwrap_or(Timestamp::MIN);
        let mut workers = self.engine.workers(since).await?;
        // A report from the future was written before the clock was set back. A live worker
        // replaces it.
        let latest = self.clock.now().saturating_add(WORKER_TIMEOUT).unwrap_or(Timestamp::MAX);
        workers.retain(|report| report.worker.last_seen_at <= latest);
        Ok(workers)
    }

    /// Returns what the live workers can run.
    pub async fn capabilities(&self) -> Result<Capabilities, StoreError> {
        Ok(Capabilities::new(&self.worker_reports().await?))
    }

    /// Stores the descriptions of the kinds that a worker runs.
    pub async fn announce_kinds(&self, kinds: &[Kind]) -> Result<(), StoreError> {
        self.engine.announce_kinds(kinds).await
    }

    /// Returns all kinds that workers have announced.
    pub async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        self.engine.kinds().await
    }

    /// Checks the store. `Degraded` means that reads work but the last write failed, as with
    /// a full disk.
    pub async fn condition(&self) -> Result<Condition, StoreError> {
        self.engine.ping().await?;
        if !self.writes.is_running() {
            return Err(stopped());
        }
        let error = self.last_write_error.lock().as_ref().map(ToString::to_string);
        Ok(error.map_or(Condition::Healthy, Condition::Degraded))
    }

    /// Returns the `db.system.name` of the store.
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
    ) -> Result<Applied, Error> {
        self.write(Write::Apply { id, owner, versions: None, command }).await
    }

    async fn read(&self, id: Uuid) -> Result<Option<Task>, StoreError> {
        let result = async { self.reads.call(id).await.unwrap_or_else(|| Err(stopped())) };
        traced_read(self.system(), result).await
    }

    async fn write(&self, write: Write) -> Result<Applied, Error> {
        let span = WriteSpan::start(write.operation());
        let answer = self.writes.call_with_batch_size(write).await;
        let (result, batch_size) = answer.unwrap_or_else(|| (Err(stopped().into()), 0));
        if let Some(span) = span {
            span.end(self.system(), batch_size, result.as_ref().err().map(Error::name));
        }
        result.map(|applied| Applied { batch_size, ..applied })
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the process is stopping".into())
}

/// Loads batches of tasks by id.
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
