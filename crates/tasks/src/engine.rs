//! The port that a database fills: what [`crate::Tasks`] asks of a store.
//!
//! An engine decides nothing. It loads tasks, writes what the state machine made of
//! them, and answers queries; each write is guarded by the version it was made from, so
//! that two processes can't both win. The timeline is kept with the task: a change and
//! its event are one row written once.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use miniapp_types::task::{Event, Kind, Stats, Status, Worker};
use miniapp_types::trace::TraceContext;
use uuid::Uuid;

use crate::domain::Task;
pub use crate::invariants::InvariantReport;

/// Why the store didn't do as told.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached, is full or too busy. Nothing was written, or the answer got
    /// lost; trying again later is right.
    #[error("the task store is unavailable: {0}")]
    Unavailable(String),
    /// It holds or answered something that it should not.
    #[error("the task store is at fault: {0}")]
    Internal(String),
}

/// A task to be stored, with its first event.
#[derive(Clone, Debug)]
pub struct Insert {
    /// The task.
    pub task: Task,
    /// Its `created` event.
    pub event: Event,
    /// The client's key against doubles, unique for the owner, and a digest of the body.
    pub key: Option<IdempotencyKey>,
}

/// A client's `Idempotency-Key` and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// The key as the client sent it.
    pub key: String,
    /// SHA-256 of the body that came with it.
    pub digest: [u8; 32],
}

/// A task that changed, with the events of the change.
#[derive(Clone, Debug)]
pub struct Change {
    /// The task as it is after the change.
    pub task: Task,
    /// The version that the change was made from.
    pub from_version: u64,
    /// What happened, in order. Their ids carry the time of the change.
    pub events: Vec<Event>,
}

/// What became of an [`Insert`].
#[derive(Clone, Debug)]
pub enum InsertOutcome {
    /// Stored.
    New,
    /// Not stored: the owner used the key before, for this task, with this digest.
    DuplicateKey {
        /// The task of the first time.
        task: Box<Task>,
        /// The digest of the first time.
        digest: [u8; 32],
    },
}

/// What became of a batch, in its order.
#[derive(Clone, Debug, Default)]
pub struct WriteOutcome {
    /// One answer an insert.
    pub inserts: Vec<InsertOutcome>,
    /// Whether each change was stored; `false`: the task has moved on or is gone.
    pub changes: Vec<bool>,
}

/// A task that is due to be dispatched.
#[derive(Clone, Debug)]
pub struct DueTask {
    /// The task.
    pub id: Uuid,
    /// The generation that is to run.
    pub generation: u32,
    /// The version that is to be claimed.
    pub version: u64,
    /// When.
    pub at: Timestamp,
    /// Since when it waits for that, or for its message.
    pub since: Timestamp,
    /// Attempts that were begun before.
    pub attempt: u32,
    /// The task's trace.
    pub trace: TraceContext,
}

/// A claim in a worker's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// The task.
    pub task_id: Uuid,
    /// The fencing token.
    pub token: u64,
}

/// What the store says of a claim whose lease was renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewedLease {
    /// The claim.
    pub claim: Claim,
    /// Its owner asked for the end.
    pub cancel_requested: bool,
}

/// What stands before a task's end, up to a count: how much there is more of doesn't matter
/// then, and counting it would only add to the load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Tasks that are to run later.
    pub delayed: u64,
    /// Tasks that may run, but whose message isn't known to be in the broker's hands.
    pub outbox: u64,
    /// Since when the first of them may run.
    pub outbox_since: Option<Timestamp>,
    /// Tasks whose message waits for a worker.
    pub queued: u64,
    /// Since when the first of them does.
    pub queued_since: Option<Timestamp>,
    /// Tasks in workers' hands.
    pub running: u64,
}

/// Which tasks to list, newest first.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this owner only.
    pub owner: Option<Uuid>,
    /// This one only.
    pub id: Option<Uuid>,
    /// In this status only.
    pub status: Option<Status>,
    /// Of this kind only.
    pub kind: Option<String>,
    /// Older than this one only.
    pub before: Option<Uuid>,
    /// At most this many.
    pub limit: u32,
    /// No more once their data and results have this many bytes: what doesn't fit isn't
    /// read.
    pub max_bytes: Option<u32>,
}

