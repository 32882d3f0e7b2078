//! Several statements that happen together or not at all.

use std::ops::{Deref, DerefMut};

use futures_util::TryFutureExt as _;
use sqlx::{Executor as _, PgConnection};

use crate::database::{Database, Lease, with_timeout};
use crate::error::DatabaseError;

/// As if transactions ran one after the other: those for which that isn't so fail.
const BEGIN: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE";

/// A transaction. Dropped without a commit it leaves nothing, and its connection is
/// closed.
pub struct Transaction<'d> {
    lease: Lease<'d>,
}

impl Database {
    /// Begins a transaction that runs as if there were no others at the same time; where
    /// that can't be, it ends as [`DatabaseError::Conflict`].
    pub async fn begin(&self) -> Result<Transaction<'_>, DatabaseError> {
        loop {
            let mut lease = self.lease().await?;
            match with_timeout(lease.execute(BEGIN).map_err(DatabaseError::from)).await {
                Ok(_) => return Ok(Transaction { lease }),
                Err(fault) => lease.end_for_another(fault, 1)?,
            }
        }
    }
}

impl Transaction<'_> {
    /// Makes it all last.
    pub async fn commit(self) -> Result<(), DatabaseError> {
        self.end("COMMIT").await
    }

    /// Leaves nothing, and keeps the connection for others.
    pub async fn rollback(self) -> Result<(), DatabaseError> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, how: &'static str) -> Result<(), DatabaseError> {
        with_timeout(self.lease.execute(how).map_err(DatabaseError::from)).await?;
        self.lease.end();
        Ok(())
    }
}

impl Deref for Transaction<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.lease
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.lease
    }
}
