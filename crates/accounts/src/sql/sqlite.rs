//! The embedded store: a SQLite file in WAL mode with one connection that writes and a few
//! that read.

use async_trait::async_trait;
use miniapp_sqlite::{DatabaseError, Schema, WriteLock};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqliteRow};
use sqlx::{Connection as _, SqliteConnection};

use super::engine::{Connection, Engine};
use super::statement::Statement;
use crate::store::{Attempt, Result, StoreError, TxError, TxResult};

pub(super) const ANY_DUE: &str =
    "SELECT 1 FROM duties WHERE due_at <= $1 AND (kind = 'mail') = $2 LIMIT 1";
pub(super) const CLAIM_OUTBOX_MESSAGES: &str = "UPDATE duties SET due_at = $1, attempts = attempts + 1 \
     WHERE id IN (SELECT id FROM duties WHERE due_at <= $2 AND (kind = 'mail') = $4 \
     ORDER BY due_at LIMIT $3) \
     RETURNING id, kind, payload, traceparent, tracestate, baggage, due_at, not_after, \
     attempts - 1";

/// An account store in a SQLite file.
pub struct SqliteStore {
    writer: WriteLock,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the file of a `sqlite://PATH` URL, creates it if it is missing, and migrates it.
    /// With `fsync` a commit survives a power failure, without it only a crash of the process.
    pub async fn open(url: &str, fsync: bool) -> Result<Self> {
        let tune = |options: SqliteConnectOptions| options.foreign_keys(true);
        let (writer, readers) = miniapp_sqlite::open(url, fsync, tune, &Self::schema()).await?;
        Ok(Self { writer, readers })
    }

    /// Returns the tables of accounts. Other crates keep theirs in the same file.
    pub fn schema() -> Schema {
        Schema::new("accounts_migrations", sqlx::migrate!("migrations/sqlite"))
    }
}

#[async_trait]
impl Engine for SqliteStore {
    type Row = SqliteRow;

    const SYSTEM: &'static str = "sqlite";
    const OUTBOX_BACKLOG: &'static str =
        "SELECT kind, count(*), min(id) FROM duties WHERE due_at IS NOT NULL GROUP BY kind";

    async fn ping(&self) -> Result<()> {
        self.read(Statement::new("SELECT 1")).await.map(drop)
    }

    async fn read(&self, statement: Statement<'_>) -> Result<Vec<SqliteRow>> {
        Ok(statement.for_sqlite().fetch_all(&self.readers).await?)
    }

    async fn write(&self, statement: Statement<'_>) -> Result<Vec<SqliteRow>> {
        let mut writer = self.writer.lock().await?;
        Ok(statement.for_sqlite().fetch_all(&mut *writer).await?)
    }

    async fn change(&self, statement: Statement<'_>) -> Result<u64> {
        let mut writer = self.writer.lock().await?;
        Ok(statement.for_sqlite().execute(&mut *writer).await?.rows_affected())
    }

    async fn claim_outbox_messages(&self, parameters: [i64; 4]) -> Result<Vec<SqliteRow>> {
        let [until, now, limit, mails] = parameters;
        // Usually nothing is due: a look by a reader spares the write lock.
        if self.read(Statement::new(ANY_DUE).bind(now).bind(mails)).await?.is_empty() {
            return Ok(Vec::new());
        }
        let claim = Statement::new(CLAIM_OUTBOX_MESSAGES).bind(until).bind(now).bind(limit);
        let claim = claim.bind(mails);
        self.write(claim).await
    }

    async fn close(&self) -> Result<()> {
        // The last connection has to be one that can write: it removes the write-ahead log.
        self.readers.close().await;
        Ok(self.writer.close().await?)
    }

    async fn transaction(&self, attempt: &mut dyn Attempt) -> TxResult<()> {
        let mut writer = self.writer.lock().await?;
        // Takes the write lock at once: a reader that turns into a writer may be refused.
        let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
        if attempt.run(&mut *transaction).await? {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Connection for SqliteConnection {
    type Row = SqliteRow;

    async fn run(&mut self, statement: Statement<'_>) -> TxResult<Vec<SqliteRow>> {
        Ok(statement.for_sqlite().fetch_all(self).await?)
    }
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(text) => Self::Unavailable(text),
            DatabaseError::Internal(text) => Self::Broken(text),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

impl From<sqlx::Error> for TxError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.into())
    }
}
