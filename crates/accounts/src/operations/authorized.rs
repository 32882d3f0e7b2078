//! Checks of the caller together with the effect.

use async_trait::async_trait;
use jiff::Timestamp;
use miniapp_types::account::Role;
use miniapp_types::problem::Code;

use crate::session::Identity;
use crate::store::{Operation, Outcome, Transaction, TxResult};

/// An operation on behalf of an access token. It is rejected if by now the token has expired or
/// was replaced, its session has ended, or the account lacks a role.
///
/// The check is part of the transaction, because the token may be revoked at any time after the
/// request was authenticated.
#[derive(Clone, Debug)]
pub struct Authorized<O> {
    pub actor: Identity,
    /// The role that the operation requires.
    pub role: Option<Role>,
    pub now: Timestamp,
    pub operation: O,
}

#[async_trait]
impl<O: Operation + Send> Operation for Authorized<O> {
    type Output = Result<O::Output, Code>;

    const NAME: &'static str = O::NAME;

    async fn run(&self, tx: &mut dyn Transaction) -> TxResult<Outcome<Self::Output>> {
        if let Err(rejection) = self.check(tx).await? {
            return Ok(Outcome::Rollback(Err(rejection)));
        }
        Ok(match self.operation.run(tx).await? {
            Outcome::Commit(output) => Outcome::Commit(Ok(output)),
            Outcome::Rollback(output) => Outcome::Rollback(Ok(output)),
        })
    }
}

impl<O: Sync> Authorized<O> {
    async fn check(&self, tx: &mut dyn Transaction) -> TxResult<Result<(), Code>> {
        if self.actor.expires <= self.now.as_second() {
            return Ok(Err(Code::TokenExpired));
        }
        let Some((session, account)) = tx.session(self.actor.session).await? else {
            return Ok(Err(Code::TokenRevoked));
        };
        if session.epoch != self.actor.epoch || account.user_id != self.actor.account.user_id {
            return Ok(Err(Code::TokenRevoked));
        }
        let is_allowed = self.role.is_none_or(|role| account.roles.contains(&role));
        Ok(if is_allowed { Ok(()) } else { Err(Code::Forbidden) })
    }
}
