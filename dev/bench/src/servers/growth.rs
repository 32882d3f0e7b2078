//! Fills the database with tasks faster than running them would.

use sqlx::Executor as _;

use super::platform::Platform;

/// Fills the database up to `stored` ended tasks. Half of them belong to the account that
/// has tasks already, the others to a thousand more accounts. One in ten is canceled or
/// failed. Their ids sort before those of new tasks.
pub async fn fill(platform: &Platform<'_>, stored: u64) -> anyhow::Result<()> {
    let mut connection = platform.connect().await?;
    let fill = sqlx::query(
        "INSERT INTO tasks (id, owner, created_at, changed_at, version, claim, progress, \
         started_at, finished_at, ttl, max_attempts, attempt, status, kind, description, data, \
         result, worker, timeline) \
         SELECT ('01800000' || substr(md5(n::text), 9))::uuid, \
         CASE WHEN n % 2 = 0 THEN old.owner ELSE md5((n % 1000)::text)::uuid END, \
         old.created_at - n * 1000, old.changed_at - n * 1000, old.version, old.claim, \
         old.progress, old.started_at - n * 1000, old.finished_at - n * 1000, old.ttl, \
         old.max_attempts, old.attempt, \
         CASE n % 20 WHEN 0 THEN 3 WHEN 1 THEN 4 ELSE 2 END, old.kind, old.description, \
         old.data, old.result, old.worker, old.timeline \
         FROM (SELECT * FROM tasks WHERE status = 2 LIMIT 1) AS old, \
         generate_series(1, $1 - (SELECT count(*) FROM tasks)) AS n",
    );
    fill.bind(i64::try_from(stored)?).execute(&mut connection).await?;
    connection.execute("VACUUM ANALYZE tasks").await?;
    connection.execute("CHECKPOINT").await?;
    Ok(())
}
