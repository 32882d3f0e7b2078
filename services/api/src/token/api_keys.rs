//! Verification of API keys.
//!
//! Only auth knows the keys. What it has said about one is cached, and stays current like the state
//! of a session: auth broadcasts revocations and changes of the owner's roles. Texts with a wrong
//! checksum are rejected without a lookup. Unknown keys are limited, so that they don't flood auth.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use miniapp_http::IpRateLimit;
use miniapp_token::check_api_key;
use miniapp_types::account::Secret;
use miniapp_types::problem::Code;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::metrics::{self, KeySource};
use super::sessions::{SessionState, TokenStatus};
use super::shared_calls::SharedCalls;
use super::{Inner, MAX_STALE, Principal, TokenVerifier, VerifyError, sha256};

const CACHE_CAPACITY: u64 = 8 * 1024;
/// How long a rejected key is rejected without another lookup.
const REJECTION_TTL: Duration = Duration::from_mins(1);
/// Lookups of keys that are not cached, in a minute for each client network.
const LOOKUPS_PER_MINUTE: u32 = 1200;
/// Lookups of keys that are not cached, at the same time.
const CONCURRENT_LOOKUPS: usize = 32;
/// The longest wait for one of them to end.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// The roles of an owner may change again while a key is looked up.
const MAX_ATTEMPTS: u32 = 3;
/// A key in use is looked up again after this time, so that auth records the use.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);

/// A key that was not looked up for this time is checked before it is accepted: the
/// previous release of auth announces no changes of keys.
const MAX_UNCHECKED: Duration = Duration::from_mins(2);

pub(super) struct ApiKeys {
    /// Principals of keys that auth has accepted, by the digest of the key.
    principals: Cache<[u8; 32], Arc<Principal>>,
    /// Why auth has rejected a key, by its digest.
    rejections: Cache<[u8; 32], VerifyError>,
    /// Running lookups by digest.
    lookups: SharedCalls<[u8; 32], Result<Arc<Principal>, VerifyError>>,
    slots: Arc<Semaphore>,
    limit: IpRateLimit,
}

/// A key that is looked up.
#[derive(Clone)]
struct Lookup {
    key: Secret,
    digest: [u8; 32],
    /// The id, if the key was accepted before.
    id: Option<Uuid>,
}

impl ApiKeys {
    pub fn new() -> Self {
        let rejections =
            Cache::builder().max_capacity(CACHE_CAPACITY).time_to_live(REJECTION_TTL).build();
        Self {
            principals: Cache::builder()
                .max_capacity(CACHE_CAPACITY)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            rejections,
            lookups: SharedCalls::default(),
            slots: Arc::new(Semaphore::new(CONCURRENT_LOOKUPS)),
            limit: IpRateLimit::new(LOOKUPS_PER_MINUTE),
        }
    }
}

impl TokenVerifier {
    /// Verifies an API key, which a client at `address` has sent, and returns its principal.
    pub async fn verify_api_key(
        &self,
        key: &str,
        address: Option<IpAddr>,
    ) -> Result<Arc<Principal>, VerifyError> {
        let (source, verified) = self.find_api_key(key, address).await;
        metrics::record_key_check(source, verified.as_ref().err());
        verified
    }

    async fn find_api_key(
        &self,
        key: &str,
        address: Option<IpAddr>,
    ) -> (KeySource, Result<Arc<Principal>, VerifyError>) {
        if let Err(error) = check_api_key(key) {
            return (KeySource::Format, Err(error.into()));
        }
        let (digest, keys) = (sha256(key), &self.0.api_keys);
        if let Some(principal) = keys.principals.get(&digest) {
            return (KeySource::Cache, self.revalidate_api_key(&principal).await);
        }
        if let Some(error) = keys.rejections.get(&digest) {
            return (KeySource::Cache, Err(error));
        }
        let lookup = Lookup { key: Secret::new(key), digest, id: None };
        (KeySource::Auth, self.look_up_unknown(lookup, address).await)
    }

