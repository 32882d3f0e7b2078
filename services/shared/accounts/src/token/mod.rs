//! Access tokens: JWTs signed with Ed25519, and how anyone verifies them.

mod provider;
mod verifier;

use contracts::account::Role;
use contracts::problem::Code;
use jsonwebtoken::{Algorithm, Header};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use provider::{install, pkcs8};
pub use verifier::Verifier;

/// Who every access token says it is from.
pub const ISSUER: &str = "miniapp";

/// What a token's header says it is (RFC 9068), so that no other kind of JWT passes.
const TYPE: &str = "at+jwt";

/// What an access token says.
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
    pub roles: Vec<Role>,
    /// When it was made, in seconds since 1970.
    pub iat: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// Its own id.
    pub jti: Uuid,
}

/// Why a token alone, without a look at its session, isn't valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Malformed, forged, or signed with a key that nobody knows.
    #[error("the token is malformed or forged")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
}

impl From<TokenFault> for Code {
    fn from(fault: TokenFault) -> Self {
        match fault {
            TokenFault::Invalid => Self::TokenInvalid,
            TokenFault::Expired => Self::TokenExpired,
        }
    }
}

/// The header of tokens signed with the key `kid`.
pub(crate) fn header(kid: &str) -> Header {
    let mut header = Header::new(Algorithm::EdDSA);
    header.typ = Some(TYPE.to_owned());
    header.kid = Some(kid.to_owned());
    header
}
