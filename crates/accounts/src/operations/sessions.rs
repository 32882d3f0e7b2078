//! Opening, refreshing and ending sessions.

use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use miniapp_runtime::clock::MAX_SKEW;
use miniapp_types::account::{Account, Secret};
use miniapp_types::problem::Code;
use uuid::Uuid;

use crate::audit::{Action, AuditEntry};
use crate::outbox::OutboxRow;
use crate::password::PasswordHash;
use crate::refresh_token::{Salt, successor};
use crate::session::{NewSession, Session, SpentToken};
use crate::store::{FailureKey, Operation, Outcome, StoreError, Transaction, TxResult};
use crate::token_hash::TokenHash;

/// Opens a session and clears failed sign-ins. Ends the previous session of the client and the
/// least recently used ones above the limit, and returns their ids. Rejected if `password` is no
/// longer the current one, or the account is disabled.
#[derive(Clone, Debug)]
pub struct OpenSession {
    pub session: NewSession,
    pub password: PasswordHash,
    pub failures: FailureKey,
    pub audit: AuditEntry,
}

#[async_trait]
impl Operation for OpenSession {
    type Output = Result<Vec<Uuid>, Code>;

    const NAME: &'static str = "open_session";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<Self::Output>> {
        let NewSession { id, account, limit, now, .. } = self.session;
        if !tx.insert_session(&self.session, &self.password).await? {
            let is_disabled = tx.account(account).await?.is_some_and(|account| account.disabled);
            let code = if is_disabled { Code::AccountDisabled } else { Code::CredentialsInvalid };
            return Ok(Outcome::Rollback(Err(code)));
        }
        let mut ended = tx.end_client_sessions(account, &self.session.client, id, now).await?;
        ended.extend(tx.end_unused_sessions(account, id, limit.saturating_sub(1), now).await?);
        tx.delete_failures(&self.failures).await?;
        tx.append_audit(&self.audit).await?;
        Ok(Outcome::Commit(Ok(ended)))
    }
}

/// Replaces a refresh token and increments the session's epoch.
///
/// A token that was used before ends its session. But it returns the same successor again while
/// that is new and unused: then the answer to the first use may have been lost, or two processes of the
/// client have used the token at the same time.
///
/// Rejections are recorded, too. The audit entry gets the session and its account.
#[derive(Clone)]
pub struct RotateSession<'a> {
    /// The token that is replaced.
    pub token: Secret,
    /// Derives its successor. Random.
    pub salt: Salt,
    /// How long a new successor is issued again.
    pub grace: Duration,
    pub now: Timestamp,
    pub expires_at: Timestamp,
    /// Writes the mail to the owner of a token that was used before, for their mailbox.
    pub notice: &'a (dyn Fn(&str) -> anyhow::Result<OutboxRow> + Sync),
    pub audit: AuditEntry,
}

/// A session with its refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refreshed {
    pub session: Session,
    pub account: Account,
    pub token: Secret,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The session after the rotation.
    Rotated(Box<Refreshed>),
    /// The session that was rotated before, with the same token.
    Reissued(Box<Refreshed>),
    /// The token was used before, so two clients have the session. `ended` tells whether
    /// this rotation ended it.
    Reused {
        session: Uuid,
        ended: bool,
    },
    /// The session has ended.
    Ended,
    /// The token has expired.
    Expired,
    Unknown,
}

#[async_trait]
impl Operation for RotateSession<'_> {
    type Output = Rotation;

    const NAME: &'static str = "rotate_session";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<Rotation>> {
        let Self { token, salt, now, expires_at, .. } = self;
        let (used, next) = (TokenHash::of(token), successor(token, salt));
        let rotated =
            tx.rotate_refresh_token(&used, &TokenHash::of(&next), salt, *now, *expires_at).await?;
        let Some(session) = rotated else { return self.reissue_or_reject(tx, &used).await };
        let Some(account) = tx.account(session.account).await? else {
            return Ok(Outcome::Rollback(Rotation::Ended));
        };
        tx.insert_spent_token(&used, session.id, *expires_at).await?;
        tx.append_audit(&self.audit.clone().by(&account, session.id).about(&account)).await?;
        let refreshed = Refreshed { session, account, token: next };
        Ok(Outcome::Commit(Rotation::Rotated(Box::new(refreshed))))
    }
}

