//! What the owner of an account does with it.

use miniapp_types::account::Account;
use miniapp_types::problem::Code;
use uuid::Uuid;

use super::Accounts;
use super::sign_in::failure_key;
use crate::audit::{Action, Caller};
use crate::email::Email;
use crate::error::Error;
use crate::mail::Letter;
use crate::outbox::OutboxMessage;
use crate::password::Password;
use crate::requests::NewPassword;
use crate::session::Identity;
use crate::store::{AccountChanges, Credentials, Identifier, PasswordChange, Updated};

impl Accounts {
    /// Changes login, day of birth or phone number. A new login stands in tokens from
    /// the next refresh on.
    pub async fn update(
        &self,
        owner: &Identity,
        changes: AccountChanges,
        caller: &Caller,
    ) -> Result<Account, Error> {
        self.check_birth_date(changes.birth_date.flatten())?;
        let entry = self.entry(Action::UpdateAccount, caller).about(&owner.account);
        let id = owner.account.user_id;
        let updated = match self.0.store.update_account(id, changes, entry.clone()).await? {
            Updated::Done(account) => Ok(account),
            Updated::LoginTaken => Err(Code::LoginTaken.into()),
            // It was deleted since the token was checked.
            Updated::Unknown => Err(Code::TokenRevoked.into()),
        };
        self.noting(entry, updated).await
    }

    /// Sets a new password, which ends every other session.
    pub async fn change_password(
        &self,
        owner: &Identity,
        passwords: NewPassword,
        caller: &Caller,
    ) -> Result<(), Error> {
        let account = &owner.account;
        let entry = self.entry(Action::ChangePassword, caller).about(account);
        let email = Email::stored(&account.email);
        self.judge(account, &email, &passwords.new).await?;
        let changed = async {
            let turn = self.turn_for(account).await?;
            let found = self.0.store.credentials(&Identifier::Email(email.clone())).await?;
            let found = found.filter(|found| found.account.user_id == account.user_id);
            let Some(Credentials { password: old, .. }) = found else {
                return Err(Code::TokenRevoked.into());
            };
            if !turn.verify(&passwords.old, Some(&old)).await? {
                let failed = entry.clone().refused(Code::PasswordWrong);
                self.0.store.note_failure(&failure_key(account), failed).await?;
                return Err(Code::PasswordWrong.into());
            }
            let new = self.0.passwords.turn().await?.hash(&passwords.new).await?;
            let change = PasswordChange {
                account: account.user_id,
                old,
                new,
                keep: owner.session,
                now: self.0.clock.now(),
                notice: self.letter(&email, &Letter::PasswordChanged)?,
                audit: entry.clone(),
            };
            let this = self.clone();
            let change = async move {
                // Someone else changed it meanwhile: what was typed is the wrong one now.
                let ended = this.0.store.change_password(change).await?;
                this.sessions_ended(ended.ok_or(Code::PasswordWrong)?).await;
                Ok(())
            };
            self.to_the_end(change).await
        };
        match changed.await {
            // Noted together with the failure.
            Err(Error::Refused(Code::PasswordWrong)) => Err(Code::PasswordWrong.into()),
            changed => self.noting(entry, changed).await,
        }
    }

    /// A fault of the body where a new password is too close to its owner's names.
    pub(super) async fn judge(
        &self,
        account: &Account,
        email: &Email,
        new: &Password,
    ) -> Result<(), Error> {
        let [address, name] = email.names();
        let names = [&account.login, address, name].map(str::to_owned).into();
        let judged = self.0.passwords.turn().await?.judge(new, names).await?;
        judged.map_err(|fault| Error::invalid_field("newPassword", fault))
    }

    /// Removes the account with its sessions, and owes everyone who keeps something of
    /// it the news.
    pub async fn delete(&self, owner: &Identity, caller: &Caller) -> Result<(), Error> {
        let id = owner.account.user_id;
        let now = self.0.clock.now();
        let audit = self.entry(Action::DeleteAccount, caller).about(&owner.account);
        let news = self.0.codec.write(&OutboxMessage::AccountDeleted { account: id }, now)?;
        let this = self.clone();
        let delete = async move {
            let ended = this.0.store.delete_account(id, now, news, audit).await?;
            // Where it was gone already, whoever removed it has told.
            this.sessions_ended(ended.unwrap_or_default()).await;
            Ok(())
        };
        self.to_the_end(delete).await
    }

    /// Tells of sessions that have ended, and has the duties done that came with it.
    pub(super) async fn sessions_ended(&self, sessions: Vec<Uuid>) {
        self.0.wake.notify_one();
        self.0.news.ended(sessions).await;
    }
}
