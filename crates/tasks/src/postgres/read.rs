//! Queries.
//!
//! Conditions on nullable time columns are bounded on both sides, although one bound would
//! do. Without statistics, as on a new table, PostgreSQL estimates that a one-sided bound or
//! `IS NOT NULL` matches a large part of the table, and a range half a percent: only then
//! does it use the partial indexes. `docs/adr/0041-query-plans.md` has the measurements.

use jiff::{SignedDuration, Timestamp};
use miniapp_postgres::Database;
use miniapp_types::task::{ByStatus, QueueStatus, Stats, Status};
use sqlx::{AssertSqlSafe, Row as _};
use uuid::Uuid;

use super::values::text;
use crate::column_values::{micros, unsigned};
use crate::domain::Task;
use crate::engine::{Backlog, Filter, InvariantReport, StoreError};
use crate::invariants::{self, INVARIANTS};
use crate::row::{Columns, columns};

pub(super) async fn load(database: &Database, ids: &[Uuid]) -> Result<Vec<Task>, StoreError> {
    const LOAD: &str = concat!("SELECT ", columns!(), " FROM tasks WHERE id = ANY($1)");
    let rows = database.fetch_all(|| sqlx::query(LOAD).bind(ids)).await?;
    rows.iter().map(|row| Columns::new(row).task()).collect()
}

pub(super) async fn list(database: &Database, filter: &Filter) -> Result<Vec<Task>, StoreError> {
    let sql = list_text(filter);
    // The id before the cursor.
    let last =
        filter.before.map_or(Uuid::max(), |id| Uuid::from_u128(id.as_u128().saturating_sub(1)));
    let statement = || {
        let mut statement = sqlx::query(AssertSqlSafe(sql.as_str()));
        let enough = filter.max_bytes.map_or(i64::MAX, i64::from);
        statement = statement.bind(last).bind(i64::from(filter.limit)).bind(enough);
        if let Some(owner) = filter.owner {
            statement = statement.bind(owner);
        }
        if let Some(id) = filter.id {
            statement = statement.bind(id);
        }
        match &filter.kind {
            Some(kind) => statement.bind(text(kind)),
            None => statement,
        }
    };
    database.fetch_all(statement).await?.iter().map(|row| Columns::new(row).task()).collect()
}

/// Returns the statement for a combination of filters; each is prepared once.
///
/// A generic plan has to be good for owners of a million tasks and of one. So the conditions
/// and the order match one index from its first column on, and no other index provides the
/// order: waiting tasks are selected by `ready_at` alone, as `NOT deleted` would also match
/// `tasks_by_owner`.
///
/// Planning takes as long as reading a page. PostgreSQL keeps a generic plan only if it looks as
/// cheap as one for the given values, and it estimates a range with one bound at a third of the
/// table. So ranges have two bounds, also where one of them excludes nothing.
///
/// Large values are stored out of line, their sizes in the row. So the page is cut by size
/// before the values are read.
fn list_text(filter: &Filter) -> String {
    const ID_RANGE: &str = "id >= '00000000-0000-0000-0000-000000000000' AND id <= $1";
    let part = match filter.status {
        // Exactly the waiting tasks have a `ready_at`.
        None | Some(Status::Awaiting) => "",
        // Few at any time, so all of them are read.
        Some(Status::Executing) => " AND status = 1",
        Some(Status::Finished) => " AND status = 2",
        Some(Status::Canceled) => " AND status = 3",
        Some(Status::Failed) => " AND status = 4",
    };
    let (with, from) = match filter.status {
        Some(Status::Executing) => (
            "running AS MATERIALIZED (SELECT * FROM tasks \
             WHERE lease_until >= 0 AND lease_until <= 9223372036854775807), ",
            "running",
        ),
        _ => ("", "tasks"),
    };
    let visible = if filter.status == Some(Status::Awaiting) {
        "ready_at IS NOT NULL"
    } else {
        "NOT deleted"
    };
    let mut numbers = 4..;
    let mut next = || numbers.next().unwrap_or_default();
    let (range, order) = match filter.owner.map(|_| next()) {
        Some(owner) => (
            format!(
                "(owner, id) <= (${owner}, $1) AND owner >= ${owner} AND owner <= ${owner} \
                 AND {ID_RANGE}"
            ),
            "owner DESC, id DESC",
        ),
        None => (ID_RANGE.to_owned(), "id DESC"),
    };
    let id = filter.id.map(|_| format!(" AND id = ${}", next())).unwrap_or_default();
    let kind = filter.kind.as_ref().map(|_| format!(" AND kind = ${}", next())).unwrap_or_default();
    format!(
        "WITH {with}page AS MATERIALIZED (SELECT {columns}, octet_length(data) \
         + coalesce(octet_length(result), 0) AS bytes FROM {from} \
         WHERE {visible} AND {range}{part}{id}{kind} ORDER BY {order} LIMIT $2), \
         sums AS (SELECT *, sum(bytes) OVER (ORDER BY id DESC) - bytes AS newer FROM page) \
         SELECT {columns} FROM sums WHERE newer < $3 ORDER BY id DESC",
        columns = columns!()
    )
}

