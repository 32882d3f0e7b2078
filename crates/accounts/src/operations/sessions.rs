//! Opening, refreshing and ending sessions.

use async_trait::async_trait;
use jiff::Timestamp;
use miniapp_types::account::Account;
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::password::PasswordHash;
use crate::session::{NewSession, Session};
use crate::store::{FailureKey, Operation, Outcome, Transaction, TxResult};
use crate::token_hash::TokenHash;

/// Opens a session and clears failed sign-ins. Ends the oldest sessions above the limit, and
/// returns their ids. Returns `None` if `password` is no longer the current one.
#[derive(Clone, Debug)]
pub struct OpenSession {
    pub session: NewSession,
    pub password: PasswordHash,
    pub failures: FailureKey,
    pub audit: AuditEntry,
}

#[async_trait]
impl Operation for OpenSession {
    type Output = Option<Vec<Uuid>>;

    const NAME: &'static str = "open_session";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<Option<Vec<Uuid>>>> {
        let NewSession { account, limit, now, .. } = self.session;
        if !tx.insert_session(&self.session, &self.password).await? {
            return Ok(Outcome::Rollback(None));
        }
        let ended = tx.end_oldest_sessions(account, limit, now).await?;
        tx.delete_failures(&self.failures).await?;
        tx.append_audit(&self.audit).await?;
        Ok(Outcome::Commit(Some(ended)))
    }
}

/// Replaces a refresh token and increments the session's epoch. A token that was used
/// before ends its session.
#[derive(Clone, Debug)]
pub struct RotateSession {
    pub used: TokenHash,
    pub next: TokenHash,
    pub now: Timestamp,
    pub expires_at: Timestamp,
    /// The entry for a successful rotation, without its account.
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
impl Operation for RotateSession {
    type Output = Rotation;

    const NAME: &'static str = "rotate_session";

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<Rotation>> {
        let Self { used, next, now, expires_at, .. } = self;
        let rotated = tx.rotate_refresh_token(used, next, *now, *expires_at).await?;
        let Some(session) = rotated else {
            return Ok(Outcome::Commit(self.reject(tx).await?));
        };
        let Some(account) = tx.account(session.account).await? else {
            return Ok(Outcome::Rollback(Rotation::Ended));
        };
        tx.insert_spent_token(used, session.id, *expires_at).await?;
        tx.append_audit(&self.audit.clone().about(&account)).await?;
        let (session, account) = (Box::new(session), Box::new(account));
        Ok(Outcome::Commit(Rotation::Rotated { session, account }))
    }
}

impl RotateSession {
    /// Returns why the token is not valid. Ends the session of a token that was used before.
    async fn reject(&self, tx: &mut dyn Transaction) -> TxResult<Rotation> {
        if let Some(session) = tx.spent_token_session(&self.used).await? {
            let ended = tx.end_session(session, self.now).await?;
            return Ok(Rotation::Reused { session, ended });
        }
        Ok(match tx.session_end(&self.used).await? {
            None => Rotation::Unknown,
            Some(Some(_)) => Rotation::Ended,
            Some(None) => Rotation::Expired,
        })
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
