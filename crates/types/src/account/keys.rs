//! Public keys.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A public key for the verification of access tokens (RFC 8037).
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
    /// The id of the key in the header of a token.
    pub kid: String,
    /// The key, in URL-safe Base64.
    pub x: String,
}

/// The response of `GET /.well-known/jwks.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Jwks {
    /// The current key, the next one, and those of tokens that are still valid.
    pub keys: Vec<Jwk>,
}
