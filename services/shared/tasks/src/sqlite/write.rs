//! Batches of tasks into the file. Every statement carries many rows and comes in a few
//! sizes, filled up with rows of nulls that match nothing, so that it is prepared once.

use std::fmt::Write as _;
use std::sync::OnceLock;

use jiff::Timestamp;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Connection, Executor, Row, Sqlite, SqliteConnection};
use std::collections::HashSet;
use uuid::Uuid;

use super::rows::{columns, micros, signed, status_code, task};
use crate::domain::Task;
use crate::engine::{Change, Claim, Insert, Inserted, Renewed, StoreError, Written};
use crate::timeline;

/// The most rows of a statement.
const MOST_ROWS: usize = 128;
/// A timeline longer than this, in bytes, moves out of the row.
const LONG_TIMELINE: i64 = 16 * 1024;

type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

/// A statement over a list of rows, in sizes of powers of two.
struct Batched {
    before: &'static str,
    columns: usize,
    after: &'static str,
    texts: [OnceLock<String>; 8],
}

impl Batched {
    const fn new(before: &'static str, columns: usize, after: &'static str) -> Self {
        Self { before, columns, after, texts: [const { OnceLock::new() }; 8] }
    }

    /// The statement with room for `rows`, and how many rows have to be filled up.
    fn sized(&'static self, rows: usize) -> (Statement<'static>, usize) {
        let size = rows.next_power_of_two();
        let text = self.texts[size.trailing_zeros() as usize].get_or_init(|| {
            let row = format!("({}?)", "?, ".repeat(self.columns - 1));
            let mut text = self.before.to_owned();
            for index in 0..size {
                let comma = if index == 0 { "" } else { ", " };
                let _ = write!(text, "{comma}{row}");
            }
            text + self.after
        });
        (sqlx::query(text.as_str()), (size - rows) * self.columns)
    }
}

