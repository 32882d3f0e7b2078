//! Verification of access tokens and API keys.
//!
//! Signatures are verified with the keys that auth publishes. Whether a token is still the
//! newest of its session is known from broadcasts of auth; without recent ones, the token is
//! introspected. Verifying a cached token takes a digest and two lookups.

mod api_keys;
mod auth_client;
mod auth_user;
mod error;
mod event;
mod keys;
mod metrics;
mod principal;
mod sessions;
mod shared_calls;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use miniapp_runtime::clock::Clock;
use miniapp_token::UnverifiedToken;
use miniapp_types::problem::Code;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use ring::digest::{SHA256, digest};
use tokio::time::Instant;
use uuid::Uuid;

use self::api_keys::ApiKeys;
use self::auth_client::{AuthClient, AuthUnreachable, Introspection};
use self::keys::Keys;
use self::metrics::Source;
use self::sessions::{SessionState, Sessions, TokenStatus};
use self::shared_calls::SharedCalls;

pub(crate) use self::auth_user::RequiredScope;
pub use self::auth_user::{AuthUser, AuthenticatedBody};
pub use self::error::VerifyError;
pub(crate) use self::event::VerifyEventError;
pub(crate) use self::metrics::{EventOutcome, record_event};
pub use self::principal::{Credential, Principal};

const CACHE_CAPACITY: u64 = 8 * 1024;
const UNKNOWN_KEY_CAPACITY: u64 = 256;
/// How long an event of an unknown key is refused without another wait.
const UNKNOWN_KEY_TTL: Duration = Duration::from_mins(1);
/// How long a stale session or key is accepted while auth is unreachable.
const MAX_STALE: Duration = Duration::from_secs(30);

/// Verifies access tokens and API keys. Cheap to clone.
#[derive(Clone)]
pub struct TokenVerifier(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    auth: Arc<AuthClient>,
    keys: Keys,
    sessions: Sessions,
    /// Principals of verified tokens, by the digest of the token.
    principals: Cache<[u8; 32], Arc<Principal>>,
    /// Running introspections by session and epoch.
    introspections: SharedCalls<(Uuid, u32), Result<Introspection, AuthUnreachable>>,
    api_keys: ApiKeys,
    /// Ids of keys that auth did not publish, although an event that they signed was waited for.
    /// Many events of a retired key would otherwise delay those after them.
    unknown_keys: Cache<String, ()>,
}

impl TokenVerifier {
    /// Creates a verifier for the tokens of the auth service at `auth_url`.
    pub fn new(auth_url: &str, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let auth = Arc::new(AuthClient::new(auth_url)?);
        let principals = Cache::builder()
            .max_capacity(CACHE_CAPACITY)
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Ok(Self(Arc::new(Inner {
            sessions: Sessions::new(clock.clone()),
            clock,
            keys: Keys::new(auth.clone()),
            auth,
            principals,
            introspections: SharedCalls::default(),
            api_keys: ApiKeys::new(),
            unknown_keys: Cache::builder()
                .max_capacity(UNKNOWN_KEY_CAPACITY)
                .time_to_live(UNKNOWN_KEY_TTL)
                .build(),
        })))
    }

    /// Fails if no signing keys are known and auth is unreachable.
    pub async fn health(&self) -> anyhow::Result<()> {
        if !self.0.keys.are_known() {
            self.0.keys.fetch_now().await?;
        }
        Ok(())
    }

    /// Verifies an access token and returns its principal.
    pub async fn verify(&self, token: &str) -> Result<Arc<Principal>, VerifyError> {
        let digest = sha256(token);
        let (source, principal) = match self.cached(&digest) {
            Some(principal) => (Source::Cache, Ok(principal)),
            None => (Source::Signature, self.verify_signature(token, digest).await),
        };
        let verified = match principal {
            Ok(principal) => self.revalidate_token(&principal).await.map(|()| principal),
            Err(error) => Err(error),
        };
        metrics::record_check(source, verified.as_ref().err());
        verified
    }

    /// Checks that a token or key that was verified before is still valid. The result has the
    /// current roles.
    pub async fn revalidate(
        &self,
        principal: &Arc<Principal>,
    ) -> Result<Arc<Principal>, VerifyError> {
        match principal.credential {
            Credential::Session(_) => {
                self.revalidate_token(principal).await.map(|()| principal.clone())
            }
            Credential::ApiKey(_) => self.revalidate_api_key(principal).await,
        }
    }

