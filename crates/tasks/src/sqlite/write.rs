//! Writes batches of tasks.
//!
//! SQLite updates every index that contains a column of the statement. So the two most
//! frequent changes, start and end of an attempt, have statements that name only the columns
//! they change.

use jiff::Timestamp;
use miniapp_types::task::{Event, EventType};
use serde_json::value::RawValue;
use sqlx::{Connection, Executor, Row, SqliteConnection};

use super::multi_row::{MAX_ROWS, MultiRowStatement, Statement};
use crate::column_values::{micros, signed, status_code, unsigned};
use crate::domain::Task;
use crate::engine::{Change, Claim, Insert, InsertOutcome, RenewedLease, StoreError, WriteOutcome};
use crate::row::{Columns, columns};
use crate::timeline;

static INSERT: MultiRowStatement = MultiRowStatement::new(
    "WITH new (id, owner, kind, queue, description, data, ttl, max_attempts, created_at, traceparent, \
     tracestate, baggage, idempotency_key, body_digest, changed_at, run_at, ready_at, timeline) \
     AS (VALUES ",
    18,
    ") INSERT INTO tasks (id, owner, kind, queue, description, data, ttl, max_attempts, created_at, \
     traceparent, tracestate, baggage, idempotency_key, body_digest, changed_at, run_at, ready_at, \
     timeline, due_at) SELECT *, ready_at FROM new WHERE id IS NOT NULL",
);

static START: MultiRowStatement = MultiRowStatement::new(
    "WITH new (id, from_version, version, claim, attempt, worker, lease_until, started_at, \
     changed_at, lines) AS (VALUES ",
    10,
    ") UPDATE tasks SET status = 1, message = NULL, progress = 0, attempt = new.attempt, \
     version = new.version, claim = new.claim, lease_until = new.lease_until, \
     worker = new.worker, started_at = new.started_at, changed_at = new.changed_at, \
     ready_at = NULL, due_at = NULL, timeline = timeline || new.lines \
     FROM new WHERE tasks.id = new.id AND tasks.version = new.from_version",
);

static END: MultiRowStatement = MultiRowStatement::new(
    "WITH new (id, from_version, status, message, progress, result, error_code, error_message, \
     version, lost_leases, finished_at, changed_at, lines) AS (VALUES ",
    13,
    ") UPDATE tasks SET status = new.status, message = new.message, progress = new.progress, \
     result = new.result, error_code = new.error_code, error_message = new.error_message, \
     version = new.version, lost_leases = new.lost_leases, finished_at = new.finished_at, \
     changed_at = new.changed_at, cancel_requested = 0, lease_until = NULL, ready_at = NULL, \
     due_at = NULL, timeline = timeline || new.lines \
     FROM new WHERE tasks.id = new.id AND tasks.version = new.from_version",
);

static CHANGE: MultiRowStatement = MultiRowStatement::new(
    "WITH new (id, from_version, status, message, progress, result, error_code, error_message, \
     attempt, generation, version, claim, lease_until, lost_leases, worker, changed_at, run_at, \
     started_at, finished_at, ready_at, cancel_requested, deleted, lines) AS (VALUES ",
    23,
    ") UPDATE tasks SET status = new.status, message = new.message, progress = new.progress, \
     result = new.result, error_code = new.error_code, error_message = new.error_message, \
     attempt = new.attempt, generation = new.generation, version = new.version, \
     claim = new.claim, lease_until = new.lease_until, lost_leases = new.lost_leases, \
     worker = new.worker, changed_at = new.changed_at, run_at = new.run_at, \
     started_at = new.started_at, finished_at = new.finished_at, \
     ready_at = new.ready_at, due_at = new.ready_at, \
     dispatched_at = NULL, cancel_requested = new.cancel_requested, deleted = new.deleted, \
     idempotency_key = CASE WHEN new.deleted THEN NULL ELSE idempotency_key END, \
     timeline = timeline || new.lines \
     FROM new WHERE tasks.id = new.id AND tasks.version = new.from_version",
);

static RENEW: MultiRowStatement = MultiRowStatement::new(
    "WITH held (id, claim, until) AS (VALUES ",
    3,
    ") UPDATE tasks SET lease_until = held.until, version = version + 1 FROM held \
     WHERE tasks.id = held.id AND tasks.claim = held.claim AND tasks.status = 1 \
     RETURNING tasks.id, tasks.claim, cancel_requested",
);

