//! Statements that make a restored database safe to use.

use sqlx::sqlite::SqlitePool;
use sqlx::{Executor as _, SqliteConnection};
use uuid::Uuid;

use crate::column_values::signed;
use crate::engine::StoreError;

pub(super) async fn owners(
    pool: &SqlitePool,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Uuid>, StoreError> {
    const OWNERS: &str =
        "SELECT DISTINCT owner FROM tasks WHERE owner > ? AND deleted = 0 ORDER BY owner LIMIT ?";
    let query = sqlx::query_scalar(OWNERS).bind(after.unwrap_or(Uuid::nil())).bind(limit);
    Ok(query.fetch_all(pool).await?)
}

pub(super) async fn raise_versions(
    connection: &mut SqliteConnection,
    floor: u64,
    limit: u32,
) -> Result<u64, StoreError> {
    const RAISE: &str = "UPDATE tasks SET version = ?1, claim = ?1 - 1, \
         due_at = coalesce(due_at, ready_at), dispatched_at = NULL WHERE id IN \
         (SELECT id FROM tasks WHERE (ready_at IS NOT NULL OR lease_until IS NOT NULL) \
         AND version < ?1 LIMIT ?2)";
    let raised = connection.execute(sqlx::query(RAISE).bind(signed(floor)).bind(limit)).await?;
    Ok(raised.rows_affected())
}
