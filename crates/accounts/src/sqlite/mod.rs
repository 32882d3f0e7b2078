//! The embedded store: a SQLite file in WAL mode, one connection that writes, a few that
//! read.

mod accounts;
mod audit;
mod codes;
mod keys;
mod outbox;
mod passwords;
mod rows;
mod sessions;

use async_trait::async_trait;
use jiff::Timestamp;
use miniapp_sqlite::{DatabaseError, WriteLock};
use miniapp_types::account::{Account, Role};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqlitePool;
use sqlx::{Connection as _, Sqlite, SqliteConnection, Transaction};
use tokio::sync::MutexGuard;
use uuid::Uuid;

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

/// An account store in a SQLite file.
pub struct SqliteStore {
    writer: WriteLock,
    readers: SqlitePool,
}

impl SqliteStore {
    /// Opens the file that a `sqlite://PATH` URL names, made and brought up to date where
    /// needed. With `fsync` a commit survives the loss of power, without it only that of
    /// the process.
    pub async fn open(url: &str, fsync: bool) -> Result<Self> {
        let mut migrations: Migrator = sqlx::migrate!("migrations/sqlite");
        // Other crates keep their tables, and their own count of migrations, in this file.
        migrations.dangerous_set_table_name("accounts_migrations");
        let opened =
            miniapp_sqlite::open(url, fsync, |options| options.foreign_keys(true), &migrations);
        let (writer, readers) = opened.await?;
        Ok(Self { writer, readers })
    }

    async fn writer(&self) -> Result<Writer<'_>> {
        Ok(Writer(self.writer.lock().await?))
    }
}

/// The right to write.
struct Writer<'a>(MutexGuard<'a, SqliteConnection>);

impl Writer<'_> {
    /// Begins a transaction that writes: taking the lock at once spares it the failure
    /// of a reader that turns writer too late.
    async fn begin(&mut self) -> Result<Transaction<'_, Sqlite>> {
        Ok(self.0.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// For a single statement, which is a transaction of its own.
    fn alone(&mut self) -> &mut SqliteConnection {
        &mut self.0
    }
}

