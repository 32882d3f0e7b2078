//! Verifying access tokens with nothing but the published keys.

use std::collections::HashMap;

use contracts::account::{Jwks, MAX_TOKEN};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};

use super::{Claims, ISSUER, TYPE, TokenFault, install};

/// The published keys, ready to verify with.
#[derive(Clone)]
pub struct Verifier {
    keys: HashMap<String, DecodingKey>,
    validation: Validation,
}

impl Verifier {
    /// Takes the keys that it understands; a newer platform may publish others beside.
    pub fn new(jwks: &Jwks) -> Self {
        install();
        let keys = jwks.keys.iter().filter(|key| key.kty == "OKP" && key.crv == "Ed25519");
        let keys = keys.filter_map(|key| {
            Some((key.kid.clone(), DecodingKey::from_ed_components(&key.x).ok()?))
        });
        let mut validation = Validation::new(Algorithm::EdDSA);
        // Time is checked here, by the caller's clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["iss", "sub", "exp"]);
        validation.set_issuer(&[ISSUER]);
        Self { keys: keys.collect(), validation }
    }

    /// Whether the key that the token names is known. Where it isn't, the keys may have
    /// changed since they were fetched.
    pub fn knows_key_of(&self, token: &str) -> bool {
        let header = (token.len() <= MAX_TOKEN).then(|| decode_header(token).ok()).flatten();
        header.and_then(|header| header.kid).is_some_and(|kid| self.keys.contains_key(&kid))
    }

    /// What the token says, if its signature is right and its time isn't over. Whether
    /// it is still the newest of its session is another question.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, TokenFault> {
        let claims = self.read(token).ok_or(TokenFault::Invalid)?;
        if claims.exp <= now.as_second() { Err(TokenFault::Expired) } else { Ok(claims) }
    }

    fn read(&self, token: &str) -> Option<Claims> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let header = decode_header(token).ok()?;
        if header.typ.as_deref() != Some(TYPE) {
            return None;
        }
        let key = self.keys.get(header.kid.as_deref()?)?;
        decode::<Claims>(token, key, &self.validation).ok().map(|token| token.claims)
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("keys", &self.keys.keys()).finish_non_exhaustive()
    }
}
