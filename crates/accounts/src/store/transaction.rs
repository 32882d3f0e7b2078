//! The port of an open transaction.

use async_trait::async_trait;
use jiff::Timestamp;
use jiff::civil::Date;
use miniapp_types::account::{Account, Role};
use uuid::Uuid;

use super::{CodeUsage, FailureKey, NewCode, SealedKey, TxResult};
use crate::api_key::{ApiKeyUsage, NewApiKey};
use crate::audit::AuditEntry;
use crate::code::{Mac, Purpose};
use crate::email::Email;
use crate::login::{Login, LoginKey};
use crate::outbox::OutboxRow;
use crate::password::PasswordHash;
use crate::refresh_token::Salt;
use crate::session::{NewSession, Session, SpentToken};
use crate::token_hash::TokenHash;

/// An open transaction. Each function is one statement.
#[async_trait]
pub trait Transaction: Send {
    async fn account(&mut self, id: Uuid) -> TxResult<Option<Account>>;

    /// Returns where mail to an account is sent.
    async fn mailbox(&mut self, id: Uuid) -> TxResult<Option<String>>;

    /// Returns a session that was not ended, with its account. It may have expired.
    async fn session(&mut self, id: Uuid) -> TxResult<Option<(Session, Account)>>;

    async fn insert_account(
        &mut self,
        account: &Account,
        email: &Email,
        mailbox: &str,
        login: &Login,
        password: &PasswordHash,
    ) -> TxResult<()>;

    async fn email_owner(&mut self, email: &Email) -> TxResult<Option<Uuid>>;

    async fn login_owner(&mut self, key: &LoginKey) -> TxResult<Option<Uuid>>;

    /// Returns the account that has the comparable form of the address.
    async fn email_key_owner(&mut self, email: &Email) -> TxResult<Option<Uuid>>;

    /// Returns the account that has the case-folded form of the login.
    async fn folded_login_owner(&mut self, key: &LoginKey) -> TxResult<Option<Uuid>>;

    /// Sets the comparable form of an address that was stored without one, and its mailbox.
    async fn set_email_key(&mut self, id: Uuid, email: &Email) -> TxResult<()>;

    /// Sets the case-folded form of a login that was stored without one.
    async fn set_folded_login(&mut self, id: Uuid, key: &LoginKey) -> TxResult<()>;

    async fn skeleton_owner(&mut self, skeleton: &str) -> TxResult<Option<Uuid>>;

    async fn insert_skeleton(&mut self, skeleton: &str, account: Uuid) -> TxResult<()>;

    async fn delete_skeletons(&mut self, account: Uuid) -> TxResult<()>;

    async fn update_login(&mut self, id: Uuid, login: &Login) -> TxResult<()>;

    async fn update_profile(
        &mut self,
        id: Uuid,
        birth_date: Option<Date>,
        phone_number: Option<&str>,
    ) -> TxResult<()>;

    async fn update_roles(&mut self, id: Uuid, roles: &[Role]) -> TxResult<()>;

    /// Sets since when an account is disabled; `None` enables it.
    async fn set_disabled_at(&mut self, id: Uuid, at: Option<Timestamp>) -> TxResult<()>;

    /// Returns whether an enabled account other than `id` has the role `admin`.
    async fn has_other_admin(&mut self, id: Uuid) -> TxResult<bool>;

