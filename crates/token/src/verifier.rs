//! Verification of access tokens with the published keys.

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use miniapp_types::account::{Jwk, Jwks};
use miniapp_types::limits;

use super::{Claims, ISSUER, TYPE, TokenError, provider};

const PUBLIC_KEY_LENGTH: usize = 32;

pub(super) static VALIDATION: LazyLock<Validation> = LazyLock::new(|| {
    let mut validation = Validation::new(Algorithm::EdDSA);
    // Expiry is checked with the clock of the caller.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.set_required_spec_claims(&["iss"]);
    validation.set_issuer(&[ISSUER]);
    validation
});

/// A key for verification.
#[derive(Clone, Debug)]
pub struct PublicKey(DecodingKey);

impl PublicKey {
    /// Returns the key in `jwk`, if it is an Ed25519 key.
    pub fn new(jwk: &Jwk) -> Option<Self> {
        if jwk.kty != "OKP" || jwk.crv != "Ed25519" {
            return None;
        }
        provider::install();
        let key = DecodingKey::from_ed_components(&jwk.x).ok()?;
        let is_whole = key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() == PUBLIC_KEY_LENGTH);
        is_whole.then_some(Self(key))
    }

    pub(super) fn decoding_key(&self) -> &DecodingKey {
        &self.0
    }
}

/// The published keys by id.
#[derive(Clone, Debug, Default)]
pub struct PublicKeys(HashMap<String, PublicKey>);

impl PublicKeys {
    /// Ignores keys of other algorithms, which a later version may publish.
    pub fn new(jwks: &Jwks) -> Self {
        let keys = jwks.keys.iter();
        Self(keys.filter_map(|jwk| Some((jwk.kid.clone(), PublicKey::new(jwk)?))).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn get(&self, kid: &str) -> Option<&PublicKey> {
        self.0.get(kid)
    }

    /// Returns the claims of a token that one of the keys has signed and that has not expired.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        let token = UnverifiedToken::parse(token)?;
        let key = self.get(&token.kid).ok_or(TokenError::Invalid)?;
        token.verify(key, now)
    }
}

/// A token with a valid header.
#[derive(Clone, Debug)]
pub struct UnverifiedToken<'a> {
    /// The id of the key in the header.
    pub kid: String,
    text: &'a str,
}

impl<'a> UnverifiedToken<'a> {
    /// Parses and checks the header.
    pub fn parse(text: &'a str) -> Result<Self, TokenError> {
        let kid = kid_of(text, TYPE).ok_or(TokenError::Invalid)?;
        Ok(Self { kid, text })
    }

    /// Returns the claims if `key` has signed the token and it has not expired.
    pub fn verify(&self, key: &PublicKey, now: Timestamp) -> Result<Claims, TokenError> {
        let decoded = decode::<Claims>(self.text, &key.0, &VALIDATION);
        let claims = decoded.map_err(|_| TokenError::Invalid)?.claims;
        if claims.exp <= now.as_second() { Err(TokenError::Expired) } else { Ok(claims) }
    }
}

/// Returns the id of the key in the header of a JWT of this type.
pub(super) fn kid_of(text: &str, typ: &str) -> Option<String> {
    if text.len() > *limits::TOKEN.end() {
        return None;
    }
    let header = decode_header(text).ok()?;
    // No critical extension is supported.
    let is_valid = header.alg == Algorithm::EdDSA
        && header.typ.as_deref() == Some(typ)
        && header.crit.is_none();
    header.kid.filter(|_| is_valid)
}
