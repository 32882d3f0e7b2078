//! The port that a database implements.
//!
//! An engine contains no rules. It loads tasks, writes the result of the state machine and
//! answers queries. Each write is guarded by the version it was made from, so that only one
//! of two concurrent processes succeeds. The timeline is stored with the task: a change and
//! its events are one write to one row.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use miniapp_types::name::QueueName;
use miniapp_types::task::{Event, Kind, QueueStatus, Stats, Status, Worker};
use miniapp_types::trace::TraceContext;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::domain::Task;

/// Why an operation of the store failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The store is unreachable, full or overloaded. A write may have been committed although
    /// its response was lost. Retrying later may succeed.
    #[error("the task store is unavailable: {0}")]
    Unavailable(String),
    /// A bug or corrupt data: retrying does not help.
    #[error("the task store failed: {0}")]
    Internal(String),
}

/// A task to insert, with its first event.
#[derive(Clone, Debug)]
pub struct Insert {
    pub task: Task,
    /// The `created` event.
    pub event: Event,
    pub key: Option<IdempotencyKey>,
}

/// A client's `Idempotency-Key`, unique per owner.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// The value of the header.
    pub key: String,
    /// SHA-256 of the request, which is stored.
    pub digest: [u8; 32],
    /// What the previous release stored for the same request, if that differs.
    pub previous_digest: Option<[u8; 32]>,
}

impl IdempotencyKey {
    /// Whether `stored` is a digest of the same request.
    pub(crate) fn matches(&self, stored: Option<[u8; 32]>) -> bool {
        stored == Some(self.digest) || (stored.is_some() && stored == self.previous_digest)
    }
}

/// A change of a task, with its events.
#[derive(Clone, Debug)]
pub struct Change {
    /// The task after the change.
    pub task: Task,
    /// The version before the change, which guards the write.
    pub from_version: u64,
    /// The events of the change, in order. Their ids contain the time of the change.
    pub events: Vec<Event>,
}

/// The result of an [`Insert`].
#[derive(Clone, Debug)]
pub enum InsertOutcome {
    /// The task was stored.
    New,
    /// The task was not stored, because its owner has used the key before.
    DuplicateKey {
        /// The task of the first request.
        task: Box<Task>,
        /// The body digest of the first request.
        digest: [u8; 32],
    },
}

/// The results of [`Engine::write`], in request order.
#[derive(Clone, Debug, Default)]
pub struct WriteOutcome {
    pub inserts: Vec<InsertOutcome>,
    /// Whether each change was stored; `false` if the version had changed or the task is
    /// gone.
    pub changes: Vec<bool>,
}

/// A task that is due for dispatch: its outbox entry.
#[derive(Clone, Debug)]
pub struct DueTask {
    pub id: Uuid,
    pub generation: u32,
    /// The version to claim.
    pub version: u64,
    pub kind: String,
    pub queue: QueueName,
    /// The time at which it may run.
    pub at: Timestamp,
    /// The start of its wait, for spans.
    pub since: Timestamp,
    /// The number of earlier attempts.
    pub attempt: u32,
    pub trace: TraceContext,
}

/// A worker's claim on a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    pub task_id: Uuid,
    /// The fencing token.
    pub token: u64,
}

impl Claim {
    /// Returns the id of the attempt of this claim.
    pub fn attempt_id(self) -> String {
        format!("{}-{}", self.task_id, self.token)
    }
}

/// The wait of a new task begins with its request, up to this time before its batch is written.
pub const MAX_WRITE_DELAY: SignedDuration = SignedDuration::from_secs(3);

/// A lease that has expired unless it is renewed at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiredLease {
    pub task_id: Uuid,
    /// The version of the task, which each renewal increments.
    pub version: u64,
    pub until: Timestamp,
}

/// When a task is due that no live worker can run: the end of time.
pub const PARKED: Timestamp = Timestamp::MAX;

/// A claim whose lease was renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewedLease {
    pub claim: Claim,
    /// The owner requested a cancel.
    pub cancel_requested: bool,
}

