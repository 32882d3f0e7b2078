//! Migrations, applied by the first use that reaches the database.

use std::time::Duration;

use sqlx::Executor as _;
use sqlx::migrate::Migrator;
use tokio::sync::OnceCell;

use crate::error::DatabaseError;
use crate::pool::Pool;

/// The advisory lock of migrating processes: "miniapp" in ASCII.
const MIGRATION_LOCK: i64 = 0x006d_696e_6961_7070;
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The migrations of one store.
pub(crate) struct Migrations {
    migrator: Option<Migrator>,
    applied: OnceCell<()>,
}

impl Migrations {
    pub fn new(migrator: Option<Migrator>) -> Self {
        let migrator = migrator.map(|mut migrator| {
            // An older replica may start while newer ones run, because a newer schema serves
            // it, too. Locking is done below.
            migrator.set_ignore_missing(true).set_locking(false);
            migrator
        });
        Self { migrator, applied: OnceCell::new() }
    }

    /// Applies the migrations unless this has succeeded before.
    pub async fn ensure_applied(&self, pool: &Pool) -> Result<(), DatabaseError> {
        self.applied.get_or_try_init(|| self.apply(pool)).await.copied()
    }

    /// Applies the migrations; one process at a time.
    async fn apply(&self, pool: &Pool) -> Result<(), DatabaseError> {
        const TRY_LOCK: &str = "SELECT pg_try_advisory_lock($1)";
        let Some(migrator) = &self.migrator else { return Ok(()) };
        // A separate connection: closing it releases the lock, and no timeouts apply.
        let mut connection = pool.connect_bare().await?;
        // "Relation already exists" is expected.
        connection.execute("SET client_min_messages = warning").await?;
        // Polling, because a session that waits for the lock holds a snapshot, and CREATE
        // INDEX CONCURRENTLY waits for all older snapshots.
        while !sqlx::query_scalar(TRY_LOCK).bind(MIGRATION_LOCK).fetch_one(&mut connection).await? {
            tokio::time::sleep(LOCK_POLL_INTERVAL).await;
        }
        // The future of `run` is not `Send`; this is the same call.
        migrator.run_direct(None, &mut connection, false).await?;
        Ok(())
    }
}
