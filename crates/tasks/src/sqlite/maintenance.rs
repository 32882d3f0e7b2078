//! Statements of the background loops.

use jiff::{SignedDuration, Timestamp};
use miniapp_types::name::QueueName;
use sqlx::{Connection, Executor, Row, SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::multi_row::{MAX_ROWS, MultiRowStatement, Statement};
use crate::column_values::{later_than_skew, micros, signed, span_micros, time, to_json, unsigned};
use crate::engine::{
    DueTask, ExpiredLease, MAX_WRITE_DELAY, StoreError, TakeDue, TakenQueues, TaskGroup,
};
use crate::row::{Columns, due_columns};

pub(super) async fn expired_leases(
    pool: &SqlitePool,
    now: Timestamp,
    latest: Timestamp,
    limit: u32,
) -> Result<Vec<ExpiredLease>, StoreError> {
    const EXPIRED: &str = "SELECT * FROM (SELECT id, version, lease_until FROM tasks \
         WHERE lease_until <= ?1 ORDER BY lease_until LIMIT ?3) UNION ALL \
         SELECT * FROM (SELECT id, version, lease_until FROM tasks \
         WHERE lease_until > ?2 ORDER BY lease_until LIMIT ?3)";
    let query = sqlx::query(EXPIRED).bind(micros(now)).bind(micros(latest)).bind(limit);
    let rows = query.fetch_all(pool).await?;
    rows.iter()
        .map(|row| {
            Ok(ExpiredLease {
                task_id: row.try_get(0)?,
                version: unsigned(row.try_get(1)?),
                until: time(row.try_get(2)?)?,
            })
        })
        .collect()
}

/// Matches tasks for the relay: delayed ones near their time, and ones not dispatched by the
/// process that committed them.
macro_rules! is_due {
    () => {
        "due_at <= ?1 AND (run_at > created_at OR due_at <= ?2)"
    };
}

fn limits(take: &TakeDue) -> (i64, i64) {
    let until = take.now.saturating_add(take.lookahead).unwrap_or(Timestamp::MAX);
    let overdue = take.now.saturating_sub(take.overdue).unwrap_or(Timestamp::MIN);
    (micros(until), micros(overdue))
}

/// Matches the queues of a [`TakeDue`], of which ?3 is a list in JSON.
macro_rules! in_others {
    () => {
        " AND queue <> 'default' AND queue NOT IN (SELECT value FROM json_each(?3))"
    };
}

/// Returns the queues to skip as JSON; `None` for the default queue.
fn skipped(take: &TakeDue) -> Result<Option<String>, StoreError> {
    match &take.queues {
        TakenQueues::Default => Ok(None),
        TakenQueues::OthersExcept(full) => Ok(Some(to_json(full)?)),
    }
}

/// Returns whether [`take_due`] would return tasks, without using the writer.
pub(super) async fn any_due(pool: &SqlitePool, take: &TakeDue) -> Result<bool, StoreError> {
    macro_rules! any {
        ($queues:expr) => {
            concat!("SELECT EXISTS (SELECT 1 FROM tasks WHERE ", is_due!(), $queues, ")")
        };
    }
    const DEFAULT: &str = any!(" AND queue = 'default'");
    const OTHERS: &str = any!(in_others!());
    let (until, overdue) = limits(take);
    let skipped = skipped(take)?;
    let sql = if skipped.is_some() { OTHERS } else { DEFAULT };
    let query = sqlx::query_scalar(sql).bind(until).bind(overdue).bind(skipped);
    Ok(query.fetch_one(pool).await?)
}

pub(super) async fn take_due(
    connection: &mut SqliteConnection,
    take: &TakeDue,
) -> Result<Vec<DueTask>, StoreError> {
    macro_rules! take {
        ($queues:expr) => {
            concat!(
                "UPDATE tasks SET due_at = ?4 WHERE id IN (SELECT id FROM tasks WHERE ",
                is_due!(),
                $queues,
                " ORDER BY due_at LIMIT ?5) RETURNING ",
                due_columns!()
            )
        };
    }
    const DEFAULT: &str = take!(" AND queue = 'default'");
    const OTHERS: &str = take!(in_others!());
    let (until, overdue) = limits(take);
    let invisible_until =
        take.now.saturating_add(take.lookahead + take.visibility_timeout).unwrap_or(Timestamp::MAX);
    let skipped = skipped(take)?;
    let query = sqlx::query(if skipped.is_some() { OTHERS } else { DEFAULT })
        .bind(until)
        .bind(overdue)
        .bind(skipped)
        .bind(micros(invisible_until))
        .bind(take.limit);
    let rows = connection.fetch_all(query).await?;
    rows.iter().map(|row| Columns::new(row).due_task()).collect()
}

static STILL_DUE: MultiRowStatement = MultiRowStatement::new(
    "WITH sent (id, version) AS (VALUES ",
    2,
    ") SELECT sent.id, sent.version FROM sent JOIN tasks ON tasks.id = sent.id \
     WHERE tasks.version = sent.version AND due_at IS NOT NULL",
);

static DISPATCHED: MultiRowStatement = MultiRowStatement::new(
    "WITH sent (id, version, at) AS (VALUES ",
    3,
    ") UPDATE tasks SET due_at = NULL, dispatched_at = sent.at FROM sent \
     WHERE tasks.id = sent.id AND tasks.version = sent.version AND due_at IS NOT NULL",
);

/// Returns those of `tasks` that are still in the outbox.
pub(super) async fn still_due(
    pool: &SqlitePool,
    tasks: &[(Uuid, u64)],
) -> Result<Vec<(Uuid, u64)>, StoreError> {
    let mut due = Vec::new();
    for tasks in tasks.chunks(MAX_ROWS) {
        let statement = STILL_DUE
            .bound(tasks, |statement, (id, version)| statement.bind(id).bind(signed(*version)));
        for row in statement.fetch_all(pool).await? {
            due.push((row.try_get(0)?, unsigned(row.try_get(1)?)));
        }
    }
    Ok(due)
}

pub(super) async fn mark_dispatched(
    connection: &mut SqliteConnection,
    tasks: &[(Uuid, u64)],
    now: Timestamp,
) -> Result<(), StoreError> {
    DISPATCHED
        .execute(connection, tasks, |statement, (id, version)| {
            statement.bind(id).bind(signed(*version)).bind(micros(now))
        })
        .await?;
    Ok(())
}

pub(super) async fn dispatched_groups(
    pool: &SqlitePool,
    before: Timestamp,
) -> Result<Vec<TaskGroup>, StoreError> {
    const GROUPS: &str = "SELECT DISTINCT queue, kind FROM tasks \
         WHERE ready_at IS NOT NULL AND due_at IS NULL AND dispatched_at <= ?";
    let rows = sqlx::query(GROUPS).bind(micros(before)).fetch_all(pool).await?;
    rows.iter().map(|row| Columns::new(row).task_group()).collect()
}

pub(super) async fn redispatch(
    connection: &mut SqliteConnection,
    groups: Option<&[TaskGroup]>,
    before: Timestamp,
    now: Timestamp,
) -> Result<u64, StoreError> {
    // Overdue immediately, so that the relay's next poll finds them.
    macro_rules! again {
        ($group:literal) => {
            concat!(
                "UPDATE tasks SET due_at = min(ready_at, ?2), dispatched_at = NULL \
                 WHERE ready_at IS NOT NULL AND due_at IS NULL AND dispatched_at <= ?1",
                $group
            )
        };
    }
    const ALL: &str = again!("");
    const GROUP: &str = again!(" AND queue = ?3 AND kind = ?4");
    let overdue = now.saturating_sub(SignedDuration::from_secs(60)).unwrap_or(Timestamp::MIN);
    let times = |sql| sqlx::query(sql).bind(micros(before)).bind(micros(overdue));
    let Some(groups) = groups else {
        return Ok(connection.execute(times(ALL)).await?.rows_affected());
    };
    let mut count = 0;
    for TaskGroup { queue, kind } in groups {
        let query = times(GROUP).bind(queue.as_str()).bind(kind);
        count += connection.execute(query).await?.rows_affected();
    }
    Ok(count)
}

static DEFER: MultiRowStatement = MultiRowStatement::new(
    "WITH sent (id, version, until) AS (VALUES ",
    3,
    ") UPDATE tasks SET due_at = sent.until, dispatched_at = NULL, version = tasks.version + 1 \
     FROM sent WHERE tasks.id = sent.id AND tasks.version = sent.version AND ready_at IS NOT NULL",
);

pub(super) async fn defer(
    connection: &mut SqliteConnection,
    tasks: &[(Uuid, u64)],
    until: Timestamp,
) -> Result<(), StoreError> {
    DEFER
        .execute(connection, tasks, |statement, (id, version)| {
            statement.bind(id).bind(signed(*version)).bind(micros(until))
        })
        .await?;
    Ok(())
}

/// Matches parked tasks with the kinds and queues in the JSON lists ?1 and ?2. The time is that of
/// the index.
macro_rules! is_parked {
    () => {
        "due_at = 253402207200999999 AND kind IN (SELECT value FROM json_each(?1)) \
         AND (?2 = '[]' OR queue IN (SELECT value FROM json_each(?2)))"
    };
}

/// Returns whether [`unpark`] would change tasks, without using the writer.
pub(super) async fn any_parked(
    pool: &SqlitePool,
    queues: &[QueueName],
    kinds: &[String],
) -> Result<bool, StoreError> {
    const ANY: &str = concat!("SELECT EXISTS (SELECT 1 FROM tasks WHERE ", is_parked!(), ")");
    let query = sqlx::query_scalar(ANY).bind(to_json(&kinds)?).bind(to_json(&queues)?);
    Ok(query.fetch_one(pool).await?)
}

pub(super) async fn unpark(
    connection: &mut SqliteConnection,
    queues: &[QueueName],
    kinds: &[String],
    now: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    const UNPARK: &str = concat!(
        "UPDATE tasks SET due_at = min(ready_at, ?3) WHERE id IN (SELECT id FROM tasks WHERE ",
        is_parked!(),
        " LIMIT ?4)"
    );
    let overdue = now.saturating_sub(SignedDuration::from_secs(60)).unwrap_or(Timestamp::MIN);
    let query = sqlx::query(UNPARK).bind(to_json(&kinds)?).bind(to_json(&queues)?);
    let query = query.bind(micros(overdue)).bind(limit);
    Ok(connection.execute(query).await?.rows_affected())
}

/// Reads one entry of the index for each queue, however many tasks wait.
pub(super) async fn waiting_queues(
    pool: &SqlitePool,
    limit: u32,
) -> Result<Vec<QueueName>, StoreError> {
    const QUEUES: &str = "WITH RECURSIVE waiting (queue) AS ( \
         SELECT (SELECT min(queue) FROM tasks WHERE ready_at IS NOT NULL AND queue <> 'default') \
         UNION ALL SELECT (SELECT min(tasks.queue) FROM tasks WHERE ready_at IS NOT NULL \
         AND queue <> 'default' AND tasks.queue > waiting.queue) FROM waiting \
         WHERE waiting.queue IS NOT NULL) \
         SELECT queue FROM waiting WHERE queue IS NOT NULL ORDER BY \
         (SELECT min(ready_at) FROM tasks WHERE ready_at IS NOT NULL AND queue <> 'default' \
         AND tasks.queue = waiting.queue) LIMIT ?";
    let rows = sqlx::query(QUEUES).bind(limit).fetch_all(pool).await?;
    rows.iter().map(|row| Columns::new(row).queue()).collect()
}

/// The end of a wait that began after the time ?1, if it had begun at ?1, or ?2 earlier than it
/// did.
macro_rules! restarted {
    () => {
        "max(?1, min(?1 + ready_at - changed_at, ready_at - ?2))"
    };
}

pub(super) async fn restart_waits(
    connection: &mut SqliteConnection,
    now: Timestamp,
    by: SignedDuration,
    overdue: SignedDuration,
) -> Result<u64, StoreError> {
    const WAITING: &str = concat!(
        "UPDATE tasks SET ready_at = ",
        restarted!(),
        ", due_at = ",
        restarted!(),
        " - ?4, run_at = CASE WHEN run_at = ready_at THEN ",
        restarted!(),
        " ELSE run_at END WHERE due_at > ?1 AND changed_at > ?3 \
         AND ready_at > changed_at - ?5 AND (attempt > 0 OR run_at IS NULL OR run_at <= created_at OR run_at <> ready_at)"
    );
    const DISPATCHED: &str = "UPDATE tasks SET dispatched_at = ?1 \
         WHERE ready_at IS NOT NULL AND due_at IS NULL AND dispatched_at > ?2";
    let (at, future) = (micros(now), micros(later_than_skew(now)));
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let waiting = sqlx::query(WAITING)
        .bind(at)
        .bind(span_micros(by))
        .bind(future)
        .bind(span_micros(overdue))
        .bind(span_micros(MAX_WRITE_DELAY));
    let waiting = transaction.execute(waiting).await?.rows_affected();
    let dispatched = transaction.execute(sqlx::query(DISPATCHED).bind(at).bind(future)).await?;
    transaction.commit().await?;
    Ok(waiting + dispatched.rows_affected())
}

pub(super) async fn ids_by_owner(
    pool: &SqlitePool,
    owner: Uuid,
    limit: u32,
) -> Result<Vec<Uuid>, StoreError> {
    const OWNED: &str = "SELECT id FROM tasks WHERE owner = ? AND deleted = 0 LIMIT ?";
    Ok(sqlx::query_scalar(OWNED).bind(owner).bind(limit).fetch_all(pool).await?)
}

/// Matches tasks to purge by their end; deleted tasks have a shorter retention.
macro_rules! is_old {
    () => {
        "(finished_at <= ? OR (deleted = 1 AND finished_at <= ?))"
    };
}

static PURGE: MultiRowStatement = MultiRowStatement::new(
    "WITH old (id) AS (VALUES ",
    1,
    concat!(
        ") DELETE FROM tasks WHERE id IN (SELECT id FROM old) AND ",
        is_old!(),
        " RETURNING id, pages"
    ),
);

/// The pages of timelines after which a purge is full, because deleting them takes time.
const PURGED_PAGES: i64 = 1024;

/// Returns some of the tasks to purge.
pub(super) async fn old(
    pool: &SqlitePool,
    ended: Timestamp,
    removed: Timestamp,
    limit: u32,
) -> Result<Vec<Uuid>, StoreError> {
    const OLD: &str = concat!(
        "SELECT id FROM (SELECT id, sum(pages) OVER (ORDER BY id) - pages AS before FROM (\
         SELECT id, pages FROM tasks WHERE finished_at IS NOT NULL AND ",
        is_old!(),
        " LIMIT ?)) WHERE before < ?"
    );
    let query = sqlx::query_scalar(OLD).bind(micros(ended)).bind(micros(removed)).bind(limit);
    let query = query.bind(PURGED_PAGES);
    Ok(query.fetch_all(pool).await?)
}

/// Returns whether any worker has been silent since `removed`.
pub(super) async fn any_silent(pool: &SqlitePool, removed: Timestamp) -> Result<bool, StoreError> {
    const SILENT: &str = "SELECT EXISTS (SELECT 1 FROM workers WHERE last_seen_at <= ?)";
    Ok(sqlx::query_scalar(SILENT).bind(micros(removed)).fetch_one(pool).await?)
}

/// Deletes those of `tasks` that still match, and workers silent since `removed`. Returns the
/// number of tasks.
pub(super) async fn purge(
    connection: &mut SqliteConnection,
    tasks: &[Uuid],
    ended: Timestamp,
    removed: Timestamp,
) -> Result<u64, StoreError> {
    const PAGES: &str = "DELETE FROM task_timeline_pages WHERE task_id = ?";
    const SILENT: &str = "DELETE FROM workers WHERE last_seen_at <= ?";
    let mut purged = 0;
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    for tasks in tasks.chunks(MAX_ROWS) {
        let statement = PURGE.bound(tasks, Statement::bind);
        let statement = statement.bind(micros(ended)).bind(micros(removed));
        for row in transaction.fetch_all(statement).await? {
            purged += 1;
            if row.try_get::<i64, _>(1)? > 0 {
                let id: Uuid = row.try_get(0)?;
                transaction.execute(sqlx::query(PAGES).bind(id)).await?;
            }
        }
    }
    transaction.execute(sqlx::query(SILENT).bind(micros(removed))).await?;
    transaction.commit().await?;
    Ok(purged)
}

pub(super) async fn ping(pool: &SqlitePool) -> Result<(), StoreError> {
    sqlx::query("SELECT 1 FROM tasks LIMIT 1").fetch_optional(pool).await?;
    Ok(())
}
