//! The store shared by many processes: a PostgreSQL database.

use async_trait::async_trait;
use miniapp_config::Database as Settings;
use miniapp_postgres::{Database, DatabaseError, Transaction};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _};

use super::engine::{Connection, Engine};
use super::statement::Statement;
use crate::store::{Attempt, Result, StoreError, TxError, TxResult};

pub(super) const CLAIM_OUTBOX_MESSAGES: &str = "WITH due AS MATERIALIZED (\
     SELECT id FROM duties WHERE due_at <= $2 AND (kind = 'mail') = ($4 = 1) \
     ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED) \
     UPDATE duties SET due_at = $1, attempts = attempts + 1 FROM due WHERE duties.id = due.id \
     RETURNING duties.id, kind, payload, traceparent, tracestate, baggage, due_at, not_after, \
     attempts - 1";

const GRANTS: &str = include_str!("../../migrations/grants.sql");

/// An account store in a PostgreSQL database.
pub struct PostgresStore {
    database: Database,
}

impl PostgresStore {
    /// Uses the database of `settings`, which may become available later: the first use that
    /// reaches it migrates it.
    pub fn new(settings: &Settings) -> Result<Self> {
        let mut migrations: Migrator = sqlx::migrate!("migrations/postgres");
        // Other crates keep their tables and their own list of migrations in this database.
        migrations.dangerous_set_table_name("accounts_migrations");
        let database = Database::new(settings, Some(migrations))?
            .with_pool_name("accounts")
            .with_grants(GRANTS);
        Ok(Self { database })
    }
}

#[async_trait]
impl Engine for PostgresStore {
    type Row = PgRow;

    const SYSTEM: &'static str = "postgresql";
    // PostgreSQL has no min(uuid) before version 18.
    const OUTBOX_BACKLOG: &'static str = "SELECT kind, count(*), min(id::text)::uuid FROM duties \
         WHERE due_at IS NOT NULL GROUP BY kind";

    async fn ping(&self) -> Result<()> {
        Ok(self.database.ping().await?)
    }

    async fn migrate(&self) -> Result<()> {
        Ok(self.database.migrate().await?)
    }

    async fn read(&self, statement: Statement<'_>) -> Result<Vec<PgRow>> {
        Ok(self.database.fetch_all(|| statement.for_postgres()).await?)
    }

    async fn write(&self, statement: Statement<'_>) -> Result<Vec<PgRow>> {
        self.read(statement).await
    }

    async fn change(&self, statement: Statement<'_>) -> Result<u64> {
        let text = statement.text;
        let text = format!("WITH changed AS ({text} RETURNING 1) SELECT count(*) FROM changed");
        let query = || statement.bind_to(sqlx::query(AssertSqlSafe(text.as_str())));
        let rows = self.database.scan(query).await?;
        let count = rows.first().map(|row| row.try_get::<i64, _>(0)).transpose();
        Ok(count.map_err(DatabaseError::from)?.unwrap_or_default().cast_unsigned())
    }

    async fn claim_outbox_messages(&self, parameters: [i64; 4]) -> Result<Vec<PgRow>> {
        let [until, now, limit, mails] = parameters;
        let claim = Statement::new(CLAIM_OUTBOX_MESSAGES).bind(until).bind(now).bind(limit);
        let claim = claim.bind(mails);
        self.write(claim).await
    }

    /// Runs at SERIALIZABLE: what the attempt read still holds when it commits, or the
    /// commit fails and the attempt is repeated. So it can read first and write then.
    async fn transaction(&self, attempt: &mut dyn Attempt) -> TxResult<()> {
        let mut transaction = self.database.begin().await?;
        match attempt.run(&mut transaction).await {
            Ok(true) => transaction.commit().await?,
            Ok(false) => transaction.rollback().await?,
            Err(conflict @ TxError::Conflict(_)) => {
                transaction.rollback().await?;
                return Err(conflict);
            }
            // Dropping the transaction closes its connection.
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

#[async_trait]
impl Connection for Transaction<'_> {
    type Row = PgRow;

    async fn run(&mut self, statement: Statement<'_>) -> TxResult<Vec<PgRow>> {
        Ok(self.fetch_all(statement.for_postgres()).await?)
    }
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        if error.is_transient() {
            Self::Unavailable(error.to_string())
        } else {
            Self::Broken(error.to_string())
        }
    }
}

impl From<DatabaseError> for TxError {
    fn from(error: DatabaseError) -> Self {
        match error {
            // What was free when the attempt looked was taken when it wrote.
            DatabaseError::Conflict(_) | DatabaseError::ConstraintViolation(_) => {
                Self::Conflict(error.into())
            }
            error => Self::Failed(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use miniapp_test_support::postgres::assert_tables_are_granted;

    use super::*;

    #[test]
    fn grants_name_every_table() {
        let migrations: Migrator = sqlx::migrate!("migrations/postgres");
        assert_tables_are_granted(&migrations, GRANTS);
    }
}
