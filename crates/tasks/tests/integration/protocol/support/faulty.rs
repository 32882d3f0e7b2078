//! A store with injected failures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use miniapp_tasks::engine::{
    Backlog, Change, DueTask, ExpiredLease, Insert, InvariantReport, TakeDue, TaskGroup,
    WorkerReport, WriteOutcome,
};
use miniapp_tasks::{
    Claim, Engine, EventPage, Filter, RenewedLease, StoreError, Task, TimelinePart,
};
use miniapp_types::name::QueueName;
use miniapp_types::task::{Kind, QueueStatus, Stats};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use uuid::Uuid;

/// When a write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Before the commit.
    Before,
    /// After the commit: the response is lost.
    After,
}

type Plan = Box<dyn FnMut() -> Option<Fault> + Send>;

/// An engine with injected failures.
pub struct Faulty {
    inner: Arc<dyn Engine>,
    plan: Mutex<Plan>,
    is_away: AtomicBool,
    is_broken: AtomicBool,
    refused: AtomicUsize,
}

impl Faulty {
    pub fn new(inner: Arc<dyn Engine>) -> Arc<Self> {
        let plan: Plan = Box::new(|| None);
        Arc::new(Self {
            inner,
            plan: Mutex::new(plan),
            is_away: AtomicBool::new(false),
            is_broken: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
        })
    }

    /// Fails the next write only.
    pub fn fail_once(&self, fault: Fault) {
        let mut fault = Some(fault);
        self.plan(move || fault.take());
    }

    /// Calls `plan` for each write.
    pub fn plan(&self, plan: impl FnMut() -> Option<Fault> + Send + 'static) {
        *self.plan.lock() = Box::new(plan);
    }

    /// Makes the store unavailable or available.
    pub fn is_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::SeqCst);
    }

    /// Makes every call panic.
    pub fn breaks(&self) {
        self.is_broken.store(true, Ordering::SeqCst);
    }

    /// Returns the number of calls while it was unavailable.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    fn inner(&self) -> Result<&dyn Engine, StoreError> {
        assert!(!self.is_broken.load(Ordering::SeqCst), "broken on purpose");
        if self.is_away.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(away());
        }
        Ok(&*self.inner)
    }
}

fn away() -> StoreError {
    StoreError::Unavailable("on purpose".into())
}

#[async_trait]
impl Engine for Faulty {
    async fn load(&self, ids: &[Uuid]) -> Result<Vec<Task>, StoreError> {
        self.inner()?.load(ids).await
    }

    async fn write(
        &self,
        inserts: &[Insert],
        changes: &[Change],
    ) -> Result<WriteOutcome, StoreError> {
        let fault = (self.plan.lock())();
        if fault == Some(Fault::Before) {
            return Err(away());
        }
        let written = self.inner()?.write(inserts, changes).await?;
        if fault == Some(Fault::After) { Err(away()) } else { Ok(written) }
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Task>, StoreError> {
        self.inner()?.list(filter).await
    }

    async fn timeline(&self, id: Uuid, page: u32) -> Result<Option<TimelinePart>, StoreError> {
        self.inner()?.timeline(id, page).await
    }

    async fn page_before(&self, id: Uuid, event: Uuid) -> Result<u32, StoreError> {
        self.inner()?.page_before(id, event).await
    }

    async fn events_after(
        &self,
        owner: Uuid,
        after: Uuid,
        limit: u32,
    ) -> Result<EventPage, StoreError> {
        self.inner()?.events_after(owner, after, limit).await
    }

    async fn renew(
        &self,
        claims: &[Claim],
        until: Timestamp,
    ) -> Result<Vec<RenewedLease>, StoreError> {
        self.inner()?.renew(claims, until).await
    }

    async fn expired_leases(
        &self,
        now: Timestamp,
        latest: Timestamp,
        limit: u32,
    ) -> Result<Vec<ExpiredLease>, StoreError> {
        self.inner()?.expired_leases(now, latest, limit).await
    }

    async fn take_due(&self, take: &TakeDue) -> Result<Vec<DueTask>, StoreError> {
        self.inner()?.take_due(take).await
    }

    async fn mark_dispatched(
        &self,
        tasks: &[(Uuid, u64)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.inner()?.mark_dispatched(tasks, now).await
    }

    async fn dispatched_groups(&self, before: Timestamp) -> Result<Vec<TaskGroup>, StoreError> {
        self.inner()?.dispatched_groups(before).await
    }

    async fn redispatch(
        &self,
        groups: Option<&[TaskGroup]>,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.inner()?.redispatch(groups, before, now).await
    }

    async fn defer(&self, tasks: &[(Uuid, u64)], until: Timestamp) -> Result<(), StoreError> {
        self.inner()?.defer(tasks, until).await
    }

    async fn unpark(
        &self,
        queues: &[QueueName],
        kinds: &[String],
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.inner()?.unpark(queues, kinds, now, limit).await
    }

    async fn waiting_queues(&self, limit: u32) -> Result<Vec<QueueName>, StoreError> {
        self.inner()?.waiting_queues(limit).await
    }

    async fn restart_waits(
        &self,
        now: Timestamp,
        by: SignedDuration,
        overdue: SignedDuration,
    ) -> Result<u64, StoreError> {
        self.inner()?.restart_waits(now, by, overdue).await
    }

    async fn ids_by_owner(&self, owner: Uuid, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        self.inner()?.ids_by_owner(owner, limit).await
    }

    async fn purge(
        &self,
        ended: Timestamp,
        removed: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        self.inner()?.purge(ended, removed, limit).await
    }

    async fn stats(&self, owner: Option<Uuid>, now: Timestamp) -> Result<Stats, StoreError> {
        self.inner()?.stats(owner, now).await
    }

    async fn queues(
        &self,
        owner: Option<Uuid>,
        now: Timestamp,
    ) -> Result<Vec<QueueStatus>, StoreError> {
        self.inner()?.queues(owner, now).await
    }

    async fn backlog(
        &self,
        now: Timestamp,
        visibility_deadline: Timestamp,
        most: u32,
    ) -> Result<Backlog, StoreError> {
        self.inner()?.backlog(now, visibility_deadline, most).await
    }

    async fn report_worker(&self, report: &WorkerReport) -> Result<(), StoreError> {
        self.inner()?.report_worker(report).await
    }

    async fn forget_worker(&self, name: &str) -> Result<(), StoreError> {
        self.inner()?.forget_worker(name).await
    }

    async fn workers(&self, since: Timestamp) -> Result<Vec<WorkerReport>, StoreError> {
        self.inner()?.workers(since).await
    }

    async fn announce_kinds(&self, kinds: &[Kind]) -> Result<(), StoreError> {
        self.inner()?.announce_kinds(kinds).await
    }

    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        self.inner()?.kinds().await
    }

    async fn steps(
        &self,
        claim: Claim,
    ) -> Result<Option<BTreeMap<String, Box<RawValue>>>, StoreError> {
        self.inner()?.steps(claim).await
    }

    async fn remember_step(
        &self,
        claim: Claim,
        name: &str,
        result: &RawValue,
    ) -> Result<bool, StoreError> {
        self.inner()?.remember_step(claim, name, result).await
    }

    async fn check_invariants(&self, now: Timestamp) -> Result<Vec<InvariantReport>, StoreError> {
        self.inner()?.check_invariants(now).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner()?.ping().await
    }

    async fn owners(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        self.inner()?.owners(after, limit).await
    }

    async fn raise_versions(&self, floor: u64, limit: u32) -> Result<u64, StoreError> {
        self.inner()?.raise_versions(floor, limit).await
    }
}
