//! The differences between the databases.

use async_trait::async_trait;

use super::row::Row;
use super::statement::Statement;
use crate::store::{Attempt, Result, TxResult};

/// A database with the tables of accounts.
#[async_trait]
pub(crate) trait Engine: Send + Sync + 'static {
    type Row: Row;

    /// The `db.system.name` of OpenTelemetry.
    const SYSTEM: &'static str;
    /// Counts unfinished outbox messages by kind. Ids start with their time, so the smallest
    /// id of a kind is the oldest.
    const OUTBOX_BACKLOG: &'static str;

    async fn ping(&self) -> Result<()>;

    /// Creates or updates the tables, however long it takes.
    async fn migrate(&self) -> Result<()> {
        self.ping().await
    }

    /// Runs a statement that changes nothing.
    async fn read(&self, statement: Statement<'_>) -> Result<Vec<Self::Row>>;

    /// Runs one statement by itself. It must be safe to repeat: the answer may get lost with
    /// the connection.
    async fn write(&self, statement: Statement<'_>) -> Result<Vec<Self::Row>>;

    /// Runs a `DELETE` or `UPDATE` by itself and returns the number of rows. It may take long.
    async fn change(&self, statement: Statement<'_>) -> Result<u64>;

    /// Claims due outbox messages. Parameters: `$1` the end of the claim, `$2` now, `$3` the
    /// number of messages, `$4` 1 for mails and 0 for events.
    async fn claim_outbox_messages(&self, parameters: [i64; 4]) -> Result<Vec<Self::Row>>;

    async fn close(&self) -> Result<()> {
        Ok(())
    }

    /// Begins a transaction, runs `attempt` in it, and ends it as the attempt decides.
    async fn transaction(&self, attempt: &mut dyn Attempt) -> TxResult<()>;
}

/// A connection inside a transaction.
#[async_trait]
pub(crate) trait Connection: Send {
    type Row: Row;

    async fn run(&mut self, statement: Statement<'_>) -> TxResult<Vec<Self::Row>>;
}
