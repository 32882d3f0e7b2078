//! Statements of the background loops. See [`super::read`] for the bounded ranges.

use jiff::{SignedDuration, Timestamp};
use miniapp_postgres::Database;
use miniapp_types::name::QueueName;
use sqlx::Row as _;
use uuid::Uuid;

use crate::column_values::{later_than_skew, micros, signed, span_micros, time, unsigned};
use crate::engine::{
    DueTask, ExpiredLease, MAX_WRITE_DELAY, StoreError, TakeDue, TakenQueues, TaskGroup,
};
use crate::row::{Columns, due_columns};

pub(super) async fn expired_leases(
    database: &Database,
    now: Timestamp,
    latest: Timestamp,
    limit: u32,
) -> Result<Vec<ExpiredLease>, StoreError> {
    const EXPIRED: &str = "(SELECT id, version, lease_until FROM tasks \
         WHERE lease_until >= 0 AND lease_until <= $1 ORDER BY lease_until LIMIT $3) UNION ALL \
         (SELECT id, version, lease_until FROM tasks \
         WHERE lease_until > $2 ORDER BY lease_until LIMIT $3)";
    let statement =
        || sqlx::query(EXPIRED).bind(micros(now)).bind(micros(latest)).bind(i64::from(limit));
    let rows = database.fetch_all(statement).await?;
    rows.iter()
        .map(|row| {
            let mut next = Columns::new(row);
            Ok(ExpiredLease {
                task_id: next.read()?,
                version: unsigned(next.read()?),
                until: time(next.read()?)?,
            })
        })
        .collect()
}

pub(super) async fn take_due(
    database: &Database,
    take: &TakeDue,
) -> Result<Vec<DueTask>, StoreError> {
    // Delayed tasks near their time, and tasks not dispatched by the process that committed
    // them. Rows locked by another process are skipped.
    macro_rules! take {
        ($queues:literal) => {
            concat!(
                "WITH due AS MATERIALIZED (SELECT id FROM tasks \
                 WHERE due_at >= 0 AND due_at <= $1 AND (run_at > created_at OR due_at <= $2) AND ",
                $queues,
                " ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED) \
                 UPDATE tasks SET due_at = $3 FROM due WHERE tasks.id = due.id \
                 RETURNING ",
                due_columns!()
            )
        };
    }
    const DEFAULT: &str = take!("queue = 'default'");
    const OTHERS: &str = take!("queue <> 'default' AND queue <> ALL($5)");
    let until = take.now.saturating_add(take.lookahead).unwrap_or(Timestamp::MAX);
    let overdue = take.now.saturating_sub(take.overdue).unwrap_or(Timestamp::MIN);
    let invisible_until =
        take.now.saturating_add(take.lookahead + take.visibility_timeout).unwrap_or(Timestamp::MAX);
    let statement = || {
        let (sql, except) = match &take.queues {
            TakenQueues::Default => (DEFAULT, None),
            TakenQueues::OthersExcept(full) => (OTHERS, Some(full)),
        };
        let statement = sqlx::query(sql)
            .bind(micros(until))
            .bind(micros(overdue))
            .bind(micros(invisible_until))
            .bind(i64::from(take.limit));
        match except {
            None => statement,
            Some(full) => {
                statement.bind(full.iter().map(ToString::to_string).collect::<Vec<String>>())
            }
        }
    };
    let rows = database.fetch_all(statement).await?;
    rows.iter().map(|row| Columns::new(row).due_task()).collect()
}

/// Returns the columns of a list of tasks. It is sorted, so that concurrent statements lock rows in
/// the same order.
fn ids_and_versions(tasks: &[(Uuid, u64)]) -> (Vec<Uuid>, Vec<i64>) {
    let mut tasks = tasks.to_vec();
    tasks.sort_unstable();
    tasks.into_iter().map(|(id, version)| (id, signed(version))).unzip()
}

pub(super) async fn mark_dispatched(
    database: &Database,
    tasks: &[(Uuid, u64)],
    now: Timestamp,
) -> Result<(), StoreError> {
    // Most tasks have been claimed in the meantime; the join skips them without a write.
    const NOTE: &str = "UPDATE tasks SET due_at = NULL, dispatched_at = $3 \
         FROM unnest($1::uuid[], $2::bigint[]) AS sent (id, version) \
         WHERE tasks.id = sent.id AND tasks.version = sent.version AND due_at IS NOT NULL";
    let (ids, versions) = ids_and_versions(tasks);
    let statement = || sqlx::query(NOTE).bind(&ids).bind(&versions).bind(micros(now));
    database.fetch_all(statement).await?;
    Ok(())
}

