//! What time does: keys take turns, and what is too old is forgotten.

use std::time::Duration;

use miniapp_runtime::clock::Clock;
use miniapp_runtime::shutdown::Shutdown;

use crate::service::{Accounts, FAILURE_WINDOW};
use crate::store::{Outdated, StoreError};

/// How often there is a look at the keys.
const EVERY: Duration = Duration::from_mins(1);
/// Every how many looks the old is removed.
const PURGE_EVERY: u32 = 10;

const DAY: Duration = Duration::from_hours(24);
/// How long the audit log goes back.
const AUDIT_KEPT: Duration = Duration::from_hours(24 * 365);
/// How long mails stay that don't leave the platform.
const MAILS_KEPT: Duration = Duration::from_hours(24 * 7);

/// Looks after keys and old rows until told to stop.
pub async fn run(accounts: Accounts, shutdown: Shutdown) {
    for round in 0_u32.. {
        if round.is_multiple_of(PURGE_EVERY)
            && let Err(error) = accounts.purge().await
        {
            tracing::warn!(%error, "failed to delete expired rows");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shutdown.begun() => return,
        }
        if let Err(error) = accounts.maintain_keys().await {
            tracing::warn!(%error, "failed to maintain the signing keys");
        }
    }
}

/// What is too old at the time of `clock`.
pub(crate) fn outdated(clock: &dyn Clock) -> Outdated {
    let now = clock.now();
    Outdated {
        now,
        codes_before: now - DAY,
        failures_before: now - FAILURE_WINDOW,
        audit_before: now - AUDIT_KEPT,
        mails_before: now - MAILS_KEPT,
    }
}

impl Accounts {
    /// Removes what is too old; how many rows that were.
    pub async fn purge(&self) -> Result<u64, StoreError> {
        self.store().purge(outdated(self.clock())).await
    }
}
