//! The keys that tokens are verified with.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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