impl From<DatabaseError> for StoreError {
    fn from(fault: DatabaseError) -> Self {
        match fault {
            DatabaseError::Unavailable(text) => Self::Unavailable(text),
            DatabaseError::Internal(text) => Self::Broken(text),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn system(&self) -> &'static str {
        "sqlite"
    }

    async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.readers).await?;
        Ok(())
    }

    async fn issue_code(&self, issue: IssueCode) -> Result<Issued> {
        codes::issue(&mut self.writer().await?, issue).await
    }

    async fn spend_try(
        &self,
        email: &Email,
        purpose: Purpose,
        now: Timestamp,
        tries: u32,
    ) -> Result<Option<Mac>> {
        codes::spend_try(self.writer().await?.alone(), email, purpose, now, tries).await
    }

    async fn verify_email(
        &self,
        email: &Email,
        code: &Mac,
        until: Timestamp,
        audit: Entry,
    ) -> Result<bool> {
        codes::verify_email(&mut self.writer().await?, email, code, until, audit).await
    }

    async fn register(&self, new: NewAccount) -> Result<Registered> {
        accounts::register(&mut self.writer().await?, new).await
    }

    async fn account(&self, id: Uuid) -> Result<Option<Account>> {
        accounts::by_id(&self.readers, id).await
    }

    async fn credentials(&self, of: &Identifier) -> Result<Option<Credentials>> {
        accounts::credentials(&self.readers, of).await
    }

    async fn accounts(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Account>> {
        accounts::list(&self.readers, before, limit).await
    }

    async fn update_account(
        &self,
        id: Uuid,
        changes: AccountChanges,
        audit: Entry,
    ) -> Result<Updated> {
        accounts::update(&mut self.writer().await?, id, changes, audit).await
    }

    async fn set_roles(
        &self,
        id: Uuid,
        roles: &[Role],
        news: OutboxRow,
        audit: Entry,
    ) -> Result<Option<Account>> {
        accounts::set_roles(&mut self.writer().await?, id, roles, &news, audit).await
    }

    async fn change_password(&self, change: PasswordChange) -> Result<Option<Vec<Uuid>>> {
        passwords::change(&mut self.writer().await?, change).await
    }

    async fn reset_password(&self, reset: PasswordReset) -> Result<Option<Vec<Uuid>>> {
        passwords::reset(&mut self.writer().await?, reset).await
    }

    async fn delete_account(
        &self,
        id: Uuid,
        now: Timestamp,
        news: OutboxRow,
        audit: Entry,
    ) -> Result<Option<Vec<Uuid>>> {
        accounts::delete(&mut self.writer().await?, id, now, &news, audit).await
    }

    async fn open_session(
        &self,
        new: NewSession,
        password: &Hash,
        failures: &FailureKey,
        audit: Entry,
    ) -> Result<Option<Vec<Uuid>>> {
        sessions::open(&mut self.writer().await?, new, password, failures, audit).await
    }

    async fn rotate_session(
        &self,
        used: &RefreshHash,
        next: &RefreshHash,
        now: Timestamp,
        expires_at: Timestamp,
        audit: Entry,
    ) -> Result<Rotation> {
        sessions::rotate(&mut self.writer().await?, used, next, now, expires_at, audit).await
    }

    async fn session(&self, id: Uuid) -> Result<Option<(Session, Account)>> {
        sessions::living(&self.readers, id).await
    }

    async fn sessions(&self, account: Uuid) -> Result<Vec<Session>> {
        sessions::of_account(&self.readers, account).await
    }

    async fn end_session(
        &self,
        account: Uuid,
        id: Uuid,
        now: Timestamp,
        audit: Entry,
    ) -> Result<bool> {
        sessions::end(&mut self.writer().await?, account, id, now, audit).await
    }

    async fn failures(
        &self,
        key: &FailureKey,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<Timestamp>> {
        passwords::failures(&self.readers, key, since, limit).await
    }

    async fn note_failure(&self, key: &FailureKey, audit: Entry) -> Result<()> {
        passwords::note_failure(&mut self.writer().await?, key, audit).await
    }

    async fn signing_keys(&self) -> Result<Vec<SealedKey>> {
        keys::all(&self.readers).await
    }

    async fn add_signing_key(&self, key: &SealedKey) -> Result<bool> {
        keys::add(self.writer().await?.alone(), key).await
    }

    async fn remove_signing_key(&self, kid: &str) -> Result<()> {
        keys::remove(self.writer().await?.alone(), kid).await
    }

    async fn claim_outbox_messages(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>> {
        if !outbox::any_due(&self.readers, now).await? {
            return Ok(Vec::new());
        }
        outbox::claim(self.writer().await?.alone(), now, until, limit).await
    }

    async fn outbox_backlog(&self) -> Result<Vec<OutboxBacklog>> {
        outbox::backlog(&self.readers).await
    }

    async fn finish_outbox_message(
        &self,
        id: Uuid,
        remembered_until: Option<Timestamp>,
    ) -> Result<()> {
        outbox::finish(self.writer().await?.alone(), id, remembered_until).await
    }

    async fn postpone_outbox_message(&self, id: Uuid, due_at: Timestamp) -> Result<()> {
        outbox::postpone(self.writer().await?.alone(), id, due_at).await
    }

    async fn reopen_outbox_messages(&self, kind: OutboxKind, due_at: Timestamp) -> Result<u64> {
        outbox::reopen(self.writer().await?.alone(), kind, due_at).await
    }

    async fn add_inbox_mail(&self, mail: &InboxMail) -> Result<bool> {
        outbox::add_inbox_mail(self.writer().await?.alone(), mail).await
    }

    async fn inbox_mails(&self, limit: u32) -> Result<Vec<InboxMail>> {
        outbox::inbox_mails(&self.readers, limit).await
    }

    async fn audit(&self, entry: Entry) -> Result<()> {
        audit::add(self.writer().await?.alone(), &entry).await
    }

    async fn audit_log(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Entry>> {
        audit::list(&self.readers, before, limit).await
    }

    async fn purge(&self, outdated: Outdated) -> Result<u64> {
        audit::purge(&mut self.writer().await?, outdated).await
    }
}
