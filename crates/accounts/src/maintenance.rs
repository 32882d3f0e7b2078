//! Periodic work: rotating signing keys and deleting expired rows.

use std::time::Duration;

use miniapp_runtime::clock::Clock;
use miniapp_runtime::shutdown::Shutdown;

use crate::service::Accounts;
use crate::store::{ExpiryLimits, StoreError};

const INTERVAL: Duration = Duration::from_mins(1);
/// Expired rows are deleted once in this number of intervals.
const PURGE_EVERY: u32 = 10;

const DAY: Duration = Duration::from_hours(24);
const AUDIT_RETENTION: Duration = Duration::from_hours(24 * 365);
/// Retention of mails in the inbox.
const MAIL_RETENTION: Duration = Duration::from_hours(24 * 7);

/// Maintains keys and deletes expired rows until `shutdown`.
pub async fn run(accounts: Accounts, shutdown: Shutdown) {
    for round in 0_u32.. {
        if round.is_multiple_of(PURGE_EVERY)
            && let Err(error) = accounts.purge().await
        {
            tracing::warn!(%error, "failed to delete expired rows");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = shutdown.begun() => return,
        }
        if let Err(error) = accounts.maintain_keys().await {
            tracing::warn!(%error, "failed to maintain the signing keys");
        }
    }
}

fn expiry_limits(clock: &dyn Clock) -> ExpiryLimits {
    let now = clock.now();
    ExpiryLimits {
        now,
        codes_before: now - DAY,
        // Those of codes count for a day.
        failures_before: now - DAY,
        audit_before: now - AUDIT_RETENTION,
        mails_before: now - MAIL_RETENTION,
    }
}

impl Accounts {
    /// Deletes expired rows and returns their number.
    pub async fn purge(&self) -> Result<u64, StoreError> {
        self.store().purge(expiry_limits(self.clock())).await
    }
}