pub(super) async fn dispatched_groups(
    database: &Database,
    before: Timestamp,
) -> Result<Vec<TaskGroup>, StoreError> {
    const GROUPS: &str = "SELECT DISTINCT queue, kind FROM tasks WHERE dispatched_at >= 0 \
         AND dispatched_at <= $1 AND due_at IS NULL AND ready_at IS NOT NULL";
    let rows = database.scan(|| sqlx::query(GROUPS).bind(micros(before))).await?;
    rows.iter().map(|row| Columns::new(row).task_group()).collect()
}

pub(super) async fn redispatch(
    database: &Database,
    groups: Option<&[TaskGroup]>,
    before: Timestamp,
    now: Timestamp,
) -> Result<u64, StoreError> {
    // Overdue immediately, so that the relay's next poll finds them.
    macro_rules! again {
        ($groups:literal) => {
            concat!(
                "WITH again AS (UPDATE tasks SET due_at = least(ready_at, $2), \
                 dispatched_at = NULL WHERE dispatched_at >= 0 AND dispatched_at <= $1 \
                 AND due_at IS NULL AND ready_at IS NOT NULL",
                $groups,
                " RETURNING 1) SELECT count(*) FROM again"
            )
        };
    }
    const ALL: &str = again!("");
    const SOME: &str =
        again!(" AND (queue, kind) IN (SELECT * FROM unnest($3::text[], $4::text[]))");
    let overdue = now.saturating_sub(SignedDuration::from_secs(60)).unwrap_or(Timestamp::MIN);
    let times = |sql| sqlx::query(sql).bind(micros(before)).bind(micros(overdue));
    let Some(groups) = groups else { return count(database, || times(ALL)).await };
    let statement = || {
        let (queues, kinds): (Vec<&str>, Vec<&str>) =
            groups.iter().map(|group| (group.queue.as_str(), group.kind.as_str())).unzip();
        times(SOME).bind(queues).bind(kinds)
    };
    count(database, statement).await
}

pub(super) async fn defer(
    database: &Database,
    tasks: &[(Uuid, u64)],
    until: Timestamp,
) -> Result<(), StoreError> {
    const DEFER: &str = "UPDATE tasks SET due_at = $3, dispatched_at = NULL, \
         version = tasks.version + 1 FROM unnest($1::uuid[], $2::bigint[]) AS sent (id, version) \
         WHERE tasks.id = sent.id AND tasks.version = sent.version AND ready_at IS NOT NULL";
    let (ids, versions) = ids_and_versions(tasks);
    let statement = || sqlx::query(DEFER).bind(&ids).bind(&versions).bind(micros(until));
    database.fetch_all(statement).await?;
    Ok(())
}

pub(super) async fn unpark(
    database: &Database,
    queues: &[QueueName],
    kinds: &[String],
    now: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    // The time is that of the index.
    const UNPARK: &str = "WITH parked AS MATERIALIZED (SELECT id FROM tasks \
         WHERE due_at = 253402207200999999 AND kind = ANY($1) \
         AND (cardinality($2::text[]) = 0 OR queue = ANY($2)) LIMIT $4 FOR UPDATE SKIP LOCKED), \
         again AS (UPDATE tasks SET due_at = least(ready_at, $3) FROM parked \
         WHERE tasks.id = parked.id RETURNING 1) SELECT count(*) FROM again";
    let overdue = now.saturating_sub(SignedDuration::from_secs(60)).unwrap_or(Timestamp::MIN);
    let queues: Vec<&str> = queues.iter().map(QueueName::as_str).collect();
    let statement = || {
        let statement = sqlx::query(UNPARK).bind(kinds).bind(queues.clone());
        statement.bind(micros(overdue)).bind(i64::from(limit))
    };
    count(database, statement).await
}

/// Reads one entry of the index for each queue, however many tasks wait.
pub(super) async fn waiting_queues(
    database: &Database,
    limit: u32,
) -> Result<Vec<QueueName>, StoreError> {
    const QUEUES: &str = "WITH RECURSIVE waiting (queue, since) AS ( \
         (SELECT queue, ready_at FROM tasks WHERE ready_at IS NOT NULL AND queue <> 'default' \
         ORDER BY queue, ready_at LIMIT 1) \
         UNION ALL SELECT next.queue, next.ready_at FROM waiting, LATERAL ( \
         SELECT queue, ready_at FROM tasks WHERE ready_at IS NOT NULL AND queue <> 'default' \
         AND tasks.queue > waiting.queue ORDER BY queue, ready_at LIMIT 1) AS next) \
         SELECT queue FROM waiting ORDER BY since LIMIT $1";
    let rows = database.fetch_all(|| sqlx::query(QUEUES).bind(i64::from(limit))).await?;
    rows.iter().map(|row| Columns::new(row).queue()).collect()
}

