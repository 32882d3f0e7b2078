//! Database spans.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use miniapp_telemetry::trace::{CompletedSpan, SpanHandle, SpanKind, now};
use miniapp_types::account::Account;
use uuid::Uuid;

use super::{
    Attempt, Credentials, ExpiryLimits, FailureKey, Identifier, Result, Revoked, SealedKey, Store,
    StoreError, TxError, TxResult, UnfoldedAccount,
};
use crate::api_key::ApiKey;
use crate::audit::AuditEntry;
use crate::mail::InboxMail;
use crate::outbox::{Lane, OutboxBacklog, OutboxKind, OutboxRow, SealedPayload};
use crate::session::Session;
use crate::token_hash::TokenHash;

/// Records each operation as a client span of the current request, if that is traced.
pub(crate) struct TracedStore {
    pub store: Arc<dyn Store>,
    /// The service name of the spans.
    pub service: &'static str,
}

impl TracedStore {
    async fn traced<T, E>(
        &self,
        operation: &'static str,
        work: impl Future<Output = std::result::Result<T, E>> + Send,
        store_error: fn(&E) -> &StoreError,
    ) -> std::result::Result<T, E> {
        let Some(parent) = SpanHandle::current() else { return work.await };
        let start = now();
        let result = work.await;
        let span = CompletedSpan::new(operation, SpanKind::Client, &parent, start, now())
            .with_service(self.service)
            .with_attribute("db.system.name", self.store.system())
            .with_attribute("db.operation.name", operation);
        match result.as_ref().map_err(store_error) {
            Ok(_) => span,
            Err(StoreError::Unavailable(_)) => span.with_error("unavailable"),
            Err(StoreError::Broken(_)) => span.with_error("broken"),
        }
        .record();
        result
    }
}

macro_rules! traced {
    ($(async fn $name:ident(&self $(, $value:ident: $type:ty)* $(,)?) -> $result:ty;)*) => {
        #[async_trait]
        impl Store for TracedStore {
            async fn attempt(&self, attempt: &mut dyn Attempt) -> TxResult<()> {
                let operation = attempt.operation();
                self.traced(operation, self.store.attempt(attempt), TxError::store_error).await
            }

            $(async fn $name(&self $(, $value: $type)*) -> $result {
                let work = self.store.$name($($value),*);
                self.traced(stringify!($name), work, |error| error).await
            })*

            fn system(&self) -> &'static str {
                self.store.system()
            }
        }
    };
}

traced! {
    async fn ping(&self) -> Result<()>;
    async fn account(&self, id: Uuid) -> Result<Option<Account>>;
    async fn accounts(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Account>>;
    async fn credentials(&self, of: &Identifier) -> Result<Option<Credentials>>;
    async fn mailbox(&self, id: Uuid) -> Result<Option<String>>;
    async fn unfolded_accounts(
        &self,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<UnfoldedAccount>>;
    async fn session(&self, id: Uuid) -> Result<Option<(Session, Account)>>;
    async fn sessions(&self, account: Uuid) -> Result<Vec<Session>>;
    async fn api_key(&self, hash: &TokenHash) -> Result<Option<(ApiKey, Option<Account>)>>;
    async fn api_keys(&self, account: Uuid, revoked_since: Timestamp) -> Result<Vec<ApiKey>>;
    async fn touch_api_key(
        &self,
        id: Uuid,
        now: Timestamp,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<()>;
    async fn revoke_api_keys_without_owner(&self, now: Timestamp) -> Result<u64>;
    async fn failures(
        &self,
        key: &FailureKey,
        since: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Timestamp>>;
    async fn signing_keys(&self) -> Result<Vec<SealedKey>>;
    async fn add_signing_key(&self, key: &SealedKey) -> Result<bool>;
    async fn remove_signing_key(&self, kid: &str) -> Result<()>;
    async fn reseal_signing_key(&self, key: &SealedKey, resealed: &[u8]) -> Result<bool>;
    async fn claim_outbox_messages(
        &self,
        lane: Lane,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>>;
    async fn outbox_backlog(&self) -> Result<Vec<OutboxBacklog>>;
    async fn finish_outbox_message(
        &self,
        id: Uuid,
        retained_until: Option<Timestamp>,
    ) -> Result<()>;
    async fn outbox_payloads(&self, after: Uuid, limit: u32) -> Result<Vec<SealedPayload>>;
    async fn reseal_outbox_message(
        &self,
        message: &SealedPayload,
        resealed: &[u8],
    ) -> Result<bool>;
    async fn postpone_outbox_message(&self, id: Uuid, due_at: Timestamp) -> Result<()>;
    async fn reopen_outbox_messages(&self, kind: OutboxKind, due_at: Timestamp) -> Result<u64>;
    async fn advance_outbox_messages(&self, latest: Timestamp, due_at: Timestamp) -> Result<u64>;
    async fn end_refresh_grace(&self, after: Timestamp) -> Result<u64>;
    async fn add_inbox_mail(&self, mail: &InboxMail) -> Result<bool>;
    async fn inbox_mails(&self, limit: u32) -> Result<Vec<InboxMail>>;
    async fn append_audit(&self, entry: &AuditEntry) -> Result<()>;
    async fn audit_log(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<AuditEntry>>;
    async fn purge(&self, limits: ExpiryLimits) -> Result<u64>;
    async fn deleted_since(&self, since: Timestamp) -> Result<Vec<Uuid>>;
    async fn deleted_accounts(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<Uuid>>;
    async fn returned_accounts(&self) -> Result<Vec<Uuid>>;
    async fn revoke_all(&self, now: Timestamp) -> Result<Revoked>;
    async fn close(&self) -> Result<()>;
}
