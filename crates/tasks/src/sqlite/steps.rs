//! Steps that kinds remember.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use sqlx::{Connection as _, Executor as _, Row as _, SqliteConnection, SqlitePool};

use crate::column_values::{raw, signed};
use crate::engine::{Claim, StoreError};

pub(super) async fn load(
    pool: &SqlitePool,
    claim: Claim,
) -> Result<Option<BTreeMap<String, Box<RawValue>>>, StoreError> {
    // A claim that is held has at least one row.
    const STEPS: &str = "SELECT name, task_steps.result FROM tasks LEFT JOIN task_steps \
         ON task_id = id AND task_steps.generation = tasks.generation \
         WHERE id = ? AND claim = ? AND status = 1";
    let query = sqlx::query(STEPS).bind(claim.task_id).bind(signed(claim.token));
    let rows = query.fetch_all(pool).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut steps = BTreeMap::new();
    for row in &rows {
        if let Some(name) = row.try_get(0)? {
            steps.insert(name, raw(row.try_get(1)?)?);
        }
    }
    Ok(Some(steps))
}

pub(super) async fn remember(
    connection: &mut SqliteConnection,
    claim: Claim,
    name: &str,
    result: &RawValue,
) -> Result<bool, StoreError> {
    const HELD: &str = "SELECT generation FROM tasks WHERE id = ? AND claim = ? AND status = 1";
    const FORGET: &str = "DELETE FROM task_steps WHERE task_id = ? AND generation < ?";
    const REMEMBER: &str = "INSERT INTO task_steps (task_id, generation, name, result) \
         VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING";
    let id = claim.task_id;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let held = sqlx::query_scalar(HELD).bind(id).bind(signed(claim.token));
    let held: Option<u32> = held.fetch_optional(&mut *transaction).await?;
    let Some(generation) = held else { return Ok(false) };
    transaction.execute(sqlx::query(FORGET).bind(id).bind(generation)).await?;
    let remember = sqlx::query(REMEMBER).bind(id).bind(generation).bind(name).bind(result.get());
    transaction.execute(remember).await?;
    transaction.commit().await?;
    Ok(true)
}