pub(super) async fn restart_waits(
    database: &Database,
    now: Timestamp,
    by: SignedDuration,
    overdue: SignedDuration,
) -> Result<u64, StoreError> {
    const RESTART: &str = "WITH waiting AS MATERIALIZED (SELECT id, \
         greatest($1, least($1 + ready_at - changed_at, ready_at - $2)) AS again FROM tasks \
         WHERE due_at > $1 AND changed_at > $3 AND ready_at > changed_at - $5 \
         AND (attempt > 0 OR run_at IS NULL OR run_at <= created_at OR run_at <> ready_at) \
         ORDER BY id FOR UPDATE SKIP LOCKED), \
         restarted AS (UPDATE tasks SET ready_at = again, due_at = again - $4, \
         run_at = CASE WHEN run_at = ready_at THEN again ELSE run_at END \
         FROM waiting WHERE tasks.id = waiting.id RETURNING 1), \
         sent AS MATERIALIZED (SELECT id FROM tasks WHERE dispatched_at > $3 AND due_at IS NULL \
         AND ready_at IS NOT NULL ORDER BY id FOR UPDATE SKIP LOCKED), \
         dispatched AS (UPDATE tasks SET dispatched_at = $1 FROM sent WHERE tasks.id = sent.id \
         RETURNING 1) SELECT (SELECT count(*) FROM restarted) + (SELECT count(*) FROM dispatched)";
    let statement = || {
        sqlx::query(RESTART)
            .bind(micros(now))
            .bind(span_micros(by))
            .bind(micros(later_than_skew(now)))
            .bind(span_micros(overdue))
            .bind(span_micros(MAX_WRITE_DELAY))
    };
    count(database, statement).await
}

pub(super) async fn ids_by_owner(
    database: &Database,
    owner: Uuid,
    limit: u32,
) -> Result<Vec<Uuid>, StoreError> {
    const OWNED: &str = "SELECT id FROM tasks WHERE owner = $1 AND NOT deleted LIMIT $2";
    let statement = || sqlx::query(OWNED).bind(owner).bind(i64::from(limit));
    ids(database.fetch_all(statement).await?.iter())
}

pub(super) async fn purge(
    database: &Database,
    ended: Timestamp,
    removed: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    // Deleting the pages of long timelines takes time, so their number is limited, too.
    const PURGE: &str = "WITH ended AS MATERIALIZED (SELECT id, pages FROM tasks \
         WHERE status >= 2 AND finished_at >= 0 AND finished_at <= $1 \
         ORDER BY finished_at LIMIT $3 FOR UPDATE SKIP LOCKED), \
         removed AS MATERIALIZED (SELECT id, pages FROM tasks \
         WHERE deleted AND finished_at >= 0 AND finished_at <= $2 \
         ORDER BY finished_at LIMIT $3 FOR UPDATE SKIP LOCKED), \
         old AS MATERIALIZED (SELECT id FROM (SELECT id, \
         sum(pages) OVER (ORDER BY id) - pages AS before \
         FROM (SELECT * FROM ended UNION SELECT * FROM removed LIMIT $3) AS matching) AS counted \
         WHERE before < 4096), \
         gone AS (DELETE FROM tasks USING old WHERE tasks.id = old.id RETURNING tasks.id, pages), \
         pages AS (DELETE FROM task_timeline_pages USING gone \
         WHERE task_id = gone.id AND gone.pages > 0), \
         silent AS (DELETE FROM workers WHERE last_seen_at <= $2) SELECT count(*) FROM gone";
    let statement =
        || sqlx::query(PURGE).bind(micros(ended)).bind(micros(removed)).bind(i64::from(limit));
    count(database, statement).await
}

async fn count<'q>(
    database: &Database,
    statement: impl Fn() -> miniapp_postgres::Statement<'q>,
) -> Result<u64, StoreError> {
    let rows = database.scan(statement).await?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?.map_or(0, unsigned))
}

fn ids<'r>(rows: impl Iterator<Item = &'r sqlx::postgres::PgRow>) -> Result<Vec<Uuid>, StoreError> {
    rows.map(|row| Ok(row.try_get(0)?)).collect()
}
