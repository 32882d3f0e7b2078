//! The principal of a verified token or API key.

use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;
use miniapp_http::Problem;
use miniapp_token::Claims;
use miniapp_types::account::{ApiKeyInfo, Role, Scope, Secret, TokenInfo};
use miniapp_types::problem::Code;
use tokio::time::Instant;
use uuid::Uuid;

/// What a request was authenticated with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The access token of a session.
    Session(Uuid),
    ApiKey(Uuid),
}

/// The account of a verified token or API key, and what it may do.
#[derive(Debug)]
pub struct Principal {
    pub user_id: Uuid,
    pub login: String,
    pub credential: Credential,
    /// Whether the account has the role `admin`.
    is_admin: bool,
    /// The scopes of a key. A session has all.
    scopes: Option<Vec<Scope>>,
    /// Identifies the token within its session, or the roles that a key was checked with.
    pub(super) epoch: u32,
    /// In seconds since 1970.
    pub(super) expires_at: i64,
    /// The token or key itself, for introspection.
    pub(super) token: Secret,
    /// The [`Keys::retirements`](super::keys::Keys::retirements) before the verification.
    pub(super) retirements: u64,
    /// When the lookup of a key began.
    pub(super) checked_at: Instant,
}

impl Credential {
    /// Returns the id that events about its validity carry.
    pub fn id(self) -> Uuid {
        match self {
            Self::Session(id) | Self::ApiKey(id) => id,
        }
    }

    pub fn session(self) -> Option<Uuid> {
        if let Self::Session(id) = self { Some(id) } else { None }
    }

    pub fn api_key(self) -> Option<Uuid> {
        if let Self::ApiKey(id) = self { Some(id) } else { None }
    }
}

impl Principal {
    pub(super) fn new(token: &str, claims: Claims, retirements: u64) -> Self {
        Self {
            user_id: claims.sub,
            login: claims.login,
            credential: Credential::Session(claims.sid),
            is_admin: claims.roles.contains(&Role::Admin),
            scopes: None,
            epoch: claims.epoch,
            expires_at: claims.exp,
            token: Secret::new(token),
            retirements,
            checked_at: Instant::now(),
        }
    }

    /// Returns the principal of a key whose lookup began at a time.
    pub(super) fn of_api_key(
        key: &Secret,
        owner: TokenInfo,
        info: ApiKeyInfo,
        checked_at: Instant,
    ) -> Self {
        Self {
            user_id: owner.sub,
            login: owner.login,
            credential: Credential::ApiKey(info.id),
            is_admin: owner.roles.contains(&Role::Admin),
            scopes: Some(info.scopes),
            epoch: info.epoch,
            expires_at: owner.exp.unwrap_or(i64::MAX),
            token: key.clone(),
            retirements: 0,
            checked_at,
        }
    }

    /// Whether it may read the data of all accounts.
    pub fn reads_all(&self) -> bool {
        self.is_admin && self.has(Scope::AdminRead)
    }

    /// Rejects a principal that lacks the scope, or the role that the scope requires.
    pub fn require(&self, scope: Scope) -> Result<(), Problem> {
        self.require_scope(scope)?;
        if scope.requires_admin() { self.require_admin() } else { Ok(()) }
    }

    /// Rejects a key that lacks the scope.
    pub(super) fn require_scope(&self, scope: Scope) -> Result<(), Problem> {
        if self.has(scope) {
            return Ok(());
        }
        self.log_refusal(Code::ScopeMissing);
        let problem = Problem::new(Code::ScopeMissing);
        let problem = problem.detail(format!("the API key lacks the scope {}", scope.name()));
        // RFC 6750, section 3.1.
        let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", scope.name());
        Err(match HeaderValue::try_from(challenge) {
            Ok(challenge) => problem.header(WWW_AUTHENTICATE, challenge),
            Err(_) => problem,
        })
    }

    /// Rejects a principal that is not an administrator, and logs the attempt. To be called after
    /// the body was read, whose errors are reported first.
    pub fn require_admin(&self) -> Result<(), Problem> {
        if self.is_admin {
            return Ok(());
        }
        self.log_refusal(Code::Forbidden);
        Err(Problem::new(Code::Forbidden))
    }

    fn has(&self, scope: Scope) -> bool {
        self.scopes.as_ref().is_none_or(|scopes| scopes.contains(&scope))
    }

    fn log_refusal(&self, code: Code) {
        tracing::warn!(
            user.id = %self.user_id,
            session.id = self.credential.session().map(tracing::field::display),
            api_key.id = self.credential.api_key().map(tracing::field::display),
            %code,
            "request refused"
        );
    }

    #[cfg(test)]
    pub(super) fn of_test(session_id: Uuid, epoch: u32, expires_at: i64) -> Self {
        Self {
            user_id: Uuid::nil(),
            login: String::new(),
            credential: Credential::Session(session_id),
            is_admin: false,
            scopes: None,
            epoch,
            expires_at,
            token: Secret::new("token"),
            retirements: 0,
            checked_at: Instant::now(),
        }
    }
}
