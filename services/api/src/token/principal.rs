//! Who holds a token.

use miniapp_token::Claims;
use miniapp_types::account::{Role, Secret};
use uuid::Uuid;

/// What a verified token says about its holder.
#[derive(Debug)]
pub struct Principal {
    /// The account.
    pub user_id: Uuid,
    /// Its login.
    pub login: String,
    /// Whether it sees and changes what belongs to all.
    pub is_admin: bool,
    /// The session.
    pub session_id: Uuid,
    /// Which of the session's tokens it is.
    pub(super) epoch: u32,
    /// When it ends, in seconds since 1970.
    pub(super) expires_at: i64,
    /// The token itself, to ask auth about it.
    pub(super) token: Secret,
    /// How many keys had been retired when it was verified.
    pub(super) retirements: u64,
}

impl Principal {
    pub(super) fn new(token: &str, claims: Claims, retirements: u64) -> Self {
        Self {
            user_id: claims.sub,
            login: claims.login,
            is_admin: claims.roles.contains(&Role::Admin),
            session_id: claims.sid,
            epoch: claims.epoch,
            expires_at: claims.exp,
            token: Secret::new(token),
            retirements,
        }
    }

    #[cfg(test)]
    pub(super) fn of_test(session_id: Uuid, epoch: u32, expires_at: i64) -> Self {
        Self {
            user_id: Uuid::nil(),
            login: String::new(),
            is_admin: false,
            session_id,
            epoch,
            expires_at,
            token: Secret::new("token"),
            retirements: 0,
        }
    }
}