pub(super) async fn stats(
    database: &Database,
    owner: Option<Uuid>,
    now: Timestamp,
) -> Result<Stats, StoreError> {
    let minute_ago = now.saturating_sub(SignedDuration::from_mins(1)).unwrap_or(Timestamp::MIN);
    let scope = if owner.is_some() { " AND owner = $3" } else { "" };
    // Each part is counted in its own index.
    let sql = format!(
        "SELECT * FROM (SELECT count(*), count(*) FILTER (WHERE ready_at <= $1), min(ready_at) \
         FROM tasks WHERE ready_at IS NOT NULL{scope}) AS waiting, \
         (SELECT count(*) FROM tasks WHERE lease_until >= 0 \
         AND lease_until <= 9223372036854775807{scope}) AS running, \
         (SELECT count(*) FILTER (WHERE status = 2), count(*) FILTER (WHERE status = 3), \
         count(*) FILTER (WHERE status = 4), \
         count(*) FILTER (WHERE status = 2 AND finished_at >= $2) \
         FROM tasks WHERE finished_at IS NOT NULL AND NOT deleted{scope}) AS ended"
    );
    let statement = || {
        let statement = sqlx::query(AssertSqlSafe(sql.as_str()));
        let statement = statement.bind(micros(now)).bind(micros(minute_ago));
        if let Some(owner) = owner { statement.bind(owner) } else { statement }
    };
    let rows = if owner.is_some() {
        database.fetch_all(statement).await?
    } else {
        database.scan(statement).await?
    };
    let row = rows.first().ok_or_else(|| StoreError::Internal("counts without a row".into()))?;
    let mut next = Columns::new(row);
    let awaiting = unsigned(next.read()?);
    let queue_depth = unsigned(next.read()?);
    let oldest = next.time()?.filter(|oldest| *oldest <= now);
    let mut count = || next.read().map(unsigned);
    let by_status = ByStatus {
        awaiting,
        executing: count()?,
        finished: count()?,
        canceled: count()?,
        failed: count()?,
    };
    Ok(Stats {
        by_status,
        queue_depth,
        oldest_wait_seconds: oldest.map_or(0.0, |at| now.duration_since(at).as_secs_f64()),
        finished_per_minute: count()?,
    })
}

