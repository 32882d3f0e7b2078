//! Hashing and judging, off the async threads and only so many at a time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, PasswordHash, Version};
use miniapp_telemetry::trace::{CompletedSpan, SpanHandle, now};
use miniapp_types::body::JsonBody;
use miniapp_types::fields::{BodyError, FromFields};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Password;

/// OWASP's second recommendation: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// How long a request waits for its turn. Whoever has waited longer than a person
/// would is better told to come back.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A password's hash with its salt and parameters, as a PHC string.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash(String);

impl Hash {
    /// Takes one that was stored.
    pub fn stored(phc: impl Into<String>) -> Self {
        Self(phc.into())
    }

    /// The PHC string, to be stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

/// Too many passwords are being checked; come back later.
#[derive(Debug, thiserror::Error)]
#[error("too many passwords are being checked")]
pub struct Busy;

/// Hashes and checks passwords.
#[derive(Clone, Debug)]
pub struct Passwords {
    /// The service that its spans belong to.
    service: &'static str,
    turns: Arc<Semaphore>,
    /// Checked where there is no account, so that its absence takes as long.
    nobody: Hash,
}

impl Passwords {
    /// At most `concurrency` at a time: each takes a core and 19 MiB.
    pub fn new(service: &'static str, concurrency: usize) -> anyhow::Result<Self> {
        let nobody = hash(&Password::typed(&uuid::Uuid::new_v4().to_string()))?;
        let turns = Arc::new(Semaphore::new(concurrency.max(1)));
        Ok(Self { service, turns, nobody })
    }

    /// Waits for a turn.
    pub async fn turn(&self) -> Result<Turn, Busy> {
        let turn = tokio::time::timeout(LONGEST_WAIT, self.turns.clone().acquire_owned());
        let permit = turn.await.map_err(|_| Busy)?.map_err(|_| Busy)?;
        Ok(Turn { service: self.service, permit, nobody: self.nobody.clone() })
    }
}

/// The right to hash, check or judge one password.
#[derive(Debug)]
pub struct Turn {
    service: &'static str,
    permit: OwnedSemaphorePermit,
    nobody: Hash,
}

impl Turn {
    /// Hashes a password with a new salt.
    pub async fn hash(self, password: &Password) -> anyhow::Result<Hash> {
        let password = password.clone();
        self.work(move || hash(&password)).await
    }

    /// Whether the password is the one of `hash`; without a hash it never is, after the
    /// same work.
    pub async fn verify(
        self,
        password: &Password,
        expected: Option<&Hash>,
    ) -> anyhow::Result<bool> {
        let is_someone = expected.is_some();
        let (password, expected) = (password.clone(), expected.unwrap_or(&self.nobody).clone());
        let matches = self.work(move || matches(&password, &expected)).await?;
        Ok(matches && is_someone)
    }

    /// What is wrong with a new password for someone who has these names; see
    /// [`Password::judge`].
    pub async fn judge(
        self,
        password: &Password,
        names: Vec<String>,
    ) -> anyhow::Result<Result<(), &'static str>> {
        let password = password.clone();
        self.work(move || {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            Ok(password.judge(&names))
        })
        .await
    }

    /// Reads a body that has a new password.
    pub async fn read<T: FromFields + Send + 'static>(
        self,
        body: JsonBody,
    ) -> anyhow::Result<Result<T, BodyError>> {
        self.work(move || Ok(T::from_body(body))).await
    }

    /// The work keeps the turn even when nobody waits for its result any more.
    async fn work<T: Send + 'static>(
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
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|fault| anyhow!("{fault}"))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &Password) -> anyhow::Result<Hash> {
    let hash = argon2()?.hash_password(password.as_bytes()).map_err(|fault| anyhow!("{fault}"))?;
    Ok(Hash(hash.to_string()))
}

fn matches(password: &Password, expected: &Hash) -> anyhow::Result<bool> {
    let expected = PasswordHash::new(&expected.0)
        .map_err(|fault| anyhow!("a stored password hash can't be read: {fault}"))?;
    Ok(argon2()?.verify_password(password.as_bytes(), &expected).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_fits_its_password_alone() {
        let passwords = Passwords::new("auth", 1).expect("a hasher");
        let right = Password::typed("correct horse battery");
        let hash = passwords.turn().await.expect("a turn").hash(&right).await.expect("a hash");
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        let verify = async |password: &str, hash: Option<&Hash>| {
            let turn = passwords.turn().await.expect("a turn");
            turn.verify(&Password::typed(password), hash).await.expect("an answer")
        };
        assert!(verify("correct horse battery", Some(&hash)).await);
        assert!(!verify("correct horse batterx", Some(&hash)).await);
        assert!(!verify("correct horse battery", None).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_to_come_back() {
        let passwords = Passwords::new("auth", 1).expect("a hasher");
        let held = passwords.turn().await.expect("a turn");
        assert!(passwords.turn().await.is_err());
        drop(held);
        assert!(passwords.turn().await.is_ok());
    }
}
