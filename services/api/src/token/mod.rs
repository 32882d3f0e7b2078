//! Who asks: the check of access tokens.
//!
//! A token's signature is verified here, with the keys that auth publishes. Whether it is
//! still the newest of its session is known from auth's news, and asked of auth where the
//! news can't tell. A token that was seen before costs a digest and two look-ups.

mod auth;
mod auth_user;
mod generations;
mod keys;
mod metrics;
mod principal;
mod sessions;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use miniapp_broker::Broker;
use miniapp_http::Problem;
use miniapp_runtime::clock::Clock;
use miniapp_token::{TokenError, UnverifiedToken};
use miniapp_types::problem::Code;
use parking_lot::{Mutex, RwLock};
use ring::digest::{SHA256, digest};
use tokio::time::Instant;
use tracing::Instrument as _;
use uuid::Uuid;

use self::auth::{Answer, Auth, Unreachable};
use self::generations::Generations;
use self::keys::Keys;
use self::metrics::Source;
use self::sessions::{Sessions, Standing, Verdict};

pub use self::auth_user::AuthUser;
pub use self::principal::Principal;

/// How many tokens are remembered at least.
const REMEMBERED: usize = 8 * 1024;
/// How long a session that was valid passes for valid while nobody can be asked.
const TOLERANCE: Duration = Duration::from_secs(30);

/// Why a token doesn't open the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum VerifyError {
    /// It is malformed or forged.
    #[error("the token is not valid")]
    Invalid,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// A newer one replaced it, or its session ended.
    #[error("the token was revoked")]
    Revoked,
    /// It can't be told now.
    #[error("the token can't be verified now")]
    Unavailable,
}

impl From<TokenError> for VerifyError {
    fn from(fault: TokenError) -> Self {
        match fault {
            TokenError::Invalid => Self::Invalid,
            TokenError::Expired => Self::Expired,
        }
    }
}

impl From<VerifyError> for Problem {
    fn from(refusal: VerifyError) -> Self {
        match refusal {
            VerifyError::Invalid => Self::new(Code::TokenInvalid),
            VerifyError::Expired => Self::new(Code::TokenExpired),
            VerifyError::Revoked => Self::new(Code::TokenRevoked),
            VerifyError::Unavailable => Self::new(Code::Unavailable)
                .detail("tokens can't be checked now")
                .retry_after(Duration::from_secs(1)),
        }
    }
}

type Asking = Shared<BoxFuture<'static, Result<Answer, Unreachable>>>;

/// Checks access tokens. Cheap to clone.
#[derive(Clone)]
pub struct TokenVerifier(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    auth: Arc<Auth>,
    keys: Keys,
    sessions: Sessions,
    /// Tokens whose signature was verified, by their digest.
    seen: RwLock<Generations<[u8; 32], Arc<Principal>>>,
    /// Questions on their way, by session and epoch: many requests ask one.
    asking: Mutex<HashMap<(Uuid, u32), Asking>>,
}

impl TokenVerifier {
    /// Checks tokens of the auth at `auth_url`.
    pub fn new(auth_url: &str, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let auth = Arc::new(Auth::new(auth_url)?);
        Ok(Self(Arc::new(Inner {
            clock,
            keys: Keys::new(auth.clone()),
            auth,
            sessions: Sessions::new(),
            seen: RwLock::new(Generations::new(REMEMBERED)),
            asking: Mutex::default(),
        })))
    }

    /// Keeps keys and sessions up to date until it is dropped. Without it the check is as
    /// good, but slow: it has to ask auth again and again.
    pub async fn run(&self, broker: &dyn Broker) -> Infallible {
        tokio::join!(self.0.keys.renew(), self.0.sessions.follow(broker)).0
    }

    /// Whether tokens can be checked at all.
    pub async fn health(&self) -> anyhow::Result<()> {
        if !self.0.keys.are_known() {
            self.0.keys.fetch_now().await?;
        }
        Ok(())
    }

