//! API keys as they are stored.

use jiff::Timestamp;
use miniapp_types::account::{self, Account, ApiKeyInfo, Scope, TokenInfo};
use miniapp_types::problem::Code;
use uuid::Uuid;

use crate::token_hash::TokenHash;

/// The epoch of a new key.
pub(crate) const FIRST_EPOCH: u32 = 1;

/// A key to be stored.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    pub id: Uuid,
    pub account: Uuid,
    pub hash: TokenHash,
    pub name: String,
    pub prefix: String,
    pub scopes: Vec<Scope>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

/// A key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    pub id: Uuid,
    pub account: Uuid,
    pub name: String,
    pub prefix: String,
    pub scopes: Vec<Scope>,
    /// Incremented when the roles of the account change.
    pub epoch: u32,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// How many keys an account has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiKeyUsage {
    /// Keys that were not revoked, expired ones included.
    pub stored: u64,
    /// Keys that were created lately, revoked ones included.
    pub created: u64,
    /// When the oldest of those was created.
    pub created_since: Option<Timestamp>,
}

impl ApiKey {
    /// Returns what an event says about the key: its id, and its epoch unless it was revoked.
    pub(crate) fn id_and_epoch(&self) -> (Uuid, Option<u32>) {
        (self.id, self.revoked_at.is_none().then_some(self.epoch))
    }

    /// Returns what the key stands for, or why it is not valid. `owner` is its account, unless
    /// that was deleted.
    pub(crate) fn introspect(
        self,
        owner: Option<Account>,
        now: Timestamp,
    ) -> Result<TokenInfo, Code> {
        // The previous release disables accounts without revoking their keys.
        let owner = owner.filter(|owner| !owner.disabled && self.revoked_at.is_none());
        let owner = owner.ok_or(Code::TokenRevoked)?;
        let exp = self.expires_at.map(Timestamp::as_second);
        if exp.is_some_and(|exp| exp <= now.as_second()) {
            return Err(Code::TokenExpired);
        }
        let Self { id, scopes, epoch, .. } = self;
        Ok(TokenInfo {
            active: true,
            sub: owner.user_id,
            login: owner.login,
            roles: owner.roles,
            exp,
            session_id: None,
            api_key: Some(ApiKeyInfo { id, scopes, epoch }),
        })
    }
}

impl From<ApiKey> for account::ApiKey {
    fn from(key: ApiKey) -> Self {
        let ApiKey { id, name, prefix, scopes, created_at, expires_at, last_used_at, .. } = key;
        Self { id, name, prefix, scopes, created_at, expires_at, last_used_at }
    }
}
