//! The decrypted keys that sign and verify.

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use miniapp_token::{Claims, PublicKeys, SignedEvent, SigningKey, jwk};
use miniapp_types::account::Jwks;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::KeyError;
use super::schedule::NextKey;
use crate::seal::Sealer;
use crate::store::SealedKey;

/// Keys in the order in which they sign.
#[derive(Default)]
pub(super) struct KeyRing {
    signers: Vec<Signer>,
    jwks: Jwks,
    public: PublicKeys,
}

struct Signer {
    key: SigningKey,
    signs_from: Timestamp,
}

impl KeyRing {
    pub(super) fn open(sealer: &Sealer, stored: &[SealedKey]) -> Result<Self, KeyError> {
        let mut signers = stored
            .iter()
            .map(|stored| {
                let seed = sealer.open(stored.kid.as_bytes(), &stored.sealed)?;
                let seed =
                    seed.as_slice().try_into().context("a signing key has the wrong length")?;
                let key = SigningKey::new(&stored.kid, seed);
                Ok(Signer { key, signs_from: stored.signs_from })
            })
            .collect::<Result<Vec<_>, KeyError>>()?;
        signers.sort_by_key(|signer| signer.signs_from);
        let published = stored.iter().map(|stored| jwk(&stored.kid, &stored.public));
        let jwks = Jwks { keys: published.collect() };
        let public = PublicKeys::new(&jwks);
        Ok(Self { signers, jwks, public })
    }

    pub(super) fn jwks(&self) -> &Jwks {
        &self.jwks
    }

    pub(super) fn public(&self) -> &PublicKeys {
        &self.public
    }

    pub(super) fn sign(&self, claims: &Claims, now: Timestamp) -> anyhow::Result<String> {
        self.signer(now)?.sign(claims)
    }

    pub(super) fn sign_event<E: SignedEvent>(
        &self,
        message_id: Uuid,
        event: E,
        now: Timestamp,
    ) -> anyhow::Result<E> {
        self.signer(now)?.sign_event(message_id, event)
    }

    fn signer(&self, now: Timestamp) -> anyhow::Result<&SigningKey> {
        // A clock that was set back may be before even the oldest key.
        let signer = self.signers.iter().rfind(|signer| signer.signs_from <= now);
        let signer = signer.or(self.signers.first()).context("there is no signing key")?;
        Ok(&signer.key)
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.signers.iter().map(|signer| signer.key.kid())).finish()
    }
}

/// Generates a key and encrypts it.
pub(super) fn generate(sealer: &Sealer, next: &NextKey) -> anyhow::Result<SealedKey> {
    let mut seed = Zeroizing::new([0; 32]);
    SystemRandom::new().fill(&mut *seed).map_err(|_| anyhow!("no system randomness"))?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&*seed)
        .map_err(|_| anyhow!("the seed is not a valid key"))?;
    let public: [u8; 32] = pair.public_key().as_ref().try_into()?;
    let kid = BASE64_URL_SAFE_NO_PAD.encode(&digest(&SHA256, &public).as_ref()[..12]);
    let NextKey { follows, signs_from } = next.clone();
    Ok(SealedKey { sealed: sealer.seal(kid.as_bytes(), &*seed)?, kid, follows, public, signs_from })
}

#[cfg(test)]
mod tests {
    use miniapp_token::{ISSUER, TokenError, UnverifiedToken};
    use miniapp_types::account::Role;

    use super::*;
    use crate::secret::PlatformSecrets;

    fn sealer(secret: &str) -> Sealer {
        Sealer::new(&PlatformSecrets::new(secret, None), "signing keys").expect("a sealer")
    }

    fn key(signs_from: i64) -> SealedKey {
        let signs_from = Timestamp::from_second(signs_from).expect("a time");
        generate(&sealer("a"), &NextKey { follows: String::new(), signs_from }).expect("a key")
    }

    fn claims() -> Claims {
        Claims {
            iss: ISSUER.to_owned(),
            sub: Uuid::from_u128(1),
            sid: Uuid::from_u128(2),
            epoch: 3,
            login: "ada".to_owned(),
            roles: vec![Role::User],
            iat: 100,
            exp: 200,
            jti: Uuid::from_u128(4),
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    #[test]
    fn token_verifies_with_published_keys() {
        let ring = KeyRing::open(&sealer("a"), &[key(0)]).expect("a ring");
        let token = ring.sign(&claims(), at(100)).expect("a token");
        let public = PublicKeys::new(ring.jwks());
        assert_eq!(public.verify(&token, at(199)), Ok(claims()));
        assert_eq!(public.verify(&token, at(200)), Err(TokenError::Expired));
        assert_eq!(ring.public().verify(&token, at(199)), Ok(claims()));
    }

    #[test]
    fn token_of_another_key_is_rejected() {
        let [ring, other] =
            [(); 2].map(|()| KeyRing::open(&sealer("a"), &[key(0)]).expect("a ring"));
        let token = ring.sign(&claims(), at(100)).expect("a token");
        assert_eq!(other.public().verify(&token, at(100)), Err(TokenError::Invalid));
        assert_eq!(KeyRing::default().public().verify(&token, at(100)), Err(TokenError::Invalid));
    }

    #[test]
    fn signing_key_follows_schedule() {
        let keys = [key(0), key(1000)];
        let ring = KeyRing::open(&sealer("a"), &keys).expect("a ring");
        let kid_at = |second| {
            let token = ring.sign(&claims(), at(second)).expect("a token");
            UnverifiedToken::parse(&token).expect("a token").kid
        };
        assert_eq!(kid_at(999), keys[0].kid);
        assert_eq!(kid_at(1000), keys[1].kid);
        assert_eq!(kid_at(-5), keys[0].kid);
    }

    #[test]
    fn keys_need_their_secret() {
        let opened = KeyRing::open(&sealer("b"), &[key(0)]);
        assert!(matches!(opened, Err(KeyError::OtherSecret(_))));
    }
}
