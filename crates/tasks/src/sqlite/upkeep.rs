//! What the relay, the reaper and the workers ask for.

use jiff::{SignedDuration, Timestamp};
use miniapp_types::task::{Kind, Worker};
use miniapp_types::trace::TraceContext;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{Connection, Executor, Row, SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::batched::{Batched, MOST_ROWS, Statement};
use crate::engine::{DueTask, StoreError, TakeDue};
use crate::stored::{micros, signed, time, unsigned};

/// See [`crate::Engine::expired`].
pub(super) async fn expired_leases(
    pool: &SqlitePool,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<Uuid>, StoreError> {
    const EXPIRED: &str =
        "SELECT id FROM tasks WHERE lease_until <= ? ORDER BY lease_until LIMIT ?";
    Ok(sqlx::query_scalar(EXPIRED).bind(micros(now)).bind(limit).fetch_all(pool).await?)
}

/// What makes a task the relay's: delayed and near its time, or forgotten by the process
/// that should have dispatched it at once.
macro_rules! is_due {
    () => {
        "due_at <= ?1 AND (run_at > created_at OR due_at <= ?2)"
    };
}

fn limits(take: &TakeDue) -> (i64, i64) {
    let near = take.now.saturating_add(take.lookahead).unwrap_or(Timestamp::MAX);
    let overdue = take.now.saturating_sub(take.overdue).unwrap_or(Timestamp::MIN);
    (micros(near), micros(overdue))
}

/// Whether [`take_due`] would find something; asked without disturbing the writer.
pub(super) async fn any_due(pool: &SqlitePool, take: &TakeDue) -> Result<bool, StoreError> {
    const ANY: &str = concat!("SELECT EXISTS (SELECT 1 FROM tasks WHERE ", is_due!(), ")");
    let (near, overdue) = limits(take);
    Ok(sqlx::query_scalar(ANY).bind(near).bind(overdue).fetch_one(pool).await?)
}

/// See [`crate::Engine::take_due`].
pub(super) async fn take_due(
    connection: &mut SqliteConnection,
    take: &TakeDue,
) -> Result<Vec<DueTask>, StoreError> {
    const TAKE: &str = concat!(
        "UPDATE tasks SET due_at = ?3 WHERE id IN (SELECT id FROM tasks WHERE ",
        is_due!(),
        " ORDER BY due_at LIMIT ?4) \
         RETURNING id, generation, version, ready_at, changed_at, attempt, \
         traceparent, tracestate, baggage"
    );
    let (near, overdue) = limits(take);
    let held =
        take.now.saturating_add(take.lookahead + take.visibility_timeout).unwrap_or(Timestamp::MAX);
    let query = sqlx::query(TAKE).bind(near).bind(overdue).bind(micros(held)).bind(take.limit);
    let rows = connection.fetch_all(query).await?;
    rows.iter()
        .map(|row| {
            let trace = |index| row.try_get::<Option<String>, _>(index);
            Ok(DueTask {
                id: row.try_get(0)?,
                generation: row.try_get(1)?,
                version: unsigned(row.try_get(2)?),
                at: time(row.try_get::<Option<i64>, _>(3)?.unwrap_or_default())?,
                since: time(row.try_get(4)?)?,
                attempt: row.try_get(5)?,
                trace: TraceContext {
                    traceparent: trace(6)?.map(Into::into),
                    tracestate: trace(7)?.map(Into::into),
                    baggage: trace(8)?.map(Into::into),
                },
            })
        })
        .collect()
}

static STILL_DUE: Batched = Batched::new(
    "WITH sent (id, version) AS (VALUES ",
    2,
    ") SELECT sent.id, sent.version FROM sent JOIN tasks ON tasks.id = sent.id \
     WHERE tasks.version = sent.version AND due_at IS NOT NULL",
);

static DISPATCHED: Batched = Batched::new(
    "WITH sent (id, version, at) AS (VALUES ",
    3,
    ") UPDATE tasks SET due_at = NULL, dispatched_at = sent.at FROM sent \
     WHERE tasks.id = sent.id AND tasks.version = sent.version AND due_at IS NOT NULL",
);

/// Those of `tasks` whose duty to be dispatched is still open.
pub(super) async fn still_due(
    pool: &SqlitePool,
    tasks: &[(Uuid, u64)],
) -> Result<Vec<(Uuid, u64)>, StoreError> {
    let mut due = Vec::new();
    for tasks in tasks.chunks(MOST_ROWS) {
        let statement = STILL_DUE
            .bound(tasks, |statement, (id, version)| statement.bind(id).bind(signed(*version)));
        for row in statement.fetch_all(pool).await? {
            due.push((row.try_get(0)?, unsigned(row.try_get(1)?)));
        }
    }
    Ok(due)
}

/// See [`crate::Engine::dispatched`].
pub(super) async fn mark_dispatched(
    connection: &mut SqliteConnection,
    tasks: &[(Uuid, u64)],
    now: Timestamp,
) -> Result<(), StoreError> {
    DISPATCHED
        .execute(connection, tasks, |statement, (id, version)| {
            statement.bind(id).bind(signed(*version)).bind(micros(now))
        })
        .await?;
    Ok(())
}

/// See [`crate::Engine::dispatch_again`].
pub(super) async fn redispatch(
    connection: &mut SqliteConnection,
    before: Timestamp,
    now: Timestamp,
) -> Result<u64, StoreError> {
    // Overdue at once, so that the relay's next look finds them.
    const AGAIN: &str = "UPDATE tasks SET due_at = min(ready_at, ?2), dispatched_at = NULL \
                         WHERE ready_at IS NOT NULL AND due_at IS NULL AND dispatched_at <= ?1";
    let overdue = now.saturating_sub(SignedDuration::from_secs(60)).unwrap_or(Timestamp::MIN);
    let query = sqlx::query(AGAIN).bind(micros(before)).bind(micros(overdue));
    Ok(connection.execute(query).await?.rows_affected())
}

/// See [`crate::Engine::owned`].
pub(super) async fn ids_by_owner(
    pool: &SqlitePool,
    owner: Uuid,
    limit: u32,
) -> Result<Vec<Uuid>, StoreError> {
    const OWNED: &str = "SELECT id FROM tasks WHERE owner = ? AND deleted = 0 LIMIT ?";
    Ok(sqlx::query_scalar(OWNED).bind(owner).bind(limit).fetch_all(pool).await?)
}

/// What makes a task old enough to be forgotten: when it ended, and sooner if it is removed.
macro_rules! is_old {
    () => {
        "(finished_at <= ? OR (deleted = 1 AND finished_at <= ?))"
    };
}

static PURGE: Batched = Batched::new(
    "WITH old (id) AS (VALUES ",
    1,
    concat!(
        ") DELETE FROM tasks WHERE id IN (SELECT id FROM old) AND ",
        is_old!(),
        " RETURNING id, pages"
    ),
);

/// Some of the tasks that are old enough to be forgotten.
pub(super) async fn old(
    pool: &SqlitePool,
    ended: Timestamp,
    removed: Timestamp,
    limit: u32,
) -> Result<Vec<Uuid>, StoreError> {
    const OLD: &str =
        concat!("SELECT id FROM tasks WHERE finished_at IS NOT NULL AND ", is_old!(), " LIMIT ?");
    let query = sqlx::query_scalar(OLD).bind(micros(ended)).bind(micros(removed)).bind(limit);
    Ok(query.fetch_all(pool).await?)
}

/// Whether there are workers that said nothing since `removed`.
pub(super) async fn any_silent(pool: &SqlitePool, removed: Timestamp) -> Result<bool, StoreError> {
    const SILENT: &str = "SELECT EXISTS (SELECT 1 FROM workers WHERE last_seen_at <= ?)";
    Ok(sqlx::query_scalar(SILENT).bind(micros(removed)).fetch_one(pool).await?)
}

/// Forgets those of `tasks` that are still old enough, and workers that said nothing since
/// `removed`; how many tasks those were.
pub(super) async fn purge(
    connection: &mut SqliteConnection,
    tasks: &[Uuid],
    ended: Timestamp,
    removed: Timestamp,
) -> Result<u64, StoreError> {
    const PAGES: &str = "DELETE FROM task_timeline_pages WHERE task_id = ?";
    const SILENT: &str = "DELETE FROM workers WHERE last_seen_at <= ?";
    let mut purged = 0;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for tasks in tasks.chunks(MOST_ROWS) {
        let statement = PURGE.bound(tasks, Statement::bind);
        let statement = statement.bind(micros(ended)).bind(micros(removed));
        for row in transaction.fetch_all(statement).await? {
            purged += 1;
            if row.try_get::<i64, _>(1)? > 0 {
                let id: Uuid = row.try_get(0)?;
                transaction.execute(sqlx::query(PAGES).bind(id)).await?;
            }
        }
    }
    transaction.execute(sqlx::query(SILENT).bind(micros(removed))).await?;
    transaction.commit().await?;
    Ok(purged)
}

/// See [`crate::Engine::report_worker`].
pub(super) async fn report_worker(
    connection: &mut SqliteConnection,
    worker: &Worker,
) -> Result<(), StoreError> {
    const REPORT: &str = "INSERT INTO workers (name, last_seen_at, report) VALUES (?, ?, ?) \
         ON CONFLICT (name) DO UPDATE SET last_seen_at = excluded.last_seen_at, report = excluded.report";
    let seen = micros(worker.last_seen_at);
    let query = sqlx::query(REPORT).bind(&worker.name).bind(seen).bind(json(worker)?);
    connection.execute(query).await?;
    Ok(())
}

/// See [`crate::Engine::forget_worker`].
pub(super) async fn forget_worker(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<(), StoreError> {
    connection.execute(sqlx::query("DELETE FROM workers WHERE name = ?").bind(name)).await?;
    Ok(())
}

/// See [`crate::Engine::workers`].
pub(super) async fn workers(
    pool: &SqlitePool,
    since: Timestamp,
) -> Result<Vec<Worker>, StoreError> {
    const LIVE: &str = "SELECT report FROM workers WHERE last_seen_at >= ? ORDER BY name";
    let reports: Vec<String> = sqlx::query_scalar(LIVE).bind(micros(since)).fetch_all(pool).await?;
    reports.iter().map(|report| parsed(report)).collect()
}

/// See [`crate::Engine::announce_kinds`].
pub(super) async fn announce_kinds(
    connection: &mut SqliteConnection,
    kinds: &[Kind],
) -> Result<(), StoreError> {
    const ANNOUNCE: &str = "INSERT INTO task_kinds (name, description) VALUES (?, ?) \
         ON CONFLICT (name) DO UPDATE SET description = excluded.description";
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for kind in kinds {
        transaction.execute(sqlx::query(ANNOUNCE).bind(&kind.name).bind(json(kind)?)).await?;
    }
    Ok(transaction.commit().await?)
}

/// See [`crate::Engine::kinds`].
pub(super) async fn kinds(pool: &SqlitePool) -> Result<Vec<Kind>, StoreError> {
    let kinds: Vec<String> = sqlx::query_scalar("SELECT description FROM task_kinds ORDER BY name")
        .fetch_all(pool)
        .await?;
    kinds.iter().map(|kind| parsed(kind)).collect()
}

/// See [`crate::Engine::ping`].
pub(super) async fn ping(pool: &SqlitePool) -> Result<(), StoreError> {
    sqlx::query("SELECT 1 FROM tasks LIMIT 1").fetch_optional(pool).await?;
    Ok(())
}

fn json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Internal(error.to_string()))
}

fn parsed<T: DeserializeOwned>(json: &str) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|error| StoreError::Internal(error.to_string()))
}
