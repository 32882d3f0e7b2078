//! Changes of an account by its owner.

use async_trait::async_trait;
use jiff::civil::Date;
use miniapp_types::account::Account;
use uuid::Uuid;

use super::registration::{insert_skeletons, is_taken};
use crate::audit::AuditEntry;
use crate::login::Login;
use crate::store::{Operation, Outcome, Transaction, TxResult};

/// Changes login, date of birth or phone number.
#[derive(Clone, Debug)]
pub struct UpdateAccount {
    pub account: Uuid,
    pub changes: AccountChanges,
    /// `None` if a later entry stands for this change, too.
    pub audit: Option<AuditEntry>,
}

/// New values of an account. `None` leaves a field unchanged.
#[derive(Clone, Debug, Default)]
pub struct AccountChanges {
    pub login: Option<Login>,
    /// `Some(None)` clears the field.
    pub birth_date: Option<Option<Date>>,
    /// `Some(None)` clears the field.
    pub phone_number: Option<Option<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateOutcome {
    Updated(Account),
    /// Another account has the login or a confusable one.
    LoginTaken,
    NotFound,
}

#[async_trait]
impl Operation for UpdateAccount {
    type Output = UpdateOutcome;

    const NAME: &'static str = "update_account";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<UpdateOutcome>> {
        let AccountChanges { login, birth_date, phone_number } = &self.changes;
        let Some(mut account) = tx.account(self.account).await? else {
            return Ok(Outcome::Rollback(UpdateOutcome::NotFound));
        };
        if let Some(login) = login {
            if is_taken(tx, login, self.account).await? {
                return Ok(Outcome::Rollback(UpdateOutcome::LoginTaken));
            }
            tx.update_login(self.account, login).await?;
            tx.delete_skeletons(self.account).await?;
            insert_skeletons(tx, login, self.account).await?;
            login.as_str().clone_into(&mut account.login);
        }
        account.birth_date = birth_date.unwrap_or(account.birth_date);
        account.phone_number = phone_number.clone().unwrap_or(account.phone_number);
        let phone_number = account.phone_number.as_deref();
        tx.update_profile(self.account, account.birth_date, phone_number).await?;
        if let Some(audit) = &self.audit {
            tx.append_audit(audit).await?;
        }
        Ok(Outcome::Commit(UpdateOutcome::Updated(account)))
    }
}
