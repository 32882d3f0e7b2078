//! Replacing the key that signs access tokens.

use async_trait::async_trait;

use crate::audit::AuditEntry;
use crate::keys::last;
use crate::outbox::OutboxRow;
use crate::store::{Operation, Outcome, SealedKey, StoreError, Transaction, TxError, TxResult};

/// Stores a key that replaces the others.
#[derive(Clone, Debug)]
pub struct RotateKeys {
    /// What it follows is decided by this operation.
    pub key: SealedKey,
    /// Whether other keys must not verify tokens any more.
    pub compromised: bool,
    /// Events that have to be published again, because a removed key may have signed them.
    pub events: Vec<OutboxRow>,
    pub audit: AuditEntry,
}

/// The keys that a new one has replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplacedKeys {
    /// These still verify the tokens that they have signed.
    pub retiring: Vec<String>,
    /// These are gone.
    pub removed: Vec<String>,
}

#[async_trait]
impl Operation for RotateKeys {
    type Output = ReplacedKeys;

    const NAME: &'static str = "rotate_keys";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<ReplacedKeys>> {
        let stored = tx.signing_keys().await?;
        // A later key would soon take over from the new one.
        let is_removed =
            |key: &&SealedKey| self.compromised || key.signs_from > self.key.signs_from;
        let (removed, retiring): (Vec<_>, Vec<_>) = stored.iter().partition(is_removed);
        for key in &removed {
            tx.delete_signing_key(&key.kid).await?;
        }
        // Also the successor of a removed key, so that no replica adds another one meanwhile.
        let last = last(&retiring).or_else(|| last(&removed));
        let follows = last.map(|key| key.kid.clone()).unwrap_or_default();
        if !tx.insert_signing_key(&SealedKey { follows, ..self.key.clone() }).await? {
            let message = "another process has created a signing key".to_owned();
            return Err(TxError::Conflict(StoreError::Unavailable(message)));
        }
        for event in &self.events {
            tx.insert_outbox_message(event).await?;
        }
        tx.append_audit(&self.audit).await?;
        let kids = |keys: Vec<&SealedKey>| keys.into_iter().map(|key| key.kid.clone()).collect();
        Ok(Outcome::Commit(ReplacedKeys { retiring: kids(retiring), removed: kids(removed) }))
    }
}
