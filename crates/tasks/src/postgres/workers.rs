//! Reports of workers and descriptions of kinds.

use std::collections::BTreeMap;

use jiff::Timestamp;
use miniapp_postgres::Database;
use miniapp_types::task::Kind;
use sqlx::Row as _;

use super::values::text;
use crate::column_values::{from_json, micros, to_json};
use crate::engine::{StoreError, WorkerReport};

pub(super) async fn report(database: &Database, report: &WorkerReport) -> Result<(), StoreError> {
    const REPORT: &str = "INSERT INTO workers (name, last_seen_at, report) VALUES ($1, $2, $3) \
         ON CONFLICT (name) DO UPDATE \
         SET last_seen_at = excluded.last_seen_at, report = excluded.report";
    let (seen, encoded) = (micros(report.worker.last_seen_at), to_json(report)?);
    let statement =
        || sqlx::query(REPORT).bind(text(&report.worker.name)).bind(seen).bind(&encoded);
    database.fetch_all(statement).await?;
    Ok(())
}

pub(super) async fn forget(database: &Database, name: &str) -> Result<(), StoreError> {
    const FORGET: &str = "DELETE FROM workers WHERE name = $1";
    database.fetch_all(|| sqlx::query(FORGET).bind(text(name))).await?;
    Ok(())
}

pub(super) async fn live(
    database: &Database,
    since: Timestamp,
) -> Result<Vec<WorkerReport>, StoreError> {
    const LIVE: &str = "SELECT report FROM workers WHERE last_seen_at >= $1 ORDER BY name";
    let rows = database.fetch_all(|| sqlx::query(LIVE).bind(micros(since))).await?;
    rows.iter().map(|row| from_json(row.try_get(0)?)).collect()
}

pub(super) async fn announce_kinds(database: &Database, kinds: &[Kind]) -> Result<(), StoreError> {
    const ANNOUNCE: &str = "INSERT INTO task_kinds (name, description) \
         SELECT * FROM unnest($1::text[], $2::text[]) \
         ON CONFLICT (name) DO UPDATE SET description = excluded.description \
         WHERE task_kinds.description <> excluded.description";
    // Unique, and in one order for all processes, so that they cannot deadlock.
    let kinds = kinds.iter().map(|kind| Ok((kind.name.as_str(), to_json(kind)?)));
    let kinds: BTreeMap<&str, String> = kinds.collect::<Result<_, StoreError>>()?;
    let (names, descriptions): (Vec<&str>, Vec<&str>) =
        kinds.iter().map(|(name, description)| (*name, description.as_str())).unzip();
    database.fetch_all(|| sqlx::query(ANNOUNCE).bind(&names).bind(&descriptions)).await?;
    Ok(())
}

pub(super) async fn kinds(database: &Database) -> Result<Vec<Kind>, StoreError> {
    const KINDS: &str = "SELECT description FROM task_kinds ORDER BY name";
    let rows = database.fetch_all(|| sqlx::query(KINDS)).await?;
    rows.iter().map(|row| from_json(row.try_get(0)?)).collect()
}
