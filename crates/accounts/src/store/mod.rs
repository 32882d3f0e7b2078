//! The port to the database.
//!
//! A [`Store`] offers operations of one statement, and transactions. Rules that take more
//! than one statement are [operations](crate::operations) over a [`Transaction`]; the
//! databases know nothing of them. A missing row is `Ok(None)`.

mod error;
mod records;
mod traced;
mod transact;
mod transaction;

use async_trait::async_trait;
use jiff::Timestamp;
use miniapp_types::account::Account;
use uuid::Uuid;

use crate::api_key::ApiKey;
use crate::audit::AuditEntry;
use crate::mail::InboxMail;
use crate::outbox::{Lane, OutboxBacklog, OutboxKind, OutboxRow, SealedPayload};
use crate::session::Session;
use crate::token_hash::TokenHash;

pub use error::{Result, StoreError, TxError, TxResult};
pub use records::{
    CodeUsage, Credentials, ExpiryLimits, FailureKey, Identifier, NewCode, Revoked, SealedKey,
    UnfoldedAccount,
};
pub(crate) use traced::TracedStore;
pub use transact::{Attempt, Operation, Outcome};
pub use transaction::Transaction;

/// A database of accounts.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Checks that the database answers.
    async fn ping(&self) -> Result<()>;

    /// Creates or updates the tables, however long it takes.
    async fn migrate(&self) -> Result<()> {
        self.ping().await
    }

    /// Runs `attempt` once in a serializable transaction. See
    /// [`transact`](trait.Store.html#method.transact), which repeats it after a conflict.
    async fn attempt(&self, attempt: &mut dyn Attempt) -> TxResult<()>;

    async fn account(&self, id: Uuid) -> Result<Option<Account>>;

    /// Returns accounts created before the one with the id `before`, newest first.
    async fn accounts(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Account>>;

    async fn credentials(&self, of: &Identifier) -> Result<Option<Credentials>>;

    /// Returns where mail to an account is sent.
    async fn mailbox(&self, id: Uuid) -> Result<Option<String>>;

    /// Returns accounts with an id above `after` whose names have not been case-folded, oldest
    /// first.
    async fn unfolded_accounts(
        &self,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<UnfoldedAccount>>;

    /// Returns a session that was not ended, with its account. It may have expired.
    async fn session(&self, id: Uuid) -> Result<Option<(Session, Account)>>;

    /// Returns the stored sessions of an account, newest first, ended ones included.
    async fn sessions(&self, account: Uuid) -> Result<Vec<Session>>;

    /// Returns an API key with its account, unless that was deleted. The key may have expired or
    /// been revoked.
    async fn api_key(&self, hash: &TokenHash) -> Result<Option<(ApiKey, Option<Account>)>>;

    /// Returns the API keys of an account that were not revoked, or after `revoked_since`, newest
    /// first.
    async fn api_keys(&self, account: Uuid, revoked_since: Timestamp) -> Result<Vec<ApiKey>>;

    /// Records a use of an API key, unless one between `since` and `until` is recorded.
    async fn touch_api_key(
        &self,
        id: Uuid,
        now: Timestamp,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<()>;

    /// Revokes the API keys of accounts that are disabled or were deleted, and returns their number.
    async fn revoke_api_keys_without_owner(&self, now: Timestamp) -> Result<u64>;

    /// Returns the times of failed sign-ins after `since` and up to `until`, latest first.
    async fn failures(
        &self,
        key: &FailureKey,
        since: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Timestamp>>;

    /// Returns the signing keys in any order.
    async fn signing_keys(&self) -> Result<Vec<SealedKey>>;

    /// Adds a key. Returns false if the key that it follows has a successor already.
    async fn add_signing_key(&self, key: &SealedKey) -> Result<bool>;

    async fn remove_signing_key(&self, kid: &str) -> Result<()>;

    /// Replaces the encrypted form of a key, unless another process has replaced it. Returns
    /// whether it did.
    async fn reseal_signing_key(&self, key: &SealedKey, resealed: &[u8]) -> Result<bool>;

    /// Claims due messages of a lane until `until`, oldest first: no other process gets them before.
    /// Increments their attempts; the rows returned have the count from before.
    async fn claim_outbox_messages(
        &self,
        lane: Lane,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>>;

    /// Counts unfinished messages. Kinds without messages are left out.
    async fn outbox_backlog(&self) -> Result<Vec<OutboxBacklog>>;

    /// Deletes a message that was delivered, or retains it so that it can be reopened.
    async fn finish_outbox_message(
        &self,
        id: Uuid,
        retained_until: Option<Timestamp>,
    ) -> Result<()>;

    /// Returns the payloads of messages with an id above `after`, oldest first, those of retained
    /// messages included.
    async fn outbox_payloads(&self, after: Uuid, limit: u32) -> Result<Vec<SealedPayload>>;

    /// Replaces the payload of a message, unless another process has replaced it. Returns whether
    /// it did.
    async fn reseal_outbox_message(&self, message: &SealedPayload, resealed: &[u8])
    -> Result<bool>;

    async fn postpone_outbox_message(&self, id: Uuid, due_at: Timestamp) -> Result<()>;

    /// Makes all retained messages of a kind due again, and returns their number.
    async fn reopen_outbox_messages(&self, kind: OutboxKind, due_at: Timestamp) -> Result<u64>;

    /// Makes the messages that are due after `latest` due at `due_at`, and returns their number.
    async fn advance_outbox_messages(&self, latest: Timestamp, due_at: Timestamp) -> Result<u64>;

    /// Lets no refresh token be issued again that replaced another one after this time. Returns
    /// their number.
    async fn end_refresh_grace(&self, after: Timestamp) -> Result<u64>;

    /// Stores a mail. Returns false if it was stored before.
    async fn add_inbox_mail(&self, mail: &InboxMail) -> Result<bool>;

    /// Returns stored mails, newest first.
    async fn inbox_mails(&self, limit: u32) -> Result<Vec<InboxMail>>;

    async fn append_audit(&self, entry: &AuditEntry) -> Result<()>;

    /// Returns entries made before the one with the id `before`, newest first.
    async fn audit_log(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<AuditEntry>>;

    /// Deletes expired rows and returns their number.
    async fn purge(&self, limits: ExpiryLimits) -> Result<u64>;

    /// Returns deleted accounts with an id above `after`, in the order of their ids.
    async fn deleted_accounts(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<Uuid>>;

    /// Returns accounts that were deleted after `since` and do not exist, in any order.
    async fn deleted_since(&self, since: Timestamp) -> Result<Vec<Uuid>>;

    /// Returns accounts whose deletion is recorded and that exist, because a restore brought them
    /// back, in any order.
    async fn returned_accounts(&self) -> Result<Vec<Uuid>>;

    /// Ends all sessions, revokes all API keys, and deletes all signing keys, codes, verifications
    /// of addresses and outbox messages.
    async fn revoke_all(&self, now: Timestamp) -> Result<Revoked>;

    /// Closes the connections, after the last use. If they were the last ones of an SQLite file,
    /// it is then complete without a write-ahead log.
    async fn close(&self) -> Result<()>;

    /// Returns the `db.system.name` of OpenTelemetry.
    fn system(&self) -> &'static str;
}
