//! Verifying access tokens with nothing but the published keys.

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use miniapp_types::account::{Jwk, Jwks};
use miniapp_types::limits;

use super::{Claims, ISSUER, TYPE, TokenError, provider};

const PUBLIC_KEY: usize = 32;

/// What is asked of every token beside a right signature and [`Claims`].
static VALIDATION: LazyLock<Validation> = LazyLock::new(|| {
    let mut validation = Validation::new(Algorithm::EdDSA);
    // Time is checked here, by the caller's clock.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.set_required_spec_claims(&["iss"]);
    validation.set_issuer(&[ISSUER]);
    validation
});

/// A key that tokens are verified with.
#[derive(Clone, Debug)]
pub struct PublicKey(DecodingKey);

impl PublicKey {
    /// The key in `jwk`, if it is of the one kind that we use.
    pub fn new(jwk: &Jwk) -> Option<Self> {
        if jwk.kty != "OKP" || jwk.crv != "Ed25519" {
            return None;
        }
        provider::install();
        let key = DecodingKey::from_ed_components(&jwk.x).ok()?;
        let is_whole = key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() == PUBLIC_KEY);
        is_whole.then_some(Self(key))
    }
}

/// The published keys by their ids.
#[derive(Clone, Debug, Default)]
pub struct PublicKeys(HashMap<String, PublicKey>);

impl PublicKeys {
    /// Takes the keys that it understands; a newer platform may publish others beside.
    pub fn new(jwks: &Jwks) -> Self {
        let keys = jwks.keys.iter();
        Self(keys.filter_map(|jwk| Some((jwk.kid.clone(), PublicKey::new(jwk)?))).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ids.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The key `kid`.
    pub fn get(&self, kid: &str) -> Option<&PublicKey> {
        self.0.get(kid)
    }

    /// What the token says, if one of the keys has signed it and its time isn't over.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        let token = UnverifiedToken::parse(token)?;
        let key = self.get(&token.kid).ok_or(TokenError::Invalid)?;
        token.verify(key, now)
    }
}

/// A token that is one of ours by its header.
#[derive(Clone, Debug)]
pub struct UnverifiedToken<'a> {
    /// The key that it claims to be signed with.
    pub kid: String,
    text: &'a str,
}

impl<'a> UnverifiedToken<'a> {
    /// Reads the header of a token.
    pub fn parse(text: &'a str) -> Result<Self, TokenError> {
        if text.len() > *limits::TOKEN.end() {
            return Err(TokenError::Invalid);
        }
        let header = decode_header(text).map_err(|_| TokenError::Invalid)?;
        // Extensions that have to be understood aren't: there are none here.
        let is_ours = header.alg == Algorithm::EdDSA
            && header.typ.as_deref() == Some(TYPE)
            && header.crit.is_none();
        let kid = header.kid.filter(|_| is_ours).ok_or(TokenError::Invalid)?;
        Ok(Self { kid, text })
    }

    /// What the token says, if `key` has signed it and its time isn't over.
    pub fn verify(&self, key: &PublicKey, now: Timestamp) -> Result<Claims, TokenError> {
        let decoded = decode::<Claims>(self.text, &key.0, &VALIDATION);
        let claims = decoded.map_err(|_| TokenError::Invalid)?.claims;
        if claims.exp <= now.as_second() { Err(TokenError::Expired) } else { Ok(claims) }
    }
}
