//! The operations of a transaction.

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;
use miniapp_types::account::{Account, Role};
use uuid::Uuid;

use super::engine::Connection;
use super::row::{Reader, Row, all, first};
use super::statement::Statement;
use super::text;
use crate::api_key::{self, ApiKeyUsage, NewApiKey};
use crate::audit::AuditEntry;
use crate::code::{Mac, Purpose};
use crate::email::Email;
use crate::login::{Login, LoginKey};
use crate::outbox::OutboxRow;
use crate::password::PasswordHash;
use crate::refresh_token::Salt;
use crate::session::{FIRST_EPOCH, NewSession, Session, SpentToken};
use crate::store::{CodeUsage, FailureKey, NewCode, SealedKey, StoreError, Transaction, TxResult};
use crate::token_hash::TokenHash;

#[async_trait]
impl<C: Connection> Transaction for C {
    async fn account(&mut self, id: Uuid) -> TxResult<Option<Account>> {
        let rows = self.run(Statement::new(text::ACCOUNT).bind(id)).await?;
        Ok(first(&rows, |mut row| row.account())?)
    }

    async fn mailbox(&mut self, id: Uuid) -> TxResult<Option<String>> {
        let rows = self.run(Statement::new(text::MAILBOX).bind(id)).await?;
        Ok(first(&rows, |mut row| row.read())?)
    }

    async fn session(&mut self, id: Uuid) -> TxResult<Option<(Session, Account)>> {
        let rows = self.run(Statement::new(text::SESSION).bind(id)).await?;
        Ok(first(&rows, |mut row| Ok((row.session()?, row.account()?)))?)
    }

    async fn insert_account(
        &mut self,
        account: &Account,
        email: &Email,
        mailbox: &str,
        login: &Login,
        password: &PasswordHash,
    ) -> TxResult<()> {
        let statement = Statement::new(text::INSERT_ACCOUNT)
            .bind(account.user_id)
            .bind(login.as_str())
            .bind(login.key().lower_case())
            .bind(login.key().folded())
            .bind(email.as_str())
            .bind(email.key())
            .bind(mailbox)
            .bind(password.as_str())
            .bind(account.roles.as_slice())
            .bind(account.birth_date)
            .bind(account.phone_number.as_deref())
            .bind(account.created_at);
        self.run(statement).await.map(drop)
    }

    async fn email_owner(&mut self, email: &Email) -> TxResult<Option<Uuid>> {
        let statement = Statement::new(text::EMAIL_OWNER).bind(email.key()).bind(email.as_str());
        let rows = self.run(statement).await?;
        Ok(first(&rows, |mut row| row.read())?)
    }

    async fn login_owner(&mut self, key: &LoginKey) -> TxResult<Option<Uuid>> {
        let statement = Statement::new(text::LOGIN_OWNER);
        let rows = self.run(statement.bind(key.folded()).bind(key.lower_case())).await?;
        Ok(first(&rows, |mut row| row.read())?)
    }

    async fn email_key_owner(&mut self, email: &Email) -> TxResult<Option<Uuid>> {
        let rows = self.run(Statement::new(text::EMAIL_KEY_OWNER).bind(email.key())).await?;
        Ok(first(&rows, |mut row| row.read())?)
    }

    async fn folded_login_owner(&mut self, key: &LoginKey) -> TxResult<Option<Uuid>> {
        let rows = self.run(Statement::new(text::FOLDED_LOGIN_OWNER).bind(key.folded())).await?;
        Ok(first(&rows, |mut row| row.read())?)
    }

    async fn set_email_key(&mut self, id: Uuid, email: &Email) -> TxResult<()> {
        let statement = Statement::new(text::SET_EMAIL_KEY);
        self.run(statement.bind(email.key()).bind(email.mailbox()).bind(id)).await.map(drop)
    }

    async fn set_folded_login(&mut self, id: Uuid, key: &LoginKey) -> TxResult<()> {
        let statement = Statement::new(text::SET_FOLDED_LOGIN);
        self.run(statement.bind(key.folded()).bind(id)).await.map(drop)
    }

    async fn skeleton_owner(&mut self, skeleton: &str) -> TxResult<Option<Uuid>> {
        let rows = self.run(Statement::new(text::SKELETON_OWNER).bind(skeleton)).await?;
        Ok(first(&rows, |mut row| row.read())?)
    }

    async fn insert_skeleton(&mut self, skeleton: &str, account: Uuid) -> TxResult<()> {
        let statement = Statement::new(text::INSERT_SKELETON).bind(skeleton).bind(account);
        self.run(statement).await.map(drop)
    }

    async fn delete_skeletons(&mut self, account: Uuid) -> TxResult<()> {
        self.run(Statement::new(text::DELETE_SKELETONS).bind(account)).await.map(drop)
    }

