//! Roles, and disabling and deleting accounts. An enabled account with the role `admin` remains.

use async_trait::async_trait;
use jiff::Timestamp;
use miniapp_types::account::{Account, Role};
use miniapp_types::problem::Code;
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::outbox::OutboxRow;
use crate::store::{Operation, Outcome, Transaction, TxResult};

/// Sets the roles of an account and invalidates its access tokens, which carry the old
/// ones. Its API keys are checked again. The audit entry gets the account and its roles.
#[derive(Clone, Debug)]
pub struct SetRoles {
    pub account: Uuid,
    pub roles: Vec<Role>,
    /// The event about the account's sessions and API keys.
    pub event: OutboxRow,
    pub audit: AuditEntry,
}

#[async_trait]
impl Operation for SetRoles {
    type Output = Result<Account, Code>;

    const NAME: &'static str = "set_roles";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<Self::Output>> {
        let Some(before) = tx.account(self.account).await? else {
            return Ok(Outcome::Rollback(Err(Code::UserNotFound)));
        };
        if !self.roles.contains(&Role::Admin) && is_last_admin(tx, &before).await? {
            return Ok(Outcome::Rollback(Err(Code::LastAdmin)));
        }
        tx.update_roles(self.account, &self.roles).await?;
        tx.increment_epochs(self.account).await?;
        tx.increment_api_key_epochs(self.account).await?;
        tx.insert_outbox_message(&self.event).await?;
        let audit =
            self.audit.clone().about(&before).with_roles(Some(&before.roles), Some(&self.roles));
        tx.append_audit(&audit).await?;
        Ok(Outcome::Commit(Ok(Account { roles: self.roles.clone(), ..before })))
    }
}

/// Disables an account, which ends its sessions and API keys, or enables it. The audit entry gets
/// the account.
#[derive(Clone, Debug)]
pub struct SetDisabled {
    pub account: Uuid,
    pub disabled: bool,
    pub now: Timestamp,
    /// The event about the account's sessions and API keys.
    pub event: OutboxRow,
    pub audit: AuditEntry,
}

/// An account that was disabled or enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisabledSet {
    pub account: Account,
    /// The sessions and API keys that were ended.
    pub ended: Vec<Uuid>,
}

#[async_trait]
impl Operation for SetDisabled {
    type Output = Result<DisabledSet, Code>;

    const NAME: &'static str = "set_disabled";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<Self::Output>> {
        let Some(before) = tx.account(self.account).await? else {
            return Ok(Outcome::Rollback(Err(Code::UserNotFound)));
        };
        if self.disabled && is_last_admin(tx, &before).await? {
            return Ok(Outcome::Rollback(Err(Code::LastAdmin)));
        }
        let mut ended = Vec::new();
        if self.disabled != before.disabled {
            tx.set_disabled_at(self.account, self.disabled.then_some(self.now)).await?;
        }
        // The previous release disables accounts without revoking their keys.
        if self.disabled || before.disabled {
            ended = tx.end_sessions(self.account, None, self.now).await?;
            ended.extend(tx.revoke_api_keys(self.account, self.now).await?);
            tx.insert_outbox_message(&self.event).await?;
        }
        tx.append_audit(&self.audit.clone().about(&before)).await?;
        let account = Account { disabled: self.disabled, ..before };
        Ok(Outcome::Commit(Ok(DisabledSet { account, ended })))
    }
}

/// Deletes an account and ends its sessions and API keys, whose ids it returns. The audit entry
/// gets the account and its roles.
#[derive(Clone, Debug)]
pub struct DeleteAccount {
    pub account: Uuid,
    pub now: Timestamp,
    /// The event about the deletion.
    pub event: OutboxRow,
    /// The mail about the deletion.
    pub notice: OutboxRow,
    pub audit: AuditEntry,
}

#[async_trait]
impl Operation for DeleteAccount {
    type Output = Result<Vec<Uuid>, Code>;

    const NAME: &'static str = "delete_account";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<Self::Output>> {
        let Some(account) = tx.account(self.account).await? else {
            return Ok(Outcome::Rollback(Err(Code::UserNotFound)));
        };
        if is_last_admin(tx, &account).await? {
            return Ok(Outcome::Rollback(Err(Code::LastAdmin)));
        }
        tx.delete_account(self.account).await?;
        let mut ended = tx.end_sessions(self.account, None, self.now).await?;
        ended.extend(tx.revoke_api_keys(self.account, self.now).await?);
        tx.insert_outbox_message(&self.event).await?;
        tx.insert_outbox_message(&self.notice).await?;
        let audit = self.audit.clone().about(&account).with_roles(Some(&account.roles), None);
        tx.append_audit(&audit).await?;
        Ok(Outcome::Commit(Ok(ended)))
    }
}

/// Whether no other enabled account has the role `admin`.
async fn is_last_admin(tx: &mut dyn Transaction, account: &Account) -> TxResult<bool> {
    let is_admin = !account.disabled && account.roles.contains(&Role::Admin);
    Ok(is_admin && !tx.has_other_admin(account.user_id).await?)
}
