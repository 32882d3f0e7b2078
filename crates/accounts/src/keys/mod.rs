//! The keys that sign access tokens, and events about accounts and sessions.
//!
//! All replicas share them through the store, where they are encrypted. A new key is
//! published before it signs, and stays published for some time after its successor took
//! over, so that recently fetched keys verify every valid token.

mod ring;
mod schedule;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use miniapp_runtime::clock::Clock;
use miniapp_token::{Claims, SignedEvent, UnverifiedToken};
use miniapp_types::account::Jwks;
use miniapp_types::problem::Code;
use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use self::ring::KeyRing;
use self::schedule::NextKey;
use crate::error::Error;
use crate::seal::{OtherSecret, Sealer};
use crate::secret::PlatformSecrets;
use crate::store::{SealedKey, Store, StoreError};

pub use self::schedule::Schedule;
pub(crate) use self::schedule::{SHORT_LEAD, last};

/// How long a request for the public keys waits for the store. Clients wait for 2 s.
const MAX_WAIT: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("a signing key in the database {0}")]
    OtherSecret(#[from] OtherSecret),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Internal(#[from] anyhow::Error),
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Store(error) => error.into(),
            KeyError::Internal(error) => error.into(),
            KeyError::OtherSecret(_) => Self::Internal(error.into()),
        }
    }
}

/// The current keys, kept up to date by [`SigningKeys::maintain`].
pub struct SigningKeys {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    sealer: Sealer,
    schedule: Schedule,
    ring: RwLock<Arc<KeyRing>>,
    /// Locked during a read.
    latest_read: Mutex<Option<Read>>,
}

/// A completed read of the stored keys.
struct Read {
    begun_at: Instant,
    result: Result<(), StoreError>,
}

impl SigningKeys {
    /// Loads the keys, and creates the first one if there is none.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        secrets: &PlatformSecrets,
        schedule: Schedule,
    ) -> Result<Self, KeyError> {
        let keys = Self {
            store,
            clock,
            sealer: sealer(secrets)?,
            schedule,
            ring: RwLock::default(),
            latest_read: Mutex::default(),
        };
        keys.maintain().await?;
        Ok(keys)
    }

    /// Loads the keys that other processes created, creates the next one, removes expired ones, and
    /// seals those of the previous secret again.
    pub async fn maintain(&self) -> Result<(), KeyError> {
        let _reading = self.latest_read.lock().await;
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
        for key in &stored {
            let resealed = self.sealer.reseal(key.kid.as_bytes(), &key.sealed)?;
            let Some(resealed) = resealed else { continue };
            // If a replica was faster, its result is equivalent.
            if self.store.reseal_signing_key(key, &resealed).await? {
                tracing::info!(kid = key.kid, "signing key sealed with the current secret");
            }
        }
        let ring = KeyRing::open(&self.sealer, &stored)?;
        *self.ring.write() = Arc::new(ring);
        Ok(())
    }

    /// Returns the public keys.
    pub(crate) async fn jwks(&self) -> Jwks {
        // Another process may have replaced the keys. Then clients look for the new one here.
        let error = match timeout(MAX_WAIT, self.refresh()).await {
            Ok(result) => result.err().map(|error| error.to_string()),
            Err(_) => Some("the store is slow".to_owned()),
        };
        if let Some(error) = error {
            tracing::warn!(error, "failed to read the signing keys; publishing the known ones");
        }
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

    /// Returns the claims of a token that one of the keys has signed and that has not expired. An
    /// unknown key may be new, and causes a read.
    pub(crate) async fn verify(&self, token: &str) -> Result<Claims, Error> {
        let token = UnverifiedToken::parse(token)?;
        let find = || self.ring.read().public().get(&token.kid).cloned();
        let mut key = find();
        if key.is_none() {
            self.refresh().await?;
            key = find();
        }
        let key = key.ok_or(Code::TokenInvalid)?;
        Ok(token.verify(&key, self.clock.now())?)
    }

    /// Reads the keys. Concurrent callers share a read that begins after all of them have called, so
    /// that a flood of calls causes one read at a time. They also share its failure: with a silent
    /// store they do not wait one after the other.
    pub(crate) async fn refresh(&self) -> Result<(), KeyError> {
        let called_at = Instant::now();
        let mut latest = self.latest_read.lock().await;
        if let Some(read) = &*latest
            && read.begun_at > called_at
        {
            return Ok(read.result.clone()?);
        }
        let begun_at = Instant::now();
        let result = self.read().await;
        let shared = match &result {
            Ok(()) => Some(Ok(())),
            Err(KeyError::Store(error)) => Some(Err(error.clone())),
            // Not a failure of the store, so the next caller need not wait.
            Err(_) => None,
        };
        *latest = shared.map(|result| Read { begun_at, result });
        result
    }

    async fn read(&self) -> Result<(), KeyError> {
        let stored = self.store.signing_keys().await?;
        let ring = KeyRing::open(&self.sealer, &stored)?;
        *self.ring.write() = Arc::new(ring);
        Ok(())
    }
}

fn sealer(secrets: &PlatformSecrets) -> anyhow::Result<Sealer> {
    Sealer::new(secrets, "signing keys")
}

/// Checks that the secrets are those of the processes that share the store: what is sealed with
/// others is of no use to them.
pub(crate) async fn check_secrets(
    store: &dyn Store,
    secrets: &PlatformSecrets,
) -> Result<(), KeyError> {
    KeyRing::open(&sealer(secrets)?, &store.signing_keys().await?).map(drop)
}

/// Generates a key that signs from `signs_from`. What it follows is decided when it is stored.
pub(crate) fn generate(
    secrets: &PlatformSecrets,
    signs_from: Timestamp,
) -> anyhow::Result<SealedKey> {
    ring::generate(&sealer(secrets)?, &NextKey { follows: String::new(), signs_from })
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKeys").field("ring", &self.ring.read()).finish_non_exhaustive()
    }
}
