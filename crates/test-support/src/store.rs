//! A task store in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use miniapp_tasks::domain::Task;
use miniapp_tasks::engine::{
    Backlog, Change, DueTask, ExpiredLease, Insert, InsertOutcome, InvariantReport,
    MAX_WRITE_DELAY, PARKED, TakeDue, TakenQueues, TaskGroup, WorkerReport, WriteOutcome,
};
use miniapp_tasks::{Claim, Engine, EventPage, Filter, RenewedLease, StoreError, TimelinePart};
use miniapp_types::name::QueueName;
use miniapp_types::task::{ByStatus, Event, Kind, QueueStatus, Stats, Status};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use uuid::Uuid;

/// Number of events of a part of a timeline.
const PAGE_SIZE: usize = 30;
/// Number of events that [`Engine::events_after`] returns at most.
const MAX_EVENTS: u32 = 300;

/// A deterministic engine without disk, threads or a clock, for simulations. Clones share
/// their content.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Tables>>);

#[derive(Default)]
struct Tables {
    rows: BTreeMap<Uuid, Row>,
    /// By owner and idempotency key: the task and the body digest.
    keys: HashMap<(Uuid, String), (Uuid, [u8; 32])>,
    workers: BTreeMap<String, WorkerReport>,
    kinds: BTreeMap<String, Kind>,
    /// By task and generation.
    steps: BTreeMap<(Uuid, u32), BTreeMap<String, Box<RawValue>>>,
}

/// A stored task with its timeline and outbox columns.
#[derive(Clone, Debug)]
pub struct Row {
    pub task: Task,
    /// The timeline, oldest first.
    pub events: Vec<Event>,
    /// Number of renewals and deferrals, which have no events.
    pub renewals: u64,
    /// When a message is due.
    pub due_at: Option<Timestamp>,
    /// When the message was confirmed.
    pub dispatched_at: Option<Timestamp>,
}

impl MemoryStore {
    /// Returns a task's row.
    pub fn row(&self, id: Uuid) -> Option<Row> {
        self.0.lock().rows.get(&id).cloned()
    }

    /// Returns all rows, ordered by id.
    pub fn rows(&self) -> Vec<Row> {
        self.0.lock().rows.values().cloned().collect()
    }
}

impl Tables {
    /// Returns the generation of a task whose claim is held.
    fn held(&self, claim: Claim) -> Option<u32> {
        let state = &self.rows.get(&claim.task_id)?.task.state;
        let is_held = state.status == Status::Executing && state.claim == claim.token;
        is_held.then_some(state.generation)
    }

    fn insert(&mut self, insert: &Insert) -> InsertOutcome {
        if let Some(key) = &insert.key {
            let owner_key = (insert.task.owner, key.key.clone());
            if let Some((id, digest)) = self.keys.get(&owner_key) {
                let task = Box::new(self.rows[id].task.clone());
                return InsertOutcome::DuplicateKey { task, digest: *digest };
            }
            self.keys.insert(owner_key, (insert.task.id, key.digest));
        }
        let row = Row {
            task: insert.task.clone(),
            events: vec![insert.event.clone()],
            renewals: 0,
            due_at: insert.task.state.ready_at,
            dispatched_at: None,
        };
        self.rows.insert(insert.task.id, row);
        InsertOutcome::New
    }

    fn change(&mut self, change: &Change) -> bool {
        let Some(row) = self.rows.get_mut(&change.task.id) else { return false };
        if row.task.state.version != change.from_version {
            return false;
        }
        row.task.state = change.task.state.clone();
        row.events.extend(change.events.iter().cloned());
        row.due_at = row.task.state.ready_at;
        row.dispatched_at = None;
        if row.task.state.deleted {
            self.keys.retain(|_, (id, _)| *id != change.task.id);
        }
        true
    }

