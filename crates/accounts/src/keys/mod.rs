//! The keys that sign access tokens.
//!
//! Every replica of auth shares them through the store, where they lie sealed. A new key
//! is published a while before it signs, and stays published for a while after the next
//! one has taken over, so whoever fetched the keys lately can verify every token.

mod ring;
mod schedule;

use std::sync::Arc;

use jiff::Timestamp;
use miniapp_runtime::clock::Clock;
use miniapp_token::{Claims, TokenError};
use miniapp_types::account::Jwks;
use parking_lot::RwLock;

use self::ring::KeyRing;
use crate::seal::Sealer;
use crate::secret::PlatformSecret;
use crate::store::{Store, StoreError};

pub use self::schedule::Schedule;

/// A signing key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedKey {
    /// Its name in tokens: made from the public key.
    pub kid: String,
    /// The key that it follows; empty for the first. A key has one successor, which
    /// keeps replicas from each making their own.
    pub follows: String,
    /// The public half.
    pub public: [u8; 32],
    /// The sealed private half.
    pub sealed: Vec<u8>,
    /// From when on it signs.
    pub signs_from: Timestamp,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// They were sealed with another secret.
    #[error(
        "the signing keys in the database were sealed with another secret: set \
         MINIAPP__AUTH__SECRET (or the file `secret` in the data directory) to the one that \
         the database was made with"
    )]
    OtherSecret,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something that doesn't happen.
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

/// The keys, kept up to date by [`SigningKeys::tend`].
pub struct SigningKeys {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    sealer: Sealer,
    schedule: Schedule,
    ring: RwLock<Arc<KeyRing>>,
}

impl SigningKeys {
    /// Loads the keys; makes the first one where there is none.
    pub async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        secret: &PlatformSecret,
        schedule: Schedule,
    ) -> Result<Self, KeyError> {
        let sealer = Sealer::new(secret, "signing keys")?;
        let ring = RwLock::new(Arc::new(KeyRing::default()));
        let keys = Self { store, clock, sealer, schedule, ring };
        keys.tend().await?;
        Ok(keys)
    }

    /// Loads the keys that replicas made, makes the next one and removes the old ones
    /// when it is time.
    pub async fn tend(&self) -> Result<(), KeyError> {
        let mut stored = self.store.signing_keys().await?;
        let now = self.clock.now();
        if let Some(next) = self.schedule.next(&stored, now) {
            let key = ring::make(&self.sealer, &next)?;
            // Where a replica was faster, its key counts.
            if self.store.add_signing_key(&key).await? {
                tracing::info!(kid = key.kid, signs_from = %key.signs_from, "signing key created");
            }
            stored = self.store.signing_keys().await?;
        }
        for kid in self.schedule.outdated(&stored, now) {
            self.store.remove_signing_key(&kid).await?;
            tracing::info!(kid, "signing key removed");
            stored.retain(|key| key.kid != kid);
        }
        let ring = KeyRing::open(&self.sealer, &stored)?;
        *self.ring.write() = Arc::new(ring);
        Ok(())
    }

    /// The public halves.
    pub fn jwks(&self) -> Jwks {
        self.ring.read().jwks().clone()
    }

    /// Signs a token with the key whose turn it is.
    pub fn sign(&self, claims: &Claims) -> anyhow::Result<String> {
        let ring = self.ring.read().clone();
        ring.sign(claims, self.clock.now())
    }

    /// What a token says; see [`PublicKeys::verify`](miniapp_token::PublicKeys::verify).
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let ring = self.ring.read().clone();
        ring.public().verify(token, self.clock.now())
    }
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKeys").field("ring", &self.ring.read()).finish_non_exhaustive()
    }
}
