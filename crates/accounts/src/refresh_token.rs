//! Refresh tokens. Each is derived from the one before, so that it can be issued again after its
//! answer was lost, although only hashes are stored.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use miniapp_types::account::Secret;
use ring::hmac::{HMAC_SHA256, Key, sign};
use ring::rand::{SecureRandom as _, SystemRandom};

/// What a token is derived with, besides the one before. It is of no use without that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt(pub [u8; 32]);

impl Salt {
    pub(crate) fn random() -> anyhow::Result<Self> {
        let mut salt = [0; 32];
        SystemRandom::new().fill(&mut salt).map_err(|_| anyhow::anyhow!("no system randomness"))?;
        Ok(Self(salt))
    }
}

/// Returns the token that replaces `used`.
pub fn successor(used: &Secret, salt: &Salt) -> Secret {
    let key = Key::new(HMAC_SHA256, used.expose().as_bytes());
    Secret::new(BASE64_URL_SAFE_NO_PAD.encode(sign(&key, &salt.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successor_depends_on_token_and_salt() {
        let (token, salt) = (Secret::new("token"), Salt([1; 32]));
        let next = successor(&token, &salt);
        assert_eq!(next, successor(&token, &salt));
        assert_eq!(next.expose().len(), 43);
        assert_ne!(next, successor(&Secret::new("tokens"), &salt));
        assert_ne!(next, successor(&token, &Salt([2; 32])));
        assert_ne!(successor(&next, &salt), next);
    }
}
