//! Writes batches of tasks.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use miniapp_postgres::{Database, DatabaseError};
use sqlx::Row;
use uuid::Uuid;

use super::batch::Batch;
use crate::column_values::{micros, signed, unsigned};
use crate::domain::Task;
use crate::engine::{Change, Claim, Insert, InsertOutcome, RenewedLease, StoreError, WriteOutcome};
use crate::row::{Columns, columns};

/// Maximum number of attempts to resolve idempotency keys that are taken and released
/// concurrently.
const MAX_ATTEMPTS: usize = 5;

pub(super) async fn write(
    database: &Database,
    inserts: &[Insert],
    changes: &[Change],
) -> Result<WriteOutcome, StoreError> {
    let mut stored = store(database, inserts.iter().collect(), changes).await?;
    let missing = changes.iter().filter(|change| !stored.contains(&change.task.id));
    let newest = missing.filter_map(|change| Some((change.task.id, change.events.last()?.id)));
    stored.extend(already_committed(database, newest).await?);
    let missing = inserts.iter().filter(|insert| !stored.contains(&insert.task.id)).collect();
    let mut resolved = resolve(database, missing).await?;
    let mut outcome =
        |insert: &Insert| resolved.remove(&insert.task.id).unwrap_or(InsertOutcome::New);
    Ok(WriteOutcome {
        inserts: inserts.iter().map(&mut outcome).collect(),
        changes: changes.iter().map(|change| stored.contains(&change.task.id)).collect(),
    })
}

/// Executes one statement and returns the ids of the tasks that it wrote.
async fn store(
    database: &Database,
    inserts: Vec<&Insert>,
    changes: &[Change],
) -> Result<HashSet<Uuid>, StoreError> {
    let batch = Batch::new(inserts, changes);
    if batch.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = match database.fetch_all(|| batch.statement()).await {
        Err(fault @ DatabaseError::ConstraintViolation(_)) => {
            // The statement may have been sent twice: then its own tasks violate the
            // constraint.
            let first = batch.inserts().map(|insert| (insert.task.id, insert.event.id));
            let done = already_committed(database, first).await?;
            return if done.is_empty() { Err(fault.into()) } else { Ok(done) };
        }
        answer => answer?,
    };
    let mut stored = HashSet::with_capacity(rows.len());
    let mut long = Vec::new();
    for row in &rows {
        let id: Uuid = row.try_get(0)?;
        stored.insert(id);
        if row.try_get(1)? {
            long.push(id);
        }
    }
    if !long.is_empty() {
        move_to_pages(database, &long).await;
    }
    Ok(stored)
}

/// Moves long timelines to pages. This is invisible to readers and may fail: the next change
/// of the task tries again.
async fn move_to_pages(database: &Database, ids: &[Uuid]) {
    const MOVE: &str = "WITH long AS MATERIALIZED (\
         SELECT id, pages, timeline FROM tasks WHERE id = ANY($1) AND timeline <> '' \
         ORDER BY id FOR UPDATE SKIP LOCKED), \
         kept AS (INSERT INTO task_timeline_pages SELECT * FROM long) \
         UPDATE tasks SET pages = tasks.pages + 1, timeline = '' FROM long WHERE tasks.id = long.id";
    if let Err(fault) = database.fetch_all(|| sqlx::query(MOVE).bind(ids)).await {
        tracing::debug!(%fault, "moving timelines to pages failed");
    }
}

