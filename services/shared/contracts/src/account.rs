//! Accounts, sessions and tokens as clients see them.
//!
//! Bodies whose fields follow rules of the account domain (addresses, logins, new
//! passwords) are read by the crate that knows those rules; the others read themselves.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::fields::{BodyFault, Fields, FromFields};

/// Longest e-mail address, in characters (RFC 5321).
pub const MAX_EMAIL: usize = 254;
/// Longest login, in characters.
pub const MAX_LOGIN: usize = 100;
/// Longest password, in characters.
pub const MAX_PASSWORD: usize = 256;
/// Longest token that is looked at, in characters.
pub const MAX_TOKEN: usize = 8192;

/// A password, code or token: shown to nobody by accident.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(format = Password)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// What an account may do.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
    strum::Display,
    strum::EnumIter,
    strum::EnumString,
    strum::IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Role {
    /// Has tasks of its own.
    User,
    /// Sees and changes what belongs to all.
    Admin,
}

/// The body of `POST /send-verification-code` and `POST /password-reset`; the address
/// alone, as a JSON string, means the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SendCode {
    /// Where the code goes.
    #[schema(format = Email, max_length = 254, example = "ada@example.com")]
    pub email: String,
}

/// A code is on its way, if the address is one that gets codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CodeSent {
    /// Seconds that the code is good for.
    #[schema(example = 600)]
    pub expires_in: u64,
    /// Seconds until the address may be sent the next one.
    #[schema(example = 60)]
    pub retry_after: u64,
}

/// The body of `POST /verify-email`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerifyEmail {
    /// The address.
    #[schema(format = Email, max_length = 254, example = "ada@example.com")]
    pub email: String,
    /// The six digits from the mail.
    #[schema(value_type = String, example = "123456")]
    pub code: Secret,
}

/// The address may be registered now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmailVerified {
    /// The address, in lower case.
    pub email: String,
    /// Until when; one registration uses it up.
    pub verified_until: Timestamp,
}

/// The body of `POST /register`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Register {
    /// An address that was verified before.
    #[schema(format = Email, max_length = 254, example = "ada@example.com")]
    pub email: String,
    /// 3 to 100 letters, digits, `.`, `_` and `-` of one script. No other account may
    /// have it in another case or one that looks the same.
    #[schema(min_length = 3, max_length = 100, example = "ada")]
    pub login: String,
    /// 10 to 256 characters that aren't easily guessed.
    #[schema(value_type = String, format = Password, min_length = 10, max_length = 256)]
    pub password: Secret,
    /// The same again, where the client asks twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Password)]
    pub password_confirm: Option<Secret>,
    /// The day of birth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birth_date: Option<Date>,
    /// Digits, with `+`, spaces, hyphens and brackets as one likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "+44 20 7946 0000")]
    pub phone_number: Option<String>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Account {
    /// The account's id (`UUIDv7`).
    pub user_id: Uuid,
    /// The login, as its owner wrote it.
    pub login: String,
    /// The address, in lower case.
    pub email: String,
    /// What it may do.
    pub roles: Vec<Role>,
    /// The day of birth, if given.
    pub birth_date: Option<Date>,
    /// The phone number, if given.
    pub phone_number: Option<String>,
    /// When it was registered.
    pub created_at: Timestamp,
}

/// The body of `POST /sign-in`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum SignIn {
    /// With a password: a new session.
    Password {
        /// The login, or the e-mail address.
        #[schema(max_length = 254, example = "ada")]
        login: String,
        /// The password.
        #[schema(value_type = String, format = Password, max_length = 256)]
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
        let login = fields.text("login", 1..=MAX_EMAIL);
        let password = fields.text("password", 1..=MAX_PASSWORD).map(Secret);
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
        let refresh_token = fields.text("refreshToken", 1..=MAX_TOKEN).map(Secret)?;
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
        let token = fields.text("token", 1..=MAX_TOKEN).map(Secret)?;
        Some(Self { token })
    }

    fn from_body(body: Value) -> Result<Self, BodyFault> {
        Fields::read_body(or_bare_text("token", body))
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

/// The body of `PUT /users/me`. What isn't named stays, what is null is removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateAccount {
    /// A new login, by the rules of the registration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 3, max_length = 100)]
    pub login: Option<String>,
    /// The day of birth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birth_date: Option<Date>,
    /// The phone number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
}

/// The body of `POST /users/me/password`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangePassword {
    /// The password until now.
    #[schema(value_type = String, format = Password, max_length = 256)]
    pub password: Secret,
    /// The one from now on, by the rules of the registration.
    #[schema(value_type = String, format = Password, min_length = 10, max_length = 256)]
    pub new_password: Secret,
}