/// A database that keeps tasks.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// The tasks among `ids` that are there, removed ones included, in any order.
    async fn load(&self, ids: &[Uuid]) -> Result<Vec<Task>, StoreError>;

    /// Writes a batch in one transaction, durable when this returns. Whatever is written
    /// as waiting gets the duty to be dispatched when it is ready.
    async fn write(
        &self,
        inserts: &[Insert],
        changes: &[Change],
    ) -> Result<WriteOutcome, StoreError>;

    /// Tasks that aren't removed.
    async fn list(&self, filter: &Filter) -> Result<Vec<Task>, StoreError>;

    /// The events of a task, oldest first; `None` where there is no such task.
    async fn timeline(&self, id: Uuid) -> Result<Option<Vec<Event>>, StoreError>;

    /// The events of an owner's tasks after the event `after`, oldest first.
    async fn events_after(
        &self,
        owner: Uuid,
        after: Uuid,
        limit: u32,
    ) -> Result<Vec<Event>, StoreError>;

    /// Renews the leases of `claims` until `until` in one statement, each a change of the
    /// task's version. What is missing in the answer is lost.
    async fn renew(
        &self,
        claims: &[Claim],
        until: Timestamp,
    ) -> Result<Vec<RenewedLease>, StoreError>;

    /// Tasks whose lease ran out before `now`.
    async fn expired_leases(&self, now: Timestamp, limit: u32) -> Result<Vec<Uuid>, StoreError>;

    /// Takes over tasks that nobody else is dispatching: those to run later that are due
    /// before `now + lookahead`, and those due since `overdue` or longer. They are due
    /// again after `hold`, should this process die.
    async fn take_due(&self, take: &TakeDue) -> Result<Vec<DueTask>, StoreError>;

    /// Notes that messages about these tasks (id and version) are in the broker's hands.
    async fn mark_dispatched(
        &self,
        tasks: &[(Uuid, u64)],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Makes every waiting task whose message went out before `before` due again; how
    /// many there were.
    async fn redispatch(&self, before: Timestamp, now: Timestamp) -> Result<u64, StoreError>;

    /// The tasks of an owner that aren't removed, at most `limit`.
    async fn ids_by_owner(&self, owner: Uuid, limit: u32) -> Result<Vec<Uuid>, StoreError>;

    /// Forgets tasks that ended before `ended` and removed ones from before `removed`, at
    /// most `limit`; how many there were. Workers that said nothing since `removed` were
    /// killed, and are forgotten, too.
    async fn purge(
        &self,
        ended: Timestamp,
        removed: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError>;

    /// How many tasks stand where.
    async fn stats(&self, owner: Option<Uuid>, now: Timestamp) -> Result<Stats, StoreError>;

    /// How many tasks wait for what, each up to `most`. Every task that may run at `now` is
    /// due before `visibility_deadline`. Costs as much as there is to count.
    async fn backlog(
        &self,
        now: Timestamp,
        visibility_deadline: Timestamp,
        most: u32,
    ) -> Result<Backlog, StoreError>;

    /// Keeps the newest report of a worker.
    async fn report_worker(&self, worker: &Worker) -> Result<(), StoreError>;

    /// Forgets a worker.
    async fn forget_worker(&self, name: &str) -> Result<(), StoreError>;

    /// Workers that reported since `since`, by name.
    async fn workers(&self, since: Timestamp) -> Result<Vec<Worker>, StoreError>;

    /// Keeps what workers say about the kinds that they run.
    async fn announce_kinds(&self, kinds: &[Kind]) -> Result<(), StoreError>;

    /// The kinds that any worker ever announced, by name.
    async fn kinds(&self) -> Result<Vec<Kind>, StoreError>;

    /// Looks at every task, and how it keeps to the rules that the protocol promises.
    async fn check_invariants(&self, now: Timestamp) -> Result<Vec<InvariantReport>, StoreError>;

    /// Whether the store answers and takes writes.
    async fn ping(&self) -> Result<(), StoreError>;

    /// What OpenTelemetry calls such a database.
    fn system(&self) -> &'static str {
        "other_sql"
    }
}

/// The limits of [`Engine::take_due`].
#[derive(Clone, Copy, Debug)]
pub struct TakeDue {
    /// The time it is.
    pub now: Timestamp,
    /// How far ahead to take delayed tasks.
    pub lookahead: SignedDuration,
    /// How long a task that was to run at once may be due before it is taken over.
    pub overdue: SignedDuration,
    /// For how long what is taken is left to the taker.
    pub visibility_timeout: SignedDuration,
    /// How many to take at most.
    pub limit: u32,
}