    async fn update_login(&mut self, id: Uuid, login: &Login) -> TxResult<()> {
        let statement = Statement::new(text::UPDATE_LOGIN)
            .bind(login.as_str())
            .bind(login.key().lower_case())
            .bind(login.key().folded())
            .bind(id);
        self.run(statement).await.map(drop)
    }

    async fn update_profile(
        &mut self,
        id: Uuid,
        birth_date: Option<Date>,
        phone_number: Option<&str>,
    ) -> TxResult<()> {
        let statement = Statement::new(text::UPDATE_PROFILE);
        self.run(statement.bind(birth_date).bind(phone_number).bind(id)).await.map(drop)
    }

    async fn update_roles(&mut self, id: Uuid, roles: &[Role]) -> TxResult<()> {
        self.run(Statement::new(text::UPDATE_ROLES).bind(roles).bind(id)).await.map(drop)
    }

    async fn set_disabled_at(&mut self, id: Uuid, at: Option<Timestamp>) -> TxResult<()> {
        self.run(Statement::new(text::SET_DISABLED_AT).bind(at).bind(id)).await.map(drop)
    }

    async fn has_other_admin(&mut self, id: Uuid) -> TxResult<bool> {
        Ok(!self.run(Statement::new(text::OTHER_ADMIN).bind(id)).await?.is_empty())
    }

    async fn replace_password(
        &mut self,
        id: Uuid,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> TxResult<bool> {
        let statement = Statement::new(text::REPLACE_PASSWORD);
        let statement = statement.bind(new.as_str()).bind(id).bind(old.as_str());
        Ok(!self.run(statement).await?.is_empty())
    }

    async fn set_password(&mut self, id: Uuid, new: &PasswordHash) -> TxResult<bool> {
        let statement = Statement::new(text::SET_PASSWORD).bind(new.as_str()).bind(id);
        Ok(!self.run(statement).await?.is_empty())
    }

    async fn delete_account(&mut self, id: Uuid) -> TxResult<bool> {
        Ok(!self.run(Statement::new(text::DELETE_ACCOUNT).bind(id)).await?.is_empty())
    }

    async fn record_deletion(&mut self, account: Uuid, at: Timestamp) -> TxResult<()> {
        self.run(Statement::new(text::RECORD_DELETION).bind(account).bind(at)).await.map(drop)
    }

    async fn code_usage(&mut self, email: &Email, purpose: Purpose) -> TxResult<Option<CodeUsage>> {
        let statement = Statement::new(text::CODE_USAGE).bind(email.key()).bind(purpose.name());
        let rows = self.run(statement).await?;
        let read = |mut row: Reader<'_, C::Row>| {
            Ok(CodeUsage { sent_at: row.time()?, window_start: row.time()?, count: row.count()? })
        };
        Ok(first(&rows, read)?)
    }

    async fn upsert_code(&mut self, code: &NewCode<'_>) -> TxResult<()> {
        let statement = Statement::new(text::UPSERT_CODE)
            .bind(code.email.key())
            .bind(code.purpose.name())
            .bind(code.mac)
            .bind(code.usage.sent_at)
            .bind(code.expires_at)
            .bind(code.usage.window_start)
            .bind(code.usage.count)
            .bind(code.email.mailbox());
        self.run(statement).await.map(drop)
    }

    async fn spend_code_attempt(
        &mut self,
        email: &Email,
        purpose: Purpose,
        now: Timestamp,
        max_attempts: u32,
    ) -> TxResult<Option<Mac>> {
        let statement = Statement::new(text::SPEND_CODE_ATTEMPT)
            .bind(email.key())
            .bind(purpose.name())
            .bind(now)
            .bind(max_attempts);
        Ok(first(&self.run(statement).await?, |mut row| row.bytes32())?)
    }

    async fn consume_code(
        &mut self,
        email: &Email,
        purpose: Purpose,
        code: &Mac,
    ) -> TxResult<Option<String>> {
        let statement = Statement::new(text::CONSUME_CODE);
        let statement = statement.bind(email.key()).bind(purpose.name()).bind(code);
        Ok(first(&self.run(statement).await?, |mut row| row.read())?)
    }

    async fn upsert_verified_email(
        &mut self,
        email: &Email,
        mailbox: &str,
        token: &TokenHash,
        until: Timestamp,
    ) -> TxResult<()> {
        let statement = Statement::new(text::UPSERT_VERIFIED_EMAIL)
            .bind(email.key())
            .bind(mailbox)
            .bind(&token.0)
            .bind(until);
        self.run(statement).await.map(drop)
    }

