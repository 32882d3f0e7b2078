//! Operations of several statements.
//!
//! They run as if one after the other (SERIALIZABLE): what an operation read still holds
//! when it commits, or it is done anew. So each can look first and write then, without
//! locks of its own.

use std::ops::ControlFlow;
use std::time::Duration;

use miniapp_postgres::{DatabaseError, Transaction};

use crate::store::{Result, StoreError};

/// How often an operation is done anew because of others.
const TRIES: u32 = 20;

/// How an operation ends.
pub(super) enum Outcome<T> {
    /// With what it did.
    Keep(T),
    /// With nothing done.
    Undo(T),
}

/// What a part of an operation answers.
pub(super) type Work<T> = std::result::Result<T, Trouble>;

/// What can go wrong with it.
#[derive(Debug)]
pub(super) enum Trouble {
    /// With a statement.
    Fault(DatabaseError),
    /// With what was stored.
    Store(StoreError),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Fault(error.into())
    }
}

impl From<DatabaseError> for Trouble {
    fn from(fault: DatabaseError) -> Self {
        Self::Fault(fault)
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Trouble> for StoreError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Fault(fault) => fault.into(),
            Trouble::Store(error) => error,
        }
    }
}

/// Counts how often an operation was tried.
#[derive(Default)]
pub(super) struct Tries(u32);

impl Tries {
    /// Ends a transaction as its operation wants; whether that was the last try.
    pub async fn end<T>(
        &mut self,
        transaction: Transaction<'_>,
        worked: Work<Outcome<T>>,
    ) -> ControlFlow<Result<T>> {
        let (ended, answer) = match worked {
            Ok(Outcome::Keep(answer)) => (transaction.commit().await, Ok(answer)),
            Ok(Outcome::Undo(answer)) => (transaction.rollback().await, Ok(answer)),
            Err(Trouble::Fault(
                fault @ (DatabaseError::Conflict(_) | DatabaseError::ConstraintViolation(_)),
            )) => {
                // What was free when it looked was taken when it wrote.
                (transaction.rollback().await, Err(fault))
            }
            // The connection goes with it.
            Err(trouble) => return ControlFlow::Break(Err(trouble.into())),
        };
        let fault = match (ended, answer) {
            (Ok(()), Ok(answer)) => return ControlFlow::Break(Ok(answer)),
            (Ok(()), Err(fault)) | (Err(fault @ DatabaseError::Conflict(_)), _) => fault,
            (Err(fault), _) => return ControlFlow::Break(Err(fault.into())),
        };
        self.0 += 1;
        if self.0 == TRIES {
            return ControlFlow::Break(Err(fault.into()));
        }
        // Those who collided shall not meet again at once.
        let most = u64::from(self.0.min(10));
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..=most))).await;
        ControlFlow::Continue(())
    }
}

/// Does an operation in a transaction, again and again until others leave it alone.
macro_rules! transact {
    ($store:expr, |$tx:ident| $work:expr) => {{
        let mut tries = $crate::postgres::transact::Tries::default();
        loop {
            let mut transaction = $store.database.begin().await?;
            let worked = {
                let $tx = &mut *transaction;
                miniapp_postgres::with_timeout($work).await
            };
            if let ControlFlow::Break(answer) = tries.end(transaction, worked).await {
                break answer;
            }
        }
    }};
}
pub(super) use transact;