fn filled(statement: Statement<'_>, nulls: usize) -> Statement<'_> {
    (0..nulls).fold(statement, |statement, _| statement.bind(None::<i64>))
}

static INSERT: Batched = Batched::new(
    "WITH new (id, owner, kind, description, data, ttl, max_attempts, created_at, traceparent, \
     tracestate, baggage, idempotency_key, body_digest, run_at, ready_at, timeline) AS (VALUES ",
    16,
    ") INSERT INTO tasks (id, owner, kind, description, data, ttl, max_attempts, created_at, \
     traceparent, tracestate, baggage, idempotency_key, body_digest, run_at, ready_at, timeline, \
     due_at) SELECT *, ready_at FROM new WHERE id IS NOT NULL",
);

static UPDATE: Batched = Batched::new(
    "WITH new (id, from_version, status, message, progress, result, error_code, error_message, \
     attempt, generation, version, claim, lease_until, lost_leases, worker, run_at, started_at, \
     finished_at, ready_at, cancel_requested, deleted, lines) AS (VALUES ",
    22,
    ") UPDATE tasks SET status = new.status, message = new.message, progress = new.progress, \
     result = new.result, error_code = new.error_code, error_message = new.error_message, \
     attempt = new.attempt, generation = new.generation, version = new.version, \
     claim = new.claim, lease_until = new.lease_until, lost_leases = new.lost_leases, \
     worker = new.worker, run_at = new.run_at, started_at = new.started_at, \
     finished_at = new.finished_at, ready_at = new.ready_at, due_at = new.ready_at, \
     dispatched_at = NULL, cancel_requested = new.cancel_requested, deleted = new.deleted, \
     idempotency_key = CASE WHEN new.deleted THEN NULL ELSE idempotency_key END, \
     timeline = timeline || new.lines \
     FROM new WHERE tasks.id = new.id AND tasks.version = new.from_version \
     RETURNING tasks.id, octet_length(timeline)",
);

static RENEW: Batched = Batched::new(
    "WITH held (id, claim, until) AS (VALUES ",
    3,
    ") UPDATE tasks SET lease_until = held.until, version = version + 1 FROM held \
     WHERE tasks.id = held.id AND tasks.claim = held.claim AND tasks.status = 1 \
     RETURNING tasks.id, tasks.claim, cancel_requested",
);

/// See [`crate::Engine::write`].
pub(super) async fn write(
    connection: &mut SqliteConnection,
    inserts: &[Insert],
    changes: &[Change],
) -> Result<Written, StoreError> {
    let keyed = inserts.iter().any(|insert| insert.key.is_some());
    if !keyed
        && inserts.len() + changes.len() <= MOST_ROWS
        && inserts.is_empty() | changes.is_empty()
    {
        // One statement is a transaction by itself.
        return write_in(connection, inserts, changes).await;
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let written = write_in(&mut transaction, inserts, changes).await?;
    transaction.commit().await?;
    Ok(written)
}

async fn write_in(
    connection: &mut SqliteConnection,
    inserts: &[Insert],
    changes: &[Change],
) -> Result<Written, StoreError> {
    let mut written = Written::default();
    let mut new = Vec::with_capacity(inserts.len());
    for insert in inserts {
        let known = known_key(connection, insert).await?;
        if known.is_none() {
            new.push(insert);
        }
        written.inserts.push(known.unwrap_or(Inserted::New));
    }
    for inserts in new.chunks(MOST_ROWS) {
        let (statement, nulls) = INSERT.sized(inserts.len());
        let statement = inserts.iter().copied().fold(statement, bind_insert);
        connection.execute(filled(statement, nulls)).await?;
    }
    for changes in changes.chunks(MOST_ROWS) {
        let (statement, nulls) = UPDATE.sized(changes.len());
        let statement = changes.iter().fold(statement, bind_change);
        let rows = connection.fetch_all(filled(statement, nulls)).await?;
        let mut stored = HashSet::with_capacity(rows.len());
        for row in rows {
            let id: Uuid = row.try_get(0)?;
            if row.try_get::<i64, _>(1)? > LONG_TIMELINE {
                turn_page(connection, id).await?;
            }
            stored.insert(id);
        }
        written.changes.extend(changes.iter().map(|change| stored.contains(&change.task.id)));
    }
    Ok(written)
}

/// The task that has the insert's key already.
async fn known_key(
    connection: &mut SqliteConnection,
    insert: &Insert,
) -> Result<Option<Inserted>, StoreError> {
    const KNOWN: &str = concat!(
        "SELECT ",
        columns!(),
        ", body_digest FROM tasks WHERE owner = ? AND idempotency_key = ?"
    );
    let Some(key) = &insert.key else { return Ok(None) };
    let query = sqlx::query(KNOWN).bind(insert.task.owner).bind(&key.key);
    let Some(row) = connection.fetch_optional(query).await? else { return Ok(None) };
    let digest: Vec<u8> = row.try_get("body_digest")?;
    let digest = digest.try_into().map_err(|_| StoreError::Broken("a digest's length".into()))?;
    Ok(Some(Inserted::KeyKnown { task: Box::new(task(&row)?), digest }))
}

fn bind_insert<'q>(statement: Statement<'q>, insert: &'q Insert) -> Statement<'q> {
    let Task { id, owner, spec, state } = &insert.task;
    statement
        .bind(id)
        .bind(owner)
        .bind(&spec.kind)
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
        .bind(state.run_at.map(micros))
        .bind(state.ready_at.map(micros))
        .bind(timeline::lines(std::slice::from_ref(&insert.event)))
}

fn bind_change<'q>(statement: Statement<'q>, change: &'q Change) -> Statement<'q> {
    let Task { id, state, .. } = &change.task;
    statement
        .bind(id)
        .bind(signed(change.from_version))
        .bind(status_code(state.status))
        .bind(state.message.as_deref())
        .bind(state.progress)
        .bind(state.result.as_deref().map(serde_json::value::RawValue::get))
        .bind(state.error.as_ref().map(|error| error.code.as_str()))
        .bind(state.error.as_ref().map(|error| error.message.as_str()))
        .bind(state.attempt)
        .bind(state.generation)
        .bind(signed(state.version))
        .bind(signed(state.claim))
        .bind(state.lease_until.map(micros))
        .bind(state.lost_leases)
        .bind(state.worker.as_deref())
        .bind(state.run_at.map(micros))
        .bind(state.started_at.map(micros))
        .bind(state.finished_at.map(micros))
        .bind(state.ready_at.map(micros))
        .bind(state.cancel_requested)
        .bind(state.deleted)
        .bind(timeline::lines(&change.events))
}

/// Moves the timeline of a task out of its row.
async fn turn_page(connection: &mut SqliteConnection, id: Uuid) -> Result<(), StoreError> {
    const KEEP: &str = "INSERT INTO task_timeline_pages (task_id, page, lines) \
                        SELECT id, pages, timeline FROM tasks WHERE id = ?";
    const EMPTY: &str = "UPDATE tasks SET pages = pages + 1, timeline = '' WHERE id = ?";
    connection.execute(sqlx::query(KEEP).bind(id)).await?;
    connection.execute(sqlx::query(EMPTY).bind(id)).await?;
    Ok(())
}

/// See [`crate::Engine::renew`].
pub(super) async fn renew(
    connection: &mut SqliteConnection,
    claims: &[Claim],
    until: Timestamp,
) -> Result<Vec<Renewed>, StoreError> {
    let mut renewed = Vec::with_capacity(claims.len());
    for claims in claims.chunks(MOST_ROWS) {
        let (statement, nulls) = RENEW.sized(claims.len());
        let statement = claims.iter().fold(statement, |statement, claim| {
            statement.bind(claim.task_id).bind(signed(claim.token)).bind(micros(until))
        });
        for row in connection.fetch_all(filled(statement, nulls)).await? {
            let token = super::rows::unsigned(row.try_get(1)?);
            renewed.push(Renewed {
                claim: Claim { task_id: row.try_get(0)?, token },
                cancel_requested: row.try_get(2)?,
            });
        }
    }
    Ok(renewed)
}