pub(super) async fn write(
    connection: &mut SqliteConnection,
    inserts: &[Insert],
    changes: &[Change],
) -> Result<WriteOutcome, StoreError> {
    let keyed = inserts.iter().any(|insert| insert.key.is_some());
    if !keyed && inserts.len() + changes.len() == 1 {
        // A single statement is its own transaction and reports the affected row.
        let inserted = INSERT.execute(connection, inserts, bind_insert).await?;
        let stored = change(connection, &changes.iter().collect::<Vec<_>>()).await?;
        let inserts = vec![InsertOutcome::New; usize::from(inserted > 0)];
        return Ok(WriteOutcome { inserts, changes: changes.iter().map(|_| stored > 0).collect() });
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let inserts = insert_all(&mut transaction, inserts).await?;
    let all: Vec<&Change> = changes.iter().collect();
    let changes = if change(&mut transaction, &all).await? == all.len() as u64 {
        vec![true; all.len()]
    } else {
        // Another process changed some of the tasks; find out which.
        let mut stored = Vec::with_capacity(changes.len());
        for one in &all {
            stored.push(is_stored(&mut transaction, one).await?);
        }
        stored
    };
    transaction.commit().await?;
    Ok(WriteOutcome { inserts, changes })
}

async fn insert_all(
    connection: &mut SqliteConnection,
    inserts: &[Insert],
) -> Result<Vec<InsertOutcome>, StoreError> {
    let mut outcomes = Vec::with_capacity(inserts.len());
    let mut new = Vec::with_capacity(inserts.len());
    for insert in inserts {
        let known = known_key(connection, insert).await?;
        if known.is_none() {
            new.push(insert);
        }
        outcomes.push(known.unwrap_or(InsertOutcome::New));
    }
    INSERT.execute(connection, &new, |statement, insert| bind_insert(statement, insert)).await?;
    Ok(outcomes)
}

/// Writes the changes whose version guard matches and returns their number.
async fn change(connection: &mut SqliteConnection, changes: &[&Change]) -> Result<u64, StoreError> {
    let (mut starts, mut ends, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for &change in changes {
        match change.events.as_slice() {
            [Event { kind: EventType::Started, .. }] => starts.push(change),
            [
                Event {
                    kind: EventType::Finished | EventType::Canceled | EventType::Failed, ..
                },
            ] => {
                ends.push(change);
            }
            _ => others.push(change),
        }
    }
    let mut stored =
        START.execute(connection, &starts, |query, one| bind_start(query, one)).await?;
    stored += END.execute(connection, &ends, |query, one| bind_end(query, one)).await?;
    stored += CHANGE.execute(connection, &others, |query, one| bind_change(query, one)).await?;
    Ok(stored)
}

/// Returns whether a change is stored: the newest part of its task's timeline contains its event.
async fn is_stored(connection: &mut SqliteConnection, change: &Change) -> Result<bool, StoreError> {
    const HAS: &str = "SELECT EXISTS (SELECT 1 FROM tasks WHERE id = ?1 AND instr(timeline, ?2)) \
         OR EXISTS (SELECT 1 FROM task_timeline_pages WHERE task_id = ?1 \
         AND page >= (SELECT pages - 4 FROM tasks WHERE id = ?1) AND instr(lines, ?2))";
    let Some(event) = change.events.last() else { return Ok(false) };
    let query = sqlx::query_scalar(HAS).bind(change.task.id).bind(event.id.to_string());
    Ok(query.fetch_one(connection).await?)
}

/// Returns the outcome of an insert whose key is known.
async fn known_key(
    connection: &mut SqliteConnection,
    insert: &Insert,
) -> Result<Option<InsertOutcome>, StoreError> {
    const KNOWN: &str = concat!(
        "SELECT ",
        columns!(),
        ", body_digest FROM tasks WHERE owner = ? AND idempotency_key = ?"
    );
    let Some(key) = &insert.key else { return Ok(None) };
    let query = sqlx::query(KNOWN).bind(insert.task.owner).bind(&key.key);
    let Some(row) = connection.fetch_optional(query).await? else { return Ok(None) };
    let digest: Vec<u8> = row.try_get("body_digest")?;
    let digest = digest
        .try_into()
        .map_err(|_| StoreError::Internal("a digest of the wrong length".into()))?;
    Ok(Some(InsertOutcome::DuplicateKey { task: Box::new(Columns::new(&row).task()?), digest }))
}

fn bind_insert<'q>(statement: Statement<'q>, insert: &'q Insert) -> Statement<'q> {
    let Task { id, owner, spec, state } = &insert.task;
    statement
        .bind(id)
        .bind(owner)
        .bind(&spec.kind)
        .bind(spec.queue.as_str())
        .bind(&spec.description)
        .bind(spec.data.get())
        .bind(spec.ttl)
        .bind(spec.max_attempts)
        .bind(micros(spec.created_at))
        .bind(spec.trace.traceparent.as_deref())
        .bind(spec.trace.tracestate.as_deref())
        .bind(spec.trace.baggage.as_deref())
        .bind(insert.key.as_ref().map(|key| key.key.as_str()))
        .bind(insert.key.as_ref().map(|key| key.digest.as_slice()))
        .bind(micros(state.changed_at))
        .bind(state.run_at.map(micros))
        .bind(state.ready_at.map(micros))
        .bind(timeline::encode(std::slice::from_ref(&insert.event)))
}

fn bind_start<'q>(statement: Statement<'q>, change: &'q Change) -> Statement<'q> {
    let Task { id, state, .. } = &change.task;
    statement
        .bind(id)
        .bind(signed(change.from_version))
        .bind(signed(state.version))
        .bind(signed(state.claim))
        .bind(state.attempt)
        .bind(state.worker.as_deref())
        .bind(state.lease_until.map(micros))
        .bind(state.started_at.map(micros))
        .bind(micros(state.changed_at))
        .bind(timeline::encode(&change.events))
}

/// Binds the columns that [`END`] and [`CHANGE`] begin with.
fn bind_outcome<'q>(statement: Statement<'q>, change: &'q Change) -> Statement<'q> {
    let Task { id, state, .. } = &change.task;
    statement
        .bind(id)
        .bind(signed(change.from_version))
        .bind(status_code(state.status))
        .bind(state.message.as_deref())
        .bind(state.progress)
        .bind(state.result.as_deref().map(RawValue::get))
        .bind(state.error.as_ref().map(|error| error.code.as_str()))
        .bind(state.error.as_ref().map(|error| error.message.as_str()))
}

fn bind_end<'q>(statement: Statement<'q>, change: &'q Change) -> Statement<'q> {
    let state = &change.task.state;
    bind_outcome(statement, change)
        .bind(signed(state.version))
        .bind(state.lost_leases)
        .bind(state.finished_at.map(micros))
        .bind(micros(state.changed_at))
        .bind(timeline::encode(&change.events))
}

fn bind_change<'q>(statement: Statement<'q>, change: &'q Change) -> Statement<'q> {
    let state = &change.task.state;
    bind_outcome(statement, change)
        .bind(state.attempt)
        .bind(state.generation)
        .bind(signed(state.version))
        .bind(signed(state.claim))
        .bind(state.lease_until.map(micros))
        .bind(state.lost_leases)
        .bind(state.worker.as_deref())
        .bind(micros(state.changed_at))
        .bind(state.run_at.map(micros))
        .bind(state.started_at.map(micros))
        .bind(state.finished_at.map(micros))
        .bind(state.ready_at.map(micros))
        .bind(state.cancel_requested)
        .bind(state.deleted)
        .bind(timeline::encode(&change.events))
}

pub(super) async fn renew(
    connection: &mut SqliteConnection,
    claims: &[Claim],
    until: Timestamp,
) -> Result<Vec<RenewedLease>, StoreError> {
    let mut renewed = Vec::with_capacity(claims.len());
    for claims in claims.chunks(MAX_ROWS) {
        let statement = RENEW.bound(claims, |statement, claim| {
            statement.bind(claim.task_id).bind(signed(claim.token)).bind(micros(until))
        });
        for row in connection.fetch_all(statement).await? {
            let claim = Claim { task_id: row.try_get(0)?, token: unsigned(row.try_get(1)?) };
            renewed.push(RenewedLease { claim, cancel_requested: row.try_get(2)? });
        }
    }
    Ok(renewed)
}
