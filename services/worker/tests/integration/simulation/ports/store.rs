//! The simulated store of a process.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use miniapp_tasks::engine::{
    Backlog, Change, DueTask, ExpiredLease, Insert, InvariantReport, TakeDue, TaskGroup,
    WorkerReport, WriteOutcome,
};
use miniapp_tasks::{
    Claim, Engine, EventPage, Filter, RenewedLease, StoreError, Task, TimelinePart,
};
use miniapp_test_support::Row;
use miniapp_types::name::QueueName;
use miniapp_types::task::{Kind, QueueStatus, Stats};
use serde_json::value::RawValue;
use tokio::time::Instant;
use uuid::Uuid;

use crate::simulation::invariants::check_write;
use crate::simulation::process::ProcessHandle;
use crate::simulation::world::World;

/// The store port of a process.
pub struct StorePort(pub Arc<ProcessHandle>);

impl StorePort {
    /// Calls the store. Faults may occur before and after the call.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let world = &self.0.world;
        world.step();
        self.0.step().await;
        if world.fault(10) || *world.store_away_until.lock() > Instant::now() {
            return Err(away());
        }
        let answer = call.await;
        self.0.step().await;
        if world.fault(10) { Err(away()) } else { answer }
    }

    /// Writes changes, and checks the invariants of the changed tasks.
    async fn change<T>(
        &self,
        ids: Vec<Uuid>,
        change: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let world = &self.0.world;
        self.call(async {
            let before: Vec<_> = ids.iter().map(|id| world.store.row(*id)).collect();
            let answer = change.await;
            for (id, before) in ids.iter().zip(before) {
                let Some(after) = world.store.row(*id) else { continue };
                let old = before.as_ref().map(|row| row.task.state.version);
                if old == Some(after.task.state.version) {
                    continue;
                }
                world.note(|| describe_write(world, &self.0.name, &after));
                if let Some(event) = after.events.last().filter(|_| is_new(before.as_ref(), &after))
                {
                    world.happened(event.kind);
                }
                if let Err(broken) = check_write(before.as_ref(), &after) {
                    world.violation(broken);
                }
            }
            answer
        })
        .await
    }
}

fn is_new(before: Option<&Row>, after: &Row) -> bool {
    before.is_none_or(|before| before.events.len() < after.events.len())
}

fn describe_write(world: &World, who: &str, row: &Row) -> String {
    let state = &row.task.state;
    let event = row.events.last().map_or("nothing", |event| event.kind.into());
    let name = world.name(row.task.id);
    let (version, claim) = (state.version, state.claim);
    format!("{who}: {name} v{version} claim {claim} {:?} after {event}", state.status)
}

fn away() -> StoreError {
    StoreError::Unavailable("no answer".into())
}

#[async_trait]
impl Engine for StorePort {
    async fn load(&self, ids: &[Uuid]) -> Result<Vec<Task>, StoreError> {
        self.call(self.0.world.store.load(ids)).await
    }

