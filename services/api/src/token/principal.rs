//! The principal of a verified token.

use miniapp_http::Problem;
use miniapp_token::Claims;
use miniapp_types::account::{Role, Secret};
use miniapp_types::problem::Code;
use uuid::Uuid;

/// The account and session of a verified token.
#[derive(Debug)]
pub struct Principal {
    pub user_id: Uuid,
    pub login: String,
    /// Whether the account has the role `admin`.
    pub is_admin: bool,
    pub session_id: Uuid,
    /// Identifies the token within its session.
    pub(super) epoch: u32,
    /// In seconds since 1970.
    pub(super) expires_at: i64,
    /// The token itself, for introspection.
    pub(super) token: Secret,
    /// The [`Keys::retirements`](super::keys::Keys::retirements) before the verification.
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

    /// Rejects a principal that is not an administrator, and logs the attempt. To be called after
    /// the body was read, whose errors are reported first.
    pub fn require_admin(&self) -> Result<(), Problem> {
        if self.is_admin {
            return Ok(());
        }
        tracing::warn!(
            user.id = %self.user_id,
            session.id = %self.session_id,
            code = %Code::Forbidden,
            "request refused"
        );
        Err(Problem::new(Code::Forbidden))
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
