//! Bodies of accounts, sessions and tokens.
//!
//! Bodies with fields of the account domain (addresses, logins, new passwords) are read by the
//! crate that owns those rules. The others implement `FromFields` here.

mod admin;
mod api_key;
mod keys;
mod profile;
mod session;
mod sign_up;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use admin::{AccountPage, AuditEntry, AuditPage, SetDisabled, SetRoles};
pub use api_key::{API_KEY_PREFIX, ApiKey, ApiKeyInfo, ApiKeys, CreateApiKey, NewApiKey, Scope};
pub use keys::{Jwk, Jwks};
pub use profile::{Account, ChangePassword, ConfirmReset, UpdateAccount};
pub use session::{
    DEFAULT_CLIENT, PasswordSignIn, Refresh, Session, Sessions, SignIn, TokenInfo, Tokens, Validate,
};
pub use sign_up::{CodeSent, EmailVerified, Register, SendCode, VerifyEmail};

/// A password, code or token; hidden in debug output.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(format = Password)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// A role of an account.
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
    /// Has tasks.
    User,
    /// Reads and changes everybody's data.
    Admin,
}