    /// Sets a password if `old` is the current one. Returns whether it was.
    async fn replace_password(
        &mut self,
        id: Uuid,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> TxResult<bool>;

    /// Sets a password. Returns false if there is no such account.
    async fn set_password(&mut self, id: Uuid, new: &PasswordHash) -> TxResult<bool>;

    /// Deletes an account. Returns false if there is none.
    async fn delete_account(&mut self, id: Uuid) -> TxResult<bool>;

    /// Records that an account was deleted, unless that is known.
    async fn record_deletion(&mut self, account: Uuid, at: Timestamp) -> TxResult<()>;

    async fn code_usage(&mut self, email: &Email, purpose: Purpose) -> TxResult<Option<CodeUsage>>;

    /// Replaces the code of an address and purpose.
    async fn upsert_code(&mut self, code: &NewCode<'_>) -> TxResult<()>;

    /// Counts an attempt for a code that is valid at `now`, and returns its MAC. Returns `None`
    /// if there is no such code or its attempts are used up.
    async fn spend_code_attempt(
        &mut self,
        email: &Email,
        purpose: Purpose,
        now: Timestamp,
        max_attempts: u32,
    ) -> TxResult<Option<Mac>>;

    /// Invalidates a code, and returns the mailbox that it was sent to. Returns `None` if it was
    /// no longer valid.
    async fn consume_code(
        &mut self,
        email: &Email,
        purpose: Purpose,
        code: &Mac,
    ) -> TxResult<Option<String>>;

    async fn upsert_verified_email(
        &mut self,
        email: &Email,
        mailbox: &str,
        token: &TokenHash,
        until: Timestamp,
    ) -> TxResult<()>;

    /// Deletes the verification of an address, and returns the verified mailbox. Returns `None`
    /// if there is none that is valid and has this token.
    async fn consume_verified_email(
        &mut self,
        email: &Email,
        token: &TokenHash,
        now: Timestamp,
    ) -> TxResult<Option<String>>;

    /// Inserts a session if `password` is the current one of an enabled account. Returns whether
    /// it is.
    async fn insert_session(&mut self, new: &NewSession, password: &PasswordHash)
    -> TxResult<bool>;

    /// Ends the sessions of a client of an account but `except`, and returns their ids.
    async fn end_client_sessions(
        &mut self,
        account: Uuid,
        client: &str,
        except: Uuid,
        now: Timestamp,
    ) -> TxResult<Vec<Uuid>>;

    /// Ends the least recently used sessions of an account, so that `keep` of them and `except`
    /// remain, and returns their ids.
    async fn end_unused_sessions(
        &mut self,
        account: Uuid,
        except: Uuid,
        keep: u32,
        now: Timestamp,
    ) -> TxResult<Vec<Uuid>>;

    /// Ends all sessions of an account but `except`, and returns their ids.
    async fn end_sessions(
        &mut self,
        account: Uuid,
        except: Option<Uuid>,
        now: Timestamp,
    ) -> TxResult<Vec<Uuid>>;

    /// Ends a session. Returns false if it has ended before.
    async fn end_session(&mut self, id: Uuid, now: Timestamp) -> TxResult<bool>;

    /// Ends a session of an account. Returns false if it has ended or expired.
    async fn end_active_session(
        &mut self,
        account: Uuid,
        id: Uuid,
        now: Timestamp,
    ) -> TxResult<bool>;

    /// Invalidates the access tokens of an account.
    async fn increment_epochs(&mut self, account: Uuid) -> TxResult<()>;

    /// Replaces a refresh token that is still valid by one that was derived from it with `salt`,
    /// increments the epoch, and returns the session.
    async fn rotate_refresh_token(
        &mut self,
        used: &TokenHash,
        next: &TokenHash,
        salt: &Salt,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> TxResult<Option<Session>>;

    async fn insert_spent_token(
        &mut self,
        used: &TokenHash,
        session: Uuid,
        expires_at: Timestamp,
    ) -> TxResult<()>;

    /// Returns the session of a refresh token that was used before.
    async fn spent_token(&mut self, used: &TokenHash) -> TxResult<Option<SpentToken>>;

    /// Returns the session of a current refresh token. It may have ended or expired.
    async fn refresh_token_session(&mut self, refresh: &TokenHash) -> TxResult<Option<Session>>;

    async fn insert_api_key(&mut self, new: &NewApiKey) -> TxResult<()>;

    /// Counts the API keys of an account, and those created after `since`.
    async fn api_key_usage(&mut self, account: Uuid, since: Timestamp) -> TxResult<ApiKeyUsage>;

    /// Revokes an API key of an account. Returns false if it was revoked before.
    async fn revoke_api_key(&mut self, account: Uuid, id: Uuid, now: Timestamp) -> TxResult<bool>;

    /// Revokes all API keys of an account, and returns their ids.
    async fn revoke_api_keys(&mut self, account: Uuid, now: Timestamp) -> TxResult<Vec<Uuid>>;

    /// Makes the API keys of an account be checked again.
    async fn increment_api_key_epochs(&mut self, account: Uuid) -> TxResult<()>;

    /// Returns the times of failures after `since` and up to `until`, latest first.
    async fn failures(
        &mut self,
        key: &FailureKey,
        since: Timestamp,
        until: Timestamp,
        limit: u32,
    ) -> TxResult<Vec<Timestamp>>;

    async fn insert_failure(
        &mut self,
        key: &FailureKey,
        account: Option<Uuid>,
        at: Timestamp,
    ) -> TxResult<()>;

    async fn delete_failures(&mut self, key: &FailureKey) -> TxResult<()>;

    /// Deletes the failures of an account, from all networks.
    async fn delete_account_failures(&mut self, account: Uuid) -> TxResult<()>;

    async fn insert_outbox_message(&mut self, message: &OutboxRow) -> TxResult<()>;

    /// Returns the signing keys in any order.
    async fn signing_keys(&mut self) -> TxResult<Vec<SealedKey>>;

    /// Inserts a key. Returns false if the key that it follows has a successor already.
    async fn insert_signing_key(&mut self, key: &SealedKey) -> TxResult<bool>;

    async fn delete_signing_key(&mut self, kid: &str) -> TxResult<()>;

    async fn append_audit(&mut self, entry: &AuditEntry) -> TxResult<()>;
}
