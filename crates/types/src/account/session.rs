//! Sessions and their tokens.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Role, Secret};
use crate::body::JsonBody;
use crate::fields::{BodyError, Fields, FromFields};
use crate::limits;

/// The body of `POST /sign-in`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum SignIn {
    /// With a password: a new session.
    Password {
        /// The login, or the e-mail address.
        #[schema(example = "ada")]
        login: String,
        /// The password.
        #[schema(value_type = String, format = Password)]
        password: Secret,
    },
    /// With a refresh token: the same as `POST /refresh`.
    Refresh {
        /// The newest refresh token of the session.
        #[schema(value_type = String)]
        refresh_token: Secret,
    },
}

impl FromFields for SignIn {
    fn read(fields: &mut Fields) -> Option<Self> {
        if fields.has("refreshToken") && !fields.has("login") && !fields.has("password") {
            let Refresh { refresh_token } = Refresh::read(fields)?;
            return Some(Self::Refresh { refresh_token });
        }
        let login = fields.text("login", limits::EMAIL);
        let password = fields.text("password", limits::PASSWORD).map(Secret);
        Some(Self::Password { login: login?, password: password? })
    }
}

/// The body of `POST /refresh`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refresh {
    /// The newest refresh token of the session.
    #[schema(value_type = String)]
    pub refresh_token: Secret,
}

impl FromFields for Refresh {
    fn read(fields: &mut Fields) -> Option<Self> {
        let refresh_token = fields.text("refreshToken", limits::TOKEN).map(Secret)?;
        Some(Self { refresh_token })
    }
}

/// New tokens; those that the session had before are dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// The access token, a JWT: `Authorization: Bearer` takes it.
    #[schema(value_type = String)]
    pub auth_token: Secret,
    /// Gets the next tokens, once.
    #[schema(value_type = String)]
    pub refresh_token: Secret,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    pub token_type: String,
    /// Seconds that the access token is good for.
    #[schema(example = 900)]
    pub expires_in: u64,
    /// Seconds that the refresh token is good for.
    #[schema(example = 2_592_000)]
    pub refresh_expires_in: u64,
    /// The account's login.
    pub user_name: String,
    /// The account's address.
    pub email: String,
}

/// The body of `POST /validate`; the token alone, as a JSON string, means the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Validate {
    /// The access token.
    #[schema(value_type = String)]
    pub token: Secret,
}

impl FromFields for Validate {
    fn read(fields: &mut Fields) -> Option<Self> {
        let token = fields.text("token", limits::TOKEN).map(Secret)?;
        Some(Self { token })
    }

    fn from_body(body: impl Into<JsonBody>) -> Result<Self, BodyError> {
        Fields::read_body(body.into().wrap_bare_text("token"))
    }
}

/// Who holds a valid token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenInfo {
    /// Always true; an invalid token is a problem.
    pub active: bool,
    /// The account.
    pub sub: Uuid,
    /// Its login.
    pub login: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// When the token ends, in seconds since 1970.
    pub exp: i64,
    /// The session that the token belongs to.
    pub session_id: Uuid,
}

/// A session that hasn't ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Its id.
    pub id: Uuid,
    /// When its owner signed in.
    pub created_at: Timestamp,
    /// When it got its newest tokens.
    pub last_used_at: Timestamp,
    /// When it ends unless it gets new ones.
    pub expires_at: Timestamp,
    /// Where the sign-in came from.
    pub ip: Option<String>,
    /// What the sign-in said about its program.
    pub user_agent: Option<String>,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// The answer of `GET /sessions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sessions {
    /// The caller's sessions, the newest first.
    pub sessions: Vec<Session>,
}