    async fn consume_verified_email(
        &mut self,
        email: &Email,
        token: &TokenHash,
        now: Timestamp,
    ) -> TxResult<Option<String>> {
        let statement = Statement::new(text::CONSUME_VERIFIED_EMAIL);
        let statement = statement.bind(email.key()).bind(&token.0).bind(now);
        Ok(first(&self.run(statement).await?, |mut row| row.read())?)
    }

    async fn insert_session(
        &mut self,
        new: &NewSession,
        password: &PasswordHash,
    ) -> TxResult<bool> {
        let ip = new.caller.ip.map(|ip| ip.to_string());
        let statement = Statement::new(text::INSERT_SESSION)
            .bind(new.id)
            .bind(new.client.as_str())
            .bind(&new.refresh.0)
            .bind(FIRST_EPOCH)
            .bind(new.now)
            .bind(new.now)
            .bind(new.expires_at)
            .bind(ip.as_deref())
            .bind(new.caller.user_agent.as_deref())
            .bind(new.account)
            .bind(password.as_str());
        Ok(!self.run(statement).await?.is_empty())
    }

    async fn end_client_sessions(
        &mut self,
        account: Uuid,
        client: &str,
        except: Uuid,
        now: Timestamp,
    ) -> TxResult<Vec<Uuid>> {
        let statement = Statement::new(text::END_CLIENT_SESSIONS).bind(now).bind(account);
        ids(&self.run(statement.bind(client).bind(except)).await?)
    }

    async fn end_unused_sessions(
        &mut self,
        account: Uuid,
        except: Uuid,
        keep: u32,
        now: Timestamp,
    ) -> TxResult<Vec<Uuid>> {
        let statement = Statement::new(text::END_UNUSED_SESSIONS).bind(now).bind(account);
        ids(&self.run(statement.bind(except).bind(keep)).await?)
    }

    async fn end_sessions(
        &mut self,
        account: Uuid,
        except: Option<Uuid>,
        now: Timestamp,
    ) -> TxResult<Vec<Uuid>> {
        let statement = Statement::new(text::END_SESSIONS).bind(now).bind(account);
        ids(&self.run(statement.bind(except)).await?)
    }

    async fn end_session(&mut self, id: Uuid, now: Timestamp) -> TxResult<bool> {
        let statement = Statement::new(text::END_SESSION).bind(now).bind(id);
        Ok(!self.run(statement).await?.is_empty())
    }

    async fn end_active_session(
        &mut self,
        account: Uuid,
        id: Uuid,
        now: Timestamp,
    ) -> TxResult<bool> {
        let statement = Statement::new(text::END_ACTIVE_SESSION).bind(now).bind(id);
        Ok(!self.run(statement.bind(account)).await?.is_empty())
    }

    async fn increment_epochs(&mut self, account: Uuid) -> TxResult<()> {
        self.run(Statement::new(text::INCREMENT_EPOCHS).bind(account)).await.map(drop)
    }

