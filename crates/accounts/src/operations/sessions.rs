//! Opening, refreshing and ending sessions.

use async_trait::async_trait;
use jiff::Timestamp;
use miniapp_types::account::Account;
use miniapp_types::problem::Code;
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::outbox::OutboxRow;
use crate::password::PasswordHash;
use crate::session::{NewSession, Session};
use crate::store::{FailureKey, Operation, Outcome, StoreError, Transaction, TxResult};
use crate::token_hash::TokenHash;

/// Opens a session and clears failed sign-ins. Ends the oldest sessions above the limit, and
/// returns their ids. Rejected if `password` is no longer the current one, or the account is
/// disabled.
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
        let NewSession { account, limit, now, .. } = self.session;
        if !tx.insert_session(&self.session, &self.password).await? {
            let is_disabled = tx.account(account).await?.is_some_and(|account| account.disabled);
            let code = if is_disabled { Code::AccountDisabled } else { Code::CredentialsInvalid };
            return Ok(Outcome::Rollback(Err(code)));
        }
        let ended = tx.end_oldest_sessions(account, limit, now).await?;
        tx.delete_failures(&self.failures).await?;
        tx.append_audit(&self.audit).await?;
        Ok(Outcome::Commit(Ok(ended)))
    }
}

/// Replaces a refresh token and increments the session's epoch. A token that was used
/// before ends its session.
///
/// Rejections are recorded, too. The audit entry gets the session and its account.
#[derive(Clone)]
pub struct RotateSession<'a> {
    pub used: TokenHash,
    pub next: TokenHash,
    pub now: Timestamp,
    pub expires_at: Timestamp,
    /// Writes the mail to the owner of a token that was used before, for their mailbox.
    pub notice: &'a (dyn Fn(&str) -> anyhow::Result<OutboxRow> + Sync),
    pub audit: AuditEntry,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// The session after the rotation, and its account.
    Rotated {
        session: Box<Session>,
        account: Box<Account>,
    },
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
        let Self { used, next, now, expires_at, .. } = self;
        let rotated = tx.rotate_refresh_token(used, next, *now, *expires_at).await?;
        let Some(session) = rotated else { return self.reject(tx).await };
        let Some(account) = tx.account(session.account).await? else {
            return Ok(Outcome::Rollback(Rotation::Ended));
        };
        tx.insert_spent_token(used, session.id, *expires_at).await?;
        let audit = self.audit.clone().by(&account, session.id).about(&account);
        tx.append_audit(&audit).await?;
        let (session, account) = (Box::new(session), Box::new(account));
        Ok(Outcome::Commit(Rotation::Rotated { session, account }))
    }
}

impl RotateSession<'_> {
    /// Returns why the token is not valid. Ends the session of a token that was used before.
    async fn reject(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<Rotation>> {
        if let Some(session) = tx.spent_token_session(&self.used).await? {
            return self.end_reused(tx, &session).await;
        }
        let session = tx.refresh_token_session(&self.used).await?;
        let (code, rejection) = match &session {
            None => (Code::TokenInvalid, Rotation::Unknown),
            Some(session) if session.ended_at.is_some() => (Code::TokenRevoked, Rotation::Ended),
            Some(_) => (Code::TokenExpired, Rotation::Expired),
        };
        self.record_rejection(tx, code, session.as_ref()).await?;
        Ok(Outcome::Commit(rejection))
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
        tx.append_audit(&self.audit).await?;
        Ok(Outcome::Commit(true))
    }
}
