//! The lease of a process that uses the database alone.

use std::time::Duration;

use miniapp_postgres::Database;
use sqlx::Row as _;
use uuid::Uuid;

use super::values::text;
use crate::column_values::unsigned;
use crate::engine::{LeaseHolder, StoreError};

pub(super) async fn take(
    database: &Database,
    holder: Uuid,
    process: &str,
    ttl: Duration,
) -> Result<Option<LeaseHolder>, StoreError> {
    // Now is `excluded.expires_at - $3`.
    const TAKE: &str = "WITH taken AS (INSERT INTO process_lease AS lease \
         (id, holder, process, renewals, expires_at) VALUES \
         (1, $1, $2, 0, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + $3) \
         ON CONFLICT (id) DO UPDATE SET holder = excluded.holder, process = excluded.process, \
         renewals = lease.renewals + 1, expires_at = excluded.expires_at \
         WHERE lease.holder = excluded.holder OR lease.expires_at <= excluded.expires_at - $3 \
         RETURNING 1) \
         SELECT EXISTS (SELECT FROM taken), (SELECT process FROM process_lease), \
         (SELECT renewals FROM process_lease)";
    let ttl = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
    let statement = || sqlx::query(TAKE).bind(holder).bind(text(process)).bind(ttl);
    let row = database.fetch_optional(statement).await?;
    let row = row.ok_or_else(|| StoreError::Internal("a lease without a row".into()))?;
    if row.try_get(0)? {
        return Ok(None);
    }
    // Both are null if the lease was taken during the statement.
    let process = row.try_get::<Option<String>, _>(1)?.unwrap_or_default();
    let renewals = unsigned(row.try_get::<Option<i64>, _>(2)?.unwrap_or_default());
    Ok(Some(LeaseHolder { process, renewals }))
}

pub(super) async fn release(database: &Database, holder: Uuid) -> Result<(), StoreError> {
    const RELEASE: &str = "DELETE FROM process_lease WHERE holder = $1";
    database.fetch_all(|| sqlx::query(RELEASE).bind(holder)).await?;
    Ok(())
}
