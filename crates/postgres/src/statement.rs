//! Statements on a connection, prepared if it is direct.

use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Error, Executor as _};

use crate::connector::Access;
use crate::database::Statement;
use crate::error::DatabaseError;
use crate::pool::PooledConnection;

impl PooledConnection<'_> {
    /// Executes a statement by itself: in one round trip, or in a transaction behind a pooler.
    pub async fn fetch_alone(
        &mut self,
        statement: Statement<'_>,
    ) -> Result<Vec<PgRow>, DatabaseError> {
        self.begin_alone().await?;
        let rows = self.stream(statement).try_collect().await;
        if matches!(rows, Err(Error::Io(_))) {
            return Ok(rows?);
        }
        self.end_alone(rows.is_ok()).await?;
        Ok(rows?)
    }

    /// Begins what a single statement needs around it.
    pub async fn begin_alone(&mut self) -> Result<(), DatabaseError> {
        match self.access() {
            Access::Direct => Ok(()),
            Access::Pooled => self.begin("BEGIN").await,
        }
    }

    /// Ends what [`begin_alone`](Self::begin_alone) began.
    pub async fn end_alone(&mut self, succeeded: bool) -> Result<(), DatabaseError> {
        if self.access() == Access::Pooled {
            self.execute(if succeeded { "COMMIT" } else { "ROLLBACK" }).await?;
        }
        Ok(())
    }

    /// Begins a transaction with the statement `begin`.
    pub async fn begin(&mut self, begin: &str) -> Result<(), DatabaseError> {
        let begin = self.connector().begin(begin, self.access());
        self.execute(sqlx::raw_sql(AssertSqlSafe(begin))).await?;
        Ok(())
    }

    /// Returns the rows of a statement as they arrive.
    pub fn stream<'s>(
        &'s mut self,
        statement: Statement<'s>,
    ) -> BoxStream<'s, Result<PgRow, Error>> {
        let is_prepared = self.access() == Access::Direct;
        self.fetch(statement.persistent(is_prepared))
    }
}
