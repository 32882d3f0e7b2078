//! Deletions that a backup does not have.

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::outbox::OutboxRow;
use crate::store::{Operation, Outcome, Transaction, TxResult};

/// Deletes an account again after its database was restored, and records the deletion, so that it
/// is known when another backup is restored. Returns whether the backup had the account.
#[derive(Clone, Debug)]
pub struct ReplayDeletion {
    pub account: Uuid,
    pub now: Timestamp,
    /// The event about the deletion.
    pub event: OutboxRow,
    /// The entry without its account.
    pub audit: AuditEntry,
}

#[async_trait]
impl Operation for ReplayDeletion {
    type Output = bool;

    const NAME: &'static str = "replay_deletion";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<bool>> {
        tx.record_deletion(self.account, self.now).await?;
        let Some(account) = tx.account(self.account).await? else {
            return Ok(Outcome::Commit(false));
        };
        tx.delete_account(self.account).await?;
        tx.end_sessions(self.account, None, self.now).await?;
        tx.revoke_api_keys(self.account, self.now).await?;
        tx.insert_outbox_message(&self.event).await?;
        tx.append_audit(&self.audit.clone().about(&account)).await?;
        Ok(Outcome::Commit(true))
    }
}