    /// Checks that a key that was verified before is still valid. The roles of the result are the
    /// current ones.
    pub(super) async fn revalidate_api_key(
        &self,
        principal: &Arc<Principal>,
    ) -> Result<Arc<Principal>, VerifyError> {
        self.check_expiry(principal)?;
        let id = principal.credential.id();
        let lookup = || {
            let key = principal.token.clone();
            Lookup { digest: sha256(key.expose()), key, id: Some(id) }
        };
        match self.0.sessions.status_of(id, principal.epoch) {
            TokenStatus::Valid => {
                let age = principal.checked_at.elapsed();
                if age < REPORT_INTERVAL || self.0.auth.is_failing() {
                    return Ok(principal.clone());
                }
                let lookup = lookup();
                let running = self.shared_lookup(&lookup, None);
                if age < MAX_UNCHECKED {
                    // Does not wait.
                    return Ok(principal.clone());
                }
                match running.await {
                    Err(VerifyError::Unavailable) if self.0.auth.is_failing() => {
                        Ok(principal.clone())
                    }
                    looked_up => self.settle(lookup, looked_up?).await,
                }
            }
            TokenStatus::Revoked if self.0.sessions.has_ended(id) => Err(VerifyError::Revoked),
            TokenStatus::Stale(age) if age <= MAX_STALE => {
                let lookup = lookup();
                let running = self.shared_lookup(&lookup, None);
                if self.0.auth.is_failing() {
                    // Does not wait; the result, if any, is used by the next request.
                    return Ok(principal.clone());
                }
                match running.await {
                    Err(VerifyError::Unavailable) => Ok(principal.clone()),
                    looked_up => self.settle(lookup, looked_up?).await,
                }
            }
            TokenStatus::Stale(_) | TokenStatus::Revoked | TokenStatus::Unknown => {
                let lookup = lookup();
                let cached = self.0.api_keys.principals.get(&lookup.digest);
                if let Some(newer) = cached.filter(|cached| cached.epoch > principal.epoch) {
                    return Box::pin(self.revalidate_api_key(&newer)).await;
                }
                let looked_up = self.shared_lookup(&lookup, None).await?;
                self.settle(lookup, looked_up).await
            }
        }
    }

    /// Looks up a key that is in no cache, within the limits.
    async fn look_up_unknown(
        &self,
        lookup: Lookup,
        address: Option<IpAddr>,
    ) -> Result<Arc<Principal>, VerifyError> {
        let keys = &self.0.api_keys;
        let looked_up = if let Some(running) = keys.lookups.join(&lookup.digest) {
            running.await.unwrap_or(Err(VerifyError::Unavailable))?
        } else {
            if let Some(address) = address {
                keys.limit.wait(address).map_err(VerifyError::RateLimited)?;
            }
            let slot = timeout(MAX_WAIT, keys.slots.clone().acquire_owned()).await;
            let slot = slot.ok().and_then(Result::ok).ok_or(VerifyError::Unavailable)?;
            self.shared_lookup(&lookup, Some(slot)).await?
        };
        self.settle(lookup, looked_up).await
    }

    /// Returns the principal of a key that was just looked up, unless a broadcast has overtaken the
    /// lookup.
    async fn settle(
        &self,
        mut lookup: Lookup,
        mut principal: Arc<Principal>,
    ) -> Result<Arc<Principal>, VerifyError> {
        let id = principal.credential.id();
        lookup.id = Some(id);
        for _ in 0..MAX_ATTEMPTS {
            self.check_expiry(&principal)?;
            if self.0.sessions.status_of(id, principal.epoch) != TokenStatus::Revoked {
                return Ok(principal);
            }
            if self.0.sessions.has_ended(id) {
                return Err(VerifyError::Revoked);
            }
            principal = self.shared_lookup(&lookup, None).await?;
        }
        Err(VerifyError::Unavailable)
    }

    /// Looks up a key, together with concurrent requests.
    fn shared_lookup(
        &self,
        lookup: &Lookup,
        slot: Option<OwnedSemaphorePermit>,
    ) -> impl Future<Output = Result<Arc<Principal>, VerifyError>> + use<> {
        let (inner, owned) = (self.0.clone(), lookup.clone());
        let introspect = || async move {
            let _slot = slot;
            inner.look_up_and_record(&owned).await
        };
        let answer = self.0.api_keys.lookups.join_or_start(lookup.digest, introspect);
        async { answer.await.unwrap_or(Err(VerifyError::Unavailable)) }
    }
}

impl Inner {
    async fn look_up_and_record(&self, lookup: &Lookup) -> Result<Arc<Principal>, VerifyError> {
        let Lookup { key, digest, id } = lookup;
        // The result was current at some time after the request was sent.
        let at = Instant::now();
        let result = self.auth.introspect_api_key(key.expose()).await;
        metrics::record_key_introspection(&result);
        match result.map_err(|_| VerifyError::Unavailable)? {
            Ok((owner, info)) => {
                let state = SessionState::Current(info.epoch);
                let principal = Arc::new(Principal::of_api_key(key, owner, info, at));
                self.sessions.update(principal.credential.id(), state, at);
                self.api_keys.principals.insert(*digest, principal.clone());
                Ok(principal)
            }
            // A process of the previous release, which knows no keys.
            Err(Code::TokenInvalid) if id.is_some() => Err(VerifyError::Unavailable),
            Err(code) => {
                let error = VerifyError::of_rejection(code);
                if let Some(id) = *id
                    && code == Code::TokenRevoked
                {
                    self.sessions.update(id, SessionState::Ended, at);
                }
                self.api_keys.rejections.insert(*digest, error);
                self.api_keys.principals.invalidate(digest);
                Err(error)
            }
        }
    }
}
