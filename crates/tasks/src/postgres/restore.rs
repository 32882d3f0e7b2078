//! Statements that make a restored database safe to use.

use miniapp_postgres::Database;
use sqlx::Row as _;
use uuid::Uuid;

use crate::column_values::{signed, unsigned};
use crate::engine::StoreError;

pub(super) async fn owners(
    database: &Database,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Uuid>, StoreError> {
    const OWNERS: &str =
        "SELECT DISTINCT owner FROM tasks WHERE owner > $1 AND NOT deleted ORDER BY owner LIMIT $2";
    let after = after.unwrap_or(Uuid::nil());
    let rows = database.scan(|| sqlx::query(OWNERS).bind(after).bind(i64::from(limit))).await?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

pub(super) async fn raise_versions(
    database: &Database,
    floor: u64,
    limit: u32,
) -> Result<u64, StoreError> {
    const RAISE: &str = "WITH old AS MATERIALIZED (SELECT id FROM tasks \
         WHERE (ready_at IS NOT NULL OR lease_until IS NOT NULL) AND version < $1 LIMIT $2), \
         raised AS (UPDATE tasks SET version = $1, claim = $1 - 1, \
         due_at = coalesce(due_at, ready_at), dispatched_at = NULL \
         FROM old WHERE tasks.id = old.id RETURNING 1) SELECT count(*) FROM raised";
    let statement = || sqlx::query(RAISE).bind(signed(floor)).bind(i64::from(limit));
    let rows = database.scan(statement).await?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?.map_or(0, unsigned))
}