    async fn revalidate_token(&self, principal: &Arc<Principal>) -> Result<(), VerifyError> {
        self.check_expiry(principal)?;
        if principal.retirements != self.0.keys.retirements() {
            // The key may have been removed because it is compromised.
            let token = UnverifiedToken::parse(principal.token.expose())?;
            token.verify(&self.0.keys.find(&token.kid).await?, self.0.clock.now())?;
        }
        match self.0.sessions.status_of(principal.credential.id(), principal.epoch) {
            TokenStatus::Valid => Ok(()),
            TokenStatus::Revoked => Err(VerifyError::Revoked),
            TokenStatus::Stale(age) => self.introspect(principal, age <= MAX_STALE).await,
            TokenStatus::Unknown => self.introspect(principal, false).await,
        }
    }

    fn check_expiry(&self, principal: &Principal) -> Result<(), VerifyError> {
        let is_over = principal.expires_at <= self.0.clock.now().as_second();
        if is_over { Err(VerifyError::Expired) } else { Ok(()) }
    }

    fn cached(&self, digest: &[u8; 32]) -> Option<Arc<Principal>> {
        let principal = self.0.principals.get(digest)?;
        (principal.retirements == self.0.keys.retirements()).then_some(principal)
    }

    async fn verify_signature(
        &self,
        token: &str,
        digest: [u8; 32],
    ) -> Result<Arc<Principal>, VerifyError> {
        let unverified = UnverifiedToken::parse(token)?;
        let retirements = self.0.keys.retirements();
        let key = self.0.keys.find(&unverified.kid).await?;
        let claims = unverified.verify(&key, self.0.clock.now())?;
        let principal = Arc::new(Principal::new(token, claims, retirements));
        self.0.principals.insert(digest, principal.clone());
        Ok(principal)
    }

    /// Introspects a token whose status is not known. `accept_stale`: the token was valid
    /// recently, which is enough while auth is unreachable.
    async fn introspect(
        &self,
        principal: &Arc<Principal>,
        accept_stale: bool,
    ) -> Result<(), VerifyError> {
        let introspection = self.shared_introspection(principal);
        if accept_stale && self.0.auth.is_failing() {
            // Does not wait; the result, if any, is used by the next request.
            return Ok(());
        }
        match introspection.await {
            Ok(Introspection::Active) => {
                // A broadcast may have arrived before the response.
                let session = principal.credential.id();
                let status = self.0.sessions.status_of(session, principal.epoch);
                if status == TokenStatus::Revoked { Err(VerifyError::Revoked) } else { Ok(()) }
            }
            Ok(Introspection::Rejected(code)) => Err(VerifyError::of_rejection(code)),
            Err(AuthUnreachable) if accept_stale => Ok(()),
            Err(AuthUnreachable) => Err(VerifyError::Unavailable),
        }
    }

    /// Introspects a token, together with concurrent requests.
    fn shared_introspection(
        &self,
        principal: &Arc<Principal>,
    ) -> impl Future<Output = Result<Introspection, AuthUnreachable>> + use<> {
        let subject = (principal.credential.id(), principal.epoch);
        let (inner, principal) = (self.0.clone(), principal.clone());
        let introspect = || async move { inner.introspect_and_record(&principal).await };
        let introspection = self.0.introspections.join_or_start(subject, introspect);
        async { introspection.await.unwrap_or(Err(AuthUnreachable)) }
    }
}

impl Inner {
    async fn introspect_and_record(
        &self,
        principal: &Principal,
    ) -> Result<Introspection, AuthUnreachable> {
        // The result was current at some time after the request was sent.
        let at = Instant::now();
        let result = self.auth.introspect(principal.token.expose()).await;
        metrics::record_introspection(result);
        let introspection = result?;
        let state = match introspection {
            Introspection::Active => SessionState::Current(principal.epoch),
            Introspection::Rejected(Code::TokenRevoked) => {
                SessionState::Superseded(principal.epoch)
            }
            Introspection::Rejected(_) => return Ok(introspection),
        };
        self.sessions.update(principal.credential.id(), state, at);
        Ok(introspection)
    }
}

fn sha256(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}