    async fn write(
        &self,
        inserts: &[Insert],
        changes: &[Change],
    ) -> Result<WriteOutcome, StoreError> {
        let inserted = inserts.iter().map(|insert| insert.task.id);
        let ids = inserted.chain(changes.iter().map(|change| change.task.id)).collect();
        self.change(ids, self.0.world.store.write(inserts, changes)).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Task>, StoreError> {
        self.call(self.0.world.store.list(filter)).await
    }

    async fn timeline(&self, id: Uuid, page: u32) -> Result<Option<TimelinePart>, StoreError> {
        self.call(self.0.world.store.timeline(id, page)).await
    }

    async fn page_before(&self, id: Uuid, event: Uuid) -> Result<u32, StoreError> {
        self.call(self.0.world.store.page_before(id, event)).await
    }

    async fn events_after(
        &self,
        owner: Uuid,
        after: Uuid,
        limit: u32,
    ) -> Result<EventPage, StoreError> {
        self.call(self.0.world.store.events_after(owner, after, limit)).await
    }

    async fn renew(
        &self,
        claims: &[Claim],
        until: Timestamp,
    ) -> Result<Vec<RenewedLease>, StoreError> {
        let ids = claims.iter().map(|claim| claim.task_id).collect();
        self.change(ids, self.0.world.store.renew(claims, until)).await
    }

    async fn expired_leases(
        &self,
        now: Timestamp,
        latest: Timestamp,
        limit: u32,
    ) -> Result<Vec<ExpiredLease>, StoreError> {
        self.call(self.0.world.store.expired_leases(now, latest, limit)).await
    }

    async fn take_due(&self, take: &TakeDue) -> Result<Vec<DueTask>, StoreError> {
        self.call(self.0.world.store.take_due(take)).await
    }

    async fn mark_dispatched(
        &self,
        tasks: &[(Uuid, u64)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.call(self.0.world.store.mark_dispatched(tasks, now)).await
    }

    async fn dispatched_groups(&self, before: Timestamp) -> Result<Vec<TaskGroup>, StoreError> {
        self.call(self.0.world.store.dispatched_groups(before)).await
    }

    async fn redispatch(
        &self,
        groups: Option<&[TaskGroup]>,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.call(self.0.world.store.redispatch(groups, before, now)).await
    }

    async fn defer(&self, tasks: &[(Uuid, u64)], until: Timestamp) -> Result<(), StoreError> {
        self.call(self.0.world.store.defer(tasks, until)).await
    }

    async fn unpark(
        &self,
        queues: &[QueueName],
        kinds: &[String],
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.call(self.0.world.store.unpark(queues, kinds, now, limit)).await
    }

    async fn waiting_queues(&self, limit: u32) -> Result<Vec<QueueName>, StoreError> {
        self.call(self.0.world.store.waiting_queues(limit)).await
    }

    async fn restart_waits(
        &self,
        now: Timestamp,
        by: SignedDuration,
        overdue: SignedDuration,
    ) -> Result<u64, StoreError> {
        self.call(self.0.world.store.restart_waits(now, by, overdue)).await
    }

    async fn ids_by_owner(&self, owner: Uuid, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        self.call(self.0.world.store.ids_by_owner(owner, limit)).await
    }

    async fn purge(
        &self,
        ended: Timestamp,
        removed: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.call(self.0.world.store.purge(ended, removed, limit)).await
    }

    async fn stats(&self, owner: Option<Uuid>, now: Timestamp) -> Result<Stats, StoreError> {
        self.call(self.0.world.store.stats(owner, now)).await
    }

    async fn queues(
        &self,
        owner: Option<Uuid>,
        now: Timestamp,
    ) -> Result<Vec<QueueStatus>, StoreError> {
        self.call(self.0.world.store.queues(owner, now)).await
    }

    async fn backlog(
        &self,
        now: Timestamp,
        visibility_deadline: Timestamp,
        most: u32,
    ) -> Result<Backlog, StoreError> {
        self.call(self.0.world.store.backlog(now, visibility_deadline, most)).await
    }

    async fn report_worker(&self, report: &WorkerReport) -> Result<(), StoreError> {
        self.call(self.0.world.store.report_worker(report)).await
    }

    async fn forget_worker(&self, name: &str) -> Result<(), StoreError> {
        self.call(self.0.world.store.forget_worker(name)).await
    }

    async fn workers(&self, since: Timestamp) -> Result<Vec<WorkerReport>, StoreError> {
        self.call(self.0.world.store.workers(since)).await
    }

    async fn announce_kinds(&self, kinds: &[Kind]) -> Result<(), StoreError> {
        self.call(self.0.world.store.announce_kinds(kinds)).await
    }

    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        self.call(self.0.world.store.kinds()).await
    }

    async fn steps(
        &self,
        claim: Claim,
    ) -> Result<Option<BTreeMap<String, Box<RawValue>>>, StoreError> {
        self.call(self.0.world.store.steps(claim)).await
    }

    async fn remember_step(
        &self,
        claim: Claim,
        name: &str,
        result: &RawValue,
    ) -> Result<bool, StoreError> {
        self.call(self.0.world.store.remember_step(claim, name, result)).await
    }

    async fn check_invariants(&self, now: Timestamp) -> Result<Vec<InvariantReport>, StoreError> {
        self.call(self.0.world.store.check_invariants(now)).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.call(self.0.world.store.ping()).await
    }

    async fn owners(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        self.call(self.0.world.store.owners(after, limit)).await
    }

    async fn raise_versions(&self, floor: u64, limit: u32) -> Result<u64, StoreError> {
        self.call(self.0.world.store.raise_versions(floor, limit)).await
    }
}
