//! The store for many processes: a PostgreSQL database.

mod accounts;
mod audit;
mod codes;
mod keys;
mod outbox;
mod passwords;
mod rows;
mod sessions;
mod transact;

use std::ops::ControlFlow;

use async_trait::async_trait;
use jiff::Timestamp;
use miniapp_config::Database as Settings;
use miniapp_postgres::{Database, DatabaseError};
use miniapp_types::account::{Account, Role};
use sqlx::migrate::Migrator;
use uuid::Uuid;

use self::transact::transact;
use crate::audit::Entry;
use crate::code::{Mac, Purpose};
use crate::email::Email;
use crate::keys::SealedKey;
use crate::mail::InboxMail;
use crate::outbox::{OutboxBacklog, OutboxKind, OutboxRow};
use crate::password::Hash;
use crate::session::{NewSession, RefreshHash, Rotation, Session};
use crate::store::{
    AccountChanges, Credentials, FailureKey, Identifier, IssueCode, Issued, NewAccount, Outdated,
    PasswordChange, PasswordReset, Registered, Result, Store, StoreError, Updated,
};

/// An account store in a PostgreSQL database.
pub struct PostgresStore {
    database: Database,
}

impl PostgresStore {
    /// The store in the database that `settings` name, which may come later: tables are
    /// made, or brought up to date, with the first use that finds it there.
    pub fn new(settings: &Settings) -> Result<Self> {
        let mut migrations: Migrator = sqlx::migrate!("migrations/postgres");
        // Other crates keep their tables, and their own count of migrations, beside these.
        migrations.dangerous_set_table_name("accounts_migrations");
        Ok(Self { database: Database::new(settings, Some(migrations))?.with_pool_name("accounts") })
    }
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> Self {
        if error.is_transient() {
            Self::Unavailable(error.to_string())
        } else {
            Self::Broken(error.to_string())
        }
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn system(&self) -> &'static str {
        "postgresql"
    }

    async fn ping(&self) -> Result<()> {
        Ok(self.database.ping().await?)
    }

    async fn issue_code(&self, issue: IssueCode) -> Result<Issued> {
        transact!(self, |tx| codes::issue(tx, &issue))
    }

    async fn spend_try(
        &self,
        email: &Email,
        purpose: Purpose,
        now: Timestamp,
        tries: u32,
    ) -> Result<Option<Mac>> {
        codes::spend_try(&self.database, email, purpose, now, tries).await
    }

    async fn verify_email(
        &self,
        email: &Email,
        code: &Mac,
        until: Timestamp,
        audit: Entry,
    ) -> Result<bool> {
        transact!(self, |tx| codes::verify_email(tx, email, code, until, &audit))
    }

    async fn register(&self, new: NewAccount) -> Result<Registered> {
        transact!(self, |tx| accounts::register(tx, &new))
    }

    async fn account(&self, id: Uuid) -> Result<Option<Account>> {
        accounts::by_id(&self.database, id).await
    }

    async fn credentials(&self, of: &Identifier) -> Result<Option<Credentials>> {
        accounts::credentials(&self.database, of).await
    }

    async fn accounts(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Account>> {
        accounts::list(&self.database, before, limit).await
    }

    async fn update_account(
        &self,
        id: Uuid,
        changes: AccountChanges,
        audit: Entry,
    ) -> Result<Updated> {
        transact!(self, |tx| accounts::update(tx, id, &changes, &audit))
    }

    async fn set_roles(
        &self,
        id: Uuid,
        roles: &[Role],
        news: OutboxRow,
        audit: Entry,
    ) -> Result<Option<Account>> {
        transact!(self, |tx| accounts::set_roles(tx, id, roles, &news, &audit))
    }

    async fn change_password(&self, change: PasswordChange) -> Result<Option<Vec<Uuid>>> {
        transact!(self, |tx| passwords::change(tx, &change))
    }

    async fn reset_password(&self, reset: PasswordReset) -> Result<Option<Vec<Uuid>>> {
        transact!(self, |tx| passwords::reset(tx, &reset))
    }

    async fn delete_account(
        &self,
        id: Uuid,
        now: Timestamp,
        news: OutboxRow,
        audit: Entry,
    ) -> Result<Option<Vec<Uuid>>> {
        transact!(self, |tx| accounts::delete(tx, id, now, &news, &audit))
    }

    async fn open_session(
        &self,
        new: NewSession,
        password: &Hash,
        failures: &FailureKey,
        audit: Entry,
    ) -> Result<Option<Vec<Uuid>>> {
        transact!(self, |tx| sessions::open(tx, &new, password, failures, &audit))
    }

    async fn rotate_session(
        &self,
        used: &RefreshHash,
        next: &RefreshHash,
        now: Timestamp,
        expires_at: Timestamp,
        audit: Entry,
    ) -> Result<Rotation> {
        transact!(self, |tx| sessions::rotate(tx, used, next, now, expires_at, &audit))
    }

    async fn session(&self, id: Uuid) -> Result<Option<(Session, Account)>> {
        sessions::living(&self.database, id).await
    }

    async fn sessions(&self, account: Uuid) -> Result<Vec<Session>> {
        sessions::of_account(&self.database, account).await
    }

    async fn end_session(
        &self,
        account: Uuid,
        id: Uuid,
        now: Timestamp,
        audit: Entry,
    ) -> Result<bool> {
        transact!(self, |tx| sessions::end(tx, account, id, now, &audit))
    }

    async fn failures(
        &self,
        key: &FailureKey,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<Timestamp>> {
        passwords::failures(&self.database, key, since, limit).await
    }

    async fn note_failure(&self, key: &FailureKey, audit: Entry) -> Result<()> {
        transact!(self, |tx| passwords::note_failure(tx, key, &audit))
    }

    async fn signing_keys(&self) -> Result<Vec<SealedKey>> {
        keys::all(&self.database).await
    }

    async fn add_signing_key(&self, key: &SealedKey) -> Result<bool> {
        keys::add(&self.database, key).await
    }

    async fn remove_signing_key(&self, kid: &str) -> Result<()> {
        keys::remove(&self.database, kid).await
    }

    async fn claim_outbox_messages(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>> {
        outbox::claim(&self.database, now, until, limit).await
    }

    async fn outbox_backlog(&self) -> Result<Vec<OutboxBacklog>> {
        outbox::backlog(&self.database).await
    }

    async fn finish_outbox_message(
        &self,
        id: Uuid,
        remembered_until: Option<Timestamp>,
    ) -> Result<()> {
        outbox::finish(&self.database, id, remembered_until).await
    }

    async fn postpone_outbox_message(&self, id: Uuid, due_at: Timestamp) -> Result<()> {
        outbox::postpone(&self.database, id, due_at).await
    }

    async fn reopen_outbox_messages(&self, kind: OutboxKind, due_at: Timestamp) -> Result<u64> {
        outbox::reopen(&self.database, kind, due_at).await
    }

    async fn add_inbox_mail(&self, mail: &InboxMail) -> Result<bool> {
        outbox::add_inbox_mail(&self.database, mail).await
    }

    async fn inbox_mails(&self, limit: u32) -> Result<Vec<InboxMail>> {
        outbox::inbox_mails(&self.database, limit).await
    }

    async fn audit(&self, entry: Entry) -> Result<()> {
        transact!(self, |tx| audit::note(tx, &entry))
    }

    async fn audit_log(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Entry>> {
        audit::list(&self.database, before, limit).await
    }

    async fn purge(&self, outdated: Outdated) -> Result<u64> {
        audit::purge(&self.database, outdated).await
    }
}
