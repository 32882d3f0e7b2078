//! Hashing off the async threads, with limited concurrency.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::anyhow;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use miniapp_telemetry::trace::{CompletedSpan, SpanHandle, now};
use miniapp_types::body::JsonBody;
use miniapp_types::fields::{BodyError, FromFields};
use uuid::Uuid;

use super::Password;
use crate::fair_queue::{FairQueue, Permit};

/// OWASP's second recommendation: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How long a request waits for a permit before it is rejected as [`Busy`].
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A password's hash with its salt and parameters, as a PHC string.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    pub fn from_phc(phc: impl Into<String>) -> Self {
        Self(phc.into())
    }

    /// Returns the PHC string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// Who has a password checked or hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// An unauthenticated client, by its network. `None` only without a server, in tests.
    Network(Option<IpAddr>),
    /// An authenticated one, by its account.
    Account(Uuid),
}

/// Too many requests wait for limited work; retry later.
#[derive(Debug, thiserror::Error)]
#[error("too many passwords or API keys are being checked")]
pub struct Busy;

/// Hashes and verifies passwords.
#[derive(Clone, Debug)]
pub struct PasswordHasher {
    /// The service name of the spans.
    service: &'static str,
    permits: FairQueue<Client>,
    /// Verified for unknown accounts, so that they take the same time.
    decoy: PasswordHash,
}

impl PasswordHasher {
    /// Runs at most `concurrency` hashes at a time: each takes a core and 19 MiB.
    pub fn new(service: &'static str, concurrency: usize) -> anyhow::Result<Self> {
        let decoy = hash(&Password::new(&Uuid::new_v4().to_string()))?;
        let permits = FairQueue::new(concurrency.max(1));
        Ok(Self { service, permits, decoy })
    }

    /// Waits for a permit. Clients take turns.
    pub async fn acquire(&self, client: Client) -> Result<HasherPermit, Busy> {
        let acquire = self.permits.acquire(client);
        let permit = tokio::time::timeout(ACQUIRE_TIMEOUT, acquire).await;
        let permit = permit.ok().flatten().ok_or(Busy)?;
        Ok(HasherPermit { service: self.service, permit, decoy: self.decoy.clone() })
    }
}

/// The right to one expensive operation on a password.
#[derive(Debug)]
pub struct HasherPermit {
    service: &'static str,
    permit: Permit<Client>,
    decoy: PasswordHash,
}

impl HasherPermit {
    /// Hashes a password with a new salt.
    pub async fn hash(self, password: &Password) -> anyhow::Result<PasswordHash> {
        let password = password.clone();
        self.run(move || hash(&password)).await
    }

    /// Verifies a password. Without a hash the result is false, after the same work.
    pub async fn verify(
        self,
        password: &Password,
        expected: Option<&PasswordHash>,
    ) -> anyhow::Result<bool> {
        let is_known = expected.is_some();
        let (password, expected) = (password.clone(), expected.unwrap_or(&self.decoy).clone());
        let matches = self.run(move || matches(&password, &expected)).await?;
        Ok(matches && is_known)
    }

    /// See [`Password::check_strength`].
    pub async fn check_strength(
        self,
        password: &Password,
        names: Vec<String>,
    ) -> anyhow::Result<Result<(), &'static str>> {
        let password = password.clone();
        self.run(move || {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Ok(password.check_strength(&names))
        })
        .await
    }

    /// Parses a body that has a new password.
    pub async fn parse_body<T: FromFields + Send + 'static>(
        self,
        body: JsonBody,
    ) -> anyhow::Result<Result<T, BodyError>> {
        self.run(move || Ok(T::from_body(body))).await
    }

    /// Holds the permit until the work is done, even if the caller is cancelled.
    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let Self { service, permit, .. } = self;
        let traced = SpanHandle::current().map(|parent| (parent, now()));
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permit);
            result
        });
        let done = done.await?;
        if let Some((parent, from)) = traced {
            CompletedSpan::internal("work on a password", &parent, from, now())
                .with_service(service)
                .record();
        }
        done
    }
}

fn argon2() -> anyhow::Result<Argon2<'static>> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| anyhow!("{error}"))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &Password) -> anyhow::Result<PasswordHash> {
    let hash = argon2()?.hash_password(password.as_bytes()).map_err(|error| anyhow!("{error}"))?;
    Ok(PasswordHash(hash.to_string()))
}

fn matches(password: &Password, expected: &PasswordHash) -> anyhow::Result<bool> {
    let expected = argon2::PasswordHash::new(&expected.0)
        .map_err(|error| anyhow!("a stored password hash is malformed: {error}"))?;
    Ok(argon2()?.verify_password(password.as_bytes(), &expected).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: Client = Client::Network(None);

    #[tokio::test]
    async fn verify_accepts_only_matching_password() {
        let hasher = PasswordHasher::new("auth", 1).expect("a hasher");
        let right = Password::new("correct horse battery");
        let hash =
            hasher.acquire(CLIENT).await.expect("a permit").hash(&right).await.expect("a hash");
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let verify = async |password: &str, hash: Option<&PasswordHash>| {
            let permit = hasher.acquire(CLIENT).await.expect("a permit");
            permit.verify(&Password::new(password), hash).await.expect("an answer")
        };
        assert!(verify("correct horse battery", Some(&hash)).await);
        assert!(!verify("correct horse batterx", Some(&hash)).await);
        assert!(!verify("correct horse battery", None).await);
    }

    #[tokio::test(start_paused = true)]
    async fn acquire_times_out() {
        let hasher = PasswordHasher::new("auth", 1).expect("a hasher");
        let held = hasher.acquire(CLIENT).await.expect("a permit");
        assert!(hasher.acquire(CLIENT).await.is_err());
        drop(held);
        assert!(hasher.acquire(CLIENT).await.is_ok());
    }
}
