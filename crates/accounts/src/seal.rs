//! Encryption of values in the database.

use anyhow::anyhow;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use crate::secret::PlatformSecret;

/// Encrypts and decrypts with a key for one purpose. Nonces are random: at a few per minute
/// a collision is out of the question.
pub(crate) struct Sealer(LessSafeKey);

impl Sealer {
    pub(crate) fn new(secret: &PlatformSecret, purpose: &str) -> anyhow::Result<Self> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &*secret.key_for(purpose))
            .map_err(|_| anyhow!("the encryption key has the wrong length"))?;
        Ok(Self(LessSafeKey::new(key)))
    }

    /// Encrypts `plain`, authenticated together with `name`.
    pub(crate) fn seal(&self, name: &[u8], plain: &[u8]) -> anyhow::Result<Vec<u8>> {
        let failed = |_| anyhow!("encryption failed");
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(failed)?;
        let mut sealed = plain.to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name),
                &mut sealed,
            )
            .map_err(failed)?;
        sealed.splice(0..0, nonce);
        Ok(sealed)
    }

    /// Decrypts. Returns `None` if the secret or the name is not the same.
    pub(crate) fn open(&self, name: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.0.open_in_place(nonce, Aad::from(name), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(secret: &str) -> Sealer {
        let secret = PlatformSecret::new(&secret.repeat(32)).expect("a secret");
        Sealer::new(&secret, "tests").expect("a sealer")
    }

    #[test]
    fn open_needs_same_secret_and_name() {
        let sealed = sealer("a").seal(b"name", b"plain").expect("sealed");
        let opened = sealer("a").open(b"name", &sealed);
        assert_eq!(opened.as_deref().map(Vec::as_slice), Some(&b"plain"[..]));
        assert_eq!(sealer("b").open(b"name", &sealed), None);
        assert_eq!(sealer("a").open(b"other", &sealed), None);
        assert_eq!(sealer("a").open(b"name", &sealed[..5]), None);
        assert!(!sealed.windows(5).any(|window| window == b"plain"));
    }
}
