//! The port to the database.
//!
//! Each function is one whole operation: it happens entirely or not at all, and what it
//! says about its outcome was true when it committed. What is absent is `Ok(None)`.
//! Entries of the audit log and duties that are handed in commit together with the
//! operation, and only if it succeeds.

mod records;
mod traced;

use async_trait::async_trait;
use jiff::Timestamp;
use miniapp_types::account::{Account, Role};
use uuid::Uuid;

use crate::audit::Entry;
use crate::code::{Mac, Purpose};
use crate::email::Email;
use crate::keys::SealedKey;
use crate::mail::InboxMail;
use crate::outbox::{OutboxBacklog, OutboxKind, OutboxRow};
use crate::password::Hash;
use crate::session::{NewSession, RefreshHash, Rotation, Session};

pub use records::{
    AccountChanges, Credentials, FailureKey, Identifier, IssueCode, Issued, NewAccount, Outdated,
    PasswordChange, PasswordReset, Registered, Sending, Updated,
};
pub(crate) use traced::TracedStore;

/// Why the database didn't do as told.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached, is full or too busy. Nothing was written, or the answer got
    /// lost; trying again later is right.
    #[error("the account store is unavailable: {0}")]
    Unavailable(String),
    /// It holds or answered something that it should not.
    #[error("the account store is at fault: {0}")]
    Broken(String),
}

/// What all functions of the port answer.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A database of accounts.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Whether the database answers.
    async fn ping(&self) -> Result<()>;

    /// Sends a code unless the address has had too many.
    async fn issue_code(&self, issue: IssueCode) -> Result<Issued>;

    /// Takes one of the tries that a living code has, and gives what is kept of it.
    async fn spend_try(
        &self,
        email: &Email,
        purpose: Purpose,
        now: Timestamp,
        tries: u32,
    ) -> Result<Option<Mac>>;

    /// Uses up the verification code and notes that the address is verified until then;
    /// whether the code was still there.
    async fn verify_email(
        &self,
        email: &Email,
        code: &Mac,
        until: Timestamp,
        audit: Entry,
    ) -> Result<bool>;

    /// Makes an account and uses up the verification of its address.
    async fn register(&self, new: NewAccount) -> Result<Registered>;

    /// An account.
    async fn account(&self, id: Uuid) -> Result<Option<Account>>;

    /// An account with its password.
    async fn credentials(&self, of: &Identifier) -> Result<Option<Credentials>>;

    /// Accounts made before the one with the id `before`, newest first.
    async fn accounts(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Account>>;

    /// Changes an account.
    async fn update_account(
        &self,
        id: Uuid,
        changes: AccountChanges,
        audit: Entry,
    ) -> Result<Updated>;

    /// Changes what an account may do, and makes its access tokens invalid, which say
    /// otherwise. `news` tells of that.
    async fn set_roles(
        &self,
        id: Uuid,
        roles: &[Role],
        news: OutboxRow,
        audit: Entry,
    ) -> Result<Option<Account>>;

    /// Changes a password and ends all other sessions, whose ids it gives; `None` where
    /// the old password isn't in force any more.
    async fn change_password(&self, change: PasswordChange) -> Result<Option<Vec<Uuid>>>;

    /// Sets a password and ends all sessions, whose ids it gives; `None` where the code
    /// isn't there any more or the address has no account.
    async fn reset_password(&self, reset: PasswordReset) -> Result<Option<Vec<Uuid>>>;

    /// Removes an account and ends its sessions, whose ids it gives; `None` where there
    /// is no such account. `news` tells of it.
    async fn delete_account(
        &self,
        id: Uuid,
        now: Timestamp,
        news: OutboxRow,
        audit: Entry,
    ) -> Result<Option<Vec<Uuid>>>;

    /// Begins a session and forgets failed sign-ins, if `password` is still in force
    /// (`None` otherwise). Ends the oldest ones that are too many, whose ids it gives.
    async fn open_session(
        &self,
        new: NewSession,
        password: &Hash,
        failures: &FailureKey,
        audit: Entry,
    ) -> Result<Option<Vec<Uuid>>>;

    /// Replaces a refresh token by the next one; the session's epoch grows by one.
    /// `audit` is noted about its account.
    async fn rotate_session(
        &self,
        used: &RefreshHash,
        next: &RefreshHash,
        now: Timestamp,
        expires_at: Timestamp,
        audit: Entry,
    ) -> Result<Rotation>;

    /// A session that hasn't ended, and whose it is.
    async fn session(&self, id: Uuid) -> Result<Option<(Session, Account)>>;

    /// All sessions of an account that are still stored, newest first, ended ones
    /// included.
    async fn sessions(&self, account: Uuid) -> Result<Vec<Session>>;

    /// Ends a session of the account; whether there was one to end.
    async fn end_session(
        &self,
        account: Uuid,
        id: Uuid,
        now: Timestamp,
        audit: Entry,
    ) -> Result<bool>;

    /// When sign-ins failed since then, the latest first, at most `limit`.
    async fn failures(
        &self,
        key: &FailureKey,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<Timestamp>>;

    /// Notes a failed sign-in.
    async fn note_failure(&self, key: &FailureKey, audit: Entry) -> Result<()>;

    /// The signing keys, in any order.
    async fn signing_keys(&self) -> Result<Vec<SealedKey>>;

    /// Adds a key, unless the one that it follows has a successor; whether it did.
    async fn add_signing_key(&self, key: &SealedKey) -> Result<bool>;

    /// Forgets a key.
    async fn remove_signing_key(&self, kid: &str) -> Result<()>;

    /// Takes duties that are due, the oldest first, and puts them off until `until`, so
    /// that nobody else does them meanwhile. Counts an attempt for each; what it gives
    /// has the count before.
    async fn claim_outbox_messages(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>>;

    /// How much is owed, of those kinds of which there is something.
    async fn outbox_backlog(&self) -> Result<Vec<OutboxBacklog>>;

    /// A duty is done: forgets it, or remembers it until then.
    async fn finish_outbox_message(
        &self,
        id: Uuid,
        remembered_until: Option<Timestamp>,
    ) -> Result<()>;

    /// A duty is due again at that time.
    async fn postpone_outbox_message(&self, id: Uuid, due_at: Timestamp) -> Result<()>;

    /// All remembered duties of the kind are due once more; how many there are.
    async fn reopen_outbox_messages(&self, kind: OutboxKind, due_at: Timestamp) -> Result<u64>;

    /// Keeps a mail; false where it was kept before.
    async fn add_inbox_mail(&self, mail: &InboxMail) -> Result<bool>;

    /// Kept mails, newest first.
    async fn inbox_mails(&self, limit: u32) -> Result<Vec<InboxMail>>;

    /// Adds to the audit log.
    async fn audit(&self, entry: Entry) -> Result<()>;

    /// The audit log before the entry with the id `before`, newest first.
    async fn audit_log(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Entry>>;

    /// Removes what is too old; how many rows that were.
    async fn purge(&self, outdated: Outdated) -> Result<u64>;

    /// What OpenTelemetry calls such a database.
    fn system(&self) -> &'static str {
        "other_sql"
    }
}
