//! The public keys of auth.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use miniapp_token::{PublicKey, PublicKeys};
use parking_lot::RwLock;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::VerifyError;
use super::auth_client::{AuthClient, AuthUnreachable};

/// Limits fetches caused by tokens with unknown key ids.
pub(super) const MIN_FETCH_INTERVAL: Duration = Duration::from_secs(1);
/// Periodic fetches remove retired keys, and keys that were compromised.
pub(super) const REFRESH_INTERVAL: Duration = Duration::from_secs(10);
const FIRST_FETCH_INTERVAL: Duration = Duration::from_millis(200);

/// The published keys by id. During an outage of auth, the last known ones.
#[derive(Debug)]
pub(super) struct Keys {
    auth: Arc<AuthClient>,
    known: RwLock<PublicKeys>,
    /// Counts removals of keys, which invalidate earlier verifications.
    retirements: AtomicU64,
    /// Locked during a fetch, so that concurrent callers share it.
    latest: Mutex<Option<Fetched>>,
    /// Requests a fetch before the next periodic one.
    requested: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Fetched {
    at: Instant,
    succeeded: bool,
}

impl Keys {
    pub fn new(auth: Arc<AuthClient>) -> Self {
        Self {
            auth,
            known: RwLock::default(),
            retirements: AtomicU64::new(0),
            latest: Mutex::new(None),
            requested: Notify::new(),
        }
    }

    /// Whether any key is known.
    pub fn are_known(&self) -> bool {
        !self.known.read().is_empty()
    }

    /// Returns a counter that grows when keys are removed. A cached verification is valid
    /// while the counter is the same as before the verification.
    pub fn retirements(&self) -> u64 {
        self.retirements.load(Ordering::Acquire)
    }

    /// Returns the key `kid`. An unknown id may be a new key and causes a fetch, at most once
    /// per [`MIN_FETCH_INTERVAL`].
    pub async fn find(&self, kid: &str) -> Result<PublicKey, VerifyError> {
        if let Some(key) = self.known(kid) {
            return Ok(key);
        }
        let mut latest = self.latest.lock().await;
        if let Some(key) = self.known(kid) {
            return Ok(key);
        }
        let succeeded = match *latest {
            Some(fetched) if fetched.at.elapsed() < MIN_FETCH_INTERVAL => fetched.succeeded,
            _ => self.fetch(&mut latest).await.is_ok(),
        };
        let error = if succeeded { VerifyError::Invalid } else { VerifyError::Unavailable };
        self.known(kid).ok_or(error)
    }

    /// Refreshes the keys until it is dropped.
    pub async fn run(&self) -> Infallible {
        loop {
            let mut latest = self.latest.lock().await;
            let is_recent = |it: Fetched| it.succeeded && it.at.elapsed() < MIN_FETCH_INTERVAL;
            if !latest.is_some_and(is_recent) {
                // The client has logged the error.
                let _ = self.fetch(&mut latest).await;
            }
            let fetched_at = latest.map_or_else(Instant::now, |it| it.at);
            drop(latest);
            if !self.are_known() {
                sleep(FIRST_FETCH_INTERVAL).await;
            } else if timeout(REFRESH_INTERVAL, self.requested.notified()).await.is_ok() {
                sleep_until(fetched_at + MIN_FETCH_INTERVAL).await;
            }
        }
    }

    /// Makes [`Self::run`] fetch soon, at most once per [`MIN_FETCH_INTERVAL`].
    pub fn request_fetch(&self) {
        self.requested.notify_one();
    }

    pub async fn fetch_now(&self) -> Result<(), AuthUnreachable> {
        self.fetch(&mut *self.latest.lock().await).await
    }

    /// Returns the key `kid` if it has been fetched.
    pub fn known(&self, kid: &str) -> Option<PublicKey> {
        self.known.read().get(kid).cloned()
    }

    async fn fetch(&self, latest: &mut Option<Fetched>) -> Result<(), AuthUnreachable> {
        // Recorded before the request, because the caller may be canceled during it, and after it:
        // callers that waited must not send one after the other to an auth that is silent.
        *latest = Some(Fetched { at: Instant::now(), succeeded: false });
        let fetched = self.auth.keys().await;
        *latest = Some(Fetched { at: Instant::now(), succeeded: fetched.is_ok() });
        let keys = PublicKeys::new(&fetched?);
        let mut known = self.known.write();
        let is_retired = known.kids().any(|kid| keys.get(kid).is_none());
        *known = keys;
        if is_retired {
            self.retirements.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }
}
