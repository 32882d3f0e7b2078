//! The exclusive use of a database by one process.
//!
//! A broker within the process reaches no other process. A second process on the same database
//! would run the tasks of the first one again, so it is refused.

use std::sync::Arc;
use std::time::Duration;

use miniapp_runtime::retry::Retry;
use miniapp_runtime::shutdown::Shutdown;
use tokio::time::sleep;
use uuid::Uuid;

use crate::engine::{Engine, LeaseHolder, StoreError};

/// A new process waits this long if the earlier one crashed.
const TTL: Duration = Duration::from_secs(6);
const RENEW_INTERVAL: Duration = Duration::from_secs(2);
/// How often a new process looks whether the holder renews its lease or the lease has ended.
const WATCH_INTERVAL: Duration = Duration::from_millis(250);

#[derive(Debug, thiserror::Error)]
pub enum ProcessLeaseError {
    #[error(
        "another process uses this database and dispatches its tasks by itself: {0}. Stop it, or \
         set MINIAPP__BROKER__URL of both to a shared broker"
    )]
    Held(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A lease of the whole database. It has to be [kept](Self::keep).
pub struct ProcessLease {
    engine: Arc<dyn Engine>,
    holder: Uuid,
    process: String,
}

impl ProcessLease {
    /// Takes the lease for `process`, a description for people. Waits until the lease of a
    /// crashed process has ended, and retries while the store is unavailable.
    pub(crate) async fn take(
        engine: Arc<dyn Engine>,
        process: String,
    ) -> Result<Self, ProcessLeaseError> {
        let lease = Self { engine, holder: Uuid::from_u128(rand::random()), process };
        let mut retry = Retry::new("taking the lease of the database", rand::random());
        let mut first_seen: Option<LeaseHolder> = None;
        loop {
            let other = match lease.renew().await {
                Ok(None) => return Ok(lease),
                Ok(Some(other)) => other,
                Err(error @ StoreError::Internal(_)) => return Err(error.into()),
                Err(error) => {
                    sleep(retry.failed(&error)).await;
                    continue;
                }
            };
            retry.recovered();
            match &first_seen {
                None => {
                    tracing::info!(holder = other.process, "waiting for the lease of the database");
                    first_seen = Some(other);
                }
                // The holder lives, or another new process was faster.
                Some(first) if *first != other => {
                    return Err(ProcessLeaseError::Held(other.process));
                }
                Some(_) => {}
            }
            sleep(WATCH_INTERVAL).await;
        }
    }

    /// Renews the lease until `stop`, then releases it.
    ///
    /// # Errors
    ///
    /// Returns an error if another process has the lease, because this one was suspended or cut
    /// off for too long.
    pub async fn keep(self, stop: &Shutdown) -> Result<(), ProcessLeaseError> {
        let mut retry = Retry::new("renewing the lease of the database", rand::random());
        let mut wait = RENEW_INTERVAL;
        while stop.token().run_until_cancelled(sleep(wait)).await.is_some() {
            wait = match self.renew().await {
                Ok(None) => {
                    retry.recovered();
                    RENEW_INTERVAL
                }
                Ok(Some(other)) => return Err(ProcessLeaseError::Held(other.process)),
                Err(error) => retry.failed(&error).min(RENEW_INTERVAL),
            };
        }
        if let Err(error) = self.engine.release_process_lease(self.holder).await {
            tracing::warn!(%error, "could not release the lease of the database");
        }
        Ok(())
    }

    async fn renew(&self) -> Result<Option<LeaseHolder>, StoreError> {
        self.engine.take_process_lease(self.holder, &self.process, TTL).await
    }
}
