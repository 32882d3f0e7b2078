//! Random tokens, and how they are stored.

use miniapp_types::account::Secret;
use ring::digest::{SHA256, digest};

use crate::secret;

/// The stored form of a refresh token, a registration token or an API key. These have 256 random
/// bits, so a plain hash is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl TokenHash {
    pub fn of(token: &Secret) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, token.expose().as_bytes()).as_ref());
        Self(hash)
    }
}

/// Returns a new token.
pub(crate) fn new_token() -> anyhow::Result<Secret> {
    secret::random_token().map(Secret::new)
}
