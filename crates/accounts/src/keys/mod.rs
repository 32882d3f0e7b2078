//! The keys that sign access tokens, and events about accounts and sessions.
//!
//! All replicas share them through the store, where they are encrypted. A new key is
//! published before it signs, and stays published for some time after its successor took
//! over, so that recently fetched keys verify every valid token.

mod ring;
mod schedule;

use std::sync::Arc;

use miniapp_runtime::clock::Clock;
use miniapp_token::{Claims, SignedEvent, TokenError};
use miniapp_types::account::Jwks;
use parking_lot::RwLock;
use uuid::Uuid;

use self::ring::KeyRing;
use crate::seal::Sealer;
use crate::secret::PlatformSecret;
use crate::store::{Store, StoreError};

pub use self::schedule::Schedule;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(
        "the signing keys in the database were sealed with another secret: set \
         MINIAPP__AUTH__SECRET (or the file `secret` in the data directory) to the one that \
         the database was made with"
    )]
    OtherSecret,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

/// The current keys, kept up to date by [`SigningKeys::maintain`].
pub struct SigningKeys {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    sealer: Sealer,
    schedule: Schedule,
    ring: RwLock<Arc<KeyRing>>,
}

impl SigningKeys {
    /// Loads the keys, and creates the first one if there is none.
    pub async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        secret: &PlatformSecret,
        schedule: Schedule,
    ) -> Result<Self, KeyError> {
        let sealer = Sealer::new(secret, "signing keys")?;
        let ring = RwLock::new(Arc::new(KeyRing::default()));
        let keys = Self { store, clock, sealer, schedule, ring };
        keys.maintain().await?;
        Ok(keys)
    }

    /// Loads the keys that replicas created, creates the next one and removes expired ones.
    pub async fn maintain(&self) -> Result<(), KeyError> {
        let mut stored = self.store.signing_keys().await?;
        let now = self.clock.now();
        if let Some(next) = self.schedule.next(&stored, now) {
            let key = ring::generate(&self.sealer, &next)?;
            // If a replica was faster, its key is used.
            if self.store.add_signing_key(&key).await? {
                tracing::info!(kid = key.kid, signs_from = %key.signs_from, "signing key created");
            }
            stored = self.store.signing_keys().await?;
        }
        for kid in self.schedule.expired(&stored, now) {
            self.store.remove_signing_key(&kid).await?;
            tracing::info!(kid, "signing key removed");
            stored.retain(|key| key.kid != kid);
        }
        let ring = KeyRing::open(&self.sealer, &stored)?;
        *self.ring.write() = Arc::new(ring);
        Ok(())
    }

    /// Returns the public keys.
    pub fn jwks(&self) -> Jwks {
        self.ring.read().jwks().clone()
    }

    /// Signs a token with the current key.
    pub fn sign(&self, claims: &Claims) -> anyhow::Result<String> {
        let ring = self.ring.read().clone();
        ring.sign(claims, self.clock.now())
    }

    /// Signs an event that is sent in the message of this id.
    pub fn sign_event<E: SignedEvent>(&self, message_id: Uuid, event: E) -> anyhow::Result<E> {
        let ring = self.ring.read().clone();
        ring.sign_event(message_id, event, self.clock.now())
    }

    /// See [`PublicKeys::verify`](miniapp_token::PublicKeys::verify).
    pub fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let ring = self.ring.read().clone();
        ring.public().verify(token, self.clock.now())
    }
}

/// Checks that the stored keys can be opened with `secret`.
pub(crate) async fn check_secret(
    store: &dyn Store,
    secret: &PlatformSecret,
) -> Result<(), KeyError> {
    let sealer = Sealer::new(secret, "signing keys")?;
    KeyRing::open(&sealer, &store.signing_keys().await?).map(drop)
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKeys").field("ring", &self.ring.read()).finish_non_exhaustive()
    }
}
