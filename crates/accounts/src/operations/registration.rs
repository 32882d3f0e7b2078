//! Creating accounts, and which logins are taken.

use async_trait::async_trait;
use miniapp_types::account::Account;
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::email::Email;
use crate::login::Login;
use crate::password::PasswordHash;
use crate::store::{Operation, Outcome, Transaction, TxResult};
use crate::token_hash::TokenHash;

/// Creates an account for a verified address.
#[derive(Clone, Debug)]
pub struct RegisterAccount {
    /// The token of the verification. It shows that the same client verified the address.
    pub token: TokenHash,
    pub account: Account,
    pub email: Email,
    pub login: Login,
    pub password: PasswordHash,
    pub audit: AuditEntry,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegisterOutcome {
    /// The account exists, and the verification of its address is consumed.
    Registered(Account),
    /// The address is not verified, or with another token.
    EmailNotVerified,
    /// Another account has the login or a confusable one.
    LoginTaken,
    EmailTaken,
}

#[async_trait]
impl Operation for RegisterAccount {
    type Output = RegisterOutcome;

    const NAME: &'static str = "register";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<RegisterOutcome>> {
        let now = self.account.created_at;
        let verified = tx.consume_verified_email(&self.email, &self.token, now).await?;
        let Some(mailbox) = verified else {
            return Ok(Outcome::Rollback(RegisterOutcome::EmailNotVerified));
        };
        if tx.email_owner(&self.email).await?.is_some() {
            return Ok(Outcome::Rollback(RegisterOutcome::EmailTaken));
        }
        let id = self.account.user_id;
        if is_taken(tx, &self.login, id).await? {
            return Ok(Outcome::Rollback(RegisterOutcome::LoginTaken));
        }
        let Self { account, email, login, password, .. } = self;
        tx.insert_account(account, email, &mailbox, login, password).await?;
        insert_skeletons(tx, &self.login, id).await?;
        let audit = self.audit.clone().about(account).with_roles(None, Some(&account.roles));
        tx.append_audit(&audit).await?;
        Ok(Outcome::Commit(RegisterOutcome::Registered(self.account.clone())))
    }
}

/// Whether an account other than `account` has the login or a confusable one.
pub(super) async fn is_taken(
    tx: &mut dyn Transaction,
    login: &Login,
    account: Uuid,
) -> TxResult<bool> {
    if tx.login_owner(login.key()).await?.is_some_and(|owner| owner != account) {
        return Ok(true);
    }
    for skeleton in login.skeletons() {
        if tx.skeleton_owner(skeleton).await?.is_some_and(|owner| owner != account) {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) async fn insert_skeletons(
    tx: &mut dyn Transaction,
    login: &Login,
    account: Uuid,
) -> TxResult<()> {
    for skeleton in login.skeletons() {
        tx.insert_skeleton(skeleton, account).await?;
    }
    Ok(())
}