    fn backlog(&self, now: Timestamp, most: u32) -> Backlog {
        let mut counted = Backlog::default();
        for row in self.rows.values() {
            let ready_at = row.task.state.ready_at;
            match (ready_at, row.due_at) {
                (Some(ready_at), Some(_)) if ready_at > now => counted.delayed += 1,
                (Some(_), Some(_)) => {
                    counted.outbox += 1;
                    counted.outbox_since = earlier(counted.outbox_since, ready_at);
                }
                (Some(_), None) => {
                    counted.queued += 1;
                    counted.queued_since = earlier(counted.queued_since, row.dispatched_at);
                }
                (None, _) => counted.running += u64::from(row.task.state.lease_until.is_some()),
            }
        }
        let parts = [&mut counted.delayed, &mut counted.outbox, &mut counted.queued];
        for count in parts.into_iter().chain([&mut counted.running]) {
            *count = (*count).min(most.into());
        }
        counted
    }

    fn count(&self, owner: Option<Uuid>, now: Timestamp) -> Stats {
        let matches = |row: &&Row| owner.is_none_or(|owner| row.task.owner == owner);
        let mut counted = Stats {
            by_status: ByStatus::default(),
            queue_depth: 0,
            oldest_wait_seconds: 0.0,
            finished_per_minute: 0,
        };
        for Row { task, .. } in self.rows.values().filter(matches) {
            let state = &task.state;
            if state.deleted {
                continue;
            }
            *match state.status {
                Status::Awaiting => &mut counted.by_status.awaiting,
                Status::Executing => &mut counted.by_status.executing,
                Status::Finished => &mut counted.by_status.finished,
                Status::Canceled => &mut counted.by_status.canceled,
                Status::Failed => &mut counted.by_status.failed,
            } += 1;
            if let Some(ready_at) = state.ready_at.filter(|at| *at <= now) {
                let waited = now.duration_since(ready_at).as_secs_f64();
                counted.queue_depth += 1;
                counted.oldest_wait_seconds = counted.oldest_wait_seconds.max(waited);
            }
            let minute_ago = before(now, SignedDuration::from_mins(1));
            let is_of_late = state.finished_at.is_some_and(|at| at >= minute_ago);
            counted.finished_per_minute +=
                u64::from(state.status == Status::Finished && is_of_late);
        }
        counted
    }
}

fn before(now: Timestamp, ago: SignedDuration) -> Timestamp {
    now.saturating_sub(ago).unwrap_or(Timestamp::MIN)
}

fn group(task: &Task) -> TaskGroup {
    TaskGroup { queue: task.spec.queue, kind: task.spec.kind.clone() }
}

/// Returns the earlier of two optional times.
fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

fn truncated<T>(mut all: Vec<T>, limit: u32) -> Vec<T> {
    all.truncate(limit as usize);
    all
}

#[async_trait]
impl Engine for MemoryStore {
    async fn load(&self, ids: &[Uuid]) -> Result<Vec<Task>, StoreError> {
        let tables = self.0.lock();
        Ok(ids.iter().filter_map(|id| tables.rows.get(id)).map(|row| row.task.clone()).collect())
    }