    async fn rotate_refresh_token(
        &mut self,
        used: &TokenHash,
        next: &TokenHash,
        salt: &Salt,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> TxResult<Option<Session>> {
        let statement = Statement::new(text::ROTATE_REFRESH_TOKEN);
        let statement = statement.bind(&next.0).bind(now).bind(expires_at).bind(&used.0);
        let statement = statement.bind(&salt.0);
        Ok(first(&self.run(statement).await?, |mut row| row.session())?)
    }

    async fn insert_spent_token(
        &mut self,
        used: &TokenHash,
        session: Uuid,
        expires_at: Timestamp,
    ) -> TxResult<()> {
        let statement = Statement::new(text::INSERT_SPENT_TOKEN);
        self.run(statement.bind(&used.0).bind(session).bind(expires_at)).await.map(drop)
    }

    async fn spent_token(&mut self, used: &TokenHash) -> TxResult<Option<SpentToken>> {
        let rows = self.run(Statement::new(text::SPENT_TOKEN).bind(&used.0)).await?;
        Ok(first(&rows, |mut row| row.spent_token())?)
    }

    async fn refresh_token_session(&mut self, refresh: &TokenHash) -> TxResult<Option<Session>> {
        let rows = self.run(Statement::new(text::REFRESH_TOKEN_SESSION).bind(&refresh.0)).await?;
        Ok(first(&rows, |mut row| row.session())?)
    }

    async fn insert_api_key(&mut self, new: &NewApiKey) -> TxResult<()> {
        let statement = Statement::new(text::INSERT_API_KEY)
            .bind(new.id)
            .bind(new.account)
            .bind(&new.hash.0)
            .bind(new.name.as_str())
            .bind(new.prefix.as_str())
            .bind(new.scopes.as_slice())
            .bind(api_key::FIRST_EPOCH)
            .bind(new.created_at)
            .bind(new.expires_at);
        self.run(statement).await.map(drop)
    }

    async fn api_key_usage(&mut self, account: Uuid, since: Timestamp) -> TxResult<ApiKeyUsage> {
        let rows = self.run(Statement::new(text::API_KEY_USAGE).bind(account).bind(since)).await?;
        let usage = first(&rows, |mut row| row.api_key_usage())?;
        Ok(usage.ok_or_else(|| StoreError::Broken("no counts".to_owned()))?)
    }

    async fn revoke_api_key(&mut self, account: Uuid, id: Uuid, now: Timestamp) -> TxResult<bool> {
        let statement = Statement::new(text::REVOKE_API_KEY).bind(now).bind(id).bind(account);
        Ok(!self.run(statement).await?.is_empty())
    }

    async fn revoke_api_keys(&mut self, account: Uuid, now: Timestamp) -> TxResult<Vec<Uuid>> {
        ids(&self.run(Statement::new(text::REVOKE_API_KEYS).bind(now).bind(account)).await?)
    }

    async fn increment_api_key_epochs(&mut self, account: Uuid) -> TxResult<()> {
        self.run(Statement::new(text::INCREMENT_API_KEY_EPOCHS).bind(account)).await.map(drop)
    }

    async fn failures(
        &mut self,
        key: &FailureKey,
        since: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> TxResult<Vec<Timestamp>> {
        let statement = Statement::new(text::FAILURES).bind(key).bind(since).bind(until);
        let statement = statement.bind(limit);
        Ok(all(&self.run(statement).await?, |mut row| row.time())?)
    }

    async fn insert_failure(
        &mut self,
        key: &FailureKey,
        account: Option<Uuid>,
        at: Timestamp,
    ) -> TxResult<()> {
        let statement = Statement::new(text::INSERT_FAILURE).bind(key).bind(account).bind(at);
        self.run(statement).await.map(drop)
    }

    async fn delete_failures(&mut self, key: &FailureKey) -> TxResult<()> {
        self.run(Statement::new(text::DELETE_FAILURES).bind(key)).await.map(drop)
    }

    async fn delete_account_failures(&mut self, account: Uuid) -> TxResult<()> {
        self.run(Statement::new(text::DELETE_ACCOUNT_FAILURES).bind(account)).await.map(drop)
    }

    async fn insert_outbox_message(&mut self, message: &OutboxRow) -> TxResult<()> {
        let statement = Statement::new(text::INSERT_OUTBOX_MESSAGE)
            .bind(message.id)
            .bind(message.kind.name())
            .bind(message.payload.as_slice())
            .bind(message.trace.traceparent.as_deref())
            .bind(message.trace.tracestate.as_deref())
            .bind(message.trace.baggage.as_deref())
            .bind(message.due_at)
            .bind(message.not_after)
            .bind(message.attempts);
        self.run(statement).await.map(drop)
    }

    async fn signing_keys(&mut self) -> TxResult<Vec<SealedKey>> {
        let rows = self.run(Statement::new(text::SIGNING_KEYS)).await?;
        Ok(all(&rows, |mut row| row.signing_key())?)
    }

    async fn insert_signing_key(&mut self, key: &SealedKey) -> TxResult<bool> {
        Ok(!self.run(insert_signing_key(key)).await?.is_empty())
    }

    async fn delete_signing_key(&mut self, kid: &str) -> TxResult<()> {
        self.run(Statement::new(text::DELETE_SIGNING_KEY).bind(kid)).await.map(drop)
    }

    async fn append_audit(&mut self, entry: &AuditEntry) -> TxResult<()> {
        self.run(insert_audit_entry(entry)).await.map(drop)
    }
}

pub(super) fn insert_signing_key(key: &SealedKey) -> Statement<'_> {
    Statement::new(text::INSERT_SIGNING_KEY)
        .bind(key.kid.as_str())
        .bind(key.follows.as_str())
        .bind(&key.public)
        .bind(key.sealed.as_slice())
        .bind(key.signs_from)
}

pub(super) fn insert_audit_entry(entry: &AuditEntry) -> Statement<'_> {
    Statement::new(text::INSERT_AUDIT_ENTRY)
        .bind(entry.id)
        .bind(entry.at)
        .bind(entry.action.as_str())
        .bind(entry.outcome.as_str())
        .bind(entry.account)
        .bind(entry.login.as_deref())
        .bind(entry.actor)
        .bind(entry.actor_login.as_deref())
        .bind(entry.session)
        .bind(entry.api_key)
        .bind(entry.roles_before.as_deref())
        .bind(entry.roles_after.as_deref())
        .bind(entry.ip.as_deref())
        .bind(u32::try_from(entry.count).unwrap_or(u32::MAX))
}

fn ids<R: Row>(rows: &[R]) -> TxResult<Vec<Uuid>> {
    Ok(all(rows, |mut row| row.read())?)
}
