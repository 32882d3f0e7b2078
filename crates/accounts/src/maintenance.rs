//! Periodic work: rotating signing keys, deleting expired rows, and case-folding names.

use std::time::Duration;

use miniapp_runtime::clock::Clock;
use miniapp_runtime::shutdown::Shutdown;
use uuid::Uuid;

use crate::operations::{FoldNames, TakenNames};
use crate::service::Accounts;
use crate::store::{ExpiryLimits, Store, StoreError};

const INTERVAL: Duration = Duration::from_mins(1);
/// Expired rows are deleted once in this number of intervals.
const PURGE_EVERY: u32 = 10;

/// Accounts that are read at a time.
const FOLD_BATCH: u32 = 500;
const DAY: Duration = Duration::from_hours(24);
const AUDIT_RETENTION: Duration = Duration::from_hours(24 * 365);
/// Retention of mails in the inbox.
const MAIL_RETENTION: Duration = Duration::from_hours(24 * 7);

/// Maintains keys and deletes expired rows until `shutdown`.
pub async fn run(accounts: Accounts, shutdown: Shutdown) {
    for round in 0_u32.. {
        if round.is_multiple_of(PURGE_EVERY) {
            if let Err(error) = accounts.purge().await {
                tracing::warn!(%error, "failed to delete expired rows");
            }
            if let Err(error) = fold_names(&*accounts.store()).await {
                tracing::warn!(%error, "failed to case-fold names");
            }
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

/// Stores the comparable forms of names that the previous release has stored. Of two accounts
/// with the same name the older one keeps it; the younger one is found by its exact spelling
/// only. Returns the accounts with a name that is taken.
pub async fn fold_names(store: &dyn Store) -> Result<Vec<Uuid>, StoreError> {
    let (mut after, mut conflicts) = (None, Vec::new());
    loop {
        let accounts = store.unfolded_accounts(after, FOLD_BATCH).await?;
        let Some(last) = accounts.last() else { return Ok(conflicts) };
        after = Some(last.id);
        for account in accounts {
            let id = account.id;
            let TakenNames { login, email } = store.transact(&FoldNames(account)).await?;
            if login || email {
                tracing::warn!(
                    user.id = %id, login, email,
                    "a name of the account belongs to an older account in another case"
                );
                conflicts.push(id);
            }
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
