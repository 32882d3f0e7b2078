//! The keys that auth signs with.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use miniapp_token::{PublicKey, PublicKeys};
use parking_lot::RwLock;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::VerifyError;
use super::auth::{Auth, Unreachable};

/// Tokens that name unknown keys make us ask auth this often at most.
const PAUSE: Duration = Duration::from_secs(1);
/// How often keys are fetched anyway, so that retired ones go.
const RENEW: Duration = Duration::from_mins(1);
/// How often it is tried to get the first ones.
const FIRST: Duration = Duration::from_millis(200);

/// The published keys by their ids; while auth is away, those that it had last.
#[derive(Debug)]
pub(super) struct Keys {
    auth: Arc<Auth>,
    known: RwLock<PublicKeys>,
    /// How often keys were taken away: what was verified before may not be valid any more.
    retirements: AtomicU64,
    /// Held while asking, so that all who wait share the answer.
    latest: Mutex<Option<Fetched>>,
}

#[derive(Clone, Copy, Debug)]
struct Fetched {
    at: Instant,
    answered: bool,
}

impl Keys {
    pub fn new(auth: Arc<Auth>) -> Self {
        Self {
            auth,
            known: RwLock::default(),
            retirements: AtomicU64::new(0),
            latest: Mutex::new(None),
        }
    }

    /// Whether tokens can be verified.
    pub fn are_known(&self) -> bool {
        !self.known.read().is_empty()
    }

    /// Grows with each key that was taken away. Whoever remembers that a token was verified
    /// remembers this with it, as it was before, and verifies again after a change.
    pub fn retirements(&self) -> u64 {
        self.retirements.load(Ordering::Acquire)
    }

    /// The key `kid`. One that isn't known may be new: auth is asked, but not for each
    /// token that somebody makes up.
    pub async fn find(&self, kid: &str) -> Result<PublicKey, VerifyError> {
        if let Some(key) = self.known(kid) {
            return Ok(key);
        }
        let mut latest = self.latest.lock().await;
        if let Some(key) = self.known(kid) {
            return Ok(key);
        }
        let answered = match *latest {
            Some(fetched) if fetched.at.elapsed() < PAUSE => fetched.answered,
            _ => self.fetch(&mut latest).await.is_ok(),
        };
        let refusal = if answered { VerifyError::Invalid } else { VerifyError::Unavailable };
        self.known(kid).ok_or(refusal)
    }

    /// Keeps the keys new until it is dropped.
    pub async fn renew(&self) -> Infallible {
        loop {
            // Trouble has been logged, and there is another time.
            let _ = self.fetch_now().await;
            sleep(if self.are_known() { RENEW } else { FIRST }).await;
        }
    }

    /// Asks auth now.
    pub async fn fetch_now(&self) -> Result<(), Unreachable> {
        self.fetch(&mut *self.latest.lock().await).await
    }

    fn known(&self, kid: &str) -> Option<PublicKey> {
        self.known.read().get(kid).cloned()
    }

    async fn fetch(&self, latest: &mut Option<Fetched>) -> Result<(), Unreachable> {
        // Noted first: whoever asks may go away before there is an answer.
        let at = Instant::now();
        *latest = Some(Fetched { at, answered: false });
        let keys = PublicKeys::new(&self.auth.keys().await?);
        *latest = Some(Fetched { at, answered: true });
        let mut known = self.known.write();
        let is_retired = known.kids().any(|kid| keys.get(kid).is_none());
        *known = keys;
        if is_retired {
            self.retirements.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }
}
