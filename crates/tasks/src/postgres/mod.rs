//! The PostgreSQL engine, for many processes.
//!
//! A batch of writes is one statement: one round trip and one commit. Every statement may be
//! sent twice, because a response can be lost; the second execution detects the first.

mod batch;
mod maintenance;
mod process_lease;
mod read;
mod restore;
mod steps;
mod timelines;
mod values;
mod workers;
mod write;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use miniapp_config::Database as Settings;
use miniapp_postgres::{Database, DatabaseError};
use miniapp_types::name::QueueName;
use miniapp_types::task::{Kind, QueueStatus, Stats};
use serde_json::value::RawValue;
use sqlx::migrate::Migrator;
use uuid::Uuid;

use crate::domain::Task;
use crate::engine::{
    Backlog, Change, Claim, DueTask, Engine, EventPage, ExpiredLease, Filter, Insert,
    InvariantReport, LeaseHolder, RenewedLease, StoreError, TakeDue, TaskGroup, TimelinePart,
    WorkerReport, WriteOutcome,
};

const GRANTS: &str = include_str!("../../migrations/grants.sql");

pub struct PostgresEngine {
    database: Database,
}

impl PostgresEngine {
    /// Creates the engine. The database may be unreachable at first; migrations run with
    /// the first use that connects.
    pub fn new(settings: &Settings) -> Result<Self, StoreError> {
        let mut migrations: Migrator = sqlx::migrate!("migrations/postgres");
        // Other crates have their own tables and migrations in the same database.
        migrations.dangerous_set_table_name("tasks_migrations");
        let database =
            Database::new(settings, Some(migrations))?.with_pool_name("tasks").with_grants(GRANTS);
        Ok(Self { database })
    }
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        if error.is_transient() {
            Self::Unavailable(error.to_string())
        } else {
            Self::Internal(error.to_string())
        }
    }
}

#[async_trait]
impl Engine for PostgresEngine {
    async fn load(&self, ids: &[Uuid]) -> Result<Vec<Task>, StoreError> {
        read::load(&self.database, ids).await
    }