    async fn write(
        &self,
        inserts: &[Insert],
        changes: &[Change],
    ) -> Result<WriteOutcome, StoreError> {
        let mut tables = self.0.lock();
        // A violated constraint rolls back the whole batch.
        if inserts.iter().any(|insert| tables.rows.contains_key(&insert.task.id)) {
            return Err(StoreError::Internal("duplicate task id".into()));
        }
        let inserts = inserts.iter().map(|insert| tables.insert(insert)).collect();
        let changes = changes.iter().map(|change| tables.change(change)).collect();
        Ok(WriteOutcome { inserts, changes })
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Task>, StoreError> {
        let Filter { owner, id, status, kind, before, limit, max_bytes } = filter;
        let matches = |task: &&Task| {
            !task.state.deleted
                && owner.is_none_or(|owner| task.owner == owner)
                && id.is_none_or(|id| task.id == id)
                && status.is_none_or(|status| task.state.status == status)
                && kind.as_ref().is_none_or(|kind| task.spec.kind == *kind)
                && before.is_none_or(|before| task.id < before)
        };
        let tables = self.0.lock();
        let newest_first = tables.rows.values().rev().map(|row| &row.task);
        let mut bytes = 0;
        let has_room = |task: &&Task| {
            let has_room = max_bytes.is_none_or(|max| bytes < max as usize);
            let result = task.state.result.as_deref().map_or(0, |result| result.get().len());
            bytes += task.spec.data.get().len() + result;
            has_room
        };
        let listed = newest_first.filter(matches).take(*limit as usize);
        Ok(listed.take_while(has_room).cloned().collect())
    }

    async fn timeline(&self, id: Uuid, page: u32) -> Result<Option<TimelinePart>, StoreError> {
        Ok(self.0.lock().rows.get(&id).map(|row| {
            let mut parts = row.events.chunks(PAGE_SIZE).skip(page as usize);
            let events = parts.next().unwrap_or_default().to_vec();
            TimelinePart {
                owner: row.task.owner,
                events,
                next_page: parts.next().map(|_| page + 1),
                status: row.task.state.status,
                deleted: row.task.state.deleted,
            }
        }))
    }

    async fn page_before(&self, id: Uuid, event: Uuid) -> Result<u32, StoreError> {
        let tables = self.0.lock();
        let events = tables.rows.get(&id).map_or(&[][..], |row| &row.events);
        let place = events.iter().position(|stored| stored.id >= event).unwrap_or(events.len());
        Ok(u32::try_from(place / PAGE_SIZE).unwrap_or(0))
    }

    async fn events_after(
        &self,
        owner: Uuid,
        after: Uuid,
        limit: u32,
    ) -> Result<EventPage, StoreError> {
        let tables = self.0.lock();
        let rows = tables.rows.values().filter(|row| row.task.owner == owner);
        let events = rows.flat_map(|row| &row.events).filter(|event| event.id > after);
        let mut events: Vec<Event> = events.cloned().collect();
        events.sort_by_key(|event| event.id);
        let limit = limit.min(MAX_EVENTS);
        let is_complete = events.len() <= limit as usize;
        Ok(EventPage { events: truncated(events, limit), is_complete })
    }

    async fn renew(
        &self,
        claims: &[Claim],
        until: Timestamp,
    ) -> Result<Vec<RenewedLease>, StoreError> {
        let mut tables = self.0.lock();
        let mut renewed = Vec::new();
        for &claim in claims {
            let Some(row) = tables.rows.get_mut(&claim.task_id) else { continue };
            let state = &mut row.task.state;
            if state.status == Status::Executing && state.claim == claim.token {
                state.lease_until = Some(until);
                state.version += 1;
                row.renewals += 1;
                renewed.push(RenewedLease { claim, cancel_requested: state.cancel_requested });
            }
        }
        Ok(renewed)
    }

    async fn expired_leases(
        &self,
        now: Timestamp,
        latest: Timestamp,
        limit: u32,
    ) -> Result<Vec<ExpiredLease>, StoreError> {
        let tables = self.0.lock();
        let lease = |row: &Row| {
            let Task { id: task_id, state, .. } = &row.task;
            let until = state.lease_until?;
            Some(ExpiredLease { task_id: *task_id, version: state.version, until })
        };
        let mut leases: Vec<ExpiredLease> = tables.rows.values().filter_map(lease).collect();
        leases.sort_by_key(|lease| (lease.until, lease.task_id));
        let (mut expired, mut ahead) = (leases.clone(), leases);
        expired.retain(|lease| lease.until <= now);
        ahead.retain(|lease| lease.until > latest);
        expired = truncated(expired, limit);
        expired.extend(truncated(ahead, limit));
        Ok(expired)
    }

    async fn take_due(&self, take: &TakeDue) -> Result<Vec<DueTask>, StoreError> {
        let TakeDue { queues, now, lookahead, overdue, visibility_timeout, limit } = take;
        let (now, lookahead, overdue) = (*now, *lookahead, *overdue);
        let near = now.saturating_add(lookahead).unwrap_or(Timestamp::MAX);
        let overdue_since = before(now, overdue);
        let held = now.saturating_add(lookahead + *visibility_timeout).unwrap_or(Timestamp::MAX);
        let mut tables = self.0.lock();
        let mut due: Vec<(Timestamp, Uuid)> = Vec::new();
        for (id, row) in &tables.rows {
            let is_delayed = row.task.state.run_at > Some(row.task.spec.created_at);
            let is_due = |at: &Timestamp| *at <= near && (is_delayed || *at <= overdue_since);
            let queue = &row.task.spec.queue;
            let is_taken = match queues {
                TakenQueues::Default => queue.is_default(),
                TakenQueues::OthersExcept(full) => !queue.is_default() && !full.contains(queue),
            };
            due.extend(row.due_at.filter(|at| is_taken && is_due(at)).map(|at| (at, *id)));
        }
        due.sort();
        let taken = truncated(due, *limit).into_iter().filter_map(|(_, id)| {
            let row = tables.rows.get_mut(&id)?;
            row.due_at = Some(held);
            let Task { state, spec, .. } = &row.task;
            Some(DueTask {
                id,
                generation: state.generation,
                version: state.version,
                kind: spec.kind.clone(),
                queue: spec.queue,
                at: state.ready_at?,
                since: state.changed_at,
                attempt: state.attempt,
                trace: spec.trace.clone(),
            })
        });
        Ok(taken.collect())
    }

    async fn mark_dispatched(
        &self,
        tasks: &[(Uuid, u64)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tables = self.0.lock();
        for (id, version) in tasks {
            if let Some(row) = tables.rows.get_mut(id)
                && row.task.state.version == *version
                && row.due_at.take().is_some()
            {
                row.dispatched_at = Some(now);
            }
        }
        Ok(())
    }

    async fn dispatched_groups(&self, before: Timestamp) -> Result<Vec<TaskGroup>, StoreError> {
        let tables = self.0.lock();
        let is_waiting = |row: &&Row| row.due_at.is_none() && row.task.state.ready_at.is_some();
        let rows = tables.rows.values().filter(is_waiting);
        let rows = rows.filter(|row| row.dispatched_at.is_some_and(|at| at <= before));
        let groups: BTreeSet<TaskGroup> = rows.map(|row| group(&row.task)).collect();
        Ok(groups.into_iter().collect())
    }

    async fn defer(&self, tasks: &[(Uuid, u64)], until: Timestamp) -> Result<(), StoreError> {
        let mut tables = self.0.lock();
        for (id, version) in tasks {
            if let Some(row) = tables.rows.get_mut(id)
                && row.task.state.version == *version
                && row.task.state.ready_at.is_some()
            {
                row.due_at = Some(until);
                row.dispatched_at = None;
                row.task.state.version += 1;
                row.renewals += 1;
            }
        }
        Ok(())
    }

    async fn unpark(
        &self,
        queues: &[QueueName],
        kinds: &[String],
        now: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let overdue = before(now, SignedDuration::from_mins(1));
        let mut count = 0;
        for row in self.0.lock().rows.values_mut() {
            let spec = &row.task.spec;
            let is_able =
                kinds.contains(&spec.kind) && (queues.is_empty() || queues.contains(&spec.queue));
            if let Some(ready_at) = row.task.state.ready_at
                && row.due_at == Some(PARKED)
                && is_able
                && count < u64::from(limit)
            {
                row.due_at = Some(ready_at.min(overdue));
                count += 1;
            }
        }
        Ok(count)
    }

    async fn waiting_queues(&self, limit: u32) -> Result<Vec<QueueName>, StoreError> {
        let mut since: BTreeMap<QueueName, Timestamp> = BTreeMap::new();
        for Row { task, .. } in self.0.lock().rows.values() {
            if let Some(at) = task.state.ready_at
                && !task.spec.queue.is_default()
            {
                let oldest = since.entry(task.spec.queue).or_insert(at);
                *oldest = at.min(*oldest);
            }
        }
        let mut queues: Vec<QueueName> = since.keys().copied().collect();
        queues.sort_by_key(|queue| since[queue]);
        Ok(truncated(queues, limit))
    }

    async fn redispatch(
        &self,
        groups: Option<&[TaskGroup]>,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let overdue = self::before(now, SignedDuration::from_mins(1));
        let mut again = 0;
        for row in self.0.lock().rows.values_mut() {
            if let Some(ready_at) = row.task.state.ready_at
                && row.due_at.is_none()
                && row.dispatched_at.is_some_and(|at| at <= before)
                && groups.is_none_or(|groups| groups.contains(&group(&row.task)))
            {
                row.due_at = Some(ready_at.min(overdue));
                row.dispatched_at = None;
                again += 1;
            }
        }
        Ok(again)
    }

    async fn restart_waits(
        &self,
        now: Timestamp,
        by: SignedDuration,
        overdue: SignedDuration,
    ) -> Result<u64, StoreError> {
        let future = now.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
        let mut restarted = 0;
        for row in self.0.lock().rows.values_mut() {
            let Task { state, spec, .. } = &mut row.task;
            let Some(ready_at) = state.ready_at else { continue };
            let is_chosen =
                state.attempt == 0 && state.run_at == Some(ready_at) && ready_at > spec.created_at;
            if row.due_at.is_none() && row.dispatched_at.is_some_and(|at| at > future) {
                row.dispatched_at = Some(now);
                restarted += 1;
            }
            let is_future =
                state.changed_at > future && ready_at > state.changed_at - MAX_WRITE_DELAY;
            if row.due_at.is_some_and(|at| at > now) && is_future && !is_chosen {
                let wait = ready_at.duration_since(state.changed_at);
                let again = (now + wait).min(ready_at - by).max(now);
                if state.run_at == Some(ready_at) {
                    state.run_at = Some(again);
                }
                state.ready_at = Some(again);
                row.due_at = Some(again - overdue);
                restarted += 1;
            }
        }
        Ok(restarted)
    }

    async fn ids_by_owner(&self, owner: Uuid, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        let filter = Filter { owner: Some(owner), limit, ..Filter::default() };
        Ok(self.list(&filter).await?.into_iter().map(|task| task.id).collect())
    }

    async fn purge(
        &self,
        ended: Timestamp,
        removed: Timestamp,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let mut tables = self.0.lock();
        let is_old = |row: &&Row| {
            let limit = if row.task.state.deleted { ended.max(removed) } else { ended };
            row.task.state.finished_at.is_some_and(|at| at <= limit)
        };
        let old = tables.rows.values().filter(is_old).map(|row| row.task.id).collect();
        let old = truncated(old, limit);
        for id in &old {
            tables.rows.remove(id);
            tables.steps.retain(|(task, _), _| task != id);
            tables.keys.retain(|_, (task, _)| task != id);
        }
        tables.workers.retain(|_, report| report.worker.last_seen_at > removed);
        Ok(old.len() as u64)
    }

    async fn stats(&self, owner: Option<Uuid>, now: Timestamp) -> Result<Stats, StoreError> {
        Ok(self.0.lock().count(owner, now))
    }

    async fn queues(
        &self,
        owner: Option<Uuid>,
        now: Timestamp,
    ) -> Result<Vec<QueueStatus>, StoreError> {
        let mut queues: BTreeMap<QueueName, QueueStatus> = BTreeMap::new();
        let tables = self.0.lock();
        let is_counted = |row: &&Row| owner.is_none_or(|owner| row.task.owner == owner);
        for Row { task, .. } in tables.rows.values().filter(is_counted) {
            let (name, state) = (task.spec.queue, &task.state);
            if state.ready_at.is_none() && state.lease_until.is_none() {
                continue;
            }
            let empty = QueueStatus { name, waiting: 0, running: 0, oldest_wait_seconds: 0.0 };
            let status = queues.entry(name).or_insert(empty);
            status.running += u64::from(state.lease_until.is_some());
            if let Some(at) = state.ready_at.filter(|at| *at <= now) {
                let waited = now.duration_since(at).as_secs_f64();
                status.waiting += 1;
                status.oldest_wait_seconds = status.oldest_wait_seconds.max(waited);
            }
        }
        Ok(queues.into_values().collect())
    }

    async fn backlog(
        &self,
        now: Timestamp,
        _: Timestamp,
        most: u32,
    ) -> Result<Backlog, StoreError> {
        Ok(self.0.lock().backlog(now, most))
    }

    async fn report_worker(&self, report: &WorkerReport) -> Result<(), StoreError> {
        self.0.lock().workers.insert(report.worker.name.clone(), report.clone());
        Ok(())
    }

    async fn forget_worker(&self, name: &str) -> Result<(), StoreError> {
        self.0.lock().workers.remove(name);
        Ok(())
    }

    async fn workers(&self, since: Timestamp) -> Result<Vec<WorkerReport>, StoreError> {
        let tables = self.0.lock();
        Ok(tables
            .workers
            .values()
            .filter(|report| report.worker.last_seen_at >= since)
            .cloned()
            .collect())
    }

    async fn announce_kinds(&self, kinds: &[Kind]) -> Result<(), StoreError> {
        let named = kinds.iter().map(|kind| (kind.name.clone(), kind.clone()));
        self.0.lock().kinds.extend(named);
        Ok(())
    }

    async fn kinds(&self) -> Result<Vec<Kind>, StoreError> {
        Ok(self.0.lock().kinds.values().cloned().collect())
    }

    async fn steps(
        &self,
        claim: Claim,
    ) -> Result<Option<BTreeMap<String, Box<RawValue>>>, StoreError> {
        let tables = self.0.lock();
        let Some(generation) = tables.held(claim) else { return Ok(None) };
        Ok(Some(tables.steps.get(&(claim.task_id, generation)).cloned().unwrap_or_default()))
    }

    async fn remember_step(
        &self,
        claim: Claim,
        name: &str,
        result: &RawValue,
    ) -> Result<bool, StoreError> {
        let mut tables = self.0.lock();
        let Some(generation) = tables.held(claim) else { return Ok(false) };
        tables.steps.retain(|(task, of), _| *task != claim.task_id || *of >= generation);
        let steps = tables.steps.entry((claim.task_id, generation)).or_default();
        steps.entry(name.to_owned()).or_insert_with(|| result.to_owned());
        Ok(true)
    }

    /// Returns nothing; simulations copy the rows into a database and check them there.
    async fn check_invariants(&self, _: Timestamp) -> Result<Vec<InvariantReport>, StoreError> {
        Ok(Vec::new())
    }

    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn owners(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<Uuid>, StoreError> {
        let tables = self.0.lock();
        let kept = tables.rows.values().filter(|row| !row.task.state.deleted);
        let owners = kept.map(|row| row.task.owner).filter(|owner| Some(*owner) > after);
        let owners: BTreeSet<Uuid> = owners.collect();
        Ok(truncated(owners.into_iter().collect(), limit))
    }

    async fn raise_versions(&self, floor: u64, limit: u32) -> Result<u64, StoreError> {
        let mut tables = self.0.lock();
        let is_old = |row: &&mut Row| {
            let state = &row.task.state;
            !state.status.is_terminal() && state.version < floor
        };
        let mut count = 0;
        for row in tables.rows.values_mut().filter(is_old).take(limit as usize) {
            row.task.state.version = floor;
            row.task.state.claim = floor - 1;
            row.due_at = row.due_at.or(row.task.state.ready_at);
            row.dispatched_at = None;
            count += 1;
        }
        Ok(count)
    }
}