/// Counts of unfinished tasks, each up to a limit that bounds the cost of counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Tasks whose time has not come.
    pub delayed: u64,
    /// Tasks that may run and have no confirmed message.
    pub outbox: u64,
    /// The earliest time at which a task of `outbox` could run.
    pub outbox_since: Option<Timestamp>,
    /// Tasks whose message waits in the queue.
    pub queued: u64,
    /// The earliest dispatch of a task of `queued`.
    pub queued_since: Option<Timestamp>,
    /// Tasks claimed by workers.
    pub running: u64,
}

/// The process that holds the lease of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseHolder {
    /// Its description, for people.
    pub process: String,
    /// How often it has renewed the lease.
    pub renewals: u64,
}

/// Selects tasks for [`Engine::list`], newest first.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub owner: Option<Uuid>,
    pub id: Option<Uuid>,
    pub status: Option<Status>,
    pub kind: Option<String>,
    /// Only tasks older than this one: the cursor of the previous page.
    pub before: Option<Uuid>,
    /// Maximum number of tasks.
    pub limit: u32,
    /// Ends the page when the data and results of its tasks reach this many bytes. The
    /// payloads of further tasks are not read.
    pub max_bytes: Option<u32>,
}

/// The result of checking one invariant of the stored tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvariantReport {
    /// The invariant, as a sentence.
    pub invariant: &'static str,
    /// The number of tasks that violate it.
    pub violations: u64,
    /// Some of these tasks.
    pub examples: Vec<Uuid>,
}

/// The queues of [`Engine::take_due`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakenQueues {
    /// The default queue.
    Default,
    /// All others except these.
    OthersExcept(Vec<QueueName>),
}

/// Tasks of a kind in a queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskGroup {
    pub queue: QueueName,
    pub kind: String,
}

/// The arguments of [`Engine::take_due`].
#[derive(Clone, Debug)]
pub struct TakeDue {
    pub queues: TakenQueues,
    pub now: Timestamp,
    /// How far ahead of their time delayed tasks are taken.
    pub lookahead: SignedDuration,
    /// How long a task stays with the process that committed it before it is taken over.
    pub overdue: SignedDuration,
    /// How long the taken tasks are invisible to further calls.
    pub visibility_timeout: SignedDuration,
    /// Maximum number of tasks.
    pub limit: u32,
}

/// A part of a timeline: a few stored pages, about 16 KiB of lines.
#[derive(Clone, Debug)]
pub struct TimelinePart {
    pub owner: Uuid,
    /// Oldest first.
    pub events: Vec<Event>,
    /// The page with which the next part begins; `None` if this part ends with the newest event.
    pub next_page: Option<u32>,
    /// The status after the newest event.
    pub status: Status,
    /// Whether the newest event is the deletion.
    pub deleted: bool,
}

/// The first events after a given one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventPage {
    /// Oldest first.
    pub events: Vec<Event>,
    /// Whether there are no further events.
    pub is_complete: bool,
}

/// What a worker reports about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerReport {
    #[serde(flatten)]
    pub worker: Worker,
    /// The JSON Schemas of the data of its kinds; empty in reports of the previous release.
    #[serde(default)]
    pub schemas: BTreeMap<String, Value>,
    /// It consumes the work queues of its kinds; not in reports of the previous release.
    #[serde(default)]
    pub has_kind_queues: bool,
    /// It uses HTTP, and so outlives the process that reports it.
    #[serde(default)]
    pub is_remote: bool,
}

