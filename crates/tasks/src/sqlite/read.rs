//! Queries.

use jiff::{SignedDuration, Timestamp};
use miniapp_types::task::{ByStatus, QueueStatus, Stats, Status};
use sqlx::{AssertSqlSafe, QueryBuilder, Row, Sqlite, SqlitePool};
use uuid::Uuid;

use crate::column_values::{self, micros, time, unsigned};
use crate::domain::Task;
use crate::engine::{Backlog, Filter, InvariantReport, StoreError};
use crate::invariants::{self, INVARIANTS};
use crate::row::{Columns, columns};

pub(super) async fn load(pool: &SqlitePool, ids: &[Uuid]) -> Result<Vec<Task>, StoreError> {
    const HEAD: &str = concat!("SELECT ", columns!(), " FROM tasks WHERE id IN (");
    // Few sizes, so that the statements stay prepared. Unbound parameters are null and match
    // nothing.
    let marks = "?, ".repeat(ids.len().next_power_of_two() - 1);
    let mut query = sqlx::query(AssertSqlSafe(format!("{HEAD}{marks}?)")));
    for id in ids {
        query = query.bind(id);
    }
    query.fetch_all(pool).await?.iter().map(|row| Columns::new(row).task()).collect()
}

pub(super) async fn list(pool: &SqlitePool, filter: &Filter) -> Result<Vec<Task>, StoreError> {
    // The sizes first, which SQLite knows without reading large values.
    let mut query: QueryBuilder<Sqlite> = QueryBuilder::new(
        "WITH page AS MATERIALIZED (SELECT id AS listed, octet_length(data) \
         + coalesce(octet_length(result), 0) AS bytes FROM tasks WHERE deleted = 0",
    );
    if let Some(owner) = filter.owner {
        query.push(" AND owner = ").push_bind(owner);
    }
    if let Some(id) = filter.id {
        query.push(" AND id = ").push_bind(id);
    }
    if let Some(status) = filter.status {
        // Literals, so that partial indexes can be used.
        query.push(match status {
            Status::Awaiting => " AND status = 0 AND ready_at IS NOT NULL",
            Status::Executing => " AND status = 1 AND lease_until IS NOT NULL",
            Status::Finished => " AND +status = 2",
            Status::Canceled => " AND status = 3",
            Status::Failed => " AND status = 4",
        });
    }
    if let Some(kind) = &filter.kind {
        query.push(" AND kind = ").push_bind(kind.clone());
    }
    if let Some(before) = filter.before {
        query.push(" AND id < ").push_bind(before);
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(filter.limit);
    query.push(concat!(
        "), sums AS (SELECT listed, sum(bytes) OVER (ORDER BY listed DESC) - bytes AS newer \
         FROM page) SELECT ",
        columns!(),
        " FROM sums CROSS JOIN tasks ON id = listed WHERE newer < "
    ));
    query.push_bind(filter.max_bytes.map_or(i64::MAX, i64::from)).push(" ORDER BY id DESC");
    query.build().fetch_all(pool).await?.iter().map(|row| Columns::new(row).task()).collect()
}

pub(super) async fn stats(
    pool: &SqlitePool,
    owner: Option<Uuid>,
    now: Timestamp,
) -> Result<Stats, StoreError> {
    let minute_ago = now.saturating_sub(SignedDuration::from_mins(1)).unwrap_or(Timestamp::MIN);
    let scoped = |query: &mut QueryBuilder<Sqlite>| {
        if let Some(owner) = owner {
            query.push(" AND owner = ").push_bind(owner);
        }
    };
    let mut by_status = ByStatus::default();
    // One snapshot, so that no task is counted in two states.
    let mut snapshot = pool.begin().await?;
    // Each part is counted in its own index.
    for part in [
        "ready_at IS NOT NULL",
        "lease_until IS NOT NULL",
        "finished_at IS NOT NULL AND deleted = 0",
    ] {
        let mut counts = QueryBuilder::new("SELECT status, count(*) FROM tasks WHERE ");
        counts.push(part);
        scoped(&mut counts);
        counts.push(" GROUP BY status");
        for (status, count) in
            counts.build_query_as::<(i16, i64)>().fetch_all(&mut *snapshot).await?
        {
            *count_of(&mut by_status, status)? = unsigned(count);
        }
    }
    let mut waiting = QueryBuilder::new(
        "SELECT count(*), min(ready_at) FROM tasks WHERE ready_at IS NOT NULL AND ready_at <= ",
    );
    waiting.push_bind(micros(now));
    scoped(&mut waiting);
    let (depth, oldest): (i64, Option<i64>) =
        waiting.build_query_as().fetch_one(&mut *snapshot).await?;
    let mut finished = QueryBuilder::new(
        "SELECT count(*) FROM tasks WHERE status = 2 AND deleted = 0 AND finished_at >= ",
    );
    finished.push_bind(micros(minute_ago));
    scoped(&mut finished);
    let (finished,): (i64,) = finished.build_query_as().fetch_one(&mut *snapshot).await?;
    let waited = oldest.map(time).transpose()?.map(|oldest| now.duration_since(oldest));
    Ok(Stats {
        by_status,
        queue_depth: unsigned(depth),
        oldest_wait_seconds: waited.map_or(0.0, |waited| waited.as_secs_f64()),
        finished_per_minute: unsigned(finished),
    })
}

pub(super) async fn queues(
    pool: &SqlitePool,
    owner: Option<Uuid>,
    now: Timestamp,
) -> Result<Vec<QueueStatus>, StoreError> {
    let mut query: QueryBuilder<Sqlite> =
        QueryBuilder::new("SELECT queue, count(*) FILTER (WHERE ready_at <= ");
    query.push_bind(micros(now));
    query.push("), count(*) FILTER (WHERE lease_until IS NOT NULL), min(ready_at) FROM (");
    for (part, condition) in ["ready_at IS NOT NULL", "lease_until IS NOT NULL"].iter().enumerate()
    {
        query.push(if part > 0 { " UNION ALL " } else { "" });
        query.push("SELECT queue, ready_at, lease_until FROM tasks WHERE ").push(condition);
        if let Some(owner) = owner {
            query.push(" AND owner = ").push_bind(owner);
        }
    }
    query.push(") GROUP BY queue ORDER BY queue");
    let rows = query.build().fetch_all(pool).await?;
    rows.iter().map(|row| Columns::new(row).queue_status(now)).collect()
}

pub(super) async fn backlog(
    pool: &SqlitePool,
    now: Timestamp,
    visibility_deadline: Timestamp,
    limit: u32,
) -> Result<Backlog, StoreError> {
    const COUNT: &str = "SELECT * FROM \
         (SELECT count(*) FILTER (WHERE ready_at > ?1), count(*) FILTER (WHERE ready_at <= ?1), \
         min(ready_at) FILTER (WHERE ready_at <= ?1) FROM (SELECT ready_at FROM tasks \
         WHERE due_at <= ?2 ORDER BY due_at LIMIT ?3)), \
         (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE due_at > ?2 LIMIT ?3)), \
         (SELECT count(*), min(dispatched_at) FROM (SELECT dispatched_at FROM tasks \
         WHERE ready_at <= ?1 AND due_at IS NULL LIMIT ?3)), \
         (SELECT count(*) FROM (SELECT 1 FROM tasks WHERE lease_until IS NOT NULL LIMIT ?3))";
    let query = sqlx::query(COUNT).bind(micros(now)).bind(micros(visibility_deadline)).bind(limit);
    let row = query.fetch_one(pool).await?;
    let count = |column| Ok::<_, StoreError>(unsigned(row.try_get(column)?));
    let since = |column| row.try_get::<Option<i64>, _>(column)?.map(time).transpose();
    Ok(Backlog {
        outbox: count(1)?,
        outbox_since: since(2)?,
        delayed: count(0)? + count(3)?,
        queued: count(4)?,
        queued_since: since(5)?,
        running: count(6)?,
    })
}

pub(super) async fn check_invariants(
    pool: &SqlitePool,
    now: Timestamp,
) -> Result<Vec<InvariantReport>, StoreError> {
    // One snapshot, so that the examples match the counts.
    let mut snapshot = pool.begin().await?;
    let counts =
        sqlx::query(AssertSqlSafe(invariants::counts(now))).fetch_one(&mut *snapshot).await?;
    let mut reports = Vec::with_capacity(INVARIANTS.len());
    for (column, invariant) in INVARIANTS.iter().enumerate() {
        let violations = unsigned(counts.try_get(column)?);
        let examples = if violations == 0 {
            Vec::new()
        } else {
            let examples = sqlx::query_scalar(AssertSqlSafe(invariant.examples(now)));
            examples.fetch_all(&mut *snapshot).await?
        };
        reports.push(InvariantReport { invariant: invariant.name, violations, examples });
    }
    Ok(reports)
}

fn count_of(counts: &mut ByStatus, code: i16) -> Result<&mut u64, StoreError> {
    Ok(match column_values::status(code)? {
        Status::Awaiting => &mut counts.awaiting,
        Status::Executing => &mut counts.executing,
        Status::Finished => &mut counts.finished,
        Status::Canceled => &mut counts.canceled,
        Status::Failed => &mut counts.failed,
    })
}
