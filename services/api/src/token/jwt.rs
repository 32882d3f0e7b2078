//! Reading and verifying the tokens that auth signs: JWTs with one algorithm, Ed25519.
//!
//! Nothing in a token chooses how it is verified: other algorithms, other types and other
//! issuers are refused before a key is looked up.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use contracts::account::{Jwk, MAX_TOKEN};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::Deserialize;
use uuid::Uuid;

/// Who every access token is from.
const ISSUER: &str = "miniapp";
/// What a token's header says it is (RFC 9068), so that no other kind of JWT passes.
const TYPE: &str = "at+jwt";

const SIGNATURE: usize = 64;
const PUBLIC_KEY: usize = 32;

/// A key that tokens are verified with.
pub(super) type PublicKey = UnparsedPublicKey<[u8; PUBLIC_KEY]>;

/// What a token says. Names that later platforms may add are left alone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Claims {
    iss: String,
    /// The account.
    pub sub: Uuid,
    /// The session.
    pub sid: Uuid,
    /// Which of the session's tokens it is.
    pub epoch: u32,
    /// The account's login.
    pub login: String,
    /// What the account may do.
    pub roles: Vec<String>,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
}

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    typ: Cow<'a, str>,
    kid: String,
    /// Extensions that a reader has to understand; there are none here.
    crit: Option<serde::de::IgnoredAny>,
}

/// A token that is a JWT of ours by its form.
#[derive(Debug)]
pub(super) struct Unverified<'a> {
    /// The key that it claims to be signed with.
    pub kid: String,
    signed: &'a str,
    claims: &'a str,
    signature: [u8; SIGNATURE],
}

impl<'a> Unverified<'a> {
    /// Reads the outside of a token; `None` if it can't be one of ours.
    pub fn read(token: &'a str) -> Option<Self> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header = BASE64_URL_SAFE_NO_PAD.decode(header).ok()?;
        let header: Header<'_> = serde_json::from_slice(&header).ok()?;
        let is_ours = header.alg == "EdDSA" && header.typ == TYPE && header.crit.is_none();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
        let signature = signature.try_into().ok()?;
        is_ours.then_some(Self { kid: header.kid, signed, claims, signature })
    }

    /// What the token says, if `key` has signed it.
    pub fn verify(&self, key: &PublicKey) -> Option<Claims> {
        key.verify(self.signed.as_bytes(), &self.signature).ok()?;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(self.claims).ok()?;
        let claims: Claims = serde_json::from_slice(&claims).ok()?;
        (claims.iss == ISSUER).then_some(claims)
    }
}

/// The key in `jwk`, if it is of the one kind that we use.
pub(super) fn public_key(jwk: &Jwk) -> Option<PublicKey> {
    if jwk.kty != "OKP" || jwk.crv != "Ed25519" {
        return None;
    }
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(&jwk.x).ok()?;
    Some(UnparsedPublicKey::new(&ED25519, bytes.try_into().ok()?))
}