/// A database that stores tasks.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Returns the existing tasks among `ids`, deleted ones included, in any order.
    async fn load(&self, ids: &[Uuid]) -> Result<Vec<Task>, StoreError>;

    /// Writes a batch in one transaction; durable when this returns. Each task written as
    /// waiting becomes due for dispatch at its `ready_at`.
    async fn write(
        &self,
        inserts: &[Insert],
        changes: &[Change],
    ) -> Result<WriteOutcome, StoreError>;

    /// Returns tasks that are not deleted.
    async fn list(&self, filter: &Filter) -> Result<Vec<Task>, StoreError>;

    /// Returns the part of a task's timeline that begins with the stored page `page`, or `None`
    /// if the task does not exist. The first page is 0, and pages only grow by events at the
    /// end of the last one. The cost does not depend on the length of the timeline.
    async fn timeline(&self, id: Uuid, page: u32) -> Result<Option<TimelinePart>, StoreError>;

    /// Returns a page of a task's timeline such that no event after `event` precedes it: the one
    /// that contains the event if it is recent, else one that is determined by ids.
    async fn page_before(&self, id: Uuid, event: Uuid) -> Result<u32, StoreError>;

    /// Returns events of an owner's tasks after the event `after`: at most `limit`, and fewer
    /// if they are large. The cost grows with the number of tasks that have later events, not
    /// with the length of their timelines.
    async fn events_after(
        &self,
        owner: Uuid,
        after: Uuid,
        limit: u32,
    ) -> Result<EventPage, StoreError>;

    /// Extends the leases of `claims` to `until` in one statement. Each renewal increments
    /// the task's version. Claims missing from the result are lost.
    async fn renew(
        &self,
        claims: &[Claim],
        until: Timestamp,
    ) -> Result<Vec<RenewedLease>, StoreError>;

    /// Returns the leases that ended at `now` or before, oldest first, and those that end after
    /// `latest`, which were granted before the clock was set back; at most `limit` of each.
    async fn expired_leases(
        &self,
        now: Timestamp,
        latest: Timestamp,
        limit: u32,
    ) -> Result<Vec<ExpiredLease>, StoreError>;

    /// Takes over due tasks that no other process is dispatching: delayed tasks due before
    /// `now + lookahead`, and tasks due for `overdue` or longer. They become due again after
    /// the visibility timeout, in case this process dies.
    async fn take_due(&self, take: &TakeDue) -> Result<Vec<DueTask>, StoreError>;

    /// Clears the outbox entries of tasks (id and version) whose messages were confirmed.
    async fn mark_dispatched(
        &self,
        tasks: &[(Uuid, u64)],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Returns the groups of waiting tasks that were dispatched at `before` or earlier.
    async fn dispatched_groups(&self, before: Timestamp) -> Result<Vec<TaskGroup>, StoreError>;

    /// Makes every waiting task that was dispatched at `before` or earlier due again, of some
    /// groups or of all, and returns their number.
    async fn redispatch(
        &self,
        groups: Option<&[TaskGroup]>,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, StoreError>;

    /// Makes waiting tasks (id and version) due at `until`, and increments their versions, so that
    /// messages about them are void.
    async fn defer(&self, tasks: &[(Uuid, u64)], until: Timestamp) -> Result<(), StoreError>;

    /// Makes at most `limit` of the tasks due that are [`PARKED`], have one of `kinds` and are in
    /// one of `queues`, or in any if that is empty. Returns their number.
    async fn unpark(
        &self,
        queues: &[QueueName],
        kinds: &[String],
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError>;

    /// Returns the queues with waiting tasks besides the default one, those that wait for the
    /// longest time first.
    async fn waiting_queues(&self, limit: u32) -> Result<Vec<QueueName>, StoreError>;

    /// Restarts the waits that began at a time after `now`, because the clock was set back
    /// `by` a known time or by at least zero, and returns their number. A wait then lasts as
    /// long as before; times that owners have chosen are kept. Restarted tasks become due
    /// `overdue` earlier, so that any process takes them when they are ready.
    async fn restart_waits(
        &self,
        now: Timestamp,
        by: SignedDuration,
        overdue: SignedDuration,
    ) -> Result<u64, StoreError>;

    /// Returns an owner's tasks that are not deleted, at most `limit`.
    async fn ids_by_owner(&self, owner: Uuid, limit: u32) -> Result<Vec<Uuid>, StoreError>;

    /// Deletes the rows of tasks that ended before `ended` and of tasks deleted before
    /// `removed`, at most `limit` and fewer with long timelines, and returns their number.
    /// Also deletes the reports of workers that have been silent since `removed`.
    async fn purge(
        &self,
        ended: Timestamp,
        removed: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError>;

    /// Returns task counts, of one owner or of all.
    async fn stats(&self, owner: Option<Uuid>, now: Timestamp) -> Result<Stats, StoreError>;

    /// Counts the unfinished tasks of each queue that has some, of one owner or of all, by name.
    async fn queues(
        &self,
        owner: Option<Uuid>,
        now: Timestamp,
    ) -> Result<Vec<QueueStatus>, StoreError>;

    /// Counts unfinished tasks, each state up to `limit`. Every task that may run at `now`
    /// has a `due_at` before `visibility_deadline`. The cost grows with the counts.
    async fn backlog(
        &self,
        now: Timestamp,
        visibility_deadline: Timestamp,
        limit: u32,
    ) -> Result<Backlog, StoreError>;

    /// Stores a worker's latest report.
    async fn report_worker(&self, report: &WorkerReport) -> Result<(), StoreError>;

    /// Deletes a worker's report.
    async fn forget_worker(&self, name: &str) -> Result<(), StoreError>;

    /// Returns the workers that reported since `since`, by name.
    async fn workers(&self, since: Timestamp) -> Result<Vec<WorkerReport>, StoreError>;

    /// Stores descriptions of kinds.
    async fn announce_kinds(&self, kinds: &[Kind]) -> Result<(), StoreError>;

    /// Returns all announced kinds, by name.
    async fn kinds(&self) -> Result<Vec<Kind>, StoreError>;

    /// Returns the remembered steps of a claimed task's generation by name, as JSON, or `None` if
    /// the claim is lost.
    async fn steps(
        &self,
        claim: Claim,
    ) -> Result<Option<BTreeMap<String, Box<RawValue>>>, StoreError>;

    /// Remembers the result of a step for the generation of the claimed task, and forgets the steps
    /// of earlier ones. Returns `false` if the claim is lost. A step that is remembered is kept.
    /// The steps are deleted together with their task.
    async fn remember_step(
        &self,
        claim: Claim,
        name: &str,
        result: &RawValue,
    ) -> Result<bool, StoreError>;

    /// Checks the invariants of the protocol on every stored task.
    async fn check_invariants(&self, now: Timestamp) -> Result<Vec<InvariantReport>, StoreError>;

    /// Checks that the store answers and accepts writes.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Takes or renews the lease of the database for `ttl` by the database's clock. Returns the
    /// other holder if there is one. A file is locked instead. Engines without a database for
    /// several processes have nothing to take.
    async fn take_process_lease(
        &self,
        _holder: Uuid,
        _process: &str,
        _ttl: Duration,
    ) -> Result<Option<LeaseHolder>, StoreError> {
        Ok(None)
    }

    /// Ends the lease of the database if `holder` has it.
    async fn release_process_lease(&self, _holder: Uuid) -> Result<(), StoreError> {
        Ok(())
    }

    /// Creates or updates the tables, however long it takes.
    async fn migrate(&self) -> Result<(), StoreError> {
        self.ping().await
    }

    /// Returns owners above `after` of tasks that are not deleted, in the order of their ids.
    async fn owners(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<Uuid>, StoreError>;

    /// Raises the versions of at most `limit` unfinished tasks that are below `floor` to `floor`, and
    /// their claims to the number before it, and makes waiting ones due. Returns their number.
    /// Messages and claims from before are void.
    async fn raise_versions(&self, floor: u64, limit: u32) -> Result<u64, StoreError>;

    /// Closes the connections, after the last use. If they were the last ones of an SQLite file,
    /// it is then complete without a write-ahead log.
    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Returns the OpenTelemetry value of `db.system.name`.
    fn system(&self) -> &'static str {
        "other_sql"
    }
}
