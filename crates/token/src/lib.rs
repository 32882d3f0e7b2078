//! Access tokens: JWTs signed with Ed25519, and their verification with the published keys. The
//! same keys sign events about accounts and sessions. Also the format of API keys.
//!
//! Nothing in a token selects how it is verified: other algorithms, types and issuers are
//! rejected. Whether a token was revoked is not decided here.

mod api_key;
mod event;
mod provider;
mod signer;
#[cfg(test)]
mod tests;
mod verifier;

use miniapp_types::account::Role;
use miniapp_types::problem::Code;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

pub use api_key::{check_api_key, generate_api_key, is_api_key, shown_prefix};
pub use event::{EventError, SignedEvent, key_of_event};
pub use signer::{SigningKey, jwk};
pub use verifier::{PublicKey, PublicKeys, UnverifiedToken};

/// The issuer of every access token.
pub const ISSUER: &str = "miniapp";

/// The type in the header (RFC 9068), which no other JWT has.
const TYPE: &str = "at+jwt";

/// The claims of an access token. Unknown claims of later versions are ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// [`ISSUER`].
    pub iss: String,
    /// The account.
    pub sub: Uuid,
    /// The session.
    pub sid: Uuid,
    /// Counts the tokens of the session; only the latest is valid.
    pub epoch: u32,
    pub login: String,
    #[serde(deserialize_with = "known_roles")]
    pub roles: Vec<Role>,
    /// Issued at, in seconds since 1970.
    pub iat: i64,
    /// Expires at, in seconds since 1970.
    pub exp: i64,
    /// The id of the token.
    pub jti: Uuid,
}

/// Ignores roles of later versions.
fn known_roles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Role>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

/// Why a token is invalid, apart from revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Malformed, forged, or signed with an unknown key.
    #[error("the token is malformed or forged")]
    Invalid,
    #[error("the token has expired")]
    Expired,
}

impl From<TokenError> for Code {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Invalid => Self::TokenInvalid,
            TokenError::Expired => Self::TokenExpired,
        }
    }
}
