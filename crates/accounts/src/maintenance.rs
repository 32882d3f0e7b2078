//! Periodic work: rotating signing keys, sealing the outbox again, revoking API keys without an
//! owner, deleting expired rows, and case-folding names.

use std::time::Duration;

use miniapp_runtime::clock::Clock;
use miniapp_runtime::retry::RetryLogger;
use miniapp_runtime::shutdown::Shutdown;
use uuid::Uuid;

use crate::error::Error;
use crate::operations::{FoldNames, TakenNames};
use crate::outbox::OutboxCodec;
use crate::service::Accounts;
use crate::store::{ExpiryLimits, Store, StoreError};

/// After this time a process signs with a key that an administrator has created, and no longer
/// accepts those that were removed.
const INTERVAL: Duration = Duration::from_secs(5);
/// The outbox is sealed again once in this number of intervals, a minute: a process that has the
/// previous secret may still add messages.
const RESEAL_EVERY: u32 = 12;
/// Expired rows are deleted once in this number of intervals, ten minutes.
const PURGE_EVERY: u32 = 120;

/// Accounts that are read at a time.
const FOLD_BATCH: u32 = 500;
/// Outbox messages that are read at a time.
const RESEAL_BATCH: u32 = 500;
const DAY: Duration = Duration::from_hours(24);
/// Retention of API keys that were revoked or have expired.
const API_KEY_RETENTION: Duration = Duration::from_hours(24 * 30);
const AUDIT_RETENTION: Duration = Duration::from_hours(24 * 365);
/// Retention of mails in the inbox.
const MAIL_RETENTION: Duration = Duration::from_hours(24 * 7);

/// Maintains keys and deletes expired rows until `shutdown`.
pub async fn run(accounts: Accounts, shutdown: Shutdown) {
    let mut key_log = RetryLogger::new("maintaining the signing keys");
    for round in 0_u32.. {
        if round.is_multiple_of(RESEAL_EVERY)
            && let Err(error) = accounts.reseal_outbox().await
        {
            tracing::warn!(%error, "failed to seal outbox messages with the current secret");
        }
        if round.is_multiple_of(PURGE_EVERY) {
            if let Err(error) = accounts.purge().await {
                tracing::warn!(%error, "failed to delete expired rows");
            }
            if let Err(error) = accounts.revoke_api_keys_without_owner().await {
                tracing::warn!(%error, "failed to revoke API keys without an owner");
            }
            if let Err(error) = fold_names(&*accounts.store()).await {
                tracing::warn!(%error, "failed to case-fold names");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = shutdown.begun() => return accounts.flush_audit(true).await,
        }
        accounts.flush_audit(false).await;
        match accounts.maintain_keys().await {
            Ok(()) => key_log.recovered(),
            Err(error) => key_log.failed(&error),
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

/// Seals messages of the previous secret with the current one, and returns their number.
async fn reseal_outbox(store: &dyn Store, codec: &OutboxCodec) -> Result<u64, Error> {
    let (mut after, mut count) = (Uuid::nil(), 0);
    loop {
        let messages = store.outbox_payloads(after, RESEAL_BATCH).await?;
        let Some(last) = messages.last() else { return Ok(count) };
        after = last.id;
        for message in messages {
            let Some(resealed) = codec.reseal(&message)? else { continue };
            count += u64::from(store.reseal_outbox_message(&message, &resealed).await?);
        }
    }
}

fn expiry_limits(clock: &dyn Clock) -> ExpiryLimits {
    let now = clock.now();
    ExpiryLimits {
        now,
        codes_before: now - DAY,
        api_keys_before: now - API_KEY_RETENTION,
        // Those of codes count for a day.
        failures_before: now - DAY,
        audit_before: now - AUDIT_RETENTION,
        mails_before: now - MAIL_RETENTION,
    }
}

impl Accounts {
    /// Seals outbox messages of the previous secret with the current one, and returns their
    /// number. Without a previous secret there is nothing to do.
    pub async fn reseal_outbox(&self) -> Result<u64, Error> {
        if !self.codec().has_previous_secret() {
            return Ok(0);
        }
        let count = reseal_outbox(&*self.store(), self.codec()).await?;
        if count > 0 {
            tracing::info!(count, "outbox messages sealed with the current secret");
        }
        Ok(count)
    }

    /// Revokes the API keys of accounts that the previous release has disabled or deleted, and
    /// returns their number. They are refused already, but would be stored forever.
    pub async fn revoke_api_keys_without_owner(&self) -> Result<u64, StoreError> {
        self.store().revoke_api_keys_without_owner(self.clock().now()).await
    }

    /// Deletes expired rows and returns their number.
    pub async fn purge(&self) -> Result<u64, StoreError> {
        self.store().purge(expiry_limits(self.clock())).await
    }
}
