//! What a trace shows of the database: each operation that a request waits for.

use async_trait::async_trait;
use jiff::Timestamp;
use miniapp_telemetry::trace::{CompletedSpan, SpanHandle, SpanKind, now};
use miniapp_types::account::{Account, Role};
use std::sync::Arc;
use uuid::Uuid;

use super::{
    AccountChanges, Credentials, FailureKey, Identifier, IssueCode, Issued, NewAccount, Outdated,
    PasswordChange, PasswordReset, Registered, Result, Store, StoreError, Updated,
};
use crate::audit::Entry;
use crate::code::{Mac, Purpose};
use crate::email::Email;
use crate::keys::SealedKey;
use crate::mail::InboxMail;
use crate::outbox::{OutboxBacklog, OutboxKind, OutboxRow};
use crate::password::Hash;
use crate::session::{NewSession, RefreshHash, Rotation, Session};

/// A store, each of whose operations is a span of the request that is recorded.
pub(crate) struct TracedStore {
    pub store: Arc<dyn Store>,
    /// The service whose spans these are.
    pub service: &'static str,
}

impl TracedStore {
    async fn traced<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let Some(parent) = SpanHandle::current() else { return work.await };
        let from = now();
        let answer = work.await;
        let span = CompletedSpan::new(operation, SpanKind::Client, &parent, from, now())
            .with_service(self.service)
            .with_attribute("db.system.name", self.store.system())
            .with_attribute("db.operation.name", operation);
        match &answer {
            Ok(_) => span,
            Err(StoreError::Unavailable(_)) => span.with_error("unavailable"),
            Err(StoreError::Broken(_)) => span.with_error("broken"),
        }
        .record();
        answer
    }
}

macro_rules! traced {
    ($(async fn $name:ident(&self $(, $value:ident: $type:ty)* $(,)?) -> Result<$answer:ty>;)*) => {
        #[async_trait]
        impl Store for TracedStore {
            $(async fn $name(&self $(, $value: $type)*) -> Result<$answer> {
                self.traced(stringify!($name), self.store.$name($($value),*)).await
            })*

            fn system(&self) -> &'static str {
                self.store.system()
            }
        }
    };
}

traced! {
    async fn ping(&self) -> Result<()>;
    async fn issue_code(&self, issue: IssueCode) -> Result<Issued>;
    async fn spend_try(
        &self,
        email: &Email,
        purpose: Purpose,
        now: Timestamp,
        tries: u32,
    ) -> Result<Option<Mac>>;
    async fn verify_email(
        &self,
        email: &Email,
        code: &Mac,
        until: Timestamp,
        audit: Entry,
    ) -> Result<bool>;
    async fn register(&self, new: NewAccount) -> Result<Registered>;
    async fn account(&self, id: Uuid) -> Result<Option<Account>>;
    async fn credentials(&self, of: &Identifier) -> Result<Option<Credentials>>;
    async fn accounts(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Account>>;
    async fn update_account(
        &self,
        id: Uuid,
        changes: AccountChanges,
        audit: Entry,
    ) -> Result<Updated>;
    async fn set_roles(
        &self,
        id: Uuid,
        roles: &[Role],
        news: OutboxRow,
        audit: Entry,
    ) -> Result<Option<Account>>;
    async fn change_password(&self, change: PasswordChange) -> Result<Option<Vec<Uuid>>>;
    async fn reset_password(&self, reset: PasswordReset) -> Result<Option<Vec<Uuid>>>;
    async fn delete_account(
        &self,
        id: Uuid,
        now: Timestamp,
        news: OutboxRow,
        audit: Entry,
    ) -> Result<Option<Vec<Uuid>>>;
    async fn open_session(
        &self,
        new: NewSession,
        password: &Hash,
        failures: &FailureKey,
        audit: Entry,
    ) -> Result<Option<Vec<Uuid>>>;
    async fn rotate_session(
        &self,
        used: &RefreshHash,
        next: &RefreshHash,
        now: Timestamp,
        expires_at: Timestamp,
        audit: Entry,
    ) -> Result<Rotation>;
    async fn session(&self, id: Uuid) -> Result<Option<(Session, Account)>>;
    async fn sessions(&self, account: Uuid) -> Result<Vec<Session>>;
    async fn end_session(
        &self,
        account: Uuid,
        id: Uuid,
        now: Timestamp,
        audit: Entry,
    ) -> Result<bool>;
    async fn failures(
        &self,
        key: &FailureKey,
        since: Timestamp,
        limit: u32,
    ) -> Result<Vec<Timestamp>>;
    async fn note_failure(&self, key: &FailureKey, audit: Entry) -> Result<()>;
    async fn signing_keys(&self) -> Result<Vec<SealedKey>>;
    async fn add_signing_key(&self, key: &SealedKey) -> Result<bool>;
    async fn remove_signing_key(&self, kid: &str) -> Result<()>;
    async fn claim_outbox_messages(
        &self,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>>;
    async fn outbox_backlog(&self) -> Result<Vec<OutboxBacklog>>;
    async fn finish_outbox_message(&self, id: Uuid, remembered_until: Option<Timestamp>) -> Result<()>;
    async fn postpone_outbox_message(&self, id: Uuid, due_at: Timestamp) -> Result<()>;
    async fn reopen_outbox_messages(&self, kind: OutboxKind, due_at: Timestamp) -> Result<u64>;
    async fn add_inbox_mail(&self, mail: &InboxMail) -> Result<bool>;
    async fn inbox_mails(&self, limit: u32) -> Result<Vec<InboxMail>>;
    async fn audit(&self, entry: Entry) -> Result<()>;
    async fn audit_log(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Entry>>;
    async fn purge(&self, outdated: Outdated) -> Result<u64>;
}
