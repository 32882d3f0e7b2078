//! Listing, introspecting and ending sessions.

use miniapp_token::is_api_key;
use miniapp_types::account::{self, TokenInfo};
use miniapp_types::problem::Code;
use uuid::Uuid;

use super::Accounts;
use crate::audit::{Action, Caller};
use crate::error::Error;
use crate::operations::EndSession;
use crate::session::Identity;

impl Accounts {
    /// Ends the session of the token.
    pub async fn sign_out(&self, owner: &Identity, caller: &Caller) -> Result<(), Error> {
        match self.end(owner, owner.session, Action::SignOut, caller).await {
            // It has ended since the token was checked.
            Err(Error::Rejected(Code::TokenRevoked)) => Ok(()),
            ended => ended.map(drop),
        }
    }

    /// Ends one of the caller's sessions.
    pub async fn end_session(
        &self,
        owner: &Identity,
        id: Uuid,
        caller: &Caller,
    ) -> Result<(), Error> {
        if self.end(owner, id, Action::RevokeSession, caller).await? {
            return Ok(());
        }
        let entry = self.owner_entry(Action::RevokeSession, owner, caller);
        self.audit_rejection(entry, Err(Code::SessionNotFound.into())).await
    }

    /// Returns the caller's active sessions.
    pub async fn sessions(&self, owner: &Identity) -> Result<account::Sessions, Error> {
        let now = self.0.clock.now();
        let stored = self.0.store.sessions(owner.account.user_id).await?;
        let active = stored.into_iter().filter(|s| s.ended_at.is_none() && s.expires_at > now);
        Ok(account::Sessions { sessions: active.map(|s| s.into_response(owner.session)).collect() })
    }

    /// Returns who an access token or an API key belongs to.
    pub async fn introspect(&self, token: &str, caller: &Caller) -> Result<TokenInfo, Error> {
        if is_api_key(token) {
            return self.introspect_api_key(token, caller).await;
        }
        let Identity { account, session, expires, .. } = self.authenticate(token).await?;
        Ok(TokenInfo {
            active: true,
            sub: account.user_id,
            login: account.login,
            roles: account.roles,
            exp: Some(expires),
            session_id: Some(session),
            api_key: None,
        })
    }

    async fn end(
        &self,
        owner: &Identity,
        session: Uuid,
        action: Action,
        caller: &Caller,
    ) -> Result<bool, Error> {
        let audit = self.owner_entry(action, owner, caller);
        let (account, now) = (owner.account.user_id, self.0.clock.now());
        let event = self.sessions_changed(account)?;
        let end = EndSession { account, session, now, event, audit };
        let (this, owner) = (self.clone(), owner.clone());
        let end = async move {
            let ended = this.transact_as(&owner, None, end).await?;
            if ended {
                this.publish_ended(vec![session]).await;
            }
            Ok(ended)
        };
        self.run_to_completion(end).await
    }
}