pub(super) async fn queues(
    database: &Database,
    owner: Option<Uuid>,
    now: Timestamp,
) -> Result<Vec<QueueStatus>, StoreError> {
    let scope = if owner.is_some() { " AND owner = $2" } else { "" };
    // Each part is read from its own index.
    let sql = format!(
        "SELECT queue, count(*) FILTER (WHERE ready_at <= $1), \
         count(*) FILTER (WHERE lease_until IS NOT NULL), min(ready_at) FROM ( \
         SELECT queue, ready_at, lease_until FROM tasks WHERE ready_at IS NOT NULL{scope} \
         UNION ALL SELECT queue, ready_at, lease_until FROM tasks WHERE lease_until >= 0 \
         AND lease_until <= 9223372036854775807{scope}) AS unfinished GROUP BY queue ORDER BY queue"
    );
    let statement = || {
        let statement = sqlx::query(AssertSqlSafe(sql.as_str())).bind(micros(now));
        if let Some(owner) = owner { statement.bind(owner) } else { statement }
    };
    let rows = if owner.is_some() {
        database.fetch_all(statement).await?
    } else {
        database.scan(statement).await?
    };
    rows.iter().map(|row| Columns::new(row).queue_status(now)).collect()
}

pub(super) async fn backlog(
    database: &Database,
    now: Timestamp,
    visibility_deadline: Timestamp,
    limit: u32,
) -> Result<Backlog, StoreError> {
    // Each part is read from its own partial index, in index order.
    const COUNT: &str = "SELECT * FROM \
         (SELECT count(*) FILTER (WHERE ready_at > $1), count(*) FILTER (WHERE ready_at <= $1), \
         min(ready_at) FILTER (WHERE ready_at <= $1) FROM (SELECT ready_at FROM tasks \
         WHERE due_at >= 0 AND due_at <= $2 ORDER BY due_at LIMIT $3) AS first) AS due, \
         (SELECT count(*) FROM (SELECT FROM tasks WHERE due_at > $2 \
         AND due_at <= 9223372036854775807 ORDER BY due_at LIMIT $3) AS first) AS later, \
         (SELECT count(*), min(dispatched_at) FROM (SELECT dispatched_at FROM tasks \
         WHERE dispatched_at >= 0 AND dispatched_at <= 9223372036854775807 \
         ORDER BY dispatched_at LIMIT $3) AS first) AS sent, \
         (SELECT count(*) FROM (SELECT FROM tasks WHERE lease_until >= 0 \
         AND lease_until <= 9223372036854775807 \
         ORDER BY lease_until LIMIT $3) AS first) AS running";
    let statement = || {
        let statement = sqlx::query(COUNT).bind(micros(now)).bind(micros(visibility_deadline));
        statement.bind(i64::from(limit))
    };
    let row = database.fetch_optional(statement).await?;
    let row = row.ok_or_else(|| StoreError::Internal("counts without a row".into()))?;
    let mut next = Columns::new(&row);
    let soon = unsigned(next.read()?);
    Ok(Backlog {
        outbox: unsigned(next.read()?),
        outbox_since: next.time()?,
        delayed: soon + unsigned(next.read()?),
        queued: unsigned(next.read()?),
        queued_since: next.time()?,
        running: unsigned(next.read()?),
    })
}

pub(super) async fn check_invariants(
    database: &Database,
    now: Timestamp,
) -> Result<Vec<InvariantReport>, StoreError> {
    let sql = invariants::counts(now);
    let counts = database.scan(|| sqlx::query(AssertSqlSafe(sql.as_str()))).await?;
    let counts =
        counts.first().ok_or_else(|| StoreError::Internal("counts without a row".into()))?;
    let mut reports = Vec::with_capacity(INVARIANTS.len());
    for (column, invariant) in INVARIANTS.iter().enumerate() {
        let violations = unsigned(counts.try_get(column)?);
        let mut examples = Vec::new();
        if violations > 0 {
            let sql = invariant.examples(now);
            for row in database.scan(|| sqlx::query(AssertSqlSafe(sql.as_str()))).await? {
                examples.push(row.try_get(0)?);
            }
        }
        reports.push(InvariantReport { invariant: invariant.name, violations, examples });
    }
    Ok(reports)
}
