//! The operations that are one statement each, outside of a transaction.

use async_trait::async_trait;
use jiff::Timestamp;
use miniapp_types::account::Account;
use uuid::Uuid;

use super::engine::Engine;
use super::row::{all, first};
use super::statement::Statement;
use super::text;
use super::transaction::{insert_audit_entry, insert_signing_key};
use crate::api_key::ApiKey;
use crate::audit::AuditEntry;
use crate::mail::InboxMail;
use crate::outbox::{Lane, OutboxBacklog, OutboxKind, OutboxRow, SealedPayload};
use crate::password::PasswordHash;
use crate::session::Session;
use crate::store::{
    Attempt, Credentials, ExpiryLimits, FailureKey, Identifier, Result, Revoked, SealedKey, Store,
    TxResult, UnfoldedAccount,
};
use crate::token_hash::TokenHash;

#[async_trait]
impl<E: Engine> Store for E {
    fn system(&self) -> &'static str {
        E::SYSTEM
    }

    async fn ping(&self) -> Result<()> {
        Engine::ping(self).await
    }

    async fn migrate(&self) -> Result<()> {
        Engine::migrate(self).await
    }

    async fn attempt(&self, attempt: &mut dyn Attempt) -> TxResult<()> {
        self.transaction(attempt).await
    }

    async fn account(&self, id: Uuid) -> Result<Option<Account>> {
        let rows = self.read(Statement::new(text::ACCOUNT).bind(id)).await?;
        first(&rows, |mut row| row.account())
    }

    async fn accounts(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<Account>> {
        let statement = Statement::new(text::ACCOUNTS).bind(before.unwrap_or(Uuid::max()));
        let rows = self.read(statement.bind(limit)).await?;
        all(&rows, |mut row| row.account())
    }

    async fn credentials(&self, of: &Identifier) -> Result<Option<Credentials>> {
        let statement = match of {
            Identifier::Login(key) => {
                Statement::new(text::CREDENTIALS_BY_LOGIN).bind(key.folded()).bind(key.lower_case())
            }
            Identifier::Email(email) => {
                Statement::new(text::CREDENTIALS_BY_EMAIL).bind(email.key()).bind(email.as_str())
            }
        };
        first(&self.read(statement).await?, |mut row| {
            let (account, mailbox) = (row.account()?, row.read()?);
            let password = PasswordHash::from_phc(row.read::<String>()?);
            Ok(Credentials { account, mailbox, password })
        })
    }

    async fn mailbox(&self, id: Uuid) -> Result<Option<String>> {
        let rows = self.read(Statement::new(text::MAILBOX).bind(id)).await?;
        first(&rows, |mut row| row.read())
    }

    async fn unfolded_accounts(
        &self,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<UnfoldedAccount>> {
        let statement = Statement::new(text::UNFOLDED_ACCOUNTS).bind(after.unwrap_or(Uuid::nil()));
        all(&self.read(statement.bind(limit)).await?, |mut row| {
            Ok(UnfoldedAccount {
                id: row.read()?,
                login: row.read()?,
                email: row.read()?,
                has_email_key: row.read()?,
            })
        })
    }

    async fn session(&self, id: Uuid) -> Result<Option<(Session, Account)>> {
        let rows = self.read(Statement::new(text::SESSION).bind(id)).await?;
        first(&rows, |mut row| Ok((row.session()?, row.account()?)))
    }

    async fn sessions(&self, account: Uuid) -> Result<Vec<Session>> {
        let rows = self.read(Statement::new(text::SESSIONS).bind(account)).await?;
        all(&rows, |mut row| row.session())
    }

    async fn api_key(&self, hash: &TokenHash) -> Result<Option<(ApiKey, Option<Account>)>> {
        let rows = self.read(Statement::new(text::API_KEY).bind(&hash.0)).await?;
        first(&rows, |mut row| Ok((row.api_key()?, row.optional_account()?)))
    }

    async fn api_keys(&self, account: Uuid, revoked_since: Timestamp) -> Result<Vec<ApiKey>> {
        let statement = Statement::new(text::API_KEYS).bind(account).bind(revoked_since);
        all(&self.read(statement).await?, |mut row| row.api_key())
    }

    async fn touch_api_key(
        &self,
        id: Uuid,
        now: Timestamp,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<()> {
        let statement = Statement::new(text::TOUCH_API_KEY).bind(now).bind(id);
        self.write(statement.bind(since).bind(until)).await.map(drop)
    }

    async fn revoke_api_keys_without_owner(&self, now: Timestamp) -> Result<u64> {
        self.change(Statement::new(text::REVOKE_API_KEYS_WITHOUT_OWNER).bind(now)).await
    }

    async fn failures(
        &self,
        key: &FailureKey,
        since: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<Timestamp>> {
        let statement =
            Statement::new(text::FAILURES).bind(key).bind(since).bind(until).bind(limit);
        all(&self.read(statement).await?, |mut row| row.time())
    }

    async fn signing_keys(&self) -> Result<Vec<SealedKey>> {
        let rows = self.read(Statement::new(text::SIGNING_KEYS)).await?;
        all(&rows, |mut row| row.signing_key())
    }

    async fn add_signing_key(&self, key: &SealedKey) -> Result<bool> {
        Ok(!self.write(insert_signing_key(key)).await?.is_empty())
    }

    async fn remove_signing_key(&self, kid: &str) -> Result<()> {
        self.write(Statement::new(text::DELETE_SIGNING_KEY).bind(kid)).await.map(drop)
    }

    async fn reseal_signing_key(&self, key: &SealedKey, resealed: &[u8]) -> Result<bool> {
        let statement = Statement::new(text::RESEAL_SIGNING_KEY).bind(resealed);
        let statement = statement.bind(key.kid.as_str()).bind(key.sealed.as_slice());
        Ok(!self.write(statement).await?.is_empty())
    }

    async fn claim_outbox_messages(
        &self,
        lane: Lane,
        now: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<OutboxRow>> {
        let mails = i64::from(lane == Lane::Mails);
        let parameters = [until.as_microsecond(), now.as_microsecond(), limit.into(), mails];
        let rows = Engine::claim_outbox_messages(self, parameters).await?;
        all(&rows, |mut row| row.outbox_row())
    }

    async fn outbox_backlog(&self) -> Result<Vec<OutboxBacklog>> {
        let rows = self.read(Statement::new(E::OUTBOX_BACKLOG)).await?;
        all(&rows, |mut row| row.outbox_backlog())
    }

    async fn finish_outbox_message(
        &self,
        id: Uuid,
        retained_until: Option<Timestamp>,
    ) -> Result<()> {
        let statement = match retained_until {
            Some(end) => Statement::new(text::RETAIN_OUTBOX_MESSAGE).bind(end),
            None => Statement::new(text::DELETE_OUTBOX_MESSAGE),
        };
        self.write(statement.bind(id)).await.map(drop)
    }

    async fn outbox_payloads(&self, after: Uuid, limit: u32) -> Result<Vec<SealedPayload>> {
        let statement = Statement::new(text::OUTBOX_PAYLOADS).bind(after).bind(limit);
        let rows = self.read(statement).await?;
        all(&rows, |mut row| Ok(SealedPayload { id: row.read()?, payload: row.read()? }))
    }

    async fn reseal_outbox_message(
        &self,
        message: &SealedPayload,
        resealed: &[u8],
    ) -> Result<bool> {
        let statement = Statement::new(text::RESEAL_OUTBOX_MESSAGE).bind(resealed);
        let statement = statement.bind(message.id).bind(message.payload.as_slice());
        Ok(!self.write(statement).await?.is_empty())
    }

    async fn postpone_outbox_message(&self, id: Uuid, due_at: Timestamp) -> Result<()> {
        let statement = Statement::new(text::POSTPONE_OUTBOX_MESSAGE).bind(due_at).bind(id);
        self.write(statement).await.map(drop)
    }

    async fn reopen_outbox_messages(&self, kind: OutboxKind, due_at: Timestamp) -> Result<u64> {
        let statement = Statement::new(text::REOPEN_OUTBOX_MESSAGES);
        Ok(self.write(statement.bind(due_at).bind(kind.name())).await?.len() as u64)
    }

    async fn advance_outbox_messages(&self, latest: Timestamp, due_at: Timestamp) -> Result<u64> {
        let statement = Statement::new(text::ADVANCE_OUTBOX_MESSAGES);
        Ok(self.write(statement.bind(due_at).bind(latest)).await?.len() as u64)
    }

    async fn end_refresh_grace(&self, after: Timestamp) -> Result<u64> {
        self.change(Statement::new(text::END_REFRESH_GRACE).bind(after)).await
    }

    async fn add_inbox_mail(&self, kept: &InboxMail) -> Result<bool> {
        let InboxMail { at, mail } = kept;
        let statement = Statement::new(text::INSERT_INBOX_MAIL)
            .bind(mail.id)
            .bind(*at)
            .bind(mail.to.as_str())
            .bind(mail.subject.as_str())
            .bind(mail.text.as_str())
            .bind(mail.html.as_str());
        Ok(!self.write(statement).await?.is_empty())
    }

    async fn inbox_mails(&self, limit: u32) -> Result<Vec<InboxMail>> {
        let rows = self.read(Statement::new(text::INBOX_MAILS).bind(limit)).await?;
        all(&rows, |mut row| row.inbox_mail())
    }

    async fn append_audit(&self, entry: &AuditEntry) -> Result<()> {
        self.write(insert_audit_entry(entry)).await.map(drop)
    }

    async fn audit_log(&self, before: Option<Uuid>, limit: u32) -> Result<Vec<AuditEntry>> {
        let statement = Statement::new(text::AUDIT_LOG).bind(before.unwrap_or(Uuid::max()));
        let rows = self.read(statement.bind(limit)).await?;
        all(&rows, |mut row| row.audit_entry())
    }

    /// Runs each statement by itself: a long transaction would conflict with others.
    async fn purge(&self, limits: ExpiryLimits) -> Result<u64> {
        let mut count = 0;
        for (text, before) in [
            (text::DELETE_EXPIRED_CODES, limits.codes_before),
            (text::DELETE_EXPIRED_VERIFICATIONS, limits.now),
            (text::DELETE_EXPIRED_SESSIONS, limits.now),
            (text::DELETE_EXPIRED_TOKENS, limits.now),
            (text::DELETE_ENDED_API_KEYS, limits.api_keys_before),
            (text::DELETE_RETAINED_MESSAGES, limits.now),
            (text::DELETE_OLD_FAILURES, limits.failures_before),
            (text::DELETE_OLD_AUDIT_ENTRIES, limits.audit_before),
            (text::DELETE_OLD_MAILS, limits.mails_before),
        ] {
            count += self.change(Statement::new(text).bind(before)).await?;
        }
        Ok(count)
    }

    async fn deleted_since(&self, since: Timestamp) -> Result<Vec<Uuid>> {
        let statement = Statement::new(text::DELETED_SINCE).bind(since);
        all(&self.read(statement).await?, |mut row| row.read())
    }

    async fn deleted_accounts(&self, after: Option<Uuid>, limit: u32) -> Result<Vec<Uuid>> {
        let statement = Statement::new(text::DELETED_ACCOUNTS).bind(after.unwrap_or(Uuid::nil()));
        all(&self.read(statement.bind(limit)).await?, |mut row| row.read())
    }

    async fn returned_accounts(&self) -> Result<Vec<Uuid>> {
        let statement = Statement::new(text::RETURNED_ACCOUNTS);
        all(&self.read(statement).await?, |mut row| row.read())
    }

    async fn revoke_all(&self, now: Timestamp) -> Result<Revoked> {
        for text in [
            text::DELETE_ALL_SIGNING_KEYS,
            text::INVALIDATE_ALL_CODES,
            text::DELETE_ALL_VERIFICATIONS,
            text::DELETE_ALL_OUTBOX_MESSAGES,
        ] {
            self.change(Statement::new(text)).await?;
        }
        let api_keys = self.change(Statement::new(text::REVOKE_ALL_API_KEYS).bind(now)).await?;
        let sessions = self.change(Statement::new(text::END_ALL_SESSIONS).bind(now)).await?;
        Ok(Revoked { sessions, api_keys })
    }

    async fn close(&self) -> Result<()> {
        Engine::close(self).await
    }
}
