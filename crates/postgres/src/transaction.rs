//! Serializable transactions.

use futures_util::TryStreamExt as _;
use sqlx::Executor as _;
use sqlx::postgres::PgRow;

use crate::database::{Database, Statement};
use crate::error::DatabaseError;
use crate::pool::PooledConnection;
use crate::response::with_timeout;

const BEGIN: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE";

/// A transaction. Dropping it closes its connection, which rolls it back.
pub struct Transaction<'d> {
    connection: PooledConnection<'d>,
}

impl Database {
    /// Begins a serializable transaction. A conflict with another one fails as
    /// [`DatabaseError::Conflict`]; the caller repeats the whole transaction.
    pub async fn begin(&self) -> Result<Transaction<'_>, DatabaseError> {
        loop {
            let mut connection = self.acquire().await?;
            match with_timeout(connection.begin(BEGIN)).await {
                Ok(()) => return Ok(Transaction { connection }),
                Err(error) => self.release_after(connection, error, 1)?,
            }
        }
    }
}

impl Transaction<'_> {
    /// Returns the rows of a statement.
    pub async fn fetch_all(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        let rows = self.connection.stream(statement).try_collect();
        with_timeout(async { Ok(rows.await?) }).await
    }

    pub async fn commit(self) -> Result<(), DatabaseError> {
        self.end("COMMIT").await
    }

    /// Rolls back and keeps the connection.
    pub async fn rollback(self) -> Result<(), DatabaseError> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, statement: &'static str) -> Result<(), DatabaseError> {
        with_timeout(async { Ok(self.connection.execute(statement).await?) }).await?;
        self.connection.release();
        Ok(())
    }
}
