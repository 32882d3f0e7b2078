//! Serializable transactions.

use std::ops::{Deref, DerefMut};

use futures_util::TryFutureExt as _;
use sqlx::{Executor as _, PgConnection};

use crate::database::{Database, with_timeout};
use crate::error::DatabaseError;
use crate::pool::PooledConnection;

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
            match with_timeout(connection.execute(BEGIN).map_err(DatabaseError::from)).await {
                Ok(_) => return Ok(Transaction { connection }),
                Err(error) => self.release_after(connection, error, 1)?,
            }
        }
    }
}

impl Transaction<'_> {
    pub async fn commit(self) -> Result<(), DatabaseError> {
        self.end("COMMIT").await
    }

    /// Rolls back and keeps the connection.
    pub async fn rollback(self) -> Result<(), DatabaseError> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, statement: &'static str) -> Result<(), DatabaseError> {
        with_timeout(self.connection.execute(statement).map_err(DatabaseError::from)).await?;
        self.connection.release();
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
