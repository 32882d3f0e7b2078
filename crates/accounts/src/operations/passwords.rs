//! Setting new passwords.

use async_trait::async_trait;
use jiff::Timestamp;
use miniapp_types::problem::Code;
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::code::{Mac, Purpose};
use crate::email::Email;
use crate::outbox::OutboxRow;
use crate::password::PasswordHash;
use crate::store::{Operation, Outcome, Transaction, TxResult};

/// Replaces a password and ends all other sessions, whose ids it returns. Returns `None` if
/// `old` is no longer the current password.
#[derive(Clone, Debug)]
pub struct ChangePassword {
    pub account: Uuid,
    pub old: PasswordHash,
    pub new: PasswordHash,
    /// The session that stays.
    pub keep_session: Uuid,
    pub now: Timestamp,
    /// The mail about the change.
    pub notice: OutboxRow,
    pub audit: AuditEntry,
}

#[async_trait]
impl Operation for ChangePassword {
    type Output = Option<Vec<Uuid>>;

    const NAME: &'static str = "change_password";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<Option<Vec<Uuid>>>> {
        if !tx.replace_password(self.account, &self.old, &self.new).await? {
            return Ok(Outcome::Rollback(None));
        }
        let ended = tx.end_sessions(self.account, Some(self.keep_session), self.now).await?;
        tx.insert_outbox_message(&self.notice).await?;
        tx.append_audit(&self.audit).await?;
        Ok(Outcome::Commit(Some(ended)))
    }
}

/// Consumes a reset code, sets a password and ends all sessions, whose ids it returns. Lifts
/// the lock of failed sign-ins. Rejected if the code is no longer valid, or the account was deleted
/// or disabled.
#[derive(Clone, Debug)]
pub struct ResetPassword {
    /// The account that the code is for.
    pub account: Uuid,
    pub email: Email,
    pub code: Mac,
    pub new: PasswordHash,
    pub now: Timestamp,
    /// The mail about the change.
    pub notice: OutboxRow,
    pub audit: AuditEntry,
}

#[async_trait]
impl Operation for ResetPassword {
    type Output = Result<Vec<Uuid>, Code>;

    const NAME: &'static str = "reset_password";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<Self::Output>> {
        if tx.consume_code(&self.email, Purpose::Reset, &self.code).await?.is_none() {
            return Ok(Outcome::Rollback(Err(Code::CodeInvalid)));
        }
        match tx.account(self.account).await? {
            Some(account) if account.disabled => {
                return Ok(Outcome::Rollback(Err(Code::AccountDisabled)));
            }
            Some(_) => {}
            None => return Ok(Outcome::Rollback(Err(Code::CodeInvalid))),
        }
        tx.set_password(self.account, &self.new).await?;
        let ended = tx.end_sessions(self.account, None, self.now).await?;
        tx.delete_account_failures(self.account).await?;
        tx.insert_outbox_message(&self.notice).await?;
        tx.append_audit(&self.audit).await?;
        Ok(Outcome::Commit(Ok(ended)))
    }
}
