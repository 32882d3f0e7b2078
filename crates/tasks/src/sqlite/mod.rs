//! The SQLite engine: a file in WAL mode with one writing and a few reading connections.

mod maintenance;
mod multi_row;
mod process_lock;
mod read;
mod restore;
mod steps;
mod timelines;
mod workers;
mod write;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use miniapp_sqlite::{DatabaseError, Schema, WriteLock};
use miniapp_types::name::QueueName;
use miniapp_types::task::{Kind, QueueStatus, Stats};
use serde_json::value::RawValue;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use uuid::Uuid;

pub use self::process_lock::ProcessLock;
use crate::domain::Task;
use crate::engine::{
    Backlog, Change, Claim, DueTask, Engine, EventPage, ExpiredLease, Filter, Insert,
    InvariantReport, LeaseHolder, RenewedLease, StoreError, TakeDue, TaskGroup, TimelinePart,
    WorkerReport, WriteOutcome,
};

pub struct SqliteEngine {
    writer: WriteLock,
    readers: SqlitePool,
    process_lock: ProcessLock,
}

impl SqliteEngine {
    /// Opens or creates the file of a `sqlite://PATH` URL and applies migrations. With
    /// `fsync` a commit survives a power failure, without it only a crash of the process.
    pub async fn open(url: &str, fsync: bool) -> Result<Self, StoreError> {
        let tune = |options: SqliteConnectOptions| {
            options
                .foreign_keys(true)
                .pragma("cache_size", "-8000")
                .pragma("temp_store", "memory")
                // Fewer checkpoints, because each syncs the file several times.
                .pragma("wal_autocheckpoint", "4000")
                .statement_cache_capacity(128)
        };
        let (writer, readers) = miniapp_sqlite::open(url, fsync, tune, &Self::schema()).await?;
        let options: SqliteConnectOptions = url.parse()?;
        let process_lock = ProcessLock::beside(options.get_filename());
        Ok(Self { writer, readers, process_lock })
    }

    /// Returns the tables of tasks. Other crates have theirs in the same file.
    pub fn schema() -> Schema {
        Schema::new("tasks_migrations", sqlx::migrate!("migrations/sqlite"))
    }
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(text) => Self::Unavailable(text),
            DatabaseError::Internal(text) => Self::Internal(text),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

#[async_trait]
impl Engine for SqliteEngine {
    async fn load(&self, ids: &[Uuid]) -> Result<Vec<Task>, StoreError> {
        read::load(&self.readers, ids).await
    }

