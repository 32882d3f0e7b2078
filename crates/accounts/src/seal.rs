//! Encryption of values in the database.

use anyhow::anyhow;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

use crate::secret::{DerivedKeys, PlatformSecrets};

/// Encrypts with a key of the current secret, and decrypts also what was sealed with the previous
/// one. Nonces are random: at a few per minute a collision is out of the question.
pub(crate) struct Sealer {
    current: LessSafeKey,
    previous: Option<LessSafeKey>,
}

/// The value was sealed with neither secret, or under another name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "was sealed with another secret than MINIAPP__AUTH__SECRET (by default the file `secret` in the \
     data directory) and MINIAPP__AUTH__SECRET_PREVIOUS: set the latter to the secret that was used \
     before"
)]
pub struct OtherSecret;

impl Sealer {
    pub(crate) fn new(secrets: &PlatformSecrets, purpose: &str) -> anyhow::Result<Self> {
        let DerivedKeys { current, previous } = secrets.keys_for(purpose);
        let key = |bytes: &[u8; 32]| {
            let key = UnboundKey::new(&CHACHA20_POLY1305, bytes);
            let key = key.map_err(|_| anyhow!("the encryption key has the wrong length"))?;
            anyhow::Ok(LessSafeKey::new(key))
        };
        let previous = previous.map(|previous| key(&previous)).transpose()?;
        Ok(Self { current: key(&current)?, previous })
    }

    /// Whether values may have been sealed with another secret than the current one.
    pub(crate) fn has_previous(&self) -> bool {
        self.previous.is_some()
    }

    /// Encrypts `plain`, authenticated together with `name`.
    pub(crate) fn seal(&self, name: &[u8], plain: &[u8]) -> anyhow::Result<Vec<u8>> {
        let failed = |_| anyhow!("encryption failed");
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(failed)?;
        let mut sealed = plain.to_vec();
        self.current
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name),
                &mut sealed,
            )
            .map_err(failed)?;
        sealed.splice(0..0, nonce);
        Ok(sealed)
    }

    /// Decrypts a value that was sealed under the same name.
    pub(crate) fn open(
        &self,
        name: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, OtherSecret> {
        let previous = self.previous.iter();
        let mut keys = std::iter::once(&self.current).chain(previous);
        keys.find_map(|key| open_with(key, name, sealed)).ok_or(OtherSecret)
    }

    /// Encrypts a value again that was sealed with the previous secret. Returns `None` for other
    /// values.
    pub(crate) fn reseal(&self, name: &[u8], sealed: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
        let opened = self.previous.as_ref().and_then(|key| open_with(key, name, sealed));
        opened.map(|plain| self.seal(name, &plain)).transpose()
    }
}

fn open_with(key: &LessSafeKey, name: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut plain = Zeroizing::new(sealed.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = key.open_in_place(nonce, Aad::from(name), &mut plain).ok()?.len();
    plain.truncate(length);
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(secret: &str, previous: Option<&str>) -> Sealer {
        Sealer::new(&PlatformSecrets::new(secret, previous), "tests").expect("a sealer")
    }

    #[test]
    fn open_needs_same_secret_and_name() {
        let sealed = sealer("a", None).seal(b"name", b"plain").expect("sealed");
        for sealer in [sealer("a", None), sealer("b", Some("a"))] {
            let opened = sealer.open(b"name", &sealed).expect("opened");
            assert_eq!(opened.as_slice(), b"plain");
            assert_eq!(sealer.open(b"other", &sealed), Err(OtherSecret));
            assert_eq!(sealer.open(b"name", &sealed[..5]), Err(OtherSecret));
        }
        for sealer in [sealer("b", None), sealer("b", Some("c"))] {
            assert_eq!(sealer.open(b"name", &sealed), Err(OtherSecret));
        }
        assert!(!sealed.windows(5).any(|window| window == b"plain"));
    }

    #[test]
    fn only_values_of_the_previous_secret_are_resealed() {
        let sealed = sealer("a", None).seal(b"name", b"plain").expect("sealed");
        for sealer in [sealer("a", None), sealer("a", Some("b")), sealer("b", None)] {
            assert_eq!(sealer.reseal(b"name", &sealed).expect("no failure"), None);
        }
        let resealed = sealer("b", Some("a")).reseal(b"name", &sealed).expect("no failure");
        let opened = sealer("b", None).open(b"name", &resealed.expect("resealed"));
        assert_eq!(opened.expect("opened").as_slice(), b"plain");
    }
}