    /// Who holds `token`.
    pub async fn verify(&self, token: &str) -> Result<Arc<Principal>, VerifyError> {
        let (source, principal) = match self.seen(token) {
            Ok(principal) => (Source::Cache, Ok(principal)),
            Err(digest) => (Source::Signature, self.verify_signature(token, digest).await),
        };
        let checked = match principal {
            Ok(principal) => self.revalidate(&principal).await.map(|()| principal),
            Err(refusal) => Err(refusal),
        };
        metrics::checked(source, checked.as_ref().err());
        checked
    }

    /// Whether a token that was good still is.
    pub async fn revalidate(&self, principal: &Arc<Principal>) -> Result<(), VerifyError> {
        if principal.expires_at <= self.0.clock.now().as_second() {
            return Err(VerifyError::Expired);
        }
        match self.0.sessions.judge(principal.session_id, principal.epoch) {
            Verdict::Valid => Ok(()),
            Verdict::Revoked => Err(VerifyError::Revoked),
            Verdict::Aged(age) => self.confirm(principal, age <= TOLERANCE).await,
            Verdict::Unknown => self.confirm(principal, false).await,
        }
    }

    /// The holder of a token that was verified before, or the token's digest.
    fn seen(&self, token: &str) -> Result<Arc<Principal>, [u8; 32]> {
        let digest = sha256(token);
        let (principal, fades) = match self.0.seen.read().get(&digest) {
            Some((principal, fades)) if principal.retirements == self.0.keys.retirements() => {
                (principal.clone(), fades)
            }
            _ => return Err(digest),
        };
        if fades {
            self.0.seen.write().insert(digest, principal.clone());
        }
        Ok(principal)
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
        self.0.seen.write().insert(digest, principal.clone());
        Ok(principal)
    }

    /// Asks auth about a token of which the news can't tell. `is_tolerable`: it was good
    /// not long ago, which is enough while auth can't be asked.
    async fn confirm(
        &self,
        principal: &Arc<Principal>,
        is_tolerable: bool,
    ) -> Result<(), VerifyError> {
        let asking = self.ask(principal);
        if is_tolerable && self.0.auth.is_failing() {
            // The answer, should there be one, counts for the next request.
            return Ok(());
        }
        match asking.await {
            Ok(Answer::Active) => {
                // News may have overtaken the answer.
                let verdict = self.0.sessions.judge(principal.session_id, principal.epoch);
                if verdict == Verdict::Revoked { Err(VerifyError::Revoked) } else { Ok(()) }
            }
            Ok(Answer::Refused(Code::TokenRevoked)) => Err(VerifyError::Revoked),
            Ok(Answer::Refused(Code::TokenExpired)) => Err(VerifyError::Expired),
            Ok(Answer::Refused(_)) => Err(VerifyError::Invalid),
            Err(Unreachable) if is_tolerable => Ok(()),
            Err(Unreachable) => Err(VerifyError::Unavailable),
        }
    }

    /// The question that is on its way, or a new one. It is asked to its end even if
    /// nobody waits for it any more.
    fn ask(&self, principal: &Arc<Principal>) -> Asking {
        let question = (principal.session_id, principal.epoch);
        let mut asking = self.0.asking.lock();
        if let Some(asking) = asking.get(&question) {
            return asking.clone();
        }
        let (inner, principal) = (self.0.clone(), principal.clone());
        let asked = async move {
            let answer = inner.settle(&principal).await;
            inner.asking.lock().remove(&question);
            answer
        };
        let asked = tokio::spawn(asked.in_current_span());
        let asked = asked.map(|answered| answered.unwrap_or(Err(Unreachable))).boxed().shared();
        asking.insert(question, asked.clone());
        asked
    }
}

impl Inner {
    /// Asks auth about a token, and remembers the answer.
    async fn settle(&self, principal: &Principal) -> Result<Answer, Unreachable> {
        // What auth says was true at some time after this.
        let at = Instant::now();
        let answer = self.auth.validate(principal.token.expose()).await;
        metrics::asked(answer);
        let answer = answer?;
        let standing = match answer {
            Answer::Active => Standing::Current(principal.epoch),
            Answer::Refused(Code::TokenRevoked) => Standing::Past(principal.epoch),
            Answer::Refused(_) => return Ok(answer),
        };
        self.sessions.learn(principal.session_id, standing, at);
        Ok(answer)
    }
}

fn sha256(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}