    async fn write(
        &self,
        inserts: &[Insert],
        changes: &[Change],
    ) -> Result<WriteOutcome, StoreError> {
        write::write(&mut *self.writer.lock().await?, inserts, changes).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Task>, StoreError> {
        read::list(&self.readers, filter).await
    }

    async fn timeline(&self, id: Uuid, page: u32) -> Result<Option<TimelinePart>, StoreError> {
        timelines::part(&self.readers, id, page).await
    }

    async fn page_before(&self, id: Uuid, event: Uuid) -> Result<u32, StoreError> {
        timelines::page_before(&self.readers, id, event).await
    }

    async fn events_after(
        &self,
        owner: Uuid,
        after: Uuid,
        limit: u32,
    ) -> Result<EventPage, StoreError> {
        timelines::events_after(&self.readers, owner, after, limit).await
    }

    async fn renew(
        &self,
        claims: &[Claim],
        until: Timestamp,
    ) -> Result<Vec<RenewedLease>, StoreError> {
        write::renew(&mut *self.writer.lock().await?, claims, until).await
    }

    async fn expired_leases(
        &self,
        now: Timestamp,
        latest: Timestamp,
        limit: u32,
    ) -> Result<Vec<ExpiredLease>, StoreError> {
        maintenance::expired_leases(&self.readers, now, latest, limit).await
    }

    async fn take_due(&self, take: &TakeDue) -> Result<Vec<DueTask>, StoreError> {
        if !maintenance::any_due(&self.readers, take).await? {
            return Ok(Vec::new());
        }
        maintenance::take_due(&mut *self.writer.lock().await?, take).await
    }

    async fn mark_dispatched(
        &self,
        tasks: &[(Uuid, u64)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // Most tasks have been claimed in the meantime; only the others need the writer.
        let waiting = maintenance::still_due(&self.readers, tasks).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        maintenance::mark_dispatched(&mut *self.writer.lock().await?, &waiting, now).await
    }

    async fn dispatched_groups(&self, before: Timestamp) -> Result<Vec<TaskGroup>, StoreError> {
        maintenance::dispatched_groups(&self.readers, before).await
    }

    async fn redispatch(
        &self,
        groups: Option<&[TaskGroup]>,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        maintenance::redispatch(&mut *self.writer.lock().await?, groups, before, now).await
    }

    async fn defer(&self, tasks: &[(Uuid, u64)], until: Timestamp) -> Result<(), StoreError> {
        maintenance::defer(&mut *self.writer.lock().await?, tasks, until).await
    }

    async fn unpark(
        &self,
        queues: &[QueueName],
        kinds: &[String],
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        if !maintenance::any_parked(&self.readers, queues, kinds).await? {
            return Ok(0);
        }
        let mut writer = self.writer.lock().await?;
        maintenance::unpark(&mut writer, queues, kinds, now, limit).await
    }

    async fn waiting_queues(&self, limit: u32) -> Result<Vec<QueueName>, StoreError> {
        maintenance::waiting_queues(&self.readers, limit).await
    }

    async fn restart_waits(
        &self,
        now: Timestamp,
        by: SignedDuration,
        overdue: SignedDuration,
    ) -> Result<u64, StoreError> {
        let mut writer = self.writer.lock().await?;
        maintenance::restart_waits(&mut writer, now, by, overdue).await
    }

    async fn ids_by_owner(&self, owner: Uuid, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        maintenance::ids_by_owner(&self.readers, owner, limit).await
    }

    async fn purge(
        &self,
        ended: Timestamp,
        removed: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        // The search takes longer with more tasks, so it does not hold the writer.
        let old = maintenance::old(&self.readers, ended, removed, limit).await?;
        if old.is_empty() && !maintenance::any_silent(&self.readers, removed).await? {
            return Ok(0);
        }
        maintenance::purge(&mut *self.writer.lock().await?, &old, ended, removed).await
    }

    async fn stats(&self, owner: Option<Uuid>, now: Timestamp) -> Result<Stats, StoreError> {
        read::stats(&self.readers, owner, now).await
    }

    async fn queues(
        &self,
        owner: Option<Uuid>,
        now: Timestamp,
    ) -> Result<Vec<QueueStatus>, StoreError> {
        read::queues(&self.readers, owner, now).await
    }

    async fn backlog(
        &self,
        now: Timestamp,
        visibility_deadline: Timestamp,
        limit: u32,
    ) -> Result<Backlog, StoreError> {
        read::backlog(&self.readers, now, visibility_deadline, limit).await
    }

    async fn report_worker(&self, report: &WorkerReport) -> Result<(), StoreError> {
        workers::report(&mut *self.writer.lock().await?, report).await
    }

    async fn forget_worker(&self, name: &str) -> Result<(), StoreError> {
        workers::forget(&mut *self.writer.lock().await?, name).await
    }

    async fn workers(&self, since: Timestamp) -> Result<Vec<WorkerReport>, StoreError> {
        workers::live(&self.readers, since).await
    }

    async fn announce_kinds(&self, kinds: &[Kind]) -> Result<(), StoreError> {
        workers::announce_kinds(&mut *self.writer.lock().await?, kinds).await
    }

    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        workers::kinds(&self.readers).await
    }

    async fn steps(
        &self,
        claim: Claim,
    ) -> Result<Option<BTreeMap<String, Box<RawValue>>>, StoreError> {
        steps::load(&self.readers, claim).await
    }

    async fn remember_step(
        &self,
        claim: Claim,
        name: &str,
        result: &RawValue,
    ) -> Result<bool, StoreError> {
        steps::remember(&mut *self.writer.lock().await?, claim, name, result).await
    }

    async fn check_invariants(&self, now: Timestamp) -> Result<Vec<InvariantReport>, StoreError> {
        read::check_invariants(&self.readers, now).await
    }

    async fn owners(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        restore::owners(&self.readers, after, limit).await
    }

    async fn raise_versions(&self, floor: u64, limit: u32) -> Result<u64, StoreError> {
        restore::raise_versions(&mut *self.writer.lock().await?, floor, limit).await
    }

    async fn close(&self) -> Result<(), StoreError> {
        // The last connection has to be one that can write: it removes the write-ahead log.
        self.readers.close().await;
        Ok(self.writer.close().await?)
    }

    fn system(&self) -> &'static str {
        "sqlite"
    }

    async fn take_process_lease(
        &self,
        _holder: Uuid,
        process: &str,
        _ttl: Duration,
    ) -> Result<Option<LeaseHolder>, StoreError> {
        let taken = self.process_lock.take(process);
        taken.map_err(|error| StoreError::Unavailable(format!("can't lock the file: {error}")))
    }

    async fn release_process_lease(&self, _holder: Uuid) -> Result<(), StoreError> {
        self.process_lock.release();
        Ok(())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        maintenance::ping(&self.readers).await
    }
}
