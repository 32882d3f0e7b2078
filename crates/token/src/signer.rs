//! Signing access tokens.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use miniapp_types::account::Jwk;

use super::{Claims, TYPE, provider};

/// A private key with its id.
#[derive(Clone, Debug)]
pub struct SigningKey {
    kid: String,
    key: EncodingKey,
}

impl SigningKey {
    /// Derives the key from a seed.
    pub fn new(kid: &str, seed: &[u8; 32]) -> Self {
        provider::install();
        let key = EncodingKey::from_ed_der(&*provider::pkcs8(seed));
        Self { kid: kid.to_owned(), key }
    }

    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub(super) fn encoding_key(&self) -> &EncodingKey {
        &self.key
    }

    pub fn sign(&self, claims: &Claims) -> anyhow::Result<String> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(self.kid.clone());
        Ok(jsonwebtoken::encode(&header, claims, &self.key)?)
    }
}

/// Returns the public key `kid` for publication.
pub fn jwk(kid: &str, public: &[u8; 32]) -> Jwk {
    Jwk {
        kty: "OKP".to_owned(),
        crv: "Ed25519".to_owned(),
        alg: "EdDSA".to_owned(),
        usage: "sig".to_owned(),
        kid: kid.to_owned(),
        x: BASE64_URL_SAFE_NO_PAD.encode(public),
    }
}
