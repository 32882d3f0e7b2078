//! Creating and revoking API keys.

use async_trait::async_trait;
use jiff::Timestamp;
use miniapp_types::account::{Role, Scope};
use miniapp_types::problem::Code;
use uuid::Uuid;

use crate::api_key::{ApiKeyUsage, NewApiKey};
use crate::audit::AuditEntry;
use crate::outbox::OutboxRow;
use crate::store::{Operation, Outcome, Transaction, TxResult};

/// Stores an API key. Scopes of administrators require the role `admin`.
#[derive(Clone, Debug)]
pub struct CreateApiKey {
    pub key: NewApiKey,
    /// Keys that the account may have, this one included.
    pub limit: u32,
    /// At most `window_limit` keys are created after this time.
    pub window_start: Timestamp,
    pub window_limit: u32,
    pub audit: AuditEntry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateKeyOutcome {
    Created,
    /// The account lacks the role that a scope requires, or does not exist.
    Rejected(Code),
    /// Too many keys were created since this time.
    TooMany(Timestamp),
}

#[async_trait]
impl Operation for CreateApiKey {
    type Output = CreateKeyOutcome;

    const NAME: &'static str = "create_api_key";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<CreateKeyOutcome>> {
        let Some(account) = tx.account(self.key.account).await? else {
            return Ok(Outcome::Rollback(CreateKeyOutcome::Rejected(Code::TokenRevoked)));
        };
        let requires_admin = self.key.scopes.iter().copied().any(Scope::requires_admin);
        if requires_admin && !account.roles.contains(&Role::Admin) {
            return Ok(Outcome::Rollback(CreateKeyOutcome::Rejected(Code::Forbidden)));
        }
        let usage = tx.api_key_usage(account.user_id, self.window_start).await?;
        let ApiKeyUsage { stored, created, created_since } = usage;
        if let Some(since) = created_since
            && created >= u64::from(self.window_limit)
        {
            return Ok(Outcome::Rollback(CreateKeyOutcome::TooMany(since)));
        }
        if stored >= u64::from(self.limit) {
            return Ok(Outcome::Rollback(CreateKeyOutcome::Rejected(Code::ApiKeyLimit)));
        }
        tx.insert_api_key(&self.key).await?;
        tx.append_audit(&self.audit).await?;
        Ok(Outcome::Commit(CreateKeyOutcome::Created))
    }
}

/// Revokes an API key of an account. Returns false if it was revoked before.
#[derive(Clone, Debug)]
pub struct RevokeApiKey {
    pub account: Uuid,
    pub key: Uuid,
    pub now: Timestamp,
    /// The event about the account's sessions and API keys.
    pub event: OutboxRow,
    pub audit: AuditEntry,
}

#[async_trait]
impl Operation for RevokeApiKey {
    type Output = bool;

    const NAME: &'static str = "revoke_api_key";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<bool>> {
        if !tx.revoke_api_key(self.account, self.key, self.now).await? {
            return Ok(Outcome::Rollback(false));
        }
        tx.insert_outbox_message(&self.event).await?;
        tx.append_audit(&self.audit).await?;
        Ok(Outcome::Commit(true))
    }
}
