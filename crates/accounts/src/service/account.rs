//! Use cases of an account's owner.

use miniapp_types::account::Account;
use miniapp_types::problem::Code;
use uuid::Uuid;

use super::Accounts;
use crate::audit::{Action, Caller};
use crate::email;
use crate::error::Error;
use crate::failure_key::session_key;
use crate::login::LoginKey;
use crate::mail::MailTemplate;
use crate::operations::{
    AccountChanges, ChangePassword, DeleteAccount, RecordFailure, UpdateAccount, UpdateOutcome,
};
use crate::outbox::OutboxMessage;
use crate::password::{Client, Password};
use crate::requests::NewPassword;
use crate::session::Identity;
use crate::store::{Credentials, Identifier};

impl Accounts {
    /// Changes login, date of birth or phone number. Tokens carry a new login from the next
    /// refresh on.
    pub async fn update(
        &self,
        owner: &Identity,
        changes: AccountChanges,
        caller: &Caller,
    ) -> Result<Account, Error> {
        self.check_birth_date(changes.birth_date.flatten())?;
        let entry = self.owner_entry(Action::UpdateAccount, owner, caller);
        let account = owner.account.user_id;
        let audit = self.0.audit_limit.admit(entry.clone());
        let update = UpdateAccount { account, changes, audit };
        let updated = match self.transact_as(owner, None, update).await {
            Ok(UpdateOutcome::Updated(account)) => Ok(account),
            Ok(UpdateOutcome::LoginTaken) => Err(Code::LoginTaken.into()),
            Ok(UpdateOutcome::NotFound) => Err(Code::TokenRevoked.into()),
            Err(error) => Err(error),
        };
        self.audit_rejection(entry, updated).await
    }

    /// Sets a new password and ends every other session.
    pub async fn change_password(
        &self,
        owner: &Identity,
        passwords: NewPassword,
        caller: &Caller,
    ) -> Result<(), Error> {
        let account = &owner.account;
        let entry = self.owner_entry(Action::ChangePassword, owner, caller);
        let client = Client::Account(account.user_id);
        self.check_strength(account, &passwords.new, client).await?;
        // Failures of the session only: strangers cannot prevent the change.
        let failures = session_key(owner);
        let changed = async {
            let permit = self.0.hasher.acquire(client).await?;
            self.check_failures(&failures).await?;
            let login = Identifier::Login(LoginKey::of(&account.login));
            let found = self.0.store.credentials(&login).await?;
            let found = found.filter(|found| found.account.user_id == account.user_id);
            let Some(Credentials { mailbox, password: old, .. }) = found else {
                return Err(Code::TokenRevoked.into());
            };
            if !permit.verify(&passwords.old, Some(&old)).await? {
                let audit = entry.clone().rejected(Code::PasswordWrong);
                let failure = RecordFailure { key: failures, audit };
                self.0.store.transact(&failure).await?;
                return Err(Code::PasswordWrong.into());
            }
            let new = self.0.hasher.acquire(client).await?.hash(&passwords.new).await?;
            let change = ChangePassword {
                account: account.user_id,
                old,
                new,
                keep_session: owner.session,
                now: self.0.clock.now(),
                notice: self.mail(&mailbox, &MailTemplate::PasswordChanged)?,
                audit: entry.clone(),
            };
            let (this, owner) = (self.clone(), owner.clone());
            let change = async move {
                // `None`: a concurrent request changed it, so the old password is wrong now.
                let ended = this.transact_as(&owner, None, change).await?;
                this.publish_ended(ended.ok_or(Code::PasswordWrong)?).await;
                Ok(())
            };
            self.run_to_completion(change).await
        };
        match changed.await {
            // Recorded together with the failure.
            Err(Error::Rejected(Code::PasswordWrong)) => Err(Code::PasswordWrong.into()),
            changed => self.audit_rejection(entry, changed).await,
        }
    }

    /// Rejects a new password that is too similar to its owner's names.
    pub(super) async fn check_strength(
        &self,
        account: &Account,
        new: &Password,
        client: Client,
    ) -> Result<(), Error> {
        let [address, name] = email::names(&account.email);
        let names = [&account.login, address, name].map(str::to_owned).into();
        let checked = self.0.hasher.acquire(client).await?.check_strength(new, names).await?;
        checked.map_err(|message| Error::invalid_field("newPassword", message))
    }

    /// Deletes the account with its sessions, publishes the deletion through the outbox, and sends
    /// a mail about it.
    pub async fn delete(&self, owner: &Identity, caller: &Caller) -> Result<(), Error> {
        let account = owner.account.user_id;
        let now = self.0.clock.now();
        let entry = self.owner_entry(Action::DeleteAccount, owner, caller);
        let mailbox = self.0.store.mailbox(account).await?.ok_or(Code::TokenRevoked)?;
        let template = MailTemplate::AccountDeleted { login: &owner.account.login };
        let notice = self.mail(&mailbox, &template)?;
        let event = self.0.codec.encode(&OutboxMessage::AccountDeleted { account }, now)?;
        let delete = DeleteAccount { account, now, event, notice, audit: entry.clone() };
        let (this, owner) = (self.clone(), owner.clone());
        let delete = async move {
            let deleted = this.transact_as(&owner, None, delete).await;
            let deleted = deleted.and_then(|deleted| Ok(deleted?));
            this.publish_ended(this.audit_refusal(entry, deleted).await?).await;
            Ok(())
        };
        self.run_to_completion(delete).await
    }

    /// Publishes the end of sessions, and wakes the relay for the messages that were
    /// committed with it.
    pub(super) async fn publish_ended(&self, sessions: Vec<Uuid>) {
        self.0.wake.notify();
        self.0.events.session_ended(sessions).await;
    }
}
