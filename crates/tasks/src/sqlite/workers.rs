//! Reports of workers and descriptions of kinds.

use jiff::Timestamp;
use miniapp_types::task::Kind;
use sqlx::{Connection, Executor, SqliteConnection, SqlitePool};

use crate::column_values::{from_json, micros, to_json};
use crate::engine::{StoreError, WorkerReport};

pub(super) async fn report(
    connection: &mut SqliteConnection,
    report: &WorkerReport,
) -> Result<(), StoreError> {
    const REPORT: &str = "INSERT INTO workers (name, last_seen_at, report) VALUES (?, ?, ?) \
         ON CONFLICT (name) DO UPDATE SET last_seen_at = excluded.last_seen_at, report = excluded.report";
    let WorkerReport { worker, .. } = report;
    let seen = micros(worker.last_seen_at);
    let query = sqlx::query(REPORT).bind(&worker.name).bind(seen).bind(to_json(report)?);
    connection.execute(query).await?;
    Ok(())
}

pub(super) async fn forget(
    connection: &mut SqliteConnection,
    name: &str,
) -> Result<(), StoreError> {
    connection.execute(sqlx::query("DELETE FROM workers WHERE name = ?").bind(name)).await?;
    Ok(())
}

pub(super) async fn live(
    pool: &SqlitePool,
    since: Timestamp,
) -> Result<Vec<WorkerReport>, StoreError> {
    const LIVE: &str = "SELECT report FROM workers WHERE last_seen_at >= ? ORDER BY name";
    let reports: Vec<String> = sqlx::query_scalar(LIVE).bind(micros(since)).fetch_all(pool).await?;
    reports.iter().map(|report| from_json(report)).collect()
}

pub(super) async fn announce_kinds(
    connection: &mut SqliteConnection,
    kinds: &[Kind],
) -> Result<(), StoreError> {
    const ANNOUNCE: &str = "INSERT INTO task_kinds (name, description) VALUES (?, ?) \
         ON CONFLICT (name) DO UPDATE SET description = excluded.description";
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for kind in kinds {
        transaction.execute(sqlx::query(ANNOUNCE).bind(&kind.name).bind(to_json(kind)?)).await?;
    }
    Ok(transaction.commit().await?)
}

pub(super) async fn kinds(pool: &SqlitePool) -> Result<Vec<Kind>, StoreError> {
    let kinds: Vec<String> = sqlx::query_scalar("SELECT description FROM task_kinds ORDER BY name")
        .fetch_all(pool)
        .await?;
    kinds.iter().map(|kind| from_json(kind)).collect()
}
