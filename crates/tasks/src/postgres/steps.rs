//! Steps that kinds remember.

use std::collections::BTreeMap;

use miniapp_postgres::Database;
use serde_json::value::RawValue;

use crate::column_values::{raw, signed};
use crate::engine::{Claim, StoreError};
use crate::row::Columns;

pub(super) async fn load(
    database: &Database,
    claim: Claim,
) -> Result<Option<BTreeMap<String, Box<RawValue>>>, StoreError> {
    // A claim that is held has at least one row.
    const STEPS: &str = "SELECT name, task_steps.result FROM tasks LEFT JOIN task_steps \
         ON task_id = id AND task_steps.generation = tasks.generation \
         WHERE id = $1 AND claim = $2 AND status = 1";
    let statement = || sqlx::query(STEPS).bind(claim.task_id).bind(signed(claim.token));
    let rows = database.fetch_all(statement).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut steps = BTreeMap::new();
    for row in &rows {
        let mut next = Columns::new(row);
        if let Some(name) = next.read()? {
            steps.insert(name, raw(next.read()?)?);
        }
    }
    Ok(Some(steps))
}

pub(super) async fn remember(
    database: &Database,
    claim: Claim,
    name: &str,
    result: &RawValue,
) -> Result<bool, StoreError> {
    // The lock lets no other worker claim the task before this commits.
    const REMEMBER: &str = "WITH held AS MATERIALIZED (SELECT id, generation FROM tasks \
         WHERE id = $1 AND claim = $2 AND status = 1 FOR SHARE), \
         forgotten AS (DELETE FROM task_steps USING held \
         WHERE task_id = held.id AND task_steps.generation < held.generation), \
         remembered AS (INSERT INTO task_steps (task_id, generation, name, result) \
         SELECT id, generation, $3, $4 FROM held ON CONFLICT DO NOTHING) SELECT 1 FROM held";
    let statement = || {
        sqlx::query(REMEMBER)
            .bind(claim.task_id)
            .bind(signed(claim.token))
            .bind(name)
            .bind(result.get())
    };
    Ok(!database.fetch_all(statement).await?.is_empty())
}