    async fn write(
        &self,
        inserts: &[Insert],
        changes: &[Change],
    ) -> Result<WriteOutcome, StoreError> {
        write::write(&self.database, inserts, changes).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Task>, StoreError> {
        read::list(&self.database, filter).await
    }

    async fn timeline(&self, id: Uuid, page: u32) -> Result<Option<TimelinePart>, StoreError> {
        timelines::part(&self.database, id, page).await
    }

    async fn page_before(&self, id: Uuid, event: Uuid) -> Result<u32, StoreError> {
        timelines::page_before(&self.database, id, event).await
    }

    async fn events_after(
        &self,
        owner: Uuid,
        after: Uuid,
        limit: u32,
    ) -> Result<EventPage, StoreError> {
        timelines::events_after(&self.database, owner, after, limit).await
    }

    async fn renew(
        &self,
        claims: &[Claim],
        until: Timestamp,
    ) -> Result<Vec<RenewedLease>, StoreError> {
        write::renew(&self.database, claims, until).await
    }

    async fn expired_leases(
        &self,
        now: Timestamp,
        latest: Timestamp,
        limit: u32,
    ) -> Result<Vec<ExpiredLease>, StoreError> {
        maintenance::expired_leases(&self.database, now, latest, limit).await
    }

    async fn take_due(&self, take: &TakeDue) -> Result<Vec<DueTask>, StoreError> {
        maintenance::take_due(&self.database, take).await
    }

    async fn mark_dispatched(
        &self,
        tasks: &[(Uuid, u64)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        maintenance::mark_dispatched(&self.database, tasks, now).await
    }

    async fn dispatched_groups(&self, before: Timestamp) -> Result<Vec<TaskGroup>, StoreError> {
        maintenance::dispatched_groups(&self.database, before).await
    }

    async fn redispatch(
        &self,
        groups: Option<&[TaskGroup]>,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        maintenance::redispatch(&self.database, groups, before, now).await
    }

    async fn defer(&self, tasks: &[(Uuid, u64)], until: Timestamp) -> Result<(), StoreError> {
        maintenance::defer(&self.database, tasks, until).await
    }

    async fn unpark(
        &self,
        queues: &[QueueName],
        kinds: &[String],
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        maintenance::unpark(&self.database, queues, kinds, now, limit).await
    }

    async fn waiting_queues(&self, limit: u32) -> Result<Vec<QueueName>, StoreError> {
        maintenance::waiting_queues(&self.database, limit).await
    }

    async fn restart_waits(
        &self,
        now: Timestamp,
        by: SignedDuration,
        overdue: SignedDuration,
    ) -> Result<u64, StoreError> {
        maintenance::restart_waits(&self.database, now, by, overdue).await
    }

    async fn ids_by_owner(&self, owner: Uuid, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        maintenance::ids_by_owner(&self.database, owner, limit).await
    }

    async fn purge(
        &self,
        ended: Timestamp,
        removed: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        maintenance::purge(&self.database, ended, removed, limit).await
    }

    async fn stats(&self, owner: Option<Uuid>, now: Timestamp) -> Result<Stats, StoreError> {
        read::stats(&self.database, owner, now).await
    }

    async fn queues(
        &self,
        owner: Option<Uuid>,
        now: Timestamp,
    ) -> Result<Vec<QueueStatus>, StoreError> {
        read::queues(&self.database, owner, now).await
    }

    async fn backlog(
        &self,
        now: Timestamp,
        visibility_deadline: Timestamp,
        limit: u32,
    ) -> Result<Backlog, StoreError> {
        read::backlog(&self.database, now, visibility_deadline, limit).await
    }

    async fn report_worker(&self, report: &WorkerReport) -> Result<(), StoreError> {
        workers::report(&self.database, report).await
    }

    async fn forget_worker(&self, name: &str) -> Result<(), StoreError> {
        workers::forget(&self.database, name).await
    }

    async fn workers(&self, since: Timestamp) -> Result<Vec<WorkerReport>, StoreError> {
        workers::live(&self.database, since).await
    }

    async fn announce_kinds(&self, kinds: &[Kind]) -> Result<(), StoreError> {
        workers::announce_kinds(&self.database, kinds).await
    }

    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        workers::kinds(&self.database).await
    }

    async fn steps(
        &self,
        claim: Claim,
    ) -> Result<Option<BTreeMap<String, Box<RawValue>>>, StoreError> {
        steps::load(&self.database, claim).await
    }

    async fn remember_step(
        &self,
        claim: Claim,
        name: &str,
        result: &RawValue,
    ) -> Result<bool, StoreError> {
        steps::remember(&self.database, claim, name, result).await
    }

    async fn check_invariants(&self, now: Timestamp) -> Result<Vec<InvariantReport>, StoreError> {
        read::check_invariants(&self.database, now).await
    }

    async fn take_process_lease(
        &self,
        holder: Uuid,
        process: &str,
        ttl: Duration,
    ) -> Result<Option<LeaseHolder>, StoreError> {
        process_lease::take(&self.database, holder, process, ttl).await
    }

    async fn release_process_lease(&self, holder: Uuid) -> Result<(), StoreError> {
        process_lease::release(&self.database, holder).await
    }

    async fn owners(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        restore::owners(&self.database, after, limit).await
    }

    async fn raise_versions(&self, floor: u64, limit: u32) -> Result<u64, StoreError> {
        restore::raise_versions(&self.database, floor, limit).await
    }

    fn system(&self) -> &'static str {
        "postgresql"
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(self.database.ping().await?)
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        Ok(self.database.migrate().await?)
    }
}

#[cfg(test)]
mod tests {
    use miniapp_test_support::postgres::assert_tables_are_granted;

    use super::*;

    #[test]
    fn grants_name_every_table() {
        let migrations: Migrator = sqlx::migrate!("migrations/postgres");
        assert_tables_are_granted(&migrations, GRANTS);
    }
}
