//! Running operations in transactions.

use std::time::Duration;

use async_trait::async_trait;

use super::{Result, Store, Transaction, TxError, TxResult};

/// Attempts to complete an operation despite conflicts with concurrent transactions.
const MAX_ATTEMPTS: u32 = 20;
/// The longest delay between two attempts.
const MAX_RETRY_DELAY_MS: u32 = 10;

/// A rule of accounts: statements that commit together or not at all.
///
/// An operation may run several times, each time in a new transaction, so it must not have
/// effects outside of it.
#[async_trait]
pub trait Operation: Sync {
    type Output: Send;

    /// The `db.operation.name` in traces.
    const NAME: &'static str;

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<Self::Output>>;
}

/// How an operation ends its transaction.
#[derive(Debug)]
pub enum Outcome<T> {
    Commit(T),
    Rollback(T),
}

/// One run of an [`Operation`], for [`Store::attempt`], which can't be generic.
#[async_trait]
pub trait Attempt: Send {
    /// The name of the operation.
    fn operation(&self) -> &'static str;

    /// Runs the operation. Returns whether to commit.
    async fn run(&mut self, tx: &mut dyn Transaction) -> TxResult<bool>;
}

struct OperationAttempt<'o, O: Operation> {
    operation: &'o O,
    output: Option<O::Output>,
}

#[async_trait]
impl<O: Operation> Attempt for OperationAttempt<'_, O> {
    fn operation(&self) -> &'static str {
        O::NAME
    }

    async fn run(&mut self, tx: &mut dyn Transaction) -> TxResult<bool> {
        let (output, commits) = match self.operation.run(tx).await? {
            Outcome::Commit(output) => (output, true),
            Outcome::Rollback(output) => (output, false),
        };
        self.output = Some(output);
        Ok(commits)
    }
}

impl dyn Store {
    /// Runs an operation in a transaction, as if no other ran at the same time. Repeats it
    /// after a conflict.
    pub async fn transact<O: Operation>(&self, operation: &O) -> Result<O::Output> {
        let mut attempts = 0;
        loop {
            let mut attempt = OperationAttempt { operation, output: None };
            let conflict = match self.attempt(&mut attempt).await {
                Ok(()) => {
                    let missing = || super::StoreError::Broken("an attempt without result".into());
                    return attempt.output.ok_or_else(missing);
                }
                Err(TxError::Failed(error)) => return Err(error),
                Err(TxError::Conflict(error)) => error,
            };
            attempts += 1;
            if attempts == MAX_ATTEMPTS {
                return Err(conflict);
            }
            // Random, so that the same transactions don't conflict again.
            let delay = rand::random_range(0..=attempts.min(MAX_RETRY_DELAY_MS));
            tokio::time::sleep(Duration::from_millis(delay.into())).await;
        }
    }
}
