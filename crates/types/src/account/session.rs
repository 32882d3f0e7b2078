//! Sessions and their tokens.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{ApiKeyInfo, Role, Secret};
use crate::body::JsonBody;
use crate::fields::{BodyError, Fields, FromFields};
use crate::limits;

/// The client of a sign-in that names none.
pub const DEFAULT_CLIENT: &str = "default";

/// The body of `POST /sign-in`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum SignIn {
    /// Starts a session.
    Password(PasswordSignIn),
    /// Renews the tokens of a session, like `POST /refresh`.
    Refresh(Refresh),
}

/// A sign-in that starts a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PasswordSignIn {
    /// The login or the e-mail address.
    #[schema(example = "ada")]
    pub login: String,
    #[schema(value_type = String, format = Password)]
    pub password: Secret,
    /// The program or device that signs in, in visible ASCII characters; `default` if not given.
    /// Ends the previous session of the same client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "console", pattern = "^[!-~]+$")]
    pub client: Option<String>,
}

impl FromFields for SignIn {
    fn read(fields: &mut Fields) -> Option<Self> {
        if fields.has("refreshToken") && !fields.has("login") && !fields.has("password") {
            return Refresh::read(fields).map(Self::Refresh);
        }
        let login = fields.text("login", limits::EMAIL);
        let password = fields.text("password", limits::PASSWORD).map(Secret);
        let client = fields.optional(read_client, "client");
        let sign_in = PasswordSignIn { login: login?, password: password?, client };
        Some(Self::Password(sign_in))
    }
}

/// Reads the name of a client.
fn read_client(fields: &mut Fields) -> Option<String> {
    let client = fields.text("client", limits::CLIENT)?;
    if !client.bytes().all(|byte| byte.is_ascii_graphic()) {
        fields.reject("client", "must consist of visible ASCII characters");
        return None;
    }
    Some(client)
}

/// The body of `POST /refresh`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Refresh {
    /// The latest refresh token of the session.
    #[schema(value_type = String)]
    pub refresh_token: Secret,
}

impl FromFields for Refresh {
    fn read(fields: &mut Fields) -> Option<Self> {
        let refresh_token = fields.text("refreshToken", limits::TOKEN).map(Secret)?;
        Some(Self { refresh_token })
    }
}

/// New tokens, which invalidate the previous ones of the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// The access token, a JWT for `Authorization: Bearer`.
    #[schema(value_type = String)]
    pub auth_token: Secret,
    /// For the next tokens; valid once. After a lost answer it returns the same ones again for a
    /// few seconds.
    #[schema(value_type = String)]
    pub refresh_token: Secret,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    pub token_type: String,
    /// Seconds until the access token expires.
    #[schema(example = 900)]
    pub expires_in: u64,
    /// Seconds until the refresh token expires.
    #[schema(example = 2_592_000)]
    pub refresh_expires_in: u64,
    /// The login of the account.
    pub user_name: String,
    /// The address of the account.
    pub email: String,
}

/// The body of `POST /validate`; or the token as a bare JSON string.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Validate {
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

/// The owner of a valid token or API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenInfo {
    /// Always true; an invalid token is a problem.
    pub active: bool,
    /// The id of the account.
    pub sub: Uuid,
    pub login: String,
    pub roles: Vec<Role>,
    /// When the token or key expires, in seconds since 1970. Absent for a key that does not
    /// expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub exp: Option<i64>,
    /// The session of the token. Absent for a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub session_id: Option<Uuid>,
    /// The key. Absent for a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub api_key: Option<ApiKeyInfo>,
}

/// An active session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    pub id: Uuid,
    /// The client that signed in.
    #[serde(default = "default_client")]
    #[schema(required = true, example = "console")]
    pub client: String,
    /// When the user signed in.
    pub created_at: Timestamp,
    /// When its tokens were renewed last.
    pub last_used_at: Timestamp,
    /// When it ends unless its tokens are renewed.
    pub expires_at: Timestamp,
    /// The address of the sign-in.
    pub ip: Option<String>,
    /// The user agent of the sign-in.
    pub user_agent: Option<String>,
    /// Whether it is the session of the request.
    pub current: bool,
}

/// The client of a session at a server of the previous release.
fn default_client() -> String {
    DEFAULT_CLIENT.to_owned()
}

/// The response of `GET /sessions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sessions {
    /// Newest first.
    pub sessions: Vec<Session>,
}