/// The body of `POST /password-reset/confirm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfirmReset {
    /// The account's address.
    #[schema(format = Email, max_length = 254, example = "ada@example.com")]
    pub email: String,
    /// The six digits from the mail.
    #[schema(value_type = String, example = "123456")]
    pub code: Secret,
    /// The password from now on, by the rules of the registration.
    #[schema(value_type = String, format = Password, min_length = 10, max_length = 256)]
    pub new_password: Secret,
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

/// The body of `PUT /users/{id}/roles`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetRoles {
    /// What the account may do from now on.
    #[schema(min_items = 1, example = json!(["user", "admin"]))]
    pub roles: Vec<Role>,
}

impl FromFields for SetRoles {
    fn read(fields: &mut Fields) -> Option<Self> {
        let names = fields.texts("roles")?;
        if names.is_empty() {
            fields.fault("roles", "must name at least one role");
        }
        let mut roles = Vec::new();
        for (index, name) in names.iter().enumerate().take(100) {
            match name.parse() {
                Ok(role) => roles.push(role),
                Err(_) => fields.fault(&format!("roles[{index}]"), "must be user or admin"),
            }
        }
        roles.sort();
        roles.dedup();
        Some(Self { roles })
    }
}

/// A page of accounts, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AccountPage {
    /// The accounts.
    pub users: Vec<Account>,
    /// Give it back as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// Something that was done with an account, or tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// What, in `snake_case`.
    #[schema(example = "sign_in")]
    pub action: String,
    /// `ok`, or the code of the refusal.
    #[schema(example = "ok")]
    pub outcome: String,
    /// The account, where it is known.
    pub user_id: Option<Uuid>,
    /// Its login at that time.
    pub login: Option<String>,
    /// Where the request came from.
    pub ip: Option<String>,
}

/// A page of the audit log, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// Give it back as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// A public key that access tokens are verified with (RFC 8037).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Jwk {
    /// Always `OKP`.
    #[schema(example = "OKP")]
    pub kty: String,
    /// Always `Ed25519`.
    #[schema(example = "Ed25519")]
    pub crv: String,
    /// Always `EdDSA`.
    #[schema(example = "EdDSA")]
    pub alg: String,
    /// Always `sig`.
    #[serde(rename = "use")]
    #[schema(example = "sig")]
    pub usage: String,
    /// What a token's header names.
    pub kid: String,
    /// The key, in URL-safe Base64.
    pub x: String,
}

/// The answer of `GET /.well-known/jwks.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Jwks {
    /// The keys that sign now, will sign next, or signed tokens that are still good.
    pub keys: Vec<Jwk>,
}

/// The object that a bare JSON string stands for.
pub fn or_bare_text(field: &str, body: Value) -> Value {
    match body {
        Value::String(text) => json!({ field: text }),
        body => body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faulty_fields<T: FromFields>(body: Value) -> Vec<String> {
        match T::from_body(body) {
            Err(BodyFault::Fields(faults)) => faults.into_iter().map(|f| f.field).collect(),
            Err(BodyFault::NotAnObject) => vec!["not an object".to_owned()],
            Ok(_) => Vec::new(),
        }
    }

    #[test]
    fn secrets_dont_show_when_printed() {
        let sign_in = SignIn::from_body(json!({"login": "ada", "password": "pa55word"}));
        assert!(!format!("{sign_in:?}").contains("pa55word"));
    }

    #[test]
    fn a_sign_in_is_with_a_password_or_a_refresh_token() {
        let refresh = SignIn::from_body(json!({"refreshToken": "t"}));
        assert_eq!(refresh, Ok(SignIn::Refresh { refresh_token: Secret::new("t") }));
        let faults = faulty_fields::<SignIn>;
        assert_eq!(faults(json!({})), ["login", "password"]);
        assert_eq!(
            faults(json!({"login": "ada", "refreshToken": "t"})),
            ["password", "refreshToken"]
        );
        assert_eq!(faults(json!({"refreshToken": 5})), ["refreshToken"]);
    }

    #[test]
    fn a_token_may_come_alone() {
        let expected = Ok(Validate { token: Secret::new("t") });
        assert_eq!(Validate::from_body(json!("t")), expected);
        assert_eq!(Validate::from_body(json!({"token": "t"})), expected);
        assert_eq!(faulty_fields::<Validate>(json!("")), ["token"]);
        assert_eq!(faulty_fields::<Validate>(json!(5)), ["not an object"]);
    }

    #[test]
    fn roles_are_known_ones_and_each_counts_once() {
        let set = SetRoles::from_body(json!({"roles": ["admin", "user", "admin"]}));
        assert_eq!(set, Ok(SetRoles { roles: vec![Role::User, Role::Admin] }));
        let faults = faulty_fields::<SetRoles>;
        assert_eq!(faults(json!({"roles": []})), ["roles"]);
        assert_eq!(faults(json!({"roles": ["user", "root"]})), ["roles[1]"]);
        assert_eq!(faults(json!({"roles": "admin"})), ["roles"]);
    }
}