impl RotateSession<'_> {
    /// Returns the successor of the token again, or why the token is not valid.
    async fn reissue_or_reject(
        &self,
        tx: &mut dyn Transaction,
        used: &TokenHash,
    ) -> TxResult<Outcome<Rotation>> {
        if let Some(spent) = tx.spent_token(used).await? {
            return match self.successor_in_grace(&spent) {
                Some(token) => self.reissue(tx, spent.session, token).await,
                None => self.end_reused(tx, &spent.session).await,
            };
        }
        let session = tx.refresh_token_session(used).await?;
        let (code, rejection) = match &session {
            None => (Code::TokenInvalid, Rotation::Unknown),
            Some(session) if session.ended_at.is_some() => (Code::TokenRevoked, Rotation::Ended),
            Some(_) => (Code::TokenExpired, Rotation::Expired),
        };
        self.record_rejection(tx, code, session.as_ref()).await?;
        Ok(Outcome::Commit(rejection))
    }

    /// Returns the current token of the session if it is the new successor of this one.
    fn successor_in_grace(&self, spent: &SpentToken) -> Option<Secret> {
        let SpentToken { session, current, salt } = spent;
        let is_active = session.ended_at.is_none() && session.expires_at > self.now;
        let age = self.now.duration_since(session.last_used_at);
        // A time in the future is from before the clock was set back.
        let is_new = age >= -SignedDuration::try_from(MAX_SKEW).unwrap_or_default()
            && age.max(SignedDuration::ZERO).unsigned_abs() < self.grace;
        let token = successor(&self.token, salt.as_ref().filter(|_| is_active && is_new)?);
        // Another one was issued by the previous release, or this one was used.
        (TokenHash::of(&token) == *current).then_some(token)
    }

    async fn reissue(
        &self,
        tx: &mut dyn Transaction,
        session: Session,
        token: Secret,
    ) -> TxResult<Outcome<Rotation>> {
        let Some(account) = tx.account(session.account).await? else {
            return Ok(Outcome::Rollback(Rotation::Ended));
        };
        let audit = self.audit.clone().by(&account, session.id).about(&account);
        tx.append_audit(&audit.with_action(Action::ReissueTokens)).await?;
        let refreshed = Refreshed { session, account, token };
        Ok(Outcome::Commit(Rotation::Reissued(Box::new(refreshed))))
    }

    async fn end_reused(
        &self,
        tx: &mut dyn Transaction,
        session: &Session,
    ) -> TxResult<Outcome<Rotation>> {
        let ended = tx.end_session(session.id, self.now).await?;
        // One mail for each session, however often its tokens are used again.
        if ended && let Some(mailbox) = tx.mailbox(session.account).await? {
            let notice = (self.notice)(&mailbox);
            let notice =
                notice.map_err(|error| StoreError::Broken(format!("no mail: {error:#}")))?;
            tx.insert_outbox_message(&notice).await?;
        }
        self.record_rejection(tx, Code::TokenReused, Some(session)).await?;
        Ok(Outcome::Commit(Rotation::Reused { session: session.id, ended }))
    }

    async fn record_rejection(
        &self,
        tx: &mut dyn Transaction,
        code: Code,
        session: Option<&Session>,
    ) -> TxResult<()> {
        let mut audit = self.audit.clone().rejected(code);
        if let Some(session) = session {
            audit.session = Some(session.id);
            audit.account = Some(session.account);
            if let Some(account) = tx.account(session.account).await? {
                audit = audit.about(&account);
            }
        }
        tx.append_audit(&audit).await
    }
}

/// Ends a session of an account. Returns false if it has ended or expired.
#[derive(Clone, Debug)]
pub struct EndSession {
    pub account: Uuid,
    pub session: Uuid,
    pub now: Timestamp,
    /// The event about the account's sessions and API keys.
    pub event: OutboxRow,
    pub audit: AuditEntry,
}

#[async_trait]
impl Operation for EndSession {
    type Output = bool;

    const NAME: &'static str = "end_session";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<bool>> {
        if !tx.end_active_session(self.account, self.session, self.now).await? {
            return Ok(Outcome::Rollback(false));
        }
        tx.insert_outbox_message(&self.event).await?;
        tx.append_audit(&self.audit).await?;
        Ok(Outcome::Commit(true))
    }
}
