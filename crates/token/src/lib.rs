//! Access tokens: JWTs with one algorithm, Ed25519; how they are signed and how anyone
//! verifies them with the published keys.
//!
//! Nothing in a token chooses how it is verified: other algorithms, other types and other
//! issuers are refused. Whether a token is still the newest of its session is another
//! question, which a look at the token doesn't answer.

mod provider;
mod signer;
#[cfg(test)]
mod tests;
mod verifier;

use miniapp_types::account::Role;
use miniapp_types::problem::Code;
use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

pub use signer::{SigningKey, jwk};
pub use verifier::{PublicKey, PublicKeys, UnverifiedToken};

/// Who every access token says it is from.
pub const ISSUER: &str = "miniapp";

/// What a token's header says it is (RFC 9068), so that no other kind of JWT passes.
const TYPE: &str = "at+jwt";

/// What an access token says. Names that later platforms may add are left alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who made it: [`ISSUER`].
    pub iss: String,
    /// The account.
    pub sub: Uuid,
    /// The session.
    pub sid: Uuid,
    /// Which of the session's tokens it is; only the newest is valid.
    pub epoch: u32,
    /// The account's login.
    pub login: String,
    /// What the account may do.
    #[serde(deserialize_with = "known_roles")]
    pub roles: Vec<Role>,
    /// When it was made, in seconds since 1970.
    pub iat: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// Its own id.
    pub jti: Uuid,
}

/// Roles without those that only later platforms know.
fn known_roles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Role>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

/// Why a token alone, without a look at its session, isn't valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Malformed, forged, or signed with a key that nobody knows.
    #[error("the token is malformed or forged")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
}

impl From<TokenError> for Code {
    fn from(fault: TokenError) -> Self {
        match fault {
            TokenError::Invalid => Self::TokenInvalid,
            TokenError::Expired => Self::TokenExpired,
        }
    }
}