/// Returns those tasks whose timeline contains the given event in its newest part: its change was
/// committed.
async fn already_committed(
    database: &Database,
    events: impl Iterator<Item = (Uuid, Uuid)>,
) -> Result<HashSet<Uuid>, StoreError> {
    const DONE: &str = "WITH sent (id, event) AS (SELECT * FROM unnest($1::uuid[], $2::text[])) \
         SELECT tasks.id FROM sent JOIN tasks ON tasks.id = sent.id \
         WHERE strpos(timeline, event) > 0 UNION \
         SELECT task_id FROM sent JOIN tasks ON tasks.id = sent.id \
         JOIN task_timeline_pages ON task_id = tasks.id AND page >= pages - 16 \
         WHERE strpos(lines, event) > 0";
    let (ids, events): (Vec<Uuid>, Vec<String>) =
        events.map(|(id, event)| (id, event.to_string())).unzip();
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = database.fetch_all(|| sqlx::query(DONE).bind(&ids).bind(&events)).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Returns the outcomes of tasks that were not stored, by id. A task whose key was released
/// in the meantime is stored after all.
async fn resolve(
    database: &Database,
    mut unresolved: Vec<&Insert>,
) -> Result<HashMap<Uuid, InsertOutcome>, StoreError> {
    let mut resolved = HashMap::new();
    for _ in 0..MAX_ATTEMPTS {
        if unresolved.is_empty() {
            return Ok(resolved);
        }
        for holder in key_holders(database, &unresolved).await? {
            for insert in &unresolved {
                if let Some(outcome) = holder.outcome_of(insert) {
                    resolved.insert(insert.task.id, outcome);
                }
            }
        }
        unresolved.retain(|insert| !resolved.contains_key(&insert.task.id));
        let stored = store(database, unresolved.clone(), &[]).await?;
        unresolved.retain(|insert| !stored.contains(&insert.task.id));
    }
    Err(StoreError::Unavailable("an idempotency key is contended".into()))
}

/// A stored task that holds an idempotency key.
struct KeyHolder {
    task: Task,
    key: String,
    digest: [u8; 32],
}

impl KeyHolder {
    /// Returns the outcome of `insert` if it has this key.
    fn outcome_of(&self, insert: &Insert) -> Option<InsertOutcome> {
        let has_key = insert.task.owner == self.task.owner
            && insert.key.as_ref().is_some_and(|key| key.key == self.key);
        if !has_key {
            return None;
        }
        if insert.task.id == self.task.id {
            // The insert itself: it was committed before and its response was lost.
            return Some(InsertOutcome::New);
        }
        let task = Box::new(self.task.clone());
        Some(InsertOutcome::DuplicateKey { task, digest: self.digest })
    }
}

/// Returns the tasks that hold the key of one of `inserts`.
async fn key_holders(
    database: &Database,
    inserts: &[&Insert],
) -> Result<Vec<KeyHolder>, StoreError> {
    const FIND: &str = concat!(
        "SELECT ",
        columns!(),
        ", idempotency_key, body_digest FROM unnest($1::uuid[], $2::text[]) AS sent (by, key) \
         JOIN tasks ON owner = by AND idempotency_key = key"
    );
    let (owners, keys): (Vec<Uuid>, Vec<&str>) = inserts
        .iter()
        .filter_map(|insert| Some((insert.task.owner, insert.key.as_ref()?.key.as_str())))
        .unzip();
    let rows = database.fetch_all(|| sqlx::query(FIND).bind(&owners).bind(&keys)).await?;
    rows.iter()
        .map(|row| {
            let digest: &[u8] = row.try_get("body_digest")?;
            let digest = digest.try_into();
            let digest =
                digest.map_err(|_| StoreError::Internal("a digest of the wrong length".into()))?;
            let key = row.try_get("idempotency_key")?;
            Ok(KeyHolder { task: Columns::new(row).task()?, key, digest })
        })
        .collect()
}

pub(super) async fn renew(
    database: &Database,
    claims: &[Claim],
    until: Timestamp,
) -> Result<Vec<RenewedLease>, StoreError> {
    const RENEW: &str = "UPDATE tasks SET lease_until = $3, version = version + 1 \
         FROM unnest($1::uuid[], $2::bigint[]) AS held (id, claim) \
         WHERE tasks.id = held.id AND tasks.claim = held.claim AND status = 1 \
         RETURNING tasks.id, tasks.claim, cancel_requested";
    let mut claims: Vec<Claim> = claims.to_vec();
    claims.sort_unstable_by_key(|claim| claim.task_id);
    let (ids, tokens): (Vec<Uuid>, Vec<i64>) =
        claims.iter().map(|claim| (claim.task_id, signed(claim.token))).unzip();
    let statement = || sqlx::query(RENEW).bind(&ids).bind(&tokens).bind(micros(until));
    let rows = database.fetch_all(statement).await?;
    rows.iter()
        .map(|row| {
            let mut next = Columns::new(row);
            let claim = Claim { task_id: next.read()?, token: unsigned(next.read()?) };
            Ok(RenewedLease { claim, cancel_requested: next.read()? })
        })
        .collect()
}
